//! The host's side of a job: segment plans, audio pieces, schedules, the work folder. No device is needed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use viseme::diffusion::schedule::{self, Scalings};
use viseme::face::landmarks::{Face, Landmarks};
use viseme::media::FrameTimes;
use viseme::pipelines::emotion::{Emotion, NAMES};
use viseme::pipelines::resume::{Identity, WorkFolder, file_identity};
use viseme::pipelines::segments::*;
use viseme::verify::verify_on_host;

/// A file of the golden folder, or nothing, said aloud, where there is no such folder.
fn golden_path(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("VISEME_GOLDEN") else {
        eprintln!("skipped: {name} (VISEME_GOLDEN is not set)");
        return None;
    };
    Some(PathBuf::from(folder).join(name))
}

fn golden(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(golden_path(name)?).unwrap())
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// Every row of the golden file holds.
fn hold(name: &str) {
    let Some(path) = golden_path(name) else { return };
    let rows = verify_on_host(&path).unwrap().expect("a case without a device");
    assert!(rows.len() > 10, "{name}: {} rows", rows.len());
    let failed: Vec<_> = rows.iter().filter(|row| !row.passed()).collect();
    assert!(failed.is_empty(), "{name}: {failed:#?}");
}

#[test]
fn upstream_plans_equal_golden_06() {
    hold("06_pipeline_indices.json");
}

#[test]
fn keyface_plans_and_emotions_equal_golden_25() {
    hold("25_keyface_indices.json");
}

/// A file without a field, whichever it is, is checked in the others; one that is tampered with is an error at worst.
#[test]
fn a_golden_file_is_checked_in_the_fields_that_it_has() {
    let root = tempfile::tempdir().unwrap();
    for (name, fields) in [
        ("06_pipeline_indices.json", &["max_frames", "runs"][..]),
        ("25_keyface_indices.json", &["runs", "defect_table", "emotion_table", "emotion_lists"]),
    ] {
        let Some(path) = golden_path(name) else { return };
        let whole: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let verified = |document: &Value| {
            let changed = root.path().join(name);
            std::fs::write(&changed, document.to_string()).unwrap();
            verify_on_host(&changed).map(|rows| rows.unwrap())
        };
        let rows = verified(&whole).unwrap().len();
        let holds = |document: &Value, what: &str| {
            let rows = verified(document).unwrap();
            let failed: Vec<_> = rows.iter().filter(|row| !row.passed()).map(|row| row.name.clone()).collect();
            assert!(failed.is_empty() && !rows.is_empty(), "without {what}: {failed:?}");
            rows.len()
        };
        for field in fields {
            let mut document = whole.clone();
            document.as_object_mut().unwrap().remove(*field).unwrap();
            assert!(holds(&document, field) < rows, "{field} is checked");
        }
        let inner: Vec<String> = whole["runs"][3].as_object().unwrap().keys().cloned().collect();
        for key in
            inner.iter().filter(|key| !["audio_frames", "video_frames", "emotion_states"].contains(&key.as_str()))
        {
            let mut document = whole.clone();
            document["runs"][3].as_object_mut().unwrap().remove(key);
            if key == "compute_until" || key.ends_with("error") {
                continue;
            }
            assert_eq!(holds(&document, key), rows, "{key}");
        }
        for number in [json!(u64::MAX), json!(1u64 << 40), json!(-1), json!("many"), json!([])] {
            let mut document = whole.clone();
            document["runs"][3]["audio_frames"] = number;
            assert_eq!(verified(&document).unwrap_err().exit_code(), 3);
        }
    }
}

/// A golden file with one number changed does not hold.
#[test]
fn a_wrong_list_is_found() {
    let root = tempfile::tempdir().unwrap();
    for (name, key) in [("06_pipeline_indices.json", "final_frames"), ("25_keyface_indices.json", "final_frames")] {
        let Some(path) = golden_path(name) else { return };
        let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        document["runs"][3][key] = json!(1);
        let changed = root.path().join(name);
        std::fs::write(&changed, document.to_string()).unwrap();
        let rows = verify_on_host(&changed).unwrap().unwrap();
        let failed: Vec<_> = rows.iter().filter(|row| !row.passed()).map(|row| row.name.as_str()).collect();
        assert!(matches!(failed[..], [one] if one.starts_with("runs[3]") && one.ends_with(key)), "{failed:?}");
    }
}

fn is_removed(slot: &Slot) -> bool {
    !matches!(slot.kind, SlotKind::Keyframe(_))
}

/// Slots as upstream builds them, with a list and insertions: the frame, or none for an anchor, and whether it is dropped.
fn upstream_slots(keyframes: usize, window: usize) -> Vec<(Option<usize>, bool)> {
    let mut list: Vec<(Option<usize>, bool)> = (0..keyframes).map(|k| (Some(k * (window - 1)), false)).collect();
    let end = list.len() + (list.len() + 1) % window;
    for place in (0..end).step_by(window) {
        list.insert(place.min(list.len()), (None, true));
    }
    let last = list[list.len() - 1].0;
    while !list.len().is_multiple_of(window) {
        list.push((last, true));
    }
    list
}

#[test]
fn upstream_slots_equal_a_list_with_insertions() {
    for window in [2, 3, 5, 14] {
        for keyframes in 2..1500 {
            let rule = Rule { window, ..Rule::keysync(Parity::Upstream) };
            let plan = Plan::new((keyframes - 1) * (window - 1) + 1, rule).unwrap();
            let slots: Vec<_> = (0..plan.batch_count() * window)
                .map(|i| plan.slot(i))
                .map(|s| ((s.kind != SlotKind::Anchor).then_some(s.frame), is_removed(&s)))
                .collect();
            assert_eq!(slots, upstream_slots(keyframes, window), "{keyframes} keyframes, window {window}");
        }
    }
}

/// What every plan promises, whatever its rule.
fn holds(plan: &Plan, frames: usize) {
    let (rule, mut next_frame, mut next_window, mut next_slot) = (plan.rule(), 0, 0, 0usize);
    for chunk in plan.chunks() {
        let at_hand: Vec<usize> = chunk.slots().collect();
        assert_eq!(chunk.carried, next_slot.checked_sub(1), "{frames} frames");
        assert!((1..=rule.batches_per_chunk).contains(&chunk.batches.len()));
        for slot in chunk.batches.iter().flatten() {
            assert_eq!(slot.index, next_slot, "{frames} frames");
            assert!(slot.frame < frames);
            next_slot += 1;
        }
        assert!(chunk.batches.iter().all(|b| b.len() == rule.window));
        assert_eq!(chunk.output.start, next_frame, "{frames} frames");
        assert!(!chunk.windows.is_empty(), "{frames} frames");
        for window in &chunk.windows {
            assert_eq!((window.index, window.output.start), (next_window, next_frame), "{frames} frames");
            assert_eq!(window.frames.len(), rule.window);
            assert!(window.frames.clone().all(|f| plan.source(f) < frames));
            assert!(!window.output.is_empty() && window.output.len() <= rule.window);
            assert!(window.keyframes.iter().all(|k| at_hand.contains(k)), "{frames} frames, {window:?}");
            (next_window, next_frame) = (next_window + 1, window.output.end);
        }
        assert_eq!(chunk.output.end, next_frame);
    }
    assert_eq!((next_window, next_frame), (plan.window_count(), plan.output_frames()), "{frames} frames");
}

#[test]
fn every_output_frame_comes_once_and_in_order() {
    for frames in 1..=2000 {
        for window in [2, 5, 14] {
            for anchors in [Anchors::EveryBatch, Anchors::None] {
                let plan = Plan::new(frames, Rule { window, anchors, ..Rule::keysync(Parity::Corrected) }).unwrap();
                assert_eq!(plan.output_frames(), frames);
                holds(&plan, frames);
            }
        }
        holds(&Plan::keyface(frames, Parity::Corrected).unwrap(), frames);
        if let Ok(plan) = Plan::keyface(frames, Parity::Upstream) {
            holds(&plan, frames);
        }
        match Plan::keysync(frames, Parity::Upstream) {
            Ok(plan) => holds(&plan, frames),
            Err(e) => assert!(frames < 14, "{e}"),
        }
    }
}

#[test]
fn windows_lie_between_the_keyframes_of_their_ends() {
    for frames in 1..=2000 {
        let plan = Plan::keysync(frames, Parity::Corrected).unwrap();
        for chunk in plan.chunks() {
            assert!(chunk.batches.iter().all(|b| b[0].kind == SlotKind::Anchor && b[0].frame == 0));
            for window in &chunk.windows {
                let ends = window.keyframes.map(|slot| plan.slot(slot));
                assert_eq!(ends.map(|s| s.kind), [window.index, window.index + 1].map(SlotKind::Keyframe));
                let last = window.frames.end - 1;
                assert_eq!(ends.map(|s| s.frame), [plan.source(window.frames.start), plan.source(last)]);
                assert!(window.frames.contains(&window.output.start) && last + 1 >= window.output.end);
            }
        }
    }
}

#[test]
fn a_long_job_is_planned_chunk_by_chunk() {
    let frames = 10_000_000;
    let plan = Plan::keysync(frames, Parity::Corrected).unwrap();
    assert_eq!(plan.chunk_count(), plan.keyframe_count().div_ceil(26));
    let (before, last) = (plan.chunk(plan.chunk_count() - 2), plan.chunk(plan.chunk_count() - 1));
    assert_eq!((before.windows.len(), before.batches.len()), (26, 2));
    assert_eq!(before.last_slot(), last.carried);
    assert_eq!((before.output.end, last.output.end), (last.output.start, frames));
    assert_eq!(plan.chunk(0).output, 0..25 * 13);
}

#[test]
fn impossible_plans_are_refused() {
    for (frames, rule, needle) in [
        (0, Rule::keysync(Parity::Corrected), "1 frames or more"),
        (13, Rule::keysync(Parity::Upstream), "--upstream-parity"),
        (13, Rule::keyface(Parity::Upstream), "--upstream-parity"),
        (20, Rule { window: 1, ..Rule::keyface(Parity::Corrected) }, "window 1"),
        (20, Rule { batches_per_chunk: 0, ..Rule::keyface(Parity::Corrected) }, "0 batches"),
    ] {
        let message = Plan::new(frames, rule).unwrap_err().to_string();
        assert!(message.contains(needle), "{message}");
    }
}

#[test]
fn lengths_at_which_the_published_keyface_crashes_are_refused_with_parity_only() {
    // Golden 25, `defect_table`: 14 + 13 k with an odd number of windows in the last chunk, and 158 to 169.
    for frames in [14, 40, 66, 158, 160, 169, 170, 339, 677] {
        let message = Plan::keyface(frames, Parity::Upstream).unwrap_err().to_string();
        assert!(message.contains(&format!("{frames} frames")) && message.contains("--upstream-parity"), "{message}");
        assert_eq!(Plan::keyface(frames, Parity::Corrected).unwrap().output_frames(), frames);
    }
    for (frames, output) in [(15, 15), (27, 27), (157, 157), (326, 326), (330, 326), (340, 340), (670, 664)] {
        assert_eq!(Plan::keyface(frames, Parity::Upstream).unwrap().output_frames(), output);
    }
}

#[test]
fn landmarks_follow_the_times_of_frames() {
    let face = |n: usize| -> Face { std::array::from_fn(|i| [n as f32 + (i % 9) as f32, (i / 9) as f32]) };
    let sets = |count: usize| Landmarks::new("points", (0..count).map(face).collect(), None).expect("landmarks");
    // Every third frame of 25 a second is missing.
    let kept: Vec<usize> = (0..300).filter(|n| n % 3 != 1).collect();
    let stamps: Vec<f64> = kept.iter().map(|&n| n as f64 / 25.0).collect();
    let (times, fps) = FrameTimes::of_stamps("v.mp4", &stamps, 0.04, &[]).expect("times");
    assert_eq!(times.count(), 200);
    let of = |count: usize| sets(count).per_frame("points.json", &times, fps);
    for count in [200, 199, 1] {
        assert_eq!(of(count).expect("one each").face(150), Some(&face(150.min(count - 1))), "{count} sets");
    }
    // A tool that read the video at 25 a second has a set for each moment.
    let by_time = of(300).expect("at 25 a second");
    for (frame, &number) in kept.iter().enumerate() {
        assert_eq!(by_time.face(frame), Some(&face(number)), "frame {frame}");
    }
    let error = of(250).unwrap_err();
    let said = error.to_string();
    assert_eq!(error.exit_code(), 3);
    for word in ["points.json", "200 sets", "300 for 25.00 a second", "250 sets", "this very file"] {
        assert!(said.contains(word), "'{word}' is not in {said}");
    }
}

#[test]
fn lengths_follow_their_table() {
    let lengths = [Length::Audio, Length::Video, Length::Shortest];
    assert_eq!(lengths.map(|length| length.frames(7, 4)), [7, 4, 4]);
    assert_eq!(lengths.map(|length| length.frames(4, 7)), [4, 7, 4]);
}

/// The seven convolutions one after the other (kernel, stride).
fn vectors_of_conv_stack(samples: usize) -> usize {
    let convs = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)];
    convs.iter().fold(samples, |n, &(kernel, stride)| if n < kernel { 0 } else { (n - kernel) / stride + 1 })
}

#[test]
fn audio_vectors_are_counted_as_the_convolutions_make_them() {
    for samples in (0..5000).chain(167_990..168_010) {
        assert_eq!(audio_vectors(samples), vectors_of_conv_stack(samples), "{samples} samples");
    }
}

#[test]
fn audio_pieces_keep_every_vector_once() {
    for frames in (1..60).chain(990..1030).chain([1500, 1501, 4999, 90_000]) {
        let mut next = 0;
        for piece in audio_pieces(frames) {
            let first = piece.samples.start / 320;
            assert_eq!(first + piece.kept.start, next, "{frames} frames");
            assert!(
                piece.samples.end <= frames * FRAME_SAMPLES && piece.kept.end <= audio_vectors(piece.samples.len())
            );
            next = first + piece.kept.end;
        }
        assert_eq!(next, 2 * frames - 1, "{frames} frames");
    }
    assert_eq!(audio_pieces(0).count(), 0);
    assert_eq!(audio_pieces(1000).count(), 1);
    let pieces: Vec<_> = audio_pieces(1001).map(|p| (p.samples.start / 640, p.samples.end / 640, p.kept)).collect();
    assert_eq!(pieces, [(0, 525, 0..1000), (475, 1001, 50..1050), (975, 1001, 50..51)]);
}

#[test]
fn step_pieces_keep_every_vector_of_beats_once_and_where_it_is() {
    let published = Steps { samples: 2560, overlap: 240, vectors: 8 };
    for steps in [published, Steps { samples: 1280, overlap: 240, vectors: 16 }] {
        for frames in (0..60).chain(990..1030).chain([1500, 1501, 4999, 90_000]) {
            let samples = frames * FRAME_SAMPLES;
            // 25 ms frames every 10 ms, 16 or 8 of them a step.
            let filter_frames = if samples < 400 { 0 } else { (samples - 400) / 160 + 1 };
            let all = filter_frames / (steps.samples / 160);
            let mut next = 0;
            for piece in step_pieces(samples, steps) {
                assert!(piece.samples.start.is_multiple_of(steps.samples) && piece.samples.end <= samples);
                let seen = steps.within(piece.samples.len());
                assert_eq!(piece.samples.len(), seen * steps.samples + steps.overlap);
                assert!(piece.kept.end <= seen * steps.vectors, "{frames} frames");
                let first = piece.samples.start / steps.samples * steps.vectors;
                assert_eq!(first + piece.kept.start, next, "{frames} frames");
                next = first + piece.kept.end;
            }
            assert_eq!(next, all * steps.vectors, "{frames} frames");
        }
    }
    assert_eq!(step_pieces(4 * FRAME_SAMPLES, published).count(), 0);
    assert_eq!(step_pieces(1000 * FRAME_SAMPLES, published).count(), 1);
    let seen = |p: AudioPiece| (p.samples.start / 2560, (p.samples.end - 240) / 2560, p.kept);
    let pieces: Vec<_> = step_pieces(1002 * FRAME_SAMPLES, published).map(seen).collect();
    assert_eq!(pieces, [(0, 133, 0..1000), (117, 250, 64..1064)]);
}

#[test]
fn upstream_audio_splits_equal_the_golden_ones() {
    let sizes = |total, unit| upstream_splits(total, unit).iter().map(|r| r.len()).collect::<Vec<_>>();
    // Golden 09, 10 and 26, `config`.
    assert_eq!(sizes(400_000, 320_000), [400_000]);
    assert_eq!(sizes(656_000, 320_000), [168_000, 488_000]);
    assert_eq!(sizes(626, 500), [626]);
    assert_eq!(sizes(1026, 500), [263, 763]);
    assert_eq!(sizes(20_480, 6400), [4693, 4693, 11_094]);
    assert_eq!(sizes(320_000, 320_000), [320_000]);

    // Golden 09: of 1025 frames 1024 come out, since each piece loses up to a vector at its end.
    let hubert = upstream_hubert_pieces(1025);
    assert_eq!(hubert.iter().map(|p| p.kept.len()).sum::<usize>().div_ceil(2), 1024);
    let sizes: Vec<_> = upstream_sample_pieces(32, 6400).iter().map(|p| (p.samples.len(), p.kept.len())).collect();
    assert_eq!(sizes, [(4693, 14), (4693, 14), (11_094, 34)]);
    assert_eq!(upstream_wav2vec2_pieces(25_000).len(), 1);
    assert_eq!(upstream_wav2vec2_pieces(25_001).len(), 1);
    assert_eq!(upstream_wav2vec2_pieces(50_000).len(), 2);
    // What a caller may ask for, though nothing comes of it.
    assert_eq!(upstream_splits(5, 0), upstream_splits(5, 5));
    let none = Steps { samples: 0, overlap: 0, vectors: 8 };
    assert_eq!((none.within(100), step_pieces(10_000_000, none).count(), stretched_vector(3, 0, 5)), (0, 0, 0));
    let wavlm = upstream_wavlm_pieces(1025);
    assert_eq!(wavlm.iter().map(|p| p.samples.len() / FRAME_SAMPLES).collect::<Vec<_>>(), [263, 763]);
    assert_eq!(wavlm[1].samples, 263 * 640..1026 * 640);
    assert_eq!((0..6).map(|slot| stretched_vector(slot, 6, 5)).collect::<Vec<_>>(), [0, 0, 1, 2, 3, 4]);
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-13 * b.abs(), "value {i}: {a}, expected {b}");
    }
}

#[test]
fn schedules_equal_numpy() {
    let table = [700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002, 0.0];
    assert_eq!(schedule::ays(11).unwrap(), table);
    // exp(np.interp(np.linspace(0, 1, n), np.linspace(0, 1, 11), np.log(table)[::-1]))[::-1], then 0.
    close(&schedule::ays(1).unwrap(), &[700.0, 0.0]);
    close(&schedule::ays(2).unwrap(), &[700.0, 0.002, 0.0]);
    close(&schedule::ays(4).unwrap(), &[700.0, 6.465784573469791, 0.5421170085928548, 0.002, 0.0]);
    let sixteen = [
        700.0,
        127.63320693114501,
        36.1356485970854,
        15.886,
        10.036090774546514,
        6.465784573469791,
        4.248,
        2.3867214143089157,
        1.4642994396120905,
        0.981,
        0.5421170085928548,
        0.30400827034864025,
        0.173,
        0.058479185133769096,
        0.01322297803691589,
        0.002,
        0.0,
    ];
    close(&schedule::ays(16).unwrap(), &sixteen);

    let ramp = [80.0, 17.52783196464411, 2.515218976147159, 0.16975275626876413, 0.002, 0.0];
    close(&schedule::edm(5, 0.002, 80.0, 7.0).unwrap(), &ramp);
    close(&schedule::edm(3, 0.02, 14.6, 3.0).unwrap(), &[14.6, 2.503086278715473, 0.02, 0.0]);
    close(&schedule::edm(1, 0.02, 14.6, 3.0).unwrap(), &[14.6, 0.0]);

    let s = Scalings::at(2.5);
    let expected = [0.13793103448275862, -0.9284766908852594, 0.3713906763541037, 0.22907268296853878];
    close(&[s.c_skip, s.c_out, s.c_in, s.c_noise], &expected);
    close(&[schedule::initial_scale(0.75)], &[1.25]);
}

#[test]
fn schedules_count_evaluations_and_refuse_nonsense() {
    for steps in 1..100 {
        for sigmas in [schedule::ays(steps).unwrap(), schedule::edm(steps, 0.002, 700.0, 7.0).unwrap()] {
            assert_eq!((sigmas.len(), sigmas[0], sigmas[steps]), (steps + 1, 700.0, 0.0));
            assert!(sigmas.windows(2).all(|pair| pair[0] > pair[1]));
        }
    }
    assert_eq!(schedule::upstream_evaluations(10).unwrap(), 11);
    assert_eq!(schedule::upstream_evaluations(25).unwrap(), 25);
    assert!(schedule::upstream_evaluations(9).is_err());
    for steps in [0, schedule::MAX_STEPS + 1, 100_000_000_000, usize::MAX] {
        for error in [schedule::ays(steps).unwrap_err(), schedule::edm(steps, 0.002, 700.0, 7.0).unwrap_err()] {
            assert!(error.to_string().contains("steps: expected 1 to 1000") && error.exit_code() == 2, "{error}");
        }
    }
    for (low, high, rho) in [(0.0, 80.0, 7.0), (80.0, 0.002, 7.0), (0.002, f64::NAN, 7.0), (0.002, 80.0, 0.0)] {
        assert!(schedule::edm(5, low, high, rho).is_err());
    }
}

#[test]
fn sigmas_and_scalings_equal_golden_04() {
    let Some(file) = golden("04_sampling_keyframes.safetensors") else { return };
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    let config: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        tensors
            .tensor(name)
            .unwrap()
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let steps = schedule::upstream_evaluations(count(&config["num_steps"])).unwrap();
    assert_eq!(config["euler_steps_done"], steps);
    let sigmas = schedule::ays(steps).unwrap();
    assert_eq!(config["sigmas"], json!(sigmas));
    let sigmas_f32: Vec<f32> = sigmas.iter().map(|&s| s as f32).collect();
    assert_eq!(floats("intermediate.sigmas_f64_as_f32"), sigmas_f32);
    for (c_noise, sigma) in floats("intermediate.c_noise").iter().zip(&sigmas) {
        assert!((f64::from(*c_noise) - Scalings::at(*sigma).c_noise).abs() < 1e-6);
    }
    let scale = schedule::initial_scale(sigmas[0]);
    for (x, noise) in floats("intermediate.scaled_initial_x").iter().zip(floats("input.noise")) {
        assert!((f64::from(*x) - f64::from(noise) * scale).abs() <= 1e-6 * x.abs() as f64);
    }
}

fn identity(steps: &str) -> Identity {
    BTreeMap::from([("steps".into(), steps.into()), ("video".into(), "9 bytes".into())])
}

#[test]
fn a_job_goes_on_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    let dir = WorkFolder::beside(&root.path().join("out.mp4"));
    assert_eq!(dir.file_name().unwrap(), "out.mp4.viseme");
    assert_eq!(WorkFolder::beside("frames/".as_ref()), std::path::Path::new("frames.viseme"));

    let work = WorkFolder::open(&dir, identity("11")).unwrap();
    assert!(!work.contains("carry.safetensors").unwrap());
    work.store("carry.safetensors", b"first").unwrap();
    work.store("carry.safetensors", b"second").unwrap();
    let busy = WorkFolder::open(&dir, identity("11")).unwrap_err().to_string();
    assert!(busy.contains("a run at work in it"), "{busy}");
    drop(work);

    let work = WorkFolder::open(&dir, identity("11")).unwrap();
    assert!(work.contains("carry.safetensors").unwrap());
    assert_eq!(work.load("carry.safetensors").unwrap(), b"second");
    assert_eq!(work.load("gone.safetensors").unwrap_err().exit_code(), 3);
    work.remove().unwrap();
    assert!(!dir.exists());
}

#[test]
fn other_jobs_and_other_folders_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    let mut other = identity("20");
    other.insert("seed".into(), "7".into());
    // With nothing finished there is nothing to lose, and any job may have the folder.
    drop(WorkFolder::open(&dir, other.clone()).unwrap());
    WorkFolder::open(&dir, identity("11")).unwrap().store("window0.latents", b"x").unwrap();
    WorkFolder::remove_unused(&dir).unwrap();
    let error = WorkFolder::open(&dir, other).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.exit_code(), 2);
    assert!(message.contains("seed changed from nothing to 7; steps changed from 11 to 20"), "{message}");
    assert!(!message.contains("video"), "{message}");

    for manifest in ["", "{", r#"{"version": 2, "identity": {}}"#] {
        std::fs::write(dir.join("manifest.json"), manifest).unwrap();
        let message = WorkFolder::open(&dir, identity("11")).unwrap_err().to_string();
        assert!(message.contains("manifest.json") && message.contains("remove the folder"), "{message}");
    }

    let photos = root.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    std::fs::write(photos.join("me.png"), "x").unwrap();
    let message = WorkFolder::open(&photos, identity("11")).unwrap_err().to_string();
    assert!(message.contains("me.png in it"), "{message}");
    assert_eq!(std::fs::read_dir(&photos).unwrap().count(), 1);

    let file = root.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(WorkFolder::open(&file, identity("11")).unwrap_err().exit_code(), 7);
}

#[test]
fn work_files_have_plain_names_and_appear_whole() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    let work = WorkFolder::open(&dir, identity("11")).unwrap();
    for name in ["", "..", ".hidden", "../up", "a/b", "a\\b", "C:x", "manifest.json", "lock", "a.partial"] {
        assert_eq!(work.store(name, b"x").unwrap_err().exit_code(), 2, "{name:?}");
    }
    // The name is taken by a folder, so that the last step of writing fails; nothing is left lying about.
    std::fs::create_dir(dir.join("taken")).unwrap();
    assert_eq!(work.store("taken", b"x").unwrap_err().exit_code(), 7);
    let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["lock", "manifest.json", "taken"]);
}

#[test]
fn an_input_is_known_by_size_and_time() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("in.wav");
    std::fs::write(&path, "four").unwrap();
    let first = file_identity(&path).unwrap();
    assert_eq!(first, file_identity(&path).unwrap());
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
    assert_eq!(file_identity(&path).unwrap(), "4 bytes, modified 5000000000");
    assert_ne!(first, file_identity(&path).unwrap());
    assert!(file_identity(&root.path().join("gone")).is_err());

    let folder = file_identity(root.path()).unwrap();
    assert!(folder.starts_with("1 files, 4 bytes"), "{folder}");
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(60)).unwrap();
    assert_ne!(folder, file_identity(root.path()).unwrap(), "a picture in it changed");
    std::fs::write(root.path().join("b.wav"), "12").unwrap();
    assert!(file_identity(root.path()).unwrap().starts_with("2 files, 6 bytes"));
}

#[test]
fn a_work_folder_without_a_finished_chunk_is_of_no_use() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    WorkFolder::remove_unused(&dir).unwrap();
    drop(WorkFolder::open(&dir, identity("11")).unwrap());
    WorkFolder::remove_unused(&dir).unwrap();
    assert!(!dir.exists());
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("mine"), "x").unwrap();
    WorkFolder::remove_unused(&dir).unwrap();
    assert!(dir.join("mine").exists(), "no work folder");
}

fn course(emotion: &Emotion, frames: usize) -> Vec<[f32; 2]> {
    (0..frames).map(|frame| emotion.at(frame, frames, Parity::Corrected).unwrap()).collect()
}

/// The published KeySync counts the vectors that HuBERT's pieces leave: from 1000 frames of sound on it is one frame or more
/// short, and so is the last window.
#[test]
fn upstream_loses_a_frame_of_sound_from_40_s_on() {
    for frames in 1..1000 {
        assert_eq!(upstream_audio_frames(frames), frames);
    }
    for frames in 1000..1133 {
        assert_eq!(upstream_audio_frames(frames), frames - 1, "{frames}");
    }
    assert_eq!(upstream_audio_frames(0), 0);
    for (frames, output) in
        [(999, 989), (1001, 989), (1002, 989), (1003, 1002), (1015, 1002), (1119, 1106), (1120, 1119), (1132, 1119)]
    {
        let plan = Plan::keysync(upstream_audio_frames(frames), Parity::Upstream).unwrap();
        assert_eq!(plan.output_frames(), output, "{frames}");
    }
}

/// Three names are two spans; at an odd length the last frame is left over, and matters only if it is a keyframe.
#[test]
fn upstream_refuses_emotions_only_where_a_keyframe_has_none() {
    let three: Emotion = "sad,neutral,happy".parse().unwrap();
    for frames in 14..=650 {
        let Ok(plan) = Plan::keyface(frames, Parity::Upstream) else { continue };
        let is_refused = three.check(&plan, frames, Parity::Upstream).is_err();
        let last_is_keyframe = (frames - 1) % 13 == 0 && frames - 1 <= 13 * (plan.keyframe_count() - 1);
        assert_eq!(is_refused, frames % 2 == 1 && last_is_keyframe, "{frames}");
        three.check(&Plan::keyface(frames, Parity::Corrected).unwrap(), frames, Parity::Corrected).unwrap();
    }
    // Four names over 53 frames: three spans of 17, and keyframe 52 is in none.
    let four: Emotion = "sad,neutral,happy,calm".parse().unwrap();
    let error = four.check(&Plan::keyface(53, Parity::Upstream).unwrap(), 53, Parity::Upstream).unwrap_err();
    assert!(error.to_string().contains("--upstream-parity"), "{error}");
    assert!(Emotion::default().is_constant() && !four.is_constant());
}

#[test]
fn emotions_are_names_pairs_or_several_names() {
    for (name, [valence, arousal]) in NAMES {
        assert_eq!(course(&name.parse().unwrap(), 2), [[valence as f32, arousal as f32]; 2], "{name}");
    }
    assert_eq!(course(&Emotion::default(), 1), [[0.0, 0.0]]);
    assert_eq!(course(&"-0.5, 1".parse().unwrap(), 1), [[-0.5, 1.0]]);
    assert_eq!(course(&"0.5,-1".parse::<Emotion>().unwrap().accentuated(), 1), [[0.75, -1.0]]);

    // Two spans of three frames, and one over.
    let several: Emotion = "neutral, happy,sad".parse().unwrap();
    let valence: Vec<f32> = course(&several, 7).iter().map(|feeling| feeling[0]).collect();
    assert_eq!(valence, [0.0, 0.425, 0.85, 0.85, 0.0, -0.85, -0.85]);
    assert!(several.at(6, 7, Parity::Upstream).unwrap_err().to_string().contains("a frame below 6"));
    // Fewer frames than spans: the last one.
    assert_eq!(course(&several, 1), [[-0.85, -0.35]]);
    // Twice as published, once as corrected.
    let strong = "angry".parse::<Emotion>().unwrap().accentuated();
    assert_eq!(strong.at(0, 1, Parity::Upstream).unwrap(), [-0.99675, 1.0]);
    assert_eq!(strong.at(0, 1, Parity::Corrected).unwrap(), [-0.6645, 1.0]);

    for (text, needle) in [
        ("cheerful", "'cheerful'"),
        ("", "VALENCE,AROUSAL or some of happy"),
        ("happy,", "''"),
        ("0.5", "two numbers"),
        ("0.5,1.5", "from -1 to 1"),
        ("0.5,nan", "'0.5,nan'"),
        ("0.1,0.2,0.3", "two numbers"),
        ("happy,0.5", "two numbers"),
    ] {
        let error = text.parse::<Emotion>().unwrap_err();
        assert!(error.to_string().contains(needle) && error.exit_code() == 2, "{text}: {error}");
    }
}

#[test]
fn an_emotion_track_is_linear_between_its_lines_and_held_outside() {
    let text = "time_s,valence,arousal\n# a sigh\n0.08, -1, 0.5\n\n0.16,1,-0.5\r\n0.2,1,0\n";
    let track = Emotion::from_csv("track.csv", text).unwrap();
    let want = [[-1.0, 0.5], [-1.0, 0.5], [-1.0, 0.5], [0.0, 0.0], [1.0, -0.5], [1.0, 0.0], [1.0, 0.0]];
    for (frame, (got, want)) in course(&track, 7).iter().zip(want).enumerate() {
        assert!((0..2).all(|axis| (got[axis] - want[axis]).abs() < 1e-6), "frame {frame}: {got:?}, {want:?}");
    }
    let one = Emotion::from_csv("track.csv", "3,0.25,0.5").unwrap();
    assert_eq!(course(&one, 2), [[0.25, 0.5]; 2]);

    for (text, needle) in [
        ("", "a line of time_s,valence,arousal or more"),
        ("time_s,valence,arousal\n", "track.csv: expected a line"),
        ("0,0\n", "line 1: expected time_s,valence,arousal"),
        ("0,0,0,0", "line 1"),
        ("0,0,0\n0,0,1", "line 2: expected a time after 0"),
        ("0,0,0\n\n1,0,1.01", "line 3: expected valence and arousal from -1 to 1"),
        ("0,0,0\nsoon,0,0", "line 2: expected a time in seconds, found 'soon'"),
        ("inf,0,0", "a time in seconds"),
        ("0,0,0\ntime_s,valence,arousal", "line 2"),
    ] {
        let error = Emotion::from_csv("track.csv", text).unwrap_err();
        assert!(error.to_string().contains(needle) && error.exit_code() == 3, "{text:?}: {error}");
    }
    assert_eq!(Emotion::read(std::path::Path::new("/nowhere.csv")).unwrap_err().exit_code(), 3);
}

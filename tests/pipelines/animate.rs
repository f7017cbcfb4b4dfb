use super::{SIDE, gpu, open, weights};
use std::path::Path;
use viseme::diffusion::Guidance;
use viseme::media::{Audio, Frame};
use viseme::ops::Region;
use viseme::pipelines::animate::{Animate, Options};
use viseme::pipelines::segments::Parity;
use viseme::pipelines::weights::{Role, Storage, WeightSet};
use viseme::pipelines::{Frames, Progress, Sampling};
use viseme::{Error, Result};

fn portrait(width: u32, height: u32) -> Frame {
    let rgb = (0..width * height).flat_map(|i| [(i % width * 2) as u8, (i / width * 2) as u8, (i / 7) as u8]);
    Frame::rgb8(width, height, rgb.collect())
}

fn tone(frames: usize) -> Audio {
    let value = |i: usize| 0.3 * (i as f32 * 0.05).sin() * (i as f32 * 0.0007).cos();
    Audio::samples((0..frames * 640).map(value).collect::<Vec<f32>>(), 16_000)
}

fn quick() -> Options {
    Options { sampling: Sampling { steps: 1, ..Sampling::default() }, ..Options::default() }
}

fn job(frames: usize, options: Options) -> Animate<'static> {
    Animate::new(gpu().unwrap(), weights(), portrait(SIDE, SIDE), tone(frames)).options(options)
}

fn run(frames: usize, options: Options) -> Vec<Frame> {
    job(frames, options).frames().unwrap().collect::<Result<_>>().unwrap()
}

/// 15 frames: a keyframe batch and two windows, as approximations are tried on them.
pub fn start(sampling: Sampling, dir: &Path, observer: Box<dyn FnMut(Progress)>) -> Frames<'static> {
    job(15, Options { sampling, ..quick() }).resume(open(dir)).on_progress(observer).frames().unwrap()
}

#[test]
fn every_length_comes_out_whole() {
    if gpu().is_none() {
        return;
    }
    for frames in [1, 13, 14, 15, 92, 158, 169, 170] {
        let made = run(frames, quick());
        assert_eq!(made.len(), frames);
        assert!(made.iter().all(|frame| [frame.width, frame.height] == [SIDE; 2]));
    }
    for frames in [327, 1500] {
        assert_eq!(job(frames, quick()).frames().unwrap().total(), frames as u64);
    }
}

#[test]
fn everything_that_goes_in_shows() {
    if gpu().is_none() {
        return;
    }
    let frames = run(3, quick());
    assert_eq!(frames, run(3, quick()), "one seed, the same frames");
    let low_memory = Sampling { low_memory: true, ..quick().sampling };
    assert_eq!(frames, run(3, Options { sampling: low_memory, ..quick() }), "one branch and clip at a time");

    let seed = Sampling { seed: 24, ..quick().sampling };
    let emotion = |text: &str| Options { emotion: text.parse().unwrap(), ..quick() };
    let face = Region { left: 5.0, top: 5.0, width: 45.0, height: 45.0 };
    let guidance = Guidance::AudioReference { audio: 1.0, reference: 1.0 };
    for (what, options) in [
        ("seed", Options { sampling: seed, ..quick() }),
        ("valence", emotion("0.8,0")),
        ("arousal", emotion("0,0.8")),
        ("name", emotion("happy")),
        ("crop", Options { crop: Some(face), ..quick() }),
        ("guidance", Options { guidance, ..quick() }),
        ("guidance between keyframes", Options { interpolation_guidance: Some(Guidance::None), ..quick() }),
    ] {
        assert_ne!(frames, run(3, options), "{what} changes nothing");
    }
    let other = |portrait: Frame, audio: Audio| -> Vec<Frame> {
        let job = Animate::new(gpu().unwrap(), weights(), portrait, audio).options(quick());
        job.frames().unwrap().collect::<Result<_>>().unwrap()
    };
    assert_ne!(frames, other(portrait(100, SIDE), tone(3)), "another portrait");
    let silence = Audio::samples(vec![0.0; 3 * 640], 16_000);
    assert_ne!(frames, other(portrait(SIDE, SIDE), silence), "other audio");
}

#[test]
fn a_run_goes_on_where_it_stopped_also_over_a_shared_frame() {
    if gpu().is_none() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    let whole: Vec<Frame> = job(28, quick()).resume(open(&dir)).frames().unwrap().collect::<Result<_>>().unwrap();
    std::fs::remove_file(dir.join("window1.latents")).unwrap();
    let mut frames = job(28, quick()).resume(open(&dir)).frames().unwrap();
    let again: Vec<Frame> = frames.by_ref().collect::<Result<_>>().unwrap();
    assert_eq!(whole, again);
    frames.finish().unwrap();
    assert!(!dir.exists());
}

#[test]
fn parity_refuses_what_crashes_upstream() {
    if gpu().is_none() {
        return;
    }
    let parity = || Options { parity: Parity::Upstream, ..quick() };
    for frames in [13, 14] {
        let error = job(frames, parity()).survey().unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
    }
    assert_eq!(run(15, parity()).len(), 15);
}

#[test]
fn a_square_outside_the_portrait_is_refused_before_any_work() {
    if gpu().is_none() {
        return;
    }
    for face in [[100.0, 0.0, 20.0], [-150.0, -150.0, 384.0]] {
        let face = Some(Region { left: face[0], top: face[1], width: face[2], height: face[2] });
        let error = job(3, Options { crop: face, ..quick() }).survey().unwrap_err();
        assert!(error.to_string().contains("picture of 64x64") && error.exit_code() == 2, "{error}");
    }
}

/// The network between keyframes takes no emotion, so that the published program needs one for keyframes only.
#[test]
fn parity_takes_several_emotions_wherever_upstream_does() {
    if gpu().is_none() {
        return;
    }
    let parity = |names: &str| Options { emotion: names.parse().unwrap(), parity: Parity::Upstream, ..quick() };
    // Two spans of 7 frames; frame 14 has no emotion, and is no keyframe.
    assert_eq!(run(15, parity("sad,neutral,happy")).len(), 15);
    // Three spans of 17; frame 52 has none, and is one.
    let error = job(53, parity("sad,neutral,happy,calm")).survey().unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
}

/// Upstream cuts at 45 s what it made of all the sound.
#[test]
fn parity_hears_sound_beyond_its_cap() {
    if gpu().is_none() {
        return;
    }
    for (parity, frames, heard) in [(Parity::Upstream, 1125, 1150), (Parity::Corrected, 1150, 1150)] {
        let survey = job(1150, Options { parity, ..quick() }).survey().unwrap();
        assert_eq!((survey.frames, survey.heard_frames), (frames, heard));
    }
}

/// Latents as they lie in a work folder, 8x8, all of one value.
fn latents(value: f32) -> Vec<u8> {
    value.to_le_bytes().repeat(14 * 8 * 8 * 4)
}

/// Frame 325 is the last of the first chunk and the first of the second: of its two pictures upstream drops the first. Frame 39
/// lies between two windows of one chunk, and is their mean for both.
#[test]
fn parity_drops_a_picture_where_a_chunk_ends() {
    if gpu().is_none() {
        return;
    }
    let value = |window: usize| if window == 3 || window >= 25 { -1.0 } else { 1.0 };
    let pictures = |parity: Parity| -> Vec<Frame> {
        let root = tempfile::tempdir().unwrap();
        let work = open(&root.path().join("work"));
        let plan = viseme::pipelines::segments::Plan::keyface(340, parity).unwrap();
        for chunk in plan.chunks() {
            for batch in &chunk.batches {
                work.store(&format!("keyframes{}.latents", batch[0].index), &latents(0.0)).unwrap();
            }
            for window in &chunk.windows {
                work.store(&format!("window{}.latents", window.index), &latents(value(window.index))).unwrap();
            }
        }
        job(340, Options { parity, ..quick() }).resume(work).frames().unwrap().collect::<Result<_>>().unwrap()
    };
    let is_mean = |of: &Frame, a: &Frame, b: &Frame| {
        let pairs = a.rgb.iter().zip(&b.rgb).map(|(&a, &b)| (f32::from(a) + f32::from(b)) / 2.0);
        of.rgb.iter().zip(pairs).all(|(&level, mean)| (f32::from(level) - mean).abs() <= 1.0)
    };
    for (parity, border_is_mean) in [(Parity::Upstream, false), (Parity::Corrected, true)] {
        let made = pictures(parity);
        let [before, at, behind] = [324, 325, 326].map(|frame| &made[frame]);
        assert_ne!(before, behind);
        assert_eq!(is_mean(at, before, behind), border_is_mean, "{parity:?}");
        assert_eq!(at == behind, !border_is_mean, "{parity:?}");
        assert!(made[39] != made[38] && is_mean(&made[39], &made[38], &made[40]), "{parity:?}: within a chunk");
    }
}

/// Which of two checkpoints with a decoder each makes the pictures: one whose decoder cannot be loaded shows.
#[test]
fn pictures_are_decoded_by_the_interpolation_checkpoints_decoder() {
    let Some(gpu) = gpu() else { return };
    let with_broken_decoder = |role: &str| {
        let mut shapes = super::small::shapes();
        shapes[role]["first_stage_model.decoder.conv_in.weight"] = serde_json::json!([1, 1, 1, 1]);
        WeightSet::by_formula("small networks", &shapes.to_string()).unwrap()
    };
    for (keyframe, interpolation, roles) in
        [("keyframe", "interpolation", Role::LIPSYNC), ("keyface-keyframe", "keyface-interpolation", Role::ANIMATE)]
    {
        with_broken_decoder(keyframe).only(roles).check(gpu, Storage::default()).unwrap();
        let error = with_broken_decoder(interpolation).only(roles).check(gpu, Storage::default()).unwrap_err();
        assert!(error.to_string().contains("first_stage_model.decoder.conv_in.weight"), "{error}");
    }
    let set = with_broken_decoder("keyface-keyframe");
    let animate = Animate::new(gpu, &set, portrait(SIDE, SIDE), tone(1)).options(quick());
    assert_eq!(animate.frames().unwrap().count(), 1);
    let set = with_broken_decoder("keyframe");
    assert_eq!(super::lipsync::frames_of_one(&set), 1);
}

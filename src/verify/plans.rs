//! Golden cases pipeline_indices and keyface_indices: which frames go through which network call, and the emotion of each.
//! Everything is exact, on the host alone.

use super::checker::Row;
use super::golden::{Comparison, Golden, Worst, compare};
use crate::pipelines::emotion::{Emotion, NAMES};
use crate::pipelines::segments::{
    Anchors, Chunk, FRAME_SAMPLES, Parity, Plan, Rule, Slot, SlotKind, Window, max_frames,
};
use crate::{Problem, Result};
use serde_json::{Value, json};

/// Emotions are stored to seven digits.
const EMOTION_BAR: f64 = 1e-6;

/// Lists of one run, equal or not.
#[derive(Default)]
struct Lists {
    compared: usize,
    differing: Vec<String>,
}

impl Lists {
    fn equal(&mut self, name: impl Into<String>, got: Value, want: &Value) {
        self.compared += 1;
        if got != *want {
            self.differing.push(name.into());
        }
    }

    /// The same with what `object` has under `key`; nothing where it has no such field.
    fn field(&mut self, name: impl Into<String>, got: Value, object: &Value, key: &str) {
        if let Some(want) = object.get(key) {
            self.equal(name, got, want);
        }
    }

    /// How many chunks there are, where `want` lists them.
    fn chunks(&mut self, name: &str, plan: &Plan, want: &Value) {
        if let Some(chunks) = want.as_array() {
            self.equal(name, json!(plan.chunk_count()), &json!(chunks.len()));
        }
    }

    /// One row, whose error is the number of lists that differ; none where nothing was there to compare.
    fn into_row(self, name: String) -> Option<Row> {
        let differing = self.differing.len() as f64;
        let name = match self.differing.first() {
            Some(first) => format!("{name}: {first}"),
            None => name,
        };
        let worst = Worst { index: 0, got: differing, want: 0.0 };
        let comparison = Comparison { relative_l2: differing, cosine: None, worst };
        (self.compared > 0).then_some(Row { name, comparison, bar: Some(0.0) })
    }
}

/// What no file counts up to.
const MANY: u64 = 1_000_000;

/// The constants of `config` beside those of `rule`.
fn with_config(golden: &Golden, config: &Value, rule: Rule) -> Result<Rule> {
    if config["overlap"] != 1 {
        let subject = format!("{}: overlap", golden.path.display());
        return Err(Problem::new(subject, "1", config["overlap"].to_string()).input());
    }
    let anchors = if config["add_zero_flag"] == true { Anchors::Upstream } else { Anchors::None };
    let batches = config["batches_per_chunk"].as_u64().map_or(rule.batches_per_chunk, |batches| batches as usize);
    Ok(Rule { window: count(golden, &config["num_frames"])?, batches_per_chunk: batches, anchors, ..rule })
}

fn count(golden: &Golden, value: &Value) -> Result<usize> {
    let wrong =
        || Problem::new(golden.path.display().to_string(), format!("a count up to {MANY}"), value.to_string()).input();
    value.as_u64().filter(|&count| count <= MANY).map(|count| count as usize).ok_or_else(wrong)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The seconds that a run is cut to; None without a cap. "end" is ten times too much, as published.
fn cap_s(golden: &Golden, run: &Value) -> Result<Option<usize>> {
    Ok(match &run["compute_until"] {
        Value::Null => None,
        end if end == "end" => Some(count(golden, &run["video_frames"])? * 10 / 25),
        seconds => Some(count(golden, seconds)?),
    })
}

fn inclusive(windows: &[Window]) -> Value {
    windows.iter().map(|w| json!([w.frames.start, w.frames.end - 1])).collect()
}

fn all_slots(plan: &Plan) -> Vec<Slot> {
    (0..plan.batch_count() * plan.rule().window).map(|i| plan.slot(i)).collect()
}

fn all_windows(plan: &Plan) -> Vec<Window> {
    (0..plan.window_count()).map(|i| plan.window(i)).collect()
}

fn is_removed(slot: &Slot) -> bool {
    !matches!(slot.kind, SlotKind::Keyframe(_))
}

/// The frame of a slot; null for an anchor.
fn index_of(slot: &Slot) -> Value {
    if slot.kind == SlotKind::Anchor { Value::Null } else { json!(slot.frame) }
}

fn frames_in(slots: &[Slot]) -> Value {
    slots.iter().map(|slot| slot.frame).collect()
}

pub fn check_pipeline_indices(golden: &Golden) -> Result<Vec<Row>> {
    let document = &golden.document;
    let rule = with_config(golden, document, Rule::keysync(Parity::Upstream))?;
    let mut caps = Lists::default();
    for (seconds, frames) in document["max_frames"].as_object().into_iter().flatten() {
        let seconds_read = seconds.parse().ok().filter(|&seconds: &usize| seconds as u64 <= MANY);
        let cap = seconds_read.map_or(Value::Null, |seconds| json!(max_frames(seconds, 25)));
        caps.equal(format!("{seconds} s"), cap, frames);
    }
    let mut rows = Vec::from_iter(caps.into_row("max_frames".to_owned()));
    for (number, run) in list(&document["runs"]).iter().enumerate() {
        let mut lists = Lists::default();
        let (audio, video) = (count(golden, &run["audio_frames"])?, count(golden, &run["video_frames"])?);
        let cap = cap_s(golden, run)?.map(|seconds| max_frames(seconds, 25));
        let frames = audio.min(video).min(cap.unwrap_or(usize::MAX));
        lists.field("max_frames", json!(cap), run, "max_frames");
        let plan = Plan::new(frames, rule);
        lists.equal("error", json!(plan.is_err()), &json!(!run["error"].is_null()));
        if let Ok(plan) = plan {
            keysync_inputs(&mut lists, &plan, frames, &run["create_pipeline_inputs"]);
            let chunks = list(&run["chunks"]);
            lists.chunks("chunks", &plan, &run["chunks"]);
            for (chunk, want) in plan.chunks().zip(chunks) {
                keysync_chunk(&mut lists, &plan, &chunk, want);
            }
            lists.field("final_frames", json!(plan.output_frames()), run, "final_frames");
            let samples = plan.output_frames() * FRAME_SAMPLES;
            lists.field("final_audio_samples", json!(samples), run, "final_audio_samples");
        }
        rows.extend(lists.into_row(format!("runs[{number}], {frames} frames")));
    }
    Ok(rows)
}

fn keysync_inputs(lists: &mut Lists, plan: &Plan, frames: usize, want: &Value) {
    let (slots, windows) = (all_slots(plan), inclusive(&all_windows(plan)));
    lists.field("n_audio", json!(frames), want, "n_audio");
    for key in [
        "gt_interpolation_segments",
        "audio_interpolation_segments",
        "masks_interpolation_segments",
        "audio_interp_preds_idx",
    ] {
        lists.field(key, windows.clone(), want, key);
    }
    for key in ["gt_keyframes", "audio_image_preds", "masks_keyframes"] {
        lists.field(key, frames_in(&slots), want, key);
    }
    lists.field("to_remove", slots.iter().map(is_removed).collect(), want, "to_remove");
    lists.field("audio_image_preds_idx", slots.iter().map(index_of).collect(), want, "audio_image_preds_idx");
}

fn keysync_chunk(lists: &mut Lists, plan: &Plan, chunk: &Chunk, want: &Value) {
    let name = |key: &str| format!("chunks[{}].{key}", chunk.index);
    let frames: Value = chunk.batches.iter().map(|batch| frames_in(batch)).collect();
    let at_hand: Vec<usize> = chunk.slots().collect();
    let new: Vec<usize> = chunk.batches.iter().flatten().map(|slot| slot.index).collect();
    let removed: Vec<bool> = at_hand.iter().map(|&slot| is_removed(&plan.slot(slot))).collect();
    let pairs: Vec<[usize; 2]> = chunk.windows.iter().map(|window| window.keyframes).collect();
    for (key, got) in [
        ("keyframe_batches", json!(chunk.batches.len())),
        ("keyframe_audio_idx", frames.clone()),
        ("keyframe_gt_idx", frames),
        ("keyframe_slot_ids", json!(new)),
        ("carried_previous_last_keyframe", json!(chunk.carried.is_some())),
        ("slot_ids_with_carry", json!(at_hand)),
        ("to_remove_with_carry", json!(removed)),
        ("interp_pairs_slot_ids", json!(pairs)),
        ("segments", inclusive(&chunk.windows)),
        ("mask_segments", inclusive(&chunk.windows)),
        ("frames_out", json!(covered(plan, chunk.windows.len()))),
    ] {
        lists.field(name(key), got, want, key);
    }
}

/// Frames of `windows` windows in a row.
fn covered(plan: &Plan, windows: usize) -> usize {
    windows * (plan.rule().window - 1) + 1
}

pub fn check_keyface_indices(golden: &Golden) -> Result<Vec<Row>> {
    let document = &golden.document;
    let rules =
        [Parity::Upstream, Parity::Corrected].map(|parity| with_config(golden, &golden.config, Rule::keyface(parity)));
    let [published, corrected] = rules;
    let rules = [published?, corrected?];
    let mut rows = Vec::new();
    for (number, run) in list(&document["runs"]).iter().enumerate() {
        let mut lists = Lists::default();
        // KeyFace's cap is not raised to whole windows.
        let cap = cap_s(golden, run)?.map_or(usize::MAX, |seconds| seconds * 25);
        let audio = count(golden, &run["audio_frames"])?;
        let frames = audio.min(cap);
        let plans = rules.map(|rule| Plan::new(frames, rule));
        let emotion = match list(&run["emotion_states"]) {
            [] => Emotion::default(),
            states => emotion_of(states, run)?,
        };
        let has_emotions = |plan: &Plan| emotion.check(plan, frames, Parity::Upstream).is_ok();
        let fails = plans[0].as_ref().map_or(true, |plan| !has_emotions(plan));
        lists.equal("upstream_error", json!(fails), &json!(!run["upstream_error"].is_null()));
        if let ([Ok(published), Ok(corrected)], true) = (&plans, run["upstream_error"].is_null()) {
            keyface_inputs(&mut lists, [published, corrected], frames, &run["create_pipeline_inputs"]);
            let chunks = list(&run["chunks"]);
            lists.chunks("chunks", published, &run["chunks"]);
            for (chunk, want) in published.chunks().zip(chunks) {
                keyface_chunk(&mut lists, published, &chunk, want);
            }
            // A cap shortens what goes in, but what comes out is cut to the whole audio.
            let made = match frames < audio {
                true => covered(published, published.window_count()).min(audio),
                false => published.output_frames(),
            };
            lists.field("final_frames", json!(made), run, "final_frames");
            lists.field("final_audio_samples", json!(frames * FRAME_SAMPLES), run, "final_audio_samples");
            lists.field("upstream_flags", json!(flags(published, corrected)), run, "upstream_flags");
            corrected_run(&mut lists, corrected, &run["corrected"]);
        }
        rows.extend(lists.into_row(format!("runs[{number}], {frames} frames")));
    }

    for entry in list(&document["defect_table"]) {
        let mut lists = Lists::default();
        let (first, last) = (count(golden, &entry["frames"][0])?, count(golden, &entry["frames"][1])?);
        for frames in first..=last {
            let [published, corrected] = rules.map(|rule| Plan::new(frames, rule));
            lists.equal(format!("{frames}.error"), json!(published.is_err()), &json!(!entry["error"].is_null()));
            if let (Ok(published), Ok(corrected)) = (published, corrected) {
                lists.field(format!("{frames}.flags"), json!(flags(&published, &corrected)), entry, "flags");
                let batches = json!(published.batch_count());
                lists.field(format!("{frames}.keyframe_batches"), batches, entry, "keyframe_batches");
            }
        }
        rows.extend(lists.into_row(format!("defect_table, {first} to {last} frames")));
    }

    let mut table = Lists::default();
    let known: serde_json::Map<String, Value> =
        NAMES.iter().map(|(name, feeling)| (name.to_string(), json!(feeling))).collect();
    table.field("names and values", Value::Object(known), document, "emotion_table");
    rows.extend(table.into_row("emotion_table".to_owned()));
    for (number, run) in list(&document["emotion_lists"]).iter().enumerate() {
        rows.extend(emotion_rows(golden, run, &format!("emotion_lists[{number}]"))?);
    }
    Ok(rows)
}

fn keyface_inputs(lists: &mut Lists, [published, corrected]: [&Plan; 2], frames: usize, want: &Value) {
    let slots = all_slots(published);
    // Windows are laid out before any is lost.
    let windows = all_windows(corrected);
    let held = |window: &Window| json!([window.frames.start, corrected.source(window.frames.end - 1)]);
    for (key, got) in [
        ("n_audio", json!(frames)),
        ("n_audio_interpolation", json!(frames)),
        ("windows", inclusive(&windows)),
        ("window_feature_first_last", windows.iter().map(held).collect()),
        ("slot_audio_frame", frames_in(&slots)),
        ("slot_index_list", slots.iter().map(index_of).collect()),
        ("to_remove", slots.iter().map(is_removed).collect()),
        ("identity_frame", json!(0)),
    ] {
        lists.field(key, got, want, key);
    }
}

/// The slots of a chunk that serve as keyframes, and the frames of neighbours among them.
fn kept(plan: &Plan, chunk: &Chunk) -> (Vec<usize>, Vec<[usize; 2]>) {
    let kept: Vec<usize> = chunk.slots().filter(|&slot| plan.is_kept(slot)).collect();
    let pairs = kept.windows(2).map(|pair| [plan.slot(pair[0]).frame, plan.slot(pair[1]).frame]).collect();
    (kept, pairs)
}

fn keyface_chunk(lists: &mut Lists, plan: &Plan, chunk: &Chunk, want: &Value) {
    let (kept, pairs) = kept(plan, chunk);
    let new: Vec<usize> = chunk.batches.iter().flatten().map(|slot| slot.index).collect();
    let starts: Vec<usize> = chunk.windows.iter().map(|window| window.frames.start).collect();
    for (key, got) in [
        ("keyframe_batches", json!(chunk.batches.len())),
        ("slots", json!([new.first(), new.last()])),
        ("carry", json!(chunk.carried.is_some())),
        ("slots_kept_after_undrop", json!(kept)),
        ("pairs_frames", json!(pairs)),
        ("windows_first_feature", json!(starts)),
        ("n_pairs", json!(pairs.len())),
        ("n_windows", json!(chunk.windows.len())),
        ("frames_out", json!(covered(plan, chunk.windows.len()))),
    ] {
        lists.field(format!("chunks[{}].{key}", chunk.index), got, want, key);
    }
    // What the pipeline goes by says the same, window by window.
    let told = chunk.windows.iter().map(|window| window.keyframes.map(|slot| plan.slot(slot).frame));
    let both: Vec<_> = told.zip(&pairs).filter(|(told, pair)| told != *pair).collect();
    lists.equal(format!("chunks[{}]: keyframes of its windows", chunk.index), json!(both.len()), &json!(0));
}

fn corrected_run(lists: &mut Lists, plan: &Plan, want: &Value) {
    let chunks = list(&want["chunks"]);
    lists.chunks("corrected.chunks", plan, &want["chunks"]);
    for (chunk, want) in plan.chunks().zip(chunks) {
        let first = chunk.batches.first().and_then(|batch| batch.first()).map_or(0, |slot| slot.index);
        let first = first / plan.rule().window;
        let pairs: Vec<_> = chunk.windows.iter().map(|w| w.keyframes.map(|slot| plan.slot(slot).frame)).collect();
        // Of neighbours each keyframe once, though one may serve as both.
        let starts = chunk.windows.iter().take(1).map(|window| window.keyframes[0]);
        let used: Vec<usize> = starts.chain(chunk.windows.iter().map(|window| window.keyframes[1])).collect();
        let tail = chunk.windows.iter().find(|window| window.index + 1 == plan.keyframe_count());
        let same = |window: &Window| window.keyframes[0] == window.keyframes[1];
        let tail_end = tail.map(|tail| if same(tail) { "last keyframe used twice" } else { "padding slot" });
        for (key, got) in [
            ("batches", json!([first, first + chunk.batches.len() - 1])),
            ("slots_kept", json!(used)),
            ("pairs_frames", json!(pairs)),
            ("windows", inclusive(&chunk.windows)),
            ("tail_end", json!(tail_end)),
        ] {
            lists.field(format!("corrected.chunks[{}].{key}", chunk.index), got, want, key);
        }
    }
    let uncut = covered(plan, plan.window_count());
    lists.field("corrected.total_frames_before_cut", json!(uncut), want, "total_frames_before_cut");
    lists.field("corrected.final_frames", json!(plan.output_frames()), want, "final_frames");
}

/// What goes wrong in the published program at this length, in alphabetical order.
fn flags(published: &Plan, corrected: &Plan) -> Vec<&'static str> {
    let pairs = (0..published.chunk_count()).map(|index| kept(published, &published.chunk(index)).1.len());
    let (pairs, windows) = (pairs.sum::<usize>(), published.window_count());
    let regular = published.keyframe_count() - 1;
    let ends = |window: &Window| window.keyframes.map(|slot| published.slot(slot));
    let frames = |window: &Window| [window.frames.start, published.source(window.frames.end - 1)];
    let all = all_windows(published);
    let is_wrong = |window: &Window| ends(window).map(|slot| slot.frame) != frames(window);
    let tail_end = all.get(regular).map(|tail| ends(tail)[1]);
    let is_refused = Plan::keyface(published.source(usize::MAX) + 1, Parity::Upstream).is_err();
    let told = [
        (is_refused, "network_call_crashes"),
        (published.output_frames() < corrected.output_frames(), "output_too_short"),
        (pairs < windows, "pairs_fewer_than_windows"),
        (pairs > windows, "pairs_more_than_windows"),
        (tail_end.is_some_and(|slot| slot.kind == SlotKind::Anchor), "tail_end_is_frame0"),
        (windows < corrected.window_count(), "windows_lost"),
        (all[..regular.min(all.len())].iter().any(is_wrong), "wrong_keyframes"),
    ];
    told.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect()
}

fn emotion_of(states: &[Value], run: &Value) -> Result<Emotion> {
    let names: Vec<&str> = states.iter().filter_map(Value::as_str).collect();
    let emotion: Emotion = names.join(",").parse()?;
    Ok(if run["accentuate"] == true { emotion.accentuated() } else { emotion })
}

/// The curve that the networks get as published, and the one that is accentuated once.
fn emotion_rows(golden: &Golden, run: &Value, name: &str) -> Result<Vec<Row>> {
    let emotion = emotion_of(list(&run["states"]), run)?;
    let frames = count(golden, &run["total_frames"])?;
    let mut rows = Vec::new();
    let mut hold = |key: &str, axes: &[usize], parity: Parity, length: usize| -> Result<()> {
        if !run[key].is_array() {
            return Ok(());
        }
        let want: Vec<f32> = list(&run[key]).iter().filter_map(Value::as_f64).map(|value| value as f32).collect();
        let mut got = Vec::new();
        for frame in 0..length {
            let feeling = emotion.at(frame, frames, parity)?;
            got.extend(axes.iter().map(|&axis| feeling[axis]));
        }
        let name = format!("{name}.{key}");
        rows.push(Row { comparison: compare(&name, &got, &want)?, name, bar: Some(EMOTION_BAR) });
        Ok(())
    };
    if emotion.is_constant() {
        hold("constant", &[0, 1], Parity::Corrected, 1)?;
        hold("constant_used", &[0, 1], Parity::Upstream, 1)?;
        return Ok(rows);
    }
    let stored = count(golden, &run["raw_len"])?;
    for (axis, quality) in ["valence", "arousal"].into_iter().enumerate() {
        hold(&format!("{quality}_used"), &[axis], Parity::Upstream, stored)?;
        hold(&format!("{quality}_before_second_accentuation"), &[axis], Parity::Corrected, stored)?;
    }
    // The list ends where the published program has none, and the corrected one goes on.
    let mut end = Lists::default();
    for frame in stored..frames {
        let goes_on = emotion.at(frame, frames, Parity::Corrected).is_ok();
        let is_refused = emotion.at(frame, frames, Parity::Upstream).is_err();
        end.equal(format!("frame {frame}"), json!([goes_on, is_refused]), &json!([true, true]));
    }
    rows.extend(end.into_row(format!("{name}.raw_len")));
    Ok(rows)
}

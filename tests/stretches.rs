//! Which output frames are made anew, from which frames at 25 a second and of the source: by shot, where the face is.

use viseme::media::{Fps, FrameTimes};
use viseme::pipelines::segments::{Parity, Plan};
use viseme::pipelines::stretches::{Stretch, Stretches};
use viseme::pipelines::timeline::{Extend, Timeline};

const RATES: [(u32, u32); 6] = [(25, 1), (24_000, 1001), (30_000, 1001), (15, 1), (50, 1), (60, 1)];

struct Job {
    timeline: Timeline,
    outputs: u64,
    stretches: Stretches,
}

/// A video of `frames` frames and speech for `inside` frames at 25 a second; `shot_of` says which frames are made anew.
fn job(fps: Fps, frames: u64, inside: usize, extend: Extend, shot_of: impl Fn(u64) -> Option<usize>) -> Job {
    let timeline = Timeline::new(FrameTimes::Constant { fps, count: frames }, fps, extend, inside);
    let outputs = fps.frames_in(inside as u64, Fps::INSIDE);
    let stretches = Stretches::new(&timeline, outputs, inside, shot_of).unwrap();
    Job { timeline, outputs, stretches }
}

/// Every stretch's own rules, and how output frames and stretches belong together.
fn check(job: &Job, shot_of: impl Fn(u64) -> Option<usize>) {
    let Job { timeline, outputs, stretches } = job;
    let fps = timeline.fps();
    for output in 0..*outputs {
        let source = timeline.moment(output).source;
        let at = stretches.at(output);
        assert_eq!(at.is_some(), shot_of(source).is_some(), "{fps}: output {output} shows source {source}");
        let Some(stretch) = at.and_then(|index| stretches.get(index)) else { continue };
        let shown = stretch.shown(timeline, output);
        assert!((shown.iter().map(|(_, share)| share).sum::<f32>() - 1.0).abs() < 1e-6, "{shown:?}");
        for &(inside, _) in &shown {
            assert!(stretch.inside.contains(&inside), "{fps}: output {output} shows {inside} of {stretch:?}");
            let made_from = stretch.source_of(timeline, inside);
            assert_eq!(shot_of(made_from), shot_of(source), "{fps}: output {output}, inside {inside}");
            // Nothing is shown more than a frame from its time.
            let apart_s = (made_from as f64 - source as f64).abs() / fps.as_f64();
            assert!(
                apart_s <= 0.04 + 1.0 / fps.as_f64(),
                "{fps}: output {output}: {source} shows what {made_from} has"
            );
        }
    }
    let all: Vec<&Stretch> = stretches.iter().collect();
    for pair in all.windows(2) {
        assert!(pair[0].outputs.end <= pair[1].outputs.start);
        let (batches, windows) = (pair[0].plan.batch_count(), pair[0].plan.window_count());
        assert_eq!(pair[1].slots_before, pair[0].slots_before + 14 * batches, "noise would be drawn twice");
        assert_eq!(pair[1].windows_before, pair[0].windows_before + windows);
    }
}

#[test]
fn no_stretch_crosses_a_cut_at_any_rate() {
    for (num, den) in RATES {
        let fps = Fps::new(num, den).unwrap();
        let frames = (12.0 * fps.as_f64()) as u64;
        for cut in [1, frames / 3, frames / 3 + 1, frames - 2] {
            let shot_of = |frame: u64| Some(usize::from(frame >= cut));
            let job = job(fps, frames, 300, Extend::Bounce, shot_of);
            check(&job, shot_of);
            assert_eq!(job.stretches.iter().count(), 2, "{fps}, cut at {cut}");
            assert_eq!(job.stretches.get(1).unwrap().outputs.start, cut, "{fps}");
        }
    }
}

#[test]
fn frames_without_a_face_are_in_no_stretch() {
    for (num, den) in RATES {
        let fps = Fps::new(num, den).unwrap();
        let frames = (10.0 * fps.as_f64()) as u64;
        let shot_of = |frame: u64| (!(40..70).contains(&frame) && frame > 3 && frame + 5 < frames).then_some(0);
        let job = job(fps, frames, 250, Extend::Hold, shot_of);
        check(&job, shot_of);
        let outputs: Vec<_> = job.stretches.iter().map(|stretch| stretch.outputs.clone()).collect();
        assert_eq!(outputs, [4..40, 70..frames - 5], "{fps}");
    }
}

#[test]
fn a_video_that_bounces_keeps_its_shots() {
    let fps = Fps::new(30, 1).unwrap();
    let shot_of = |frame: u64| Some(usize::from(frame >= 40));
    let job = job(fps, 60, 250, Extend::Bounce, shot_of);
    check(&job, shot_of);
    // There and back: 0, 1 (over the turn), 0 (over the other turn), ...
    let outputs: Vec<_> = job.stretches.iter().map(|stretch| stretch.outputs.clone()).collect();
    assert_eq!(outputs[..3], [0..40, 40..79, 79..158], "{outputs:?}");
    assert_eq!(outputs.last().unwrap().end, job.outputs);
}

#[test]
fn one_shot_with_a_face_is_one_plan_as_before() {
    for (num, den) in RATES {
        let fps = Fps::new(num, den).unwrap();
        for inside in [1, 13, 14, 15, 27, 100, 377] {
            let job = job(fps, 1000, inside, Extend::Hold, |_| Some(0));
            let only = job.stretches.first().unwrap();
            assert_eq!(job.stretches.iter().count(), 1);
            assert_eq!((only.inside.clone(), only.outputs.clone()), (0..inside, 0..job.outputs), "{fps}");
            assert_eq!(only.plan, Plan::keysync(inside, Parity::Corrected).unwrap());
        }
    }
}

#[test]
fn above_25_frames_a_second_a_frame_shows_those_on_either_side() {
    let shown = |num: u32, output: u64| {
        let job = job(Fps::new(num, 1).unwrap(), 1000, 100, Extend::Hold, |_| Some(0));
        job.stretches.first().unwrap().shown(&job.timeline, output)
    };
    assert_eq!(shown(25, 7), [(7, 1.0)]);
    assert_eq!(shown(15, 3), [(5, 1.0)]);
    // At 50 a second the middles of frames lie a quarter of an inside frame off its middle.
    assert_eq!(shown(50, 0), [(0, 1.0)]);
    assert_eq!(shown(50, 1), [(0, 0.75), (1, 0.25)]);
    assert_eq!(shown(50, 2), [(0, 0.25), (1, 0.75)]);
    assert_eq!(shown(75, 4), [(1, 1.0)]);
}

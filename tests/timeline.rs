//! Which source frame and which mouth an output frame shows, over rates, lengths and ways to go on.

use viseme::media::{Fps, FrameTimes};
use viseme::pipelines::timeline::{Extend, Part, Timeline};

const MODES: [Extend; 3] = [Extend::Bounce, Extend::Loop, Extend::Hold];

fn fps(num: u32, den: u32) -> Fps {
    Fps::new(num, den).expect("a rate")
}

fn constant(fps: Fps, count: u64, extend: Extend, inside_frames: usize) -> Timeline {
    Timeline::new(FrameTimes::Constant { fps, count }, fps, extend, inside_frames)
}

#[test]
fn a_video_goes_on_as_asked() {
    let cases: [(Extend, u64, &[u64]); 9] = [
        (Extend::Bounce, 4, &[0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]),
        (Extend::Bounce, 2, &[0, 1, 0, 1, 0]),
        (Extend::Bounce, 1, &[0, 0, 0]),
        (Extend::Loop, 3, &[0, 1, 2, 0, 1, 2, 0]),
        (Extend::Loop, 1, &[0, 0, 0]),
        (Extend::Hold, 3, &[0, 1, 2, 2, 2]),
        (Extend::Hold, 1, &[0, 0]),
        (Extend::Bounce, 9, &[0, 1, 2]),
        (Extend::Loop, 9, &[0, 1, 2]),
    ];
    for (extend, count, want) in cases {
        let timeline = constant(Fps::INSIDE, count, extend, want.len());
        let shown: Vec<u64> = (0..want.len() as u64).map(|output| timeline.moment(output).source).collect();
        let made_for: Vec<u64> = (0..want.len()).map(|inside| timeline.source_of_inside(inside)).collect();
        assert_eq!((&shown[..], &made_for[..]), (want, want), "{extend:?} of {count}");
    }
}

/// The longest time between the frame that a mouth was made for and the frame that it is put into, in seconds.
fn farthest_s(timeline: &Timeline, inside_frames: usize) -> f64 {
    let outputs = timeline.fps().frames_in(inside_frames as u64, Fps::INSIDE);
    let apart = (0..outputs).map(|output| {
        let moment = timeline.moment(output);
        let inside = moment.inside.expect("all is made anew").min(inside_frames - 1);
        let [shown, made_for] =
            [moment.source, timeline.source_of_inside(inside)].map(|frame| timeline.times().start_s(frame));
        (shown - made_for).abs()
    });
    apart.fold(0.0, f64::max)
}

#[test]
fn mouth_and_picture_never_part() {
    const TEN_MINUTES: usize = 10 * 60 * 25;
    let rates = [
        (60, 1),
        (60_000, 1001),
        (50, 1),
        (30, 1),
        (30_000, 1001),
        (24, 1),
        (24_000, 1001),
        (25, 1),
        (25, 2),
        (120, 1),
    ];
    for rate in rates.map(|(num, den)| fps(num, den)) {
        for extend in MODES {
            for count in [1, 2, 3, 7, 48, 100, 101, 249, 300, 301, 599, 1798, 10_007] {
                let timeline = constant(rate, count, extend, TEN_MINUTES);
                let (apart, bound) = (farthest_s(&timeline, TEN_MINUTES), 0.020 + 0.5 / rate.as_f64());
                assert!(apart <= bound + 1e-9, "{rate}, {count} frames, {extend:?}: {apart} s apart, not {bound}");
            }
        }
    }
}

#[test]
fn a_loop_loses_next_to_nothing() {
    for rate in [fps(60, 1), fps(30_000, 1001), fps(24, 1)] {
        let timeline = constant(rate, 301, Extend::Loop, 15_000);
        let mut shown = (0..rate.frames_in(15_000, Fps::INSIDE)).map(|output| timeline.moment(output).source);
        let mut last = shown.next().expect("a frame");
        for source in shown {
            assert!(source == last + 1 || (source == 0 && last >= 301 - 4), "{rate}: {source} behind {last}");
            last = source;
        }
    }
}

#[test]
fn frames_at_their_own_times_are_shown_when_they_are_due() {
    // 25 a second with gaps, shown at 25: each frame stays until the next one comes.
    let kept: Vec<u64> = (0..400).filter(|i| i % 7 != 3 && i % 5 != 2).collect();
    let stamps: Vec<f64> = kept.iter().map(|&i| 2.0 + i as f64 / 25.0).collect();
    let (times, shown_at) = FrameTimes::of_stamps("v", &stamps, 0.04, &[fps(1000, 1)]).expect("times");
    let timeline = Timeline::new(times, shown_at, Extend::Bounce, 1000);
    assert_eq!((shown_at, timeline.strip()), (fps(25, 1), 400));
    for output in 0..400 {
        let want = kept.iter().rposition(|&number| number <= output).expect("the first") as u64;
        assert_eq!(timeline.moment(output).source, want, "output {output}");
        assert_eq!(timeline.source_of_inside(output as usize), want, "inside {output}");
    }
    for extend in MODES {
        let timeline = Timeline::new(timeline.times().clone(), shown_at, extend, 15_000);
        assert!(farthest_s(&timeline, 15_000) < 1e-9, "{extend:?}");
    }
    // A picture at 5 a second gets a mouth at 25.
    let slow = FrameTimes::Constant { fps: fps(5, 1), count: 10 };
    let timeline = Timeline::new(slow, Fps::INSIDE, Extend::Hold, 60);
    let shown: Vec<u64> = (0..52).map(|output| timeline.moment(output).source).collect();
    assert_eq!(shown, (0..52).map(|i| (i / 5).min(9)).collect::<Vec<_>>());
}

#[test]
fn only_a_part_is_made_anew() {
    let part = Part { first: 61, end: 122 };
    let rate = fps(30, 1);
    let timeline = constant(rate, 300, Extend::Hold, 51).of_part(part);
    for output in 0..300 {
        let moment = timeline.moment(output);
        assert_eq!(moment.source, output);
        assert_eq!(moment.inside.is_some(), (61..122).contains(&output), "output {output}");
        if let Some(inside) = moment.inside {
            let made_for = timeline.source_of_inside(inside);
            assert!(made_for.abs_diff(output) <= 1, "output {output} has the mouth of {made_for}");
        }
    }
    assert_eq!((timeline.moment(61).inside, timeline.source_of_inside(0)), (Some(0), 61));
    assert_eq!(timeline.moment(61).time_s, 61.5 / 30.0);
}

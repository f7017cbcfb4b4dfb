use super::{SIDE, gpu, open, weights};
use std::path::Path;
use viseme::diffusion::Guidance;
use viseme::media::{Audio, Frame};
use viseme::ops::Region;
use viseme::pipelines::animate::{Animate, Options};
use viseme::pipelines::segments::Parity;
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
        ("face", Options { face: Some(face), ..quick() }),
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

//! Approximations: none by default, each near the exact result and not equal to it, nothing approximated where they are set to
//! leave nothing out.

use super::{animate, device::there, gpu, lipsync};
use std::path::Path;
use viseme::Result;
use viseme::diffusion::{Guidance, Interval, Sampler};
use viseme::gpu::{Elem, Gpu};
use viseme::media::Frame;
use viseme::models::clip_unet::Prompt;
use viseme::models::unet::Deep;
use viseme::nn::Trace;
use viseme::pipelines::weights::{Role, Storage, WeightSet};
use viseme::pipelines::{Approximation, Frames, Phase, Progress, Sampling};
use viseme::tensor::Tensor;

type Start = fn(Sampling, &Path, Box<dyn FnMut(Progress)>) -> Frames<'static>;

/// A keyframe batch and two windows of either system.
const SYSTEMS: [(&str, Start); 2] = [("lipsync", lipsync::start), ("animate", animate::start)];

struct Made {
    frames: Vec<Frame>,
    /// Of the windows.
    latents: Vec<f32>,
    /// Steps of each window.
    steps: usize,
}

fn make(start: Start, sampling: Sampling) -> Made {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    let last = std::rc::Rc::new(std::cell::Cell::new((0.0, 0.0, 0)));
    let seen = last.clone();
    let frames = start(
        sampling,
        &dir,
        Box::new(move |progress| {
            let steps = if progress.phase == Phase::Interpolation { progress.step[1] } else { 0 };
            seen.set((progress.done, progress.total, steps.max(seen.get().2)));
        }),
    );
    let frames = frames.collect::<Result<Vec<Frame>>>().unwrap();
    let (done, total, steps) = last.get();
    assert!((done - total).abs() < 1e-6 * total, "{done} of {total} units at the end");
    let windows = (0..2).flat_map(|window| std::fs::read(dir.join(format!("window{window}.latents"))).unwrap());
    let bytes: Vec<u8> = windows.collect();
    let latents = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Made { frames, latents, steps }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn each_way_differs_and_stays_near() {
    if gpu().is_none() {
        return;
    }
    use Approximation::{Guidance, Reuse, Steps};
    let exact = Sampling::default();
    let with = |what: &[Approximation]| what.iter().fold(exact, |sampling, &what| sampling.approximate(what));
    for (system, start) in SYSTEMS {
        let wanted = make(start, exact);
        assert_eq!(wanted.steps, 11);
        let everywhere = Sampling { guided: Interval { above: 1e-3, to: 1e3 }, ..exact };
        assert_eq!(make(start, everywhere).frames, wanted.frames, "{system}: an interval that holds every step");

        let other = distance(&make(start, Sampling { seed: 24, ..exact }).latents, &wanted.latents);
        let mut last = Vec::new();
        for (what, steps) in [(&[Guidance][..], 11), (&[Reuse], 11), (&[Steps], 6), (&Approximation::ALL, 6)] {
            let made = make(start, with(what));
            let moved = distance(&made.latents, &wanted.latents);
            println!("{system} {what:?}: {moved:.4}, another seed {other:.4}");
            assert_eq!(made.steps, steps, "{system} {what:?}");
            assert_ne!(made.frames, wanted.frames, "{system} {what:?} changes nothing");
            // Random networks are no smooth ones; what has nothing to do with the exact result is as far as another seed.
            let bar = if what.len() == 1 { 0.6 } else { 0.75 };
            assert!(moved > 1e-4 && moved < bar * other, "{system} {what:?}: {moved}, another seed {other}");
            last = made.frames;
        }
        // Branches by themselves keep features by themselves.
        let low = Sampling { low_memory: true, ..with(&Approximation::ALL) };
        assert_eq!(make(start, low).frames, last, "{system}: one branch and clip at a time");
    }
}

/// The demo's UNet has all levels.
#[test]
fn deep_features_of_the_same_input_give_the_same_output_and_are_freed() {
    if gpu().is_none() {
        return;
    }
    let gpu = &there(Gpu::new(None)).unwrap();
    let weights = WeightSet::random(&[Role::Keyframe]).unwrap();
    let (unet, projection) = weights.stage(gpu, Role::Keyframe, Storage::default()).unwrap();
    let wave = |shape: &[usize], pace: f32| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (pace * i as f32).sin()).collect();
        Tensor::from_f32(gpu, shape, &values).unwrap()
    };
    let (clips, frames, side) = (2, 3, 8);
    let concat = unet.condition(&wave(&[clips, side, side, 4], 0.3), frames).unwrap();
    let audio = projection.forward(&wave(&[clips * frames, 2, projection.inputs()], 0.7)).unwrap();
    let audio = audio.reshape(&[clips, frames, audio.last_dim()]).unwrap();
    let prompt = Prompt { concat: &concat, audio: &audio, unheard: 0, emotion: None };
    let prepared = unet.prepare(prompt, &mut Trace::off()).unwrap();
    let x = wave(&[clips, frames, side, side, 4], 1.1);
    let forward = |x: &Tensor, c_noise: f32, deep: Deep<'_>| {
        unet.forward(x, &prepared, &vec![c_noise; clips * frames], None, deep, &mut Trace::off()).unwrap()
    };
    let near = x.affine(0.97, 0.01).unwrap();
    let exact = forward(&x, 0.3, Deep::Run).to_f32().unwrap();
    let before = gpu.memory().current;
    let mut kept = None;
    assert_eq!(forward(&x, 0.3, Deep::Keep(&mut kept)).to_f32().unwrap(), exact, "keeping changes nothing");
    let features = kept.unwrap();
    // Of the second level's width, at the first level's size.
    assert_eq!(features.shape(), [clips, frames, side, side, 64]);
    assert_eq!(features.elem(), Elem::F16);
    assert_eq!(gpu.memory().current - before, features.size_bytes().next_multiple_of(256));
    assert_eq!(forward(&x, 0.3, Deep::Reuse(&features)).to_f32().unwrap(), exact, "the same input, the same output");

    let wanted = forward(&near, 0.2, Deep::Run).to_f32().unwrap();
    let reused = forward(&near, 0.2, Deep::Reuse(&features)).to_f32().unwrap();
    let (moved, step) = (distance(&reused, &wanted), distance(&exact, &wanted));
    println!("reused {moved:.5} from exact, {step:.5} from one input to the next");
    assert!(moved > 0.0 && moved < step, "{moved} of {step}");
    drop(features);
    assert_eq!(gpu.memory().current, before, "freed");
}

#[test]
fn nothing_is_approximated_by_default() {
    let course = Sampling::default().course(Guidance::default()).unwrap();
    assert_eq!((course.evaluations(), course.work()), (33, 33.0));
    assert_eq!(Sampling::default().sampler, Sampler::default());
}

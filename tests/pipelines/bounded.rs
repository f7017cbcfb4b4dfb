//! How much one dispatch and one submission hold at the published size, counted without computing anything.

use super::device::there;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use viseme::gpu::{Counted, Elem, Gpu, LONGEST_S, Rate, Work};
use viseme::models::clip_unet::{ClipUnet, Prompt};
use viseme::models::unet::{Config, Deep};
use viseme::models::vae::Decoder;
use viseme::nn::{Loader, Trace};
use viseme::tensor::Tensor;
use viseme::weights::Weights;
use viseme::weights::formula::FormulaSource;

const FRAMES: usize = 14;
const BRANCHES: usize = 3;
const WINDOWS: usize = 2;
const SIDE: usize = 64;

/// The shapes of the demo's `role`, ten times as wide where they count channels: the published network's.
fn published(role: &str) -> Weights {
    let demo: Value = serde_json::from_str(include_str!("../../weights/demo/shapes.json")).unwrap();
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_value(demo[role].clone()).unwrap();
    // Smaller numbers are kernels, colours and latents' channels.
    let wide = |n: usize| if n >= 32 { 10 * n } else { n };
    let shapes = shapes.into_iter().map(|(name, shape)| (name, shape.into_iter().map(wide).collect())).collect();
    Weights::from_source(FormulaSource::new(shapes, 0, true, 1.0))
}

/// What `run` hands to a device of `rate`: each dispatch and each submission.
fn counted(rate: Rate, run: impl Fn(&Gpu)) -> Option<Vec<Counted>> {
    let gpu = there(Gpu::new(None))?;
    let told = Arc::new(Mutex::new(Vec::new()));
    let record = told.clone();
    gpu.set_rate(rate);
    gpu.count_only(Box::new(move |counted| record.lock().unwrap().push(counted)));
    run(&gpu);
    gpu.submit().unwrap();
    let told = std::mem::take(&mut *told.lock().unwrap());
    Some(told)
}

/// One evaluation of the UNet for three branches of two windows at 64x64 latents.
fn forward(gpu: &Gpu) {
    let clips = BRANCHES * WINDOWS;
    let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape, Elem::F32).unwrap();
    let run = |w: &Weights| {
        let loader = Loader::new(gpu, w, Elem::F16).at("model");
        let unet = ClipUnet::load(&loader, Config { head_dim: 64 }, Elem::F16)?;
        let context = w.shape("conditioner.embedders.2.linear.weight").expect("a projection")[0];
        let concat = unet.condition(&zeros(&[clips, SIDE, SIDE, 4]), FRAMES)?;
        let audio = zeros(&[clips, FRAMES, context]);
        let prompt = Prompt { concat: &concat, audio: &audio, unheard: 2 * WINDOWS, emotion: None };
        let prepared = unet.prepare(prompt, &mut Trace::off())?;
        let x = zeros(&[clips, FRAMES, SIDE, SIDE, 4]);
        unet.forward(&x, &prepared, &vec![0.5; clips * FRAMES], None, Deep::Run, &mut Trace::off())
    };
    published("keyframe").plan(run).unwrap();
}

/// One 512x512 frame of the decoder, whose widest tensors are the largest of all.
fn decode(gpu: &Gpu) {
    let run = |w: &Weights| {
        let decoder = Decoder::load(&Loader::new(gpu, w, Elem::F16))?;
        decoder.forward(&Tensor::zeros(gpu, &[1, SIDE, SIDE, 4], Elem::F32)?, &mut Trace::off())
    };
    vae().plan(run).unwrap();
}

/// The published decoder: the demo's at four times its channels.
fn vae() -> Weights {
    let demo: Value = serde_json::from_str(include_str!("../../weights/demo/shapes.json")).unwrap();
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_value(demo["vae"].clone()).unwrap();
    let wide = |n: usize| if n >= 32 { 4 * n } else { n };
    let shapes = shapes.into_iter().map(|(name, shape)| (name, shape.into_iter().map(wide).collect())).collect();
    Weights::from_source(FormulaSource::new(shapes, 0, true, 1.0))
}

/// The rates of a laptop's GPU, of two cores of a CPU, and of a large GPU.
const RATES: [Rate; 3] =
    [Rate { flops: 8e11, bytes: 3e10 }, Rate { flops: 5e10, bytes: 5e9 }, Rate { flops: 1e14, bytes: 2e12 }];

#[test]
fn no_dispatch_and_no_submission_of_the_published_networks_takes_longer_than_it_may() {
    for (name, run, tflop) in [("unet", forward as fn(&Gpu), Some(18.4 * 6.0)), ("decoder", decode, None)] {
        let mut dispatches = Vec::new();
        for rate in RATES {
            let Some(told) = counted(rate, run) else { return };
            let (mut total, mut longest, mut submissions, mut submitted) = (Work::default(), 0.0, 0, Work::default());
            let mut count = 0;
            for counted in &told {
                let (what, work) = match counted {
                    Counted::Dispatch { kernel, work, .. } => {
                        count += 1;
                        total = total + *work;
                        (*kernel, *work)
                    }
                    Counted::Copy(work) => {
                        total = total + *work;
                        ("copy", *work)
                    }
                    Counted::Submission(work) => {
                        submissions += 1;
                        submitted = submitted + *work;
                        ("submission", *work)
                    }
                };
                let seconds = rate.seconds(work);
                assert!(seconds <= LONGEST_S * 1.0001, "{name}: {what} of {seconds:.3} s at {rate:?}");
                longest = f64::max(longest, seconds);
            }
            println!(
                "{name} at {:.0} GFLOP/s: {count} dispatches in {submissions} submissions, the longest {longest:.3} s, {:.1} TFLOP, {:.0} GB",
                rate.flops / 1e9,
                total.flops / 1e12,
                total.bytes / 1e9
            );
            assert!((submitted.flops / total.flops - 1.0).abs() < 1e-6, "{name}: what is told is submitted");
            let is_long = rate.seconds(total) > 1.0;
            assert!(longest > 0.1 || !is_long, "{name}: {longest} s at a time leaves a device idle");
            if let Some(tflop) = tflop {
                let share = total.flops / 1e12 / tflop;
                assert!((0.9..1.1).contains(&share), "{name}: {:.1} TFLOP counted", total.flops / 1e12);
            }
            dispatches.push(count);
        }
        assert!(dispatches[1] > dispatches[0] && dispatches[0] >= dispatches[2], "{name}: {dispatches:?}");
    }
}

//! Measures which of an operation's bit-equal variants is fastest on a device, once per driver.
//!
//! It runs before a job, over a fixed list of shapes that stand for the classes of [`Tuning`], and not at the first use of a
//! shape: a job then has no hitch, its table is known when it starts, and the networks' own shapes need not be.

use super::tuning::{AttentionClass, MatrixTile, ProductClass, ProductKernel, QueryTile, Scratch, Tuning, Workgroup};
use super::{Attend, ConvClass, Epilogue, Geometry, PackedWeight, Raw, Rows, WeightShape};
use crate::gpu::{Capabilities, Elem, Gpu};
use crate::tensor::Tensor;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A candidate takes the default's place if it needs at most this share of its time.
const FASTER: f64 = 0.95;
/// Each candidate's shortest time of so many counts; they take turns.
const ROUNDS: usize = 3;
/// What is timed at once, in seconds, so that submission does not count for much.
const LONG_ENOUGH: f64 = 2e-3;

const FILE: &str = "tuning.json";

/// As it lies on disk, beside the compiled kernels of an adapter and driver.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Of this crate: the variants and their speed go with it.
    version: String,
    tuning: Tuning,
}

type Run = Box<dyn Fn() -> Result<Tensor>>;
type Vary = Box<dyn Fn(&Tuning, &Capabilities) -> Vec<Tuning>>;
type Prepare = Box<dyn Fn(&Gpu) -> Result<Run>>;

/// A class of shapes: its variants, and an operation of such a shape.
struct Step {
    /// The table with each variant worth measuring, the default first; none where the class is decided.
    vary: Vary,
    prepare: Prepare,
}

/// The table that an earlier run kept for `gpu`'s adapter and driver, completed by measuring for about `budget`, each operation
/// announced by a call of `progress` with its number and how many there are. It becomes the device's, and is kept where
/// [`Gpu::keep_kernels`] has a folder. What the budget does not reach keeps its default until the next run.
pub fn autotune(gpu: &Gpu, budget: Duration, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let kept = gpu.kept_file(FILE).and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    let kept = kept.filter(|kept| kept.version == env!("CARGO_PKG_VERSION"));
    let before = kept.map(|kept| kept.tuning).unwrap_or_default();
    let mut table = before.clone();
    let deadline = Instant::now() + budget;
    let steps: Vec<Step> =
        steps().into_iter().filter(|step| !(step.vary)(&table, gpu.capabilities()).is_empty()).collect();
    for (number, step) in steps.iter().enumerate() {
        if Instant::now() >= deadline {
            break;
        }
        progress(number, steps.len());
        match fastest(gpu, step, &table, deadline) {
            Ok(chosen) => table = chosen,
            Err(lost @ Error::DeviceLost { .. }) => return Err(lost),
            Err(error) => tracing::warn!("an operation was not tuned: {error}"),
        }
    }
    gpu.set(table.clone());
    if table != before {
        gpu.trim()?;
        gpu.reset_peak();
        let kept = Kept { version: env!("CARGO_PKG_VERSION").to_string(), tuning: table };
        if let Ok(bytes) = serde_json::to_vec_pretty(&kept) {
            gpu.keep_file(FILE, &bytes);
        }
    }
    Ok(())
}

/// The table with the fastest of a step's variants. One whose result is not the default's, bit by bit, is out: drivers may
/// contract and reorder as WGSL lets them.
fn fastest(gpu: &Gpu, step: &Step, table: &Tuning, deadline: Instant) -> Result<Tuning> {
    let run = (step.prepare)(gpu)?;
    let mut bits: Option<Vec<u8>> = None;
    let mut timed: Vec<(Tuning, f64)> = Vec::new();
    for variant in (step.vary)(table, gpu.capabilities()) {
        // At least two, so that each run decides something.
        if timed.len() >= 2 && Instant::now() >= deadline {
            break;
        }
        gpu.set(variant.clone());
        let made = run().and_then(|y| y.to_bytes());
        match (made, &bits) {
            (Ok(made), None) => bits = Some(made),
            (Ok(made), Some(bits)) if made == *bits => {}
            (Ok(_), Some(_)) => continue,
            (Err(error), None) => return Err(error),
            (Err(lost @ Error::DeviceLost { .. }), _) => return Err(lost),
            (Err(_), Some(_)) => continue,
        }
        timed.push((variant, f64::INFINITY));
    }

    let once = time(gpu, &run, 1)?;
    let times = (LONG_ENOUGH / once.max(1e-6)).ceil().clamp(1.0, 16.0) as usize;
    for round in 0..ROUNDS {
        if round > 0 && Instant::now() >= deadline {
            break;
        }
        for (variant, best) in &mut timed {
            gpu.set(variant.clone());
            *best = best.min(time(gpu, &run, times)?);
        }
    }
    let default = timed.first().map_or(f64::INFINITY, |(_, seconds)| *seconds);
    let chosen = timed.iter().min_by(|(_, a), (_, b)| a.total_cmp(b)).filter(|(_, best)| *best <= FASTER * default);
    tracing::debug!("{:?}", timed.iter().map(|(_, seconds)| seconds).collect::<Vec<_>>());
    Ok(chosen.or(timed.first()).map_or_else(|| table.clone(), |(table, _)| table.clone()))
}

/// Seconds of one of `times` runs.
fn time(gpu: &Gpu, run: &Run, times: usize) -> Result<f64> {
    gpu.wait()?;
    let start = Instant::now();
    for _ in 0..times {
        run()?;
    }
    gpu.wait()?;
    Ok(start.elapsed().as_secs_f64() / times as f64)
}

/// All classes, those that weigh most in a job first.
fn steps() -> Vec<Step> {
    let product = |class: ProductClass, images: [usize; 4], columns: usize, kernel: usize| Step {
        vary: Box::new(move |table, capabilities| {
            if capabilities.matrices.is_some() {
                let variant = |tile| {
                    let mut table = table.clone();
                    table.matrices.insert(class, tile);
                    table
                };
                return variants(table.matrices.contains_key(&class), MatrixTile::candidates(class), variant);
            }
            let variant = |kernel| {
                let mut table = table.clone();
                table.products.insert(class, kernel);
                table
            };
            let decided = table.products.contains_key(&class);
            variants(decided, ProductKernel::candidates(class, capabilities), variant)
        }),
        prepare: Box::new(move |gpu| convolution(gpu, images, columns, kernel, ConvClass::Direct)),
    };
    let attention = |class: AttentionClass, shape: [usize; 4]| Step {
        vary: Box::new(move |table, capabilities| {
            let variant = |tile| {
                let mut table = table.clone();
                table.attention.insert(class, tile);
                table
            };
            let decided = table.attention.contains_key(&class);
            variants(decided, QueryTile::candidates(class, capabilities), variant)
        }),
        prepare: Box::new(move |gpu| self_attention(gpu, shape)),
    };
    // Transforms and their scratch: of the class that only software devices use.
    let transforms = Step {
        vary: Box::new(|table, capabilities| {
            let decided = table.transforms.is_some() || !capabilities.software;
            let variant = |workgroup| Tuning { transforms: Some(workgroup), ..table.clone() };
            variants(decided, Workgroup::transforms_candidates(capabilities), variant)
        }),
        prepare: Box::new(|gpu| convolution(gpu, [4, 32, 32, 320], 64, 3, ConvClass::F43)),
    };
    let scratch = Step {
        vary: Box::new(|table, capabilities| {
            let decided = table.winograd_scratch.is_some() || !capabilities.software;
            let variant = |scratch| Tuning { winograd_scratch: Some(scratch), ..table.clone() };
            variants(decided, Scratch::ALL.to_vec(), variant)
        }),
        prepare: Box::new(|gpu| convolution(gpu, [14, 32, 32, 320], 64, 3, ConvClass::F43)),
    };
    let elementwise = Step {
        vary: Box::new(|table, capabilities| {
            let variant = |workgroup| Tuning { elementwise: Some(workgroup), ..table.clone() };
            variants(table.elementwise.is_some(), Workgroup::elementwise_candidates(capabilities), variant)
        }),
        prepare: Box::new(|gpu| {
            let x = ramp(gpu, &[14 * 32 * 32, 320])?;
            Ok(Box::new(move || x.silu()))
        }),
    };
    vec![
        product(ProductClass::LargeConv, [5, 64, 64, 32], 256, 3),
        product(ProductClass::LargeMatmul, [1, 128, 64, 320], 640, 1),
        product(ProductClass::MiddleConv, [8, 16, 16, 160], 160, 3),
        product(ProductClass::MiddleMatmul, [1, 64, 56, 320], 640, 1),
        scratch,
        transforms,
        attention(AttentionClass::Narrow, [2, 1024, 5, 64]),
        product(ProductClass::SmallConv, [4, 8, 8, 320], 320, 3),
        product(ProductClass::SmallMatmul, [1, 16, 14, 640], 640, 1),
        elementwise,
        attention(AttentionClass::Few, [1024, 14, 5, 64]),
        product(ProductClass::Narrow, [2, 64, 64, 64], 4, 3),
        attention(AttentionClass::Wide, [1, 512, 1, 512]),
    ]
}

/// The tables of `candidates`, or none where nothing is to be decided.
fn variants<T>(decided: bool, candidates: Vec<T>, variant: impl Fn(T) -> Tuning) -> Vec<Tuning> {
    if decided || candidates.len() < 2 { Vec::new() } else { candidates.into_iter().map(variant).collect() }
}

fn convolution(gpu: &Gpu, images: [usize; 4], columns: usize, side: usize, class: ConvClass) -> Result<Run> {
    let [_, height, width, channels] = images;
    let shape = WeightShape { columns, group_channels: channels, kernel: [side, side], groups: 1 };
    let values: Vec<f32> = (0..columns * channels * side * side).map(wave).collect();
    let raw = Raw::F32(bytemuck::cast_slice(&values));
    let weight = PackedWeight::pack(gpu, shape, Elem::F16, raw, "autotune")?.with_class(class, raw)?;
    let x = ramp(gpu, &images)?;
    let geometry = Geometry { stride: 1, pad: [side / 2; 2], out: [height, width], upsample: false };
    Ok(Box::new(move || x.conv2d(&weight, geometry, Epilogue::default())))
}

fn self_attention(gpu: &Gpu, [batches, tokens, heads, head_dim]: [usize; 4]) -> Result<Run> {
    let width = heads * head_dim;
    let qkv = ramp(gpu, &[batches, tokens, 3 * width])?;
    Ok(Box::new(move || {
        let rows = Rows::of(&qkv)?;
        let (k, v) = (rows.column(width), rows.column(2 * width));
        Attend { q: rows, k, v, heads, head_dim, scale: (head_dim as f32).powf(-0.5), bias: None }.run()
    }))
}

fn ramp(gpu: &Gpu, shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(wave).collect();
    Tensor::from_values(gpu, shape, Elem::F16, &values)
}

/// Values in [-0.5, 0.5) without a short period.
fn wave(i: usize) -> f32 {
    (i as u32).wrapping_mul(2_654_435_761) as f32 / 4_294_967_296.0 - 0.5
}

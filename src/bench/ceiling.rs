//! The device's own limits, measured, and how near to them a case comes (Williams et al. 2009, Roofline).

use super::Row;
use crate::gpu::{Elem, Gpu};
use crate::ops::{Arithmetic, Chains};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::time::Instant;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Bytes read and bytes written.
    Bytes,
    /// Multiplications and additions into f32 sums, as every kernel here forms them.
    Flops,
    /// The same into f16 sums: no kernel is allowed that, so that it binds none.
    HalfFlops,
}

/// The best rate of a device at one thing, per second; an error says why it has none.
pub struct Limit {
    pub name: &'static str,
    pub counted: Counted,
    pub rate: Result<f64>,
}

/// All limits of a device.
pub struct Ceilings {
    pub limits: Vec<Limit>,
}

/// How near a case comes to the limit that binds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// 1 at the limit; more where operands stay in a cache that the copies do not fit.
    pub of_limit: f64,
    pub bound_by: Counted,
}

/// Copies larger than any cache, and small enough for any device.
const COPY_BYTES: u64 = 128 << 20;
/// A measurement lasts at least this long.
const LONG_ENOUGH_S: f64 = 0.05;
/// The best of so many counts: a ceiling is what the device can do, not what it mostly does.
const REPEATS: usize = 5;
/// Numbers of independent accumulators; the best depends on latency and on how many registers there are.
const CHAINS: [u32; 3] = [2, 3, 6];

impl Ceilings {
    /// Takes some seconds.
    pub fn measure(gpu: &Gpu) -> Result<Self> {
        let len = COPY_BYTES.min(gpu.capabilities().max_buffer_bytes) as usize / 4;
        let x = Tensor::zeros(gpu, &[len], Elem::F32)?;
        let copy = |run: &dyn Fn() -> Result<Tensor>| fastest(gpu, 2.0 * x.size_bytes() as f64, run);
        let limit = |name, counted, rate| Limit { name, counted, rate };
        let limits = vec![
            limit("copy by a kernel", Counted::Bytes, copy(&|| x.copied())),
            limit("copy by a command", Counted::Bytes, copy(&|| x.copied_by_command())),
            limit("f32 multiply-add", Counted::Flops, multiply_add(gpu, Arithmetic::F32)),
            limit("f16 multiply-add", Counted::HalfFlops, multiply_add(gpu, Arithmetic::F16)),
            limit("16x16 matrices", Counted::Flops, multiply_add(gpu, Arithmetic::Matrix(16))),
            limit("8x8 matrices", Counted::Flops, multiply_add(gpu, Arithmetic::Matrix(8))),
        ];
        let ceilings = Self { limits };
        if ceilings.best(Counted::Bytes) <= 0.0 || ceilings.best(Counted::Flops) <= 0.0 {
            let failed: Vec<String> =
                ceilings.limits.into_iter().filter_map(|l| l.rate.err()).map(|e| e.to_string()).collect();
            return Err(Problem::new("ceiling", "a device that copies and computes", failed.join("; ")).gpu());
        }
        Ok(ceilings)
    }

    /// The highest rate of a kind; 0 where there is none.
    pub fn best(&self, counted: Counted) -> f64 {
        let rates = self.limits.iter().filter(|limit| limit.counted == counted);
        rates.filter_map(|limit| limit.rate.as_ref().ok()).copied().fold(0.0, f64::max)
    }

    /// The least time for a case's bytes or operations, whichever takes longer, against the time it took; None for a case
    /// that counts neither.
    pub fn share(&self, row: &Row) -> Option<Share> {
        let moving = row.bytes / self.best(Counted::Bytes);
        let computing = row.flops / self.best(Counted::Flops);
        let bound_by = if moving > computing { Counted::Bytes } else { Counted::Flops };
        let least = moving.max(computing);
        (least > 0.0 && row.seconds > 0.0).then(|| Share { of_limit: least / row.seconds, bound_by })
    }
}

/// `work` per second of the fastest of several runs, after one that compiles.
fn fastest(gpu: &Gpu, work: f64, run: &dyn Fn() -> Result<Tensor>) -> Result<f64> {
    run()?;
    gpu.wait()?;
    let mut best = f64::INFINITY;
    for _ in 0..REPEATS {
        let start = Instant::now();
        run()?;
        gpu.wait()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(work / best)
}

fn multiply_add(gpu: &Gpu, arithmetic: Arithmetic) -> Result<f64> {
    Chains::supported(gpu, arithmetic)?;
    // Enough invocations to fill the device; a software device has few lanes and is slow.
    let quads = if gpu.capabilities().software { 1 << 14 } else { 1 << 18 };
    let mut best: f64 = 0.0;
    for chains in CHAINS {
        // Stays finite in every element type: v tends to 1, and a matrix grows by 2^-8 a step.
        let mut chain = match arithmetic {
            Arithmetic::Matrix(_) => Chains { arithmetic, chains, rounds: 16, scale: 0.0625, shift: 0.0039 },
            _ => Chains { arithmetic, chains, rounds: 16, scale: 0.5, shift: 0.5 },
        };
        chain.run(gpu, quads)?;
        gpu.wait()?;
        loop {
            let start = Instant::now();
            chain.run(gpu, quads)?;
            gpu.wait()?;
            if start.elapsed().as_secs_f64() >= LONG_ENOUGH_S || chain.rounds >= 1 << 20 {
                break;
            }
            chain.rounds *= 2;
        }
        best = best.max(fastest(gpu, chain.flops(quads), &|| chain.run(gpu, quads))?);
    }
    Ok(best)
}

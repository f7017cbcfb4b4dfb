//! What a device does in a second, and how large a dispatch may be for it.

use super::{Epilogue, PackedWeight, Raw, WeightShape};

use crate::gpu::{Elem, Gpu, LONGEST_S, Rate, Work};
use crate::tensor::Tensor;
use crate::{Error, Result};
use std::ops::Range;
use std::time::Instant;

/// Rows, channels and columns of the product that is timed: one that fills a large GPU, and one that a software device does in
/// some ten milliseconds.
const PRODUCT: [usize; 3] = [8192, 512, 512];
const SOFTWARE_PRODUCT: [usize; 3] = [512, 512, 512];
/// Elements of the f32 tensor that is copied: beyond a GPU's caches.
const COPY: usize = 8 << 20;
const SOFTWARE_COPY: usize = 4 << 20;
/// What is timed at once, in seconds, so that submission does not count for much; the shortest of so many counts.
const LONG_ENOUGH_S: f64 = 5e-3;
const ROUNDS: usize = 3;
/// Work, in submissions at the least rate, that is not worth measuring for.
const SMALL: f64 = 16.0;

/// The rate of `gpu`, measured by the first call: that of the product kernel in f16, and that of a copy.
pub fn rate(gpu: &Gpu) -> Result<Rate> {
    let measured = || match measure(gpu) {
        // Under a tight budget the least has to do.
        Err(Error::OutOfMemory { .. }) => Ok(gpu.rate()),
        measured => measured,
    };
    gpu.rate_by(measured)?;
    Ok(gpu.rate())
}

/// Ranges of the `groups` workgroups of an operation of `work` in all, none of which takes longer than a dispatch may. How it is
/// cut changes no bit of a result: each workgroup does what it did.
pub(super) fn pieces(gpu: &Gpu, work: Work, groups: usize) -> Result<impl Iterator<Item = Range<usize>>> {
    // A first large operation, or enough small ones, make the measurement worth its while.
    let least = gpu.rate().seconds(work);
    if least > LONGEST_S || gpu.rate().seconds(gpu.work()) > SMALL * LONGEST_S {
        rate(gpu)?;
    }
    let parts = (gpu.rate().seconds(work) / LONGEST_S).ceil().max(1.0);
    let step = ((groups as f64 / parts) as usize).max(1);
    // Up to a row of workgroups, or whole rows, so that folding adds none.
    let step = if step > ROW && step < groups { step / ROW * ROW } else { step };
    Ok((0..groups).step_by(step).map(move |first| first..groups.min(first + step)))
}

/// Workgroups along an axis of a dispatch.
const ROW: usize = 65535;

fn measure(gpu: &Gpu) -> Result<Rate> {
    let software = gpu.capabilities().software;
    let [rows, channels, columns] = if software { SOFTWARE_PRODUCT } else { PRODUCT };
    let shape = WeightShape::linear(columns, channels);
    let values = vec![0.01_f32; columns * channels];
    let weight = PackedWeight::pack(gpu, shape, Elem::F16, Raw::F32(bytemuck::cast_slice(&values)), "rate")?;
    let bias = Tensor::zeros(gpu, &[columns], Elem::F32)?;
    let x = Tensor::zeros(gpu, &[rows, channels], Elem::F16)?;
    let epilogue = Epilogue { bias: Some(&bias), ..Default::default() };
    let seconds = shortest(gpu, || x.linear(&weight, epilogue))?;
    let flops = 2.0 * (rows * channels * columns) as f64 / seconds;
    drop((weight, x));
    let x = Tensor::zeros(gpu, &[if software { SOFTWARE_COPY } else { COPY }], Elem::F32)?;
    let seconds = shortest(gpu, || x.copied_by_command())?;
    Ok(Rate { flops, bytes: 2.0 * x.size_bytes() as f64 / seconds })
}

/// Seconds of one `run`, at best, after one that compiles.
fn shortest(gpu: &Gpu, run: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let timed = |times: usize| -> Result<f64> {
        gpu.wait()?;
        let start = Instant::now();
        for _ in 0..times {
            run()?;
        }
        gpu.wait()?;
        Ok((start.elapsed().as_secs_f64() / times as f64).max(1e-9))
    };
    run()?;
    let once = timed(1)?;
    let times = (LONG_ENOUGH_S / once).ceil().clamp(1.0, 64.0) as usize;
    (0..ROUNDS).try_fold(once, |best, _| Ok(best.min(timed(times)?)))
}

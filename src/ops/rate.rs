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
const SOFTWARE_COPY: usize = 2 << 20;
/// What is timed at once, in seconds, so that submission does not count for much; the shortest of so many counts.
const LONG_ENOUGH_S: f64 = 5e-3;
const ROUNDS: usize = 3;
/// Work, in submissions at the least rate, that is not worth measuring for.
const SMALL: f64 = 16.0;

/// The rate of `gpu`, measured by the first call: that of the product kernel in f16, and that of a copy.
pub fn rate(gpu: &Gpu) -> Result<Rate> {
    let measured = || match measure(gpu) {
        Err(error @ (Error::DeviceLost { .. } | Error::Cancelled)) => Err(error),
        // Such as under a tight budget: the least, which is right anywhere, has to do.
        Err(error) => {
            tracing::warn!("how fast the device is was not measured, so that its work is cut small: {error}");
            Ok(gpu.rate())
        }
        measured => measured,
    };
    gpu.rate_by(measured)?;
    Ok(gpu.rate())
}

/// Ranges of the `groups` workgroups of an operation of `work` in all, none of which takes longer than a dispatch may. How it is
/// cut changes no bit of a result: each workgroup does what it did.
pub(super) fn pieces(gpu: &Gpu, work: Work, groups: usize) -> Result<impl Iterator<Item = Range<usize>>> {
    let mut known = gpu.rate();
    // A first large operation, or enough small ones, make the measurement worth its while.
    let is_large = || known.seconds(work) > LONGEST_S || known.seconds(gpu.work()) > SMALL * LONGEST_S;
    if !gpu.is_rated() && is_large() {
        known = rate(gpu)?;
    }
    let step = groups_at_once(groups, known.seconds(work)).min(groups.div_ceil(gpu.least_parts()).max(1));
    Ok((0..groups).step_by(step).map(move |first| first..groups.min(first + step)))
}

/// How many of `groups` workgroups, which take `seconds` together, a dispatch may have.
fn groups_at_once(groups: usize, seconds: f64) -> usize {
    /// Workgroups along an axis of a dispatch.
    const ROW: usize = 65535;
    let parts = (seconds / LONGEST_S).ceil().max(1.0);
    let step = ((groups as f64 / parts) as usize).max(1);
    // Up to a row of workgroups, or whole rows, so that folding adds none that another part has too.
    if step > ROW && step < groups { step / ROW * ROW } else { step }
}

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
    let rate = Rate { flops, bytes: 2.0 * x.size_bytes() as f64 / seconds };
    drop((bias, x));
    // The job needs other sizes.
    gpu.trim()?;
    Ok(rate)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_takes_longer_than_it_may_and_none_overlaps_another() {
        for (groups, seconds) in
            [(1, 1e-9), (1, 100.0), (7, 0.25), (7, 0.26), (100, 3.1), (65_536, 0.3), (1 << 20, 1.0), (1 << 20, 0.6)]
        {
            let step = groups_at_once(groups, seconds);
            assert!((1..=groups).contains(&step), "{groups}, {seconds}");
            let each = seconds * step as f64 / groups as f64;
            assert!(step == 1 || each <= LONGEST_S * (1.0 + 1e-9), "{groups}, {seconds}: {step} take {each}");
            // Folded over two axes the workgroups are exactly as many as asked for, but for the last part.
            let [x, y, _] = crate::gpu::fold(step);
            assert!(step == groups || x as usize * y as usize == step, "{groups}, {seconds}: {step} as {x} x {y}");
        }
        assert_eq!(groups_at_once(1000, 0.2), 1000);
        assert_eq!(groups_at_once(1000, 2.5), 100);
    }
}

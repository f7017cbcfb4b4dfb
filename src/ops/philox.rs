//! Reproducible noise: the same on every device and for every way of cutting a job into parts.

use super::{Call, FLAT, quad_ranges};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("philox_normal");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    first: u32,
    per_frame: u32,
    frame: u32,
    purpose: u32,
    last: u32,
    key_low: u32,
    key_high: u32,
}

impl Tensor {
    /// Standard normal noise `shape` `[frames, height, width, channels]` for the frames from `first_frame` of the whole job
    /// on. `purpose` keeps noises of one frame apart. Source: Philox 4x32-10 (Salmon et al. 2011).
    pub fn noise(gpu: &Gpu, seed: u64, purpose: u32, first_frame: u32, shape: [usize; 4]) -> Result<Tensor> {
        let [frames, height, width, channels] = shape;
        let per_frame = height * width * channels;
        if u32::try_from(frames * per_frame).is_err() {
            return Err(Problem::new("noise", "at most 2^32 elements", format!("{shape:?}")).shape());
        }
        let y = Tensor::empty(gpu, &shape, Elem::F32)?;
        let params = Params {
            count: 0,
            first: 0,
            per_frame: per_frame as u32,
            frame: first_frame,
            purpose,
            last: 0,
            key_low: seed as u32,
            key_high: (seed >> 32) as u32,
        };
        philox(&y, params, ("WHOLE", u32::from(per_frame.is_multiple_of(4))))?;
        Ok(y)
    }

    /// The generator's words `[count, 4]` for `counter` and those that follow it in the first word: for checks against
    /// published vectors.
    pub fn philox_words(gpu: &Gpu, key: [u32; 2], counter: [u32; 4], count: usize) -> Result<Tensor> {
        let y = Tensor::empty(gpu, &[count, 4], Elem::U32)?;
        let [first, frame, purpose, last] = counter;
        let [key_low, key_high] = key;
        let params = Params { count: 0, first, per_frame: 0, frame, purpose, last, key_low, key_high };
        philox(&y, params, ("RAW", 1))?;
        Ok(y)
    }
}

fn philox(y: &Tensor, params: Params, variant: (&'static str, u32)) -> Result<()> {
    for range in quad_ranges(&[y])? {
        let first = params.first.wrapping_add(range.start as u32);
        Call {
            kernel: &KERNEL,
            constants: &[FLAT, variant],
            params: Params { count: range.len() as u32, first, ..params },
            tensors: &[&y.quads(&range)?],
            groups: range.len().div_ceil(FLAT.1 as usize),
            flops: 200.0 * range.len() as f64,
            site: None,
        }
        .record()?;
    }
    Ok(())
}

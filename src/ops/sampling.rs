//! The arithmetic of a diffusion step on latents, all in f32.

use super::{Call, FLAT, quad_ranges, reduction_constants, row_ranges};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const DENOISE: Kernel = super::kernel!("denoise");
pub(super) const STEP: Kernel = super::kernel!("sampler_step");
pub(super) const UPDATE: Kernel = super::kernel!("guidance_update");

/// What stays as it is: `mask * latents + (1 - mask) * clean`.
#[derive(Clone, Copy)]
pub struct Inpaint<'a> {
    /// `[clips, frames, height, width, 1]`, 1 where latents are generated.
    pub mask: &'a Tensor,
    /// Clean scaled latents, `[clips, frames, height, width, channels]`.
    pub clean: &'a Tensor,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct DenoiseParams {
    count: u32,
    first: u32,
    period: u32,
    channels: u32,
    c_out: f32,
    c_skip: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct StepParams {
    count: u32,
    a: f32,
    b: f32,
    c: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct UpdateParams {
    rows: u32,
    width: u32,
    threshold: f32,
    eta: f32,
}

impl Tensor {
    /// `mask * self + (1 - mask) * clean`.
    pub fn inpaint(&self, inpaint: Inpaint<'_>) -> Result<Tensor> {
        self.denoise(None, Some(inpaint), [1.0, 0.0])
    }

    /// `c_out * self + c_skip * input`, then inpainted; `self` holds one or more branches, one after another, that share
    /// `input` and `inpaint`.
    pub fn denoised(&self, input: &Tensor, [c_out, c_skip]: [f32; 2], inpaint: Option<Inpaint<'_>>) -> Result<Tensor> {
        input.denoise(Some(self), inpaint, [c_out, c_skip])
    }

    fn denoise(
        &self,
        network: Option<&Tensor>,
        inpaint: Option<Inpaint<'_>>,
        [c_out, c_skip]: [f32; 2],
    ) -> Result<Tensor> {
        let channels = self.last_dim();
        let out = network.unwrap_or(self);
        if !out.len().is_multiple_of(self.len().max(1)) {
            return Err(Problem::new("denoise", format!("branches of {self:?}"), format!("{out:?}")).shape());
        }
        if let Some(Inpaint { mask, clean }) = inpaint {
            clean.expect("clean latents", self.shape())?;
            if mask.len() * channels != self.len() {
                let expected = format!("one value per {channels} of {:?}", self.shape());
                return Err(Problem::new("inpainting mask", expected, format!("{mask:?}")).shape());
            }
        }
        // Latents are small beside every other tensor: where they fit a binding, all branches are cut as one.
        let whole = self.size_bytes() <= self.gpu().capabilities().max_binding_bytes;
        if let (false, Some(f)) = (whole, network)
            && f.len() > self.len()
        {
            let branches = f.reshape(&[f.len() / self.len(), self.len()])?;
            let parts = (0..branches.shape()[0]).map(|branch| {
                self.denoise(Some(&branches.narrow_rows(branch, 1)?.reshape(self.shape())?), inpaint, [c_out, c_skip])
            });
            let parts = parts.collect::<Result<Vec<_>>>()?;
            return Tensor::stack_rows(&parts.iter().collect::<Vec<_>>())?.reshape(f.shape());
        }
        let y = Tensor::empty(self.gpu(), out.shape(), Elem::F32)?;
        let constants = [FLAT, ("NETWORK", u32::from(network.is_some())), ("MASK", u32::from(inpaint.is_some()))];
        let ranges: Vec<_> = if whole {
            quad_ranges(&[out, &y])?.into_iter().map(|quads| 4 * quads.start..y.len().min(4 * quads.end)).collect()
        } else {
            let mut all = vec![self, &y];
            all.extend(inpaint.map(|inpaint| inpaint.mask));
            let pixels = row_ranges("denoise", self.len() / channels, &all)?;
            pixels.into_iter().map(|pixels| channels * pixels.start..channels * pixels.end).collect()
        };
        for range in ranges {
            let y_part = y.rows(y.len(), &range)?;
            let network = network.map(|f| f.rows(f.len(), &range)).transpose()?;
            let local = |t: &Tensor, per: usize| match whole {
                true => Ok(t.clone()),
                false => t.rows(t.len(), &(range.start / per..range.end / per)),
            };
            let x = local(self, 1)?;
            let inpaint = match inpaint {
                None => None,
                Some(Inpaint { mask, clean }) => Some((local(clean, 1)?, local(mask, channels)?)),
            };
            let mut tensors = Vec::new();
            tensors.extend(network.as_ref());
            tensors.push(&x);
            if let Some((clean, mask)) = &inpaint {
                tensors.extend([clean, mask]);
            }
            tensors.push(&y_part);
            Call {
                kernel: &DENOISE,
                constants: &constants,
                params: DenoiseParams {
                    count: y_part.len() as u32,
                    first: if whole { range.start as u32 } else { 0 },
                    period: x.len() as u32,
                    channels: channels as u32,
                    c_out,
                    c_skip,
                },
                tensors: &tensors,
                groups: range.len().div_ceil(4 * FLAT.1 as usize),
                flops: 8.0 * y_part.len() as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }

    /// An Euler step from `sigma` to `next`: `d = (self - denoised) / sigma`, then `self + (next - sigma) d`.
    pub fn euler_step(&self, denoised: &Tensor, sigma: f32, next: f32) -> Result<Tensor> {
        self.sampler_step(0, denoised, None, [sigma, next - sigma, 0.0])
    }

    /// `audio (cond - reference) + identity (reference - uncond) + uncond`, `self` being cond.
    pub fn guide(&self, reference: &Tensor, uncond: &Tensor, audio: f32, identity: f32) -> Result<Tensor> {
        self.sampler_step(1, reference, Some(uncond), [audio, identity, 0.0])
    }

    /// `a self + b y + c z`.
    pub fn combine(&self, y: &Tensor, z: &Tensor, [a, b, c]: [f32; 3]) -> Result<Tensor> {
        self.sampler_step(2, y, Some(z), [a, b, c])
    }

    /// What normalised guidance adds to a prediction, for each of `rows` samples by itself: `self`, the difference of two
    /// branches or its running average (`difference + momentum * average`, by [`Tensor::add_scaled`]), shortened to
    /// `threshold` where it is longer, its component along `cond` multiplied by `eta`. Source: Sadat et al. 2024.
    pub fn guidance_update(&self, cond: &Tensor, rows: usize, threshold: Option<f32>, eta: f32) -> Result<Tensor> {
        cond.expect("guidance_update cond", self.shape())?;
        if rows == 0 || !self.len().is_multiple_of(rows) {
            return Err(Problem::new("guidance_update", format!("rows that divide {self:?}"), rows.to_string()).shape());
        }
        let y = self.empty_like()?;
        for range in row_ranges("guidance_update", rows, &[self, cond, &y])? {
            let (rows_here, width) = (range.len(), self.len() / rows);
            Call {
                kernel: &UPDATE,
                constants: &reduction_constants(self.gpu()),
                params: UpdateParams {
                    rows: rows_here as u32,
                    width: width as u32,
                    threshold: threshold.unwrap_or(f32::MAX),
                    eta,
                },
                tensors: &[&self.rows(rows, &range)?, &cond.rows(rows, &range)?, &y.rows(rows, &range)?],
                groups: rows_here,
                flops: 10.0 * (rows_here * width) as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }

    fn sampler_step(&self, op: u32, y: &Tensor, z: Option<&Tensor>, [a, b, c]: [f32; 3]) -> Result<Tensor> {
        y.expect("sampler step", self.shape())?;
        z.map_or(Ok(()), |z| z.expect("sampler step", self.shape()))?;
        let out = self.empty_like()?;
        for range in quad_ranges(&[self, &out])? {
            let (x_part, y_part, out_part) = (self.quads(&range)?, y.quads(&range)?, out.quads(&range)?);
            let z_part = z.map(|z| z.quads(&range)).transpose()?;
            let mut tensors = vec![&x_part, &y_part];
            tensors.extend(z_part.as_ref());
            tensors.push(&out_part);
            Call {
                kernel: &STEP,
                constants: &[FLAT, ("OP", op)],
                params: StepParams { count: range.len() as u32, a, b, c },
                tensors: &tensors,
                groups: range.len().div_ceil(FLAT.1 as usize),
                flops: 16.0 * range.len() as f64,
                site: None,
            }
            .record()?;
        }
        Ok(out)
    }
}

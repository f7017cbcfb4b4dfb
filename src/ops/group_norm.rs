use super::{Activation, Call, FLAT, piece, reduction_constants, row_ranges};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const PARTIAL: Kernel = super::kernel!("group_norm_partial");
pub(super) const MERGE: Kernel = super::kernel!("group_norm_merge");
pub(super) const APPLY: Kernel = super::kernel!("group_norm_apply");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct PartialParams {
    samples: u32,
    positions: u32,
    channels: u32,
    groups: u32,
    block: u32,
    blocks: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MergeParams {
    samples: u32,
    groups: u32,
    blocks: u32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ApplyParams {
    count: u32,
    first: u32,
    sample_size: u32,
    channels: u32,
    groups: u32,
}

/// Values of one group that a workgroup reduces: enough to fill it, few enough that a small sample has several.
const BLOCK_VALUES: usize = 8192;

impl Tensor {
    /// `self`, seen as `[samples, positions, channels]`, normalised over positions and channels / groups, then scaled by
    /// `weight`, shifted by `bias` `[channels]` and activated. Same shape out.
    pub fn group_norm(
        &self,
        samples: usize,
        groups: usize,
        weight: &Tensor,
        bias: &Tensor,
        eps: f32,
        activation: Activation,
    ) -> Result<Tensor> {
        let channels = self.last_dim();
        weight.expect("group_norm weight", &[channels])?;
        bias.expect("group_norm bias", &[channels])?;
        let whole = samples > 0 && self.len().is_multiple_of(samples * channels);
        if groups == 0 || !channels.is_multiple_of(groups) || !whole {
            let found = format!("{:?} in {samples} samples", self.shape());
            return Err(Problem::new("group_norm", format!("channels in {groups} groups"), found).shape());
        }
        let limit = self.gpu().capabilities().max_binding_bytes as usize;
        let fitting = limit / (groups * 16);
        if fitting > 0 && fitting < samples {
            // The statistics are bound whole.
            let (y, size) = (self.empty_like()?, self.len() / samples);
            for first in (0..samples).step_by(fitting) {
                let count = fitting.min(samples - first);
                let part = piece(self, first * size, &[count, size / channels, channels])?;
                y.copy_in(first * size, &part.group_norm(count, groups, weight, bias, eps, activation)?)?;
            }
            return Ok(y);
        }
        let positions = self.len() / samples / channels;
        let vector = u32::from((channels / groups).is_multiple_of(4));
        let statistics = self.statistics(samples, positions, groups, eps, vector)?;

        let y = self.empty_like()?;
        let quads = self.len().div_ceil(4);
        for range in super::quad_ranges(&[self, &y])? {
            let (x_part, y_part) = (self.quads(&range)?, y.quads(&range)?);
            Call {
                kernel: &APPLY,
                constants: &[FLAT, ("VECTOR", vector), ("ACTIVATION", activation as u32)],
                params: ApplyParams {
                    count: y_part.len() as u32,
                    first: range.start as u32,
                    sample_size: (positions * channels) as u32,
                    channels: channels as u32,
                    groups: groups as u32,
                },
                tensors: &[&x_part, &statistics, weight, bias, &y_part],
                groups: range.len().div_ceil(FLAT.1 as usize),
                flops: 8.0 * 4.0 * range.len().min(quads) as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }

    /// Mean and 1 / sqrt(var + eps) as `[samples, groups, 4]`.
    fn statistics(&self, samples: usize, positions: usize, groups: usize, eps: f32, vector: u32) -> Result<Tensor> {
        let channels = self.last_dim();
        let limit = self.gpu().capabilities().max_binding_bytes as usize;
        let fitting = (limit / (channels * self.elem().size())).max(1);
        let block = (BLOCK_VALUES * groups / channels).clamp(1, positions.max(1)).min(fitting);
        let blocks = positions.div_ceil(block);
        let partial = Tensor::empty(self.gpu(), &[samples * blocks, groups, 4], Elem::F32)?;
        let mut constants = reduction_constants(self.gpu());
        constants.push(("VECTOR", vector));
        let record = |x: &Tensor, partial: &Tensor, samples: usize, positions: usize, blocks: usize| {
            Call {
                kernel: &PARTIAL,
                constants: &constants,
                params: PartialParams {
                    samples: samples as u32,
                    positions: positions as u32,
                    channels: channels as u32,
                    groups: groups as u32,
                    block: block as u32,
                    blocks: blocks as u32,
                },
                tensors: &[x, partial],
                groups: samples * blocks * groups,
                flops: 4.0 * x.len() as f64,
                site: None,
            }
            .record()
        };
        if self.size_bytes() <= self.gpu().capabilities().max_binding_bytes {
            record(self, &partial, samples, positions, blocks)?;
        } else {
            // Block by block, so that each begins a row of `partial`.
            for sample in 0..samples {
                for index in 0..blocks {
                    let first = index * block;
                    let rows = block.min(positions - first);
                    let x = piece(self, (sample * positions + first) * channels, &[rows, channels])?;
                    let part = Tensor::empty(self.gpu(), &[groups, 4], Elem::F32)?;
                    record(&x, &part, 1, rows, 1)?;
                    partial.copy_in((sample * blocks + index) * groups * 4, &part)?;
                }
            }
        }
        let statistics = Tensor::empty(self.gpu(), &[samples, groups, 4], Elem::F32)?;
        for range in row_ranges("group_norm", samples, &[&partial, &statistics])? {
            Call {
                kernel: &MERGE,
                constants: &[FLAT],
                params: MergeParams { samples: range.len() as u32, groups: groups as u32, blocks: blocks as u32, eps },
                tensors: &[&partial.rows(samples, &range)?, &statistics.rows(samples, &range)?],
                groups: (range.len() * groups).div_ceil(FLAT.1 as usize),
                flops: 0.0,
                site: None,
            }
            .record()?;
        }
        Ok(statistics)
    }
}

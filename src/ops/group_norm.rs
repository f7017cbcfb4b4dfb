use super::{Activation, Call, FLAT, piece, reduction_constants, row_ranges, streaming};
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
    block: u32,
    blocks: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MergeParams {
    samples: u32,
    groups: u32,
    channels: u32,
    positions: u32,
    block: u32,
    blocks: u32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ApplyParams {
    count: u32,
    first: u32,
    positions: u32,
    channels: u32,
}

/// Positions of a block: few enough that a small sample has several, enough that the blocks' statistics are small beside it.
const BLOCK: usize = 64;

/// Positions that one invocation normalises, where they divide a sample's.
const MOST_ROWS: usize = 8;

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
        if channels == 0 || groups == 0 || !channels.is_multiple_of(groups) || !whole {
            let found = format!("{:?} in {samples} samples", self.shape());
            return Err(Problem::new("group_norm", format!("channels in {groups} groups"), found).shape());
        }
        let limit = self.gpu().capabilities().max_binding_bytes as usize;
        let fitting = limit / (channels * 8);
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
        let statistics = self.statistics(samples, positions, groups, weight, eps)?;
        let y = self.empty_like()?;
        let workgroup = streaming(self.gpu());
        let record = |x: &Tensor, y: &Tensor, first: usize, rows: usize| {
            let part = if rows == 0 { 4 } else { 4 * rows };
            Call {
                kernel: &APPLY,
                constants: &[workgroup, ("ROWS", rows as u32), ("ACTIVATION", activation as u32)],
                params: ApplyParams {
                    count: y.len() as u32,
                    first: first as u32,
                    positions: positions as u32,
                    channels: channels as u32,
                },
                tensors: &[x, &statistics, bias, y],
                groups: y.len().div_ceil(part).div_ceil(workgroup.1 as usize),
                flops: 8.0 * y.len() as f64,
                site: None,
            }
            .record()
        };
        if !channels.is_multiple_of(4) {
            for range in super::quad_ranges(&[self, &y])? {
                record(&self.quads(&range)?, &y.quads(&range)?, range.start, 0)?;
            }
            return Ok(y);
        }
        let all = samples * positions;
        for range in row_ranges("group_norm", all, &[self, &y])? {
            let divides = |rows: &usize| [positions, range.start, range.len()].iter().all(|n| n.is_multiple_of(*rows));
            let rows = (0..=MOST_ROWS.ilog2()).rev().map(|power| 1 << power).find(divides).unwrap_or(1);
            record(&self.rows(all, &range)?, &y.rows(all, &range)?, range.start, rows)?;
        }
        Ok(y)
    }

    /// Of each channel's group the mean, and the channel's weight / sqrt(var + eps): `[samples, 2, channels]`.
    fn statistics(&self, samples: usize, positions: usize, groups: usize, weight: &Tensor, eps: f32) -> Result<Tensor> {
        let channels = self.last_dim();
        let limit = self.gpu().capabilities().max_binding_bytes as usize;
        let fitting = (limit / (channels * self.elem().size())).max(1);
        // A sample's blocks are bound together.
        let most_blocks = (limit / (channels * 8)).max(1);
        let block = BLOCK.max(positions.div_ceil(most_blocks)).min(fitting);
        let blocks = positions.div_ceil(block);
        let partial = Tensor::empty(self.gpu(), &[samples, blocks, 2, channels], Elem::F32)?;
        let vector = channels.is_multiple_of(4);
        let workgroup = streaming(self.gpu());
        let constants = [workgroup, ("VECTOR", u32::from(vector))];
        let record = |x: &Tensor, partial: &Tensor, samples: usize, positions: usize, blocks: usize| {
            let invocations = samples * blocks * if vector { channels / 4 } else { channels };
            Call {
                kernel: &PARTIAL,
                constants: &constants,
                params: PartialParams {
                    samples: samples as u32,
                    positions: positions as u32,
                    channels: channels as u32,
                    block: block as u32,
                    blocks: blocks as u32,
                },
                tensors: &[x, partial],
                groups: invocations.div_ceil(workgroup.1 as usize),
                flops: 6.0 * x.len() as f64,
                site: None,
            }
            .record()
        };
        if self.size_bytes() <= limit as u64 && partial.size_bytes() <= limit as u64 {
            record(self, &partial, samples, positions, blocks)?;
        } else {
            // As many blocks of a sample together as a binding holds.
            let together = (fitting / block).max(1);
            for sample in 0..samples {
                for index in (0..blocks).step_by(together) {
                    let count = together.min(blocks - index);
                    let first = index * block;
                    let rows = (count * block).min(positions - first);
                    let x = piece(self, (sample * positions + first) * channels, &[rows, channels])?;
                    let part = Tensor::empty(self.gpu(), &[count, 2, channels], Elem::F32)?;
                    record(&x, &part, 1, rows, count)?;
                    partial.copy_in((sample * blocks + index) * 2 * channels, &part)?;
                }
            }
        }
        let statistics = Tensor::empty(self.gpu(), &[samples, 2, channels], Elem::F32)?;
        // Groups are many and their parts few: only a device with many lanes has some to spare for each.
        let serial = self.gpu().capabilities().software;
        let constants = if serial { vec![FLAT, ("SERIAL", 1)] } else { reduction_constants(self.gpu()) };
        for range in row_ranges("group_norm", samples, &[&partial, &statistics])? {
            Call {
                kernel: &MERGE,
                constants: &constants,
                params: MergeParams {
                    samples: range.len() as u32,
                    groups: groups as u32,
                    channels: channels as u32,
                    positions: positions as u32,
                    block: block as u32,
                    blocks: blocks as u32,
                    eps,
                },
                tensors: &[&partial.rows(samples, &range)?, weight, &statistics.rows(samples, &range)?],
                groups: (range.len() * groups).div_ceil(if serial { FLAT.1 as usize } else { 1 }),
                flops: 8.0 * (range.len() * blocks * channels) as f64,
                site: None,
            }
            .record()?;
        }
        Ok(statistics)
    }
}

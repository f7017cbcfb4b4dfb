//! Colours of a generated picture matched to its surroundings where both show the same.

use super::{Call, Rgb, piece, reduction_constants};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const PARTIAL: Kernel = super::kernel!("seam_partial");
pub(super) const MERGE: Kernel = super::kernel!("seam_merge");

/// Pixels of a part: every binding may start there, whatever the depth.
const PART: usize = 1024;
/// Values of a part in the kernels' `[parts, 13]`.
const STATISTICS: usize = 13;
/// Networks shift colours by less; what differs by more shows something else, and is left as it is beyond this.
const GAINS: [f32; 2] = [0.8, 1.25];
const MOST_OFFSET: f32 = 0.1;
/// A level of 8 bits: what varies by less says nothing about the gain.
const FLAT_SEAM: f32 = 1.0 / 255.0;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MergeParams {
    parts: u32,
    gains: [f32; 2],
    most_offset: f32,
    flat: f32,
}

impl Rgb {
    /// Per colour the gain and then the offset, in units of white, f32 `[2, 3]`, that give `generated` the mean and the deviation of
    /// this picture over the seam, where `alpha` `[1, height, width, 1]` lies between 0 and 1. Gains are limited to 0.8 to 1.25,
    /// offsets to a tenth of white; 1 and 0 where there is no seam.
    pub fn seam_colours(&self, generated: &Rgb, alpha: &Tensor) -> Result<Tensor> {
        let alike = |of: &Rgb| (of.frames(), of.height(), of.width(), of.depth());
        if self.frames() != 1 || alike(self) != alike(generated) {
            let problem =
                Problem::new("seam_colours", "two frames of one size and depth", format!("{self:?}, {generated:?}"));
            return Err(problem.shape());
        }
        alpha.expect("seam_colours alpha", &[1, self.height(), self.width(), 1])?;
        alpha.expect_elem("seam_colours alpha", Elem::F32)?;
        let reduction = reduction_constants(self.gpu());
        let partial = self.seam_statistics(generated, alpha, &reduction)?;
        let y = Tensor::empty(self.gpu(), &[2, 3], Elem::F32)?;
        let parts = partial.shape()[0];
        Call {
            kernel: &MERGE,
            constants: &reduction,
            params: MergeParams { parts: parts as u32, gains: GAINS, most_offset: MOST_OFFSET, flat: FLAT_SEAM },
            tensors: &[&partial, &y],
            groups: 3,
            flops: 36.0 * parts as f64,
            site: None,
        }
        .record()?;
        Ok(y)
    }

    /// What the seam looks like in each part of `PART` pixels: `[parts, STATISTICS]`.
    fn seam_statistics(&self, generated: &Rgb, alpha: &Tensor, reduction: &[(&'static str, u32)]) -> Result<Tensor> {
        let parts = alpha.len().div_ceil(PART);
        let y = Tensor::empty(self.gpu(), &[parts, STATISTICS], Elem::F32)?;
        let mut constants = reduction.to_vec();
        constants.extend([self.depth().constant(), ("PART", PART as u32)]);
        let part_words = PART * 3 * self.depth().bytes() / 4;
        let part_bytes = 4 * part_words.max(PART);
        let step = (self.gpu().capabilities().max_binding_bytes as usize / part_bytes).max(1);
        for first in (0..parts).step_by(step) {
            let count = step.min(parts - first);
            let pixels = (count * PART).min(alpha.len() - first * PART);
            let words = (count * part_words).min(self.stride() - first * part_words);
            let band = |of: &Rgb| piece(of.words(), first * part_words, &[words]);
            let part = Tensor::empty(self.gpu(), &[count, STATISTICS], Elem::F32)?;
            Call {
                kernel: &PARTIAL,
                constants: &constants,
                params: [pixels as u32, count as u32],
                tensors: &[&band(self)?, &band(generated)?, &piece(alpha, first * PART, &[pixels])?, &part],
                groups: count,
                flops: 40.0 * pixels as f64,
                site: None,
            }
            .record()?;
            y.copy_in(first * STATISTICS, &part)?;
        }
        Ok(y)
    }
}

//! WavLM's and BEATs' gated relative position bias.

use super::{Call, FLAT, quad_ranges};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const BIAS: Kernel = super::kernel!("relative_bias");
pub(super) const GATE: Kernel = super::kernel!("relative_gate");

impl Tensor {
    /// A bias by distance `[heads, 2 * tokens - 1]`, distance `k - q` at `k - q + tokens - 1`, spread over all pairs:
    /// `[heads, tokens, tokens]`.
    pub fn relative_bias(&self) -> Result<Tensor> {
        let [heads, distances] = self.dims("relative bias")?;
        if distances % 2 == 0 {
            return Err(Problem::new("relative bias", "[heads, 2 * tokens - 1]", format!("{:?}", self.shape())).shape());
        }
        let tokens = distances.div_ceil(2);
        let y = Tensor::empty(self.gpu(), &[heads, tokens, tokens], Elem::F32)?;
        for range in quad_ranges(&[&y])? {
            let part = y.quads(&range)?;
            Call {
                kernel: &BIAS,
                constants: &[FLAT],
                params: [part.len() as u32, 4 * range.start as u32, tokens as u32],
                tensors: &[self, &part],
                groups: range.len().div_ceil(FLAT.1 as usize),
                flops: 0.0,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }

    /// The weight of the bias for each head and query, from eight numbers each `[tokens, heads, 8]` and `scale` `[heads]`:
    /// `[1, heads, tokens]`.
    pub fn relative_gate(&self, scale: &Tensor) -> Result<Tensor> {
        let [tokens, heads, eight] = self.dims("relative gate")?;
        if eight != 8 || scale.len() != heads {
            let found = format!("{:?} and {:?}", self.shape(), scale.shape());
            return Err(Problem::new("relative gate", "[tokens, heads, 8] and [heads]", found).shape());
        }
        let y = Tensor::empty(self.gpu(), &[1, heads, tokens], Elem::F32)?;
        Call {
            kernel: &GATE,
            constants: &[FLAT],
            params: [tokens as u32, heads as u32],
            tensors: &[self, scale, &y],
            groups: (tokens * heads).div_ceil(FLAT.1 as usize),
            flops: 16.0 * (tokens * heads) as f64,
            site: None,
        }
        .record()?;
        Ok(y)
    }
}

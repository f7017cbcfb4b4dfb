use super::{Call, reduction_constants, row_ranges};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("layer_norm");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    channels: u32,
    eps: f32,
}

impl Tensor {
    /// Each row of `self` `[.., channels]` normalised over its channels; `weight`, `bias` `[channels]`. Same shape out.
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
        let channels = self.last_dim();
        weight.expect("layer_norm weight", &[channels])?;
        bias.expect("layer_norm bias", &[channels])?;
        let vector = channels.is_multiple_of(4);
        if !vector && self.elem() == Elem::F16 {
            return Err(
                Problem::new("layer_norm", "f16 rows of a multiple of 4 channels", channels.to_string()).shape()
            );
        }
        let rows = self.len() / channels.max(1);
        let y = self.empty_like()?;
        let mut constants = reduction_constants(self.gpu());
        // Where a workgroup is one narrow subgroup, reading weight and bias costs as much as the row itself.
        let together = if constants.contains(&("SUBGROUP", 1)) { 4 } else { 1 };
        constants.extend([("VECTOR", u32::from(vector)), ("ROWS", together as u32)]);
        for range in row_ranges("layer_norm", rows, &[self, &y])? {
            Call {
                kernel: &KERNEL,
                constants: &constants,
                params: Params { rows: range.len() as u32, channels: channels as u32, eps },
                tensors: &[&self.rows(rows, &range)?, weight, bias, &y.rows(rows, &range)?],
                groups: range.len().div_ceil(together),
                flops: 8.0 * (range.len() * channels) as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }
}

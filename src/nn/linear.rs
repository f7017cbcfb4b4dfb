use super::Loader;
use crate::Result;
use crate::ops::{Activation, Epilogue, PackedWeight, WeightShape, interleave};
use crate::tensor::Tensor;

/// y = x weight^T + bias.
pub struct Linear {
    weight: PackedWeight,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight` `[columns, channels]` and `bias` `[columns]`.
    pub fn load(l: &Loader, columns: usize, channels: usize) -> Result<Self> {
        let bias = Some(l.vector("bias", columns)?);
        Ok(Self { bias, ..Self::load_without_bias(l, columns, channels)? })
    }

    pub fn load_without_bias(l: &Loader, columns: usize, channels: usize) -> Result<Self> {
        let weight = l.packed("weight", &[columns, channels], WeightShape::linear(columns, channels))?;
        Ok(Self { weight, bias: None })
    }

    /// The linear layers `names`, `[columns, channels]` each and without bias, side by side in one.
    pub fn load_stack(l: &Loader, names: &[&str], columns: usize, channels: usize) -> Result<Self> {
        let leaves: Vec<String> = names.iter().map(|name| format!("{name}.weight")).collect();
        let leaves: Vec<&str> = leaves.iter().map(String::as_str).collect();
        Ok(Self { weight: l.packed_stack(&leaves, columns, channels)?, bias: None })
    }

    /// Of twice as many columns, the first half values and the second half their gates.
    pub fn load_gated(l: &Loader, outputs: usize, channels: usize) -> Result<Self> {
        let weight = l.packed_gated("weight", outputs, channels)?;
        let bias = l.vector_with("bias", 2 * outputs, |bias| interleave(bias, outputs))?;
        Ok(Self { weight, bias: Some(bias) })
    }

    /// From parts, for weights that do not lie in a file as they are used.
    pub fn new(weight: PackedWeight, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// What it gives for an input of zeros, `[columns]` in f32; None for zeros.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Channels of its input.
    pub fn inputs(&self) -> usize {
        self.weight.shape().group_channels
    }

    /// `x` `[.., channels]` → `[.., columns]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.with(x, Epilogue::default())
    }

    pub fn activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.with(x, Epilogue { activation, ..Default::default() })
    }

    /// The layer's output plus `residual`.
    pub fn plus(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.with(x, Epilogue { residual: Some(residual), ..Default::default() })
    }

    fn with(&self, x: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
        x.linear(&self.weight, Epilogue { bias: self.bias.as_ref(), ..epilogue })
    }
}

/// GEGLU feed-forward: Linear to 8C, first half times gelu(second half), Linear 4C to C. Source: sgm `FeedForward`.
pub struct FeedForward {
    gated: Linear,
    out: Linear,
}

impl FeedForward {
    pub fn load(l: &Loader, channels: usize) -> Result<Self> {
        let inner = l.dim("net.2.weight", 1, 4 * channels);
        Ok(Self {
            gated: Linear::load_gated(&l.at("net.0.proj"), inner, channels)?,
            out: Linear::load(&l.at("net.2"), channels, inner)?,
        })
    }

    /// `x` `[.., channels]` → the same shape, plus `residual`.
    pub fn plus(&self, x: Tensor, residual: &Tensor) -> Result<Tensor> {
        self.out.plus(&self.inner(x)?, residual)
    }

    pub fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.out.forward(&self.inner(x)?)
    }

    /// The widest tensor of the UNet; `x` is freed before the next layer runs.
    fn inner(&self, x: Tensor) -> Result<Tensor> {
        self.gated.activated(&x, Activation::Gelu)
    }
}

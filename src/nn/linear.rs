use super::Loader;
use crate::Result;
use crate::ops::{Activation, Epilogue, PackedWeight, WeightShape};
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
    proj: Linear,
    out: Linear,
}

impl FeedForward {
    pub fn load(l: &Loader, channels: usize) -> Result<Self> {
        let inner = l.dim("net.2.weight", 1, 4 * channels);
        Ok(Self {
            proj: Linear::load(&l.at("net.0.proj"), 2 * inner, channels)?,
            out: Linear::load(&l.at("net.2"), channels, inner)?,
        })
    }

    /// `x` `[.., channels]` → the same shape, plus `residual`.
    pub fn plus(&self, x: Tensor, residual: &Tensor) -> Result<Tensor> {
        self.out.plus(&self.gated(x)?, residual)
    }

    pub fn forward(&self, x: Tensor) -> Result<Tensor> {
        self.out.forward(&self.gated(x)?)
    }

    /// The widest tensors of the UNet: each is freed as soon as it is used.
    fn gated(&self, x: Tensor) -> Result<Tensor> {
        let wide = self.proj.forward(&x)?;
        drop(x);
        wide.geglu()
    }
}

use super::Loader;
use crate::Result;
use crate::ops::Activation;
use crate::tensor::Tensor;

pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub fn load(l: &Loader, channels: usize, eps: f32) -> Result<Self> {
        Ok(Self { weight: l.vector("weight", channels)?, bias: l.vector("bias", channels)?, eps })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(&self.weight, &self.bias, self.eps)
    }
}

/// GroupNorm over channels-last samples; the caller says how many samples, since that decides what shares statistics.
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f32,
}

impl GroupNorm {
    pub fn load(l: &Loader, groups: usize, channels: usize, eps: f32) -> Result<Self> {
        Ok(Self { weight: l.vector("weight", channels)?, bias: l.vector("bias", channels)?, groups, eps })
    }

    /// `x` normalised over each of `samples` equal parts of it.
    pub fn forward(&self, x: &Tensor, samples: usize) -> Result<Tensor> {
        x.group_norm(samples, self.groups, &self.weight, &self.bias, self.eps, Activation::None)
    }

    /// The same, then SiLU, in one pass.
    pub fn silu(&self, x: &Tensor, samples: usize) -> Result<Tensor> {
        x.group_norm(samples, self.groups, &self.weight, &self.bias, self.eps, Activation::Silu)
    }

    /// The same, then GELU.
    pub fn gelu(&self, x: &Tensor, samples: usize) -> Result<Tensor> {
        self.forward(x, samples)?.gelu()
    }
}

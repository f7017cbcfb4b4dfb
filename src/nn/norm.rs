use super::Loader;
use crate::ops::Activation;
use crate::tensor::Tensor;
use crate::{Problem, Result};

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
    /// Errors: groups that do not divide the channels.
    pub fn load(l: &Loader, groups: usize, channels: usize, eps: f32) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            let expected = format!("channels in {groups} equal groups");
            return Err(Problem::new(l.weights().name("weight"), expected, channels.to_string()).weights());
        }
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

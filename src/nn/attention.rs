use super::{Linear, Loader};
use crate::Result;
use crate::ops::{Attend, Rows};
use crate::tensor::Tensor;

/// Which tokens of `[clips, frames, places, channels]` attend to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The places of one frame.
    Places,
    /// The frames of one place.
    Frames,
}

impl Over {
    fn rows(self, x: &Tensor) -> Result<Rows<'_>> {
        match self {
            Over::Places => Rows::of(x),
            Over::Frames => Rows::over_frames(x),
        }
    }

    /// Batches of `x` that share one clip's context.
    fn batches_per_clip(self, x: &Tensor) -> Result<usize> {
        let [_, frames, places, _] = x.dims("attention")?;
        Ok(match self {
            Over::Places => frames,
            Over::Frames => places,
        })
    }
}

/// softmax(q k^T / sqrt(head_dim)) v over the tokens themselves; q, k and v come out of one matmul.
pub struct SelfAttention {
    to_qkv: Linear,
    to_out: Linear,
    channels: usize,
    head_dim: usize,
}

impl SelfAttention {
    pub fn load(l: &Loader, channels: usize, head_dim: usize) -> Result<Self> {
        Ok(Self {
            to_qkv: Linear::load_stack(l, &["to_q", "to_k", "to_v"], channels, channels)?,
            to_out: Linear::load(&l.at("to_out.0"), channels, channels)?,
            channels,
            head_dim,
        })
    }

    /// `x` `[clips, frames, places, channels]` → the same shape, plus `residual`.
    pub fn plus(&self, x: &Tensor, over: Over, residual: &Tensor) -> Result<Tensor> {
        let qkv = self.to_qkv.forward(x)?;
        let rows = over.rows(&qkv)?;
        let attended = Attend {
            q: rows,
            k: rows.column(self.channels),
            v: rows.column(2 * self.channels),
            heads: self.channels / self.head_dim,
            head_dim: self.head_dim,
            scale: (self.head_dim as f32).powf(-0.5),
            bias: None,
        };
        self.to_out.plus(&attended.run()?, residual)
    }
}

/// The same, with keys and values from each clip's context tokens.
pub struct CrossAttention {
    to_q: Linear,
    to_kv: Linear,
    to_out: Linear,
    channels: usize,
    head_dim: usize,
}

impl CrossAttention {
    pub fn load(l: &Loader, channels: usize, context_channels: usize, head_dim: usize) -> Result<Self> {
        Ok(Self {
            to_q: Linear::load_without_bias(&l.at("to_q"), channels, channels)?,
            to_kv: Linear::load_stack(l, &["to_k", "to_v"], channels, context_channels)?,
            to_out: Linear::load(&l.at("to_out.0"), channels, channels)?,
            channels,
            head_dim,
        })
    }

    /// `x` `[clips, frames, places, channels]`, `context` `[clips, tokens, context_channels]` → `x`'s shape, plus `residual`.
    pub fn plus(&self, x: &Tensor, context: &Tensor, over: Over, residual: &Tensor) -> Result<Tensor> {
        let q = self.to_q.forward(x)?;
        let kv = self.to_kv.forward(context)?;
        let rows = Rows::of(&kv)?.shared_by(over.batches_per_clip(x)?);
        let attended = Attend {
            q: over.rows(&q)?,
            k: rows,
            v: rows.column(self.channels),
            heads: self.channels / self.head_dim,
            head_dim: self.head_dim,
            scale: (self.head_dim as f32).powf(-0.5),
            bias: None,
        };
        self.to_out.plus(&attended.run()?, residual)
    }
}

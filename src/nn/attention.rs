use super::{Linear, Loader};
use crate::ops::{Attend, Rows};
use crate::tensor::Tensor;
use crate::{Problem, Result};

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

/// Heads of `head_dim` channels each. Errors: a width that does not divide the channels.
fn heads(l: &Loader, channels: usize, head_dim: usize) -> Result<usize> {
    if head_dim == 0 || !channels.is_multiple_of(head_dim) {
        let subject = format!("channels of a head of {}", l.weights().name(""));
        return Err(Problem::new(subject, format!("a divisor of {channels}"), head_dim.to_string()).weights());
    }
    Ok(channels / head_dim)
}

/// softmax(q k^T / sqrt(head_dim)) v over the tokens themselves; q, k and v come out of one matmul.
pub struct SelfAttention {
    to_qkv: Linear,
    to_out: Linear,
    channels: usize,
    heads: usize,
}

impl SelfAttention {
    pub fn load(l: &Loader, channels: usize, head_dim: usize) -> Result<Self> {
        Ok(Self {
            to_qkv: Linear::load_stack(l, &["to_q", "to_k", "to_v"], channels, channels)?,
            to_out: Linear::load(&l.at("to_out.0"), channels, channels)?,
            channels,
            heads: heads(l, channels, head_dim)?,
        })
    }

    /// `x` `[clips, frames, places, channels]` → the same shape, plus `residual`.
    pub fn plus(&self, x: Tensor, over: Over, residual: &Tensor) -> Result<Tensor> {
        self.to_out.plus(&self.attended(x, over)?, residual)
    }

    fn attended(&self, x: Tensor, over: Over) -> Result<Tensor> {
        let qkv = self.to_qkv.forward(&x)?;
        drop(x);
        let rows = over.rows(&qkv)?;
        let attend = Attend {
            q: rows,
            k: rows.column(self.channels),
            v: rows.column(2 * self.channels),
            heads: self.heads,
            head_dim: self.channels / self.heads,
            scale: (self.channels as f32 / self.heads as f32).powf(-0.5),
            bias: None,
        };
        attend.run()
    }
}

/// The same, with keys and values from each clip's context tokens.
pub struct CrossAttention {
    to_q: Linear,
    to_kv: Linear,
    to_out: Linear,
    channels: usize,
    heads: usize,
}

impl CrossAttention {
    pub fn load(l: &Loader, channels: usize, context_channels: usize, head_dim: usize) -> Result<Self> {
        Ok(Self {
            to_q: Linear::load_without_bias(&l.at("to_q"), channels, channels)?,
            to_kv: Linear::load_stack(l, &["to_k", "to_v"], channels, context_channels)?,
            to_out: Linear::load(&l.at("to_out.0"), channels, channels)?,
            channels,
            heads: heads(l, channels, head_dim)?,
        })
    }

    /// Keys and values side by side, all that is wanted of `context` `[clips, tokens, context_channels]`.
    pub fn keys_values(&self, context: &Tensor) -> Result<Tensor> {
        self.to_kv.forward(context)
    }

    /// `x` `[clips, frames, places, channels]`, its clips' [`CrossAttention::keys_values`] → `x`'s shape, plus `residual`.
    pub fn plus(&self, x: Tensor, keys_values: &Tensor, over: Over, residual: &Tensor) -> Result<Tensor> {
        self.to_out.plus(&self.attended(x, keys_values, over)?, residual)
    }

    /// The same where the context is all zero: so are its values and what is attended, and to_out's bias is left, whatever
    /// asks.
    pub fn plus_unheard(&self, residual: &Tensor) -> Result<Tensor> {
        match self.to_out.bias() {
            Some(bias) => residual.add_per_frame(&bias.reshape(&[1, self.channels])?),
            None => Ok(residual.clone()),
        }
    }

    fn attended(&self, x: Tensor, keys_values: &Tensor, over: Over) -> Result<Tensor> {
        let q = self.to_q.forward(&x)?;
        drop(x);
        let rows = Rows::of(keys_values)?.shared_by(over.batches_per_clip(&q)?);
        let attend = Attend {
            q: over.rows(&q)?,
            k: rows,
            v: rows.column(self.channels),
            heads: self.heads,
            head_dim: self.channels / self.heads,
            scale: (self.channels as f32 / self.heads as f32).powf(-0.5),
            bias: None,
        };
        attend.run()
    }
}

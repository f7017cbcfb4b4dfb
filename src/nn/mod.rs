//! Layers: named weights plus operations.

mod attention;
mod conv;
mod linear;
mod loader;
mod norm;
mod small_conv;
mod trace;

pub use attention::{CrossAttention, Over, SelfAttention};
pub use conv::Conv2d;
pub use linear::{FeedForward, Linear};
pub use loader::{Loader, transformed_within_budget};
pub use norm::{GroupNorm, LayerNorm};
pub use small_conv::{Slope, SmallConv, SmallForm, SmallNames};
pub use trace::Trace;

use crate::Result;
use crate::gpu::Gpu;
use crate::tensor::Tensor;

/// [cos(t f_k), sin(t f_k)], f_k = exp(-ln(10000) k / (dim / 2)), cosine first, computed in f64: `[t.len(), dim]` in f32.
/// Source: sgm `timestep_embedding`.
pub fn sinusoidal_embedding(gpu: &Gpu, t: &[f32], dim: usize) -> Result<Tensor> {
    let half = dim / 2;
    let mut rows = vec![0.0; t.len() * dim];
    for (row, &t) in rows.chunks_exact_mut(dim.max(1)).zip(t) {
        for k in 0..half {
            let frequency = (-(10000f64.ln()) * k as f64 / half as f64).exp();
            row[k] = (f64::from(t) * frequency).cos() as f32;
            row[half + k] = (f64::from(t) * frequency).sin() as f32;
        }
    }
    Tensor::from_f32(gpu, &[t.len(), dim], &rows)
}

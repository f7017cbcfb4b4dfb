//! The relative position bias of WavLM and BEATs: a table by distance, and what each query weighs it with.
//! Source: WavLM (Chen et al. 2022) sec. 3.1; the buckets are those of T5 (Raffel et al. 2020).
//!
//! Traps: the table of layer 0 serves all layers; WavLM's gate comes from a layer's INPUT, BEATs' from its QUERIES.

use crate::gpu::Gpu;
use crate::nn::{Linear, Loader};
use crate::tensor::Tensor;
use crate::{Problem, Result};

/// A bias per head for each bucket of distances.
pub struct RelativeBias {
    /// `[buckets, heads]`.
    table: Vec<f32>,
    heads: usize,
    /// Distances from here on share a bucket.
    max_distance: usize,
}

impl RelativeBias {
    /// `l` stands at the attention of layer 0.
    pub fn load(l: &Loader, heads: usize, max_distance: usize) -> Result<Self> {
        let leaf = "relative_attention_bias.weight";
        let buckets = l.dim(leaf, 0, 320);
        if buckets < 4 {
            return Err(Problem::new(l.weights().name(leaf), "4 buckets or more", buckets.to_string()).weights());
        }
        if max_distance <= buckets / 4 {
            let expected = format!("more than {}, the distances with a bucket of their own", buckets / 4);
            return Err(Problem::new(l.weights().name("max_distance"), expected, max_distance.to_string()).weights());
        }
        let table = l.weights().get(leaf, &[buckets, heads])?.to_f32()?;
        Ok(Self { table, heads, max_distance })
    }

    /// The bias for each query and key: `[heads, tokens, tokens]`.
    pub fn between(&self, gpu: &Gpu, tokens: usize) -> Result<Tensor> {
        let buckets = self.table.len() / self.heads.max(1);
        let distances = 2 * tokens - 1;
        let mut values = vec![0.0; self.heads * distances];
        for at in 0..distances {
            let row = bucket(at as i64 - (tokens as i64 - 1), buckets, self.max_distance);
            for head in 0..self.heads {
                values[head * distances + at] = self.table[row * self.heads + head];
            }
        }
        Tensor::from_f32(gpu, &[self.heads, distances], &values)?.relative_bias()
    }
}

/// Half the buckets for keys behind the query; of each half, half by the exact distance, the rest by its logarithm.
fn bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let behind = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    if distance < exact {
        return behind + distance;
    }
    let place = (distance as f64 / exact as f64).ln() / (max_distance as f64 / exact as f64).ln();
    behind + (exact + (place * (half - exact) as f64) as usize).min(half - 1)
}

/// What a gate is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateInput {
    Layer,
    /// Not yet divided by the root of a head's width.
    Queries,
}

/// The weight of the bias for each head and query: eight numbers of the head's part of the input, and a scale per head.
pub struct Gate {
    linear: Linear,
    scale: Tensor,
    pub input: GateInput,
}

impl Gate {
    /// `l` stands at a layer's attention.
    pub fn load(l: &Loader, input: GateInput, channels: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            linear: Linear::load(&l.at("grep_linear"), 8, channels / heads)?,
            scale: l.tensor("grep_a", &[1, heads, 1, 1])?.reshape(&[heads])?,
            input,
        })
    }

    /// `x` `[tokens, channels]` → `[1, heads, tokens]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [tokens, channels] = x.dims("gate input")?;
        let heads = self.scale.len();
        self.linear.forward(&x.reshape(&[tokens, heads, channels / heads])?)?.relative_gate(&self.scale)
    }
}

//! WavLM Base+: speech to one vector per 20 ms, with a gated relative position bias.
//! Source: WavLM (Chen et al. 2022) sec. 3.1; names of the authors' release.
//!
//! Traps: the bias table lies in layer 0 and serves all layers; the gate comes from a layer's INPUT, not from its queries.

use super::speech::{EncoderLayer, FeatureExtractor, Frontend, LayerNames, PositionalConv};
use crate::Result;
use crate::nn::{LayerNorm, Linear, Loader, Trace};
use crate::ops::Bias;
use crate::tensor::Tensor;

/// What the shapes of the weights do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Distances from here on share a bucket: 800 tokens as published.
    pub max_distance: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_distance: 800 }
    }
}

/// Names that published files carry and this network does not read.
pub const UNUSED: &[&str] = &["mask_emb"];

const NAMES: LayerNames = LayerNames {
    attention: "self_attn",
    attention_norm: "self_attn_layer_norm",
    inner: "fc1",
    outer: "fc2",
    final_norm: "final_layer_norm",
};

pub struct WavLm {
    frontend: Frontend,
    layers: Vec<(EncoderLayer, Gate)>,
    /// `[buckets, heads]`.
    table: Vec<f32>,
    heads: usize,
    config: Config,
}

/// Eight numbers of each head's 64 inputs, and a scale per head.
struct Gate {
    linear: Linear,
    scale: Tensor,
}

impl WavLm {
    pub fn load(l: &Loader, config: Config) -> Result<Self> {
        let conv = |index: usize| format!("conv_layers.{index}.0");
        let features = FeatureExtractor::load(&l.at("feature_extractor"), conv, "conv_layers.0.2")?;
        let channels = l.dim("post_extract_proj.weight", 0, 768);
        let encoder = l.at("encoder");
        let first = encoder.at("layers.0.self_attn");
        let heads = first.dim("grep_a", 1, 12);
        let buckets = first.dim("relative_attention_bias.weight", 0, 320);
        let head_dim = channels / heads;
        let layer = |index: usize| {
            let at = encoder.at(&format!("layers.{index}"));
            let attention = at.at("self_attn");
            let gate = Gate {
                linear: Linear::load(&attention.at("grep_linear"), 8, head_dim)?,
                scale: attention.tensor("grep_a", &[1, heads, 1, 1])?.reshape(&[heads])?,
            };
            Ok((EncoderLayer::load(&at, &NAMES, channels, heads)?, gate))
        };
        let layers = super::count(&encoder, "layers", 12);
        Ok(Self {
            frontend: Frontend {
                norm: LayerNorm::load(&l.at("layer_norm"), features.channels(), 1e-5)?,
                projection: Linear::load(&l.at("post_extract_proj"), channels, features.channels())?,
                features,
                position: PositionalConv::load(&encoder.at("pos_conv.0"), channels)?,
                encoder_norm: LayerNorm::load(&encoder.at("layer_norm"), channels, 1e-5)?,
            },
            layers: (0..layers).map(layer).collect::<Result<_>>()?,
            table: first.weights().get("relative_attention_bias.weight", &[buckets, heads])?.to_f32()?,
            heads,
            config,
        })
    }

    /// Raw `samples` `[n]` at 16 kHz → the last layer's output `[tokens, channels]`.
    pub fn forward(&self, samples: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        let mut h = self.frontend.forward(samples, trace)?;
        trace.note("layer_results.0_TBC", &h);
        let [tokens, channels] = h.dims("speech tokens")?;
        let bias = self.bias_by_distance(samples, tokens)?.relative_bias()?;
        trace.note("position_bias_layer0", &bias);
        for (index, (layer, gate)) in self.layers.iter().enumerate() {
            let eight = gate.linear.forward(&h.reshape(&[tokens, self.heads, channels / self.heads])?)?;
            let gate = eight.relative_gate(&gate.scale)?;
            h = layer.forward(&h, Some(Bias { table: &bias, gate: &gate }))?;
            trace.note(&format!("layer_results.{}_TBC", index + 1), &h);
        }
        Ok(h)
    }

    /// The table's entries for each distance `k - q`: `[heads, 2 * tokens - 1]`.
    fn bias_by_distance(&self, like: &Tensor, tokens: usize) -> Result<Tensor> {
        let buckets = self.table.len() / self.heads.max(1);
        let distances = 2 * tokens - 1;
        let mut values = vec![0.0; self.heads * distances];
        for at in 0..distances {
            let row = bucket(at as i64 - (tokens as i64 - 1), buckets, self.config.max_distance);
            for head in 0..self.heads {
                values[head * distances + at] = self.table[row * self.heads + head];
            }
        }
        Tensor::from_f32(like.gpu(), &[self.heads, distances], &values)
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

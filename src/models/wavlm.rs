//! WavLM Base+: speech to one vector per 20 ms, with a gated relative position bias.
//! Source: WavLM (Chen et al. 2022) sec. 3.1; names of the authors' release.

use super::relative::{Gate, GateInput, RelativeBias};
use super::speech::{EncoderLayer, FeatureExtractor, Frontend, LayerNames, PositionalConv};
use crate::Result;
use crate::nn::{LayerNorm, Linear, Loader, Trace};
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
    features: FeatureExtractor,
    frontend: Frontend,
    bias: RelativeBias,
    layers: Vec<EncoderLayer>,
}

impl WavLm {
    pub fn load(l: &Loader, config: Config) -> Result<Self> {
        let conv = |index: usize| format!("conv_layers.{index}.0");
        let features = FeatureExtractor::load(&l.at("feature_extractor"), conv, "conv_layers.0.2")?;
        let channels = l.dim("post_extract_proj.weight", 0, 768);
        let encoder = l.at("encoder");
        let first = encoder.at("layers.0.self_attn");
        let heads = first.dim("grep_a", 1, 12);
        let layer = |index: usize| {
            let at = encoder.at(&format!("layers.{index}"));
            let layer = EncoderLayer::load(&at, &NAMES, channels, heads)?;
            Ok(layer.gated(Gate::load(&at.at(NAMES.attention), GateInput::Layer, channels, heads)?))
        };
        let layers = super::count(&encoder, "layers", 12);
        Ok(Self {
            frontend: Frontend {
                norm: LayerNorm::load(&l.at("layer_norm"), features.channels(), 1e-5)?,
                projection: Some(Linear::load(&l.at("post_extract_proj"), channels, features.channels())?),
                position: PositionalConv::load(&encoder.at("pos_conv.0"), channels)?,
                encoder_norm: LayerNorm::load(&encoder.at("layer_norm"), channels, 1e-5)?,
            },
            features,
            bias: RelativeBias::load(&first, heads, config.max_distance)?,
            layers: (0..layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// Raw `samples` `[n]` at 16 kHz → the last layer's output `[tokens, channels]`.
    pub fn forward(&self, samples: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        let mut h = self.frontend.forward(&self.features.forward(samples)?, trace)?;
        trace.note("layer_results.0_TBC", &h);
        let [tokens, _] = h.dims("speech tokens")?;
        let bias = self.bias.between(samples.gpu(), tokens)?;
        trace.note("position_bias_layer0", &bias);
        for (index, layer) in self.layers.iter().enumerate() {
            h = layer.forward(&h, Some(&bias))?;
            trace.note(&format!("layer_results.{}_TBC", index + 1), &h);
        }
        Ok(h)
    }
}

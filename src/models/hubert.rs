//! HuBERT base (and wav2vec2 base, the same network): speech to one vector per 20 ms.
//! Source: HuBERT (Hsu et al. 2021); names of transformers' `HubertModel`.
//!
//! Trap: upstream standardises the whole waveform, with the unbiased variance, before anything else.

use super::speech::{EncoderLayer, FeatureExtractor, Frontend, LayerNames, PositionalConv};
use crate::Result;
use crate::nn::{LayerNorm, Linear, Loader, Trace};
use crate::tensor::Tensor;

/// What the shapes of the weights do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Attention heads of a layer: 12 as published.
    pub heads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { heads: 12 }
    }
}

/// Names that published files carry and this network does not read.
pub const UNUSED: &[&str] = &["*.masked_spec_embed", "lm_head"];

const NAMES: LayerNames = LayerNames {
    attention: "attention",
    attention_norm: "layer_norm",
    inner: "feed_forward.intermediate_dense",
    outer: "feed_forward.output_dense",
    final_norm: "final_layer_norm",
};

pub struct Hubert {
    features: FeatureExtractor,
    frontend: Frontend,
    layers: Vec<EncoderLayer>,
}

impl Hubert {
    /// `l` stands at the file's root; a prefix `hubert` or `wav2vec2` is found by itself.
    pub fn load(l: &Loader, config: Config) -> Result<Self> {
        let prefix = ["hubert", "wav2vec2"].into_iter().find(|prefix| l.has(prefix));
        let l = prefix.map_or_else(|| l.clone(), |prefix| l.at(prefix));
        let conv = |index: usize| format!("conv_layers.{index}.conv");
        let features = FeatureExtractor::load(&l.at("feature_extractor"), conv, "conv_layers.0.layer_norm")?;
        let projection = l.at("feature_projection");
        let channels = projection.dim("projection.weight", 0, 768);
        let encoder = l.at("encoder");
        let layers = super::count(&encoder, "layers", 12);
        Ok(Self {
            frontend: Frontend {
                norm: LayerNorm::load(&projection.at("layer_norm"), features.channels(), 1e-5)?,
                projection: Some(Linear::load(&projection.at("projection"), channels, features.channels())?),
                position: PositionalConv::load(&encoder.at("pos_conv_embed.conv"), channels)?,
                encoder_norm: LayerNorm::load(&encoder.at("layer_norm"), channels, 1e-5)?,
            },
            features,
            layers: (0..layers)
                .map(|i| EncoderLayer::load(&encoder.at(&format!("layers.{i}")), &NAMES, channels, config.heads))
                .collect::<Result<_>>()?,
        })
    }

    /// Standardised `samples` `[n]` at 16 kHz → the last hidden state `[tokens, channels]`.
    pub fn forward(&self, samples: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        let mut h = self.frontend.forward(&self.features.forward(samples)?, trace)?;
        trace.note("hidden_states.0", &h);
        for (index, layer) in self.layers.iter().enumerate() {
            h = layer.forward(&h, None)?;
            trace.note(&format!("hidden_states.{}", index + 1), &h);
        }
        Ok(h)
    }
}

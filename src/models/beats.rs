//! BEATs: sounds of any kind, speech among them, to eight vectors per 160 ms.
//! Source: BEATs (Chen et al. 2022) sec. 3; DeepNet (Wang et al. 2022) for the residuals; names of the authors' release.
//!
//! 16 kHz samples → filter bank `[frames, 128]` → patches of 16 frames by 16 bands → one vector each, in time first: token
//! `8 t + f` is band `f` of step `t`. Frames that do not fill a patch are dropped.
//!
//! Traps: the release's file carries its configuration (`cfg`), which differs from the defaults of its code; the gate comes
//! from a layer's QUERIES (WavLM: its input); with `deep_norm` residuals are multiplied by (2 layers)^(1/4).

use super::fbank::{FilterBank, HOP, MELS};
use super::relative::{Gate, GateInput, RelativeBias};
use super::speech::{EncoderLayer, Frontend, LayerNames, PositionalConv};
use crate::nn::{Conv2d, LayerNorm, Linear, Loader, Trace};
use crate::ops::WeightShape;
use crate::tensor::Tensor;
use crate::weights::{MOST_IN_CONFIG, Weights};
use crate::{Problem, Result};
use serde_json::Value;

/// Mean and deviation of the filter bank over the training data.
const MEAN: f32 = 15.41663;
const DEVIATION: f32 = 6.55582;

/// What the shapes of the weights do not tell. The default is that of the release's code, which no published file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Attention heads of a layer.
    pub heads: usize,
    /// Distances from here on share a bucket of the position bias.
    pub max_distance: usize,
    pub relative_bias: bool,
    /// The bias is weighed per query.
    pub gated: bool,
    pub deep_norm: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { heads: 12, max_distance: 1280, relative_bias: false, gated: false, deep_norm: false }
    }
}

impl Config {
    /// The configuration that `viseme convert` took over from the checkpoint. Errors: there is none, or see [`Self::read`].
    pub fn of(weights: &Weights) -> Result<Self> {
        let text = weights.metadata("config").ok_or_else(|| {
            Problem::new(weights.origin(), "the checkpoint's cfg as `config` in the metadata", "none")
                .remedy("make the file from the published .pt by `viseme convert`")
                .weights()
        })?;
        let cfg = serde_json::from_str(text).map_err(|error| {
            Problem::new(format!("{}: config", weights.origin()), "JSON", error.to_string()).weights()
        })?;
        Self::read(&cfg)
    }

    /// From a checkpoint's `cfg`; what it leaves out is as in the release's code. Errors: a setting of another kind, or one
    /// that no published file has and this network does not do.
    pub fn read(cfg: &Value) -> Result<Self> {
        let wrong = |key: &str, expected: &str| {
            Problem::new(format!("BEATs cfg.{key}"), expected, cfg[key].to_string()).weights()
        };
        let number = |key: &str, default: usize| match &cfg[key] {
            Value::Null => Ok(default),
            value => {
                let count = value.as_u64().filter(|count| (1..=MOST_IN_CONFIG).contains(count));
                let expected = || format!("a number from 1 to {MOST_IN_CONFIG}");
                count.map(|count| count as usize).ok_or_else(|| wrong(key, &expected()))
            }
        };
        let switch = |key: &str| match &cfg[key] {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or_else(|| wrong(key, "true or false")),
        };
        if switch("layer_norm_first")? {
            return Err(wrong("layer_norm_first", "false, norms after the residuals"));
        }
        if cfg["activation_fn"].as_str().is_some_and(|name| name != "gelu") {
            return Err(wrong("activation_fn", "gelu"));
        }
        let default = Self::default();
        Ok(Self {
            heads: number("encoder_attention_heads", default.heads)?,
            max_distance: number("max_distance", default.max_distance)?,
            relative_bias: switch("relative_position_embedding")?,
            gated: switch("gru_rel_pos")?,
            deep_norm: switch("deep_norm")?,
        })
    }
}

/// Names that published files carry and this network does not read: the classifier's, and each layer's copy of the one
/// table of position biases.
pub const UNUSED: &[&str] = &["predictor", "*.relative_attention_bias.weight"];

const NAMES: LayerNames = LayerNames {
    attention: "self_attn",
    attention_norm: "self_attn_layer_norm",
    inner: "fc1",
    outer: "fc2",
    final_norm: "final_layer_norm",
};

pub struct Beats {
    fbank: FilterBank,
    patches: Conv2d,
    patch: usize,
    frontend: Frontend,
    bias: Option<RelativeBias>,
    layers: Vec<EncoderLayer>,
}

impl Beats {
    pub fn load(l: &Loader, config: Config) -> Result<Self> {
        let leaf = "patch_embedding.weight";
        let (embed, patch) = (l.dim(leaf, 0, 512), l.dim(leaf, 2, 16));
        if !(1..=MELS).contains(&patch) {
            let expected = format!("patches of 1 to {MELS} bands");
            return Err(Problem::new(l.weights().name(leaf), expected, patch.to_string()).weights());
        }
        let shape = WeightShape { columns: embed, group_channels: 1, kernel: [patch, patch], groups: 1 };
        let weight = l.packed(leaf, &[embed, 1, patch, patch], shape)?;
        let bias = l.has("patch_embedding.bias").then(|| l.vector("patch_embedding.bias", embed)).transpose()?;

        let encoder = l.at("encoder");
        let projection = "post_extract_proj.weight";
        let projected = l.has(projection).then(|| l.dim(projection, 0, 768));
        let channels = projected.unwrap_or(embed);
        let heads = config.heads;
        let layers = super::count(&encoder, "layers", 12);
        let residual_scale = if config.deep_norm { (2.0 * layers as f32).powf(0.25) } else { 1.0 };
        let layer = |index: usize| {
            let at = encoder.at(&format!("layers.{index}"));
            let layer = EncoderLayer::load(&at, &NAMES, channels, heads)?.residual_scale(residual_scale);
            if !(config.relative_bias && config.gated) {
                return Ok(layer);
            }
            Ok(layer.gated(Gate::load(&at.at(NAMES.attention), GateInput::Queries, channels, heads)?))
        };
        Ok(Self {
            fbank: FilterBank::new(l.gpu())?,
            patches: Conv2d::new(weight, bias, patch, [0; 4]),
            patch,
            frontend: Frontend {
                norm: LayerNorm::load(&l.at("layer_norm"), embed, 1e-5)?,
                projection: projected.map(|_| Linear::load(&l.at("post_extract_proj"), channels, embed)).transpose()?,
                position: PositionalConv::load(&encoder.at("pos_conv.0"), channels)?,
                encoder_norm: LayerNorm::load(&encoder.at("layer_norm"), channels, 1e-5)?,
            },
            bias: match config.relative_bias {
                true => Some(RelativeBias::load(&encoder.at("layers.0.self_attn"), heads, config.max_distance)?),
                false => None,
            },
            layers: (0..layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// Raw `samples` `[n]` at 16 kHz → the last layer's output `[tokens, channels]`. Errors: too few for one patch.
    pub fn forward(&self, samples: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        let needed = self.step_samples() + self.overlap_samples();
        if samples.len() < needed {
            let found = samples.len().to_string();
            return Err(Problem::new("BEATs", format!("{needed} samples or more"), found).input());
        }
        let fbank = self.fbank.forward(samples)?.affine(0.5 / DEVIATION, -0.5 * MEAN / DEVIATION)?;
        trace.note("fbank", &fbank);
        let [frames, bands] = fbank.dims("filter bank")?;
        let patches = self.patches.forward(&fbank.reshape(&[1, frames, bands, 1])?)?;
        let channels = patches.last_dim();
        let mut h = self.frontend.forward(&patches.reshape(&[patches.len() / channels, channels])?, trace)?;

        let [tokens, _] = h.dims("BEATs tokens")?;
        let bias = self.bias.as_ref().map(|bias| bias.between(samples.gpu(), tokens)).transpose()?;
        for layer in &self.layers {
            h = layer.forward(&h, bias.as_ref())?;
        }
        Ok(h)
    }

    /// Samples from one step in time to the next: 2560 as published, which is four frames at 25 fps.
    pub fn step_samples(&self) -> usize {
        self.patch * HOP
    }

    /// Samples that a step sees beyond those.
    pub fn overlap_samples(&self) -> usize {
        super::fbank::WINDOW - HOP
    }

    /// Vectors of a step, one per patch in frequency: 8 as published.
    pub fn step_vectors(&self) -> usize {
        MELS / self.patch
    }
}

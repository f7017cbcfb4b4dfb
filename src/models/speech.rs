//! What HuBERT, wav2vec2, WavLM and BEATs share. Sources: wav2vec 2.0 (Baevski et al. 2020) sec. 2; HuBERT (Hsu et al. 2021).
//!
//! For all but BEATs: 16 kHz samples → one vector per 20 ms: `n` samples give `(n - 400) / 320 + 1`.
//!
//! Traps: only the first convolution is normalised, each channel over the whole clip; the positional convolution is even, and
//! its last output is dropped; layers normalise after their residuals.

use super::relative::{Gate, GateInput};
use crate::gpu::Elem;
use crate::nn::{Conv2d, GroupNorm, LayerNorm, Linear, Loader, Trace};
use crate::ops::{Activation, Attend, Bias, Rows, WeightShape};
use crate::tensor::Tensor;
use crate::{Problem, Result};

const EPS: f32 = 1e-5;
/// Kernel and stride of each convolution: what [`RECEPTIVE_FIELD`] and the count of vectors follow from.
const CONVOLUTIONS: [[usize; 2]; 7] = [[10, 5], [3, 2], [3, 2], [3, 2], [3, 2], [2, 2], [2, 2]];
/// Samples that the first vector sees.
pub const RECEPTIVE_FIELD: usize = 400;

/// Seven convolutions from samples to features.
pub struct FeatureExtractor {
    convs: Vec<Conv2d>,
    first_norm: GroupNorm,
    channels: usize,
}

impl FeatureExtractor {
    /// `conv` and `norm` are the names of a layer's convolution and of the first layer's norm.
    pub fn load(l: &Loader, conv: fn(usize) -> String, norm: &str) -> Result<Self> {
        let mut channels = 1;
        let mut convs = Vec::new();
        let mut first = 512;
        for (index, [kernel, stride]) in CONVOLUTIONS.into_iter().enumerate() {
            let at = l.at(&conv(index));
            let outputs = at.dim("weight", 0, 512);
            convs.push(Conv2d::load_1d(&at, outputs, channels, kernel, stride)?);
            channels = outputs;
            if index == 0 {
                first = outputs;
            }
        }
        let first_norm = GroupNorm::load(&l.at(norm), first, first, EPS)?;
        Ok(Self { convs, first_norm, channels })
    }

    /// `samples` `[n]` → `[tokens, channels]`.
    pub fn forward(&self, samples: &Tensor) -> Result<Tensor> {
        if samples.len() < RECEPTIVE_FIELD {
            let found = format!("{}", samples.len());
            return Err(Problem::new("speech", format!("{RECEPTIVE_FIELD} samples or more"), found).input());
        }
        let mut h = samples.reshape(&[1, samples.len(), 1, 1])?;
        for (index, conv) in self.convs.iter().enumerate() {
            h = match index {
                0 => self.first_norm.gelu(&conv.forward(&h)?, 1)?,
                _ => conv.activated(&h, Activation::Gelu)?,
            };
        }
        h.reshape(&[h.len() / self.channels, self.channels])
    }

    pub fn channels(&self) -> usize {
        self.channels
    }
}

/// A grouped convolution over 128 tokens whose output is added to them.
pub struct PositionalConv {
    conv: Conv2d,
}

impl PositionalConv {
    /// `l` stands where the convolution's `weight_g`, `weight_v` (or any spelling of them) and `bias` lie.
    pub fn load(l: &Loader, channels: usize) -> Result<Self> {
        let published =
            ["weight_v", "parametrizations.weight.original1", "weight"].into_iter().find_map(|v| l.shape(v));
        let (group_channels, kernel) = match published.as_deref() {
            Some(&[_, group_channels, kernel]) => (group_channels, kernel),
            _ => ((channels / 16).max(1), 128),
        };
        if !channels.is_multiple_of(group_channels) {
            let expected = format!("groups of a divisor of {channels} channels");
            return Err(Problem::new(l.weights().name("weight"), expected, group_channels.to_string()).weights());
        }
        let shape =
            WeightShape { columns: channels, group_channels, kernel: [kernel, 1], groups: channels / group_channels };
        let host = l.weights().get_weight_norm(2, &[channels, group_channels, kernel])?;
        let weight = l.pack(&host, shape)?;
        // kernel / 2 on both sides, and an even kernel's last output dropped.
        let pad = [kernel / 2, 0, (kernel - 1) / 2, 0];
        Ok(Self { conv: Conv2d::new(weight, Some(l.vector("bias", channels)?), 1, pad) })
    }

    /// `x` `[tokens, channels]` → the same shape, not yet added.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [tokens, channels] = x.dims("positional convolution")?;
        let h = self.conv.activated(&x.reshape(&[1, tokens, 1, channels])?, Activation::Gelu)?;
        h.reshape(&[tokens, channels])
    }
}

/// How a published file names the parts of a layer.
pub struct LayerNames {
    pub attention: &'static str,
    pub attention_norm: &'static str,
    pub inner: &'static str,
    pub outer: &'static str,
    pub final_norm: &'static str,
}

/// Attention, then a feed-forward of two linear layers, each around a residual and normalised after it.
pub struct EncoderLayer {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    attention_norm: LayerNorm,
    inner: Linear,
    outer: Linear,
    final_norm: LayerNorm,
    heads: usize,
    gate: Option<Gate>,
    /// What a residual is multiplied by before a branch is added to it.
    residual_scale: f32,
}

impl EncoderLayer {
    pub fn load(l: &Loader, names: &LayerNames, channels: usize, heads: usize) -> Result<Self> {
        let attention = l.at(names.attention);
        if heads == 0 || !channels.is_multiple_of(heads) {
            let subject = attention.weights().name("heads");
            return Err(Problem::new(subject, format!("a divisor of {channels}"), heads.to_string()).weights());
        }
        let square = |name: &str| Linear::load(&attention.at(name), channels, channels);
        let wide = l.dim(&format!("{}.weight", names.inner), 0, 4 * channels);
        Ok(Self {
            q: square("q_proj")?,
            k: square("k_proj")?,
            v: square("v_proj")?,
            out: square("out_proj")?,
            attention_norm: LayerNorm::load(&l.at(names.attention_norm), channels, EPS)?,
            inner: Linear::load(&l.at(names.inner), wide, channels)?,
            outer: Linear::load(&l.at(names.outer), channels, wide)?,
            final_norm: LayerNorm::load(&l.at(names.final_norm), channels, EPS)?,
            heads,
            gate: None,
            residual_scale: 1.0,
        })
    }

    /// The bias is then weighed per query.
    pub fn gated(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    pub fn residual_scale(self, residual_scale: f32) -> Self {
        Self { residual_scale, ..self }
    }

    /// `x` `[tokens, channels]` → the same shape; `bias` `[heads, tokens, tokens]` is added to the attention's scores.
    pub fn forward(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let head_dim = x.last_dim() / self.heads;
        let (q, k, v) = (self.q.forward(x)?, self.k.forward(x)?, self.v.forward(x)?);
        let gate = bias.map(|_| self.weigh(x, &q)).transpose()?;
        let bias = bias.zip(gate.as_ref()).map(|(table, gate)| Bias { table, gate });
        let attended = Attend {
            q: Rows::of(&q)?,
            k: Rows::of(&k)?,
            v: Rows::of(&v)?,
            heads: self.heads,
            head_dim,
            scale: (head_dim as f32).powf(-0.5),
            bias,
        };
        let h = self.attention_norm.forward(&self.around(x, &self.out, &attended.run()?)?)?;
        let inner = self.inner.activated(&h, Activation::Gelu)?;
        self.final_norm.forward(&self.around(&h, &self.outer, &inner)?)
    }

    /// The bias' weights `[1, heads, tokens]`: ones without a gate.
    fn weigh(&self, x: &Tensor, q: &Tensor) -> Result<Tensor> {
        match &self.gate {
            Some(gate) if gate.input == GateInput::Queries => gate.forward(q),
            Some(gate) => gate.forward(x),
            None => {
                let shape = [1, self.heads, x.len() / x.last_dim().max(1)];
                Tensor::zeros(x.gpu(), &shape, Elem::F32)?.affine(1.0, 1.0)
            }
        }
    }

    /// `branch` of `h`, plus the residual `x`.
    fn around(&self, x: &Tensor, branch: &Linear, h: &Tensor) -> Result<Tensor> {
        if self.residual_scale == 1.0 {
            return branch.plus(h, x);
        }
        branch.forward(h)?.add_scaled(1.0, x, self.residual_scale)
    }
}

/// What lies between features and layers: a norm, a projection, the positional convolution and a norm.
pub struct Frontend {
    pub norm: LayerNorm,
    /// None where features are as wide as layers.
    pub projection: Option<Linear>,
    pub position: PositionalConv,
    pub encoder_norm: LayerNorm,
}

impl Frontend {
    /// `features` `[tokens, features]` → `[tokens, channels]`.
    pub fn forward(&self, features: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        trace.note("conv_features", features);
        let mut h = self.norm.forward(features)?;
        if let Some(projection) = &self.projection {
            h = projection.forward(&h)?;
        }
        trace.note("feature_projection", &h);
        let position = self.position.forward(&h)?;
        trace.note("pos_conv_embed", &position);
        self.encoder_norm.forward(&h.add(&position)?)
    }
}

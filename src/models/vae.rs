//! The image encoder and temporal decoder of Stable Video Diffusion's KL autoencoder, under both published name schemes:
//! training-code names (`encoder.down.0.block.0`, in KeySync's own checkpoints) and hub names (`encoder.down_blocks.0.resnets.0`).
//! Source: Stable Video Diffusion; sgm `Encoder`, `VideoDecoder`; diffusers `AutoencoderKLTemporalDecoder`.
//!
//! Pixels `[frames, height, width, 3]` in [-1, 1] ↔ latents `[frames, height / 8, width / 8, 4]`, not scaled by 0.18215.
//!
//! Traps: eps is 1e-6 in spatial norms and 1e-5 in temporal ones; the mixer's weight counts for the TEMPORAL branch here;
//! KeySync decodes one frame at a time, and several at once differ from that; downsampling pads below and right only.

use crate::nn::{Conv2d, GroupNorm, Linear, Loader, Trace};
use crate::ops::{Attend, Rows, WeightShape};
use crate::tensor::Tensor;
use crate::weights::Weights;
use crate::{Problem, Result};

/// What latents are multiplied by wherever the diffusion sees them.
pub const LATENT_SCALE: f32 = 0.18215;

const COLOURS: usize = 3;
/// Channels of a latent; of its moments there are twice as many.
const LATENT_CHANNELS: usize = 4;

/// Which of the published name schemes a file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Hub,
    Training,
}

impl Names {
    fn of(l: &Loader) -> Self {
        if l.has("mid_block") { Names::Hub } else { Names::Training }
    }

    /// Level `index` of `levels`, counted in the order of the walk.
    fn level(self, side: &str, index: usize, levels: usize) -> String {
        match (self, side) {
            (Names::Hub, _) => format!("{side}_blocks.{index}"),
            (Names::Training, "up") => format!("up.{}", levels - 1 - index),
            (Names::Training, _) => format!("{side}.{index}"),
        }
    }

    fn block(self, index: usize) -> String {
        match self {
            Names::Hub => format!("resnets.{index}"),
            Names::Training => format!("block.{index}"),
        }
    }

    fn resample(self, side: &str) -> String {
        match self {
            Names::Hub => format!("{side}samplers.0.conv"),
            Names::Training => format!("{side}sample.conv"),
        }
    }

    fn middle(self) -> [&'static str; 3] {
        match self {
            Names::Hub => ["mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"],
            Names::Training => ["mid.block_1", "mid.attn_1", "mid.block_2"],
        }
    }

    fn norm_out(self) -> &'static str {
        match self {
            Names::Hub => "conv_norm_out",
            Names::Training => "norm_out",
        }
    }

    fn time_conv_out(self) -> &'static str {
        match self {
            Names::Hub => "time_conv_out",
            Names::Training => "conv_out.time_mix_conv",
        }
    }

    /// norm1, conv1, norm2, conv2 of a temporal block.
    fn temporal(self) -> [&'static str; 4] {
        match self {
            Names::Hub => ["norm1", "conv1", "norm2", "conv2"],
            Names::Training => ["in_layers.0", "in_layers.2", "out_layers.0", "out_layers.3"],
        }
    }
}

/// How many names `name(0)`, `name(1)`, .. are there.
fn count(l: &Loader, name: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|&index| l.has(&name(index))).count()
}

/// Pixels to the moments of their latents.
pub struct Encoder {
    conv_in: Conv2d,
    down: Vec<(Vec<ResBlock>, Option<Conv2d>)>,
    middle: (ResBlock, MidAttention, ResBlock),
    norm_out: GroupNorm,
    conv_out: Conv2d,
    quant_conv: Option<Conv2d>,
}

/// Mean and log variance of latents, each `[frames, height / 8, width / 8, 4]`.
pub struct Moments {
    pub mean: Tensor,
    /// Within [-30, 20].
    pub log_variance: Tensor,
}

impl Encoder {
    /// `l` stands where `encoder` and, in the hub's files, `quant_conv` lie.
    pub fn load(l: &Loader) -> Result<Self> {
        let e = l.at("encoder");
        let names = Names::of(&e);
        let level = |index: usize| names.level("down", index, 0);
        let mut channels = e.dim("conv_in.weight", 0, 128);
        let conv_in = Conv2d::load(&e.at("conv_in"), channels, COLOURS, 3)?;
        let mut down = Vec::new();
        for index in 0..count(&e, level) {
            let at = e.at(&level(index));
            let blocks = load_blocks(&at, names, &mut channels, ResBlock::load)?;
            let resample = names.resample("down");
            let conv = at.has(&resample).then(|| Conv2d::load(&at.at(&resample), channels, channels, 3));
            down.push((blocks, conv.transpose()?.map(|c| c.stride(2).pad([0, 0, 1, 1]))));
        }
        let [first, attention, second] = names.middle();
        let moments = 2 * LATENT_CHANNELS;
        Ok(Self {
            conv_in,
            down,
            middle: (
                ResBlock::load(&e.at(first), channels, channels)?,
                MidAttention::load(&e.at(attention), channels)?,
                ResBlock::load(&e.at(second), channels, channels)?,
            ),
            norm_out: GroupNorm::load(&e.at(names.norm_out()), 32, channels, 1e-6)?,
            conv_out: Conv2d::load(&e.at("conv_out"), moments, channels, 3)?,
            quant_conv: l
                .has("quant_conv")
                .then(|| Conv2d::load(&l.at("quant_conv"), moments, moments, 1))
                .transpose()?,
        })
    }

    /// `x` `[frames, height, width, 3]` in [-1, 1]; height and width are multiples of the downsampling factor.
    pub fn forward(&self, x: &Tensor, trace: &mut Trace) -> Result<Moments> {
        let [frames, height, width, _] = x.dims("encoder input")?;
        let factor = 1 << self.down.iter().filter(|(_, resample)| resample.is_some()).count();
        if height % factor != 0 || width % factor != 0 {
            return Err(Problem::new(
                "encoder input",
                format!("sides divisible by {factor}"),
                format!("{height}x{width}"),
            )
            .shape());
        }
        let mut h = self.conv_in.forward(x)?;
        for (blocks, resample) in &self.down {
            for block in blocks {
                h = block.forward(&h)?;
            }
            if let Some(resample) = resample {
                h = resample.forward(&h)?;
            }
        }
        h = self.middle.0.forward(&h)?;
        h = self.middle.1.forward(&h)?;
        h = self.middle.2.forward(&h)?;
        trace.note("encoder.mid_block", &h);
        let mut moments = self.conv_out.forward(&self.norm_out.silu(&h, frames)?)?;
        if let Some(conv) = &self.quant_conv {
            moments = conv.forward(&moments)?;
        }
        let channels = moments.last_dim() / 2;
        Ok(Moments {
            mean: moments.slice_channels(0, channels)?,
            log_variance: moments.slice_channels(channels, channels)?.clamp(-30.0, 20.0)?,
        })
    }
}

/// Latents to pixels, with temporal layers along the frames of each call.
pub struct Decoder {
    conv_in: Conv2d,
    middle: VideoResBlock,
    /// Attention and a second block; diffusers leaves out both when its blocks have one layer.
    attended: Option<(MidAttention, VideoResBlock)>,
    up: Vec<(Vec<VideoResBlock>, Option<Conv2d>)>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    time_conv_out: Conv2d,
}

impl Decoder {
    /// Prefixes of what a file, in whose `w` `decoder` lies, may hold beside what is read of it. Where diffusers' blocks have one
    /// layer, the middle has an attention that nothing passes through.
    pub fn unused(w: &Weights) -> &'static [&'static str] {
        match w.has("decoder.mid_block.resnets.1") || w.has("decoder.mid") {
            true => &["encoder", "quant_conv"],
            false => &["encoder", "quant_conv", "decoder.mid_block.attentions"],
        }
    }

    /// `l` stands where `decoder` lies.
    pub fn load(l: &Loader) -> Result<Self> {
        let d = l.at("decoder");
        let names = Names::of(&d);
        let mut channels = d.dim("conv_in.weight", 0, 512);
        let conv_in = Conv2d::load(&d.at("conv_in"), channels, LATENT_CHANNELS, 3)?;
        let [first, attention, second] = names.middle();
        let middle = VideoResBlock::load(&d.at(first), channels, channels)?;
        let attended = (names == Names::Training || d.has(second)).then(|| {
            Ok((
                MidAttention::load(&d.at(attention), channels)?,
                VideoResBlock::load(&d.at(second), channels, channels)?,
            ))
        });
        let attended = attended.transpose()?;
        let levels = count(&d, |index| match names {
            Names::Hub => format!("up_blocks.{index}"),
            Names::Training => format!("up.{index}"),
        });
        let mut up = Vec::new();
        for index in 0..levels {
            let at = d.at(&names.level("up", index, levels));
            let blocks = load_blocks(&at, names, &mut channels, VideoResBlock::load)?;
            let resample = names.resample("up");
            let conv = at.has(&resample).then(|| Conv2d::load(&at.at(&resample), channels, channels, 3));
            up.push((blocks, conv.transpose()?.map(Conv2d::upsampled)));
        }
        Ok(Self {
            conv_in,
            middle,
            attended,
            up,
            norm_out: GroupNorm::load(&d.at(names.norm_out()), 32, channels, 1e-6)?,
            conv_out: Conv2d::load(&d.at("conv_out"), COLOURS, channels, 3)?,
            time_conv_out: Conv2d::load_temporal(&d.at(names.time_conv_out()), COLOURS, COLOURS)?,
        })
    }

    /// `z` `[frames, height, width, 4]`, already divided by [`LATENT_SCALE`], as one clip → `[frames, 8 height, 8 width, 3]`.
    /// A clip of one frame is what KeySync decodes.
    pub fn forward(&self, z: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        let [frames, ..] = z.dims::<4>("decoder input")?;
        let mut h = self.conv_in.forward(z)?;
        trace.note("decoder.conv_in", &h);
        h = self.middle.forward(&h)?;
        trace.note("decoder.mid.block_1", &h);
        if let Some((attention, second)) = &self.attended {
            h = second.forward(&attention.forward(&h)?)?;
        }
        trace.note("decoder.mid_block", &h);
        for (blocks, resample) in &self.up {
            for block in blocks {
                h = block.forward(&h)?;
            }
            if let Some(resample) = resample {
                h = resample.forward(&h)?;
            }
        }
        let h = self.conv_out.forward(&self.norm_out.silu(&h, frames)?)?;
        let [_, height, width, channels] = h.dims("decoded")?;
        let out = self.time_conv_out.forward(&h.reshape(&[1, frames, height * width, channels])?)?;
        out.reshape(&[frames, height, width, channels])
    }
}

fn load_blocks<B>(
    at: &Loader,
    names: Names,
    channels: &mut usize,
    load: fn(&Loader, usize, usize) -> Result<B>,
) -> Result<Vec<B>> {
    let mut blocks = Vec::new();
    for index in 0..count(at, |index| names.block(index)) {
        let block = at.at(&names.block(index));
        let spatial = if block.has("spatial_res_block") { block.at("spatial_res_block") } else { block.clone() };
        let outputs = spatial.dim("conv1.weight", 0, *channels);
        blocks.push(load(&block, *channels, outputs)?);
        *channels = outputs;
    }
    Ok(blocks)
}

/// conv(SiLU(norm(conv(SiLU(norm(x)))))) + skip(x), per frame.
struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResBlock {
    fn load(l: &Loader, inputs: usize, outputs: usize) -> Result<Self> {
        let shortcut = if l.has("conv_shortcut") { "conv_shortcut" } else { "nin_shortcut" };
        Ok(Self {
            norm1: GroupNorm::load(&l.at("norm1"), 32, inputs, 1e-6)?,
            conv1: Conv2d::load(&l.at("conv1"), outputs, inputs, 3)?,
            norm2: GroupNorm::load(&l.at("norm2"), 32, outputs, 1e-6)?,
            conv2: Conv2d::load(&l.at("conv2"), outputs, outputs, 3)?,
            shortcut: (inputs != outputs).then(|| Conv2d::load(&l.at(shortcut), outputs, inputs, 1)).transpose()?,
        })
    }

    /// `x` `[frames, height, width, inputs]` → `[frames, height, width, outputs]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let frames = x.shape()[0];
        let h = self.conv1.forward(&self.norm1.silu(x, frames)?)?;
        let skip = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x)?,
            None => x.clone(),
        };
        self.conv2.plus(&self.norm2.silu(&h, frames)?, &skip)
    }
}

/// A residual block per frame, then one of (3,1,1) convolutions along the frames, blended by one learned weight.
struct VideoResBlock {
    spatial: ResBlock,
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// Weight of the spatial branch: 1 - sigmoid(mix_factor).
    spatial_weight: Tensor,
}

impl VideoResBlock {
    fn load(l: &Loader, inputs: usize, outputs: usize) -> Result<Self> {
        let hub = l.has("spatial_res_block");
        let (spatial, temporal, mixer, names) = match hub {
            true => ("spatial_res_block", "temporal_res_block", "time_mixer.mix_factor", Names::Hub),
            false => ("", "time_stack", "mix_factor", Names::Training),
        };
        let spatial = if hub { l.at(spatial) } else { l.clone() };
        let temporal = l.at(temporal);
        let [norm1, conv1, norm2, conv2] = names.temporal();
        let mix = f64::from(l.scalar(mixer)?);
        let spatial_weight = 1.0 - 1.0 / (1.0 + (-mix).exp());
        Ok(Self {
            spatial: ResBlock::load(&spatial, inputs, outputs)?,
            norm1: GroupNorm::load(&temporal.at(norm1), 32, outputs, 1e-5)?,
            conv1: Conv2d::load_temporal(&temporal.at(conv1), outputs, outputs)?,
            norm2: GroupNorm::load(&temporal.at(norm2), 32, outputs, 1e-5)?,
            conv2: Conv2d::load_temporal(&temporal.at(conv2), outputs, outputs)?,
            spatial_weight: Tensor::from_f32(l.gpu(), &[1], &[spatial_weight as f32])?,
        })
    }

    /// `x` `[frames, height, width, inputs]`, one clip → `[frames, height, width, outputs]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let spatial = self.spatial.forward(x)?;
        let [frames, height, width, channels] = spatial.dims("video block")?;
        let clip = spatial.reshape(&[1, frames, height * width, channels])?;
        let h = self.conv1.forward(&self.norm1.silu(&clip, 1)?)?;
        let temporal = self.conv2.plus(&self.norm2.silu(&h, 1)?, &clip)?;
        spatial.blend(&temporal.reshape(spatial.shape())?, &self.spatial_weight)
    }
}

/// Self-attention over the pixels of each frame, one head as wide as the channels, around a residual.
struct MidAttention {
    norm: GroupNorm,
    qkv: [Linear; 3],
    out: Linear,
    channels: usize,
}

impl MidAttention {
    fn load(l: &Loader, channels: usize) -> Result<Self> {
        let hub = l.has("to_q");
        let names =
            if hub { ["group_norm", "to_q", "to_k", "to_v", "to_out.0"] } else { ["norm", "q", "k", "v", "proj_out"] };
        // The training code's projections are 1x1 convolutions.
        let linear = |name: &str| -> Result<Linear> {
            let at = l.at(name);
            let published: &[usize] = if hub { &[channels, channels] } else { &[channels, channels, 1, 1] };
            let weight = at.packed("weight", published, WeightShape::linear(channels, channels))?;
            Ok(Linear::new(weight, Some(at.vector("bias", channels)?)))
        };
        Ok(Self {
            norm: GroupNorm::load(&l.at(names[0]), 32, channels, 1e-6)?,
            qkv: [linear(names[1])?, linear(names[2])?, linear(names[3])?],
            out: linear(names[4])?,
            channels,
        })
    }

    /// `x` `[frames, height, width, channels]` → the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [frames, height, width, channels] = x.dims("attention")?;
        let h = self.norm.forward(x, frames)?.reshape(&[frames, height * width, channels])?;
        let [q, k, v] = [&self.qkv[0], &self.qkv[1], &self.qkv[2]].map(|linear| linear.forward(&h));
        let (q, k, v) = (q?, k?, v?);
        let attended = Attend {
            q: Rows::of(&q)?,
            k: Rows::of(&k)?,
            v: Rows::of(&v)?,
            heads: 1,
            head_dim: self.channels,
            scale: (self.channels as f32).powf(-0.5),
            bias: None,
        };
        self.out.plus(&attended.run()?, &x.reshape(&[frames, height * width, channels])?)?.reshape(x.shape())
    }
}

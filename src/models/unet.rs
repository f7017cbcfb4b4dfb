//! The video UNet of KeySync and KeyFace: Stable Video Diffusion's, with audio through the timestep embedding and
//! through cross-attention. Source: Align your Latents, sec. 3.1; Stable Video Diffusion; sgm `VideoUNet`.
//!
//! `[clips, frames, height, width, in_channels]` → `[clips, frames, height, width, out_channels]`.
//!
//! Traps: GroupNorm's eps is 1e-5 in residual blocks, 1e-6 in the transformer; the temporal GroupNorm takes its statistics
//! over a whole clip; the mixer's weight counts for the SPATIAL branch; the frame embedding enters the temporal branch only.

use crate::nn::{
    Conv2d, CrossAttention, FeedForward, GroupNorm, LayerNorm, Linear, Loader, Over, SelfAttention, Trace,
    sinusoidal_embedding,
};
use crate::ops::Activation;
use crate::tensor::Tensor;
use crate::{Problem, Result};

/// What the shapes of the weights do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Channels of an attention head: 64 as published.
    pub head_dim: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { head_dim: 64 }
    }
}

pub struct VideoUnet {
    model_channels: usize,
    time_embed: [Linear; 2],
    label_emb: [Linear; 2],
    input_conv: Conv2d,
    input_blocks: Vec<Stage>,
    middle: (VideoResBlock, SpatialVideoTransformer, VideoResBlock),
    output_blocks: Vec<Stage>,
    out_norm: GroupNorm,
    out_conv: Conv2d,
}

/// One entry of `input_blocks` or `output_blocks`.
struct Stage {
    block: Option<VideoResBlock>,
    attention: Option<SpatialVideoTransformer>,
    resample: Option<Conv2d>,
}

/// What the network is told, the same at every noise level.
#[derive(Clone, Copy)]
pub struct Conditioning<'a> {
    /// What `label_emb` takes, `[clips * frames, label_channels]`, f32.
    pub label: &'a Tensor,
    /// Audio tokens of each clip, `[clips, tokens, context_channels]`.
    pub context: &'a Tensor,
    /// Leading clips whose context is all zero: they are spared the attention to it, with the same result.
    pub unheard: usize,
}

/// What a forward does about its deep levels, those below the first down-sampling: their features change little from one noise
/// level to the next (DeepCache; Ma et al. 2023).
pub enum Deep<'a> {
    /// They run.
    Run,
    /// They run, and what they give to the first level's way up stays behind: `[clips, frames, height, width, channels]`, at the
    /// published size 70 MiB in f16 for a clip of 14 frames.
    Keep(&'a mut Option<Tensor>),
    /// They do not run: what an earlier forward of the same clips kept takes their place.
    Reuse(&'a Tensor),
}

/// A [`Conditioning`] as the network takes it at each noise level: everything that does not depend on the noise.
pub struct Prepared {
    /// Added to the timestep embedding, `[clips * frames, emb_channels]`, f32.
    label_emb: Tensor,
    input_blocks: Vec<Option<Heard>>,
    middle: Heard,
    output_blocks: Vec<Option<Heard>>,
}

/// What one transformer makes of the conditioning.
pub struct Heard {
    /// Of each frame's number, `[clips * frames, channels]`.
    frame_emb: Tensor,
    /// Keys and values of the last clips' contexts; None where no clip has one.
    spatial: Option<Tensor>,
    temporal: Option<Tensor>,
}

impl VideoUnet {
    pub fn load(l: &Loader, config: Config) -> Result<Self> {
        let model_channels = l.dim("input_blocks.0.0.weight", 0, 320);
        let in_channels = l.dim("input_blocks.0.0.weight", 1, 8);
        let emb = l.dim("time_embed.0.weight", 0, 4 * model_channels);
        let label = l.dim("label_emb.0.0.weight", 1, 1024);
        let out_channels = l.dim("out.2.weight", 0, 4);

        for (name, shape) in l.weights().shapes().iter().filter(|(name, _)| name.ends_with(".emb_layers.1.weight")) {
            if shape.get(1) != Some(&emb) {
                let expected = format!("{emb} inputs, as wide as the embedding of the time");
                return Err(Problem::new(name, expected, format!("{shape:?}")).weights());
            }
        }

        // The few values that every layer is told of: their loss would be everywhere.
        let embedding = l.finer();

        // Channels that each stage leaves for its skip connection.
        let mut skips = vec![model_channels];
        let mut channels = model_channels;
        let mut input_blocks = Vec::new();
        for index in 1.. {
            let at = l.at(&format!("input_blocks.{index}"));
            if !at.has("0") {
                break;
            }
            let stage = Stage::load_input(&at, &mut channels, config)?;
            skips.push(channels);
            input_blocks.push(stage);
        }

        let middle = l.at("middle_block");
        let middle = (
            VideoResBlock::load(&middle.at("0"), channels, channels)?,
            SpatialVideoTransformer::load(&middle.at("1"), channels, config)?,
            VideoResBlock::load(&middle.at("2"), channels, channels)?,
        );

        let mut output_blocks = Vec::new();
        for (index, skip) in skips.iter().rev().enumerate() {
            let at = l.at(&format!("output_blocks.{index}"));
            output_blocks.push(Stage::load_output(&at, &mut channels, *skip, config)?);
        }

        Ok(Self {
            model_channels,
            time_embed: [
                Linear::load(&embedding.at("time_embed.0"), emb, model_channels)?,
                Linear::load(&embedding.at("time_embed.2"), emb, emb)?,
            ],
            label_emb: [
                Linear::load(&embedding.at("label_emb.0.0"), emb, label)?,
                Linear::load(&embedding.at("label_emb.0.2"), emb, emb)?,
            ],
            input_conv: Conv2d::load(&l.at("input_blocks.0.0"), model_channels, in_channels, 3)?,
            input_blocks,
            middle,
            output_blocks,
            out_norm: GroupNorm::load(&l.at("out.0"), 32, channels, 1e-5)?,
            out_conv: Conv2d::load(&l.at("out.2"), out_channels, channels, 3)?,
        })
    }

    /// What every forward of a run has in common.
    pub fn prepare(&self, told: Conditioning<'_>, trace: &mut Trace) -> Result<Prepared> {
        let [clips, ..] = told.context.dims::<3>("context")?;
        let [rows, _] = told.label.dims("label")?;
        if told.unheard > clips || clips == 0 || !rows.is_multiple_of(clips) {
            let found = format!("{} of them unheard, {rows} frames", told.unheard);
            return Err(Problem::new("context", format!("{clips} clips"), found).shape());
        }
        trace.note("label_emb_input", told.label);
        let label_emb = self.label_emb[1].forward(&self.label_emb[0].activated(told.label, Activation::Silu)?)?;
        trace.note("label_emb", &label_emb);

        let heard =
            |transformer: &SpatialVideoTransformer| transformer.prepare(told.context, rows / clips, told.unheard);
        let stages = |stages: &[Stage]| {
            let each = stages.iter().map(|stage| stage.attention.as_ref().map(heard).transpose());
            each.collect::<Result<Vec<_>>>()
        };
        Ok(Prepared {
            label_emb,
            input_blocks: stages(&self.input_blocks)?,
            middle: heard(&self.middle.1)?,
            output_blocks: stages(&self.output_blocks)?,
        })
    }

    /// `x` `[clips, frames, height, width, in_channels]` → the network's output F of the same size. `c_noise` is
    /// 0.25 ln(sigma) of each clip and frame; where `image_only` is true a frame keeps the spatial branches alone, None: nowhere;
    /// `deep` may spare the levels below the first.
    pub fn forward(
        &self,
        x: Tensor,
        prepared: &Prepared,
        c_noise: &[f32],
        image_only: Option<&[bool]>,
        mut deep: Deep<'_>,
        trace: &mut Trace,
    ) -> Result<Tensor> {
        let [clips, frames, ..] = x.dims::<5>("unet input")?;
        if c_noise.len() != clips * frames {
            let found = c_noise.len().to_string();
            return Err(Problem::new("c_noise", format!("{} values", clips * frames), found).shape());
        }
        trace.note("unet_input", &x);

        let t = sinusoidal_embedding(x.gpu(), c_noise, self.model_channels)?;
        let time = self.time_embed[1].forward(&self.time_embed[0].activated(&t, Activation::Silu)?)?;
        trace.note("time_embed", &time);
        // Of the sum every block takes the SiLU.
        let silu_emb = time.add(&prepared.label_emb)?.silu()?;
        let moment = Moment { silu_emb: &silu_emb, image_only };

        let mut h = as_clips(self.input_conv.forward(&as_images(&x)?)?, clips)?;
        drop(x);
        trace.note("input_blocks.0", &h);
        let mut skips = vec![h.clone()];
        let first_level = self.input_blocks.iter().take_while(|stage| stage.resample.is_none()).count();
        let down = if let Deep::Reuse(_) = deep { first_level } else { self.input_blocks.len() };
        for (index, (stage, heard)) in self.input_blocks.iter().zip(&prepared.input_blocks).enumerate().take(down) {
            h = stage.forward(h, moment, heard.as_ref())?;
            trace.note(&format!("input_blocks.{}", index + 1), &h);
            skips.push(h.clone());
        }

        // One block of the way up for each on the way down and for the first convolution.
        let last_level = self.output_blocks.len().saturating_sub(first_level + 1);
        let mut up = 0;
        if let Deep::Reuse(features) = deep {
            h = features.clone();
            up = last_level;
        } else {
            h = self.middle.0.forward(h, moment, &mut Trace::off())?;
            h = self.middle.1.forward(h, &prepared.middle, image_only, &mut Trace::off())?;
            h = self.middle.2.forward(h, moment, &mut Trace::off())?;
            trace.note("middle_block", &h);
        }

        for (index, (stage, heard)) in self.output_blocks.iter().zip(&prepared.output_blocks).enumerate().skip(up) {
            if let (Deep::Keep(features), true) = (&mut deep, index == last_level) {
                **features = Some(h.clone());
            }
            if let Some(skip) = skips.pop() {
                h = Tensor::concat_channels(&[&h, &skip])?;
            }
            h = stage.forward(h, moment, heard.as_ref())?;
            trace.note(&format!("output_blocks.{index}"), &h);
        }

        let h = self.out_norm.silu(&h, clips * frames)?;
        as_clips(self.out_conv.forward(&as_images(&h)?)?, clips)
    }
}

impl Stage {
    fn load_input(l: &Loader, channels: &mut usize, config: Config) -> Result<Self> {
        if l.has("0.op") {
            let resample = Conv2d::load(&l.at("0.op"), *channels, *channels, 3)?.stride(2);
            return Ok(Self { block: None, attention: None, resample: Some(resample) });
        }
        let outputs = l.dim("0.in_layers.2.weight", 0, *channels);
        let block = VideoResBlock::load(&l.at("0"), *channels, outputs)?;
        *channels = outputs;
        let attention = l.has("1").then(|| SpatialVideoTransformer::load(&l.at("1"), outputs, config)).transpose()?;
        Ok(Self { block: Some(block), attention, resample: None })
    }

    fn load_output(l: &Loader, channels: &mut usize, skip: usize, config: Config) -> Result<Self> {
        let outputs = l.dim("0.in_layers.2.weight", 0, *channels);
        let block = VideoResBlock::load(&l.at("0"), *channels + skip, outputs)?;
        *channels = outputs;
        let attention =
            l.has("1.norm").then(|| SpatialVideoTransformer::load(&l.at("1"), outputs, config)).transpose()?;
        let resample = ["1.conv", "2.conv"].into_iter().find(|name| l.has(name));
        let resample = resample.map(|name| Ok(Conv2d::load(&l.at(name), outputs, outputs, 3)?.upsampled()));
        Ok(Self { block: Some(block), attention, resample: resample.transpose()? })
    }

    /// `heard` is there where the stage has a transformer.
    fn forward(&self, mut h: Tensor, moment: Moment<'_>, heard: Option<&Heard>) -> Result<Tensor> {
        if let Some(block) = &self.block {
            h = block.forward(h, moment, &mut Trace::off())?;
        }
        if let (Some(attention), Some(heard)) = (&self.attention, heard) {
            h = attention.forward(h, heard, moment.image_only, &mut Trace::off())?;
        }
        if let Some(resample) = &self.resample {
            h = resample_clips(resample, &h)?;
        }
        Ok(h)
    }
}

/// A down- or upsampling convolution on every frame of `x` `[clips, frames, height, width, channels]`.
pub fn resample_clips(conv: &Conv2d, x: &Tensor) -> Result<Tensor> {
    as_clips(conv.forward(&as_images(x)?)?, x.shape()[0])
}

/// `[clips, frames, height, width, channels]` → `[clips * frames, height, width, channels]`.
fn as_images(x: &Tensor) -> Result<Tensor> {
    let [clips, frames, height, width, channels] = x.dims("clips")?;
    x.reshape(&[clips * frames, height, width, channels])
}

/// `[clips, frames, height, width, channels]` → `[clips, frames, height * width, channels]`: clips as images of time and place.
fn as_time_images(x: &Tensor) -> Result<Tensor> {
    let [clips, frames, height, width, channels] = x.dims("clips")?;
    x.reshape(&[clips, frames, height * width, channels])
}

fn as_clips(x: Tensor, clips: usize) -> Result<Tensor> {
    let [images, height, width, channels] = x.dims("images")?;
    x.reshape(&[clips, images / clips.max(1), height, width, channels])
}

/// What every residual block of one forward sees beside its input.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// SiLU of the timestep (and audio) embedding, `[clips * frames, emb_channels]`, f32.
    pub silu_emb: &'a Tensor,
    /// Per clip and frame: true keeps the spatial branch alone. None: no frame does.
    pub image_only: Option<&'a [bool]>,
}

/// A spatial residual block per frame, then a temporal one along each clip, blended by one learned weight.
/// Source: sgm `VideoResBlock`.
pub struct VideoResBlock {
    spatial: ResBlock,
    temporal: ResBlock,
    time_mixer: TimeMixer,
}

impl VideoResBlock {
    pub fn load(l: &Loader, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Self {
            spatial: ResBlock::load(l, inputs, outputs, Axis::Space)?,
            temporal: ResBlock::load(&l.at("time_stack"), outputs, outputs, Axis::Time)?,
            time_mixer: TimeMixer::load(&l.at("time_mixer"))?,
        })
    }

    /// `x` `[clips, frames, height, width, inputs]` → `[clips, frames, height, width, outputs]`.
    pub fn forward(&self, x: Tensor, moment: Moment<'_>, trace: &mut Trace) -> Result<Tensor> {
        let spatial = self.spatial.forward(x, moment.silu_emb, trace)?;
        let temporal =
            trace.within("temporal", |trace| self.temporal.forward(spatial.clone(), moment.silu_emb, trace))?;
        trace.note("time_stack", &temporal);
        self.time_mixer.forward(&spatial, &temporal, moment.image_only)
    }
}

/// What a residual block's convolutions and norms run over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// Each frame alone, 3x3.
    Space,
    /// Each clip whole, (3,1,1).
    Time,
}

/// conv(SiLU(norm(conv(SiLU(norm(x))) + emb))) + skip(x). Source: sgm `ResBlock`.
struct ResBlock {
    axis: Axis,
    in_norm: GroupNorm,
    in_conv: Conv2d,
    emb_proj: Linear,
    out_norm: GroupNorm,
    out_conv: Conv2d,
    skip: Option<Conv2d>,
}

impl ResBlock {
    fn load(l: &Loader, inputs: usize, outputs: usize, axis: Axis) -> Result<Self> {
        let conv = |name: &str, inputs: usize| match axis {
            Axis::Space => Conv2d::load(&l.at(name), outputs, inputs, 3),
            Axis::Time => Conv2d::load_temporal(&l.at(name), outputs, inputs),
        };
        let emb = l.dim("emb_layers.1.weight", 1, 1280);
        Ok(Self {
            axis,
            in_norm: GroupNorm::load(&l.at("in_layers.0"), 32, inputs, 1e-5)?,
            in_conv: conv("in_layers.2", inputs)?,
            emb_proj: Linear::load(&l.at("emb_layers.1"), outputs, emb)?,
            out_norm: GroupNorm::load(&l.at("out_layers.0"), 32, outputs, 1e-5)?,
            out_conv: conv("out_layers.3", outputs)?,
            skip: (inputs != outputs)
                .then(|| Conv2d::load(&l.at("skip_connection"), outputs, inputs, 1))
                .transpose()?,
        })
    }

    /// Takes `x` so that its memory is free for others once it is read.
    fn forward(&self, x: Tensor, silu_emb: &Tensor, trace: &mut Trace) -> Result<Tensor> {
        let [clips, frames, ..] = x.dims::<5>("residual block")?;
        let mut shape = x.shape().to_vec();
        let (images, samples) = match self.axis {
            Axis::Space => (as_images(&x)?, clips * frames),
            Axis::Time => (as_time_images(&x)?, clips),
        };
        drop(x);
        let emb = self.emb_proj.forward(silu_emb)?;
        trace.note("emb_layers", &emb);

        let mut h = self.in_conv.plus_rows(&self.in_norm.silu(&images, samples)?, &emb)?;
        let mut skip = images;
        if let Some(conv) = &self.skip {
            skip = conv.forward(&skip)?;
        }
        trace.note("skip_connection", &skip);
        h = self.out_norm.silu(&h, samples)?;
        h = self.out_conv.plus(&h, &skip)?;

        shape[4] = h.last_dim();
        h.reshape(&shape)
    }
}

/// a * spatial + (1 - a) * temporal, a = 1 on image-only frames, else sigmoid(mix_factor).
/// Source: sgm `AlphaBlender`, merge strategy "learned_with_images". The VAE's blocks weigh the other way round.
struct TimeMixer {
    alpha: f32,
}

impl TimeMixer {
    fn load(l: &Loader) -> Result<Self> {
        let mix = f64::from(l.scalar("mix_factor")?);
        Ok(Self { alpha: (1.0 / (1.0 + (-mix).exp())) as f32 })
    }

    /// `spatial`, `temporal` `[clips, frames, ..]`.
    fn forward(&self, spatial: &Tensor, temporal: &Tensor, image_only: Option<&[bool]>) -> Result<Tensor> {
        let Some(frames) = image_only else { return spatial.add_scaled(self.alpha, temporal, 1.0 - self.alpha) };
        let weights: Vec<f32> = frames.iter().map(|&only| if only { 1.0 } else { self.alpha }).collect();
        spatial.blend(temporal, &Tensor::from_f32(spatial.gpu(), &[weights.len()], &weights)?)
    }
}

/// Attention over the places of each frame, then over the frames of each place. Source: sgm `SpatialVideoTransformer`.
pub struct SpatialVideoTransformer {
    norm: GroupNorm,
    proj_in: Linear,
    time_pos_embed: [Linear; 2],
    spatial: TransformerBlock,
    temporal: TransformerBlock,
    time_mixer: TimeMixer,
    proj_out: Linear,
}

impl SpatialVideoTransformer {
    pub fn load(l: &Loader, channels: usize, config: Config) -> Result<Self> {
        let wide = l.dim("time_pos_embed.0.weight", 0, 4 * channels);
        Ok(Self {
            norm: GroupNorm::load(&l.at("norm"), 32, channels, 1e-6)?,
            proj_in: Linear::load(&l.at("proj_in"), channels, channels)?,
            time_pos_embed: [
                Linear::load(&l.at("time_pos_embed.0"), wide, channels)?,
                Linear::load(&l.at("time_pos_embed.2"), channels, wide)?,
            ],
            spatial: TransformerBlock::load(&l.at("transformer_blocks.0"), channels, config, false)?,
            temporal: TransformerBlock::load(&l.at("time_stack.0"), channels, config, true)?,
            time_mixer: TimeMixer::load(&l.at("time_mixer"))?,
            proj_out: Linear::load(&l.at("proj_out"), channels, channels)?,
        })
    }

    /// What the forwards of a run have in common, for `context` `[clips, tokens, context_channels]` of which the first
    /// `unheard` are zero, and clips of `frames` frames.
    pub fn prepare(&self, context: &Tensor, frames: usize, unheard: usize) -> Result<Heard> {
        let [clips, ..] = context.dims::<3>("context")?;
        let positions: Vec<f32> = (0..clips * frames).map(|row| (row % frames) as f32).collect();
        let t = sinusoidal_embedding(context.gpu(), &positions, self.time_pos_embed[0].inputs())?;
        let frame_emb = self.time_pos_embed[1].forward(&self.time_pos_embed[0].activated(&t, Activation::Silu)?)?;
        if unheard == clips {
            return Ok(Heard { frame_emb, spatial: None, temporal: None });
        }
        let context = context.narrow_rows(unheard, clips - unheard)?;
        Ok(Heard {
            frame_emb,
            spatial: Some(self.spatial.attn2.keys_values(&context)?),
            temporal: Some(self.temporal.attn2.keys_values(&context)?),
        })
    }

    /// `x` `[clips, frames, height, width, channels]` → the same shape.
    pub fn forward(&self, x: Tensor, heard: &Heard, image_only: Option<&[bool]>, trace: &mut Trace) -> Result<Tensor> {
        let [clips, frames, height, width, channels] = x.dims("transformer")?;
        let tokens = [clips, frames, height * width, channels];

        let mut h = self.norm.forward(&x, clips * frames)?;
        trace.note("norm", &h);
        h = self.proj_in.forward(&h.reshape(&tokens)?)?;
        trace.note("proj_in", &h);
        trace.note("time_pos_embed", &heard.frame_emb);

        let spatial = self.spatial.forward(h, heard.spatial.as_ref(), Over::Places)?;
        trace.note("spatial.block", &spatial);
        let temporal = spatial.add_per_frame(&heard.frame_emb)?;
        let temporal = self.temporal.forward(temporal, heard.temporal.as_ref(), Over::Frames)?;
        trace.note("time.block", &temporal);
        let mixed = self.time_mixer.forward(&spatial, &temporal, image_only)?;
        trace.note("mixed", &mixed);
        drop((spatial, temporal));

        self.proj_out.plus(&mixed, &x.reshape(&tokens)?)?.reshape(x.shape())
    }
}

/// Self-attention, cross-attention and feed-forward, each after a LayerNorm and around a residual; the temporal one
/// starts with a feed-forward more. Source: sgm `BasicTransformerBlock`, `VideoTransformerBlock`.
struct TransformerBlock {
    ff_in: Option<(LayerNorm, FeedForward)>,
    norm1: LayerNorm,
    attn1: SelfAttention,
    norm2: LayerNorm,
    attn2: CrossAttention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl TransformerBlock {
    fn load(l: &Loader, channels: usize, config: Config, has_ff_in: bool) -> Result<Self> {
        let norm = |name: &str| LayerNorm::load(&l.at(name), channels, 1e-5);
        let context = l.dim("attn2.to_k.weight", 1, 1024);
        let ff_in = has_ff_in.then(|| Ok((norm("norm_in")?, FeedForward::load(&l.at("ff_in"), channels)?)));
        Ok(Self {
            ff_in: ff_in.transpose()?,
            norm1: norm("norm1")?,
            attn1: SelfAttention::load(&l.at("attn1"), channels, config.head_dim)?,
            norm2: norm("norm2")?,
            attn2: CrossAttention::load(&l.at("attn2"), channels, context, config.head_dim)?,
            norm3: norm("norm3")?,
            ff: FeedForward::load(&l.at("ff"), channels)?,
        })
    }

    /// `x` `[clips, frames, places, channels]`; `keys_values` of the last clips' context; `over` says which tokens attend to
    /// each other.
    fn forward(&self, mut x: Tensor, keys_values: Option<&Tensor>, over: Over) -> Result<Tensor> {
        if let Some((norm, ff)) = &self.ff_in {
            x = ff.plus(norm.forward(&x)?, &x)?;
        }
        x = self.attn1.plus(self.norm1.forward(&x)?, over, &x)?;
        x = self.listen(x, keys_values, over)?;
        self.ff.plus(self.norm3.forward(&x)?, &x)
    }

    /// x + attn2(norm2(x), context), the context being zero for the clips before those that `keys_values` is of.
    fn listen(&self, x: Tensor, keys_values: Option<&Tensor>, over: Over) -> Result<Tensor> {
        let Some(keys_values) = keys_values else { return self.attn2.plus_unheard(&x) };
        let (clips, hearing) = (x.shape()[0], keys_values.shape()[0]);
        let Some(unheard) = clips.checked_sub(hearing) else {
            return Err(Problem::new("context", format!("{clips} clips"), hearing.to_string()).shape());
        };
        if unheard == 0 {
            return self.attn2.plus(self.norm2.forward(&x)?, keys_values, over, &x);
        }
        let first = self.attn2.plus_unheard(&x.narrow_rows(0, unheard)?)?;
        let last = x.narrow_rows(unheard, hearing)?;
        let last = self.attn2.plus(self.norm2.forward(&last)?, keys_values, over, &last)?;
        drop(x);
        Tensor::stack_rows(&[&first, &last])
    }
}

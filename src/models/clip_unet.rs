//! The networks of KeySync and KeyFace, keyframes and interpolation each: the video UNet with what a stage concatenates to
//! the latents, KeyFace's emotion, and the audio projection.
//! Sources: KeySync (arXiv 2505.00497) sec. 3, KeyFace (arXiv 2503.01715) sec. 3; training code `DubbingWrapper`,
//! `OpenAIWrapper`, `InterpolationWrapper`.
//!
//! What tells them apart is in the weights: `learned_mask` makes an interpolation network, a label embedding wider than the
//! audio makes one that feels. A third network, KeyFace's weaker one (see [`weaker_weights`]), differs in its values only.

use super::unet::{self, Conditioning, Config, Deep, VideoUnet};
use crate::gpu::{Elem, Gpu};
use crate::nn::{Linear, Loader, Trace, sinusoidal_embedding};
use crate::tensor::Tensor;
use crate::weights::Weights;
use crate::{Problem, Result};

/// Prefixes that published checkpoints carry and this network does not read.
pub const UNUSED: &[&str] = &["conditioner.embedders.0", "first_stage_model", "model_ema", "denoiser", "loss_fn"];

/// The UNet of one stage. Keyframes are conditioned on one latent, interpolation on the two latents at its ends.
pub struct ClipUnet {
    unet: VideoUnet,
    /// What stands between the two ends, `[1, height, width, 4]`: interpolation only.
    learned_mask: Option<Tensor>,
    /// Channels of the emotion in the label embedding's input, half valence, half arousal; 0 in a network without.
    emotion_channels: usize,
    /// How activations are stored.
    elem: Elem,
}

/// What the network is told beside noisy latents.
#[derive(Clone, Copy)]
pub struct Prompt<'a> {
    /// From [`ClipUnet::condition`].
    pub concat: &'a Tensor,
    /// `[clips, frames, channels]`: enters through the timestep embedding, each frame its own row, and as the tokens that
    /// every frame attends to.
    pub audio: &'a Tensor,
    /// Leading clips whose audio is all zero, for guidance: what they would attend to need not be computed.
    pub unheard: usize,
    /// From [`ClipUnet::emotion`], for networks that take one.
    pub emotion: Option<&'a Tensor>,
}

/// A [`Prompt`] as the network takes it at each noise level; made once for a run, by [`ClipUnet::prepare`].
pub struct Prepared {
    concat: Tensor,
    unet: unet::Prepared,
}

impl ClipUnet {
    /// `l` stands where `model` lies; activations are stored as `elem`.
    pub fn load(l: &Loader, config: Config, elem: Elem) -> Result<Self> {
        let size = |axis: usize, published: usize| l.dim("learned_mask", axis, published);
        let learned_mask = l
            .has("learned_mask")
            .then(|| load_channels_last(l, "learned_mask", [size(0, 4), size(1, 64), size(2, 64)]))
            .transpose()?;
        let unet = l.at("diffusion_model");
        // Beside the noisy latents one latent, and for interpolation the plane that marks both ends.
        let channels = unet.dim("out.2.weight", 0, 4);
        let inputs = if learned_mask.is_some() { 2 * channels + 1 } else { 2 * channels };
        let found = unet.dim("input_blocks.0.0.weight", 1, inputs);
        if found != inputs {
            return Err(Problem::new(
                unet.weights().name("input_blocks.0.0.weight"),
                format!("{inputs} input channels"),
                found.to_string(),
            )
            .weights());
        }
        let audio = unet.dim("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1, 1024);
        let told = unet.dim("label_emb.0.0.weight", 1, audio);
        let emotion_channels = match told.checked_sub(audio) {
            Some(channels) if channels.is_multiple_of(2) => channels,
            _ => {
                let expected = format!("{audio} inputs for audio, or more by the same number for valence and arousal");
                return Err(
                    Problem::new(unet.weights().name("label_emb.0.0.weight"), expected, told.to_string()).weights()
                );
            }
        };
        Ok(Self { unet: VideoUnet::load(&unet, config)?, learned_mask, emotion_channels, elem })
    }

    /// Whether it takes valence and arousal.
    pub fn feels(&self) -> bool {
        self.emotion_channels > 0
    }

    /// Valence and arousal of each frame as the network takes them, `[feelings.len(), channels]`; None where it takes none.
    pub fn emotion(&self, gpu: &Gpu, feelings: &[[f32; 2]]) -> Result<Option<Tensor>> {
        if !self.feels() {
            return Ok(None);
        }
        let embedded = |axis: usize| {
            let values: Vec<f32> = feelings.iter().map(|feeling| feeling[axis]).collect();
            sinusoidal_embedding(gpu, &values, self.emotion_channels / 2)
        };
        Tensor::concat_channels(&[&embedded(0)?, &embedded(1)?]).map(Some)
    }

    /// The side lengths `[height, width]` of the latents, where the weights fix them.
    pub fn latent_size(&self) -> Option<[usize; 2]> {
        self.learned_mask.as_ref().map(|mask| [mask.shape()[1], mask.shape()[2]])
    }

    /// What is concatenated to the latents of every step.
    ///
    /// `latents` `[clips, height, width, 4]` for keyframes, `[clips, height, width, 8]` (first | last) for interpolation,
    /// → `[clips, frames, height, width, 4 or 5]`.
    pub fn condition(&self, latents: &Tensor, frames: usize) -> Result<Tensor> {
        let [clips, height, width, channels] = latents.dims("conditioning latents")?;
        let Some(mask) = &self.learned_mask else {
            return latents.repeat_rows(frames)?.reshape(&[clips, frames, height, width, channels]);
        };
        if mask.shape()[1..3] != [height, width] || channels != 2 * mask.last_dim() || frames < 2 {
            let found = format!("{:?} over {frames} frames", latents.shape());
            let expected = format!(
                "[clips, {}, {}, {}] over 2 or more frames",
                mask.shape()[1],
                mask.shape()[2],
                2 * mask.last_dim()
            );
            return Err(Problem::new("interpolation latents", expected, found).shape());
        }
        let first = latents.slice_channels(0, channels / 2)?;
        let last = latents.slice_channels(channels / 2, channels / 2)?;
        let mut rows = Vec::with_capacity(clips * frames);
        for clip in 0..clips {
            rows.push(first.narrow_rows(clip, 1)?);
            rows.extend(std::iter::repeat_n(mask.clone(), frames - 2));
            rows.push(last.narrow_rows(clip, 1)?);
        }
        let placed = Tensor::stack_rows(&rows.iter().collect::<Vec<_>>())?;
        let mut ends = vec![0.0; clips * frames * height * width];
        for clip in ends.chunks_exact_mut(frames * height * width) {
            clip[..height * width].fill(1.0);
            clip[(frames - 1) * height * width..].fill(1.0);
        }
        let ends = Tensor::from_f32(latents.gpu(), &[clips * frames, height, width, 1], &ends)?;
        Tensor::concat_channels(&[&placed, &ends])?.reshape(&[clips, frames, height, width, channels / 2 + 1])
    }

    /// What all evaluations with `prompt` have in common.
    pub fn prepare(&self, prompt: Prompt<'_>, trace: &mut Trace) -> Result<Prepared> {
        let Prompt { concat, audio, unheard, emotion } = prompt;
        let rows = audio.reshape(&[audio.len() / audio.last_dim().max(1), audio.last_dim()])?;
        let channels = emotion.map_or(0, Tensor::last_dim);
        if channels != self.emotion_channels {
            return Err(Problem::new("emotion", format!("{} channels", self.emotion_channels), channels.to_string())
                .remedy("KeyFace's keyframe network takes an emotion, no other does")
                .shape());
        }
        let label = match emotion {
            Some(emotion) => {
                Tensor::concat_channels(&[&emotion.reshape(&[emotion.len() / channels, channels])?, &rows])?
            }
            None => rows,
        };
        let told = Conditioning { label: &label, context: &audio.cast(self.elem)?, unheard };
        Ok(Prepared { concat: concat.clone(), unet: self.unet.prepare(told, trace)? })
    }

    /// The network's output F for scaled latents `x` `[clips, frames, height, width, 4]`, all in f32; `c_noise` one value
    /// per clip and frame. `deep` as in [`VideoUnet::forward`].
    pub fn forward(
        &self,
        x: &Tensor,
        prepared: &Prepared,
        c_noise: &[f32],
        image_only: Option<&[bool]>,
        deep: Deep<'_>,
        trace: &mut Trace,
    ) -> Result<Tensor> {
        let joined = Tensor::concat_channels(&[x, &prepared.concat])?.cast(self.elem)?;
        self.unet.forward(joined, &prepared.unet, c_noise, image_only, deep, trace)?.cast(Elem::F32)
    }
}

/// KeyFace's weaker interpolation network, of which [`ClipUnet::load`] finds `learned_mask` and `diffusion_model.*` at the
/// top. Its checkpoint is a training engine's: what stands in front of `diffusion_model` is not part of the names, and
/// whatever belongs to neither is no part of the network. Names that are cut already stay.
pub fn weaker_weights(weights: &Weights) -> Result<Weights> {
    weights.renamed(|name| {
        let start = ["diffusion_model.", "learned_mask"].iter().find_map(|start| name.find(start));
        start.map(|start| name[start..].to_owned())
    })
}

/// A parameter `[channels, height, width]` as `[1, height, width, channels]`.
fn load_channels_last(l: &Loader, leaf: &str, [channels, height, width]: [usize; 3]) -> Result<Tensor> {
    let host = l.weights().get(leaf, &[channels, height, width])?;
    let shape = [1, height, width, channels];
    if host.planned() {
        return Tensor::placeholder(l.gpu(), &shape, Elem::F32);
    }
    let values = host.to_f32()?;
    let at = |i: usize| values[(i % channels) * height * width + i / channels];
    Tensor::from_f32(l.gpu(), &shape, &(0..values.len()).map(at).collect::<Vec<_>>())
}

/// The two 50 Hz vectors of each 25 fps frame, averaged and projected: `[frames, 2, 768 or 1536]` → `[frames, 1024]`.
pub struct AudioProjection {
    linear: Linear,
}

/// Number of the audio among the conditioner's embedders: KeySync's in both stages; KeyFace's interpolation has it at 1, its
/// keyframes at 3.
const AUDIO_EMBEDDERS: [usize; 3] = [2, 1, 3];

impl AudioProjection {
    /// `l` stands where `conditioner` lies.
    pub fn load(l: &Loader) -> Result<Self> {
        let places = AUDIO_EMBEDDERS.map(|number| l.at(&format!("embedders.{number}.linear")));
        let at = places.iter().find(|place| place.has("")).unwrap_or(&places[0]);
        let (outputs, inputs) = (at.dim("weight", 0, 1024), at.dim("weight", 1, 768));
        Ok(Self { linear: Linear::load(at, outputs, inputs)? })
    }

    /// Channels of the vectors that it takes.
    pub fn inputs(&self) -> usize {
        self.linear.inputs()
    }

    /// `pairs` `[frames, 2, channels]` → `[frames, outputs]`.
    pub fn forward(&self, pairs: &Tensor) -> Result<Tensor> {
        self.linear.forward(&pairs.mean_pairs()?)
    }
}

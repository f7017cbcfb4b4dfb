//! KeyFace end to end: one portrait and speech in, finished frames at 25 a second out.
//! Source: KeyFace (arXiv 2503.01715); training code `inference.py`. Where this differs by default: docs/differences.md.
//!
//! Laughter, sighs and other sounds that are not speech need nothing: they are in the audio, and BEATs hears them.

use super::audio::{beats_embeddings, interpolation_embeddings, keyframe_embeddings};
use super::emotion::Emotion;
use super::frames::Frames;
use super::job::{Embeddings, Phase, Progress, Reporter, count_samples, read_samples};
use super::resume::WorkFolder;
use super::sampling::Sampling;
use super::segments::{FRAME_SAMPLES, Parity, Plan, UPSTREAM_CAP_S};
use super::timeline::{Extend, Timeline};
use super::two_stage::{INTERPOLATION_NOISE, KEYFRAME_NOISE, Seam, Stage, System, TwoStage, encode, to_frame, upload};
use super::weights::{Demand, Role, Storage, WeightSet};
use crate::diffusion::{AUTO_SCALE, Guidance};
use crate::face::mask::LATENT_STEP;
use crate::gpu::{Cancel, Gpu};
use crate::media::{Audio, Fps, Frame, FrameTimes};
use crate::models::vae::Encoder;
use crate::ops::{Depth, Filter, KERNELS, Region, Rgb};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::cell::OnceCell;

/// How to make the video; the default is what is published, corrected where docs/differences.md says so.
#[derive(Debug, Clone)]
pub struct Options {
    pub sampling: Sampling,
    /// Of the keyframes.
    pub guidance: Guidance,
    /// Of the frames between them; None: autoguidance where the weaker network is there, else none.
    pub interpolation_guidance: Option<Guidance>,
    pub emotion: Emotion,
    /// The face's place in the picture; None: the square in its middle, in parity the whole picture, squeezed.
    pub face: Option<Region>,
    /// A random sample of the encoder's posterior instead of its mode.
    pub sample_posterior: bool,
    pub parity: Parity,
    pub storage: Storage,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            guidance: Guidance::default(),
            interpolation_guidance: None,
            emotion: Emotion::default(),
            face: None,
            sample_posterior: false,
            parity: Parity::Corrected,
            storage: Storage::default(),
        }
    }
}

impl Options {
    /// The guidance between keyframes with these weights. Errors: autoguidance without the weaker network.
    fn interpolation_guidance(&self, weights: &WeightSet) -> Result<Guidance> {
        let has_weaker = weights.has(Role::KeyfaceWeaker);
        match self.interpolation_guidance {
            Some(Guidance::Auto { .. }) if !has_weaker => {
                Err(Problem::new("autoguidance", Role::KeyfaceWeaker.file_names()[0], "no such file")
                    .remedy("choose another guidance between keyframes, or add the weaker network")
                    .weights())
            }
            Some(guidance) => Ok(guidance),
            None if has_weaker => Ok(Guidance::Auto { scale: AUTO_SCALE }),
            None => Ok(Guidance::None),
        }
    }
}

/// What goes in, and how it is to be done; [`Animate::frames`] does it.
pub struct Animate<'a> {
    gpu: Gpu,
    weights: &'a WeightSet,
    portrait: Frame,
    audio: Audio,
    options: Options,
    reporter: Reporter<'a>,
    work: Option<WorkFolder>,
    surveyed: OnceCell<Survey>,
}

impl<'a> Animate<'a> {
    /// `portrait` is any picture with one face, best a crop around it.
    pub fn new(gpu: &Gpu, weights: &'a WeightSet, portrait: Frame, audio: Audio) -> Self {
        let (options, reporter) = (Options::default(), Reporter::default());
        Self { gpu: gpu.clone(), weights, portrait, audio, options, reporter, work: None, surveyed: OnceCell::new() }
    }

    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self.surveyed = OnceCell::new();
        self
    }

    /// Sees how far the run is, after each step.
    pub fn on_progress(mut self, observer: impl FnMut(Progress) + 'a) -> Self {
        self.reporter.observer = Some(Box::new(observer));
        self
    }

    pub fn cancel_with(mut self, cancel: &Cancel) -> Self {
        self.gpu = self.gpu.cancelled_by(cancel);
        self.reporter.cancel = cancel.clone();
        self
    }

    /// Keeps finished parts in `work` and takes those that are there.
    pub fn resume(mut self, work: WorkFolder) -> Self {
        self.work = Some(work);
        self
    }

    /// What will be done, from a first pass over the audio.
    pub fn survey(&self) -> Result<Survey> {
        if let Some(survey) = self.surveyed.get() {
            return Ok(survey.clone());
        }
        let survey = self.look()?;
        Ok(self.surveyed.get_or_init(|| survey).clone())
    }

    fn look(&self) -> Result<Survey> {
        let samples = count_samples(&self.audio, &self.reporter.cancel)?;
        let frames = samples.div_ceil(FRAME_SAMPLES);
        let frames = match self.options.parity {
            Parity::Corrected => frames,
            Parity::Upstream => frames.min(UPSTREAM_CAP_S * 25),
        };
        Ok(Survey { samples, frames, plan: Plan::keyface(frames, self.options.parity)? })
    }

    /// Does it: finished frames in order, made as they are asked for. Errors come as the last item.
    pub fn frames(self) -> Result<Frames<'a>> {
        let survey = self.survey()?;
        let Self { gpu, weights, options, mut reporter, .. } = self;
        let Options { sampling, guidance, storage, parity, .. } = options;
        weights.check(&gpu, storage)?;
        if let Some(work) = &self.work {
            work.keep_choices(&gpu)?;
        }
        gpu.prepare(KERNELS, "animate");

        reporter.advance(Phase::Listening, 0.0, [0, 0])?;
        let (frames, cancel) = (survey.frames, reporter.cancel.clone());
        let samples = read_samples(&self.audio, self.work.as_ref(), &cancel)?;
        let beats = {
            let model = weights.beats(&gpu, storage)?;
            Embeddings::collect(self.work.as_ref(), &cancel, |emit| {
                beats_embeddings(&gpu, &model, &samples, frames, parity, emit)
            })?
        };
        let heard_by_keyframes = {
            let model = weights.wavlm(&gpu, storage)?;
            Embeddings::collect(self.work.as_ref(), &cancel, |emit| {
                keyframe_embeddings(&gpu, &model, beats.values(), &samples, frames, parity, emit)
            })?
        };
        let heard_between = {
            let model = weights.wav2vec2(&gpu, storage)?;
            Embeddings::collect(self.work.as_ref(), &cancel, |emit| {
                interpolation_embeddings(&gpu, &model, beats.values(), &samples, frames, parity, emit)
            })?
        };
        drop((samples, beats));
        gpu.trim()?;

        let (unet, projection) = weights.stage(&gpu, Role::KeyfaceKeyframe, storage)?;
        let (embeddings, phase, noise) = (heard_by_keyframes, Phase::Keyframes, KEYFRAME_NOISE);
        let course = sampling.course(guidance)?;
        let keyframes = Stage { unet, weaker: None, projection, embeddings, course, phase, noise };
        let guidance = options.interpolation_guidance(weights)?;
        let needs_weaker = guidance.branches().iter().any(|branch| !branch.is_main());
        let weaker = if needs_weaker { weights.weaker(&gpu, storage)? } else { None };
        let (unet, projection) = weights.stage(&gpu, Role::KeyfaceInterpolation, storage)?;
        let (embeddings, phase, noise) = (heard_between, Phase::Interpolation, INTERPOLATION_NOISE);
        let course = sampling.course(guidance)?;
        let interpolation = Stage { unet, weaker, projection, embeddings, course, phase, noise };
        let latent = interpolation.latent_size()?;
        let side = LATENT_STEP * latent[0];
        let portrait = Portrait {
            latent: encode_face(&gpu, &weights.encoder(&gpu, storage)?, &self.portrait, &options, side)?,
            emotion: options.emotion,
            frames,
            parity,
        };
        let stages = TwoStage {
            decoder: weights.decoder(&gpu, Role::KeyfaceKeyframe, storage)?,
            coding: storage.coding,
            depth: Depth::Eight,
            seam: Seam::Average,
            plan: survey.plan,
            sampling,
            keyframes,
            interpolation,
            latent,
            work: self.work,
            state: Default::default(),
            gpu,
        };
        reporter.total = stages.units(0);
        let total = survey.plan.output_frames() as u64;
        let times = FrameTimes::Constant { fps: Fps::INSIDE, count: total };
        let timeline = Timeline::new(times, Fps::INSIDE, Extend::Hold, frames);
        Ok(Frames::new(stages, Box::new(portrait), reporter, [side as u32; 2], timeline, total))
    }
}

/// What a job amounts to.
#[derive(Debug, Clone)]
pub struct Survey {
    pub samples: usize,
    /// Frames of audio, at 25 a second.
    pub frames: usize,
    pub plan: Plan,
}

impl Survey {
    /// What the job asks of its networks.
    pub fn demand(&self, options: &Options, weights: &WeightSet) -> Result<Demand> {
        let keyframes = options.sampling.course(options.guidance)?;
        let between = options.sampling.course(options.interpolation_guidance(weights)?)?;
        let (batches, windows) = (self.plan.batch_count(), self.plan.window_count());
        Ok(Demand {
            roles: Role::ANIMATE,
            interpolation: Role::KeyfaceInterpolation,
            clip_evaluations: batches * keyframes.evaluations() + windows * between.evaluations(),
            clip_work: batches as f64 * keyframes.work() + windows as f64 * between.work(),
            frames: self.frames,
            clips_at_once: options.sampling.clips_at_once(2),
            clips_kept: options.sampling.clips_kept(2),
            storage: options.storage,
        })
    }
}

/// The picture that is brought to life.
struct Portrait {
    latent: Tensor,
    emotion: Emotion,
    frames: usize,
    parity: Parity,
}

impl System for Portrait {
    fn identity(&mut self, _: &mut Reporter<'_>) -> Result<Tensor> {
        Ok(self.latent.clone())
    }

    fn feeling(&self, frame: usize) -> Result<[f32; 2]> {
        self.emotion.at(frame, self.frames, self.parity)
    }

    fn finish(&mut self, picture: &Rgb, _: usize, _: u64) -> Result<Frame> {
        to_frame(picture)
    }
}

/// Scaled latents `[1, side / 8, side / 8, 4]` of the face in `portrait`.
fn encode_face(gpu: &Gpu, encoder: &Encoder, portrait: &Frame, options: &Options, side: usize) -> Result<Tensor> {
    let (width, height) = (portrait.width as usize, portrait.height as usize);
    let picture = upload(gpu, portrait)?;
    let crop = match (options.face, options.parity) {
        (None, Parity::Upstream) => picture.resize(side, side, Filter::Bilinear)?,
        (Some(region), _) => picture.crop(&[region], side)?,
        (None, Parity::Corrected) => {
            let size = width.min(height) as f64;
            let (left, top) = ((width as f64 - size) / 2.0, (height as f64 - size) / 2.0);
            picture.crop(&[Region { left, top, width: size, height: size }], side)?
        }
    };
    let is_sample = options.sample_posterior || options.parity == Parity::Upstream;
    encode(encoder, &crop, options.storage.coding, is_sample.then_some((options.sampling.seed, 0)))
}

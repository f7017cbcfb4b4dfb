//! KeyFace end to end: one portrait and speech in, finished frames at 25 a second out.
//! Source: KeyFace (arXiv 2503.01715); training code `inference.py`. Where this differs by default: docs/differences.md.
//!
//! Laughter, sighs and other sounds that are not speech need nothing: they are in the audio, and BEATs hears them.

use super::audio::{beats_embeddings, frames_of, interpolation_embeddings, keyframe_embeddings};
use super::emotion::Emotion;
use super::frames::Frames;
use super::job::{Embeddings, Paste, Phase, Progress, Reporter, as_heard, count_samples, read_samples};
use super::region::{Filmed, Placement, Regions, refuse_outside};
use super::resume::WorkFolder;
use super::sampling::Sampling;
use super::segments::{Parity, Plan, UPSTREAM_CAP_S};
use super::stretches::Stretches;
use super::timeline::{Extend, Timeline};
use super::two_stage::{
    INTERPOLATION_NOISE, KEYFRAME_NOISE, Seam, Shown, Stage, System, TwoStage, encode, only, to_frame, upload,
};
use super::weights::{Demand, Role, Storage, WeightSet};
use crate::diffusion::{AUTO_SCALE, Guidance};
use crate::face::mask::LATENT_STEP;
use crate::face::shots::CutFinder;
use crate::face::tracking::{FaceChoice, Tracker};
use crate::gpu::{Cancel, Gpu};
use crate::media::{Audio, Fps, Frame, FrameTimes, PublishedChannels};
use crate::models::vae::Encoder;
use crate::ops::{Affine, Depth, KERNELS, Layer, Region, Rgb};
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
    /// The face that is animated, where there are several.
    pub face: FaceChoice,
    /// The crop's place in the picture; None: a square around the face, in parity the whole picture, squeezed.
    pub crop: Option<Region>,
    pub paste: Paste,
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
            face: FaceChoice::Largest,
            crop: None,
            paste: Paste::None,
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
    /// `portrait` is any picture with a face in it.
    pub fn new(gpu: &Gpu, weights: &'a WeightSet, portrait: Frame, audio: Audio) -> Self {
        let (options, reporter) = (Options::default(), Reporter::default());
        Self { gpu: gpu.clone(), weights, portrait, audio, options, reporter, work: None, surveyed: OnceCell::new() }
    }

    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self.surveyed = OnceCell::new();
        self
    }

    /// The picture that is animated.
    pub fn portrait(&self) -> &Frame {
        &self.portrait
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

    /// What will be done, from a first pass over the audio and a look for the face.
    pub fn survey(&self) -> Result<Survey> {
        if let Some(survey) = self.surveyed.get() {
            return Ok(survey.clone());
        }
        let survey = self.look()?;
        Ok(self.surveyed.get_or_init(|| survey).clone())
    }

    fn look(&self) -> Result<Survey> {
        let Options { parity, emotion, .. } = &self.options;
        let (place, is_found) = self.place()?;
        let samples =
            count_samples(&as_heard(&self.audio, *parity, PublishedChannels::FirstIfResampled), &self.reporter.cancel)?;
        let heard_frames = frames_of(samples);
        let frames = match parity {
            Parity::Corrected => heard_frames,
            Parity::Upstream => heard_frames.min(UPSTREAM_CAP_S * 25),
        };
        let plan = Plan::keyface(frames, *parity)?;
        emotion.check(&plan, frames, *parity)?;
        Ok(Survey { place, is_found, samples, frames, heard_frames, plan })
    }

    /// The square that is animated, and whether it is one around a face that was found.
    fn place(&self) -> Result<(Placement, bool)> {
        let Options { parity, face, crop, .. } = &self.options;
        let size = [self.portrait.width, self.portrait.height];
        if let Some(region) = *crop {
            refuse_outside(region, size)?;
            return Ok((Placement::upright(region), false));
        }
        if *parity == Parity::Upstream {
            return Ok((Placement::whole(size), false));
        }
        let mut tracker = Tracker::new(&self.gpu, CutFinder::THRESHOLD)?;
        tracker.see(&self.portrait, 0.0)?;
        let tracks = tracker.finish(size, FrameTimes::Constant { fps: Fps::INSIDE, count: 1 });
        // Not every portrait is a photograph.
        let is_found = !tracks.faces.is_empty() || *face != FaceChoice::Largest;
        let faces = if is_found { tracks.seen(face)? } else { vec![None] };
        let filmed = Filmed { size, pixel_aspect: 1.0, times: tracks.times, faces: faces.into(), shots: tracks.shots };
        let regions = Regions::new(filmed, None, Parity::Corrected, 1)?;
        Ok((regions.at(0).within(size), is_found))
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
        let (frames, heard, cancel) = (survey.frames, survey.heard_frames, reporter.cancel.clone());
        let samples = read_samples(
            &as_heard(&self.audio, parity, PublishedChannels::FirstIfResampled),
            self.work.as_ref(),
            &cancel,
        )?;
        let beats = {
            let model = weights.beats(&gpu, storage)?;
            Embeddings::collect(self.work.as_ref(), &cancel, |emit| {
                beats_embeddings(&gpu, &model, &samples, heard, parity, emit)
            })?
        };
        let heard_by_keyframes = {
            let model = weights.wavlm(&gpu, storage)?;
            Embeddings::collect(self.work.as_ref(), &cancel, |emit| {
                keyframe_embeddings(&gpu, &model, beats.values(), &samples, heard, parity, emit)
            })?
        };
        let heard_between = {
            let model = weights.wav2vec2(&gpu, storage)?;
            Embeddings::collect(self.work.as_ref(), &cancel, |emit| {
                interpolation_embeddings(&gpu, &model, beats.values(), &samples, heard, parity, emit)
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
            latent: encode_face(&gpu, &weights.encoder(&gpu, storage)?, &self.portrait, &options, survey.place, side)?,
            pasted: match options.paste {
                Paste::None => None,
                Paste::Mask => Some(Pasted {
                    whole: upload(&gpu, &self.portrait)?,
                    map: survey.place.map(side),
                    alpha: Tensor::from_f32(&gpu, &[1, side, side, 1], &vec![1.0; side * side])?,
                }),
            },
            emotion: options.emotion,
            frames,
            parity,
        };
        let total = survey.plan.output_frames() as u64;
        let stretches = Stretches::whole(survey.plan, 0..total);
        let stages = TwoStage {
            decoder: weights.decoder(&gpu, Role::KeyfaceInterpolation, storage)?,
            coding: storage.coding,
            depth: portrait.pasted.as_ref().map_or(Depth::Eight, |pasted| pasted.whole.depth()),
            seam: match parity {
                Parity::Corrected => Seam::Average,
                Parity::Upstream => Seam::AverageWithinChunks,
            },
            stretch: stretches.first()?.clone(),
            sampling,
            keyframes,
            interpolation,
            latent,
            work: self.work,
            state: Default::default(),
            gpu,
        };
        reporter.total = stages.units(&stretches, 0);
        let times = FrameTimes::Constant { fps: Fps::INSIDE, count: total };
        let timeline = Timeline::new(times, Fps::INSIDE, Extend::Hold, frames);
        let size = match options.paste {
            Paste::None => [side as u32; 2],
            Paste::Mask => [self.portrait.width, self.portrait.height],
        };
        Ok(Frames::new(stages, Box::new(portrait), reporter, size, timeline, stretches, total))
    }
}

/// What a job amounts to.
#[derive(Debug, Clone)]
pub struct Survey {
    /// What is animated.
    pub place: Placement,
    /// Whether that is a face which was found.
    pub is_found: bool,
    pub samples: usize,
    /// Frames that are made, at 25 a second.
    pub frames: usize,
    /// Frames of audio that the networks hear; upstream hears all of it and cuts what it made of it.
    pub heard_frames: usize,
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
    /// Where frames go back to; None: nowhere.
    pasted: Option<Pasted>,
    emotion: Emotion,
    frames: usize,
    parity: Parity,
}

/// The whole picture, which the crop goes back into.
struct Pasted {
    whole: Rgb,
    map: Affine,
    alpha: Tensor,
}

impl System for Portrait {
    fn identity(&mut self, _: &mut Reporter<'_>) -> Result<Tensor> {
        Ok(self.latent.clone())
    }

    fn feeling(&self, frame: usize) -> Result<[f32; 2]> {
        self.emotion.at(frame, self.frames, self.parity)
    }

    fn finish(&mut self, pictures: &[Shown], _: u64) -> Result<Frame> {
        let crop = only(pictures)?;
        match &self.pasted {
            None => to_frame(crop),
            Some(Pasted { whole, map, alpha }) => {
                let layer = Layer { crop, map: *map, share: 1.0, colour: None };
                to_frame(&whole.composite(&[layer], alpha, *map, crop.width() as f32 * RIM)?)
            }
        }
    }
}

/// The share of the crop's side over which it fades into the whole picture.
const RIM: f32 = 1.0 / 16.0;

/// Scaled latents `[1, side / 8, side / 8, 4]` of the square at `place` in `portrait`.
fn encode_face(
    gpu: &Gpu,
    encoder: &Encoder,
    portrait: &Frame,
    options: &Options,
    place: Placement,
    side: usize,
) -> Result<Tensor> {
    let picture = upload(gpu, portrait)?;
    let crop = match (options.crop, options.parity) {
        (None, Parity::Upstream) => {
            Tensor::from_f32(gpu, &[1, side, side, 3], &squeezed(&portrait.clone().at_depth(Depth::Eight), side))?
        }
        _ => picture.crop(&[place.map(side)], side)?.to_tensor()?,
    };
    let is_sample = options.sample_posterior || options.parity == Parity::Upstream;
    encode(encoder, &crop, options.storage.coding, is_sample.then_some((options.sampling.seed, 0)))
}

/// The whole picture squeezed to a square `[side, side, 3]` in [-1, 1], in floats, as upstream has it: PyTorch's
/// `interpolate(mode="bilinear", align_corners=False)`. (KeySync resizes bytes.)
fn squeezed(picture: &Frame, side: usize) -> Vec<f32> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    // The two inputs next to each output's centre, and the share of the second.
    let between = |inputs: usize, output: usize| {
        let place = ((output as f64 + 0.5) * inputs as f64 / side as f64 - 0.5).max(0.0);
        let first = (place as usize).min(inputs - 1);
        ([first, (first + 1).min(inputs - 1)], place - first as f64)
    };
    let mut values = Vec::with_capacity(side * side * 3);
    for row in 0..side {
        let (rows, down) = between(height, row);
        for column in 0..side {
            let (columns, across) = between(width, column);
            for channel in 0..3 {
                let level = |y: usize, x: usize| f64::from(picture.rgb[3 * (rows[y] * width + columns[x]) + channel]);
                let [above, below] = [0, 1].map(|y| level(y, 0) + across * (level(y, 1) - level(y, 0)));
                values.push(((above + down * (below - above)) / 127.5 - 1.0) as f32);
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::{Frame, squeezed};

    /// Sums of y[k] (2 k + 1) over `interpolate(x / 127.5 - 1, (side, side), mode="bilinear")` of PyTorch 2, and its second
    /// value. Bytes rounded after each axis are up to 1 / 255 off in each.
    #[test]
    fn squeezed_portraits_equal_pytorchs() {
        for (width, height, side, second, sum) in [
            (5, 3, 4, -0.548_039_26, 140.614_861_8),
            (3, 7, 8, -0.584_313_75, 1_470.975_444_8),
            (8, 8, 8, -0.584_313_75, 230.149_582_7),
        ] {
            let level = |i: u32| {
                let (c, x, y) = (i % 3, i / 3 % width, i / 3 / width);
                (x * 37 + y * 91 + c * 53 + x * y % 7 * 11) as u8
            };
            let frame = Frame::rgb8(width, height, (0..width * height * 3).map(level).collect());
            let values = squeezed(&frame, side);
            assert_eq!(values.len(), side * side * 3);
            assert!((values[1] - second).abs() < 1e-6, "{}", values[1]);
            let found: f64 = values.iter().zip(0..).map(|(&v, k)| f64::from(v) * f64::from(2 * k + 1)).sum();
            assert!((found - sum).abs() < 1e-3, "{width}x{height} to {side}: {found}, want {sum}");
        }
    }
}

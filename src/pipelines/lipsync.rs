//! KeySync end to end: a video, speech and landmarks in, finished frames out, chunk by chunk.
//! Source: KeySync (arXiv 2505.00497); training code `dubbing_pipeline_raw.py`. Where this differs by default:
//! docs/differences.md.
//!
//! Inside everything runs at 25 fps on a square crop around the face; outside the video keeps its rate and size.

use super::audio::{frames_of, hubert_embeddings, wavlm_embeddings};
use super::frames::Frames;
use super::job::{Embeddings, Phase, Progress, Reporter, as_heard, count_samples, read_samples};
use super::region::{Filmed, Regions, refuse_outside};
use super::resume::WorkFolder;
use super::sampling::Sampling;
use super::segments::{Length, Parity, Plan, UPSTREAM_CAP_S, max_frames, upstream_audio_frames};
use super::timeline::{Extend, Part, Timeline};
use super::two_stage::{
    CODING_UNITS, Clean, INTERPOLATION_NOISE, KEYFRAME_NOISE, Seam, Stage, System, TwoStage, encode, to_frame, upload,
};
use super::weights::{Demand, Role, Storage, WeightSet};
use crate::diffusion::Guidance;
use crate::face::landmarks::Landmarks;
use crate::face::mask::{LATENT_STEP, MaskRule};
use crate::gpu::{Cancel, Gpu};
use crate::media::frames::FrameReader;
use crate::media::{Audio, Fps, Frame, FrameSource, FrameTimes, PublishedChannels};
use crate::models::vae::Encoder;
use crate::ops::{Filter, KERNELS, Layer, MOST_FEATHER, Region, Rgb};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::cell::OnceCell;

/// What happens to the decoded crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paste {
    /// Back into the frame inside the feathered mask; all other source pixels stay bit for bit.
    #[default]
    Mask,
    /// The whole crop is the output, as published.
    None,
}

/// How to make the video; the default is what is published, corrected where docs/differences.md says so.
#[derive(Debug, Clone)]
pub struct Options {
    pub sampling: Sampling,
    pub guidance: Guidance,
    pub mask: MaskRule,
    pub length: Length,
    pub extend: Extend,
    /// The stretch of the video to work on, in its seconds; the second None: as long as the speech. All else of the video stays
    /// as it is, and [`Options::length`] and [`Options::extend`] do not count. None: the whole video.
    pub part_s: Option<(f64, Option<f64>)>,
    pub paste: Paste,
    /// Pixels of the crop over which the mask fades; None: a fiftieth of its side.
    pub feather: Option<f32>,
    /// The crop's place in the picture, in stored pixels; None: around the landmarks.
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
            mask: MaskRule::default(),
            length: Length::Audio,
            extend: Extend::Bounce,
            part_s: None,
            paste: Paste::Mask,
            feather: None,
            face: None,
            sample_posterior: false,
            parity: Parity::Corrected,
            storage: Storage::default(),
        }
    }
}

/// What goes in, and how it is to be done; [`LipSync::frames`] does it.
pub struct LipSync<'a> {
    gpu: Gpu,
    weights: &'a WeightSet,
    audio: Audio,
    video: Box<dyn Fn() -> Result<Box<dyn FrameSource>> + 'a>,
    landmarks: Landmarks,
    occluder: Option<Box<dyn FrameSource>>,
    options: Options,
    reporter: Reporter<'a>,
    work: Option<WorkFolder>,
    surveyed: OnceCell<Survey>,
}

impl Options {
    /// What is wrong with them, whatever the job.
    pub fn check(&self) -> Result<()> {
        match self.feather.filter(|feather| !(0.0..=MOST_FEATHER).contains(feather)) {
            None => Ok(()),
            Some(feather) => {
                let expected = format!("0 to {MOST_FEATHER} pixels");
                Err(Problem::new("--feather", expected, feather.to_string()).usage())
            }
        }
    }
}

impl<'a> LipSync<'a> {
    /// `video` opens the source from its start, and is called more than once; `landmarks` are in its pixels, one set for
    /// each of its frames (the last one lasts).
    pub fn new(
        gpu: &Gpu,
        weights: &'a WeightSet,
        video: impl Fn() -> Result<Box<dyn FrameSource>> + 'a,
        audio: Audio,
        landmarks: Landmarks,
    ) -> Self {
        Self {
            gpu: gpu.clone(),
            weights,
            audio,
            video: Box::new(video),
            landmarks,
            occluder: None,
            options: Options::default(),
            reporter: Reporter::default(),
            work: None,
            surveyed: OnceCell::new(),
        }
    }

    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self.surveyed = OnceCell::new();
        self
    }

    /// Pictures of the video's size and rate, white where something in front of the face must stay.
    pub fn occluder(mut self, masks: Box<dyn FrameSource>) -> Self {
        self.occluder = Some(masks);
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

    /// Keeps finished chunks in `work` and takes those that are there.
    pub fn resume(mut self, work: WorkFolder) -> Self {
        self.work = Some(work);
        self
    }

    /// What will be done, from a first pass over the audio, and over the video where its source does not know its frame times.
    pub fn survey(&self) -> Result<Survey> {
        self.options.check()?;
        if let Some(survey) = self.surveyed.get() {
            return Ok(survey.clone());
        }
        let survey = self.look()?;
        Ok(self.surveyed.get_or_init(|| survey).clone())
    }

    fn look(&self) -> Result<Survey> {
        let mut source = (self.video)()?;
        let times = match source.times() {
            Some(times) => times,
            None => {
                let mut count = 0;
                while source.next_frame()?.is_some() {
                    count += 1;
                    self.reporter.cancel.check()?;
                }
                FrameTimes::Constant { fps: source.fps(), count }
            }
        };
        if times.count() == 0 {
            return Err(Problem::new("video", "one frame or more", "none").input());
        }
        if let Some(region) = self.options.face {
            refuse_outside(region, source.size())?;
        }
        let samples =
            count_samples(&as_heard(&self.audio, self.options.parity, PublishedChannels::Mean), &self.reporter.cancel)?;
        let mut survey = Survey::new(&self.options, source.size(), source.fps(), times, samples)?;
        survey.pixel_aspect = source.pixel_aspect();
        survey.crop_side = survey.regions(&self.landmarks, &self.options, 1)?.side();
        Ok(survey)
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
        gpu.prepare(KERNELS, "lipsync");
        if let Some([width, height]) = self.occluder.as_ref().map(|o| o.size()).filter(|&size| size != survey.size) {
            let expected = format!("{}x{} pixels, as the video has", survey.size[0], survey.size[1]);
            return Err(Problem::new("occluder masks", expected, format!("{width}x{height}")).input());
        }

        reporter.advance(Phase::Listening, 0.0, [0, 0])?;
        let (inside, cancel) = (survey.inside_frames, reporter.cancel.clone());
        let samples =
            read_samples(&as_heard(&self.audio, parity, PublishedChannels::Mean), self.work.as_ref(), &cancel)?;
        // Upstream hears all of the sound, however much of it is used: what is heard around a frame shows in its embedding.
        let heard = match parity {
            Parity::Corrected => inside,
            Parity::Upstream => frames_of(survey.samples),
        };
        let hubert = {
            let model = weights.hubert(&gpu, storage)?;
            Embeddings::collect(self.work.as_ref(), &cancel, |emit| {
                hubert_embeddings(&gpu, &model, &samples, heard, parity, emit)
            })?
        };
        let wavlm = {
            let model = weights.wavlm(&gpu, storage)?;
            Embeddings::collect(self.work.as_ref(), &cancel, |emit| {
                wavlm_embeddings(&gpu, &model, &samples, heard, parity, emit)
            })?
        };
        drop(samples);
        gpu.trim()?;

        let course = sampling.course(guidance)?;
        let (unet, projection) = weights.stage(&gpu, Role::Keyframe, storage)?;
        let (phase, noise) = (Phase::Keyframes, KEYFRAME_NOISE);
        let keyframes =
            Stage { unet, weaker: None, projection, embeddings: hubert, course: course.clone(), phase, noise };
        let (unet, projection) = weights.stage(&gpu, Role::Interpolation, storage)?;
        let (phase, noise) = (Phase::Interpolation, INTERPOLATION_NOISE);
        let interpolation = Stage { unet, weaker: None, projection, embeddings: wavlm, course, phase, noise };
        let latent = interpolation.latent_size()?;
        let side = LATENT_STEP * latent[0];
        let footage = Footage {
            encoder: weights.encoder(&gpu, storage)?,
            regions: survey.regions(&self.landmarks, &options, side)?,
            sources: FrameReader::new((self.video)()?),
            encoded: FrameReader::new((self.video)()?),
            occluder: self.occluder.map(FrameReader::new),
            first: None,
            survey: survey.clone(),
            side,
            gpu: gpu.clone(),
            options,
        };
        let stages = TwoStage {
            decoder: weights.decoder(&gpu, Role::Interpolation, storage)?,
            coding: storage.coding,
            depth: footage.sources.depth(),
            seam: Seam::Keyframe,
            plan: survey.plan,
            sampling,
            keyframes,
            interpolation,
            latent,
            work: self.work,
            state: Default::default(),
            gpu,
        };
        reporter.total = stages.units(inside);
        let size = footage.size();
        Ok(Frames::new(stages, Box::new(footage), reporter, size, survey.timeline, survey.output_frames))
    }
}

/// What a job amounts to.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Width and height of the video.
    pub size: [u32; 2],
    /// Width of a pixel over its height, as it is shown.
    pub pixel_aspect: f64,
    pub timeline: Timeline,
    pub samples: usize,
    /// Frames at 25 a second.
    pub inside_frames: usize,
    /// Frames that come out, at the video's rate.
    pub output_frames: u64,
    pub plan: Plan,
    /// Longer side of the square around the face, in the video's pixels.
    pub crop_side: f64,
}

impl Survey {
    fn new(options: &Options, size: [u32; 2], fps: Fps, times: FrameTimes, samples: usize) -> Result<Self> {
        let audio_frames = frames_of(samples);
        let strip = Timeline::new(times.clone(), fps, Extend::Hold, 0).strip();
        if let Some(part_s) = options.part_s {
            let part = part(part_s, strip, fps, audio_frames)?;
            if options.paste == Paste::None {
                let remedy = "the rest of the video has another size than the crop";
                let problem = Problem::new("a part of the video", "the mask pasted back", "the crop");
                return Err(problem.remedy(remedy).usage());
            }
            let inside_frames = Fps::INSIDE.frames_in(part.end - part.first, fps) as usize;
            let plan = Plan::keysync(inside_frames, options.parity)?;
            let timeline = Timeline::new(times, fps, Extend::Hold, inside_frames).of_part(part);
            return Ok(Self {
                size,
                pixel_aspect: 1.0,
                timeline,
                samples,
                inside_frames,
                output_frames: strip,
                plan,
                crop_side: 0.0,
            });
        }
        let video_inside_frames = Fps::INSIDE.frames_in(strip, fps) as usize;
        let inside_frames = match options.parity {
            Parity::Corrected => options.length.frames(audio_frames, video_inside_frames),
            Parity::Upstream => {
                let shorter = upstream_audio_frames(audio_frames).min(video_inside_frames);
                shorter.min(max_frames(UPSTREAM_CAP_S, 25))
            }
        };
        let plan = Plan::keysync(inside_frames, options.parity)?;
        let output_frames = fps.frames_in(plan.output_frames() as u64, Fps::INSIDE);
        let timeline = Timeline::new(times, fps, options.extend, inside_frames);
        Ok(Self { size, pixel_aspect: 1.0, timeline, samples, inside_frames, output_frames, plan, crop_side: 0.0 })
    }

    /// The crop of each frame of the video, `side` pixels large for the networks. Errors: landmarks that do not belong to it.
    fn regions(&self, landmarks: &Landmarks, options: &Options, side: usize) -> Result<Regions> {
        let landmarks = landmarks.for_pictures("landmarks", self.size)?;
        let landmarks = landmarks.per_frame("landmarks", self.timeline.times(), self.timeline.fps())?;
        let filmed = Filmed { size: self.size, pixel_aspect: self.pixel_aspect, times: self.timeline.times().clone() };
        Regions::new(&landmarks, filmed, options.face, options.parity, side)
    }

    /// What the job asks of its networks. Errors: sampling that no loop can be made of.
    pub fn demand(&self, options: &Options) -> Result<Demand> {
        let course = options.sampling.course(options.guidance)?;
        let branches = options.guidance.branches().len();
        let clips = self.plan.window_count() + self.plan.batch_count();
        Ok(Demand {
            roles: Role::LIPSYNC,
            interpolation: Role::Interpolation,
            clip_evaluations: clips * course.evaluations(),
            clip_work: clips as f64 * course.work(),
            frames: self.inside_frames,
            clips_at_once: options.sampling.clips_at_once(branches),
            clips_kept: options.sampling.clips_kept(branches),
            storage: options.storage,
        })
    }
}

/// The output frames of a stretch given in seconds. Errors: it is empty, or begins behind the video's end.
fn part((from_s, to_s): (f64, Option<f64>), strip: u64, fps: Fps, audio_frames: usize) -> Result<Part> {
    let length_s = strip as f64 / fps.as_f64();
    let frame = |time_s: f64| (time_s * fps.as_f64()).round() as u64;
    let first = frame(from_s);
    let end = match to_s {
        Some(to_s) => frame(to_s),
        None => first + fps.frames_in(audio_frames as u64, Fps::INSIDE),
    };
    let part = Part { first, end: end.min(strip) };
    if from_s >= 0.0 && part.first < part.end {
        return Ok(part);
    }
    let to = to_s.map_or("the end of the speech".to_string(), |to_s| format!("{to_s} s"));
    let expected = format!("a stretch of the video, which lasts {length_s:.2} s");
    Err(Problem::new("the part to work on", expected, format!("from {from_s} s to {to}")).usage())
}

/// The video whose mouth is made anew.
struct Footage {
    gpu: Gpu,
    options: Options,
    survey: Survey,
    encoder: Encoder,
    regions: Regions,
    /// Side of the crop in pixels.
    side: usize,
    /// The video as it is shown, and as it is encoded: two places in it.
    sources: FrameReader,
    encoded: FrameReader,
    occluder: Option<FrameReader>,
    /// What is kept of frame 0, which every keyframe batch asks for.
    first: Option<Clean>,
}

impl Footage {
    /// Width and height of the frames that come out.
    fn size(&self) -> [u32; 2] {
        match self.options.paste {
            Paste::Mask => self.survey.size,
            Paste::None => [self.side as u32; 2],
        }
    }

    /// The source frame that inside frame `inside` of the plan is made from.
    fn source_of(&self, inside: usize) -> u64 {
        self.survey.timeline.source_of_inside(self.survey.plan.source(inside))
    }

    /// The mask of an inside frame, 1 where it is generated: `[1, side / step, side / step, 1]`.
    fn mask(&mut self, inside: usize, step: usize) -> Result<Tensor> {
        let source = self.source_of(inside);
        let mask = self.options.mask.draw(&self.gpu, &[self.regions.face_in_crop(source as usize)], self.side)?;
        let occluder = match &mut self.occluder {
            None => None,
            Some(reader) => match reader.frame(source)? {
                None => None,
                Some(frame) => {
                    let occluder = occluded(&self.gpu, frame, self.regions.at(source as usize), self.side)?;
                    Some(occluder.downsample_mask(step, None)?)
                }
            },
        };
        mask.downsample_mask(step, occluder.as_ref())
    }

    fn encode(&mut self, frame: usize) -> Result<Clean> {
        let source = self.source_of(frame);
        let region = self.regions.at(source as usize);
        let picture = upload_frame(&self.gpu, &mut self.encoded, source)?;
        let is_upstream = self.options.parity == Parity::Upstream;
        // Upstream: the whole picture, without antialiasing where it is shrunk.
        let crop = match (self.options.face, is_upstream) {
            (None, true) => picture.resize(self.side, self.side, Filter::Bilinear)?,
            _ => picture.crop(&[region.map(self.side)], self.side)?,
        };
        let is_sample = self.options.sample_posterior || is_upstream;
        let sample = is_sample.then_some((self.options.sampling.seed, frame as u32));
        let latent = encode(&self.encoder, &crop.to_tensor()?, self.options.storage.coding, sample)?;
        Ok(Clean { latent, mask: self.mask(frame, LATENT_STEP)? })
    }
}

impl System for Footage {
    /// The first frame.
    fn identity(&mut self, reporter: &mut Reporter<'_>) -> Result<Tensor> {
        match self.clean(0, reporter)? {
            Some(first) => Ok(first.latent),
            None => Err(Problem::new("frame 0", "latents", "none").shape()),
        }
    }

    fn clean(&mut self, frame: usize, reporter: &mut Reporter<'_>) -> Result<Option<Clean>> {
        if frame == 0 && self.first.is_some() {
            return Ok(self.first.clone());
        }
        let clean = self.encode(frame)?;
        reporter.advance(Phase::Encoding, CODING_UNITS, [0, 0])?;
        if frame == 0 {
            self.first = Some(clean.clone());
        }
        Ok(Some(clean))
    }

    /// The source frame under `output` with the picture put back into it.
    fn finish(&mut self, picture: &Rgb, inside: usize, output: u64) -> Result<Frame> {
        if self.options.paste == Paste::None {
            return to_frame(picture);
        }
        let feather = self.options.feather.unwrap_or(self.side as f32 / 50.0);
        let alpha = self.mask(inside, 1)?.feather_mask(feather)?;
        let source = self.survey.timeline.moment(output).source;
        let map = self.regions.at(source as usize).map(self.side);
        let whole = upload_frame(&self.gpu, &mut self.sources, source)?;
        let layer = Layer { crop: picture, map, share: 1.0, colour: None };
        to_frame(&whole.composite(&[layer], &alpha, map, feather)?)
    }

    fn unchanged(&mut self, output: u64) -> Result<Frame> {
        let source = self.survey.timeline.moment(output).source;
        Ok(self.sources.frame_or_last(source)?.clone())
    }
}

fn upload_frame(gpu: &Gpu, video: &mut FrameReader, index: u64) -> Result<Rgb> {
    upload(gpu, video.frame_or_last(index)?)
}

/// 1 where the occluder's picture is white, in the crop: `[1, side, side, 1]`.
fn occluded(gpu: &Gpu, frame: &Frame, region: Region, side: usize) -> Result<Tensor> {
    let crop = upload(gpu, frame)?.crop(&[region.map(side)], side)?.to_tensor()?;
    // 0 or 1 by the middle grey: the slope is steeper than one level.
    crop.slice_channels(0, 1)?.affine(255.0, 0.0)?.clamp(0.0, 1.0)
}

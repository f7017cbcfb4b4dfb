//! KeySync end to end: a video and speech in, finished frames out, chunk by chunk, shot by shot.
//! Source: KeySync (arXiv 2505.00497); training code `dubbing_pipeline_raw.py`. Where this differs by default:
//! docs/differences.md.
//!
//! Inside everything runs at 25 fps on a square crop around the face; outside the video keeps its rate and size.

use super::audio::{frames_of, hubert_embeddings, wavlm_embeddings};
use super::frames::Frames;
use super::job::{Embeddings, Paste, Phase, Progress, Reporter, as_heard, count_samples, read_samples};
use super::region::{Filmed, Placement, Regions, refuse_outside};
use super::resume::WorkFolder;
use super::sampling::Sampling;
use super::segments::{Length, Parity, Plan, UPSTREAM_CAP_S, max_frames, upstream_audio_frames};
use super::stretches::{Stretch, Stretches};
use super::timeline::{Extend, Part, Timeline};
use super::two_stage::{
    CODING_UNITS, Clean, INTERPOLATION_NOISE, KEYFRAME_NOISE, Seam, Shown, Stage, System, TwoStage, encode, to_frame,
    upload,
};
use super::weights::{Demand, Role, Storage, WeightSet};
use crate::diffusion::Guidance;
use crate::face::landmarks::Landmarks;
use crate::face::mask::{LATENT_STEP, MaskRule};
use crate::face::shots::CutFinder;
use crate::face::smoothing::OneEuro;
use crate::face::tracking::{FaceChoice, Followed, Look, Tracks, shots, track};
use crate::gpu::{Cancel, Gpu};
use crate::media::frames::FrameReader;
use crate::media::{Audio, Fps, Frame, FrameSource, FrameTimes, PublishedChannels};
use crate::models::vae::Encoder;
use crate::ops::{Affine, Filter, KERNELS, Layer, MOST_FEATHER, Region, Rgb};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::cell::OnceCell;

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
    /// The face that is given the speech, where the landmarks are not given.
    pub face: FaceChoice,
    /// The crop's place in the picture, in stored pixels; None: around the face.
    pub crop: Option<Region>,
    /// What smooths the landmarks over time; None: they stay as they are.
    pub smoothing: Option<OneEuro>,
    /// How much the picture changes at a cut; see [`crate::face::shots`].
    pub cut_threshold: f32,
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
            face: FaceChoice::Largest,
            crop: None,
            smoothing: Some(OneEuro::default()),
            cut_threshold: CutFinder::THRESHOLD,
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
    landmarks: Option<Landmarks>,
    occluder: Option<Box<dyn FrameSource>>,
    options: Options,
    reporter: Reporter<'a>,
    on_look: Box<dyn Fn(Progress) + 'a>,
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
    /// `video` opens the source from its start, and is called more than once.
    pub fn new(
        gpu: &Gpu,
        weights: &'a WeightSet,
        video: impl Fn() -> Result<Box<dyn FrameSource>> + 'a,
        audio: Audio,
    ) -> Self {
        Self {
            gpu: gpu.clone(),
            weights,
            audio,
            video: Box::new(video),
            landmarks: None,
            occluder: None,
            options: Options::default(),
            reporter: Reporter::default(),
            on_look: Box::new(|_| {}),
            work: None,
            surveyed: OnceCell::new(),
        }
    }

    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self.surveyed = OnceCell::new();
        self
    }

    /// The face to work on, in the video's pixels, one set for each of its frames (the last one lasts), instead of one that is
    /// looked for.
    pub fn landmarks(mut self, landmarks: Landmarks) -> Self {
        self.landmarks = Some(landmarks);
        self.surveyed = OnceCell::new();
        self
    }

    /// Pictures of the video's size and rate, white where something in front of the face must stay.
    pub fn occluder(mut self, masks: Box<dyn FrameSource>) -> Self {
        self.occluder = Some(masks);
        self
    }

    /// Sees in [`survey`](Self::survey) how many frames of the video have been looked at.
    pub fn on_look(mut self, observer: impl Fn(Progress) + 'a) -> Self {
        self.on_look = Box::new(observer);
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

    /// What will be done, from a first pass over the audio and the video, in which the face is followed.
    pub fn survey(&self) -> Result<Survey> {
        self.options.check()?;
        if let Some(survey) = self.surveyed.get() {
            return Ok(survey.clone());
        }
        let survey = self.look()?;
        Ok(self.surveyed.get_or_init(|| survey).clone())
    }

    /// What of the video will be worked on, from a first pass over the audio alone; None where the source does not know its frame
    /// times.
    pub fn span(&self) -> Result<Option<Span>> {
        self.options.check()?;
        let source = (self.video)()?;
        let Some(times) = source.times() else { return Ok(None) };
        Span::new(&self.options, times, source.fps(), self.count_samples()?).map(Some)
    }

    fn count_samples(&self) -> Result<usize> {
        count_samples(&as_heard(&self.audio, self.options.parity, PublishedChannels::Mean), &self.reporter.cancel)
    }

    fn look(&self) -> Result<Survey> {
        let source = (self.video)()?;
        let (size, pixel_aspect, fps) = (source.size(), source.pixel_aspect(), source.fps());
        if let Some(region) = self.options.crop {
            refuse_outside(region, size)?;
        }
        let samples = self.count_samples()?;
        // What is not shown is not looked at, where that is known beforehand.
        let known = source.times().map(|times| Span::new(&self.options, times, fps, samples)).transpose()?;
        self.weights.check(&self.gpu, self.options.storage)?;
        let Seen { times, followed, tracks } = self.follow(source, known.as_ref().map_or(u64::MAX, Span::sources))?;
        let span = match known {
            Some(span) => span,
            None => Span::new(&self.options, times, fps, samples)?,
        };
        let Span { timeline, inside_frames, output_frames } = span;
        let stretches = match self.options.parity {
            Parity::Corrected => {
                let shot_of = |frame: u64| followed.shot_of(frame as usize);
                Stretches::new(&timeline, output_frames, inside_frames, shot_of)?
            }
            Parity::Upstream => {
                refuse_gaps(&followed)?;
                let outputs = timeline.part().map_or(0..output_frames, |part| part.first..part.end);
                Stretches::whole(Plan::keysync(inside_frames, Parity::Upstream)?, outputs)
            }
        };
        stretches.first()?;
        Ok(Survey { size, pixel_aspect, timeline, samples, inside_frames, output_frames, stretches, followed, tracks })
    }

    /// A pass over the first `frames` frames of the video: its face by frame, its shots and its times.
    fn follow(&self, mut source: Box<dyn FrameSource>, frames: u64) -> Result<Seen> {
        let (cut_threshold, smoothing) = match self.options.parity {
            Parity::Corrected => (self.options.cut_threshold, self.options.smoothing),
            // The published program knows no shots, and takes points as they are.
            Parity::Upstream => (f32::INFINITY, None),
        };
        let (size, fps, cancel) = (source.size(), source.fps(), &self.reporter.cancel);
        let total = source.times().map_or(0, |times| times.count().min(frames)) as f64;
        let seen = |done: u64| {
            (self.on_look)(Progress { phase: Phase::Tracking, done: done as f64, total, step: [0, 0] });
        };
        let look = Look { cut_threshold, frames, cancel, seen: &seen };
        let Some(landmarks) = &self.landmarks else {
            let tracks = track(&self.gpu, source.as_mut(), &look)?;
            let choice = self.options.crop.map_or(self.options.face.clone(), FaceChoice::amid);
            let followed = tracks.follow(&choice, smoothing)?;
            return Ok(Seen { times: tracks.times.clone(), followed, tracks: Some(tracks) });
        };
        let landmarks = landmarks.for_pictures("landmarks", size)?;
        let (shots, times) = shots(source.as_mut(), &look)?;
        let landmarks = landmarks.per_frame("landmarks", &times, fps)?;
        let followed = Followed::given(&landmarks, shots, &times, smoothing);
        Ok(Seen { times, followed, tracks: None })
    }

    /// Does it: finished frames in order, made as they are asked for. Errors come as the last item.
    pub fn frames(self) -> Result<Frames<'a>> {
        let survey = self.survey()?;
        let Self { gpu, weights, options, mut reporter, .. } = self;
        let Options { sampling, guidance, storage, parity, .. } = options;
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
            regions: survey.regions(&options, side)?,
            sources: FrameReader::new((self.video)()?),
            encoded: FrameReader::new((self.video)()?),
            masks: Masks { rule: options.mask, occluder: self.occluder.map(FrameReader::new) },
            first: None,
            timeline: survey.timeline.clone(),
            stretch: survey.stretches.first()?.clone(),
            size: survey.size,
            side,
            gpu: gpu.clone(),
            options,
        };
        let stages = TwoStage {
            decoder: weights.decoder(&gpu, Role::Interpolation, storage)?,
            coding: storage.coding,
            depth: footage.sources.depth(),
            seam: Seam::Keyframe,
            stretch: survey.stretches.first()?.clone(),
            sampling,
            keyframes,
            interpolation,
            latent,
            work: self.work,
            state: Default::default(),
            gpu,
        };
        reporter.total = stages.units(&survey.stretches, survey.stretches.inside_frames());
        let size = footage.size();
        let Survey { timeline, stretches, output_frames, .. } = survey;
        Ok(Frames::new(stages, Box::new(footage), reporter, size, timeline, stretches, output_frames))
    }
}

/// What the first pass over a video tells.
struct Seen {
    times: FrameTimes,
    followed: Followed,
    tracks: Option<Tracks>,
}

/// Which of a video's time a job works on.
#[derive(Debug, Clone)]
pub struct Span {
    pub timeline: Timeline,
    /// Frames at 25 a second.
    pub inside_frames: usize,
    /// Frames that come out, at the video's rate.
    pub output_frames: u64,
}

impl Span {
    /// Errors: no frame; a part that is empty, or given back as crops.
    fn new(options: &Options, times: FrameTimes, fps: Fps, samples: usize) -> Result<Self> {
        if times.count() == 0 {
            return Err(Problem::new("video", "one frame or more", "none").input());
        }
        let audio_frames = frames_of(samples);
        let strip = Timeline::new(times.clone(), fps, Extend::Hold, 0).strip();
        let video_inside_frames = Fps::INSIDE.frames_in(strip, fps) as usize;
        if let Some(part_s) = options.part_s {
            let part = part(part_s, strip, fps, audio_frames)?;
            if options.paste == Paste::None {
                let remedy = "the rest of the video has another size than the crop";
                let problem = Problem::new("a part of the video", "the mask pasted back", "the crop");
                return Err(problem.remedy(remedy).usage());
            }
            let inside_frames = Fps::INSIDE.frames_in(part.end - part.first, fps) as usize;
            let timeline = Timeline::new(times, fps, Extend::Hold, inside_frames).of_part(part);
            return Ok(Self { timeline, inside_frames, output_frames: strip });
        }
        let (inside_frames, made) = match options.parity {
            Parity::Corrected => {
                let frames = options.length.frames(audio_frames, video_inside_frames);
                (frames, frames)
            }
            Parity::Upstream => {
                let shorter = upstream_audio_frames(audio_frames).min(video_inside_frames);
                let frames = shorter.min(max_frames(UPSTREAM_CAP_S, 25));
                (frames, Plan::keysync(frames, Parity::Upstream)?.output_frames())
            }
        };
        let timeline = Timeline::new(times, fps, options.extend, inside_frames);
        Ok(Self { timeline, inside_frames, output_frames: fps.frames_in(made as u64, Fps::INSIDE) })
    }

    /// The frames of the source up to the last one that is worked on, and a little more, so that smoothing sees what follows.
    fn sources(&self) -> u64 {
        const MORE_S: f64 = 1.0;
        let outputs = self.timeline.part().map_or(0..self.output_frames, |part| part.first..part.end);
        let shown = outputs.map(|output| self.timeline.moment(output).source);
        let made_from = (0..self.inside_frames).map(|inside| self.timeline.source_of_inside(inside));
        let last = shown.chain(made_from).max().unwrap_or(0);
        let times = self.timeline.times();
        times.at(times.start_s(last) + MORE_S) + 1
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
    /// Those of them that are made anew; the others stay as they are.
    pub stretches: Stretches,
    /// The face that is worked on.
    pub followed: Followed,
    /// All faces of the video; None where the landmarks were given.
    pub tracks: Option<Tracks>,
}

impl Survey {
    /// The crop of each frame of the video, `side` pixels large for the networks. Errors: a given crop that the face is not in.
    pub fn regions(&self, options: &Options, side: usize) -> Result<Regions> {
        let filmed = Filmed {
            size: self.size,
            pixel_aspect: self.pixel_aspect,
            times: self.timeline.times().clone(),
            faces: self.followed.faces.clone(),
            shots: self.followed.shots.iter().map(|shot| shot.frames.clone()).collect(),
        };
        Regions::new(filmed, options.crop, options.parity, side)
    }

    /// Longer side of the largest square around the face, in the video's pixels.
    pub fn crop_side(&self, options: &Options) -> Result<f64> {
        let regions = self.regions(options, 1)?;
        let sides = (0..self.followed.shots.len())
            .filter(|&shot| self.is_worked_on(shot))
            .map(|shot| regions.of_shot(shot).side);
        Ok(sides.fold(0.0, f64::max))
    }

    fn is_worked_on(&self, shot: usize) -> bool {
        self.followed.shots[shot].seen > 0
    }

    /// Output frames that would be made anew if the face were in them.
    pub fn without_face(&self) -> Vec<std::ops::Range<u64>> {
        let mut missing: Vec<std::ops::Range<u64>> = Vec::new();
        let (from, to) = self.timeline.part().map_or((0, self.output_frames), |part| (part.first, part.end));
        let mut at = from;
        for stretch in self.stretches.iter() {
            if stretch.outputs.start > at {
                missing.push(at..stretch.outputs.start);
            }
            at = stretch.outputs.end;
        }
        if at < to {
            missing.push(at..to);
        }
        missing
    }

    /// What the job asks of its networks. Errors: sampling that no loop can be made of.
    pub fn demand(&self, options: &Options) -> Result<Demand> {
        let course = options.sampling.course(options.guidance)?;
        let branches = options.guidance.branches().len();
        let clips = self.stretches.window_count() + self.stretches.batch_count();
        Ok(Demand {
            roles: Role::LIPSYNC,
            interpolation: Role::Interpolation,
            clip_evaluations: clips * course.evaluations(),
            clip_work: clips as f64 * course.work(),
            frames: self.stretches.inside_frames(),
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

/// Errors: a frame without a face, of which the published program knows nothing.
fn refuse_gaps(followed: &Followed) -> Result<()> {
    let Some(frame) = followed.faces.iter().position(Option::is_none) else { return Ok(()) };
    let remedy = "leave out --upstream-parity, which needs a face in every frame";
    Err(Problem::new(format!("frame {frame}"), "a face", "none").remedy(remedy).input())
}

/// The video whose mouth is made anew.
struct Footage {
    gpu: Gpu,
    options: Options,
    timeline: Timeline,
    /// The one under way.
    stretch: Stretch,
    /// Width and height of the video.
    size: [u32; 2],
    encoder: Encoder,
    regions: Regions,
    /// Side of the crop in pixels.
    side: usize,
    /// The video as it is shown, and as it is encoded: two places in it.
    sources: FrameReader,
    encoded: FrameReader,
    masks: Masks,
    /// What is kept of the stretch's first frame, which every keyframe batch asks for.
    first: Option<Clean>,
}

/// What of a video's crops is generated.
pub(super) struct Masks {
    pub rule: MaskRule,
    pub occluder: Option<FrameReader>,
}

impl Masks {
    /// The mask of a source frame, 1 where it is generated: `[1, side / step, side / step, 1]`.
    pub fn of(&mut self, gpu: &Gpu, regions: &Regions, source: u64, step: usize) -> Result<Tensor> {
        let (face, side) = (regions.face_in_crop(source as usize)?, regions.side());
        let mask = self.rule.draw(gpu, &[face], side)?;
        let occluder = match &mut self.occluder {
            None => None,
            Some(reader) => match reader.frame(source)? {
                None => None,
                Some(frame) => {
                    let occluder = occluded(gpu, frame, regions.at(source as usize), side)?;
                    Some(occluder.downsample_mask(step, None)?)
                }
            },
        };
        mask.downsample_mask(step, occluder.as_ref())
    }
}

impl Footage {
    /// Width and height of the frames that come out.
    fn size(&self) -> [u32; 2] {
        match self.options.paste {
            Paste::Mask => self.size,
            Paste::None => [self.side as u32; 2],
        }
    }

    /// The source frame that inside frame `inside` is made from.
    fn source_of(&self, inside: usize) -> u64 {
        self.stretch.source_of(&self.timeline, inside)
    }

    fn encode(&mut self, frame: usize) -> Result<Clean> {
        let source = self.source_of(frame);
        let picture = upload_frame(&self.gpu, &mut self.encoded, source)?;
        let is_upstream = self.options.parity == Parity::Upstream;
        // Upstream: the whole picture, without antialiasing where it is shrunk.
        let crop = match (self.options.crop, is_upstream) {
            (None, true) => picture.resize(self.side, self.side, Filter::Bilinear)?,
            _ => picture.crop(&[self.regions.at(source as usize).map(self.side)], self.side)?,
        };
        let is_sample = self.options.sample_posterior || is_upstream;
        let sample = is_sample.then_some((self.options.sampling.seed, frame as u32));
        let latent = encode(&self.encoder, &crop.to_tensor()?, self.options.storage.coding, sample)?;
        Ok(Clean { latent, mask: self.masks.of(&self.gpu, &self.regions, source, LATENT_STEP)? })
    }
}

impl System for Footage {
    fn begin(&mut self, stretch: &Stretch) {
        (self.stretch, self.first) = (stretch.clone(), None);
    }

    /// The stretch's first frame.
    fn identity(&mut self, reporter: &mut Reporter<'_>) -> Result<Tensor> {
        match self.clean(self.stretch.inside.start, reporter)? {
            Some(first) => Ok(first.latent),
            None => Err(Problem::new("first frame", "latents", "none").shape()),
        }
    }

    fn clean(&mut self, frame: usize, reporter: &mut Reporter<'_>) -> Result<Option<Clean>> {
        let is_first = frame == self.stretch.inside.start;
        if is_first && self.first.is_some() {
            return Ok(self.first.clone());
        }
        let clean = self.encode(frame)?;
        reporter.advance(Phase::Encoding, CODING_UNITS, [0, 0])?;
        if is_first {
            self.first = Some(clean.clone());
        }
        Ok(Some(clean))
    }

    /// The source frame under `output` with the pictures put back into it: each goes where the head has gone since the source
    /// frame that it was made for.
    fn finish(&mut self, pictures: &[Shown], output: u64) -> Result<Frame> {
        if self.options.paste == Paste::None {
            let nearest = pictures.iter().max_by(|a, b| a.share.total_cmp(&b.share));
            return to_frame(
                &nearest.ok_or_else(|| Problem::new("output frame", "a picture", "none").shape())?.picture,
            );
        }
        let feather = self.options.feather.unwrap_or(self.side as f32 / 50.0);
        let source = self.timeline.moment(output).source;
        let alpha = self.masks.of(&self.gpu, &self.regions, source, 1)?.feather_mask(feather)?;
        let map = self.regions.at(source as usize).map(self.side);
        let whole = upload_frame(&self.gpu, &mut self.sources, source)?;
        let colours = match self.options.parity {
            Parity::Corrected => {
                let crop = whole.crop(&[map], self.side)?;
                let matched = pictures.iter().map(|shown| crop.seam_colours(&shown.picture, &alpha).map(Some));
                matched.collect::<Result<Vec<_>>>()?
            }
            Parity::Upstream => vec![None; pictures.len()],
        };
        let mut layers = Vec::with_capacity(pictures.len());
        for (&Shown { ref picture, inside, share }, colour) in pictures.iter().zip(&colours) {
            let made_for = self.source_of(inside) as usize;
            let motion = match self.options.parity {
                Parity::Corrected => self.regions.motion(made_for, source as usize)?,
                Parity::Upstream => Affine::IDENTITY,
            };
            let map = self.regions.at(made_for).map(self.side).then(&motion);
            layers.push(Layer { crop: picture, map, share, colour: colour.as_ref() });
        }
        to_frame(&whole.composite(&layers, &alpha, map, feather)?)
    }

    fn unchanged(&mut self, output: u64) -> Result<Frame> {
        let source = self.timeline.moment(output).source;
        let frame = self.sources.frame_or_last(source)?;
        if self.options.paste == Paste::Mask {
            return Ok(frame.clone());
        }
        let map = self.regions.at(source as usize).map(self.side);
        to_frame(&upload(&self.gpu, frame)?.crop(&[map], self.side)?)
    }
}

fn upload_frame(gpu: &Gpu, video: &mut FrameReader, index: u64) -> Result<Rgb> {
    upload(gpu, video.frame_or_last(index)?)
}

/// 1 where the occluder's picture is white, in the crop: `[1, side, side, 1]`.
fn occluded(gpu: &Gpu, frame: &Frame, place: Placement, side: usize) -> Result<Tensor> {
    let crop = upload(gpu, frame)?.crop(&[place.map(side)], side)?.to_tensor()?;
    // 0 or 1 by the middle grey: the slope is steeper than one level.
    crop.slice_channels(0, 1)?.affine(255.0, 0.0)?.clamp(0.0, 1.0)
}

//! KeySync end to end: a video, speech and landmarks in, finished frames out, chunk by chunk.
//! Source: KeySync (arXiv 2505.00497); training code `dubbing_pipeline_raw.py`. Where this differs by default:
//! docs/differences.md.
//!
//! Inside everything runs at 25 fps on a square crop around the face; outside the video keeps its rate and size.

use super::audio::{hubert_embeddings, wavlm_embeddings};
use super::floats::FloatFile;
use super::region::Regions;
use super::resume::WorkFolder;
use super::segments::{Chunk, Extend, FRAME_SAMPLES, Length, Parity, Plan};
use super::stage::{Conditions, with_keyframes};
use super::weights::{Role, Storage, WeightSet};
use crate::diffusion::schedule::{ays, initial_scale};
use crate::diffusion::{Branch, Denoiser, Guidance, Sampler};
use crate::face::landmarks::{Face, Landmarks};
use crate::face::mask::{LATENT_STEP, MaskRule};
use crate::gpu::Gpu;
use crate::media::frames::FrameReader;
use crate::media::{Audio, Fps, Frame, FrameSource};
use crate::models::keysync::{AudioProjection, ClipUnet};
use crate::models::vae::{Decoder, Encoder, LATENT_SCALE};
use crate::nn::Trace;
use crate::ops::{Inpaint, Region, Rgb8};
use crate::tensor::Tensor;
use crate::{Error, Problem, Result};
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Streams of noise that never meet (DESIGN.md, randomness).
const KEYFRAME_NOISE: u32 = 1;
const INTERPOLATION_NOISE: u32 = 2;
const POSTERIOR_NOISE: u32 = 3;

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
    /// Evaluations of the network in each loop.
    pub steps: usize,
    pub guidance: Guidance,
    pub seed: u64,
    pub mask: MaskRule,
    pub length: Length,
    pub extend: Extend,
    pub paste: Paste,
    /// Pixels of the crop over which the mask fades; None: a fiftieth of its side.
    pub feather: Option<f32>,
    /// The crop's place in the picture; None: around the landmarks.
    pub face: Option<Region>,
    /// A random sample of the encoder's posterior instead of its mode.
    pub sample_posterior: bool,
    /// Guidance branches in one evaluation; else one after another, in a third of the memory.
    pub batched: bool,
    /// Windows interpolated in one evaluation.
    pub windows_per_call: usize,
    pub parity: Parity,
    pub storage: Storage,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            steps: 11,
            guidance: Guidance::default(),
            seed: 23,
            mask: MaskRule::default(),
            length: Length::Audio,
            extend: Extend::Bounce,
            paste: Paste::Mask,
            feather: None,
            face: None,
            sample_posterior: false,
            batched: true,
            windows_per_call: 2,
            parity: Parity::Corrected,
            storage: Storage::default(),
        }
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Speech to embeddings.
    Listening,
    Encoding,
    Keyframes,
    Interpolation,
    Decoding,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub phase: Phase,
    /// Units of work done and in all, about equally long each; over the whole job.
    pub done: f64,
    pub total: f64,
    /// Step of the loop under way and how many it has; zeros elsewhere.
    pub step: [usize; 2],
}

/// Stops a run between two steps, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

type Observer<'a> = Box<dyn FnMut(Progress) + 'a>;

/// What goes in, and how it is to be done; [`LipSync::frames`] does it.
pub struct LipSync<'a> {
    gpu: Gpu,
    weights: &'a WeightSet,
    audio: Audio,
    video: Box<dyn Fn() -> Result<Box<dyn FrameSource>> + 'a>,
    landmarks: Landmarks,
    occluder: Option<Box<dyn FrameSource>>,
    options: Options,
    cancel: Cancel,
    observer: Option<Observer<'a>>,
    work: Option<WorkFolder>,
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
            cancel: Cancel::default(),
            observer: None,
            work: None,
        }
    }

    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Pictures of the video's size and rate, white where something in front of the face must stay.
    pub fn occluder(mut self, masks: Box<dyn FrameSource>) -> Self {
        self.occluder = Some(masks);
        self
    }

    /// Sees how far the run is, after each step.
    pub fn on_progress(mut self, observer: impl FnMut(Progress) + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    pub fn cancel_with(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Keeps finished chunks in `work` and takes those that are there.
    pub fn resume(mut self, work: WorkFolder) -> Self {
        self.work = Some(work);
        self
    }

    /// What will be done, from a first pass over video and audio.
    pub fn survey(&self) -> Result<Survey> {
        let mut source = (self.video)()?;
        let mut video_frames = 0;
        while source.next_frame()?.is_some() {
            video_frames += 1;
            self.cancel.check()?;
        }
        if video_frames == 0 {
            return Err(Problem::new("video", "one frame or more", "none").input());
        }
        self.landmarks.check_count("landmarks", video_frames)?;
        let mut samples = 0;
        for block in self.audio.blocks()? {
            samples += block?.len();
            self.cancel.check()?;
        }
        Survey::new(&self.options, source.size(), source.fps(), video_frames, samples)
    }

    /// Does it: finished frames in order, made as they are asked for. Errors come as the last item.
    pub fn frames(self) -> Result<Frames<'a>> {
        let survey = self.survey()?;
        Frames::start(self, survey)
    }
}

/// What a job amounts to.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Width and height of the video.
    pub size: [u32; 2],
    pub fps: Fps,
    pub video_frames: u64,
    pub samples: usize,
    /// Frames at 25 a second.
    pub inside_frames: usize,
    pub video_inside_frames: usize,
    /// Frames that come out, at the video's rate.
    pub output_frames: u64,
    pub plan: Plan,
}

impl Survey {
    fn new(options: &Options, size: [u32; 2], fps: Fps, video_frames: u64, samples: usize) -> Result<Self> {
        let video_inside_frames = Fps::INSIDE.frames_in(video_frames, fps) as usize;
        let audio_frames = samples.div_ceil(FRAME_SAMPLES);
        let inside_frames = match options.parity {
            Parity::Corrected => options.length.frames(audio_frames, video_inside_frames),
            Parity::Upstream => audio_frames.min(video_inside_frames),
        };
        let plan = Plan::keysync(inside_frames, options.parity)?;
        let output_frames = fps.frames_in(plan.output_frames() as u64, Fps::INSIDE);
        Ok(Self { size, fps, video_frames, samples, inside_frames, video_inside_frames, output_frames, plan })
    }

    /// Evaluations of a UNet on one clip, all steps and branches.
    pub fn clip_evaluations(&self, options: &Options) -> usize {
        let clips = self.plan.window_count() + self.plan.batch_count();
        clips * options.steps * options.guidance.branches().len()
    }
}

/// The networks of one job.
struct Networks {
    keyframe: (ClipUnet, AudioProjection),
    interpolation: (ClipUnet, AudioProjection),
    encoder: Encoder,
    decoder: Decoder,
}

/// Clean latents and mask of one frame, `[1, height, width, 4]` and `[1, height, width, 1]`.
#[derive(Clone)]
struct Clean {
    latent: Tensor,
    mask: Tensor,
}

/// One embedding per 20 ms, two per frame, on disk.
struct Embeddings {
    file: FloatFile,
    width: usize,
}

impl Embeddings {
    /// The pairs of `frames`, `[frames, 2, width]`.
    fn pairs(&self, gpu: &Gpu, frames: &[usize]) -> Result<Tensor> {
        let mut values = Vec::with_capacity(frames.len() * 2 * self.width);
        for &frame in frames {
            values.extend(self.file.read(2 * frame * self.width..2 * (frame + 1) * self.width)?);
        }
        Tensor::from_f32(gpu, &[frames.len(), 2, self.width], &values)
    }
}

/// Finished frames of a job, made as they are asked for.
pub struct Frames<'a> {
    gpu: Gpu,
    options: Options,
    survey: Survey,
    networks: Networks,
    /// Side of the crop and of its latents, in pixels.
    side: usize,
    latent: [usize; 2],
    regions: Regions,
    hubert: Embeddings,
    wavlm: Embeddings,
    sources: FrameReader,
    encoded: FrameReader,
    occluder: Option<FrameReader>,
    work: Option<WorkFolder>,
    cancel: Cancel,
    observer: Option<Observer<'a>>,
    next_chunk: usize,
    /// The last keyframe of the chunk before.
    carry: Option<Tensor>,
    first: Option<Clean>,
    /// Finished latents that are not decoded yet, from inside frame `decoded` on.
    pending: VecDeque<Tensor>,
    decoded: usize,
    /// The last inside frame that was decoded.
    current: Option<(usize, Rgb8)>,
    next_output: u64,
    done: f64,
    failed: bool,
}

/// A unit of progress is one evaluation on one clip; coding a frame counts this much of it.
const CODING_UNITS: f64 = 0.15;

impl<'a> Frames<'a> {
    fn start(job: LipSync<'a>, survey: Survey) -> Result<Self> {
        let (gpu, options) = (job.gpu, job.options);
        let mut observer = job.observer;
        job.weights.check(&gpu, options.storage)?;
        if let Some([width, height]) =
            job.occluder.as_ref().map(|masks| masks.size()).filter(|&size| size != survey.size)
        {
            let expected = format!("{}x{} pixels, as the video has", survey.size[0], survey.size[1]);
            return Err(Problem::new("occluder masks", expected, format!("{width}x{height}")).input());
        }
        let mut listening = |done: f64| {
            if let Some(observer) = &mut observer {
                observer(Progress { phase: Phase::Listening, done, total: 1.0, step: [0, 0] });
            }
        };
        listening(0.0);
        let storage = options.storage;
        let frames = survey.inside_frames;
        let audio = read_samples(&job.audio, &job.cancel)?;
        let hubert = {
            let model = job.weights.hubert(&gpu, storage)?;
            embed("hubert", &job.cancel, |emit| hubert_embeddings(&gpu, &model, &audio, frames, options.parity, emit))?
        };
        listening(0.5);
        let wavlm = {
            let model = job.weights.wavlm(&gpu, storage)?;
            embed("wavlm", &job.cancel, |emit| wavlm_embeddings(&gpu, &model, &audio, frames, options.parity, emit))?
        };
        drop(audio);
        gpu.trim()?;
        listening(1.0);

        let networks = Networks {
            keyframe: job.weights.stage(&gpu, Role::Keyframe, storage)?,
            interpolation: job.weights.stage(&gpu, Role::Interpolation, storage)?,
            encoder: job.weights.encoder(&gpu, storage)?,
            decoder: job.weights.decoder(&gpu, storage)?,
        };
        let latent = networks
            .interpolation
            .0
            .latent_size()
            .ok_or_else(|| Problem::new("interpolation weights", "model.learned_mask", "none").weights())?;
        let side = LATENT_STEP * latent[0];
        let [width, height] = survey.size;
        let landmarks = job.landmarks.for_pictures("landmarks", [width, height])?;
        let regions = Regions::new(&landmarks, [width, height], options.face, options.parity, side)?;
        Ok(Self {
            sources: FrameReader::new((job.video)()?),
            encoded: FrameReader::new((job.video)()?),
            occluder: job.occluder.map(FrameReader::new),
            gpu,
            options,
            survey,
            networks,
            side,
            latent,
            regions,
            hubert,
            wavlm,
            work: job.work,
            cancel: job.cancel,
            observer,
            next_chunk: 0,
            carry: None,
            first: None,
            pending: VecDeque::new(),
            decoded: 0,
            current: None,
            next_output: 0,
            done: 0.0,
            failed: false,
        })
    }

    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Width and height of the frames that come out.
    pub fn size(&self) -> [u32; 2] {
        match self.options.paste {
            Paste::Mask => self.survey.size,
            Paste::None => [self.side as u32; 2],
        }
    }

    /// Ends the job: its work folder goes.
    pub fn finish(self) -> Result<()> {
        self.work.map_or(Ok(()), WorkFolder::remove)
    }

    fn report(&mut self, phase: Phase, step: [usize; 2]) {
        let coding = 2.0 * CODING_UNITS * self.survey.inside_frames as f64;
        let total = self.survey.clip_evaluations(&self.options) as f64 + coding;
        if let Some(observer) = &mut self.observer {
            observer(Progress { phase, done: self.done.min(total), total, step });
        }
    }

    /// The next output frame; None after the last.
    fn make_next(&mut self) -> Result<Option<Frame>> {
        if self.next_output >= self.survey.output_frames {
            return Ok(None);
        }
        self.cancel.check()?;
        let output = self.next_output;
        let inside = (Fps::INSIDE.frame_of(output, self.survey.fps) as usize).min(self.survey.plan.output_frames() - 1);
        let decoded = self.decode(inside)?;
        let frame = match self.options.paste {
            Paste::None => to_frame(&decoded)?,
            Paste::Mask => self.paste(&decoded, inside, output)?,
        };
        self.next_output += 1;
        Ok(Some(frame))
    }

    /// Inside frame `inside` as a picture of the crop; frames are asked for in order.
    fn decode(&mut self, inside: usize) -> Result<Rgb8> {
        if let Some((index, picture)) = &self.current
            && *index == inside
        {
            return Ok(picture.clone());
        }
        loop {
            while self.pending.is_empty() {
                self.make_chunk()?;
            }
            let Some(latent) = self.pending.pop_front() else { continue };
            let index = self.decoded;
            self.decoded += 1;
            self.done += CODING_UNITS;
            if index < inside {
                continue;
            }
            let picture = self.networks.decoder.forward(&latent.affine(1.0 / LATENT_SCALE, 0.0)?, &mut Trace::off())?;
            let picture = Rgb8::from_tensor(&picture)?;
            self.current = Some((inside, picture.clone()));
            self.report(Phase::Decoding, [0, 0]);
            return Ok(picture);
        }
    }

    /// The source frame shown at output frame `output` with the decoded crop in it.
    fn paste(&mut self, decoded: &Rgb8, inside: usize, output: u64) -> Result<Frame> {
        let mask = self.mask(inside, None)?;
        let feather = self.options.feather.unwrap_or(self.side as f32 / 50.0);
        let alpha = mask.feather_mask(feather)?;
        let source = self.source_frame(output);
        let region = self.regions.at(source as usize);
        let frame = self.sources.frame(source)?;
        let Some(frame) = frame else {
            return Err(Problem::new("video", format!("frame {source}"), "its end").input());
        };
        let (width, height) = (frame.width as usize, frame.height as usize);
        let picture = Rgb8::upload(&self.gpu, height, width, &frame.rgb)?;
        to_frame(&picture.composite(decoded, &[region], &alpha, feather)?)
    }

    /// The source frame under output frame `output`, the video extended where it is too short.
    fn source_frame(&self, output: u64) -> u64 {
        self.options.extend.source(output as usize, self.survey.video_frames as usize) as u64
    }

    /// The source frame that inside frame `inside` of the plan is made from.
    fn source_of(&self, inside: usize) -> u64 {
        let inside = self.survey.plan.source(inside);
        let shown = self.options.extend.source(inside, self.survey.video_inside_frames);
        self.survey.fps.frame_of(shown as u64, Fps::INSIDE).min(self.survey.video_frames - 1)
    }

    /// The mask of an inside frame at the crop's size, `[1, side, side, 1]`, or at the latents' with `step`.
    fn mask(&mut self, inside: usize, step: Option<usize>) -> Result<Tensor> {
        let source = self.source_of(inside);
        let face: Face = self.regions.face_in_crop(source as usize);
        let mask = self.options.mask.draw(&self.gpu, &[face], self.side)?;
        let occluder = match &mut self.occluder {
            None => None,
            Some(reader) => {
                let region = self.regions.at(source as usize);
                match reader.frame(source)? {
                    Some(frame) => {
                        let occluder = occluded(&self.gpu, frame, region, self.side)?;
                        Some(occluder.downsample_mask(step.unwrap_or(1), None)?)
                    }
                    None => None,
                }
            }
        };
        mask.downsample_mask(step.unwrap_or(1), occluder.as_ref())
    }

    /// Clean latents and mask of an inside frame.
    fn clean(&mut self, inside: usize) -> Result<Clean> {
        let source = self.source_of(inside);
        let region = self.regions.at(source as usize);
        let Some(frame) = self.encoded.frame(source)? else {
            return Err(Problem::new("video", format!("frame {source}"), "its end").input());
        };
        let picture = Rgb8::upload(&self.gpu, frame.height as usize, frame.width as usize, &frame.rgb)?;
        let crop = picture.crop(&[region], self.side)?;
        let moments = self.networks.encoder.forward(&crop.to_tensor()?, &mut Trace::off())?;
        let mut latent = moments.mean;
        if self.options.sample_posterior || self.options.parity == Parity::Upstream {
            let shape = [1, self.latent[0], self.latent[1], latent.last_dim()];
            let noise = Tensor::noise(&self.gpu, self.options.seed, POSTERIOR_NOISE, inside as u32, shape)?;
            latent = latent.add_scaled(1.0, &noise.times_deviation(&moments.log_variance)?, 1.0)?;
        }
        self.done += CODING_UNITS;
        self.report(Phase::Encoding, [0, 0]);
        Ok(Clean { latent: latent.affine(LATENT_SCALE, 0.0)?, mask: self.mask(inside, Some(LATENT_STEP))? })
    }

    /// Samples the next chunk, or takes it from the work folder, and queues its finished latents.
    fn make_chunk(&mut self) -> Result<()> {
        let index = self.next_chunk;
        if index >= self.survey.plan.chunk_count() {
            return Err(Problem::new("plan", format!("chunk {index}"), "its end").input());
        }
        let chunk = self.survey.plan.chunk(index);
        let name = format!("chunk{index}.latents");
        let kept = match &self.work {
            Some(work) if index < work.finished_chunks() => Some(work.load(&name)?),
            _ => None,
        };
        let latents = match kept {
            Some(bytes) => {
                self.done += self.units(&chunk);
                self.restore(&chunk, &bytes)?
            }
            None => {
                let latents = self.sample(&chunk)?;
                let bytes = self.stored(&latents)?;
                if let Some(work) = &mut self.work {
                    work.store(&name, &bytes)?;
                    work.finish_chunk(index)?;
                }
                latents
            }
        };
        self.pending.extend(latents);
        self.next_chunk += 1;
        Ok(())
    }

    fn units(&self, chunk: &Chunk) -> f64 {
        let clips = chunk.windows.len() + chunk.batches.len();
        (clips * self.options.steps * self.options.guidance.branches().len()) as f64
    }

    /// The chunk's output latents and the last keyframe, as they lie in the work folder.
    fn stored(&self, latents: &[Tensor]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for latent in latents.iter().chain(&self.carry) {
            bytes.extend(latent.to_bytes()?);
        }
        Ok(bytes)
    }

    fn restore(&mut self, chunk: &Chunk, bytes: &[u8]) -> Result<Vec<Tensor>> {
        let shape = [1, self.latent[0], self.latent[1], 4];
        let size = 4 * shape.iter().product::<usize>();
        if bytes.len() != size * (chunk.output.len() + 1) {
            let found = format!("{} bytes", bytes.len());
            return Err(Problem::new(format!("chunk {} in the work folder", chunk.index), "all of its latents", found)
                .remedy("remove the work folder and start again")
                .input());
        }
        let tensor = |bytes: &[u8]| Tensor::from_bytes(&self.gpu, &shape, crate::gpu::Elem::F32, bytes);
        let mut latents: Vec<Tensor> = bytes.chunks_exact(size).map(tensor).collect::<Result<_>>()?;
        self.carry = latents.pop();
        Ok(latents)
    }

    /// Keyframes, then the windows between them: the latents of the chunk's output frames, `[1, height, width, 4]` each.
    fn sample(&mut self, chunk: &Chunk) -> Result<Vec<Tensor>> {
        let mut clean: BTreeMap<usize, Clean> = BTreeMap::new();
        if self.first.is_none() {
            self.first = Some(self.clean(0)?);
        }
        let Some(first) = self.first.clone() else { return Ok(Vec::new()) };
        clean.insert(0, first.clone());
        let needed = chunk.batches.iter().flatten().map(|slot| slot.frame);
        let needed: Vec<usize> = needed.chain(chunk.windows.iter().flat_map(|window| window.frames.clone())).collect();
        let mut needed: Vec<usize> = needed.into_iter().map(|frame| self.survey.plan.source(frame)).collect();
        needed.sort_unstable();
        needed.dedup();
        for frame in needed {
            if let Entry::Vacant(place) = clean.entry(frame) {
                self.cancel.check()?;
                place.insert(self.clean(frame)?);
            }
        }

        let mut keyframes: BTreeMap<usize, Tensor> = BTreeMap::new();
        if let (Some(slot), Some(latent)) = (chunk.carried, &self.carry) {
            keyframes.insert(slot, latent.clone());
        }
        for batch in &chunk.batches {
            let frames: Vec<usize> = batch.iter().map(|slot| slot.frame).collect();
            let Some(start) = batch.first().map(|slot| slot.index) else { continue };
            let latents = self.run_stage(Role::Keyframe, &[frames], &first.latent, &clean, start)?;
            let latents = latents.reshape(&[batch.len(), self.latent[0], self.latent[1], 4])?;
            for (row, slot) in batch.iter().enumerate() {
                keyframes.insert(slot.index, latents.narrow_rows(row, 1)?);
            }
        }
        let keyframe = |slot: usize| {
            let found = || Problem::new("plan", format!("keyframe {slot}"), "none at hand").input();
            keyframes.get(&slot).cloned().ok_or_else(found)
        };

        let mut output = Vec::with_capacity(chunk.output.len());
        for windows in chunk.windows.chunks(self.options.windows_per_call.max(1)) {
            let mut ends = Vec::new();
            for window in windows {
                ends.push(Tensor::concat_channels(&[
                    &keyframe(window.keyframes[0])?,
                    &keyframe(window.keyframes[1])?,
                ])?);
            }
            let reference = Tensor::stack_rows(&ends.iter().collect::<Vec<_>>())?;
            let frames: Vec<Vec<usize>> = windows.iter().map(|window| window.frames.clone().collect()).collect();
            let start = windows[0].index * windows[0].frames.len();
            let sampled = self.run_stage(Role::Interpolation, &frames, &reference, &clean, start)?;
            for (clip, window) in windows.iter().enumerate() {
                let ends = [keyframe(window.keyframes[0])?, keyframe(window.keyframes[1])?];
                let latents = with_keyframes(&sampled.narrow_rows(clip, 1)?, &ends)?;
                let latents = latents.reshape(&[window.frames.len(), self.latent[0], self.latent[1], 4])?;
                for frame in window.output.clone() {
                    output.push(latents.narrow_rows(frame - window.frames.start, 1)?);
                }
            }
        }
        self.carry = chunk.last_slot().map(keyframe).transpose()?;
        Ok(output)
    }

    /// The whole loop of one stage for clips of `frames` each: `[clips, frames, height, width, 4]`.
    fn run_stage(
        &mut self,
        role: Role,
        frames: &[Vec<usize>],
        reference: &Tensor,
        clean: &BTreeMap<usize, Clean>,
        noise_start: usize,
    ) -> Result<Tensor> {
        let (clips, per_clip) = (frames.len(), frames.first().map_or(0, Vec::len));
        let [height, width] = self.latent;
        let sources: Vec<usize> = frames.iter().flatten().map(|&frame| self.survey.plan.source(frame)).collect();
        let parts: Vec<&Clean> = sources.iter().filter_map(|frame| clean.get(frame)).collect();
        let latents: Vec<&Tensor> = parts.iter().map(|part| &part.latent).collect();
        let masks: Vec<&Tensor> = parts.iter().map(|part| &part.mask).collect();
        let latents = Tensor::stack_rows(&latents)?.reshape(&[clips, per_clip, height, width, 4])?;
        let mask = Tensor::stack_rows(&masks)?.reshape(&[clips, per_clip, height, width, 1])?;

        let (embeddings, purpose, phase) = match role {
            Role::Keyframe => (&self.hubert, KEYFRAME_NOISE, Phase::Keyframes),
            _ => (&self.wavlm, INTERPOLATION_NOISE, Phase::Interpolation),
        };
        let pairs = embeddings.pairs(&self.gpu, &sources)?;
        let noise = Tensor::noise(
            &self.gpu,
            self.options.seed,
            purpose,
            noise_start as u32,
            [clips * per_clip, height, width, 4],
        )?;

        let (unet, projection) = match role {
            Role::Keyframe => &self.networks.keyframe,
            _ => &self.networks.interpolation,
        };
        let audio = projection.forward(&pairs)?;
        let audio = audio.reshape(&[clips, per_clip, audio.last_dim()])?;
        let guidance = self.options.guidance;
        let conditions = Conditions::new(unet, reference, &audio, guidance.branches())?;
        let inpaint = Inpaint { mask: &mask, clean: &latents };
        let denoiser = Denoiser { guidance, inpaint: Some(inpaint), batched: self.options.batched };
        let sigmas = ays(self.options.steps)?;
        let x = noise.reshape(latents.shape())?.affine(initial_scale(sigmas[0]) as f32, 0.0)?;
        let network = |x: &Tensor, branches: &[Branch], c_noise: f64| {
            let c_noise = vec![c_noise as f32; branches.len() * clips * per_clip];
            conditions.forward(unet, x, branches, &c_noise)
        };
        let (steps, units) = (self.options.steps, (clips * guidance.branches().len()) as f64);
        let total =
            self.survey.clip_evaluations(&self.options) as f64 + 2.0 * CODING_UNITS * self.survey.inside_frames as f64;
        let (done, observer, cancel, gpu) = (&mut self.done, &mut self.observer, &self.cancel, &self.gpu);
        Sampler::default().run(
            x,
            &sigmas,
            |x, sigma| denoiser.denoise(x, sigma, network),
            |_| Err(Problem::new("noise", "a sampler without churn", "churn").usage()),
            |step, _, _| {
                // One step at a time, so that progress is true and a run can be stopped.
                gpu.wait()?;
                *done += units;
                if let Some(observer) = observer {
                    observer(Progress { phase, done: done.min(total), total, step: [step + 1, steps] });
                }
                cancel.check()
            },
        )
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.make_next();
        self.failed = next.is_err();
        next.transpose()
    }
}

fn to_frame(picture: &Rgb8) -> Result<Frame> {
    Ok(Frame { width: picture.width() as u32, height: picture.height() as u32, rgb: picture.to_bytes()? })
}

/// 1 where the occluder's picture is white, in the crop: `[1, side, side, 1]`.
fn occluded(gpu: &Gpu, frame: &Frame, region: Region, side: usize) -> Result<Tensor> {
    let picture = Rgb8::upload(gpu, frame.height as usize, frame.width as usize, &frame.rgb)?;
    let crop = picture.crop(&[region], side)?.to_tensor()?;
    // 0 or 1 by the middle grey: the slope is steeper than one level.
    crop.slice_channels(0, 1)?.affine(255.0, 0.0)?.clamp(0.0, 1.0)
}

/// All samples at 16 kHz, on disk.
fn read_samples(audio: &Audio, cancel: &Cancel) -> Result<FloatFile> {
    let mut file = FloatFile::temporary("samples")?;
    for block in audio.blocks()? {
        file.append(&block?)?;
        cancel.check()?;
    }
    Ok(file)
}

type Emit<'a> = &'a mut dyn FnMut(&[f32]) -> Result<()>;

fn embed(name: &str, cancel: &Cancel, run: impl FnOnce(Emit<'_>) -> Result<()>) -> Result<Embeddings> {
    let mut file = FloatFile::temporary(name)?;
    let mut width = 0;
    run(&mut |vector| {
        width = vector.len();
        cancel.check()?;
        file.append(vector)
    })?;
    Ok(Embeddings { file, width })
}

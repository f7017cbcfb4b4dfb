//! The two stages that KeySync and KeyFace share: keyframes 13 frames apart, then the windows between them, chunk by chunk,
//! decoded frame by frame. What differs between the two is behind [`System`].
//! Sources: KeyFace (arXiv 2503.01715) sec. 3; KeySync (arXiv 2505.00497) sec. 3.

use super::job::{Embeddings, Phase, Reporter};
use super::resume::WorkFolder;
use super::sampling::{Course, Sampling, Step, WINDOWS_PER_CALL};
use super::segments::{Chunk, Window};
use super::stage::{Conditions, StageNetworks, with_keyframes};
use super::stretches::{Stretch, Stretches};
use crate::diffusion::schedule::initial_scale;
use crate::diffusion::{Branch, Denoiser};
use crate::gpu::{Elem, Gpu, Mark};
use crate::media::Frame;
use crate::models::clip_unet::{AudioProjection, ClipUnet};
use crate::models::vae::{Decoder, Encoder, LATENT_SCALE};
use crate::nn::Trace;
use crate::ops::{Depth, Inpaint, Rgb};
use crate::tensor::Tensor;
use crate::{Error, Problem, Result};
use std::collections::{BTreeMap, VecDeque};

/// Streams of noise that never meet (DESIGN.md, randomness).
pub(super) const KEYFRAME_NOISE: u32 = 1;
pub(super) const INTERPOLATION_NOISE: u32 = 2;
const POSTERIOR_NOISE: u32 = 3;

/// A unit of progress is one evaluation of a whole UNet on one clip; encoding or decoding a frame counts this much of it.
pub(super) const CODING_UNITS: f64 = 0.15;

/// Clean latents and mask of one frame, `[1, height, width, 4]` and `[1, height, width, 1]`.
#[derive(Clone)]
pub(super) struct Clean {
    pub latent: Tensor,
    pub mask: Tensor,
}

/// What a published system puts into the two stages and makes of their pictures. Frames are counted at 25 a second, over the
/// whole job.
pub(super) trait System {
    /// From now on frames of `stretch` are asked for.
    fn begin(&mut self, _stretch: &Stretch) {}

    /// Scaled latents that the stretch's keyframes are conditioned on, `[1, height, width, 4]`.
    fn identity(&mut self, reporter: &mut Reporter<'_>) -> Result<Tensor>;

    /// What of a frame is to be kept; None where everything is generated.
    fn clean(&mut self, _frame: usize, _reporter: &mut Reporter<'_>) -> Result<Option<Clean>> {
        Ok(None)
    }

    /// Valence and arousal at a frame, for networks that take them.
    fn feeling(&self, _frame: usize) -> Result<[f32; 2]> {
        Ok([0.0, 0.0])
    }

    /// Output frame `output`, which shows `pictures`.
    fn finish(&mut self, pictures: &[Shown], output: u64) -> Result<Frame>;

    /// Output frame `output` where nothing is made anew.
    fn unchanged(&mut self, output: u64) -> Result<Frame> {
        Err(Problem::new(format!("output frame {output}"), "a picture of its own", "none").shape())
    }
}

/// A picture that an output frame shows.
pub(super) struct Shown {
    pub picture: Rgb,
    /// The frame that it was made for.
    pub inside: usize,
    /// Of all that the output frame shows; they sum to 1.
    pub share: f32,
}

/// The one picture of an output frame at 25 a second.
pub(super) fn only(pictures: &[Shown]) -> Result<&Rgb> {
    let [Shown { picture, .. }] = pictures else {
        return Err(Problem::new("output frame", "one picture", pictures.len().to_string()).shape());
    };
    Ok(picture)
}

/// What becomes of the frame that two windows share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seam {
    /// The keyframes' latents are put back at both ends of each window, so that the frame is the same in both (KeySync).
    Keyframe,
    /// Its two pictures are averaged (KeyFace).
    Average,
    /// The same within a chunk; where one ends, its last picture is dropped (KeyFace as published).
    AverageWithinChunks,
}

/// One network with what it hears.
pub(super) struct Stage {
    pub unet: ClipUnet,
    /// What autoguidance steers away from.
    pub weaker: Option<ClipUnet>,
    pub projection: AudioProjection,
    pub embeddings: Embeddings,
    pub course: Course,
    pub phase: Phase,
    pub noise: u32,
}

impl Stage {
    /// Height and width of the latents, which interpolation's weights fix.
    pub fn latent_size(&self) -> Result<[usize; 2]> {
        let size = self.unet.latent_size();
        size.ok_or_else(|| Problem::new("interpolation weights", "model.learned_mask", "none").weights())
    }
}

/// Latents of one frame; pictures of several are averaged.
type FrameLatents = Vec<Tensor>;

/// Makes the frames of a job's stretches, in order.
pub(super) struct TwoStage {
    pub gpu: Gpu,
    /// The one under way.
    pub stretch: Stretch,
    pub sampling: Sampling,
    pub keyframes: Stage,
    pub interpolation: Stage,
    pub decoder: Decoder,
    /// How the decoder's activations are stored.
    pub coding: Elem,
    /// Of the pictures' values.
    pub depth: Depth,
    pub seam: Seam,
    /// Height and width of the latents.
    pub latent: [usize; 2],
    pub work: Option<WorkFolder>,
    pub state: State,
}

/// How far a [`TwoStage`] is.
#[derive(Default)]
pub(super) struct State {
    next_chunk: usize,
    open: Option<OpenChunk>,
    /// The last keyframe of the chunk before.
    carry: Option<Tensor>,
    /// The last frame of the window before, where it is averaged with the first of the next.
    shared: Option<Tensor>,
    /// Finished latents that are not decoded yet, from frame `decoded` on.
    pending: VecDeque<FrameLatents>,
    decoded: usize,
    /// The last two frames that were decoded.
    recent: VecDeque<(usize, Rgb)>,
}

/// A chunk whose keyframes are made and whose windows are being made.
struct OpenChunk {
    chunk: Chunk,
    /// By slot.
    keyframes: BTreeMap<usize, Tensor>,
    /// What is kept of the frames that the next windows see, as far as it is known.
    clean: BTreeMap<usize, Clean>,
    next_window: usize,
}

impl OpenChunk {
    fn keyframe(&self, slot: usize) -> Result<Tensor> {
        let missing = || Problem::new("plan", format!("keyframe {slot}"), "none at hand").input();
        self.keyframes.get(&slot).cloned().ok_or_else(missing)
    }
}

impl TwoStage {
    /// All work of `stretches`, in units of progress; `frames` are encoded beside it.
    pub fn units(&self, stretches: &Stretches, frames: usize) -> f64 {
        let clips = |stage: &Stage, clips: usize| clips as f64 * stage.course.work();
        let coding = CODING_UNITS * (frames + stretches.inside_frames()) as f64;
        clips(&self.keyframes, stretches.batch_count()) + clips(&self.interpolation, stretches.window_count()) + coding
    }

    /// Goes on with another stretch.
    pub fn begin(&mut self, stretch: &Stretch) {
        (self.stretch, self.state) = (stretch.clone(), State::default());
    }

    /// The picture of the stretch's frame `inside`, counted over the job; frames are asked for in order, up to one before the last.
    pub fn picture(&mut self, inside: usize, system: &mut dyn System, reporter: &mut Reporter<'_>) -> Result<Rgb> {
        let inside = inside - self.stretch.inside.start;
        if let Some((_, picture)) = self.state.recent.iter().find(|(index, _)| *index == inside) {
            return Ok(picture.clone());
        }
        loop {
            while self.state.pending.is_empty() {
                self.make_more(system, reporter)?;
            }
            let Some(latents) = self.state.pending.pop_front() else { continue };
            let index = self.state.decoded;
            self.state.decoded += 1;
            reporter.advance(Phase::Decoding, CODING_UNITS, [0, 0])?;
            if index == inside {
                let picture = self.decode(&latents)?;
                self.state.recent.truncate(1);
                self.state.recent.push_front((inside, picture.clone()));
                return Ok(picture);
            }
        }
    }

    fn decode(&self, latents: &[Tensor]) -> Result<Rgb> {
        let decode = |latent: &Tensor| {
            let latent = latent.affine(1.0 / LATENT_SCALE, 0.0)?.cast(self.coding)?;
            self.decoder.forward(&latent, &mut Trace::off())?.cast(Elem::F32)?.clamp(-1.0, 1.0)
        };
        let Some((first, rest)) = latents.split_first() else {
            return Err(Problem::new("frame", "latents", "none").shape());
        };
        let mut picture = decode(first)?;
        for (index, latent) in rest.iter().enumerate() {
            let share = 1.0 / (index + 2) as f32;
            picture = picture.add_scaled(1.0 - share, &decode(latent)?, share)?;
        }
        Rgb::from_tensor_at(&picture, self.depth)
    }

    /// Queues the latents of the next windows, of the next chunk where this one has none left.
    fn make_more(&mut self, system: &mut dyn System, reporter: &mut Reporter<'_>) -> Result<()> {
        let open = self.state.open.take().filter(|open| open.next_window < open.chunk.windows.len());
        let mut open = match open {
            Some(open) => open,
            None => self.open_chunk(system, reporter)?,
        };
        let end = (open.next_window + WINDOWS_PER_CALL).min(open.chunk.windows.len());
        let windows: Vec<Window> = open.chunk.windows[open.next_window..end].to_vec();
        self.make_windows(&windows, &mut open, system, reporter)?;
        open.next_window = end;
        if let Some(last) = windows.last() {
            open.clean.retain(|&frame, _| frame >= last.frames.start);
        }
        self.state.open = Some(open);
        Ok(())
    }

    /// The next chunk with its keyframes; what lies in the work folder is taken from there.
    fn open_chunk(&mut self, system: &mut dyn System, reporter: &mut Reporter<'_>) -> Result<OpenChunk> {
        let index = self.state.next_chunk;
        if index >= self.stretch.plan.chunk_count() {
            return Err(Problem::new("plan", format!("chunk {index}"), "its end").input());
        }
        if self.seam == Seam::AverageWithinChunks {
            self.state.shared = None;
        }
        let chunk = self.stretch.plan.chunk(index);
        let mut clean = BTreeMap::new();
        let mut keyframes: BTreeMap<usize, Tensor> = BTreeMap::new();
        if let (Some(slot), Some(latent)) = (chunk.carried, &self.state.carry) {
            keyframes.insert(slot, latent.clone());
        }
        for batch in &chunk.batches {
            let Some(first) = batch.first() else { continue };
            let frames: Vec<usize> = batch.iter().map(|slot| slot.frame).collect();
            let noise_start = self.stretch.slots_before + first.index;
            let name = format!("keyframes{noise_start}.latents");
            let stage: fn(&Self) -> &Stage = |stages| &stages.keyframes;
            let latents = match self.stored(&name, stage, frames.len(), reporter)? {
                Some(latents) => latents,
                None => {
                    let clip = Clip { frames, reference: system.identity(reporter)?, noise_start };
                    let latents = self.clips(stage, &[clip], &mut clean, system, reporter)?.remove(0);
                    self.store(&name, &latents)?;
                    latents
                }
            };
            for (row, slot) in batch.iter().enumerate() {
                keyframes.insert(slot.index, latents.narrow_rows(row, 1)?);
            }
        }
        let open = OpenChunk { chunk, keyframes, clean, next_window: 0 };
        let last = open.chunk.last_slot().ok_or_else(|| Problem::new("plan", "a keyframe", "none").input())?;
        self.state.carry = Some(open.keyframe(last)?);
        self.state.next_chunk += 1;
        Ok(open)
    }

    /// Queues the latents of `windows`, sampled together those that are not stored.
    fn make_windows(
        &mut self,
        windows: &[Window],
        open: &mut OpenChunk,
        system: &mut dyn System,
        reporter: &mut Reporter<'_>,
    ) -> Result<()> {
        let stage: fn(&Self) -> &Stage = |stages| &stages.interpolation;
        let before = self.stretch.windows_before;
        let name = |window: &Window| format!("window{}.latents", before + window.index);
        let mut stored = Vec::new();
        for window in windows {
            stored.push(self.stored(&name(window), stage, window.frames.len(), reporter)?);
        }
        let mut clips = Vec::new();
        for (window, _) in windows.iter().zip(&stored).filter(|(_, stored)| stored.is_none()) {
            let [first, last] = window.keyframes;
            clips.push(Clip {
                frames: window.frames.clone().map(|frame| self.stretch.plan.source(frame)).collect(),
                reference: Tensor::concat_channels(&[&open.keyframe(first)?, &open.keyframe(last)?])?,
                noise_start: (before + window.index) * window.frames.len(),
            });
        }
        let sampled = match clips.is_empty() {
            true => Vec::new(),
            false => self.clips(stage, &clips, &mut open.clean, system, reporter)?,
        };
        let missing = windows.iter().zip(&mut stored).filter(|(_, stored)| stored.is_none());
        for ((window, stored), latents) in missing.zip(sampled) {
            self.store(&name(window), &latents)?;
            *stored = Some(latents);
        }
        for (window, latents) in windows.iter().zip(stored.into_iter().flatten()) {
            let latents = match self.seam {
                Seam::Average | Seam::AverageWithinChunks => latents,
                Seam::Keyframe => {
                    let ends = [open.keyframe(window.keyframes[0])?, open.keyframe(window.keyframes[1])?];
                    let [frames, height, width, channels] = latents.dims("window")?;
                    let clip = latents.reshape(&[1, frames, height, width, channels])?;
                    with_keyframes(&clip, &ends)?.reshape(latents.shape())?
                }
            };
            for row in 0..window.output.len() {
                let shared = if row == 0 { self.state.shared.take() } else { None };
                self.state.pending.push_back(shared.into_iter().chain([latents.narrow_rows(row, 1)?]).collect());
            }
            if self.seam != Seam::Keyframe {
                self.state.shared = Some(latents.narrow_rows(window.frames.len() - 1, 1)?);
            }
        }
        Ok(())
    }

    /// A clip of `frames` frames that an earlier run left in the work folder.
    fn stored(
        &self,
        name: &str,
        stage: fn(&Self) -> &Stage,
        frames: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<Option<Tensor>> {
        let Some(work) = &self.work else { return Ok(None) };
        if !work.contains(name)? {
            return Ok(None);
        }
        let bytes = work.load(name)?;
        let [height, width] = self.latent;
        let shape = [frames, height, width, 4];
        let expected = 4 * shape.iter().product::<usize>();
        if bytes.len() != expected {
            let found = format!("{} bytes", bytes.len());
            return Err(Problem::new(format!("{name} in the work folder"), format!("{expected} bytes"), found)
                .remedy("remove the work folder and start again")
                .input());
        }
        let stage = stage(self);
        reporter.advance(stage.phase, stage.course.work(), [0, 0])?;
        Ok(Some(Tensor::from_bytes(&self.gpu, &shape, Elem::F32, &bytes)?))
    }

    fn store(&self, name: &str, latents: &Tensor) -> Result<()> {
        match &self.work {
            Some(work) => work.store(name, &latents.to_bytes()?),
            None => Ok(()),
        }
    }

    /// The loop of one stage for `clips`, together where memory suffices: `[frames, height, width, 4]` for each. `clean`
    /// gathers what is kept of the frames that they see.
    fn clips(
        &mut self,
        stage: fn(&Self) -> &Stage,
        clips: &[Clip],
        clean: &mut BTreeMap<usize, Clean>,
        system: &mut dyn System,
        reporter: &mut Reporter<'_>,
    ) -> Result<Vec<Tensor>> {
        for &frame in clips.iter().flat_map(|clip| &clip.frames) {
            if !clean.contains_key(&frame)
                && let Some(kept) = system.clean(self.stretch.inside.start + frame, reporter)?
            {
                clean.insert(frame, kept);
            }
        }
        if !self.sampling.low_memory {
            match self.run(stage(self), clips, clean, system, reporter) {
                Err(error @ Error::OutOfMemory { .. }) => {
                    tracing::warn!("{error}; going on with one clip and one guidance branch at a time");
                    self.sampling.low_memory = true;
                    self.gpu.trim()?;
                }
                other => return other,
            }
        }
        let mut sampled = Vec::with_capacity(clips.len());
        for clip in clips {
            sampled.extend(self.run(stage(self), std::slice::from_ref(clip), clean, system, reporter)?);
        }
        Ok(sampled)
    }

    fn run(
        &self,
        stage: &Stage,
        clips: &[Clip],
        clean: &BTreeMap<usize, Clean>,
        system: &dyn System,
        reporter: &mut Reporter<'_>,
    ) -> Result<Vec<Tensor>> {
        let [height, width] = self.latent;
        let frames: Vec<usize> = clips.iter().flat_map(|clip| clip.frames.iter().copied()).collect();
        let per_clip = frames.len() / clips.len().max(1);
        let shape = |channels: usize| [clips.len(), per_clip, height, width, channels];

        let kept = match all_or_none(&frames, clean)? {
            None => None,
            Some(kept) => {
                let latents: Vec<&Tensor> = kept.iter().map(|clean| &clean.latent).collect();
                let masks: Vec<&Tensor> = kept.iter().map(|clean| &clean.mask).collect();
                Some((
                    Tensor::stack_rows(&latents)?.reshape(&shape(4))?,
                    Tensor::stack_rows(&masks)?.reshape(&shape(1))?,
                ))
            }
        };
        let inpaint = kept.as_ref().map(|(clean, mask)| Inpaint { mask, clean });

        let heard: Vec<usize> = frames.iter().map(|frame| self.stretch.inside.start + frame).collect();
        let audio = stage.projection.forward(&stage.embeddings.pairs(&self.gpu, &heard)?)?;
        let audio = audio.reshape(&[clips.len(), per_clip, audio.last_dim()])?;
        let references: Vec<&Tensor> = clips.iter().map(|clip| &clip.reference).collect();
        let reference = Tensor::stack_rows(&references)?;
        let emotion = match stage.unet.feels() {
            true => {
                let feelings = heard.iter().map(|&frame| system.feeling(frame)).collect::<Result<Vec<_>>>()?;
                stage.unet.emotion(&self.gpu, &feelings)?
            }
            false => None,
        };
        let networks = StageNetworks { main: &stage.unet, weaker: stage.weaker.as_ref() };
        let Course { guidance, sigmas, steps } = &stage.course;
        let conditions = Conditions::new(networks, &reference, &audio, emotion.as_ref(), guidance.branches())?;

        let noise = |clip: &Clip| {
            let first = clip.noise_start as u32;
            Tensor::noise(&self.gpu, self.sampling.seed, stage.noise, first, [per_clip, height, width, 4])
        };
        let noise = clips.iter().map(noise).collect::<Result<Vec<_>>>()?;
        let noise = Tensor::stack_rows(&noise.iter().collect::<Vec<_>>())?.reshape(&shape(4))?;

        let mut to_come = steps.iter();
        // The step that the device works on while the next is recorded. Steps are told of when they are done, and no more than one
        // is ahead, so that progress is true and a run can be stopped.
        let mut under_way: Option<(Mark, usize)> = None;
        let done = |(mark, step): (Mark, usize), reporter: &mut Reporter<'_>| {
            self.gpu.wait_for(mark)?;
            let units = clips.len() as f64 * steps[step].work();
            reporter.advance(stage.phase, units, [step + 1, steps.len()])
        };
        let sampled = self.sampling.sampler.run(
            noise.affine(initial_scale(sigmas[0]) as f32, 0.0)?,
            sigmas,
            |x, sigma| {
                let Some(&Step { guidance, levels }) = to_come.next() else {
                    return Err(Problem::new("sampler", format!("{} evaluations", steps.len()), "more").usage());
                };
                let denoiser = Denoiser { guidance, inpaint, batched: !self.sampling.low_memory };
                denoiser.denoise(x, sigma, |x: &Tensor, branches: &[Branch], c_noise: f64| {
                    conditions.forward(x, branches, &vec![c_noise as f32; branches.len() * frames.len()], levels)
                })
            },
            |_| Err(Problem::new("noise", "a sampler without churn", "churn").usage()),
            |step, _, _| {
                let before = under_way.replace((self.gpu.mark()?, step));
                before.map_or(Ok(()), |before| done(before, reporter))
            },
        )?;
        under_way.map_or(Ok(()), |last| done(last, reporter))?;
        let flat = sampled.reshape(&[frames.len(), height, width, 4])?;
        (0..clips.len()).map(|clip| flat.narrow_rows(clip * per_clip, per_clip)).collect()
    }
}

/// What is kept of each of `frames`; None where nothing is kept of any. Errors: of some, which would be lost without a word.
fn all_or_none<'a, T>(frames: &[usize], kept: &'a BTreeMap<usize, T>) -> Result<Option<Vec<&'a T>>> {
    let found: Vec<&T> = frames.iter().filter_map(|frame| kept.get(frame)).collect();
    match frames.iter().find(|&frame| !kept.contains_key(frame)) {
        None => Ok(Some(found)),
        Some(_) if found.is_empty() => Ok(None),
        Some(frame) => {
            let expected = format!("latents and a mask, as {} others of its clip have", found.len());
            Err(Problem::new(format!("frame {frame}"), expected, "none").shape())
        }
    }
}

/// One clip of a stage: the frames of the stretch that it sees, its conditioning latents and where its noise starts.
struct Clip {
    frames: Vec<usize>,
    reference: Tensor,
    noise_start: usize,
}

/// Scaled latents `[1, height / 8, width / 8, 4]` of a crop `[1, height, width, 3]` in [-1, 1]: the mode of the encoder's
/// posterior, or a random sample of it drawn for `(seed, frame)`. Activations are stored as `coding`.
pub(super) fn encode(encoder: &Encoder, crop: &Tensor, coding: Elem, sample: Option<(u64, u32)>) -> Result<Tensor> {
    let moments = encoder.forward(&crop.cast(coding)?, &mut Trace::off())?;
    let mut latent = moments.mean.cast(Elem::F32)?;
    if let Some((seed, frame)) = sample {
        let noise = Tensor::noise(crop.gpu(), seed, POSTERIOR_NOISE, frame, latent.dims("latents")?)?;
        latent = latent.add_scaled(1.0, &noise.times_deviation(&moments.log_variance.cast(Elem::F32)?)?, 1.0)?;
    }
    latent.affine(LATENT_SCALE, 0.0)
}

pub(super) fn upload(gpu: &Gpu, frame: &Frame) -> Result<Rgb> {
    Rgb::upload_at(gpu, frame.height as usize, frame.width as usize, frame.depth, &frame.rgb)
}

pub(super) fn to_frame(picture: &Rgb) -> Result<Frame> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    Ok(Frame { width, height, depth: picture.depth(), rgb: picture.to_bytes()? })
}

#[cfg(test)]
mod tests {
    use super::all_or_none;
    use std::collections::BTreeMap;

    #[test]
    fn masks_of_some_frames_are_not_lost() {
        let kept = BTreeMap::from([(3, 'a'), (5, 'b')]);
        assert_eq!(all_or_none(&[5, 3, 3], &kept).unwrap(), Some(vec![&'b', &'a', &'a']));
        assert_eq!(all_or_none(&[4, 6], &kept).unwrap(), None);
        let error = all_or_none(&[3, 4, 5], &kept).unwrap_err().to_string();
        assert!(error.contains("frame 4") && error.contains("2 others"), "{error}");
    }
}

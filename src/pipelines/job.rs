//! What every job has, whatever it makes: how far it is, how it is stopped, and what it keeps on disk.

use super::audio::Emit;
use super::floats::FloatFile;
use super::resume::WorkFolder;
use super::segments::Parity;
use crate::Result;
use crate::gpu::{Cancel, Gpu};
use crate::media::{Audio, PublishedChannels};
use crate::tensor::Tensor;

/// What happens to the decoded crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paste {
    /// Back into the frame, feathered: in lip sync inside the mask, in animation all of the crop. All other source pixels stay bit for
    /// bit.
    Mask,
    /// The whole crop is the output, as published.
    None,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Faces are followed through the video: before the job's own work, and counted in frames.
    Tracking,
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
    /// Units of work done and in all, about equally long each; over the whole job. The total is 0 until it is known, which it
    /// is once the audio has been heard: see [`Progress::share`].
    pub done: f64,
    pub total: f64,
    /// Step of the loop under way and how many it has; zeros elsewhere.
    pub step: [usize; 2],
}

impl Progress {
    /// How much of the job is done, 0 to 1; 0 as long as nobody knows.
    pub fn share(&self) -> f64 {
        if self.total > 0.0 { (self.done / self.total).clamp(0.0, 1.0) } else { 0.0 }
    }
}

pub(super) type Observer<'a> = Box<dyn FnMut(Progress) + 'a>;

/// Counts the work of a run, tells it, and ends the run when it is cancelled.
#[derive(Default)]
pub(super) struct Reporter<'a> {
    pub observer: Option<Observer<'a>>,
    pub cancel: Cancel,
    done: f64,
    pub total: f64,
}

impl Reporter<'_> {
    /// `units` more of the total are done.
    pub fn advance(&mut self, phase: Phase, units: f64, step: [usize; 2]) -> Result<()> {
        self.done = (self.done + units).min(self.total);
        if let Some(observer) = &mut self.observer {
            observer(Progress { phase, done: self.done, total: self.total, step });
        }
        self.cancel.check()
    }
}

/// One embedding per 20 ms, two per frame, on disk.
pub(super) struct Embeddings {
    file: FloatFile,
    width: usize,
}

impl Embeddings {
    /// What `run` emits, vector by vector, in the job's work folder, where it has one.
    pub fn collect(
        work: Option<&WorkFolder>,
        cancel: &Cancel,
        run: impl FnOnce(Emit<'_>) -> Result<()>,
    ) -> Result<Self> {
        let mut file = FloatFile::temporary(work.map(WorkFolder::dir))?;
        let mut width = 0;
        run(&mut |vector| {
            width = vector.len();
            cancel.check()?;
            file.append(vector)
        })?;
        Ok(Self { file, width })
    }

    /// All of them, one behind the other.
    pub fn values(&self) -> &FloatFile {
        &self.file
    }

    /// The pairs of `frames`, `[frames, 2, width]`.
    pub fn pairs(&self, gpu: &Gpu, frames: &[usize]) -> Result<Tensor> {
        let mut values = Vec::with_capacity(frames.len() * 2 * self.width);
        for &frame in frames {
            values.extend(self.file.read(2 * frame * self.width..2 * (frame + 1) * self.width)?);
        }
        Tensor::from_f32(gpu, &[frames.len(), 2, self.width], &values)
    }
}

/// Speech as a program hears it: with parity the published one's `channels`, resampled as there.
pub(super) fn as_heard(audio: &Audio, parity: Parity, channels: PublishedChannels) -> Audio {
    match parity {
        Parity::Corrected => audio.clone(),
        Parity::Upstream => audio.clone().as_published(channels),
    }
}

/// All samples at 16 kHz, on disk: in the job's work folder, where it has one.
pub(super) fn read_samples(audio: &Audio, work: Option<&WorkFolder>, cancel: &Cancel) -> Result<FloatFile> {
    let mut file = FloatFile::temporary(work.map(WorkFolder::dir))?;
    for block in audio.blocks()? {
        file.append(&block?)?;
        cancel.check()?;
    }
    Ok(file)
}

/// How many samples at 16 kHz there are.
pub(super) fn count_samples(audio: &Audio, cancel: &Cancel) -> Result<usize> {
    if let Some(samples) = audio.known_len()? {
        return Ok(samples as usize);
    }
    let mut samples = 0;
    for block in audio.blocks()? {
        samples += block?.len();
        cancel.check()?;
    }
    Ok(samples)
}

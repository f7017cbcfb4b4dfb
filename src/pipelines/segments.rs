//! The plan of segments: which frames each keyframe batch and each interpolation window sees, which keyframes a window
//! lies between, and which output frames are finished when. Index logic only; nothing here grows with the length of the
//! job, a [`Chunk`] is worked out from its number.
//!
//! KeySync and KeyFace share it. Windows of 14 frames start every 13 frames, so neighbours share one frame, and that
//! frame is a keyframe: keyframe `k` lies at frame `13 k`, window `w` lies between keyframes `w` and `w + 1`. Keyframes
//! are sampled 14 at a time, in batches of *slots*, the first slot of a batch being an anchor (frame 0 again) whose
//! result is dropped. Two batches make a chunk; the last keyframe of a chunk is carried into the next one.

use std::cmp::Ordering;
use std::ops::Range;

use crate::{Problem, Result};

/// Whether a job follows the published programs where they lose frames, or does the right thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parity {
    #[default]
    Corrected,
    Upstream,
}

/// Which batches of keyframes begin with an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchors {
    None,
    EveryBatch,
    /// At slots 0, 14, 28, ... below `n + (n + 1) mod 14` for `n` keyframes, as the published programs have it: the last
    /// batches of some lengths get none, and an anchor past the end of the list lands at its end.
    Upstream,
}

/// What becomes of the frames after the last whole window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// A last window runs past the clip, whose last frame is repeated; the output is cut.
    Pad,
    /// They are lost, as in the published KeySync.
    Drop,
    /// A window that starts one frame *after* the last keyframe, as in KeyFace: its first frame is averaged with the last
    /// regular one, and it ends in the keyframe of the first padding slot, or, without one, in the last keyframe again.
    ExtraWindow,
    /// As `ExtraWindow`, but with the keyframe at its end taken from the first dropped slot of the last chunk, needed or not,
    /// as the published KeyFace has it. Where that is an anchor, frame 0 is spliced in and the windows behind it use
    /// keyframes one step too early; where only anchors follow the last keyframe's chunk, the window is lost.
    Splice,
}

/// The constants of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Frames of an interpolation window and slots of a keyframe batch; at least 2. Neighbouring windows share one frame.
    pub window: usize,
    pub batches_per_chunk: usize,
    pub anchors: Anchors,
    pub tail: Tail,
}

impl Rule {
    pub const fn keysync(parity: Parity) -> Self {
        let (anchors, tail) = match parity {
            Parity::Corrected => (Anchors::EveryBatch, Tail::Pad),
            Parity::Upstream => (Anchors::Upstream, Tail::Drop),
        };
        Self { window: 14, batches_per_chunk: 2, anchors, tail }
    }

    /// KeyFace without its splice defects (golden 25, `corrected`), or with them.
    pub const fn keyface(parity: Parity) -> Self {
        let tail = match parity {
            Parity::Corrected => Tail::ExtraWindow,
            Parity::Upstream => Tail::Splice,
        };
        Self { window: 14, batches_per_chunk: 2, anchors: Anchors::Upstream, tail }
    }
}

/// One place in a batch of keyframes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Counted from the start of the job.
    pub index: usize,
    /// The frame whose audio, latent and mask it gets.
    pub frame: usize,
    pub kind: SlotKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// Frame 0 again; the result is dropped.
    Anchor,
    /// The keyframe with this number.
    Keyframe(usize),
    /// The last keyframe again, to fill the batch; the result is dropped.
    Padding,
}

/// One call of the interpolation network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub index: usize,
    /// Slots of the two keyframes that it lies between.
    pub keyframes: [usize; 2],
    /// The frames whose audio, latents and masks it gets; past the clip's end the last one stands in, see [`Plan::source`].
    pub frames: Range<usize>,
    /// The output frames it finishes. Its first frame is shared with the window before: the same latent in both in
    /// KeySync, averaged in KeyFace. Its last one belongs to the window after, if there is one.
    pub output: Range<usize>,
}

/// What is in memory at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub index: usize,
    /// The slot of the keyframe that the chunk before leaves behind.
    pub carried: Option<usize>,
    pub batches: Vec<Vec<Slot>>,
    pub windows: Vec<Window>,
    /// The output frames finished with it; those of all chunks follow each other without a gap.
    pub output: Range<usize>,
}

impl Chunk {
    /// Slots whose latents are at hand, in order: the carried one, then all of the batches.
    pub fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.carried.into_iter().chain(self.batches.iter().flatten().map(|slot| slot.index))
    }

    /// The slot to carry into the next chunk.
    pub fn last_slot(&self) -> Option<usize> {
        self.slots().last()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    rule: Rule,
    frames: usize,
    /// Regular windows; there is one keyframe more.
    windows: usize,
    extra_window: bool,
    /// Batches whose first slot is an anchor; they come first.
    anchored: usize,
    slots: usize,
    /// Slots after the last keyframe repeat the anchor, not the keyframe.
    ends_in_anchor: bool,
    /// A dropped slot that serves as a keyframe after all.
    restored: Option<usize>,
}

impl Plan {
    /// The plan of KeySync for `frames` frames. Errors: no frames; with [`Parity::Upstream`] fewer than a window.
    pub fn keysync(frames: usize, parity: Parity) -> Result<Self> {
        Self::new(frames, Rule::keysync(parity))
    }

    /// The plan of KeyFace for `frames` frames. Errors: no frames; with [`Parity::Upstream`] fewer than a window, or a length
    /// at which the published program ends in a crash because it has more or fewer pairs of keyframes than windows.
    pub fn keyface(frames: usize, parity: Parity) -> Result<Self> {
        let plan = Self::new(frames, Rule::keyface(parity))?;
        if plan.crashes_upstream() {
            let expected = "a length that the published program can animate";
            return Err(Problem::new("clip", expected, format!("{frames} frames"))
                .remedy("leave out --upstream-parity, or make the audio a frame longer or shorter")
                .input());
        }
        Ok(plan)
    }

    /// Errors: no frames, fewer than a window with [`Tail::Drop`] or [`Tail::Splice`], a rule with a window below 2 or chunks of nothing.
    pub fn new(frames: usize, rule: Rule) -> Result<Self> {
        if rule.window < 2 || rule.batches_per_chunk == 0 {
            let found = format!("window {}, {} batches per chunk", rule.window, rule.batches_per_chunk);
            return Err(Problem::new("segment plan", "a window of 2 frames or more and a batch or more", found).usage());
        }
        let needed = if matches!(rule.tail, Tail::Drop | Tail::Splice) { rule.window } else { 1 };
        if frames < needed {
            let found = format!("{frames} frames");
            let problem = Problem::new("clip", format!("{needed} frames or more"), found);
            return Err(match rule.tail {
                Tail::Drop => problem.remedy("leave out --upstream-parity, which drops every incomplete window"),
                Tail::Splice => problem.remedy("leave out --upstream-parity, which needs a whole window"),
                Tail::Pad | Tail::ExtraWindow => problem,
            }
            .input());
        }

        let step = rule.window - 1;
        let whole = (frames.max(rule.window) - rule.window) / step + 1;
        let covered = whole * step + 1;
        let windows = if rule.tail == Tail::Pad && frames > covered { whole + 1 } else { whole };
        let keyframes = windows + 1;

        let (anchors, anchored) = match rule.anchors {
            Anchors::None => (0, 0),
            Anchors::EveryBatch => (keyframes.div_ceil(step), keyframes.div_ceil(step)),
            Anchors::Upstream => {
                let anchors = (keyframes + (keyframes + 1) % rule.window).div_ceil(rule.window);
                (anchors, anchors.min(keyframes / step + 1))
            }
        };
        let mut plan = Self {
            rule,
            frames,
            windows,
            extra_window: matches!(rule.tail, Tail::ExtraWindow | Tail::Splice) && frames > covered,
            anchored,
            slots: (keyframes + anchors).next_multiple_of(rule.window),
            ends_in_anchor: anchors > anchored || (anchored > 0 && (anchored - 1) * step == keyframes),
            restored: None,
        };
        let after = plan.slot_of(plan.windows) + 1;
        let dropped_from = |first: usize| (first..plan.slots).find(|&slot| plan.is_dropped(slot));
        plan.restored = match rule.tail {
            Tail::ExtraWindow if plan.extra_window && !plan.ends_in_anchor => dropped_from(after),
            Tail::Splice => match (plan.slots - 1) / plan.chunk_slots() * plan.chunk_slots() {
                // Nothing but anchors: the chunk is never made, and with it what should follow.
                last_chunk if last_chunk >= after => {
                    plan.extra_window = false;
                    None
                }
                last_chunk => dropped_from(last_chunk.max(plan.slot_of(0))),
            },
            _ => None,
        };
        Ok(plan)
    }

    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// How many frames come out; all that were asked for, unless the rule drops the tail.
    pub fn output_frames(&self) -> usize {
        match self.rule.tail {
            Tail::Splice if self.extra_window => self.frames,
            Tail::Drop | Tail::Splice => self.windows * self.step() + 1,
            Tail::Pad | Tail::ExtraWindow => self.frames,
        }
    }

    /// Windows to interpolate, the extra one included.
    pub fn window_count(&self) -> usize {
        self.windows + usize::from(self.extra_window)
    }

    pub fn keyframe_count(&self) -> usize {
        self.windows + 1
    }

    pub fn batch_count(&self) -> usize {
        match self.rule.tail {
            Tail::Drop | Tail::Splice => self.slots / self.rule.window,
            // A batch of nothing but anchors would be sampled for nothing.
            Tail::Pad | Tail::ExtraWindow => self.slot_of(self.windows) / self.rule.window + 1,
        }
    }

    pub fn chunk_count(&self) -> usize {
        self.slot_of(self.windows) / self.chunk_slots() + 1
    }

    /// The clip's frame that stands for `frame`: itself, or the last one.
    pub fn source(&self, frame: usize) -> usize {
        frame.min(self.frames - 1)
    }

    pub fn slot(&self, index: usize) -> Slot {
        let batch = index / self.rule.window;
        if batch < self.anchored && index.is_multiple_of(self.rule.window) {
            return Slot { index, frame: 0, kind: SlotKind::Anchor };
        }
        let keyframe = index - self.anchored.min(batch + 1);
        if keyframe <= self.windows {
            Slot { index, frame: self.source(keyframe * self.step()), kind: SlotKind::Keyframe(keyframe) }
        } else if self.ends_in_anchor {
            Slot { index, frame: 0, kind: SlotKind::Anchor }
        } else {
            Slot { index, frame: self.source(self.windows * self.step()), kind: SlotKind::Padding }
        }
    }

    /// `index` below [`Self::window_count`].
    pub fn window(&self, index: usize) -> Window {
        let (start, last) = (index * self.step(), index + 1 == self.window_count());
        let finished = if last { start + self.rule.window } else { start + self.step() };
        let output = start..finished.min(self.output_frames());
        let first = if index < self.windows { start } else { start + 1 };
        let keyframes = [self.kept_slot(index), self.kept_slot(index + 1)];
        Window { index, keyframes, frames: first..first + self.rule.window, output }
    }

    /// Whether the result of `slot` serves as a keyframe.
    pub fn is_kept(&self, slot: usize) -> bool {
        !self.is_dropped(slot) || self.restored == Some(slot)
    }

    fn is_dropped(&self, slot: usize) -> bool {
        !matches!(self.slot(slot).kind, SlotKind::Keyframe(_))
    }

    /// The `index`-th slot that is kept; the last one again past the end.
    fn kept_slot(&self, index: usize) -> usize {
        let keyframe = |index: usize| self.slot_of(index.min(self.windows));
        match self.restored {
            Some(restored) if index > self.windows || keyframe(index) > restored => {
                restored.max(keyframe(index.saturating_sub(1)))
            }
            _ => keyframe(index),
        }
    }

    /// Whether the published program fails: its last chunk is cut into calls of two windows, each with as many pairs of
    /// keyframes as it finds, and an odd window or a missing pair leaves the last call with two numbers of clips.
    fn crashes_upstream(&self) -> bool {
        if self.rule.tail != Tail::Splice {
            return false;
        }
        let pairs = self.windows + usize::from(self.restored.is_some());
        let windows_in_last_chunk = self.chunk(self.chunk_count() - 1).windows.len();
        match pairs.cmp(&self.window_count()) {
            Ordering::Less => true,
            Ordering::Equal => false,
            Ordering::Greater => windows_in_last_chunk % 2 == 1,
        }
    }

    /// `index` below [`Self::chunk_count`].
    pub fn chunk(&self, index: usize) -> Chunk {
        let first_batch = index * self.rule.batches_per_chunk;
        let end_batch = (first_batch + self.rule.batches_per_chunk).min(self.batch_count());
        let first_slot = first_batch * self.rule.window;
        let batch = |batch| (batch * self.rule.window..(batch + 1) * self.rule.window).map(|i| self.slot(i)).collect();

        let first_window = self.keyframes_before(first_slot).saturating_sub(1);
        let end_window = match self.keyframes_before(end_batch * self.rule.window) {
            all if all > self.windows => self.window_count(),
            some => some - 1,
        };
        let windows: Vec<Window> = (first_window..end_window).map(|i| self.window(i)).collect();
        let output = match (windows.first(), windows.last()) {
            (Some(first), Some(last)) => first.output.start..last.output.end,
            _ => 0..0,
        };
        Chunk {
            index,
            carried: first_slot.checked_sub(1),
            batches: (first_batch..end_batch).map(batch).collect(),
            windows,
            output,
        }
    }

    pub fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        (0..self.chunk_count()).map(|index| self.chunk(index))
    }

    fn step(&self) -> usize {
        self.rule.window - 1
    }

    fn chunk_slots(&self) -> usize {
        self.rule.batches_per_chunk * self.rule.window
    }

    fn slot_of(&self, keyframe: usize) -> usize {
        keyframe + self.anchored.min(keyframe / self.step() + 1)
    }

    /// How many keyframes have a slot before `slot`, the first of a batch.
    fn keyframes_before(&self, slot: usize) -> usize {
        (slot - self.anchored.min(slot / self.rule.window)).min(self.windows + 1)
    }
}

/// The published programs' cap (`compute_until`), in seconds; it holds in parity only.
pub const UPSTREAM_CAP_S: usize = 45;

/// The published cap: `seconds` at `fps`, raised until whole windows of 14 frames fill it.
pub fn max_frames(seconds: usize, fps: usize) -> usize {
    let frames = seconds * fps;
    let over = (frames as i64 - 14).rem_euclid(13) as usize;
    frames + (13 - over) % 13
}

/// How long the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Length {
    #[default]
    Audio,
    Video,
    Shortest,
}

impl Length {
    pub fn frames(self, audio_frames: usize, video_frames: usize) -> usize {
        match self {
            Length::Audio => audio_frames,
            Length::Video => video_frames,
            Length::Shortest => audio_frames.min(video_frames),
        }
    }
}

/// 16 kHz samples of one frame at 25 fps.
pub const FRAME_SAMPLES: usize = 640;

/// How many 50 Hz vectors the convolutions of HuBERT, WavLM and wav2vec2 make of `samples`: they see 400, step 320. So `n`
/// frames give `2n - 1`.
pub const fn audio_vectors(samples: usize) -> usize {
    if samples < 400 { 0 } else { (samples - 400) / 320 + 1 }
}

/// A stretch of audio that goes through an encoder in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioPiece {
    pub samples: Range<usize>,
    /// Which of its vectors count; those of all pieces, in order, are the clip's.
    pub kept: Range<usize>,
}

impl AudioPiece {
    /// All of `samples`, for HuBERT, WavLM or wav2vec2.
    pub fn whole(samples: Range<usize>) -> Self {
        let kept = 0..audio_vectors(samples.len());
        Self { samples, kept }
    }
}

/// Pieces of `frames` frames of audio: one up to 40 s, else 20 s each, seen with 1 s on either side. They keep all
/// `2 * frames - 1` vectors, vector `v` being the one that starts at sample `320 v`.
pub fn audio_pieces(frames: usize) -> impl Iterator<Item = AudioPiece> {
    const WHOLE: usize = 40 * 25;
    const PIECE: usize = 20 * 25;
    const CONTEXT: usize = 25;
    let piece = if frames <= WHOLE { WHOLE } else { PIECE };
    (0..frames).step_by(piece).map(move |start| {
        let end = (start + piece).min(frames);
        let (seen_start, seen_end) = (start.saturating_sub(CONTEXT), (end + CONTEXT).min(frames));
        let samples = seen_start * FRAME_SAMPLES..seen_end * FRAME_SAMPLES;
        // Only where the audio itself ends is the last frame one vector short.
        let kept_end = (2 * (end - seen_start)).min(audio_vectors(samples.len()));
        AudioPiece { samples, kept: 2 * (start - seen_start)..kept_end }
    })
}

/// Pieces of `total` units, no longer than about twice `unit`, as upstream's `calculate_splits` has them: the first ones
/// equal, the last one `unit` or longer.
pub fn upstream_splits(total: usize, unit: usize) -> Vec<Range<usize>> {
    if total <= unit || unit == 0 {
        return std::iter::once(0..total).collect();
    }
    let pieces = total / unit;
    let base = (total - unit) / pieces;
    (0..pieces).map(|i| i * base..if i + 1 == pieces { total } else { (i + 1) * base }).collect()
}

/// How BEATs cuts audio: into steps of whole patches, each of which sees a little of the next and becomes several vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Samples from one to the next: 2560 as published.
    pub samples: usize,
    /// Samples that one sees beyond those.
    pub overlap: usize,
    /// Vectors that one becomes.
    pub vectors: usize,
}

impl Steps {
    /// How many lie wholly within `samples`.
    pub const fn within(&self, samples: usize) -> usize {
        match samples.saturating_sub(self.overlap).checked_div(self.samples) {
            Some(steps) => steps,
            None => 0,
        }
    }
}

/// Pieces of `samples` of audio for BEATs: one up to 40 s, else 20 s each, seen with 8 steps (1.28 s, what the positional
/// convolution reaches) on either side. They begin where steps of the whole clip do and end with them, so that each step
/// sees the same samples as in one piece, and keep every vector once. The samples behind the last whole step count nowhere.
pub fn step_pieces(samples: usize, steps: Steps) -> impl Iterator<Item = AudioPiece> {
    const WHOLE: usize = 40 * 16_000;
    const PIECE: usize = 20 * 16_000;
    const CONTEXT: usize = 8;
    let all = steps.within(samples);
    // Without a step there is no piece.
    let piece = if samples <= WHOLE { all.max(1) } else { (PIECE / steps.samples.max(1)).max(1) };
    (0..all).step_by(piece).map(move |start| {
        let end = (start + piece).min(all);
        let (seen_start, seen_end) = (start.saturating_sub(CONTEXT), (end + CONTEXT).min(all));
        AudioPiece {
            samples: seen_start * steps.samples..seen_end * steps.samples + steps.overlap,
            kept: (start - seen_start) * steps.vectors..(end - seen_start) * steps.vectors,
        }
    })
}

/// How many frames `frames` frames of sound are to the published KeySync: it counts the pairs of HuBERT's vectors, of which
/// the cuts lose some (1025 frames are 1024).
pub fn upstream_audio_frames(frames: usize) -> usize {
    upstream_hubert_pieces(frames).iter().map(|piece| piece.kept.len()).sum::<usize>().div_ceil(2)
}

/// Upstream's pieces for HuBERT: 20 s units counted in samples. Each cut loses a vector or half a frame.
pub fn upstream_hubert_pieces(frames: usize) -> Vec<AudioPiece> {
    upstream_sample_pieces(frames, 20 * 16_000)
}

/// Upstream's pieces for wav2vec2: 1000 s units counted in samples.
pub fn upstream_wav2vec2_pieces(frames: usize) -> Vec<AudioPiece> {
    upstream_sample_pieces(frames, 1000 * 16_000)
}

/// Upstream's pieces in units of `unit` samples.
pub fn upstream_sample_pieces(frames: usize, unit: usize) -> Vec<AudioPiece> {
    upstream_splits(frames * FRAME_SAMPLES, unit).into_iter().map(AudioPiece::whole).collect()
}

/// Upstream's pieces for WavLM: units of 500 frames, of the audio padded to an even number of frames. The vectors of each
/// piece are stretched to two per frame on their own, see [`stretched_vector`].
pub fn upstream_wavlm_pieces(frames: usize) -> Vec<AudioPiece> {
    let scale = |piece: Range<usize>| AudioPiece::whole(piece.start * FRAME_SAMPLES..piece.end * FRAME_SAMPLES);
    upstream_splits(frames.next_multiple_of(2), 500).into_iter().map(scale).collect()
}

/// The vector for place `slot` when `vectors` are stretched to `slots` by nearest neighbour, as WavLM's and BEATs' are.
pub const fn stretched_vector(slot: usize, slots: usize, vectors: usize) -> usize {
    match (slot * vectors).checked_div(slots) {
        Some(vector) => vector,
        None => 0,
    }
}

//! What a contact sheet shows of a job ([`crate::face::strips`]): chosen before the job runs, kept as its frames go by, so that no
//! more of them is held than is drawn.

use std::collections::BTreeMap;
use std::ops::Range;

use super::job::Paste;
use super::region::Regions;
use super::{animate, lipsync};
use crate::Result;
use crate::face::strips::{Square, Strip, strips, wave_parts};
use crate::gpu::Gpu;
use crate::media::audio::RATE_HZ;
use crate::media::frames::FrameReader;
use crate::media::labels::Label;
use crate::media::{Audio, Fps, Frame, FrameSource};
use crate::ops::Affine;

/// Groups of frames, at most.
const GROUPS: usize = 8;
/// Frames of a group, each the nearest one in a 25th of a second.
const COLUMNS: u64 = 8;

/// The frames that a sheet shows, and what has been kept of them.
pub struct Sheet {
    fps: Fps,
    /// Output frames from one to the next in a group.
    step: u64,
    /// The output frame in which the speech begins.
    first: u64,
    groups: Vec<Vec<u64>>,
    /// Side of the crop in pixels.
    side: usize,
    /// Of the frames that are shown, where the crop lies in them.
    crops: BTreeMap<u64, Affine>,
    outputs: BTreeMap<u64, Square>,
    /// Rows of the input, from above, each by output frame.
    inputs: Vec<(&'static str, BTreeMap<u64, Square>)>,
}

impl Sheet {
    /// Of a lip sync with crops of `side` pixels; what goes in is added by [`look`](Self::look).
    pub fn lipsync(survey: &lipsync::Survey, options: &lipsync::Options, side: usize) -> Result<Self> {
        let regions = survey.regions(options, side)?;
        let made = survey.stretches.iter().map(|stretch| {
            let Range { start, end } = stretch.outputs;
            start..end.min(survey.output_frames)
        });
        let timeline = &survey.timeline;
        let crop = |output: u64| match options.paste {
            Paste::Mask => regions.at(timeline.moment(output).source as usize).map(side),
            Paste::None => Affine::IDENTITY,
        };
        let first = timeline.part().map_or(0, |part| part.first);
        Ok(Self::new(timeline.fps(), first, &made.collect::<Vec<_>>(), side, crop))
    }

    /// Of an animation of `portrait` with crops of `side` pixels.
    pub fn animate(survey: &animate::Survey, options: &animate::Options, portrait: &Frame, side: usize) -> Self {
        let frames = survey.plan.output_frames() as u64;
        let place = survey.place.map(side);
        let crop = match options.paste {
            Paste::Mask => place,
            Paste::None => Affine::IDENTITY,
        };
        let mut sheet = Self::new(Fps::INSIDE, 0, std::slice::from_ref(&(0..frames)), side, |_| crop);
        let square = Square::of(portrait, &place, side);
        sheet.inputs = vec![("IN", sheet.shown().map(|output| (output, square.clone())).collect())];
        sheet
    }

    fn new(fps: Fps, first: u64, made: &[Range<u64>], side: usize, crop: impl Fn(u64) -> Affine) -> Self {
        let step = (fps.as_f64() / Fps::INSIDE.as_f64()).round().max(1.0) as u64;
        let groups = groups(made, step);
        let crops = groups.iter().flatten().map(|&output| (output, crop(output))).collect();
        Self { fps, step, first, groups, side, crops, outputs: BTreeMap::new(), inputs: Vec::new() }
    }

    /// The output frames that are shown.
    fn shown(&self) -> impl Iterator<Item = u64> {
        self.groups.iter().flatten().copied()
    }

    /// Output frame `output` goes by.
    pub fn see(&mut self, output: u64, frame: &Frame) {
        if let Some(crop) = self.crops.get(&output) {
            self.outputs.insert(output, Square::of(frame, crop, self.side));
        }
    }

    /// Looks at what went into a lip sync: `video` from its start, and what is in front of the face, where that was given.
    pub fn look(
        &mut self,
        gpu: &Gpu,
        survey: &lipsync::Survey,
        options: &lipsync::Options,
        video: Box<dyn FrameSource>,
        occluder: Option<Box<dyn FrameSource>>,
    ) -> Result<()> {
        let regions: Regions = survey.regions(options, self.side)?;
        let mut video = FrameReader::new(video);
        let mut masks = lipsync::Masks { rule: options.mask, occluder: occluder.map(FrameReader::new) };
        let (mut plain, mut masked) = (BTreeMap::new(), BTreeMap::new());
        for output in self.shown() {
            let source = survey.timeline.moment(output).source;
            let crop = regions.at(source as usize).map(self.side);
            let square = Square::of(video.frame_or_last(source)?, &crop, self.side);
            let mask = masks.of(gpu, &regions, source, 1)?.to_f32()?;
            masked.insert(output, square.masked(&mask, self.side));
            plain.insert(output, square);
        }
        self.inputs = vec![("IN", plain), ("MASK", masked)];
        Ok(())
    }

    /// The sheet of the frames that have gone by, over `speech`, whose `phones` are timed as it is without an offset.
    pub fn draw(self, speech: &Audio, phones: &[Label]) -> Result<Frame> {
        let fps = self.fps.as_f64();
        let begin_s = self.first as f64 / fps;
        let mut drawn = Vec::new();
        for group in &self.groups {
            let frames: Vec<u64> = group.iter().copied().filter(|output| self.outputs.contains_key(output)).collect();
            let (Some(&from), Some(&last)) = (frames.first(), frames.last()) else { continue };
            let row = |squares: &BTreeMap<u64, Square>| frames.iter().filter_map(|n| squares.get(n).cloned()).collect();
            let mut rows: Vec<(&'static str, Vec<Square>)> =
                self.inputs.iter().map(|(name, squares)| (*name, row(squares))).collect();
            rows.push(("OUT", row(&self.outputs)));
            let [from_s, to_s] = [from, last + self.step].map(|output| output as f64 / fps);
            let moved = |phone: &Label| Label {
                start_s: phone.start_s + speech.offset_s() + begin_s,
                end_s: phone.end_s + speech.offset_s() + begin_s,
                text: phone.text.clone(),
            };
            drawn.push(Strip {
                rows,
                frame_s: self.step as f64 / fps,
                wave: vec![[0.0; 2]; wave_parts(frames.len())],
                phones: phones.iter().map(moved).filter(|p| p.end_s > from_s && p.start_s < to_s).collect(),
                frames: frames.iter().map(|&output| (output as f64 / fps, output)).collect(),
            });
        }
        hear(speech, begin_s, &mut drawn)?;
        strips(&drawn)
    }
}

/// Groups of output frames, evenly over all of `made`, each within one of its ranges.
fn groups(made: &[Range<u64>], step: u64) -> Vec<Vec<u64>> {
    let span = COLUMNS * step;
    let total: u64 = made.iter().map(|range| range.end.saturating_sub(range.start)).sum();
    let count = (total / span).clamp(1, GROUPS as u64);
    let mut groups: Vec<Vec<u64>> = Vec::new();
    for index in 0..count {
        // Counted over what is made.
        let mut middle = (2 * index + 1) * total / (2 * count);
        let Some(range) = made.iter().find(|range| {
            let length = range.end.saturating_sub(range.start);
            let is_here = middle < length;
            middle -= if is_here { 0 } else { length };
            is_here
        }) else {
            continue;
        };
        let last_start = range.end.saturating_sub(span).max(range.start);
        let start = (range.start + middle).saturating_sub(span / 2).clamp(range.start, last_start);
        let group: Vec<u64> = (start..range.end.min(start + span)).step_by(step as usize).collect();
        let is_behind = groups.last().is_none_or(|before| before.last() < group.first());
        if is_behind {
            groups.push(group);
        }
    }
    groups
}

/// The waves of `strips` by `speech`, which begins at `begin_s`; the loudest of what they show is full scale.
fn hear(speech: &Audio, begin_s: f64, strips: &mut [Strip]) -> Result<()> {
    let mut at = 0u64;
    let mut starts: Vec<(f64, f64)> = Vec::new();
    for strip in strips.iter() {
        let from_s = strip.frames.first().map_or(0.0, |(time_s, _)| *time_s);
        starts.push((from_s, strip.frame_s * strip.frames.len() as f64 / strip.wave.len().max(1) as f64));
    }
    for block in speech.blocks()? {
        for sample in block? {
            let time_s = begin_s + at as f64 / f64::from(RATE_HZ);
            at += 1;
            for (strip, (from_s, part_s)) in strips.iter_mut().zip(&starts) {
                let part = (time_s - from_s) / part_s;
                if part >= 0.0
                    && let Some([low, high]) = strip.wave.get_mut(part as usize)
                {
                    (*low, *high) = (low.min(sample), high.max(sample));
                }
            }
        }
    }
    let values = strips.iter().flat_map(|strip| strip.wave.as_flattened());
    let peak = values.fold(f32::MIN_POSITIVE, |peak, value| peak.max(value.abs()));
    strips.iter_mut().flat_map(|strip| strip.wave.as_flattened_mut()).for_each(|value| *value /= peak);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_evenly_and_within_what_is_made() {
        let of_one = |range: Range<u64>, step: u64| groups(std::slice::from_ref(&range), step);
        // A minute at 25 a second: groups of eight, an eighth of the time apart.
        let minute = of_one(0..1500, 1);
        assert_eq!(minute.len(), GROUPS);
        assert!(minute.iter().all(|group| group.len() == 8 && group.windows(2).all(|pair| pair[1] == pair[0] + 1)));
        assert_eq!((minute[0][0], minute[1][0], minute[7][7]), (89, 277, 1409));
        // At 50 a second every second frame.
        let fast = of_one(0..100, 2);
        assert_eq!((fast.len(), &fast[0][..3]), (6, &[0, 2, 4][..]));
        // Within stretches, even where one is shorter than a group, and none twice.
        let parts = [10..13, 100..220];
        for group in groups(&parts, 1) {
            assert!(parts.iter().any(|part| group.iter().all(|frame| part.contains(frame))), "{group:?}");
        }
        assert_eq!(of_one(5..8, 1), [[5, 6, 7]]);
        assert!(groups(&[], 1).is_empty());
        let all: Vec<u64> = of_one(0..70, 1).concat();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
    }

    #[test]
    fn a_wave_stands_under_its_time() {
        // Silence, but for a click at 1.0 s of the speech, which begins at 2 s.
        let mut samples = vec![0.0; 48_000];
        samples[16_000] = -0.25;
        let frames: Vec<(f64, u64)> = (0..8).map(|frame| (2.96 + f64::from(frame) / 25.0, 74 + frame as u64)).collect();
        let wave = vec![[0.0; 2]; wave_parts(8)];
        let mut strips = [Strip { rows: Vec::new(), frames, frame_s: 0.04, wave, phones: Vec::new() }];
        hear(&Audio::samples(samples, 16_000), 2.0, &mut strips).unwrap();
        let heard: Vec<usize> = (0..strips[0].wave.len()).filter(|&part| strips[0].wave[part] != [0.0; 2]).collect();
        let part = wave_parts(1);
        assert!(heard.len() == 1 && heard[0].abs_diff(part) <= 1, "{heard:?}");
        assert_eq!(strips[0].wave[heard[0]], [-1.0, 0.0]);
    }
}

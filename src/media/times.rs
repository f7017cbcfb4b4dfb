//! When the frames of a video are on screen.

use std::sync::Arc;

use super::frames::Fps;
use crate::{Problem, Result};

/// When each frame of a video is on screen, in seconds from its first frame on.
#[derive(Debug, Clone, PartialEq)]
pub enum FrameTimes {
    Constant {
        fps: Fps,
        count: u64,
    },
    /// As the file has them, because they follow no rate.
    Stamps {
        starts_s: Arc<[f64]>,
        end_s: f64,
    },
}

impl FrameTimes {
    /// Frames a second below which a video is shown at 25.
    const SLOWEST: f64 = 12.0;

    /// What the time stamps of a file amount to, in the order of display, and the constant rate that it is shown at. `last_s` is
    /// how long the last frame lasts, 0 where nobody knows; `nominal` are the rates that the file names, the likelier first.
    ///
    /// Stamps that lie within a quarter of a frame of a rate's follow that rate, however its writer rounded them. Others are
    /// kept, and shown at the lowest usual rate on whose grid they lie, else at the lowest that has a frame for each of them, at
    /// most at 60 a second; what is slower than 12 a second is shown at 25. Errors: no frame, or times that go back.
    pub fn of_stamps(subject: &str, stamps_s: &[f64], last_s: f64, nominal: &[Fps]) -> Result<(Self, Fps)> {
        let Some(&first) = stamps_s.first() else {
            return Err(Problem::new(subject, "a video with a frame or more", "none").input());
        };
        if let Some(at) = stamps_s.windows(2).position(|pair| pair[0].is_nan() || pair[1] < pair[0]) {
            let expected = "frames in the order of their times";
            return Err(Problem::new(format!("{subject}, frame {at}"), expected, "one that goes back").input());
        }
        let starts_s: Vec<f64> = stamps_s.iter().map(|stamp| stamp - first).collect();
        let count = starts_s.len() as u64;
        if count == 1 {
            return Ok((Self::Constant { fps: Fps::INSIDE, count }, Fps::INSIDE));
        }
        let near = |time_s: f64, frame: f64, fps: Fps| (time_s * fps.as_f64() - frame).abs() <= 0.25;
        let follows = |&fps: &Fps| starts_s.iter().enumerate().all(|(i, &start)| near(start, i as f64, fps));
        let usual = Fps::USUAL.iter().copied();
        if let Some(fps) = nominal.iter().copied().chain(usual.clone()).find(follows) {
            // A mouth that moves a few times a second says nothing.
            let shown = if fps.as_f64() < Self::SLOWEST { Fps::INSIDE } else { fps };
            return Ok((Self::Constant { fps, count }, shown));
        }

        let slots = |fps: Fps| starts_s.iter().map(move |start| (start * fps.as_f64()).round());
        let has_room = |&fps: &Fps| slots(fps).zip(slots(fps).skip(1)).all(|(slot, next)| slot < next);
        let is_grid = |&fps: &Fps| starts_s.iter().zip(slots(fps)).all(|(&start, slot)| near(start, slot, fps));
        let in_range = |fps: &Fps| (Self::SLOWEST..=60.0).contains(&fps.as_f64());
        let usual = usual.filter(in_range);
        let grid = nominal.iter().copied().filter(in_range).chain(usual.clone()).find(|f| has_room(f) && is_grid(f));
        let shown = grid.or_else(|| usual.clone().find(has_room)).unwrap_or(Fps { num: 60, den: 1 });

        let mean_s = starts_s[starts_s.len() - 1] / (count - 1) as f64;
        let last_s = if last_s > 0.0 { last_s } else { mean_s };
        let end_s = starts_s[starts_s.len() - 1] + last_s;
        Ok((Self::Stamps { starts_s: starts_s.into(), end_s }, shown))
    }

    pub fn count(&self) -> u64 {
        match self {
            Self::Constant { count, .. } => *count,
            Self::Stamps { starts_s, .. } => starts_s.len() as u64,
        }
    }

    pub fn duration_s(&self) -> f64 {
        match self {
            Self::Constant { fps, count } => *count as f64 / fps.as_f64(),
            Self::Stamps { end_s, .. } => *end_s,
        }
    }

    /// When `frame` comes on screen.
    pub fn start_s(&self, frame: u64) -> f64 {
        match self {
            Self::Constant { fps, .. } => frame as f64 / fps.as_f64(),
            Self::Stamps { starts_s, end_s } => starts_s.get(frame as usize).copied().unwrap_or(*end_s),
        }
    }

    pub fn is_constant(&self) -> bool {
        matches!(self, Self::Constant { .. })
    }

    /// The frame on screen at `time_s`; the first one before, the last one after.
    pub fn at(&self, time_s: f64) -> u64 {
        let frame = match self {
            Self::Constant { fps, .. } => (time_s.max(0.0) * fps.as_f64()) as u64,
            Self::Stamps { starts_s, .. } => {
                starts_s.partition_point(|&start| start <= time_s).saturating_sub(1) as u64
            }
        };
        frame.min(self.count().saturating_sub(1))
    }
}

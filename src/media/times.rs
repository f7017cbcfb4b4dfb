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
    /// From the time stamps of a file, in the order of display, and how long the last frame lasts. Errors: no frame, or times
    /// that go back.
    pub fn stamps(subject: &str, stamps_s: &[f64], last_s: f64) -> Result<Self> {
        let Some(&first) = stamps_s.first() else {
            return Err(Problem::new(subject, "a video with a frame or more", "none").input());
        };
        if let Some(at) = stamps_s.windows(2).position(|pair| pair[0].is_nan() || pair[1] < pair[0]) {
            let expected = "frames in the order of their times";
            return Err(Problem::new(format!("{subject}, frame {at}"), expected, "one that goes back").input());
        }
        let starts_s: Arc<[f64]> = stamps_s.iter().map(|stamp| stamp - first).collect();
        let end_s = starts_s.last().map_or(0.0, |last| last + last_s.max(0.0));
        Ok(Self::Stamps { starts_s, end_s })
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

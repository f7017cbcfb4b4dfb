//! LipLeak: how much of the source video's mouth movement leaks into a generated one. The model is driven with silence and
//! the video of someone who speaks; every frame whose mouth is open all the same is a leak.
//! Source: KeySync (arXiv 2505.00497), section on LipLeak and its figure of the mouth aspect ratio.

use super::mouth::{distance, lip_gaps};
use crate::face::landmarks::{Face, Landmarks};

/// Above this mouth aspect ratio a mouth is open; the paper's.
pub const THRESHOLD: f64 = 0.25;

/// (|61-67| + |62-66| + |63-65|) / (2 |60-64|) of the inner lip: about 0 closed, 0.6 wide open (the 2 is the paper's, although
/// there are three distances above the line). None where the mouth's corners lie in one place.
pub fn mouth_aspect_ratio(face: &Face) -> Option<f64> {
    let (height, width) = (lip_gaps(face).iter().sum::<f64>(), distance(face, 60, 64));
    (width > 0.0).then(|| height / (2.0 * width))
}

/// [`mouth_aspect_ratio`] of each frame; None for a frame without a face.
pub fn mouth_aspect_ratios(landmarks: &Landmarks) -> Vec<Option<f64>> {
    landmarks.faces().iter().map(|face| face.as_ref().and_then(mouth_aspect_ratio)).collect()
}

/// Frames counted by their mouth aspect ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LipLeak {
    pub threshold: f64,
    pub frames: usize,
    /// Of `frames`, those in which no mouth was found: they are in no share.
    pub missing: usize,
    /// Of `frames`, those above the threshold.
    pub open: usize,
    /// Mean ratio of the frames with a mouth, and the largest.
    pub mean: f64,
    pub largest: f64,
}

impl LipLeak {
    /// None where no frame has a ratio.
    pub fn new(ratios: &[Option<f64>], threshold: f64) -> Option<Self> {
        let found: Vec<f64> = ratios.iter().copied().flatten().collect();
        if found.is_empty() {
            return None;
        }
        Some(Self {
            threshold,
            frames: ratios.len(),
            missing: ratios.len() - found.len(),
            open: found.iter().filter(|&&ratio| ratio > threshold).count(),
            mean: found.iter().sum::<f64>() / found.len() as f64,
            largest: found.iter().copied().fold(f64::MIN, f64::max),
        })
    }

    /// The metric: open frames among those with a mouth. Lower is better.
    pub fn share(&self) -> f64 {
        self.open as f64 / (self.frames - self.missing) as f64
    }

    /// The share had all missing frames been closed, and had all been open.
    pub fn bounds(&self) -> [f64; 2] {
        [self.open, self.open + self.missing].map(|open| open as f64 / self.frames as f64)
    }
}

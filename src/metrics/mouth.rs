//! How far a mouth is open, and whether it moves as a true one does, or with the sound.

use super::sync::Sync;
use crate::face::landmarks::Face;

/// Frames each way in which the best shift is looked for.
pub const MAX_LAG: usize = 10;

/// |61-67|, |62-66| and |63-65|: from one inner lip to the other, in pixels.
pub fn lip_gaps(face: &Face) -> [f64; 3] {
    [distance(face, 61, 67), distance(face, 62, 66), distance(face, 63, 65)]
}

/// The mean gap between the inner lips over the distance of the eyes' outer corners |36-45|: about 0 closed, 0.4 wide open,
/// however wide the mouth is drawn. None where the corners lie in one place.
pub fn opening(face: &Face) -> Option<f64> {
    let eyes = distance(face, 36, 45);
    (eyes > 0.0).then(|| lip_gaps(face).iter().sum::<f64>() / 3.0 / eyes)
}

/// Between two of the landmarks, in pixels.
pub fn distance(face: &Face, a: usize, b: usize) -> f64 {
    let [x, y] = [0, 1].map(|axis| f64::from(face[a][axis]) - f64::from(face[b][axis]));
    x.hypot(y)
}

/// What a mouth is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The true mouth, frame by frame.
    Reference,
    /// The loudness of the speech.
    Sound,
}

impl Against {
    pub fn name(self) -> &'static str {
        match self {
            Against::Reference => "reference",
            Against::Sound => "sound",
        }
    }
}

/// How a mouth's opening goes with that of a true one, or with the sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Mouth {
    pub against: Against,
    pub sync: Sync,
    /// Frames of the clip, and those of them in which no face was found; they are in no correlation.
    pub frames: usize,
    pub missing: usize,
    /// Frames of the reference without a face.
    pub missing_in_reference: usize,
    /// Mean opening of the frames with a face.
    pub mean: f64,
}

impl Mouth {
    /// `openings` by frame; `led_by` the reference's, or the loudness. None where nothing correlates, see [`Sync::new`].
    pub fn new(openings: &[Option<f64>], led_by: &[Option<f64>], against: Against) -> Option<Self> {
        let sync = Sync::new(openings, led_by, MAX_LAG)?;
        let missing = |values: &[Option<f64>]| values.iter().filter(|value| value.is_none()).count();
        let (frames, without) = (openings.len(), missing(openings));
        Some(Self {
            against,
            sync,
            frames,
            missing: without,
            missing_in_reference: if against == Against::Reference { missing(led_by) } else { 0 },
            mean: openings.iter().flatten().sum::<f64>() / (frames - without) as f64,
        })
    }

    /// `mouth correlation 0.87, lag 1 frames`: the correlation as the frames are, and the shift at which it is largest, above 0
    /// where the mouth is late.
    pub fn line(&self) -> String {
        let correlation = self.sync.correlation.map_or("-".to_string(), |r| format!("{r:.2}"));
        format!("mouth correlation {correlation}, lag {} frames", self.sync.lag_frames)
    }

    /// What the line is about, in a few words.
    pub fn meaning(&self) -> String {
        let against = match self.against {
            Against::Reference => "against the reference's mouth",
            Against::Sound => "against the loudness, as no reference was given",
        };
        let mut text = format!("{against}; {:.2} at the best shift", self.sync.best);
        if self.missing > 0 {
            text += &format!("; {} of {} frames without a face", self.missing, self.frames);
        }
        if self.missing_in_reference > 0 {
            text += &format!("; {} of the reference without", self.missing_in_reference);
        }
        text
    }
}

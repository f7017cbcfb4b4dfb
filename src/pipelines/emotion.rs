//! What a portrait feels at each frame: valence and arousal, by name, as numbers, or as a track over time.
//! Source: KeyFace (arXiv 2503.01715); training code `get_emotion_list`; golden 25.

use super::segments::{Parity, Plan};
use crate::{Error, Problem, Result};
use std::path::Path;
use std::str::FromStr;

/// Valence and arousal, each from -1 to 1.
pub type Feeling = [f64; 2];

/// The published names.
pub const NAMES: [(&str, Feeling); 24] = [
    ("happy", [0.85, 0.75]),
    ("angry", [-0.443, 0.908]),
    ("surprised", [0.0, 0.85]),
    ("sad", [-0.85, -0.35]),
    ("neutral", [0.0, 0.0]),
    ("fear", [0.181, 0.949]),
    ("disgusted", [-0.8, 0.5]),
    ("contempt", [0.307, 0.535]),
    ("calm", [0.65, -0.5]),
    ("excited", [0.9, 0.9]),
    ("bored", [-0.6, -0.9]),
    ("confused", [-0.3, 0.4]),
    ("anxious", [-0.85, 0.9]),
    ("confident", [0.7, 0.4]),
    ("frustrated", [-0.8, 0.6]),
    ("amused", [0.7, 0.5]),
    ("proud", [0.8, 0.4]),
    ("ashamed", [-0.8, -0.3]),
    ("grateful", [0.7, 0.2]),
    ("jealous", [-0.7, 0.5]),
    ("hopeful", [0.7, 0.3]),
    ("disappointed", [-0.7, -0.3]),
    ("curious", [0.5, 0.5]),
    ("overwhelmed", [-0.6, 0.8]),
];

/// An emotion over a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Emotion {
    course: Course,
    accentuated: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Course {
    /// From one to the next over equal spans of the clip; at least one.
    States(Vec<Feeling>),
    /// By time in seconds, growing; at least one.
    Track(Vec<(f64, Feeling)>),
}

impl Default for Emotion {
    fn default() -> Self {
        Self { course: Course::States(vec![[0.0, 0.0]]), accentuated: false }
    }
}

/// A name, several with commas between them, or `VALENCE,AROUSAL`.
impl FromStr for Emotion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        if parts.iter().any(|part| part.parse::<f64>().is_ok()) {
            let numbers: Option<Vec<f64>> = parts.iter().map(|part| unit(part)).collect();
            let Some([valence, arousal]) = numbers.as_deref() else {
                let expected = "VALENCE,AROUSAL, two numbers from -1 to 1";
                return Err(Problem::new("emotion", expected, format!("'{text}'")).usage());
            };
            return Ok(Self { course: Course::States(vec![[*valence, *arousal]]), accentuated: false });
        }
        let state = |name: &&str| {
            NAMES.iter().find(|(known, _)| known == name).map(|(_, feeling)| *feeling).ok_or_else(|| {
                let expected = format!("VALENCE,AROUSAL or some of {}", NAMES.map(|(known, _)| known).join(", "));
                Problem::new("emotion", expected, format!("'{name}'")).usage()
            })
        };
        Ok(Self { course: Course::States(parts.iter().map(state).collect::<Result<_>>()?), accentuated: false })
    }
}

impl Emotion {
    /// A track from a CSV file, see [`Emotion::from_csv`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        Self::from_csv(&path.display().to_string(), &text)
    }

    /// A track: lines of `time_s,valence,arousal` in growing order of time, linear between them, held before the first and
    /// after the last. A first line of these three words, empty lines and lines that begin with # are passed over. `subject`
    /// names it in errors.
    pub fn from_csv(subject: &str, text: &str) -> Result<Self> {
        let mut points: Vec<(f64, Feeling)> = Vec::new();
        let mut is_first = true;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = format!("{subject}, line {}", number + 1);
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let is_header = is_first && fields == ["time_s", "valence", "arousal"];
            is_first = false;
            if is_header {
                continue;
            }
            let [time, valence, arousal] = fields[..] else {
                return Err(Problem::new(at, "time_s,valence,arousal", format!("'{line}'")).input());
            };
            let time_s = time
                .parse::<f64>()
                .ok()
                .filter(|time_s| time_s.is_finite())
                .ok_or_else(|| Problem::new(&at, "a time in seconds", format!("'{time}'")).input())?;
            if let Some((before, _)) = points.last().filter(|(before, _)| time_s <= *before) {
                return Err(Problem::new(at, format!("a time after {before}"), time).input());
            }
            let (Some(valence), Some(arousal)) = (unit(valence), unit(arousal)) else {
                return Err(Problem::new(at, "valence and arousal from -1 to 1", format!("'{line}'")).input());
            };
            points.push((time_s, [valence, arousal]));
        }
        if points.is_empty() {
            return Err(Problem::new(subject, "a line of time_s,valence,arousal or more", "none").input());
        }
        Ok(Self { course: Course::Track(points), accentuated: false })
    }

    /// Whether it is the same at all times.
    pub fn is_constant(&self) -> bool {
        match &self.course {
            Course::States(states) => states.len() == 1,
            Course::Track(points) => points.len() == 1,
        }
    }

    /// The same, every value half as strong again, as far as the range goes.
    pub fn accentuated(self) -> Self {
        Self { accentuated: true, ..self }
    }

    /// An error unless every keyframe of `plan`, for a clip of `frames` frames, has a feeling: see [`Emotion::at`].
    pub fn check(&self, plan: &Plan, frames: usize, parity: Parity) -> Result<()> {
        let slots = 0..plan.batch_count() * plan.rule().window;
        slots.map(|slot| plan.slot(slot).frame).try_for_each(|frame| self.at(frame, frames, parity).map(drop))
    }

    /// The feeling at frame `frame` of a clip of `frames`, at 25 a second.
    ///
    /// Several states: each pair has a span of `frames / (states - 1)` whole frames in which both ends are reached, so that a
    /// state between two spans lasts two frames; what division leaves over holds the last value. Errors: with
    /// [`Parity::Upstream`] a frame of that remainder, where the published program reads past its list.
    pub fn at(&self, frame: usize, frames: usize, parity: Parity) -> Result<[f32; 2]> {
        let once = |feeling: Feeling| if self.accentuated { feeling.map(accentuate) } else { feeling };
        let feeling = match &self.course {
            Course::States(states) => {
                let states: Vec<Feeling> = states.iter().map(|&state| once(state)).collect();
                let mixed = between(&states, frame, frames, parity)?;
                // Published: the table, and then the curve made of it.
                if parity == Parity::Upstream { once(mixed) } else { mixed }
            }
            Course::Track(points) => once(along(points, frame as f64 / 25.0)),
        };
        Ok(feeling.map(|value| value as f32))
    }
}

fn accentuate(value: f64) -> f64 {
    (1.5 * value).clamp(-1.0, 1.0)
}

/// `states` is not empty.
fn between(states: &[Feeling], frame: usize, frames: usize, parity: Parity) -> Result<Feeling> {
    let spans = states.len() - 1;
    if spans == 0 {
        return Ok(states[0]);
    }
    let length = frames / spans;
    if frame >= length * spans {
        if parity == Parity::Upstream {
            let expected = format!("a frame below {}", length * spans);
            return Err(Problem::new("emotion", expected, frame.to_string())
                .remedy("leave out --upstream-parity, which has no value for the last frames of this clip")
                .input());
        }
        return Ok(states[spans]);
    }
    let (span, within) = (frame / length, frame % length);
    Ok(mix(states[span], states[span + 1], within as f64 / (length - 1).max(1) as f64))
}

/// `points` is not empty.
fn along(points: &[(f64, Feeling)], time_s: f64) -> Feeling {
    let next = points.partition_point(|(at, _)| *at <= time_s);
    match (next.checked_sub(1).map(|before| points[before]), points.get(next)) {
        (Some((from, a)), Some(&(to, b))) => mix(a, b, (time_s - from) / (to - from)),
        (Some((_, held)), None) | (None, Some(&(_, held))) => held,
        (None, None) => [0.0, 0.0],
    }
}

fn mix(a: Feeling, b: Feeling, share: f64) -> Feeling {
    [0, 1].map(|axis| a[axis] + share * (b[axis] - a[axis]))
}

/// A number from -1 to 1.
fn unit(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value| (-1.0..=1.0).contains(value))
}

//! Whether the mouth moves with the sound: the mouth aspect ratio against the loudness of each frame, correlated at
//! shifts of a few frames. It needs no network, and judges timing, not the shapes of single sounds. The same for two mouths:
//! [`super::mouth`].

use crate::Result;
use crate::media::audio::RATE_HZ;
use crate::media::{Audio, Fps};

/// Loudness below this counts as this: the level of digital silence would otherwise outweigh all speech.
pub const FLOOR_DB: f64 = -60.0;
/// Fewest frames that a correlation is taken over.
const FEWEST_FRAMES: usize = 8;
/// Values whose deviation is below this part of their size differ by rounding alone.
const FLAT: f64 = 1e-9;

/// Root mean square of the samples of each frame in decibels of full scale, at least [`FLOOR_DB`]. Frame i hears the samples
/// from `i / fps` to `(i + 1) / fps` seconds; a last frame that is not whole counts if half of it is there.
pub fn loudness_db(audio: &Audio, fps: Fps) -> Result<Vec<f64>> {
    let start_of = |frame: u64| {
        let start = u128::from(frame) * u128::from(RATE_HZ) * u128::from(fps.den()) / u128::from(fps.num());
        start as u64
    };
    let (mut levels, mut squares) = (Vec::new(), 0.0);
    let (mut at, mut begin, mut end) = (0, 0, start_of(1));
    for block in audio.blocks()? {
        for sample in block? {
            squares += f64::from(sample) * f64::from(sample);
            at += 1;
            if at == end {
                levels.push(decibels(squares / (end - begin) as f64));
                (squares, begin, end) = (0.0, end, start_of(levels.len() as u64 + 1));
            }
        }
    }
    if 2 * (at - begin) >= end - begin {
        levels.push(decibels(squares / (at - begin) as f64));
    }
    Ok(levels)
}

fn decibels(mean_square: f64) -> f64 {
    (10.0 * mean_square.log10()).max(FLOOR_DB)
}

/// How a mouth and what leads it go together.
#[derive(Debug, Clone, PartialEq)]
pub struct Sync {
    /// Correlation without a shift, in [-1, 1]; None where too few frames overlap or one of the two never changes.
    pub correlation: Option<f64>,
    /// The largest correlation within the shifts.
    pub best: f64,
    /// Where it lies: above 0 the mouth comes late, below 0 early.
    pub lag_frames: i64,
}

impl Sync {
    /// Pearson's correlation of `led_by[t]`, such as the loudness, and `mouth[t + lag]` over all t where both are there, for lags
    /// from `-reach` to `reach`; lags that leave fewer than half of the frames do not take part, so that those beyond the clip cost
    /// nothing. None where no lag has a correlation.
    pub fn new<T: Copy + Into<Option<f64>>>(mouth: &[Option<f64>], led_by: &[T], reach: usize) -> Option<Self> {
        let reach = reach.min(mouth.len().max(led_by.len())) as i64;
        // From the middle outwards, so that of equal correlations the one with the smallest shift is found first.
        let lags = (0..=reach).flat_map(|lag| if lag == 0 { vec![0] } else { vec![-lag, lag] });
        let mut best: Option<(f64, i64)> = None;
        for lag in lags {
            if let Some(r) = correlation(mouth, led_by, lag)
                && best.is_none_or(|(most, _)| r > most)
            {
                best = Some((r, lag));
            }
        }
        let (best, lag_frames) = best?;
        Some(Self { correlation: correlation(mouth, led_by, 0), best, lag_frames })
    }

    pub fn lag_ms(&self, fps: Fps) -> f64 {
        1000.0 * self.lag_frames as f64 / fps.as_f64()
    }
}

/// See [`Sync::new`].
pub fn correlation<T: Copy + Into<Option<f64>>>(mouth: &[Option<f64>], led_by: &[T], lag: i64) -> Option<f64> {
    let pair = |(t, &leading): (usize, &T)| {
        let at = usize::try_from(t as i64 + lag).ok()?;
        Some((mouth.get(at).copied().flatten()?, leading.into()?))
    };
    let pairs: Vec<(f64, f64)> = led_by.iter().enumerate().filter_map(pair).collect();
    let frames = mouth.len().min(led_by.len());
    if pairs.len() < FEWEST_FRAMES || 2 * pairs.len() < frames {
        return None;
    }
    let n = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (mean_mouth, mean_leading) = (mean(|p| p.0), mean(|p| p.1));
    let (mut both, mut mouth_squares, mut leading_squares) = (0.0, 0.0, 0.0);
    for (m, l) in &pairs {
        let (m, l) = (m - mean_mouth, l - mean_leading);
        both += m * l;
        mouth_squares += m * m;
        leading_squares += l * l;
    }
    let is_flat = |squares: f64, mean: f64| squares.sqrt() <= FLAT * n.sqrt() * (mean.abs() + f64::MIN_POSITIVE);
    if is_flat(mouth_squares, mean_mouth) || is_flat(leading_squares, mean_leading) {
        return None;
    }
    Some((both / (mouth_squares * leading_squares).sqrt()).clamp(-1.0, 1.0))
}

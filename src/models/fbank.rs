//! Kaldi's mel filter bank as BEATs hears it: logarithms of 128 energies, one row per 10 ms.
//! Source: Kaldi, compute-fbank-feats: 25 ms frames, Povey window, 512-point spectrum, mel triangles from 20 Hz to 8 kHz.
//!
//! 16 kHz samples → frames that lie wholly inside the clip: `(n - 400) / 160 + 1`.
//!
//! Traps: samples are scaled as 16-bit integers; the mel scale is 1127 ln(1 + f / 700); energies below f32's epsilon count
//! as that; the bin at 8 kHz has no part in any triangle.

use crate::Result;
use crate::gpu::{Elem, Gpu};
use crate::nn::Linear;
use crate::ops::{Framing, PackedWeight, Raw, WeightShape};
use crate::tensor::Tensor;
use std::f64::consts::TAU;

/// Samples from one frame to the next.
pub const HOP: usize = 160;
/// Samples of a frame.
pub const WINDOW: usize = 400;
/// Energies of a frame.
pub const MELS: usize = 128;

const TRANSFORM: usize = 512;
const BINS: usize = TRANSFORM / 2;
const RATE_HZ: f64 = 16_000.0;
const LOWEST_HZ: f64 = 20.0;
const FRAMING: Framing = Framing { hop: HOP, scale: 32_768.0, preemphasis: 0.97 };

/// How many frames lie inside `samples`.
pub const fn frames(samples: usize) -> usize {
    if samples < WINDOW { 0 } else { (samples - WINDOW) / HOP + 1 }
}

/// The window, the Fourier transform and the triangles; both of the latter are matrices, computed in f64.
pub struct FilterBank {
    window: Tensor,
    transform: Linear,
    triangles: Linear,
}

impl FilterBank {
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let matrix = |columns, channels, values: &[f32], name| {
            let shape = WeightShape::linear(columns, channels);
            let packed = PackedWeight::pack(gpu, shape, Elem::F32, Raw::F32(bytemuck::cast_slice(values)), name)?;
            Ok(Linear::new(packed, None))
        };
        Ok(Self {
            window: Tensor::from_f32(gpu, &[WINDOW], &povey())?,
            transform: matrix(2 * BINS, WINDOW, &transform(), "filter bank transform")?,
            triangles: matrix(MELS, BINS, &triangles(), "filter bank triangles")?,
        })
    }

    /// `samples` `[n]` f32 in [-1, 1] → `[frames, 128]`. Errors: fewer than 400 samples.
    pub fn forward(&self, samples: &Tensor) -> Result<Tensor> {
        let frames = samples.fbank_frames(&self.window, FRAMING)?;
        let power = self.transform.forward(&frames)?.power_spectrum()?;
        self.triangles.forward(&power)?.log_above(f32::EPSILON)
    }
}

/// Hann's window to the power of 0.85.
fn povey() -> Vec<f32> {
    let at = |j: usize| (0.5 - 0.5 * (TAU * j as f64 / (WINDOW - 1) as f64).cos()).powf(0.85) as f32;
    (0..WINDOW).map(at).collect()
}

/// The real parts of bins 0 to 255, then the imaginary ones: `[512, 400]`. What the transform has beyond 400 samples are
/// zeros, so those columns are left out.
fn transform() -> Vec<f32> {
    let angle = |bin: usize, j: usize| TAU * (bin * j % TRANSFORM) as f64 / TRANSFORM as f64;
    let row = |part: fn(f64) -> f64, bin| (0..WINDOW).map(move |j| part(angle(bin, j)) as f32);
    let real = (0..BINS).flat_map(|bin| row(f64::cos, bin));
    real.chain((0..BINS).flat_map(|bin| row(f64::sin, bin))).collect()
}

/// Triangles with equal bases on the mel scale, each half over its neighbours: `[128, 256]`.
fn triangles() -> Vec<f32> {
    let mel = |hz: f64| 1127.0 * (hz / 700.0).ln_1p();
    let (low, high) = (mel(LOWEST_HZ), mel(RATE_HZ / 2.0));
    let half_base = (high - low) / (MELS + 1) as f64;
    let weight = |triangle: usize, bin: usize| {
        let place = (mel(bin as f64 * RATE_HZ / TRANSFORM as f64) - low) / half_base - triangle as f64;
        place.min(2.0 - place).max(0.0) as f32
    };
    (0..MELS).flat_map(|triangle| (0..BINS).map(move |bin| weight(triangle, bin))).collect()
}

//! From any rate to 16 kHz, block by block, without a filter's delay.

use std::f32::consts::PI;

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::audio::RATE_HZ;
use crate::{Problem, Result};

pub(super) enum Resampler {
    /// What is at 16 kHz already.
    Same,
    Fft(Box<FftResampler>),
    Sinc(SincResampler),
}

impl Resampler {
    /// The better filter.
    pub fn new(rate_hz: u32, subject: &str) -> Result<Self> {
        if rate_hz == RATE_HZ {
            return Ok(Self::Same);
        }
        Ok(Self::Fft(Box::new(FftResampler::new(rate_hz, subject)?)))
    }

    /// The published programs' filter.
    pub fn published(rate_hz: u32) -> Self {
        if rate_hz == RATE_HZ { Self::Same } else { Self::Sinc(SincResampler::new(rate_hz)) }
    }

    /// What `samples` complete.
    pub fn push(&mut self, samples: Vec<f32>, subject: &str) -> Result<Vec<f32>> {
        match self {
            Self::Same => Ok(samples),
            Self::Fft(fft) => fft.push(&samples, subject),
            Self::Sinc(sinc) => Ok(sinc.push(&samples)),
        }
    }

    /// The rest, after `samples_read` in all.
    pub fn finish(&mut self, samples_read: u64, subject: &str) -> Result<Vec<f32>> {
        match self {
            Self::Same => Ok(Vec::new()),
            Self::Fft(fft) => fft.finish(samples_read, subject),
            Self::Sinc(sinc) => Ok(sinc.finish(samples_read)),
        }
    }

    /// How many samples `samples_read` become.
    pub fn total(&self, samples_read: u64, rate_hz: u32) -> u64 {
        match self {
            Self::Same => samples_read,
            Self::Fft(_) => (samples_read * u64::from(RATE_HZ)).div_ceil(u64::from(rate_hz)),
            Self::Sinc(sinc) => sinc.total(samples_read),
        }
    }
}

pub(super) struct FftResampler {
    fft: Fft<f32>,
    rate_hz: u32,
    pending: Vec<f32>,
    delay_left: usize,
    samples_made: u64,
}

impl FftResampler {
    fn new(rate_hz: u32, subject: &str) -> Result<Self> {
        // An even number of the smallest blocks makes the delay a whole number of samples.
        let smallest = rate_hz / gcd(rate_hz, RATE_HZ);
        let block = 2 * smallest * 1024u32.div_ceil(2 * smallest);
        let window = WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(rate_hz as usize, RATE_HZ as usize, block as usize, 1, 1, window, FixedSync::Input)
            .map_err(|e| Problem::new(subject, "a sample rate that resamples", e.to_string()).input())?;
        Ok(Self { rate_hz, pending: Vec::new(), delay_left: fft.output_delay(), samples_made: 0, fft })
    }

    fn push(&mut self, samples: &[f32], subject: &str) -> Result<Vec<f32>> {
        self.pending.extend_from_slice(samples);
        let mut made = Vec::new();
        let mut used = 0;
        while self.pending.len() - used >= self.fft.input_frames_next() {
            let count = self.fft.input_frames_next();
            let mut block = vec![0.0; self.fft.output_frames_next()];
            let (taken, given) = resample(&mut self.fft, &self.pending[used..used + count], &mut block)
                .map_err(|e| Problem::new(subject, "samples that resample", e).input())?;
            used += taken;
            let skipped = self.delay_left.min(given);
            self.delay_left -= skipped;
            made.extend_from_slice(&block[skipped..given]);
        }
        self.pending.drain(..used);
        self.samples_made += made.len() as u64;
        Ok(made)
    }

    /// The rest: silence pushes it out of the filter, and the total is cut to the length of `samples_read`.
    fn finish(&mut self, samples_read: u64, subject: &str) -> Result<Vec<f32>> {
        let total = (samples_read * u64::from(RATE_HZ)).div_ceil(u64::from(self.rate_hz));
        let mut rest = Vec::new();
        let before = self.samples_made;
        while self.samples_made < total {
            let silence = vec![0.0; self.fft.input_frames_next()];
            rest.extend(self.push(&silence, subject)?);
        }
        rest.truncate(total.saturating_sub(before) as usize);
        Ok(rest)
    }
}

fn resample(fft: &mut Fft<f32>, input: &[f32], output: &mut [f32]) -> Result<(usize, usize), String> {
    let (inputs, outputs) = (input.len(), output.len());
    let input = SequentialSlice::new(input, 1, inputs).map_err(|e| e.to_string())?;
    let mut output = SequentialSlice::new_mut(output, 1, outputs).map_err(|e| e.to_string())?;
    fft.process_into_buffer(&input, &mut output, None).map_err(|e| e.to_string())
}

/// `y[n] = sum over m of x[m] h((m / rate - n / 16000) base)`, `h(t) = sinc(t) cos^2(pi t / 12)` for `|t| < 6`, `base` 0.99 times
/// the lower of the two rates: torchaudio's `functional.resample` with its defaults, which the published programs call. Its
/// kernel is computed in f32 from end to end, and so it is here: in f64 the result would differ by up to 3e-5.
pub(super) struct SincResampler {
    /// Input and output samples of a period, after which the taps are the same again.
    inputs: u64,
    outputs: u64,
    /// For each output of a period the taps, and the input that the first of them belongs to, from the period's start.
    phases: Vec<(i64, Vec<f32>)>,
    /// Inputs from number `pending_from` on.
    pending: Vec<f32>,
    pending_from: u64,
    samples_made: u64,
}

impl SincResampler {
    /// Zeros of the sinc on either side.
    const ZEROS: f32 = 6.0;
    const ROLLOFF: f64 = 0.99;

    fn new(rate_hz: u32) -> Self {
        let shared = gcd(rate_hz, RATE_HZ);
        let (inputs, outputs) = (rate_hz / shared, RATE_HZ / shared);
        let base = f64::from(inputs.min(outputs)) * Self::ROLLOFF;
        let width = (f64::from(Self::ZEROS) * f64::from(inputs) / base).ceil() as i64;
        let scale = (base / f64::from(inputs)) as f32;
        let tap = |output: u32, input: i64| {
            let t = -(output as f32) / outputs as f32 + input as f32 / inputs as f32;
            let t = (t * base as f32).clamp(-Self::ZEROS, Self::ZEROS);
            let window = (t * PI / Self::ZEROS / 2.0).cos();
            let angle = t * PI;
            let sinc = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
            sinc * (window * window * scale)
        };
        let phase = |output: u32| {
            let middle = i64::from(output) * i64::from(inputs) / i64::from(outputs);
            let first = (middle - width).max(-width);
            let last = (middle + width + 1).min(i64::from(inputs) + width - 1);
            (first, (first..=last).map(|input| tap(output, input)).collect())
        };
        Self {
            inputs: u64::from(inputs),
            outputs: u64::from(outputs),
            phases: (0..outputs).map(phase).collect(),
            pending: Vec::new(),
            pending_from: 0,
            samples_made: 0,
        }
    }

    /// The number of the first input that output `n` hears, and its taps.
    fn taps(&self, n: u64) -> (i64, &[f32]) {
        let (first, taps) = &self.phases[(n % self.outputs) as usize];
        ((n / self.outputs * self.inputs) as i64 + first, taps)
    }

    /// Silence where there is no input.
    fn sample(&self, n: u64) -> f32 {
        let (first, taps) = self.taps(n);
        let from = first - self.pending_from as i64;
        let input = |at: usize| usize::try_from(from + at as i64).ok().and_then(|i| self.pending.get(i));
        let heard = taps.iter().enumerate().filter_map(|(at, tap)| Some(f64::from(*tap) * f64::from(*input(at)?)));
        heard.sum::<f64>() as f32
    }

    fn push(&mut self, samples: &[f32]) -> Vec<f32> {
        self.pending.extend_from_slice(samples);
        let there = (self.pending_from + self.pending.len() as u64) as i64;
        let mut made = Vec::new();
        loop {
            let (first, taps) = self.taps(self.samples_made);
            if first + taps.len() as i64 > there {
                let unneeded = (first - self.pending_from as i64).clamp(0, self.pending.len() as i64) as usize;
                self.pending.drain(..unneeded);
                self.pending_from += unneeded as u64;
                return made;
            }
            made.push(self.sample(self.samples_made));
            self.samples_made += 1;
        }
    }

    fn finish(&mut self, samples_read: u64) -> Vec<f32> {
        let rest: Vec<f32> = (self.samples_made..self.total(samples_read)).map(|n| self.sample(n)).collect();
        self.samples_made += rest.len() as u64;
        rest
    }

    /// Rounded to f32 before it is rounded up, as torchaudio does, which shows from 17 minutes on.
    fn total(&self, samples_read: u64) -> u64 {
        let exact = (self.outputs * samples_read) as f64 / self.inputs as f64;
        ((exact as f32).ceil() as u64).min((samples_read / self.inputs + 1) * self.outputs)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

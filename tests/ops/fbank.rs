//! fbank_frames and power_spectrum.

use crate::{Random, bar, check, gpu, portable_gpu, stored};
use viseme::gpu::{Elem, Gpu};
use viseme::ops::Framing;
use viseme::tensor::Tensor;

/// y = window * (d[j] - preemphasis * d[max(j - 1, 0)]), d = scale * (x - mean of the frame)
fn reference(x: &[f32], window: &[f32], framing: Framing) -> Vec<f64> {
    let length = window.len();
    let mut y = Vec::new();
    let mut start = 0;
    while start + length <= x.len() {
        let mut mean = 0.0;
        for j in 0..length {
            mean += f64::from(x[start + j]) / length as f64;
        }
        for j in 0..length {
            let d = f64::from(x[start + j]) - mean;
            let before = if j == 0 { d } else { f64::from(x[start + j - 1]) - mean };
            let value = f64::from(framing.scale) * (d - f64::from(framing.preemphasis) * before);
            y.push(value * f64::from(window[j]));
        }
        start += framing.hop;
    }
    y
}

#[test]
fn frames_match_the_reference() {
    for gpu in [gpu(), portable_gpu()].into_iter().flatten() {
        let mut random = Random(11);
        for (samples, length, hop) in [
            (1, 1, 1),
            (5, 4, 2),
            (7, 7, 7),
            (131, 13, 5),
            (2799, 400, 160),
            (2800, 400, 160),
            (1523, 600, 257),
            (65_540, 3, 1),
        ] {
            for (scale, offset) in [(1.0, 0.0), (32_768.0, 0.0), (32_768.0, 10.0)] {
                let framing = Framing { hop, scale, preemphasis: 0.97 };
                let x: Vec<f32> = random.vec(samples).iter().map(|v| v + offset).collect();
                let window = random.vec(length);
                let want = reference(&x, &window, framing);
                let x = Tensor::from_f32(gpu, &[samples], &x).unwrap();
                let y = x.fbank_frames(&Tensor::from_f32(gpu, &[length], &window).unwrap(), framing).unwrap();
                assert_eq!(y.shape(), [(samples - length) / hop + 1, length]);
                let case = format!("{samples} samples, {length} every {hop}, {scale}, mean {offset}");
                check(&case, &y, &want, bar(Elem::F32));
            }
        }
    }
}

#[test]
fn frames_and_powers_that_fit_no_binding_are_split() {
    let narrow =
        gpu().and_then(|_| Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = 16 << 10).ok());
    let Some(gpu) = narrow.as_ref() else { return };
    let framing = Framing { hop: 161, scale: 32_768.0, preemphasis: 0.97 };
    let mut random = Random(13);
    let (x, window) = (random.vec(9001), random.vec(400));
    let samples = Tensor::from_f32(gpu, &[9001], &x).unwrap();
    let frames = samples.fbank_frames(&Tensor::from_f32(gpu, &[400], &window).unwrap(), framing).unwrap();
    let want = reference(&x, &window, framing);
    assert_eq!(frames.shape(), [54, 400]);
    let got: Vec<f64> = frames.to_f32().unwrap().iter().map(|&v| f64::from(v)).collect();
    let error: f64 = got.iter().zip(&want).map(|(g, w)| (g - w).powi(2)).sum();
    let norm: f64 = want.iter().map(|w| w * w).sum();
    assert!((error / norm).sqrt() <= bar(Elem::F32), "{:e}", (error / norm).sqrt());
    let power = frames.power_spectrum().unwrap().to_f32().unwrap();
    for (i, power) in power.iter().enumerate() {
        let (re, im) = (got[i / 200 * 400 + i % 200], got[i / 200 * 400 + 200 + i % 200]);
        let want = re * re + im * im;
        assert!((f64::from(*power) - want).abs() <= 1e-6 * want, "element {i}: {power}, want {want}");
    }
}

#[test]
fn a_clip_shorter_than_a_frame_is_an_error() {
    let Some(gpu) = gpu() else { return };
    let window = Tensor::from_f32(gpu, &[400], &[1.0; 400]).unwrap();
    let framing = Framing { hop: 160, scale: 1.0, preemphasis: 0.97 };
    let short = Tensor::from_f32(gpu, &[399], &[0.0; 399]).unwrap().fbank_frames(&window, framing);
    assert!(short.unwrap_err().to_string().contains("400 samples or more"));
    let silent = Tensor::from_f32(gpu, &[400], &[0.1; 400]).unwrap().fbank_frames(&window, framing).unwrap();
    check("a constant", &silent, &[0.0; 400], 0.0);
}

/// y = re^2 + im^2
#[test]
fn power_spectrum() {
    let Some(gpu) = gpu() else { return };
    for [rows, bins] in [[1, 1], [1, 4], [7, 5], [130, 64], [3, 257], [70_000, 3]] {
        for elem in [Elem::F32, Elem::F16] {
            let x = stored(elem, &Random(12).vec(rows * 2 * bins));
            let mut want = Vec::new();
            for row in 0..rows {
                for k in 0..bins {
                    let (re, im) = (f64::from(x[row * 2 * bins + k]), f64::from(x[row * 2 * bins + bins + k]));
                    want.push(re * re + im * im);
                }
            }
            let y = Tensor::from_values(gpu, &[rows, 2 * bins], elem, &x).unwrap().power_spectrum().unwrap();
            check(&format!("{rows}x{bins} {elem:?}"), &y, &want, bar(elem));
        }
    }
}

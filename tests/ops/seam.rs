//! Colours matched at a seam: seam_partial and seam_merge.

use crate::rgb::{DEPTHS, random_bytes, values, white};
use crate::{Random, check, gpu, portable_gpu, prepare, there};
use viseme::gpu::Gpu;
use viseme::ops::{Depth, Rgb};
use viseme::tensor::Tensor;

/// Gain and offset per colour by plain sums over the seam.
fn reference(source: &[u32], generated: &[u32], alpha: &[f32], white: f64) -> Vec<f64> {
    let (mut gains, mut offsets) = (Vec::new(), Vec::new());
    for colour in 0..3 {
        let statistics = |picture: &[u32]| {
            let (mut count, mut mean, mut variance) = (0.0, 0.0, 0.0);
            for (pixel, a) in alpha.iter().enumerate() {
                if *a > 0.0 && *a < 1.0 {
                    count += 1.0;
                    mean += f64::from(picture[3 * pixel + colour]) / white;
                }
            }
            mean /= f64::max(count, 1.0);
            for (pixel, a) in alpha.iter().enumerate() {
                if *a > 0.0 && *a < 1.0 {
                    variance += (f64::from(picture[3 * pixel + colour]) / white - mean).powi(2) / count;
                }
            }
            (mean, variance.sqrt())
        };
        let ((source_mean, source_deviation), (mean, deviation)) = (statistics(source), statistics(generated));
        let is_flat = source_deviation < 1.0 / 255.0 || deviation < 1.0 / 255.0;
        let gain = if is_flat { 1.0 } else { (source_deviation / deviation).clamp(0.8, 1.25) };
        gains.push(gain);
        offsets.push((source_mean - gain * mean).clamp(-0.1, 0.1));
    }
    [gains, offsets].concat()
}

fn stored(levels: &[f64], depth: Depth) -> Vec<u8> {
    let level = |v: f64| v.clamp(0.0, white(depth)).round();
    match depth {
        Depth::Eight => levels.iter().map(|&v| level(v) as u8).collect(),
        Depth::Sixteen => levels.iter().flat_map(|&v| (level(v) as u16).to_le_bytes()).collect(),
    }
}

#[test]
fn colours_match_the_reference() {
    let narrow = gpu().and_then(|_| there(Gpu::restricted(None, |device| device.max_binding_bytes = 16 << 10)));
    for gpu in [gpu(), portable_gpu(), narrow.map(prepare).as_ref()].into_iter().flatten() {
        matches_the_reference(gpu);
    }
}

fn matches_the_reference(gpu: &Gpu) {
    let mut random = Random(5);
    for ((height, width), depth) in [(1, 1), (7, 3), (31, 33), (32, 32), (97, 131), (512, 512)]
        .into_iter()
        .flat_map(|size| DEPTHS.map(|d| (size, d)))
    {
        let len = height * width * 3;
        // Contrast and brightness of the other picture, by colour: within the limits, beyond them, and with no contrast at all.
        for (number, change) in [
            [(1.1, 0.02), (0.9, -0.03), (1.0, 0.0)],
            [(3.0, 0.0), (0.2, 0.3), (1.0, -0.4)],
            [(0.0, 0.5), (0.0, 0.45), (1.05, 0.01)],
        ]
        .into_iter()
        .enumerate()
        {
            let case = format!("{height}x{width} {depth:?} change {number}");
            // A narrow range far from black, where sums of squares would lose what is asked for.
            let source: Vec<f64> =
                (0..len).map(|_| (0.55 + 0.06 * f64::from(random.uniform())) * white(depth)).collect();
            let generated: Vec<f64> = (0..len)
                .map(|i| {
                    let (contrast, shift) = change[i % 3];
                    let middle = 0.55 * white(depth);
                    middle + contrast * (source[i] - middle) + shift * white(depth)
                })
                .collect();
            let (source, generated) = (stored(&source, depth), stored(&generated, depth));
            let alpha: Vec<f32> = (0..height * width).map(|_| (1.5 * random.uniform() + 0.5).clamp(0.0, 1.0)).collect();
            let want = reference(&values(&source, depth), &values(&generated, depth), &alpha, white(depth));
            let upload = |bytes: &[u8]| Rgb::upload_at(gpu, height, width, depth, bytes).unwrap();
            let alpha = Tensor::from_f32(gpu, &[1, height, width, 1], &alpha).unwrap();
            check(&case, &upload(&source).seam_colours(&upload(&generated), &alpha).unwrap(), &want, 1e-5);
        }
    }
}

#[test]
fn without_a_seam_nothing_changes() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(6);
    let picture = |random: &mut Random| Rgb::upload(gpu, 20, 30, &random_bytes(random, 1800)).unwrap();
    let (source, generated) = (picture(&mut random), picture(&mut random));
    let alpha: Vec<f32> = (0..600).map(|i| f32::from(u8::from(i % 7 < 3))).collect();
    let alpha = Tensor::from_f32(gpu, &[1, 20, 30, 1], &alpha).unwrap();
    let colours = source.seam_colours(&generated, &alpha).unwrap();
    assert_eq!(colours.to_f32().unwrap(), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);

    let other = Rgb::upload(gpu, 30, 20, &random_bytes(&mut random, 1800)).unwrap();
    assert!(source.seam_colours(&other, &alpha).is_err());
    assert!(other.seam_colours(&other, &alpha).is_err());
}

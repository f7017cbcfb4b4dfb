//! group_norm_partial, group_norm_merge and group_norm_apply together.

use crate::{Random, bar, check, gpu, portable_gpu, stored};
use viseme::gpu::Elem;
use viseme::ops::Activation;
use viseme::tensor::Tensor;

/// Statistics over positions and the channels of a group, then scale, shift and SiLU.
fn reference(
    x: &[f32],
    [samples, positions, channels]: [usize; 3],
    groups: usize,
    weight: &[f32],
    bias: &[f32],
    silu: bool,
) -> Vec<f64> {
    let width = channels / groups;
    let mut y = vec![0.0; x.len()];
    for n in 0..samples {
        for g in 0..groups {
            let at = |p: usize, c: usize| (n * positions + p) * channels + g * width + c;
            let count = (positions * width) as f64;
            let (mut mean, mut var) = (0.0, 0.0);
            for p in 0..positions {
                for c in 0..width {
                    mean += f64::from(x[at(p, c)]) / count;
                }
            }
            for p in 0..positions {
                for c in 0..width {
                    var += (f64::from(x[at(p, c)]) - mean).powi(2) / count;
                }
            }
            for p in 0..positions {
                for c in 0..width {
                    let normal = (f64::from(x[at(p, c)]) - mean) / (var + 1e-5).sqrt();
                    let v = normal * f64::from(weight[g * width + c]) + f64::from(bias[g * width + c]);
                    y[at(p, c)] = if silu { v / (1.0 + (-v).exp()) } else { v };
                }
            }
        }
    }
    y
}

#[test]
fn matches_the_reference() {
    for gpu in [gpu(), portable_gpu()].into_iter().flatten() {
        let mut random = Random(4);
        let shapes = [
            ([1, 1, 4], 1),
            ([2, 3, 32], 32),
            ([3, 35, 64], 32),
            ([1, 7, 6], 2),
            ([2, 1031, 15], 3),
            ([1, 257, 320], 32),
            ([2, 20_000, 8], 8),
            ([40_000, 2, 4], 2),
        ];
        for (shape, groups) in shapes {
            for (elem, offset, activation) in [
                (Elem::F32, 0.0, Activation::None),
                (Elem::F32, 0.0, Activation::Silu),
                (Elem::F32, 100.0, Activation::None),
                (Elem::F16, 0.0, Activation::Silu),
            ] {
                let case = format!("{shape:?} in {groups} {elem:?} mean {offset} {activation:?}");
                let shifted: Vec<f32> = random.vec(shape.iter().product()).iter().map(|v| v + offset).collect();
                let x = stored(elem, &shifted);
                let (weight, bias) = (random.vec(shape[2]), random.vec(shape[2]));
                let want = reference(&x, shape, groups, &weight, &bias, activation == Activation::Silu);
                let x = Tensor::from_values(gpu, &shape, elem, &x).unwrap();
                let weight = Tensor::from_f32(gpu, &[shape[2]], &weight).unwrap();
                let bias = Tensor::from_f32(gpu, &[shape[2]], &bias).unwrap();
                let y = x.group_norm(shape[0], groups, &weight, &bias, 1e-5, activation).unwrap();
                // A mean of 100 costs f32 seven bits of x - mean; groups of two values may nearly coincide as well.
                check(&case, &y, &want, if offset == 0.0 { bar(elem) } else { 1e-4 });
            }
        }
    }
}

#[test]
fn equal_values_give_the_bias() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::from_f32(gpu, &[1, 9, 8], &[60_000.0; 72]).unwrap();
    let ones = Tensor::from_f32(gpu, &[8], &[1.0; 8]).unwrap();
    let half = Tensor::from_f32(gpu, &[8], &[0.5; 8]).unwrap();
    check("equal", &x.group_norm(1, 2, &ones, &half, 1e-5, Activation::None).unwrap(), &[0.5; 72], 1e-6);
}

#[test]
fn no_channels_are_an_error() {
    let Some(gpu) = gpu() else { return };
    let none = Tensor::zeros(gpu, &[0], Elem::F32).unwrap();
    let x = Tensor::zeros(gpu, &[3, 0], Elem::F32).unwrap();
    for samples in [0, 1, 3] {
        let error = x.group_norm(samples, 1, &none, &none, 1e-5, Activation::None).unwrap_err();
        assert!(matches!(error, viseme::Error::Shape(_)), "{error}");
    }
}

use crate::{Random, bar, check, gpu, stored};
use viseme::gpu::Elem;
use viseme::tensor::Tensor;

/// y = (x - mean) / sqrt(var + eps) * weight + bias
fn reference(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let channels = weight.len();
    let mut y = vec![0.0; x.len()];
    for row in 0..x.len() / channels {
        let mut mean = 0.0;
        for c in 0..channels {
            mean += f64::from(x[row * channels + c]) / channels as f64;
        }
        let mut var = 0.0;
        for c in 0..channels {
            var += (f64::from(x[row * channels + c]) - mean).powi(2) / channels as f64;
        }
        for c in 0..channels {
            let normal = (f64::from(x[row * channels + c]) - mean) / (var + eps).sqrt();
            y[row * channels + c] = normal * f64::from(weight[c]) + f64::from(bias[c]);
        }
    }
    y
}

#[test]
fn matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(1);
    for (rows, channels) in [(1, 1), (1, 4), (3, 7), (5, 64), (17, 320), (2, 1280), (65_537, 4), (4, 4096)] {
        for (elem, offset) in [(Elem::F32, 0.0), (Elem::F32, 100.0), (Elem::F16, 0.0)] {
            if elem == Elem::F16 && channels % 4 != 0 {
                continue;
            }
            let case = format!("{rows}x{channels} {elem:?} mean {offset}");
            let x: Vec<f32> = stored(elem, &random.vec(rows * channels).iter().map(|v| v + offset).collect::<Vec<_>>());
            let (weight, bias) = (random.vec(channels), random.vec(channels));
            let want = reference(&x, &weight, &bias, 1e-5);
            let x = Tensor::from_values(gpu, &[rows, channels], elem, &x).unwrap();
            let weight = Tensor::from_f32(gpu, &[channels], &weight).unwrap();
            let bias = Tensor::from_f32(gpu, &[channels], &bias).unwrap();
            let y = x.layer_norm(&weight, &bias, 1e-5).unwrap();
            // A mean of 100 costs f32 seven bits of x - mean.
            check(&case, &y, &want, if offset == 0.0 { bar(elem) } else { 2e-5 });
        }
    }
}

#[test]
fn rows_that_are_all_equal_give_the_bias() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::from_f32(gpu, &[3, 8], &[7.0; 24]).unwrap();
    let one = Tensor::from_f32(gpu, &[8], &[1.0; 8]).unwrap();
    let bias = Tensor::from_f32(gpu, &[8], &[0.5; 8]).unwrap();
    check("equal", &x.layer_norm(&one, &bias, 1e-5).unwrap(), &[0.5; 24], 1e-6);
}

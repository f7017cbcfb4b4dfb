use crate::{Random, check, gpu};
use viseme::gpu::{Elem, Gpu};
use viseme::tensor::Tensor;

fn reference(x: &[f32], [images, height, width, channels]: [usize; 4], size: usize, stride: usize) -> Vec<f64> {
    let mut y = Vec::new();
    for image in 0..images {
        for row in 0..(height - size) / stride + 1 {
            for column in 0..(width - size) / stride + 1 {
                for k in 0..channels {
                    let mut most = f64::MIN;
                    for a in 0..size {
                        for b in 0..size {
                            let pixel = (image * height + row * stride + a) * width + column * stride + b;
                            most = most.max(f64::from(x[pixel * channels + k]));
                        }
                    }
                    y.push(most);
                }
            }
        }
    }
    y
}

#[test]
fn matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(1);
    for (shape, size, stride) in [
        ([1, 1, 1, 1], 1, 1),
        ([2, 3, 5, 3], 3, 2),
        ([1, 7, 9, 64], 3, 2),
        ([3, 8, 8, 5], 2, 2),
        ([1, 131, 97, 4], 2, 2),
        ([1, 13, 17, 7], 5, 3),
        ([2, 300, 300, 32], 2, 1),
    ] {
        // Below zero too: an accumulator that starts at 0 shows.
        let x: Vec<f32> = random.vec(shape.iter().product()).iter().map(|v| v - 1.5).collect();
        let tensor = Tensor::from_f32(gpu, &shape, &x).unwrap();
        let y = tensor.max_pool(size, stride).unwrap();
        check(&format!("{shape:?} {size}/{stride}"), &y, &reference(&x, shape, size, stride), 0.0);
    }
}

/// Where one image does not fit a binding, bands of it are pooled by themselves.
#[test]
fn bands_meet() {
    let Some(_) = gpu() else { return };
    let gpu = Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = 16 << 10).unwrap();
    let shape = [2, 37, 33, 17];
    let x = Random(2).vec(shape.iter().product());
    let y = Tensor::from_f32(&gpu, &shape, &x).unwrap().max_pool(3, 2).unwrap().to_f32().unwrap();
    let want = reference(&x, shape, 3, 2);
    assert!(y.iter().zip(&want).all(|(&got, &want)| f64::from(got) == want) && y.len() == want.len());
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::zeros(gpu, &[1, 2, 5, 4], Elem::F32).unwrap();
    assert!(x.max_pool(3, 2).unwrap_err().to_string().contains("3x3"));
    assert!(x.max_pool(2, 0).is_err());
    assert!(x.max_pool(0, 1).is_err());
    assert!(Tensor::zeros(gpu, &[1, 4, 4, 4], Elem::F16).unwrap().max_pool(2, 2).is_err());
}

//! The arithmetic of a diffusion step: denoise, sampler_step and guidance_update.

use crate::{Random, check, gpu};
use viseme::ops::Inpaint;
use viseme::tensor::Tensor;

fn upload(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(gpu().unwrap(), shape, values).unwrap()
}

/// m (c_out f + c_skip x) + (1 - m) gt
fn denoised(f: &[f32], x: &[f32], gt: &[f32], mask: &[f32], channels: usize, c_out: f64, c_skip: f64) -> Vec<f64> {
    let mut y = Vec::new();
    for (i, f) in f.iter().enumerate() {
        let at = i % x.len();
        let value = f64::from(*f) * c_out + f64::from(x[at]) * c_skip;
        let m = f64::from(mask[at / channels]);
        y.push(value * m + f64::from(gt[at]) * (1.0 - m));
    }
    y
}

#[test]
fn denoised_matches_the_reference() {
    if gpu().is_none() {
        return;
    }
    let mut random = Random(1);
    for (branches, frames, height, width, channels) in
        [(1, 1, 1, 1, 1), (3, 2, 5, 7, 4), (2, 1, 3, 3, 3), (3, 14, 16, 16, 4), (3, 5, 31, 61, 4), (2, 3, 67, 83, 3)]
    {
        let case = format!("{branches}x{frames}x{height}x{width}x{channels}");
        let pixels = frames * height * width;
        let (x, gt) = (random.vec(pixels * channels), random.vec(pixels * channels));
        let f = random.vec(branches * pixels * channels);
        let mask: Vec<f32> = (0..pixels).map(|i| [0.0, 1.0, 0.25][i % 3]).collect();
        let (c_out, c_skip) = (-0.8f32, 0.36f32);

        let shape = [1, frames, height, width, channels];
        let many = [branches, frames, height, width, channels];
        let (x_gpu, gt_gpu, f_gpu) = (upload(&shape, &x), upload(&shape, &gt), upload(&many, &f));
        let mask_gpu = upload(&[1, frames, height, width, 1], &mask);
        let inpaint = Inpaint { mask: &mask_gpu, clean: &gt_gpu };

        let want = denoised(&f, &x, &gt, &mask, channels, f64::from(c_out), f64::from(c_skip));
        let got = f_gpu.denoised(&x_gpu, [c_out, c_skip], Some(inpaint)).unwrap();
        check(&case, &got, &want, 2e-6);
        for (i, value) in got.to_f32().unwrap().iter().enumerate() {
            let at = i % x.len();
            assert!(mask[at / channels] != 0.0 || *value == gt[at], "{case}: {i} is kept, got {value} for {}", gt[at]);
        }

        let ones = vec![1.0; pixels];
        let want = denoised(&f, &x, &gt, &ones, channels, f64::from(c_out), f64::from(c_skip));
        check(&format!("{case} unmasked"), &f_gpu.denoised(&x_gpu, [c_out, c_skip], None).unwrap(), &want, 2e-6);

        let want = denoised(&x, &x, &gt, &mask, channels, 0.0, 1.0);
        check(&format!("{case} blend"), &x_gpu.inpaint(inpaint).unwrap(), &want, 2e-6);
    }
}

#[test]
fn steps_match_the_reference() {
    if gpu().is_none() {
        return;
    }
    let mut random = Random(2);
    for len in [1, 3, 64, 1021, 20_003] {
        let (x, y, z) = (random.vec(len), random.vec(len), random.vec(len));
        let [x_gpu, y_gpu, z_gpu] = [&x, &y, &z].map(|v| upload(&[len], v));
        let each = |f: &dyn Fn(f64, f64, f64) -> f64| -> Vec<f64> {
            (0..len).map(|i| f(f64::from(x[i]), f64::from(y[i]), f64::from(z[i]))).collect()
        };
        for (sigma, next) in [(700f32, 54.5f32), (0.034, 0.002), (0.002, 0.0)] {
            let (s, n) = (f64::from(sigma), f64::from(next));
            let want = each(&|x, d, _| x + (n - s) * ((x - d) / s));
            check(&format!("euler {len} {sigma}"), &x_gpu.euler_step(&y_gpu, sigma, next).unwrap(), &want, 2e-6);
        }
        let want = each(&|c, r, u| 5.0 * (c - r) + 2.0 * (r - u) + u);
        check(&format!("guide {len}"), &x_gpu.guide(&y_gpu, &z_gpu, 5.0, 2.0).unwrap(), &want, 2e-6);
        let want = each(&|x, y, z| 0.75 * x - 1.5 * y + 3.0 * z);
        check(&format!("combine {len}"), &x_gpu.combine(&y_gpu, &z_gpu, [0.75, -1.5, 3.0]).unwrap(), &want, 2e-6);
    }
}

/// s (d - (1 - eta) (d . c) / (c . c) c), s = min(1, threshold / |d|), per row
fn update(d: &[f32], c: &[f32], width: usize, threshold: f64, eta: f64) -> Vec<f64> {
    let mut y = Vec::new();
    for start in (0..d.len()).step_by(width) {
        let (mut dd, mut dc, mut cc) = (0.0, 0.0, 0.0);
        for i in start..start + width {
            dd += f64::from(d[i]) * f64::from(d[i]);
            dc += f64::from(d[i]) * f64::from(c[i]);
            cc += f64::from(c[i]) * f64::from(c[i]);
        }
        for i in start..start + width {
            let parallel = if cc > 0.0 { dc / cc * f64::from(c[i]) } else { 0.0 };
            let scale = if dd.sqrt() > threshold { threshold / dd.sqrt() } else { 1.0 };
            y.push(scale * (f64::from(d[i]) - (1.0 - eta) * parallel));
        }
    }
    y
}

#[test]
fn guidance_update_matches_the_reference() {
    if gpu().is_none() {
        return;
    }
    let mut random = Random(3);
    for (rows, width) in [(1, 1), (3, 7), (14, 1024), (3, 4099), (5, 4160)] {
        for (threshold, eta) in [(Some(2.5), 0.0), (Some(2.5), 1.0), (None, 0.25)] {
            let case = format!("{rows}x{width} {threshold:?} {eta}");
            let mut d = random.vec(rows * width);
            // A prediction close to the difference's direction, and rows of zeros.
            let mut c: Vec<f32> = random.vec(rows * width).iter().zip(&d).map(|(r, d)| d + r).collect();
            if rows > 2 {
                d[..width].fill(0.0);
                c[width..2 * width].fill(0.0);
            }
            let want = update(&d, &c, width, threshold.map_or(f64::MAX, f64::from), f64::from(eta));
            let (d, c) = (upload(&[rows, width], &d), upload(&[rows, width], &c));
            let got = d.guidance_update(&c, rows, threshold, eta).unwrap();
            if rows * width == 1 && eta == 0.0 {
                // A single number has no other direction: nothing is left but rounding.
                assert!(got.to_f32().unwrap()[0].abs() < 1e-6, "{case}");
                continue;
            }
            check(&case, &got, &want, 5e-6);
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_named() {
    if gpu().is_none() {
        return;
    }
    let x = upload(&[1, 2, 2, 2, 4], &[0.0; 32]);
    let mask = upload(&[1, 2, 2, 1, 1], &[0.0; 4]);
    let error = x.inpaint(Inpaint { mask: &mask, clean: &x }).unwrap_err().to_string();
    assert!(error.contains("inpainting mask") && error.contains("[1, 2, 2, 1, 1]"), "{error}");
    assert!(x.guidance_update(&x, 5, None, 0.0).is_err());
}

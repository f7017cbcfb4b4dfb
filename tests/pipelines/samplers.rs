//! Samplers on denoisers that need no network: against a plain loop in f64, and against a flow that is known in closed form.

use super::gpu;
use viseme::Problem;
use viseme::diffusion::schedule::{ays, edm};
use viseme::diffusion::{Churn, Sampler};
use viseme::tensor::Tensor;

/// `sampler` from `x`, the denoiser being `slope(sigma) x + offset`, element by element.
fn run(
    sampler: Sampler,
    x: &[f64],
    sigmas: &[f64],
    slope: impl Fn(f64) -> f64,
    offset: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let upload = |values: Vec<f32>| Tensor::from_f32(gpu().unwrap(), &[values.len()], &values).unwrap();
    let start = upload(x.iter().map(|&v| v as f32).collect());
    let ones = upload(vec![1.0; x.len()]);
    let end = sampler.run(
        start,
        sigmas,
        |x, sigma| x.add_scaled(slope(sigma) as f32, &ones, offset(sigma) as f32),
        |_| Err(Problem::new("noise", "none", "churn").usage()),
        |_, _, _| Ok(()),
    );
    end.unwrap().to_f32().unwrap().into_iter().map(f64::from).collect()
}

fn relative(got: &[f64], want: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(want).map(|(g, w)| g - w)) / norm(&mut want.iter().copied())
}

fn wave(len: usize, scale: f64) -> Vec<f64> {
    (0..len).map(|i| scale * (1.3 * i as f64 + 0.4).sin()).collect()
}

/// DPM-Solver++ (2M) in the words of its paper: lambda = -ln sigma, D = (1 + 1/2r) D_i - 1/2r D_(i-1), r the ratio of the
/// last step in lambda to this one; D_i alone in the first step, in the one to 0 and where this step is more than twice the last.
fn plain_2m(x: f64, sigmas: &[f64], denoise: impl Fn(f64, f64) -> f64) -> f64 {
    let mut x = x;
    let mut denoised: Vec<f64> = Vec::new();
    for i in 0..sigmas.len() - 1 {
        denoised.push(denoise(x, sigmas[i]));
        let lambda = |i: usize| -f64::ln(sigmas[i]);
        let h = lambda(i + 1) - lambda(i);
        let mut d = denoised[i];
        if i > 0 && h.is_finite() && h <= 2.0 * (lambda(i) - lambda(i - 1)) {
            let half = 0.5 * h / (lambda(i) - lambda(i - 1));
            d = (1.0 + half) * denoised[i] - half * denoised[i - 1];
        }
        x = sigmas[i + 1] / sigmas[i] * x + (1.0 - f64::exp(-h)) * d;
    }
    x
}

#[test]
fn the_multistep_solver_is_the_plain_loop() {
    if gpu().is_none() {
        return;
    }
    let (slope, offset) = (|sigma: f64| 0.9 / (1.0 + sigma), |sigma: f64| 0.3 * (0.2 * sigma.ln()).cos());
    // Of these, 6 and 7 steps of the published table have one to 0.002 that is more than twice the one before.
    let mut schedules: Vec<Vec<f64>> = [1, 2, 6, 7, 9, 11, 20].map(|steps| ays(steps).unwrap()).into();
    schedules.push(edm(12, 0.002, 80.0, 7.0).unwrap());
    for sigmas in schedules {
        for len in [1, 3, 4, 1027] {
            let x = wave(len, sigmas[0]);
            let got = run(Sampler::DpmPlusPlus2M, &x, &sigmas, slope, offset);
            let want: Vec<f64> =
                x.iter().map(|&x| plain_2m(x, &sigmas, |x, sigma| slope(sigma) * x + offset(sigma))).collect();
            let error = relative(&got, &want);
            assert!(error < 2e-6, "{} steps, {len} elements: {error:.1e}", sigmas.len() - 1);
        }
    }
}

/// Data that is normal with mean m and deviation c has D = m + c^2 / (c^2 + sigma^2) (x - m), and its flow keeps
/// (x - m) / sqrt(c^2 + sigma^2).
#[test]
fn on_normal_data_the_solver_is_of_second_order_and_beats_eulers() {
    if gpu().is_none() {
        return;
    }
    let euler = Sampler::Euler(Churn::default());
    let x = wave(64, 20.0);
    for (mean, deviation) in [(0.0, 0.5), (0.3, 1.0), (-1.0, 2.0)] {
        let variance: f64 = deviation * deviation;
        let shrink = |sigma: f64| variance / (variance + sigma * sigma);
        let error = |sampler: Sampler, steps: usize| {
            let sigma = |i: usize| 20.0 * (0.05f64 / 20.0).powf(i as f64 / steps as f64);
            let sigmas: Vec<f64> = (0..=steps).map(sigma).collect();
            let kept = ((variance + sigmas[steps].powi(2)) / (variance + sigmas[0].powi(2))).sqrt();
            let want: Vec<f64> = x.iter().map(|&x| mean + kept * (x - mean)).collect();
            let got = run(sampler, &x, &sigmas, shrink, |sigma| mean * (1.0 - shrink(sigma)));
            relative(&got, &want)
        };
        let [euler, multi] = [euler, Sampler::DpmPlusPlus2M].map(|s| [16, 32, 64, 128].map(|n| error(s, n)));
        println!("deviation {deviation}: Euler {euler:?}, 2M {multi:?}");
        for i in 0..4 {
            assert!(multi[i] < 0.2 * euler[i], "deviation {deviation}: 2M {multi:?}, Euler {euler:?}");
        }
        for pair in multi.windows(2) {
            assert!((3.4..4.6).contains(&(pair[0] / pair[1])), "second order, deviation {deviation}: {multi:?}");
        }
        for pair in euler.windows(2) {
            assert!((1.7..2.3).contains(&(pair[0] / pair[1])), "first order, deviation {deviation}: {euler:?}");
        }
        // The steps that the approximation takes, against the published ones.
        let published = |sampler: Sampler, steps: usize| {
            let sigmas = ays(steps).unwrap();
            let start: Vec<f64> = x.iter().map(|x| x * 35.0).collect();
            let kept = deviation / (variance + sigmas[0].powi(2)).sqrt();
            let want: Vec<f64> = start.iter().map(|&x| mean + kept * (x - mean)).collect();
            relative(&run(sampler, &start, &sigmas, shrink, |sigma| mean * (1.0 - shrink(sigma))), &want)
        };
        let [fewer, more] = [6, 22].map(|n| [Sampler::default(), Sampler::DpmPlusPlus2M].map(|s| published(s, n)));
        println!("published levels, Euler and 2M: 6 steps {fewer:?}, 22 steps {more:?}");
        assert!(fewer[1] < fewer[0] && more[1] < more[0], "deviation {deviation}: {fewer:?} {more:?}");
    }
}

//! Noise levels and preconditioning, in f64 on the host; casting to f32 is the sampler's business.
//! Sources: Sabour et al. 2024 (Align Your Steps), Karras et al. 2022 (EDM), sgm `VScalingWithEDMcNoise`.

use crate::{Problem, Result};

/// Align Your Steps for Stable Video Diffusion.
const AYS_SIGMAS: [f64; 11] = [700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002];

/// More than any sampler has a use for.
pub const MAX_STEPS: usize = 1000;

/// The noise levels of `steps` network evaluations and the final 0: `steps + 1` values. At 11 they are the published
/// table, else its logarithm resampled linearly; a single step starts from the largest. Errors: no steps, or
/// more than [`MAX_STEPS`].
pub fn ays(steps: usize) -> Result<Vec<f64>> {
    let ln_sigma = AYS_SIGMAS.map(f64::ln);
    let intervals = AYS_SIGMAS.len() - 1;
    let sigma = |i: usize| {
        if steps == AYS_SIGMAS.len() || i == 0 {
            return AYS_SIGMAS[i];
        }
        let place = (i * intervals) as f64 / (steps - 1) as f64;
        let left = (place as usize).min(intervals - 1);
        (ln_sigma[left] + (place - left as f64) * (ln_sigma[left + 1] - ln_sigma[left])).exp()
    };
    with_final_zero(steps, sigma)
}

/// The evaluations that the published configuration's `num_steps` really makes: the table has 11 entries, so 10 makes 11.
/// Errors: below 10, which upstream refuses too.
pub fn upstream_evaluations(num_steps: usize) -> Result<usize> {
    match num_steps {
        10 => Ok(11),
        11.. => Ok(num_steps),
        _ => Err(Problem::new("num_steps", "10 or more", num_steps.to_string())
            .remedy("--steps counts network evaluations and takes any number")
            .usage()),
    }
}

/// `(sigma_max^(1/rho) + i/(steps-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho` for each step, then 0 (EDM, eq. 5; rho
/// is 7 there). Errors: no steps, more than [`MAX_STEPS`], or sigmas that are not `0 < sigma_min < sigma_max`.
pub fn edm(steps: usize, sigma_min: f64, sigma_max: f64, rho: f64) -> Result<Vec<f64>> {
    if !(0.0 < sigma_min && sigma_min < sigma_max && sigma_max.is_finite() && rho > 0.0 && rho.is_finite()) {
        let found = format!("{sigma_min}, {sigma_max}, rho {rho}");
        return Err(Problem::new("EDM schedule", "0 < sigma_min < sigma_max and rho above 0", found).usage());
    }
    let (low, high) = (sigma_min.powf(1.0 / rho), sigma_max.powf(1.0 / rho));
    with_final_zero(steps, |i| match i {
        0 => sigma_max,
        _ if i + 1 == steps => sigma_min,
        _ => (high + i as f64 / (steps - 1) as f64 * (low - high)).powf(rho),
    })
}

fn with_final_zero(steps: usize, sigma: impl Fn(usize) -> f64) -> Result<Vec<f64>> {
    if !(1..=MAX_STEPS).contains(&steps) {
        return Err(Problem::new("steps", format!("1 to {MAX_STEPS}"), steps.to_string()).usage());
    }
    Ok((0..steps).map(sigma).chain([0.0]).collect())
}

/// `denoised = net(x * c_in, c_noise) * c_out + x * c_skip`: v-prediction with EDM's noise conditioning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scalings {
    pub c_skip: f64,
    pub c_out: f64,
    pub c_in: f64,
    pub c_noise: f64,
}

impl Scalings {
    /// `sigma` above 0.
    pub fn at(sigma: f64) -> Self {
        let variance = sigma * sigma + 1.0;
        Self {
            c_skip: 1.0 / variance,
            c_out: -sigma / variance.sqrt(),
            c_in: 1.0 / variance.sqrt(),
            c_noise: 0.25 * sigma.ln(),
        }
    }
}

/// What standard normal noise is multiplied with to start from `sigma`.
pub fn initial_scale(sigma: f64) -> f64 {
    (1.0 + sigma * sigma).sqrt()
}

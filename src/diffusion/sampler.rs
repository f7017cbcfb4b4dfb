//! Samplers step latents down the noise levels; the denoiser is a closure, whatever network stands behind it.
//! Sources: Karras et al. 2022 (EDM) algorithm 2; Lu et al. 2022 (DPM-Solver++ 2M); sgm `EulerEDMSampler`, `HeunEDMSampler`.

use crate::Result;
use crate::tensor::Tensor;

/// Noise put back at each step, EDM's S_churn, S_tmin, S_tmax and S_noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    pub amount: f64,
    pub from: f64,
    pub to: f64,
    pub noise: f64,
}

impl Default for Churn {
    /// None, as published.
    fn default() -> Self {
        Self { amount: 0.0, from: 0.0, to: f64::INFINITY, noise: 1.0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampler {
    /// One evaluation a step; published.
    Euler(Churn),
    /// Two evaluations a step, but one in the last.
    Heun(Churn),
    /// One evaluation a step, second order by the one before; first order in the first step, in the one to 0, and where a
    /// step in log sigma is more than twice as long as the one before.
    DpmPlusPlus2M,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::Euler(Churn::default())
    }
}

impl Sampler {
    /// Latents at `sigmas[0]` → latents at the last of `sigmas`.
    ///
    /// `denoise(x, sigma)` returns the (guided) denoised latents; `fresh_noise(step)` standard normal noise of `x`'s shape,
    /// asked for only where churn needs it; `after(step, denoised, x)` sees each step's result and may end the run by an error.
    pub fn run(
        &self,
        x: Tensor,
        sigmas: &[f64],
        mut denoise: impl FnMut(&Tensor, f64) -> Result<Tensor>,
        mut fresh_noise: impl FnMut(usize) -> Result<Tensor>,
        mut after: impl FnMut(usize, &Tensor, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = x;
        let steps = sigmas.len().saturating_sub(1);
        let mut before: Option<(Tensor, f64)> = None;
        for (step, pair) in sigmas.windows(2).enumerate() {
            let [sigma, next] = [pair[0], pair[1]];
            let churn = match self {
                Sampler::Euler(churn) | Sampler::Heun(churn) => *churn,
                Sampler::DpmPlusPlus2M => Churn::default(),
            };
            let gamma = match (churn.from..=churn.to).contains(&sigma) {
                true => (churn.amount / steps as f64).min(2f64.sqrt() - 1.0),
                false => 0.0,
            };
            let sigma_hat = sigma * (1.0 + gamma);
            if gamma > 0.0 {
                let added = (sigma_hat * sigma_hat - sigma * sigma).sqrt() * churn.noise;
                x = x.add_scaled(1.0, &fresh_noise(step)?, added as f32)?;
            }
            let denoised = denoise(&x, sigma_hat)?;
            x = match self {
                Sampler::Euler(_) => x.euler_step(&denoised, sigma_hat as f32, next as f32)?,
                Sampler::Heun(_) => {
                    let euler = x.euler_step(&denoised, sigma_hat as f32, next as f32)?;
                    if next == 0.0 {
                        euler
                    } else {
                        let again = denoise(&euler, next)?;
                        heun(&x, &denoised, &euler, &again, sigma_hat, next)?
                    }
                }
                Sampler::DpmPlusPlus2M => {
                    let stepped = dpm_2m(&x, &denoised, before.as_ref(), sigma, next)?;
                    before = Some((denoised.clone(), sigma));
                    stepped
                }
            };
            after(step, &denoised, &x)?;
        }
        Ok(x)
    }
}

/// `x + (next - sigma) (d + d') / 2`, with d the slope at `x` and d' that at the Euler step's end.
fn heun(x: &Tensor, denoised: &Tensor, euler: &Tensor, again: &Tensor, sigma: f64, next: f64) -> Result<Tensor> {
    let half = (next - sigma) / 2.0;
    let first = x.add_scaled((1.0 + half / sigma) as f32, denoised, (-half / sigma) as f32)?;
    first.combine(euler, again, [1.0, (half / next) as f32, (-half / next) as f32])
}

/// Steps in log sigma may grow so much from one to the next. Beyond, the line through the last two denoised latents would be
/// followed further than they lie apart, where they in truth come to rest: at 6 evaluations of [`super::schedule::ays`] the step
/// to 0.002 alone would undo what second order gains.
const LARGEST_GROWTH: f64 = 2.0;

/// Exponential integrator on log sigma with the last two denoised latents.
fn dpm_2m(x: &Tensor, denoised: &Tensor, before: Option<&(Tensor, f64)>, sigma: f64, next: f64) -> Result<Tensor> {
    if next == 0.0 {
        return Ok(denoised.clone());
    }
    let h = (sigma / next).ln();
    let (keep, take) = ((next / sigma) as f32, -(-h).exp_m1());
    match before.map(|(old, old_sigma)| (old, (old_sigma / sigma).ln() / h)) {
        Some((old, r)) if r * LARGEST_GROWTH >= 1.0 => {
            let (now, then) = (take * (1.0 + 0.5 / r), -take * 0.5 / r);
            x.combine(denoised, old, [keep, now as f32, then as f32])
        }
        _ => x.add_scaled(keep, denoised, take as f32),
    }
}

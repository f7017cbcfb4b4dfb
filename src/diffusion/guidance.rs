//! How the denoised latents of several conditionings become one. Sources: Ho and Salimans 2022 (classifier-free guidance);
//! KeySync sec. 3; Karras et al. 2024 (autoguidance); Sadat et al. 2024 (normalised guidance with momentum); sgm `VanillaCFG`.

use crate::Result;
use crate::tensor::Tensor;

/// What a network is told in one branch of the guidance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// Neither reference frames nor audio.
    Unconditional,
    /// Reference frames, no audio.
    Reference,
    /// Both.
    Conditional,
    /// Both, asked of a second, weaker network.
    Weaker,
}

impl Branch {
    /// Whether one evaluation can serve this branch beside those of the main network.
    pub fn is_main(self) -> bool {
        self != Branch::Weaker
    }
}

/// Published guidance of both stages of KeySync and of KeyFace's keyframes.
pub const AUDIO_SCALE: f32 = 5.0;
pub const REFERENCE_SCALE: f32 = 2.0;
/// Published autoguidance of KeyFace's interpolation.
pub const AUTO_SCALE: f32 = 2.0;

/// Noise levels at which guidance is applied: sigma above `above`, up to `to`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub above: f64,
    pub to: f64,
}

impl Interval {
    /// At every noise level, as published.
    pub const ALL: Self = Self { above: 0.0, to: f64::INFINITY };

    /// Where guidance decides something (Kynkäänniemi et al. 2024, who find (0.28, 5.42] for Stable Diffusion XL).
    ///
    /// Above 20 a difference between branches, of the size of the latents, is a few hundredths of the noise of the next level;
    /// their 5.42 moves up by about sqrt(14), since frames that are alike leave one another's noise. Below 0.28 branches
    /// differ by `c_out`, about sigma, times the difference of the network's outputs: too little to see.
    pub const MIDDLE: Self = Self { above: 0.28, to: 20.0 };

    pub fn contains(&self, sigma: f64) -> bool {
        self.above < sigma && sigma <= self.to
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guidance {
    /// The conditional branch alone.
    None,
    /// `uncond + scale (cond - uncond)`.
    Vanilla { scale: f32 },
    /// `audio (cond - ref) + reference (ref - uncond) + uncond`.
    AudioReference { audio: f32, reference: f32 },
    /// Autoguidance: `weaker + scale (cond - weaker)`, both fully conditioned, by two networks.
    Auto { scale: f32 },
}

impl Default for Guidance {
    fn default() -> Self {
        Self::AudioReference { audio: AUDIO_SCALE, reference: REFERENCE_SCALE }
    }
}

impl Guidance {
    /// This guidance inside `interval`; outside, the conditional branch alone. That is each formula with its scales at 1, where
    /// what the other branches give cancels out (at 0 the *un*conditional one would be left): the three-branch guidance of both
    /// stages of KeySync and of KeyFace's keyframes with audio = reference = 1, autoguidance with scale = 1, the weaker
    /// network not asked.
    pub fn within(self, interval: Interval, sigma: f64) -> Self {
        if interval.contains(sigma) { self } else { Guidance::None }
    }

    /// The branches that the network must be evaluated for, in the order that [`Guidance::guide`] takes them.
    pub fn branches(&self) -> &'static [Branch] {
        match self {
            Guidance::None => &[Branch::Conditional],
            Guidance::Vanilla { .. } => &[Branch::Unconditional, Branch::Conditional],
            Guidance::AudioReference { .. } => &[Branch::Unconditional, Branch::Reference, Branch::Conditional],
            Guidance::Auto { .. } => &[Branch::Weaker, Branch::Conditional],
        }
    }

    /// One tensor out of the denoised latents of [`Guidance::branches`].
    pub fn guide(&self, parts: &[Tensor]) -> Result<Tensor> {
        match (self, parts) {
            (Guidance::Vanilla { scale } | Guidance::Auto { scale }, [worse, cond]) => {
                worse.add_scaled(1.0 - scale, cond, *scale)
            }
            (Guidance::AudioReference { audio, reference }, [uncond, with_reference, cond]) => {
                cond.guide(with_reference, uncond, *audio, *reference)
            }
            (_, parts) => match parts {
                [.., cond] => Ok(cond.clone()),
                [] => {
                    Err(crate::Problem::new("guidance", format!("{} branches", self.branches().len()), "none").shape())
                }
            },
        }
    }
}

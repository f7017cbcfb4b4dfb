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

//! Diffusion without a network: noise levels, preconditioning, guidance and samplers.

mod denoiser;
mod guidance;
mod sampler;
pub mod schedule;

pub use denoiser::Denoiser;
pub use guidance::{AUDIO_SCALE, AUTO_SCALE, Branch, Guidance, Interval, REFERENCE_SCALE};
pub use sampler::{Churn, Sampler};

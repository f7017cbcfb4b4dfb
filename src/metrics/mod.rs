//! Measures of a generated video: LipLeak, lip sync, the mouth's motion, likeness to a reference, sharpness.
//!
//! Each measure stands by itself; [`report::measure`] takes whatever inputs there are, computes what they allow, and says
//! what it left out and why. LipLeak wants a clip driven with silence, see [`lipleak`].

pub mod image;
pub mod lipleak;
pub mod lpips;
pub mod mouth;
pub mod plot;
pub mod report;
pub mod sync;

pub use lipleak::LipLeak;
pub use lpips::Lpips;
pub use mouth::Mouth;
pub use report::{Inputs, Options, Pictures, Report, measure};
pub use sync::Sync;

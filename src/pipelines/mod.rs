//! Whole jobs: which frames go through which network call, and how a run that was cut off goes on.

pub mod animate;
pub mod audio;
mod demo;
pub mod emotion;
pub mod floats;
mod frames;
mod job;
pub mod lipsync;
pub mod region;
pub mod resume;
pub mod sampling;
pub mod segments;
pub mod sheet;
pub mod stage;
pub mod stretches;
pub mod timeline;
mod two_stage;
pub mod weights;

pub use crate::gpu::Cancel;
pub use frames::Frames;
pub use job::{Paste, Phase, Progress};
pub use sampling::{Approximation, Sampling};

//! Whole jobs: which frames go through which network call, and how a run that was cut off goes on.

pub mod audio;
pub mod emotion;
pub mod floats;
pub mod lipsync;
mod region;
pub mod resume;
pub mod segments;
pub mod stage;
pub mod weights;

//! Whole jobs: which frames go through which network call, and how a run that was cut off goes on.

pub mod audio;
pub mod resume;
pub mod segments;
pub mod stage;

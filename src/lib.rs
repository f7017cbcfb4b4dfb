//! Talking-face generation on any GPU that wgpu reaches, with kernels written by hand in WGSL.
#![deny(unsafe_code)]

mod error;
pub mod gpu;
pub mod ops;
pub mod tensor;

pub use error::{Error, Problem, Result};
pub use wgpu;

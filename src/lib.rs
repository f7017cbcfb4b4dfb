//! Talking-face generation on any GPU that wgpu reaches, with kernels written by hand in WGSL.
#![deny(unsafe_code)]

pub mod bench;
pub mod diffusion;
mod error;
pub mod face;
pub mod gpu;
pub mod media;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod ops;
pub mod pipelines;
mod svg;
pub mod tensor;
pub mod verify;
pub mod weights;

pub use error::{Error, Problem, Result};
pub use wgpu;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

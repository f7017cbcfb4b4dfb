//! Diffusion without a network: what the samplers step through.

pub mod schedule;

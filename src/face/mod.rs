//! Where the face is, and which part of it is generated.

pub mod landmarks;
pub mod mask;
pub mod mesh;
mod npy;
mod order;
pub mod shots;
pub mod smoothing;

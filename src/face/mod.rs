//! Where the face is, and which part of it is generated.

pub mod finder;
pub mod landmarks;
pub mod mask;
mod mesh;
mod npy;
mod order;

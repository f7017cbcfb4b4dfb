//! Where the face is, and which part of it is generated.

pub mod finder;
mod font;
pub mod landmarks;
pub mod mask;
pub mod mesh;
mod npy;
mod order;
pub mod sheet;
pub mod shots;
pub mod smoothing;
pub mod strips;
pub mod tracking;

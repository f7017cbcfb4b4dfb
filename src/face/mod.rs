//! Where the face is, and which part of it is generated.

mod font;
pub mod landmarks;
pub mod mask;
mod mesh;
mod npy;
mod order;
pub mod sheet;

//! Where the face is.

pub mod landmarks;

//! Networks: one file each, reading like its paper.

pub mod keysync;
pub mod unet;
pub mod vae;

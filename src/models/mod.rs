//! Networks: one file each, reading like its paper.

pub mod unet;

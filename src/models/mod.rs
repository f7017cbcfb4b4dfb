//! Networks: one file each, reading like its paper.

pub mod beats;
pub mod clip_unet;
pub mod fbank;
pub mod hubert;
pub mod relative;
pub mod speech;
pub mod unet;
pub mod vae;
pub mod wavlm;

use crate::nn::Loader;

/// How many of `name.0`, `name.1`, .. are there; `published` where none is, which loading then reports.
fn count(l: &Loader, name: &str, published: usize) -> usize {
    match (0..).take_while(|index| l.has(&format!("{name}.{index}"))).count() {
        0 => published,
        found => found,
    }
}

//! Networks: one file each, reading like its paper.

pub mod attention_mesh;
pub mod beats;
pub mod blazeface;
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

/// `name`, `name_1`, `name_2` .., as Keras numbers layers of one kind.
fn numbered(name: &str, index: usize) -> String {
    if index == 0 { name.to_owned() } else { format!("{name}_{index}") }
}

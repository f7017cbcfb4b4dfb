//! BlazeFace, short range: where faces are in a picture of 128x128, each with a box and six key points.
//! Source: Bazarevsky et al. 2019, "BlazeFace"; MediaPipe's face_detection_short_range.
//!
//! Traps: strides pad below and right first (TensorFlow's "SAME"); the finer map has two anchors a cell, the coarser one six, all of
//! one size, and boxes are offsets from a cell's centre in pixels of the input.

use super::numbered;
use crate::nn::{Loader, Slope, SmallConv, SmallForm, SmallNames};
use crate::ops::{Padding, Shortcut};
use crate::tensor::Tensor;
use crate::{Problem, Result};

/// Side of the input in pixels.
pub const SIDE: usize = 128;
/// Values of an anchor: the box's centre and size, then six key points.
pub const REGRESSORS: usize = 16;
/// Blocks with a stride of 2.
const STRIDED: [usize; 3] = [2, 5, 11];
/// The first block of the coarser map.
const COARSE: usize = 11;
const BLOCKS: usize = 16;
const FINE_ANCHORS: usize = 2;
const COARSE_ANCHORS: usize = 6;

pub struct BlazeFace {
    stem: SmallConv,
    /// From 64x64 to 16x16, then to 8x8.
    fine: Vec<SmallConv>,
    coarse: Vec<SmallConv>,
    fine_heads: SmallConv,
    coarse_heads: SmallConv,
}

/// What the network says about one picture, anchor by anchor, those of the finer map first.
pub struct Anchors {
    /// `[anchors, 16]`: centre and size of the box, then key points, as offsets from the anchor in pixels of the input.
    pub regressors: Vec<[f32; REGRESSORS]>,
    /// Logits.
    pub scores: Vec<f32>,
}

impl BlazeFace {
    pub fn load(l: &Loader) -> Result<Self> {
        let direct = |names: &[&str], slope: Slope, channels: usize, stride: usize| {
            let convs = names.iter().map(|&name| name.to_owned()).collect();
            let form = SmallForm { channels, stride, padding: Padding::Same, shortcut: Shortcut::None };
            SmallConv::load(l, &[SmallNames { depthwise: None, convs, slope }], form)
        };
        let stem = direct(&["conv2d"], Slope::Relu, 3, 2)?;
        let mut channels = stem.columns();
        let (mut fine, mut coarse, mut fine_channels) = (Vec::new(), Vec::new(), 0);
        for index in 0..BLOCKS {
            let names = SmallNames {
                depthwise: Some(numbered("depthwise_conv2d", index)),
                convs: vec![numbered("conv2d", index + 1)],
                slope: Slope::Relu,
            };
            let stride = if STRIDED.contains(&index) { 2 } else { 1 };
            let form = SmallForm { channels, stride, padding: Padding::Same, shortcut: Shortcut::Input };
            let block = SmallConv::load(l, &[names], form)?;
            channels = block.columns();
            if index < COARSE {
                fine_channels = channels;
                fine.push(block);
            } else {
                coarse.push(block);
            }
        }
        let fine_heads = direct(&["regressor_8", "classificator_8"], Slope::None, fine_channels, 1)?;
        let coarse_heads = direct(&["regressor_16", "classificator_16"], Slope::None, channels, 1)?;
        Ok(Self { stem, fine, coarse, fine_heads, coarse_heads })
    }

    /// `x` `[images, 128, 128, 3]`, -1 black and 1 white → what there is in each. Waits for the device, once.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<Anchors>> {
        let [images, ..] = x.dims::<4>("blazeface input")?;
        x.expect("blazeface input", &[images, SIDE, SIDE, 3])?;
        let mut h = self.stem.forward(x)?;
        for block in &self.fine {
            h = block.forward(&h)?;
        }
        let fine = self.fine_heads.forward(&h)?;

        for block in &self.coarse {
            h = block.forward(&h)?;
        }
        let coarse = self.coarse_heads.forward(&h)?;

        let flat = [&fine.reshape(&[fine.len()])?, &coarse.reshape(&[coarse.len()])?];
        let values = Tensor::stack_rows(&flat)?.to_f32()?;
        let (fine_values, coarse_values) = values.split_at(fine.len());
        let maps = [(fine_values, &fine, FINE_ANCHORS), (coarse_values, &coarse, COARSE_ANCHORS)];
        (0..images)
            .map(|image| {
                let mut found = Anchors { regressors: Vec::new(), scores: Vec::new() };
                for (values, map, anchors) in maps {
                    let width = values.len() / images;
                    for cell in values[image * width..][..width].chunks_exact(map.last_dim()) {
                        found.add(cell, anchors)?;
                    }
                }
                Ok(found)
            })
            .collect()
    }
}

impl Anchors {
    /// A cell's regressors, then its scores.
    fn add(&mut self, cell: &[f32], anchors: usize) -> Result<()> {
        let (regressors, scores) = cell.split_at_checked(anchors * REGRESSORS).ok_or_else(|| wrong(cell.len()))?;
        self.regressors.extend(regressors.as_chunks().0);
        self.scores.extend(scores.get(..anchors).ok_or_else(|| wrong(cell.len()))?);
        Ok(())
    }

    /// The centres of all anchors, as parts of the picture.
    pub fn centres() -> Vec<[f64; 2]> {
        let mut centres = Vec::new();
        for (stride, anchors) in [(8, FINE_ANCHORS), (16, COARSE_ANCHORS)] {
            let cells = SIDE / stride;
            for cell in 0..cells * cells {
                let part = |n: usize| (n as f64 + 0.5) / cells as f64;
                centres.extend(vec![[part(cell % cells), part(cell / cells)]; anchors]);
            }
        }
        centres
    }
}

fn wrong(found: usize) -> crate::Error {
    Problem::new("blazeface heads", format!("{REGRESSORS} regressors and a score for each anchor"), found.to_string())
        .weights()
}

//! What a filter bank needs beside matmuls: windowed frames of a waveform, and powers.

use super::{Call, FLAT, piece, reduction_constants, row_ranges};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const FRAMES: Kernel = super::kernel!("fbank_frames");
pub(super) const POWER: Kernel = super::kernel!("power_spectrum");

/// How a waveform is cut into frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Framing {
    /// Samples from one frame to the next.
    pub hop: usize,
    /// What the samples are multiplied by.
    pub scale: f32,
    /// This much of the sample before is taken from each; the first of a frame stands before itself.
    pub preemphasis: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct FrameParams {
    frames: u32,
    length: u32,
    hop: u32,
    scale: f32,
    preemphasis: f32,
}

impl Tensor {
    /// The frames that lie wholly inside `self` `[samples]` f32, as long as `window` `[length]`: each less its mean,
    /// pre-emphasised and windowed, `[frames, length]`. Errors: not even one frame.
    pub fn fbank_frames(&self, window: &Tensor, framing: Framing) -> Result<Tensor> {
        let [samples] = self.dims("fbank_frames samples")?;
        let [length] = window.dims("fbank_frames window")?;
        self.expect_elem("fbank_frames samples", Elem::F32)?;
        let hop = framing.hop;
        if !(1..=length).contains(&hop) || samples < length {
            let found = format!("{samples} samples, hop {hop}");
            let expected = format!("{length} samples or more and a hop of 1 to {length}");
            return Err(Problem::new("fbank_frames", expected, found).shape());
        }
        let frames = (samples - length) / hop + 1;
        let y = Tensor::empty(self.gpu(), &[frames, length], Elem::F32)?;
        let constants = reduction_constants(self.gpu());
        // Frames overlap, so that a part's samples take less room than its rows of y.
        for range in row_ranges("fbank_frames", frames, &[&y])? {
            let part = piece(self, range.start * hop, &[(range.len() - 1) * hop + length])?;
            Call {
                kernel: &FRAMES,
                constants: &constants,
                params: FrameParams {
                    frames: range.len() as u32,
                    length: length as u32,
                    hop: hop as u32,
                    scale: framing.scale,
                    preemphasis: framing.preemphasis,
                },
                tensors: &[&part, window, &y.rows(frames, &range)?],
                groups: range.len(),
                flops: 6.0 * (range.len() * length) as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }

    /// The squares of both halves of each row added: `[.., 2 * bins]`, real parts then imaginary ones → `[.., bins]`.
    pub fn power_spectrum(&self) -> Result<Tensor> {
        let parts = self.last_dim();
        if !parts.is_multiple_of(2) || parts == 0 {
            return Err(
                Problem::new("power_spectrum", "as many real parts as imaginary ones", parts.to_string()).shape()
            );
        }
        let (bins, rows) = (parts / 2, self.len() / parts);
        let mut shape = self.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = bins;
        }
        let y = Tensor::empty(self.gpu(), &shape, self.elem())?;
        for range in row_ranges("power_spectrum", rows, &[self, &y])? {
            let y_part = y.rows(rows, &range)?;
            Call {
                kernel: &POWER,
                constants: &[FLAT, ("VECTOR", u32::from(bins.is_multiple_of(4)))],
                params: [y_part.len() as u32, bins as u32],
                tensors: &[&self.rows(rows, &range)?, &y_part],
                groups: y_part.len().div_ceil(4 * FLAT.1 as usize),
                flops: 3.0 * y_part.len() as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }
}

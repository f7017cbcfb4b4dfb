use super::{Call, FLAT, piece};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("overlap_merge");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    width: u32,
    first: u32,
    base: u32,
    segments: u32,
    length: u32,
    step: u32,
}

impl Tensor {
    /// One sequence out of segments that share `overlap` frames with the next: `[segments, length, ..]` →
    /// `[length + (segments - 1) * (length - overlap), ..]`, frames in several segments averaged. f32.
    /// Source: KeySync's `merge_overlapping_segments`.
    pub fn overlap_merge(&self, overlap: usize) -> Result<Tensor> {
        let (segments, length) = match self.shape() {
            [segments, length, ..] if *segments > 0 && overlap < *length => (*segments, *length),
            other => {
                let expected = format!("[segments, more than {overlap} frames, ..]");
                return Err(Problem::new("overlap_merge", expected, format!("{other:?}")).shape());
            }
        };
        self.expect_elem("overlap_merge", Elem::F32)?;
        let step = length - overlap;
        let frames = length + (segments - 1) * step;
        let width = self.len() / (segments * length);
        let mut shape = vec![frames];
        shape.extend(&self.shape()[2..]);
        let y = Tensor::empty(self.gpu(), &shape, Elem::F32)?;
        let merge = |x: &Tensor, base: usize, y: &Tensor, first: usize| {
            let params = [y.len(), width, first, base, segments, length, step].map(|v| v as u32);
            let [count, width, first, base, segments, length, step] = params;
            Call {
                kernel: &KERNEL,
                constants: &[FLAT],
                params: Params { count, width, first, base, segments, length, step },
                tensors: &[x, y],
                groups: y.len().div_ceil(FLAT.1 as usize),
                flops: 4.0 * y.len() as f64,
                site: None,
            }
            .record()
        };
        if self.size_bytes().max(y.size_bytes()) <= self.gpu().capabilities().max_binding_bytes {
            merge(self, 0, &y, 0)?;
            return Ok(y);
        }
        // Frame by frame, each with the stretch of segments that holds it, or as a sum where even that is too long.
        for frame in 0..frames {
            let first = if frame < length { 0 } else { (frame - length) / step + 1 };
            let last = (frame / step).min(segments - 1);
            let place = |segment: usize| segment * length + frame - segment * step;
            let stretch = place(last) + 1 - place(first);
            if 4 * stretch * width > self.gpu().capabilities().max_binding_bytes as usize {
                let shown = |segment: usize| piece(self, place(segment) * width, &[width]);
                let mut sum = shown(first)?;
                for segment in first + 1..=last {
                    sum = sum.add(&shown(segment)?)?;
                }
                let count = (last + 1 - first) as f32;
                y.copy_in(frame * width, &if count > 1.0 { sum.affine(1.0 / count, 0.0)? } else { sum })?;
                continue;
            }
            let x = piece(self, place(first) * width, &[place(last) + 1 - place(first), width])?;
            let merged = Tensor::empty(self.gpu(), &[1, width], Elem::F32)?;
            merge(&x, place(first), &merged, frame)?;
            y.copy_in(frame * width, &merged)?;
        }
        Ok(y)
    }
}

//! Bilinear sampling of pictures and feature maps under affine maps.

use super::{Affine, Call, FLAT, Rgb, piece, row_ranges};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::ops::Range;

pub(super) const KERNEL: Kernel = super::kernel!("sample_affine");

/// What lies beyond a picture's edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// Black pixels.
    Zero,
    /// The pixels at the edge, again and again.
    Replicate,
}

/// The kernel's BORDER for feature maps: a point outside the outermost pixels' centres is zero.
const NOTHING_OUTSIDE: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    first: u32,
    out_height: u32,
    out_width: u32,
    images: u32,
    height: u32,
    width: u32,
    quads: u32,
    first_row: u32,
    rows: u32,
    base: u32,
    map: [f32; 6],
    scale: f32,
    shift: f32,
}

/// Rows of a range, and how many words of the picture lie before them.
type Bind<'a> = dyn Fn(&Range<usize>) -> Result<(Tensor, usize)> + 'a;

/// What is sampled: rows of images, and how those of a range are bound.
struct Source<'a> {
    images: usize,
    /// Height and width of an image.
    size: [usize; 2],
    /// Groups of four channels; 1 for RGB.
    quads: usize,
    /// The most rows that a binding holds.
    fitting: usize,
    bind: &'a Bind<'a>,
}

impl Rgb {
    /// The first frame under `map`, from pixels of the output to pixels of the picture, as f32 `[1, height, width, 3]`: bilinear,
    /// values from 0 for black to 1 for white times `scale` plus `shift`.
    ///
    /// Errors: a map that is not finite, or rows of the picture that fit no binding.
    pub fn sample_tensor(
        &self,
        map: &Affine,
        [height, width]: [usize; 2],
        border: Border,
        [scale, shift]: [f32; 2],
    ) -> Result<Tensor> {
        if !map.0.as_flattened().iter().all(|v| v.is_finite()) {
            return Err(Problem::new("sample_tensor", "a finite map", format!("{map:?}")).input());
        }
        let row_values = 3 * self.width();
        let per_word = 4 / self.depth().bytes();
        let limit_words = self.gpu().capabilities().max_binding_bytes as usize / 4;
        let bind = |rows: &Range<usize>| -> Result<(Tensor, usize)> {
            // 64 words are a binding's border on every device.
            let base = rows.start * row_values / per_word / 64 * 64;
            let end = (rows.end * row_values).div_ceil(per_word);
            Ok((piece(&self.words().rows(self.frames(), &(0..1))?, base, &[end - base])?, base))
        };
        let source = Source {
            images: 1,
            size: [self.height(), self.width()],
            quads: 1,
            fitting: limit_words.saturating_sub(65) * per_word / row_values,
            bind: &bind,
        };
        let y = Tensor::empty(self.gpu(), &[1, height, width, 3], Elem::F32)?;
        let border = match border {
            Border::Zero => 0,
            Border::Replicate => 1,
        };
        let constants = [FLAT, self.depth().constant(), ("RGB", 1), ("BORDER", border)];
        let [upper, lower] = map.0.map(|row| row.map(|v| v as f32));
        let parameters = [upper[0], upper[1], upper[2], lower[0], lower[1], lower[2]];
        source.sample(&y, None, parameters, [scale, shift], &constants)?;
        Ok(y)
    }
}

impl Tensor {
    /// `self` `[images, height, width, channels]` in f32 under each of `maps` `[n, 8]`, made on the device: rows `[a, b, c]` and
    /// `[d, e, f]` of a map as [`Affine`] has them, from pixels of the output to pixels of image `n % images`; then two values of no
    /// use. Bilinear, zero outside the outermost pixels' centres: `[n, size.., channels]`.
    ///
    /// Errors: channels that are no multiple of 4.
    pub fn sample_affine(&self, maps: &Tensor, [out_height, out_width]: [usize; 2]) -> Result<Tensor> {
        let [images, height, width, channels] = self.dims("sample_affine")?;
        let [n, _] = maps.dims("maps of sample_affine")?;
        maps.expect("maps of sample_affine", &[n, 8])?;
        self.expect_elem("sample_affine", Elem::F32)?;
        maps.expect_elem("maps of sample_affine", Elem::F32)?;
        if !channels.is_multiple_of(4) || self.is_empty() {
            return Err(Problem::new("sample_affine", "images of 4, 8, .. channels", format!("{self:?}")).shape());
        }
        let rows = images * height;
        let bind = |range: &Range<usize>| -> Result<(Tensor, usize)> {
            Ok((piece(self, range.start * width * channels, &[range.len(), width, channels])?, 0))
        };
        let row_bytes = width * channels * 4;
        let fitting = (self.gpu().capabilities().max_binding_bytes as usize / row_bytes).min(rows);
        let source = Source { images, size: [height, width], quads: channels / 4, fitting, bind: &bind };
        let y = Tensor::empty(self.gpu(), &[n, out_height, out_width, channels], Elem::F32)?;
        source.sample(&y, Some(maps), [0.0; 6], [1.0, 0.0], &[FLAT, ("BORDER", NOTHING_OUTSIDE)])?;
        Ok(y)
    }
}

impl Source<'_> {
    /// Fills `y` `[n, out_height, out_width, channels]`; what does not fit a binding in one after the other, the source's rows added up.
    fn sample(
        &self,
        y: &Tensor,
        maps: Option<&Tensor>,
        map: [f32; 6],
        [scale, shift]: [f32; 2],
        constants: &[(&'static str, u32)],
    ) -> Result<()> {
        let [n, out_height, out_width, _] = y.dims("samples")?;
        let rows = self.images * self.size[0];
        if self.fitting == 0 {
            let limit = y.gpu().capabilities().max_binding_bytes;
            let found = format!("rows of {} pixels", self.size[1]);
            return Err(Problem::new("sampling", format!("rows that fit a binding of {limit} bytes"), found).gpu());
        }
        let units = n * out_height * out_width * self.quads;
        for range in row_ranges("samples", units, &[y])? {
            let part = y.rows(units, &range)?;
            for first_row in (0..rows).step_by(self.fitting) {
                let bound = first_row..rows.min(first_row + self.fitting);
                let (x, base) = (self.bind)(&bound)?;
                let mut tensors = vec![&x];
                tensors.extend(maps);
                tensors.push(&part);
                let constants = [constants, &[("CARRY", u32::from(first_row > 0))]].concat();
                Call {
                    kernel: &KERNEL,
                    constants: &constants,
                    params: Params {
                        count: range.len() as u32,
                        first: range.start as u32,
                        out_height: out_height as u32,
                        out_width: out_width as u32,
                        images: self.images as u32,
                        height: self.size[0] as u32,
                        width: self.size[1] as u32,
                        quads: self.quads as u32,
                        first_row: first_row as u32,
                        rows: bound.len() as u32,
                        base: base as u32,
                        map,
                        scale,
                        shift,
                    },
                    tensors: &tensors,
                    groups: range.len().div_ceil(FLAT.1 as usize),
                    flops: 40.0 * range.len() as f64,
                    site: None,
                }
                .record()?;
            }
        }
        Ok(())
    }
}

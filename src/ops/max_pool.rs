use super::{Call, FLAT, piece};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("max_pool");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    width: u32,
    out_width: u32,
    channels: u32,
    size: u32,
    stride: u32,
}

impl Tensor {
    /// The largest value of each `size` x `size` window of `self` `[images, height, width, channels]`, `stride` apart; windows
    /// that reach beyond the image are left out. f32 only.
    pub fn max_pool(&self, size: usize, stride: usize) -> Result<Tensor> {
        let [images, height, width, channels] = self.dims("max_pool")?;
        self.expect_elem("max_pool", Elem::F32)?;
        if stride == 0 || size == 0 || height < size || width < size {
            let expected = format!("images of {size}x{size} or more, a stride of 1 or more");
            return Err(Problem::new("max_pool", expected, format!("{self:?}, stride {stride}")).shape());
        }
        let [out_height, out_width] = [height, width].map(|n| (n - size) / stride + 1);
        let y = Tensor::empty(self.gpu(), &[images, out_height, out_width, channels], Elem::F32)?;
        let row = out_width * channels;
        let limit = self.gpu().capabilities().max_binding_bytes as usize;
        // Bands of output rows, from the input rows below them, each within one binding.
        let fits = |rows: usize| {
            let input = ((rows - 1) * stride + size) * width * channels * 4;
            input.max(rows * row * 4) <= limit
        };
        let pool = |x: &Tensor, [rows, columns]: [usize; 2]| -> Result<Tensor> {
            let part = Tensor::empty(self.gpu(), &[rows, columns, channels], Elem::F32)?;
            Call {
                kernel: &KERNEL,
                constants: &[FLAT, ("VECTOR", u32::from(channels.is_multiple_of(4)))],
                params: Params {
                    count: part.len() as u32,
                    width: x.shape()[1] as u32,
                    out_width: columns as u32,
                    channels: channels as u32,
                    size: size as u32,
                    stride: stride as u32,
                },
                tensors: &[x, &part],
                groups: part.len().div_ceil(4 * FLAT.1 as usize),
                flops: (size * size * part.len()) as f64,
                site: None,
            }
            .record()?;
            Ok(part)
        };
        let Some(band) = (1..=out_height).rev().find(|&rows| fits(rows)) else {
            // Not even the rows below one output row: strips of its columns.
            let fitting = limit / (size * channels * 4);
            let strip = (fitting + stride).saturating_sub(size) / stride;
            if strip == 0 {
                let found = format!("a window of {size}x{size}x{channels}");
                return Err(
                    Problem::new("max_pool", format!("windows that fit a binding of {limit} bytes"), found).gpu()
                );
            }
            for line in 0..images * out_height {
                let top = line / out_height * height + line % out_height * stride;
                for first in (0..out_width).step_by(strip) {
                    let columns = strip.min(out_width - first);
                    let below = [1, (columns - 1) * stride + size, channels];
                    let row = |row: usize| piece(self, ((top + row) * width + first * stride) * channels, &below);
                    let rows = (0..size).map(row).collect::<Result<Vec<_>>>()?;
                    let x = Tensor::stack_rows(&rows.iter().collect::<Vec<_>>())?;
                    y.copy_in((line * out_width + first) * channels, &pool(&x, [1, columns])?)?;
                }
            }
            return Ok(y);
        };
        for image in 0..images {
            for first in (0..out_height).step_by(band) {
                let rows = band.min(out_height - first);
                let below = [(rows - 1) * stride + size, width, channels];
                let start = (image * height + first * stride) * width * channels;
                let part = pool(&piece(self, start, &below)?, [rows, out_width])?;
                y.copy_in((image * out_height + first) * row, &part)?;
            }
        }
        Ok(y)
    }
}

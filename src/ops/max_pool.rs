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
        let Some(band) = (1..=out_height).rev().find(|&rows| fits(rows)) else {
            let found = format!("{size} rows of {width}x{channels}");
            return Err(Problem::new("max_pool", format!("rows that fit a binding of {limit} bytes"), found).gpu());
        };
        for image in 0..images {
            for first in (0..out_height).step_by(band) {
                let rows = band.min(out_height - first);
                let below = [(rows - 1) * stride + size, width, channels];
                let start = (image * height + first * stride) * width * channels;
                let part = Tensor::empty(self.gpu(), &[rows, out_width, channels], Elem::F32)?;
                Call {
                    kernel: &KERNEL,
                    constants: &[FLAT, ("VECTOR", u32::from(channels.is_multiple_of(4)))],
                    params: Params {
                        count: part.len() as u32,
                        width: width as u32,
                        out_width: out_width as u32,
                        channels: channels as u32,
                        size: size as u32,
                        stride: stride as u32,
                    },
                    tensors: &[&piece(self, start, &below)?, &part],
                    groups: part.len().div_ceil(4 * FLAT.1 as usize),
                    flops: (size * size * part.len()) as f64,
                    site: None,
                }
                .record()?;
                y.copy_in((image * out_height + first) * row, &part)?;
            }
        }
        Ok(y)
    }
}

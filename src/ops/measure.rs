//! Measures of 8-bit pictures and of feature maps, as partial sums that the host adds up in f64: errors of the f32 sum of a
//! whole frame would show in the metric.

use super::{Call, Rgb, piece, reduction_constants, row_ranges};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const SQUARED_ERROR: Kernel = super::kernel!("squared_error");
pub(super) const LAPLACIAN: Kernel = super::kernel!("laplacian");
pub(super) const SSIM: Kernel = super::kernel!("ssim");
pub(super) const DISTANCE: Kernel = super::kernel!("feature_distance");

/// Invocations of a workgroup and elements of each, in the kernels with exact sums: 16 KiB and 1024 pixels a part.
const EXACT: [(&str, u32); 2] = [("WORKGROUP", 64), ("EACH", 64)];
const EXACT_PIXELS: [(&str, u32); 2] = [("WORKGROUP", 64), ("EACH", 16)];
/// The kernel's TAPS and TILE.
const SSIM_TAPS: usize = 11;
const SSIM_TILE: usize = 16;

fn part_size(constants: &[(&str, u32)]) -> usize {
    constants.iter().map(|(_, value)| *value as usize).product()
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct LaplacianParams {
    width: u32,
    height: u32,
    parts: u32,
    first: u32,
    base: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SsimParams {
    width: u32,
    height: u32,
    tiles: u32,
    tile_rows: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct DistanceParams {
    rows: u32,
    channels: u32,
    eps: f32,
}

impl Rgb {
    /// Per frame a u32 tensor of partial sums of `(self - other)^2` over all pixels and colours; exact.
    pub fn squared_error(&self, other: &Rgb) -> Result<Vec<Tensor>> {
        self.expect_alike("squared_error", other)?;
        let (size, limit) = (part_size(&EXACT), self.gpu().capabilities().max_binding_bytes as usize);
        let parts = self.stride().div_ceil(size);
        let measure = |frame: usize| {
            let y = Tensor::empty(self.gpu(), &[parts], Elem::U32)?;
            let (a, b) = (self.frame(frame)?, other.frame(frame)?);
            let step = (limit / (4 * size)).max(1);
            for first in (0..parts).step_by(step) {
                let count = step.min(parts - first);
                let words = (count * size).min(self.stride() - first * size);
                let band = |of: &Rgb| piece(of.words(), first * size, &[words]);
                let part = Tensor::empty(self.gpu(), &[count], Elem::U32)?;
                Call {
                    kernel: &SQUARED_ERROR,
                    constants: &EXACT,
                    params: [words as u32, count as u32],
                    tensors: &[&band(&a)?, &band(&b)?, &part],
                    groups: count,
                    flops: 12.0 * words as f64,
                    site: None,
                }
                .record()?;
                y.copy_in(first, &part)?;
            }
            Ok(y)
        };
        (0..self.frames()).map(measure).collect()
    }

    /// Per frame u32 `[parts, 2]`: partial sums of the grey picture's Laplacian (as i32 bits) and of its square; exact. The
    /// 3x3 Laplacian and the grey are OpenCV's.
    pub fn laplacian(&self) -> Result<Vec<Tensor>> {
        self.expect_eight_bits("laplacian")?;
        let (size, limit) = (part_size(&EXACT_PIXELS), self.gpu().capabilities().max_binding_bytes as usize);
        let pixels = self.width() * self.height();
        let parts = pixels.div_ceil(size);
        let measure = |frame: usize| {
            let y = Tensor::empty(self.gpu(), &[parts, 2], Elem::U32)?;
            let words = self.frame(frame)?;
            // The parts' own rows, those they begin and end in, and one above and below.
            let margin = 4 * self.width() * 3 + 512;
            let step = (limit.saturating_sub(margin) / (3 * size)).max(1);
            for first in (0..parts).step_by(step) {
                let count = step.min(parts - first);
                let top = (first * size / self.width()).saturating_sub(1);
                let last = ((first + count) * size).min(pixels) - 1;
                let bottom = (last / self.width() + 2).min(self.height());
                // From a binding's border on, 256 bytes at most.
                let begin = top * self.width() * 3 / 256 * 64;
                let end = (bottom * self.width() * 3).div_ceil(4);
                let part = Tensor::empty(self.gpu(), &[count, 2], Elem::U32)?;
                Call {
                    kernel: &LAPLACIAN,
                    constants: &EXACT_PIXELS,
                    params: LaplacianParams {
                        width: self.width() as u32,
                        height: self.height() as u32,
                        parts: count as u32,
                        first: first as u32,
                        base: 4 * begin as u32,
                    },
                    tensors: &[&piece(words.words(), begin, &[end - begin])?, &part],
                    groups: count,
                    flops: 40.0 * (last + 1 - first * size) as f64,
                    site: None,
                }
                .record()?;
                y.copy_in(2 * first, &part)?;
            }
            Ok(y)
        };
        (0..self.frames()).map(measure).collect()
    }

    /// Per frame f32 `[3, tile rows, tiles]`: sums of the structural similarity of all 11x11 windows of a colour that lie in the
    /// picture, `(height - 10) (width - 10)` of them; Gaussian of sigma 1.5, variances over the weights (Wang et al. 2004).
    pub fn ssim(&self, other: &Rgb) -> Result<Vec<Tensor>> {
        self.expect_alike("ssim", other)?;
        let windows = [self.height(), self.width()].map(|size| (size + 1).saturating_sub(SSIM_TAPS));
        if windows.contains(&0) {
            let found = format!("{}x{}", self.width(), self.height());
            return Err(Problem::new("ssim", "pictures of 11x11 or more", found).input());
        }
        let [tile_rows, tiles] = windows.map(|count| count.div_ceil(SSIM_TILE));
        let weight = gaussian(self.gpu())?;
        let constants = reduction_constants(self.gpu());
        let measure = |frame: usize| {
            let y = Tensor::empty(self.gpu(), &[3, tile_rows, tiles], Elem::F32)?;
            Call {
                kernel: &SSIM,
                constants: &constants,
                params: SsimParams {
                    width: self.width() as u32,
                    height: self.height() as u32,
                    tiles: tiles as u32,
                    tile_rows: tile_rows as u32,
                },
                tensors: &[self.frame(frame)?.words(), other.frame(frame)?.words(), &weight, &y],
                groups: y.len(),
                flops: 280.0 * (3 * self.width() * self.height()) as f64,
                site: None,
            }
            .record()?;
            Ok(y)
        };
        (0..self.frames()).map(measure).collect()
    }

    fn expect_alike(&self, what: &str, other: &Rgb) -> Result<()> {
        self.expect_eight_bits(what)?;
        other.expect_eight_bits(what)?;
        let size = |of: &Rgb| [of.frames(), of.height(), of.width()];
        if size(self) == size(other) {
            return Ok(());
        }
        Err(Problem::new(what, format!("{self:?} twice"), format!("{other:?}")).input())
    }
}

/// exp(-x^2 / (2 1.5^2)) at -5..=5, sum 1.
fn gaussian(gpu: &Gpu) -> Result<Tensor> {
    let middle = (SSIM_TAPS / 2) as f64;
    let weights: Vec<f64> = (0..SSIM_TAPS).map(|k| (-(k as f64 - middle).powi(2) / 4.5).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|w| (w / sum) as f32).collect();
    Tensor::from_f32(gpu, &[SSIM_TAPS], &weights)
}

impl Tensor {
    /// For each row of `self` and `other` `[.., channels]` the distance of the two after both are scaled to length 1, its
    /// squares weighted by `weight` `[channels]`: `[rows]`. f32 only.
    pub fn feature_distance(&self, other: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        let channels = self.last_dim();
        other.expect("feature_distance", self.shape())?;
        weight.expect("feature_distance weight", &[channels])?;
        for tensor in [self, other, weight] {
            tensor.expect_elem("feature_distance", Elem::F32)?;
        }
        let rows = self.len() / channels.max(1);
        let y = Tensor::empty(self.gpu(), &[rows], Elem::F32)?;
        let constants = reduction_constants(self.gpu());
        for range in row_ranges("feature_distance", rows, &[self, other, &y])? {
            let [a, b, part] = [self, other, &y].map(|t| t.rows(rows, &range));
            Call {
                kernel: &DISTANCE,
                constants: &constants,
                params: DistanceParams { rows: range.len() as u32, channels: channels as u32, eps },
                tensors: &[&a?, &b?, weight, &part?],
                groups: range.len(),
                flops: 10.0 * (range.len() * channels) as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }
}

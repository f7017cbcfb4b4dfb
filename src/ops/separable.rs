//! Small convolutions of networks for phones in one pass: depthwise or direct, with bias, shortcut and PReLU.
//!
//! Such networks have few channels and many layers: what a layer costs is its dispatch and its loads, not its products. So a block
//! is one dispatch, and equal blocks that go beside each other, with weights of their own, are one too (`sets`).

use super::tuning::is_narrow_software;
use super::{Call, FLAT, piece};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use half::f16;
use std::ops::Range;

pub(super) const DEPTHWISE: Kernel = super::kernel!("depthwise");
pub(super) const SUBGROUP: Kernel = super::kernel!("separable_subgroup");
pub(super) const TILED: Kernel = super::kernel!("separable_tiled");

/// Columns of 8 lanes with four each: chunks are multiples of it.
const LANES_COLUMNS: usize = 32;
/// The most columns of a chunk, and what wider weights are cut into.
const WIDEST_CHUNK: usize = 128;
const CHUNK: usize = 64;
/// Pixels of a workgroup of separable_tiled.
const TILE: usize = 16;
/// Runs of a workgroup of separable_subgroup.
const RUNS: usize = 8;
/// Workgroups along one axis; WebGPU's limit everywhere.
const MOST_TILES: usize = 65535;

/// Zeros around an image, by TensorFlow's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// So many that an output pixel is there for every `stride` input pixels; an odd one goes below and right.
    Same,
    Valid,
}

/// What is added before the PReLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcut {
    None,
    /// The input, under a stride of 2 the largest of each 2x2; columns past its channels get nothing.
    Input,
}

/// A convolution's sizes. Channels and columns are rounded up to multiples of 4 on the device, with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeparableShape {
    /// Weights that are used beside each other, each for as many of the images.
    pub sets: usize,
    /// Side of the window.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    pub padding: Padding,
    pub channels: usize,
    pub columns: usize,
}

/// A convolution's values, those of all sets behind each other.
#[derive(Debug, Clone, Copy)]
pub struct SeparableValues<'a> {
    /// `[sets, kernel, kernel, channels]` and `[sets, channels]`: the depthwise taps and their bias. None for a direct convolution.
    pub depthwise: Option<[&'a [f32]; 2]>,
    /// `[sets, columns, depth]`: depth is channels, of a direct convolution `[kernel, kernel, channels]`.
    pub weight: &'a [f32],
    /// `[sets, columns]`.
    pub bias: &'a [f32],
    /// `[sets, columns]`: what values below zero are multiplied by; 1 leaves all as they are, 0 is ReLU.
    pub slope: &'a [f32],
}

/// A convolution's weights on the device.
pub struct Separable {
    shape: SeparableShape,
    /// f32 `[sets, kernel kernel + 1, channels]`, the bias last.
    taps: Option<Tensor>,
    /// `[sets, chunks, depth, chunk]`.
    weight: Tensor,
    /// f32 `[sets, 2, columns]`: bias and slope.
    finish: Tensor,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    images_per_set: u32,
    set_begin: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    channels: u32,
    depth: u32,
    columns: u32,
    pad_top: u32,
    pad_left: u32,
    shortcut: u32,
    shortcut_top: u32,
    chunk_begin: u32,
    chunks: u32,
}

/// Window, stride and zeros of images `[height, width]`.
#[derive(Clone, Copy)]
struct Geometry {
    size: [usize; 2],
    out: [usize; 2],
    kernel: usize,
    stride: usize,
    /// Zeros above and left.
    pad: [usize; 2],
}

/// Output rows of one image or of several whole ones, and the input rows that they need.
struct Band {
    x: Tensor,
    /// Of the output.
    rows: usize,
    pad_top: usize,
    /// Row of `x` that the shortcut of the first output row starts at.
    shortcut_top: usize,
}

impl Geometry {
    fn new(what: &str, [height, width]: [usize; 2], kernel: usize, stride: usize, padding: Padding) -> Result<Self> {
        let size = [height, width];
        let (out, pad) = match padding {
            Padding::Same => {
                let out = size.map(|n| n.div_ceil(stride));
                let zeros = |n: usize| ((n.div_ceil(stride) - 1) * stride + kernel).saturating_sub(n) / 2;
                (out, size.map(zeros))
            }
            Padding::Valid if height >= kernel && width >= kernel => (size.map(|n| (n - kernel) / stride + 1), [0, 0]),
            Padding::Valid => {
                let expected = format!("images of {kernel}x{kernel} or more");
                return Err(Problem::new(what, expected, format!("{height}x{width}")).shape());
            }
        };
        Ok(Self { size, out, kernel, stride, pad })
    }

    /// Output rows `rows` of image `image` of `x`.
    fn band(&self, x: &Tensor, image: usize, rows: &Range<usize>) -> Result<Band> {
        let ([height, width], channels) = (self.size, x.last_dim());
        let first = (rows.start * self.stride).saturating_sub(self.pad[0]);
        let below = (rows.end - 1) * self.stride + self.kernel.saturating_sub(self.pad[0]).max(self.stride);
        let last = below.min(height);
        let part = piece(x, (image * height + first) * width * channels, &[1, last - first, width, channels])?;
        Ok(Band {
            x: part,
            rows: rows.len(),
            pad_top: (self.pad[0] + first).saturating_sub(rows.start * self.stride),
            shortcut_top: rows.start * self.stride - first,
        })
    }

    /// The most output rows whose operands fit a binding, where an output pixel has `columns`. Errors: not even one does.
    fn rows_fitting(&self, what: &str, x: &Tensor, columns: usize) -> Result<usize> {
        let limit = x.gpu().capabilities().max_binding_bytes as usize / Elem::F32.size();
        let fits = |rows: usize| {
            let below = (rows - 1) * self.stride + self.kernel.max(self.stride);
            below * self.size[1] * x.last_dim() <= limit
                && rows * self.out[1] * columns <= limit
                && (rows * self.out[1]).div_ceil(RUNS) <= MOST_TILES
        };
        (1..=self.out[0]).rev().find(|&rows| fits(rows)).ok_or_else(|| {
            let found = format!("{} rows of {} x {}", self.kernel, self.size[1], x.last_dim());
            Problem::new(what, format!("rows that fit a binding of {} bytes", 4 * limit), found).gpu()
        })
    }
}

impl SeparableShape {
    fn padded_channels(&self) -> usize {
        self.channels.next_multiple_of(4)
    }

    fn padded_columns(&self) -> usize {
        self.columns.next_multiple_of(4)
    }

    /// Columns of a chunk of the weight.
    fn chunk(&self) -> usize {
        if self.columns <= WIDEST_CHUNK { self.columns.next_multiple_of(LANES_COLUMNS) } else { CHUNK }
    }

    fn chunks(&self) -> usize {
        self.columns.div_ceil(self.chunk())
    }
}

impl Separable {
    /// The values on the device, the weight as `elem`: f32, or f16 where it was published so.
    ///
    /// Errors: values that are not as many as `shape` says, or a stride other than 1 and 2.
    pub fn pack(gpu: &Gpu, shape: SeparableShape, elem: Elem, values: SeparableValues<'_>) -> Result<Self> {
        let SeparableShape { sets, kernel, stride, channels, columns, .. } = shape;
        if !(1..=2).contains(&stride) || [sets, kernel, channels, columns].contains(&0) {
            return Err(Problem::new("separable", "sizes above 0 and a stride of 1 or 2", format!("{shape:?}")).shape());
        }
        let taps = kernel * kernel;
        let window = if values.depthwise.is_some() { 1 } else { taps };
        let mut lengths = vec![
            ("weight", values.weight, sets * columns * window * channels),
            ("bias", values.bias, sets * columns),
            ("slope", values.slope, sets * columns),
        ];
        if let Some([depthwise, bias]) = values.depthwise {
            lengths.extend([("taps", depthwise, sets * taps * channels), ("taps' bias", bias, sets * channels)]);
        }
        if let Some((what, values, expected)) =
            lengths.into_iter().find(|(_, values, expected)| values.len() != *expected)
        {
            let found = values.len().to_string();
            return Err(Problem::new(format!("separable {what}"), format!("{expected} values"), found).shape());
        }

        let wide = shape.padded_channels();
        let rows = |rows: &[f32], to: &mut [f32], width: usize, padded: usize| {
            for (from, to) in rows.chunks_exact(width).zip(to.chunks_exact_mut(padded)) {
                to[..width].copy_from_slice(from);
            }
        };
        let taps = match values.depthwise {
            None => None,
            Some([depthwise, bias]) => {
                let mut packed = vec![0.0; sets * (taps + 1) * wide];
                for (set, to) in packed.chunks_exact_mut((taps + 1) * wide).enumerate() {
                    let (window, last) = to.split_at_mut(taps * wide);
                    rows(&depthwise[set * taps * channels..][..taps * channels], window, channels, wide);
                    rows(&bias[set * channels..][..channels], last, channels, wide);
                }
                Some(Tensor::from_f32(gpu, &[sets, taps + 1, wide], &packed)?)
            }
        };

        let (chunk, chunks, depth) = (shape.chunk(), shape.chunks(), window * wide);
        let mut weight = vec![0.0; sets * chunks * depth * chunk];
        for (at, &value) in values.weight.iter().enumerate() {
            let (row, c) = (at / channels, at % channels);
            let (column, tap) = (row / window % columns, row % window);
            let set = row / window / columns;
            let k = tap * wide + c;
            weight[((set * chunks + column / chunk) * depth + k) * chunk + column % chunk] = value;
        }
        let packed_shape = [sets, chunks, depth, chunk];
        let weight = match elem {
            Elem::F16 => {
                let halves: Vec<f16> = weight.into_iter().map(f16::from_f32).collect();
                Tensor::from_bytes(gpu, &packed_shape, elem, bytemuck::cast_slice(&halves))?
            }
            _ => Tensor::from_f32(gpu, &packed_shape, &weight)?,
        };

        let padded = shape.padded_columns();
        let mut finish = vec![0.0; sets * 2 * padded];
        for (set, to) in finish.chunks_exact_mut(2 * padded).enumerate() {
            let (bias, slope) = to.split_at_mut(padded);
            bias[..columns].copy_from_slice(&values.bias[set * columns..][..columns]);
            slope[..columns].copy_from_slice(&values.slope[set * columns..][..columns]);
        }
        let finish = Tensor::from_f32(gpu, &[sets, 2, padded], &finish)?;
        Ok(Self { shape, taps, weight, finish })
    }

    pub fn shape(&self) -> SeparableShape {
        self.shape
    }

    /// Records the product of `bands`' pixels, sets `sets` and chunks `chunks` into `y`.
    fn record(
        &self,
        band: &Band,
        y: &Tensor,
        geometry: &Geometry,
        [sets, chunks]: [&Range<usize>; 2],
        shortcut: Shortcut,
    ) -> Result<()> {
        let gpu = y.gpu();
        let [images, in_height, in_width, channels] = band.x.dims("separable input")?;
        let [out_height, out_width] = [band.rows, geometry.out[1]];
        let [_, _, depth, chunk] = self.weight.dims("separable weight")?;
        let vectors = chunk / LANES_COLUMNS;
        let images_per_set = images / sets.len();
        let is_subgroup = is_narrow_software(gpu.capabilities());
        // Longer runs share loads, which wide products have no registers for.
        let each = if vectors == 1 { 4 } else { 2 }.min(out_width.next_power_of_two());
        let (kernel, tiles) = match is_subgroup {
            true => (&SUBGROUP, (images_per_set * out_height * out_width.div_ceil(each)).div_ceil(RUNS)),
            false => (&TILED, (images_per_set * out_height * out_width).div_ceil(TILE)),
        };
        let mut constants = vec![
            ("KERNEL", geometry.kernel as u32),
            ("STRIDE", geometry.stride as u32),
            ("DEPTHWISE", u32::from(self.taps.is_some())),
            ("PRODUCT", 1),
            ("VECTOR", u32::from(channels.is_multiple_of(4))),
            ("VECTORS", vectors as u32),
        ];
        if is_subgroup {
            constants.extend([
                ("EACH", each as u32),
                ("COLUMNS", (geometry.stride * (each - 1) + geometry.kernel) as u32),
                ("TAP_LOADS", (geometry.kernel * geometry.kernel + 1).div_ceil(RUNS) as u32),
            ]);
        }
        let first = sets.start * self.shape.chunks() + chunks.start;
        let bound = piece(&self.weight, first * depth * chunk, &[sets.len() * chunks.len(), depth, chunk])?;
        let mut tensors = vec![&band.x];
        tensors.extend(self.taps.as_ref());
        tensors.extend([&bound, &self.finish, y]);
        let pixels = (images * out_height * out_width) as f64;
        let taps = if self.taps.is_some() { (geometry.kernel * geometry.kernel * channels) as f64 } else { 0.0 };
        Call {
            kernel,
            constants: &constants,
            params: Params {
                images_per_set: images_per_set as u32,
                set_begin: sets.start as u32,
                in_height: in_height as u32,
                in_width: in_width as u32,
                out_height: out_height as u32,
                out_width: out_width as u32,
                channels: channels as u32,
                depth: depth as u32,
                columns: self.shape.padded_columns() as u32,
                pad_top: band.pad_top as u32,
                pad_left: geometry.pad[1] as u32,
                shortcut: u32::from(shortcut == Shortcut::Input),
                shortcut_top: band.shortcut_top as u32,
                chunk_begin: chunks.start as u32,
                chunks: chunks.len() as u32,
            },
            tensors: &tensors,
            groups: 0,
            flops: 2.0 * pixels * (taps + (depth * chunks.len() * chunk) as f64),
            site: None,
        }
        .record_grid([tiles as u32, chunks.len() as u32, sets.len() as u32], 0)
    }
}

impl Tensor {
    /// prelu(convolution of `self` + bias + shortcut): `[images, height, width, channels]` → `[images, out height, out width,
    /// columns]` in f32, columns rounded up to a multiple of 4 with zeros, as `self`'s channels may be. Image i takes weight set
    /// i / (images / sets).
    ///
    /// Errors: images that are no multiple of the sets, channels that are not the weight's, a shortcut around unpadded windows.
    pub fn separable(&self, weights: &Separable, shortcut: Shortcut) -> Result<Tensor> {
        let [images, height, width, channels] = self.dims("separable input")?;
        self.expect_elem("separable input", Elem::F32)?;
        let shape = weights.shape;
        let is_direct = weights.taps.is_none() && channels == shape.channels && shortcut == Shortcut::None;
        if !(channels == shape.padded_channels() || is_direct) || !images.is_multiple_of(shape.sets) || self.is_empty()
        {
            let expected = format!("images for {} sets, {} channels", shape.sets, shape.padded_channels());
            return Err(Problem::new("separable input", expected, format!("{:?}", self.shape())).shape());
        }
        if shortcut == Shortcut::Input && shape.padding == Padding::Valid {
            return Err(Problem::new("separable shortcut", "a padded convolution", format!("{shape:?}")).shape());
        }
        let geometry = Geometry::new("separable input", [height, width], shape.kernel, shape.stride, shape.padding)?;
        let columns = shape.padded_columns();
        let [out_height, out_width] = geometry.out;
        let y = Tensor::empty(self.gpu(), &[images, out_height, out_width, columns], Elem::F32)?;
        let limit = self.gpu().capabilities().max_binding_bytes;
        let all_chunks = 0..shape.chunks();
        let fits = [self, &y, &weights.weight].iter().all(|t| t.size_bytes() <= limit);
        if fits && (images * out_height * out_width).div_ceil(RUNS) <= MOST_TILES {
            let whole = Band { x: self.clone(), rows: out_height, pad_top: geometry.pad[0], shortcut_top: 0 };
            weights.record(&whole, &y, &geometry, [&(0..shape.sets), &all_chunks], shortcut)?;
            return Ok(y);
        }
        let fitting = geometry.rows_fitting("separable", self, columns)?;
        for image in 0..images {
            let set = image / (images / shape.sets);
            for first in (0..out_height).step_by(fitting) {
                let rows = first..out_height.min(first + fitting);
                let band = geometry.band(self, image, &rows)?;
                let part = Tensor::empty(self.gpu(), &[rows.len(), out_width, columns], Elem::F32)?;
                for chunk in all_chunks.clone() {
                    weights.record(&band, &part, &geometry, [&(set..set + 1), &(chunk..chunk + 1)], shortcut)?;
                }
                y.copy_in((image * out_height + first) * out_width * columns, &part)?;
            }
        }
        Ok(y)
    }

    /// Each channel of `self` `[images, height, width, channels]` in f32 under a window of its own: `taps` `[kernel, kernel, channels]`
    /// and `bias` `[channels]`; channels are a multiple of 4.
    pub fn depthwise(&self, taps: &Tensor, bias: &Tensor, stride: usize, padding: Padding) -> Result<Tensor> {
        let [images, height, width, channels] = self.dims("depthwise input")?;
        let [kernel, ..] = taps.dims::<3>("depthwise taps")?;
        self.expect_elem("depthwise input", Elem::F32)?;
        taps.expect("depthwise taps", &[kernel, kernel, channels])?;
        bias.expect("depthwise bias", &[channels])?;
        if !channels.is_multiple_of(4) || kernel == 0 || stride == 0 || self.is_empty() {
            let expected = "4, 8, .. channels, a window and a stride of 1 or more";
            return Err(Problem::new("depthwise", expected, format!("{self:?}, {taps:?}, stride {stride}")).shape());
        }
        let geometry = Geometry::new("depthwise input", [height, width], kernel, stride, padding)?;
        let rows = [&taps.reshape(&[kernel * kernel, channels])?, &bias.reshape(&[1, channels])?];
        let taps = Tensor::stack_rows(&rows)?;
        let [out_height, out_width] = geometry.out;
        let y = Tensor::empty(self.gpu(), &[images, out_height, out_width, channels], Elem::F32)?;
        let fitting = geometry.rows_fitting("depthwise", self, channels)?;
        let row = out_width * channels;
        for (image, first) in (0..images).flat_map(|n| (0..out_height).step_by(fitting).map(move |row| (n, row))) {
            let rows = first..out_height.min(first + fitting);
            let band = geometry.band(self, image, &rows)?;
            let part = Tensor::empty(self.gpu(), &[rows.len(), out_width, channels], Elem::F32)?;
            Call {
                kernel: &DEPTHWISE,
                constants: &[
                    FLAT,
                    ("KERNEL", kernel as u32),
                    ("STRIDE", stride as u32),
                    ("DEPTHWISE", 1),
                    ("VECTOR", 1),
                ],
                params: Params {
                    images_per_set: 1,
                    set_begin: 0,
                    in_height: band.x.shape()[1] as u32,
                    in_width: width as u32,
                    out_height: rows.len() as u32,
                    out_width: out_width as u32,
                    channels: channels as u32,
                    depth: channels as u32,
                    columns: channels as u32,
                    pad_top: band.pad_top as u32,
                    pad_left: geometry.pad[1] as u32,
                    shortcut: 0,
                    shortcut_top: 0,
                    chunk_begin: 0,
                    chunks: 1,
                },
                tensors: &[&band.x, &taps, &part],
                groups: part.len().div_ceil(4 * FLAT.1 as usize),
                flops: (2 * kernel * kernel * part.len()) as f64,
                site: None,
            }
            .record()?;
            y.copy_in((image * out_height + first) * row, &part)?;
        }
        Ok(y)
    }
}

//! 3x3 and 3x1 (temporal) convolutions of stride 1 as Winograd's minimal filtering F(2,3) or F(4,3): input tiles and weights are
//! transformed, one product per place of a tile takes the place of nine (three) per pixel, and the products are transformed
//! back.
//!
//! The products are one grouped 1x1 convolution: group f of `[tiles, f, channels]` under weight `[f, columns, channels]`.

use super::gemm::{Epilogue, Gemm, Geometry};
use super::packed::{PackedWeight, WeightShape};
use super::tuning::Tuning;
use super::{Call, piece};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::sync::OnceLock;
use sysinfo::System;

pub(super) const INPUT: Kernel = super::kernel!("winograd_input");
pub(super) const OUTPUT: Kernel = super::kernel!("winograd_output");

/// Fewer channels or columns than this leave the transforms dearer than what they save.
const WORTHWHILE: usize = 32;

/// The numerics class of a convolution: decided when its weight is packed, by the storage of weights and the layer's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvClass {
    Direct,
    /// Winograd F(2,3): 4/9 of a 3x3 kernel's products and weights 16/9 as large; of a 3x1 kernel's 2/3 and 4/3.
    F23,
    /// Winograd F(4,3): 1/4 of a 3x3 kernel's products and weights 4 times as large; of a 3x1 kernel's 1/2 and 2.
    F43,
}

impl ConvClass {
    /// The class of a layer, stored as `elem`, whose direct weights stay beside the transformed ones.
    ///
    /// F(4,3) for f16 weights, whose rounding it at most doubles, and for 3x3 kernels beside int8 weights in f16, since int8 does
    /// not survive the transform (a 3x1 kernel would gain no more than int8 itself gives); f32 is there for exactness and
    /// stays direct. Devices that are not software stay direct. A class given by [`Gpu::set`], or `VISEME_CONV` (direct, f23,
    /// f43), overrules all that wherever it is possible.
    pub fn of_layer(gpu: &Gpu, shape: WeightShape, elem: Elem) -> Result<Self> {
        let worthwhile = shape.group_channels >= WORTHWHILE && shape.columns >= WORTHWHILE;
        let class = match Self::forced(gpu)? {
            Some(class) => class,
            None if worthwhile => Self::unforced(gpu, shape.kernel, elem),
            None => Self::Direct,
        };
        Ok(if class.suits(shape) { class } else { Self::Direct })
    }

    /// The class of 3x3 layers stored as `elem` that are large enough and whose weights fit: what a job's identity tells of it.
    pub fn of_large_layers(gpu: &Gpu, elem: Elem) -> Result<Self> {
        Ok(Self::forced(gpu)?.unwrap_or_else(|| Self::unforced(gpu, [3, 3], elem)))
    }

    fn unforced(gpu: &Gpu, kernel: [usize; 2], elem: Elem) -> Self {
        let gains = elem == Elem::F16 || (elem == Elem::I8 && kernel == [3, 3]);
        if gains && gpu.capabilities().software { Self::F43 } else { Self::Direct }
    }

    fn forced(gpu: &Gpu) -> Result<Option<Self>> {
        if let Some(class) = gpu.setting::<Self>() {
            return Ok(Some(*class));
        }
        let Ok(text) = std::env::var("VISEME_CONV") else { return Ok(None) };
        match text.as_str() {
            "direct" => Ok(Some(Self::Direct)),
            "f23" => Ok(Some(Self::F23)),
            "f43" => Ok(Some(Self::F43)),
            other => Err(Problem::new("VISEME_CONV", "direct, f23 or f43", format!("'{other}'")).usage()),
        }
    }

    /// Whether the class can compute a convolution of this shape at all.
    pub fn suits(self, shape: WeightShape) -> bool {
        let even = shape.group_channels.is_multiple_of(2) && shape.columns.is_multiple_of(2);
        self == Self::Direct || (matches!(shape.kernel, [3, 3] | [3, 1]) && shape.groups == 1 && even)
    }

    /// Height and width of an input tile; None for the direct class.
    fn tile(self, kernel: [usize; 2]) -> Option<[usize; 2]> {
        let side = match self {
            Self::Direct => return None,
            Self::F23 => 4,
            Self::F43 => 6,
        };
        Some([side, if kernel[1] == 1 { 1 } else { side }])
    }

    /// How the transformed weight beside one of `elem` is stored: rounded to int8, it leaves half of a result wrong.
    pub(super) fn transformed_elem(elem: Elem) -> Elem {
        if elem == Elem::I8 { Elem::F16 } else { elem }
    }

    /// Bytes of the transformed weight beside a weight of this shape stored as `elem`.
    pub fn transformed_bytes(self, shape: WeightShape, elem: Elem) -> usize {
        let values =
            self.tile(shape.kernel).map_or(0, |[down, across]| down * across * shape.columns * shape.group_channels);
        values * Self::transformed_elem(elem).size()
    }

    /// The finite points, as in kernels/common/winograd.wgsl; infinity is the last.
    fn points(self) -> &'static [f64] {
        match self {
            Self::Direct => &[],
            Self::F23 => &[0.0, 1.0, -1.0],
            Self::F43 => &[0.0, 0.75, -0.75, 1.5, -1.5],
        }
    }

    /// What each place along one side of a tile takes of three taps: (1, p, p^2) over the product of p's distances from the
    /// other points, and (0, 0, 1) for infinity.
    fn side_filters(self) -> Vec<[f64; 3]> {
        let points = self.points();
        let mut rows: Vec<[f64; 3]> = Vec::new();
        for (i, p) in points.iter().enumerate() {
            let others = points.iter().enumerate().filter(|(j, _)| *j != i);
            let distance: f64 = others.map(|(_, other)| p - other).product();
            rows.push([1.0, *p, p * p].map(|power| power / distance));
        }
        rows.push([0.0, 0.0, 1.0]);
        rows
    }

    /// Per place of a tile, what its transformed weight takes of each tap of `kernel`: G g G^T, or G g under a kernel one wide.
    fn filters(self, kernel: [usize; 2]) -> Vec<Vec<f64>> {
        let down = self.side_filters();
        if kernel[1] == 1 {
            return down.iter().map(|row| row.to_vec()).collect();
        }
        let across = self.side_filters();
        let product = |d: &[f64; 3], a: &[f64; 3]| d.iter().flat_map(|d| a.iter().map(move |a| d * a)).collect();
        down.iter().flat_map(|d| across.iter().map(move |a| product(d, a))).collect()
    }
}

/// The memory, in bytes, within which layers get transformed weights beside their direct ones: three quarters of it at most, so
/// that the class of a layer, and with it the last bits of a result, depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvBudget(pub u64);

impl ConvBudget {
    /// What a device was told by [`Gpu::set`], else its memory budget. Without one the memory of a modest machine is taken for
    /// it, or on a software device half of the host's where that is more.
    pub fn of(gpu: &Gpu) -> Self {
        const MODEST: u64 = 8 << 30;
        if let Some(told) = gpu.setting::<Self>() {
            return *told;
        }
        let unbounded = || if gpu.capabilities().software { MODEST.max(host_memory() / 2) } else { MODEST };
        Self(gpu.memory().budget.unwrap_or_else(unbounded))
    }

    /// Bytes that all weights may take.
    pub fn for_weights(self) -> u64 {
        self.0 / 4 * 3
    }
}

/// Bytes of memory that this process may have: the machine's, or its control group's where that is less.
fn host_memory() -> u64 {
    static MEMORY: OnceLock<u64> = OnceLock::new();
    *MEMORY.get_or_init(|| {
        let mut system = System::new();
        system.refresh_memory();
        system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory).min(system.total_memory())
    })
}

/// The transformed weight of a convolution.
pub(super) struct Winograd {
    /// Height and width of an input tile.
    tile: [usize; 2],
    /// `[height * width * columns, channels]` in as many groups as a tile has pixels.
    products: PackedWeight,
}

/// What one strip computes: the tiles of a few images, or of a band of lines of one image.
struct Strip {
    x: Tensor,
    images: usize,
    /// Output height and width of an image.
    out: [usize; 2],
    pad: [i32; 2],
    /// Line of the whole output, all images one below the other, where the strip begins.
    first_line: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct InputParams {
    tiles: u32,
    tiles_x: u32,
    tiles_y: u32,
    in_height: u32,
    in_width: u32,
    channels: u32,
    row: u32,
    pad_top: i32,
    pad_left: i32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct OutputParams {
    tiles: u32,
    tiles_x: u32,
    tiles_y: u32,
    out_height: u32,
    out_width: u32,
    columns: u32,
    rows_per_add: u32,
    row_begin: u32,
}

impl Winograd {
    /// Of `values` `[columns, channels, 3, 3]` or `[columns, channels, 3, 1]`, transformed in f64 and stored as `elem`; None for
    /// the direct class.
    pub(super) fn pack(
        gpu: &Gpu,
        shape: WeightShape,
        class: ConvClass,
        elem: Elem,
        values: &[f32],
        site: &str,
    ) -> Result<Option<Self>> {
        let Some(tile) = class.tile(shape.kernel) else { return Ok(None) };
        if !class.suits(shape) {
            let expected = "3x3 or 3x1 without groups, an even number of channels and columns";
            return Err(Problem::new(site, expected, format!("{shape:?}")).shape());
        }
        let (columns, channels) = (shape.columns, shape.group_channels);
        let places = tile[0] * tile[1];
        let taps = shape.kernel[0] * shape.kernel[1];
        let filters = class.filters(shape.kernel);
        let grouped =
            WeightShape { columns: places * columns, group_channels: channels, kernel: [1, 1], groups: places };
        let products = PackedWeight::arranged(gpu, grouped, elem, site, |index| {
            let (row, c) = (index / channels, index % channels);
            let values = &values[((row % columns) * channels + c) * taps..][..taps];
            filters[row / columns].iter().zip(values).map(|(f, &w)| f * f64::from(w)).sum::<f64>() as f32
        })?;
        Ok(Some(Self { tile, products }))
    }

    /// Whether tiles save anything over a product per pixel and tap. By the shape of one image alone, so that batches agree.
    pub(super) fn pays(&self, geometry: &Geometry) -> bool {
        let [height, width] = geometry.out;
        let [tiles_y, tiles_x] = self.tiles(geometry.out);
        let taps = if self.tile[1] == 1 { 3 } else { 9 };
        geometry.stride == 1 && self.places() * tiles_y * tiles_x < taps * height * width
    }

    /// Output pixels down and across a tile.
    fn outputs(&self) -> [usize; 2] {
        self.tile.map(|side| side.max(3) - 2)
    }

    /// Pixels of an input tile.
    fn places(&self) -> usize {
        self.tile[0] * self.tile[1]
    }

    fn tiles(&self, out: [usize; 2]) -> [usize; 2] {
        let [down, across] = self.outputs();
        [out[0].div_ceil(down), out[1].div_ceil(across)]
    }

    fn channels(&self) -> usize {
        self.products.shape().group_channels
    }

    fn columns(&self) -> usize {
        self.products.shape().columns / self.places()
    }

    /// Elements of a tile's row: an odd number of cache lines, so that the rows of a matmul's tile do not share their places
    /// in a cache.
    fn row(&self) -> usize {
        (self.places() * self.channels()).next_multiple_of(16) | 16
    }

    /// The strips of a convolution, such that scratch and operands fit; None where not even one line of tiles does.
    fn strips(&self, x: &Tensor, geometry: &Geometry) -> Result<Option<Vec<Strip>>> {
        let [images, height, width, channels] = x.dims("conv input")?;
        let [out_height, out_width] = geometry.out;
        let [tiles_y, tiles_x] = self.tiles(geometry.out);
        let limit = x.gpu().capabilities().max_binding_bytes as usize;
        let input_line = width * channels * x.elem().size();
        // As if in f32: y and residual may differ.
        let output_line = out_width * self.columns() * 4;
        let tile_bytes = 4 * self.row().max(self.products.shape().columns);
        let tiles_fitting = limit.min(Tuning::of(x.gpu()).scratch_bytes().max(tiles_x * tile_bytes)) / tile_bytes;
        let pad = geometry.pad.map(|p| p as i32);

        let fitting = (tiles_fitting / (tiles_y * tiles_x))
            .min(limit / (height * input_line).max(1))
            .min(limit / (out_height * output_line).max(1));
        let mut strips = Vec::new();
        if fitting > 0 {
            for range in even_ranges(images, fitting) {
                let shape = [range.len(), height, width, channels];
                let x = piece(x, range.start * height * width * channels, &shape)?;
                let first_line = range.start * out_height;
                strips.push(Strip { x, images: range.len(), out: geometry.out, pad, first_line });
            }
            return Ok(Some(strips));
        }

        let lines_fitting = (limit / input_line.max(1)).saturating_sub(2).min(limit / output_line.max(1));
        let lines_of_tile = self.outputs()[0];
        let fitting = (tiles_fitting / tiles_x).min(lines_fitting / lines_of_tile);
        if fitting == 0 {
            return Ok(None);
        }
        let scale = if geometry.upsample { 2 } else { 1 };
        for image in 0..images {
            for range in even_ranges(tiles_y, fitting) {
                let line = range.start * lines_of_tile;
                let count = (range.end * lines_of_tile).min(out_height) - line;
                // Lines of x, as stored, under the band.
                let stored = |line: usize| (line.saturating_sub(geometry.pad[0]) / scale).min(height - 1);
                let (first, last) = (stored(line), stored(line + count + 1));
                let shape = [1, last - first + 1, width, channels];
                strips.push(Strip {
                    x: piece(x, (image * height + first) * width * channels, &shape)?,
                    images: 1,
                    out: [count, out_width],
                    pad: [(first * scale) as i32 - line as i32 + pad[0], pad[1]],
                    first_line: image * out_height + line,
                });
            }
        }
        Ok(Some(strips))
    }

    /// Records `gemm`'s convolution of `x` into `y`; false where it does not fit this device's bindings.
    pub(super) fn record(&self, gemm: &Gemm<'_>, x: &Tensor, y: &Tensor) -> Result<bool> {
        let Some(strips) = self.strips(x, &gemm.geometry)? else { return Ok(false) };
        for strip in strips {
            self.record_strip(gemm, &strip, y)?;
        }
        Ok(true)
    }

    fn record_strip(&self, gemm: &Gemm<'_>, strip: &Strip, y: &Tensor) -> Result<()> {
        let gpu = y.gpu();
        let [_, in_height, in_width, channels] = strip.x.dims("conv input")?;
        let columns = self.columns();
        let [tiles_y, tiles_x] = self.tiles(strip.out);
        let tiles = strip.images * tiles_y * tiles_x;
        let workgroup = Tuning::of(gpu).transform_lanes(gpu.capabilities());
        let site = gemm.weight.site();

        let v = Tensor::empty(gpu, &[tiles, 1, 1, self.row()], Elem::F32)?;
        let pairs = tiles * channels / 2;
        Call {
            kernel: &INPUT,
            constants: &[
                ("WORKGROUP", workgroup),
                ("TILE", self.tile[0] as u32),
                ("ACROSS", self.tile[1] as u32),
                ("UPSAMPLE", u32::from(gemm.geometry.upsample)),
            ],
            params: InputParams {
                tiles: tiles as u32,
                tiles_x: tiles_x as u32,
                tiles_y: tiles_y as u32,
                in_height: in_height as u32,
                in_width: in_width as u32,
                channels: channels as u32,
                row: self.row() as u32,
                pad_top: strip.pad[0],
                pad_left: strip.pad[1],
            },
            tensors: &[&strip.x, &v],
            groups: pairs.div_ceil(workgroup as usize),
            flops: 0.0,
            site: site.clone(),
        }
        .record()?;
        let m = Gemm::products(&v, &self.products)?;
        drop(v);

        let rows = strip.images * strip.out[0] * strip.out[1];
        let first_row = strip.first_line * strip.out[1];
        let (start, len) = (first_row * columns, rows * columns);
        let Epilogue { bias, add, activation, residual } = gemm.epilogue;
        let residual = residual.map(|r| piece(r, start, &[len])).transpose()?;
        let view = y.view(start, &[len]);
        let target = match &view {
            Some(view) => view.clone(),
            None => Tensor::empty(gpu, &[len], y.elem())?,
        };
        let mut tensors = vec![&m];
        tensors.extend([bias, add, residual.as_ref()].into_iter().flatten());
        tensors.push(&target);
        Call {
            kernel: &OUTPUT,
            constants: &[
                ("WORKGROUP", workgroup),
                ("TILE", self.tile[0] as u32),
                ("ACROSS", self.tile[1] as u32),
                ("OUTPUTS", self.outputs()[0] as u32),
                ("OUTPUTS_ACROSS", self.outputs()[1] as u32),
                ("ACTIVATION", activation as u32),
                ("BIAS", u32::from(bias.is_some())),
                ("ADD", u32::from(add.is_some())),
                ("RESIDUAL", u32::from(residual.is_some())),
            ],
            params: OutputParams {
                tiles: tiles as u32,
                tiles_x: tiles_x as u32,
                tiles_y: tiles_y as u32,
                out_height: strip.out[0] as u32,
                out_width: strip.out[1] as u32,
                columns: columns as u32,
                rows_per_add: gemm.rows_per_add as u32,
                row_begin: first_row as u32,
            },
            tensors: &tensors,
            groups: (tiles * columns / 2).div_ceil(workgroup as usize),
            flops: 0.0,
            site,
        }
        .record()?;
        if view.is_none() {
            y.copy_in(start, &target)?;
        }
        Ok(())
    }
}

/// `0..count` in as few ranges of at most `most` as possible, of nearly equal length.
fn even_ranges(count: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let step = count.div_ceil(count.div_ceil(most).max(1)).max(1);
    (0..count).step_by(step).map(move |start| start..count.min(start + step))
}

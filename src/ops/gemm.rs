//! Matmul and convolution as one operation: implicit GEMM over packed weights, with one kernel per kind of device.
//!
//! A linear layer is a 1x1 convolution over a line of pixels; a temporal (3,1,1) convolution is a 3x1 convolution over
//! the image [frames, height*width]; a 1-D convolution has images of width 1.

use super::cooperative::{self, GemmTile};
use super::packed::{PackedWeight, WeightShape};
use super::tuning::{ProductClass, Tile, Tuning};
use super::{Call, FLAT, piece};
use crate::gpu::{Elem, Gpu, Kernel, Matrices};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::ops::Range;

pub(super) const SUBGROUP: Kernel = super::kernel!("gemm_subgroup");
pub(super) const TILED: Kernel = super::kernel!("gemm_tiled");
pub(super) const REDUCE: Kernel = super::kernel!("gemm_reduce");

/// Workgroups along one axis; WebGPU's limit everywhere.
pub(super) const MAX_GROUPS: usize = 65535;

/// Rows of gemm_subgroup's smallest tile, the least of all kernels.
const LEAST_ROWS: usize = 16;

/// What happens to a sum before it is stored: `activation(sum + bias + add) + residual`; of a gated weight
/// `(sum + bias of the value) * activation(sum + bias of the gate)`, without `add` and `residual`.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[columns]`.
    pub bias: Option<&'a Tensor>,
    /// One row for each of equally many groups of output rows: `[groups, columns]`.
    pub add: Option<&'a Tensor>,
    pub activation: Activation,
    /// The shape of the output.
    pub residual: Option<&'a Tensor>,
}

impl Epilogue<'_> {
    /// The most storage buffers that a dispatch with it binds: x, weight, its scale, sums to go on from, its own operands, the output,
    /// and where that is f16 the place for an overflow.
    fn bindings(&self, weight: &PackedWeight, elem: Elem) -> usize {
        let optional = [&weight.scale.as_ref(), &self.bias, &self.add, &self.residual];
        4 + optional.iter().filter(|operand| operand.is_some()).count() + usize::from(elem == Elem::F16)
    }
}

fn storage_buffers(x: &Tensor) -> usize {
    x.gpu().capabilities().storage_buffers as usize
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    #[default]
    None,
    Silu,
    /// With the exact erf.
    Gelu,
}

/// How taps walk over the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub stride: usize,
    /// Zeros above and left of each image; below and right follow from the output's size.
    pub pad: [usize; 2],
    /// Output height and width.
    pub out: [usize; 2],
    /// Taps walk over x enlarged twice by nearest neighbour.
    pub upsample: bool,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    columns: u32,
    panel_begin: u32,
    depth_begin: u32,
    depth_end: u32,
    panel_depth: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    channels: u32,
    kernel_width: u32,
    stride: u32,
    pad_top: i32,
    pad_left: i32,
    group_channels: u32,
    tap_depth: u32,
    group_columns: u32,
    panels_per_group: u32,
    rows_per_add: u32,
    row_begin: u32,
    part_depth: u32,
    panels_first: u32,
}

/// What one dispatch computes: output rows of a few images, or a band of one image, from the part of x below them.
#[derive(Clone)]
struct Piece {
    /// `[images, height, width, channels]`.
    x: Tensor,
    /// Output height and width.
    out: [usize; 2],
    pad: [i32; 2],
    /// Rows of the kernel that fall on `x`.
    kernel_rows: Range<usize>,
}

/// One call of [`gemm`], checked.
pub(super) struct Gemm<'a> {
    pub(super) weight: &'a PackedWeight,
    pub(super) geometry: Geometry,
    pub(super) epilogue: Epilogue<'a>,
    pub(super) rows_per_add: usize,
    cooperative: Cooperative,
}

/// Whether a product may run on cooperative matrices, and in which tiles.
#[derive(Clone, Copy)]
enum Cooperative {
    Tile(GemmTile),
    /// In the best tile for each dispatch.
    Matrices(Matrices),
    No,
}

impl Cooperative {
    /// For f16 operands alone: others would be rounded.
    fn of(x: &Tensor, weight: &PackedWeight) -> Self {
        let is_f16 = x.elem() == Elem::F16 && weight.tensor.elem() == Elem::F16;
        is_f16.then(|| cooperative::matrices(x.gpu())).flatten().map_or(Self::No, Self::Matrices)
    }

    fn tile(self, gpu: &Gpu, shape: WeightShape, rows: usize, panels: usize) -> Result<Option<GemmTile>> {
        match self {
            Self::Tile(tile) => Ok(Some(tile)),
            Self::Matrices(matrices) => GemmTile::choose(gpu, matrices, shape, rows, panels),
            Self::No => Ok(None),
        }
    }
}

/// The bare products of `x` `[rows, 1, 1, channels]`, f32, in tiles of one kind: how they are checked.
pub(super) fn products_in(x: &Tensor, weight: &PackedWeight, tile: GemmTile) -> Result<Tensor> {
    Gemm::bare(x, weight, Cooperative::Tile(tile))
}

/// `x` `[images, height, width, channels]` under `weight` → `[images, out height, out width, columns]` of type `elem`.
pub(super) fn gemm(
    x: &Tensor,
    weight: &PackedWeight,
    geometry: Geometry,
    epilogue: Epilogue<'_>,
    elem: Elem,
) -> Result<Tensor> {
    let [images, _, _, channels] = x.dims("conv input")?;
    let shape = weight.shape;
    let site = weight.site.as_deref().unwrap_or("conv");
    let wrong = |what: &str, expected: String, found: &Tensor| {
        Problem::new(format!("{site}: {what}"), expected, format!("{:?}", found.shape())).shape()
    };
    if geometry.stride == 0 {
        return Err(wrong("stride", "1 or more".to_string(), x));
    }
    if channels != shape.group_channels * shape.groups {
        return Err(wrong("input", format!("{} channels", shape.group_channels * shape.groups), x));
    }
    if elem == Elem::F16 && !shape.group_columns().is_multiple_of(2) {
        // f16 is written in pairs, and two of these rows would share one.
        return gemm(x, weight, geometry, epilogue, Elem::F32)?.cast(elem);
    }
    let out_shape = [images, geometry.out[0], geometry.out[1], weight.outputs()];
    let rows = out_shape[..3].iter().product::<usize>();
    if let Some(bias) = epilogue.bias.filter(|b| b.len() != shape.columns) {
        return Err(wrong("bias", format!("{} values", shape.columns), bias));
    }
    if weight.gated
        && let Some(other) = epilogue.add.or(epilogue.residual)
    {
        return Err(wrong("gated outputs", "nothing added to them".to_string(), other));
    }
    if let Some(residual) = epilogue.residual.filter(|r| r.len() != rows * shape.columns) {
        return Err(wrong("residual", format!("{out_shape:?}"), residual));
    }
    let add_rows = epilogue.add.map_or(1, |add| add.len() / shape.columns);
    if let Some(add) = epilogue.add.filter(|a| a.last_dim() != shape.columns || add_rows == 0 || rows % add_rows != 0) {
        return Err(wrong("add", format!("rows of {} that divide {rows}", shape.columns), add));
    }
    if let Some(residual) = epilogue.residual.filter(|_| epilogue.bindings(weight, elem) > storage_buffers(x)) {
        let sum = gemm(x, weight, geometry, Epilogue { residual: None, ..epilogue }, Elem::F32)?;
        return sum.plus_as(&residual.reshape(sum.shape())?, elem);
    }
    let limit = x.gpu().capabilities().max_binding_bytes as usize;
    let line = x.shape()[2] * channels.max(shape.columns) * 4;
    if line > limit && shape.kernel[1] == 1 && geometry.stride == 1 && geometry.pad[1] == 0 && !geometry.upsample {
        return in_strips(x, weight, geometry, epilogue, elem);
    }
    let y = Tensor::empty(x.gpu(), &out_shape, elem)?;
    let (rows_per_add, cooperative) = ((rows / add_rows).max(1), Cooperative::of(x, weight));
    let gemm = Gemm { weight, geometry, epilogue, rows_per_add, cooperative };
    if let Some(winograd) = weight.winograd.as_deref().filter(|w| w.pays(&geometry))
        && winograd.record(&gemm, x, &y)?
    {
        return Ok(y);
    }
    gemm.split(x, &y)?;
    Ok(y)
}

/// [`gemm`] on strips of columns, which a kernel one column wide leaves apart: for lines that are too long for one binding.
fn in_strips(
    x: &Tensor,
    weight: &PackedWeight,
    geometry: Geometry,
    epilogue: Epilogue<'_>,
    elem: Elem,
) -> Result<Tensor> {
    let [images, height, width, channels] = x.dims("conv input")?;
    let (out_height, columns) = (geometry.out[0], weight.shape.columns);
    let limit = x.gpu().capabilities().max_binding_bytes as usize;
    // Borders where a binding can start, if so many columns fit.
    let fitting = limit / (4 * channels.max(columns));
    let strip = if fitting >= 64 { fitting / 64 * 64 } else { fitting };
    if strip == 0 {
        let found = format!("{} bytes", 4 * channels.max(columns));
        return Err(Problem::new("conv", format!("pixels that fit a binding of {limit} bytes"), found).gpu());
    }
    if let Some(add) = epilogue.add.filter(|add| !(images * out_height).is_multiple_of(add.len() / columns)) {
        return Err(Problem::new("conv add", "whole lines for each row", format!("{:?}", add.shape())).shape());
    }
    let y = Tensor::empty(x.gpu(), &[images, out_height, width, columns], elem)?;
    for start in (0..width).step_by(strip) {
        let count = strip.min(width - start);
        let cut = |from: &Tensor, lines: usize, channels: usize| -> Result<Tensor> {
            let line = |line: usize| piece(from, (line * width + start) * channels, &[1, count, channels]);
            Tensor::stack_rows(&(0..lines).map(line).collect::<Result<Vec<_>>>()?.iter().collect::<Vec<_>>())
        };
        let x = cut(x, images * height, channels)?.reshape(&[images, height, count, channels])?;
        let residual = epilogue.residual.map(|residual| cut(residual, images * out_height, columns)).transpose()?;
        let epilogue = Epilogue { residual: residual.as_ref(), ..epilogue };
        let made = gemm(&x, weight, Geometry { out: [out_height, count], ..geometry }, epilogue, elem)?;
        for line in 0..images * out_height {
            let part = piece(&made, line * count * columns, &[count * columns])?;
            y.copy_in((line * width + start) * columns, &part)?;
        }
    }
    Ok(y)
}

impl<'a> Gemm<'a> {
    /// The bare products in f32, `[rows, columns]`, of `x` `[rows, 1, 1, at least as many channels as the groups read]`.
    pub(super) fn products(x: &Tensor, weight: &'a PackedWeight) -> Result<Tensor> {
        Self::bare(x, weight, Cooperative::of(x, weight))
    }

    fn bare(x: &Tensor, weight: &'a PackedWeight, cooperative: Cooperative) -> Result<Tensor> {
        let [rows, ..] = x.dims::<4>("products")?;
        let geometry = Geometry { stride: 1, pad: [0, 0], out: [1, 1], upsample: false };
        let y = Tensor::empty(x.gpu(), &[rows, weight.shape.columns], Elem::F32)?;
        let epilogue = Epilogue::default();
        let rows_per_add = rows.max(1);
        Gemm { weight, geometry, epilogue, rows_per_add, cooperative }.split(x, &y)?;
        Ok(y)
    }

    /// Cuts the output into pieces whose operands fit one binding each: all of it, some images, some output rows of an
    /// image, or, where even the rows under one output row do not fit together, one kernel row after another.
    fn split(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        let [images, height, width, channels] = x.dims("conv input")?;
        let [out_height, out_width] = self.geometry.out;
        let columns = self.weight.shape.columns;
        let limit = x.gpu().capabilities().max_binding_bytes as usize;
        let input_line = width * channels * x.elem().size();
        // f32, since sums that are handed on are.
        let output_line = (out_width * columns * 4).max(1);
        let most_lines = (limit / output_line).min(MAX_GROUPS * LEAST_ROWS / out_width.max(1));
        let pad = self.geometry.pad.map(|p| p as i32);
        let kernel_height = self.weight.shape.kernel[0];
        let image = |first: usize, count: usize| -> Result<Piece> {
            let x = piece(x, first * height * width * channels, &[count, height, width, channels])?;
            Ok(Piece { x, out: self.geometry.out, pad, kernel_rows: 0..kernel_height })
        };
        let mut fitting = (limit / (height * input_line).max(1)).min(most_lines / out_height.max(1)).min(images);
        if fitting < images && fitting > 64 {
            fitting = fitting / 64 * 64; // So that pieces start where a binding can, and nothing is copied.
        }
        if fitting > 0 {
            for first in (0..images).step_by(fitting) {
                let count = fitting.min(images - first);
                self.record(&[image(first, count)?], y, first * out_height, count * out_height)?;
            }
            return Ok(());
        }

        // Line of x, as stored, under kernel row `ky` of output line `line`; None outside.
        let under = |line: usize, ky: usize| -> Option<usize> {
            let at = (line * self.geometry.stride + ky) as i32 - pad[0];
            let at = if self.geometry.upsample { at >> 1 } else { at };
            usize::try_from(at).ok().filter(|&at| at < height)
        };
        let scale = if self.geometry.upsample { 2 } else { 1 };
        let lines_fitting = limit / input_line.max(1);
        let band = (lines_fitting * scale).saturating_sub(kernel_height + scale) / self.geometry.stride;
        let band = band.min(most_lines);
        let lines_of = |n: usize, first: usize, count: usize| {
            piece(x, (n * height + first) * width * channels, &[1, count, width, channels])
        };
        if lines_fitting == 0 || most_lines == 0 {
            let found = format!("lines of {input_line} bytes in and {output_line} out");
            return Err(Problem::new("conv", format!("lines that fit a binding of {limit} bytes"), found).gpu());
        }
        for n in 0..images {
            if band == 0 {
                for line in 0..out_height {
                    let mut pieces = Vec::new();
                    for ky in 0..kernel_height {
                        if let Some(at) = under(line, ky) {
                            let (x, pad) = (lines_of(n, at, 1)?, [ky as i32, pad[1]]);
                            pieces.push(Piece { x, out: [1, out_width], pad, kernel_rows: ky..ky + 1 });
                        }
                    }
                    self.record(&pieces, y, n * out_height + line, 1)?;
                }
                continue;
            }
            for line in (0..out_height).step_by(band) {
                let count = band.min(out_height - line);
                let first = (0..kernel_height).find_map(|ky| under(line, ky)).unwrap_or(0);
                let last = (0..kernel_height).rev().find_map(|ky| under(line + count - 1, ky)).unwrap_or(first);
                let top = (first * scale) as i32 - ((line * self.geometry.stride) as i32 - pad[0]);
                let x = lines_of(n, first, last - first + 1)?;
                let out = [count, out_width];
                self.record(
                    &[Piece { x, out, pad: [top, pad[1]], kernel_rows: 0..kernel_height }],
                    y,
                    n * out_height + line,
                    count,
                )?;
            }
        }
        Ok(())
    }

    /// Output lines `first_line..first_line + lines` of `y` as the sum over `pieces` and the windows of the weight.
    fn record(&self, pieces: &[Piece], y: &Tensor, first_line: usize, lines: usize) -> Result<()> {
        let shape = self.weight.shape;
        let rows = lines * self.geometry.out[1];
        let first_row = first_line * self.geometry.out[1];
        let [start, size] = [first_row * self.weight.outputs(), rows * self.weight.outputs()];
        let residual = self.epilogue.residual.map(|r| piece(r, start, &[size])).transpose()?;
        let epilogue = Epilogue { residual: residual.as_ref(), ..self.epilogue };
        let view = y.view(start, &[size]);
        let target = match &view {
            Some(view) => view.clone(),
            None => Tensor::empty(y.gpu(), &[size], y.elem())?,
        };

        let row_depth = shape.kernel[1] * shape.tap_depth();
        let mut steps = Vec::new();
        for (panels, group) in by_panels(self.weight.windows()?) {
            for piece in pieces {
                let wanted = piece.kernel_rows.start * row_depth..piece.kernel_rows.end * row_depth;
                for depth in &group {
                    let depth = depth.start.max(wanted.start)..depth.end.min(wanted.end);
                    if !depth.is_empty() {
                        steps.push((panels.clone(), depth, piece));
                    }
                }
            }
        }
        let mut carry: Option<Tensor> = None;
        for (index, (panels, depth, piece)) in steps.iter().enumerate() {
            let last = steps.get(index + 1).is_none_or(|(next, ..)| next != panels);
            let (to, epilogue) = match last {
                true => (target.clone(), epilogue),
                false => (Tensor::empty(y.gpu(), &[rows * shape.columns], Elem::F32)?, Epilogue::default()),
            };
            let gated = last && self.weight.gated;
            self.dispatch(piece, panels, depth, carry.as_ref(), epilogue, gated, &to, [rows, first_row])?;
            carry = (!last).then_some(to);
        }
        if view.is_none() {
            y.copy_in(start, &target)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn dispatch(
        &self,
        piece: &Piece,
        panels: &Range<usize>,
        depth: &Range<usize>,
        carry: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        gated: bool,
        y: &Tensor,
        [rows, row_begin]: [usize; 2],
    ) -> Result<()> {
        let shape = self.weight.shape;
        let [_, in_height, in_width, channels] = piece.x.dims("conv input")?;
        let elem = self.weight.tensor.elem();
        let panel = shape.panel(elem);
        let store = [4, 2, 1].into_iter().find(|s| shape.group_columns().is_multiple_of(*s)).unwrap_or(1);
        let vector = channels.is_multiple_of(4) && shape.group_channels.is_multiple_of(4);
        let plan = self.plan(y.gpu(), rows, panels, gated)?;
        let is_whole = carry.is_none() && panels.len() == shape.panels(elem) && depth.len() == shape.depth();
        let may_split = plan.kernel.name == cooperative::GEMM.name && is_whole && store == 4 && !gated;
        let parts = if may_split { cooperative::parts_of_depth(shape, self.geometry.out) } else { 1 };
        let limit = y.gpu().capabilities().max_binding_bytes as usize;
        let parts = if parts * rows * shape.columns * Elem::F32.size() <= limit { parts } else { 1 };
        let part_depth = depth.len().div_ceil(parts).next_multiple_of(cooperative::STEP);
        let parts = depth.len().div_ceil(part_depth);
        let start = (panels.start * shape.depth() + depth.start) * panel;
        let len = ((panels.len() - 1) * shape.depth() + depth.len()) * panel;
        let window = self.weight.tensor.view(start, &[len]).ok_or_else(|| {
            Problem::new("matmul weight", "a window on a binding's border", format!("element {start}")).gpu()
        })?;
        let params = Params {
            rows: rows as u32,
            columns: shape.columns as u32,
            panel_begin: panels.start as u32,
            depth_begin: depth.start as u32,
            depth_end: depth.end as u32,
            panel_depth: shape.depth() as u32,
            in_height: in_height as u32,
            in_width: in_width as u32,
            out_height: piece.out[0] as u32,
            out_width: piece.out[1] as u32,
            channels: channels as u32,
            kernel_width: shape.kernel[1] as u32,
            stride: self.geometry.stride as u32,
            pad_top: piece.pad[0],
            pad_left: piece.pad[1],
            group_channels: shape.group_channels as u32,
            tap_depth: shape.tap_depth() as u32,
            group_columns: shape.group_columns() as u32,
            panels_per_group: shape.panels_per_group(elem) as u32,
            rows_per_add: self.rows_per_add as u32,
            row_begin: row_begin as u32,
            part_depth: part_depth as u32,
            panels_first: u32::from(plan.grid.is_panels_first()),
        };
        let columns = (panels.len() * panel).min(shape.columns);
        let flops = 2.0 * rows as f64 * columns as f64 * depth.len() as f64;
        let record = |plan: Plan, epilogue: Epilogue<'_>, split: bool, x: &Tensor, y: &Tensor, flops: f64| {
            let constants = [
                ("PANEL", panel as u32),
                ("VECTOR", u32::from(vector)),
                ("STORE", store as u32),
                ("ACTIVATION", epilogue.activation as u32),
                ("UPSAMPLE", u32::from(self.geometry.upsample)),
                ("INT8", u32::from(self.weight.scale.is_some())),
                ("CARRY", u32::from(carry.is_some())),
                ("BIAS", u32::from(epilogue.bias.is_some())),
                ("ADD", u32::from(epilogue.add.is_some())),
                ("RESIDUAL", u32::from(epilogue.residual.is_some())),
                ("GATED", u32::from(gated)),
                ("SPLIT", u32::from(split)),
            ];
            let constants: Vec<_> = constants.into_iter().chain(plan.constants).collect();
            let mut tensors = vec![x, &window];
            let scale = self.weight.scale.as_ref();
            tensors.extend([scale, carry, epilogue.bias, epilogue.add, epilogue.residual].into_iter().flatten());
            tensors.push(y);
            let call = |groups| Call {
                kernel: plan.kernel,
                constants: &constants,
                params,
                tensors: &tensors,
                groups,
                flops,
                site: self.weight.site.clone(),
            };
            match plan.grid {
                Grid::Folded(groups) => call(groups).record(),
                Grid::Tiles { groups, rows } => call(0).record_grid(groups, rows),
            }
        };
        if parts == 1 {
            return record(plan, epilogue, false, &piece.x, y, flops);
        }
        let sums = Tensor::empty(y.gpu(), &[parts, rows, shape.columns], Elem::F32)?;
        let split = Plan { grid: plan.grid.in_parts(parts), ..plan };
        record(split, Epilogue::default(), true, &piece.x, &sums, flops)?;
        let constants = vec![FLAT, ("PARTS", parts as u32)];
        let grid = Grid::Folded((rows * shape.columns).div_ceil(4 * FLAT.1 as usize));
        let added = (parts * rows * shape.columns) as f64;
        record(Plan { kernel: &REDUCE, constants, grid }, epilogue, false, &sums, y, added)
    }

    /// The kernel for `rows` rows under `panels`, as it is tuned.
    fn plan(&self, gpu: &Gpu, rows: usize, panels: &Range<usize>, gated: bool) -> Result<Plan> {
        let (shape, elem) = (self.weight.shape, self.weight.tensor.elem());
        if let Some(tile) = self.cooperative.tile(gpu, shape, rows, panels.len())? {
            let grid = Grid::tiles(rows.div_ceil(tile.rows), panels.len().div_ceil(tile.panels));
            return Ok(Plan { kernel: &cooperative::GEMM, constants: tile.constants(), grid });
        }
        let taps = shape.kernel[0] * shape.kernel[1];
        let class = ProductClass::of(rows, panels.len(), shape.panel(elem), taps);
        let kernel = Tuning::of(gpu).product(class, gpu.capabilities());
        let vectors = shape.panel(elem) as u32 / 32;
        let Some(tile) = kernel.tile() else {
            // A tile no taller than few rows need.
            let eights = if rows <= LEAST_ROWS { 2 } else { kernel.eights() };
            // The operand that is walked through again and again should be the smaller one. A convolution's taps find the rows
            // that they share in the cache already.
            let columns = panels.len() * shape.panel(elem);
            let panels_first = taps == 1 && shape.groups == 1 && columns < rows;
            let grid = Grid::tiles(rows.div_ceil(8 * eights as usize), panels.len());
            let grid = if panels_first { grid.panels_first() } else { grid };
            let constants = vec![("VECTORS", vectors), ("EIGHTS", eights)];
            return Ok(Plan { kernel: &SUBGROUP, constants, grid });
        };
        let of_group = shape.panels_per_group(elem);
        let begin = panels.start % of_group;
        let is_whole = begin == 0 && panels.len().is_multiple_of(of_group);
        // Part of one group: no tile may reach past it into panels that are not bound.
        let ends = begin + panels.len() == of_group;
        let is_inside = begin + panels.len() < of_group && panels.len().is_multiple_of(2);
        // A tile two panels wide gains nothing where a group has but one.
        let fits = of_group > 1 && (is_whole || ends || is_inside);
        let wide = tile.panels == 2 && fits;
        let tile = match wide || tile.panels == 1 {
            true => tile,
            false => Tile { panels: 1, ..tile },
        };
        let tile = if gated { tile.gated() } else { tile };
        let constants = vec![
            ("ROWS", tile.rows),
            ("PANELS", tile.panels),
            ("EACH_ROWS", tile.each_rows),
            ("EACH_VECTORS", tile.each_vectors),
            ("STEP", tile.step),
        ];
        let per_group = tile.panels as usize;
        let blocks = if is_whole {
            panels.len() / of_group * of_group.div_ceil(per_group)
        } else {
            panels.len().div_ceil(per_group)
        };
        Ok(Plan { kernel: &TILED, constants, grid: Grid::tiles(rows.div_ceil(tile.rows as usize), blocks) })
    }
}

/// A kernel and how it is started.
struct Plan {
    kernel: &'static Kernel,
    constants: Vec<(&'static str, u32)>,
    grid: Grid,
}

/// How the workgroups of a dispatch lie.
#[derive(Clone, Copy)]
enum Grid {
    Folded(usize),
    /// Tiles of rows along axis `rows`, 0 or 1, panels along the other, parts of the depth along the third.
    Tiles {
        groups: [u32; 3],
        rows: usize,
    },
}

impl Grid {
    fn tiles(rows: usize, panels: usize) -> Self {
        Self::Tiles { groups: [rows as u32, panels as u32, 1], rows: 0 }
    }

    fn panels_first(self) -> Self {
        match self {
            Self::Tiles { groups: [x, y, z], rows } => Self::Tiles { groups: [y, x, z], rows: 1 - rows },
            folded @ Self::Folded(_) => folded,
        }
    }

    fn is_panels_first(self) -> bool {
        matches!(self, Self::Tiles { rows: 1, .. })
    }

    fn in_parts(self, parts: usize) -> Self {
        match self {
            Self::Tiles { groups: [x, y, _], rows } => Self::Tiles { groups: [x, y, parts as u32], rows },
            folded @ Self::Folded(_) => folded,
        }
    }
}

/// Windows of the same panels together.
fn by_panels(windows: Vec<(Range<usize>, Range<usize>)>) -> Vec<(Range<usize>, Vec<Range<usize>>)> {
    let mut grouped: Vec<(Range<usize>, Vec<Range<usize>>)> = Vec::new();
    for (panels, depth) in windows {
        match grouped.last_mut() {
            Some((same, depths)) if *same == panels => depths.push(depth),
            _ => grouped.push((panels, vec![depth])),
        }
    }
    grouped
}

impl Tensor {
    /// `activation(self * weight^T + bias + add) + residual`, `self` `[.., channels]` → `[.., outputs]`, same element type.
    pub fn linear(&self, weight: &PackedWeight, epilogue: Epilogue<'_>) -> Result<Tensor> {
        let channels = self.last_dim();
        let rows = self.len() / channels.max(1);
        let geometry = Geometry { stride: 1, pad: [0, 0], out: [1, 1], upsample: false };
        // Each row is an image of one pixel.
        let y = gemm(&self.reshape(&[rows, 1, 1, channels])?, weight, geometry, epilogue, self.elem())?;
        let mut shape = self.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = weight.outputs();
        }
        y.reshape(&shape)
    }

    /// The convolution of `self` `[images, height, width, channels]` → `[images, out height, out width, columns]`.
    pub fn conv2d(&self, weight: &PackedWeight, geometry: Geometry, epilogue: Epilogue<'_>) -> Result<Tensor> {
        gemm(self, weight, geometry, epilogue, self.elem())
    }
}

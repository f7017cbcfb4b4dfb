//! Tiles of the kernels on cooperative matrices, where they are used, and whether the device computes them right.
//!
//! Their numerics class: f16 operands, f32 sums. It follows from the element types alone: x (or q, k and v) and weight are f16
//! already, so that no operand is rounded. Activations in f32 are there because published ones overflow f16, or for exactness;
//! they stay with the other kernels. Attention's probabilities are rounded to f16.

use super::attention::{Attend, Rows};
use super::gemm;
use super::packed::{PackedWeight, Raw, WeightShape};
use super::tuning::{ProductClass, Tuning};
use crate::gpu::{Elem, Gpu, Kernel, Matrices};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const GEMM: Kernel = super::kernel!("gemm_cooperative");
pub(super) const ATTENTION: Kernel = super::kernel!("attention_cooperative");

/// Depths of a step and the width of a matrix product's store, in the kernel as well.
pub(super) const STEP: usize = 32;
/// Workgroups that keep a large GPU busy with large tiles: two for each of the 132 multiprocessors of an H200.
const BUSY: usize = 264;

/// The matrices that operations may use on this device: those it has, once it has shown that it computes them right.
pub fn matrices(gpu: &Gpu) -> Option<Matrices> {
    gpu.checked_matrices(|matrices| check(gpu, matrices))
}

/// How a workgroup of four subgroups is laid out.
fn workgroup(gpu: &Gpu, matrices: Matrices) -> usize {
    // Where several sizes are possible the usual one is taken; should the device run another, its check fails.
    let subgroup = if matrices.emulated { 32 } else { gpu.capabilities().subgroup_size.unwrap_or(32) };
    4 * subgroup as usize
}

fn fits(gpu: &Gpu, workgroup: usize, bytes: usize) -> bool {
    let capabilities = gpu.capabilities();
    capabilities.max_invocations as usize >= workgroup && capabilities.max_workgroup_bytes as usize >= bytes
}

/// Outputs of one workgroup of [`GEMM`]. All tiles sum in the same order: their results are bit-equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GemmTile {
    matrices: Matrices,
    workgroup: usize,
    pub rows: usize,
    panel: usize,
    /// Panels of columns.
    pub panels: usize,
    /// Tiles of each operand in workgroup memory.
    buffers: usize,
}

impl GemmTile {
    /// Those that this device has room for and that a dispatch of `panels` panels can be cut into, largest first.
    pub fn possible(gpu: &Gpu, matrices: Matrices, shape: WeightShape, panels: usize) -> impl Iterator<Item = Self> {
        let workgroup = workgroup(gpu, matrices);
        let panel = shape.panel(Elem::F16);
        // A tile of two panels must not reach into another group, nor past a part of the weight.
        let pairs = shape.groups == 1 && panel == 64 && (panels.is_multiple_of(2) || panels == shape.panels(Elem::F16));
        let tile = move |rows, panels, buffers| Self { matrices, workgroup, rows, panel, panels, buffers };
        let large = [2, 1].map(|buffers| tile(128, 2, buffers));
        let large = large.into_iter().find(|t| pairs && fits(gpu, workgroup, t.bytes()));
        let small = Some(tile(64, 1, 2)).filter(|t| fits(gpu, workgroup, t.bytes()));
        [large, small].into_iter().flatten()
    }

    /// The tile for an output of `rows` rows and `panels` panels: as it is tuned, else the largest that makes enough workgroups, else
    /// the smallest. `VISEME_TILE`, 64 or 128, overrules that where its tile is possible.
    pub fn choose(
        gpu: &Gpu,
        matrices: Matrices,
        shape: WeightShape,
        rows: usize,
        panels: usize,
    ) -> Result<Option<Self>> {
        let forced = match std::env::var("VISEME_TILE").ok().as_deref() {
            None | Some("") => None,
            Some("64") => Some(64),
            Some("128") => Some(128),
            Some(other) => return Err(Problem::new("VISEME_TILE", "64 or 128", format!("'{other}'")).usage()),
        };
        let class = ProductClass::of(rows, panels, shape.panel(Elem::F16), shape.kernel[0] * shape.kernel[1]);
        let tuned = || Tuning::of(gpu).matrices.get(&class).map(|tile| tile.rows());
        let wanted = forced.or_else(tuned);
        let mut last = None;
        for tile in Self::possible(gpu, matrices, shape, panels) {
            if wanted.map_or(tile.workgroups(rows, panels) >= BUSY, |rows| tile.rows == rows) {
                return Ok(Some(tile));
            }
            last = Some(tile);
        }
        Ok(last)
    }

    fn workgroups(&self, rows: usize, panels: usize) -> usize {
        rows.div_ceil(self.rows) * panels.div_ceil(self.panels)
    }

    fn columns(&self) -> usize {
        self.panels * self.panel
    }

    /// Matrices of each subgroup that go out through workgroup memory at a time.
    fn staged(&self) -> usize {
        let edge = self.matrices.edge as usize;
        (self.columns() / 2 / edge).min(32 / edge)
    }

    /// Workgroup memory: tiles of both operands and four parts of sums, rows padded.
    fn bytes(&self) -> usize {
        let edge = self.matrices.edge as usize;
        let halves = self.buffers * (self.rows * (STEP + 8) + STEP * (self.columns() + 8));
        2 * halves + 4 * 4 * edge * (self.staged() * edge + 4)
    }

    pub fn constants(&self) -> Vec<(&'static str, u32)> {
        let edge = self.matrices.edge as usize;
        let constants = [
            ("NATIVE_F16", 1),
            ("MATRIX", edge),
            ("EMULATED", usize::from(self.matrices.emulated)),
            ("WORKGROUP", self.workgroup),
            ("ROWS", self.rows),
            ("COLUMNS", self.columns()),
            ("PANELS", self.panels),
            ("BUFFERS", self.buffers),
            ("ROW_MATRICES", self.rows / 2 / edge),
            ("ROUNDS", self.columns() / 2 / edge / self.staged()),
            ("STAGED", self.staged()),
            ("DEPTH_MATRICES", STEP / edge),
            ("LEFT_QUADS", self.rows * STEP / 4 / self.workgroup),
            ("RIGHT_QUADS", self.columns() * STEP / 4 / self.workgroup),
        ];
        constants.map(|(name, value)| (name, value as u32)).to_vec()
    }
}

/// Frames of a clip, of which a spatial convolution sees one by one.
const FRAMES: usize = 14;
/// Depths that a part is worth: what it adds is one more write and read of its sums.
const LEAST_PART: usize = 1024;
const MOST_PARTS: usize = 8;

/// Parts that the depth of a convolution to images of `out` height and width is split into, each with workgroups of its own and
/// added up afterwards, so that a clip's small images keep a large GPU busy. It depends on the clip and not on how many there
/// are, since it decides in which order sums are taken. Linear layers, which do not know a clip's rows, are not split.
pub(super) fn parts_of_depth(shape: WeightShape, out: [usize; 2]) -> usize {
    let is_linear = shape.kernel == [1, 1];
    if is_linear || shape.groups != 1 {
        return 1;
    }
    let frames = if shape.kernel[1] == 1 { 1 } else { FRAMES };
    let workgroups = (frames * out[0] * out[1]).div_ceil(64) * shape.columns.div_ceil(64);
    (BUSY / workgroups.max(1)).min(shape.depth() / LEAST_PART).clamp(1, MOST_PARTS)
}

/// The block of one workgroup of [`ATTENTION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AttentionTile {
    matrices: Matrices,
    workgroup: usize,
    pub rows: usize,
    keys: usize,
    chunk: usize,
    chunks: usize,
    /// Parts that the four subgroups divide the columns into.
    column_parts: usize,
}

impl AttentionTile {
    /// For heads of `dim`: 64 queries, each subgroup with 16 of them, or, where a head is too wide for that, 16 queries, each
    /// subgroup with a quarter of the columns.
    pub fn choose(gpu: &Gpu, matrices: Matrices, dim: usize) -> Option<Self> {
        let workgroup = workgroup(gpu, matrices);
        if workgroup < 64 {
            return None; // Each query's row needs an invocation.
        }
        let tile = |rows, keys, chunk, column_parts| Self {
            matrices,
            workgroup,
            rows,
            keys,
            chunk,
            chunks: dim.div_ceil(chunk),
            column_parts,
        };
        let padded = dim.next_multiple_of(16);
        // The widest chunk that divides the head, 80 at most.
        let chunk = (1..=5).rev().map(|n| 16 * n).find(|n| padded.is_multiple_of(*n)).unwrap_or(16);
        let narrow_chunk = if padded.is_multiple_of(32) { 32 } else { 16 };
        let tall = [tile(64, 64, chunk, 1), tile(64, 32, chunk, 1), tile(64, 32, narrow_chunk, 1)];
        let wide = tile(16, 64, 64, 4);
        let tall = tall.into_iter().filter(|_| padded <= 160);
        tall.chain([wide]).find(|t| fits(gpu, workgroup, t.bytes()))
    }

    fn bytes(&self) -> usize {
        let halves =
            self.rows * (self.chunks * self.chunk + 8) + self.keys * (self.chunk + 8) + self.rows * (self.keys + 8);
        2 * halves + 4 * self.rows * (self.keys.max(self.chunk) + 4) + 4 * self.workgroup
    }

    pub fn constants(&self) -> Vec<(&'static str, usize)> {
        let edge = self.matrices.edge as usize;
        let row_parts = 4 / self.column_parts;
        let lanes = self.workgroup / self.rows;
        vec![
            ("NATIVE_F16", 1),
            ("MATRIX", edge),
            ("EMULATED", usize::from(self.matrices.emulated)),
            ("WORKGROUP", self.workgroup),
            ("ROWS", self.rows),
            ("KEYS", self.keys),
            ("CHUNK", self.chunk),
            ("CHUNKS", self.chunks),
            ("COLUMN_PARTS", self.column_parts),
            ("ROW_MATRICES", self.rows / row_parts / edge),
            ("KEY_MATRICES", self.keys / self.column_parts / edge),
            ("OUT_MATRICES", self.chunk / self.column_parts / edge),
            ("LANES", lanes),
            ("SCORES", self.keys / 4 / lanes),
            ("QUADS", self.chunk / 4 / lanes),
        ]
    }
}

/// A value that differs from its neighbours in every direction, a multiple of 1/16 in [-1, 1]: f16 holds it.
fn pattern(i: usize) -> f32 {
    ((i * i * 7 + i * 13 + i / 5) % 33) as f32 / 16.0 - 1.0
}

fn patterned(gpu: &Gpu, shape: &[usize], seed: usize) -> Result<(Tensor, Vec<f32>)> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i| pattern(i + seed)).collect();
    Ok((Tensor::from_values(gpu, shape, Elem::F16, &values)?, values))
}

/// Products and attention in every tile that this device would use, against the host's sums. Nothing in them is symmetric: a
/// matrix that is loaded or stored transposed, or laid out for subgroups of another size, shows.
fn check(gpu: &Gpu, matrices: Matrices) -> Result<()> {
    let mut tiles = 0;
    for columns in [24, 150] {
        let (rows, depth) = (150, 84);
        let shape = WeightShape::linear(columns, depth);
        let (x, x_values) = patterned(gpu, &[rows, 1, 1, depth], 0)?;
        let w_values: Vec<f32> = (0..columns * depth).map(|i| pattern(3 * i + 11)).collect();
        let weight = PackedWeight::pack(gpu, shape, Elem::F16, Raw::F32(bytemuck::cast_slice(&w_values)), "check")?;
        let mut want = Vec::new();
        for row in x_values.chunks(depth) {
            want.extend(w_values.chunks(depth).map(|w| row.iter().zip(w).map(|(x, w)| f64::from(x * w)).sum::<f64>()));
        }
        for tile in GemmTile::possible(gpu, matrices, shape, shape.panels(Elem::F16)) {
            let got = gemm::products_in(&x, &weight, tile)?;
            compare(&format!("a product in tiles of {} x {}", tile.rows, tile.columns()), &got.to_f32()?, &want, 1e-5)?;
            tiles += 1;
        }
    }
    for dim in [64, 512] {
        if AttentionTile::choose(gpu, matrices, dim).is_none() {
            continue;
        }
        let (tokens, scale) = (70, (dim as f32).powf(-0.5));
        let [(q, q_values), (k, k_values), (v, v_values)] = [
            patterned(gpu, &[tokens, dim], 5)?,
            patterned(gpu, &[tokens, dim], 900)?,
            patterned(gpu, &[tokens, dim], 77)?,
        ];
        let mut want = Vec::new();
        for q in q_values.chunks(dim) {
            let dot = |k: &[f32]| q.iter().zip(k).map(|(q, k)| f64::from(q * k)).sum::<f64>() * f64::from(scale);
            let weights: Vec<f64> = k_values.chunks(dim).map(|k| dot(k).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let value = |d| v_values.chunks(dim).zip(&weights).map(|(v, w)| f64::from(v[d]) * w).sum::<f64>() / sum;
            want.extend((0..dim).map(value));
        }
        let [q, k, v] = [Rows::of(&q)?, Rows::of(&k)?, Rows::of(&v)?];
        let attend = Attend { q, k, v, heads: 1, head_dim: dim, scale, bias: None };
        let got = attend.run_on(Some(matrices))?;
        compare(&format!("attention of heads of {dim}"), &got.to_f32()?, &want, 5e-3)?;
        tiles += 1;
    }
    if tiles == 0 {
        return Err(Problem::new("cooperative matrices", "room for a tile in workgroup memory", "none").gpu());
    }
    Ok(())
}

/// An error unless `got` is within `bar` of `want`, relative L2, NaN included.
fn compare(what: &str, got: &[f32], want: &[f64], bar: f64) -> Result<()> {
    let norm: f64 = want.iter().map(|w| w * w).sum();
    let error: f64 = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum();
    let relative = (error / norm).sqrt();
    if relative <= bar {
        return Ok(());
    }
    Err(Problem::new(what, format!("a relative error of {bar:.0e} at most"), format!("{relative:.1e}")).gpu())
}

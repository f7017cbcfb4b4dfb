//! Operations on tensors: one file each, written as `impl Tensor`. Each checks shapes, picks a variant of its kernel,
//! splits what does not fit one binding, and records its dispatches.

mod affine;
mod attention;
mod autotune;
mod ceiling;
mod composite;
mod cooperative;
mod fbank;
mod gemm;
mod group_norm;
mod int8;
mod landmark_windows;
mod layer_norm;
mod layout;
mod mask;
mod max_pool;
mod measure;
mod overlap_merge;
mod packed;
mod philox;
mod pointwise;
mod rate;
mod relative;
mod resample;
mod rgb;
mod sample;
mod sampling;
mod seam;
mod separable;
mod tuning;
mod winograd;

pub use affine::Affine;
pub use attention::{Attend, Bias, Rows};
pub use autotune::autotune;
pub use ceiling::{Arithmetic, Chains};
pub use composite::{Layer, MOST_FEATHER};
pub use cooperative::matrices;
pub use fbank::Framing;
pub use gemm::{Activation, Epilogue, Geometry};
pub use int8::Int8;
pub use landmark_windows::{LandmarkPart, LandmarkParts, Window};
pub use mask::PixelBox;
pub use packed::{PackedWeight, Raw, WeightShape, interleave};
pub use rate::rate;
pub use resample::{Filter, Region};
pub use rgb::{Depth, Rgb};
pub use sample::Border;
pub use sampling::Inpaint;
pub use separable::{Padding, Separable, SeparableShape, SeparableValues, Shortcut};
pub use tuning::{
    AttentionClass, MatrixTile, ProductClass, ProductKernel, QueryTile, Scratch, Tile, Tuning, Workgroup,
};
pub use winograd::{ConvBudget, ConvClass};

use crate::gpu::{Gpu, Kernel, Run, Work, fold};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::sync::Arc;

/// Every kernel; portability tests and `viseme bench` walk this list.
pub const KERNELS: &[&Kernel] = &[
    &attention::FEW,
    &cooperative::ATTENTION,
    &attention::SUBGROUP,
    &attention::TILED,
    &ceiling::KERNEL,
    &composite::COMPOSITE,
    &composite::FEATHER,
    &layout::CONCAT,
    &separable::DEPTHWISE,
    &fbank::FRAMES,
    &fbank::POWER,
    &sampling::DENOISE,
    &sampling::STEP,
    &sampling::UPDATE,
    &overlap_merge::KERNEL,
    &philox::KERNEL,
    &cooperative::GEMM,
    &gemm::REDUCE,
    &gemm::SUBGROUP,
    &gemm::TILED,
    &group_norm::APPLY,
    &group_norm::MERGE,
    &group_norm::PARTIAL,
    &landmark_windows::KERNEL,
    &layer_norm::KERNEL,
    &mask::DOWNSAMPLE,
    &mask::RASTERISE,
    &max_pool::KERNEL,
    &measure::DISTANCE,
    &measure::LAPLACIAN,
    &measure::SQUARED_ERROR,
    &measure::SSIM,
    &pointwise::KERNEL,
    &resample::KERNEL,
    &resample::WARP,
    &rgb::FROM_TENSOR,
    &rgb::TO_TENSOR,
    &sample::KERNEL,
    &seam::MERGE,
    &seam::PARTIAL,
    &separable::SUBGROUP,
    &separable::TILED,
    &layout::SLICE,
    &relative::BIAS,
    &relative::GATE,
    &winograd::INPUT,
    &winograd::OUTPUT,
];

/// The kernel in kernels/`$name`.wgsl.
macro_rules! kernel {
    ($name:literal) => {
        $crate::gpu::Kernel { name: $name, source: include_str!(concat!("../../kernels/", $name, ".wgsl")) }
    };
}
pub(crate) use kernel;

/// One dispatch of `kernel` over `groups` workgroups, folded; `tensors` in the order of its bindings.
pub(crate) struct Call<'a, P> {
    pub kernel: &'static Kernel,
    pub constants: &'a [(&'static str, u32)],
    pub params: P,
    pub tensors: &'a [&'a Tensor],
    pub groups: usize,
    pub flops: f64,
    pub site: Option<Arc<str>>,
}

impl<P: bytemuck::Pod> Call<'_, P> {
    pub fn record(self) -> Result<()> {
        let groups = self.groups;
        self.record_pieces(groups, |range| fold(range.len()))
    }

    /// The same with the workgroup counts of each axis as given, those along `axis` being what a kernel counts from
    /// `first_group` on.
    pub fn record_grid(self, groups: [u32; 3], axis: usize) -> Result<()> {
        self.record_pieces(groups[axis] as usize, |range| {
            let mut groups = groups;
            groups[axis] = range.len() as u32;
            groups
        })
    }

    /// A dispatch for each part of `groups` workgroups that it may hold.
    fn record_pieces(self, groups: usize, grid: impl Fn(&std::ops::Range<usize>) -> [u32; 3]) -> Result<()> {
        let Some(first) = self.tensors.first() else { return Ok(()) };
        let bindings: Vec<_> = self.tensors.iter().map(|t| t.binding()).collect();
        let work = Work { flops: self.flops, bytes: bindings.iter().map(|b| b.size as f64).sum() };
        for range in rate::pieces(first.gpu(), work, groups)? {
            first.gpu().run(Run {
                kernel: self.kernel,
                constants: self.constants,
                params: bytemuck::bytes_of(&self.params),
                bindings: &bindings,
                groups: grid(&range),
                first_group: range.start as u32,
                work: work * (range.len() as f64 / groups as f64),
                site: self.site.clone(),
            })?;
        }
        Ok(())
    }
}

/// The workgroup of kernels that reduce over it: one subgroup where the device has few lanes and barriers are dear.
pub(crate) fn reduction_constants(gpu: &Gpu) -> Vec<(&'static str, u32)> {
    let capabilities = gpu.capabilities();
    match capabilities.subgroup_size {
        Some(size) if capabilities.software => vec![("WORKGROUP", size), ("SUBGROUP", 1)],
        _ => vec![("WORKGROUP", 256.min(capabilities.max_invocations))],
    }
}

/// Invocations of a workgroup in kernels without cooperation between them.
pub(crate) const FLAT: (&str, u32) = ("WORKGROUP", 64);

/// `work(index, part)` for each part of `part_len` of `values`, on all cores where `cost`, the number of values read, is
/// worth threads.
pub(crate) fn on_all_cores<T: Send>(
    values: &mut [T],
    part_len: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let part_len = part_len.max(1);
    let run = |first: usize, chunk: &mut [T]| {
        chunk.chunks_mut(part_len).enumerate().for_each(|(index, part)| work(first + index, part));
    };
    if cost < 1 << 16 {
        return run(0, values);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let per_thread = values.len().div_ceil(part_len).div_ceil(threads);
    std::thread::scope(|scope| {
        for (index, chunk) in values.chunks_mut(per_thread * part_len).enumerate() {
            let run = &run;
            scope.spawn(move || run(index * per_thread, chunk));
        }
    });
}

/// The same in those that stream the networks' activations: tuned.
pub(crate) fn streaming(gpu: &Gpu) -> (&'static str, u32) {
    ("WORKGROUP", Tuning::of(gpu).elementwise_lanes(gpu.capabilities()))
}

/// Ranges of `rows` such that each tensor's part fits one binding and starts where a binding can; each tensor's
/// leading dimensions count `rows`, or it is left out.
pub(crate) fn row_ranges(what: &str, rows: usize, tensors: &[&Tensor]) -> Result<Vec<std::ops::Range<usize>>> {
    let Some(gpu) = tensors.first().map(|t| t.gpu()) else { return Ok(Vec::new()) };
    let limit = gpu.capabilities().max_binding_bytes;
    if rows == 0 {
        return Ok(Vec::new());
    }
    if tensors.iter().all(|t| t.size_bytes() <= limit) {
        return Ok(std::iter::once(0..rows).collect());
    }
    let alignment = u64::from(gpu.capabilities().offset_alignment).max(16);
    let mut multiple = 1;
    let mut most = rows as u64;
    for tensor in tensors {
        let row_bytes = tensor.size_bytes() / rows as u64;
        multiple = lcm(multiple, alignment / gcd(alignment, row_bytes.max(1)));
        most = most.min(limit / row_bytes.max(1));
    }
    let step = most / multiple * multiple;
    if step == 0 {
        let found = format!(
            "{multiple} rows of {:?}",
            tensors.iter().map(|t| t.size_bytes() / rows as u64).collect::<Vec<_>>()
        );
        return Err(Problem::new(what, format!("rows that fit a binding of {limit} bytes"), found).gpu());
    }
    Ok((0..rows).step_by(step as usize).map(|start| start..rows.min(start + step as usize)).collect())
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn lcm(a: u64, b: u64) -> u64 {
    a / gcd(a, b) * b
}

impl Tensor {
    /// Rows `range` of a tensor of `rows` rows, as `[range, row]`, in the same memory: for ranges from [`row_ranges`].
    pub(crate) fn rows(&self, rows: usize, range: &std::ops::Range<usize>) -> Result<Tensor> {
        let width = self.len() / rows.max(1);
        self.view(range.start * width, &[range.len(), width]).ok_or_else(|| {
            Problem::new(
                "rows",
                "a range that starts on a binding's border",
                format!("{range:?} of {:?}", self.shape()),
            )
            .gpu()
        })
    }

    /// A tensor of the same shape and element type with undefined contents.
    pub fn empty_like(&self) -> Result<Tensor> {
        Tensor::empty(self.gpu(), self.shape(), self.elem())
    }
}

/// `shape` elements of `t` from `start` on: a view where a binding can start there, else a copy.
pub(crate) fn piece(t: &Tensor, start: usize, shape: &[usize]) -> Result<Tensor> {
    match t.view(start, shape) {
        Some(view) => Ok(view),
        None => t.copy_out(start, shape),
    }
}

/// Ranges of groups of four elements such that each tensor's part fits one binding; the tensors are equally long.
pub(crate) fn quad_ranges(tensors: &[&Tensor]) -> Result<Vec<std::ops::Range<usize>>> {
    let Some(first) = tensors.first() else { return Ok(Vec::new()) };
    let limit = first.gpu().capabilities().max_binding_bytes as usize;
    let quads = first.len().div_ceil(4);
    let widest = tensors.iter().map(|t| 4 * t.elem().size()).max().unwrap_or(16);
    // 64 groups begin on every device's binding border, 256 bytes at most.
    let step = limit / widest / 64 * 64;
    if step == 0 {
        return Err(Problem::new("binding", "1 KiB or more", format!("{limit} bytes")).gpu());
    }
    Ok((0..quads).step_by(step).map(|start| start..quads.min(start + step)).collect())
}

impl Tensor {
    /// Groups of four elements `range`, in the same memory: for ranges from [`quad_ranges`].
    pub(crate) fn quads(&self, range: &std::ops::Range<usize>) -> Result<Tensor> {
        let len = (4 * range.len()).min(self.len() - 4 * range.start);
        self.view(4 * range.start, &[len]).ok_or_else(|| {
            Problem::new("elements", "a range that starts on a binding's border", format!("{range:?}")).gpu()
        })
    }
}

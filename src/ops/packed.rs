//! Weights of products: as they lie in a file, and repacked into the order in which the kernels read them.

use super::gemm::MAX_GROUPS;
use super::int8::Int8;
use super::on_all_cores;
use super::winograd::{ConvClass, Winograd};
use crate::gpu::{Elem, Gpu};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use half::{bf16, f16};
use std::ops::Range;
use std::sync::Arc;

/// Values of a weight as they lie in a file, little endian, of any alignment.
#[derive(Clone, Copy)]
pub enum Raw<'a> {
    F32(&'a [u8]),
    F16(&'a [u8]),
    BF16(&'a [u8]),
    /// Nothing is there yet: only a placeholder is made.
    Planned,
}

/// The published shape `[columns, group_channels, kernel_height, kernel_width]` of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightShape {
    pub columns: usize,
    pub group_channels: usize,
    pub kernel: [usize; 2],
    pub groups: usize,
}

impl WeightShape {
    /// Errors: a dimension of zero, or groups that do not divide the columns.
    fn check(self, site: &str) -> Result<()> {
        let sizes = [self.columns, self.group_channels, self.kernel[0], self.kernel[1], self.groups];
        if !sizes.contains(&0) && self.columns.is_multiple_of(self.groups) {
            return Ok(());
        }
        Err(Problem::new(site, "no dimension of 0 and groups that divide the columns", format!("{self:?}")).shape())
    }

    /// Of a linear layer `[columns, channels]`.
    pub fn linear(columns: usize, channels: usize) -> Self {
        Self { columns, group_channels: channels, kernel: [1, 1], groups: 1 }
    }

    /// Of a convolution published as `[columns, channels, height, width]`, or `[.., 1]` of a temporal one; None for another shape.
    pub fn conv(published: &[usize]) -> Option<Self> {
        match *published {
            [columns, group_channels, height, width] | [columns, group_channels, height, width, 1] => {
                Some(Self { columns, group_channels, kernel: [height, width], groups: 1 })
            }
            _ => None,
        }
    }

    pub(super) fn group_columns(&self) -> usize {
        self.columns / self.groups
    }

    /// Columns of a panel: the kernels compute this many at a time. Four depths of a panel fill a binding's alignment.
    pub(super) fn panel(&self, elem: Elem) -> usize {
        if self.group_columns() <= 32 && elem != Elem::I8 { 32 } else { 64 }
    }

    pub(super) fn panels_per_group(&self, elem: Elem) -> usize {
        self.group_columns().div_ceil(self.panel(elem))
    }

    pub(super) fn tap_depth(&self) -> usize {
        self.group_channels.next_multiple_of(4)
    }

    pub(super) fn depth(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.tap_depth()
    }

    pub(super) fn panels(&self, elem: Elem) -> usize {
        self.groups * self.panels_per_group(elem)
    }

    /// As stored: column panels, in the order in which the kernels read them.
    fn packed(&self, elem: Elem) -> [usize; 3] {
        [self.panels(elem), self.depth(), self.panel(elem)]
    }

    /// Values that one column takes.
    pub(super) fn column_len(&self) -> usize {
        self.group_channels * self.kernel[0] * self.kernel[1]
    }

    pub(super) fn len(&self) -> usize {
        self.columns * self.column_len()
    }
}

/// A weight repacked into column panels `[panels, depth, panel]`, the order in which the kernels read it; of int8 with four
/// depths of a column side by side, `[panels, depth / 4, panel, 4]`.
#[derive(Clone)]
pub struct PackedWeight {
    pub(super) tensor: Tensor,
    /// Of int8: `[columns]` in f32.
    pub(super) scale: Option<Tensor>,
    pub(super) shape: WeightShape,
    pub(super) site: Option<Arc<str>>,
    pub(super) winograd: Option<Arc<Winograd>>,
    /// Of every eight columns the first four are values and the others their gates.
    pub(super) gated: bool,
}

impl Raw<'_> {
    /// Value `i`, as far as there are values.
    pub(super) fn at(&self, i: usize) -> f32 {
        let half_at = |bytes: &[u8]| u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]);
        match self {
            Self::F32(bytes) => {
                f32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
            }
            Self::F16(bytes) => f16::from_bits(half_at(bytes)).to_f32(),
            Self::BF16(bytes) => bf16::from_bits(half_at(bytes)).to_f32(),
            Self::Planned => 0.0,
        }
    }
}

impl PackedWeight {
    /// Packs `raw`, in published order, as `elem`; `site` names it in errors. As [`Elem::I8`] each column is rounded to
    /// [`Int8`].
    /// Errors: fewer or more values than `shape` has; values beyond f16's range, or for int8 not finite.
    pub fn pack(gpu: &Gpu, shape: WeightShape, elem: Elem, raw: Raw<'_>, site: &str) -> Result<Self> {
        shape.check(site)?;
        let packed_shape = shape.packed(elem);
        let wrong = |bytes: &[u8], size: usize| {
            let problem = Problem::new(site, format!("{} values", shape.len()), format!("{}", bytes.len() / size));
            (bytes.len() != shape.len() * size).then(|| problem.shape())
        };
        let problem = match raw {
            Raw::F32(bytes) => wrong(bytes, 4),
            Raw::F16(bytes) | Raw::BF16(bytes) => wrong(bytes, 2),
            Raw::Planned => None,
        };
        if let Some(problem) = problem {
            return Err(problem);
        }
        match (elem, raw) {
            (_, Raw::Planned) => Self::of(Tensor::placeholder(gpu, &packed_shape, elem)?, shape, site),
            (Elem::F16, Raw::F16(bytes)) => {
                let packed = arrange(&shape, elem, |_, i| [bytes[2 * i], bytes[2 * i + 1]]);
                let tensor = Tensor::from_bytes(gpu, &packed_shape, elem, bytemuck::cast_slice(&packed))?;
                Self::of(tensor, shape, site)
            }
            (Elem::I8, raw) => {
                let columns = Int8::of_columns(shape, raw, site)?;
                let packed = arrange(&shape, elem, |column, i| columns[column].nearest(raw.at(i)));
                let scale: Vec<f32> = columns.iter().map(|column| column.scale).collect();
                let scale = Tensor::from_f32(gpu, &[shape.columns], &scale)?;
                let tensor = Tensor::from_bytes(gpu, &packed_shape, elem, bytemuck::cast_slice(&packed))?;
                Ok(Self { scale: Some(scale), ..Self::of(tensor, shape, site)? })
            }
            (_, raw) => Self::arranged(gpu, shape, elem, site, |i| raw.at(i)),
        }
    }

    fn of(tensor: Tensor, shape: WeightShape, site: &str) -> Result<Self> {
        Ok(Self { tensor, scale: None, shape, site: Some(site.into()), winograd: None, gated: false })
    }

    /// Packs a linear layer `[2 outputs, channels]` whose first half are values and whose second half are their gates: the product
    /// then gives `outputs` columns, value * activation(gate), of a bias that [`interleave`] has put in the same order.
    /// Errors: those of [`PackedWeight::pack`]; outputs of fewer than 20, or no multiple of 4.
    pub fn pack_gated(
        gpu: &Gpu,
        [outputs, channels]: [usize; 2],
        elem: Elem,
        raw: Raw<'_>,
        site: &str,
    ) -> Result<Self> {
        let shape = WeightShape::linear(2 * outputs, channels);
        shape.check(site)?;
        if !outputs.is_multiple_of(4) || shape.panel(elem) < 64 {
            return Err(Problem::new(site, "a multiple of 4 gated outputs, 20 at least", outputs.to_string()).shape());
        }
        let (Raw::F32(bytes) | Raw::F16(bytes) | Raw::BF16(bytes)) = raw else {
            return Ok(Self { gated: true, ..Self::pack(gpu, shape, elem, raw, site)? });
        };
        let rows = interleave(bytes, outputs);
        let raw = match raw {
            Raw::F32(_) => Raw::F32(&rows),
            Raw::F16(_) => Raw::F16(&rows),
            Raw::BF16(_) => Raw::BF16(&rows),
            Raw::Planned => Raw::Planned,
        };
        Ok(Self { gated: true, ..Self::pack(gpu, shape, elem, raw, site)? })
    }

    /// Packs value `at(i)` for each place `i` in published order, as f32 or f16.
    pub(super) fn arranged(
        gpu: &Gpu,
        shape: WeightShape,
        elem: Elem,
        site: &str,
        at: impl Fn(usize) -> f32 + Sync,
    ) -> Result<Self> {
        let packed_shape = shape.packed(elem);
        if elem != Elem::F16 {
            let packed = arrange(&shape, elem, |_, i| at(i));
            return Self::of(Tensor::from_f32(gpu, &packed_shape, &packed)?, shape, site);
        }
        let packed = arrange(&shape, elem, |_, i| f16::from_f32(at(i)).to_bits());
        if let Some(at) = packed.iter().position(|&bits| bits & 0x7c00 == 0x7c00) {
            let found = format!("a value beyond it (packed element {at})");
            return Err(Problem::new(site, "values in f16's range", found).remedy("use --weight-type f32").weights());
        }
        Self::of(Tensor::from_bytes(gpu, &packed_shape, elem, bytemuck::cast_slice(&packed))?, shape, site)
    }

    /// The same with a transformed weight of `class` beside it, made of the same `raw`, which convolutions of stride 1 then use.
    /// Beside int8 it is f16, made of the values that the int8 stands for, so that both compute the same layer.
    pub fn with_class(self, class: ConvClass, raw: Raw<'_>) -> Result<Self> {
        if class == ConvClass::Direct || matches!(raw, Raw::Planned) {
            return Ok(self);
        }
        let site = self.site.as_deref().unwrap_or("conv");
        let mut values: Vec<f32> = (0..self.shape.len()).map(|i| raw.at(i)).collect();
        if self.tensor.elem() == Elem::I8 {
            let columns = Int8::of_columns(self.shape, raw, site)?;
            for (values, column) in values.chunks_mut(self.shape.column_len().max(1)).zip(columns) {
                values.iter_mut().for_each(|v| *v = column.value(column.nearest(*v)));
            }
        }
        let elem = ConvClass::transformed_elem(self.tensor.elem());
        let winograd = Winograd::pack(self.tensor.gpu(), self.shape, class, elem, &values, site)?;
        Ok(Self { winograd: winograd.map(Arc::new), ..self })
    }

    /// The direct weight alone.
    pub fn direct(self) -> Self {
        Self { winograd: None, ..self }
    }

    pub(super) fn site(&self) -> Option<Arc<str>> {
        self.site.clone()
    }

    pub fn shape(&self) -> WeightShape {
        self.shape
    }

    /// Columns of a product with it.
    pub fn outputs(&self) -> usize {
        if self.gated { self.shape.columns / 2 } else { self.shape.columns }
    }

    /// Parts of the weight that fit one binding each: ranges of panels, or of one panel's depth.
    pub(super) fn windows(&self) -> Result<Vec<(Range<usize>, Range<usize>)>> {
        let capabilities = self.tensor.gpu().capabilities();
        let [panels, depth, panel] = self.shape.packed(self.tensor.elem());
        let row_bytes = panel * self.tensor.elem().size();
        let fitting = capabilities.max_binding_bytes as usize / (depth * row_bytes);
        // A panel starts where a binding can: depth is a multiple of 4 and a row at least 64 bytes.
        if fitting >= 1 {
            let fitting = fitting.min(MAX_GROUPS);
            return Ok((0..panels).step_by(fitting).map(|p| (p..panels.min(p + fitting), 0..depth)).collect());
        }
        let step = capabilities.max_binding_bytes as usize / row_bytes / 4 * 4;
        if step == 0 {
            return Err(Problem::new(
                "matmul weight",
                format!("a binding of {} bytes", 4 * row_bytes),
                step.to_string(),
            )
            .gpu());
        }
        let parts = |p: usize| (0..depth).step_by(step).map(move |d| (p..p + 1, d..depth.min(d + step)));
        Ok((0..panels).flat_map(parts).collect())
    }
}

/// Rows `[2 outputs, ..]`, values first and gates second, in the order of a gated weight: four values, their gates, four values ..
pub fn interleave<T: Copy>(rows: &[T], outputs: usize) -> Vec<T> {
    let (values, gates) = rows.split_at(rows.len() / 2);
    let four = (4 * values.len() / outputs.max(1)).max(1);
    values.chunks(four).zip(gates.chunks(four)).flat_map(|(values, gates)| [values, gates]).flatten().copied().collect()
}

/// `[columns, group_channels, ky, kx]` → as `elem` is packed, zeros where a panel or a tap is padded; `at(column, i)` is
/// value `i`, one of that column. On all cores.
fn arrange<T: Copy + Default + Send + Sync>(
    shape: &WeightShape,
    elem: Elem,
    at: impl Fn(usize, usize) -> T + Sync,
) -> Vec<T> {
    let [panels, depth, panel] = shape.packed(elem);
    // Depths of a column that lie side by side.
    let run = if elem == Elem::I8 { 4 } else { 1 };
    let taps = shape.kernel[0] * shape.kernel[1];
    let mut packed = vec![T::default(); panels * depth * panel];
    on_all_cores(&mut packed, depth * panel, shape.len(), |index, out| {
        let per_group = shape.panels_per_group(elem);
        let (group, first) = (index / per_group, index % per_group * panel);
        let used = panel.min(shape.group_columns() - first);
        for j in 0..used {
            let column = group * shape.group_columns() + first + j;
            for c in 0..shape.group_channels {
                for tap in 0..taps {
                    let k = tap * shape.tap_depth() + c;
                    out[(k / run * panel + j) * run + k % run] =
                        at(column, (column * shape.group_channels + c) * taps + tap);
                }
            }
        }
    });
    packed
}

//! One value in, one value out.

use super::{Call, quad_ranges, streaming};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("pointwise");

/// The kernel's OP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Copy = 0,
    Silu = 1,
    Gelu = 2,
    Affine = 3,
    Clamp = 4,
    Sum = 5,
    Blend = 6,
    AddRows = 7,
    Deviation = 8,
    Log = 9,
    Prelu = 10,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    first: u32,
    run: u32,
    channels: u32,
    a: f32,
    b: f32,
}

#[derive(Default)]
struct Operands<'a> {
    other: Option<&'a Tensor>,
    table: Option<&'a Tensor>,
    run: usize,
    channels: usize,
    a: f32,
    b: f32,
}

impl Tensor {
    pub fn silu(&self) -> Result<Tensor> {
        self.pointwise(Op::Silu, Operands::default(), self.elem())
    }

    /// x/2 (1 + erf(x / sqrt 2)), not the tanh approximation.
    pub fn gelu(&self) -> Result<Tensor> {
        self.pointwise(Op::Gelu, Operands::default(), self.elem())
    }

    /// `scale * self + shift`.
    pub fn affine(&self, scale: f32, shift: f32) -> Result<Tensor> {
        self.pointwise(Op::Affine, Operands { a: scale, b: shift, ..Default::default() }, self.elem())
    }

    pub fn clamp(&self, low: f32, high: f32) -> Result<Tensor> {
        self.pointwise(Op::Clamp, Operands { a: low, b: high, ..Default::default() }, self.elem())
    }

    /// ln(max(self, floor)), `floor` above 0.
    pub fn log_above(&self, floor: f32) -> Result<Tensor> {
        self.pointwise(Op::Log, Operands { a: floor, ..Default::default() }, self.elem())
    }

    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        self.add_scaled(1.0, other, 1.0)
    }

    /// `a * self + b * other`.
    pub fn add_scaled(&self, a: f32, other: &Tensor, b: f32) -> Result<Tensor> {
        other.expect("add", self.shape())?;
        self.pointwise(Op::Sum, Operands { other: Some(other), a, b, ..Default::default() }, self.elem())
    }

    /// `self + other`, of whatever element types, stored as `elem`.
    pub(super) fn plus_as(&self, other: &Tensor, elem: Elem) -> Result<Tensor> {
        other.expect("add", self.shape())?;
        self.pointwise(Op::Sum, Operands { other: Some(other), a: 1.0, b: 1.0, ..Default::default() }, elem)
    }

    /// `self * exp(log_variance / 2)`: standard normal noise with the deviation of a posterior.
    pub fn times_deviation(&self, log_variance: &Tensor) -> Result<Tensor> {
        log_variance.expect("log variance", self.shape())?;
        self.pointwise(Op::Deviation, Operands { other: Some(log_variance), ..Default::default() }, self.elem())
    }

    /// `weight * self + (1 - weight) * other`; `weight` `[n]` in f32, each value for a run of `len / n` elements.
    pub fn blend(&self, other: &Tensor, weight: &Tensor) -> Result<Tensor> {
        other.expect("blend", self.shape())?;
        let run = self.run_of("blend weight", weight.len())?;
        self.pointwise(
            Op::Blend,
            Operands { other: Some(other), table: Some(weight), run, ..Default::default() },
            self.elem(),
        )
    }

    /// Where `self` `[.., channels]` is below zero, its product with `slope` `[channels]` in f32, a value for each channel; elsewhere
    /// itself. Source: He et al. 2015.
    pub fn prelu(&self, slope: &Tensor) -> Result<Tensor> {
        let channels = self.last_dim();
        slope.expect("prelu slope", &[channels])?;
        slope.expect_elem("prelu slope", Elem::F32)?;
        let operands = Operands { table: Some(slope), run: self.len().max(1), channels, ..Default::default() };
        self.pointwise(Op::Prelu, operands, self.elem())
    }

    /// `self` `[frames, .., channels]` plus row f of `rows` `[frames, channels]` everywhere in frame f; leading axes of
    /// `self` that multiply to the rows' count will do.
    pub fn add_per_frame(&self, rows: &Tensor) -> Result<Tensor> {
        let channels = self.last_dim();
        if rows.last_dim() != channels {
            return Err(
                Problem::new("add_per_frame", format!("rows of {channels}"), format!("{:?}", rows.shape())).shape()
            );
        }
        let run = self.run_of("add_per_frame", rows.len() / channels.max(1))?;
        let rows = rows.cast(Elem::F32)?;
        self.pointwise(Op::AddRows, Operands { table: Some(&rows), run, channels, ..Default::default() }, self.elem())
    }

    /// The same values stored as `elem`, f32 or f16.
    pub fn cast(&self, elem: Elem) -> Result<Tensor> {
        if elem == self.elem() {
            return Ok(self.clone());
        }
        self.pointwise(Op::Copy, Operands::default(), elem)
    }

    fn run_of(&self, what: &str, parts: usize) -> Result<usize> {
        if parts == 0 || !self.len().is_multiple_of(parts) {
            let found = format!("{parts}");
            return Err(Problem::new(what, format!("as many values as divide {:?}", self.shape()), found).shape());
        }
        Ok((self.len() / parts).max(1))
    }

    fn pointwise(&self, op: Op, operands: Operands<'_>, elem: Elem) -> Result<Tensor> {
        let y = Tensor::empty(self.gpu(), self.shape(), elem)?;
        let workgroup = streaming(self.gpu());
        let constants = [
            workgroup,
            ("OP", op as u32),
            ("OTHER", u32::from(operands.other.is_some())),
            ("TABLE", u32::from(operands.table.is_some())),
            ("ROWS", u32::from(operands.channels > 0)),
            ("VECTOR", u32::from(operands.channels.is_multiple_of(4))),
        ];
        let mut all = vec![self, &y];
        all.extend(operands.other);
        for range in quad_ranges(&all)? {
            let (x_part, y_part) = (self.quads(&range)?, y.quads(&range)?);
            let other = operands.other.map(|other| other.quads(&range)).transpose()?;
            let mut tensors = vec![&x_part];
            tensors.extend(other.as_ref());
            tensors.extend(operands.table);
            tensors.push(&y_part);
            Call {
                kernel: &KERNEL,
                constants: &constants,
                params: Params {
                    count: y_part.len() as u32,
                    first: range.start as u32,
                    run: operands.run as u32,
                    channels: operands.channels as u32,
                    a: operands.a,
                    b: operands.b,
                },
                tensors: &tensors,
                groups: range.len().div_ceil(workgroup.1 as usize),
                flops: 4.0 * range.len() as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }
}

//! What a device can do at most, for `viseme bench --ceiling`: moving memory, and multiply-add out of registers.

use super::{Call, FLAT, quad_ranges};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("ceiling");

/// What multiplies and adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    F32,
    /// Needs shader-f16.
    F16,
    /// Cooperative matrices of this side, 8 or 16, f16 into f32.
    Matrix(u32),
}

/// Multiply-adds that feed on their own results: `chains` independent accumulators, `rounds` times [`Chains::STEPS`].
#[derive(Debug, Clone, Copy)]
pub struct Chains {
    pub arithmetic: Arithmetic,
    pub chains: u32,
    pub rounds: u32,
    /// Each step is v = scale v + shift; of matrices v = A B + v with all of A `scale` and all of B `shift`.
    pub scale: f32,
    pub shift: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    rounds: u32,
    scale: f32,
    shift: f32,
}

impl Chains {
    /// Enough of them without a branch that the loop costs nothing, few enough for an instruction cache.
    pub const STEPS: u32 = 16;

    /// Whether, and if not why not, this device has the arithmetic.
    pub fn supported(gpu: &Gpu, arithmetic: Arithmetic) -> Result<()> {
        let capabilities = gpu.capabilities();
        let missing = |expected: String, found: String| Err(Problem::new("ceiling", expected, found).gpu());
        match arithmetic {
            Arithmetic::F32 => Ok(()),
            Arithmetic::F16 if capabilities.shader_f16 => Ok(()),
            Arithmetic::F16 => missing("shader-f16".into(), "a device without".into()),
            Arithmetic::Matrix(side) => {
                let wanted = format!("{side}x{side}x{side} F16->F32");
                let open = gpu.device().features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
                match &capabilities.cooperative_matrices {
                    list if list.is_empty() => missing(wanted, "a device without cooperative matrices".into()),
                    list if !list.contains(&wanted) => missing(wanted, list.join(", ")),
                    _ if !open => missing(wanted, "a device opened without them".into()),
                    _ if capabilities.subgroup_size.is_none() => missing("one subgroup size".into(), "several".into()),
                    _ => Ok(()),
                }
            }
        }
    }

    /// The sum of the chains in every element of `[4 * quads]`, f32.
    pub fn run(&self, gpu: &Gpu, quads: usize) -> Result<Tensor> {
        Self::supported(gpu, self.arithmetic)?;
        let y = Tensor::empty(gpu, &[4 * quads], Elem::F32)?;
        let side = if let Arithmetic::Matrix(side) = self.arithmetic { side } else { 0 };
        let (workgroup, group_quads) = match (side, gpu.capabilities().subgroup_size) {
            (1.., Some(subgroup)) => (subgroup, (side * side / 4) as usize),
            _ => (FLAT.1, FLAT.1 as usize),
        };
        let constants = [
            ("WORKGROUP", workgroup),
            ("HALF", u32::from(self.arithmetic == Arithmetic::F16)),
            ("MATRIX", side),
            ("CHAINS", self.chains),
            ("STEPS", Self::STEPS),
        ];
        for range in quad_ranges(&[&y])? {
            Call {
                kernel: &KERNEL,
                constants: &constants,
                params: self.params(range.len()),
                tensors: &[&y.quads(&range)?],
                groups: range.len().div_ceil(group_quads),
                flops: self.flops(range.len()),
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }

    /// Of [`Chains::run`] on so many groups of four.
    pub fn flops(&self, quads: usize) -> f64 {
        let steps = f64::from(self.rounds) * f64::from(self.chains * Self::STEPS);
        // An element of a matrix product is `side` multiply-adds.
        let depth = if let Arithmetic::Matrix(side) = self.arithmetic { f64::from(side) } else { 1.0 };
        2.0 * 4.0 * quads as f64 * depth * steps
    }

    fn params(&self, quads: usize) -> Params {
        Params { count: quads as u32, rounds: self.rounds, scale: self.scale, shift: self.shift }
    }
}

const COPY: [(&str, u32); 2] = [FLAT, ("COPY", 1)];

impl Tensor {
    /// The same f32 elements in other memory, by a kernel that does nothing else.
    pub fn copied(&self) -> Result<Tensor> {
        self.expect_elem("copied", Elem::F32)?;
        let y = self.empty_like()?;
        for range in quad_ranges(&[self, &y])? {
            let (x_part, y_part) = (self.quads(&range)?, y.quads(&range)?);
            copy(&x_part, &y_part, range.len(), range.len())?;
        }
        Ok(y)
    }

    /// The same elements in other memory, by the device's copy command.
    pub fn copied_by_command(&self) -> Result<Tensor> {
        self.copy_out(0, self.shape())
    }

    /// Records `count` dispatches that bind `self` and a tensor of its shape, which they come from, and touch neither.
    pub fn idle_dispatches(&self, count: usize) -> Result<Tensor> {
        let y = self.empty_like()?;
        for _ in 0..count {
            copy(self, &y, 0, 1)?;
        }
        Ok(y)
    }
}

fn copy(x: &Tensor, y: &Tensor, quads: usize, invocations: usize) -> Result<()> {
    Call {
        kernel: &KERNEL,
        constants: &COPY,
        params: Params { count: quads as u32, rounds: 0, scale: 0.0, shift: 0.0 },
        tensors: &[x, y],
        groups: invocations.div_ceil(FLAT.1 as usize),
        flops: 0.0,
        site: None,
    }
    .record()
}

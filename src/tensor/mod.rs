//! A tensor: shape, element type and a buffer on the device. Contiguous, channels-last, cheap to clone.

use crate::gpu::{Binding, Buffer, Elem, Gpu};
use crate::{Problem, Result};
use half::f16;
use std::sync::Arc;

/// Elements of one type in row-major order on the device. Clones share the memory; nothing writes to a tensor once
/// its operation has returned.
#[derive(Clone)]
pub struct Tensor {
    gpu: Gpu,
    buffer: Arc<Buffer>,
    /// Bytes, a multiple of the device's offset alignment.
    offset: u64,
    shape: Vec<usize>,
    elem: Elem,
}

impl Tensor {
    /// A tensor with undefined contents.
    pub fn empty(gpu: &Gpu, shape: &[usize], elem: Elem) -> Result<Self> {
        let bytes = bytes_of(shape, elem)? as u64;
        let buffer = gpu.allocate(bytes.next_multiple_of(16), &format!("a tensor {shape:?}"))?;
        Ok(Self { gpu: gpu.clone(), buffer: Arc::new(buffer), offset: 0, shape: shape.to_vec(), elem })
    }

    /// A tensor of zeros.
    pub fn zeros(gpu: &Gpu, shape: &[usize], elem: Elem) -> Result<Self> {
        let tensor = Self::empty(gpu, shape, elem)?;
        gpu.clear(&tensor.buffer, 0, tensor.size_bytes().next_multiple_of(16))?;
        Ok(tensor)
    }

    /// A tensor that stands for weights of `shape` while a load is only planned: it must not be computed with.
    pub fn placeholder(gpu: &Gpu, shape: &[usize], elem: Elem) -> Result<Self> {
        bytes_of(shape, elem)?;
        let buffer = gpu.allocate(16, "a placeholder")?;
        Ok(Self { gpu: gpu.clone(), buffer: Arc::new(buffer), offset: 0, shape: shape.to_vec(), elem })
    }

    /// `bytes` as elements of type `elem`.
    pub fn from_bytes(gpu: &Gpu, shape: &[usize], elem: Elem, bytes: &[u8]) -> Result<Self> {
        expect_len("bytes of a tensor", bytes_of(shape, elem)?, bytes.len())?;
        let buffer = gpu.upload(bytes, &format!("a tensor {shape:?}"))?;
        Ok(Self { gpu: gpu.clone(), buffer: Arc::new(buffer), offset: 0, shape: shape.to_vec(), elem })
    }

    /// `values` as f32.
    pub fn from_f32(gpu: &Gpu, shape: &[usize], values: &[f32]) -> Result<Self> {
        Self::from_bytes(gpu, shape, Elem::F32, bytemuck::cast_slice(values))
    }

    /// `values` stored as `elem`, f32 or f16 (rounded to nearest even). Errors: another type, which not every value has a place in.
    pub fn from_values(gpu: &Gpu, shape: &[usize], elem: Elem, values: &[f32]) -> Result<Self> {
        match elem {
            Elem::F16 => {
                let halves: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
                Self::from_bytes(gpu, shape, elem, bytemuck::cast_slice(&halves))
            }
            Elem::F32 => Self::from_f32(gpu, shape, values),
            Elem::U32 | Elem::I8 => {
                let problem = Problem::new("tensor of f32 values", "f32 or f16 storage", format!("{elem:?}"));
                Err(problem
                    .remedy("whole numbers go through Tensor::from_u32, int8 weights through PackedWeight")
                    .shape())
            }
        }
    }

    pub fn from_u32(gpu: &Gpu, shape: &[usize], values: &[u32]) -> Result<Self> {
        Self::from_bytes(gpu, shape, Elem::U32, bytemuck::cast_slice(values))
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn elem(&self) -> Elem {
        self.elem
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn size_bytes(&self) -> u64 {
        (self.len() * self.elem.size()) as u64
    }

    /// The innermost dimension: channels, for activations.
    pub fn last_dim(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The same elements under another shape; free.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if count(shape) != Some(self.len()) {
            return Err(Problem::new("reshape", format!("{} elements", self.len()), format!("{shape:?}")).shape());
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// `shape` elements from element `start` on, in the same memory; None where a binding could not start there.
    pub fn view(&self, start: usize, shape: &[usize]) -> Option<Self> {
        let offset = self.offset.checked_add(start.checked_mul(self.elem.size())? as u64)?;
        let aligned = offset.is_multiple_of(u64::from(self.gpu.capabilities().offset_alignment).max(16));
        let inside = count(shape).and_then(|count| start.checked_add(count)).is_some_and(|end| end <= self.len());
        (aligned && inside).then(|| Self { offset, shape: shape.to_vec(), ..self.clone() })
    }

    /// All elements as f32, once everything recorded before is done.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let bytes = self.to_bytes()?;
        Ok(match self.elem {
            Elem::F32 => bytemuck::pod_collect_to_vec(&bytes),
            Elem::F16 => bytemuck::pod_collect_to_vec::<u8, f16>(&bytes).into_iter().map(f16::to_f32).collect(),
            Elem::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(&bytes).into_iter().map(|v| v as f32).collect(),
            Elem::I8 => bytes.iter().map(|&byte| f32::from(byte as i8)).collect(),
        })
    }

    /// All elements of a u32 tensor.
    pub fn to_u32(&self) -> Result<Vec<u32>> {
        self.expect_elem("to_u32", Elem::U32)?;
        Ok(bytemuck::pod_collect_to_vec(&self.to_bytes()?))
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = self.gpu.read(&self.buffer, self.offset, self.size_bytes().next_multiple_of(4))?;
        bytes.truncate(self.size_bytes() as usize);
        Ok(bytes)
    }

    /// For tests: what lies in the buffer behind the last group of four elements.
    pub fn bytes_behind(&self) -> Result<Vec<u8>> {
        let end = self.offset + self.size_bytes().next_multiple_of(16);
        self.gpu.read(&self.buffer, end, self.buffer.size() - end)
    }

    /// Records a copy of `from`'s elements to element `start` on; both ends must lie on 4-byte borders.
    pub(crate) fn copy_in(&self, start: usize, from: &Tensor) -> Result<()> {
        let to_offset = self.offset + (start * self.elem.size()) as u64;
        let size = from.size_bytes().next_multiple_of(4);
        self.gpu.copy(&from.buffer, from.offset, &self.buffer, to_offset, size)
    }

    /// Records a copy of `shape` elements from element `start` on into a new tensor, from a 4-byte border.
    pub(crate) fn copy_out(&self, start: usize, shape: &[usize]) -> Result<Self> {
        let out = Self::empty(&self.gpu, shape, self.elem)?;
        let offset = self.offset + (start * self.elem.size()) as u64;
        self.gpu.copy(&self.buffer, offset, &out.buffer, 0, out.size_bytes().next_multiple_of(4))?;
        Ok(out)
    }

    pub(crate) fn binding(&self) -> Binding<'_> {
        Binding { buffer: &self.buffer, offset: self.offset, size: self.size_bytes(), elem: self.elem }
    }

    /// An error that names `what` unless the shape is `shape`.
    pub fn expect(&self, what: &str, shape: &[usize]) -> Result<()> {
        if self.shape == shape {
            return Ok(());
        }
        Err(Problem::new(what, format!("{shape:?}"), format!("{:?}", self.shape)).shape())
    }

    /// The dimensions, when there are exactly `N`.
    pub fn dims<const N: usize>(&self, what: &str) -> Result<[usize; N]> {
        let wrong = |_| Problem::new(what, format!("{N} dimensions"), format!("{:?}", self.shape)).shape();
        <[usize; N]>::try_from(self.shape.as_slice()).map_err(wrong)
    }

    pub fn expect_elem(&self, what: &str, elem: Elem) -> Result<()> {
        if self.elem == elem {
            return Ok(());
        }
        Err(Problem::new(what, format!("{elem:?}"), format!("{:?}", self.elem)).shape())
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor {:?} {:?}", self.elem, self.shape)
    }
}

/// Elements of a tensor of this shape; None where no number of this machine counts them.
fn count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere leaves none, however large the rest.
    if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n)) }
}

fn bytes_of(shape: &[usize], elem: Elem) -> Result<usize> {
    // Room for the last group of four, which allocations are rounded up to.
    let bytes = count(shape).and_then(|count| count.checked_mul(elem.size())).filter(|&bytes| bytes <= usize::MAX - 16);
    bytes.ok_or_else(|| Problem::new("tensor", "a size that fits in memory", format!("{shape:?}")).shape())
}

fn expect_len(what: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Problem::new(what, expected.to_string(), found.to_string()).shape())
}

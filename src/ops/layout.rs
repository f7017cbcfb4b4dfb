//! Joining, cutting and repeating.

use super::{Call, piece, row_ranges, streaming};
use crate::gpu::Kernel;
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const CONCAT: Kernel = super::kernel!("concat_channels");
pub(super) const SLICE: Kernel = super::kernel!("slice_rows");

impl Tensor {
    /// The channels of `parts` side by side: `[.., a]`, `[.., b]`, .. → `[.., a + b + ..]`.
    pub fn concat_channels(parts: &[&Tensor]) -> Result<Tensor> {
        let [first, rest @ ..] = parts else {
            return Err(Problem::new("concat_channels", "one tensor or more", "none").shape());
        };
        let mut joined = (*first).clone();
        for part in rest {
            joined = joined.concat_two(part)?;
        }
        Ok(joined)
    }

    fn concat_two(&self, other: &Tensor) -> Result<Tensor> {
        let (a, b) = (self.last_dim(), other.last_dim());
        let rows = self.len() / a.max(1);
        if other.len() != rows * b {
            let found = format!("{:?} beside {:?}", other.shape(), self.shape());
            return Err(Problem::new("concat_channels", "equally many rows", found).shape());
        }
        other.expect_elem("concat_channels", self.elem())?;
        let mut shape = self.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = a + b;
        }
        let y = Tensor::empty(self.gpu(), &shape, self.elem())?;
        let vector = u32::from(a.is_multiple_of(4) && b.is_multiple_of(4));
        let workgroup = streaming(self.gpu());
        for range in row_ranges("concat_channels", rows, &[self, other, &y])? {
            let y_part = y.rows(rows, &range)?;
            Call {
                kernel: &CONCAT,
                constants: &[workgroup, ("VECTOR", vector)],
                params: [y_part.len() as u32, a as u32, b as u32],
                tensors: &[&self.rows(rows, &range)?, &other.rows(rows, &range)?, &y_part],
                groups: y_part.len().div_ceil(4 * workgroup.1 as usize),
                flops: 0.0,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }

    /// Channels `start..start + len`: `[.., channels]` → `[.., len]`.
    pub fn slice_channels(&self, start: usize, len: usize) -> Result<Tensor> {
        let channels = self.last_dim();
        if start + len > channels || len == 0 {
            let found = format!("{start}..{}", start + len);
            return Err(Problem::new("slice_channels", format!("channels within {channels}"), found).shape());
        }
        let mut shape = self.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = len;
        }
        self.slice(channels, start, len, 1)?.reshape(&shape)
    }

    /// Each row of the leading axis `times` times in a row: `[n, ..]` → `[n * times, ..]`.
    pub fn repeat_rows(&self, times: usize) -> Result<Tensor> {
        let mut shape = self.shape().to_vec();
        let rows = shape.first().copied().unwrap_or(1);
        let width = self.len() / rows.max(1);
        if let Some(first) = shape.first_mut() {
            *first *= times;
        }
        self.slice(width, 0, width, times)?.reshape(&shape)
    }

    /// Rows `start..start + len` of the leading axis.
    pub fn narrow_rows(&self, start: usize, len: usize) -> Result<Tensor> {
        let mut shape = self.shape().to_vec();
        let rows = shape.first().copied().unwrap_or(1);
        if start + len > rows {
            return Err(Problem::new(
                "narrow_rows",
                format!("rows within {rows}"),
                format!("{start}..{}", start + len),
            )
            .shape());
        }
        let width = self.len() / rows.max(1);
        if let Some(first) = shape.first_mut() {
            *first = len;
        }
        if (start * width * self.elem().size()).is_multiple_of(4) {
            return piece(self, start * width, &shape);
        }
        // Off a word's border only a kernel can cut.
        self.reshape(&[self.len()])?.slice(self.len(), start * width, len * width, 1)?.reshape(&shape)
    }

    /// The leading axes of `parts` behind each other: `[a, ..]`, `[b, ..]`, .. → `[a + b + .., ..]`.
    pub fn stack_rows(parts: &[&Tensor]) -> Result<Tensor> {
        let [first, ..] = parts else {
            return Err(Problem::new("stack_rows", "one tensor or more", "none").shape());
        };
        let mut shape = first.shape().to_vec();
        let mut rows = 0;
        for part in parts {
            part.expect_elem("stack_rows", first.elem())?;
            if part.shape().get(1..) != first.shape().get(1..) {
                return Err(Problem::new("stack_rows", format!("rows of {first:?}"), format!("{part:?}")).shape());
            }
            rows += part.shape().first().copied().unwrap_or(1);
        }
        if let Some(count) = shape.first_mut() {
            *count = rows;
        }
        if parts.iter().any(|part| !part.size_bytes().is_multiple_of(4)) {
            let flat: Vec<Tensor> = parts.iter().map(|part| part.reshape(&[1, part.len()])).collect::<Result<_>>()?;
            return Tensor::concat_channels(&flat.iter().collect::<Vec<_>>())?.reshape(&shape);
        }
        let stacked = Tensor::empty(first.gpu(), &shape, first.elem())?;
        let mut at = 0;
        for part in parts {
            stacked.copy_in(at, part)?;
            at += part.len();
        }
        Ok(stacked)
    }

    /// The two vectors of each pair averaged: `[n, 2, channels]` → `[n, channels]`.
    pub fn mean_pairs(&self) -> Result<Tensor> {
        let [n, two, channels] = self.dims("mean_pairs")?;
        if two != 2 {
            return Err(Problem::new("mean_pairs", "[n, 2, channels]", format!("{:?}", self.shape())).shape());
        }
        let pairs = self.reshape(&[n, 2 * channels])?;
        pairs.slice_channels(0, channels)?.add_scaled(0.5, &pairs.slice_channels(channels, channels)?, 0.5)
    }

    fn slice(&self, channels: usize, start: usize, len: usize, times: usize) -> Result<Tensor> {
        let rows = self.len() / channels.max(1);
        let y = Tensor::empty(self.gpu(), &[rows * times, len], self.elem())?;
        let vector = [channels, start, len].iter().all(|n| n.is_multiple_of(4));
        let workgroup = streaming(self.gpu());
        for range in row_ranges("slice_rows", rows, &[self, &y])? {
            let y_part = y.rows(rows, &range)?;
            Call {
                kernel: &SLICE,
                constants: &[workgroup, ("VECTOR", u32::from(vector))],
                params: [y_part.len(), channels, start, len, times].map(|v| v as u32),
                tensors: &[&self.rows(rows, &range)?, &y_part],
                groups: y_part.len().div_ceil(4 * workgroup.1 as usize),
                flops: 0.0,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }
}

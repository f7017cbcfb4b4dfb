//! Weight normalisation, `w = g * v / |v|` (Salimans and Kingma 2016), undone at load.

use super::{HostTensor, Values, Weights};
use crate::{Problem, Result};
use std::borrow::Cow;

impl Weights {
    /// The plain `weight` `shape` of a layer here, as f32, however it is stored: as `weight_g` and `weight_v`, as PyTorch's
    /// newer `parametrizations.weight.original0` and `original1`, or plainly as `weight`. The norm runs over every
    /// dimension but `dim`; `g` has the extent of `dim` and ones elsewhere.
    pub fn get_weight_norm(&self, dim: usize, shape: &[usize]) -> Result<HostTensor<'_>> {
        let (g, v) = match (self.has("weight_v"), self.has("parametrizations.weight.original1")) {
            (true, _) => ("weight_g", "weight_v"),
            (false, true) => ("parametrizations.weight.original0", "parametrizations.weight.original1"),
            (false, false) => return self.get("weight", shape),
        };
        let Some(&extent) = shape.get(dim) else {
            return Err(Problem::new(self.name("weight"), format!("a dimension {dim}"), format!("{shape:?}")).shape());
        };
        let g_shape: Vec<usize> = (0..shape.len()).map(|d| if d == dim { extent } else { 1 }).collect();
        let (g, v) = (self.get(g, &g_shape)?, self.get(v, shape)?);
        let (name, shape) = (self.name("weight"), shape.to_vec());
        if v.planned() {
            return Ok(HostTensor { name, shape, values: Values::Planned });
        }

        let (g, direction) = (g.to_f32()?, v.to_f32()?);
        let inner: usize = shape[dim + 1..].iter().product();
        let index = |i: usize| i / inner % extent;
        let mut square_sums = vec![0f64; extent];
        for (i, &value) in direction.iter().enumerate() {
            square_sums[index(i)] += f64::from(value).powi(2);
        }
        if let Some(zero) = square_sums.iter().position(|&sum| sum == 0.0) {
            return Err(Problem::new(&v.name, "a direction for every index", format!("zeros at {zero}")).weights());
        }
        let scales: Vec<f64> = g.iter().zip(&square_sums).map(|(&g, sum)| f64::from(g) / sum.sqrt()).collect();
        let weight = direction.iter().enumerate().map(|(i, &value)| (f64::from(value) * scales[index(i)]) as f32);
        let bytes: Vec<u8> = weight.flat_map(f32::to_le_bytes).collect();
        Ok(HostTensor { name, shape, values: Values::F32(Cow::Owned(bytes)) })
    }
}

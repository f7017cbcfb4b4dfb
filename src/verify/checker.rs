use super::golden::{Comparison, Golden};
use crate::gpu::{Elem, Gpu};
use crate::nn::{Loader, Trace};
use crate::tensor::Tensor;
use crate::weights::Weights;
use crate::{Problem, Result};
use serde_json::Value;

/// One result beside what the golden file holds.
#[derive(Debug, Clone)]
pub struct Row {
    /// The tensor's name in the file.
    pub name: String,
    pub comparison: Comparison,
    /// The most that the relative L2 error may be; None where the row is only shown.
    pub bar: Option<f64>,
}

impl Row {
    pub fn passed(&self) -> bool {
        self.bar.is_none_or(|bar| self.comparison.relative_l2 <= bar)
    }
}

/// How a case's numbers are stored on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub activations: Elem,
    /// [`Elem::I8`] takes the matrices of UNets alone, as in a job, and its results are held to no bar: what the rounding of
    /// weights does to a result depends on the weights.
    pub weights: Elem,
}

impl From<Elem> for Stored {
    fn from(elem: Elem) -> Self {
        Self { activations: elem, weights: elem }
    }
}

/// Relative L2 bar of one network or loop stored in f16.
const F16_BAR: f64 = 2e-2;

/// Runs one golden case: hands out its inputs channels-last and compares results channels-first.
pub struct Checker<'a> {
    pub gpu: &'a Gpu,
    pub golden: &'a Golden,
    /// Of activations.
    pub elem: Elem,
    weights: Elem,
    rows: Vec<Row>,
    observe: &'a mut dyn FnMut(&Row),
}

impl<'a> Checker<'a> {
    pub fn new(gpu: &'a Gpu, golden: &'a Golden, stored: Stored, observe: &'a mut dyn FnMut(&Row)) -> Self {
        Self { gpu, golden, elem: stored.activations, weights: stored.weights, rows: Vec::new(), observe }
    }

    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    pub fn loader(&self, weights: &Weights) -> Loader {
        self.unet_loader(weights).finer()
    }

    pub fn unet_loader(&self, weights: &Weights) -> Loader {
        Loader::new(self.gpu, weights, self.weights)
    }

    /// An integer of the config, at a path such as `first_stage.ch`.
    pub fn setting(&self, path: &str) -> Result<usize> {
        let value = path.split('.').fold(&self.golden.config, |value, key| &value[key]);
        value.as_u64().map(|v| v as usize).ok_or_else(|| self.missing(path, value))
    }

    pub fn number(&self, path: &str) -> Result<f64> {
        let value = path.split('.').fold(&self.golden.config, |value, key| &value[key]);
        value.as_f64().ok_or_else(|| self.missing(path, value))
    }

    fn missing(&self, path: &str, found: &Value) -> crate::Error {
        let subject = format!("{}: config.{path}", self.golden.path.display());
        Problem::new(subject, "a number", found.to_string()).input()
    }

    /// An input as it is stored, in f32.
    pub fn input(&self, name: &str) -> Result<Tensor> {
        let array = self.golden.input(name)?;
        Tensor::from_f32(self.gpu, &array.shape, &array.to_f32())
    }

    /// An input `[.., channels, height, width]` as `[.., height, width, channels]`.
    pub fn images(&self, name: &str) -> Result<Tensor> {
        let array = self.golden.input(name)?;
        let (shape, values) = channels_last(&array.shape, &array.to_f32())?;
        Tensor::from_f32(self.gpu, &shape, &values)
    }

    /// Compares `got`, in the file's own order, with `name`.
    pub fn compare(&mut self, name: &str, got: &Tensor, bar: Option<f64>) -> Result<()> {
        let shape = self.golden.tensor(name)?.shape;
        self.compare_values(name, &shape, &got.to_f32()?, bar)
    }

    /// Compares `got` `[.., height, width, channels]` with `name` `[.., channels, height, width]`.
    pub fn compare_images(&mut self, name: &str, got: &Tensor, bar: Option<f64>) -> Result<()> {
        let [.., height, width, channels] = got.shape() else {
            return Err(Problem::new(name, "images", format!("{got:?}")).shape());
        };
        let images = got.len() / (height * width * channels).max(1);
        let values = channels_first([images, *height, *width, *channels], &got.to_f32()?);
        let mut shape = self.golden.tensor(name)?.shape;
        if self.golden.config["steps"][name].is_null() {
            // The same elements, whatever the leading axes are called.
            if shape.iter().product::<usize>() != values.len() {
                return Err(Problem::new(name, format!("{shape:?}"), format!("{got:?}")).shape());
            }
        } else {
            shape = vec![images, *channels, *height, *width];
        }
        self.compare_values(name, &shape, &values, bar)
    }

    pub fn compare_values(&mut self, name: &str, shape: &[usize], values: &[f32], bar: Option<f64>) -> Result<()> {
        let comparison = self.golden.compare(name, shape, values)?;
        self.push(name, comparison, bar);
        Ok(())
    }

    pub fn push(&mut self, name: &str, comparison: Comparison, bar: Option<f64>) {
        let bar = match (self.weights, self.elem) {
            (Elem::I8, _) => None,
            (_, Elem::F16) | (Elem::F16, _) => bar.map(|bar| bar.max(F16_BAR)),
            _ => bar,
        };
        let row = Row { name: name.to_string(), comparison, bar };
        (self.observe)(&row);
        self.rows.push(row);
    }

    /// A row whose error counts what differs, where nothing may, whatever the storage.
    pub fn push_exact(&mut self, name: &str, comparison: Comparison) {
        let row = Row { name: name.to_string(), comparison, bar: Some(0.0) };
        (self.observe)(&row);
        self.rows.push(row);
    }

    /// Compares every noted tensor that the file has as `intermediate.PREFIX.NAME`; in f16 inner values are only shown.
    pub fn compare_notes(&mut self, prefix: &str, trace: Trace, bar: f64) -> Result<()> {
        self.compare_notes_where(prefix, trace, bar, |_| true)
    }

    /// The same for those notes that `wanted` takes.
    pub fn compare_notes_where(
        &mut self,
        prefix: &str,
        trace: Trace,
        bar: f64,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let bar = (self.elem == Elem::F32 && self.weights == Elem::F32).then_some(bar);
        for (note, tensor) in trace.into_notes() {
            if !wanted(&note) {
                continue;
            }
            let name = format!("intermediate.{prefix}{note}");
            if !self.golden.has(&name) {
                continue;
            }
            match self.golden.tensor(&name)?.shape.len() {
                4 | 5 => self.compare_images(&name, &tensor, bar)?,
                _ => self.compare(&name, &tensor, bar)?,
            }
        }
        Ok(())
    }
}

/// `[.., channels, height, width]` → `[.., height, width, channels]`.
pub fn channels_last(shape: &[usize], values: &[f32]) -> Result<(Vec<usize>, Vec<f32>)> {
    let [outer @ .., channels, height, width] = shape else {
        return Err(Problem::new("images", "[.., channels, height, width]", format!("{shape:?}")).shape());
    };
    let pixels = height * width;
    let mut out = Vec::with_capacity(values.len());
    for image in values.chunks_exact((channels * pixels).max(1)) {
        for pixel in 0..pixels {
            out.extend((0..*channels).map(|c| image[c * pixels + pixel]));
        }
    }
    let mut new_shape = outer.to_vec();
    new_shape.extend([*height, *width, *channels]);
    Ok((new_shape, out))
}

/// `[images, height, width, channels]` → `[images, channels, height, width]`.
pub fn channels_first([_, height, width, channels]: [usize; 4], values: &[f32]) -> Vec<f32> {
    let pixels = height * width;
    let mut out = Vec::with_capacity(values.len());
    for image in values.chunks_exact((channels * pixels).max(1)) {
        for c in 0..channels {
            out.extend((0..pixels).map(|pixel| image[pixel * channels + c]));
        }
    }
    out
}

use super::Loader;
use crate::gpu::Elem;
use crate::ops::{Padding, Separable, SeparableShape, SeparableValues, Shortcut};
use crate::tensor::Tensor;
use crate::weights::Values;
use crate::{Problem, Result};

/// What comes behind a small convolution, and what its PReLU is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slope {
    None,
    Relu,
    /// `NAME/Alpha` `[1, 1, columns]`.
    Prelu(String),
}

/// A small convolution as TensorFlow names its parts.
#[derive(Debug, Clone)]
pub struct SmallNames {
    /// `NAME/Kernel` `[1, k, k, channels]` and `NAME/Bias`; None for a direct convolution.
    pub depthwise: Option<String>,
    /// `NAME/Kernel` `[columns, k, k, channels]` and `NAME/Bias`, k = 1 behind a depthwise one; several have their columns side by
    /// side.
    pub convs: Vec<String>,
    pub slope: Slope,
}

/// A layer of a network for phones: a depthwise-separable block or a direct convolution, with its shortcut and PReLU. Several of
/// the same shape, which see images of their own, go beside each other as one.
pub struct SmallConv {
    weights: Separable,
    shortcut: Shortcut,
}

/// How a small convolution walks over its input.
#[derive(Debug, Clone, Copy)]
pub struct SmallForm {
    pub channels: usize,
    pub stride: usize,
    pub padding: Padding,
    pub shortcut: Shortcut,
}

/// Values that were read, and whether all of them were published in f16.
struct Reader<'a> {
    l: &'a Loader,
    all_half: bool,
}

impl Reader<'_> {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let host = self.l.weights().get(name, shape)?;
        self.all_half &= matches!(host.values, Values::F16(_));
        // Where a load is planned there is nothing to read, and zeros stand for it.
        if host.planned() { Ok(vec![0.0; host.len()]) } else { host.to_f32() }
    }
}

impl SmallConv {
    /// The layer of each of `sets`, whose convolutions are of one size; sets with fewer columns than others get zeros.
    pub fn load(l: &Loader, sets: &[SmallNames], form: SmallForm) -> Result<Self> {
        let side = |name: &str| l.dim(&format!("{name}/Kernel"), 1, 1);
        let kernel = sets.first().map_or(1, |set| match (&set.depthwise, set.convs.first()) {
            (Some(name), _) | (None, Some(name)) => side(name),
            (None, None) => 1,
        });
        let own_columns = |name: &String| l.dim(&format!("{name}/Kernel"), 0, 1);
        let columns = sets.iter().map(|set| set.convs.iter().map(own_columns).sum()).max().unwrap_or(1);
        let channels = form.channels;
        let is_separable = sets.iter().all(|set| set.depthwise.is_some());
        if !is_separable && sets.iter().any(|set| set.depthwise.is_some()) {
            return Err(Problem::new("small convolutions", "all separable or none", "both").weights());
        }
        let window = if is_separable { 1 } else { kernel };
        let mut reader = Reader { l, all_half: true };
        let (mut taps, mut taps_bias) = (Vec::new(), Vec::new());
        let (mut weight, mut bias, mut slope) = (Vec::new(), Vec::new(), Vec::new());
        for (index, set) in sets.iter().enumerate() {
            if let Some(name) = &set.depthwise {
                taps.extend(reader.values(&format!("{name}/Kernel"), &[1, kernel, kernel, channels])?);
                taps_bias.extend(reader.values(&format!("{name}/Bias"), &[channels])?);
            }
            let mut width = 0;
            for name in &set.convs {
                let own = own_columns(name);
                weight.extend(reader.values(&format!("{name}/Kernel"), &[own, window, window, channels])?);
                bias.extend(reader.values(&format!("{name}/Bias"), &[own])?);
                width += own;
            }
            match &set.slope {
                Slope::None => slope.extend(vec![1.0; width]),
                Slope::Relu => slope.extend(vec![0.0; width]),
                Slope::Prelu(name) => slope.extend(reader.values(&format!("{name}/Alpha"), &[1, 1, width])?),
            }
            weight.resize((index + 1) * columns * window * window * channels, 0.0);
            bias.resize((index + 1) * columns, 0.0);
            slope.resize((index + 1) * columns, 0.0);
        }
        let shape =
            SeparableShape { sets: sets.len(), kernel, stride: form.stride, padding: form.padding, channels, columns };
        let values = SeparableValues {
            depthwise: is_separable.then_some([&taps[..], &taps_bias[..]]),
            weight: &weight,
            bias: &bias,
            slope: &slope,
        };
        let elem = if reader.all_half { Elem::F16 } else { Elem::F32 };
        Ok(Self { weights: Separable::pack(l.gpu(), shape, elem, values)?, shortcut: form.shortcut })
    }

    /// Columns of its output that are not there to fill up a group of four.
    pub fn columns(&self) -> usize {
        self.weights.shape().columns
    }

    /// `x` `[images, height, width, channels]` → `[images, out height, out width, columns]`, channels and columns rounded up to a
    /// multiple of 4.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.separable(&self.weights, self.shortcut)
    }
}

use super::Loader;
use crate::Result;
use crate::ops::{Activation, Epilogue, Geometry, PackedWeight, WeightShape};
use crate::tensor::Tensor;

/// A convolution of images `[images, height, width, channels]`.
///
/// The temporal (3,1,1) convolution of a clip is the 3x1 one of the image [frames, height*width]; a 1-D convolution has
/// images of width 1.
pub struct Conv2d {
    weight: PackedWeight,
    bias: Option<Tensor>,
    stride: usize,
    /// Zeros above, left, below and right.
    pad: [usize; 4],
    upsample: bool,
}

impl Conv2d {
    /// `weight` `[columns, channels, k, k]`, k odd, "same" padding, `bias` `[columns]`.
    pub fn load(l: &Loader, columns: usize, channels: usize, k: usize) -> Result<Self> {
        let shape = WeightShape { columns, group_channels: channels, kernel: [k, k], groups: 1 };
        let weight = l.packed_conv("weight", &[columns, channels, k, k], shape)?;
        Ok(Self { weight, bias: Some(l.vector("bias", columns)?), stride: 1, pad: [k / 2; 4], upsample: false })
    }

    /// `weight` `[columns, channels, 3, 1, 1]`, one frame of zeros at both ends, `bias` `[columns]`.
    pub fn load_temporal(l: &Loader, columns: usize, channels: usize) -> Result<Self> {
        let shape = WeightShape { columns, group_channels: channels, kernel: [3, 1], groups: 1 };
        let weight = l.packed_conv("weight", &[columns, channels, 3, 1, 1], shape)?;
        Ok(Self { weight, bias: Some(l.vector("bias", columns)?), stride: 1, pad: [1, 0, 1, 0], upsample: false })
    }

    /// `weight` `[columns, channels, k]` of a 1-D convolution without padding or bias.
    pub fn load_1d(l: &Loader, columns: usize, channels: usize, k: usize, stride: usize) -> Result<Self> {
        let shape = WeightShape { columns, group_channels: channels, kernel: [k, 1], groups: 1 };
        let weight = l.packed("weight", &[columns, channels, k], shape)?;
        Ok(Self { weight, bias: None, stride, pad: [0; 4], upsample: false })
    }

    /// From parts, for weights that do not lie in a file as they are used.
    pub fn new(weight: PackedWeight, bias: Option<Tensor>, stride: usize, pad: [usize; 4]) -> Self {
        Self { weight, bias, stride, pad, upsample: false }
    }

    /// Pixels between two windows; 0 is an error of every use.
    pub fn stride(self, stride: usize) -> Self {
        // Only a stride of 1 can use what lies beside the direct weight.
        let weight = if stride == 1 { self.weight } else { self.weight.direct() };
        Self { stride, weight, ..self }
    }

    /// Zeros above, left, below and right.
    pub fn pad(self, pad: [usize; 4]) -> Self {
        Self { pad, ..self }
    }

    /// The convolution then sees its input enlarged twice by nearest neighbour.
    pub fn upsampled(self) -> Self {
        Self { upsample: true, ..self }
    }

    /// `x` `[images, height, width, channels]` → `[images, out height, out width, columns]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.with(x, Epilogue::default())
    }

    /// The output plus `residual`.
    pub fn plus(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.with(x, Epilogue { residual: Some(residual), ..Default::default() })
    }

    /// The output plus one row of `add` for each of equally many groups of output pixels.
    pub fn plus_rows(&self, x: &Tensor, add: &Tensor) -> Result<Tensor> {
        self.with(x, Epilogue { add: Some(add), ..Default::default() })
    }

    pub fn activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.with(x, Epilogue { activation, ..Default::default() })
    }

    fn with(&self, x: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
        let [_, height, width, _] = x.dims("conv input")?;
        let [kernel_height, kernel_width] = self.weight.shape().kernel;
        let scale = if self.upsample { 2 } else { 1 };
        let size =
            |n: usize, pad: usize, k: usize| (n * scale + pad).checked_sub(k)?.checked_div(self.stride).map(|n| n + 1);
        let geometry = Geometry {
            stride: self.stride,
            pad: [self.pad[0], self.pad[1]],
            out: [
                size(height, self.pad[0] + self.pad[2], kernel_height).unwrap_or(0),
                size(width, self.pad[1] + self.pad[3], kernel_width).unwrap_or(0),
            ],
            upsample: self.upsample,
        };
        x.conv2d(&self.weight, geometry, Epilogue { bias: self.bias.as_ref(), ..epilogue })
    }
}

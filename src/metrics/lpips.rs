//! LPIPS: the distance of two pictures in the feature maps of an image classifier, weighted by what people call alike.
//! Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", eq. 1 and version 0.1 of
//! its package. Pictures → one number each, 0 for equal ones.
//!
//! Weights under their published names: the classifier as torchvision has it (`features.0.weight`) or as the package saves
//! it (`net.slice1.0.weight`), and the package's linear layers (`lin0.model.1.weight`).
//!
//! Traps: the classifier's input is scaled by the package's own constants, not by ImageNet's of torchvision; features are taken after each
//! ReLU; eps stands outside of the root.

use crate::gpu::{Elem, Gpu};
use crate::nn::{Conv2d, Loader};
use crate::ops::{PackedWeight, Raw, Rgb, WeightShape};
use crate::tensor::Tensor;
use crate::weights::Weights;
use crate::{Problem, Result};

/// Smallest side of a picture: below it nothing is left behind the poolings.
pub const MIN_SIDE: usize = 32;
/// Mean and deviation of the input in [-1, 1], by colour.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
const EPS: f32 = 1e-10;

/// Parts of a published checkpoint that are not read: the classifier's head, and second copies of the linear layers.
const UNUSED: &[&str] = &["classifier", "lins", "scaling_layer"];

/// A convolution by its number in the published `features`.
struct ConvAt {
    index: usize,
    columns: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
}

/// What differs between the classifiers.
struct Backbone {
    pool: usize,
    stages: &'static [&'static [ConvAt]],
}

const fn conv3(index: usize, columns: usize) -> ConvAt {
    ConvAt { index, columns, kernel: 3, stride: 1, pad: 1 }
}

/// Poolings of 3x3.
const ALEXNET: Backbone = Backbone {
    pool: 3,
    stages: &[
        &[ConvAt { index: 0, columns: 64, kernel: 11, stride: 4, pad: 2 }],
        &[ConvAt { index: 3, columns: 192, kernel: 5, stride: 1, pad: 2 }],
        &[conv3(6, 384)],
        &[conv3(8, 256)],
        &[conv3(10, 256)],
    ],
};

/// Poolings of 2x2.
const VGG16: Backbone = Backbone {
    pool: 2,
    stages: &[
        &[conv3(0, 64), conv3(2, 64)],
        &[conv3(5, 128), conv3(7, 128)],
        &[conv3(10, 256), conv3(12, 256), conv3(14, 256)],
        &[conv3(17, 512), conv3(19, 512), conv3(21, 512)],
        &[conv3(24, 512), conv3(26, 512), conv3(28, 512)],
    ],
};

/// The metric with AlexNet (the package's default) or VGG16, by what the weights hold.
pub struct Lpips {
    scaling: Conv2d,
    stages: Vec<Stage>,
}

struct Stage {
    /// Side of the max pooling in front, with strides of 2.
    pool: Option<usize>,
    convs: Vec<Conv2d>,
    /// `[channels]` of the stage's output.
    weight: Tensor,
}

impl Lpips {
    /// Errors: neither classifier is there, and every missing or misshapen tensor by name.
    pub fn load(gpu: &Gpu, weights: &Weights) -> Result<Self> {
        let name = layout(weights)?;
        weights.checked(UNUSED, false, |w| Self::load_named(&Loader::new(gpu, w, Elem::F32), name))
    }

    fn load_named(l: &Loader, name: fn(usize, usize) -> String) -> Result<Self> {
        // AlexNet has no second convolution before its first pooling.
        let backbone = if l.has(&name(0, 2)) { VGG16 } else { ALEXNET };
        let (mut stages, mut channels, mut last) = (Vec::new(), 3, 0);
        for (stage, listed) in backbone.stages.iter().enumerate() {
            // Each convolution is followed by its ReLU; one more number that is skipped is a pooling's.
            let is_pooled = listed[0].index > last + 2;
            let mut convs = Vec::new();
            for conv in *listed {
                let at = l.at(&name(stage, conv.index));
                let columns = at.dim("weight", 0, conv.columns);
                let loaded = Conv2d::load(&at, columns, channels, conv.kernel)?;
                convs.push(loaded.stride(conv.stride).pad([conv.pad; 4]));
                (channels, last) = (columns, conv.index);
            }
            let weight = l.tensor(&format!("lin{stage}.model.1.weight"), &[1, channels, 1, 1])?.reshape(&[channels])?;
            stages.push(Stage { pool: is_pooled.then_some(backbone.pool), convs, weight });
        }
        Ok(Self { scaling: scaling(l.gpu())?, stages })
    }

    /// The distance of each frame of `a` from that of `b`. Errors: sizes differ, or a side is below [`MIN_SIDE`].
    pub fn distance(&self, a: &Rgb, b: &Rgb) -> Result<Vec<f64>> {
        let by_stage = (0..a.frames()).map(|frame| self.by_stage(&a.frame(frame)?, &b.frame(frame)?));
        by_stage.map(|stages| Ok(stages?.iter().sum())).collect()
    }

    /// What each stage adds to the distance of two single frames.
    pub fn by_stage(&self, a: &Rgb, b: &Rgb) -> Result<Vec<f64>> {
        if a.height().min(a.width()) < MIN_SIDE {
            let found = format!("{}x{}", a.width(), a.height());
            return Err(Problem::new("LPIPS", format!("pictures of {MIN_SIDE}x{MIN_SIDE} or more"), found).input());
        }
        let (mut a, mut b) = (self.scaling.forward(&a.to_tensor()?)?, self.scaling.forward(&b.to_tensor()?)?);
        let mut distances = Vec::new();
        for stage in &self.stages {
            (a, b) = (stage.forward(&a)?, stage.forward(&b)?);
            let by_pixel = a.feature_distance(&b, &stage.weight, EPS)?.to_f32()?;
            distances.push(by_pixel.iter().map(|&d| f64::from(d)).sum::<f64>() / by_pixel.len() as f64);
        }
        Ok(distances)
    }
}

impl Stage {
    /// `x` `[1, height, width, channels]` → the features after the last ReLU.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = match self.pool {
            Some(size) => x.max_pool(size, 2)?,
            None => x.clone(),
        };
        for conv in &self.convs {
            x = conv.forward(&x)?.clamp(0.0, f32::MAX)?;
        }
        Ok(x)
    }
}

/// (x - SHIFT) / SCALE as a 1x1 convolution.
fn scaling(gpu: &Gpu) -> Result<Conv2d> {
    let mut diagonal = [0.0; 9];
    for colour in 0..3 {
        diagonal[4 * colour] = 1.0 / SCALE[colour];
    }
    let shape = WeightShape { columns: 3, group_channels: 3, kernel: [1, 1], groups: 1 };
    let weight = PackedWeight::pack(gpu, shape, Elem::F32, Raw::F32(bytemuck::cast_slice(&diagonal)), "LPIPS scaling")?;
    let bias: [f32; 3] = std::array::from_fn(|colour| -SHIFT[colour] / SCALE[colour]);
    Ok(Conv2d::new(weight, Some(Tensor::from_f32(gpu, &[3], &bias)?), 1, [0; 4]))
}

/// How these weights name convolution `index` of stage `stage`.
fn layout(weights: &Weights) -> Result<fn(usize, usize) -> String> {
    if weights.has("features.0") {
        return Ok(|_, index| format!("features.{index}"));
    }
    if weights.has("net.slice1.0") {
        return Ok(|stage, index| format!("net.slice{}.{index}", stage + 1));
    }
    let expected = "features.0.weight (torchvision's AlexNet or VGG16) or net.slice1.0.weight (the lpips package's)";
    Err(Problem::new(weights.origin(), expected, "neither")
        .remedy(
            "give --lpips-weights twice: the classifier, and the package's linear layers (lin0.model.1.weight, ...)",
        )
        .weights())
}

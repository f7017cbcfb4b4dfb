//! 3x3 and 3x1 convolutions through winograd_input, grouped products and winograd_output, against the direct sum.

use crate::gemm::erf;
use crate::int8::rounded;
use crate::{Random, check, gpu, portable_gpu, prepare, stored};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use viseme::gpu::{Elem, Gpu};
use viseme::ops::{Activation, ConvClass, Epilogue, Geometry, PackedWeight, Raw, WeightShape};
use viseme::tensor::Tensor;

struct Case {
    /// images, height, width, channels
    x: [usize; 4],
    columns: usize,
    kernel: [usize; 2],
    /// Zeros above and left; as many below and right.
    pad: [usize; 2],
    upsample: bool,
    activation: Activation,
    bias: bool,
    /// Rows of the added table, 0 for none.
    add: usize,
    residual: bool,
}

const TEMPORAL: Case = Case { kernel: [3, 1], pad: [1, 0], ..PLAIN };

const PLAIN: Case = Case {
    x: [1, 4, 4, 4],
    columns: 4,
    kernel: [3, 3],
    pad: [1, 1],
    upsample: false,
    activation: Activation::None,
    bias: false,
    add: 0,
    residual: false,
};

fn cases() -> Vec<Case> {
    vec![
        PLAIN,
        // One tile that hangs over on two sides, and images that meet inside a strip.
        Case { x: [3, 3, 3, 2], columns: 2, ..PLAIN },
        Case { x: [2, 5, 7, 6], columns: 10, bias: true, ..PLAIN },
        Case { x: [1, 13, 4, 32], columns: 70, residual: true, ..PLAIN },
        Case {
            x: [2, 9, 11, 36],
            columns: 66,
            activation: Activation::Silu,
            bias: true,
            add: 2,
            residual: true,
            ..PLAIN
        },
        Case { x: [6, 4, 8, 8], columns: 34, activation: Activation::Gelu, bias: true, add: 3, ..PLAIN },
        Case { x: [2, 6, 5, 8], columns: 12, pad: [0, 0], bias: true, ..PLAIN },
        Case { x: [1, 6, 7, 8], columns: 12, pad: [2, 0], ..PLAIN },
        Case { x: [2, 5, 3, 16], columns: 20, upsample: true, bias: true, residual: true, ..PLAIN },
        Case { x: [2, 35, 41, 34], columns: 6, bias: true, add: 5, residual: true, ..PLAIN },
        TEMPORAL,
        Case { x: [2, 14, 3, 6], columns: 10, bias: true, add: 28, residual: true, ..TEMPORAL },
        Case { x: [3, 5, 1, 36], columns: 66, activation: Activation::Silu, bias: true, ..TEMPORAL },
        Case { x: [2, 3, 4, 8], columns: 6, upsample: true, residual: true, ..TEMPORAL },
        Case { x: [1, 14, 150, 34], columns: 6, bias: true, residual: true, ..TEMPORAL },
    ]
}

impl Case {
    fn out(&self) -> [usize; 2] {
        let scale = if self.upsample { 2 } else { 1 };
        [0, 1].map(|axis| self.x[1 + axis] * scale + 2 * self.pad[axis] + 1 - self.kernel[axis])
    }

    /// sum over ky, kx, c of x[n, oy + ky - top, ox + kx - left, c] * w[o, c, ky, kx], then the epilogue.
    fn reference(&self, x: &[f32], w: &[f32], bias: &[f32], add: &[f32], residual: &[f32]) -> Vec<f64> {
        let [images, height, width, channels] = self.x;
        let [out_height, out_width] = self.out();
        let [kernel_height, kernel_width] = self.kernel;
        let scale = if self.upsample { 2 } else { 1 };
        let rows = images * out_height * out_width;
        let mut y = Vec::new();
        for n in 0..images {
            for oy in 0..out_height {
                for ox in 0..out_width {
                    for o in 0..self.columns {
                        let mut sum = 0.0;
                        for ky in 0..kernel_height {
                            for kx in 0..kernel_width {
                                if oy + ky < self.pad[0] || ox + kx < self.pad[1] {
                                    continue;
                                }
                                let (iy, ix) = ((oy + ky - self.pad[0]) / scale, (ox + kx - self.pad[1]) / scale);
                                if iy >= height || ix >= width {
                                    continue;
                                }
                                for c in 0..channels {
                                    let from = ((n * height + iy) * width + ix) * channels + c;
                                    let tap = ((o * channels + c) * kernel_height + ky) * kernel_width + kx;
                                    sum += f64::from(x[from]) * f64::from(w[tap]);
                                }
                            }
                        }
                        let row = (n * out_height + oy) * out_width + ox;
                        if self.bias {
                            sum += f64::from(bias[o]);
                        }
                        if let Some(rows_per_add) = rows.checked_div(self.add) {
                            sum += f64::from(add[row / rows_per_add * self.columns + o]);
                        }
                        sum = match self.activation {
                            Activation::None => sum,
                            Activation::Silu => sum / (1.0 + (-sum).exp()),
                            Activation::Gelu => 0.5 * sum * (1.0 + erf(sum / 2f64.sqrt())),
                        };
                        if self.residual {
                            sum += f64::from(residual[row * self.columns + o]);
                        }
                        y.push(sum);
                    }
                }
            }
        }
        y
    }

    fn run(&self, gpu: &Gpu, class: ConvClass, elem: Elem, weight_elem: Elem, random: &mut Random) {
        let name = format!("{:?} {:?} -> {} {class:?} {elem:?} {weight_elem:?}", self.kernel, self.x, self.columns);
        let [images, _, _, channels] = self.x;
        let [out_height, out_width] = self.out();
        let rows = images * out_height * out_width;
        let x = stored(elem, &random.vec(self.x.iter().product()));
        let column_len = channels * self.kernel[0] * self.kernel[1];
        let w = random.vec(self.columns * column_len);
        let bias = random.vec(self.columns);
        let add = stored(elem, &random.vec(self.add * self.columns));
        let residual = stored(elem, &random.vec(rows * self.columns));
        let weights = if weight_elem == Elem::I8 { rounded(Elem::I8, &w, column_len) } else { w.clone() };
        let want = self.reference(&x, &weights, &bias, &add, &residual);

        let tensor = |shape: &[usize], values: &[f32], elem| Tensor::from_values(gpu, shape, elem, values).unwrap();
        let bias = self.bias.then(|| tensor(&[self.columns], &bias, Elem::F32));
        let add = (self.add > 0).then(|| tensor(&[self.add, self.columns], &add, elem));
        let residual = self.residual.then(|| tensor(&[images, out_height, out_width, self.columns], &residual, elem));
        let epilogue = Epilogue {
            bias: bias.as_ref(),
            add: add.as_ref(),
            activation: self.activation,
            residual: residual.as_ref(),
        };
        let geometry = Geometry { stride: 1, pad: self.pad, out: self.out(), upsample: self.upsample };
        let weight = packed(gpu, &w, [self.columns, channels], self.kernel, class, weight_elem);
        let y = tensor(&self.x, &x, elem).conv2d(&weight, geometry, epilogue).unwrap();
        check(&name, &y, &want, bar(class, elem, weight_elem));
    }
}

fn packed(
    gpu: &Gpu,
    w: &[f32],
    [columns, group_channels]: [usize; 2],
    kernel: [usize; 2],
    class: ConvClass,
    elem: Elem,
) -> PackedWeight {
    let shape = WeightShape { columns, group_channels, kernel, groups: 1 };
    let raw = Raw::F32(bytemuck::cast_slice(w));
    PackedWeight::pack(gpu, shape, elem, raw, "conv").unwrap().with_class(class, raw).unwrap()
}

/// Relative L2 bars. Weights are rounded once, transformed, to f16; the worst element may be 40 times this.
fn bar(class: ConvClass, elem: Elem, weight_elem: Elem) -> f64 {
    match (class, elem, weight_elem) {
        (ConvClass::F43, Elem::F32, Elem::F32) => 5e-6,
        (_, Elem::F32, Elem::F32) => 2e-6,
        (ConvClass::F43, ..) => 2e-3,
        _ => 1e-3,
    }
}

/// The same device with bindings that hold a few lines of tiles, so that images fall into bands.
fn narrow_gpu() -> Option<Gpu> {
    gpu()?;
    Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = capabilities.max_binding_bytes.min(128 << 10))
        .ok()
        .map(prepare)
}

#[test]
fn every_shape_and_epilogue_matches_the_direct_sum() {
    let narrow = narrow_gpu();
    for gpu in [gpu(), portable_gpu(), narrow.as_ref()].into_iter().flatten() {
        let mut random = Random(5);
        for case in cases() {
            for class in [ConvClass::F23, ConvClass::F43] {
                for (elem, weight_elem) in
                    [(Elem::F32, Elem::F32), (Elem::F32, Elem::F16), (Elem::F16, Elem::F16), (Elem::F16, Elem::I8)]
                {
                    case.run(gpu, class, elem, weight_elem, &mut random);
                }
            }
        }
    }
}

#[test]
fn a_batch_gives_the_same_bits_as_its_images() {
    let Some(gpu) = gpu() else { return };
    let [images, height, width, channels] = [7, 6, 9, 32];
    let mut random = Random(6);
    let w = random.vec(40 * channels * 9);
    let x = random.vec(images * height * width * channels);
    let geometry = Geometry { stride: 1, pad: [1, 1], out: [height, width], upsample: false };
    for class in [ConvClass::F23, ConvClass::F43] {
        let weight = packed(gpu, &w, [40, channels], [3, 3], class, Elem::F16);
        let run = |count: usize, values: &[f32]| {
            let x = Tensor::from_f32(gpu, &[count, height, width, channels], values).unwrap();
            x.conv2d(&weight, geometry, Epilogue::default()).unwrap().to_f32().unwrap()
        };
        let apart: Vec<f32> = x.chunks(height * width * channels).flat_map(|image| run(1, image)).collect();
        assert!(run(images, &x) == apart, "{class:?}");
    }
}

#[test]
fn tiles_are_used_where_they_save_products() {
    if gpu().is_none() {
        return;
    }
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let record = seen.clone();
    let gpu = Gpu::new(None).unwrap();
    gpu.inspect_variants(Box::new(move |kernel, _| {
        record.lock().unwrap().insert(kernel.name.to_string());
    }));
    let mut random = Random(7);
    let weight = packed(&gpu, &random.vec(16 * 8 * 9), [16, 8], [3, 3], ConvClass::F43, Elem::F32);
    let mut run = |side: usize, stride: usize| {
        let x = Tensor::from_f32(&gpu, &[1, side, side, 8], &random.vec(side * side * 8)).unwrap();
        let out = side.div_ceil(stride);
        let geometry = Geometry { stride, pad: [1, 1], out: [out; 2], upsample: false };
        x.conv2d(&weight, geometry, Epilogue::default()).unwrap();
        seen.lock().unwrap().contains("winograd_input")
    };
    // A tile of 36 products: 9 and 36 direct ones are no more, 81 are.
    assert!(!run(1, 1) && !run(2, 1) && !run(6, 2));
    assert!(run(3, 1));
}

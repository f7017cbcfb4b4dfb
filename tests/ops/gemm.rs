//! Matmul and convolution, in their three kernels: gemm_subgroup, gemm_tiled and, emulated, gemm_cooperative.

use crate::int8::rounded;
use crate::{Random, bar, check, gpu, matrix_gpu, portable_gpu, prepare, stored, there};
use viseme::gpu::{Elem, Gpu};
use viseme::ops::{Activation, Epilogue, Geometry, PackedWeight, Raw, WeightShape, interleave};
use viseme::tensor::Tensor;

pub struct Case {
    /// images, height, width, channels
    pub x: [usize; 4],
    pub columns: usize,
    pub kernel: [usize; 2],
    pub groups: usize,
    pub stride: usize,
    /// top, left, bottom, right
    pub pad: [usize; 4],
    pub upsample: bool,
}

pub const PLAIN: Case =
    Case { x: [1, 1, 1, 1], columns: 1, kernel: [1, 1], groups: 1, stride: 1, pad: [0; 4], upsample: false };

fn conv3(x: [usize; 4], columns: usize) -> Case {
    Case { x, columns, kernel: [3, 3], pad: [1; 4], ..PLAIN }
}

fn cases() -> Vec<Case> {
    vec![
        PLAIN,
        Case { x: [7, 1, 1, 3], columns: 5, ..PLAIN },
        Case { x: [16, 1, 1, 64], columns: 64, ..PLAIN },
        Case { x: [131, 1, 1, 257], columns: 130, ..PLAIN },
        Case { x: [70, 1, 1, 128], columns: 96, ..PLAIN },
        Case { x: [70_001, 1, 1, 4], columns: 3, ..PLAIN },
        conv3([2, 5, 7, 8], 12),
        conv3([1, 9, 9, 9], 32),
        conv3([3, 8, 8, 32], 70),
        conv3([1, 33, 17, 3], 4),
        conv3([1, 1, 1, 4], 6),
        Case { stride: 2, ..conv3([2, 9, 8, 16], 33) },
        Case { stride: 2, pad: [0, 0, 1, 1], ..conv3([1, 8, 10, 16], 8) },
        Case { upsample: true, ..conv3([2, 4, 5, 16], 20) },
        // Temporal: images are clips, height frames, width positions.
        Case { kernel: [3, 1], pad: [1, 0, 1, 0], ..conv3([2, 5, 12, 32], 32) },
        Case { kernel: [3, 1], pad: [1, 0, 1, 0], ..conv3([1, 1, 6, 8], 3) },
        // Audio: height samples, width 1.
        Case { x: [1, 200, 1, 1], columns: 16, kernel: [10, 1], stride: 5, ..PLAIN },
        Case { x: [1, 39, 1, 48], columns: 48, kernel: [16, 1], groups: 4, pad: [8, 0, 7, 0], ..PLAIN },
        Case { x: [1, 21, 1, 30], columns: 18, kernel: [4, 1], groups: 3, pad: [2, 0, 1, 0], ..PLAIN },
        Case { x: [1, 23, 1, 10], columns: 135, kernel: [3, 1], groups: 1, pad: [1, 0, 1, 0], ..PLAIN },
        Case { x: [1, 19, 1, 14], columns: 140, kernel: [3, 1], groups: 2, pad: [1, 0, 1, 0], ..PLAIN },
    ]
}

impl Case {
    fn out(&self) -> [usize; 2] {
        let scale = if self.upsample { 2 } else { 1 };
        let size = |n: usize, pad: usize, k: usize| (n * scale + pad - k) / self.stride + 1;
        [
            size(self.x[1], self.pad[0] + self.pad[2], self.kernel[0]),
            size(self.x[2], self.pad[1] + self.pad[3], self.kernel[1]),
        ]
    }

    /// y[n, oy, ox, o] = sum over ky, kx, c of x[n, oy*stride + ky - top, ox*stride + kx - left, c] * w[o, c, ky, kx]
    pub fn reference(&self, x: &[f32], w: &[f32]) -> Vec<f64> {
        let [images, height, width, channels] = self.x;
        let [out_height, out_width] = self.out();
        let [kh, kw] = self.kernel;
        let group_channels = channels / self.groups;
        let scale = if self.upsample { 2 } else { 1 };
        let mut y = Vec::new();
        for n in 0..images {
            for oy in 0..out_height {
                for ox in 0..out_width {
                    for o in 0..self.columns {
                        let group = o / (self.columns / self.groups);
                        let mut sum = 0.0;
                        for ky in 0..kh {
                            for kx in 0..kw {
                                let (iy, ix) = (oy * self.stride + ky, ox * self.stride + kx);
                                if iy < self.pad[0] || ix < self.pad[1] {
                                    continue;
                                }
                                let (iy, ix) = ((iy - self.pad[0]) / scale, (ix - self.pad[1]) / scale);
                                if iy >= height || ix >= width {
                                    continue;
                                }
                                for c in 0..group_channels {
                                    let from = ((n * height + iy) * width + ix) * channels + group * group_channels + c;
                                    let by = ((o * group_channels + c) * kh + ky) * kw + kx;
                                    sum += f64::from(x[from]) * f64::from(w[by]);
                                }
                            }
                        }
                        y.push(sum);
                    }
                }
            }
        }
        y
    }

    fn run(&self, gpu: &Gpu, elem: Elem, weight_elem: Elem, random: &mut Random) {
        let name = format!("{:?} * {:?} -> {} {elem:?} {weight_elem:?}", self.x, self.kernel, self.columns);
        let group_channels = self.x[3] / self.groups;
        let x = stored(elem, &random.vec(self.x.iter().product()));
        let column_len = group_channels * self.kernel[0] * self.kernel[1];
        let w = random.vec(self.columns * column_len);
        let want = self.reference(&x, &rounded(weight_elem, &w, column_len));
        let x = Tensor::from_values(gpu, &self.x, elem, &x).unwrap();
        let shape = WeightShape { columns: self.columns, group_channels, kernel: self.kernel, groups: self.groups };
        let weight = PackedWeight::pack(gpu, shape, weight_elem, Raw::F32(bytemuck::cast_slice(&w)), &name).unwrap();
        let geometry =
            Geometry { stride: self.stride, pad: [self.pad[0], self.pad[1]], out: self.out(), upsample: self.upsample };
        let y = x.conv2d(&weight, geometry, Epilogue::default()).unwrap();
        check(&name, &y, &want, bar(elem));
    }
}

#[test]
fn every_shape_matches_the_reference() {
    for gpu in [gpu(), portable_gpu()].into_iter().flatten() {
        let mut random = Random(2);
        for case in cases() {
            for (elem, weight_elem) in [
                (Elem::F32, Elem::F32),
                (Elem::F32, Elem::F16),
                (Elem::F16, Elem::F16),
                (Elem::F32, Elem::I8),
                (Elem::F16, Elem::I8),
            ] {
                case.run(gpu, elem, weight_elem, &mut random);
            }
        }
    }
    for gpu in [matrix_gpu(16), matrix_gpu(8)].into_iter().flatten() {
        let mut random = Random(2);
        for case in cases() {
            case.run(gpu, Elem::F16, Elem::F16, &mut random);
        }
    }
}

#[test]
fn the_epilogue_applies_in_order() {
    let plain = [gpu(), portable_gpu()].into_iter().flatten().flat_map(|gpu| {
        [
            (8, Elem::F32, Elem::F32),
            (6, Elem::F16, Elem::F32),
            (6, Elem::F32, Elem::F32),
            (5, Elem::F32, Elem::F32),
            (68, Elem::F16, Elem::F32),
            (68, Elem::F16, Elem::I8),
            (6, Elem::F16, Elem::I8),
            (5, Elem::F32, Elem::I8),
        ]
        .map(|case| (gpu, case))
    });
    // What follows the sums is the same text for both kinds of matrices.
    let matrices = [(16, vec![8, 6, 68]), (8, vec![68])].into_iter().flat_map(|(edge, columns)| {
        let gpu = matrix_gpu(edge);
        columns.into_iter().filter_map(move |columns| Some((gpu?, (columns, Elem::F16, Elem::F16))))
    });
    for (gpu, (columns, elem, weight_elem)) in plain.chain(matrices) {
        let (rows, channels) = (12, 20);
        let mut random = Random(3);
        let x = stored(elem, &random.vec(rows * channels));
        let (w, bias) = (stored(weight_elem, &random.vec(columns * channels)), random.vec(columns));
        let (add, residual) = (stored(elem, &random.vec(3 * columns)), stored(elem, &random.vec(rows * columns)));
        let shape = WeightShape::linear(columns, channels);
        let weight = PackedWeight::pack(gpu, shape, weight_elem, Raw::F32(bytemuck::cast_slice(&w)), "w").unwrap();
        let w = rounded(weight_elem, &w, channels);
        let tensor = |shape: &[usize], values: &[f32], elem| Tensor::from_values(gpu, shape, elem, values).unwrap();
        let bias_t = tensor(&[columns], &bias, Elem::F32);
        let add_t = tensor(&[3, columns], &add, elem);
        let residual_t = tensor(&[rows, columns], &residual, elem);
        for activation in [Activation::None, Activation::Silu, Activation::Gelu] {
            let epilogue = Epilogue { bias: Some(&bias_t), add: Some(&add_t), activation, residual: Some(&residual_t) };
            let y = tensor(&[rows, channels], &x, elem).linear(&weight, epilogue).unwrap();
            let mut want = Case { x: [rows, 1, 1, channels], columns, ..PLAIN }.reference(&x, &w);
            for (i, v) in want.iter_mut().enumerate() {
                let (row, column) = (i / columns, i % columns);
                *v += f64::from(bias[column]) + f64::from(add[row / 4 * columns + column]);
                *v = match activation {
                    Activation::None => *v,
                    Activation::Silu => *v / (1.0 + (-*v).exp()),
                    Activation::Gelu => 0.5 * *v * (1.0 + erf(*v / 2f64.sqrt())),
                } + f64::from(residual[i]);
            }
            check(&format!("{columns} columns {elem:?} {weight_elem:?} {activation:?}"), &y, &want, bar(elem));
        }
    }
}

/// Values times gelu of their gates, in one product; sums are handed on where a binding holds but a part of a panel.
#[test]
fn gated_outputs() {
    let small = there(Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = 32 << 10)).map(prepare);
    let plain = [gpu(), portable_gpu(), small.as_ref()].into_iter().flatten().flat_map(|gpu| {
        [(Elem::F32, Elem::F32), (Elem::F16, Elem::F16), (Elem::F16, Elem::I8)].map(|elems| (gpu, elems))
    });
    let matrices = [matrix_gpu(16), matrix_gpu(8)].into_iter().flatten().map(|gpu| (gpu, (Elem::F16, Elem::F16)));
    for (gpu, (elem, weight_elem)) in plain.chain(matrices) {
        for [rows, channels, outputs] in [[1, 4, 20], [37, 21, 36], [70, 600, 32], [130, 40, 132]] {
            let name = format!("{rows}x{channels} -> {outputs} gated, {elem:?} {weight_elem:?}");
            let mut random = Random(5);
            let x = stored(elem, &random.vec(rows * channels));
            let (w, bias) = (random.vec(2 * outputs * channels), random.vec(2 * outputs));
            let raw = Raw::F32(bytemuck::cast_slice(&w));
            let weight = PackedWeight::pack_gated(gpu, [outputs, channels], weight_elem, raw, "proj").unwrap();
            let sums = Case { x: [rows, 1, 1, channels], columns: 2 * outputs, ..PLAIN }
                .reference(&x, &rounded(weight_elem, &w, channels));
            let biased = |row: usize, column: usize| sums[row * 2 * outputs + column] + f64::from(bias[column]);
            let mut want = Vec::new();
            for row in 0..rows {
                for column in 0..outputs {
                    let gate = biased(row, outputs + column);
                    want.push(biased(row, column) * 0.5 * gate * (1.0 + erf(gate / 2f64.sqrt())));
                }
            }
            let x = Tensor::from_values(gpu, &[rows, channels], elem, &x).unwrap();
            let bias = Tensor::from_f32(gpu, &[2 * outputs], &interleave(&bias, outputs)).unwrap();
            let epilogue = Epilogue { bias: Some(&bias), activation: Activation::Gelu, ..Epilogue::default() };
            let y = x.linear(&weight, epilogue).unwrap();
            assert_eq!(y.shape(), [rows, outputs]);
            check(&name, &y, &want, bar(elem));
            let error = x.linear(&weight, Epilogue { residual: Some(&y), ..epilogue }).unwrap_err().to_string();
            assert!(error.contains("proj") && error.contains("gated"), "{error}");
        }
    }
    for outputs in [16, 30] {
        let Some(gpu) = gpu() else { return };
        let w = vec![0.5f32; 2 * outputs * 4];
        let raw = Raw::F32(bytemuck::cast_slice(&w));
        let error = PackedWeight::pack_gated(gpu, [outputs, 4], Elem::F16, raw, "proj").err().unwrap().to_string();
        assert!(error.contains("proj") && error.contains("multiple of 4"), "{error}");
    }
}

/// 2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (1 3 5 .. (2n+1)), whose terms all have one sign.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn a_wrong_width_is_refused_by_name() {
    let Some(gpu) = gpu() else { return };
    let values = vec![0.0f32; 12];
    let weight = PackedWeight::pack(
        gpu,
        WeightShape::linear(3, 4),
        Elem::F32,
        Raw::F32(bytemuck::cast_slice(&values)),
        "proj_in",
    )
    .unwrap();
    let x = Tensor::from_f32(gpu, &[2, 5], &[0.0; 10]).unwrap();
    let error = x.linear(&weight, Epilogue::default()).unwrap_err().to_string();
    assert!(error.contains("proj_in") && error.contains("4 channels"), "{error}");
}

/// Lines too long for one binding, as the temporal convolutions of large pictures have them: strips and whole lines agree,
/// whatever the epilogue. Kernel rows are added in another order where even a strip's lines do not fit together.
#[test]
fn strips_of_a_line_equal_the_whole_line() {
    let Some(gpu) = gpu() else { return };
    let restricted = Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = 64 << 10);
    let Some(narrow) = crate::there(restricted) else { return };
    narrow.poison_allocations().unwrap();
    for ([clips, frames, places, channels], columns, elem, weight_elem) in [
        ([2, 3, 700, 32], 32, Elem::F32, Elem::F32),
        ([1, 1, 900, 24], 20, Elem::F16, Elem::F32),
        ([1, 4, 300, 70], 66, Elem::F32, Elem::F32),
        ([1, 4, 300, 70], 66, Elem::F32, Elem::I8),
        ([1, 2, 15, 1200], 16, Elem::F32, Elem::F32),
        ([1, 2, 15, 1200], 16, Elem::F32, Elem::I8),
    ] {
        let mut random = Random(5);
        let (rows, lines) = (clips * frames * places, clips * frames);
        let x = stored(elem, &random.vec(rows * channels));
        let w = random.vec(columns * channels * 3);
        let (bias, add, residual) = (random.vec(columns), random.vec(lines * columns), random.vec(rows * columns));
        let run = |gpu: &Gpu| {
            let tensor = |shape: &[usize], values: &[f32], elem| Tensor::from_values(gpu, shape, elem, values).unwrap();
            let shape = WeightShape { columns, group_channels: channels, kernel: [3, 1], groups: 1 };
            let weight = PackedWeight::pack(gpu, shape, weight_elem, Raw::F32(bytemuck::cast_slice(&w)), "w").unwrap();
            let geometry = Geometry { stride: 1, pad: [1, 0], out: [frames, places], upsample: false };
            let (bias, add) = (tensor(&[columns], &bias, Elem::F32), tensor(&[lines, columns], &add, elem));
            let residual = tensor(&[clips, frames, places, columns], &residual, elem);
            let activation = Activation::Silu;
            let epilogue = Epilogue { bias: Some(&bias), add: Some(&add), activation, residual: Some(&residual) };
            let x = tensor(&[clips, frames, places, channels], &x, elem);
            x.conv2d(&weight, geometry, epilogue).unwrap()
        };
        let want: Vec<f64> = run(gpu).to_f32().unwrap().iter().map(|&v| f64::from(v)).collect();
        check(&format!("{places} places of {channels} channels to {columns}"), &run(&narrow), &want, bar(elem));
    }
}

#[test]
fn zeros_where_there_must_be_something_are_errors() {
    let Some(gpu) = gpu() else { return };
    let pack = |shape: WeightShape| {
        let values = vec![0.0f32; shape.columns * shape.group_channels * shape.kernel[0] * shape.kernel[1]];
        PackedWeight::pack(gpu, shape, Elem::F32, Raw::F32(bytemuck::cast_slice(&values)), "a layer")
    };
    let good = WeightShape { columns: 4, group_channels: 4, kernel: [3, 3], groups: 1 };
    for wrong in [
        WeightShape { groups: 0, ..good },
        WeightShape { groups: 3, ..good },
        WeightShape { columns: 0, ..good },
        WeightShape { group_channels: 0, ..good },
        WeightShape { kernel: [0, 3], ..good },
        WeightShape { kernel: [3, 0], ..good },
    ] {
        let error = pack(wrong).err().expect("no weight");
        assert!(
            matches!(error, viseme::Error::Shape(_)) && error.to_string().contains("a layer"),
            "{wrong:?}: {error}"
        );
        let planned = PackedWeight::pack(gpu, wrong, Elem::F32, Raw::Planned, "a layer");
        assert!(planned.is_err(), "{wrong:?}, as it is planned");
    }
    let x = Tensor::from_f32(gpu, &[1, 5, 5, 4], &[0.0; 100]).unwrap();
    let conv = viseme::nn::Conv2d::new(pack(good).unwrap(), None, 1, [1; 4]).stride(0);
    let error = conv.forward(&x).unwrap_err();
    assert!(error.to_string().contains("a layer: stride: expected 1 or more"), "{error}");
}

/// WebGPU promises 8 storage buffers, and an int8 product with all that may follow it takes 9.
#[test]
fn int8_with_every_epilogue_runs_on_eight_storage_buffers() {
    let Some(gpu) = gpu() else { return };
    let Some(least) = crate::there(Gpu::restricted(None, |c| {
        c.storage_buffers = 8;
        // So that the weight comes in several parts, whose sums are one more buffer.
        c.max_binding_bytes = 16 << 10;
    })) else {
        return;
    };
    let Some(same) = crate::there(Gpu::restricted(None, |c| c.max_binding_bytes = 16 << 10)) else { return };
    assert!(gpu.capabilities().storage_buffers >= 9, "this device shows nothing");
    let mut random = Random(6);
    let (rows, channels, columns) = (21, 640, 48);
    let (x, w) = (random.vec(rows * channels), random.vec(columns * channels));
    let (bias, add, residual) = (random.vec(columns), random.vec(columns), random.vec(rows * columns));
    let run = |gpu: &Gpu| {
        let tensor = |shape: &[usize], values: &[f32], elem| Tensor::from_values(gpu, shape, elem, values).unwrap();
        let shape = WeightShape::linear(columns, channels);
        let weight = PackedWeight::pack(gpu, shape, Elem::I8, Raw::F32(bytemuck::cast_slice(&w)), "w").unwrap();
        let (bias, add) = (tensor(&[columns], &bias, Elem::F32), tensor(&[1, columns], &add, Elem::F32));
        let residual = tensor(&[rows, columns], &residual, Elem::F16);
        let activation = Activation::Silu;
        let epilogue = Epilogue { bias: Some(&bias), add: Some(&add), activation, residual: Some(&residual) };
        tensor(&[rows, channels], &x, Elem::F16).linear(&weight, epilogue).unwrap().to_bytes().unwrap()
    };
    assert_eq!(run(&least), run(&same));
}

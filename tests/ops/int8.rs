//! int8 weights: what the rounding keeps and refuses, and products whose weight or input does not fit one binding.

use crate::{Random, bar, check, gpu, portable_gpu, prepare, there};
use half::{bf16, f16};
use viseme::gpu::{Elem, Gpu};
use viseme::ops::{Epilogue, Geometry, Int8, PackedWeight, Raw, WeightShape};
use viseme::tensor::Tensor;

/// `w`, columns of `column_len` values, as it is stored in `elem`: what a reference must start from.
pub fn rounded(elem: Elem, w: &[f32], column_len: usize) -> Vec<f32> {
    if elem != Elem::I8 {
        return crate::stored(elem, w);
    }
    let mut values = Vec::new();
    for column in w.chunks(column_len) {
        let mut largest = 0.0f32;
        for v in column {
            largest = largest.max(v.abs());
        }
        let scale = largest / 127.0;
        for v in column {
            let q = if scale > 0.0 { (f64::from(*v) / f64::from(scale)).round() } else { 0.0 };
            values.push(q as f32 * scale);
        }
    }
    values
}

#[test]
fn no_weight_is_off_by_more_than_half_a_scale() {
    let mut random = Random(1);
    let tiny = f32::MIN_POSITIVE;
    let columns: Vec<Vec<f32>> = vec![
        random.vec(1000),
        random.vec(333).iter().map(|v| v * v * v * 1e-6).collect(),
        random.vec(50).iter().map(|v| v * 3e38).collect(),
        vec![f32::MAX, -f32::MAX, 0.0, 1.0],
        vec![0.0; 9],
        vec![-0.0, 0.0, 1e-45],
        vec![tiny, -tiny / 2.0, 100.0 * tiny, -126.5 * tiny],
        // Half way between two steps, on both sides of zero.
        vec![127.0, 0.5, -0.5, 1.5, -126.5, -127.0],
        vec![-3.0],
        Vec::new(),
    ];
    for column in columns {
        let stored = Int8::of(column.iter().copied()).unwrap();
        assert!(stored.scale.is_normal(), "{stored:?}");
        for &w in &column {
            let q = stored.nearest(w);
            assert!(q >= -127, "{q}");
            let apart = (f64::from(w) - f64::from(q) * f64::from(stored.scale)).abs();
            assert!(apart <= 0.5 * f64::from(stored.scale) * (1.0 + 1e-12), "{w} as {q} of {stored:?}");
            assert!(stored.value(q).is_finite(), "{w} as {q} of {stored:?}");
        }
        let largest = column.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
        assert!(largest < 127.0 * tiny || column.iter().any(|&w| stored.nearest(w).abs() == 127), "{stored:?}");
    }
    for value in [f32::NAN, f32::INFINITY, -f32::INFINITY] {
        assert_eq!(Int8::of([1.0, value, 2.0].into_iter()), None);
    }
}

/// A product with the unit matrix shows the weights as the device has them.
fn seen(gpu: &Gpu, columns: usize, channels: usize, raw: Raw<'_>) -> Vec<f32> {
    let shape = WeightShape::linear(columns, channels);
    let weight = PackedWeight::pack(gpu, shape, Elem::I8, raw, "seen").unwrap();
    let mut unit = vec![0.0; channels * channels];
    unit.iter_mut().step_by(channels + 1).for_each(|v| *v = 1.0);
    let x = Tensor::from_f32(gpu, &[channels, channels], &unit).unwrap();
    let y = x.linear(&weight, Epilogue::default()).unwrap().to_f32().unwrap();
    (0..columns).flat_map(|column| (0..channels).map(move |k| (k, column))).map(|(k, c)| y[k * columns + c]).collect()
}

/// More than 65536 values, so that all cores take part; one column in three is zero, and some hold one large value.
#[test]
fn weights_of_every_type_arrive_rounded_once() {
    for gpu in [gpu(), portable_gpu()].into_iter().flatten() {
        let (columns, channels) = (301, 251);
        let mut random = Random(2);
        let mut w = random.vec(columns * channels);
        for (index, column) in w.chunks_mut(channels).enumerate() {
            match index % 3 {
                0 => column.fill(0.0),
                1 => column[index % channels] = 40.0,
                _ => {}
            }
        }
        let halves: Vec<f16> = w.iter().map(|&v| f16::from_f32(v)).collect();
        let brains: Vec<bf16> = w.iter().map(|&v| bf16::from_f32(v)).collect();
        let of_halves: Vec<f32> = halves.iter().map(|v| v.to_f32()).collect();
        let of_brains: Vec<f32> = brains.iter().map(|v| v.to_f32()).collect();
        for (raw, values) in [
            (Raw::F32(bytemuck::cast_slice(&w)), &w),
            (Raw::F16(bytemuck::cast_slice(&halves)), &of_halves),
            (Raw::BF16(bytemuck::cast_slice(&brains)), &of_brains),
        ] {
            let (got, want) = (seen(gpu, columns, channels, raw), rounded(Elem::I8, values, channels));
            let off = got.iter().zip(&want).position(|(got, want)| got != want);
            assert!(off.is_none(), "value {off:?}: {:?}, want {:?}", off.map(|i| got[i]), off.map(|i| want[i]));
        }
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    let Some(gpu) = gpu() else { return };
    for bad in [f32::NAN, f32::INFINITY] {
        let mut w = vec![1.0; 70 * 9];
        w[13 * 9 + 4] = bad;
        let shape = WeightShape { columns: 70, group_channels: 1, kernel: [3, 3], groups: 1 };
        let packed = PackedWeight::pack(gpu, shape, Elem::I8, Raw::F32(bytemuck::cast_slice(&w)), "out_layers.3");
        let error = packed.err().unwrap();
        let text = error.to_string();
        assert!(text.contains("out_layers.3") && text.contains("finite") && text.contains("column 13"), "{text}");
        assert_eq!(error.exit_code(), 4);
    }
    let raw = Raw::F32(&[0; 16]);
    let short = PackedWeight::pack(gpu, WeightShape::linear(2, 3), Elem::I8, raw, "short").err().unwrap().to_string();
    assert!(short.contains("short") && short.contains("6 values"), "{short}");
}

/// Bindings of 32 KiB hold 512 depths of one panel: sums are handed on from one window to the next, over panels, groups and
/// kernel rows. The scale belongs to each part of a sum, everything else to the last.
#[test]
fn parts_of_a_weight_add_up() {
    let restrict = |software: bool| {
        gpu()?;
        there(Gpu::restricted(None, move |capabilities| {
            capabilities.max_binding_bytes = 32 << 10;
            if !software {
                (capabilities.software, capabilities.subgroup_size) = (false, None);
            }
        }))
        .map(prepare)
    };
    for gpu in [restrict(true), restrict(false)].into_iter().flatten() {
        let mut random = Random(4);
        for (rows, group_channels, columns, groups, taps) in
            [(40, 1300, 130, 1, 1), (9, 700, 210, 3, 1), (33, 36, 134, 2, 1), (6, 400, 67, 1, 3), (7, 2052, 3, 1, 1)]
        {
            let channels = group_channels * groups;
            let x = random.vec(rows * channels);
            let w = random.vec(columns * group_channels * taps);
            let (bias, residual) = (random.vec(columns), random.vec(rows * columns));
            let stored = rounded(Elem::I8, &w, group_channels * taps);
            let mut want = Vec::new();
            for row in 0..rows {
                for column in 0..columns {
                    let first = column / (columns / groups) * group_channels;
                    let mut sum = f64::from(bias[column]) + f64::from(residual[row * columns + column]);
                    for tap in 0..taps {
                        let Some(from) = (row + tap).checked_sub(taps / 2).filter(|&from| from < rows) else {
                            continue;
                        };
                        for c in 0..group_channels {
                            let by = stored[(column * group_channels + c) * taps + tap];
                            sum += f64::from(x[from * channels + first + c]) * f64::from(by);
                        }
                    }
                    want.push(sum);
                }
            }
            let shape = WeightShape { columns, group_channels, kernel: [taps, 1], groups };
            let weight = PackedWeight::pack(&gpu, shape, Elem::I8, Raw::F32(bytemuck::cast_slice(&w)), "w").unwrap();
            let tensor = |shape: &[usize], values: &[f32]| Tensor::from_f32(&gpu, shape, values).unwrap();
            let (bias, residual) = (tensor(&[columns], &bias), tensor(&[1, rows, 1, columns], &residual));
            let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), ..Default::default() };
            let geometry = Geometry { stride: 1, pad: [taps / 2, 0], out: [rows, 1], upsample: false };
            let y = tensor(&[1, rows, 1, channels], &x).conv2d(&weight, geometry, epilogue).unwrap();
            check(&format!("{rows} rows, {group_channels} -> {columns}, {groups} groups"), &y, &want, bar(Elem::F32));
        }
    }
}

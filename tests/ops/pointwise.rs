//! pointwise.

use crate::gemm::erf;
use crate::{Random, bar, check, gpu, stored};
use viseme::gpu::Elem;
use viseme::tensor::Tensor;

const LENGTHS: [usize; 7] = [1, 2, 3, 5, 64, 1021, 262_147];

fn gelu(v: f64) -> f64 {
    0.5 * v * (1.0 + erf(v / 2f64.sqrt()))
}

#[test]
fn one_operand() {
    let Some(gpu) = gpu() else { return };
    type Op = fn(&Tensor) -> viseme::Result<Tensor>;
    type Reference = fn(f64) -> f64;
    let ops: [(&str, Op, Reference); 5] = [
        ("silu", |t| t.silu(), |v| v / (1.0 + (-v).exp())),
        ("gelu", |t| t.gelu(), gelu),
        ("affine", |t| t.affine(-1.5, 0.25), |v| -1.5 * v + 0.25),
        ("clamp", |t| t.clamp(-0.5, 1.0), |v| v.clamp(-0.5, 1.0)),
        ("log", |t| t.log_above(0.125), |v| v.max(0.125).ln()),
    ];
    for (name, op, reference) in ops {
        for len in LENGTHS {
            for elem in [Elem::F32, Elem::F16] {
                let values: Vec<f32> = Random(len as u64).vec(len).iter().map(|v| v * 8.0).collect();
                let x = stored(elem, &values);
                let want: Vec<f64> = x.iter().map(|&v| reference(f64::from(v))).collect();
                let y = op(&Tensor::from_values(gpu, &[len], elem, &x).unwrap()).unwrap();
                check(&format!("{name} {len} {elem:?}"), &y, &want, bar(elem));
            }
        }
    }
}

#[test]
fn cast_rounds_to_nearest_even() {
    let Some(gpu) = gpu() else { return };
    for len in LENGTHS {
        let x = Random(8).vec(len);
        let rounded = stored(Elem::F16, &x);
        let want: Vec<f64> = rounded.iter().map(|&v| f64::from(v)).collect();
        let half = Tensor::from_f32(gpu, &[len], &x).unwrap().cast(Elem::F16).unwrap();
        check(&format!("{len} to f16"), &half, &want, 0.0);
        check(&format!("{len} to f32"), &half.cast(Elem::F32).unwrap(), &want, 0.0);
    }
}

#[test]
fn extremes_stay_what_they_are() {
    let Some(gpu) = gpu() else { return };
    let x = [0.0, -0.0, 65_504.0, -65_504.0, 6.0e-8, 1.0];
    let x = Tensor::from_values(gpu, &[6], Elem::F16, &x).unwrap();
    check("silu", &x.silu().unwrap(), &[0.0, 0.0, 65_504.0, 0.0, 2.98e-8, 0.731_058_6], 1e-3);
    check("gelu", &x.gelu().unwrap(), &[0.0, 0.0, 65_504.0, 0.0, 2.98e-8, 0.841_344_7], 1e-3);
}

#[test]
fn two_operands() {
    let Some(gpu) = gpu() else { return };
    for len in LENGTHS {
        for elem in [Elem::F32, Elem::F16] {
            let mut random = Random(len as u64);
            let (x, y) = (stored(elem, &random.vec(len)), stored(elem, &random.vec(len)));
            let want: Vec<f64> = x.iter().zip(&y).map(|(&x, &y)| 2.0 * f64::from(x) - 0.5 * f64::from(y)).collect();
            let tensor = |v: &[f32]| Tensor::from_values(gpu, &[len], elem, v).unwrap();
            check(
                &format!("add_scaled {len}"),
                &tensor(&x).add_scaled(2.0, &tensor(&y), -0.5).unwrap(),
                &want,
                bar(elem),
            );
        }
    }
}

#[test]
fn tables_by_run() {
    let Some(gpu) = gpu() else { return };
    for [rows, inner, channels] in [[1, 1, 1], [3, 5, 7], [2, 9, 16], [14, 64, 32], [5, 1, 3], [2, 70_000, 4]] {
        for elem in [Elem::F32, Elem::F16] {
            let case = format!("{rows}x{inner}x{channels} {elem:?}");
            let mut random = Random(rows as u64);
            let len = rows * inner * channels;
            let (x, y) = (stored(elem, &random.vec(len)), stored(elem, &random.vec(len)));
            let (weight, table) = (random.vec(rows), random.vec(rows * channels));
            let tensor = |v: &[f32]| Tensor::from_values(gpu, &[rows, inner, channels], elem, v).unwrap();
            let run = inner * channels;

            let blended = |i: usize| {
                let w = f64::from(weight[i / run]);
                w * f64::from(x[i]) + (1.0 - w) * f64::from(y[i])
            };
            let got = tensor(&x).blend(&tensor(&y), &Tensor::from_f32(gpu, &[rows], &weight).unwrap()).unwrap();
            check(&format!("blend {case}"), &got, &(0..len).map(blended).collect::<Vec<_>>(), bar(elem));

            let added = |i: usize| f64::from(x[i]) + f64::from(table[i / run * channels + i % channels]);
            let got = tensor(&x).add_per_frame(&Tensor::from_f32(gpu, &[rows, channels], &table).unwrap()).unwrap();
            check(&format!("add_per_frame {case}"), &got, &(0..len).map(added).collect::<Vec<_>>(), bar(elem));
        }
    }
}

#[test]
fn prelu_has_a_slope_for_each_channel() {
    let Some(gpu) = gpu() else { return };
    for (rows, channels) in [(1, 1), (3, 5), (37, 16), (4099, 64)] {
        for elem in [Elem::F32, Elem::F16] {
            let mut random = Random(channels as u64);
            let (x, slope) = (stored(elem, &random.vec(rows * channels)), random.vec(channels));
            let mut want = Vec::new();
            for (i, &v) in x.iter().enumerate() {
                let v = f64::from(v);
                want.push(if v < 0.0 { v * f64::from(slope[i % channels]) } else { v });
            }
            let tensor = Tensor::from_values(gpu, &[rows, channels], elem, &x).unwrap();
            let y = tensor.prelu(&Tensor::from_f32(gpu, &[channels], &slope).unwrap()).unwrap();
            check(&format!("{rows} x {channels} {elem:?}"), &y, &want, bar(elem));
            assert!(tensor.prelu(&Tensor::zeros(gpu, &[channels + 1], Elem::F32).unwrap()).is_err());
        }
    }
}

//! concat_channels and slice_rows, exactly.

use crate::{Random, check, gpu, stored};
use viseme::gpu::Elem;
use viseme::tensor::Tensor;

#[test]
fn concat_channels() {
    let Some(gpu) = gpu() else { return };
    for (rows, widths) in
        [(1, vec![1, 1]), (5, vec![4, 4, 1]), (3, vec![3, 2]), (33, vec![32, 64]), (40_000, vec![4, 4])]
    {
        for elem in [Elem::F32, Elem::F16] {
            let mut random = Random(6);
            let parts: Vec<Vec<f32>> = widths.iter().map(|w| stored(elem, &random.vec(rows * w))).collect();
            let mut want = Vec::new();
            for row in 0..rows {
                for (part, w) in parts.iter().zip(&widths) {
                    want.extend(part[row * w..(row + 1) * w].iter().map(|&v| f64::from(v)));
                }
            }
            let tensors: Vec<Tensor> = parts
                .iter()
                .zip(&widths)
                .map(|(p, w)| Tensor::from_values(gpu, &[rows, *w], elem, p).unwrap())
                .collect();
            let y = Tensor::concat_channels(&tensors.iter().collect::<Vec<_>>()).unwrap();
            check(&format!("{rows} rows of {widths:?} {elem:?}"), &y, &want, 0.0);
        }
    }
}

#[test]
fn slices_repeats_and_stacks() {
    let Some(gpu) = gpu() else { return };
    for [rows, channels, start, len] in [[1, 1, 0, 1], [7, 9, 4, 5], [3, 8, 4, 4], [5, 3, 1, 1], [30_000, 12, 8, 4]] {
        for elem in [Elem::F32, Elem::F16] {
            let case = format!("{rows}x{channels} {start}+{len} {elem:?}");
            let values = stored(elem, &Random(7).vec(rows * channels));
            let x = Tensor::from_values(gpu, &[rows, channels], elem, &values).unwrap();
            let row = |r: usize| values[r * channels..(r + 1) * channels].iter().map(|&v| f64::from(v));

            let want: Vec<f64> = (0..rows).flat_map(|r| row(r).skip(start).take(len)).collect();
            check(&format!("slice {case}"), &x.slice_channels(start, len).unwrap(), &want, 0.0);
            let want: Vec<f64> = (0..rows).flat_map(|r| row(r).chain(row(r)).chain(row(r))).collect();
            check(&format!("repeat {case}"), &x.repeat_rows(3).unwrap(), &want, 0.0);

            let (first, count) = (rows / 3, rows - rows / 2);
            let want: Vec<f64> = (first..first + count).flat_map(row).collect();
            let narrow = x.narrow_rows(first, count).unwrap();
            assert_eq!(
                narrow.to_f32().unwrap().iter().map(|&v| f64::from(v)).collect::<Vec<_>>(),
                want,
                "narrow {case}"
            );
            let want: Vec<f64> = (0..rows).flat_map(row).chain(want).collect();
            check(&format!("stack {case}"), &Tensor::stack_rows(&[&x, &narrow]).unwrap(), &want, 0.0);
        }
    }
}

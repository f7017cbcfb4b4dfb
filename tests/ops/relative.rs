//! relative_bias and relative_gate.

use crate::{Random, bar, check, gpu};
use viseme::gpu::Elem;
use viseme::tensor::Tensor;

#[test]
fn relative_bias() {
    let Some(gpu) = gpu() else { return };
    for (heads, tokens) in [(1, 1), (3, 2), (2, 5), (12, 49), (4, 257)] {
        let table = Random(9).vec(heads * (2 * tokens - 1));
        let mut want = Vec::new();
        for h in 0..heads {
            for q in 0..tokens {
                for k in 0..tokens {
                    want.push(f64::from(table[h * (2 * tokens - 1) + k + tokens - 1 - q]));
                }
            }
        }
        let y = Tensor::from_f32(gpu, &[heads, 2 * tokens - 1], &table).unwrap().relative_bias().unwrap();
        check(&format!("{heads}x{tokens}"), &y, &want, 0.0);
    }
}

#[test]
fn relative_gate() {
    let Some(gpu) = gpu() else { return };
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    for (heads, tokens) in [(1, 1), (3, 2), (12, 49), (4, 257)] {
        let mut random = Random(10);
        let (x, scale) = (random.vec(tokens * heads * 8), random.vec(heads));
        let mut want = Vec::new();
        for h in 0..heads {
            for t in 0..tokens {
                let sum = |from: usize| (0..4).map(|j| f64::from(x[(t * heads + h) * 8 + from + j])).sum::<f64>();
                want.push(sigmoid(sum(0)) * (sigmoid(sum(4)) * f64::from(scale[h]) - 1.0) + 2.0);
            }
        }
        let scale = Tensor::from_f32(gpu, &[heads], &scale).unwrap();
        let y = Tensor::from_f32(gpu, &[tokens, heads, 8], &x).unwrap().relative_gate(&scale).unwrap();
        check(&format!("{heads}x{tokens}"), &y, &want, bar(Elem::F32));
    }
}

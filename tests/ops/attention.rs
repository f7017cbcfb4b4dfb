//! Attention in its kernels: attention_subgroup, attention_tiled, attention_few for problems of few keys, and, emulated,
//! attention_cooperative.

use crate::{Random, bar, check, gpu, matrix_gpu, portable_gpu, stored};
use std::sync::OnceLock;
use viseme::gpu::{Elem, Gpu};
use viseme::ops::{Attend, Bias, Rows};
use viseme::tensor::Tensor;

/// Rows of `[.., width]` values: where the row of (batch, token) begins.
pub struct Side<'a> {
    pub values: &'a [f32],
    pub width: usize,
    pub column: usize,
    pub row: &'a dyn Fn(usize, usize) -> usize,
}

impl Side<'_> {
    fn at(&self, batch: usize, token: usize, c: usize) -> f64 {
        f64::from(self.values[(self.row)(batch, token) * self.width + self.column + c])
    }
}

pub struct Size {
    pub batches: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub queries: usize,
    pub keys: usize,
}

/// out = softmax(q k^T * scale + extra) v, in rows laid out as q's; `extra(batch, head, query, key)`.
pub fn reference(
    size: &Size,
    q: &Side,
    k: &Side,
    v: &Side,
    scale: f32,
    extra: &dyn Fn(usize, usize, usize, usize) -> f64,
) -> Vec<f64> {
    let width = size.heads * size.head_dim;
    let mut out = vec![0.0; size.batches * size.queries * width];
    for b in 0..size.batches {
        for h in 0..size.heads {
            for i in 0..size.queries {
                let mut scores = Vec::new();
                for j in 0..size.keys {
                    let mut dot = 0.0;
                    for c in h * size.head_dim..(h + 1) * size.head_dim {
                        dot += q.at(b, i, c) * k.at(b, j, c);
                    }
                    scores.push(dot * f64::from(scale) + extra(b, h, i, j));
                }
                let most = scores.iter().cloned().fold(f64::MIN, f64::max);
                let mut sum = 0.0;
                for score in &scores {
                    sum += (score - most).exp();
                }
                for (j, score) in scores.iter().enumerate() {
                    let p = (score - most).exp() / sum;
                    for c in h * size.head_dim..(h + 1) * size.head_dim {
                        out[(q.row)(b, i) * width + c] += p * v.at(b, j, c);
                    }
                }
            }
        }
    }
    out
}

/// The device as it is, without subgroups, with bindings so small that every operand is cut up, and with matrices emulated.
fn devices() -> impl Iterator<Item = &'static Gpu> {
    static NARROW: OnceLock<Option<Gpu>> = OnceLock::new();
    let narrow =
        || gpu().and_then(|_| Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = 16 << 10).ok());
    let narrow = NARROW.get_or_init(|| narrow().map(crate::prepare)).as_ref();
    [gpu(), portable_gpu(), narrow, matrix_gpu(16), matrix_gpu(8)].into_iter().flatten()
}

pub fn none(_: usize, _: usize, _: usize, _: usize) -> f64 {
    0.0
}

pub struct Made {
    pub values: Vec<f32>,
    pub tensor: Tensor,
}

pub fn make(gpu: &Gpu, random: &mut Random, shape: &[usize], elem: Elem, factor: f32) -> Made {
    let values: Vec<f32> = random.vec(shape.iter().product()).iter().map(|v| v * factor).collect();
    let values = stored(elem, &values);
    Made { tensor: Tensor::from_values(gpu, shape, elem, &values).unwrap(), values }
}

/// Element types that differ in their kernel: with matrices f32 runs as it does without.
fn elems(gpu: &Gpu) -> &'static [Elem] {
    if gpu.capabilities().matrices.is_some() { &[Elem::F16] } else { &[Elem::F32, Elem::F16] }
}

#[test]
fn spatial_self_attention_reads_one_fused_projection() {
    for gpu in devices() {
        let mut random = Random(1);
        let sizes = [
            (1, 1, 1, 4),
            (2, 1, 2, 8),
            (3, 17, 3, 12),
            (1, 64, 1, 64),
            (2, 131, 2, 16),
            (1, 300, 2, 64),
            (5, 33, 1, 40),
            (1, 50, 1, 80),
            (1, 35, 2, 160),
        ];
        for (batches, tokens, heads, head_dim) in sizes {
            for &elem in elems(gpu) {
                let case = format!("{batches} x {tokens} tokens, {heads} heads of {head_dim}, {elem:?}");
                let channels = heads * head_dim;
                let qkv = make(gpu, &mut random, &[batches, tokens, 3 * channels], elem, 1.0);
                let row = |b, t| b * tokens + t;
                let side = |column| Side { values: &qkv.values, width: 3 * channels, column, row: &row };
                let size = Size { batches, heads, head_dim, queries: tokens, keys: tokens };
                let scale = (head_dim as f32).powf(-0.5);
                let want = reference(&size, &side(0), &side(channels), &side(2 * channels), scale, &none);
                let rows = Rows::of(&qkv.tensor).unwrap();
                let (k, v) = (rows.column(channels), rows.column(2 * channels));
                let out = Attend { q: rows, k, v, heads, head_dim, scale, bias: None }.run().unwrap();
                out.expect(&case, &[batches, tokens, channels]).unwrap();
                check(&case, &out, &want, bar(elem));
            }
        }
    }
}

#[test]
fn spatial_cross_attention_shares_a_clips_context() {
    for gpu in devices() {
        let mut random = Random(2);
        for (clips, frames, tokens, context, heads, head_dim) in [
            (1, 1, 1, 1, 1, 4),
            (2, 3, 5, 14, 2, 8),
            (3, 2, 67, 1, 1, 64),
            (2, 14, 9, 14, 5, 64),
            (1, 2, 33, 77, 2, 16),
        ] {
            for &elem in elems(gpu) {
                let case = format!(
                    "{clips} clips x {frames} x {tokens}, context {context}, {heads} heads of {head_dim}, {elem:?}"
                );
                let channels = heads * head_dim;
                let q = make(gpu, &mut random, &[clips * frames, tokens, channels], elem, 1.0);
                let k = make(gpu, &mut random, &[clips, context, channels], elem, 1.0);
                let v = make(gpu, &mut random, &[clips, context, channels], elem, 1.0);
                let row = |b, t| b * tokens + t;
                let shared = |b, t| b / frames * context + t;
                let size = Size { batches: clips * frames, heads, head_dim, queries: tokens, keys: context };
                let scale = (head_dim as f32).powf(-0.5);
                let want = reference(
                    &size,
                    &Side { values: &q.values, width: channels, column: 0, row: &row },
                    &Side { values: &k.values, width: channels, column: 0, row: &shared },
                    &Side { values: &v.values, width: channels, column: 0, row: &shared },
                    scale,
                    &none,
                );
                let out = Attend {
                    q: Rows::of(&q.tensor).unwrap(),
                    k: Rows::of(&k.tensor).unwrap().shared_by(frames),
                    v: Rows::of(&v.tensor).unwrap().shared_by(frames),
                    heads,
                    head_dim,
                    scale,
                    bias: None,
                };
                check(&case, &out.run().unwrap(), &want, bar(elem));
            }
        }
    }
}

#[test]
fn temporal_attention_runs_over_frames_in_place() {
    for gpu in devices() {
        let mut random = Random(3);
        for (clips, frames, positions, heads, head_dim) in [
            (1, 1, 1, 1, 4),
            (2, 2, 3, 2, 8),
            (2, 14, 37, 5, 64),
            (1, 14, 300, 2, 16),
            (3, 5, 7, 1, 12),
            (1, 37, 4, 1, 20),
        ] {
            for &elem in elems(gpu) {
                let case =
                    format!("{clips} clips x {frames} frames x {positions}, {heads} heads of {head_dim}, {elem:?}");
                let channels = heads * head_dim;
                let qkv = make(gpu, &mut random, &[clips, frames, positions, 3 * channels], elem, 1.0);
                let row = |b: usize, t| (b / positions * frames + t) * positions + b % positions;
                let side = |column| Side { values: &qkv.values, width: 3 * channels, column, row: &row };
                let size = Size { batches: clips * positions, heads, head_dim, queries: frames, keys: frames };
                let scale = (head_dim as f32).powf(-0.5);
                let want = reference(&size, &side(0), &side(channels), &side(2 * channels), scale, &none);
                let rows = Rows::over_frames(&qkv.tensor).unwrap();
                let (k, v) = (rows.column(channels), rows.column(2 * channels));
                let out = Attend { q: rows, k, v, heads, head_dim, scale, bias: None }.run().unwrap();
                out.expect(&case, &[clips, frames, positions, channels]).unwrap();
                check(&case, &out, &want, bar(elem));
            }
        }
    }
}

#[test]
fn temporal_cross_attention_shares_a_clips_context() {
    for gpu in devices() {
        let mut random = Random(4);
        for (clips, frames, positions, context, heads, head_dim) in
            [(1, 1, 1, 1, 1, 4), (2, 14, 11, 14, 2, 64), (3, 4, 65, 2, 1, 16)]
        {
            for &elem in elems(gpu) {
                let case = format!(
                    "{clips} clips x {frames} frames x {positions}, context {context}, {heads} heads of {head_dim}, {elem:?}"
                );
                let channels = heads * head_dim;
                let q = make(gpu, &mut random, &[clips, frames, positions, channels], elem, 1.0);
                let kv = make(gpu, &mut random, &[clips, context, 2 * channels], elem, 1.0);
                let row = |b: usize, t| (b / positions * frames + t) * positions + b % positions;
                let shared = |b, t| b / positions * context + t;
                let size = Size { batches: clips * positions, heads, head_dim, queries: frames, keys: context };
                let scale = (head_dim as f32).powf(-0.5);
                let want = reference(
                    &size,
                    &Side { values: &q.values, width: channels, column: 0, row: &row },
                    &Side { values: &kv.values, width: 2 * channels, column: 0, row: &shared },
                    &Side { values: &kv.values, width: 2 * channels, column: channels, row: &shared },
                    scale,
                    &none,
                );
                let context = Rows::of(&kv.tensor).unwrap().shared_by(positions);
                let q = Rows::over_frames(&q.tensor).unwrap();
                let out = Attend { q, k: context, v: context.column(channels), heads, head_dim, scale, bias: None };
                check(&case, &out.run().unwrap(), &want, bar(elem));
            }
        }
    }
}

/// One head of 512 (the VAE), long rows, and heads that are no multiple of 4, which are f32 only.
#[test]
fn odd_and_large_heads() {
    for gpu in devices() {
        let mut random = Random(5);
        let sizes = [
            (1, 45, 1, 512, Elem::F32),
            (1, 45, 1, 512, Elem::F16),
            (2, 9, 2, 132, Elem::F32),
            (2, 19, 3, 7, Elem::F32),
            (1, 5, 1, 1, Elem::F32),
        ];
        for (batches, tokens, heads, head_dim, elem) in sizes {
            let case = format!("{batches} x {tokens}, {heads} heads of {head_dim}, {elem:?}");
            let width = heads * head_dim;
            let [q, k, v] = [(); 3].map(|_| make(gpu, &mut random, &[batches, tokens, width], elem, 1.0));
            let row = |b, t| b * tokens + t;
            let side = |made: &'static str| match made {
                "q" => Side { values: &q.values, width, column: 0, row: &row },
                "k" => Side { values: &k.values, width, column: 0, row: &row },
                _ => Side { values: &v.values, width, column: 0, row: &row },
            };
            let size = Size { batches, heads, head_dim, queries: tokens, keys: tokens };
            let scale = (head_dim as f32).powf(-0.5);
            let want = reference(&size, &side("q"), &side("k"), &side("v"), scale, &none);
            let [q, k, v] = [&q, &k, &v].map(|made| Rows::of(&made.tensor).unwrap());
            let out = Attend { q, k, v, heads, head_dim, scale, bias: None }.run().unwrap();
            check(&case, &out, &want, bar(elem));
        }
    }
}

#[test]
fn a_bias_is_weighed_by_its_gate() {
    for gpu in devices() {
        let mut random = Random(6);
        for (batches, tokens, heads, head_dim) in [(1, 1, 1, 4), (1, 99, 12, 64), (2, 47, 3, 8), (3, 13, 2, 16)] {
            for &elem in elems(gpu) {
                let case = format!("{batches} x {tokens} tokens, {heads} heads of {head_dim}, {elem:?}");
                let width = heads * head_dim;
                let [q, k, v] = [(); 3].map(|_| make(gpu, &mut random, &[batches, tokens, width], elem, 1.0));
                let table = make(gpu, &mut random, &[heads, tokens, tokens], Elem::F32, 3.0);
                let gate = make(gpu, &mut random, &[batches, heads, tokens], Elem::F32, 2.0);
                let row = |b, t| b * tokens + t;
                let extra = |b: usize, h: usize, i: usize, j: usize| {
                    f64::from(gate.values[(b * heads + h) * tokens + i])
                        * f64::from(table.values[(h * tokens + i) * tokens + j])
                };
                let size = Size { batches, heads, head_dim, queries: tokens, keys: tokens };
                let want = reference(
                    &size,
                    &Side { values: &q.values, width, column: 0, row: &row },
                    &Side { values: &k.values, width, column: 0, row: &row },
                    &Side { values: &v.values, width, column: 0, row: &row },
                    0.125,
                    &extra,
                );
                let [q, k, v] = [&q, &k, &v].map(|made| Rows::of(&made.tensor).unwrap());
                let bias = Some(Bias { table: &table.tensor, gate: &gate.tensor });
                let out = Attend { q, k, v, heads, head_dim, scale: 0.125, bias }.run().unwrap();
                check(&case, &out, &want, bar(elem));
            }
        }
    }
}

/// Scores of 50 times a product in [-1, 1] and beyond: exp would overflow without the maximum. f32 holds such a score to
/// about 4e-6, and that is the relative error of its probability.
#[test]
fn large_scores_do_not_overflow() {
    for gpu in devices() {
        let mut random = Random(7);
        for (tokens, factor) in [(40, 7.0), (133, 7.0), (9, 40.0)] {
            let elem = elems(gpu)[0];
            let [q, k, v] = [factor, factor, 1.0].map(|f| make(gpu, &mut random, &[1, tokens, 64], elem, f));
            let row = |_, t| t;
            let size = Size { batches: 1, heads: 4, head_dim: 16, queries: tokens, keys: tokens };
            let side = |values| Side { values, width: 64, column: 0, row: &row };
            let want = reference(&size, &side(&q.values), &side(&k.values), &side(&v.values), 1.0, &none);
            let [q, k, v] = [&q, &k, &v].map(|made| Rows::of(&made.tensor).unwrap());
            let out = Attend { q, k, v, heads: 4, head_dim: 16, scale: 1.0, bias: None }.run().unwrap();
            check(
                &format!("{tokens} tokens times {factor}"),
                &out,
                &want,
                bar(elem).max(if factor > 10.0 { 3e-4 } else { 1e-5 }),
            );
        }
    }
}

#[test]
fn equal_scores_give_the_mean_of_the_values() {
    for gpu in devices() {
        for (score, tokens) in [(0.0, 75), (25.0, 75), (-25.0, 14)] {
            let tensor = |values: &[f32]| Tensor::from_values(gpu, &[2, tokens, 8], elems(gpu)[0], values).unwrap();
            let (q, k) = (tensor(&vec![score; 2 * tokens * 8]), tensor(&vec![0.5; 2 * tokens * 8]));
            let v: Vec<f32> = (0..2 * tokens * 8).map(|i| (i / 8 % tokens) as f32).collect();
            let v = tensor(&v);
            let [q, k, v] = [&q, &k, &v].map(|tensor| Rows::of(tensor).unwrap());
            let out = Attend { q, k, v, heads: 2, head_dim: 4, scale: 0.5, bias: None }.run().unwrap();
            check(&format!("score {score}"), &out, &vec![(tokens - 1) as f64 / 2.0; 2 * tokens * 8], 1e-6);
        }
    }
}

#[test]
fn misfits_are_errors() {
    for gpu in devices() {
        let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape, Elem::F32).unwrap();
        let (q, k, three, halves) = (
            zeros(&[4, 5, 8]),
            zeros(&[4, 7, 8]),
            zeros(&[3, 7, 8]),
            Tensor::zeros(gpu, &[4, 5, 6], Elem::F16).unwrap(),
        );
        let attend = |q, k, v, head_dim| Attend { q, k, v, heads: 2, head_dim, scale: 1.0, bias: None }.run();
        let [q, k, three, halves] = [&q, &k, &three, &halves].map(|tensor| Rows::of(tensor).unwrap());
        assert!(attend(q, k, k, 4).is_ok());
        assert!(attend(q, k, k, 5).is_err(), "heads wider than a row");
        assert!(attend(q, k, q, 4).is_err(), "k and v of different lengths");
        assert!(attend(q, three, three, 4).is_err(), "batches that do not fit");
        assert!(attend(q, three.shared_by(2), three.shared_by(2), 4).is_err(), "shared batches that do not fit");
        assert!(attend(halves, halves, halves, 3).is_err(), "f16 heads that begin within a pair");
    }
}

//! ceiling: what it computes shows that no multiply-add was left out.

use crate::{Random, check, gpu, portability};
use viseme::gpu::{Elem, Variant};
use viseme::ops::{Arithmetic, Chains, KERNELS};
use viseme::tensor::Tensor;

/// Groups of four elements: one, odd, a workgroup and one more, more than a row of workgroups.
const QUADS: [usize; 4] = [1, 63, 65, 65_536 * 64 + 1];

/// `chains` accumulators from 0, step by step.
fn reference(chains: &Chains) -> f64 {
    let mut v = 0.0;
    for _ in 0..chains.rounds * Chains::STEPS {
        v = match chains.arithmetic {
            Arithmetic::Matrix(side) => v + f64::from(side) * f64::from(chains.scale) * f64::from(chains.shift),
            _ => f64::from(chains.scale) * v + f64::from(chains.shift),
        };
    }
    f64::from(chains.chains) * v
}

fn compare(chains: Chains, quads: usize, bar: f64) {
    let Some(gpu) = gpu() else { return };
    let y = chains.run(gpu, quads).unwrap();
    check(&format!("{chains:?}, {quads}"), &y, &vec![reference(&chains); 4 * quads], bar);
}

#[test]
fn every_step_counts() {
    let Some(gpu) = gpu() else { return };
    for arithmetic in [Arithmetic::F32, Arithmetic::F16, Arithmetic::Matrix(8), Arithmetic::Matrix(16)] {
        if let Err(error) = Chains::supported(gpu, arithmetic) {
            eprintln!("skipped: {error}");
            continue;
        }
        for chains in [1, 3, 8] {
            // Whole numbers below 2048: f16 holds each of them, so that one step more or less shows.
            for rounds in [0, 1, 7] {
                compare(Chains { arithmetic, chains, rounds, scale: 1.0, shift: 1.0 }, 65, 0.0);
            }
        }
        for quads in &QUADS[..3] {
            compare(Chains { arithmetic, chains: 2, rounds: 2, scale: 0.75, shift: 0.5 }, *quads, 1e-3);
        }
    }
    compare(Chains { arithmetic: Arithmetic::F32, chains: 1, rounds: 1, scale: 1.0, shift: 1.0 }, QUADS[3], 0.0);
}

#[test]
fn copies_are_equal() {
    let Some(gpu) = gpu() else { return };
    for len in [1, 2, 5, 255, 257, 4 * QUADS[3] - 1] {
        let values = Random(len as u64).vec(len);
        let x = Tensor::from_f32(gpu, &[len], &values).unwrap();
        let want: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        check(&format!("kernel {len}"), &x.copied().unwrap(), &want, 0.0);
        assert_eq!(x.copied_by_command().unwrap().to_f32().unwrap(), values, "command {len}");
    }
}

#[test]
fn idle_dispatches_touch_nothing() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::from_f32(gpu, &[256], &[1.0; 256]).unwrap();
    let y = x.idle_dispatches(3).unwrap();
    assert!(y.to_bytes().unwrap().iter().all(|&byte| byte == 0xff), "the poison is still there");
}

#[test]
fn matrix_variants_are_portable() {
    let kernel = KERNELS.iter().find(|kernel| kernel.name == "ceiling").unwrap();
    for side in [8, 16] {
        let constants = vec![("WORKGROUP", 32), ("HALF", 0), ("MATRIX", side), ("CHAINS", 8), ("STEPS", Chains::STEPS)];
        portability::check(kernel, &Variant { kernel: kernel.name, constants, elems: vec![Elem::F32] });
    }
}

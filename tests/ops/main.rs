//! Each kernel against a plain loop over awkward sizes, in f64 inside. One module per kernel.

mod attention;
mod ceiling;
mod composite;
mod cooperative;
mod cut;
#[path = "../common/device.rs"]
mod device;
mod fbank;
mod gemm;
mod group_norm;
mod int8;
mod landmark_windows;
mod layer_norm;
mod layout;
mod mask;
mod max_pool;
mod measure;
mod overlap_merge;
mod philox;
mod pointwise;
mod portability;
mod relative;
mod resample;
mod rgb;
mod sample;
mod sampling;
mod seam;
mod separable;
mod variants;
mod warp;
#[path = "../common/watched.rs"]
mod watched;
mod winograd;

use device::there;
use half::f16;
use std::sync::OnceLock;
use viseme::gpu::{Elem, Gpu, Matrices};
use viseme::tensor::Tensor;

/// The device that all tests share, its allocations poisoned with NaN; None, said once, where there is none.
/// `VISEME_REQUIRE_GPU=1` makes that a failure.
pub fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| there(Gpu::new(None)).map(prepare)).as_ref()
}

/// The same device taken for a GPU without subgroups: other variants run.
pub fn portable_gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    gpu()?;
    GPU.get_or_init(|| {
        let as_a_gpu = |capabilities: &mut viseme::gpu::Capabilities| {
            capabilities.subgroup_size = None;
            capabilities.software = false;
        };
        Gpu::restricted(None, as_a_gpu).ok().map(prepare)
    })
    .as_ref()
}

/// The same device taken for a GPU with cooperative matrices of side `edge`, 16 or 8, which plain loops stand in for. Each variant
/// that runs on it is held to naga with the matrices themselves, too. None, said, where shaders have no f16.
pub fn matrix_gpu(edge: u32) -> Option<&'static Gpu> {
    static GPUS: [OnceLock<Option<Gpu>>; 2] = [OnceLock::new(), OnceLock::new()];
    GPUS[usize::from(edge == 8)].get_or_init(|| emulating(edge).map(prepare)).as_ref()
}

pub fn emulating(edge: u32) -> Option<Gpu> {
    if !gpu()?.capabilities().shader_f16 {
        eprintln!("skipped: no f16 in shaders to emulate cooperative matrices with");
        return None;
    }
    // lavapipe promises 32 KiB of workgroup memory and takes what it is given: with 48 the larger tiles run, too.
    let roomy = edge == 16 && gpu()?.capabilities().software;
    let with_matrices = |capabilities: &mut viseme::gpu::Capabilities| {
        if roomy {
            capabilities.max_workgroup_bytes = 48 << 10;
        }
        capabilities.subgroup_size = None;
        capabilities.software = false;
        capabilities.matrices = Some(Matrices { edge, emulated: true });
    };
    there(Gpu::restricted(None, with_matrices))
}

fn prepare(gpu: Gpu) -> Gpu {
    gpu.poison_allocations().expect("poison");
    gpu.inspect_variants(Box::new(portability::check));
    gpu
}

/// Reproducible values: splitmix64, uniform in [-1, 1).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.uniform()).collect()
    }
}

/// `values` as they are stored in `elem`: what a reference must start from.
pub fn stored(elem: Elem, values: &[f32]) -> Vec<f32> {
    match elem {
        Elem::F16 => values.iter().map(|&v| f16::from_f32(v).to_f32()).collect(),
        _ => values.to_vec(),
    }
}

/// Relative L2 bar of a result stored in `elem`.
pub fn bar(elem: Elem) -> f64 {
    if elem == Elem::F16 { 1e-3 } else { 2e-6 }
}

/// Fails unless every element of `got` was written, is finite and agrees with `want` within `bar`
/// (relative L2, and 40 times that for the worst element against the largest value), and nothing behind it was touched.
pub fn check(case: &str, got: &Tensor, want: &[f64], bar: f64) {
    let values = got.to_f32().expect(case);
    assert_eq!(values.len(), want.len(), "{case}: length");
    let (mut error, mut norm, mut largest, mut worst) = (0.0, 0.0, 0.0f64, (0, 0.0));
    for (i, (&g, &w)) in values.iter().zip(want).enumerate() {
        let g = f64::from(g);
        assert!(g.is_finite(), "{case}: element {i} is {g}, want {w}: not written?");
        error += (g - w) * (g - w);
        norm += w * w;
        largest = largest.max(w.abs());
        if (g - w).abs() > worst.1 {
            worst = (i, (g - w).abs());
        }
    }
    let relative = (error / norm.max(1e-30)).sqrt();
    let (i, distance) = worst;
    let at = format!("worst at {i}: got {} want {}", values[i.min(values.len() - 1)], want[i.min(want.len() - 1)]);
    assert!(relative <= bar, "{case}: relative L2 {relative:.2e} > {bar:.0e}; {at}");
    assert!(distance <= 40.0 * bar * largest.max(1e-30), "{case}: {at}, relative L2 {relative:.2e}");
    let behind = got.bytes_behind().expect(case);
    assert!(behind.iter().all(|&b| b == 0xff), "{case}: wrote behind its output");
}

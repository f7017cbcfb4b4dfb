//! Operations that are cut into several dispatches, so that none takes long, give the same bits as in one.

use crate::{emulating, gpu, there};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use viseme::bench::{Case, cases};
use viseme::gpu::{Capabilities, Elem, Gpu, LONGEST_S, Rate};
use viseme::ops::{ConvClass, Epilogue, Geometry, KERNELS, PackedWeight, Raw, WeightShape};
use viseme::tensor::Tensor;

/// Whether cases are whole unless a test cuts them; said where bindings do.
fn are_whole() -> bool {
    let is_large = gpu().is_some_and(|gpu| gpu.capabilities().max_binding_bytes >= 32 << 20);
    if !is_large {
        eprintln!("skipped: bindings smaller than what is cut");
    }
    is_large
}

/// Whether eight invocations work side by side, as kernels of subgroups need it.
fn has_lanes() -> bool {
    gpu().is_some_and(|gpu| gpu.capabilities().subgroup_size.is_some_and(|lanes| lanes >= 8))
}

/// Names of the kernels that a device runs from now on.
fn watched(gpu: &Gpu) -> Arc<Mutex<BTreeSet<&'static str>>> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let record = seen.clone();
    gpu.inspect_variants(Box::new(move |_, variant| {
        record.lock().unwrap().insert(variant.kernel);
    }));
    seen
}

/// Fails unless `run` gives the same bits in one and in several dispatches for each of its operations.
fn same_bits(name: &str, gpu: &Gpu, run: &dyn Fn() -> viseme::Result<Tensor>) {
    // Nothing is cut for its length.
    gpu.set_rate(Rate { flops: f64::INFINITY, bytes: f64::INFINITY });
    let ended = |parts: usize| {
        gpu.cut_into(parts);
        let before = gpu.dispatches();
        let bytes = run().and_then(|y| y.to_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        (bytes, gpu.dispatches() - before)
    };
    let (whole, few) = ended(1);
    let (cut, many) = ended(7);
    assert!(many > few, "{name}: {few} dispatches whole, {many} cut");
    assert!(whole == cut, "{name}: other bits where it is cut");
    gpu.cut_into(1);
}

/// The kernels of `wanted` cases on a device restricted so, each with the same bits whole and cut.
fn cut(wanted: fn(&Case) -> bool, restrict: fn(&mut Capabilities)) -> BTreeSet<&'static str> {
    let Some(gpu) = there(Gpu::restricted(None, restrict)) else { return BTreeSet::new() };
    let seen = watched(&gpu);
    for case in cases().iter().filter(|case| wanted(case)) {
        let prepared = case.prepare(&gpu).unwrap();
        same_bits(&format!("{} {}", case.name, case.shape), &gpu, &|| prepared.run());
        drop(prepared);
        gpu.trim().unwrap();
    }
    seen.lock().unwrap().clone()
}

/// Too much arithmetic for a test, of kernels that other cases run at other shapes.
fn is_quick(case: &Case) -> bool {
    let slow = ["2048 x 1280", "14336 x 320 x", "14x32x32x320", "14x32x32x640", "14x4x4x1280", "14 x 1024, 5"];
    !slow.iter().any(|shape| case.shape.contains(shape)) || case.name == "conv 3x1, F(4,3)"
}

/// More than the one workgroup that nothing can be cut from.
fn has_parts(case: &Case) -> bool {
    case.name != "landmark_windows" && !(case.name == "separable" && case.shape.starts_with("5x4x4x128"))
}

#[test]
fn every_kernel_gives_the_same_bits_in_parts() {
    if !are_whole() {
        return;
    }
    if !has_lanes() {
        eprintln!("skipped: every kernel twice takes many minutes on a device of few lanes");
        return;
    }
    let mut seen = cut(|case| is_quick(case) && has_parts(case), |_| {});
    let small = |case: &Case| {
        ["1024 x 1024 x 1024", "1 x 1024, 1 heads of 512", "1024 x 14 frames, 5 heads of 64"]
            .contains(&case.shape.as_str())
            || case.name == "separable" && has_parts(case)
    };
    seen.extend(cut(small, |capabilities| capabilities.subgroup_size = None));
    // What is timed by itself, what is never more than a workgroup, and what needs hardware, which the test below emulates.
    let alone = ["ceiling", "gemm_reduce", "landmark_windows"];
    let other = |name: &&str| alone.contains(name) || name.ends_with("_cooperative");
    let unseen: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).filter(|name| !seen.contains(name)).collect();
    let missing: Vec<&str> = unseen.into_iter().filter(|name| !other(name)).collect();
    assert!(missing.is_empty(), "not cut: {missing:?}");
}

/// Products whose depth is split, attention, and every direct product by another kernel, on emulated matrices.
#[test]
fn products_on_matrices_give_the_same_bits_in_parts() {
    if !are_whole() {
        return;
    }
    let Some(gpu) = emulating(16) else { return };
    let seen = watched(&gpu);
    // Their check is dispatches of its own.
    assert!(viseme::ops::matrices(&gpu).is_some());
    let wave = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as f32 / 4_294_967_296.0 - 0.5;
    let values = |len: usize| -> Vec<f32> { (0..len).map(wave).collect() };
    let shape = WeightShape { columns: 64, group_channels: 1280, kernel: [3, 3], groups: 1 };
    let w = values(64 * 1280 * 9);
    let weight = PackedWeight::pack(&gpu, shape, Elem::F16, Raw::F32(bytemuck::cast_slice(&w)), "a test").unwrap();
    let x = Tensor::from_values(&gpu, &[8, 4, 4, 1280], Elem::F16, &values(8 * 16 * 1280)).unwrap();
    let geometry = Geometry { stride: 1, pad: [1, 1], out: [4, 4], upsample: false };
    same_bits("a convolution in parts of its depth", &gpu, &|| x.conv2d(&weight, geometry, Epilogue::default()));
    let qkv = Tensor::from_values(&gpu, &[2, 150, 3 * 64], Elem::F16, &values(2 * 150 * 192)).unwrap();
    same_bits("attention", &gpu, &|| {
        let rows = viseme::ops::Rows::of(&qkv)?;
        let (k, v) = (rows.column(64), rows.column(128));
        viseme::ops::Attend { q: rows, k, v, heads: 1, head_dim: 64, scale: 0.125, bias: None }.run()
    });
    let seen = seen.lock().unwrap();
    for kernel in ["gemm_cooperative", "gemm_reduce", "attention_cooperative"] {
        assert!(seen.contains(kernel), "{kernel} did not run: {seen:?}");
    }
}

/// A rate cuts what it should: a product that takes two seconds at it, and a copy.
#[test]
fn what_a_dispatch_holds_follows_the_rate() {
    if !are_whole() {
        return;
    }
    let Some(gpu) = there(Gpu::new(None)) else { return };
    let (rows, channels) = (4096, 256);
    let w = vec![0.01_f32; channels * channels];
    let raw = Raw::F32(bytemuck::cast_slice(&w));
    let shape = WeightShape::linear(channels, channels);
    let weight = PackedWeight::pack(&gpu, shape, Elem::F16, raw, "a test").unwrap().with_class(ConvClass::Direct, raw);
    let weight = weight.unwrap();
    let x = Tensor::zeros(&gpu, &[rows, channels], Elem::F16).unwrap();
    let dispatches = |seconds: f64| {
        gpu.set_rate(Rate { flops: 2.0 * (rows * channels * channels) as f64 / seconds, bytes: f64::INFINITY });
        let before = gpu.dispatches();
        x.linear(&weight, Epilogue::default()).unwrap().to_bytes().unwrap();
        (gpu.dispatches() - before) as usize
    };
    assert_eq!(dispatches(0.9 * LONGEST_S), 1);
    assert!((8..=10).contains(&dispatches(2.0)), "{}", dispatches(2.0));
}

//! Every kernel is timed by some case of `viseme bench`.

#[path = "common/device.rs"]
mod device;

use device::there;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use viseme::bench::{Case, cases};
use viseme::gpu::{Capabilities, Gpu};
use viseme::ops::KERNELS;

/// Names of the kernels that the `wanted` cases ran on a device restricted so.
fn ran(wanted: fn(&Case) -> bool, restrict: fn(&mut Capabilities)) -> Option<BTreeSet<String>> {
    let gpu = there(Gpu::restricted(None, restrict))?;
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let record = seen.clone();
    gpu.inspect_variants(Box::new(move |kernel, _| {
        record.lock().unwrap().insert(kernel.name.to_string());
    }));
    for case in cases().into_iter().filter(wanted) {
        let row = case.measure(&gpu, 1).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert!(row.seconds > 0.0 && row.bytes > 0.0, "{}", case.name);
        gpu.trim().unwrap();
    }
    let seen = seen.lock().unwrap().clone();
    Some(seen)
}

#[test]
fn every_kernel_has_a_case() {
    let Some(mut seen) = ran(|_| true, |_| {}) else { return };
    // What devices without subgroups run, at the smallest shapes there are.
    let small = |case: &Case| {
        let shapes = ["1024 x 1024 x 1024", "1 x 1024, 1 heads of 512", "1024 x 14 frames, 5 heads of 64"];
        shapes.contains(&case.shape.as_str())
    };
    seen.extend(ran(small, |capabilities| capabilities.subgroup_size = None).unwrap_or_default());
    let is_gpu_only = |name: &str| name.ends_with("_subgroup") && !seen.contains(name);
    let missing: Vec<&str> =
        KERNELS.iter().map(|kernel| kernel.name).filter(|name| !seen.contains(*name) && !is_gpu_only(name)).collect();
    assert!(missing.is_empty(), "no case runs {missing:?}");
}

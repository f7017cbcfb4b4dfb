//! Every kernel is timed by some case of `viseme bench`, and its time is held against the device's limits.

#[path = "common/device.rs"]
mod device;

use device::there;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use viseme::Problem;
use viseme::bench::{Case, Ceilings, Counted, Limit, Row, cases, large_cases};
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
    Ceilings::measure(&gpu).unwrap();
    let seen = seen.lock().unwrap().clone();
    Some(seen)
}

#[test]
fn every_kernel_has_a_case() {
    let Some(mut seen) = ran(|_| true, |_| {}) else { return };
    // What devices without subgroups run, at the smallest shapes there are.
    let small = |case: &Case| {
        let shapes = [
            "1024 x 1024 x 1024",
            "1 x 1024, 1 heads of 512",
            "1024 x 14 frames, 5 heads of 64",
            "5x4x4x128 -> 128, stride 1",
        ];
        shapes.contains(&case.shape.as_str())
    };
    seen.extend(ran(small, |capabilities| capabilities.subgroup_size = None).unwrap_or_default());
    let needs_hardware =
        |name: &&str| ["_subgroup", "_cooperative", "gemm_reduce"].iter().any(|end| name.ends_with(end));
    let unseen = KERNELS.iter().map(|kernel| kernel.name).filter(|name| !seen.contains(*name));
    let missing: Vec<&str> = unseen.filter(|name| !needs_hardware(name)).collect();
    assert!(missing.is_empty(), "no case runs {missing:?}");
}

#[test]
fn recording_is_timed_without_the_device() {
    let Ok(gpu) = Gpu::new(None) else { return };
    let case = large_cases().into_iter().find(|case| case.matches("host overhead")).unwrap();
    let row = case.measure(&gpu, 1).unwrap();
    assert_eq!(row.dispatches, Some(10_000));
    assert!(row.seconds > 0.0 && row.seconds < 10.0, "{row:?}");
}

fn row(seconds: f64, flops: f64, bytes: f64) -> Row {
    Row { seconds, cpu_seconds: None, flops, bytes, peak_bytes: 0, dispatches: None }
}

/// 10 GB/s and 100 GFLOP/s: above 10 FLOP per byte arithmetic binds.
fn ceilings() -> Ceilings {
    let limit = |name, counted, rate| Limit { name, counted, rate };
    let missing = Problem::new("ceiling", "matrices", "none").gpu();
    Ceilings {
        limits: vec![
            limit("slow copy", Counted::Bytes, Ok(4e9)),
            limit("copy", Counted::Bytes, Ok(1e10)),
            limit("f32", Counted::Flops, Ok(1e11)),
            limit("f16", Counted::HalfFlops, Ok(1e12)),
            limit("matrices", Counted::Flops, Err(missing)),
        ],
    }
}

#[test]
fn a_share_is_of_the_limit_that_binds() {
    let ceilings = ceilings();
    for (row, of_limit, bound_by) in [
        (row(0.02, 1e9, 1e6), 0.5, Counted::Flops),
        (row(0.02, 1e6, 1e8), 0.5, Counted::Bytes),
        (row(0.01, 0.0, 1e8), 1.0, Counted::Bytes),
        (row(0.01, 0.99e9, 1e8), 1.0, Counted::Bytes),
    ] {
        let share = ceilings.share(&row).unwrap();
        assert!((share.of_limit - of_limit).abs() < 1e-9 && share.bound_by == bound_by, "{row:?}: {share:?}");
    }
    assert_eq!(ceilings.share(&row(0.01, 0.0, 0.0)), None);
}

#[test]
fn the_roofline_shows_every_case() {
    let rows = [
        (Case::matmul(8, 8, 8), row(0.02, 1e9, 1e6)),
        (Case::matmul(9, 9, 9), row(0.02, 1e7, 1e8)),
        (Case::matmul(10, 10, 10), row(0.01, 0.0, 1e8)),
    ];
    let svg = ceilings().roofline_svg("a device & its driver", &rows);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<circle").count(), 2, "one has no arithmetic");
    for text in
        ["a device &amp; its driver", "8 x 8 x 8: 50 %", "9 x 9 x 9: 50 %", "10 x 10 x 10: 100 %", "1000 GFLOP/s"]
    {
        assert!(svg.contains(text), "{text} in {svg}");
    }
}

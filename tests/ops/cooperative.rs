//! gemm_cooperative and attention_cooperative, with plain loops in place of the matrices: that their large tile and their faults
//! are seen, and that a device is held to them before it is trusted. Their shapes are in gemm.rs and attention.rs.

use crate::attention::{Side, Size, make, none, reference};
use crate::gemm::{Case, PLAIN};
use crate::{Random, bar, check, emulating, gpu, matrix_gpu, stored};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use viseme::gpu::{Elem, Gpu, Kernel, Matrices};
use viseme::ops::{Activation, Attend, Epilogue, Geometry, PackedWeight, Raw, Rows, WeightShape};
use viseme::tensor::Tensor;

#[test]
fn the_check_passes_where_all_is_right() {
    for edge in [16, 8] {
        let Some(gpu) = matrix_gpu(edge) else { return };
        assert_eq!(viseme::ops::matrices(gpu), Some(Matrices { edge, emulated: true }));
    }
}

/// An operand whose parts have their own fault: a line of its kernel, what takes its place, and what that is.
type Fault = (&'static str, &'static str, &'static str);

const GEMM_FAULTS: [Fault; 10] = [
    (", LEFT_STRIDE);", ", LEFT_STRIDE - 1u);", "a wrong stride of x's tile"),
    (", RIGHT_STRIDE);", ", RIGHT_STRIDE + 1u);", "a wrong stride of the weight's tile"),
    ("= right(", "= right_transposed(", "the weight's tile transposed"),
    (
        "const RIGHT_AT = ROWS * LEFT_STRIDE;",
        "const RIGHT_AT = ROWS * STEP4;",
        "rows without their pad in the tile's size",
    ),
    ("if y < 0 || x < 0 { return OUTSIDE; }", "y = max(y, 0); x = max(x, 0);", "no pad at the image's edge"),
    (
        "let depth = params.depth_end - params.depth_begin;",
        "let depth = (params.depth_end - params.depth_begin + 31u) / 32u * 32u;",
        "no pad of the depth",
    ),
    ("k < depth + STEP;", "k < depth;", "the last step skipped"),
    ("if k > start_depth {", "if k > start_depth + STEP {", "the first step skipped"),
    ("+ 1 * MATRIX / 4u, LEFT_STRIDE)", "+ 0 * MATRIX / 4u, LEFT_STRIDE)", "half a step of x twice"),
    ("line * SUMS_STRIDE", "line * STAGED4", "a wrong stride on the way out"),
];

const ATTENTION_FAULTS: [Fault; 11] = [
    (", Q_STRIDE);", ", Q_STRIDE - 1u);", "a wrong stride of q"),
    (", KV_STRIDE);", ", KV_STRIDE + 1u);", "a wrong stride of k and v"),
    (", P_STRIDE);", ", P_STRIDE - 1u);", "a wrong stride of the probabilities"),
    ("= right_transposed(", "= right(", "k not transposed"),
    ("let inside = token < params.keys;", "let inside = true;", "keys past the last not masked"),
    ("&& d < DIM4", "", "no pad of the head"),
    ("for (var d = 0u; d < CHUNK4;", "for (var d = MATRIX / 4u; d < CHUNK4;", "the first step of the scores skipped"),
    ("for (var k = 0u; k < KEYS;", "for (var k = MATRIX; k < KEYS;", "the first step of the products with v skipped"),
    ("key += KEYS) {", "key += 2u * KEYS) {", "every other block of keys skipped"),
    ("= shrink * acc", "= acc", "sums not scaled to a new maximum"),
    ("row * SUMS_STRIDE + lane", "row * (SUMS_STRIDE - 1u) + lane", "a wrong stride of the scores and sums"),
];

/// A device of its own that found its matrices right, and from then on compiles `kernel` with `fault`. Whether it was put in.
fn faulty(kernel: &'static str, fault: Option<Fault>) -> Option<(Gpu, Arc<Mutex<bool>>)> {
    let gpu = emulating(16)?;
    assert!(viseme::ops::matrices(&gpu).is_some());
    let was_put_in = Arc::new(Mutex::new(false));
    let put_in = was_put_in.clone();
    gpu.edit_kernels(Box::new(move |edited: &Kernel, wgsl: String| match fault {
        Some((right, wrong, _)) if edited.name == kernel => {
            assert!(wgsl.contains(right), "{kernel} has no '{right}'");
            *put_in.lock().unwrap() = true;
            wgsl.replace(right, wrong)
        }
        _ => wgsl,
    }));
    gpu.poison_allocations().unwrap();
    Some((gpu, was_put_in))
}

/// Whether `comparison` passes without a fault, and fails with each one of `faults` in `kernel`.
fn every_fault_shows(kernel: &'static str, faults: &[Fault], comparison: &dyn Fn(&Gpu)) {
    let Some((right, _)) = faulty(kernel, None) else { return };
    comparison(&right);
    for &fault in faults {
        let Some((gpu, was_put_in)) = faulty(kernel, Some(fault)) else { return };
        let passed = catch_unwind(AssertUnwindSafe(|| comparison(&gpu))).is_ok();
        assert!(*was_put_in.lock().unwrap(), "{kernel}: {} was never compiled", fault.2);
        assert!(!passed, "{kernel}: the comparison does not see {}", fault.2);
    }
}

/// A 3x3 convolution with a bias, which makes it another variant than those of the device's own check: 9 x 20 depths, which end
/// within a step, 70 columns, which end within a panel.
#[test]
fn faults_of_the_gemm_show() {
    let ([height, width], channels, columns) = ([9, 11], 20, 70);
    every_fault_shows("gemm_cooperative", &GEMM_FAULTS, &|gpu| {
        let mut random = Random(11);
        let x = stored(Elem::F16, &random.vec(height * width * channels));
        let w = stored(Elem::F16, &random.vec(columns * channels * 9));
        let bias = random.vec(columns);
        let mut want = Vec::new();
        for oy in 0..height {
            for ox in 0..width {
                for o in 0..columns {
                    let mut sum = f64::from(bias[o]);
                    for ky in 0..3 {
                        for kx in 0..3 {
                            let (iy, ix) = (oy + ky, ox + kx);
                            if iy < 1 || ix < 1 || iy > height || ix > width {
                                continue;
                            }
                            for c in 0..channels {
                                sum += f64::from(x[((iy - 1) * width + ix - 1) * channels + c])
                                    * f64::from(w[((o * channels + c) * 3 + ky) * 3 + kx]);
                            }
                        }
                    }
                    want.push(sum);
                }
            }
        }
        let shape = WeightShape { columns, group_channels: channels, kernel: [3, 3], groups: 1 };
        let weight = PackedWeight::pack(gpu, shape, Elem::F16, Raw::F32(bytemuck::cast_slice(&w)), "conv").unwrap();
        let x = Tensor::from_values(gpu, &[1, height, width, channels], Elem::F16, &x).unwrap();
        let bias = Tensor::from_f32(gpu, &[columns], &bias).unwrap();
        let geometry = Geometry { stride: 1, pad: [1, 1], out: [height, width], upsample: false };
        let y = x.conv2d(&weight, geometry, Epilogue { bias: Some(&bias), ..Epilogue::default() }).unwrap();
        check("conv", &y, &want, bar(Elem::F16));
    });
}

/// Two heads of 40, which is no multiple of a matrix, 150 keys, which end within a block.
#[test]
fn faults_of_attention_show() {
    // In pieces that small, keys follow one another over a state, which the kernel for matrices has not.
    if gpu().is_some_and(|gpu| gpu.capabilities().max_binding_bytes < 1 << 20) {
        eprintln!("skipped: bindings too small for a whole head");
        return;
    }
    let (tokens, heads, head_dim) = (150, 2, 40);
    every_fault_shows("attention_cooperative", &ATTENTION_FAULTS, &|gpu| {
        let mut random = Random(12);
        let width = heads * head_dim;
        let qkv = make(gpu, &mut random, &[1, tokens, 3 * width], Elem::F16, 2.0);
        let row = |_, t| t;
        let side = |column| Side { values: &qkv.values, width: 3 * width, column, row: &row };
        let size = Size { batches: 1, heads, head_dim, queries: tokens, keys: tokens };
        let want = reference(&size, &side(0), &side(width), &side(2 * width), 0.3, &none);
        let rows = Rows::of(&qkv.tensor).unwrap();
        let (k, v) = (rows.column(width), rows.column(2 * width));
        let out = Attend { q: rows, k, v, heads, head_dim, scale: 0.3, bias: None }.run().unwrap();
        check("attention", &out, &want, bar(Elem::F16));
    });
}

/// What was warned of while `run` ran in this thread.
fn warnings(run: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, run);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

/// A device that lists matrices but multiplies them wrongly is used without them, and says so: products that come out transposed,
/// attention alone, and one whose driver cannot compile them at all.
#[test]
fn a_device_that_fails_the_check_goes_on_without() {
    let transposed = (
        "fn right(at: u32, stride: u32) -> Right { return Right(4u * at, 4u * stride, 1u); }",
        "fn right(at: u32, stride: u32) -> Right { return Right(4u * at, 1u, 4u * stride); }",
    );
    let unscaled = ("= shrink * acc", "= acc");
    for (kernel, (right, wrong), seen_in) in
        [("gemm_cooperative", transposed, "a product"), ("attention_cooperative", unscaled, "attention of heads")]
    {
        let Some(gpu) = emulating(16) else { return };
        gpu.edit_kernels(Box::new(move |edited: &Kernel, wgsl: String| {
            if edited.name != kernel {
                return wgsl;
            }
            assert!(wgsl.contains(right), "{kernel} has no '{right}'");
            wgsl.replace(right, wrong)
        }));
        goes_on_without(&gpu, seen_in);
    }
    let Some(gpu) = gpu() else { return };
    if gpu.capabilities().cooperative_matrices.is_empty() {
        let listing = |capabilities: &mut viseme::gpu::Capabilities| {
            capabilities.matrices = Some(Matrices { edge: 16, emulated: false });
        };
        goes_on_without(&Gpu::restricted(None, listing).unwrap(), "gemm_cooperative");
    }
}

fn goes_on_without(gpu: &Gpu, seen_in: &str) {
    let used = Arc::new(Mutex::new(Vec::new()));
    let said = warnings(|| assert_eq!(viseme::ops::matrices(gpu), None));
    assert!(said.contains("WARN") && said.contains("cooperative matrices") && said.contains(seen_in), "{said}");
    let said_again = warnings(|| assert_eq!(viseme::ops::matrices(gpu), None));
    assert_eq!(said_again, "", "said once");
    let names = used.clone();
    gpu.inspect_variants(Box::new(move |kernel, _| names.lock().unwrap().push(kernel.name)));
    let (rows, channels, columns) = (20, 32, 40);
    let mut random = Random(13);
    let x = stored(Elem::F16, &random.vec(rows * channels));
    let w = stored(Elem::F16, &random.vec(columns * channels));
    let shape = WeightShape::linear(columns, channels);
    let weight = PackedWeight::pack(gpu, shape, Elem::F16, Raw::F32(bytemuck::cast_slice(&w)), "w").unwrap();
    let mut want = Vec::new();
    for x in x.chunks(channels) {
        want.extend(
            w.chunks(channels).map(|w| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>()),
        );
    }
    let x = Tensor::from_values(gpu, &[rows, channels], Elem::F16, &x).unwrap();
    let y = x.linear(&weight, Epilogue::default()).unwrap().to_f32().unwrap();
    let error: f64 = y.iter().zip(&want).map(|(&y, w)| (f64::from(y) - w).powi(2)).sum();
    assert!(error.sqrt() <= bar(Elem::F16) * want.iter().map(|w| w * w).sum::<f64>().sqrt());
    let names = used.lock().unwrap();
    assert!(!names.is_empty() && !names.contains(&"gemm_cooperative"), "{names:?}");
}

/// Clips of small images under a deep kernel, spatial and temporal.
fn deep() -> [Case; 2] {
    [
        Case { x: [15, 4, 4, 260], columns: 68, kernel: [3, 3], pad: [1; 4], ..PLAIN },
        Case { x: [2, 14, 4, 700], columns: 36, kernel: [3, 1], pad: [1, 0, 1, 0], ..PLAIN },
    ]
}

/// The convolution with everything that an epilogue can have, and of its first image alone.
fn convolved(gpu: &Gpu, case: &Case) -> (Tensor, Tensor) {
    let mut random = Random(15);
    let [images, height, width, channels] = case.x;
    let columns = case.columns;
    let x = stored(Elem::F16, &random.vec(case.x.iter().product()));
    let w = stored(Elem::F16, &random.vec(columns * channels * case.kernel[0] * case.kernel[1]));
    let (bias, residual) = (random.vec(columns), stored(Elem::F16, &random.vec(images * height * width * columns)));
    let mut want = case.reference(&x, &w);
    for (i, v) in want.iter_mut().enumerate() {
        *v += f64::from(bias[i % columns]);
        *v = *v / (1.0 + (-*v).exp()) + f64::from(residual[i]);
    }
    let shape = WeightShape { columns, group_channels: channels, kernel: case.kernel, groups: 1 };
    let weight = PackedWeight::pack(gpu, shape, Elem::F16, Raw::F32(bytemuck::cast_slice(&w)), "deep").unwrap();
    let bias = Tensor::from_f32(gpu, &[columns], &bias).unwrap();
    let run = |images: usize| {
        let of = |values: &[f32], channels: usize| {
            let values = &values[..images * height * width * channels];
            Tensor::from_values(gpu, &[images, height, width, channels], Elem::F16, values).unwrap()
        };
        let (x, residual) = (of(&x, channels), of(&residual, columns));
        let geometry = Geometry { stride: 1, pad: [case.pad[0], case.pad[1]], out: [height, width], upsample: false };
        let activation = Activation::Silu;
        x.conv2d(&weight, geometry, Epilogue { bias: Some(&bias), activation, residual: Some(&residual), add: None })
            .unwrap()
    };
    let all = run(images);
    check(&format!("{:?} -> {columns}", case.x), &all, &want, bar(Elem::F16));
    (all, run(1))
}

/// Sums over parts of the depth make the whole, whatever the number of clips.
#[test]
fn a_split_depth_adds_up() {
    for edge in [16, 8] {
        let Some(gpu) = emulating(edge) else { return };
        let used = Arc::new(Mutex::new(Vec::new()));
        let names = used.clone();
        gpu.inspect_variants(Box::new(move |kernel, _| names.lock().unwrap().push(kernel.name)));
        gpu.poison_allocations().unwrap();
        for case in deep() {
            let (all, first) = convolved(&gpu, &case);
            let first = first.to_bytes().unwrap();
            assert!(all.to_bytes().unwrap()[..first.len()] == first, "the first image of many is that image alone");
        }
        if gpu.capabilities().max_binding_bytes >= 1 << 20 {
            assert!(used.lock().unwrap().contains(&"gemm_reduce"), "nothing was split");
        }
    }
}

#[test]
fn faults_of_a_split_depth_show() {
    if gpu().is_some_and(|gpu| gpu.capabilities().max_binding_bytes < 1 << 20) {
        eprintln!("skipped: bindings too small for all parts of the sums");
        return;
    }
    let [spatial, _] = deep();
    let comparison = |gpu: &Gpu| drop(convolved(gpu, &spatial));
    let parts: [Fault; 3] = [
        ("let start_depth = id.z * params.part_depth;", "let start_depth = 0u;", "every part from the beginning"),
        ("start_depth + params.part_depth);", "start_depth + params.part_depth - 32u);", "parts with a step too few"),
        ("(part_of_depth * params.rows + row)", "row", "parts over one another"),
    ];
    every_fault_shows("gemm_cooperative", &parts, &comparison);
    let sums: [Fault; 1] = [("var part = 0u;", "var part = 1u;", "the first part left out")];
    every_fault_shows("gemm_reduce", &sums, &comparison);
}

/// Enough rows that a device is busy with tiles of 128 x 128: right, and bit-equal to what tiles of 64 x 64 make of the first rows.
#[test]
fn large_tiles_equal_small_ones() {
    for edge in [16, 8] {
        let Some(gpu) = matrix_gpu(edge) else { return };
        let (rows, few, channels, columns) = (132 * 128 - 5, 100, 44, 250);
        let mut random = Random(14);
        let x = stored(Elem::F16, &random.vec(rows * channels));
        let w = stored(Elem::F16, &random.vec(columns * channels));
        let shape = WeightShape::linear(columns, channels);
        let weight = PackedWeight::pack(gpu, shape, Elem::F16, Raw::F32(bytemuck::cast_slice(&w)), "w").unwrap();
        let product = |x: &[f32]| {
            let x = Tensor::from_values(gpu, &[x.len() / channels, channels], Elem::F16, x).unwrap();
            x.linear(&weight, Epilogue::default()).unwrap()
        };
        let want: Vec<f64> = x
            .chunks(channels)
            .flat_map(|x| w.chunks(channels).map(|w| x.iter().zip(w).map(|(x, w)| f64::from(x * w)).sum()))
            .collect();
        let all = product(&x);
        check(&format!("{rows} rows in matrices of {edge}"), &all, &want, bar(Elem::F16));
        let part = product(&x[..few * channels]);
        let bits = |y: &Tensor| y.to_bytes().unwrap()[..few * columns * 2].to_vec();
        assert!(bits(&all) == bits(&part), "tiles of both sizes sum in the same order");
    }
}

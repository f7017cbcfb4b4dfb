//! Variants of one numerics class give the same bits: every kernel and tile of products, every tile of queries, every
//! workgroup, every size of scratch. Each is seen to have run.

use crate::{Random, gpu, prepare, stored};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use viseme::gpu::{Capabilities, Elem, Gpu};
use viseme::ops::{
    Activation, Attend, Bias, ConvClass, Epilogue, Geometry, PackedWeight, ProductKernel, QueryTile, Raw, Rows,
    Scratch, Tuning, WeightShape, Workgroup,
};
use viseme::tensor::Tensor;

/// A device of its own, since tables are a device's, with the constants of every kernel that has run.
struct Watched {
    gpu: Gpu,
    ran: Arc<Mutex<BTreeSet<String>>>,
}

impl Watched {
    fn new(restrict: impl FnOnce(&mut Capabilities)) -> Option<Self> {
        gpu()?;
        let gpu = prepare(Gpu::restricted(None, restrict).ok()?);
        let ran = Arc::new(Mutex::new(BTreeSet::new()));
        let record = ran.clone();
        gpu.inspect_variants(Box::new(move |kernel, variant| {
            crate::portability::check(kernel, variant);
            record.lock().unwrap().insert(variant.to_string());
        }));
        Some(Self { gpu, ran })
    }

    /// Whether a kernel has run with all of these constants, `NAME=VALUE`.
    fn saw(&self, kernel: &str, constants: &[String]) -> bool {
        self.ran.lock().unwrap().iter().any(|variant| {
            let mut words = variant.split(' ');
            words.next() == Some(kernel) && {
                let found: Vec<&str> = words.next().unwrap_or("").split(',').collect();
                constants.iter().all(|constant| found.contains(&constant.as_str()))
            }
        })
    }
}

fn as_a_gpu(capabilities: &mut Capabilities) {
    capabilities.subgroup_size = None;
    capabilities.software = false;
}

/// A product or convolution with all that an epilogue can have, or with nothing.
struct Product {
    x: [usize; 4],
    columns: usize,
    kernel: [usize; 2],
    groups: usize,
    elem: Elem,
    epilogue: bool,
}

fn products() -> Vec<Product> {
    let plain = Product { x: [1; 4], columns: 1, kernel: [1, 1], groups: 1, elem: Elem::F32, epilogue: false };
    vec![
        // Three panels, the last one nearly empty, and channels that no vector holds.
        Product { x: [131, 1, 1, 57], columns: 130, ..plain },
        Product { x: [3, 8, 8, 32], columns: 196, kernel: [3, 3], elem: Elem::F16, epilogue: true, ..plain },
        // Three panels in each of two groups.
        Product { x: [1, 150, 1, 96], columns: 264, kernel: [3, 1], groups: 2, ..plain },
        Product { x: [1, 17, 9, 20], columns: 12, kernel: [3, 3], ..plain },
    ]
}

impl Product {
    fn run(&self, gpu: &Gpu) -> Vec<u8> {
        let mut random = Random(11);
        let [images, height, width, channels] = self.x;
        let rows = images * height * width;
        let shape = WeightShape {
            columns: self.columns,
            group_channels: channels / self.groups,
            kernel: self.kernel,
            groups: self.groups,
        };
        let values = random.vec(self.columns * shape.group_channels * self.kernel[0] * self.kernel[1]);
        let weight = PackedWeight::pack(gpu, shape, self.elem, Raw::F32(bytemuck::cast_slice(&values)), "w").unwrap();
        let mut tensor = |shape: &[usize], elem: Elem| {
            let values = stored(elem, &random.vec(shape.iter().product()));
            Tensor::from_values(gpu, shape, elem, &values).unwrap()
        };
        let x = tensor(&self.x, self.elem);
        let (bias, add) = (tensor(&[self.columns], Elem::F32), tensor(&[images, self.columns], self.elem));
        let residual = tensor(&[rows, self.columns], self.elem);
        let epilogue = match self.epilogue {
            false => Epilogue::default(),
            true => {
                Epilogue { bias: Some(&bias), add: Some(&add), activation: Activation::Silu, residual: Some(&residual) }
            }
        };
        let pad = self.kernel.map(|k| k / 2);
        let geometry = Geometry { stride: 1, pad, out: [height, width], upsample: false };
        x.conv2d(&weight, geometry, epilogue).unwrap().to_bytes().unwrap()
    }
}

fn has_run(watched: &Watched, kernel: ProductKernel) -> bool {
    match kernel.tile() {
        None => watched.saw("gemm_subgroup", &[]),
        Some(tile) => {
            let constants = [
                format!("ROWS={}", tile.rows),
                format!("PANELS={}", tile.panels),
                format!("EACH_ROWS={}", tile.each_rows),
                format!("EACH_VECTORS={}", tile.each_vectors),
                format!("STEP={}", tile.step),
            ];
            watched.saw("gemm_tiled", &constants)
        }
    }
}

/// With whole operands, and with bindings so small that panels are cut apart, and depths, whose sums are handed on.
#[test]
fn products_have_the_same_bits_in_every_kernel_and_tile() {
    let narrow = |capabilities: &mut Capabilities| capabilities.max_binding_bytes = 24 << 10;
    let devices = [Watched::new(|_| {}), Watched::new(narrow)];
    for (watched, products) in devices.into_iter().flatten().zip([products(), products().split_off(2)]) {
        let gpu = &watched.gpu;
        let mut expected: Vec<Vec<u8>> = Vec::new();
        for kernel in ProductKernel::ALL.into_iter().filter(|kernel| kernel.runs_on(gpu.capabilities())) {
            gpu.set(Tuning::default().with_products(kernel));
            let made: Vec<_> = products.iter().map(|product| product.run(gpu)).collect();
            assert!(has_run(&watched, kernel), "{kernel:?} was not used");
            if expected.is_empty() {
                expected = made;
                continue;
            }
            for ((product, made), expected) in products.iter().zip(&made).zip(&expected) {
                assert!(made == expected, "{kernel:?}: {:?} -> {}", product.x, product.columns);
            }
        }
        assert!(!expected.is_empty());
    }
}

/// The kernels for few lanes, and those for GPUs, of few keys too.
#[test]
fn attention_has_the_same_bits_with_every_tile_of_queries() {
    for watched in [Watched::new(|_| {}), Watched::new(as_a_gpu)].into_iter().flatten() {
        let gpu = &watched.gpu;
        for (queries, keys, heads, head_dim) in [(150, 75, 2, 16), (70, 40, 1, 136), (150, 14, 2, 16)] {
            let width = heads * head_dim;
            let mut random = Random(12);
            let mut tensor = |shape: &[usize], elem| {
                Tensor::from_values(gpu, shape, elem, &random.vec(shape.iter().product())).unwrap()
            };
            let (q, kv) = (tensor(&[1, queries, width], Elem::F16), tensor(&[1, keys, 2 * width], Elem::F16));
            let (table, gate) = (tensor(&[heads, queries, keys], Elem::F32), tensor(&[1, heads, queries], Elem::F32));
            let mut seen = BTreeSet::new();
            for tile in QueryTile::ALL {
                gpu.set(Tuning::default().with_queries(tile));
                let [q, kv] = [&q, &kv].map(|tensor| Rows::of(tensor).unwrap());
                let bias = Some(Bias { table: &table, gate: &gate });
                let attend = Attend { q, k: kv, v: kv.column(width), heads, head_dim, scale: 0.2, bias };
                seen.insert(attend.run().unwrap().to_bytes().unwrap());
            }
            assert_eq!(seen.len(), 1, "{queries} queries, {keys} keys, {heads} heads of {head_dim}");
        }
        let has_sizes = |kernel: &str, name: &str, sizes: &[u32]| {
            sizes.iter().all(|size| watched.saw(kernel, &[format!("{name}={size}")]))
        };
        if watched.saw("attention_subgroup", &[]) {
            assert!(has_sizes("attention_subgroup", "TILES", &[1, 2, 3]));
        } else {
            assert!(has_sizes("attention_few", "WORKGROUP", &[32, 64, 128]));
            let fits = QueryTile::Large.runs_on(viseme::ops::AttentionClass::Wide, gpu.capabilities());
            let rows: &[u32] = if fits { &[16, 32, 64] } else { &[16, 32] };
            assert!(has_sizes("attention_tiled", "ROWS", rows), "{:?}", watched.ran);
        }
    }
}

#[test]
fn workgroups_and_scratch_change_no_bit() {
    let Some(watched) = Watched::new(|_| {}) else { return };
    let gpu = &watched.gpu;
    let mut random = Random(13);
    let [images, side, channels] = [44, 32, 64];
    let values = random.vec(channels * channels * 9);
    let shape = WeightShape { columns: channels, group_channels: channels, kernel: [3, 3], groups: 1 };
    let raw = Raw::F32(bytemuck::cast_slice(&values));
    let weight = PackedWeight::pack(gpu, shape, Elem::F16, raw, "w").unwrap().with_class(ConvClass::F43, raw).unwrap();
    let ones = Tensor::from_f32(gpu, &[channels], &vec![1.0; channels]).unwrap();
    let all = [images, side, side, channels];
    let x = Tensor::from_values(gpu, &all, Elem::F16, &random.vec(all.iter().product())).unwrap();
    let geometry = Geometry { stride: 1, pad: [1, 1], out: [side, side], upsample: false };
    let run = |tuning: Tuning| {
        gpu.set(tuning);
        gpu.trim().unwrap();
        gpu.reset_peak();
        let y = x.conv2d(&weight, geometry, Epilogue::default()).unwrap();
        let peak = gpu.memory().peak;
        let y = y.group_norm(2, 32, &ones, &ones, 1e-5, Activation::Silu).unwrap().geglu().unwrap();
        let y = Tensor::concat_channels(&[&y.slice_channels(4, 8).unwrap(), &y.silu().unwrap()]).unwrap();
        (y.to_bytes().unwrap(), peak)
    };
    let (expected, _) = run(Tuning::default());
    for workgroup in Workgroup::ALL.into_iter().filter(|workgroup| workgroup.runs_on(gpu.capabilities())) {
        let table = Tuning { transforms: Some(workgroup), elementwise: Some(workgroup), ..Tuning::default() };
        assert!(run(table).0 == expected, "{workgroup:?}");
        let lanes = [format!("WORKGROUP={}", format!("{workgroup:?}").trim_start_matches("Lanes"))];
        for kernel in [
            "winograd_input",
            "winograd_output",
            "group_norm_partial",
            "group_norm_apply",
            "geglu",
            "slice_rows",
            "concat_channels",
            "pointwise",
        ] {
            assert!(watched.saw(kernel, &lanes), "{kernel} with {lanes:?}");
        }
    }
    let mut peaks = Vec::new();
    for scratch in Scratch::ALL {
        let (made, peak) = run(Tuning { winograd_scratch: Some(scratch), ..Tuning::default() });
        assert!(made == expected, "{scratch:?}");
        peaks.push(peak);
    }
    assert!(peaks[0] > peaks[1] && peaks[1] > peaks[2], "less scratch at a time: {peaks:?}");
}

/// A table that names what a device cannot run, as one from another device may, is no error: the default runs.
#[test]
fn a_variant_that_the_device_lacks_is_its_default() {
    let small = |capabilities: &mut Capabilities| {
        as_a_gpu(capabilities);
        capabilities.max_invocations = 256;
        capabilities.max_workgroup_bytes = 16 << 10;
    };
    let Some(watched) = Watched::new(small) else { return };
    let gpu = &watched.gpu;
    let product =
        Product { x: [70, 1, 1, 16], columns: 66, kernel: [1, 1], groups: 1, elem: Elem::F32, epilogue: false };
    let expected = product.run(gpu);
    for kernel in [ProductKernel::Subgroup, ProductKernel::Tile128x128Each8x8Deep] {
        assert!(!kernel.runs_on(gpu.capabilities()));
        gpu.set(Tuning::default().with_products(kernel));
        assert!(product.run(gpu) == expected);
        assert!(!has_run(&watched, kernel));
    }
    assert!(has_run(&watched, ProductKernel::Tile64x64));
}

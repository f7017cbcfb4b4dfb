//! Variants of one numerics class give the same bits: every kernel and tile of products, every tile of queries, every
//! workgroup, every size of scratch. Each is seen to have run.

use crate::watched::Watched;
use crate::{Random, emulating, gpu, prepare, stored};
use std::collections::BTreeSet;
use std::time::Duration;
use viseme::gpu::{Capabilities, Elem, Gpu};
use viseme::ops::{
    Activation, Attend, Bias, ConvClass, Epilogue, Geometry, MatrixTile, PackedWeight, ProductKernel, QueryTile, Raw,
    Rows, Scratch, Tuning, WeightShape, Workgroup, autotune,
};
use viseme::tensor::Tensor;

fn watched(restrict: impl FnOnce(&mut Capabilities)) -> Option<Watched> {
    gpu()?;
    Some(Watched::new(prepare(Gpu::restricted(None, restrict).ok()?), crate::portability::check))
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

/// With whole operands, and with bindings so small that panels are cut apart, and depths, whose sums are handed on.
#[test]
fn products_have_the_same_bits_in_every_kernel_and_tile() {
    let narrow = |capabilities: &mut Capabilities| capabilities.max_binding_bytes = 24 << 10;
    let devices = [watched(|_| {}), watched(narrow)];
    for (watched, products) in devices.into_iter().flatten().zip([products(), products().split_off(2)]) {
        let gpu = &watched.gpu;
        let mut expected: Vec<Vec<u8>> = Vec::new();
        for kernel in ProductKernel::ALL.into_iter().filter(|kernel| kernel.runs_on(gpu.capabilities())) {
            gpu.set(Tuning::default().with_products(kernel));
            let made: Vec<_> = products.iter().map(|product| product.run(gpu)).collect();
            assert!(watched.saw_product(kernel), "{kernel:?} was not used");
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

/// The tiles on cooperative matrices, which plain loops stand in for.
#[test]
fn products_have_the_same_bits_in_every_tile_of_matrices() {
    let Some(gpu) = emulating(16) else { return };
    if gpu.capabilities().max_binding_bytes < 1 << 20 {
        eprintln!("skipped: bindings too small for two panels of the weight");
        return;
    }
    let watched = Watched::new(gpu, crate::portability::check);
    let products = products().into_iter().filter(|product| product.elem == Elem::F16);
    for product in products {
        let mut seen = BTreeSet::new();
        for tile in MatrixTile::ALL {
            watched.gpu.set(Tuning::default().with_matrices(tile));
            seen.insert(product.run(&watched.gpu));
            assert!(watched.saw_size("gemm_cooperative", "ROWS", tile.rows()), "{tile:?} was not used");
        }
        assert_eq!(seen.len(), 1, "{:?} -> {}", product.x, product.columns);
    }
}

/// The kernels for few lanes, and those for GPUs, of few keys too.
#[test]
fn attention_has_the_same_bits_with_every_tile_of_queries() {
    for watched in [watched(|_| {}), watched(as_a_gpu)].into_iter().flatten() {
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
        let has_sizes =
            |kernel: &str, name: &str, sizes: &[usize]| sizes.iter().all(|size| watched.saw_size(kernel, name, *size));
        if watched.saw("attention_subgroup", &[]) {
            assert!(has_sizes("attention_subgroup", "TILES", &[1, 2, 3]));
        } else {
            assert!(has_sizes("attention_few", "WORKGROUP", &[32, 64, 128]));
            let fits = QueryTile::Large.runs_on(viseme::ops::AttentionClass::Wide, gpu.capabilities());
            let rows: &[usize] = if fits { &[16, 32, 64] } else { &[16, 32] };
            assert!(has_sizes("attention_tiled", "ROWS", rows));
        }
    }
}

#[test]
fn workgroups_and_scratch_change_no_bit() {
    let Some(watched) = watched(|_| {}) else { return };
    let gpu = &watched.gpu;
    if gpu.capabilities().max_binding_bytes < 32 << 20 {
        eprintln!("skipped: bindings smaller than the scratch that is chosen among");
        return;
    }
    let mut random = Random(13);
    let [images, side, channels] = [40, 32, 64];
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
        let y = y.group_norm(2, 32, &ones, &ones, 1e-5, Activation::Silu).unwrap();
        let y = Tensor::concat_channels(&[&y.slice_channels(4, 8).unwrap(), &y.silu().unwrap()]).unwrap();
        (y.to_bytes().unwrap(), peak)
    };
    let (expected, _) = run(Tuning::default());
    for workgroup in Workgroup::ALL.into_iter().filter(|workgroup| workgroup.runs_on(gpu.capabilities())) {
        let table = Tuning { transforms: Some(workgroup), elementwise: Some(workgroup), ..Tuning::default() };
        assert!(run(table).0 == expected, "{workgroup:?}");
        let lanes = match workgroup {
            Workgroup::Lanes8 => 8,
            Workgroup::Lanes64 => 64,
            Workgroup::Lanes256 => 256,
        };
        for kernel in [
            "winograd_input",
            "winograd_output",
            "group_norm_partial",
            "group_norm_apply",
            "slice_rows",
            "concat_channels",
            "pointwise",
        ] {
            assert!(watched.saw_size(kernel, "WORKGROUP", lanes), "{kernel} with {lanes} invocations");
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
    let Some(watched) = watched(small) else { return };
    let gpu = &watched.gpu;
    let product =
        Product { x: [70, 1, 1, 16], columns: 66, kernel: [1, 1], groups: 1, elem: Elem::F32, epilogue: false };
    let expected = product.run(gpu);
    for kernel in [ProductKernel::Subgroup32x64, ProductKernel::Tile128x128Each8x8Deep] {
        assert!(!kernel.runs_on(gpu.capabilities()));
        gpu.set(Tuning::default().with_products(kernel));
        assert!(product.run(gpu) == expected);
        assert!(!watched.saw_product(kernel));
    }
    assert!(watched.saw_product(ProductKernel::Tile64x64));
}

/// A run measures some operations and keeps its table; the next one goes on from there; a damaged file counts as none.
#[test]
fn what_was_measured_is_kept_for_the_adapter_and_driver() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |budget: Duration| {
        let gpu = Gpu::new(None).unwrap();
        gpu.keep_kernels(Some(folder.path()));
        let mut left = Vec::new();
        autotune(&gpu, budget, &mut |done, all| left.push(all - done)).unwrap();
        ((*Tuning::of(&gpu)).clone(), left)
    };
    assert_eq!(run(Duration::ZERO), (Tuning::default(), vec![]), "no time, nothing measured");
    let (first, left) = run(Duration::from_millis(20));
    assert_ne!(first, Tuning::default());
    assert_eq!(run(Duration::ZERO), (first.clone(), vec![]), "what was kept needs no time");
    let (second, left_then) = run(Duration::from_millis(20));
    assert!(left_then[0] < left[0], "{left:?}, then {left_then:?}");
    assert!(first.products.iter().all(|(class, kernel)| second.products.get(class) == Some(kernel)));

    let kept = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path().join("tuning.json");
    let mut bytes = std::fs::read(&kept).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    assert_eq!(run(Duration::ZERO).0, Tuning::default(), "damaged");
    assert_eq!(run(Duration::from_millis(20)).1[0], left[0], "made anew");
}

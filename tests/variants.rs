//! Golden cases in every numerics class and every variant that this device can run: each class is held to its bars, and its
//! variants give the same bits.

#[path = "common/device.rs"]
mod device;
#[path = "common/watched.rs"]
mod watched;

use std::path::Path;
use viseme::gpu::{Capabilities, Elem, Gpu};
use viseme::ops::{AttentionClass, ConvClass, ProductKernel, QueryTile, Scratch, Tuning, Workgroup};
use viseme::verify::verify;
use watched::Watched;

/// The smallest golden file with every layer of the UNet: convolutions, self- and cross-attention in space and time, norms.
const UNET: &str = "unet_interpolation.safetensors";

/// The smallest with attention over more than 32 keys, which has a kernel of its own.
const SPEECH: &str = "wav2vec2.safetensors";

fn watched(restrict: impl FnOnce(&mut Capabilities)) -> Option<Watched> {
    device::there(Gpu::restricted(None, restrict)).map(|gpu| Watched::new(gpu, |_, _| {}))
}

fn as_a_gpu(capabilities: &mut Capabilities) {
    capabilities.subgroup_size = None;
    capabilities.software = false;
}

/// Every result of a golden case as its distance from the reference and its worst element, to the last bit: two runs that agree
/// in all of them gave the same results. Each must be within its bar.
fn results(gpu: &Gpu, file: &str, elem: Elem) -> Vec<(String, [u64; 2])> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    let rows = verify(gpu, &path, elem.into(), &mut |_| {}).unwrap_or_else(|error| panic!("{file} {elem:?}: {error}"));
    assert!(rows.iter().any(|row| row.bar.is_some()), "{file}: nothing was held to a bar");
    let failed: Vec<_> = rows.iter().filter(|row| !row.passed()).collect();
    assert!(failed.is_empty(), "{file} {elem:?}: {failed:#?}");
    let bits = |row: &viseme::verify::Row| [row.comparison.relative_l2, row.comparison.worst.got].map(f64::to_bits);
    rows.iter().map(|row| (row.name.clone(), bits(row))).collect()
}

#[test]
fn every_class_is_within_its_bars_and_differs_from_the_others() {
    let Some(watched) = watched(|_| {}) else { return };
    for elem in [Elem::F32, Elem::F16] {
        let results = [ConvClass::Direct, ConvClass::F23, ConvClass::F43].map(|class| {
            watched.gpu.set(class);
            results(&watched.gpu, UNET, elem)
        });
        assert!(results[0] != results[1] && results[1] != results[2] && results[0] != results[2], "{elem:?}");
    }
    assert!([4, 6].into_iter().all(|tile| watched.saw_size("winograd_input", "TILE", tile)));
}

/// In direct and in Winograd's convolutions, f16 and f32.
#[test]
fn products_pass_in_every_kernel_and_tile() {
    let Some(watched) = watched(|_| {}) else { return };
    let gpu = &watched.gpu;
    for (class, elem) in [(ConvClass::F43, Elem::F16), (ConvClass::Direct, Elem::F32)] {
        gpu.set(class);
        gpu.set(Tuning::default());
        let expected = results(gpu, UNET, elem);
        for kernel in ProductKernel::ALL.into_iter().filter(|kernel| kernel.runs_on(gpu.capabilities())) {
            gpu.set(Tuning::default().with_products(kernel));
            assert_eq!(results(gpu, UNET, elem), expected, "{class:?} {elem:?} {kernel:?}");
            assert!(watched.saw_product(kernel), "{kernel:?} was not used");
        }
    }
}

#[test]
fn attention_passes_with_every_tile_of_queries() {
    for watched in [watched(|_| {}), watched(as_a_gpu)].into_iter().flatten() {
        let gpu = &watched.gpu;
        gpu.set(ConvClass::Direct);
        for (file, elem) in [(UNET, Elem::F16), (SPEECH, Elem::F32)] {
            gpu.set(Tuning::default());
            let expected = results(gpu, file, elem);
            for tile in QueryTile::ALL {
                gpu.set(Tuning::default().with_queries(tile));
                assert_eq!(results(gpu, file, elem), expected, "{file} {tile:?}");
            }
        }
        if watched.saw("attention_subgroup", &[]) {
            assert!([1, 2, 3].into_iter().all(|tiles| watched.saw_size("attention_subgroup", "TILES", tiles)));
            continue;
        }
        assert!([32, 64, 128].into_iter().all(|size| watched.saw_size("attention_few", "WORKGROUP", size)));
        let rows = QueryTile::ALL.into_iter().zip([16, 32, 64]);
        for (tile, rows) in rows.filter(|(tile, _)| tile.runs_on(AttentionClass::Narrow, gpu.capabilities())) {
            assert!(watched.saw_size("attention_tiled", "ROWS", rows), "{tile:?}");
        }
    }
}

#[test]
fn workgroups_and_scratch_pass_in_every_size() {
    let Some(watched) = watched(|_| {}) else { return };
    let gpu = &watched.gpu;
    gpu.set(ConvClass::F43);
    let expected = results(gpu, UNET, Elem::F16);
    for workgroup in Workgroup::ALL.into_iter().filter(|workgroup| workgroup.runs_on(gpu.capabilities())) {
        gpu.set(Tuning { transforms: Some(workgroup), elementwise: Some(workgroup), ..Tuning::default() });
        assert_eq!(results(gpu, UNET, Elem::F16), expected, "{workgroup:?}");
    }
    for kernel in ["winograd_input", "winograd_output", "group_norm_apply", "pointwise"] {
        assert!([8, 64].into_iter().all(|lanes| watched.saw_size(kernel, "WORKGROUP", lanes)), "{kernel}");
    }
    for scratch in Scratch::ALL {
        gpu.set(Tuning { winograd_scratch: Some(scratch), ..Tuning::default() });
        assert_eq!(results(gpu, UNET, Elem::F16), expected, "{scratch:?}");
    }
}

//! Every variant of a kernel that any test here uses passes naga's validator and its SPIR-V, MSL and HLSL writers, so
//! that Metal and DX12 stay honest on a machine that has neither.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use viseme::gpu::{Kernel, Parameters, Variant, expand};

/// Fails with the kernel's name where a writer refuses it, with parameters as immediates and as a uniform buffer; emulated
/// matrices also as what they stand for.
pub fn check(kernel: &Kernel, variant: &Variant) {
    let mut native = variant.clone();
    if let Some((_, emulated)) = native.constants.iter_mut().find(|(name, value)| *name == "EMULATED" && *value == 1) {
        *emulated = 0;
        check(kernel, &native);
    }
    for parameters in [Parameters::Immediate, Parameters::Uniform] {
        let name = format!("{} {:?} {:?} {parameters:?}", kernel.name, variant.constants, variant.elems);
        let expanded = expand(kernel, &variant.constants, &variant.elems, parameters).expect(&name);
        let module = naga::front::wgsl::parse_str(&expanded.wgsl)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&expanded.wgsl)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&expanded.wgsl)));

        // naga writes cooperative matrices as SPIR-V 1.6 with the Vulkan memory model and, of side 8, as MSL, not as HLSL.
        let matrix =
            variant.constants.iter().find(|(name, side)| *name == "MATRIX" && *side > 0).map(|(_, side)| *side);
        let version = if matrix.is_some() { (1, 6) } else { (1, 3) };
        let spirv = spv::Options { lang_version: version, ..Default::default() };
        spv::write_vec(&module, &info, &spirv, None).unwrap_or_else(|e| panic!("{name}: SPIR-V: {e}"));

        if matrix == Some(16) {
            continue;
        }
        let metal = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        msl::write_string(&module, &info, &metal, &msl::PipelineOptions::default())
            .unwrap_or_else(|e| panic!("{name}: MSL: {e}"));

        if matrix.is_some() {
            continue;
        }
        let target = |space| Some(hlsl::BindTarget { space, register: 0, ..Default::default() });
        let direct = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_2,
            fake_missing_bindings: true,
            special_constants_binding: target(1),
            immediates_target: target(2),
            ..Default::default()
        };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &direct, &hlsl::PipelineOptions::default())
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{name}: HLSL: {e}"));
    }
}

#[test]
fn every_kernel_file_is_listed_and_has_a_header() {
    let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut listed: Vec<&str> = viseme::ops::KERNELS.iter().map(|kernel| kernel.name).collect();
    listed.sort_unstable();
    assert_eq!(files, listed);
    for kernel in viseme::ops::KERNELS {
        let header = format!("// {}:", kernel.name);
        assert!(kernel.source.starts_with(&header), "kernels/{}.wgsl does not begin with '{header}'", kernel.name);
    }
}

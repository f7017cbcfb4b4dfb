//! The golden files: those of the folder that `VISEME_GOLDEN` names, and our own under tests/fixtures.
//!
//! `VISEME_GOLDEN_FULL=1` adds the full-size networks, which take minutes and up to 14 GiB.

#[path = "common/device.rs"]
mod device;

use device::gpu;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use viseme::diffusion::{Branch, Guidance};
use viseme::gpu::Elem;
use viseme::models::clip_unet::{AudioProjection, ClipUnet, Prompt, UNUSED, weaker_weights};
use viseme::models::unet::{Config, Deep};
use viseme::models::vae::Decoder;
use viseme::nn::{Loader, Trace};
use viseme::pipelines::sampling::Levels;
use viseme::pipelines::stage::{Conditions, StageNetworks};
use viseme::tensor::Tensor;
use viseme::verify::golden::Golden;
use viseme::verify::verify;
use viseme::weights::{Dtype, Source, Weights};

/// Runs one file; every row must hold and there must be some.
fn hold(path: &Path, elem: Elem) {
    let Some(gpu) = gpu() else { return };
    let name = path.file_name().unwrap().to_string_lossy();
    let rows = verify(gpu, path, elem.into(), &mut |row| {
        println!("{name} {elem:?} {}: {:.2e} (bar {:?})", row.name, row.comparison.relative_l2, row.bar);
    })
    .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(rows.iter().any(|row| row.bar.is_some()), "{name}: nothing was held to a bar");
    let failed: Vec<_> = rows.iter().filter(|row| !row.passed()).collect();
    assert!(failed.is_empty(), "{name} {elem:?}: {failed:#?}");
}

/// The file in the golden folder; None, said, where there is no such folder. A folder without the file is a failure.
fn golden(file: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("VISEME_GOLDEN") else {
        eprintln!("skipped: {file}: VISEME_GOLDEN is not set");
        return None;
    };
    let path = PathBuf::from(folder).join(file);
    assert!(path.exists(), "{} is due and missing", path.display());
    Some(path)
}

macro_rules! golden_tests {
    ($($name:ident: $file:literal, $($elem:ident)+;)*) => {
        $(#[test]
        fn $name() {
            if let Some(path) = golden($file) {
                $(hold(&path, Elem::$elem);)+
            }
        })*
    };
}

golden_tests! {
    unet_keyframe: "01_unet_keyframe.safetensors", F32 F16;
    unet_interpolation: "02_unet_interpolation.safetensors", F32 F16;
    blocks: "03_blocks.safetensors", F32;
    sampling_keyframes: "04_sampling_keyframes.safetensors", F32;
    sampling_interpolation: "05_sampling_interpolation.safetensors", F32;
    pipeline_indices: "06_pipeline_indices.json", F32;
    masks: "07_masks.safetensors", F32;
    vae_hub: "08a_vae_diffusers_2level.safetensors", F32 F16;
    vae_sgm: "08c_vae_sgm.safetensors", F32 F16;
    hubert: "09_hubert.safetensors", F32 F16;
    wavlm: "10_wavlm.safetensors", F32 F16;
    resize_u8: "12_resize_u8.safetensors", F32;
    keyface_unet_keyframe: "21_keyface_unet_keyframe.safetensors", F32 F16;
    keyface_sampling_keyframes: "22_keyface_sampling_keyframes.safetensors", F32;
    keyface_unet_interpolation: "23_keyface_unet_interpolation.safetensors", F32 F16;
    keyface_sampling_interpolation: "24_keyface_sampling_interpolation.safetensors", F32;
    keyface_indices: "25_keyface_indices.json", F32;
    beats: "11_beats.safetensors", F32 F16;
    sinusoidal: "11b_concat_timestep.safetensors", F32;
    wav2vec2: "26_wav2vec2.safetensors", F32 F16;
    keyface_audio: "27_keyface_audio.safetensors", F32 F16;
    blazeface: "71_blazeface.safetensors", F32;
    attention_mesh: "72_attention_mesh.safetensors", F32;
    face_points: "73_face_points.safetensors", F32;
}

/// The full-size networks, weights by formula, one in memory at a time.
#[test]
fn full_size() {
    if std::env::var_os("VISEME_GOLDEN_FULL").is_none() {
        eprintln!("skipped: full-size networks: VISEME_GOLDEN_FULL is not set");
        return;
    }
    for file in [
        "41_full_unet_keyframe",
        "42_full_unet_interpolation",
        "43a_full_vae_hub",
        "43b_full_vae_sgm",
        "44_full_hubert",
        "45_full_wavlm",
    ] {
        if let Some(path) = golden(&format!("{file}.safetensors")) {
            hold(&path, Elem::F32);
            gpu().unwrap().trim().unwrap();
        }
    }
}

/// Names and shapes without values.
struct Names(serde_json::Value);

impl Source for Names {
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        serde_json::from_value(self.0.get(name)?.clone()).ok().map(|shape| (Dtype::F16, shape))
    }
    fn names(&self) -> Vec<String> {
        self.0.as_object().unwrap().keys().cloned().collect()
    }
    fn read(&self, _: &str) -> viseme::Result<Cow<'_, [u8]>> {
        unreachable!("only planned")
    }
}

/// The networks of both systems in their published size ask for every tensor of their lists, in its shape, and nothing else.
#[test]
fn published_networks_ask_for_every_name() {
    let Some(gpu) = gpu() else { return };
    for file in ["keysync_full_names.json", "keyface_full_names.json"] {
        let Some(path) = golden(file) else { return };
        let lists: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for list in ["keyframe", "interpolation"] {
            let names: Vec<&String> = lists[list].as_object().unwrap().keys().collect();
            let plan = Weights::from_source(Names(lists[list].clone())).plan(|w| {
                let l = Loader::new(gpu, w, Elem::F16);
                ClipUnet::load(&l.at("model"), Config::default(), Elem::F16)?;
                AudioProjection::load(&l.at("conditioner"))?;
                Decoder::load(&l.at("first_stage_model")).map(|_| ())
            });
            let asked: Vec<_> = plan.unwrap().requests.into_iter().map(|request| request.name).collect();
            let unused = |name: &str| UNUSED[..1].iter().any(|place| name.starts_with(&format!("{place}.")));
            let expected: Vec<_> = names.into_iter().filter(|name| !unused(name)).cloned().collect();
            assert_eq!(asked, expected, "{file}: {list}");
        }
        if let Some(bad) = lists.get("interpolation_bad") {
            let stored = bad.as_object().unwrap().iter();
            let stored = stored.map(|(name, shape)| (format!("_forward_module.model.{name}"), shape.clone())).collect();
            let w = weaker_weights(&Weights::from_source(Names(serde_json::Value::Object(stored)))).unwrap();
            let plan = w.plan(|w| ClipUnet::load(&Loader::new(gpu, w, Elem::F16), Config::default(), Elem::F16));
            assert_eq!(plan.unwrap().requests.len(), bad.as_object().unwrap().len());
        }
    }
}

#[test]
fn two_networks_are_asked_one_after_the_other_and_both_must_be_there() {
    let Some(gpu) = gpu() else { return };
    let w = Golden::open(&fixture("unet_interpolation.safetensors")).unwrap().weights().unwrap();
    let unet =
        ClipUnet::load(&Loader::new(gpu, &w.at("model"), Elem::F32), Config { head_dim: 16 }, Elem::F32).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape, Elem::F32).unwrap();
    let (reference, audio, x) = (zeros(&[1, 6, 10, 8]), zeros(&[1, 5, 56]), zeros(&[1, 5, 6, 10, 4]));
    let branches = Guidance::Auto { scale: 2.0 }.branches();

    let alone = Conditions::new(StageNetworks::one(&unet), &reference, &audio, None, branches);
    assert!(alone.err().unwrap().to_string().contains("a second, weaker network"));
    let networks = StageNetworks { main: &unet, weaker: Some(&unet) };
    let both = Conditions::new(networks, &reference, &audio, None, branches).unwrap();
    assert!(both.batched().is_none() && both.forward(&x, branches, &[0.0; 5], Levels::All).is_err());
    assert!(both.forward(&x, &[Branch::Reference], &[0.0; 5], Levels::All).is_err());
    let [worse, better] =
        [Branch::Weaker, Branch::Conditional].map(|branch| both.forward(&x, &[branch], &[0.0; 5], Levels::All));
    assert_eq!(worse.unwrap().to_f32().unwrap(), better.unwrap().to_f32().unwrap());

    assert!(unet.emotion(gpu, &[[0.0; 2]; 5]).unwrap().is_none());
    let told = Conditions::new(networks, &reference, &audio, Some(&zeros(&[5, 24])), branches).unwrap();
    let error = told.forward(&x, &[Branch::Conditional], &[0.0; 5], Levels::All).err().unwrap().to_string();
    assert!(error.contains("emotion: expected 0 channels, found 24"), "{error}");
}

/// Clips that hear nothing are spared the attention to it: the same bits as with it, whether none, some or all of them hear.
#[test]
fn attention_to_nothing_is_its_bias() {
    let Some(gpu) = gpu() else { return };
    let w = Golden::open(&fixture("unet_interpolation.safetensors")).unwrap().weights().unwrap();
    let wave = |shape: &[usize], elem: Elem| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (0.7 * i as f32).sin()).collect();
        Tensor::from_values(gpu, shape, elem, &values).unwrap()
    };
    for elem in [Elem::F32, Elem::F16] {
        let unet = ClipUnet::load(&Loader::new(gpu, &w.at("model"), elem), Config { head_dim: 16 }, elem).unwrap();
        let concat = unet.condition(&wave(&[3, 6, 10, 8], Elem::F32), 5).unwrap();
        let x = wave(&[3, 5, 6, 10, 4], Elem::F32);
        for unheard in [1, 2, 3] {
            let zeros = Tensor::zeros(gpu, &[unheard, 5, 56], Elem::F32).unwrap();
            let audio = Tensor::stack_rows(&[&zeros, &wave(&[3 - unheard, 5, 56], Elem::F32)]).unwrap();
            let forward = |unheard| {
                let prompt = Prompt { concat: &concat, audio: &audio, unheard, emotion: None };
                let prepared = unet.prepare(prompt, &mut Trace::off()).unwrap();
                unet.forward(&x, &prepared, &[0.3; 15], None, Deep::Run, &mut Trace::off()).unwrap().to_f32().unwrap()
            };
            let (attended, spared) = (forward(0), forward(unheard));
            assert!(attended.iter().all(|v| v.is_finite()) && attended.iter().any(|v| v.abs() > 1e-3));
            let off = attended.iter().zip(&spared).position(|(a, b)| a.to_bits() != b.to_bits());
            assert!(off.is_none(), "{elem:?}, {unheard} of 3 clips unheard: element {off:?}");
        }
        let prompt = Prompt { concat: &concat, audio: &wave(&[3, 5, 56], Elem::F32), unheard: 4, emotion: None };
        let error = unet.prepare(prompt, &mut Trace::off()).err().unwrap().to_string();
        assert!(error.contains("context: expected 3 clips, found 4 of them unheard"), "{error}");
    }
}

/// A file of masks with one packed mask emptied, or of no side: an error that names it, whatever its kind.
#[test]
fn masks_that_hold_nothing_are_errors() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = viseme::weights::Safetensors::open(&fixture("masks.safetensors")).unwrap();
    let write = |changed: &str, as_name: &str| {
        let (mut header, mut values) = (serde_json::Map::new(), Vec::new());
        let text = |key: &str| source.metadata(key).unwrap_or_default().to_owned();
        header.insert("__metadata__".into(), serde_json::json!({"case": text("case"), "config": text("config")}));
        for name in source.names() {
            let (dtype, mut shape) = source.entry(&name).unwrap();
            let mut bytes = source.read(&name).unwrap().into_owned();
            let is_changed = name == changed;
            if is_changed {
                (shape, bytes) = (vec![0], Vec::new());
            }
            let range = [values.len(), values.len() + bytes.len()];
            values.extend(bytes);
            let name = if is_changed { as_name.to_owned() } else { name };
            let dtype = format!("{dtype:?}");
            header.insert(name, serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": range}));
        }
        let header = serde_json::Value::Object(header).to_string();
        let path = folder.path().join("masks.safetensors");
        std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat()).unwrap();
        path
    };
    let packed: Vec<String> = source.names().into_iter().filter(|name| name.ends_with("_packbits")).collect();
    assert!(packed.len() >= 5, "{packed:?}");
    for name in &packed {
        let error = verify(gpu, &write(name, name), Elem::F32.into(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains(name.as_str()), "{error}");
        // A mask without a side is no mask; what else is there is checked.
        let kind = name.split(".mask").next().unwrap();
        let rows = verify(gpu, &write(name, &format!("{kind}.mask0_packbits")), Elem::F32.into(), &mut |_| {});
        if let Ok(rows) = rows {
            assert!(rows.iter().all(viseme::verify::Row::passed));
        }
    }
    for (_, kind) in viseme::face::mask::MaskKind::ALL {
        let rule = viseme::face::mask::MaskRule { kind, nose_index: 28 };
        assert!(rule.draw(gpu, &[[[1.0; 2]; 68]], 0).is_err(), "{kind:?}");
    }
}

macro_rules! fixture_tests {
    ($($name:ident: $file:literal;)*) => {
        mod fixtures {
            $(#[test]
            fn $name() {
                super::hold(&super::fixture($file), super::Elem::F32);
            })*
        }
    };
}

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)
}

fixture_tests! {
    unet_keyframe: "unet_keyframe.safetensors";
    unet_interpolation: "unet_interpolation.safetensors";
    sampling_keyframes: "sampling_keyframes.safetensors";
    sampling_interpolation: "sampling_interpolation.safetensors";
    vae_hub: "vae_hub.safetensors";
    vae_sgm: "vae_sgm.safetensors";
    hubert: "hubert.safetensors";
    wavlm: "wavlm.safetensors";
    masks: "masks.safetensors";
    resize_u8: "resize_u8.safetensors";
    keyface_unet_keyframe: "keyface_unet_keyframe.safetensors";
    keyface_sampling_keyframes: "keyface_sampling_keyframes.safetensors";
    keyface_sampling_interpolation: "keyface_sampling_interpolation.safetensors";
    wav2vec2: "wav2vec2.safetensors";
    beats: "beats.safetensors";
    beats_plain: "beats_plain.safetensors";
    keyface_audio: "keyface_audio.safetensors";
}

//! The golden files: those of the folder that `VISEME_GOLDEN` names, and our own under tests/fixtures.
//!
//! `VISEME_GOLDEN_FULL=1` adds the full-size networks, which take minutes and up to 14 GiB.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use viseme::gpu::{Elem, Gpu};
use viseme::verify::verify;

fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| match Gpu::new(None) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            assert!(std::env::var_os("VISEME_REQUIRE_GPU").is_none(), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    })
    .as_ref()
}

/// Runs one file; every row must hold and there must be some.
fn hold(path: &Path, elem: Elem) {
    let Some(gpu) = gpu() else { return };
    let name = path.file_name().unwrap().to_string_lossy();
    let rows = verify(gpu, path, elem, &mut |row| {
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
    vae_hub: "08a_vae_diffusers_2level.safetensors", F32 F16;
    vae_sgm: "08c_vae_sgm.safetensors", F32 F16;
    hubert: "09_hubert.safetensors", F32 F16;
    wavlm: "10_wavlm.safetensors", F32 F16;
    beats: "11_beats.safetensors", F32 F16;
    sinusoidal: "11b_concat_timestep.safetensors", F32;
    wav2vec2: "26_wav2vec2.safetensors", F32 F16;
    keyface_audio: "27_keyface_audio.safetensors", F32 F16;
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
    wav2vec2: "wav2vec2.safetensors";
    beats: "beats.safetensors";
    beats_plain: "beats_plain.safetensors";
    keyface_audio: "keyface_audio.safetensors";
}

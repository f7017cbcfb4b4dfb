//! Embeddings of whole clips: pieces against one piece, ends, lengths, and what KeyFace puts side by side.

#[path = "common/device.rs"]
mod device;

use device::gpu;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use viseme::gpu::{Elem, Gpu};
use viseme::models::beats::{self, Beats};
use viseme::models::hubert::{self, Hubert};
use viseme::models::wavlm::{self, WavLm};
use viseme::nn::Loader;
use viseme::pipelines::audio::*;
use viseme::pipelines::segments::{FRAME_SAMPLES, Parity};
use viseme::verify::golden::Golden;
use viseme::weights::formula::FormulaSource;
use viseme::weights::{Dtype, Source, Weights};

fn fixture(name: &str) -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    Golden::open(&path).unwrap()
}

/// A network without attention: its tokens depend on the audio around them only, however far the clip goes on.
struct Deaf(FormulaSource);

impl Source for Deaf {
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        self.0.entry(name)
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn read(&self, name: &str) -> viseme::Result<Cow<'_, [u8]>> {
        let bytes = self.0.read(name)?;
        Ok(if name.contains("out_proj") { vec![0; bytes.len()].into() } else { bytes })
    }
}

fn beats(gpu: &Gpu, weights: &Weights, golden: &Golden) -> Beats {
    let config = beats::Config::read(&golden.config["config"]).unwrap();
    Beats::load(&Loader::new(gpu, weights, Elem::F32), config).unwrap()
}

fn deaf_beats(gpu: &Gpu) -> Beats {
    let golden = fixture("beats.safetensors");
    let formula = FormulaSource::from_config(&golden.config["weights"], &[]).unwrap();
    beats(gpu, &Weights::from_shared(Arc::new(Deaf(formula))), &golden)
}

fn noise(samples: usize) -> Vec<f32> {
    let mixed = |i: u64| (i * i * 7919 + i * 104_729 + 12_345) % 65_536;
    (0..samples as u64).map(|i| 0.25 * (mixed(i) as f32 / 32_768.0 - 1.0) * (i as f32 / 9000.0).sin()).collect()
}

fn collect(embed: impl FnOnce(Emit<'_>) -> viseme::Result<()>) -> Vec<Vec<f32>> {
    let mut vectors = Vec::new();
    embed(&mut |vector| {
        vectors.push(vector.to_vec());
        Ok(())
    })
    .unwrap();
    vectors
}

fn relative_l2(got: &[Vec<f32>], want: &[Vec<f32>]) -> f64 {
    assert_eq!(got.len(), want.len());
    let pairs = || got.iter().flatten().zip(want.iter().flatten()).map(|(&g, &w)| (f64::from(g), f64::from(w)));
    let error: f64 = pairs().map(|(g, w)| (g - w).powi(2)).sum();
    (error / pairs().map(|(_, w)| w * w).sum::<f64>()).sqrt()
}

#[test]
fn beats_in_pieces_puts_every_vector_where_one_piece_does() {
    let Some(gpu) = gpu() else { return };
    let model = deaf_beats(gpu);
    // Three pieces; an odd number of frames, the last of them cut short.
    let frames = 1043;
    let samples = noise(frames * FRAME_SAMPLES - 123);
    let embed = |parity| collect(|emit| beats_embeddings(gpu, &model, &samples, frames, parity, emit));
    let (pieces, whole) = (embed(Parity::Corrected), embed(Parity::Upstream));
    assert_eq!(whole.len(), 2 * 1044);
    let error = relative_l2(&pieces, &whole);
    assert!(error < 1e-5, "{error:e}");
    // The bar is far below what any shift would do.
    let shifted = relative_l2(&whole[1..], &whole[..whole.len() - 1]);
    assert!(shifted > 1e-2, "{shifted:e}");
}

#[test]
fn up_to_40_s_pieces_are_as_published() {
    let Some(gpu) = gpu() else { return };
    let model = beats(gpu, &fixture("beats.safetensors").weights().unwrap(), &fixture("beats.safetensors"));
    let samples = noise(77 * FRAME_SAMPLES);
    let embed = |parity| collect(|emit| beats_embeddings(gpu, &model, &samples, 77, parity, emit));
    assert_eq!(relative_l2(&embed(Parity::Corrected), &embed(Parity::Upstream)), 0.0);
}

#[test]
fn clips_shorter_than_a_step_of_beats_are_filled_with_silence() {
    let Some(gpu) = gpu() else { return };
    let model = deaf_beats(gpu);
    let samples = noise(6 * FRAME_SAMPLES);
    let six = collect(|emit| beats_embeddings(gpu, &model, &samples, 6, Parity::Corrected, emit));
    for frames in 1..=4 {
        let heard: Vec<f32> = samples[..frames * FRAME_SAMPLES].to_vec();
        let filled: Vec<f32> = (0..samples.len()).map(|i| heard.get(i).copied().unwrap_or(0.0)).collect();
        let short = collect(|emit| beats_embeddings(gpu, &model, &heard, frames, Parity::Corrected, emit));
        let long = collect(|emit| beats_embeddings(gpu, &model, &filled, 6, Parity::Corrected, emit));
        assert_eq!(short.len(), 2 * frames.next_multiple_of(2));
        assert_eq!(short, long[..short.len()]);
        assert_ne!(short, six[..short.len()]);
        let error = beats_embeddings(gpu, &model, &heard, frames, Parity::Upstream, &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("2800 samples or more"), "{error}");
    }
}

#[test]
fn wav2vec2_hears_zeros_behind_a_clip_and_pairs_every_frame() {
    let Some(gpu) = gpu() else { return };
    let golden = fixture("wav2vec2.safetensors");
    let weights = golden.weights().unwrap();
    let model = weights
        .checked(hubert::UNUSED, true, |w| Hubert::load(&Loader::new(gpu, w, Elem::F32), hubert::Config { heads: 4 }))
        .unwrap();
    for samples in [1, 639, 640, 641, 9000] {
        let clip: Vec<f32> = noise(samples).iter().map(|v| v + 0.1).collect();
        let frames = frames_of(samples);
        let vectors = collect(|emit| wav2vec2_embeddings(gpu, &model, &clip, frames, Parity::Corrected, emit));
        assert_eq!(vectors.len(), 2 * frames, "{samples} samples");
        assert!(vectors[2 * frames - 1].iter().all(|&v| v == 0.0) && vectors[0].iter().any(|&v| v != 0.0));
        let standard = Clip::standardised(&clip, samples).unwrap().read(0..samples + 10).unwrap();
        assert_eq!(standard[samples..], [0.0; 10]);
        let mean = standard.iter().map(|&v| f64::from(v)).sum::<f64>() / samples as f64;
        assert!(mean.abs() < 1e-6, "{samples} samples: {mean}");
    }
    // In pieces: the same number, and never a slip.
    let (frames, clip) = (1043, noise(1043 * FRAME_SAMPLES));
    let vectors = collect(|emit| wav2vec2_embeddings(gpu, &model, &clip, frames, Parity::Corrected, emit));
    assert_eq!(vectors.len(), 2 * frames);
}

#[test]
fn keyface_puts_beats_behind_speech_for_every_frame() {
    let Some(gpu) = gpu() else { return };
    let load = |golden: &Golden| Loader::new(gpu, &golden.weights().unwrap(), Elem::F32);
    let golden = fixture("beats.safetensors");
    let beats = beats(gpu, &golden.weights().unwrap(), &golden);
    let wavlm = WavLm::load(&load(&fixture("wavlm.safetensors")), wavlm::Config { max_distance: 240 }).unwrap();
    let wav2vec2 = Hubert::load(&load(&fixture("wav2vec2.safetensors")), hubert::Config { heads: 4 }).unwrap();
    for samples in [1, 1300, 8961] {
        let (clip, frames, parity) = (noise(samples), frames_of(samples), Parity::Corrected);
        let of_beats = collect(|emit| beats_embeddings(gpu, &beats, &clip, frames, parity, emit));
        let rows = of_beats.concat();
        let of_wavlm = collect(|emit| wavlm_embeddings(gpu, &wavlm, &clip, frames, parity, emit));
        let of_wav2vec2 = collect(|emit| wav2vec2_embeddings(gpu, &wav2vec2, &clip, frames, parity, emit));
        let keyframes = collect(|emit| keyframe_embeddings(gpu, &wavlm, &rows, &clip, frames, parity, emit));
        let between = collect(|emit| interpolation_embeddings(gpu, &wav2vec2, &rows, &clip, frames, parity, emit));
        let beside = |speech: &[Vec<f32>]| -> Vec<Vec<f32>> {
            (0..2 * frames).map(|i| [speech[i].clone(), of_beats[i].clone()].concat()).collect()
        };
        assert_eq!(keyframes, beside(&of_wavlm), "{samples} samples");
        assert_eq!(between, beside(&of_wav2vec2), "{samples} samples");
    }
    // What lies behind the frames asked for is not heard, not even in the frame that makes their number even.
    let (long, short) = (noise(14 * FRAME_SAMPLES), noise(9 * FRAME_SAMPLES));
    let of_beats = |clip: &Vec<f32>| collect(|emit| beats_embeddings(gpu, &beats, clip, 9, Parity::Corrected, emit));
    let of_wavlm = |clip: &Vec<f32>| collect(|emit| wavlm_embeddings(gpu, &wavlm, clip, 9, Parity::Corrected, emit));
    let of_wav2vec2 =
        |clip: &Vec<f32>| collect(|emit| wav2vec2_embeddings(gpu, &wav2vec2, clip, 9, Parity::Corrected, emit));
    assert_eq!(of_beats(&long), of_beats(&short));
    assert_eq!(of_wavlm(&long), of_wavlm(&short));
    assert_eq!(of_wav2vec2(&long), of_wav2vec2(&short));

    let clip = noise(6400);
    let error = keyframe_embeddings(gpu, &wavlm, &vec![0.0; 7], &clip, 10, Parity::Corrected, &mut |_| Ok(()));
    assert!(error.unwrap_err().to_string().contains("the BEATs vectors of 10 frames"));
}

#[test]
fn the_configuration_of_a_checkpoint_is_honoured_or_refused() {
    let read = |text: &str| beats::Config::read(&serde_json::from_str(text).unwrap());
    assert_eq!(read("{}").unwrap(), beats::Config::default());
    let all = r#"{"encoder_attention_heads": 4, "max_distance": 800, "relative_position_embedding": true, "gru_rel_pos": true,
        "deep_norm": true, "layer_norm_first": false, "activation_fn": "gelu"}"#;
    let want = beats::Config { heads: 4, max_distance: 800, relative_bias: true, gated: true, deep_norm: true };
    assert_eq!(read(all).unwrap(), want);
    for (text, named) in [
        (r#"{"layer_norm_first": true}"#, "layer_norm_first"),
        (r#"{"activation_fn": "glu"}"#, "activation_fn"),
        (r#"{"encoder_attention_heads": 0}"#, "encoder_attention_heads"),
        (r#"{"max_distance": "far"}"#, "max_distance"),
        (r#"{"deep_norm": 1}"#, "deep_norm"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let Some(gpu) = gpu() else { return };
    let weights = fixture("beats.safetensors").weights().unwrap();
    let config = beats::Config { heads: 3, ..want };
    let load = |config| {
        weights.checked(beats::UNUSED, true, |w| Beats::load(&Loader::new(gpu, w, Elem::F32), config)).map(|_| ())
    };
    load(config).unwrap();
    let error = load(beats::Config { heads: 5, ..config }).unwrap_err().to_string();
    assert!(error.contains("expected a divisor of 48, found 5"), "{error}");
    let formula = FormulaSource::from_config(&fixture("beats.safetensors").config["weights"], &[]).unwrap();
    let error = beats::Config::of(&Weights::from_source(formula)).unwrap_err().to_string();
    assert!(error.contains("viseme convert"), "{error}");
}

//! Golden cases hubert and wavlm: the network with inner values, and the embeddings that the pipeline makes of it.

use super::checker::Checker;
use super::golden::compare;
use crate::gpu::Elem;
use crate::models::hubert::{self, Hubert};
use crate::models::wavlm::{self, WavLm};
use crate::nn::Trace;
use crate::pipelines::audio::{frames_of, hubert_embeddings, wavlm_embeddings};
use crate::pipelines::segments::{FRAME_SAMPLES, Parity};
use crate::tensor::Tensor;
use crate::{Problem, Result};

const BAR: f64 = 1e-4;
/// Of the part that changes over time, where a random network makes frames alike.
const VARYING_BAR: f64 = 1e-3;
const VARYING_F16_BAR: f64 = 0.1;

pub fn check_hubert(checker: &mut Checker<'_>) -> Result<()> {
    let config = hubert::Config { heads: checker.setting("config.num_attention_heads")? };
    let weights = checker.golden.weights()?;
    let model = weights.checked(hubert::UNUSED, false, |w| Hubert::load(&checker.loader(w), config))?;
    let mut trace = Trace::on();
    let normalized = checker.golden.input("normalized")?.to_f32();
    let samples = Tensor::from_f32(checker.gpu, &[normalized.len()], &normalized)?;
    let y = model.forward(&samples, &mut trace)?;
    compare_notes(checker, trace)?;
    compare_varying(checker, "output.last_hidden_state", &y)?;
    let gpu = checker.gpu;
    compare_embeddings(checker, &|samples, frames, emit| {
        hubert_embeddings(gpu, &model, samples, frames, Parity::Upstream, emit)
    })
}

pub fn check_wavlm(checker: &mut Checker<'_>) -> Result<()> {
    let config = wavlm::Config { max_distance: checker.setting("config.max_distance")? };
    let weights = checker.golden.weights()?;
    let model = weights.checked(wavlm::UNUSED, false, |w| WavLm::load(&checker.loader(w), config))?;
    let mut trace = Trace::on();
    let samples = checker.input("waveform")?;
    let y = model.forward(&samples, &mut trace)?;
    compare_notes(checker, trace)?;
    compare_varying(checker, "output.features", &y)?;
    let gpu = checker.gpu;
    compare_embeddings(checker, &|samples, frames, emit| {
        wavlm_embeddings(gpu, &model, samples, frames, Parity::Upstream, emit)
    })
}

/// Features are stored channels-first, everything else as it is.
fn compare_notes(checker: &mut Checker<'_>, trace: Trace) -> Result<()> {
    let mut rest = Trace::on();
    let bar = (checker.elem == Elem::F32).then_some(BAR);
    for (name, tensor) in trace.into_notes() {
        if name == "conv_features" {
            let [tokens, channels] = tensor.dims("features")?;
            let image = tensor.reshape(&[1, tokens, 1, channels])?;
            checker.compare_images("intermediate.conv_features", &image, bar)?;
        } else {
            rest.note(&name, &tensor);
        }
    }
    checker.compare_notes("", rest, BAR)
}

/// Compares as it is and, since a random network's frames are nearly alike, without each channel's mean over time.
fn compare_varying(checker: &mut Checker<'_>, name: &str, got: &Tensor) -> Result<()> {
    checker.compare(name, got, Some(BAR))?;
    let channels = got.last_dim();
    let want = checker.golden.tensor(name)?.to_f32();
    let comparison = compare(name, &without_mean(&got.to_f32()?, channels), &without_mean(&want, channels))?;
    let bar = if checker.elem == Elem::F32 { VARYING_BAR } else { VARYING_F16_BAR };
    checker.push(&format!("{name} (less its mean over time)"), comparison, Some(bar));
    Ok(())
}

fn without_mean(values: &[f32], channels: usize) -> Vec<f32> {
    let tokens = (values.len() / channels.max(1)).max(1);
    let mut mean = vec![0f64; channels];
    for row in values.chunks_exact(channels) {
        mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v) / tokens as f64);
    }
    values.iter().enumerate().map(|(i, &v)| (f64::from(v) - mean[i % channels]) as f32).collect()
}

type Embed<'a> = dyn Fn(&Vec<f32>, usize, &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> + 'a;

/// The pipeline's embeddings of the stored waveform and of the long clips that the config describes.
fn compare_embeddings(checker: &mut Checker<'_>, embed: &Embed<'_>) -> Result<()> {
    let run = |samples: &Vec<f32>, frames: usize| -> Result<Vec<f32>> {
        let mut all = Vec::new();
        embed(samples, frames, &mut |vector| {
            all.extend_from_slice(vector);
            Ok(())
        })?;
        Ok(all)
    };
    let waveform = checker.golden.input("waveform")?.to_f32();
    let values = run(&waveform, frames_of(waveform.len()))?;
    let shape = checker.golden.output("pipeline_embeddings")?.shape;
    checker.compare_values("output.pipeline_embeddings", &shape, &values, Some(BAR))?;

    let clips: Vec<String> = match checker.golden.config["chunked"].as_object() {
        Some(clips) => clips.keys().cloned().collect(),
        None => Vec::new(),
    };
    for clip in clips {
        let frames: usize = clip
            .trim_end_matches('f')
            .parse()
            .map_err(|_| Problem::new("config.chunked", "names such as 625f", clip.clone()).input())?;
        let samples: Vec<f32> = (0..(frames * FRAME_SAMPLES) as u64).map(synthetic).collect();
        let values = run(&samples, frames)?;
        let last = checker.golden.output(&format!("chunked_{clip}.last3"))?;
        let width = 2 * last.shape[2];
        let rows: Vec<&[f32]> = values.chunks_exact(width).collect();
        let sixteenth: Vec<f32> = rows.iter().step_by(16).flat_map(|row| row.iter().copied()).collect();
        let every = format!("output.chunked_{clip}.every16");
        let every_shape = checker.golden.tensor(&every)?.shape;
        checker.compare_values(&every, &every_shape, &sixteenth, Some(BAR))?;
        let tail: Vec<f32> = rows[rows.len().saturating_sub(3)..].iter().flat_map(|row| row.iter().copied()).collect();
        checker.compare_values(&format!("output.chunked_{clip}.last3"), &last.shape, &tail, Some(BAR))?;
    }
    Ok(())
}

/// Sample `i` of a long clip (golden/README.md, 09).
fn synthetic(i: u64) -> f32 {
    let mixed = (i * i * 7919 + i * 104_729 + 12_345) % 65_536;
    0.25 * (mixed as f32 / 32_768.0 - 1.0)
}

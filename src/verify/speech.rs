//! Golden cases hubert, wavlm, wav2vec2 and beats: the network with inner values, and the embeddings that the pipeline makes of it.

use super::checker::Checker;
use super::golden::compare;
use crate::gpu::Elem;
use crate::models::beats::{self, Beats};
use crate::models::hubert::{self, Hubert};
use crate::models::wavlm::{self, WavLm};
use crate::nn::{Linear, Trace};
use crate::pipelines::audio::{
    Clip, Emit, Samples, beats_embeddings, frames_of, hubert_embeddings, paired_embeddings, wav2vec2_embeddings,
    wavlm_embeddings,
};
use crate::pipelines::segments::{FRAME_SAMPLES, Parity, upstream_sample_pieces};
use crate::tensor::Tensor;
use crate::{Problem, Result};

const BAR: f64 = 1e-4;
/// Of the part that changes over time, where a random network makes frames alike.
const VARYING_BAR: f64 = 1e-3;
const VARYING_F16_BAR: f64 = 0.1;
const FBANK_BAR: f64 = 1e-3;

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
    compare_long(checker, &|samples, frames, emit| {
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
    compare_long(checker, &|samples, frames, emit| {
        wavlm_embeddings(gpu, &model, samples, frames, Parity::Upstream, emit)
    })
}

pub fn check_wav2vec2(checker: &mut Checker<'_>) -> Result<()> {
    let config = hubert::Config { heads: checker.setting("config.num_attention_heads")? };
    let weights = checker.golden.weights()?;
    let model = weights.checked(hubert::UNUSED, false, |w| Hubert::load(&checker.loader(w), config))?;
    let waveform = checker.golden.input("waveform")?.to_f32();
    let frames = frames_of(waveform.len());
    let standard = Clip::standardised(&waveform, waveform.len())?;
    let normalized = standard.read(0..frames * FRAME_SAMPLES)?;
    let mut trace = Trace::on();
    let samples = Tensor::from_f32(checker.gpu, &[normalized.len()], &normalized)?;
    trace.note("normalized_padded", &samples);
    let y = model.forward(&samples, &mut trace)?;
    compare_notes(checker, trace)?;
    compare_varying(checker, "output.last_hidden_state", &y)?;

    let gpu = checker.gpu;
    let embed: &Embed<'_> =
        &|samples, frames, emit| wav2vec2_embeddings(gpu, &model, samples, frames, Parity::Upstream, emit);
    compare_stored(checker, "pipeline_embeddings", embed)?;
    compare_clips(checker, "synthetic", "synth_", |clip| clip.parse().ok(), embed)?;
    for unit in checker.golden.names_under("output.chunked_") {
        let Ok(samples) = unit.parse() else { continue };
        let pieces = upstream_sample_pieces(frames, samples);
        let values = collect(|emit| paired_embeddings(gpu, &model, &standard, &pieces, emit))?;
        let name = format!("output.chunked_{unit}");
        let shape = checker.golden.tensor(&name)?.shape;
        checker.compare_values(&name, &shape, &values, Some(BAR))?;
    }
    Ok(())
}

pub fn check_beats(checker: &mut Checker<'_>) -> Result<()> {
    let config = beats::Config::read(&checker.golden.config["config"])?;
    let weights = checker.golden.weights()?;
    let model = weights.checked(beats::UNUSED, false, |w| Beats::load(&checker.loader(w), config))?;
    let mut trace = Trace::on();
    let samples = checker.input("waveform")?;
    let y = model.forward(&samples, &mut trace)?;
    for (name, tensor) in trace.into_notes().iter().filter(|(name, _)| name == "fbank") {
        checker.compare(&format!("intermediate.{name}"), tensor, Some(FBANK_BAR))?;
    }
    compare_varying(checker, "output.features", &y)?;
    if checker.golden.has("output.class_probs") {
        let classes = checker.golden.output("class_probs")?.shape.iter().product();
        let predictor = Linear::load(&checker.loader(&weights).at("predictor"), classes, y.last_dim())?;
        let probabilities = class_probabilities(&predictor.forward(&y)?.to_f32()?, classes);
        checker.compare_values("output.class_probs", &[1, classes], &probabilities, Some(BAR))?;
    }
    let gpu = checker.gpu;
    let embed: &Embed<'_> =
        &|samples, frames, emit| beats_embeddings(gpu, &model, samples, frames, Parity::Upstream, emit);
    compare_stored(checker, "wrapper_embeddings", embed)
}

/// The sigmoid of each class' mean over the tokens.
fn class_probabilities(logits: &[f32], classes: usize) -> Vec<f32> {
    let tokens = (logits.len() / classes.max(1)) as f64;
    let mean = |class: usize| logits.iter().skip(class).step_by(classes).map(|&v| f64::from(v)).sum::<f64>() / tokens;
    (0..classes).map(|class| (1.0 / (1.0 + (-mean(class)).exp())) as f32).collect()
}

/// The pipeline's embeddings of the stored waveform and of the long clips that the config describes.
fn compare_long(checker: &mut Checker<'_>, embed: &Embed<'_>) -> Result<()> {
    compare_stored(checker, "pipeline_embeddings", embed)?;
    let samples = |clip: &str| clip.trim_end_matches('f').parse::<usize>().ok().map(|frames| frames * FRAME_SAMPLES);
    compare_clips(checker, "chunked", "chunked_", samples, embed)
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

type Embed<'a> = dyn Fn(&Vec<f32>, usize, Emit<'_>) -> Result<()> + 'a;

/// All that `embed` emits.
pub fn collect(embed: impl FnOnce(Emit<'_>) -> Result<()>) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    embed(&mut |vector| {
        all.extend_from_slice(vector);
        Ok(())
    })?;
    Ok(all)
}

/// The pipeline's embeddings of the stored waveform, as output `name`.
fn compare_stored(checker: &mut Checker<'_>, name: &str, embed: &Embed<'_>) -> Result<()> {
    let waveform = checker.golden.input("waveform")?.to_f32();
    let values = collect(|emit| embed(&waveform, frames_of(waveform.len()), emit))?;
    let shape = checker.golden.output(name)?.shape;
    checker.compare_values(&format!("output.{name}"), &shape, &values, Some(BAR))
}

/// The pipeline's embeddings of the clips that the config describes under `group` by name, whose length `samples` tells.
fn compare_clips(
    checker: &mut Checker<'_>,
    group: &str,
    prefix: &str,
    samples: fn(&str) -> Option<usize>,
    embed: &Embed<'_>,
) -> Result<()> {
    let clips: Vec<String> = match checker.golden.config[group].as_object() {
        Some(clips) => clips.keys().cloned().collect(),
        None => Vec::new(),
    };
    for clip in clips {
        let samples = samples(&clip)
            .ok_or_else(|| Problem::new(format!("config.{group}"), "names that tell a length", clip.clone()).input())?;
        let waveform: Vec<f32> = (0..samples as u64).map(synthetic).collect();
        let values = collect(|emit| embed(&waveform, frames_of(samples), emit))?;
        compare_frames(checker, &format!("output.{prefix}{clip}."), &values)?;
    }
    Ok(())
}

/// Embeddings `[frames, 2, channels]` against each output under `prefix`: `..everyN` has every N-th frame, `lastN` the last N.
fn compare_frames(checker: &mut Checker<'_>, prefix: &str, values: &[f32]) -> Result<()> {
    for rest in checker.golden.names_under(prefix) {
        let name = format!("{prefix}{rest}");
        let shape = checker.golden.tensor(&name)?.shape;
        let width = shape.iter().skip(1).product::<usize>().max(1);
        let frames: Vec<&[f32]> = values.chunks_exact(width).collect();
        let number = rest.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().ok().filter(|&n| n > 0);
        let kept = match (number, rest.contains("every")) {
            (Some(step), true) => frames.iter().step_by(step).copied().collect::<Vec<_>>().concat(),
            (Some(count), false) if rest.starts_with("last") => frames[frames.len().saturating_sub(count)..].concat(),
            _ => return Err(Problem::new(name, "an output ..everyN or lastN", rest).input()),
        };
        checker.compare_values(&name, &shape, &kept, Some(BAR))?;
    }
    Ok(())
}

/// Sample `i` of a long clip (golden/README.md, 09).
fn synthetic(i: u64) -> f32 {
    let mixed = (i * i * 7919 + i * 104_729 + 12_345) % 65_536;
    0.25 * (mixed as f32 / 32_768.0 - 1.0)
}

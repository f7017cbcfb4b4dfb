//! Golden case keyface_audio: what KeyFace's two networks hear of a clip, from three encoders whose weights lie in other files.

use super::checker::Checker;
use super::golden::compare;
use super::speech::collect;
use crate::models::beats::{self, Beats};
use crate::models::hubert::{self, Hubert};
use crate::models::wavlm::{self, WavLm};
use crate::pipelines::audio::{
    beats_embeddings, frames_of, interpolation_embeddings, keyframe_embeddings, wav2vec2_embeddings,
    whole_wavlm_embeddings,
};
use crate::pipelines::segments::{Parity, stretched_vector};
use crate::{Problem, Result};

const BAR: f64 = 1e-4;
/// Of what passes through a filter bank.
const BEATS_BAR: f64 = 1e-3;

pub fn check(checker: &mut Checker<'_>) -> Result<()> {
    let (wavlm, beats, wav2vec2) = load(checker)?;
    let (gpu, parity) = (checker.gpu, Parity::Upstream);
    let clips: Vec<String> = match checker.golden.config["clips"].as_object() {
        Some(clips) => clips.keys().cloned().collect(),
        None => return Err(Problem::new("config.clips", "clips by name", "none").input()),
    };
    for clip in clips {
        let waveform = checker.golden.input(&format!("{clip}.waveform"))?.to_f32();
        let frames = frames_of(waveform.len());
        let of_wavlm = collect(|emit| whole_wavlm_embeddings(gpu, &wavlm, &waveform, frames, parity, emit))?;
        let of_beats = collect(|emit| beats_embeddings(gpu, &beats, &waveform, frames, parity, emit))?;
        let of_wav2vec2 = collect(|emit| wav2vec2_embeddings(gpu, &wav2vec2, &waveform, frames, parity, emit))?;
        for (name, values, bar) in
            [("wavlm", &of_wavlm, BAR), ("beats", &of_beats, BEATS_BAR), ("wav2vec2", &of_wav2vec2, BAR)]
        {
            let name = format!("intermediate.{clip}.{name}");
            let shape = checker.golden.tensor(&name)?.shape;
            checker.compare_values(&name, &shape, values, Some(bar))?;
        }
        compare_slots(checker, &clip, "wavlm", frames)?;
        compare_slots(checker, &clip, "beats", frames)?;

        let keyframes = collect(|emit| keyframe_embeddings(gpu, &wavlm, &of_beats, &waveform, frames, parity, emit))?;
        compare_halves(checker, &format!("output.{clip}.audio_keyframes"), &keyframes, of_beats.len(), frames)?;
        let between =
            collect(|emit| interpolation_embeddings(gpu, &wav2vec2, &of_beats, &waveform, frames, parity, emit))?;
        compare_halves(checker, &format!("output.{clip}.audio_interpolation"), &between, of_beats.len(), frames)?;
    }
    Ok(())
}

fn load(checker: &Checker<'_>) -> Result<(WavLm, Beats, Hubert)> {
    let golden = checker.golden;
    let number = |role: &str, key: &str| {
        let config = golden.network_config_for(role)?;
        let missing = || Problem::new(format!("config of {role}: {key}"), "a number", config[key].to_string()).input();
        config[key].as_u64().map(|v| v as usize).ok_or_else(missing)
    };
    let max_distance = number("wavlm", "max_distance")?;
    let wavlm = golden
        .weights_for("wavlm")?
        .checked(wavlm::UNUSED, false, |w| WavLm::load(&checker.loader(w), wavlm::Config { max_distance }))?;
    let config = beats::Config::read(&golden.network_config_for("beats")?)?;
    let beats =
        golden.weights_for("beats")?.checked(beats::UNUSED, false, |w| Beats::load(&checker.loader(w), config))?;
    let heads = number("wav2vec2", "num_attention_heads")?;
    let wav2vec2 = golden
        .weights_for("wav2vec2")?
        .checked(hubert::UNUSED, false, |w| Hubert::load(&checker.loader(w), hubert::Config { heads }))?;
    Ok((wavlm, beats, wav2vec2))
}

/// The vector that each slot takes, against `config.clips.CLIP.ENCODER_source_token_of_slot`; no row where that is missing.
fn compare_slots(checker: &mut Checker<'_>, clip: &str, encoder: &str, frames: usize) -> Result<()> {
    let config = &checker.golden.config["clips"][clip];
    let name = format!("{encoder}_source_token_of_slot");
    let (Some(want), Some(vectors)) = (config[&name].as_array(), config[format!("{encoder}_tokens")].as_u64()) else {
        return Ok(());
    };
    let want: Vec<f32> = want.iter().map(|v| v.as_f64().unwrap_or(f64::NAN) as f32).collect();
    let slots = 2 * frames.next_multiple_of(2);
    let got: Vec<f32> = (0..slots).map(|slot| stretched_vector(slot, slots, vectors as usize) as f32).collect();
    let name = format!("config.clips.{clip}.{name}");
    let comparison = compare(&name, &got, &want)?;
    checker.push(&name, comparison, Some(0.0));
    Ok(())
}

/// Joined vectors: the speech encoder's part and that of BEATs, each by its own bar. `beats` counts the values of BEATs over an even
/// number of frames.
fn compare_halves(checker: &mut Checker<'_>, name: &str, got: &[f32], beats: usize, frames: usize) -> Result<()> {
    let want = checker.golden.tensor(name)?;
    let width = want.shape.last().copied().unwrap_or(1).max(1);
    let of_beats = beats / (2 * frames.next_multiple_of(2)).max(1);
    if want.shape != [frames, 2, width] || got.len() != want.to_f32().len() || of_beats > width {
        let found = format!("{} values", got.len());
        return Err(Problem::new(name, format!("{:?}", want.shape), found).shape());
    }
    let part = |values: &[f32], range: std::ops::Range<usize>| -> Vec<f32> {
        values.chunks_exact(width).flat_map(|vector| vector[range.clone()].iter().copied()).collect()
    };
    let split = width - of_beats;
    for (half, range, bar) in [("speech", 0..split, BAR), ("BEATs", split..width, BEATS_BAR)] {
        let comparison = compare(name, &part(got, range.clone()), &part(&want.to_f32(), range))?;
        checker.push(&format!("{name} ({half})"), comparison, Some(bar));
    }
    Ok(())
}

//! Golden cases sampling_keyframes and sampling_interpolation, KeyFace's alike: conditioning, the whole loop, and for
//! interpolation KeySync's key latents put back, decoding and the merge.

use super::checker::Checker;
use super::golden::{Comparison, Worst};
use super::unet;
use crate::diffusion::schedule::{self, ays};
use crate::diffusion::{AUDIO_SCALE, AUTO_SCALE, Branch, Denoiser, Guidance, REFERENCE_SCALE, Sampler};
use crate::gpu::Elem;
use crate::models::clip_unet::{AudioProjection, weaker_weights};
use crate::models::vae::{Decoder, LATENT_SCALE};
use crate::nn::Trace;
use crate::ops::Inpaint;
use crate::pipelines::sampling::Levels;
use crate::pipelines::stage::{Conditions, StageNetworks, with_keyframes};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::cell::RefCell;

const BAR: f64 = 1e-4;
/// What `viseme` may lose over a whole loop where the golden file does not say otherwise.
const U8_SHARE: f64 = 0.01;
/// Sums of two or three values in another order at most.
const MERGE_BAR: f64 = 1e-6;

/// One loop's inputs, channels-last, and what it is called in the file.
struct Loop<'a> {
    networks: StageNetworks<'a>,
    guidance: Guidance,
    /// `[clips, height, width, 4 or 8]`, not yet divided by the latent scale.
    reference: &'a Tensor,
    /// Projected, `[clips, frames, channels]`.
    audio: &'a Tensor,
    /// `[clips * frames, channels]`.
    emotion: Option<&'a Tensor>,
    /// `[clips, frames, height, width, 4]`, standard normal.
    noise: &'a Tensor,
    inpaint: Option<Inpaint<'a>>,
    /// In front of the names of its steps.
    prefix: String,
    /// What the file holds of the conditions is this loop's, or part of it is.
    has_batched: bool,
    has_cond: bool,
}

/// The audio of all clips, projected.
fn projected_audio(checker: &Checker<'_>) -> Result<Tensor> {
    let pairs = checker.input("audio_emb")?;
    let [clips, frames, two, channels] = pairs.dims("audio_emb")?;
    let weights = checker.golden.weights()?.at("conditioner");
    let projection = AudioProjection::load(&checker.loader(&weights))?;
    let audio = projection.forward(&pairs.reshape(&[clips * frames, two, channels])?)?;
    audio.reshape(&[clips, frames, audio.last_dim()])
}

/// The three-branch guidance with the file's ratios.
fn audio_reference(checker: &Checker<'_>) -> Guidance {
    let ratio = |path: &str, published: f32| checker.number(path).map_or(published, |ratio| ratio as f32);
    Guidance::AudioReference {
        audio: ratio("audio_ratio", AUDIO_SCALE),
        reference: ratio("ref_ratio", REFERENCE_SCALE),
    }
}

/// Runs the loop and compares every step that the file holds.
fn run(checker: &mut Checker<'_>, job: &Loop<'_>) -> Result<Tensor> {
    let steps = match checker.setting("euler_steps_done") {
        Ok(steps) => steps,
        Err(_) => schedule::upstream_evaluations(checker.setting("num_steps").unwrap_or(10))?,
    };
    let sigmas = ays(steps)?;
    let [clips, frames, ..] = job.noise.dims::<5>("noise")?;
    let branches = job.guidance.branches();
    let conditions = Conditions::new(job.networks, job.reference, job.audio, job.emotion, branches)?;
    let mut told = Vec::new();
    if job.has_cond {
        told.push(("cond.crossattn", Some(job.audio)));
        told.push(("cond.vector", job.emotion));
        told.push(("uncond.vector", job.emotion));
    }
    if let (true, Some(batched)) = (job.has_batched, conditions.batched()) {
        told.push(("batched.crossattn", Some(batched.audio)));
        told.push(("batched.vector", batched.emotion));
    }
    for (name, tensor) in told {
        let name = format!("intermediate.{name}");
        if let (true, Some(tensor)) = (checker.golden.has(&name), tensor) {
            checker.compare(&name, tensor, Some(BAR))?;
        }
    }

    let denoiser = Denoiser { guidance: job.guidance, inpaint: job.inpaint, batched: true };
    let x = job.noise.affine(schedule::initial_scale(sigmas[0]) as f32, 0.0)?;
    if job.has_batched {
        compare_if_there(checker, "intermediate.scaled_initial_x", &x)?;
    }
    let network = |x: &Tensor, branches: &[Branch], c_noise: f64| {
        let c_noise = vec![c_noise as f32; branches.len() * clips * frames];
        conditions.forward(x, branches, &c_noise, Levels::All)
    };
    let parts = RefCell::new(Vec::new());
    Sampler::default().run(
        x,
        &sigmas,
        |x, sigma| {
            let made = denoiser.denoise_branches(x, sigma, network)?;
            let guided = job.guidance.guide(&made);
            parts.replace(made);
            guided
        },
        |_| Err(Problem::new("noise", "a sampler without churn", "churn").usage()),
        |step, denoised, x| {
            let step = format!("intermediate.{}step{step:02}", job.prefix);
            let parts = parts.borrow();
            let all = Tensor::stack_rows(&parts.iter().collect::<Vec<_>>())?;
            compare_if_there(checker, &format!("{step}.denoised_3branches"), &all)?;
            if let (Guidance::Auto { .. }, [bad, good]) = (job.guidance, parts.as_slice()) {
                compare_if_there(checker, &format!("{step}.denoised_bad"), bad)?;
                compare_if_there(checker, &format!("{step}.denoised_good"), good)?;
            }
            compare_if_there(checker, &format!("{step}.guided_denoised"), denoised)?;
            compare_if_there(checker, &format!("{step}.x"), x)
        },
    )
}

fn compare_if_there(checker: &mut Checker<'_>, name: &str, got: &Tensor) -> Result<()> {
    if checker.golden.has(name) { checker.compare_images(name, got, Some(BAR)) } else { Ok(()) }
}

/// KeySync's inputs of a loop: what is kept, where, and noise, `[clips, frames, height, width, ..]`.
fn keysync_inputs(checker: &Checker<'_>) -> Result<[Tensor; 3]> {
    let clean = checker.images("gt")?;
    let noise = checker.images("noise")?.reshape(clean.shape())?;
    Ok([clean, checker.images("masks")?, noise])
}

fn keysync_loop(checker: &mut Checker<'_>, reference: &Tensor) -> Result<Tensor> {
    let unet = unet::load(checker)?;
    let [clean, mask, noise] = keysync_inputs(checker)?;
    let job = Loop {
        networks: StageNetworks::one(&unet),
        guidance: audio_reference(checker),
        reference,
        audio: &projected_audio(checker)?,
        emotion: None,
        noise: &noise,
        inpaint: Some(Inpaint { mask: &mask, clean: &clean }),
        prefix: String::new(),
        has_batched: true,
        has_cond: true,
    };
    run(checker, &job)
}

pub fn check_keyframes(checker: &mut Checker<'_>) -> Result<()> {
    let reference = checker.images("cond_frame_latent")?;
    let latents = keysync_loop(checker, &reference)?;
    checker.compare_images("output.latents", &latents, Some(BAR))
}

pub fn check_interpolation(checker: &mut Checker<'_>) -> Result<()> {
    let (kept, reference) = keyframe_pairs(checker)?;
    let sampled = keysync_loop(checker, &reference)?;
    checker.compare_images("intermediate.sampler_out", &sampled, Some(BAR))?;
    let latents = with_keyframes(&sampled, &kept)?;
    checker.compare_images("output.latents", &latents, Some(BAR))?;
    decode(checker, &latents)?;
    compare_merges(checker)
}

/// Batches of keyframes one after another, with an emotion and the same identity.
pub fn check_keyface_keyframes(checker: &mut Checker<'_>) -> Result<()> {
    let unet = unet::load(checker)?;
    let reference = checker.images("cond_frame_latent")?;
    let audio = projected_audio(checker)?;
    let noise = checker.images("noise")?;
    let [batches, frames, ..] = noise.dims::<5>("noise")?;
    let emotion = unet::emotion(checker, &unet, "")?;
    let guidance = audio_reference(checker);
    // The batches whose conditions the file holds, before and after the branches are put together.
    let batched = checker.setting("batched_recorded_for_batch").unwrap_or(0);
    let cond = checker.setting("cond_recorded_for_batch").unwrap_or(batches.saturating_sub(1));
    let mut latents = Vec::new();
    for batch in 0..batches {
        let emotion = emotion.as_ref().map(|rows| rows.narrow_rows(batch * frames, frames)).transpose()?;
        let job = Loop {
            networks: StageNetworks::one(&unet),
            guidance,
            reference: &reference,
            audio: &audio.narrow_rows(batch, 1)?,
            emotion: emotion.as_ref(),
            noise: &noise.narrow_rows(batch, 1)?,
            inpaint: None,
            prefix: format!("batch{batch}."),
            has_batched: batched == batch,
            has_cond: cond == batch,
        };
        latents.push(run(checker, &job)?);
    }
    let latents = Tensor::stack_rows(&latents.iter().collect::<Vec<_>>())?;
    checker.compare_images("output.latents", &latents, Some(BAR))
}

/// Autoguidance by a second network; the ends stay as they are sampled and meet in the picture.
pub fn check_keyface_interpolation(checker: &mut Checker<'_>) -> Result<()> {
    let unet = unet::load(checker)?;
    let weaker = weaker_weights(&checker.golden.weights_under("weights_bad.")?)?;
    let weaker = unet::load_from(checker, &weaker)?;
    let (_, reference) = keyframe_pairs(checker)?;
    let audio = projected_audio(checker)?;
    let [clips, frames, _] = audio.dims("audio")?;
    let noise = checker.images("noise")?;
    let [_, height, width, channels] = noise.dims("noise")?;
    let job = Loop {
        networks: StageNetworks { main: &unet, weaker: Some(&weaker) },
        guidance: Guidance::Auto { scale: checker.number("guidance_scale").map_or(AUTO_SCALE, |scale| scale as f32) },
        reference: &reference,
        audio: &audio,
        emotion: None,
        noise: &noise.reshape(&[clips, frames, height, width, channels])?,
        inpaint: None,
        prefix: String::new(),
        has_batched: true,
        has_cond: true,
    };
    let latents = run(checker, &job)?;
    checker.compare_images("output.latents", &latents, Some(BAR))?;
    decode(checker, &latents)
}

/// The keyframes that are not removed, `[1, height, width, 4]` each, and neighbours of them side by side.
fn keyframe_pairs(checker: &Checker<'_>) -> Result<(Vec<Tensor>, Tensor)> {
    let keyframes = checker.images("keyframe_latents")?;
    let removed = checker.golden.input("to_remove")?;
    let mut kept = Vec::new();
    for (index, &removed) in removed.to_u8()?.iter().enumerate() {
        if removed == 0 {
            kept.push(keyframes.narrow_rows(index, 1)?);
        }
    }
    let ends: Vec<Tensor> =
        kept.windows(2).map(|pair| Tensor::concat_channels(&[&pair[0], &pair[1]])).collect::<Result<_>>()?;
    let reference = Tensor::stack_rows(&ends.iter().collect::<Vec<_>>())?;
    Ok((kept, reference))
}

/// The merge alone, on segments of any kind with overlaps that the outputs' names tell.
fn compare_merges(checker: &mut Checker<'_>) -> Result<()> {
    for overlap in checker.golden.names_under("output.merge.overlap") {
        if let Ok(frames) = overlap.parse() {
            let merged = checker.input("merge.segments")?.overlap_merge(frames)?;
            checker.compare(&format!("output.merge.overlap{overlap}"), &merged, Some(MERGE_BAR))?;
        }
    }
    Ok(())
}

/// Frame by frame, the shared frames of neighbours averaged, to u8.
fn decode(checker: &mut Checker<'_>, latents: &Tensor) -> Result<()> {
    let weights = checker.golden.weights()?.at("first_stage_model");
    let decoder = Decoder::load(&checker.loader(&weights).with_weight_elem(Elem::F32))?;
    let [clips, frames, height, width, channels] = latents.dims("latents")?;
    let flat = latents.reshape(&[clips * frames, height, width, channels])?;
    let mut pictures = Vec::new();
    for frame in 0..clips * frames {
        let z = flat.narrow_rows(frame, 1)?.affine(1.0 / LATENT_SCALE, 0.0)?;
        let picture = decoder.forward(&z, &mut Trace::off())?;
        let name = format!("intermediate.decoded_frame{frame}");
        if checker.golden.has(&name) {
            checker.compare_images(&name, &picture, Some(BAR))?;
        }
        pictures.push(picture.affine(0.5, 0.5)?.clamp(0.0, 1.0)?);
    }
    let pictures = Tensor::stack_rows(&pictures.iter().collect::<Vec<_>>())?;
    let [_, out_height, out_width, colours] = pictures.dims("pictures")?;
    let merged = pictures.reshape(&[clips, frames, out_height, out_width, colours])?.overlap_merge(1)?;
    let wanted = checker.golden.output("video_u8_subset")?;
    let subset: Vec<usize> = match checker.golden.config["video_u8_subset_frames"].as_array() {
        Some(frames) => frames.iter().filter_map(|f| f.as_u64()).map(|f| f as usize).collect(),
        None => (0..merged.shape()[0]).collect(),
    };
    if let Some(frame) = subset.iter().find(|&&frame| frame >= merged.shape()[0]) {
        let expected = format!("frames within {}", merged.shape()[0]);
        return Err(Problem::new("video_u8_subset_frames", expected, frame.to_string()).input());
    }
    let pictures = subset.iter().map(|&frame| merged.narrow_rows(frame, 1)).collect::<Result<Vec<_>>>()?;
    let shown = Tensor::stack_rows(&pictures.iter().collect::<Vec<_>>())?;
    if wanted.shape != [subset.len(), colours, out_height, out_width] {
        return Err(Problem::new("video_u8_subset", format!("{shown:?}"), format!("{:?}", wanted.shape)).input());
    }
    let got = super::checker::channels_first([subset.len(), out_height, out_width, colours], &shown.to_f32()?);
    let got: Vec<f32> = got.iter().map(|v| (v * 255.0).trunc()).collect();
    let want = wanted.to_f32();
    let different = got.iter().zip(&want).filter(|(g, w)| g != w).count() as f64 / want.len().max(1) as f64;
    let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    // At most one level off, in less than 1 % of the pixels; f16 storage moves more of them.
    let share_bar = if checker.elem == Elem::F32 { Some(U8_SHARE) } else { None };
    let worst_of = |value: f64| Worst { index: 0, got: value, want: 0.0 };
    checker.push(
        "output.video_u8_subset (share of pixels off)",
        Comparison { relative_l2: different, cosine: None, worst: worst_of(different) },
        share_bar,
    );
    let level_bar = if checker.elem == Elem::F32 { Some(1.0) } else { None };
    let level = f64::from(worst);
    checker.push(
        "output.video_u8_subset (levels off)",
        Comparison { relative_l2: level, cosine: None, worst: worst_of(level) },
        level_bar,
    );
    Ok(())
}

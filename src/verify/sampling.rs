//! Golden cases sampling_keyframes and sampling_interpolation: conditioning, the whole loop, and for interpolation the
//! key latents put back, decoding and the merge.

use super::checker::Checker;
use super::golden::{Comparison, Worst};
use super::unet;
use crate::diffusion::schedule::{self, ays};
use crate::diffusion::{Branch, Denoiser, Guidance, Sampler};
use crate::gpu::Elem;
use crate::models::keysync::{AudioProjection, ClipUnet};
use crate::models::vae::{Decoder, LATENT_SCALE};
use crate::nn::Trace;
use crate::ops::Inpaint;
use crate::pipelines::stage::{Conditions, with_keyframes};
use crate::tensor::Tensor;
use crate::{Problem, Result};

const BAR: f64 = 1e-4;
/// What `viseme` may lose over a whole loop where the golden file does not say otherwise.
const U8_SHARE: f64 = 0.01;

/// `[clips, frames, channels, height, width]` inputs of a loop, channels-last.
struct Inputs {
    audio: Tensor,
    clean: Tensor,
    mask: Tensor,
    noise: Tensor,
}

fn inputs(checker: &Checker<'_>) -> Result<Inputs> {
    let clean = checker.images("gt")?;
    let noise = checker.images("noise")?.reshape(clean.shape())?;
    let pairs = checker.input("audio_emb")?;
    let [clips, frames, two, channels] = pairs.dims("audio_emb")?;
    let weights = checker.golden.weights()?.at("conditioner");
    let projection = AudioProjection::load(&checker.loader(&weights))?;
    let audio = projection.forward(&pairs.reshape(&[clips * frames, two, channels])?)?;
    let audio = audio.reshape(&[clips, frames, audio.last_dim()])?;
    Ok(Inputs { audio, clean, mask: checker.images("masks")?, noise })
}

/// Runs the loop and compares every step that the file holds. `reference` `[clips, height, width, 4 or 8]`, not yet divided
/// by the latent scale.
fn run(checker: &mut Checker<'_>, unet: &ClipUnet, inputs: &Inputs, reference: &Tensor) -> Result<Tensor> {
    let guidance = Guidance::AudioReference {
        audio: checker.number("audio_ratio").unwrap_or(5.0) as f32,
        reference: checker.number("ref_ratio").unwrap_or(2.0) as f32,
    };
    let steps = match checker.setting("euler_steps_done") {
        Ok(steps) => steps,
        Err(_) => schedule::upstream_evaluations(checker.setting("num_steps").unwrap_or(10))?,
    };
    let sigmas = ays(steps)?;
    let [clips, frames, ..] = inputs.clean.dims::<5>("gt")?;
    let conditions = Conditions::new(unet, reference, &inputs.audio, guidance.branches())?;
    for (name, tensor) in [("cond.crossattn", &inputs.audio), ("batched.crossattn", conditions.audio())] {
        let name = format!("intermediate.{name}");
        if checker.golden.has(&name) {
            checker.compare(&name, tensor, Some(BAR))?;
        }
    }
    let inpaint = Inpaint { mask: &inputs.mask, clean: &inputs.clean };
    let denoiser = Denoiser { guidance, inpaint: Some(inpaint), batched: true };
    let x = inputs.noise.affine(schedule::initial_scale(sigmas[0]) as f32, 0.0)?;
    if checker.golden.has("intermediate.scaled_initial_x") {
        checker.compare_images("intermediate.scaled_initial_x", &x, Some(BAR))?;
    }
    let network = |x: &Tensor, branches: &[Branch], c_noise: f64| {
        let c_noise = vec![c_noise as f32; branches.len() * clips * frames];
        conditions.forward(unet, x, branches, &c_noise)
    };
    Sampler::default().run(
        x,
        &sigmas,
        |x, sigma| denoiser.denoise(x, sigma, network),
        |_| Err(Problem::new("noise", "a sampler without churn", "churn").usage()),
        |step, denoised, x| {
            for (name, tensor) in [("guided_denoised", denoised), ("x", x)] {
                let name = format!("intermediate.step{step:02}.{name}");
                if checker.golden.has(&name) {
                    checker.compare_images(&name, tensor, Some(BAR))?;
                }
            }
            Ok(())
        },
    )
}

pub fn check_keyframes(checker: &mut Checker<'_>) -> Result<()> {
    let unet = unet::load(checker)?;
    let inputs = inputs(checker)?;
    let reference = checker.images("cond_frame_latent")?;
    let latents = run(checker, &unet, &inputs, &reference)?;
    checker.compare_images("output.latents", &latents, Some(BAR))
}

pub fn check_interpolation(checker: &mut Checker<'_>) -> Result<()> {
    let unet = unet::load(checker)?;
    let inputs = inputs(checker)?;
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
    let sampled = run(checker, &unet, &inputs, &reference)?;
    checker.compare_images("intermediate.sampler_out", &sampled, Some(BAR))?;

    let latents = with_keyframes(&sampled, &kept)?;
    checker.compare_images("output.latents", &latents, Some(BAR))?;
    decode(checker, &latents)
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
        pictures.push(picture.affine(0.5, 0.5)?.clamp(0.0, 1.0)?.to_f32()?);
    }
    let merged = merge(&pictures, clips, frames);
    let wanted = checker.golden.output("video_u8_subset")?;
    let [_, colours, out_height, out_width] = wanted.shape[..] else {
        return Err(
            Problem::new("video_u8_subset", "[frames, 3, height, width]", format!("{:?}", wanted.shape)).input()
        );
    };
    let subset: Vec<usize> = match checker.golden.config["video_u8_subset_frames"].as_array() {
        Some(frames) => frames.iter().filter_map(|f| f.as_u64()).map(|f| f as usize).collect(),
        None => (0..merged.len()).collect(),
    };
    let mut got = Vec::new();
    for frame in subset {
        let picture = merged.get(frame).ok_or_else(|| {
            Problem::new("video_u8_subset_frames", format!("frames within {}", merged.len()), frame.to_string()).input()
        })?;
        got.extend(super::checker::channels_first([1, out_height, out_width, colours], picture));
    }
    let got: Vec<f32> = got.iter().map(|v| (v * 255.0).trunc()).collect();
    let want = wanted.to_f32();
    let different = got.iter().zip(&want).filter(|(g, w)| g != w).count() as f64 / want.len().max(1) as f64;
    let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    // At most one level off, in less than 1 % of the pixels; f16 storage moves more of them.
    let share_bar = if checker.elem == Elem::F32 { Some(U8_SHARE) } else { None };
    let worst_of = |value: f64| Worst { index: 0, got: value, want: 0.0 };
    checker.push(
        "output.video_u8_subset (share of pixels off)",
        Comparison { relative_l2: different, worst: worst_of(different) },
        share_bar,
    );
    let level_bar = if checker.elem == Elem::F32 { Some(1.0) } else { None };
    let level = f64::from(worst);
    checker.push(
        "output.video_u8_subset (levels off)",
        Comparison { relative_l2: level, worst: worst_of(level) },
        level_bar,
    );
    Ok(())
}

/// Segments `[clips][frames]` of pictures whose last and first frames coincide, those averaged.
fn merge(pictures: &[Vec<f32>], clips: usize, frames: usize) -> Vec<Vec<f32>> {
    let mut merged: Vec<Vec<f32>> = Vec::new();
    for clip in 0..clips {
        for frame in 0..frames {
            let picture = &pictures[clip * frames + frame];
            match merged.last_mut() {
                Some(shared) if clip > 0 && frame == 0 => {
                    shared.iter_mut().zip(picture).for_each(|(a, b)| *a = (*a + b) / 2.0);
                }
                _ => merged.push(picture.clone()),
            }
        }
    }
    merged
}

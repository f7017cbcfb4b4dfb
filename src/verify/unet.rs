//! Golden cases unet_keyframe and unet_interpolation, KeyFace's alike: one call of the network, in one or more sets of sizes.

use super::checker::Checker;
use crate::models::clip_unet::{ClipUnet, Prompt};
use crate::models::unet::{Config, Deep};
use crate::nn::Trace;
use crate::tensor::Tensor;
use crate::weights::Weights;
use crate::{Problem, Result};

const BAR: f64 = 1e-4;

pub fn check(checker: &mut Checker<'_>) -> Result<()> {
    let unet = load(checker)?;
    let mut sets: Vec<String> = checker.golden.names_under("output.");
    sets.retain(|name| name.ends_with(".y"));
    if sets.is_empty() {
        let path = checker.golden.path.display().to_string();
        return Err(Problem::new(path, "tensors output.SET.y", "none").input());
    }
    for set in sets {
        let set = set.trim_end_matches(".y");
        let audio = checker.input(&format!("{set}.crossattn"))?;
        let [clips, frames, _] = audio.dims("crossattn")?;
        let x = checker.images(&format!("{set}.x"))?;
        let [_, height, width, channels] = x.dims("x")?;
        let x = x.reshape(&[clips, frames, height, width, channels])?;
        let concat = unet.condition(&checker.images(&format!("{set}.concat"))?, frames)?;
        let emotion = emotion(checker, &unet, &format!("{set}."))?;
        if let Some(emotion) = &emotion {
            checker.compare(&format!("input.{set}.vector"), emotion, Some(BAR))?;
        }
        let c_noise = checker.golden.input(&format!("{set}.c_noise"))?.to_f32();
        let indicator = checker.golden.input(&format!("{set}.image_only_indicator"))?.to_f32();
        let image_only: Vec<bool> = indicator.iter().map(|&v| v != 0.0).collect();
        let mut trace = Trace::on();
        let prompt = Prompt { concat: &concat, audio: &audio, unheard: 0, emotion: emotion.as_ref() };
        let prepared = unet.prepare(prompt, &mut trace)?;
        let y = unet.forward(&x, &prepared, &c_noise, Some(&image_only), Deep::Run, &mut trace)?;
        checker.compare_notes(&format!("{set}."), trace, BAR)?;
        checker.compare_images(&format!("output.{set}.y"), &y, Some(BAR))?;
    }
    Ok(())
}

/// The inputs `PREFIXvalence` and `PREFIXarousal` `[clips, frames]` as the network takes them; None where it takes none.
pub fn emotion(checker: &Checker<'_>, unet: &ClipUnet, prefix: &str) -> Result<Option<Tensor>> {
    if !checker.golden.has(&format!("input.{prefix}valence")) {
        return Ok(None);
    }
    let valence = checker.golden.input(&format!("{prefix}valence"))?.to_f32();
    let arousal = checker.golden.input(&format!("{prefix}arousal"))?.to_f32();
    let feelings: Vec<[f32; 2]> = valence.into_iter().zip(arousal).map(|(v, a)| [v, a]).collect();
    unet.emotion(checker.gpu, &feelings)
}

/// The network that the file's weights and config describe.
pub fn load(checker: &Checker<'_>) -> Result<ClipUnet> {
    load_from(checker, &checker.golden.weights()?.at("model"))
}

/// The network of this config at `weights`.
pub fn load_from(checker: &Checker<'_>, weights: &Weights) -> Result<ClipUnet> {
    let config = Config { head_dim: checker.setting("num_head_channels")? };
    weights.checked(&[], false, |w| ClipUnet::load(&checker.unet_loader(w), config, checker.elem))
}

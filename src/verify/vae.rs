//! Golden cases vae_hub and vae_sgm: encode to moments, decode together and one frame at a time.

use super::checker::Checker;
use crate::Result;
use crate::models::vae::{Decoder, Encoder};
use crate::nn::Trace;
use crate::tensor::Tensor;

const BAR: f64 = 1e-4;

pub fn check(checker: &mut Checker<'_>) -> Result<()> {
    let weights = checker.golden.weights()?;
    let weights = if weights.has("first_stage_model") { weights.at("first_stage_model") } else { weights };
    let (encoder, decoder) = weights.checked(&[], false, |w| {
        let l = checker.loader(w);
        Ok((Encoder::load(&l)?, Decoder::load(&l)?))
    })?;

    let x = checker.images("x")?.cast(checker.elem)?;
    let mut trace = Trace::on();
    let moments = encoder.forward(&x, &mut trace)?;
    compare_notes(checker, trace)?;
    let (mean, log_variance) = (&moments.mean, &moments.log_variance);
    let both = Tensor::concat_channels(&[mean, log_variance])?;
    for (name, tensor) in
        [("latent_mean", mean), ("latent_mode", mean), ("latent_logvar", log_variance), ("moments", &both)]
    {
        let name = format!("output.{name}");
        if checker.golden.has(&name) {
            checker.compare_images(&name, tensor, Some(BAR))?;
        }
    }

    let z = checker.images("decode_z")?.cast(checker.elem)?;
    let mut trace = Trace::on();
    let together = decoder.forward(&z, &mut trace)?;
    compare_notes(checker, trace)?;
    let alone: Vec<Tensor> = (0..z.shape()[0])
        .map(|frame| decoder.forward(&z.narrow_rows(frame, 1)?, &mut Trace::off()))
        .collect::<Result<_>>()?;
    let alone = Tensor::stack_rows(&alone.iter().collect::<Vec<_>>())?;
    for (name, tensor) in [
        ("decoded_num_frames_T", &together),
        ("decoded_timesteps_T", &together),
        ("decoded_one_at_a_time", &alone),
        ("decoded_timesteps_1", &alone),
    ] {
        let name = format!("output.{name}");
        if checker.golden.has(&name) {
            checker.compare_images(&name, tensor, Some(BAR))?;
        }
    }
    Ok(())
}

/// The training code calls the encoder's middle after its last block.
fn compare_notes(checker: &mut Checker<'_>, trace: Trace) -> Result<()> {
    let mut both = Trace::on();
    for (name, tensor) in trace.into_notes() {
        both.note(&name, &tensor);
        if name == "encoder.mid_block" {
            both.note("encoder.mid.block_2", &tensor);
        }
    }
    checker.compare_notes("", both, BAR)
}

//! Golden case blocks: single blocks of the video UNet with inner values.

use super::checker::Checker;
use crate::Result;
use crate::models::unet::{Config, Moment, SpatialVideoTransformer, VideoResBlock, resample_clips};
use crate::nn::{Conv2d, FeedForward, Trace, sinusoidal_embedding};

const BAR: f64 = 1e-5;
/// The reference works in f32, where a large number's phase is coarse.
const SINUSOID_BAR: f64 = 1e-4;

pub fn check(checker: &mut Checker<'_>) -> Result<()> {
    let weights = checker.golden.weights()?;
    let l = checker.unet_loader(&weights);
    let (clips, frames) = (checker.setting("batch")?, checker.setting("frames")?);
    let config = Config { head_dim: checker.setting("head_dim")? };
    let flags = |checker: &Checker<'_>, name: &str| -> Result<Vec<bool>> {
        Ok(checker.golden.input(name)?.to_f32().iter().map(|&v| v != 0.0).collect())
    };

    let x = checker.images("resblock.x")?;
    let [_, height, width, inputs] = x.dims("x")?;
    let x = x.reshape(&[clips, frames, height, width, inputs])?.cast(checker.elem)?;
    let block = VideoResBlock::load(&l.at("resblock"), inputs, checker.setting("out_channels")?)?;
    let silu_emb = checker.input("resblock.emb")?.silu()?;
    let image_only = flags(checker, "resblock.image_only_indicator")?;
    let mut moment = Moment { silu_emb: &silu_emb, image_only: None };
    let mut trace = Trace::on();
    let y = block.forward(x.clone(), moment, &mut trace)?;
    checker.compare_notes_where("resblock.", trace, BAR, |name| name != "time_stack")?;
    checker.compare_images("output.resblock.y_video", &y, Some(BAR))?;
    moment.image_only = Some(&image_only);
    let y = block.forward(x, moment, &mut Trace::off())?;
    checker.compare_images("output.resblock.y_mixed", &y, Some(BAR))?;

    let x = checker.images("attn.x")?;
    let [_, height, width, channels] = x.dims("x")?;
    let x = x.reshape(&[clips, frames, height, width, channels])?.cast(checker.elem)?;
    let attention = SpatialVideoTransformer::load(&l.at("attn"), channels, config)?;
    let context = checker.input("attn.context_per_batch")?.cast(checker.elem)?;
    let image_only = flags(checker, "attn.image_only_indicator")?;
    let heard = attention.prepare(&context, frames, 0)?;
    let mut trace = Trace::on();
    let y = attention.forward(x.clone(), &heard, None, &mut trace)?;
    checker.compare_notes("attn.", trace, BAR)?;
    checker.compare_images("output.attn.y_video", &y, Some(BAR))?;
    let y = attention.forward(x, &heard, Some(&image_only), &mut Trace::off())?;
    checker.compare_images("output.attn.y_mixed", &y, Some(BAR))?;

    let x = checker.images("downup.x")?;
    let [images, height, width, channels] = x.dims("x")?;
    let x = x.reshape(&[images, 1, height, width, channels])?.cast(checker.elem)?;
    let down = Conv2d::load(&l.at("down.op"), channels, channels, 3)?.stride(2);
    checker.compare_images("output.down.y", &resample_clips(&down, &x)?, Some(BAR))?;
    let up = Conv2d::load(&l.at("up.conv"), channels, channels, 3)?.upsampled();
    checker.compare_images("output.up.y", &resample_clips(&up, &x)?, Some(BAR))?;

    let x = checker.input("ff.x")?.cast(checker.elem)?;
    let y = FeedForward::load(&l.at("ff"), x.last_dim())?.forward(x)?;
    checker.compare("output.ff.y", &y, Some(BAR))?;

    let t = checker.golden.input("timestep_embedding.t")?.to_f32();
    for name in checker.golden.names_under("output.timestep_embedding.dim") {
        if let Ok(dim) = name.parse() {
            let y = sinusoidal_embedding(checker.gpu, &t, dim)?;
            checker.compare(&format!("output.timestep_embedding.dim{dim}"), &y, Some(BAR))?;
        }
    }
    Ok(())
}

/// Golden case sinusoidal: each number of a row becomes a sinusoid, side by side; of `x_temporal` each number is a row.
pub fn check_sinusoidal(checker: &mut Checker<'_>) -> Result<()> {
    for (input, prefix) in [("x", "output.dim"), ("x_temporal", "output.temporal_dim")] {
        let names: Vec<String> = checker.golden.names_under(prefix);
        for dim in names.iter().filter_map(|name| name.parse::<usize>().ok()) {
            let x = checker.golden.input(input)?.to_f32();
            let y = sinusoidal_embedding(checker.gpu, &x, dim)?;
            checker.compare(&format!("{prefix}{dim}"), &y, Some(SINUSOID_BAR))?;
        }
    }
    Ok(())
}

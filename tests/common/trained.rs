//! Networks of the shapes that the trained demo models have, with other values: UNets of widths 32 and 64 with one block a level and
//! attention in both, 32 channels a head; the VAE as diffusers lays it out with one layer a block and widths 32, 32, 64, 64.

use super::small::mapped;
use serde_json::Value;

/// Their shapes, as `WeightSet::by_formula` takes them.
pub fn shapes() -> Value {
    let mut shapes = mapped(|role, name, shape| match role {
        "vae" => vae(name, shape).into_iter().collect(),
        "hubert" | "wavlm" | "wav2vec2" | "beats" => vec![(name.to_string(), shape.to_vec())],
        _ => unet(name).into_iter().map(|name| (name, shape.to_vec())).collect(),
    });
    for (_, config) in shapes["config"].as_object_mut().expect("configurations") {
        if config["num_head_channels"].is_number() {
            config["num_head_channels"] = 32.into();
        }
    }
    shapes
}

/// Where a tensor of the demo's UNet of four levels stands in one of two, whose blocks are each as wide as one of those.
fn unet(name: &str) -> Vec<String> {
    const PLACES: [(&str, &str); 14] = [
        ("time_embed.", "time_embed."),
        ("label_emb.", "label_emb."),
        ("input_blocks.0.", "input_blocks.0."),
        ("input_blocks.1.", "input_blocks.1."),
        ("input_blocks.3.", "input_blocks.2."),
        ("input_blocks.4.", "input_blocks.3."),
        ("input_blocks.5.0.", "middle_block.0."),
        ("input_blocks.5.1.", "middle_block.1."),
        ("input_blocks.5.0.", "middle_block.2."),
        ("output_blocks.7.", "output_blocks.0."),
        ("output_blocks.8.", "output_blocks.1."),
        ("output_blocks.9.", "output_blocks.2."),
        ("output_blocks.10.", "output_blocks.3."),
        ("out.", "out."),
    ];
    match name.strip_prefix("model.diffusion_model.") {
        None if name.starts_with("first_stage_model.") => Vec::new(),
        None => vec![name.to_string()],
        Some(inner) => {
            let moved = |(from, to): &(&str, &str)| {
                inner.strip_prefix(from).map(|rest| format!("model.diffusion_model.{to}{rest}"))
            };
            PLACES.iter().filter_map(moved).collect()
        }
    }
}

/// A tensor of the demo's VAE of widths 32, 64, 96, 96 and two layers a block in the narrower one; None if it has no place there.
fn vae(name: &str, shape: &[usize]) -> Option<(String, Vec<usize>)> {
    let narrower = |&size: &usize| match size {
        64 => 32,
        96 => 64,
        other => other,
    };
    let shape: Vec<usize> = shape.iter().map(narrower).collect();
    let is_any = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let is_second = is_any(&["encoder.down_blocks."]) && is_any(&[".resnets.1."])
        || is_any(&["decoder.up_blocks."]) && is_any(&[".resnets.2."])
        || is_any(&["decoder.mid_block.resnets.1."]);
    // Blocks that have become as wide as what goes in.
    let is_spare =
        is_any(&["down_blocks.1.resnets.0.conv_shortcut", "up_blocks.3.resnets.0.spatial_res_block.conv_shortcut"]);
    (!is_second && !is_spare).then(|| (name.to_string(), shape))
}

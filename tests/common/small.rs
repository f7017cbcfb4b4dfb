//! Networks small enough for tests of whole jobs: the demo's widths, but one level of each UNet, one block of each level of the
//! VAE, one layer of each audio encoder, and latents of 8x8.

use serde_json::{Map, Value};

/// Their shapes, as `WeightSet::by_formula` takes them.
pub fn shapes() -> Value {
    mapped(|role, name, shape| {
        let is_mask = name == "model.learned_mask";
        let shape = if is_mask { vec![4, 8, 8] } else { shape.to_vec() };
        smaller(role, name).into_iter().map(|name| (name, shape.clone())).collect()
    })
}

/// The shapes of networks whose tensors are `rule` of the demo's: role, name and shape to any number of names with a shape.
pub fn mapped(rule: impl Fn(&str, &str, &[usize]) -> Vec<(String, Vec<usize>)>) -> Value {
    let demo: Value = serde_json::from_str(include_str!("../../weights/demo/shapes.json")).expect("shapes");
    let mut all = Map::new();
    for (role, shapes) in demo.as_object().expect("roles") {
        if role == "config" {
            all.insert(role.clone(), shapes.clone());
            continue;
        }
        let mut tensors = match shapes["like"].as_str() {
            Some(model) => demo[model].as_object().expect("shapes").clone(),
            None => shapes.as_object().expect("shapes").clone(),
        };
        for (name, shape) in shapes["but"].as_object().into_iter().flatten() {
            tensors.insert(name.clone(), shape.clone());
        }
        let mut made = Map::new();
        for (name, shape) in tensors.iter().filter(|(_, shape)| !shape.is_null()) {
            let shape: Vec<usize> = serde_json::from_value(shape.clone()).expect("a shape");
            made.extend(rule(role, name, &shape).into_iter().map(|(name, shape)| (name, shape.into())));
        }
        all.insert(role.clone(), made.into());
    }
    all.into()
}

/// What a tensor of the demo's networks is called in the small ones; nothing if it has no place there.
fn smaller(role: &str, name: &str) -> Vec<String> {
    let is_any = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let same = vec![name.to_string()];
    match role {
        "vae" if is_any(&["_blocks."]) && is_any(&[".resnets.1.", ".resnets.2."]) => Vec::new(),
        "hubert" | "wavlm" | "wav2vec2" if name.contains("encoder.layers.") && !name.contains("encoder.layers.0.") => {
            Vec::new()
        }
        "vae" | "hubert" | "wavlm" | "wav2vec2" | "beats" => same,
        _ => {
            let Some(inner) = name.strip_prefix("model.diffusion_model.") else {
                return if name.starts_with("first_stage_model.") { Vec::new() } else { same };
            };
            let moved =
                |from: &str, to: &str| inner.strip_prefix(from).map(|rest| format!("model.diffusion_model.{to}{rest}"));
            let kept = ["time_embed.", "label_emb.", "input_blocks.0.", "input_blocks.1.", "out."];
            let kept = kept.into_iter().filter_map(|place| moved(place, place));
            // The middle is as wide as the first level here, so its blocks are like those.
            let places = [
                ("input_blocks.1.0.", "middle_block.0."),
                ("input_blocks.1.1.", "middle_block.1."),
                ("input_blocks.1.0.", "middle_block.2."),
                ("output_blocks.10.", "output_blocks.0."),
                ("output_blocks.11.", "output_blocks.1."),
            ];
            kept.chain(places.into_iter().filter_map(|(from, to)| moved(from, to))).collect()
        }
    }
}

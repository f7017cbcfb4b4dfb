//! Checkpoints whose shapes and configurations were tampered with: every one is an error before a value is read, none a panic.

use super::{gpu, small};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use viseme::Error;
use viseme::pipelines::weights::{Role, Storage, WeightSet};

/// The shapes of one small network, without which no other is there but the VAE, whose decoder a network without one takes.
fn shapes_of(role: Role) -> Map<String, Value> {
    small::shapes()[role.name()].as_object().unwrap().clone()
}

fn check(role: Role, shapes: Map<String, Value>, config: &Value) -> viseme::Result<()> {
    let mut document = json!({ "config": { role.name(): config } });
    document[role.name()] = shapes.into();
    let mut roles = vec![role];
    if matches!(role, Role::Interpolation | Role::KeyfaceInterpolation) {
        document["vae"] = shapes_of(Role::Vae).into();
        roles.push(Role::Vae);
    }
    let set = WeightSet::by_formula("hostile shapes", &document.to_string())?.only(&roles);
    set.check(gpu().unwrap(), Storage::default())
}

fn config_of(role: Role) -> Value {
    small::shapes()["config"][role.name()].clone()
}

/// Dimensions that no other tensor and no rule fixes.
fn is_free(name: &str, axis: usize) -> bool {
    (name == "model.learned_mask" || name.ends_with(".learned_mask")) && axis > 0
        || name.ends_with("relative_attention_bias.weight") && axis == 0
        // Groups of any equal size.
        || name.contains("pos_conv") && name.ends_with("weight_v") && axis == 1
        // As wide as what the audio networks make, which lie in other files.
        || name.starts_with("conditioner.embedders") && axis == 1
}

#[test]
fn a_shape_that_does_not_fit_is_an_error_wherever_it_is() {
    if gpu().is_none() {
        return;
    }
    let mut tried = 0;
    for role in Role::ALL {
        let (shapes, config) = (shapes_of(role), config_of(role));
        check(role, shapes.clone(), &config).unwrap();
        for (name, shape) in &shapes {
            let shape: Vec<u64> = serde_json::from_value(shape.clone()).unwrap();
            let mut changed: Vec<(Vec<u64>, Option<usize>)> = Vec::new();
            for axis in 0..shape.len() {
                for size in [0, 3 * shape[axis], shape[axis] + 1, 1 << 40] {
                    let mut other = shape.clone();
                    other[axis] = size;
                    changed.push((other, (size > 0).then_some(axis)));
                }
            }
            changed.push((shape[..shape.len() - 1].to_vec(), None));
            changed.push(([&shape[..], &[1]].concat(), None));
            for (other, axis) in changed {
                let mut tampered = shapes.clone();
                tampered.insert(name.clone(), json!(other));
                tried += 1;
                match check(role, tampered, &config) {
                    Ok(()) if axis.is_some_and(|axis| is_free(name, axis)) => {}
                    Ok(()) => panic!("{role:?}: {name} {other:?} in place of {shape:?} is taken"),
                    Err(Error::Weights(_)) => {}
                    Err(error) => panic!("{role:?}: {name} {other:?}: {error:?}"),
                }
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

/// A width that stands in many tensors, changed in all of them at once, so that they fit each other.
#[test]
fn widths_that_no_layer_can_have_are_no_panic() {
    if gpu().is_none() {
        return;
    }
    for role in Role::ALL {
        let (shapes, config) = (shapes_of(role), config_of(role));
        for (from, to) in
            [(32, 0), (32, 1), (32, 20), (64, 0), (64, 7), (96, 65), (3, 0), (1, 0), (128, 1 << 40), (64, 1 << 20)]
        {
            let change = |shape: &Value| -> Value {
                let sizes = shape.as_array().unwrap().iter().map(|size| size.as_u64().unwrap());
                sizes.map(|size| if size == from { to } else { size }).collect()
            };
            let tampered: Map<String, Value> =
                shapes.iter().map(|(name, shape)| (name.clone(), change(shape))).collect();
            let is_changed = tampered != shapes;
            match check(role, tampered, &config) {
                Err(Error::Weights(_)) => {}
                Err(error) => panic!("{role:?}, {to} for {from}: {error:?}"),
                Ok(()) => assert!(!is_changed || to > 0, "{role:?}: {to} for {from} is taken"),
            }
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_is_named() {
    if gpu().is_none() {
        return;
    }
    let hostile =
        [json!(0), json!(-1), json!(7), json!(0.5), json!("64"), json!([]), json!(1u64 << 60), json!(u64::MAX)];
    for (role, key) in [
        (Role::Keyframe, "num_head_channels"),
        (Role::Interpolation, "num_head_channels"),
        (Role::KeyfaceWeaker, "num_head_channels"),
        (Role::Hubert, "num_attention_heads"),
        (Role::Wav2Vec2, "num_attention_heads"),
        (Role::Beats, "encoder_attention_heads"),
    ] {
        for value in &hostile {
            let mut config = config_of(role);
            config[key] = value.clone();
            let error = check(role, shapes_of(role), &config).expect_err(&format!("{role:?}: {key} {value}"));
            assert_eq!(error.exit_code(), 4, "{error}");
        }
    }
    for value in [json!(0), json!(-1), json!("far"), json!(80)] {
        for role in [Role::WavLm, Role::Beats] {
            let mut config = config_of(role);
            if config.is_null() {
                config = json!({});
            }
            config["max_distance"] = value.clone();
            let error = check(role, shapes_of(role), &config).expect_err(&format!("{role:?}: {value}"));
            assert!(error.to_string().contains("max_distance"), "{error}");
        }
    }
}

/// Files whose every value is NaN pass the check, since it touches none, and fail to load.
#[test]
fn the_check_before_a_job_reads_no_values() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut files = BTreeMap::new();
    for role in Role::ALL {
        let config = config_of(role).to_string();
        let (mut header, mut length) = (json!({"__metadata__": {"config": config}}), 0);
        for (name, shape) in &shapes_of(role) {
            let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
            let end = length + 4 * shape.iter().product::<usize>();
            header[name] = json!({"dtype": "F32", "shape": shape, "data_offsets": [length, end]});
            length = end;
        }
        let header = header.to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + length, 0xFF);
        let path = folder.path().join(format!("{}.safetensors", role.name()));
        std::fs::write(&path, bytes).unwrap();
        files.insert(role, path);
    }
    let set = WeightSet::open(&Role::ALL, None, &files).unwrap();
    let storage = Storage::default();
    set.check(gpu, storage).unwrap();
    // Among them the two that were loaded: one goes by other names, one comes from another role's file.
    let refused = |error: Option<Error>| assert!(error.unwrap().to_string().contains("finite values"));
    refused(set.weaker(gpu, storage).err());
    refused(set.decoder(gpu, Role::Interpolation, storage).err());
}

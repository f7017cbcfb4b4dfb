//! Checkpoints whose shapes and configurations were tampered with: every one is an error before a value is read, none a panic.

use super::{gpu, small};
use serde_json::{Map, Value, json};
use std::path::Path;
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
    eprintln!("{tried}");
    assert!(tried > 1000, "{tried}");
}

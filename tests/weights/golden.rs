//! Golden files: every published one opens, and comparisons find what is wrong.

use crate::{Stored, folder, published, safetensors, write};
use std::path::Path;
use viseme::verify::golden::{Data, Golden, compare};

#[test]
fn tensors_config_and_weights_of_a_file() {
    let folder = folder();
    let config = r#"{"heads":2,"steps":{"output.y":[1,2]},"weights":{"formula":1,"seed":5,"tensors":{"a":[2],"b":[1]}},
        "weights_file":"other.safetensors","inputs_file":"inputs.safetensors","weights_files":{"audio":"plain.safetensors"}}"#;
    let own = [
        Stored::f32("output.y", &[2, 2], &[0.0, 2.0, 3.0, 5.0]),
        Stored("output.frames", "U8", vec![3], vec![1, 2, 3]),
        Stored("output.sums", "I64", vec![1], (-3i64).to_le_bytes().to_vec()),
        Stored::f32("weights.a", &[2], &[7.0, 8.0]),
        Stored::f32("weights_bad.a", &[1], &[9.0]),
    ];
    let path = write(&folder, "case.safetensors", safetensors(&[("case", "blocks"), ("config", config)], &own));
    write(&folder, "inputs.safetensors", safetensors(&[("case", "x")], &[Stored::f32("input.x", &[1], &[4.0])]));
    let other = [Stored::f32("weights.b", &[1], &[1.0]), Stored::f32("weights.c", &[1], &[6.0])];
    write(&folder, "other.safetensors", safetensors(&[("case", "x")], &other));
    write(&folder, "plain.safetensors", safetensors(&[], &[Stored::f32("d", &[1], &[11.0])]));

    let golden = Golden::open(&path).expect("opens");
    assert_eq!((golden.case.as_str(), golden.config["heads"].as_u64()), ("blocks", Some(2)));
    assert_eq!(golden.names_under("output."), ["frames", "sums", "y"]);
    assert_eq!(golden.output("frames").expect("u8").to_u8().expect("u8"), [1, 2, 3]);
    assert_eq!(golden.output("sums").expect("i64").data, Data::I64(vec![-3]));
    assert_eq!(golden.input("x").expect("from the other file").to_f32(), [4.0]);
    assert!(golden.intermediate("z").is_err_and(|e| e.to_string().contains("intermediate.z")));

    let w = golden.weights().expect("weights");
    let read = |name: &str, length: usize| w.get(name, &[length]).and_then(|t| t.to_f32()).expect(name);
    assert_eq!(w.names(), ["a", "b", "c"]);
    assert_eq!((read("a", 2), read("c", 1)), (vec![7.0, 8.0], vec![6.0]));
    assert!(read("b", 1)[0].abs() < 0.05, "the formula comes before the other file");
    assert_eq!(w.metadata("config"), Some(config));
    let bad = golden.weights_under("weights_bad.").expect("weights");
    assert_eq!((bad.names(), bad.shape("a")), (vec!["a".to_owned()], Some(vec![1])));
    assert_eq!(golden.weights_for("audio").expect("weights").names(), ["d"]);
    assert!(golden.weights_for("video").is_err());

    let full = [0.0, 9.0, 2.0, 9.0, 3.0, 9.0, 1.0, 9.0];
    let stepped = golden.compare("output.y", &[2, 4], &full).expect("every second value");
    assert_eq!((stepped.relative_l2, stepped.worst.index), (4.0 / 38f64.sqrt(), 3));
    assert!(golden.compare("output.y", &[2, 2], &full[..4]).is_err());
    assert!(golden.compare("output.y", &[8], &full).is_err());
}

#[test]
fn comparisons_find_the_worst_element() {
    let same = compare("y", &[1.0, -2.0], &[1.0, -2.0]).expect("equal");
    assert_eq!(same.relative_l2, 0.0);
    let off = compare("y", &[3.0, 4.0, 0.0], &[3.0, 4.5, 1.0]).expect("different");
    assert!((off.relative_l2 - (1.25f64 / 30.25).sqrt()).abs() < 1e-15);
    assert_eq!((off.worst.index, off.worst.got, off.worst.want), (2, 0.0, 1.0));
    assert_eq!(compare("y", &[3.0, 4.0], &[0.0, 0.0]).expect("zeros").relative_l2, 5.0);
    for (got, want) in [([9.0, f32::NAN], [0.0, 0.0]), ([9.0, 0.0], [0.0, f32::NAN]), ([0.0, f32::INFINITY], [0.0; 2])]
    {
        let broken = compare("y", &got, &want).expect("not a number");
        let passes = broken.relative_l2 <= 1e9;
        assert!(!passes && broken.worst.index == 1, "{broken:?}");
    }
    assert!(compare("y", &[1.0], &[1.0, 2.0]).is_err());
}

#[test]
fn files_that_are_no_golden_files_are_refused() {
    let folder = folder();
    for (name, bytes, message) in [
        ("a.safetensors", safetensors(&[], &[]), "a golden file with `case`"),
        ("b.safetensors", safetensors(&[("case", "x"), ("config", "{")], &[]), "config: expected JSON"),
        ("c.json", b"{}".to_vec(), "a golden file with `case`"),
        ("d.json", b"{".to_vec(), "expected JSON"),
        (
            "e.safetensors",
            safetensors(&[("case", "x"), ("config", r#"{"inputs_file":"/etc/passwd"}"#)], &[]),
            "a name without a folder",
        ),
    ] {
        let error = Golden::open(&write(&folder, name, bytes)).err().expect(name).to_string();
        assert!(error.contains(message), "{name}: {error}");
    }
}

/// Every golden file in `folder`, by its name, opens, its tensors read, and its weights are as many as it says.
fn every_file_opens(folder: &Path, is_golden: fn(&str) -> bool) {
    let mut opened = 0;
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let readable = path.extension().is_some_and(|e| e == "safetensors" || e == "json");
        if !readable || !is_golden(&name) {
            continue;
        }
        let golden = Golden::open(&path).expect(&name);
        let names = golden.names();
        assert!(!names.is_empty() || golden.document.is_object(), "{name}");
        for tensor in &names {
            golden.tensor(tensor).expect(tensor);
        }
        let w = golden.weights().expect(&name);
        let own = golden.names_under("weights.");
        assert!(own.iter().all(|own| w.shape(own).is_some()), "{name}");
        if let Some(tensors) = golden.config["weights"]["tensors"].as_object() {
            let kept = tensors.keys().filter(|name| !name.ends_with("num_batches_tracked"));
            assert!(kept.into_iter().all(|tensor| w.shape(tensor).is_some()), "{name}");
        }
        for role in golden.config["weights_files"].as_object().into_iter().flatten().map(|(role, _)| role) {
            assert!(!golden.weights_for(role).expect(role).names().is_empty(), "{name}");
        }
        opened += 1;
    }
    assert!(opened >= 10, "{opened} files in {}", folder.display());
}

#[test]
fn every_fixture_opens() {
    every_file_opens(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"), |_| true);
}

#[test]
fn every_published_file_opens() {
    let Some(names) = published("keysync_full_names.json") else { return };
    // Golden files are numbered; the weights that some of them are made from lie beside them.
    let is_numbered = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
    every_file_opens(names.parent().expect("its folder"), is_numbered);
    let count = |file| {
        let golden = Golden::open(&names.with_file_name(file)).expect(file);
        let plan = golden.weights().and_then(|w| {
            w.plan(|w| {
                w.names().iter().try_for_each(|name| w.get(name, &w.shape(name).unwrap_or_default()).map(|_| ()))
            })
        });
        plan.expect(file).elements()
    };
    assert_eq!(count("41_full_unet_keyframe.safetensors"), 1_524_950_762);
    assert_eq!(count("42_full_unet_interpolation.safetensors"), 1_524_953_642 + 4 * 8 * 8);
    let sampling = Golden::open(&names.with_file_name("04_sampling_keyframes.safetensors")).expect("opens");
    assert_eq!(sampling.weights().expect("weights").names().len(), 908 + 2);
}

//! Reading safetensors: what loads, and what every kind of damage says.

use crate::{Stored, folder, published, safetensors, with_header, write};
use half::{bf16, f16};
use std::borrow::Cow;
use viseme::models::clip_unet::weaker_weights;
use viseme::weights::{Dtype, Source, Values, Weights};
use viseme::{Error, Problem, Result};

const NAN16: [u8; 2] = [0x01, 0x7C];

fn problems(error: Error) -> Vec<Problem> {
    match error {
        Error::Weights(problems) => problems,
        other => panic!("{other}"),
    }
}

fn open(name: &str, bytes: &[u8]) -> Result<Weights> {
    Weights::open(&write(&folder(), name, bytes))
}

#[test]
fn tensors_of_each_type_load_unaligned_and_by_path() {
    let values = [1.5f32, -0.25, 65504.0, 0.0];
    let halves = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    let brains = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    let file = safetensors(
        &[("config", "{\"width\":4}")],
        &[
            Stored("odd", "U8", vec![1], vec![7]),
            Stored::f32("block.0.a", &[2, 2], &values),
            Stored("block.0.b", "F16", vec![4], halves),
            Stored("block.0.c", "BF16", vec![1, 4], brains),
            Stored::f32("block.00", &[0, 3], &[]),
        ],
    );
    for shift in 0..8 {
        let mut padded = file[8..].to_vec();
        let at = padded.iter().position(|&b| b == b'{').expect("a header");
        padded.splice(at..at, vec![b' '; shift]);
        let length = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) + shift as u64;
        let w = open("w.safetensors", &[&length.to_le_bytes()[..], &padded].concat()).expect("opens");

        let block = w.at("block").at("0");
        assert_eq!(block.name("a"), "block.0.a");
        assert_eq!(w.at("block.0").name("a"), block.name("a"));
        assert_eq!(block.get("a", &[2, 2]).and_then(|t| t.to_f32()).expect("f32"), values);
        assert_eq!(block.get("b", &[4]).and_then(|t| t.to_f32()).expect("f16"), values);
        let bf16s = block.get("c", &[1, 4]).and_then(|t| t.to_f32()).expect("bf16");
        assert_eq!(bf16s, [1.5, -0.25, 65536.0, 0.0]);
        assert!(w.get("block.00", &[0, 3]).expect("empty").is_empty());
        assert_eq!(block.shape("c"), Some(vec![1, 4]));
        assert_eq!(block.shape("d"), None);
        assert!(w.has("block") && w.has("block.0") && w.has("block.0.a") && !w.has("bloc") && !block.has("d"));
        assert_eq!(block.names(), ["block.0.a", "block.0.b", "block.0.c"]);
        assert_eq!(w.metadata("config"), Some("{\"width\":4}"));
    }
}

/// The same tests with reads in place of the map, in a process of their own because the choice is one of the environment.
#[test]
fn reads_where_maps_are_switched_off() {
    let w = open("w.safetensors", &safetensors(&[], &[Stored::f32("a", &[1], &[2.0])])).expect("opens");
    let tensor = w.get("a", &[1]).expect("a");
    let borrowed = matches!(tensor.values, Values::F32(Cow::Borrowed(_)));
    assert_eq!(tensor.to_f32().expect("f32"), [2.0]);
    if std::env::var_os("VISEME_NO_MMAP").is_some() {
        assert!(!borrowed);
        return;
    }
    assert!(borrowed);
    let tests = std::process::Command::new(std::env::current_exe().expect("this test"))
        .arg("files::")
        .env("VISEME_NO_MMAP", "1")
        .output()
        .expect("runs");
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stdout));
}

#[test]
fn shards_load_through_their_index() {
    let folder = folder();
    let shard = |name, value| safetensors(&[("format", "pt")], &[Stored::f32(name, &[1], &[value])]);
    write(&folder, "1.safetensors", shard("a.x", 1.0));
    write(&folder, "2.safetensors", shard("b.x", 2.0));
    let index = |map: &str| write(&folder, "m.index.json", format!("{{\"metadata\":{{\"total_size\":8}},{map}}}"));
    let read = |w: &Weights, name| w.at(name).get("x", &[1]).and_then(|t| t.to_f32());

    let w = Weights::open(&index(r#""weight_map":{"a.x":"1.safetensors","b.x":"2.safetensors"}"#)).expect("opens");
    assert_eq!((read(&w, "a").expect("a"), read(&w, "b").expect("b")), (vec![1.0], vec![2.0]));
    assert_eq!((w.metadata("total_size"), w.metadata("format")), (Some("8"), Some("pt")));

    for (map, message) in [
        (r#""weight_map":{"a.x":"2.safetensors"}"#, "a.x: expected a tensor in 2.safetensors, found none"),
        (r#""weight_map":{"a.x":"../1.safetensors"}"#, "expected shards beside the index, found \"../1"),
        (r#""weight_map":{"a.x":3}"#, "expected shards beside the index, found 3"),
        (r#""map":{}"#, "expected an index with a `weight_map`, found none"),
        (r#""weight_map":{"#, "expected a JSON index of shards"),
        (r#""weight_map":{"a.x":"3.safetensors"}"#, "3.safetensors: cannot read"),
    ] {
        let error = Weights::open(&index(map)).err().expect(map).to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn the_config_may_lie_beside_the_weights() {
    let plain = safetensors(&[], &[Stored::f32("a", &[1], &[2.0])]);
    let (own, folders) = (safetensors(&[("config", "{}")], &[]), folder());
    let config = |name: &str, bytes: &[u8]| {
        Weights::open(&write(&folders, name, bytes)).expect("opens").metadata("config").map(str::to_owned)
    };
    write(&folders, "unet.json", r#"{"heads":3}"#);
    write(&folders, "config.json", r#"{"heads":4}"#);
    write(&folders, "broken.json", "{");
    assert_eq!(config("unet.safetensors", &plain).as_deref(), Some(r#"{"heads":3}"#));
    assert_eq!(config("model.safetensors", &plain).as_deref(), Some(r#"{"heads":4}"#));
    assert_eq!(config("unet.safetensors", &own).as_deref(), Some("{}"));
    assert_eq!(config("vae.safetensors", &plain), None);
    assert_eq!(config("broken.safetensors", &plain), None);
}

#[test]
fn damaged_files_say_what_is_wrong() {
    let whole = safetensors(&[], &[Stored::f32("a", &[2], &[1.0, 2.0])]);
    let entry = |offsets: &str| with_header(&format!(r#"{{"a":{{"dtype":"F32","shape":[2],{offsets}}}}}"#), &[0; 8]);
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#;
    let cases: [(&str, Vec<u8>, &str); 17] = [
        ("empty", vec![], "found an empty file"),
        ("seven bytes", whole[..7].to_vec(), "8 bytes of header length, found 7 bytes"),
        ("no header", whole[..8].to_vec(), "in a file of 8"),
        ("half a header", whole[..20].to_vec(), "in a file of 20"),
        ("one byte short", whole[..whole.len() - 1].to_vec(), "expected 8 bytes of values, found 7 bytes"),
        ("one byte more", [&whole[..], &[0]].concat(), "expected 8 bytes of values, found 9 bytes"),
        ("header of 2^64", [&[0xFF; 8][..], &whole[8..]].concat(), "a header of 18446744073709551615 bytes"),
        ("no JSON", with_header("{\"a\":", &[]), "expected a safetensors header"),
        ("not UTF-8", [&2u64.to_le_bytes()[..], &[0xC3, 0x28]].concat(), "expected a safetensors header"),
        ("backwards", entry(r#""data_offsets":[8,0]"#), "expected a safetensors header"),
        ("overlong", entry(r#""data_offsets":[0,16]"#), "expected a safetensors header"),
        ("no offsets", entry(r#""x":1"#), "expected a safetensors header"),
        ("overflowing", with_header(huge, &[0; 8]), "expected a safetensors header"),
        ("zip", b"PK\x03\x04rest of it".to_vec(), "viseme convert"),
        ("pickle", b"\x80\x02}q\x00.        ".to_vec(), "viseme convert"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "git lfs pull"),
        ("page", b"<!DOCTYPE html><html>".to_vec(), "a web page"),
    ];
    for (case, bytes, message) in cases {
        let error = open("w.safetensors", &bytes).err().expect(case);
        assert!(error.to_string().contains(message), "{case}: {error}");
        assert!(error.to_string().contains("w.safetensors"), "{case}: {error}");
        assert_eq!(error.exit_code(), 4, "{case}");
    }
    let missing = Weights::open(&folder().path().join("none.safetensors")).err().expect("missing");
    assert!(matches!(&missing, Error::Read { path, .. } if path.ends_with("none.safetensors")), "{missing}");
}

#[test]
fn every_problem_is_listed_before_any_work() {
    let file = safetensors(
        &[],
        &[
            Stored::f32("net.a", &[2], &[1.0, 2.0]),
            Stored::f32("net.b", &[1, 2], &[1.0, 2.0]),
            Stored("net.c", "I64", vec![1], vec![0; 8]),
            Stored::f32("module.net.d", &[1], &[1.0]),
            Stored("net.bn.num_batches_tracked", "I64", vec![], vec![0; 8]),
        ],
    );
    let w = open("w.safetensors", &file).expect("opens");
    let error = w
        .checked(&[], false, |w| {
            let net = w.at("net");
            for (leaf, shape) in [("a", &[2][..]), ("b", &[2, 1]), ("c", &[1]), ("d", &[1]), ("d", &[1])] {
                assert!(net.get(leaf, shape)?.planned(), "work has started");
            }
            Ok(())
        })
        .expect_err("four problems");
    let all: Vec<String> = problems(error).iter().map(Problem::to_string).collect();
    assert_eq!(
        all,
        [
            "net.b: expected [2, 1], found [1, 2] in w.safetensors",
            "net.c: expected f32, f16 or bf16, found I64 in w.safetensors",
            "net.d: expected [1], found no such tensor in w.safetensors; the file has module.net.d",
        ]
    );

    let load = |w: &Weights| w.at("net").get("a", &[2])?.to_f32();
    assert_eq!(w.checked(&[], false, load).expect("extra tensors only warn"), [1.0, 2.0]);
    let ignore = ["net.b", "module", "*.c", "*.num_batches_tracked"];
    assert_eq!(w.checked(&ignore, true, load).expect("all extra ones are known"), [1.0, 2.0]);
    let strict = problems(w.checked(&ignore[1..], true, load).expect_err("net.b"));
    assert_eq!(strict.iter().map(|p| p.subject.as_str()).collect::<Vec<_>>(), ["net.b"]);
    let below = w.at("net").checked(&["b", "c", "bn"], true, |net| net.get("a", &[2])?.to_f32());
    assert_eq!(below.expect("relative to the place"), [1.0, 2.0]);

    let plan = w.plan(load).expect("a plan");
    assert_eq!((plan.requests.len(), plan.elements(), plan.stored_bytes()), (1, 2, 8));
    let usage = || Problem::new("x", "y", "z").usage();
    assert!(matches!(w.plan(|_| Err::<(), _>(usage())), Err(Error::Usage(_))));
    assert!(matches!(w.plan(|w| w.get("e", &[1]).and(Err::<(), _>(usage()))), Err(Error::Weights(_))));
}

#[test]
fn planned_values_are_zeros_when_small_and_absent_when_large() {
    let w = open("w.safetensors", &safetensors(&[], &[])).expect("opens");
    let lengths = |w: &Weights| -> Result<()> {
        assert_eq!(w.get("small", &[4096])?.to_f32()?, vec![0.0; 4096]);
        assert!(w.get("large", &[4097])?.to_f32()?.is_empty());
        Ok(())
    };
    assert_eq!(problems(w.plan(lengths).expect_err("neither is there")).len(), 2);
}

#[test]
fn values_that_are_not_finite_are_named() {
    for (dtype, size, bad) in [
        ("F32", 4, vec![0, 0, 0x80, 0x7F]),
        ("F32", 4, vec![1, 0, 0x80, 0xFF]),
        ("F16", 2, NAN16.to_vec()),
        ("F16", 2, vec![0, 0xFC]),
        ("BF16", 2, vec![0x80, 0x7F]),
    ] {
        for (length, at) in [(1, 0), (4096, 4095), (10_007, 10_000)] {
            let mut values = [1, 0, 0x7F, 0x7B].repeat(length)[..length * size].to_vec();
            let name = |values: &[u8]| {
                let file = safetensors(&[], &[Stored("net.x", dtype, vec![length], values.to_vec())]);
                open("w.safetensors", &file)
                    .and_then(|w| w.get("net.x", &[length]).map(|_| ()))
                    .map_err(|e| e.to_string())
            };
            assert_eq!(name(&values), Ok(()), "{dtype}");
            values[at * size..(at + 1) * size].copy_from_slice(&bad);
            let error = name(&values).expect_err(dtype);
            let message = format!("net.x: expected finite values, found NaN or infinity at element {at};");
            assert!(error.starts_with(&message), "{dtype} {length}: {error}");
        }
    }
}

#[test]
fn a_file_that_changes_underneath_is_an_error() {
    let folder = folder();
    let file = |value| safetensors(&[], &[Stored::f32("a", &[1], &[value])]);
    let path = write(&folder, "w.safetensors", file(1.0));
    let w = Weights::open(&path).expect("opens");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for (change, bytes) in [("longer", [&file(2.0)[..], &[0]].concat()), ("as long", file(2.0))] {
        std::fs::write(&path, bytes).expect("writes");
        let stamp = std::fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(old));
        stamp.expect("an older time stamp");
        let error = w.get("a", &[1]).err().expect(change).to_string();
        assert!(error.contains("the file of") && error.contains("written since"), "{change}: {error}");
    }
}

#[test]
fn both_spellings_of_weight_norm_give_the_plain_weight() {
    let direction = [3.0f32, 1.0, 0.5, 4.0, -2.0, 0.25, 0.0, 2.0, -0.5, 1.0, -1.0, 8.0];
    let gains = [2.0f32, 0.5, 3.0];
    for (dim, g_shape) in [(0, [3, 1, 1]), (2, [1, 1, 3])] {
        let shape = if dim == 0 { [3, 2, 2] } else { [2, 2, 3] };
        let of = |i: usize| if dim == 0 { i / 4 } else { i % 3 };
        let norm = |k| (0..12).filter(|&i| of(i) == k).map(|i| f64::from(direction[i]).powi(2)).sum::<f64>().sqrt();
        let plain: Vec<f32> =
            (0..12).map(|i| (f64::from(direction[i]) * f64::from(gains[of(i)]) / norm(of(i))) as f32).collect();
        for (g, v) in [
            ("conv.weight_g", "conv.weight_v"),
            ("conv.parametrizations.weight.original0", "conv.parametrizations.weight.original1"),
        ] {
            let file = safetensors(&[], &[Stored::f32(g, &g_shape, &gains), Stored::f32(v, &shape, &direction)]);
            let w = open("w.safetensors", &file).expect("opens");
            let load = |w: &Weights| w.at("conv").get_weight_norm(dim, &shape)?.to_f32();
            let got = w.checked(&[], true, load).expect("both tensors are used");
            assert!(got.iter().zip(&plain).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()), "{got:?} {plain:?}");
        }
    }
    let w = open("w.safetensors", &safetensors(&[], &[Stored::f32("weight", &[1, 1, 1], &[5.0])])).expect("opens");
    assert_eq!(w.get_weight_norm(2, &[1, 1, 1]).and_then(|t| t.to_f32()).expect("plain"), [5.0]);
    let zeros = [Stored::f32("weight_g", &[1, 1], &[1.0]), Stored::f32("weight_v", &[1, 2], &[0.0, 0.0])];
    let w = open("w.safetensors", &safetensors(&[], &zeros)).expect("opens");
    assert!(w.get_weight_norm(0, &[1, 2]).is_err_and(|e| e.to_string().contains("weight_v")));
}

#[test]
fn any_source_serves_and_a_short_one_is_caught() {
    struct Short;
    impl Source for Short {
        fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
            (name == "a").then(|| (Dtype::F32, vec![2]))
        }
        fn names(&self) -> Vec<String> {
            vec!["a".to_owned()]
        }
        fn read(&self, _: &str) -> Result<Cow<'_, [u8]>> {
            Ok(Cow::Owned(vec![0; 4]))
        }
    }
    fn sendable(_: &(impl Send + Sync)) {}
    let w = Weights::from_source(Short);
    sendable(&w);
    assert!(w.get("a", &[2]).is_err_and(|e| e.to_string().contains("4 bytes")));
}

/// Names and shapes without values.
struct Names(serde_json::Value);

impl Source for Names {
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        serde_json::from_value(self.0.get(name)?.clone()).ok().map(|shape| (Dtype::F16, shape))
    }
    fn names(&self) -> Vec<String> {
        self.0.as_object().expect("names").keys().cloned().collect()
    }
    fn read(&self, _: &str) -> Result<Cow<'_, [u8]>> {
        unreachable!("only planned")
    }
}

/// The lists of a file of published names; None, said aloud, without a golden folder.
fn published_names(file: &str) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(published(file)?).expect("the list of names");
    Some(serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn every_published_name_is_found() {
    for (file, list, expected, prefix, elements) in [
        ("keysync_full_names.json", "keyframe", 1696, "model.", 1_524_950_762),
        ("keysync_full_names.json", "interpolation", 1945, "model.diffusion_model.", 1_524_953_642),
        ("keysync_full_names.json", "first_stage_full_with_encoder", 372, "first_stage_model.decoder.", 63_579_183),
        ("keyface_full_names.json", "keyframe", 1696, "model.", 1_525_606_122),
        ("keyface_full_names.json", "interpolation", 1945, "model.", 1_524_970_026),
        ("keyface_full_names.json", "interpolation_bad", 1429, "", 1_524_970_026),
    ] {
        let Some(lists) = published_names(file) else { return };
        let w = Weights::from_source(Names(lists[list].clone()));
        let names = w.names();
        assert_eq!(names.len(), expected, "{list}");
        let plan = w.plan(|w| {
            for name in &names {
                let (place, leaf) = name.rsplit_once('.').unwrap_or(("", name));
                let place = place.split('.').filter(|part| !part.is_empty()).fold(w.clone(), |w, part| w.at(part));
                let shape = place.shape(leaf).expect("a shape");
                assert!(place.has("") && !shape.is_empty());
                place.get(leaf, &shape)?;
            }
            Ok(())
        });
        let plan = plan.expect(list);
        assert_eq!(plan.requests.len(), expected);
        let found = plan.requests.iter().filter(|r| r.name.starts_with(prefix)).map(|r| r.elements());
        assert_eq!(found.sum::<u64>(), elements, "{file}: {list}");
    }
}

/// The names of KeyFace's weaker network as a training engine writes them, as `viseme convert` leaves them and cut.
#[test]
fn the_weaker_network_is_found_under_every_prefix() {
    let Some(lists) = published_names("keyface_full_names.json") else { return };
    let cut = lists["interpolation_bad"].as_object().expect("names");
    for prefix in ["", "model.", "_forward_module.model.", "module._forward_module.model."] {
        let mut stored: serde_json::Map<_, _> =
            cut.iter().map(|(name, shape)| (format!("{prefix}{name}"), shape.clone())).collect();
        stored.insert("conditioner.embedders.1.linear.weight".to_owned(), serde_json::json!([1024, 1536]));
        stored.insert("first_stage_model.decoder.conv_in.bias".to_owned(), serde_json::json!([512]));
        let w = weaker_weights(&Weights::from_source(Names(stored.into()))).expect(prefix);
        assert_eq!(w.names(), cut.keys().cloned().collect::<Vec<_>>(), "{prefix}");
        assert!(w.names().iter().all(|name| w.shape(name) == serde_json::from_value(cut[name].clone()).ok()));
    }
    let twice = serde_json::json!({"learned_mask": [4, 8, 8], "model.learned_mask": [4, 8, 8]});
    let error = weaker_weights(&Weights::from_source(Names(twice))).err().expect("two of one name").to_string();
    assert!(error.contains("one tensor for learned_mask"), "{error}");
}

#[test]
fn renamed_weights_read_under_their_new_names() {
    let folder = folder();
    let tensors = [Stored::f32("a.b", &[1], &[1.0]), Stored::f32("a.c", &[1], &[2.0]), Stored::f32("d", &[1], &[3.0])];
    let w = Weights::open(&write(&folder, "w.safetensors", safetensors(&[("config", "{}")], &tensors))).expect("opens");
    let renamed = w.at("a").renamed(|name| name.strip_suffix("c").map(|front| format!("{front}z"))).expect("renames");
    assert_eq!((renamed.names(), renamed.metadata("config")), (vec!["a.z".to_owned()], Some("{}")));
    assert_eq!(renamed.at("a").get("z", &[1]).and_then(|t| t.to_f32()).expect("reads"), [2.0]);
    assert!(renamed.get("d", &[1]).is_err());
}

#[test]
fn a_planned_load_stays_planned_under_new_names() {
    let folder = folder();
    // A value that any read would refuse.
    let tensors = [Stored::f32("a.b", &[1], &[f32::NAN]), Stored::f32("a.c", &[1], &[1.0])];
    let w = Weights::open(&write(&folder, "w.safetensors", safetensors(&[], &tensors))).expect("opens");
    let load = |w: &Weights| w.renamed(|name| name.strip_prefix("a.").map(str::to_owned))?.get("b", &[1]).map(drop);
    let plan = w.plan(load).expect("nothing is read");
    assert_eq!(plan.requests.iter().map(|request| request.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(load(&w).unwrap_err().to_string().contains("finite values"));
    let missing = w.plan(|w| w.renamed(|name| Some(name.to_owned()))?.get("a.d", &[1]).map(drop));
    assert!(missing.unwrap_err().to_string().contains("a.d"));
}

#[test]
fn a_tensor_without_values_has_no_shape() {
    let folder = folder();
    let tensors = [Stored::f32("empty", &[3, 0], &[]), Stored::f32("full", &[1], &[1.0])];
    let w = Weights::open(&write(&folder, "w.safetensors", safetensors(&[], &tensors))).expect("opens");
    assert_eq!((w.shape("empty"), w.shape("full")), (None, Some(vec![1])));
    assert_eq!((w.has("empty"), w.total_values(), w.shapes().len()), (true, 1, 1));
    let error = w.get("empty", &[3, 4]).err().expect("refused").to_string();
    assert!(error.contains("empty: expected [3, 4], found [3, 0]"), "{error}");
}

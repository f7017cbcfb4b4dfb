//! Conversion of PyTorch checkpoints: real ones against safetensors' own writer, and hand-written hostile ones.

use crate::{Stored, folder, safetensors, write};
use half::f16;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use viseme::weights::{ConvertOptions, Report, Safetensors, Source, Weights, convert};
use viseme::{Error, Result};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

const STORED: CompressionMethod = CompressionMethod::Stored;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).expect("an entry");
        zip.write_all(bytes).expect("its bytes");
    }
    zip.finish().expect("a zip").into_inner()
}

/// A pickle of protocol 2, put together by hand.
#[derive(Clone, Default)]
struct Ops(Vec<u8>);

impl Ops {
    fn op(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend(bytes.as_ref());
        self
    }
    fn text(self, text: &str) -> Self {
        self.op(b"X").op((text.len() as u32).to_le_bytes()).op(text)
    }
    fn int(self, value: i32) -> Self {
        self.op(b"J").op(value.to_le_bytes())
    }
    fn global(self, module: &str, name: &str) -> Self {
        self.op(b"c").op(module).op(b"\n").op(name).op(b"\n")
    }
    fn ints(self, values: &[i32]) -> Self {
        values.iter().fold(self.op(b"("), |ops, &value| ops.int(value)).op(b"t")
    }
    /// A tensor of the storage `key`.
    fn tensor(self, kind: &str, key: &str, stored: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b"((")
            .text("storage")
            .global(if kind == "UntypedStorage" { "torch.storage" } else { "torch" }, kind)
            .text(key)
            .text("cpu")
            .int(stored)
            .op(b"tQ")
            .int(offset)
            .ints(shape)
            .ints(strides)
            .op(b"\x89")
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }
    fn finish(self) -> Vec<u8> {
        [b"\x80\x02", &self.0[..], b"."].concat()
    }
}

/// `{"w": the tensor}`.
fn one(kind: &str, stored: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    Ops::default().op(b"}").text("w").tensor(kind, "0", stored, offset, shape, strides).op(b"s").finish()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Converts `checkpoint` in `folder`; nothing but the input and a finished output may be left there.
fn converted(folder: &TempDir, checkpoint: &[u8], options: ConvertOptions) -> Result<(Report, Weights)> {
    let (input, output) = (write(folder, "in.pt", checkpoint), folder.path().join("out.safetensors"));
    let _ = std::fs::remove_file(&output);
    let result = convert(&input, &output, options);
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").flatten().collect();
    left.retain(|entry| entry.path() != input && entry.path() != output);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(result.is_ok(), output.exists());
    Ok((result?, Weights::open(&output)?))
}

fn refusal(checkpoint: &[u8]) -> String {
    let error = converted(&folder(), checkpoint, ConvertOptions::default()).err().expect("refused");
    assert_eq!(error.exit_code(), 4, "{error}");
    error.to_string()
}

fn pickled(pickle: &[u8]) -> Vec<u8> {
    archive(&[("a/data.pkl", pickle), ("a/data/0", &[0; 16])], STORED)
}

#[test]
fn checkpoints_of_torch_become_what_safetensors_writes() {
    for (name, skipped, config) in [("types", 0, false), ("wrapped", 1, false), ("with_config", 0, true)] {
        let folder = folder();
        let output = folder.path().join("out.safetensors");
        let input = fixture(&format!("{name}.pt"));
        let report = convert(&input, &output, ConvertOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let got = Safetensors::open(&output).expect("opens");
        let want = Safetensors::open(&fixture(&format!("{name}.safetensors"))).expect("opens");
        assert_eq!(got.names(), want.names(), "{name}");
        for tensor in want.names() {
            assert_eq!(got.entry(&tensor), want.entry(&tensor), "{name}: {tensor}");
            assert_eq!(got.read(&tensor).expect("reads"), want.read(&tensor).expect("reads"), "{name}: {tensor}");
        }
        assert_eq!(report.tensors, got.names().len());
        assert_eq!(report.bytes, output.metadata().expect("its length").len());
        assert_eq!((report.skipped.len(), report.has_config), (skipped, config), "{name}");
        assert_eq!(got.metadata("format"), Some("pt"));
        if config {
            let config: serde_json::Value = serde_json::from_str(got.metadata("config").expect("cfg")).expect("JSON");
            let expected = serde_json::json!({"encoder_layers": 12, "conv": "[(512,10,5)] + [(512,3,2)] * 4", "prob": 0.65,
                "normalize": false, "sizes": [1, [2, -3]], "nested": {"big": 1u64 << 40, "none": null}, "5": "five"});
            assert_eq!(config, expected);
        }
    }
}

#[test]
fn floats_become_f16_on_request_unless_they_overflow() {
    let folder = folder();
    let half = ConvertOptions { half: true };
    let checkpoint = |values: &[f32]| {
        let pickle = one("FloatStorage", values.len() as i32, 0, &[values.len() as i32], &[1]);
        archive(&[("a/data.pkl", &pickle), ("a/data/0", &bytes(values))], STORED)
    };
    let values = [1.0f32, 1.0 / 3.0, -65519.0, 1e-9];
    let (report, w) = converted(&folder, &checkpoint(&values), half).expect("in range");
    assert_eq!((report.elements, w.get("w", &[4]).expect("w").len()), (4, 4));
    let rounded = w.get("w", &[4]).and_then(|t| t.to_f32()).expect("w");
    assert_eq!(rounded, values.map(|v| f16::from_f32(v).to_f32()));
    assert_eq!(w.plan(|w| w.get("w", &[4]).map(|_| ())).expect("a plan").stored_bytes(), 8);

    let error = converted(&folder, &checkpoint(&[1.0, 65520.0]), half).err().expect("beyond f16").to_string();
    assert!(error.starts_with("w: expected values within the range of F16"), "{error}");
    let double = one("DoubleStorage", 1, 0, &[1], &[1]);
    let double = archive(&[("a/data.pkl", &double), ("a/data/0", &1e300f64.to_le_bytes())], STORED);
    assert!(refusal(&double).starts_with("w: expected values within the range of F32"));
}

#[test]
fn views_are_read_from_stored_and_from_compressed_entries() {
    let values: Vec<f32> = (0..12).map(|v| v as f32).collect();
    for method in [STORED, CompressionMethod::Deflated] {
        for (offset, shape, strides, expected) in [
            (0, &[12][..], &[1][..], values.clone()),
            (4, &[2, 3], &[3, 1], values[4..10].to_vec()),
            (1, &[3, 2], &[1, 6], vec![1.0, 7.0, 2.0, 8.0, 3.0, 9.0]),
            (11, &[1, 1], &[99, 7], vec![11.0]),
            (3, &[], &[], vec![3.0]),
            (0, &[0, 5], &[5, 1], vec![]),
        ] {
            let pickle = one("FloatStorage", 12, offset, shape, strides);
            let zip = archive(&[("data.pkl", &pickle), ("data/0", &bytes(&values))], method);
            let (_, w) = converted(&folder(), &zip, ConvertOptions::default()).expect("converts");
            let shape: Vec<usize> = shape.iter().map(|&dim| dim as usize).collect();
            assert_eq!(w.get("w", &shape).and_then(|t| t.to_f32()).expect("w"), expected, "{method:?} {shape:?}");
        }
    }
}

#[test]
fn hostile_pickles_are_refused_by_name() {
    let system = Ops::default().global("os", "system").op(b"(").text("touch hacked").op(b"tR").finish();
    let stacked = Ops::default().text("posix").text("system").op(b"\x93)R").finish();
    let eval = Ops::default().global("builtins", "eval").op(b"(").text("1").op(b"tR").finish();
    let nested = Ops::default().global("torch.storage", "_load_from_bytes").op(b"(U\x01xtR").finish();
    let from_type = Ops::default()
        .global("torch._tensor", "_rebuild_from_type_v2")
        .op(b"(")
        .global("torch._tensor", "_rebuild_from_type_v2")
        .op(b"NNNtR")
        .finish();
    let endless = Ops::default().op(vec![b'N'; 9 << 20]).finish();
    let cases = [
        (system, "found os.system"),
        (stacked, "found posix.system"),
        (eval, "found builtins.eval"),
        (nested, "found torch.storage._load_from_bytes"),
        (from_type, "found torch._tensor._rebuild_from_type_v2"),
        (Ops::default().op(b"ios\nsystem\n").finish(), "found INST"),
        (Ops::default().op(b"Pkey\n").finish(), "found PERSID"),
        (Ops::default().op(b"\x82\x01").finish(), "found EXT1"),
        (Ops::default().op(b")}\x92").finish(), "found NEWOBJ_EX"),
        (Ops::default().op(b"\xff").finish(), "found byte 0xff"),
        (Ops::default().global("builtins", "int").op(b"(").text("1").op(b"tR").finish(), "found builtins.int of 1"),
        (Ops::default().text("f").op(b")R").finish(), "found text"),
        (Ops::default().global("collections", "OrderedDict").op(b"}b").finish(), "found collections.OrderedDict"),
        (endless, "found more"),
        (b"\x80\x63.".to_vec(), "found 99"),
    ];
    for (pickle, message) in cases {
        let error = refusal(&pickled(&pickle));
        assert!(error.contains(message), "{message}: {error}");
    }
    assert!(!Path::new("hacked").exists());
}

#[test]
fn tensors_that_do_not_fit_their_storage_are_refused() {
    let max = i32::MAX;
    for (stored, offset, shape, strides) in [
        (4, 0, &[5][..], &[1][..]),
        (4, 1, &[4], &[1]),
        (4, 0, &[2, 2], &[3, 1]),
        (4, 0, &[1000, 1000], &[0, 0]),
        (4, 0, &[max, max, max], &[max, max, max]),
        (4, 0, &[3, 2], &[1, 1]),
    ] {
        let error = refusal(&pickled(&one("FloatStorage", stored, offset, shape, strides)));
        assert!(error.contains("w: expected a tensor within its storage of 4 elements"), "{shape:?}: {error}");
    }
    for (pickle, message) in [
        (one("FloatStorage", 5, 0, &[5], &[1]), "expected 20 bytes, found 16"),
        (one("FloatStorage", 4, -1, &[1], &[1]), "expected a number from 0, found -1"),
        (one("FloatStorage", 4, 0, &[1], &[1, 1]), "expected 1 strides, found 2"),
        (one("FloatStorage", 4, 0, &[1; 17], &[1; 17]), "expected at most 16 dimensions"),
        (one("ComplexFloatStorage", 2, 0, &[1], &[1]), "found torch.ComplexFloatStorage"),
        (one("Size", 4, 0, &[1], &[1]), "the description of a storage"),
        (one("UntypedStorage", 4, 0, &[1], &[1]), "found an untyped storage"),
        (Ops::default().op(b"}").text("epoch").int(3).op(b"s").finish(), "found none, only epoch"),
        (Ops::default().op(b"]").finish(), "found none"),
    ] {
        let error = refusal(&pickled(&pickle));
        assert!(error.contains(message), "{message}: {error}");
    }
    let twice = |name: &str| Ops::default().text(name).tensor("FloatStorage", "0", 4, 0, &[1], &[1]).op(b"s").0;
    let clash = Ops::default().op(b"}").op(twice("module.w")).op(twice("w")).finish();
    assert!(refusal(&pickled(&clash)).contains("expected one tensor named w, found two"));
    let missing = archive(&[("a/data.pkl", &one("FloatStorage", 4, 0, &[4], &[1]))], STORED);
    assert!(refusal(&missing).contains("a/data/0"));
    let many: Vec<u8> = (0..99).flat_map(|i| twice(&format!("t{i}"))).collect();
    let many = pickled(&Ops::default().op(b"}").op(many).finish());
    converted(&folder(), &many, ConvertOptions::default()).expect("shared, but small");
}

/// A dict whose values hold themselves twice each, forty deep: a tree of 2^40 leaves in a few hundred bytes.
#[test]
fn a_config_that_unfolds_without_end_is_refused() {
    let doubled = (0..40).fold(Ops::default().op(b"}").text("cfg").op(b"}").text("x").op(b"]"), |ops, slot| {
        ops.op([b'q', slot]).op([b'0', b']', b'(', b'h', slot, b'h', slot, b'e'])
    });
    let pickle = doubled.op(b"ss").text("w").tensor("FloatStorage", "0", 4, 0, &[4], &[1]).op(b"s").finish();
    assert!(refusal(&pickled(&pickle)).contains("the checkpoint's cfg: expected at most"));
    let cyclic = Ops::default().op(b"}").text("cfg").op(b"}q\x00").text("x").op(b"h\x00ss").text("w");
    let cyclic = cyclic.tensor("FloatStorage", "0", 4, 0, &[4], &[1]).op(b"s").finish();
    assert!(refusal(&pickled(&cyclic)).contains("the checkpoint's cfg: expected at most"));
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    let whole = std::fs::read(fixture("with_config.pt")).expect("a checkpoint");
    let folder = folder();
    for length in (0..whole.len()).step_by(7) {
        assert!(converted(&folder, &whole[..length], ConvertOptions::default()).is_err(), "{length} bytes");
    }
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&whole)).expect("a zip");
    let mut pickle = Vec::new();
    let mut entry = zip.by_name("with_config/data.pkl").expect("a pickle");
    std::io::Read::read_to_end(&mut entry, &mut pickle).expect("its bytes");
    let input = folder.path().join("in.pt");
    let output = folder.path().join("out.safetensors");
    for at in 0..pickle.len() {
        let mut damaged = pickle.clone();
        damaged[at] = [0, b'.', b'(', b'R', b'h', b't', pickle[at] ^ 1, 0xFF][at % 8];
        std::fs::write(&input, pickled(&damaged)).expect("writes");
        let _ = convert(&input, &output, ConvertOptions::default());
    }
    for cut in (0..pickle.len()).step_by(5) {
        assert!(refusal(&pickled(&pickle[..cut])).contains("byte"), "cut at {cut}");
    }
    let mut flipped =
        archive(&[("a/data.pkl", &one("FloatStorage", 4, 0, &[4], &[1])), ("a/data/0", &[7; 16])], STORED);
    let at = flipped.windows(16).position(|window| window == [7; 16]).expect("the values");
    flipped[at] = 8;
    assert!(refusal(&flipped).contains("Invalid checksum"));
}

#[test]
fn other_formats_say_what_to_do() {
    let before_zip = std::fs::read(fixture("before_zip.pt")).expect("a checkpoint");
    let foreign = [
        (before_zip, "a pickle from before PyTorch 1.6; open it with a recent PyTorch and write it anew"),
        (safetensors(&[], &[Stored::f32("a", &[1], &[1.0])]), "found safetensors; use the file as it is"),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "git lfs pull"),
        (b"hello".to_vec(), "another kind of file"),
        (vec![], "an empty file"),
        (archive(&[("readme.txt", b"x")], STORED), "a zip with a data.pkl"),
        (archive(&[("a/data.pkl", b"x"), ("a/byteorder", b"big")], STORED), "another byte order"),
    ];
    for (bytes, message) in foreign {
        let error = refusal(&bytes);
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn nothing_is_left_where_writing_fails() {
    let folder = folder();
    let good = pickled(&one("FloatStorage", 4, 0, &[4], &[1]));
    let input = write(&folder, "in.pt", &good);
    let options = ConvertOptions::default();
    let nowhere = convert(&input, &folder.path().join("none/out.safetensors"), options);
    assert!(matches!(nowhere, Err(Error::Write { .. })), "{nowhere:?}");
    assert!(matches!(convert(&input, &input, options), Err(Error::Usage(_))));
    assert_eq!(std::fs::read(&input).expect("untouched"), good);
    assert!(matches!(convert(&folder.path().join("x.pt"), &input, options), Err(Error::Read { .. })));

    // A broken second tensor, met after the first was written, must leave the earlier output as it was.
    let output = write(&folder, "out.safetensors", "earlier");
    let two = Ops::default().op(b"}").text("a").tensor("FloatStorage", "0", 4, 0, &[4], &[1]).op(b"s");
    let two = two.text("b").tensor("FloatStorage", "1", 4, 0, &[4], &[1]).op(b"s").finish();
    let input = write(&folder, "in.pt", pickled(&two));
    assert!(convert(&input, &output, options).is_err());
    assert_eq!(std::fs::read(&output).expect("still there"), b"earlier");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 2);
}

/// Each call copied its arguments: a long tuple that many calls share took hours.
#[test]
fn calls_of_one_long_tuple_cost_nothing() {
    let calls = 1 << 20;
    let mut ops = Ops::default().op(b"(").op(vec![b'N'; 4 << 20]).op(b"tq\x00").global("collections", "defaultdict");
    ops = ops.op(b"q\x01").op(b"h\x01h\x00R0".repeat(calls));
    let error = refusal(&pickled(&ops.finish()));
    assert!(error.contains("at most 16 arguments, found 4194304"), "{error}");
    // A key, too, is copied for each tensor.
    let key = "0".repeat(65);
    let long = Ops::default().op(b"}").text("w").tensor("FloatStorage", &key, 4, 0, &[4], &[1]).op(b"s").finish();
    assert!(refusal(&pickled(&long)).contains("the description of a storage"));
}

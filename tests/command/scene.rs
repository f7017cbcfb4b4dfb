//! What the tests of the command share: inputs, small networks, and judging how a run ended.

use super::device::there;
use super::small;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;
use viseme::gpu::Gpu;
use viseme::media::frames::FolderSource;
use viseme::media::probe::{VideoInfo, probe};
use viseme::media::{Ffmpeg, Fps, Frame, FrameSource};
use viseme::pipelines::weights::Role;
use viseme::weights::Source;
use viseme::weights::formula::FormulaSource;

/// Whether there is a device; said aloud where there is none. `VISEME_REQUIRE_GPU=1` makes that a failure.
pub fn gpu() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| there(Gpu::new(None)).is_some())
}

pub fn ffmpeg() -> bool {
    there(Ffmpeg::find(None)).is_some()
}

/// The command without a terminal, and with nothing of the user's settings.
pub fn viseme() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viseme"));
    command.stdin(Stdio::null()).env_remove("VISEME_WEIGHTS");
    // Mesa's device layer complains without one.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command.env("VISEME_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/kernels"));
    command
}

#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(command: &mut Command) -> Said {
    let ended = command.output().expect("viseme starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { code: ended.status.code(), stdout: text(&ended.stdout), stderr: text(&ended.stderr) };
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    said
}

pub fn ended_well(command: &mut Command) -> Said {
    let said = run(command);
    assert_eq!(said.code, Some(0), "{command:?}: {}", said.stderr);
    said
}

/// Fails unless the run ends with this code and an error that holds every one of `words`.
pub fn refused(command: &mut Command, code: u8, words: &[&str]) -> Said {
    let said = run(command);
    assert_eq!(said.code, Some(i32::from(code)), "{command:?}: {}", said.stderr);
    for word in words {
        assert!(said.stderr.contains(word), "'{word}' is not in: {}", said.stderr);
    }
    if std::env::var_os("VISEME_SHOW").is_some() {
        eprintln!("{code}: {}", said.stderr.trim_end());
    }
    said
}

const SIDE: u32 = 64;

/// A folder with pictures, speech and landmarks in it, and the small networks elsewhere.
pub struct Scene {
    folder: PathBuf,
    /// Removes the folder at the end, where it is the scene's own.
    _own: Option<TempDir>,
}

impl Scene {
    /// `frames` pictures of 64x64 in `in`, `seconds` of sound in `speech.wav`, a face for each picture in `points.json`.
    pub fn new(frames: usize, seconds: f64) -> Self {
        let own = tempfile::tempdir().expect("a temporary folder");
        let scene = Self { folder: own.path().to_path_buf(), _own: Some(own) };
        std::fs::create_dir(scene.path("in")).expect("a folder");
        std::fs::create_dir(scene.path("tmp")).expect("a folder");
        for index in 0..frames {
            let picture = noise(index as u64);
            image::save_buffer(scene.path(&format!("in/{index:04}.png")), &picture, SIDE, SIDE, image::ColorType::Rgb8)
                .expect("a picture");
        }

        Self::speech(&scene.path("speech.wav"), seconds);
        let demo: serde_json::Value =
            serde_json::from_str(include_str!("../../examples/demo/landmarks.json")).expect("landmarks");
        let scale = f64::from(SIDE) / demo["width"].as_f64().expect("a width");
        let points = demo["frames"][0].as_array().expect("points").iter();
        let scaled = |v: &serde_json::Value| v.as_f64().expect("a number") * scale;
        let face: Vec<[f64; 2]> = points.map(|p| [scaled(&p[0]), scaled(&p[1])]).collect();
        std::fs::write(scene.path("points.json"), serde_json::json!(vec![face; frames]).to_string()).expect("written");
        scene
    }

    /// Jobs in a folder that is there already.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), _own: None }
    }

    /// A sound that rises and falls, at 16 kHz.
    pub fn speech(path: &Path, seconds: f64) {
        let (channels, sample_rate, sample_format) = (1, 16_000, hound::SampleFormat::Int);
        let spec = hound::WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format };
        let mut wav = hound::WavWriter::create(path, spec).expect("a wav file");
        for i in 0..(seconds * 16_000.0).round() as usize {
            let t = i as f64 / 16_000.0;
            let value = (t * 1200.0).sin() * (0.6 + 0.4 * (t * 25.0).sin());
            wav.write_sample((value * 12_000.0) as i16).expect("a sample");
        }
        wav.finalize().expect("a wav file");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn landmarks(&self) -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(self.path("points.json")).expect("read")).expect("JSON")
    }

    /// `viseme lipsync` from `in` to `out`, in one step, without an ffmpeg. Of `changes`, those to the options given here
    /// take their place (nothing in place of a value leaves the option out), others are added.
    pub fn lipsync(&self, changes: &[(&str, &str)]) -> Command {
        // Noise is another shot in every frame.
        let inputs = [("--video", "in"), ("--landmarks", "points.json"), ("--cut-threshold", "2")];
        self.job("lipsync", &inputs, changes)
    }

    /// The same for `viseme animate` with the first picture of `in`.
    pub fn animate(&self, changes: &[(&str, &str)]) -> Command {
        self.job("animate", &[("--image", "in/0000.png")], changes)
    }

    fn job(&self, name: &str, inputs: &[(&str, &str)], changes: &[(&str, &str)]) -> Command {
        let weights = small_networks().display().to_string();
        let mut options = inputs.to_vec();
        options.extend([
            ("--audio", "speech.wav"),
            ("--out", "out"),
            ("--weights", &weights),
            ("--steps", "1"),
            ("--ffmpeg", "/nonexistent/ffmpeg"),
        ]);
        let mut flags = Vec::new();
        for (name, value) in changes {
            match options.iter().position(|(known, _)| known == name) {
                Some(at) if value.is_empty() => drop(options.remove(at)),
                Some(at) => options[at].1 = value,
                None if value.is_empty() => flags.push(*name),
                None => options.push((name, value)),
            }
        }
        let mut command = viseme();
        command.current_dir(&self.folder).env("TMPDIR", self.path("tmp")).arg(name);
        // One word each, so that a value may begin with a dash.
        command.args(options.into_iter().map(|(name, value)| format!("{name}={value}"))).args(flags);
        command
    }

    /// Fails unless the folder holds its inputs and `more`, hidden files counted, and nothing temporary is left.
    pub fn holds(&self, more: &[&str]) {
        let names = |folder: &Path| {
            let entries = std::fs::read_dir(folder).expect("a folder");
            let mut names: Vec<String> =
                entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let mut want: Vec<&str> = ["in", "points.json", "speech.wav", "tmp"].iter().chain(more).copied().collect();
        want.sort_unstable();
        assert_eq!(names(&self.folder), want);
        assert_eq!(names(&self.path("tmp")), [""; 0], "temporary files");
    }

    /// All pictures of a folder.
    pub fn frames(&self, folder: &str) -> Vec<Frame> {
        let mut source = FolderSource::open(&self.path(folder), Fps::INSIDE).expect("pictures");
        std::iter::from_fn(|| source.next_frame().expect("a picture")).collect()
    }

    /// Makes `out`, and a folder for it, with ffmpeg.
    pub fn make(&self, out: &str, args: &[&str]) {
        if let Some((folder, _)) = out.split_once('/') {
            let _ = std::fs::remove_dir_all(self.path(folder));
            std::fs::create_dir(self.path(folder)).expect("a folder");
        }
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error", "-y"]).args(args).arg(out).current_dir(&self.folder);
        let ended = command.output().expect("ffmpeg starts");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    pub fn probe(&self, name: &str) -> VideoInfo {
        probe(&Ffmpeg::find(None).expect("ffmpeg"), &self.path(name)).expect("a video")
    }
}

/// Pixels that say which frame they are of, and that no file format makes small.
fn noise(frame: u64) -> Vec<u8> {
    let mut state = frame.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (state >> 56) as u8
    };
    (0..SIDE * SIDE * 3).map(|_| next()).collect()
}

/// The tensors of one network's file.
#[derive(Clone)]
pub struct Tensors(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    /// A file of [`small_networks`].
    pub fn read(file: &str) -> Self {
        let bytes = std::fs::read(small_networks().join(file)).expect("a network");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        let values = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        Self(file.iter().map(|(name, view)| (name.to_string(), (view.shape().to_vec(), values(view.data())))).collect())
    }

    pub fn write(&self, path: &Path) {
        self.write_with(path, r#"{"num_head_channels": 16, "num_attention_heads": 12}"#);
    }

    fn write_with(&self, path: &Path, config: &str) {
        let bytes: BTreeMap<&String, Vec<u8>> = self
            .0
            .iter()
            .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let view = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f32>))| {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), &bytes[name]);
            (name.clone(), view.expect("a view"))
        };
        let metadata = HashMap::from([("config".to_string(), config.to_string())]);
        safetensors::serialize_to_file(self.0.iter().map(view), Some(metadata), path).expect("written");
    }
}

/// A folder with the [`small`] networks under their published names.
pub fn small_networks() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("small-networks");
        std::fs::create_dir_all(&folder).expect("a folder");
        let shapes = small::shapes();
        for (seed, role) in Role::ALL.into_iter().enumerate() {
            let file = role.file_names()[0];
            let small = serde_json::from_value(shapes[role.name()].clone()).expect("shapes");
            let source = FormulaSource::new(small, seed as u64, false, 1.0);
            let values = |name: &String| {
                let bytes = source.read(name).expect("values").into_owned();
                bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
            };
            let shape = |name: &String| source.entry(name).expect("a shape").1;
            let tensors = source.names().into_iter().map(|name| (name.clone(), (shape(&name), values(&name))));
            // Complete at once, whoever else runs these tests.
            let partial = folder.join(format!("{file}.{}", std::process::id()));
            let tensors = Tensors(tensors.collect());
            match role {
                Role::Beats => tensors.write_with(&partial, &shapes["config"]["beats"].to_string()),
                _ => tensors.write(&partial),
            }
            std::fs::rename(partial, folder.join(file)).expect("renamed");
        }
        folder
    })
}

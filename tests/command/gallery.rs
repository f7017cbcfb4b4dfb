//! Every file that people bring: `tests/media/gallery/make.sh` makes them, `viseme lipsync` works on each with networks of one
//! level. What it makes of a file, or how it refuses it, stands here; README.md has the table in words.

use super::numbered::{number_of, numbered};
use super::scene::{Scene, ffmpeg, gpu, run};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use viseme::media::probe::probe;
use viseme::media::reader::VideoReader;
use viseme::media::{Ffmpeg, FrameSource};
use viseme::ops::Depth;

const SIZE: [u32; 2] = [128, 96];
const PICTURES: u64 = 24;
const SPEECH_S: f64 = 0.4;

/// One job on a file of the gallery.
struct Case {
    video: &'static str,
    audio: &'static str,
    out: &'static str,
    options: &'static [(&'static str, &'static str)],
    /// Its pictures are turned or interlaced: their numbers cannot be read.
    is_hidden: bool,
    want: Want,
}

enum Want {
    Made {
        size: [u32; 2],
        /// As ffprobe prints it.
        rate: &'static str,
        pixels: &'static str,
        /// The number that each frame says.
        numbers: Vec<u64>,
    },
    /// Before any network runs.
    Refused(i32, &'static [&'static str]),
}

fn made(video: &'static str, size: [u32; 2], rate: &'static str, pixels: &'static str, numbers: Vec<u64>) -> Case {
    let want = Want::Made { size, rate, pixels, numbers };
    Case { video, audio: "speech.wav", out: "out.mp4", options: &[], is_hidden: false, want }
}

/// 0.4 s at 25 frames a second, 8-bit 4:2:0.
fn plain(video: &'static str) -> Case {
    made(video, SIZE, "25/1", "yuv420p", (0..10).collect())
}

fn refused(video: &'static str, code: i32, words: &'static [&'static str]) -> Case {
    plain(video).refused(code, words)
}

impl Case {
    fn heard(self, audio: &'static str) -> Self {
        Self { audio, ..self }
    }

    fn into(self, out: &'static str) -> Self {
        Self { out, ..self }
    }

    fn hidden(self) -> Self {
        Self { is_hidden: true, ..self }
    }

    fn refused(self, code: i32, words: &'static [&'static str]) -> Self {
        Self { want: Want::Refused(code, words), ..self }
    }

    fn with(self, options: &'static [(&'static str, &'static str)]) -> Self {
        Self { options, ..self }
    }

    /// What is wrong with what viseme makes of it.
    fn fault(&self, folder: &Path) -> Option<String> {
        let scene = Scene::of(folder);
        let size = match &self.want {
            Want::Made { size, .. } => *size,
            Want::Refused(..) => SIZE,
        };
        let name = format!("{}-{}-{}", self.video.replace('/', "_"), self.audio, self.options.len());
        let (out, points) = (format!("made/{name}-{}", self.out), format!("made/{name}.json"));
        std::fs::write(scene.path(&points), json!([face(size)]).to_string()).expect("written");
        let mut changes = vec![
            ("--video", self.video),
            ("--audio", self.audio),
            ("--landmarks", points.as_str()),
            ("--out", out.as_str()),
            ("--ffmpeg", ""),
            ("--no-autotune", ""),
        ];
        changes.extend(self.options);
        let said = run(&mut scene.lipsync(&changes));
        match &self.want {
            Want::Refused(code, words) => {
                let missing = words.iter().find(|word| !said.stderr.contains(**word));
                let began = scene.path(&format!("{out}.viseme")).exists() || scene.path(&out).exists();
                (said.code != Some(*code) || missing.is_some() || began)
                    .then(|| format!("wanted code {code} and {words:?}, got {:?}: {}", said.code, said.stderr))
            }
            Want::Made { .. } if said.code != Some(0) => Some(format!("{:?}: {}", said.code, said.stderr)),
            Want::Made { size, rate, pixels, numbers } => {
                let seen = |numbers: &[u64]| {
                    if self.is_hidden { format!("{} frames", numbers.len()) } else { format!("{numbers:?}") }
                };
                let want = format!("{}x{} {rate} {pixels} {}", size[0], size[1], seen(numbers));
                let got = looked_at(&scene.path(&out), seen);
                (want != got).then(|| format!("wanted {want}, got {got}\n{}", said.stderr))
            }
        }
    }
}

/// Size, rate, pixel format and the frames' numbers of a video, and its sound where that is not as long.
fn looked_at(path: &Path, seen: impl Fn(&[u64]) -> String) -> String {
    let show = |entries: &str, stream: &str| {
        let mut command = Command::new("ffprobe");
        command.args([
            "-loglevel",
            "error",
            "-select_streams",
            stream,
            "-show_entries",
            entries,
            "-of",
            "default=nw=1:nk=1",
        ]);
        let shown = command.arg(path).output().expect("ffprobe starts").stdout;
        String::from_utf8_lossy(&shown).split_whitespace().map(str::to_string).collect::<Vec<_>>()
    };
    let [pixels, rate] = &show("stream=pix_fmt,r_frame_rate", "v:0")[..] else { return "no video stream".to_string() };
    let info = match probe(&Ffmpeg::find(None).expect("ffmpeg"), path) {
        Ok(info) => info,
        Err(error) => return error.to_string(),
    };
    let ([width, height], video_s) = (info.size, info.times.duration_s());
    let mut reader = VideoReader::new(&Ffmpeg::find(None).expect("ffmpeg"), info);
    let frames = std::iter::from_fn(|| reader.next_frame().expect("decodes"));
    let numbers: Vec<u64> = frames.map(|frame| number_of(&frame.at_depth(Depth::Eight))).collect();
    let packets = show("packet=pts_time,duration_time", "a:0");
    let times: Vec<f64> = packets.iter().filter_map(|time| time.parse().ok()).collect();
    let sound_s = if times.len() > 1 { times[times.len() - 2] + times[times.len() - 1] } else { 0.0 };
    // A frame of AAC at 16 kHz lasts 64 ms; one leads in, and one is the last.
    let sound = if (sound_s - video_s).abs() < 0.13 { String::new() } else { format!(", {sound_s} s of sound") };
    format!("{width}x{height} {rate} {pixels} {}{sound}", seen(&numbers))
}

/// 68 points of a small face in the lower half of a picture, so that its mask leaves the number alone.
fn face([width, height]: [u32; 2]) -> Vec<[f64; 2]> {
    let demo: serde_json::Value =
        serde_json::from_str(include_str!("../../examples/demo/landmarks.json")).expect("landmarks");
    let points: Vec<[f64; 2]> = serde_json::from_value(demo["frames"][0].clone()).expect("points");
    let along = |axis: usize| points.iter().map(move |p| p[axis]);
    let low = [0, 1].map(|axis| along(axis).fold(f64::MAX, f64::min));
    let tall = along(1).fold(f64::MIN, f64::max) - low[1];
    let scale = 0.36 * f64::from(width.min(height)) / tall;
    let place = [f64::from(width) * 0.5 - 17.0, f64::from(height) * 0.58];
    points.iter().map(|p| [0, 1].map(|axis| (p[axis] - low[axis]) * scale + place[axis])).collect()
}

/// The gallery, made once for all tests of this program.
fn gallery() -> Option<&'static PathBuf> {
    static GALLERY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        if !gpu() || !ffmpeg() {
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gallery");
        let _ = std::fs::remove_dir_all(&folder);
        for name in ["pictures", "made", "empty", "tmp"] {
            std::fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        for number in 0..PICTURES {
            let frame = numbered(number, SIZE);
            let path = folder.join(format!("pictures/{number:06}.png"));
            image::save_buffer(path, &frame.rgb, frame.width, frame.height, image::ColorType::Rgb8).expect("a picture");
        }
        Scene::speech(&folder.join("speech.wav"), SPEECH_S);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media/gallery/make.sh");
        let mut command = Command::new("bash");
        command.arg(script).args([&folder.join("pictures"), &folder.join("speech.wav"), &folder]);
        let ended = command.output().expect("bash starts");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let copy = |name: &str| std::fs::copy(folder.join("h264.mp4"), folder.join(name)).expect("copied");
        copy("it's \"a name\" — with 100% ünusual (signs) [x].mp4");
        copy("-dash.mp4");
        copy("two\nlines.mp4");
        copy("wrong-ending.avi");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("written");
        write("text.mp4", b"no video at all\n");
        write("page.mp4", b"<!doctype html><html><body>404 Not Found</body></html>");
        write("nothing.mp4", b"");
        let whole = std::fs::read(folder.join("h264.mp4")).expect("read");
        write("no-index.mp4", &whole[..whole.len() / 2]);
        let jpeg = std::fs::read(folder.join("still.jpg")).expect("read");
        write("half.jpg", &jpeg[..jpeg.len() * 4 / 5]);
        let wav = std::fs::read(folder.join("speech.wav")).expect("read");
        write("cut.wav", &wav[..wav.len() / 2]);
        Scene::speech(&folder.join("silent.wav"), 0.0);
        Some(folder)
    };
    GALLERY.get_or_init(make).as_ref()
}

fn check(cases: &[Case]) {
    let Some(folder) = gallery() else { return };
    let faults: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            case.fault(folder).map(|fault| format!("{} with {} into {}: {fault}", case.video, case.audio, case.out))
        })
        .collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

#[test]
fn containers_and_codecs() {
    check(&[
        plain("h264.mp4"),
        plain("h264.mov").into("out.mov"),
        plain("h264.m4v").into("out.m4v"),
        plain("h264.mkv").into("out.mkv"),
        plain("fragments.mp4"),
        plain("h264.ts"),
        plain("h264.flv"),
        plain("bare.h264"),
        plain("h265.mp4"),
        plain("vp9.webm").into("out.webm"),
        plain("vp8.webm"),
        plain("mpeg4.avi"),
        made("mjpeg.avi", SIZE, "25/1", "yuvj420p", (0..10).collect()),
        plain("mpeg2.mpg"),
        made("mpeg2.mxf", SIZE, "25/1", "yuv422p", (0..10).collect()),
        plain("theora.ogv"),
        plain("wmv2.wmv"),
        plain("ffv1.nut"),
        plain("raw.y4m"),
        plain("wrong-ending.avi"),
    ]);
}

#[test]
fn rates_and_times() {
    check(&[
        made("rate-60.mp4", SIZE, "60/1", "yuv420p", (0..24).collect()),
        made("rate-29.97.mp4", SIZE, "30000/1001", "yuv420p", (0..12).collect()),
        made("rate-30.mkv", SIZE, "30/1", "yuv420p", (0..12).collect()),
        made("rate-24.mp4", SIZE, "24/1", "yuv420p", (0..10).collect()),
        made("rate-12.5.mp4", SIZE, "25/2", "yuv420p", (0..5).collect()),
        made("rate-5.mp4", SIZE, "25/1", "yuv420p", (0..10).map(|i| i / 5).collect()),
        made("variable.mp4", SIZE, "30/1", "yuv420p", variable(12)),
        made("variable.webm", SIZE, "30/1", "yuv420p", variable(12)),
        made("one-frame.mp4", SIZE, "25/1", "yuv420p", vec![0; 10]),
        plain("late-picture.mp4"),
        made("edit-list.mp4", SIZE, "25/1", "yuv420p", (3..13).collect()),
        plain("cut.mkv").hidden(),
        made("resized.webm", SIZE, "25/1", "yuv420p", (0..5).chain(0..5).collect()),
        // Backwards at its end, on a part, and with the speech moved.
        made("rate-30.mkv", SIZE, "30/1", "yuv420p", (0..24).collect()).with(&[("--length", "video")]),
        made("rate-30.mkv", SIZE, "30/1", "yuv420p", (0..24).collect()).with(&[("--from", "0.2"), ("--to", "0.4")]),
        made("rate-24.mp4", SIZE, "24/1", "yuv420p", (0..14).collect()).with(&[("--audio-offset", "0.2")]),
    ]);
}

/// Of 30 frames a second every fifth is missing, and the one before it stays.
fn variable(count: u64) -> Vec<u64> {
    (0..count).map(|i| if i % 5 == 3 { i - 1 } else { i }).collect()
}

#[test]
fn pictures_of_any_kind() {
    let turned = |video| made(video, [96, 128], "25/1", "yuv420p", (0..10).collect());
    check(&[
        plain("turned-180.mp4").hidden(),
        turned("turned-90.mp4").hidden(),
        turned("turned-270.mp4").hidden(),
        made("deep.mp4", SIZE, "25/1", "yuv420p10le", (0..10).collect()),
        made("wide-chroma.mp4", SIZE, "25/1", "yuv422p", (0..10).collect()),
        made("full-chroma.mp4", SIZE, "25/1", "yuv444p", (0..10).collect()),
        made("deep-wide.mkv", SIZE, "25/1", "yuv422p10le", (0..10).collect()).into("out.mkv"),
        made("prores.mov", SIZE, "25/1", "yuv422p10le", (0..10).collect()).into("out.mov"),
        made("ffv1-deep.mkv", SIZE, "25/1", "yuv444p10le", (0..10).collect()).into("out.mkv"),
        made("full-range.mp4", SIZE, "25/1", "yuvj420p", (0..10).collect()),
        made("grey.mkv", SIZE, "25/1", "yuvj420p", (0..10).collect()),
        made("pq.mkv", SIZE, "25/1", "yuv420p10le", (0..10).collect()),
        made("hlg.mkv", SIZE, "25/1", "yuv420p10le", (0..10).collect()),
        plain("pal.mp4"),
        plain("anamorphic.mkv"),
        made("odd.webm", [127, 95], "25/1", "yuv420p", (0..10).collect()).into("out.webm"),
        // H.264 has no odd sizes of 4:2:0.
        plain("odd.webm"),
        made("interlaced.mpg", SIZE, "25/1", "yuv420p", (0..10).map(|i| 2 * i).collect()).hidden(),
        made("still.png", SIZE, "25/1", "yuv420p", vec![3; 10]),
        made("still.jpg", SIZE, "25/1", "yuv420p", vec![3; 10]),
        made("still.bmp", SIZE, "25/1", "yuv420p", vec![3; 10]),
        made("moving.gif", SIZE, "25/1", "yuv420p", vec![0, 0, 1, 1, 1, 2, 2, 3, 3, 3]),
        made("pictures", SIZE, "25/1", "yuv420p", (0..10).collect()),
    ]);
}

#[test]
fn sound_of_any_kind() {
    let with = |audio| plain("h264.mp4").heard(audio);
    // Codecs of whole blocks end with a block.
    let lasting = |audio, frames| made("h264.mp4", SIZE, "25/1", "yuv420p", (0..frames).collect()).heard(audio);
    check(&[
        with("stereo.mp3"),
        lasting("centre.ac3", 11),
        with("opposite.flac"),
        with("telephone.wav"),
        with("deep.wav"),
        with("float.wav"),
        with("voice.opus"),
        with("voice.ogg"),
        lasting("voice.m4a", 12),
        with("voice-lossless.m4a"),
        lasting("late-sound.mka", 13),
        with("two-tracks.mka"),
        lasting("picture-and-sound.mp4", 12),
        lasting("centre.ac3", 11).into("out.webm"),
        with("silent.wav").refused(3, &["silent.wav", "no samples"]),
        with("h264.mkv").refused(3, &["h264.mkv", "without an audio stream"]),
    ]);
}

#[test]
fn names_and_what_is_no_video() {
    check(&[
        plain("it's \"a name\" — with 100% ünusual (signs) [x].mp4"),
        plain("./-dash.mp4"),
        plain("two\nlines.mp4"),
        refused("text.mp4", 3, &["text.mp4", "a video that ffmpeg can read"]),
        refused("page.mp4", 3, &["page.mp4", "a video that ffmpeg can read"]),
        refused("nothing.mp4", 3, &["nothing.mp4", "an empty file"]),
        refused("no-index.mp4", 3, &["no-index.mp4"]),
        refused("half.jpg", 3, &["half.jpg"]),
        refused("empty", 3, &["empty", "none"]),
        refused("voice.m4a", 3, &["voice.m4a", "without a video stream"]),
        refused("nowhere.mp4", 3, &["nowhere.mp4"]),
        plain("h264.mp4").into("out.xyz").refused(2, &["out.xyz", ".mp4"]),
        plain("h264.mp4").with(&[("--codec", "prores_ks")]).refused(2, &["prores_ks", "--codec libx264", ".mkv"]),
        plain("h264.mp4").with(&[("--codec", "nosuchcodec")]).refused(8, &["nosuchcodec"]),
        plain("h264.mp4").with(&[("--from", "3")]).refused(2, &["from 3 s", "0.96 s"]),
    ]);
}

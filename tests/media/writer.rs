//! Writing: nothing under the final name until it is whole, sound beside the picture, pieces put together.

use super::video::video;
use super::{at, ffmpeg, folder, fps, make, names, number_of, numbered, refused};
use hound::{SampleFormat, WavSpec, WavWriter};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use viseme::media::probe::{Look, probe};
use viseme::media::reader::VideoReader;
use viseme::media::writer::{Sound, Tracks, VideoSpec, VideoWriter, join};
use viseme::media::{Audio, Ffmpeg, Fps, FrameSink, FrameSource};

const SIZE: [u32; 2] = [64, 48];

pub fn spec() -> VideoSpec {
    VideoSpec::new(SIZE, Fps::INSIDE, Look::standard())
}

/// The sound of a file from the video's start on.
fn sound(path: &Path) -> Sound {
    Sound { path: path.to_path_buf(), start_s: 0.0, part: None }
}

/// A loud tone of this length at 16 kHz.
fn tone(folder: &TempDir, seconds: f64) -> PathBuf {
    let path = at(folder, "tone.wav");
    let spec = WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut wav = WavWriter::create(&path, spec).expect("a wav file");
    for i in 0..(seconds * 16_000.0) as usize {
        wav.write_sample(((i as f64 * 0.2).sin() * 20_000.0) as i16).expect("sample");
    }
    wav.finalize().expect("a wav file");
    path
}

/// Writes `frames` numbered pictures; what the writer notes.
pub fn write(ffmpeg: &Ffmpeg, out: &Path, spec: &VideoSpec, tracks: Tracks<'_>, frames: u64) -> Vec<String> {
    let mut writer = Box::new(VideoWriter::create(ffmpeg, out, spec, tracks).expect("a writer"));
    let notes = writer.trial().notes.clone();
    for number in 0..frames {
        writer.write(&numbered(number, spec.size)).expect("written");
    }
    writer.finish().expect("finished");
    notes
}

pub fn numbers(ffmpeg: &Ffmpeg, path: &Path) -> Vec<u64> {
    let mut reader = VideoReader::new(ffmpeg, probe(ffmpeg, path).expect("a video"));
    std::iter::from_fn(|| reader.next_frame().expect("decodes")).map(|frame| number_of(&frame)).collect()
}

/// Root mean square of samples from `from` to `to` seconds.
fn loudness(samples: &[f32], from: f64, to: f64) -> f64 {
    let part = &samples[(from * 16_000.0) as usize..(to * 16_000.0) as usize];
    (part.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / part.len() as f64).sqrt()
}

#[test]
fn sound_is_cut_or_filled_up_to_the_length_of_the_picture() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    for name in ["out.mp4", "out.mkv", "out.mov", "out.webm", "out.avi", "out.ts"] {
        for seconds in [0.5, 1.0, 3.0] {
            let (out, sound) = (at(&folder, name), sound(&tone(&folder, seconds)));
            let tracks = Tracks { sound: Some(&sound), source: None };
            let mut writer = Box::new(VideoWriter::create(&ffmpeg, &out, &spec(), tracks).expect("a writer"));
            for number in 0..25 {
                writer.write(&numbered(number, SIZE)).expect("written");
            }
            writer.finish().expect("finished");
            assert_eq!(names(folder.path()), [name, "tone.wav"]);

            let case = format!("{name} with {seconds} s of sound");
            let info = probe(&ffmpeg, &out).expect(&case);
            assert!(info.has_audio, "{case}");
            assert_eq!(numbers(&ffmpeg, &out), (0..25).collect::<Vec<_>>(), "{case}");
            let samples = Audio::file(&out, None).read_all().expect(&case);
            let length = samples.len() as f64 / 16_000.0;
            // An encoder's frame may stick out at the end.
            assert!((0.98..1.1).contains(&length), "{case}: {length} s of sound");
            assert!((loudness(&samples, 0.1, 0.4) - 0.43).abs() < 0.05, "{case}: not the tone at its start");
            let late = loudness(&samples, 0.6, 0.95);
            match seconds < 0.9 {
                true => assert!(late < 0.01, "{case}: {late} after its end"),
                false => assert!((late - 0.43).abs() < 0.05, "{case}: {late} instead of the tone"),
            }
            std::fs::remove_file(&out).expect("removed");
        }
    }
}

#[test]
fn nothing_stands_under_the_final_name_before_the_end() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let out = at(&folder, "out.mp4");
    let mut writer = Box::new(VideoWriter::create(&ffmpeg, &out, &spec(), Tracks::default()).expect("a writer"));
    writer.write(&numbered(0, SIZE)).expect("written");
    assert!(!out.exists());
    refused(writer.write(&numbered(1, [64, 50])), 3, &["out.mp4, frame 1", "64x48", "64x50"]);
    drop(writer);
    assert_eq!(names(folder.path()), [""; 0], "an unfinished video leaves nothing");

    std::fs::write(&out, "an older result").expect("written");
    let writer = Box::new(VideoWriter::create(&ffmpeg, &out, &spec(), Tracks::default()).expect("a writer"));
    refused(writer.finish(), 3, &["out.mp4", "a frame or more to write", "none"]);
    assert_eq!(std::fs::read(&out).expect("there"), b"an older result");
    assert_eq!(names(folder.path()), ["out.mp4"]);

    let mut writer = Box::new(VideoWriter::create(&ffmpeg, &out, &spec(), Tracks::default()).expect("a writer"));
    writer.write(&numbered(0, SIZE)).expect("written");
    writer.finish().expect("finished");
    assert_eq!(numbers(&ffmpeg, &out), [0], "a finished one takes its place");
    assert_eq!(names(folder.path()), ["out.mp4"]);
}

#[test]
fn names_that_ffmpeg_would_misread_are_files() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let sound = sound(&tone(&folder, 0.4));
    let tracks = Tracks { sound: Some(&sound), source: None };
    let long = |bytes: usize| format!("{}.mp4", "n".repeat(bytes - 4));
    let lines = "two\nlines".to_string();
    std::fs::create_dir(at(&folder, &lines)).expect("a folder");
    let names = ["-x.mp4", "a:b.mp4", "100%d'quoted' name.mp4", "größe.mp4"].map(str::to_string);
    for name in names.into_iter().chain([long(247), long(248), long(255), format!("{lines}/{lines}.mp4")]) {
        let name = name.as_str();
        let out = at(&folder, name);
        let mut writer = Box::new(VideoWriter::create(&ffmpeg, &out, &spec(), tracks).expect("a writer"));
        for number in 0..5 {
            writer.write(&numbered(number, SIZE)).expect("written");
        }
        writer.finish().expect(name);
        assert_eq!(numbers(&ffmpeg, &out), [0, 1, 2, 3, 4], "{name}");
    }
}

#[test]
fn pieces_are_joined_in_order() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let sound = sound(&tone(&folder, 2.0));
    let tracks = Tracks { sound: Some(&sound), source: None };
    for rate in [fps(25, 1), fps(30_000, 1001)] {
        let pieces: Vec<PathBuf> = [(10, "a.mp4"), (1, "b.mp4"), (15, "c's.mp4")]
            .map(|(n, name)| video(&ffmpeg, &folder, name, n, SIZE, rate))
            .into();
        let out = at(&folder, "all.mp4");
        join(&ffmpeg, &pieces, tracks, rate, 26, &out).expect("joined");
        let want: Vec<u64> = (0..10).chain(0..1).chain(0..15).collect();
        assert_eq!(numbers(&ffmpeg, &out), want, "at {rate}");
        let seconds = Audio::file(&out, None).read_all().expect("sound").len() as f64 / 16_000.0;
        let picture = 26.0 / rate.as_f64();
        assert!((picture - 0.02..picture + 0.1).contains(&seconds), "{seconds} s of sound for {picture} s at {rate}");
    }
}

#[test]
fn what_cannot_be_written_is_said_before_the_work() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let create = |name: &str| VideoWriter::create(&ffmpeg, &at(&folder, name), &spec(), Tracks::default()).map(drop);
    refused(create("out.gif"), 2, &["out.gif", ".mp4"]);
    refused(create("out"), 2, &["out", ".mp4"]);
    refused(create("absent/out.mp4"), 7, &["absent", "cannot write"]);
    std::fs::write(at(&folder, "file"), "").expect("written");
    refused(create("file/out.mp4"), 7, &["file", "cannot write"]);
    std::fs::create_dir(at(&folder, "folder.mp4")).expect("a folder");
    refused(create("folder.mp4"), 7, &["folder.mp4", "cannot write"]);
    assert_eq!(names(folder.path()), ["file", "folder.mp4"]);
}

#[test]
fn an_encoder_that_is_not_there_is_known_at_once() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let out = at(&folder, "out.mp4");
    let wrong = VideoSpec { codec: Some("nosuchcodec".to_string()), ..spec() };
    refused(
        VideoWriter::create(&ffmpeg, &out, &wrong, Tracks::default()).map(drop),
        8,
        &["64x48", "nosuchcodec", "--codec libx264 would work", "ffmpeg -encoders"],
    );
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn sound_that_is_missing_is_named() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let piece = [video(&ffmpeg, &folder, "a.mp4", 5, SIZE, Fps::INSIDE)];
    let mute = at(&folder, "mute.mkv");
    make(&mute, &["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1"]);
    let out = at(&folder, "out.mp4");
    let join = |path: &Path| {
        let sound = sound(path);
        join(&ffmpeg, &piece, Tracks { sound: Some(&sound), source: None }, Fps::INSIDE, 5, &out)
    };
    refused(join(&mute), 3, &["mute.mkv", "without an audio stream"]);
    let absent = at(&folder, "absent.wav");
    refused(join(&absent), 3, &["absent.wav", "cannot read"]);
    assert_eq!(names(folder.path()), ["a.mp4", "mute.mkv"]);
}

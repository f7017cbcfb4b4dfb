//! What a written video holds: its encoder and how good it is, sound placed by its time stamps, and what of the source is kept.

use super::writer::{numbers, spec, write};
use super::{at, ffmpeg, folder, make, names, numbered, refused};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use viseme::media::frames::{FolderSink, Frame, read_picture};
use viseme::media::probe::{Look, probe};
use viseme::media::writer::{Sound, SoundPart, Tracks, Trial, VideoSpec, VideoWriter};
use viseme::media::{Ffmpeg, Fps, FrameSink, disk};
use viseme::ops::Depth;

const SIZE: [u32; 2] = [64, 48];

/// What ffprobe says of a file.
fn shown(path: &Path) -> Value {
    let mut command = Command::new("ffprobe");
    command.args(["-loglevel", "error", "-show_streams", "-show_format", "-show_chapters", "-of", "json"]).arg(path);
    serde_json::from_slice(&command.output().expect("ffprobe starts").stdout).expect("JSON")
}

/// The streams of this kind in a file, in order.
fn streams<'a>(shown: &'a Value, kind: &str) -> Vec<&'a Value> {
    shown["streams"].as_array().expect("streams").iter().filter(|stream| stream["codec_type"] == kind).collect()
}

/// A picture that no encoder finds easy.
fn busy([width, height]: [u32; 2], number: u32) -> Frame {
    let level = |x: u32, y: u32, c: u32| {
        let wave = |a: f64| (a.sin() * 60.0 + 128.0) as i32;
        let fine = ((x * 7919 + y * 104_729 + (x * y) % 97 * 31) % 17) as i32 - 8;
        (wave(f64::from(x + number) * 0.21 + f64::from(c)) / 2 + wave(f64::from(y) * 0.17) / 2 + fine).clamp(16, 235)
    };
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            rgb.extend((0..3).map(|c| level(x, y, c) as u8));
        }
    }
    Frame::rgb8(width, height, rgb)
}

/// Peak signal to noise in brightness, in dB, between the first picture of a video and what was written.
fn psnr(ffmpeg: &Ffmpeg, path: &Path, written: &Frame) -> f64 {
    use viseme::media::FrameSource;
    let mut reader = viseme::media::reader::VideoReader::new(ffmpeg, probe(ffmpeg, path).expect("a video"));
    let read = reader.next_frame().expect("decodes").expect("a frame").at_depth(Depth::Eight);
    let grey = |rgb: &[u8]| 0.299 * f64::from(rgb[0]) + 0.587 * f64::from(rgb[1]) + 0.114 * f64::from(rgb[2]);
    let squares = read.rgb.chunks(3).zip(written.rgb.chunks(3)).map(|(a, b)| (grey(a) - grey(b)).powi(2));
    let count = (read.rgb.len() / 3) as f64;
    10.0 * (255f64.powi(2) / (squares.sum::<f64>() / count)).log10()
}

#[test]
fn every_encoder_gives_pictures_hard_to_tell_from_the_source() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let size = [160, 128];
    let mut worst = Vec::new();
    // x264 at 18 is what others are held against.
    let mut least_db = 36.0;
    for (codec, name) in [
        (None, "a.mp4"),
        (None, "a.webm"),
        (None, "a.avi"),
        (Some("libx265"), "b.mp4"),
        (Some("libvpx"), "c.webm"),
        (Some("libsvtav1"), "d.webm"),
        (Some("mpeg4"), "f.mp4"),
        (Some("mjpeg"), "h.mov"),
        (Some("prores_ks"), "i.mov"),
        (Some("ffv1"), "j.mkv"),
    ] {
        let codec_name = codec.map(str::to_string);
        let spec = VideoSpec { codec: codec_name, ..VideoSpec::new(size, Fps::INSIDE, Look::standard()) };
        let out = at(&folder, name);
        let mut writer = Box::new(VideoWriter::create(&ffmpeg, &out, &spec, Tracks::default()).expect(name));
        for number in 0..3 {
            writer.write(&busy(size, number)).expect(name);
        }
        writer.finish().expect(name);
        let db = psnr(&ffmpeg, &out, &busy(size, 0));
        worst.extend((db < least_db).then(|| format!("{name} with {codec:?}: {db:.1} dB")));
        if name == "a.mp4" {
            least_db = db - 2.0;
        }
    }
    assert!(worst.is_empty(), "{worst:?}");
}

#[test]
fn an_encoder_without_a_quality_gets_a_bit_rate_that_follows_from_the_source() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let with = |source_rate: Option<u64>| {
        let codec = Some("libtheora".to_string());
        let spec = VideoSpec { codec, source_rate, ..VideoSpec::new([320, 200], Fps::INSIDE, Look::standard()) };
        Trial::new(&ffmpeg, &at(&folder, "a.mkv"), &spec, Tracks::default()).expect("a trial").summary
    };
    // 320 x 200 x 25 pixels a second: 0.2 bits for each at least, half as many again as the source has, 4 at most.
    assert_eq!(with(None), "libtheora -b:v 320k");
    assert_eq!(with(Some(100_000)), "libtheora -b:v 320k");
    assert_eq!(with(Some(1_000_000)), "libtheora -b:v 1500k");
    assert_eq!(with(Some(90_000_000)), "libtheora -b:v 6400k");
}

#[test]
fn quality_is_on_the_encoders_own_scale() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let with = |name: &str, codec: &str, crf: u8| {
        let spec = VideoSpec { codec: Some(codec.to_string()), crf: Some(crf), ..spec() };
        Trial::new(&ffmpeg, &at(&folder, name), &spec, Tracks::default()).map(|trial| trial.summary)
    };
    assert_eq!(with("a.mp4", "libx264", 30).expect("a trial"), "libx264 -crf 30");
    assert_eq!(with("a.mp4", "mpeg4", 5).expect("a trial"), "mpeg4 -q:v 5");
    refused(with("a.mp4", "libx264", 52), 2, &["--crf", "0 (best) to 51 for libx264", "52"]);
    refused(with("a.mp4", "mpeg4", 60), 2, &["--crf", "1 (best) to 31", "60"]);
    refused(with("a.mkv", "ffv1", 18), 2, &["--crf", "ffv1 has no such number", "leave --crf out"]);
    refused(with("a.mkv", "libtheora", 18), 2, &["--crf", "libtheora has no such number"]);
    assert_eq!(names(folder.path()), [""; 0], "a trial leaves nothing");
}

#[test]
fn a_container_that_does_not_hold_what_the_encoder_makes_is_named_with_what_would_do() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    for (codec, name, remedy) in [
        ("libx264", "a.webm", "--codec libvpx-vp9 or --out"),
        ("prores_ks", "a.mp4", "a.mkv would work"),
        ("ffv1", "a.mp4", "a.mkv would work"),
        ("libvpx", "a.mp4", "--codec libx264 or --out"),
    ] {
        let spec = VideoSpec { codec: Some(codec.to_string()), ..spec() };
        let result = Trial::new(&ffmpeg, &at(&folder, name), &spec, Tracks::default()).map(drop);
        refused(result, 2, &[name, codec, remedy, "would work"]);
    }
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn odd_sizes_stay_where_the_encoder_has_them_and_play_everywhere_else() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let size = [161, 127];
    for (codec, name, coded) in [
        (None, "a.mp4", [162, 128]),
        (Some("libx265"), "b.mp4", [162, 128]),
        (None, "a.webm", size),
        (Some("libsvtav1"), "c.webm", [162, 128]),
        (Some("mpeg4"), "d.mp4", size),
        (Some("ffv1"), "e.mkv", size),
    ] {
        let spec =
            VideoSpec { codec: codec.map(str::to_string), ..VideoSpec::new(size, Fps::INSIDE, Look::standard()) };
        let out = at(&folder, name);
        let notes = write(&ffmpeg, &out, &spec, Tracks::default(), 3);
        assert_eq!(notes.len(), usize::from(coded != size), "{name}: {notes:?}");
        assert!(coded == size || notes[0].contains("161x127 becomes 162x128"), "{notes:?}");
        let shown = shown(&out);
        let video = streams(&shown, "video")[0];
        assert_eq!([&video["width"], &video["height"]], [&Value::from(coded[0]), &coded[1].into()], "{name}");
        assert_eq!(video["pix_fmt"], "yuv420p", "{name}: what everything plays");
        make(&at(&folder, "frame.png"), &["-i", &out.display().to_string(), "-frames:v", "1"]);
        let picture = read_picture(&at(&folder, "frame.png")).expect("a picture");
        assert_eq!([picture.width, picture.height], coded, "{name}");
        // The last column and row are those before, not black.
        let level = |x: u32, y: u32| i32::from(picture.rgb[3 * (y * picture.width + x) as usize + 1]);
        let [right, bottom] = [coded[0] - 1, coded[1] - 1];
        for i in 2..100 {
            assert!((level(right, i) - level(right - 1, i)).abs() < 40, "{name}: row {i}");
            assert!((level(i, bottom) - level(i, bottom - 1)).abs() < 40, "{name}: column {i}");
        }
    }
}

/// Sound that is there (1) or not (0) in each tenth of a second.
fn heard(path: &Path) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-i"]).arg(path);
    let made =
        command.args(["-map", "0:a:0", "-ac", "1", "-ar", "16000", "-f", "s16le", "-"]).output().expect("ffmpeg");
    let samples: Vec<f64> = made.stdout.as_chunks().0.iter().map(|&b| f64::from(i16::from_le_bytes(b))).collect();
    let loud = |part: &[f64]| (part.iter().map(|v| v * v).sum::<f64>() / part.len() as f64).sqrt() > 500.0;
    // The middle of each, as an encoder spreads an edge a little.
    let tenths = samples.chunks_exact(1600).map(|tenth| if loud(&tenth[500..1100]) { '1' } else { '0' });
    tenths.collect()
}

/// A tone of `seconds` with a hole from 0.5 to 1.0 s in its time stamps.
fn holed(folder: &TempDir) -> PathBuf {
    let path = at(folder, "holed.mkv");
    let select = "aselect='not(between(t,0.5,0.999))'";
    let tone = "sine=frequency=440:duration=1.5:sample_rate=48000,asetnsamples=480";
    make(&path, &["-f", "lavfi", "-i", tone, "-af", select, "-c:a", "pcm_s16le"]);
    path
}

/// A file whose sound begins 0.4 s after its picture.
fn late(folder: &TempDir) -> PathBuf {
    let path = at(folder, "late.mkv");
    let tone = "sine=frequency=440:duration=0.5:sample_rate=48000";
    let picture = "color=size=64x48:rate=25:duration=1";
    make(&path, &["-f", "lavfi", "-i", picture, "-itsoffset", "0.4", "-f", "lavfi", "-i", tone]);
    path
}

#[test]
fn sound_lies_where_its_time_stamps_say() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let out = at(&folder, "out.mkv");
    let (holed, late) = (holed(&folder), late(&folder));
    let written = |path: &Path, start_s: f64, part: Option<SoundPart>| {
        let sound = Sound { path: path.to_path_buf(), start_s, part };
        write(&ffmpeg, &out, &spec(), Tracks { sound: Some(&sound), source: None }, 50);
        heard(&out)[..20].to_string()
    };
    assert_eq!(written(&holed, 0.0, None), "11111000001111100000");
    assert_eq!(written(&late, 0.0, None), "00001111100000000000");
    assert_eq!(written(&holed, 0.3, None), "00011111000001111100");
    assert_eq!(written(&holed, -0.2, None), "11100000111110000000");
    assert_eq!(written(&holed, -1.2, None), "11100000000000000000");
    let part = |around| Some(SoundPart { from_s: 0.2, to_s: 1.2, around });
    assert_eq!(written(&holed, 0.0, part(None)), "00111000001100000000");
    assert_eq!(written(&holed, 0.0, part(Some((late.clone(), 0.9)))), "00111000001101111100");
    assert_eq!(written(&late, 0.4, part(Some((holed.clone(), 0.0)))), "11000000111111100000");
}

#[test]
fn the_default_sound_track_is_taken() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let both = at(&folder, "both.mkv");
    let tracks =
        ["-f", "lavfi", "-i", "anullsrc=duration=1", "-f", "lavfi", "-i", "sine=duration=1", "-map", "0", "-map", "1"];
    make(&both, &[&tracks[..], &["-disposition:a:0", "0", "-disposition:a:1", "default"]].concat());
    for ffmpeg in [ffmpeg.clone(), ffmpeg.without_probe()] {
        let sound = Sound { path: both.clone(), start_s: 0.0, part: None };
        write(&ffmpeg, &at(&folder, "out.mp4"), &spec(), Tracks { sound: Some(&sound), source: None }, 25);
        assert!(heard(&at(&folder, "out.mp4")).starts_with("1111111"), "the first track is silence");
    }
}

#[test]
fn channels_that_an_encoder_does_not_take_are_mixed_and_said() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    for (channels, layout, name, want, is_said) in [
        (6, Some("5.1(side)"), "a.webm", 6, false),
        (6, Some("5.1(side)"), "a.mp4", 6, false),
        (6, Some("5.1"), "a.avi", 2, true),
        (10, None, "a.webm", 2, true),
        (16, None, "a.mp4", 2, true),
        (3, Some("2.1"), "b.webm", 2, true),
    ] {
        let many = at(&folder, "many.wav");
        match layout {
            Some(layout) => {
                let source =
                    format!("aevalsrc={}:d=0.5:channel_layout={layout}", ["sin(t*2000)/3"; 16][..channels].join("|"));
                make(&many, &["-f", "lavfi", "-i", &source]);
            }
            None => {
                let spec = hound::WavSpec {
                    channels: channels as u16,
                    sample_rate: 48_000,
                    bits_per_sample: 16,
                    sample_format: hound::SampleFormat::Int,
                };
                let mut wav = hound::WavWriter::create(&many, spec).expect("a wav file");
                for i in 0..24_000 {
                    let value = ((f64::from(i) * 0.04).sin() * 8000.0) as i16;
                    (0..channels).for_each(|_| wav.write_sample(value).expect("sample"));
                }
                wav.finalize().expect("a wav file");
            }
        }
        let sound = Sound { path: many, start_s: 0.0, part: None };
        let (out, tracks) = (at(&folder, name), Tracks { sound: Some(&sound), source: None });
        let notes = write(&ffmpeg, &out, &spec(), tracks, 10);
        assert_eq!(notes.iter().any(|note| note.contains("mixed down to stereo")), is_said, "{name}: {notes:?}");
        let shown = shown(&out);
        assert_eq!(streams(&shown, "audio")[0]["channels"], want, "{channels} channels into {name}");
        assert!(heard(&out).starts_with("111"), "{channels} channels into {name}");
    }
}

/// A video with a sound track and another one, subtitles, chapters, tags and a time code.
fn film(folder: &TempDir, name: &str) -> PathBuf {
    let (film, text, tags) = (at(folder, name), at(folder, "film.srt"), at(folder, "film.txt"));
    std::fs::write(&text, "1\n00:00:00,000 --> 00:00:00,500\nhello\n\n2\n00:00:01,200 --> 00:00:01,500\nbye\n")
        .expect("written");
    let chapter = |from, to, title| format!("[CHAPTER]\nTIMEBASE=1/1000\nSTART={from}\nEND={to}\ntitle={title}\n");
    let chapters = format!(";FFMETADATA1\ntitle=A film\n{}{}", chapter(0, 1000, "one"), chapter(1000, 3000, "two"));
    std::fs::write(&tags, chapters).expect("written");
    let picture = "testsrc2=size=64x48:rate=25:duration=3";
    let (first, second) = ("sine=frequency=300:duration=3", "sine=frequency=900:duration=3");
    let mut args = vec!["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", first, "-f", "lavfi", "-i", second];
    let (text, tags) = (text.display().to_string(), tags.display().to_string());
    args.extend(["-i", &text, "-i", &tags, "-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map_metadata", "4"]);
    args.extend(["-metadata", "creation_time=2020-02-03T04:05:06Z", "-metadata:s:v:0", "language=fra"]);
    args.extend([
        "-metadata:s:a:0",
        "language=eng",
        "-metadata:s:a:1",
        "language=spa",
        "-metadata:s:s:0",
        "language=ita",
    ]);
    args.extend(["-disposition:a:0", "default", "-timecode", "01:02:03:04"]);
    args.extend(["-c:s", if name.ends_with("mkv") { "ass" } else { "mov_text" }, "-c:a", "aac"]);
    make(&film, &args);
    film
}

#[test]
fn what_the_source_holds_beside_picture_and_speech_is_kept_or_named() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let speech = at(&folder, "speech.wav");
    make(&speech, &["-f", "lavfi", "-i", "sine=frequency=2000:duration=1:sample_rate=16000"]);
    let sound = Sound { path: speech, start_s: 0.0, part: None };
    for source in ["film.mov", "film.mkv"] {
        let film = film(&folder, source);
        for (name, text, sounds, chapters, has_timecode) in [
            ("a.mp4", Some("mov_text"), ["aac", "aac"], 2, true),
            ("a.mov", Some("mov_text"), ["aac", "aac"], 2, true),
            ("a.mkv", Some(if source == "film.mkv" { "ass" } else { "subrip" }), ["aac", "aac"], 2, true),
            ("a.webm", Some("webvtt"), ["opus", "opus"], 2, false),
            ("a.avi", None, ["mp3", "mp3"], 0, false),
        ] {
            let case = format!("{source} to {name}");
            let (out, tracks) = (at(&folder, name), Tracks { sound: Some(&sound), source: Some(&film) });
            let notes = write(&ffmpeg, &out, &spec(), tracks, 40);
            let says = |text: &str| notes.iter().any(|note| note.contains(text));
            assert_eq!(numbers(&ffmpeg, &out).len(), 40, "{case}");
            let shown = shown(&out);

            let audio = streams(&shown, "audio");
            assert_eq!(
                audio.iter().map(|s| s["codec_name"].as_str().expect("a name")).collect::<Vec<_>>(),
                sounds,
                "{case}"
            );
            assert_eq!(says("encoded again as"), sounds[0] != "aac", "{case}: {notes:?}");
            if name != "a.avi" {
                let defaults: Vec<&Value> = audio.iter().map(|stream| &stream["disposition"]["default"]).collect();
                assert_eq!(defaults, [1, 0], "{case}: the speech is what players take");
                assert!(
                    audio[0]["tags"].get("language").is_none_or(|l| l == "und"),
                    "{case}: nobody knows its language"
                );
                assert_eq!(audio[1]["tags"]["language"], "spa", "{case}");
                assert_eq!(streams(&shown, "video")[0]["tags"]["language"], "fra", "{case}");
            }
            assert_eq!(says("the languages of its tracks"), name == "a.avi", "{case}: {notes:?}");
            let subtitles = streams(&shown, "subtitle");
            assert_eq!(subtitles.first().and_then(|s| s["codec_name"].as_str()), text, "{case}");
            assert_eq!(says("subtitle track 3 (ita"), text.is_none(), "{case}: {notes:?}");
            if let Some(stream) = subtitles.first() {
                assert_eq!(stream["tags"]["language"], "ita", "{case}");
                let said = at(&folder, "out.srt");
                make(&said, &["-i", &out.display().to_string(), "-map", "0:s:0"]);
                // Matroska begins with what the sound's encoder leads in by, some hundredths of a second.
                let said = std::fs::read_to_string(said).expect("subtitles");
                assert!(said.contains("hello") && said.contains("00:00:01,2"), "{case}: {said}");
            }
            assert_eq!(shown["chapters"].as_array().expect("chapters").len(), chapters, "{case}");
            assert_eq!(says(": 2 chapters: such files have none"), chapters == 0, "{case}: {notes:?}");
            let tags = &shown["format"]["tags"];
            let tag =
                |name: &str| tags.get(name).or(tags.get(name.to_uppercase())).and_then(Value::as_str).unwrap_or("");
            assert_eq!(tag("title"), "A film", "{case}");
            assert!(
                tag("creation_time").starts_with("2020-02-03") || name == "a.avi" || name == "a.webm",
                "{case}: {tags}"
            );
            let timecode = shown.to_string().contains("01:02:03:04");
            assert_eq!(timecode, has_timecode, "{case}");
            assert_eq!(says(": time code 01:02:03:04: such files have none"), !has_timecode, "{case}: {notes:?}");
        }
    }
}

#[test]
fn a_stream_that_ffmpeg_refuses_is_left_out_and_the_rest_is_kept() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let film = film(&folder, "film.mkv");
    // A time code of a drop-frame rate at 25 frames a second, which no container takes.
    let odd = at(&folder, "odd.mkv");
    make(
        &odd,
        &["-i", &film.display().to_string(), "-map", "0", "-c", "copy", "-metadata:s:v:0", "timecode=01:02:03;04"],
    );
    let (out, tracks) = (at(&folder, "out.mp4"), Tracks { sound: None, source: Some(&odd) });
    let notes = write(&ffmpeg, &out, &spec(), tracks, 30);
    assert!(notes.iter().any(|note| note.contains("time code 01:02:03;04: Drop frame")), "{notes:?}");
    let shown = shown(&out);
    assert_eq!((streams(&shown, "audio").len(), streams(&shown, "subtitle").len()), (2, 1), "no new sound: both stay");
}

#[test]
fn an_unfinished_folder_is_removed_only_if_nothing_else_is_in_it() {
    let folder = folder();
    let (out, partial) = (at(&folder, "out"), at(&folder, ".out.partial"));
    std::fs::create_dir_all(partial.join("mine")).expect("folders");
    refused(FolderSink::create(&out).map(drop), 7, &[".out.partial", "mine is no frame"]);
    assert!(partial.join("mine").is_dir());
    std::fs::remove_dir(partial.join("mine")).expect("removed");
    std::fs::write(partial.join("000000.png"), "a frame of a run that was killed").expect("written");
    let mut sink = Box::new(FolderSink::create(&out).expect("a sink"));
    sink.write(&numbered(1, SIZE)).expect("written");
    sink.finish().expect("finished");
    assert_eq!((names(folder.path()), names(&out)), (vec!["out".to_string()], vec!["000000.png".to_string()]));
}

#[test]
#[cfg(unix)]
fn names_that_are_no_text_are_written() {
    use std::os::unix::ffi::OsStrExt;
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let bytes = |bytes: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(bytes));
    let inner = bytes(b"folder \xff");
    if std::fs::create_dir(&inner).is_err() {
        eprintln!("skipped: this file system takes no such names");
        return;
    }
    let film = film(&folder, "film.mov");
    for out in [bytes(b"out\xfe.mp4"), inner.join("out.mp4")] {
        let sound = Sound { path: film.clone(), start_s: 0.0, part: None };
        write(&ffmpeg, &out, &spec(), Tracks { sound: Some(&sound), source: Some(&film) }, 5);
        assert_eq!(numbers(&ffmpeg, &out), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn a_disk_that_is_plainly_too_small_is_named() {
    let folder = folder();
    let room = disk::room(folder.path()).expect("a disk");
    assert!(room > 0);
    disk::check(folder.path(), 1).expect("room for a byte");
    refused(disk::check(folder.path(), u64::MAX), 7, &["MB are needed", "MB are free"]);
    let Some(ffmpeg) = ffmpeg() else { return };
    let trial = Trial::new(&ffmpeg, &at(&folder, "out.mp4"), &spec(), Tracks::default()).expect("a trial");
    let (one, many) = (trial.bytes(1000), trial.bytes(1_000_000));
    assert!(one > 10_000 && many.abs_diff(1000 * one) < 1000, "{one} {many}");
}

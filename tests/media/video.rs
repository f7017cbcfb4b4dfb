//! Reading: what a video is, its frames in order, any of them by number.

use super::{at, ffmpeg, folder, fps, make, number_of, numbered, patch_error, refused};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use viseme::media::frames::FrameReader;
use viseme::media::probe::{Look, Matrix, Range, VideoInfo, probe};
use viseme::media::reader::VideoReader;
use viseme::media::writer::{Tracks, VideoSpec, VideoWriter};
use viseme::media::{Ffmpeg, Fps, FrameSink, FrameSource, FrameTimes};

/// `count` numbered frames, encoded by this crate.
pub fn video(ffmpeg: &Ffmpeg, folder: &TempDir, name: &str, count: u64, size: [u32; 2], fps: Fps) -> PathBuf {
    let path = at(folder, name);
    let spec = VideoSpec::new(size, fps, Look::standard());
    let mut writer = Box::new(VideoWriter::create(ffmpeg, &path, &spec, Tracks::default()).expect("a writer"));
    for number in 0..count {
        writer.write(&numbered(number, size)).expect("written");
    }
    writer.finish().expect("finished");
    path
}

fn numbers(reader: &mut VideoReader) -> Vec<u64> {
    std::iter::from_fn(|| reader.next_frame().expect("decodes")).map(|frame| number_of(&frame)).collect()
}

fn open(ffmpeg: &Ffmpeg, path: &Path) -> VideoReader {
    VideoReader::new(ffmpeg, probe(ffmpeg, path).expect("a video"))
}

#[test]
fn every_frame_comes_once_and_any_by_its_number() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    const COUNT: u64 = 70;
    for rate in [fps(25, 1), fps(30_000, 1001)] {
        let mp4 = video(&ffmpeg, &folder, "a.mp4", COUNT, [64, 48], rate);
        let source = mp4.display().to_string();
        let mut files = vec![mp4];
        // Transport streams start late and seek badly; avi has no time stamps at all.
        for (name, codec) in [("a.mkv", "copy"), ("a.ts", "copy"), ("a.avi", "mpeg4")] {
            files.push(at(&folder, name));
            make(&at(&folder, name), &["-i", &source, "-c:v", codec, "-q:v", "2"]);
        }
        for path in &files {
            let case = format!("{} at {rate}", path.display());
            let info = probe(&ffmpeg, path).expect(&case);
            assert_eq!((info.size, info.fps, info.has_audio), ([64, 48], rate, false), "{case}");
            assert_eq!(info.times, FrameTimes::Constant { fps: rate, count: COUNT }, "{case}");
            let mut reader = VideoReader::new(&ffmpeg, info);
            assert_eq!(numbers(&mut reader), (0..COUNT).collect::<Vec<_>>(), "{case}: in order");
            for index in [0, 1, 37, 36, 69, 5] {
                reader.seek(index).expect("seek");
                let frame = reader.next_frame().expect("decodes").as_ref().map(number_of);
                assert_eq!(frame, Some(index), "{case}: after a seek");
                let frame = reader.next_frame().expect("decodes").as_ref().map(number_of);
                assert_eq!(frame, Some(index + 1).filter(|&i| i < COUNT), "{case}: the one after {index}");
            }
        }
    }
}

#[test]
fn a_video_is_read_backwards_through_a_reader() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let path = video(&ffmpeg, &folder, "a.mp4", 50, [64, 48], Fps::INSIDE);
    let mut reader = FrameReader::new(Box::new(open(&ffmpeg, &path)));
    for index in (0..50).chain((0..50).rev()).chain([20, 49, 0]) {
        let frame = reader.frame(index).expect("decodes").map(number_of);
        assert_eq!(frame, Some(index));
    }
    assert_eq!(reader.frame(50).expect("its end"), None);
}

#[test]
fn a_picture_that_starts_after_the_sound_is_found_all_the_same() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let source = video(&ffmpeg, &folder, "a.mp4", 60, [64, 48], Fps::INSIDE).display().to_string();
    for name in ["late.mp4", "late.mkv"] {
        let path = at(&folder, name);
        let sound = ["-f", "lavfi", "-i", "sine=duration=3", "-itsoffset", "0.53", "-i", &source];
        make(&path, &[&sound[..], &["-map", "1:v", "-map", "0:a", "-c:v", "copy", "-c:a", "aac"]].concat());
        let mut reader = open(&ffmpeg, &path);
        assert_eq!(numbers(&mut reader), (0..60).collect::<Vec<_>>(), "{name}: in order");
        for index in [1, 37, 59, 0, 12] {
            reader.seek(index).expect("seek");
            let frame = reader.next_frame().expect("decodes").as_ref().map(number_of);
            assert_eq!(frame, Some(index), "{name}: after a seek");
        }
    }
}

#[test]
fn ffprobe_and_ffmpeg_describe_a_video_alike() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    for (name, size, rate) in [("a.mp4", [64, 48], fps(25, 1)), ("b.mkv", [66, 50], fps(30_000, 1001))] {
        let path = video(&ffmpeg, &folder, name, 30, size, rate);
        let with = probe(&ffmpeg, &path).expect("ffprobe");
        let without = probe(&ffmpeg.clone().without_probe(), &path).expect("ffmpeg alone");
        let essence = |info: &VideoInfo| {
            (info.size, info.fps, info.times.clone(), info.rotation, info.has_audio, info.look.clone())
        };
        assert_eq!(essence(&with), essence(&without), "{name}");
        let mut reader = VideoReader::new(&ffmpeg, without);
        reader.seek(17).expect("seek");
        assert_eq!(reader.next_frame().expect("decodes").as_ref().map(number_of), Some(17), "{name}");
    }
}

/// Turns an mp4's picture clockwise by a quarter, in its track header, as phones do (ISO/IEC 14496-12, 8.3.2).
fn turn_by_a_quarter(path: &Path) {
    let mut bytes = std::fs::read(path).expect("mp4");
    let header = bytes.windows(4).position(|w| w == b"tkhd").expect("a track header") + 4;
    let matrix = [0u32, 0x0001_0000, 0, 0xffff_0000, 0, 0, 0, 0, 0x4000_0000];
    for (i, value) in matrix.into_iter().enumerate() {
        bytes[header + 40 + 4 * i..][..4].copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_turned_video_is_read_upright() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let path = video(&ffmpeg, &folder, "a.mp4", 10, [64, 48], Fps::INSIDE);
    let stored = open(&ffmpeg, &path).next_frame().expect("decodes").expect("a frame");
    turn_by_a_quarter(&path);
    for probed in [probe(&ffmpeg, &path), probe(&ffmpeg.clone().without_probe(), &path)] {
        let info = probed.expect("a video");
        assert_eq!((info.rotation, info.size), (90, [48, 64]));
        let mut reader = VideoReader::new(&ffmpeg, info);
        let upright = reader.next_frame().expect("decodes").expect("a frame");
        assert_eq!((upright.width, upright.height), (48, 64));
        // What was at (x, y) is at (height - 1 - y, x); chroma may move by a level.
        let worst = (0..64u32 * 48).flat_map(|i| {
            let (x, y) = (i % 64, i / 64);
            let from = 3 * (y * 64 + x) as usize;
            let to = 3 * (x * 48 + 47 - y) as usize;
            (0..3).map(|c| stored.rgb[from + c].abs_diff(upright.rgb[to + c])).collect::<Vec<_>>()
        });
        assert!(worst.max() <= Some(3), "turned the wrong way");
    }
}

#[test]
fn variable_times_are_read_from_the_file() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let source = video(&ffmpeg, &folder, "a.mp4", 90, [64, 48], fps(30, 1)).display().to_string();
    // Of 30 frames a second every third is missing in the first second, two of three later.
    let select = "select='if(lt(t,1),mod(n,3),not(mod(n,3)))'";
    let kept: Vec<u64> = (0..90).filter(|n| if *n < 30 { n % 3 != 0 } else { n % 3 == 0 }).collect();
    for name in ["v.mkv", "v.mp4", "v.webm"] {
        let path = at(&folder, name);
        let codec =
            if name == "v.webm" { ["-c:v", "libvpx-vp9", "-b:v", "1M"] } else { ["-c:v", "libx264", "-crf", "10"] };
        make(&path, &[&["-i", &source, "-vf", select, "-fps_mode", "vfr"][..], &codec].concat());
        for info in [probe(&ffmpeg, &path), probe(&ffmpeg.clone().without_probe(), &path)] {
            let info = info.expect("a video");
            assert_eq!((info.fps, info.times.count()), (fps(30, 1), kept.len() as u64), "{name}");
            for (frame, number) in kept.iter().enumerate() {
                let (want, got) = ((number - kept[0]) as f64 / 30.0, info.times.start_s(frame as u64));
                assert!((want - got).abs() < 2e-3, "{name}: frame {frame} comes at {got} s, not {want} s");
            }
            let mut reader = VideoReader::new(&ffmpeg, info);
            assert_eq!(numbers(&mut reader), kept, "{name}: in order");
            for index in [20, 3, 39, 31, 32, 0] {
                reader.seek(index as u64).expect("seek");
                let frame = reader.next_frame().expect("decodes").as_ref().map(number_of);
                assert_eq!(frame, Some(kept[index]), "{name}: seek to frame {index}");
            }
        }
    }
}

#[test]
fn a_rate_follows_from_the_time_stamps() {
    let of = |stamps: &[f64], nominal: &[Fps]| FrameTimes::of_stamps("stamps", stamps, 0.0, nominal).expect("times");
    let at = |rate: f64, frames: &mut dyn Iterator<Item = u64>| frames.map(|i| i as f64 / rate).collect::<Vec<_>>();
    let constant = |fps, count| (FrameTimes::Constant { fps, count }, fps);
    // Milliseconds, as WebM rounds, over half an hour; no rate named, and a wrong one.
    let rounded: Vec<f64> = at(30_000.0 / 1001.0, &mut (0..54_000)).iter().map(|t| (t * 1e3).round() / 1e3).collect();
    assert_eq!(of(&rounded, &[]), constant(fps(30_000, 1001), 54_000));
    assert_eq!(of(&rounded, &[fps(1000, 1), fps(30, 1)]), constant(fps(30_000, 1001), 54_000));
    // Frames that are missing from 25 a second leave gaps, and take no time from the others.
    let (times, shown) = of(&at(25.0, &mut (0..500).filter(|i| i % 7 != 3)), &[fps(1000, 1), fps(2143, 100)]);
    assert_eq!((shown, times.count(), times.is_constant()), (fps(25, 1), 429, false));
    assert_eq!((times.at(0.121), times.at(0.161), times.start_s(3)), (2, 3, 0.16));
    // A phone's camera that slows down in the dark.
    let mut time = 0.0;
    let stamps: Vec<f64> = (0..300)
        .map(|i| {
            time += if i < 150 { 0.0334 } else { 0.0417 };
            time
        })
        .collect();
    let (times, shown) = of(&stamps, &[fps(1000, 1), fps(2655, 100)]);
    assert_eq!((shown, times.count()), (fps(30, 1), 300), "a frame for each");
    // Too slow to show a mouth.
    let slow = FrameTimes::Constant { fps: fps(5, 1), count: 20 };
    assert_eq!(of(&at(5.0, &mut (0..20)), &[fps(5, 1)]), (slow, Fps::INSIDE));
    assert_eq!(of(&[3.5], &[]), constant(Fps::INSIDE, 1));
    refused(FrameTimes::of_stamps("v.mp4", &[], 0.0, &[]), 3, &["v.mp4", "a frame or more"]);
    refused(FrameTimes::of_stamps("v.mp4", &[0.0, 0.2, 0.1], 0.0, &[]), 3, &["frame 1", "goes back"]);
}

#[test]
fn colours_survive_with_any_matrix_and_range() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let bt709 = Some("bt709".to_string());
    for matrix in [None, Some(Matrix::Bt709), Some(Matrix::Smpte170m), Some(Matrix::Bt470bg), Some(Matrix::Bt2020nc)] {
        for range in [None, Some(Range::Limited), Some(Range::Full)] {
            for size in [[64, 48], [63, 47]] {
                let look = Look { matrix, range, ..Look::standard() };
                let mut spec = VideoSpec::new(size, Fps::INSIDE, look.clone());
                spec.crf = Some(0);
                let path = at(&folder, "c.mp4");
                let mut writer =
                    Box::new(VideoWriter::create(&ffmpeg, &path, &spec, Tracks::default()).expect("a writer"));
                for number in 0..3 {
                    writer.write(&numbered(number, size)).expect("written");
                }
                writer.finish().expect("finished");

                let case = format!("{matrix:?} {range:?} {size:?}");
                let info = probe(&ffmpeg, &path).expect(&case);
                // x264 has no odd sizes in 4:2:0.
                assert_eq!(info.size, [64, 48], "{case}");
                assert_eq!(info.look.matrix, matrix, "{case}");
                // Encoders write "limited" where nothing is said, which means the same.
                assert_eq!(info.look.range_or_limited(), look.range_or_limited(), "{case}");
                assert_eq!((&info.look.primaries, &info.look.transfer), (&bt709, &bt709), "{case}");
                let mut reader = VideoReader::new(&ffmpeg, info);
                for number in 0..3 {
                    let frame = reader.next_frame().expect("decodes").expect("a frame");
                    assert_eq!(number_of(&frame), number, "{case}");
                    // 8-bit Y'CbCr has fewer colours than RGB; limited range fewest.
                    assert!(patch_error(&frame) <= 2, "{case}: off by {} levels", patch_error(&frame));
                }
                assert_eq!(reader.next_frame().expect("its end"), None);
            }
        }
    }
}

#[test]
fn a_wrong_matrix_would_show() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let path = video(&ffmpeg, &folder, "a.mp4", 1, [64, 48], Fps::INSIDE);
    let info = probe(&ffmpeg, &path).expect("a video");
    for look in [
        Look { matrix: Some(Matrix::Smpte170m), ..info.look.clone() },
        Look { range: Some(Range::Full), ..info.look.clone() },
    ] {
        let mut mistaken = info.clone();
        mistaken.look = look;
        let mut reader = VideoReader::new(&ffmpeg, mistaken);
        let frame = reader.next_frame().expect("decodes").expect("a frame");
        assert!(patch_error(&frame) > 8, "colours do not depend on the tags");
    }
}

#[test]
fn pixels_that_are_no_squares_stay_so() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let path = at(&folder, "a.mp4");
    let look = Look { pixel_aspect: Some([16, 15]), ..Look::standard() };
    let mut writer = Box::new(
        VideoWriter::create(&ffmpeg, &path, &VideoSpec::new([64, 48], Fps::INSIDE, look), Tracks::default())
            .expect("a writer"),
    );
    writer.write(&numbered(1, [64, 48])).expect("written");
    writer.finish().expect("finished");
    let info = probe(&ffmpeg, &path).expect("a video");
    assert_eq!((info.size, info.look.pixel_aspect), ([64, 48], Some([16, 15])));
    turn_by_a_quarter(&path);
    assert_eq!(probe(&ffmpeg, &path).expect("a video").look.pixel_aspect, Some([15, 16]));
}

#[test]
fn what_is_no_video_is_refused_by_name() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let whole = video(&ffmpeg, &folder, "whole.mkv", 30, [64, 48], Fps::INSIDE);
    let bytes = std::fs::read(&whole).expect("mkv");
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(at(&folder, name), bytes).expect("written");
        at(&folder, name)
    };
    let sound = at(&folder, "sound.m4a");
    make(&sound, &["-f", "lavfi", "-i", "sine=duration=1"]);
    for ffmpeg in [ffmpeg.clone(), ffmpeg.without_probe()] {
        refused(probe(&ffmpeg, &at(&folder, "absent.mp4")), 3, &["absent.mp4", "cannot read"]);
        refused(probe(&ffmpeg, folder.path()), 3, &["a video file", "a folder"]);
        refused(probe(&ffmpeg, &file("empty.mp4", b"")), 3, &["empty.mp4", "an empty file"]);
        refused(
            probe(&ffmpeg, &file("text.mp4", b"this is no video")),
            3,
            &["text.mp4", "a video that ffmpeg can read"],
        );
        refused(probe(&ffmpeg, &sound), 3, &["sound.m4a", "without a video stream"]);

        // Everything before the first cluster: a video without a frame.
        let cluster = bytes.windows(4).position(|w| w == [0x1f, 0x43, 0xb6, 0x75]).expect("a cluster");
        let no_frames = file("none.mkv", &bytes[..cluster]);
        refused(probe(&ffmpeg, &no_frames), 3, &["none.mkv"]);
    }
}

#[test]
fn a_video_that_was_cut_off_gives_what_is_there() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let path = video(&ffmpeg, &folder, "a.mkv", 100, [64, 48], Fps::INSIDE);
    let bytes = std::fs::read(&path).expect("mkv");
    std::fs::write(&path, &bytes[..bytes.len() * 2 / 3]).expect("written");
    let info = probe(&ffmpeg, &path).expect("a video");
    let count = info.times.count();
    assert!((1..100).contains(&count), "{count} frames");
    let got = numbers(&mut VideoReader::new(&ffmpeg, info));
    assert_eq!(got.len() as u64, count);
    assert_eq!(got[..got.len() - 1], (0..count - 1).collect::<Vec<_>>(), "all but the last are whole");
}

#[test]
fn a_missing_ffmpeg_is_named_with_what_to_do() {
    refused(Ffmpeg::find(Some(Path::new("/nonexistent/ffmpeg"))), 8, &["/nonexistent/ffmpeg", "install", "--ffmpeg"]);
    #[cfg(unix)]
    refused(Ffmpeg::find(Some(Path::new("/bin/false"))), 8, &["/bin/false", "the ffmpeg program"]);
}

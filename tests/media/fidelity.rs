//! What a picture is, in and out: depth, chroma, transparency, fields, HDR, and sizes that change.

use super::{at, ffmpeg, folder, make, number_of, numbered, refused};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use viseme::media::frames::{FolderSink, FolderSource, read_picture};
use viseme::media::pixels::{Choice, Chroma, PixelFormat};
use viseme::media::probe::{Field, Hdr, Look, Matrix, Note, Range, VideoInfo, probe};
use viseme::media::reader::VideoReader;
use viseme::media::writer::{Tracks, Trial, VideoSpec, VideoWriter};
use viseme::media::{Ffmpeg, Fps, Frame, FrameSink, FrameSource};
use viseme::ops::Depth;

fn frames(ffmpeg: &Ffmpeg, info: &VideoInfo) -> Vec<Frame> {
    let mut reader = VideoReader::new(ffmpeg, info.clone());
    std::iter::from_fn(|| reader.next_frame().expect("decodes")).collect()
}

/// What the command does with a video outside the mask: every frame as it is read into `codec`.
fn through(ffmpeg: &Ffmpeg, info: &VideoInfo, out: &Path, codec: &str, crf: Option<u8>) -> VideoInfo {
    let mut spec = VideoSpec::new(info.size, info.fps, info.shown());
    (spec.codec, spec.crf) = (Some(codec.to_string()), crf);
    let mut writer = Box::new(VideoWriter::create(ffmpeg, out, &spec, Tracks::default()).expect("a writer"));
    for frame in frames(ffmpeg, info) {
        writer.write(&frame).expect("written");
    }
    writer.finish().expect("finished");
    probe(ffmpeg, out).expect("a video")
}

/// The first frame's luma as it is stored, of 16 bits a value.
fn luma(path: &Path, format: &str, count: usize) -> Vec<u16> {
    let mut run = Command::new("ffmpeg");
    run.args(["-nostdin", "-loglevel", "error", "-i"]).arg(path);
    let run = run.args(["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", format, "-"]).output().expect("ffmpeg starts");
    run.stdout.chunks_exact(2).take(count).map(|value| u16::from_le_bytes([value[0], value[1]])).collect()
}

/// A grey ramp of `levels` levels of 10 bits from 400 on, four pixels each.
fn ramp(folder: &TempDir, name: &str, format: &str, levels: usize) -> PathBuf {
    let path = at(folder, name);
    let size = format!("color=black:size={}x32:rate=25:duration=0.08", 4 * levels);
    let levels = format!("format={format},geq=lum='400+floor(X/4)':cb=512:cr=512");
    let tags = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"];
    let source: &[&str] = &["-f", "lavfi", "-i", &size, "-vf", &levels, "-c:v", "ffv1"];
    make(&path, &[source, &tags].concat());
    path
}

#[test]
fn a_ramp_of_ten_bits_keeps_its_levels() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    const LEVELS: usize = 96;
    for (format, codec, name, crf) in [
        ("yuv420p10le", "ffv1", "out.mkv", None),
        ("yuv422p10le", "ffv1", "out.mkv", None),
        ("yuv444p10le", "ffv1", "out.mkv", None),
        ("yuv420p10le", "libx264", "out.mp4", Some(4)),
        ("yuv422p10le", "prores_ks", "out.mov", None),
    ] {
        let case = format!("{format} to {codec}");
        let info = probe(&ffmpeg, &ramp(&folder, "ramp.mkv", format, LEVELS)).expect("a ramp");
        assert_eq!((info.look.pixels.bits, VideoReader::new(&ffmpeg, info.clone()).depth()), (10, Depth::Sixteen));
        let out = through(&ffmpeg, &info, &at(&folder, name), codec, crf);
        assert_eq!(out.look.pixels, info.look.pixels, "{case}");
        let mut levels = luma(&out.path, format, 4 * LEVELS);
        if codec == "ffv1" {
            let want: Vec<u16> = (0..4 * LEVELS as u16).map(|x| 400 + x / 4).collect();
            assert_eq!(levels, want, "{case}");
        }
        levels.dedup();
        levels.sort_unstable();
        levels.dedup();
        assert!(levels.len() >= LEVELS - 2, "{case}: {} levels", levels.len());
    }
}

#[test]
fn depth_and_chroma_are_kept_where_the_encoder_can() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    for (format, codec, name, crf, lost) in [
        ("yuv420p", "libx264", "out.mp4", Some(18), None),
        ("yuv444p", "libx264", "out.mp4", Some(18), None),
        ("yuv422p10le", "libx264", "out.mp4", Some(18), None),
        ("yuv422p12le", "libx264", "out.mp4", Some(18), Some("libx264 keeps 10 bits of 12")),
        ("yuv422p12le", "libx265", "out.mp4", Some(18), None),
        ("yuv444p10le", "prores_ks", "out.mov", None, None),
        ("yuv420p10le", "ffv1", "out.mkv", None, None),
        ("yuv422p10le", "mpeg4", "out.mp4", None, Some("mpeg4 keeps 8 bits of 10 and 4:2:0 of 4:2:2")),
    ] {
        let case = format!("{format} to {codec}");
        let source = at(&folder, "source.mkv");
        let pattern = "testsrc2=size=64x48:rate=25:duration=0.08";
        make(&source, &["-f", "lavfi", "-i", pattern, "-pix_fmt", format, "-c:v", "ffv1"]);
        let info = probe(&ffmpeg, &source).expect("a video");
        let pixels = PixelFormat::parse(format).expect(format);
        assert_eq!(info.look.pixels, pixels, "{format}");
        let mut spec = VideoSpec::new(info.size, info.fps, info.shown());
        spec.codec = Some(codec.to_string());
        let trial = Trial::new(&ffmpeg, &at(&folder, name), &spec, Tracks::default()).expect("a trial");
        let said = trial.notes.into_iter().find(|note| note.contains(" keeps "));
        let out = through(&ffmpeg, &info, &at(&folder, name), codec, crf).look.pixels;
        match lost {
            // ProRes 4444 of 10 bits reads as 12.
            None => assert!(
                said.is_none() && out.chroma == pixels.chroma && out.bits >= pixels.bits,
                "{case}: {out:?}, {said:?}"
            ),
            Some(lost) => assert!(said.as_ref().is_some_and(|said| said.ends_with(lost)), "{case}: {said:?}"),
        }
    }
    // What ffmpeg's own description says is understood too.
    let last = at(&folder, "source.mkv");
    let pixels = probe(&ffmpeg.without_probe(), &last).expect("a video").look.pixels;
    assert_eq!((pixels.bits, pixels.chroma), (10, Chroma::Yuv422));
}

#[test]
fn the_closest_of_an_encoders_formats_is_taken() {
    let yuv = |bits, chroma| PixelFormat { bits, chroma, has_alpha: false };
    let choose = |source, encoder, offers: &str| {
        let offers: Vec<String> = offers.split_whitespace().map(str::to_string).collect();
        let choice = Choice::new(source, encoder, &offers);
        (choice.name.clone(), choice.loss(source))
    };
    const X264: &str =
        "yuv420p yuvj420p yuv422p yuvj422p yuv444p nv12 nv16 yuv420p10le yuv422p10le yuv444p10le gray gray10le";
    const FFV1: &str = "yuv420p yuva420p yuv444p yuv422p bgr0 bgra yuv420p10le gbrp16le rgb48le gray gray16le";
    const VP9: &str = "yuv420p yuva420p yuv422p yuv440p yuv444p yuv420p10le gbrp";
    for (source, encoder, offers, name, loss) in [
        (yuv(8, Chroma::Yuv420), "libx264", X264, "yuv420p", None),
        (yuv(10, Chroma::Yuv422), "libx264", X264, "yuv422p10le", None),
        (yuv(12, Chroma::Yuv444), "libx264", X264, "yuv444p10le", Some("10 bits of 12")),
        (yuv(8, Chroma::Yuv411), "libx264", X264, "yuv422p", None),
        (yuv(8, Chroma::Gray), "libx264", X264, "yuv420p", None),
        (yuv(8, Chroma::Rgb), "libx264", X264, "yuv420p", Some("4:2:0 of RGB")),
        (yuv(16, Chroma::Rgb), "ffv1", FFV1, "gbrp16le", None),
        (yuv(8, Chroma::Rgb), "ffv1", FFV1, "bgr0", None),
        (yuv(8, Chroma::Yuv440), "libvpx-vp9", VP9, "yuv440p", None),
        (yuv(8, Chroma::Rgb), "libvpx-vp9", VP9, "yuv420p", Some("4:2:0 of RGB")),
        (yuv(10, Chroma::Yuv422), "mpeg4", "yuv420p", "yuv420p", Some("8 bits of 10 and 4:2:0 of 4:2:2")),
        (yuv(10, Chroma::Yuv420), "h264_nvenc", "yuv420p nv12 p010le yuv444p p016le", "p010le", None),
        (yuv(10, Chroma::Yuv422), "rawvideo", "", "yuv422p10le", None),
        (yuv(8, Chroma::Yuv420), "h264_vaapi", "vaapi", "yuv420p", None),
    ] {
        let want = (name.to_string(), loss.map(str::to_string));
        assert_eq!(choose(source, encoder, offers), want, "{source:?} {encoder}");
    }
}

#[test]
fn names_of_pixel_formats_say_what_they_hold() {
    for (name, bits, chroma, has_alpha) in [
        ("yuv420p", 8, Chroma::Yuv420, false),
        ("yuvj422p", 8, Chroma::Yuv422, false),
        ("yuva444p12le", 12, Chroma::Yuv444, true),
        ("yuv410p", 8, Chroma::Yuv410, false),
        ("yuv440p10be", 10, Chroma::Yuv440, false),
        ("nv12", 8, Chroma::Yuv420, false),
        ("p010le", 10, Chroma::Yuv420, false),
        ("p416be", 16, Chroma::Yuv444, false),
        ("pal8", 8, Chroma::Rgb, true),
        ("gray", 8, Chroma::Gray, false),
        ("gray12le", 12, Chroma::Gray, false),
        ("grayf32le", 16, Chroma::Gray, false),
        ("gbrp", 8, Chroma::Rgb, false),
        ("gbrap16le", 16, Chroma::Rgb, true),
        ("rgb24", 8, Chroma::Rgb, false),
        ("bgra", 8, Chroma::Rgb, true),
        ("bgr0", 8, Chroma::Rgb, false),
        ("rgba64le", 16, Chroma::Rgb, true),
        ("rgb48be", 16, Chroma::Rgb, false),
        ("x2rgb10le", 10, Chroma::Rgb, false),
        ("rgb565le", 8, Chroma::Rgb, false),
    ] {
        assert_eq!(PixelFormat::parse(name), Some(PixelFormat { bits, chroma, has_alpha }), "{name}");
    }
    for name in ["vaapi", "cuda", "p0", "yuv123p", "", "yuv420pxx"] {
        assert_eq!(PixelFormat::parse(name), None, "{name}");
    }
}

#[test]
fn folders_of_pictures_keep_sixteen_bits() {
    let folder = folder();
    let (source, out) = (at(&folder, "in"), at(&folder, "out"));
    std::fs::create_dir(&source).expect("a folder");
    let values: Vec<u16> = (0..8 * 6 * 3).map(|i| i * 401 + 7).collect();
    let bytes = little_endian(&values);
    let deep = image::ImageBuffer::<image::Rgb<u16>, _>::from_raw(8, 6, values).expect("a picture");
    deep.save(source.join("0.png")).expect("written");
    let flat = image::RgbImage::from_pixel(8, 6, image::Rgb([1, 128, 255]));
    flat.save(source.join("1.png")).expect("written");

    let mut pictures = FolderSource::open(&source, Fps::INSIDE).expect("pictures");
    assert_eq!(pictures.look().pixels, PixelFormat { bits: 16, chroma: Chroma::Rgb, has_alpha: false });
    let mut sink = Box::new(FolderSink::create(&out).expect("a folder"));
    let mut read = Vec::new();
    while let Some(frame) = pictures.next_frame().expect("a picture") {
        sink.write(&frame).expect("written");
        read.push(frame);
    }
    sink.finish().expect("finished");
    assert!(read.iter().all(|frame| frame.depth == Depth::Sixteen));
    assert_eq!(read[0].rgb, bytes);
    assert_eq!(read[1].rgb[..6], [1, 1, 128, 128, 255, 255]);
    for (index, frame) in read.iter().enumerate() {
        assert_eq!(&read_picture(&out.join(format!("{index:06}.png"))).expect("a picture"), frame);
    }
    assert_eq!(read[1].clone().at_depth(Depth::Eight).rgb[..3], [1, 128, 255]);
}

fn little_endian(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A bar that moves by 2 pixels a field, so that a frame of two fields shows it as a comb.
fn fields(folder: &TempDir, name: &str, args: &[&str]) -> PathBuf {
    let path = at(folder, name);
    let bar = "color=black:size=96x64:rate=50:duration=0.8,format=yuv420p,\
               geq=lum='if(between(X,4+2*N,20+2*N),200,30)':cb=128:cr=128";
    let two_fields = ["-vf", "tinterlace=interleave_top,setfield=tff"];
    make(&path, &[&["-f", "lavfi", "-i", bar], &two_fields[..], args].concat());
    path
}

/// How much rows differ from those between which they lie, in levels on average.
fn comb(frame: &Frame) -> f64 {
    let row = |y: usize| &frame.rgb[y * 3 * frame.width as usize..][..3 * frame.width as usize];
    let (mut total, mut count) = (0.0, 0);
    for y in 1..frame.height as usize - 1 {
        for ((above, at), below) in row(y - 1).iter().zip(row(y)).zip(row(y + 1)) {
            total += (f64::from(*at) - (f64::from(*above) + f64::from(*below)) / 2.0).abs();
            count += 1;
        }
    }
    total / f64::from(count)
}

#[test]
fn interlaced_frames_become_whole_pictures() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    let x264: &[&str] = &["-c:v", "libx264", "-crf", "4", "-flags", "+ilme+ildct", "-x264-params", "tff=1"];
    for (name, args, is_flagged) in [
        ("a.mkv", x264, true),
        ("a.mp4", x264, true),
        ("a.ts", &["-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct"], true),
        // The container says nothing.
        ("a.avi", &["-c:v", "mpeg4", "-q:v", "2", "-flags", "+ilme+ildct"], true),
        // The frames say nothing.
        ("a.mov", &["-c:v", "mjpeg", "-q:v", "2"], false),
    ] {
        let path = fields(&folder, name, args);
        let info = probe(&ffmpeg, &path).expect("a video");
        let interlace = info.interlace.expect(name);
        assert_eq!((interlace.first, interlace.is_flagged), (Field::Top, is_flagged), "{name}");
        assert!(info.notes().contains(&Note::Deinterlaced), "{name}");
        let whole = frames(&ffmpeg, &info);
        let mut as_stored = info.clone();
        as_stored.interlace = None;
        let mut reader = VideoReader::new(&ffmpeg, info.clone());
        for index in [7, 12] {
            reader.seek(index as u64).expect("seek");
            assert!(reader.next_frame().expect("decodes").as_ref() == Some(&whole[index]), "{name}: seek to {index}");
        }
        let combed = frames(&ffmpeg, &as_stored);
        assert_eq!(whole.len(), combed.len(), "{name}");
        for (index, (whole, combed)) in whole.iter().zip(&combed).enumerate().skip(1) {
            let (whole, combed) = (comb(whole), comb(combed));
            assert!(combed > 3.0 && whole < combed / 3.0, "{name}, frame {index}: {whole:.2} of {combed:.2}");
        }
        let out = through(&ffmpeg, &info, &at(&folder, "out.mkv"), "libx264", Some(18));
        assert_eq!(out.interlace, None, "{name}: tagged interlaced");
    }
    let path = fields(&folder, "b.mp4", x264);
    let without = probe(&ffmpeg.clone().without_probe(), &path).expect("a video");
    assert_eq!(without.interlace.map(|interlace| interlace.first), Some(Field::Top));
}

/// Grey of 10 bits in BT.2020, tagged as HDR.
fn hdr(folder: &TempDir, transfer: &str, level: u32) -> PathBuf {
    let path = at(folder, "hdr.mkv");
    let grey = format!("color=black:size=64x48:rate=25:duration=0.12,format=yuv420p10le,geq=lum={level}:cb=512:cr=512");
    let params = format!("log-level=none:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:range=limited");
    make(&path, &["-f", "lavfi", "-i", &grey, "-c:v", "libx265", "-x265-params", &params]);
    path
}

#[test]
fn hdr_becomes_sdr_and_says_so() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    // Mid-grey, 18 % of 203 cd/m2, and white. As light, SDR's mid-grey is 0.18 ^ (1 / 2.4) = 0.49 of the way to white.
    for (transfer, kind, grey, white) in [("smpte2084", Hdr::Pq, 424, 573), ("arib-std-b67", Hdr::Hlg, 446, 721)] {
        let mut shown = Vec::new();
        for level in [grey, white] {
            let info = probe(&ffmpeg, &hdr(&folder, transfer, level)).expect("a video");
            assert_eq!(info.look.hdr(), Some(kind));
            assert_eq!(info.notes(), [Note::ToneMapped(kind)]);
            let frame = frames(&ffmpeg, &info).pop().expect("a frame");
            let middle = frame.at_depth(Depth::Eight);
            shown.push(middle.rgb[3 * (24 * 64 + 32) + 1]);
            let out = through(&ffmpeg, &info, &at(&folder, "sdr.mp4"), "libx264", Some(4)).look;
            let bt709 = Some("bt709".to_string());
            assert_eq!((out.matrix, out.range_or_limited()), (Some(Matrix::Bt709), Range::Limited));
            assert_eq!((&out.primaries, &out.transfer, out.pixels.bits), (&bt709, &bt709, 10));
        }
        assert!((115..135).contains(&shown[0]) && (220..250).contains(&shown[1]), "{transfer}: {shown:?}");
    }
    let mut untagged = probe(&ffmpeg, &hdr(&folder, "smpte2084", 424)).expect("a video");
    untagged.look.transfer = None;
    assert_eq!(untagged.notes(), []);
}

#[cfg(unix)]
#[test]
fn hdr_is_refused_where_ffmpeg_cannot_map_it() {
    use std::os::unix::fs::PermissionsExt;
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let path = hdr(&folder, "smpte2084", 424);
    // An ffmpeg and its ffprobe, built without the filter.
    for (name, script) in [
        ("ffmpeg", "case \" $* \" in *' -filters '*) echo ' ... bwdif V->V x';; *) exec ffmpeg \"$@\";; esac"),
        ("ffprobe", "exec ffprobe \"$@\""),
    ] {
        let program = at(&folder, name);
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a program");
    }
    let ffmpeg = Ffmpeg::find(Some(&at(&folder, "ffmpeg"))).expect("it starts");
    refused(probe(&ffmpeg, &path), 3, &["hdr.mkv", "zscale", "HDR"]);
    refused(probe(&ffmpeg.without_probe(), &path), 3, &["hdr.mkv", "zscale", "HDR"]);
}

#[test]
fn a_size_that_changes_midway_loses_no_frame() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    // Half size, of the same shape; a square; the first size again.
    let sizes = [[96, 48], [48, 24], [64, 64], [96, 48]];
    let mut joined = Vec::new();
    for (part, size) in sizes.into_iter().enumerate() {
        let path = at(&folder, "part.mkv");
        let spec = VideoSpec::new(size, Fps::INSIDE, Look::standard());
        let mut writer = Box::new(VideoWriter::create(&ffmpeg, &path, &spec, Tracks::default()).expect("a writer"));
        for number in 0..8 {
            writer.write(&numbered(8 * part as u64 + number, size)).expect("written");
        }
        writer.finish().expect("finished");
        let stream = at(&folder, "part.h264");
        // Without B-frames a bare stream's times are plain.
        make(&stream, &["-i", &path.display().to_string(), "-c:v", "libx264", "-crf", "10", "-bf", "0"]);
        joined.extend(std::fs::read(&stream).expect("a stream"));
    }
    let stream = at(&folder, "joined.h264");
    std::fs::write(&stream, joined).expect("written");
    let path = at(&folder, "joined.mkv");
    make(&path, &["-r", "25", "-i", &stream.display().to_string(), "-c", "copy"]);

    let info = probe(&ffmpeg, &path).expect("a video");
    assert_eq!(info.size, [96, 48]);
    let all = frames(&ffmpeg, &info);
    assert_eq!(all.len(), 32);
    for (index, frame) in all.iter().enumerate() {
        assert_eq!([frame.width, frame.height], [96, 48]);
        let pixel = |x: usize, y: usize| &frame.rgb[3 * (y * 96 + x)..][..3];
        if (16..24).contains(&index) {
            // The square lies in the middle, with black beside it.
            assert!(pixel(10, 36).iter().chain(pixel(85, 36)).all(|&v| v < 3), "frame {index}");
            assert!(pixel(30, 36).iter().any(|&v| v > 40), "frame {index}");
        } else {
            assert_eq!(number_of(frame), index as u64, "frame {index}");
        }
    }
    let mut reader = VideoReader::new(&ffmpeg, info);
    reader.seek(27).expect("seek");
    assert_eq!(reader.next_frame().expect("decodes").as_ref().map(number_of), Some(27));
}

/// Of each colour over blocks of 8x8 pixels: finer chroma than 4:2:0 and dithering do not show in them.
fn block_means(frame: &Frame) -> Vec<f64> {
    let (width, height) = (frame.width as usize, frame.height as usize);
    let mut means = vec![0.0; width / 8 * (height / 8) * 3];
    for (i, value) in frame.rgb.iter().enumerate() {
        let (x, y, colour) = (i / 3 % width, i / 3 / width, i % 3);
        means[((y / 8) * (width / 8) + x / 8) * 3 + colour] += f64::from(*value) / 64.0;
    }
    means
}

#[test]
fn pictures_as_video_come_out_as_players_expect() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    const GRADIENT: &str =
        "gradients=size=64x48:nb_colors=2:c0=0x101060:c1=0xf0e0c0:x0=0:y0=0:x1=63:y1=47:seed=3:rate=25:duration=0.04";
    let pattern = ["-f", "lavfi", "-i", GRADIENT];
    for (name, args) in [
        ("a.png", &["-frames:v", "1"][..]),
        ("a.jpg", &["-frames:v", "1", "-pix_fmt", "yuvj420p"]),
        ("a.gif", &[]),
        ("a.mkv", &["-c:v", "ffv1", "-pix_fmt", "bgr0"]),
    ] {
        make(&at(&folder, name), &[&pattern[..], args].concat());
        let info = probe(&ffmpeg, &at(&folder, name)).expect(name);
        let out = through(&ffmpeg, &info, &at(&folder, "out.mp4"), "libx264", Some(4));
        assert_eq!((out.look.matrix, out.look.range_or_limited()), (Some(Matrix::Bt709), Range::Limited), "{name}");
        assert_eq!(out.look.pixels, PixelFormat::USUAL, "{name}");
        let (before, after) = (frames(&ffmpeg, &info), frames(&ffmpeg, &out));
        let blocks = block_means(&before[0]).into_iter().zip(block_means(&after[0]));
        let worst = blocks.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 5.0, "{name}: a block is {worst:.1} levels off, as with a wrong range");
    }
    // Where the encoder takes RGB and loses nothing, nothing is lost.
    for format in ["bgr0", "gbrp10le", "gbrp16le"] {
        make(&at(&folder, "rgb.mkv"), &[&pattern[..], &["-c:v", "ffv1", "-pix_fmt", format]].concat());
        let info = probe(&ffmpeg, &at(&folder, "rgb.mkv")).expect("a video");
        let out = through(&ffmpeg, &info, &at(&folder, "out.mkv"), "ffv1", None);
        assert_eq!(out.look.pixels, info.look.pixels, "{format}");
        assert!(frames(&ffmpeg, &info) == frames(&ffmpeg, &out), "{format}");
    }
    // A camera's own full range stays.
    let camera = at(&folder, "camera.mov");
    make(&camera, &[&pattern[..], &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]].concat());
    let info = probe(&ffmpeg, &camera).expect("a video");
    assert_eq!(info.shown().range, Some(Range::Full));
}

#[test]
fn what_is_transparent_lies_on_black() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = folder();
    // Green everywhere, seen in the left half only.
    let green = "color=0x00c000:size=64x48:rate=25:duration=0.08,format=rgba,\
                 geq=r=0:g=192:b=0:a='if(lt(X,32),255,0)'";
    for (name, args) in [
        ("a.mkv", ["-c:v", "ffv1", "-pix_fmt", "yuva420p"]),
        ("b.mkv", ["-c:v", "ffv1", "-pix_fmt", "yuva444p10le"]),
        ("a.mov", ["-c:v", "qtrle", "-pix_fmt", "argb"]),
    ] {
        make(&at(&folder, name), &[&["-f", "lavfi", "-i", green], &args[..]].concat());
        let info = probe(&ffmpeg, &at(&folder, name)).expect("a video");
        assert_eq!(info.notes(), [Note::OnBlack], "{name}");
        assert!(!info.shown().pixels.has_alpha);
        let frame = frames(&ffmpeg, &info).remove(0).at_depth(Depth::Eight);
        let pixel = |x: usize| &frame.rgb[3 * (24 * 64 + x)..][..3];
        assert!(pixel(50).iter().all(|&v| v < 4), "{name}: {:?} shows through", pixel(50));
        assert!(pixel(10)[1].abs_diff(192) < 6, "{name}: {:?}", pixel(10));
    }
}

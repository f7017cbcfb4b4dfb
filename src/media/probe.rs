//! What a video is: from ffprobe's JSON, or from ffmpeg's own description where ffprobe is absent.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ffmpeg::{self, Ffmpeg, Process};
use super::filters;
use super::frames::Fps;
use super::pixels::PixelFormat;
use super::stamps;
use super::times::FrameTimes;
use crate::{Error, Problem, Result};

/// One video stream, as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInfo {
    pub path: PathBuf,
    /// Upright: width and height after the rotation that phones store beside the picture.
    pub size: [u32; 2],
    /// Clockwise degrees, 0 to 359, that decoding turns the stored picture by.
    pub rotation: u32,
    /// Exact; of a video with variable times, the rate that it is shown at.
    pub fps: Fps,
    /// When each frame is on screen, by the file's own time stamps.
    pub times: FrameTimes,
    pub has_audio: bool,
    /// As it is stored; [`VideoInfo::shown`] is how it is read.
    pub look: Look,
    /// None where every frame is one whole picture.
    pub interlace: Option<Interlace>,
    /// A picture or a moving picture (PNG, JPEG, GIF ..) rather than a video: how it stores colours is no wish for an output.
    pub is_picture: bool,
    pub(super) stream: u32,
    /// Time stamp of the first frame, and of the file's start, which a seek and the sound count from, in seconds.
    pub(super) first_s: f64,
    pub(super) file_s: f64,
    /// Elsewhere a video is decoded from its start.
    pub(super) seeks_exactly: bool,
}

/// Frames that hold two fields, taken one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interlace {
    pub first: Field,
    /// Frames say themselves whether they are interlaced; else all are.
    pub is_flagged: bool,
}

/// The field that is shown first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Top,
    Bottom,
}

/// Brightness beyond what BT.709 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hdr {
    /// SMPTE ST 2084.
    Pq,
    /// ARIB STD-B67.
    Hlg,
}

/// What reading a video changes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    Deinterlaced,
    ToneMapped(Hdr),
    OnBlack,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deinterlaced => {
                f.write_str("it is interlaced: one whole picture is made of each frame, and the output is progressive")
            }
            Self::ToneMapped(hdr) => {
                let name = match hdr {
                    Hdr::Pq => "PQ",
                    Hdr::Hlg => "HLG",
                };
                write!(f, "it is HDR ({name}): it is tone-mapped, and the output is SDR (BT.709)")
            }
            Self::OnBlack => f.write_str("it has transparency: what lies behind transparent parts becomes black"),
        }
    }
}

/// How stored values become colours and pixels a shape; None where the file does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub matrix: Option<Matrix>,
    pub range: Option<Range>,
    /// ffmpeg's names, such as `bt709`: nothing here computes with them.
    pub primaries: Option<String>,
    pub transfer: Option<String>,
    /// Width to height of one pixel, where it is no square.
    pub pixel_aspect: Option<[u32; 2]>,
    pub pixels: PixelFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    Limited,
    Full,
}

/// From Y'CbCr to R'G'B'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    Bt709,
    Bt470bg,
    Smpte170m,
    Fcc,
    Smpte240m,
    Bt2020nc,
    Bt2020c,
}

impl VideoInfo {
    /// How long after the start of the file's time the first frame comes, in seconds: a sound of the same file may begin before.
    pub fn late_s(&self) -> f64 {
        self.first_s - self.file_s
    }
}

impl Look {
    /// What a new video is tagged as: BT.709, limited range.
    pub fn standard() -> Self {
        let bt709 = Some("bt709".to_string());
        let (matrix, range) = (Some(Matrix::Bt709), Some(Range::Limited));
        let (primaries, transfer) = (bt709.clone(), bt709);
        Self { matrix, range, primaries, transfer, pixel_aspect: None, pixels: PixelFormat::USUAL }
    }

    /// The matrix to compute with: without a tag, BT.709 from 720 lines up and BT.601 below, as players do.
    pub fn matrix_of(&self, size: [u32; 2]) -> Matrix {
        let is_hd = size[0].min(size[1]) >= 720;
        self.matrix.unwrap_or(if is_hd { Matrix::Bt709 } else { Matrix::Smpte170m })
    }

    pub fn range_or_limited(&self) -> Range {
        self.range.unwrap_or(Range::Limited)
    }

    pub fn hdr(&self) -> Option<Hdr> {
        match self.transfer.as_deref() {
            Some("smpte2084") => Some(Hdr::Pq),
            Some("arib-std-b67") => Some(Hdr::Hlg),
            _ => None,
        }
    }
}

impl VideoInfo {
    /// The look of its frames as they are read, which a video made of them should have. SDR videos keep their own; HDR, RGB and
    /// pictures become BT.709 in limited range, as players expect. Nothing is transparent.
    pub fn shown(&self) -> Look {
        let pixels = PixelFormat { has_alpha: false, ..self.look.pixels };
        let pixel_aspect = self.look.pixel_aspect;
        if self.look.hdr().is_some() || self.is_picture || pixels.is_rgb() {
            return Look { pixels, pixel_aspect, ..Look::standard() };
        }
        Look { pixels, ..self.look.clone() }
    }

    /// What reading it changes, for a line each before the work begins.
    pub fn notes(&self) -> Vec<Note> {
        let deinterlaced = self.interlace.map(|_| Note::Deinterlaced);
        let tone_mapped = self.look.hdr().map(Note::ToneMapped);
        let on_black = self.look.pixels.has_alpha.then_some(Note::OnBlack);
        [deinterlaced, tone_mapped, on_black].into_iter().flatten().collect()
    }
}

impl Range {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Limited => "tv",
            Self::Full => "pc",
        }
    }
}

impl Matrix {
    const NAMES: [(Self, &str); 7] = [
        (Self::Bt709, "bt709"),
        (Self::Bt470bg, "bt470bg"),
        (Self::Smpte170m, "smpte170m"),
        (Self::Fcc, "fcc"),
        (Self::Smpte240m, "smpte240m"),
        (Self::Bt2020nc, "bt2020nc"),
        (Self::Bt2020c, "bt2020c"),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(matrix, _)| *matrix)
    }

    /// ffmpeg's name of the tag.
    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(matrix, _)| *matrix == self).map_or("bt709", |(_, name)| name)
    }

    /// The scale filter's name of the coefficients.
    pub(super) fn scale_name(self) -> &'static str {
        match self {
            Self::Bt470bg => "bt470",
            Self::Bt2020nc | Self::Bt2020c => "bt2020",
            other => other.name(),
        }
    }
}

/// Looks at the default video stream of `path` and reads the times of its frames: from its packets where they tell, else by
/// decoding it once. Errors: no such file, not a video, nothing but sound.
pub fn probe(ffmpeg: &Ffmpeg, path: &Path) -> Result<VideoInfo> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    if metadata.is_dir() || metadata.len() == 0 {
        let found = if metadata.is_dir() { "a folder" } else { "an empty file" };
        return Err(Problem::new(path.display().to_string(), "a video file", found).input());
    }
    let described = match ffmpeg.probe_command() {
        Some(mut command) => {
            command.args(["-show_streams", "-show_format", "-of", "json"]);
            command.args(["-show_frames", "-read_intervals", FIRST_PACKETS]).arg(ffmpeg::file(path));
            from_json(path, &ffmpeg::output(&mut command, |found| not_a_video(path, found))?)?
        }
        None => {
            // Without an output ffmpeg always ends in an error; what it says before that is the description.
            let mut process = Process::spawn(ffmpeg.describe().args(["-nostdin", "-i"]).arg(ffmpeg::file(path)))?;
            let (status, said) = process.wait()?;
            from_description(path, &said).unwrap_or_else(|| Err(not_a_video(path, &ffmpeg::ending(status, &said))))?
        }
    };
    described.timed(ffmpeg)
}

/// A video as its header describes it, before the times of its frames are known.
struct Described {
    info: VideoInfo,
    /// Rates that the header names, the likelier first.
    rates: Vec<Fps>,
    /// Whether each packet is a frame with its time.
    packets_tell: bool,
}

impl Described {
    fn timed(self, ffmpeg: &Ffmpeg) -> Result<VideoInfo> {
        let Self { info, rates, packets_tell } = self;
        let mut info = filters::check(ffmpeg, info)?;
        let subject = info.path.display().to_string();
        let told = if packets_tell { stamps::of_packets(ffmpeg, &info)? } else { None };
        let stamps = match told {
            Some(stamps) => stamps,
            None => stamps::of_decoding(ffmpeg, &info)?,
        };
        info.first_s = stamps.starts_s.first().copied().unwrap_or(0.0);
        (info.times, info.fps) = FrameTimes::of_stamps(&subject, &stamps.starts_s, stamps.last_s, &rates)?;
        // A picture that moves has no rate to keep, nor has a video of one frame.
        if info.is_picture || info.times.count() == 1 {
            info.fps = Fps::INSIDE;
        }
        Ok(info)
    }
}

/// The packets whose frames tell whether a video is interlaced, as ffprobe takes it: some containers do not say.
const FIRST_PACKETS: &str = "%+#40";

fn not_a_video(path: &Path, found: &str) -> Error {
    Problem::new(path.display().to_string(), "a video that ffmpeg can read", found).input()
}

fn no_stream(path: &Path) -> Error {
    not_a_video(path, "a file without a video stream")
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    streams: Vec<JsonStream>,
    #[serde(default)]
    frames: Vec<JsonFrame>,
    #[serde(default)]
    format: JsonFormat,
}

#[derive(Deserialize)]
struct JsonFrame {
    stream_index: Option<u32>,
    #[serde(default)]
    interlaced_frame: u8,
    #[serde(default)]
    top_field_first: u8,
}

#[derive(Deserialize, Default)]
struct JsonFormat {
    #[serde(default)]
    format_name: String,
    start_time: Option<String>,
}

#[derive(Deserialize)]
struct JsonStream {
    index: u32,
    codec_name: Option<String>,
    #[serde(default)]
    codec_type: String,
    width: Option<u32>,
    height: Option<u32>,
    pix_fmt: Option<String>,
    field_order: Option<String>,
    r_frame_rate: Option<String>,
    avg_frame_rate: Option<String>,
    color_range: Option<String>,
    color_space: Option<String>,
    color_transfer: Option<String>,
    color_primaries: Option<String>,
    sample_aspect_ratio: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
    #[serde(default)]
    default: u8,
}

#[derive(Deserialize, Default)]
struct Tags {
    rotate: Option<String>,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

fn from_json(path: &Path, json: &[u8]) -> Result<Described> {
    let json: Json = serde_json::from_slice(json).map_err(|e| not_a_video(path, &e.to_string()))?;
    let is_video = |s: &&JsonStream| s.codec_type == "video" && s.disposition.attached_pic == 0;
    let default = json.streams.iter().filter(is_video).find(|stream| stream.disposition.default == 1);
    let stream = default.or_else(|| json.streams.iter().find(is_video)).ok_or_else(|| no_stream(path))?;
    let (Some(width @ 1..), Some(height @ 1..)) = (stream.width, stream.height) else {
        return Err(not_a_video(path, "a video stream without a size"));
    };

    let stored = stream.side_data_list.iter().find_map(|s| s.rotation).unwrap_or(0.0);
    let clockwise = match &stream.tags.rotate {
        Some(tag) => tag.parse().unwrap_or(0.0),
        None => -stored,
    };
    let number = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<f64>().ok());
    let rates = [fraction(stream.r_frame_rate.as_deref()), fraction(stream.avg_frame_rate.as_deref())];
    let known =
        |text: &Option<String>| text.clone().filter(|t| !["unknown", "unspecified", "reserved"].contains(&t.as_str()));
    let look = Look {
        matrix: stream.color_space.as_deref().and_then(Matrix::parse),
        range: range(stream.color_range.as_deref().unwrap_or(""), stream.pix_fmt.as_deref().unwrap_or("")),
        primaries: known(&stream.color_primaries),
        transfer: known(&stream.color_transfer),
        pixel_aspect: stream.sample_aspect_ratio.as_deref().and_then(pixel_aspect),
        pixels: pixels(stream.pix_fmt.as_deref().unwrap_or("")),
    };
    let mut fields = json.frames.iter().filter(|f| f.stream_index == Some(stream.index) && f.interlaced_frame == 1);
    let flagged = fields.next().map(|frame| Interlace {
        first: if frame.top_field_first == 1 { Field::Top } else { Field::Bottom },
        is_flagged: true,
    });
    let described = first_field(stream.field_order.as_deref().unwrap_or(""));
    let interlace = flagged.or_else(|| Some(Interlace { first: described?, is_flagged: false }));
    let seeks_exactly = ["mov", "matroska"].iter().any(|name| json.format.format_name.contains(name));
    // VP8 hides frames in packets of their own.
    let packets_tell = seeks_exactly && stream.codec_name.as_deref() != Some("vp8");
    let info = VideoInfo {
        path: path.to_path_buf(),
        size: [width, height],
        rotation: 0,
        fps: Fps::INSIDE,
        times: FrameTimes::Constant { fps: Fps::INSIDE, count: 0 },
        has_audio: json.streams.iter().any(|s| s.codec_type == "audio"),
        look,
        interlace,
        is_picture: is_picture(&json.format.format_name),
        stream: stream.index,
        first_s: 0.0,
        file_s: number(&json.format.start_time).unwrap_or(0.0),
        seeks_exactly,
    };
    Ok(Described { info: upright(info, clockwise), rates: rates.into_iter().flatten().collect(), packets_tell })
}

/// `Stream #0:1(und): Video: h264 (High), yuv420p(tv, bt709), 640x360 [SAR 1:1 DAR 16:9], 90 kb/s, 25 fps, 25 tbr, ...`
/// None if there is no stream at all.
fn from_description(path: &Path, text: &str) -> Option<Result<Described>> {
    let input = text.find("Input #0").map(|at| &text[at..])?;
    let mut lines = input.lines().map(str::trim);
    let is_video = |l: &&str| l.starts_with("Stream #0:") && l.contains("Video: ") && !l.contains("(attached pic)");
    let Some(stream) = lines.find(is_video) else { return Some(Err(no_stream(path))) };
    let clockwise = lines
        .take_while(|l| !l.starts_with("Stream #"))
        .find_map(|l| l.strip_prefix("displaymatrix: rotation of ")?.strip_suffix(" degrees")?.parse::<f64>().ok())
        .map_or(0.0, |stored| -stored);
    Some(describe(path, input, stream).map(|found| Described { info: upright(found.info, clockwise), ..found }))
}

fn describe(path: &Path, input: &str, stream: &str) -> Result<Described> {
    let unclear = || not_a_video(path, stream);
    let index = stream["Stream #0:".len()..].split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
    let (_, fields) = stream.split_once("Video: ").ok_or_else(unclear)?;
    let fields = top_level(fields);
    let size = fields.iter().find_map(|f| {
        let (width, height) = f.split(' ').next()?.split_once('x')?;
        Some([width.parse().ok().filter(|&w| w > 0)?, height.parse().ok().filter(|&h| h > 0)?])
    });
    let rate = |unit: &str| fields.iter().find_map(|f| decimal_fps(f.strip_suffix(unit)?.trim().parse().ok()?));
    let rates = [rate("tbr"), rate("fps")];

    let (format, tags) = fields.get(1).map_or(("", ""), |f| f.trim_end_matches(')').split_once('(').unwrap_or((f, "")));
    let tags: Vec<&str> = tags.split(", ").collect();
    // One name stands for all three where they agree: `bt709`, else `bt709/bt470bg/smpte170m`.
    let colours = tags.iter().find_map(|tag| match tag.split('/').collect::<Vec<_>>().as_slice() {
        [matrix, primaries, transfer] => Some([*matrix, *primaries, *transfer]),
        [one] if Matrix::parse(one).is_some() => Some([*one; 3]),
        _ => None,
    });
    let [matrix, primaries, transfer] = colours.unwrap_or(["unknown"; 3]);
    let known = |name: &str| Some(name.to_string()).filter(|n| n != "unknown");
    let aspect = stream.split_once("SAR ").and_then(|(_, rest)| pixel_aspect(rest.split(' ').next()?));
    let look = Look {
        matrix: Matrix::parse(matrix),
        range: range(tags.iter().find(|t| ["tv", "pc"].contains(t)).unwrap_or(&""), format),
        primaries: known(primaries),
        transfer: known(transfer),
        pixel_aspect: aspect,
        pixels: pixels(format),
    };
    let interlace = tags.iter().find_map(|tag| Some(Interlace { first: first_field(tag)?, is_flagged: false }));
    // `Input #0, png_pipe, from 'a.png':`
    let container = input.split(", from ").next().unwrap_or("").trim_start_matches("Input #0, ");
    let start = input.split_once("start: ").and_then(|(_, rest)| rest.split([',', '\n']).next()?.trim().parse().ok());
    let info = VideoInfo {
        path: path.to_path_buf(),
        size: size.ok_or_else(unclear)?,
        rotation: 0,
        fps: Fps::INSIDE,
        times: FrameTimes::Constant { fps: Fps::INSIDE, count: 0 },
        has_audio: input.lines().any(|l| l.trim().starts_with("Stream #0:") && l.contains("Audio: ")),
        look,
        interlace,
        is_picture: is_picture(container),
        stream: index.ok_or_else(unclear)?,
        first_s: 0.0,
        file_s: start.unwrap_or(0.0),
        seeks_exactly: false,
    };
    Ok(Described { info, rates: rates.into_iter().flatten().collect(), packets_tell: false })
}

/// `info` turned `clockwise` degrees; by a quarter, width and height change places, and so do a pixel's.
fn upright(info: VideoInfo, clockwise: f64) -> VideoInfo {
    let rotation = (clockwise.round() as i64).rem_euclid(360) as u32;
    if rotation % 180 != 90 {
        return VideoInfo { rotation, ..info };
    }
    let [width, height] = info.size;
    let pixel_aspect = info.look.pixel_aspect.map(|[x, y]| [y, x]);
    VideoInfo { rotation, size: [height, width], look: Look { pixel_aspect, ..info.look }, ..info }
}

/// What ffmpeg prints with two decimals.
fn decimal_fps(rate: f64) -> Option<Fps> {
    if let Some(&usual) = Fps::USUAL.iter().find(|fps| (fps.as_f64() - rate).abs() < 5.1e-3) {
        return Some(usual);
    }
    let (num, den) = if rate.fract() == 0.0 { (rate, 1) } else { ((rate * 100.0).round(), 100) };
    Fps::new(num as u32, den).ok()
}

fn fraction(text: Option<&str>) -> Option<Fps> {
    let (num, den) = text?.split_once('/')?;
    Fps::new(num.parse().ok()?, den.parse().ok()?).ok()
}

fn range(tag: &str, pixel_format: &str) -> Option<Range> {
    match tag {
        "tv" => Some(Range::Limited),
        "pc" => Some(Range::Full),
        _ => pixel_format.starts_with("yuvj").then_some(Range::Full),
    }
}

/// Of a format that is not known here, what most are.
fn pixels(name: &str) -> PixelFormat {
    PixelFormat::parse(name).unwrap_or(PixelFormat::USUAL)
}

/// The field that is shown first. ffprobe has two letters, of which the second says how fields are stored, whatever ffmpeg's own
/// words for them (`top coded first (swapped)`): Matroska's and QuickTime's 9 is top first, interleaved.
fn first_field(order: &str) -> Option<Field> {
    match order {
        "tt" | "tb" => Some(Field::Top),
        "bb" | "bt" => Some(Field::Bottom),
        _ if order.starts_with("top ") => Some(Field::Top),
        _ if order.starts_with("bottom ") => Some(Field::Bottom),
        _ => None,
    }
}

/// By the names of ffmpeg's formats.
fn is_picture(formats: &str) -> bool {
    formats.split(',').any(|name| name.ends_with("_pipe") || ["image2", "gif", "apng"].contains(&name))
}

fn pixel_aspect(text: &str) -> Option<[u32; 2]> {
    let (x, y) = text.split_once(':')?;
    let (x, y) = (x.parse().ok()?, y.parse().ok()?);
    (x > 0 && y > 0 && x != y).then_some([x, y])
}

/// Splits at the commas outside of brackets.
fn top_level(text: &str) -> Vec<&str> {
    let (mut fields, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                fields.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(text[start..].trim());
    fields
}

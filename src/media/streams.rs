//! What streams a file has: from ffprobe's JSON, or from ffmpeg's own description where ffprobe is absent.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;

use super::ffmpeg::{self, Ffmpeg, Process};
use crate::{Problem, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamKind {
    Video,
    /// A picture that stands for the file, such as a cover.
    Cover,
    Sound,
    Subtitles,
    /// A file in the file, such as a font.
    Attachment,
    Other,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stream {
    pub index: u32,
    pub kind: StreamKind,
    /// ffmpeg's name.
    pub codec: String,
    pub language: Option<String>,
    pub title: Option<String>,
    pub timecode: Option<String>,
    pub is_default: bool,
    /// Of sound; 0 where that is not known.
    pub channels: u32,
    /// ffmpeg's name of where they are, where the file says it.
    pub layout: Option<String>,
    /// Time stamp of its start in the file.
    pub start_s: Option<f64>,
    /// How long it is, where the file says so for each stream.
    pub duration_s: Option<f64>,
}

/// What is in a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Contents {
    pub streams: Vec<Stream>,
    pub chapters: usize,
    pub start_s: f64,
    pub timecode: Option<String>,
    /// An AVI has no time stamps of its own: what ffmpeg counts for it is off where a packet holds less than it assumes.
    pub is_untimed: bool,
}

impl Contents {
    /// Filters that lay out the sound of such a file in the file's own time, from 0 on: where there is none, there is silence. Time
    /// stamps are to a millisecond in some containers; a longer hole, or one of many short ones, is filled.
    pub fn in_time(&self, start_s: f64) -> String {
        let own = if self.is_untimed { "asetpts=N/SR/TB," } else { "" };
        let moved = if start_s == 0.0 { String::new() } else { format!("asetpts=PTS{start_s:+.6}/TB,") };
        format!("{own}{moved}aresample=async=1:first_pts=0:min_hard_comp=0.02")
    }

    /// Errors: nothing that ffmpeg can read.
    pub fn of(ffmpeg: &Ffmpeg, path: &Path) -> Result<Self> {
        let unreadable =
            |found: String| Problem::new(path.display().to_string(), "a file that ffmpeg can read", found).input();
        let Some(mut command) = ffmpeg.probe_command() else {
            // Without an output ffmpeg always ends in an error; what it says before that is the description.
            let mut process = Process::spawn(ffmpeg.describe().args(["-nostdin", "-i"]).arg(ffmpeg::file(path)))?;
            let (status, said) = process.wait()?;
            return described(&said).ok_or_else(|| unreadable(ffmpeg::ending(status, &said)));
        };
        command.args(["-show_streams", "-show_format", "-show_chapters", "-of", "json"]);
        let mut process = Process::spawn(command.arg(ffmpeg::file(path)).stdout(Stdio::piped()))?;
        let mut json = Vec::new();
        if let Some(mut pipe) = process.stdout() {
            pipe.read_to_end(&mut json).map_err(|e| unreadable(e.to_string()))?;
        }
        let (status, said) = process.wait()?;
        if !status.success() {
            return Err(unreadable(ffmpeg::ending(status, &said)));
        }
        let json: Json = serde_json::from_slice(&json).map_err(|e| unreadable(e.to_string()))?;
        Ok(json.into())
    }

    /// The sound track that players take: the one that is marked so, else the first.
    pub fn default_sound(&self) -> Option<&Stream> {
        let sound = || self.streams.iter().filter(|stream| stream.kind == StreamKind::Sound);
        sound().find(|stream| stream.is_default).or(sound().next())
    }

    pub fn picture(&self) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.kind == StreamKind::Video)
    }

    /// The time code at the start, wherever the file keeps it.
    pub fn timecode(&self) -> Option<&str> {
        self.streams.iter().find_map(|stream| stream.timecode.as_deref()).or(self.timecode.as_deref())
    }
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    streams: Vec<JsonStream>,
    #[serde(default)]
    chapters: Vec<serde_json::Value>,
    #[serde(default)]
    format: JsonFormat,
}

#[derive(Deserialize, Default)]
struct JsonFormat {
    #[serde(default)]
    format_name: String,
    start_time: Option<String>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize)]
struct JsonStream {
    index: u32,
    #[serde(default)]
    codec_type: String,
    #[serde(default)]
    codec_name: String,
    start_time: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    channels: u32,
    channel_layout: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    default: u8,
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize, Default)]
struct Tags {
    #[serde(alias = "LANGUAGE")]
    language: Option<String>,
    #[serde(alias = "TITLE")]
    title: Option<String>,
    #[serde(alias = "TIMECODE")]
    timecode: Option<String>,
}

impl From<Json> for Contents {
    fn from(json: Json) -> Self {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let stream = |stream: JsonStream| Stream {
            index: stream.index,
            kind: match stream.codec_type.as_str() {
                "video" if stream.disposition.attached_pic == 1 => StreamKind::Cover,
                "video" => StreamKind::Video,
                "audio" => StreamKind::Sound,
                "subtitle" => StreamKind::Subtitles,
                "attachment" => StreamKind::Attachment,
                _ => StreamKind::Other,
            },
            codec: stream.codec_name,
            language: stream.tags.language.filter(|language| language != "und"),
            title: stream.tags.title,
            timecode: stream.tags.timecode,
            is_default: stream.disposition.default == 1,
            channels: stream.channels,
            layout: stream.channel_layout.filter(|layout| is_known(layout)),
            start_s: number(stream.start_time),
            duration_s: number(stream.duration),
        };
        Self {
            streams: json.streams.into_iter().map(stream).collect(),
            chapters: json.chapters.len(),
            start_s: number(json.format.start_time).unwrap_or(0.0),
            timecode: json.format.tags.timecode,
            is_untimed: json.format.format_name == "avi",
        }
    }
}

/// From what ffmpeg prints about an input; it does not print when a stream starts, nor how long it is.
fn described(said: &str) -> Option<Contents> {
    let mut contents = Contents::default();
    let mut is_input = false;
    for line in said.lines().map(str::trim) {
        is_input |= line.starts_with("Input #0");
        contents.is_untimed |= line.starts_with("Input #0, avi,");
        if line.starts_with("Chapter #0:") {
            contents.chapters += 1;
        } else if let Some(start) = line.strip_prefix("Duration: ").and_then(|rest| rest.split("start: ").nth(1)) {
            contents.start_s = start.split(',').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        } else if let Some(stream) = line.strip_prefix("Stream #0:").and_then(described_stream) {
            contents.streams.push(stream);
        } else if let Some((name, value)) = line.split_once(':') {
            let value = Some(value.trim().to_string());
            match (name.trim(), contents.streams.last_mut()) {
                ("title", Some(stream)) => stream.title = value,
                ("timecode", Some(stream)) => stream.timecode = value,
                ("timecode", None) => contents.timecode = value,
                _ => {}
            }
        }
    }
    is_input.then_some(contents)
}

/// `1[0x2](eng): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, 5.1(side), fltp, 69 kb/s (default)`.
fn described_stream(text: &str) -> Option<Stream> {
    let (head, rest) = text.split_once(": ")?;
    let (kind, rest) = rest.split_once(": ")?;
    let digits = head.find(|c: char| !c.is_ascii_digit()).unwrap_or(head.len());
    let language = head.split_once('(').and_then(|(_, language)| language.strip_suffix(')'));
    let codec = rest.split([' ', ',']).next().unwrap_or_default().to_string();
    let layout = rest.split(", ").skip_while(|field| !field.ends_with(" Hz")).nth(1).map(str::to_string);
    let channels = match layout.as_deref() {
        None => 0,
        Some("mono") => 1,
        Some("stereo") => 2,
        // `5.1(side)`, `16 channels`; ffmpeg has other names for what few files have.
        Some(layout) => {
            let number = layout.split(['(', ' ']).next().unwrap_or_default();
            number.split('.').map(|part| part.parse::<u32>().unwrap_or(0)).sum()
        }
    };
    Some(Stream {
        index: head[..digits].parse().ok()?,
        kind: match kind {
            "Video" if rest.contains("(attached pic)") => StreamKind::Cover,
            "Video" => StreamKind::Video,
            "Audio" => StreamKind::Sound,
            "Subtitle" => StreamKind::Subtitles,
            "Attachment" => StreamKind::Attachment,
            _ => StreamKind::Other,
        },
        codec,
        language: language.filter(|language| *language != "und").map(str::to_string),
        title: None,
        timecode: None,
        is_default: rest.contains("(default)"),
        channels,
        layout: layout.filter(|layout| is_known(layout)),
        start_s: None,
        duration_s: None,
    })
}

/// Whether ffmpeg has a name for where the channels are: not `unknown`, `16 channels` or `10 channels (FL+FR+..)`.
fn is_known(layout: &str) -> bool {
    layout != "unknown" && !layout.contains(" channels")
}

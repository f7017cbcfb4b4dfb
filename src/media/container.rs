//! The kinds of file that a video is written to, by the end of the name: what each is usually encoded with, and what it holds.

use std::path::Path;

use super::encoder::SoundEncoder;
use crate::{Problem, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Mp4,
    QuickTime,
    Matroska,
    WebM,
    Avi,
    TransportStream,
}

/// How subtitles of the source get into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subtitles {
    Copied,
    /// As text in the container's own form, ffmpeg's name of which it is.
    Rewritten(&'static str),
}

/// Subtitles that are text, and so can be written in another form.
const TEXT: [&str; 7] = ["subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"];

impl Container {
    pub const ALL: [Self; 6] =
        [Self::Mp4, Self::Matroska, Self::QuickTime, Self::WebM, Self::Avi, Self::TransportStream];

    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        let known = Self::ALL.into_iter().find(|container| container.endings().contains(&extension.as_str()));
        known.ok_or_else(|| {
            let endings: Vec<String> =
                Self::ALL.iter().flat_map(|c| c.endings()).map(|ending| format!(".{ending}")).collect();
            let found = if extension.is_empty() { "none".to_string() } else { format!(".{extension}") };
            let expected = format!("a name that ends in one of {}", endings.join(" "));
            Problem::new(path.display().to_string(), expected, found).usage()
        })
    }

    /// How names of such files end; the usual one first.
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Mp4 => &["mp4", "m4v"],
            Self::QuickTime => &["mov"],
            Self::Matroska => &["mkv"],
            Self::WebM => &["webm"],
            Self::Avi => &["avi"],
            Self::TransportStream => &["ts", "m2ts", "mts"],
        }
    }

    /// Encoders of pictures that every player of such files knows what to do with, the best first: not every ffmpeg has all.
    pub fn encoders(self) -> &'static [&'static str] {
        match self {
            Self::Mp4 | Self::QuickTime | Self::Matroska | Self::TransportStream => {
                &["libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "mpeg4"]
            }
            Self::WebM => &["libvpx-vp9", "libsvtav1", "libaom-av1", "libvpx"],
            Self::Avi => &["mpeg4"],
        }
    }

    /// The same for sound.
    pub fn sound_encoders(self) -> &'static [SoundEncoder] {
        match self {
            Self::Mp4 | Self::QuickTime | Self::Matroska | Self::TransportStream => &[SoundEncoder::Aac],
            Self::WebM => &[SoundEncoder::Opus, SoundEncoder::Vorbis],
            Self::Avi => &[SoundEncoder::Mp3, SoundEncoder::Ac3],
        }
    }

    /// Options for a file that is finished, and for one that is read once more before it is.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            // The index in front, so that a player or a browser starts before it has the whole file.
            Self::Mp4 | Self::QuickTime => &["-movflags", "+faststart"],
            _ => &[],
        }
    }

    /// The tag without which Apple's players do not know what ffmpeg's encoder `name` makes.
    pub fn tag(self, name: &str) -> Option<&'static str> {
        let is_hevc = name == "libx265" || name.starts_with("hevc_");
        (is_hevc && matches!(self, Self::Mp4 | Self::QuickTime)).then_some("hvc1")
    }

    /// Whether sound in ffmpeg's `codec` goes in as it is.
    pub fn holds_sound(self, codec: &str) -> bool {
        match self {
            Self::Mp4 => ["aac", "mp3", "ac3", "eac3", "alac", "opus"].contains(&codec),
            Self::QuickTime => ["aac", "mp3", "ac3", "eac3", "alac"].contains(&codec) || codec.starts_with("pcm_"),
            Self::Matroska => true,
            Self::WebM => ["opus", "vorbis"].contains(&codec),
            Self::Avi => ["mp3", "mp2", "ac3", "pcm_s16le", "pcm_u8"].contains(&codec),
            Self::TransportStream => ["aac", "mp3", "mp2", "ac3", "eac3"].contains(&codec),
        }
    }

    /// How subtitles in ffmpeg's `codec` go in; None: not at all.
    pub fn subtitles(self, codec: &str) -> Option<Subtitles> {
        let is_text = TEXT.contains(&codec);
        match self {
            Self::Mp4 | Self::QuickTime if codec == "mov_text" => Some(Subtitles::Copied),
            Self::Mp4 | Self::QuickTime => is_text.then_some(Subtitles::Rewritten("mov_text")),
            Self::Matroska if codec == "mov_text" => Some(Subtitles::Rewritten("srt")),
            Self::Matroska => Some(Subtitles::Copied),
            Self::WebM if codec == "webvtt" => Some(Subtitles::Copied),
            Self::WebM => is_text.then_some(Subtitles::Rewritten("webvtt")),
            Self::TransportStream if codec == "dvb_subtitle" => Some(Subtitles::Copied),
            Self::Avi | Self::TransportStream => None,
        }
    }

    /// Whether the language of a track is said.
    pub fn holds_languages(self) -> bool {
        self != Self::Avi
    }

    pub fn holds_chapters(self) -> bool {
        !matches!(self, Self::Avi | Self::TransportStream)
    }

    /// Whether files such as the fonts of subtitles go in.
    pub fn holds_attachments(self) -> bool {
        self == Self::Matroska
    }

    /// Whether a picture that stands for the file goes in.
    pub fn holds_cover(self) -> bool {
        matches!(self, Self::Mp4)
    }

    /// Whether a time code goes in, by the tag `timecode`.
    pub fn holds_timecode(self) -> bool {
        matches!(self, Self::Mp4 | Self::QuickTime | Self::Matroska)
    }

    /// What makes a time code a track where it has to be one.
    pub fn timecode_args(self) -> &'static [&'static str] {
        if matches!(self, Self::Mp4 | Self::QuickTime) { &["-write_tmcd", "on"] } else { &[] }
    }
}

//! Encoders of ffmpeg's, for pictures and for sound: how each is told its quality, and what it takes.

use std::ops::RangeInclusive;

use super::frames::Fps;
use crate::{Error, Problem};

/// How an encoder of pictures is told how good they shall be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Quality {
    /// The same quality everywhere, by a number of its own, lower is better.
    Constant { options: &'static [&'static str], numbers: (u8, u8), default: u8 },
    /// Lossless, or good at a size that follows from its format: no number sets it.
    Fixed,
    /// Bits a second.
    BitRate,
}

/// What ffmpeg's encoders of one kind have in common.
#[derive(Debug)]
struct Kind {
    /// ffmpeg's names, or how they end where they begin with a `_`: one kind of hardware encodes many formats.
    names: &'static [&'static str],
    quality: Quality,
    /// What goes with that: speed that fits an offline job, options without which the quality is not what is asked for.
    also: &'static [&'static str],
}

const fn constant(options: &'static [&'static str], numbers: (u8, u8), default: u8) -> Quality {
    Quality::Constant { options, numbers, default }
}

/// The defaults look alike: pictures hard to tell from what was encoded (x264's 18).
const KINDS: &[Kind] = &[
    Kind { names: &["libx264", "libx264rgb"], quality: constant(&["-crf"], (0, 51), 18), also: &[] },
    Kind {
        names: &["libx265"],
        quality: constant(&["-crf"], (0, 51), 20),
        // It says what it does on stderr whatever ffmpeg's log level.
        also: &["-x265-params", "log-level=error"],
    },
    Kind {
        names: &["libvpx-vp9"],
        quality: constant(&["-crf"], (0, 63), 20),
        also: &["-b:v", "0", "-row-mt", "1", "-cpu-used", "2"],
    },
    Kind {
        names: &["libaom-av1"],
        quality: constant(&["-crf"], (0, 63), 12),
        also: &["-b:v", "0", "-row-mt", "1", "-cpu-used", "5"],
    },
    Kind { names: &["libsvtav1"], quality: constant(&["-crf"], (1, 63), 18), also: &["-preset", "7"] },
    Kind { names: &["librav1e"], quality: constant(&["-qp"], (1, 255), 70), also: &["-speed", "7"] },
    // Its -crf holds below a bit rate only: one that it never reaches.
    Kind { names: &["libvpx"], quality: constant(&["-crf"], (4, 63), 4), also: &["-b:v", "400M", "-qmin", "0"] },
    Kind {
        names: &[
            "mpeg4",
            "libxvid",
            "mpeg1video",
            "mpeg2video",
            "msmpeg4",
            "msmpeg4v2",
            "h263",
            "h263p",
            "flv",
            "wmv1",
            "wmv2",
            "mjpeg",
        ],
        quality: constant(&["-q:v"], (1, 31), 2),
        also: &[],
    },
    Kind { names: &["_nvenc"], quality: constant(&["-cq"], (1, 51), 18), also: &["-rc", "vbr", "-b:v", "0"] },
    Kind { names: &["_qsv"], quality: constant(&["-global_quality"], (1, 51), 18), also: &[] },
    Kind { names: &["_vaapi"], quality: constant(&["-qp"], (1, 52), 18), also: &["-rc_mode", "CQP"] },
    Kind { names: &["_amf"], quality: constant(&["-qp_i", "-qp_p"], (0, 51), 18), also: &["-rc", "cqp"] },
    Kind {
        names: &[
            "ffv1",
            "huffyuv",
            "ffvhuff",
            "utvideo",
            "magicyuv",
            "rawvideo",
            "v210",
            "png",
            "apng",
            "qtrle",
            "zlib",
            "ljpeg",
            "prores",
            "prores_aw",
            "prores_ks",
            "cfhd",
        ],
        quality: Quality::Fixed,
        also: &[],
    },
    Kind { names: &["dnxhd"], quality: Quality::Fixed, also: &["-profile:v", "dnxhr_hq"] },
];

/// Of an encoder that is not in the table, ffmpeg knows that it takes a bit rate.
const OTHER: Kind = Kind { names: &[], quality: Quality::BitRate, also: &[] };

/// Bits for a pixel of each frame: less is seen, more is not.
const BITS_PER_PIXEL: RangeInclusive<f64> = 0.2..=4.0;
/// What encoding again costs over the source, to look the same.
const ABOVE_SOURCE: f64 = 1.5;

/// An encoder by ffmpeg's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoder {
    kind: &'static Kind,
}

impl Encoder {
    pub fn named(name: &str) -> Self {
        let is_it = |known: &&str| if known.starts_with('_') { name.ends_with(*known) } else { name == *known };
        Self { kind: KINDS.iter().find(|kind| kind.names.iter().any(is_it)).unwrap_or(&OTHER) }
    }

    /// The options for `quality` on the encoder's own scale, or for what hardly differs from the source, whose picture took
    /// `source_rate` bits a second, and how that reads. Errors: a number that the encoder has not.
    pub fn quality(
        self,
        name: &str,
        quality: Option<u8>,
        size: [u32; 2],
        fps: Fps,
        source_rate: Option<u64>,
    ) -> Result<(Vec<String>, String), Error> {
        let also = self.kind.also.iter().map(|text| text.to_string());
        let refuse = |expected: String, asked: u8| Problem::new("--crf", expected, asked.to_string());
        match (self.kind.quality, quality) {
            (Quality::Constant { options, numbers: (best, worst), default }, asked) => {
                let number = asked.unwrap_or(default);
                if !(best..=worst).contains(&number) {
                    return Err(refuse(format!("{best} (best) to {worst} for {name}"), number).usage());
                }
                let set = options.iter().flat_map(|option| [option.to_string(), number.to_string()]);
                Ok((set.chain(also).collect(), format!("{name} {} {number}", options[0])))
            }
            (Quality::Fixed, None) => Ok((also.collect(), name.to_string())),
            (Quality::BitRate, None) => {
                let pixels = f64::from(size[0]) * f64::from(size[1]) * fps.as_f64();
                let source = source_rate.map_or(0.0, |bits| bits as f64 / pixels);
                let bits = (ABOVE_SOURCE * source).clamp(*BITS_PER_PIXEL.start(), *BITS_PER_PIXEL.end()) * pixels;
                let rate = format!("{}k", (bits / 1e3).ceil().max(100.0));
                let set = ["-b:v".to_string(), rate.clone()];
                Ok((set.into_iter().chain(also).collect(), format!("{name} -b:v {rate}")))
            }
            (Quality::Fixed | Quality::BitRate, Some(asked)) => {
                let expected = format!("nothing, as {name} has no such number");
                Err(refuse(expected, asked).remedy("leave --crf out, or name another --codec").usage())
            }
        }
    }

    /// About how many bits of a file each pixel of a frame takes.
    pub fn bits_per_pixel(self) -> f64 {
        match self.kind.quality {
            Quality::Constant { .. } => 0.15,
            Quality::BitRate => *BITS_PER_PIXEL.start(),
            Quality::Fixed => 4.0,
        }
    }
}

/// An encoder of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SoundEncoder {
    Aac,
    Opus,
    Vorbis,
    Mp3,
    Ac3,
}

impl SoundEncoder {
    /// ffmpeg's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Opus => "libopus",
            Self::Vorbis => "libvorbis",
            Self::Mp3 => "libmp3lame",
            Self::Ac3 => "ac3",
        }
    }

    /// ffmpeg's names of the speaker layouts that it takes and players know, without how they are placed (`(side)`).
    fn layouts(self) -> &'static [&'static str] {
        match self {
            Self::Aac => &["mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"],
            Self::Opus | Self::Vorbis => &["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"],
            Self::Mp3 => &["mono", "stereo"],
            Self::Ac3 => &["mono", "stereo", "3.0", "quad", "4.0", "5.0", "5.1"],
        }
    }

    /// The layout to encode `channels` of sound in, which lie as `layout` says, where that is known.
    pub fn layout_for(self, channels: u32, layout: Option<&str>) -> &'static str {
        let by_count = ["mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1"];
        let counted = || by_count.get((channels as usize).wrapping_sub(1)).copied();
        let asked = layout.map(|layout| layout.split('(').next().unwrap_or(layout)).or_else(counted);
        let known = self.layouts().iter().find(|known| Some(**known) == asked);
        known.copied().unwrap_or(if channels == 1 { "mono" } else { "stereo" })
    }

    /// Bits a second for a track of `channels`: none that is heard is lost.
    pub fn bit_rate(self, channels: u32) -> u32 {
        (96_000 * channels).clamp(192_000, 640_000)
    }
}

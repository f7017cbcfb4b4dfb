//! What a stored pixel is: bits, chroma and transparency behind ffmpeg's names of pixel formats, and which of an encoder's
//! formats keeps most of a source's.

use std::fmt;

use crate::ops::Depth;

/// How a picture's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat {
    /// Of one value.
    pub bits: u32,
    pub chroma: Chroma,
    pub has_alpha: bool,
}

/// What is stored beside brightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chroma {
    Gray,
    Yuv410,
    Yuv411,
    Yuv420,
    Yuv440,
    Yuv422,
    Yuv444,
    Rgb,
}

impl Chroma {
    /// Digits in ffmpeg's names, and by how many halvings chroma is coarser across and down.
    const SUBSAMPLED: [(Self, &str, [u32; 2]); 6] = [
        (Self::Yuv410, "410", [2, 2]),
        (Self::Yuv411, "411", [2, 0]),
        (Self::Yuv420, "420", [1, 1]),
        (Self::Yuv440, "440", [0, 1]),
        (Self::Yuv422, "422", [1, 0]),
        (Self::Yuv444, "444", [0, 0]),
    ];

    fn digits(self) -> Option<&'static str> {
        Self::SUBSAMPLED.iter().find(|(chroma, ..)| *chroma == self).map(|(_, digits, _)| *digits)
    }

    fn halvings(self) -> [u32; 2] {
        Self::SUBSAMPLED.iter().find(|(chroma, ..)| *chroma == self).map_or([0, 0], |(.., halvings)| *halvings)
    }
}

impl fmt::Display for Chroma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digits().map(|digits| digits.split_at(1)) {
            Some((luma, rest)) => write!(f, "{luma}:{}:{}", &rest[..1], &rest[1..]),
            None if *self == Self::Rgb => f.write_str("RGB"),
            None => f.write_str("grey"),
        }
    }
}

impl PixelFormat {
    /// What every player shows.
    pub const USUAL: Self = Self { bits: 8, chroma: Chroma::Yuv420, has_alpha: false };

    /// Formats whose names follow no pattern: bits, chroma, transparency.
    const NAMED: [(&str, u32, Chroma, bool); 18] = [
        ("nv12", 8, Chroma::Yuv420, false),
        ("nv21", 8, Chroma::Yuv420, false),
        ("nv16", 8, Chroma::Yuv422, false),
        ("nv20", 10, Chroma::Yuv422, false),
        ("nv24", 8, Chroma::Yuv444, false),
        ("nv42", 8, Chroma::Yuv444, false),
        ("y210", 10, Chroma::Yuv422, false),
        ("y212", 12, Chroma::Yuv422, false),
        ("yuyv422", 8, Chroma::Yuv422, false),
        ("yvyu422", 8, Chroma::Yuv422, false),
        ("uyvy422", 8, Chroma::Yuv422, false),
        ("uyyvyy411", 8, Chroma::Yuv411, false),
        ("monow", 8, Chroma::Gray, false),
        ("monob", 8, Chroma::Gray, false),
        ("ya8", 8, Chroma::Gray, true),
        ("ya16", 16, Chroma::Gray, true),
        ("ayuv64", 16, Chroma::Yuv444, true),
        ("pal8", 8, Chroma::Rgb, true),
    ];

    /// What ffmpeg calls `name`; None for one not known here, such as a device's own.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_suffix("le").or_else(|| name.strip_suffix("be")).unwrap_or(name);
        let named = Self::NAMED.iter().find(|(known, ..)| *known == name);
        let named = named.map(|&(_, bits, chroma, has_alpha)| Self { bits, chroma, has_alpha });
        named.or_else(|| Self::parse_packed(name)).or_else(|| Self::parse_planar(name))
    }

    /// `rgb24`, `bgra`, `rgba64`, `x2rgb10`, `rgb565`; `p010`, `p216`.
    fn parse_packed(name: &str) -> Option<Self> {
        if ["rgb", "bgr"].iter().any(|order| name.contains(order)) {
            let ends = [("48", 16), ("64", 16), ("10", 10)].into_iter().find(|(end, _)| name.ends_with(end));
            let bits = ends.map_or(8, |(_, bits)| bits);
            let has_alpha = ["rgba", "bgra", "argb", "abgr"].iter().any(|order| name.contains(order));
            return Some(Self { bits, chroma: Chroma::Rgb, has_alpha });
        }
        let (kind, bits) = name.strip_prefix('p')?.split_at_checked(1)?;
        let chroma = match kind {
            "0" => Chroma::Yuv420,
            "2" => Chroma::Yuv422,
            "4" => Chroma::Yuv444,
            _ => return None,
        };
        Some(Self { bits: bits.parse().ok()?, chroma, has_alpha: false })
    }

    /// `yuv422p10`, `yuva420p`, `yuvj444p`, `gbrap12`, `gray10`.
    fn parse_planar(name: &str) -> Option<Self> {
        let bits = |text: &str| match text {
            "" => Some(8),
            "f32" => Some(16),
            digits => digits.parse().ok(),
        };
        for (front, chroma, has_alpha) in
            [("gbrap", Chroma::Rgb, true), ("gbrp", Chroma::Rgb, false), ("gray", Chroma::Gray, false)]
        {
            if let Some(rest) = name.strip_prefix(front) {
                return Some(Self { bits: bits(rest)?, chroma, has_alpha });
            }
        }
        let rest = name.strip_prefix("yuv")?;
        let has_alpha = rest.starts_with('a');
        let (digits, rest) = rest.trim_start_matches(['a', 'j']).split_once('p')?;
        let (chroma, ..) = Chroma::SUBSAMPLED.into_iter().find(|(_, known, _)| *known == digits)?;
        Some(Self { bits: bits(rest)?, chroma, has_alpha })
    }

    /// The format in planes, as ffmpeg calls it.
    fn planar_name(self) -> String {
        let ending = if self.bits > 8 { format!("{}le", self.bits) } else { String::new() };
        match self.chroma.digits() {
            Some(digits) => format!("yuv{digits}p{ending}"),
            None if self.chroma == Chroma::Rgb => format!("gbrp{ending}"),
            None => format!("gray{ending}"),
        }
    }

    /// What holds its values in RGB.
    pub fn depth(self) -> Depth {
        if self.bits > 8 { Depth::Sixteen } else { Depth::Eight }
    }

    pub fn is_rgb(self) -> bool {
        self.chroma == Chroma::Rgb
    }
}

/// Encoders that keep RGB as it is. Others that take it make of it what few programs play.
const LOSSLESS: [&str; 9] =
    ["ffv1", "huffyuv", "ffvhuff", "utvideo", "magicyuv", "rawvideo", "png", "qtrle", "libx264rgb"];

/// The format that an encoder gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// ffmpeg's.
    pub name: String,
    pub format: PixelFormat,
}

impl Choice {
    /// Of the formats that `encoder` `offers` (by ffmpeg's names; none where it does not say) the one that keeps most of
    /// `source`, and no more than that needs. RGB and grey become 4:2:0, as players expect, unless the encoder is lossless;
    /// transparency is gone already.
    pub fn new(source: PixelFormat, encoder: &str, offers: &[String]) -> Self {
        let chroma = match source.chroma {
            Chroma::Rgb if LOSSLESS.contains(&encoder) => Chroma::Rgb,
            Chroma::Rgb | Chroma::Gray => Chroma::Yuv420,
            other => other,
        };
        let wanted = PixelFormat { bits: source.bits.max(8), chroma, has_alpha: false };
        let known = offers.iter().filter(|name| !name.starts_with("yuvj"));
        let known = known.filter_map(|name| Some((name, PixelFormat::parse(name)?)));
        let best = known.min_by_key(|(_, format)| format.distance(wanted));
        match best {
            Some((name, format)) => Self { name: name.clone(), format },
            None => Self { name: wanted.planar_name(), format: wanted },
        }
    }

    /// What is lost of `source`, in words.
    pub fn loss(&self, source: PixelFormat) -> Option<String> {
        let mut lost = Vec::new();
        if self.format.bits < source.bits {
            lost.push(format!("{} bits of {}", self.format.bits, source.bits));
        }
        let is_coarser = (0..2).any(|axis| self.format.chroma.halvings()[axis] > source.chroma.halvings()[axis]);
        let had_colour = source.chroma != Chroma::Gray;
        if had_colour && (is_coarser || self.format.chroma == Chroma::Gray) {
            lost.push(format!("{} of {}", self.format.chroma, source.chroma));
        }
        (!lost.is_empty()).then(|| lost.join(" and "))
    }
}

impl PixelFormat {
    /// Compared from the first on: bits that are missing, halvings of chroma too many, transparency and the kind of colour,
    /// then what is more than wanted.
    fn distance(self, wanted: Self) -> [u32; 5] {
        let [across, down] = self.chroma.halvings();
        let [wanted_across, wanted_down] = wanted.chroma.halvings();
        let coarser = across.saturating_sub(wanted_across) + down.saturating_sub(wanted_down);
        let finer = wanted_across.saturating_sub(across) + wanted_down.saturating_sub(down);
        let is_other_kind = self.is_rgb() != wanted.is_rgb() || (self.chroma == Chroma::Gray);
        [
            wanted.bits.saturating_sub(self.bits),
            if self.chroma == Chroma::Gray { 9 } else { coarser },
            u32::from(self.has_alpha) + u32::from(is_other_kind),
            finer,
            self.bits.saturating_sub(wanted.bits),
        ]
    }
}

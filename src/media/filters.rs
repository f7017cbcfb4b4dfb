//! From a video's stored frames to upright RGB of one size: ffmpeg's filters, in the order that matters. Fields come apart before
//! anything mixes lines, HDR becomes SDR while its own values are there, then size and colour.

use super::ffmpeg::Ffmpeg;
use super::probe::{Field, Hdr, VideoInfo};
use super::reader::SCALE_FLAGS;
use crate::ops::Depth;
use crate::{Problem, Result};

/// Diffuse white of HDR pictures, in cd/m2, and where they are taken to end (ITU-R BT.2408, 2.2): white becomes SDR's bright range,
/// skin and mid-grey stay as they are.
const WHITE: f64 = 203.0;
const PEAK: f64 = 1000.0;

/// The video, unless reading it needs a filter that this ffmpeg was built without.
pub(super) fn check(ffmpeg: &Ffmpeg, info: VideoInfo) -> Result<VideoInfo> {
    let needed: &[&str] = match (info.look.hdr(), info.interlace) {
        (Some(_), _) => &["zscale", "tonemap"],
        (None, Some(_)) => &["bwdif"],
        (None, None) => &[],
    };
    let Some(missing) = needed.iter().find(|name| !ffmpeg.has_filter(name)) else { return Ok(info) };
    let kind = if info.look.hdr().is_some() { "HDR (PQ or HLG)" } else { "interlaced" };
    let expected = format!("an ffmpeg with the filter {missing}, which {kind} video needs");
    let problem = Problem::new(info.path.display().to_string(), expected, "one that was built without it");
    Err(problem.remedy("name another ffmpeg with --ffmpeg, or convert the video to progressive SDR before").input())
}

/// Filters that leave packed RGB of the size and depth that `info` is read at; `trim` names the frames to begin with, where that is not
/// the first. It comes behind what looks at the frame before, so that a frame is the same after a seek.
///
/// A video may change its size midway. Its frames then come in the first one's size, in their own shape, with black beside them.
pub(super) fn picture_filters(info: &VideoInfo, trim: Option<String>) -> String {
    let [width, height] = info.size;
    let mut filters = Vec::new();
    if info.interlace.is_some() || info.look.hdr().is_some() {
        // These two take frames of one size only.
        filters.push(format!("scale={width}:{height}:flags={SCALE_FLAGS}"));
    }
    if let Some(interlace) = info.interlace {
        let parity = match (interlace.is_flagged, interlace.first) {
            (true, _) => "parity=auto:deint=interlaced",
            (false, Field::Top) => "parity=tff:deint=all",
            (false, Field::Bottom) => "parity=bff:deint=all",
        };
        filters.push(format!("bwdif=mode=send_frame:{parity}"));
    }
    filters.extend(trim);
    let mut is_rgb = info.look.pixels.is_rgb();
    if let Some(hdr) = info.look.hdr() {
        filters.push(tone_map(info, hdr));
        is_rgb = true;
    }

    let colours = match is_rgb {
        true => String::new(),
        false => format!(
            ":in_color_matrix={}:in_range={}:out_range=pc",
            info.look.matrix_of(info.size).scale_name(),
            info.look.range_or_limited().name(),
        ),
    };
    // Rounding must not touch frames that have the size already.
    let fitted = |own: u32, wanted: String| {
        format!("'if(eq(iw,{width})*eq(ih,{height}),{own},clip(trunc({wanted}+0.5),1,{own}))'")
    };
    let [aspect_x, aspect_y] = info.look.pixel_aspect.unwrap_or([1, 1]);
    filters.push(format!(
        "scale=w={}:h={}:eval=frame{colours}:flags={SCALE_FLAGS}",
        fitted(width, format!("{height}*dar*{aspect_y}/{aspect_x}")),
        fitted(height, format!("{width}/dar*{aspect_x}/{aspect_y}")),
    ));
    let depth = info.look.pixels.depth();
    let raw = raw_format(depth);
    // Beside the picture in planes, as ffmpeg 5.1 mixes up the pixels of rgb48le there, and by way of rgb48le, as it goes from planes of
    // 10 bits to planes of 16 through Y'CbCr.
    let (with_alpha, planes) = match depth {
        Depth::Eight => ("gbrap", "gbrp".to_string()),
        Depth::Sixteen => ("gbrap16le", format!("{raw},format=gbrp16le")),
    };
    if info.look.pixels.has_alpha {
        filters.push(format!("format={with_alpha},premultiply=inplace=1"));
    }
    filters.push(format!("format={planes},pad={width}:{height}:-1:-1:eval=frame,format={raw}"));
    filters.join(",")
}

/// ffmpeg's name of what [`super::Frame`] holds.
pub(super) fn raw_format(depth: Depth) -> &'static str {
    match depth {
        Depth::Eight => "rgb24",
        Depth::Sixteen => "rgb48le",
    }
}

/// HDR to SDR R'G'B' with BT.709's primaries. Mobius keeps all below 0.3 of white as it is and bends what is brighter.
fn tone_map(info: &VideoInfo, hdr: Hdr) -> String {
    let transfer = match hdr {
        Hdr::Pq => "smpte2084",
        Hdr::Hlg => "arib-std-b67",
    };
    let look = &info.look;
    let source = match info.look.pixels.is_rgb() {
        true => "matrixin=gbr:rangein=full".to_string(),
        false => {
            let matrix = look.matrix.map_or("bt2020nc", |matrix| matrix.name());
            let range = match look.range_or_limited().name() {
                "pc" => "full",
                _ => "limited",
            };
            format!("matrixin={matrix}:rangein={range}")
        }
    };
    let primaries = look.primaries.as_deref().unwrap_or("bt2020");
    format!(
        "zscale={source}:transferin={transfer}:primariesin={primaries}:matrix=gbr:range=full:transfer=linear:npl={WHITE},\
         format=gbrpf32le,zscale=primaries=bt709,tonemap=mobius:param=0.3:peak={:.4},\
         zscale=transfer=bt709:range=full,format=gbrp16le",
        PEAK / WHITE
    )
}

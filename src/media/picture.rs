//! Picture files, known by what is in them: turned as their EXIF says, on black where they are transparent, whole or refused.

use std::io::{Cursor, Read};
use std::path::Path;
use std::process::Stdio;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Rgba};

use super::ffmpeg::{self, Ffmpeg, Process};
use crate::{Error, Problem, Result};

/// Ends of the names of picture files.
const EXTENSIONS: [&str; 11] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "avif", "heic", "heif"];

/// Whether `path` is called like a picture, and not hidden.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let is_hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
    !is_hidden && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Whether a file holds a picture, whatever it is called; of several in one file the first is read. Errors: it cannot be read.
pub fn holds_picture(path: &Path) -> Result<bool> {
    let start = start_of(path, 64)?;
    Ok(format_of(&start).is_some() || is_heif(&start))
}

/// Whether a file holds a picture that does not move. Errors: it cannot be read.
pub fn is_still(path: &Path) -> Result<bool> {
    // Where an animated PNG has its control chunk: behind the header, the sooner the better for those who show it.
    const SEARCHED: u64 = 4096;
    let start = start_of(path, SEARCHED)?;
    let moves = match format_of(&start) {
        Some(ImageFormat::Gif) => true,
        Some(ImageFormat::Png) => start.windows(4).any(|name| name == b"acTL"),
        Some(_) => false,
        None => start.get(8..12) == Some(b"avis") || start.get(8..12) == Some(b"msf1") || !is_heif(&start),
    };
    Ok(!moves)
}

fn start_of(path: &Path, bytes: u64) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(bytes).read_to_end(&mut start));
    read.map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    Ok(start)
}

/// The format of a picture that is decoded here.
fn format_of(start: &[u8]) -> Option<ImageFormat> {
    image::guess_format(start).ok().filter(ImageFormat::reading_enabled)
}

/// `bytes` of the file `path`: PNG, JPEG, WebP, BMP, GIF and TIFF here, AVIF and HEIC through ffmpeg.
pub(super) fn decode(path: &Path, bytes: &[u8], ffmpeg: Option<&Path>) -> Result<DynamicImage> {
    let picture = match format_of(bytes) {
        Some(format) => decode_here(bytes, format).map_err(|e| undecodable(path, &e.to_string()))?,
        None if is_heif(bytes) => decode_heif(path, &Ffmpeg::find(ffmpeg)?)?,
        None => return Err(undecodable(path, "another kind of file")),
    };
    Ok(if picture.color().has_alpha() { on_black(picture) } else { picture })
}

pub(super) fn undecodable(path: &Path, found: &str) -> Error {
    let expected = "a whole picture (PNG, JPEG, WebP, AVIF, BMP, GIF or TIFF)";
    Problem::new(path.display().to_string(), expected, found).input()
}

fn decode_here(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage, ImageError> {
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        let cut = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "a JPEG file that is cut off");
        return Err(ImageError::IoError(cut));
    }
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Whether a JPEG file has the marker of its end behind its last scan; decoders make up what is missing, in grey.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut at = 2;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (0xff, END) => return true,
            // Stuffing and restarts within a scan, filling before a marker.
            (0xff, 0x00 | 0x01 | 0xd0..=0xd7) => at += 2,
            (0xff, 0xff) => at += 1,
            // A segment, which says its own length, and may hold a whole picture for a preview.
            (0xff, _) if at + 3 < bytes.len() => {
                at += 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
            }
            _ => at += 1,
        }
    }
    false
}

/// AVIF and HEIC are boxes as MP4 is, of a brand of their own.
fn is_heif(bytes: &[u8]) -> bool {
    const BRANDS: [&[u8; 4]; 8] = [b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"];
    bytes.len() >= 12 && &bytes[4..8] == b"ftyp" && BRANDS.iter().any(|brand| &bytes[8..12] == *brand)
}

/// ffmpeg turns such pictures upright itself.
fn decode_heif(path: &Path, ffmpeg: &Ffmpeg) -> Result<DynamicImage> {
    let mut command = ffmpeg.command();
    command.arg("-i").arg(ffmpeg::file(path));
    command.args(["-frames:v", "1", "-f", "image2pipe", "-c:v", "png", "pipe:1"]).stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command)?;
    let mut png = Vec::new();
    if let Some(mut pipe) = process.stdout() {
        pipe.read_to_end(&mut png).map_err(|e| undecodable(path, &e.to_string()))?;
    }
    let (status, said) = process.wait()?;
    if png.is_empty() {
        let found = format!("AVIF or HEIC, which this ffmpeg does not read ({})", ffmpeg::ending(status, &said));
        let problem = Problem::new(path.display().to_string(), "a picture that can be decoded", found);
        return Err(problem.remedy("convert it to PNG or JPEG, or name a newer ffmpeg with --ffmpeg").input());
    }
    decode_here(&png, ImageFormat::Png).map_err(|e| undecodable(path, &e.to_string()))
}

/// A picture without its transparency: as if it lay on black, which for a mask means that nothing is there.
fn on_black(picture: DynamicImage) -> DynamicImage {
    let is_deep = picture.color().bytes_per_pixel() / picture.color().channel_count() > 1;
    if is_deep {
        let mut deep = picture.into_rgba16();
        deep.pixels_mut().for_each(|Rgba([r, g, b, a])| {
            for value in [r, g, b] {
                *value = ((u32::from(*value) * u32::from(*a) + 32_767) / 65_535) as u16;
            }
        });
        return DynamicImage::ImageRgb16(DynamicImage::ImageRgba16(deep).into_rgb16());
    }
    let mut shallow = picture.into_rgba8();
    shallow.pixels_mut().for_each(|Rgba([r, g, b, a])| {
        for value in [r, g, b] {
            *value = ((u32::from(*value) * u32::from(*a) + 127) / 255) as u8;
        }
    });
    DynamicImage::ImageRgb8(DynamicImage::ImageRgba8(shallow).into_rgb8())
}

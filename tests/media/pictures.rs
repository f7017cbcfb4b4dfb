//! Pictures as cameras, phones and browsers leave them.

use super::{at, ffmpeg, folder, fps, make, refused};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::path::Path;
use viseme::media::FrameSource;
use viseme::media::frames::{FolderSource, read_picture};
use viseme::media::picture::{holds_picture, is_still};
use viseme::ops::Depth;

const SIZE: [u32; 2] = [48, 32];
const CORNERS: [[u8; 3]; 4] = [[230, 20, 20], [20, 230, 20], [20, 20, 230], [230, 230, 20]];

/// A quarter of the picture in each corner's colour: top left, top right, bottom left, bottom right.
fn quarters() -> Vec<u8> {
    let [width, height] = SIZE;
    let corner = |i: u32| CORNERS[(2 * (i / width * 2 / height) + i % width * 2 / width) as usize];
    (0..width * height).flat_map(corner).collect()
}

/// Which of [`CORNERS`] lies in each quarter.
fn corners(path: &Path) -> ([u32; 2], [usize; 4]) {
    let frame = read_picture(path).unwrap_or_else(|e| panic!("{e}"));
    let at = |x: u32, y: u32| {
        let pixel = &frame.rgb[3 * (y * frame.width + x) as usize..][..3];
        let distance = |corner: &[u8; 3]| (0..3).map(|c| u32::from(pixel[c].abs_diff(corner[c]))).sum::<u32>();
        (0..4).min_by_key(|&i| distance(&CORNERS[i])).expect("a corner")
    };
    let [x, y] = [frame.width / 4, frame.height / 4];
    ([frame.width, frame.height], [at(x, y), at(3 * x, y), at(x, 3 * y), at(3 * x, 3 * y)])
}

/// EXIF with nothing but an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let entry = [&[0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation][..], &[0; 3]].concat();
    [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat()
}

fn write(encoder: impl ImageEncoder) {
    encoder.write_image(&quarters(), SIZE[0], SIZE[1], ExtendedColorType::Rgb8).expect("encoded");
}

#[test]
fn pictures_are_turned_as_their_exif_says() {
    let folder = folder();
    // The corners of the upright picture, for each orientation of the stored one.
    let upright: [[usize; 4]; 8] = [
        [0, 1, 2, 3],
        [1, 0, 3, 2],
        [3, 2, 1, 0],
        [2, 3, 0, 1],
        [0, 2, 1, 3],
        [2, 0, 3, 1],
        [3, 1, 2, 0],
        [1, 3, 0, 2],
    ];
    for (orientation, corners_upright) in (1..).zip(upright) {
        for name in ["1.jpg", "2.png", "3.webp"] {
            let path = at(&folder, name);
            let file = std::fs::File::create(&path).expect("a file");
            match name {
                "1.jpg" => {
                    let mut encoder = JpegEncoder::new_with_quality(file, 95);
                    encoder.set_exif_metadata(exif(orientation)).expect("EXIF");
                    write(encoder);
                }
                "2.png" => {
                    let mut encoder = PngEncoder::new(file);
                    encoder.set_exif_metadata(exif(orientation)).expect("EXIF");
                    write(encoder);
                }
                _ => {
                    let mut encoder = WebPEncoder::new_lossless(file);
                    encoder.set_exif_metadata(exif(orientation)).expect("EXIF");
                    write(encoder);
                }
            }
            let size = if orientation < 5 { SIZE } else { [SIZE[1], SIZE[0]] };
            assert_eq!(corners(&path), (size, corners_upright), "{name}, orientation {orientation}");
        }
        let mut source = FolderSource::open(folder.path(), fps(25, 1)).expect("a folder");
        assert_eq!((source.size()[0] < source.size()[1], source.count()), (orientation > 4, 3));
        source.next_frame().expect("of the size that it named");
    }
}

#[test]
fn pictures_are_known_by_what_is_in_them() {
    let folder = folder();
    let png = at(&folder, "quarters.png");
    write(PngEncoder::new(std::fs::File::create(&png).expect("a file")));
    let rgb = image::RgbImage::from_raw(SIZE[0], SIZE[1], quarters()).expect("pixels");
    let mut names = vec!["png"];
    for name in ["bmp", "gif", "tiff", "webp", "jpg"] {
        rgb.save(at(&folder, &format!("quarters.{name}"))).expect("encoded");
        names.push(name);
    }
    if ffmpeg().is_some() {
        make(
            &at(&folder, "quarters.avif"),
            &["-i", &png.display().to_string(), "-c:v", "libaom-av1", "-still-picture", "1"],
        );
        names.push("avif");
    }
    for name in names {
        let own = at(&folder, &format!("quarters.{name}"));
        for alias in ["alias.jpg", "alias.png", "alias"] {
            let alias = at(&folder, alias);
            std::fs::copy(&own, &alias).expect("copied");
            assert_eq!(corners(&alias), (SIZE, [0, 1, 2, 3]), "{name} as {}", alias.display());
            assert!(holds_picture(&alias).expect("readable"));
            assert_eq!(is_still(&alias).expect("readable"), name != "gif", "{name}");
        }
    }
    let text = at(&folder, "text.png");
    std::fs::write(&text, "no picture").expect("written");
    assert!(!holds_picture(&text).expect("readable") && !is_still(&text).expect("readable"));
    refused(read_picture(&text), 3, &["text.png", "a whole picture", "another kind of file"]);
    refused(holds_picture(&at(&folder, "absent.png")), 3, &["absent.png", "cannot read"]);
    // A box of HEIC with nothing in it.
    let heic = at(&folder, "phone.heic");
    std::fs::write(&heic, [&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], &[0; 100]].concat()).expect("written");
    if ffmpeg().is_some() {
        refused(read_picture(&heic), 3, &["phone.heic", "this ffmpeg does not read", "convert it to PNG or JPEG"]);
    }
}

#[test]
fn what_is_transparent_lies_on_black() {
    let folder = folder();
    let path = at(&folder, "p.png");
    let save = |values: &[u8], color| image::save_buffer(&path, values, 2, 1, color).expect("a picture");
    save(&[10, 250, 30, 0, 200, 100, 40, 128], image::ColorType::Rgba8);
    assert_eq!(read_picture(&path).expect("8 bits").rgb, [0, 0, 0, 100, 50, 20]);
    save(&[90, 0, 200, 255], image::ColorType::La8);
    assert_eq!(read_picture(&path).expect("grey").rgb, [0, 0, 0, 200, 200, 200]);
    let deep = [1_000u16, 2_000, 3_000, 0, 51_400, 25_700, 0, 65_535];
    save(bytemuck::cast_slice(&deep), image::ColorType::Rgba16);
    assert_eq!(read_picture(&path).expect("16 bits").at_depth(Depth::Eight).rgb, [0, 0, 0, 200, 100, 0]);
}

#[test]
fn pictures_that_are_cut_off_are_refused() {
    let folder = folder();
    let [width, height] = [256, 256];
    let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let rgb = image::RgbImage::from_raw(width, height, (0..3 * width * height).map(noise).collect()).expect("pixels");
    for name in ["p.jpg", "p.png", "p.webp", "p.bmp", "p.gif", "p.tiff"] {
        let path = at(&folder, name);
        rgb.save(&path).expect("encoded");
        assert!(read_picture(&path).is_ok(), "{name}");
        let whole = std::fs::read(&path).expect("bytes");
        for kept in [0.1, 0.5, 0.8, 0.97] {
            std::fs::write(&path, &whole[..(whole.len() as f64 * kept) as usize]).expect("written");
            refused(read_picture(&path), 3, &[name, "a whole picture"]);
        }
    }
    // A progressive JPEG with a preview that is whole: the marker of an end that counts is the last one.
    let path = at(&folder, "p.jpg");
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
    encoder.set_exif_metadata([&exif(1)[..], &[0xff, 0xd8, 0xff, 0xd9]].concat()).expect("EXIF");
    encoder.write_image(&rgb, width, height, ExtendedColorType::Rgb8).expect("encoded");
    std::fs::write(&path, &bytes).expect("written");
    assert!(read_picture(&path).is_ok());
    std::fs::write(&path, &bytes[..bytes.len() * 4 / 5]).expect("written");
    refused(read_picture(&path), 3, &["p.jpg", "cut off"]);
}

#[test]
fn colours_of_print_are_those_of_the_screen() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cmyk.jpg");
    assert_eq!(corners(&path), ([32, 32], [0, 1, 2, 3]));
}

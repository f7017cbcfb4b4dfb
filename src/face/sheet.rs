//! A contact sheet for people: for each entry the picture and a close-up of its crop, with the crop's outline, the landmarks
//! and the mask.

use image::{Rgb, RgbImage};

use super::font;
use super::landmarks::Face;
use crate::media::Frame;
use crate::ops::{Affine, Depth};
use crate::{Problem, Result};

/// Height of pictures and close-ups, and the most that a picture is wide.
const VIEW_HEIGHT: u32 = 360;
const MOST_WIDTH: u32 = 640;
/// Above each cell's pictures, for the label.
const STRIP: u32 = font::HEIGHT + 10;
const GAP: u32 = 6;
/// Of the sheet, where more than one cell fits.
const SHEET_WIDTH: u32 = 2560;
/// What a close-up shows around the crop, over the crop's side.
const AROUND: f64 = 0.04;
/// Subpixels along each axis of a pixel, at most.
const MOST_SAMPLES: u32 = 8;
/// Pixels from a landmark to the rim of its dot.
const DOT: f64 = 1.7;

pub(super) const LABEL: Rgb<u8> = Rgb([235, 235, 235]);
const OUTLINE: Rgb<u8> = Rgb([255, 210, 0]);
const POINT: Rgb<u8> = Rgb([0, 255, 120]);
pub(super) const MASKED: Rgb<u8> = Rgb([255, 40, 60]);
/// How much of the mask's colour lies on the picture.
pub(super) const TINT: f64 = 0.35;

/// A frame, and what was found in it.
pub struct Entry<'a> {
    pub frame: &'a Frame,
    /// From the crop's pixels to the frame's.
    pub crop: Affine,
    /// The crop's, in its pixels.
    pub side: usize,
    /// In the frame's pixels; points that are not finite are left out.
    pub face: &'a Face,
    /// 1 where the crop is generated, `[side, side]`.
    pub mask: &'a [f32],
    /// Digits, letters and few signs have letters, which are capitals.
    pub label: &'a str,
}

/// A part of a frame as it is drawn.
struct View {
    width: u32,
    height: u32,
    /// From the view's pixels to the frame's.
    map: Affine,
}

/// One picture of 8 bits, a cell for each entry, in order. Errors: no entry, a frame or a mask of another size than it says, a crop
/// with no area.
pub fn sheet(entries: &[Entry<'_>]) -> Result<Frame> {
    let views = entries.iter().map(views).collect::<Result<Vec<_>>>()?;
    let Some(width) = views.iter().map(|[whole, close]| whole.width + GAP + close.width).max() else {
        return Err(Problem::new("contact sheet", "an entry or more", "none").input());
    };
    let columns = (SHEET_WIDTH / (width + GAP)).clamp(1, entries.len() as u32);
    let rows = (entries.len() as u32).div_ceil(columns);
    let mut sheet = RgbImage::new(columns * (width + GAP) + GAP, rows * (STRIP + VIEW_HEIGHT + GAP));
    for (cell, (entry, [whole, close])) in (0..).zip(entries.iter().zip(&views)) {
        let left = GAP + cell % columns * (width + GAP);
        let top = cell / columns * (STRIP + VIEW_HEIGHT + GAP);
        font::write(&mut sheet, [left, top + (STRIP - font::HEIGHT) / 2], width, entry.label, LABEL);
        draw(&mut sheet, [left, top + STRIP], whole, entry)?;
        draw(&mut sheet, [left + whole.width + GAP, top + STRIP], close, entry)?;
    }
    Ok(Frame::rgb8(sheet.width(), sheet.height(), sheet.into_raw()))
}

/// The whole frame, and the crop.
fn views(entry: &Entry<'_>) -> Result<[View; 2]> {
    let frame = entry.frame;
    let size = [frame.width, frame.height].map(f64::from);
    let bytes = frame.width as usize * frame.height as usize * 3 * frame.depth.bytes();
    if bytes == 0 || frame.rgb.len() != bytes || entry.side == 0 || entry.mask.len() != entry.side * entry.side {
        let expected = format!("{bytes} bytes of pixels, a mask of {0}x{0}", entry.side);
        let found = format!("{} bytes, {} values", frame.rgb.len(), entry.mask.len());
        return Err(Problem::new(format!("contact sheet, {}", entry.label), expected, found).input());
    }
    let scale = (size[1] / f64::from(VIEW_HEIGHT)).max(size[0] / f64::from(MOST_WIDTH));
    let [width, height] = size.map(|v| (v / scale).round().max(1.0));
    let whole =
        View { width: width as u32, height: height as u32, map: Affine::scaling(size[0] / width, size[1] / height) };
    let side = entry.side as f64;
    let step = side * (1.0 + 2.0 * AROUND) / f64::from(VIEW_HEIGHT);
    let onto_crop = Affine::scaling(step, step).then(&Affine::translation(-AROUND * side, -AROUND * side));
    let close = View { width: VIEW_HEIGHT, height: VIEW_HEIGHT, map: onto_crop.then(&entry.crop) };
    Ok([whole, close])
}

fn draw(sheet: &mut RgbImage, [left, top]: [u32; 2], view: &View, entry: &Entry<'_>) -> Result<()> {
    let inverse = |map: &Affine| {
        let found = format!("{map:?}");
        map.inverse().ok_or_else(|| Problem::new("contact sheet", "a crop with an area", found).input())
    };
    let onto_crop = view.map.then(&inverse(&entry.crop)?);
    let (side, pixel) = (entry.side as f64, onto_crop.scales()[0]);
    for y in 0..view.height {
        for x in 0..view.width {
            let centre = [f64::from(x) + 0.5, f64::from(y) + 0.5];
            let mut colour = shown(entry.frame, &view.map, centre, 1);
            let [u, v] = onto_crop.at(centre);
            if (0.0..side).contains(&u) && (0.0..side).contains(&v) {
                let mask = entry.mask[v as usize * entry.side + u as usize];
                colour = mixed(colour, MASKED, TINT * f64::from(mask));
            }
            let beyond = (u - side / 2.0).abs().max((v - side / 2.0).abs()) - side / 2.0;
            if beyond.abs() < pixel {
                colour = OUTLINE;
            }
            sheet.put_pixel(left + x, top + y, colour);
        }
    }
    let from_frame = inverse(&view.map)?;
    for point in entry.face {
        let [x, y] = from_frame.at(point.map(f64::from));
        // Not for what is not finite, either.
        if !(x >= 0.0 && y >= 0.0 && x < f64::from(view.width) && y < f64::from(view.height)) {
            continue;
        }
        let near = |at: f64, end: u32| (at - DOT).max(0.0) as u32..((at + DOT).ceil() as u32).min(end);
        for row in near(y, view.height) {
            for column in near(x, view.width) {
                if (f64::from(column) + 0.5 - x).hypot(f64::from(row) + 0.5 - y) < DOT {
                    sheet.put_pixel(left + column, top + row, POINT);
                }
            }
        }
    }
    Ok(())
}

/// The frame's mean over a pixel of a view, of `fewest` samples along each axis or more; black beyond the frame.
pub(super) fn shown(frame: &Frame, map: &Affine, centre: [f64; 2], fewest: u32) -> Rgb<u8> {
    let scales = map.scales();
    let samples = (scales[0].max(scales[1]).ceil() as u32).clamp(fewest, MOST_SAMPLES);
    let part = |i: u32| (f64::from(i) + 0.5) / f64::from(samples) - 0.5;
    let mut sum = [0; 3];
    for (i, j) in (0..samples).flat_map(|i| (0..samples).map(move |j| (i, j))) {
        let [x, y] = map.at([centre[0] + part(j), centre[1] + part(i)]);
        if x >= 0.0 && y >= 0.0 && x < f64::from(frame.width) && y < f64::from(frame.height) {
            let pixel = y as usize * frame.width as usize + x as usize;
            for (colour, sum) in sum.iter_mut().enumerate() {
                *sum += level(frame, 3 * pixel + colour);
            }
        }
    }
    Rgb(sum.map(|v| (v / (samples * samples)) as u8))
}

/// A colour value in levels of 8 bits.
fn level(frame: &Frame, value: usize) -> u32 {
    u32::from(match frame.depth {
        Depth::Eight => frame.rgb[value],
        Depth::Sixteen => frame.rgb[2 * value + 1],
    })
}

pub(super) fn mixed(from: Rgb<u8>, to: Rgb<u8>, share: f64) -> Rgb<u8> {
    let mix = |i: usize| f64::from(from.0[i]) + share * (f64::from(to.0[i]) - f64::from(from.0[i]));
    Rgb([0, 1, 2].map(|i| mix(i).round() as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::landmarks::POINTS;

    /// A grey frame of 200 by 120, a crop of 60 pixels at (50, 20) shown in 30, the lower half of it masked.
    fn example<'a>(frame: &'a Frame, face: &'a Face, mask: &'a [f32]) -> Entry<'a> {
        let crop = Affine::scaling(2.0, 2.0).then(&Affine::translation(50.0, 20.0));
        Entry { frame, crop, side: 30, face, mask, label: "1: 0.5 s" }
    }

    #[test]
    fn crop_points_and_mask_are_where_they_belong() {
        let mask: Vec<f32> = (0..900).map(|i| f32::from(u8::from(i >= 450))).collect();
        let mut face = [[f32::NAN; 2]; POINTS];
        face[0] = [80.0, 40.0];
        for depth in [Depth::Eight, Depth::Sixteen] {
            let frame = Frame::rgb8(200, 120, vec![100; 200 * 120 * 3]).at_depth(depth);
            let entry = example(&frame, &face, &mask);
            let sheet = sheet(&[entry]).unwrap();
            let picture = RgbImage::from_raw(sheet.width, sheet.height, sheet.rgb).unwrap();
            // The frame is shown three times as large.
            let at = |x: u32, y: u32| *picture.get_pixel(GAP + 3 * x, STRIP + 3 * y);
            let grey = Rgb([100; 3]);
            assert_eq!((at(10, 10), at(150, 100)), (grey, grey));
            assert_eq!((at(60, 30), at(60, 70)), (grey, mixed(grey, MASKED, TINT)), "the mask");
            assert_eq!((at(50, 40), at(110, 40), at(80, 20), at(80, 80)), (OUTLINE, OUTLINE, OUTLINE, OUTLINE));
            assert_eq!((at(80, 40), at(82, 40)), (POINT, grey));
            // The crop's middle and its lower part, in the close-up.
            let close = |x: f64, y: f64| {
                let place = |v: f64| ((v + AROUND) / (1.0 + 2.0 * AROUND) * 360.0) as u32;
                *picture.get_pixel(GAP + 600 + GAP + place(x), STRIP + place(y))
            };
            assert_eq!((close(0.5, 1.0 / 3.0), close(0.3, 0.3)), (POINT, grey));
            assert_eq!(close(0.7, 0.8), mixed(grey, MASKED, TINT));
            // Something of the label.
            assert!((0..100).any(|x| *picture.get_pixel(GAP + x, STRIP / 2) == LABEL));
        }
    }

    #[test]
    fn cells_stand_in_rows() {
        let (face, mask) = ([[0.0; 2]; POINTS], vec![0.0; 900]);
        let frame = Frame::rgb8(200, 120, vec![100; 200 * 120 * 3]);
        let upright = Frame::rgb8(90, 160, vec![100; 90 * 160 * 3]);
        let entries = [&upright; 5].map(|frame| example(frame, &face, &mask));
        let four = sheet(&entries).unwrap();
        assert_eq!([four.width, four.height], [4 * (203 + GAP + 360 + GAP) + GAP, 2 * (STRIP + 360 + GAP)]);
        assert_eq!(four.rgb.len() as u32, four.width * four.height * 3);

        assert!(sheet(&[]).is_err());
        assert!(sheet(&[Entry { mask: &mask[1..], ..example(&frame, &face, &mask) }]).is_err());
        let line = Affine::scaling(1.0, 0.0);
        assert!(sheet(&[Entry { crop: line, ..example(&frame, &face, &mask) }]).is_err());
    }
}

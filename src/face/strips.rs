//! A contact sheet of a finished job for people: strips of frames one behind the other, what went in above what came out, over the
//! sound that they show and the phones in it.

use image::{Rgb, RgbImage};

use super::font;
use super::sheet::{LABEL, MASKED, TINT, mixed, shown};
use crate::media::Frame;
use crate::media::labels::Label;
use crate::ops::Affine;
use crate::{Problem, Result};

/// Pixels of a side of a picture.
pub const CELL: u32 = 160;
/// From one picture to the next.
const STRIDE: u32 = CELL + 2;
/// Left of a strip, for the names of its rows.
const GUTTER: u32 = 64;
/// Around a strip.
const GAP: u32 = 12;
const CAPTION: u32 = font::HEIGHT + 8;
const WAVE: u32 = 56;
/// Between pictures, sound and phones.
const SPACE: u32 = 4;
/// Strips beside each other, where there are enough.
const ACROSS: u32 = 2;
/// Subpixels along each axis of a pixel, at least: crops are often shown larger than they are.
const FEWEST_SAMPLES: u32 = 4;

const PAPER: Rgb<u8> = Rgb([16, 16, 18]);
const PANEL: Rgb<u8> = Rgb([34, 34, 38]);
const SOUND: Rgb<u8> = Rgb([110, 190, 255]);
const BORDER: Rgb<u8> = Rgb([120, 120, 126]);

/// What a strip keeps of a frame: a square of it, [`CELL`] pixels a side.
#[derive(Clone)]
pub struct Square(RgbImage);

impl Square {
    /// What `crop` maps the pixels of a square of `side` to.
    pub fn of(frame: &Frame, crop: &Affine, side: usize) -> Self {
        let step = side as f64 / f64::from(CELL);
        let map = Affine::scaling(step, step).then(crop);
        let centre = |x: u32, y: u32| [f64::from(x) + 0.5, f64::from(y) + 0.5];
        Self(RgbImage::from_fn(CELL, CELL, |x, y| shown(frame, &map, centre(x, y), FEWEST_SAMPLES)))
    }

    /// The same with colour where `mask` `[side, side]`, of the whole square, is 1.
    pub fn masked(&self, mask: &[f32], side: usize) -> Self {
        let at = |v: u32| v as usize * side / CELL as usize;
        let tinted = |x: u32, y: u32| {
            let share = mask.get(at(y) * side + at(x)).copied().unwrap_or(0.0);
            mixed(*self.0.get_pixel(x, y), MASKED, TINT * f64::from(share))
        };
        Self(RgbImage::from_fn(CELL, CELL, tinted))
    }
}

/// Frames one behind the other.
pub struct Strip {
    /// A name and a picture of each frame, from above.
    pub rows: Vec<(&'static str, Vec<Square>)>,
    /// When each frame is shown, in seconds, and its number.
    pub frames: Vec<(f64, u64)>,
    /// Seconds that a frame stands for.
    pub frame_s: f64,
    /// Lowest and highest value of the sound in equal parts of the strip's time, in [-1, 1].
    pub wave: Vec<[f32; 2]>,
    /// At the video's times.
    pub phones: Vec<Label>,
}

/// Parts that a strip of `frames` frames takes its sound in: one for each column of pixels.
pub fn wave_parts(frames: usize) -> usize {
    STRIDE as usize * frames
}

/// One picture of all strips, in order, two beside each other. Errors: no strip, or one with rows of another length than it has
/// frames.
pub fn strips(strips: &[Strip]) -> Result<Frame> {
    for strip in strips {
        let frames = strip.frames.len();
        if let Some((name, row)) = strip.rows.iter().find(|(_, row)| row.len() != frames) {
            let expected = format!("{frames} pictures");
            return Err(Problem::new(format!("contact sheet, {name}"), expected, row.len().to_string()).input());
        }
    }
    let size = |strip: &Strip| {
        let height = CAPTION + strip.rows.len() as u32 * STRIDE + 2 * SPACE + WAVE + CAPTION;
        [GUTTER + strip.frames.len() as u32 * STRIDE, height]
    };
    let largest = |axis: usize| strips.iter().map(|strip| size(strip)[axis]).max();
    let (Some(width), Some(height)) = (largest(0), largest(1)) else {
        return Err(Problem::new("contact sheet", "a frame or more", "none").input());
    };
    let across = ACROSS.min(strips.len() as u32);
    let down = (strips.len() as u32).div_ceil(across);
    let mut sheet = RgbImage::from_pixel(across * (width + GAP) + GAP, down * (height + GAP) + GAP, PAPER);
    for (index, strip) in (0..).zip(strips) {
        // Time runs down a column.
        let place = [GAP + index / down * (width + GAP), GAP + index % down * (height + GAP)];
        draw(&mut sheet, place, strip);
    }
    Ok(Frame::rgb8(sheet.width(), sheet.height(), sheet.into_raw()))
}

fn draw(sheet: &mut RgbImage, [left, top]: [u32; 2], strip: &Strip) {
    let (names, left) = (left, left + GUTTER);
    let mut top = top;
    for (column, (time_s, number)) in (0..).zip(&strip.frames) {
        font::write(sheet, [left + column * STRIDE, top], CELL, &format!("{time_s:.2} S F{number}"), LABEL);
    }
    top += CAPTION;
    let name = |sheet: &mut RgbImage, middle: u32, name: &str| {
        font::write(sheet, [names, middle - font::HEIGHT / 2], GUTTER - SPACE, name, LABEL);
    };
    for (text, row) in &strip.rows {
        name(sheet, top + CELL / 2, text);
        for (column, square) in (0..).zip(row) {
            image::imageops::replace(sheet, &square.0, i64::from(left + column * STRIDE), i64::from(top));
        }
        top += STRIDE;
    }
    top += SPACE;
    let width = strip.frames.len() as u32 * STRIDE;
    name(sheet, top + WAVE / 2, "SOUND");
    fill(sheet, [left, top], [width, WAVE], PANEL);
    let row = |value: f32| top + ((1.0 - value.clamp(-1.0, 1.0)) / 2.0 * (WAVE - 1) as f32).round() as u32;
    for (column, [low, high]) in (0..width).zip(&strip.wave) {
        let (from, to) = (row(*high), row(*low));
        fill(sheet, [left + column, from], [1, to - from + 1], SOUND);
    }
    top += WAVE + SPACE;
    if strip.phones.is_empty() {
        return;
    }
    name(sheet, top + CAPTION / 2, "PHONE");
    fill(sheet, [left, top], [width, CAPTION], PANEL);
    let from_s = strip.frames.first().map_or(0.0, |(time_s, _)| *time_s);
    let at =
        |time_s: f64| (((time_s - from_s) / strip.frame_s) * f64::from(STRIDE)).clamp(0.0, f64::from(width)) as u32;
    for Label { start_s, end_s, text } in &strip.phones {
        let (from, to) = (at(*start_s), at(*end_s));
        if from >= to {
            continue;
        }
        for border in [from, to.min(width - 1)] {
            fill(sheet, [left + border, top], [1, CAPTION], BORDER);
        }
        let room = (to - from).saturating_sub(SPACE);
        let aside = room.saturating_sub(font::width(text)) / 2 + SPACE / 2;
        font::write(sheet, [left + from + aside, top + (CAPTION - font::HEIGHT) / 2], room, text, LABEL);
    }
}

fn fill(sheet: &mut RgbImage, [left, top]: [u32; 2], [width, height]: [u32; 2], colour: Rgb<u8>) {
    for y in top..top + height {
        for x in left..left + width {
            sheet.put_pixel(x, y, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(frames: usize) -> Strip {
        let picture =
            Frame::rgb8(40, 40, (0..40 * 40).flat_map(|i| if i % 40 < 20 { [200; 3] } else { [40; 3] }).collect());
        let square = Square::of(&picture, &Affine::scaling(2.0, 2.0), 20);
        let mask: Vec<f32> = (0..400).map(|i| f32::from(u8::from(i >= 200))).collect();
        let masked = square.masked(&mask, 20);
        Strip {
            rows: vec![("IN", vec![square; frames]), ("MASK", vec![masked; frames])],
            frames: (0..frames).map(|frame| (1.0 + frame as f64 / 25.0, 25 + frame as u64)).collect(),
            frame_s: 0.04,
            wave: (0..wave_parts(frames)).map(|part| if part < 10 { [-1.0, 1.0] } else { [0.0, 0.0] }).collect(),
            phones: vec![Label { start_s: 0.9, end_s: 1.02, text: "ə".to_string() }],
        }
    }

    #[test]
    fn pictures_masks_sound_and_phones_are_where_they_belong() {
        let sheet = strips(&[example(3)]).unwrap();
        let picture = RgbImage::from_raw(sheet.width, sheet.height, sheet.rgb).unwrap();
        let (left, top) = (GAP + GUTTER, GAP + CAPTION);
        let at = |x: u32, y: u32| *picture.get_pixel(left + x, top + y);
        // The second frame's left and right half, and the lower part under the mask.
        assert_eq!((at(STRIDE + 10, 10), at(STRIDE + 150, 10)), (Rgb([200; 3]), Rgb([40; 3])));
        assert_eq!(at(10, STRIDE + 10), Rgb([200; 3]));
        assert_eq!(at(10, STRIDE + 150), mixed(Rgb([200; 3]), MASKED, TINT));
        // Full scale for ten columns of pixels, then a line in the middle.
        let wave = 2 * STRIDE + SPACE;
        assert_eq!((at(5, wave), at(5, wave + WAVE - 1)), (SOUND, SOUND));
        assert_eq!((at(20, wave), at(20, wave + WAVE / 2)), (PANEL, SOUND));
        // The phone ends in the middle of the first frame.
        let phones = wave + WAVE + SPACE;
        assert_eq!((at(0, phones), at(STRIDE / 2, phones), at(STRIDE / 2 + 9, phones)), (BORDER, BORDER, PANEL));
        assert!((0..STRIDE / 2).any(|x| at(x, phones + CAPTION / 2) == LABEL));
    }

    #[test]
    fn time_runs_down_each_column() {
        let five = strips(&[example(2), example(3), example(3), example(3), example(3)]).unwrap();
        let strip = [GUTTER + 3 * STRIDE + GAP, CAPTION + 2 * STRIDE + 2 * SPACE + WAVE + CAPTION + GAP];
        assert_eq!([five.width, five.height], [2 * strip[0] + GAP, 3 * strip[1] + GAP]);
        assert!(strips(&[]).is_err());
        let mut broken = example(2);
        broken.rows[0].1.pop();
        assert!(strips(&[broken]).is_err());
    }
}

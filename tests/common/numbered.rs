//! Pictures that say their number, so that a test sees which frame of a video it has before it.

use viseme::media::Frame;

const BITS: u32 = 8;

/// A picture that says its number: the upper half holds 8 columns, white for a set bit, lowest first; the lower half is
/// four patches of colour that are the same in every frame.
pub fn numbered(number: u64, [width, height]: [u32; 2]) -> Frame {
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            rgb.extend(match 2 * y < height {
                true => [if number >> (x * BITS / width) & 1 == 1 { 235 } else { 20 }; 3],
                false => PATCHES[(x * 4 / width) as usize],
            });
        }
    }
    Frame::rgb8(width, height, rgb)
}

pub const PATCHES: [[u8; 3]; 4] = [[200, 60, 40], [50, 180, 70], [60, 80, 210], [128, 128, 128]];

fn pixel(frame: &Frame, x: u32, y: u32) -> [u8; 3] {
    let at = 3 * (y * frame.width + x) as usize;
    [frame.rgb[at], frame.rgb[at + 1], frame.rgb[at + 2]]
}

/// The number that a [`numbered`] picture says, after any encoder.
pub fn number_of(frame: &Frame) -> u64 {
    let bit = |i: u32| u64::from(pixel(frame, (2 * i + 1) * frame.width / (2 * BITS), frame.height / 4)[1] > 128) << i;
    (0..BITS).map(bit).sum()
}

/// The largest difference, in levels, between the middles of the patches and what they were.
#[allow(dead_code)]
pub fn patch_error(frame: &Frame) -> u8 {
    let differences = (0..4u32).flat_map(|i| {
        let got = pixel(frame, (2 * i + 1) * frame.width / 8, frame.height * 3 / 4);
        (0..3).map(move |c| got[c].abs_diff(PATCHES[i as usize][c]))
    });
    differences.max().unwrap_or(255)
}

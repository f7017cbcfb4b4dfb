//! Where one shot ends and the next begins: a cut is a frame that nothing within the one before explains.
//!
//! Both frames are reduced to cells of brightness. Each block of the new one is looked for near its place in the old one, as in
//! Shahraray 1995 ("Scene change detection and content-based sampling of video sequences"), and held against the likest by the
//! contrast and structure of SSIM (Wang et al. 2004, eq. 13 without its luminance). What that leaves may still be another light or
//! the camera's movement. The mean difference over blocks counts by a threshold, and must stand out from the frames before as in
//! PySceneDetect's AdaptiveDetector. Measured: a cut from a picture to 1.3 times the same picture 0.24, to a closer or another one
//! 0.3 to 0.7; people talking and moving 0.1 at most, 0.18 at 6 frames a second; a flash 0.21; dissolves 0.08.

use std::collections::VecDeque;

use crate::media::Frame;

/// Cells along the longer side of a reduced frame, and along each side of a block.
const LONGER: usize = 64;
const BLOCK: usize = 8;
/// Pixels looked at in a cell, along each side.
const SAMPLES: usize = 4;
/// How far a block is looked for, in cells, from where it was or where the camera has moved it.
const REACH: usize = 4;
/// Every which cell the camera's movement is found on.
const COARSE: usize = 2;
/// Mean difference of colour, in parts of full scale, that no movement of the camera makes.
const RECOLOURED: f32 = 0.03;
/// Variance of a block, as a part of its frame's, below which it has nothing to be known by.
const FLAT: f32 = 0.02;
/// A frame whose brightness varies by less, in parts of full scale, shows nothing: black, white, or nearly so.
const BLANK: f32 = 0.02;
/// Of so few textured blocks the mean is taken over more, so that one of them decides nothing.
const FEWEST: f32 = 0.15;
/// Differences before this frame that it has to stand out from, and by how much.
const BEFORE: usize = 4;
const STANDS_OUT: f32 = 2.0;

/// Finds the frames that begin a shot, from the frames in their order.
#[derive(Debug, Clone)]
pub struct CutFinder {
    threshold: f32,
    /// The last frame that showed something.
    shown: Option<Reduced>,
    /// Of the last frames, the newest last.
    changes: VecDeque<f32>,
}

impl CutFinder {
    /// Difference, from 0 (the same) to 1 (nothing alike), from which a frame begins a shot.
    pub const THRESHOLD: f32 = 0.22;

    /// `threshold` as [`CutFinder::THRESHOLD`] is meant; above 1 there are no cuts.
    pub fn new(threshold: f32) -> Self {
        Self { threshold, shown: None, changes: VecDeque::new() }
    }

    /// Whether a new shot begins with `frame`, the first one excepted: it has none before it. Black and white frames between two
    /// shots belong to the former.
    pub fn next(&mut self, frame: &Frame) -> bool {
        let now = Reduced::of(frame);
        if now.is_blank {
            return false;
        }
        let change = self.shown.as_ref().map(|before| now.change_since(before, self.threshold));
        self.shown = Some(now);
        let Some(change) = change else { return false };
        let usual = self.changes.iter().sum::<f32>() / self.changes.len().max(1) as f32;
        // A cut is among them, so that a frame or two of something else give no burst.
        if self.changes.len() == BEFORE {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
        change >= self.threshold && change >= STANDS_OUT * usual
    }
}

/// A frame in `rows` rows of `columns` cells.
#[derive(Debug, Clone)]
struct Reduced {
    columns: usize,
    rows: usize,
    /// Brightness, mean 0 and variance 1.
    cells: Vec<f32>,
    /// Red and blue above green, in parts of full scale.
    colours: Vec<[f32; 2]>,
    is_blank: bool,
}

impl Reduced {
    /// Every cell from [`SAMPLES`]² of its pixels.
    fn of(frame: &Frame) -> Self {
        let [width, height] = [frame.width, frame.height].map(|v| v as usize);
        let cells_of = |side: usize| {
            let blocks = (LONGER * side) as f64 / (BLOCK * width.max(height).max(1)) as f64;
            (blocks.round() as usize).max(1) * BLOCK
        };
        let (columns, rows) = (cells_of(width), cells_of(height));
        // The pixels that are looked at lie evenly in each cell.
        let places = |cells: usize, pixels: usize| -> Vec<usize> {
            (0..cells * SAMPLES).map(|i| (2 * i + 1) * pixels / (2 * cells * SAMPLES)).collect()
        };
        let (xs, ys) = (places(columns, width), places(rows, height));
        let (mut cells, mut colours) = (vec![0.0; columns * rows], vec![[0.0; 2]; columns * rows]);
        let bytes = frame.depth.bytes();
        // Of 16 bits the higher byte does.
        let value = bytes - 1;
        let unit = 1.0 / (255 * SAMPLES * SAMPLES) as f32;
        for (i, y) in ys.iter().enumerate() {
            let line = &frame.rgb[y * width * 3 * bytes..];
            let row = i / SAMPLES * columns..(i / SAMPLES + 1) * columns;
            for ((cell, colour), xs) in
                cells[row.clone()].iter_mut().zip(&mut colours[row]).zip(xs.chunks_exact(SAMPLES))
            {
                for x in xs {
                    let [r, g, b] = [0, 1, 2].map(|c| unit * f32::from(line[(3 * x + c) * bytes + value]));
                    *cell += (2.0 * r + 5.0 * g + b) / 8.0;
                    colour[0] += r - g;
                    colour[1] += b - g;
                }
            }
        }
        let count = cells.len() as f32;
        let mean = cells.iter().sum::<f32>() / count;
        let deviation = (cells.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / count).sqrt();
        let scale = 1.0 / deviation.max(BLANK);
        for cell in &mut cells {
            *cell = (*cell - mean) * scale;
        }
        Self { columns, rows, cells, colours, is_blank: deviation < BLANK }
    }

    /// How much of this frame no part of `before` near it explains, from 0 to 1; 1 where their sizes differ. Tried in turn, until less
    /// than `enough` is left: motion within the picture; motion in another light, where either may be as bright as the other, since
    /// light can turn up what it has made white and cannot turn it down; the camera's movement, in the same colours.
    fn change_since(&self, before: &Self, enough: f32) -> f32 {
        if (self.columns, self.rows) != (before.columns, before.rows) {
            return 1.0;
        }
        let explanations: [&dyn Fn() -> f32; 4] = [
            &|| self.unexplained(before, [0, 0]),
            &|| self.unexplained(&before.lit_as(self), [0, 0]),
            &|| self.lit_as(before).unexplained(before, [0, 0]),
            &|| self.moved_from(before).map_or(1.0, |shift| self.unexplained(before, shift)),
        ];
        let mut least = 1.0f32;
        for explanation in explanations {
            least = least.min(explanation());
            if least < enough {
                break;
            }
        }
        least
    }

    /// How far off a place of this frame is in `before`, in cells, when the camera has moved: at least half of the width and of the
    /// height stays in sight. None where even the likest shift changes the colours.
    fn moved_from(&self, before: &Self) -> Option<[isize; 2]> {
        let (columns, rows) = ((self.columns / COARSE) as isize, (self.rows / COARSE) as isize);
        let cell = |x: isize, y: isize| COARSE * (y as usize * self.columns + x as usize);
        let places = |[dx, dy]: [isize; 2]| {
            let (xs, ys) = ((-dx).max(0)..(columns - dx).min(columns), (-dy).max(0)..(rows - dy).min(rows));
            ys.flat_map(move |y| xs.clone().map(move |x| (cell(x, y), cell(x + dx, y + dy))))
        };
        let unlike = |shift: [isize; 2]| {
            let (mut differences, mut energy) = (0.0, f32::MIN_POSITIVE);
            for (new, old) in places(shift).map(|(new, old)| (self.cells[new], before.cells[old])) {
                differences += (new - old) * (new - old);
                energy += new * new + old * old;
            }
            // As a part of what there is, or else two plain corners would be the likest.
            differences / energy
        };
        let shifts = (-rows / 2..=rows / 2).flat_map(|dy| (-columns / 2..=columns / 2).map(move |dx| [dx, dy]));
        let (_, likest) = shifts.map(|shift| (unlike(shift), shift)).min_by(|a, b| a.0.total_cmp(&b.0))?;
        let (mut recoloured, mut count) = (0.0, 0.0);
        for (new, old) in places(likest).map(|(new, old)| (self.colours[new], before.colours[old])) {
            recoloured += (new[0] - old[0]).abs().max((new[1] - old[1]).abs());
            count += 1.0;
        }
        (recoloured <= RECOLOURED * count).then(|| likest.map(|v| v * COARSE as isize))
    }

    /// This frame with the other one's brightness: its cells take that one's values in their order (histogram specification).
    fn lit_as(&self, other: &Self) -> Self {
        let mut order: Vec<usize> = (0..self.cells.len()).collect();
        order.sort_by(|&a, &b| self.cells[a].total_cmp(&self.cells[b]));
        let mut values = other.cells.clone();
        values.sort_by(f32::total_cmp);
        let mut cells = vec![0.0; values.len()];
        let mut from = 0;
        // Cells that are alike stay so.
        for alike in order.chunk_by(|&a, &b| self.cells[a] == self.cells[b]) {
            let values = &values[from..from + alike.len()];
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            alike.iter().for_each(|&cell| cells[cell] = mean);
            from += alike.len();
        }
        Self { cells, ..self.clone() }
    }

    /// The mean over blocks of what of them `before` has nowhere near their place there, `shift` cells off; those with more texture
    /// count more, those from outside of it not at all.
    fn unexplained(&self, before: &Self, shift: [isize; 2]) -> f32 {
        let (new, old) = (Moments::of(self), Moments::of(before));
        let (mut changed, mut textured) = (0.0, 0.0);
        for y in (0..self.rows).step_by(BLOCK) {
            for x in (0..self.columns).step_by(BLOCK) {
                let Some(place) = before.place([x, y], shift) else { continue };
                let (at, was) = (new.at([x, y]), old.at(place));
                let variance = at.variance.max(was.variance);
                let weight = variance / (variance + FLAT);
                changed += weight * self.best_match([x, y], at, place, before, &old);
                textured += weight;
            }
        }
        let blocks = (self.columns / BLOCK * (self.rows / BLOCK)) as f32;
        changed / textured.max(FEWEST * blocks)
    }

    /// Where the block at `[x, y]` is when it is moved by `shift`, brought inside if it sticks out by [`REACH`] at most; None for more.
    fn place(&self, [x, y]: [usize; 2], shift: [isize; 2]) -> Option<[usize; 2]> {
        let along = |from: usize, by: isize, cells: usize| {
            let (to, last) = (from as isize + by, cells as isize - BLOCK as isize);
            let inside = to.clamp(0, last);
            (to.abs_diff(inside) <= REACH).then_some(inside as usize)
        };
        Some([along(x, shift[0], self.columns)?, along(y, shift[1], self.rows)?])
    }

    /// 1 minus the structure term of SSIM between the block at `[x, y]` and the likest one of `before` within [`REACH`] of `place`.
    fn best_match(
        &self,
        [x, y]: [usize; 2],
        block: Moment,
        place: [usize; 2],
        before: &Self,
        moments: &Moments,
    ) -> f32 {
        let around = |at: usize, cells: usize| at.saturating_sub(REACH)..=(at + REACH).min(cells - BLOCK);
        let mut least = 1.0f32;
        for py in around(place[1], self.rows) {
            for px in around(place[0], self.columns) {
                let place = moments.at([px, py]);
                let mut product = 0.0;
                for line in 0..BLOCK {
                    let a = &self.cells[(y + line) * self.columns + x..][..BLOCK];
                    let b = &before.cells[(py + line) * self.columns + px..][..BLOCK];
                    product += a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                }
                let covariance = product / (BLOCK * BLOCK) as f32 - block.mean * place.mean;
                let alike = (2.0 * covariance + FLAT) / (block.variance + place.variance + FLAT);
                least = least.min(1.0 - alike);
            }
        }
        least.max(0.0)
    }
}

#[derive(Clone, Copy)]
struct Moment {
    mean: f32,
    variance: f32,
}

/// Mean and variance of the block that begins at each cell.
struct Moments {
    columns: usize,
    of: Vec<Moment>,
}

impl Moments {
    fn of(frame: &Reduced) -> Self {
        let (columns, rows) = (frame.columns + 1 - BLOCK, frame.rows + 1 - BLOCK);
        let moment = |i: usize| {
            let (x, y) = (i % columns, i / columns);
            let (mut sum, mut squares) = (0.0, 0.0);
            for line in 0..BLOCK {
                for v in &frame.cells[(y + line) * frame.columns + x..][..BLOCK] {
                    sum += v;
                    squares += v * v;
                }
            }
            let count = (BLOCK * BLOCK) as f32;
            let mean = sum / count;
            Moment { mean, variance: (squares / count - mean * mean).max(0.0) }
        };
        Self { columns, of: (0..columns * rows).map(moment).collect() }
    }

    fn at(&self, [x, y]: [usize; 2]) -> Moment {
        self.of[y * self.columns + x]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Depth;

    const SIZE: [u32; 2] = [320, 180];

    /// Brightness from 0 to 1 at a place of an endless picture: noise on two lattices, one four times the other's.
    fn scene(seed: u32, x: f64, y: f64) -> f64 {
        let corner = |x: f64, y: f64, seed: u32| {
            let mixed =
                (x as i32 as u32).wrapping_mul(0x9e37_79b1) ^ (y as i32 as u32).wrapping_mul(0x85eb_ca77) ^ seed;
            let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x2c1b_3c6d);
            f64::from((mixed ^ mixed >> 12).wrapping_mul(0x297a_2d39) >> 16) / 65_535.0
        };
        let noise = |cell: f64, seed: u32| {
            let (x, y) = (x / cell, y / cell);
            let (left, top) = (x.floor(), y.floor());
            let (u, v) = (x - left, y - top);
            let row = |y: f64| corner(left, y, seed) * (1.0 - u) + corner(left + 1.0, y, seed) * u;
            row(top) * (1.0 - v) + row(top + 1.0) * v
        };
        0.6 * noise(60.0, seed) + 0.4 * noise(15.0, seed ^ 0x55)
    }

    /// What a camera at `[x, y]` sees at `zoom`, brightness by `light`.
    fn shown(picture: impl Fn(f64, f64) -> f64, [x, y]: [f64; 2], zoom: f64, light: impl Fn(f64) -> f64) -> Frame {
        let [width, height] = SIZE.map(f64::from);
        let value = |i: u32| {
            let (column, row) = (f64::from(i % SIZE[0]) + 0.5, f64::from(i / SIZE[0]) + 0.5);
            let brightness = picture(x + (column - width / 2.0) / zoom, y + (row - height / 2.0) / zoom);
            (255.0 * light(brightness)).clamp(0.0, 255.0) as u8
        };
        Frame::rgb8(SIZE[0], SIZE[1], (0..SIZE[0] * SIZE[1]).flat_map(|i| [value(i); 3]).collect())
    }

    fn still(seed: u32, at: [f64; 2], zoom: f64) -> Frame {
        shown(|x, y| scene(seed, x, y), at, zoom, |v| v)
    }

    fn cuts(frames: impl IntoIterator<Item = Frame>) -> Vec<usize> {
        let mut finder = CutFinder::new(CutFinder::THRESHOLD);
        frames.into_iter().enumerate().filter_map(|(i, frame)| finder.next(&frame).then_some(i)).collect()
    }

    #[test]
    fn a_cut_is_found_at_its_frame() {
        let frames = || (0..16).map(|i| still(1 + i / 6, [f64::from(i), 0.0], 1.0));
        assert_eq!(cuts(frames()), [6, 12]);
        assert_eq!(cuts(frames().map(|frame| frame.at_depth(Depth::Sixteen))), [6, 12]);
        let tall = |frame: Frame| Frame { width: frame.height, height: frame.width, ..frame };
        assert_eq!(cuts((0..8).map(|i| still(1, [0.0; 2], 1.0 + 0.5 * f64::from(i / 4)))), [4], "a closer view");
        assert_eq!(cuts([still(1, [0.0; 2], 1.0), tall(still(1, [0.0; 2], 1.0))]), [1], "another size");
    }

    #[test]
    fn motion_is_no_cut() {
        let pan = (0..12).map(|i| still(1, [40.0 * f64::from((i - 4).max(0)), 12.0 * f64::from(i)], 1.0));
        assert_eq!(cuts(pan), [0; 0], "a camera that turns from one frame to the next");
        let zoom = (0..12).map(|i| still(1, [0.0; 2], 1.06f64.powi(i)));
        assert_eq!(cuts(zoom), [0; 0], "a zoom");
        let entering = (0..12).map(|i| {
            let left = 120.0 - 25.0 * f64::from(i);
            let is_there = move |x: f64, y: f64| x > left && x < left + 90.0 && y > -60.0;
            shown(|x, y| scene(if is_there(x, y) { 9 } else { 1 }, x, y), [0.0; 2], 1.0, |v| v)
        });
        assert_eq!(cuts(entering), [0; 0], "somebody who runs through");
    }

    #[test]
    fn light_is_no_cut() {
        let lit = |i: u32, light: f64| shown(|x, y| scene(1, x, y), [f64::from(i), 0.0], 1.0, move |v| v + light);
        assert_eq!(cuts((0..12).map(|i| lit(i, if i % 5 == 3 { 0.5 } else { 0.0 }))), [0; 0], "flashes");
        assert_eq!(cuts((0..12).map(|i| lit(i, if i % 5 == 3 { 2.0 } else { 0.0 }))), [0; 0], "white frames");
        let blended = |i: u32| {
            let part = f64::from(i.saturating_sub(4)).min(8.0) / 8.0;
            shown(|x, y| (1.0 - part) * scene(1, x, y) + part * scene(2, x, y), [0.0; 2], 1.0, |v| v)
        };
        assert!(cuts((0..20).map(blended)).len() <= 1, "a dissolve");
        let faded = |i: u32| {
            let light = f64::from(8u32.abs_diff(i)).min(6.0) / 6.0;
            shown(|x, y| scene(1 + i / 8, x, y), [0.0; 2], 1.0, move |v| v * light)
        };
        let through_black = cuts((0..16).map(faded));
        assert!(through_black.len() == 1 && (8..=10).contains(&through_black[0]), "through black: {through_black:?}");
    }

    #[test]
    fn above_1_nothing_is_a_cut() {
        let mut finder = CutFinder::new(1.1);
        assert!((0..4).all(|i| !finder.next(&still(i, [0.0; 2], 1.0))));
    }
}

//! Pictures sampled through maps: warp_rgb, and resample_rgb where they are upright or reduced before.

use crate::resample::triangle;
use crate::rgb::{DEPTHS, random_bytes, values, written};
use crate::{Random, gpu};
use viseme::ops::{Affine, Depth, Rgb};

/// A picture's values in f64, `[height, width, 3]`.
pub struct Plain {
    pub height: usize,
    pub width: usize,
    pub values: Vec<f64>,
}

impl Plain {
    pub fn new(height: usize, width: usize, values: &[u32]) -> Self {
        Self { height, width, values: values.iter().map(|&v| f64::from(v)).collect() }
    }

    /// What `height` by `width` pixels show whose places here `map` gives: upright with a triangle along each axis; turned between
    /// the four nearest of the picture, reduced by the steps of a pixel before where they are longer than 1.
    pub fn sampled(&self, map: &Affine, height: usize, width: usize) -> Self {
        let [[a, b, c], [d, e, f]] = map.0;
        if b == 0.0 && d == 0.0 && a > 0.0 && e > 0.0 {
            return self.by_triangles([c, f], [a, e], height, width);
        }
        let (across, down) = (a.hypot(b).max(1.0), d.hypot(e).max(1.0));
        let size = [self.height as f64 / down, self.width as f64 / across].map(|v| v.ceil() as usize);
        let reduced = self.by_triangles([0.0, 0.0], [across, down], size[0], size[1]);
        let mut values = Vec::new();
        for i in 0..height {
            for j in 0..width {
                let [x, y] = map.at([j as f64 + 0.5, i as f64 + 0.5]);
                for colour in 0..3 {
                    values.push(reduced.between(x / across - 0.5, y / down - 0.5, colour));
                }
            }
        }
        Self { height, width, values }
    }

    fn by_triangles(&self, origin: [f64; 2], scale: [f64; 2], height: usize, width: usize) -> Self {
        let mut values = Vec::new();
        for i in 0..height {
            let down = triangle(self.height, origin[1] + (i as f64 + 0.5) * scale[1], scale[1]);
            for j in 0..width {
                let across = triangle(self.width, origin[0] + (j as f64 + 0.5) * scale[0], scale[0]);
                for colour in 0..3 {
                    let mut sum = 0.0;
                    for (row, dw) in down.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                        for (column, aw) in across.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                            sum += dw * aw * self.values[(row * self.width + column) * 3 + colour];
                        }
                    }
                    values.push(sum);
                }
            }
        }
        Self { height, width, values }
    }

    /// Between the four values next to a place, centres being whole numbers; the border goes on.
    fn between(&self, x: f64, y: f64, colour: usize) -> f64 {
        let at = |row: f64, column: f64| {
            let (row, column) = (row.clamp(0.0, self.height as f64 - 1.0), column.clamp(0.0, self.width as f64 - 1.0));
            self.values[(row as usize * self.width + column as usize) * 3 + colour]
        };
        let (left, top) = (x.floor(), y.floor());
        let (dx, dy) = (x - left, y - top);
        let upper = at(top, left) * (1.0 - dx) + at(top, left + 1.0) * dx;
        let lower = at(top + 1.0, left) * (1.0 - dx) + at(top + 1.0, left + 1.0) * dx;
        upper * (1.0 - dy) + lower * dy
    }
}

/// Levels by which a sampled value may miss: half a one for each of three roundings; of 16 bits also the weights' unit, 2^-15, for
/// each input of a triangle, and what f32 leaves of places.
pub fn slack(depth: Depth, longest: usize) -> f64 {
    match depth {
        Depth::Eight => 1.6,
        Depth::Sixteen => 2.0 * longest as f64 + 8.0,
    }
}

/// Turned by `angle` about the middle of a square of `side` pixels, which lies at `middle`; a pixel of it is `scale` long.
pub fn turned(side: usize, angle: f64, scale: f64, middle: [f64; 2]) -> Affine {
    let half = side as f64 / 2.0;
    Affine::translation(-half, -half)
        .then(&Affine::rotation(angle))
        .then(&Affine::scaling(scale, scale))
        .then(&Affine::translation(middle[0], middle[1]))
}

#[test]
fn turned_crops_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(11);
    let (height, width) = (61, 83);
    for (side, depth) in [1, 17, 32].into_iter().flat_map(|side| DEPTHS.map(|depth| (side, depth))) {
        let maps = [
            turned(side, 0.3, 0.7, [40.0, 30.0]),
            turned(side, -2.1, 1.0, [37.25, 30.5]),
            turned(side, 1.0, 2.6, [41.0, 33.0]),
            turned(side, 0.5, 1.3, [-5.0, 58.0]),
            turned(side, 0.2, 0.5, [500.0, -300.0]),
            turned(side, 0.2, 3.5, [-400.0, 30.0]),
            Affine::scaling(-1.5, 0.8).then(&Affine::translation(60.0, 3.0)),
            Affine::rotation(0.4).then(&Affine::scaling(2.0, 0.9)).then(&Affine::translation(20.0, 5.0)),
        ];
        let bytes = random_bytes(&mut random, maps.len() * height * width * 3 * depth.bytes());
        let x = Rgb::upload_at(gpu, height, width, depth, &bytes).unwrap();
        let pixels = values(&bytes, depth);
        let got = values(&written("turned crop", &x.crop(&maps, side).unwrap()), depth);
        for (frame, map) in maps.iter().enumerate() {
            let frame_pixels = &pixels[frame * height * width * 3..][..height * width * 3];
            let want = Plain::new(height, width, frame_pixels).sampled(map, side, side).values;
            for (i, want) in want.iter().enumerate() {
                let got = f64::from(got[frame * side * side * 3 + i]);
                let at = format!("{depth:?} map {frame} side {side} value {i}");
                assert!((got - want).abs() <= slack(depth, height.max(width)), "{at}: {got}, want {want}");
            }
        }
    }
}

/// A place far from the picture's corner keeps its fractions: four pixels of a strip, between which the steps are large.
#[test]
fn places_are_exact_in_large_pictures() {
    let Some(gpu) = gpu() else { return };
    let (height, width) = (2, 5000);
    let value = |x: usize| -> u16 { if x.is_multiple_of(2) { 0 } else { 60_000 } };
    let bytes: Vec<u8> = (0..height * width * 3).flat_map(|i| value(i / 3 % width).to_le_bytes()).collect();
    let x = Rgb::upload_at(gpu, height, width, Depth::Sixteen, &bytes).unwrap();
    // A little turned, so that it is no upright map.
    let map = Affine([[0.125, 1e-9, 4990.0], [-1e-9, 0.125, 0.5]]);
    let got = values(&written("strip", &x.crop(&[map], 16).unwrap()), Depth::Sixteen);
    for column in 0..16 {
        let place = 4990.0 + 0.125 * (column as f64 + 0.5) - 0.5;
        let (left, part) = (place.floor() as usize, place.fract());
        let want = f64::from(value(left)) * (1.0 - part) + f64::from(value(left + 1)) * part;
        let got = f64::from(got[column * 3]);
        assert!((got - want).abs() <= 1.0, "column {column}: {got}, want {want}");
    }
}

/// A chequered picture, turned and shrunk, is grey: nothing of its pattern is left over.
#[test]
fn turned_pictures_are_antialiased() {
    let Some(gpu) = gpu() else { return };
    let (height, width) = (110, 130);
    let bytes: Vec<u8> =
        (0..height * width * 3).map(|i| if (i / 3 / width + i / 3 % width) % 2 == 0 { 0 } else { 255 }).collect();
    let x = Rgb::upload(gpu, height, width, &bytes).unwrap();
    for (angle, scale) in [(0.3, 4.0), (0.8, 3.3), (-2.0, 2.5)] {
        let y = x.crop(&[turned(20, angle, scale, [65.0, 55.0])], 20).unwrap();
        let got = written("chequers", &y);
        let inside = |i: usize| (2..18).contains(&(i / 3 / 20)) && (2..18).contains(&(i / 3 % 20));
        let worst = (0..got.len()).filter(|&i| inside(i)).map(|i| got[i].abs_diff(128)).max();
        assert!(worst.is_some_and(|v| v <= 12), "turned by {angle}, shrunk by {scale}: {worst:?} from grey");
    }
}

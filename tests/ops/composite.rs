//! Pasting crops back: feather_mask and composite_rgb.

use crate::rgb::{DEPTHS, random_bytes, values, written};
use crate::{Random, check, gpu};
use viseme::ops::{Depth, Region, Rgb};
use viseme::tensor::Tensor;

#[test]
fn feathered_masks_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(1);
    for (frames, height, width, feather) in
        [(1, 1, 1, 2.0), (2, 9, 14, 0.0), (3, 31, 17, 3.0), (2, 64, 64, 7.5), (4, 96, 96, 5.0)]
    {
        let case = format!("{frames}x{height}x{width} feather {feather}");
        // A few dots, so that distances along both axes matter; the last frame is empty.
        let mut mask: Vec<f32> =
            (0..frames * height * width).map(|_| f32::from(u8::from(random.uniform() > 0.97))).collect();
        mask[(frames - 1) * height * width..].fill(0.0);
        let mut want = Vec::new();
        for f in 0..frames {
            let dots: Vec<(f64, f64)> = (0..height * width)
                .filter(|i| mask[f * height * width + i] == 1.0)
                .map(|i| ((i / width) as f64, (i % width) as f64))
                .collect();
            for i in 0..height * width {
                let (row, column) = ((i / width) as f64, (i % width) as f64);
                let distance = dots.iter().map(|(r, c)| (r - row).hypot(c - column)).fold(f64::MAX, f64::min);
                let rim = if feather > 0.0 { (1.0 - distance / f64::from(feather)).max(0.0) } else { 0.0 };
                want.push(if distance == 0.0 { 1.0 } else { rim });
            }
        }
        let mask = Tensor::from_f32(gpu, &[frames, height, width, 1], &mask).unwrap();
        check(&case, &mask.feather_mask(feather).unwrap(), &want, 1e-6);
    }
}

const HEIGHT: usize = 61;
const WIDTH: usize = 83;
const SIDE: usize = 32;

/// Frames of noise; crops of one flat colour, so that what is blended in is known whatever the scale.
#[test]
fn pixels_are_blended_inside_and_kept_outside() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(2);
    let region = |left, top, width, height| Region { left, top, width, height };
    let regions = [
        region(0.0, 0.0, 83.0, 61.0),
        region(20.0, 10.0, 32.0, 32.0),
        region(11.25, 7.5, 45.5, 50.0),
        region(-13.0, 40.5, 40.0, 40.0),
        region(200.0, 0.0, 32.0, 32.0),
    ];
    let frames = regions.len();
    // A disc that fades out before the crop's border on three sides and is cut by the bottom.
    let alpha_at = |row: f64, column: f64| (1.3 - (row - 22.0).hypot(column - 15.5) / 10.0).clamp(0.0, 1.0);
    let alpha: Vec<f32> =
        (0..frames * SIDE * SIDE).map(|i| alpha_at((i / SIDE % SIDE) as f64, (i % SIDE) as f64) as f32).collect();
    let alpha_gpu = Tensor::from_f32(gpu, &[frames, SIDE, SIDE, 1], &alpha).unwrap();

    for (feather, depth) in [0.0f32, 4.0].into_iter().flat_map(|feather| DEPTHS.map(|depth| (feather, depth))) {
        let bytes = random_bytes(&mut random, frames * HEIGHT * WIDTH * 3 * depth.bytes());
        let colour: &[u8] = match depth {
            Depth::Eight => &[250, 3, 128],
            Depth::Sixteen => &[7, 250, 200, 3, 99, 128],
        };
        let x = Rgb::upload_at(gpu, HEIGHT, WIDTH, depth, &bytes).unwrap();
        let crops = Rgb::upload_at(gpu, SIDE, SIDE, depth, &colour.repeat(frames * SIDE * SIDE)).unwrap();
        let y = x.composite(&crops, &regions, &alpha_gpu, feather).unwrap();
        let got = values(&written("composite", &y), depth);
        let (source_of, colour) = (values(&bytes, depth), values(colour, depth));
        // Rounding, and what f32 leaves of the place in the crop, of which a step in alpha is a tenth.
        let slack = match depth {
            Depth::Eight => 0.51,
            Depth::Sixteen => 1.5,
        };
        let (mut kept, mut blended) = (0, 0);
        for (frame, r) in regions.iter().enumerate() {
            for row in 0..HEIGHT {
                for column in 0..WIDTH {
                    let u = (column as f64 + 0.5 - r.left) / r.width * SIDE as f64;
                    let v = (row as f64 + 0.5 - r.top) / r.height * SIDE as f64;
                    let a = opacity(&alpha, u, v, r, f64::from(feather));
                    for (c, colour) in colour.iter().enumerate() {
                        let i = ((frame * HEIGHT + row) * WIDTH + column) * 3 + c;
                        let source = f64::from(source_of[i]);
                        let want = source + a * (f64::from(*colour) - source);
                        let at = format!("{depth:?} feather {feather} frame {frame} ({row}, {column}, {c}) alpha {a}");
                        if a == 0.0 {
                            assert_eq!(got[i], source_of[i], "{at}");
                            kept += 1;
                        } else {
                            assert!((f64::from(got[i]) - want).abs() <= slack, "{at}: {}, want {want}", got[i]);
                            blended += 1;
                        }
                    }
                }
            }
        }
        assert!(kept > 10_000 && blended > 3_000, "{kept} {blended}");
    }
}

/// Alpha between pixel centres, times a ramp from each side of the region that lies inside the frame.
fn opacity(alpha: &[f32], u: f64, v: f64, r: &Region, feather: f64) -> f64 {
    let side = SIDE as f64;
    if u < 0.0 || v < 0.0 || u >= side || v >= side {
        return 0.0;
    }
    let mut ramp = 1.0f64;
    if feather > 0.0 {
        if r.left > 0.0 {
            ramp = ramp.min(u / feather);
        }
        if r.top > 0.0 {
            ramp = ramp.min(v / feather);
        }
        if r.left + r.width < WIDTH as f64 {
            ramp = ramp.min((side - u) / feather);
        }
        if r.top + r.height < HEIGHT as f64 {
            ramp = ramp.min((side - v) / feather);
        }
    }
    let at = |row: f64, column: f64| {
        let place = |v: f64| v.clamp(0.0, side - 1.0) as usize;
        f64::from(alpha[place(row) * SIDE + place(column)])
    };
    let (row, column) = ((v - 0.5).clamp(0.0, side - 1.0), (u - 0.5).clamp(0.0, side - 1.0));
    let (dr, dc) = (row.fract(), column.fract());
    let (row, column) = (row.floor(), column.floor());
    let upper = at(row, column) * (1.0 - dc) + at(row, column + 1.0) * dc;
    let lower = at(row + 1.0, column) * (1.0 - dc) + at(row + 1.0, column + 1.0) * dc;
    (upper * (1.0 - dr) + lower * dr) * ramp.max(0.0)
}

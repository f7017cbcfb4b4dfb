//! Resizing and cropping frames: resample_rgb.

use crate::rgb::{DEPTHS, random_bytes, values, written};
use crate::{Random, gpu};
use viseme::ops::{Depth, Filter, Region, Rgb};

/// Sums of y[k] * (2k + 1) over all bytes of
/// `interpolate(x, (height, width), mode="bilinear", antialias=...)` in PyTorch 2, x being the bytes made below.
#[test]
fn resized_bytes_equal_pytorchs() {
    let Some(gpu) = gpu() else { return };
    for (frames, from, to, bilinear, antialiased) in [
        (2, [37, 53], [128, 91], 624_748_317_671, 624_748_317_671),
        (1, [120, 160], [64, 64], 19_266_017_140, 19_245_820_785),
        (3, [5, 3], [17, 19], 1_057_565_902, 1_057_565_902),
        (2, [131, 97], [30, 30], 3_708_802_375, 3_716_401_163),
        (1, [1, 1], [3, 2], 48_432, 48_432),
    ] {
        let [height, width] = from;
        let value = |i: u64| ((i * i * 7919 + i * 104_729 + 12_345) >> 5) as u8;
        let bytes: Vec<u8> = (0..(frames * height * width * 3) as u64).map(value).collect();
        let x = Rgb::upload(gpu, height, width, &bytes).unwrap();
        for (filter, want) in [(Filter::Bilinear, bilinear), (Filter::Antialiased, antialiased)] {
            let case = format!("{frames} of {from:?} to {to:?} {filter:?}");
            let y = x.resize(to[0], to[1], filter).unwrap();
            let got = written(&case, &y);
            assert_eq!(got.len(), frames * to[0] * to[1] * 3, "{case}");
            let sum: u64 = got.iter().zip(0u64..).map(|(&v, k)| u64::from(v) * (2 * k + 1)).sum();
            assert_eq!(sum, want, "{case}");
        }
    }
}

/// Weights of the inputs around `centre`: a triangle of half-width max(1, scale), the border beyond the picture cut off.
pub fn triangle(inputs: usize, centre: f64, scale: f64) -> Vec<f64> {
    let reach = scale.max(1.0);
    let mut weights: Vec<f64> =
        (0..inputs).map(|i| (1.0 - ((i as f64 + 0.5 - centre) / reach).abs()).max(0.0)).collect();
    let total: f64 = weights.iter().sum();
    if total == 0.0 {
        weights[if centre < 0.0 { 0 } else { inputs - 1 }] = 1.0;
    }
    weights.iter().map(|w| if total == 0.0 { *w } else { w / total }).collect()
}

#[test]
fn crops_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(4);
    let (height, width) = (61, 83);
    let region = |left, top, width, height| Region { left, top, width, height };
    let regions = [
        region(0.0, 0.0, 83.0, 61.0),
        region(10.0, 20.0, 32.0, 32.0),
        region(3.25, 1.5, 70.5, 59.75),
        region(-20.0, -7.5, 40.0, 40.0),
        region(100.0, 70.0, 9.0, 9.0),
    ];
    for (side, depth) in [1, 17, 32].into_iter().flat_map(|side| DEPTHS.map(|depth| (side, depth))) {
        let bytes = random_bytes(&mut random, 5 * height * width * 3 * depth.bytes());
        let x = Rgb::upload_at(gpu, height, width, depth, &bytes).unwrap();
        let pixels = values(&bytes, depth);
        let got = values(&written("crop", &x.crop(&regions.map(|region| region.map(side)), side).unwrap()), depth);
        // Half a level for each of the two roundings; of 16 bits also the weights' unit, 2^-15, twice for each input.
        let slack = match depth {
            Depth::Eight => 1.1,
            Depth::Sixteen => f64::from(2 * (height + width) as u32) / f64::from(side as u32) + 8.0,
        };
        for (frame, r) in regions.iter().enumerate() {
            for row in 0..side {
                let scale = r.height / side as f64;
                let down = triangle(height, r.top + (row as f64 + 0.5) * scale, scale);
                for column in 0..side {
                    let scale = r.width / side as f64;
                    let across = triangle(width, r.left + (column as f64 + 0.5) * scale, scale);
                    for c in 0..3 {
                        let mut want = 0.0;
                        for (i, dw) in down.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                            for (j, aw) in across.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                                want += dw * aw * f64::from(pixels[((frame * height + i) * width + j) * 3 + c]);
                            }
                        }
                        let got = f64::from(got[((frame * side + row) * side + column) * 3 + c]);
                        let at = format!("{depth:?} {frame} {side} ({row}, {column}, {c})");
                        assert!((got - want).abs() <= slack, "{at}: {got}, want {want}");
                    }
                }
            }
        }
    }
    for depth in DEPTHS {
        let bytes = random_bytes(&mut random, height * width * 3 * depth.bytes());
        let x = Rgb::upload_at(gpu, height, width, depth, &bytes).unwrap();
        let same = x.crop(&[region(10.0, 20.0, 32.0, 32.0).map(32)], 32).unwrap().to_bytes().unwrap();
        let pixel = 3 * depth.bytes();
        let row = |i: usize| &bytes[((20 + i) * width + 10) * pixel..][..32 * pixel];
        assert!((0..32).all(|i| same[i * 32 * pixel..][..32 * pixel] == *row(i)), "a crop at scale 1 is a copy");
    }
}

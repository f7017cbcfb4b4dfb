//! Pasting crops back: feather_mask and composite_rgb.

use crate::rgb::{DEPTHS, random_bytes, values, white, written};
use crate::warp::{Plain, slack, turned};
use crate::{Random, check, gpu, prepare, there};
use viseme::gpu::{Elem, Gpu};
use viseme::ops::{Affine, Depth, Layer, Region, Rgb};
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
/// Side of the crops of turned scenes: alpha may have another one.
const CROP: usize = 40;

/// Where a picture's layers and alpha lie; per layer also its share, and gains and offsets.
struct Scene {
    layers: Vec<(Affine, f32, Option<[f32; 6]>)>,
    alpha: Affine,
}

fn scenes() -> Vec<Scene> {
    let region = |left, top, width, height| Region { left, top, width, height };
    // One layer under its own alpha.
    let upright = [
        region(0.0, 0.0, 83.0, 61.0),
        region(20.0, 10.0, 32.0, 32.0),
        region(11.25, 7.5, 45.5, 50.0),
        region(-13.0, 40.5, 40.0, 40.0),
        region(30.0, 20.0, 13.5, 17.0),
        region(200.0, 0.0, 32.0, 32.0),
    ];
    let mut scenes: Vec<Scene> = upright
        .map(|region| Scene { layers: vec![(region.map(CROP), 1.0, None)], alpha: region.map(SIDE) })
        .into_iter()
        .collect();
    let colour = Some([1.1, 0.9, 1.25, 0.05, -0.1, 0.0]);
    let layer = |angle, scale, x, y| turned(CROP, angle, scale, [x, y]);
    let alpha = |angle, scale, x, y| turned(SIDE, angle, scale, [x, y]);
    scenes.extend([
        // Enlarged, shrunk, across an edge, outside, and upside down.
        Scene { layers: vec![(layer(0.4, 1.3, 40.0, 30.0), 1.0, None)], alpha: alpha(0.4, 1.625, 40.0, 30.0) },
        Scene { layers: vec![(layer(-0.9, 0.37, 50.0, 33.0), 1.0, colour)], alpha: alpha(-0.9, 0.46, 50.0, 33.0) },
        Scene { layers: vec![(layer(0.7, 0.9, 3.0, 55.0), 1.0, None)], alpha: alpha(0.7, 1.1, 3.0, 55.0) },
        Scene { layers: vec![(layer(0.7, 0.9, -90.0, 30.0), 1.0, None)], alpha: alpha(0.7, 1.1, -90.0, 30.0) },
        Scene { layers: vec![(layer(3.0, 1.0, 45.0, 28.0), 1.0, colour)], alpha: alpha(3.0, 1.25, 45.0, 28.0) },
        // Two layers, each in its own place, one of them beside alpha.
        Scene {
            layers: vec![(layer(0.2, 0.8, 40.0, 30.0), 0.3, None), (layer(0.25, 0.82, 42.0, 29.0), 0.7, None)],
            alpha: alpha(0.22, 1.0, 41.0, 29.5),
        },
        Scene {
            layers: vec![
                (region(20.0, 10.0, 40.0, 40.0).map(CROP), 0.5, colour),
                (layer(0.1, 0.5, 80.0, 60.0), 0.5, None),
            ],
            alpha: region(22.5, 8.0, 44.0, 44.0).map(SIDE),
        },
    ]);
    scenes
}

#[test]
fn pixels_are_blended_inside_and_kept_outside() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(2);
    // A disc that fades out before the square's border on three sides and is cut by the bottom.
    let alpha_at = |row: f64, column: f64| (1.3 - (row - 22.0).hypot(column - 15.5) / 10.0).clamp(0.0, 1.0);
    let alpha: Vec<f32> = (0..SIDE * SIDE).map(|i| alpha_at((i / SIDE) as f64, (i % SIDE) as f64) as f32).collect();
    let alpha_gpu = Tensor::from_f32(gpu, &[1, SIDE, SIDE, 1], &alpha).unwrap();
    // Crops of noise, and of one colour, which no scale changes.
    for (feather, depth, flat) in [0.0f32, 4.0].into_iter().flat_map(|feather| {
        DEPTHS.into_iter().flat_map(move |depth| [false, true].map(move |flat| (feather, depth, flat)))
    }) {
        let (mut kept, mut blended) = (0, 0);
        for (number, scene) in scenes().iter().enumerate() {
            let case = format!("{depth:?} feather {feather} flat {flat} scene {number}");
            let bytes = random_bytes(&mut random, HEIGHT * WIDTH * 3 * depth.bytes());
            let x = Rgb::upload_at(gpu, HEIGHT, WIDTH, depth, &bytes).unwrap();
            let source = values(&bytes, depth);
            let (mut crops, mut shown) = (Vec::new(), vec![0.0; source.len()]);
            for (map, share, colour) in &scene.layers {
                let pixel = random_bytes(&mut random, 3 * depth.bytes());
                let noise = random_bytes(&mut random, CROP * CROP * 3 * depth.bytes());
                let bytes = if flat { pixel.repeat(CROP * CROP) } else { noise };
                let plain = Plain::new(CROP, CROP, &values(&bytes, depth));
                let patch = plain.sampled(&map.inverse().unwrap(), HEIGHT, WIDTH).values;
                for (i, (sum, v)) in shown.iter_mut().zip(patch).enumerate() {
                    let [gain, offset] = colour.map_or([1.0, 0.0], |c| [c[i % 3], c[3 + i % 3]].map(f64::from));
                    *sum += f64::from(*share) * (gain * v + offset * white(depth)).clamp(0.0, white(depth));
                }
                let colour = colour.map(|values| Tensor::from_f32(gpu, &[2, 3], &values).unwrap());
                crops.push((Rgb::upload_at(gpu, CROP, CROP, depth, &bytes).unwrap(), colour));
            }
            let layers: Vec<Layer<'_>> = crops
                .iter()
                .zip(&scene.layers)
                .map(|((crop, colour), (map, share, _))| Layer {
                    crop,
                    map: *map,
                    share: *share,
                    colour: colour.as_ref(),
                })
                .collect();
            let y = x.composite(&layers, &alpha_gpu, scene.alpha, feather).unwrap();
            let got = values(&written_or_same(&case, &x, &y), depth);
            // Rounding, and what f32 leaves of places in alpha, of which a step is a tenth; and what the patch is off, behind a gain
            // of 1.25 at most: where nothing is to be mixed the weights' unit, of 16 bits, for each of up to seven along each axis.
            let (own, even) = if depth == Depth::Eight { (0.51, 0.65) } else { (3.0, 1.25 * 14.0) };
            let patch = if flat { even } else { 1.25 * slack(depth, CROP) };
            for i in 0..source.len() {
                let [column, row] = [i / 3 % WIDTH, i / 3 / WIDTH].map(|v| v as f64 + 0.5);
                let a = opacity(&alpha, &scene.alpha, [column, row], f64::from(feather));
                let before = f64::from(source[i]);
                let want = before + a * (shown[i] - before);
                let at = format!("{case} ({row}, {column}, {}) alpha {a}", i % 3);
                if a == 0.0 {
                    assert_eq!(got[i], source[i], "{at}");
                    kept += 1;
                } else {
                    assert!((f64::from(got[i]) - want).abs() <= own + a * patch, "{at}: {}, want {want}", got[i]);
                    blended += 1;
                }
            }
        }
        assert!(kept > 100_000 && blended > 20_000, "{kept} {blended}");
    }
}

/// A picture larger than a binding is worked on in parts, with the same bits.
#[test]
fn large_pictures_are_pasted_into_in_parts() {
    let whole = gpu();
    let narrow = whole.and_then(|_| there(Gpu::restricted(None, |device| device.max_binding_bytes = 16 << 10)));
    let mut random = Random(3);
    let depth = Depth::Sixteen;
    let bytes = random_bytes(&mut random, HEIGHT * WIDTH * 3 * depth.bytes());
    let noise = random_bytes(&mut random, SIDE * SIDE * 3 * depth.bytes());
    let alpha: Vec<f32> = random.vec(SIDE * SIDE).iter().map(|v| v.abs()).collect();
    let pasted = |gpu: &Gpu| {
        let x = Rgb::upload_at(gpu, HEIGHT, WIDTH, depth, &bytes).unwrap();
        let crop = Rgb::upload_at(gpu, SIDE, SIDE, depth, &noise).unwrap();
        let alpha = Tensor::from_f32(gpu, &[1, SIDE, SIDE, 1], &alpha).unwrap();
        let map = turned(SIDE, 0.4, 1.1, [40.0, 30.0]);
        let layer = Layer { crop: &crop, map, share: 1.0, colour: None };
        written("parts", &x.composite(&[layer], &alpha, map, 3.0).unwrap())
    };
    let results: Vec<_> = [whole, narrow.map(prepare).as_ref()].into_iter().flatten().map(pasted).collect();
    assert!(results.iter().all(|bytes| *bytes == results[0]));
}

/// A result's bytes, looked at as those of any output unless it is the picture itself, in which nothing lies.
fn written_or_same(case: &str, x: &Rgb, y: &Rgb) -> Vec<u8> {
    let bytes = y.to_bytes().unwrap();
    if bytes != x.to_bytes().unwrap() {
        written(case, y);
    }
    bytes
}

/// Alpha between pixel centres at a place of the picture, times a ramp from each side of its square some of which lies inside the
/// picture.
fn opacity(alpha: &[f32], map: &Affine, place: [f64; 2], feather: f64) -> f64 {
    let side = SIDE as f64;
    let [u, v] = map.inverse().unwrap().at(place);
    if u < 0.0 || v < 0.0 || u >= side || v >= side {
        return 0.0;
    }
    let mut ramp = 1.0f64;
    let is_inside = |point: &dyn Fn(f64) -> [f64; 2]| {
        (0..=1000)
            .map(|i| map.at(point(side * f64::from(i) / 1000.0)))
            .any(|[x, y]| x > 0.0 && y > 0.0 && x < WIDTH as f64 && y < HEIGHT as f64)
    };
    if feather > 0.0 {
        if is_inside(&|along| [0.0, along]) {
            ramp = ramp.min(u / feather);
        }
        if is_inside(&|along| [along, 0.0]) {
            ramp = ramp.min(v / feather);
        }
        if is_inside(&|along| [side, along]) {
            ramp = ramp.min((side - u) / feather);
        }
        if is_inside(&|along| [along, side]) {
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

#[test]
fn layers_that_do_not_fit_are_refused() {
    let Some(gpu) = gpu() else { return };
    let picture = Rgb::upload(gpu, 8, 8, &[9; 192]).unwrap();
    let alpha = Tensor::zeros(gpu, &[1, 4, 4, 1], Elem::F32).unwrap();
    let square = Rgb::upload(gpu, 4, 4, &[9; 48]).unwrap();
    let oblong = Rgb::upload(gpu, 4, 2, &[9; 24]).unwrap();
    let deep = Rgb::upload_at(gpu, 4, 4, Depth::Sixteen, &[9; 96]).unwrap();
    let gains = Tensor::zeros(gpu, &[3, 2], Elem::F32).unwrap();
    let line = Affine::scaling(1.0, 0.0);
    let layer = |crop, share| Layer { crop, map: Affine::IDENTITY, share, colour: None };
    let refused = |layers: &[Layer<'_>], alpha: &Tensor, map: Affine, what: &str| {
        let message = picture.composite(layers, alpha, map, 0.0).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(what), "{what}: {message}");
    };
    let map = Affine::IDENTITY;
    assert!(picture.composite(&[layer(&square, 1.0)], &alpha, map, 0.0).is_ok());
    refused(&[], &alpha, map, "one or two");
    refused(&[layer(&square, 0.5)], &alpha, map, "shares");
    refused(&[layer(&square, 1.5), layer(&square, -0.5)], &alpha, map, "shares");
    refused(&[layer(&oblong, 1.0)], &alpha, map, "square");
    refused(&[layer(&deep, 1.0)], &alpha, map, "Rgb");
    refused(&[layer(&square, 1.0)], &alpha.reshape(&[1, 2, 8, 1]).unwrap(), map, "alpha");
    refused(&[layer(&square, 1.0)], &alpha, line, "area");
    refused(&[Layer { map: line, ..layer(&square, 1.0) }], &alpha, map, "area");
    refused(&[Layer { colour: Some(&gains), ..layer(&square, 1.0) }], &alpha, map, "colours");
}

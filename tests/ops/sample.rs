//! Pictures and feature maps under affine maps: sample_affine.

use crate::rgb::{DEPTHS, random_bytes, values, white};
use crate::{Random, bar, check, gpu};
use viseme::gpu::{Elem, Gpu};
use viseme::ops::{Affine, Border, Depth, Rgb};
use viseme::tensor::Tensor;

/// A map as the kernel has it: in f32.
fn rounded(map: &Affine) -> [[f64; 3]; 2] {
    map.0.map(|row| row.map(|v| f64::from(v as f32)))
}

/// Bilinear values of `x` `[height, width, channels]` under `map`; `pixel(row, column)` is where a pixel beyond the edge is
/// taken from, `inside` whether a point counts at all.
fn reference(
    x: &[f64],
    [height, width, channels]: [usize; 3],
    map: [[f64; 3]; 2],
    [out_height, out_width]: [usize; 2],
    pixel: impl Fn(i64, i64) -> Option<[usize; 2]>,
    inside: impl Fn(f64, f64) -> bool,
) -> Vec<f64> {
    let mut y = Vec::new();
    for row in 0..out_height {
        for column in 0..out_width {
            let [u, v] = [column as f64 + 0.5, row as f64 + 0.5];
            let [px, py] = map.map(|[a, b, c]| a * u + b * v + c - 0.5);
            for k in 0..channels {
                let mut sum = 0.0;
                for (dy, wy) in [(0, 1.0 - (py - py.floor())), (1, py - py.floor())] {
                    for (dx, wx) in [(0, 1.0 - (px - px.floor())), (1, px - px.floor())] {
                        if let Some([r, c]) = pixel(py.floor() as i64 + dy, px.floor() as i64 + dx) {
                            assert!(r < height && c < width);
                            sum += wy * wx * x[(r * width + c) * channels + k];
                        }
                    }
                }
                y.push(if inside(px, py) { sum } else { 0.0 });
            }
        }
    }
    y
}

fn beyond_edge(border: Border, [height, width]: [usize; 2]) -> impl Fn(i64, i64) -> Option<[usize; 2]> {
    move |row, column| match border {
        Border::Zero => {
            let inside = (0..height as i64).contains(&row) && (0..width as i64).contains(&column);
            inside.then_some([row as usize, column as usize])
        }
        Border::Replicate => {
            Some([row.clamp(0, height as i64 - 1) as usize, column.clamp(0, width as i64 - 1) as usize])
        }
    }
}

fn maps() -> [Affine; 5] {
    let turned = Affine::translation(-8.5, -8.5)
        .then(&Affine::rotation(0.7))
        .then(&Affine::scaling(1.75, 1.25))
        .then(&Affine::translation(9.25, 7.5));
    [
        Affine::IDENTITY,
        turned,
        Affine::scaling(0.125, 0.25).then(&Affine::translation(2.0, 3.0)),
        Affine::scaling(3.0, 3.0).then(&Affine::translation(-20.0, -9.0)),
        Affine::translation(1e7, -1e7),
    ]
}

const SIZES: [([usize; 2], [usize; 2]); 4] =
    [([1, 1], [1, 1]), ([17, 16], [16, 17]), ([5, 131], [33, 1]), ([97, 31], [67, 129])];

fn pictures_match(gpu: &Gpu) {
    let mut random = Random(1);
    for ((size, out), depth) in SIZES.into_iter().flat_map(|case| DEPTHS.map(|depth| (case, depth))) {
        let [height, width] = size;
        let bytes = random_bytes(&mut random, 2 * height * width * 3 * depth.bytes());
        let picture = Rgb::upload_at(gpu, height, width, depth, &bytes).unwrap();
        let x: Vec<f64> = values(&bytes, depth).iter().map(|&v| f64::from(v) / white(depth)).collect();
        for (map, border) in maps().iter().flat_map(|map| [(map, Border::Zero), (map, Border::Replicate)]) {
            let want = reference(&x, [height, width, 3], rounded(map), out, beyond_edge(border, size), |_, _| true);
            let want: Vec<f64> = want.iter().map(|v| 2.0 * v - 1.0).collect();
            let y = picture.sample_tensor(map, out, border, [2.0, -1.0]).unwrap();
            assert_eq!(y.shape(), [1, out[0], out[1], 3]);
            // Coordinates are f32: a unit in their last place moves a sample along the steepest slope.
            check(&format!("{size:?} -> {out:?} {depth:?} {border:?} {map:?}"), &y, &want, 2e-5);
        }
    }
}

#[test]
fn pictures_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    pictures_match(gpu);
}

/// A picture that does not fit a binding is sampled in bands of rows, which add up.
#[test]
fn bands_add_up() {
    let Some(_) = gpu() else { return };
    let gpu = Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = 4 << 10).unwrap();
    gpu.poison_allocations().unwrap();
    pictures_match(&gpu);
}

#[test]
fn feature_maps_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(3);
    for (images, [height, width], channels, out) in
        [(1, [1, 1], 4, [1, 1]), (2, [48, 48], 32, [16, 16]), (3, [7, 13], 12, [11, 5])]
    {
        let x = random.vec(images * height * width * channels);
        let tensor = Tensor::from_f32(gpu, &[images, height, width, channels], &x).unwrap();
        let all: Vec<Affine> = maps().into_iter().cycle().take(5 * images).collect();
        let values: Vec<f32> =
            all.iter().flat_map(|map| map.0.as_flattened().iter().map(|&v| v as f32).chain([f32::NAN; 2])).collect();
        let y = tensor.sample_affine(&Tensor::from_f32(gpu, &[all.len(), 8], &values).unwrap(), out).unwrap();
        assert_eq!(y.shape(), [all.len(), out[0], out[1], channels]);
        let mut want = Vec::new();
        for (n, map) in all.iter().enumerate() {
            let image = &x[n % images * height * width * channels..][..height * width * channels];
            let image: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
            let inside =
                |px: f64, py: f64| px >= 0.0 && py >= 0.0 && px <= width as f64 - 1.0 && py <= height as f64 - 1.0;
            let pixel = beyond_edge(Border::Zero, [height, width]);
            want.extend(reference(&image, [height, width, channels], rounded(map), out, pixel, inside));
        }
        check(&format!("{images} x {height}x{width}x{channels}"), &y, &want, 10.0 * bar(Elem::F32));
    }
}

#[test]
fn what_cannot_be_sampled_is_refused() {
    let Some(gpu) = gpu() else { return };
    let picture = Rgb::upload_at(gpu, 2, 2, Depth::Eight, &[0; 12]).unwrap();
    let nowhere = Affine::scaling(f64::NAN, 1.0);
    assert!(
        picture.sample_tensor(&nowhere, [2, 2], Border::Zero, [1.0, 0.0]).unwrap_err().to_string().contains("finite")
    );
    let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape, Elem::F32).unwrap();
    assert!(zeros(&[1, 2, 2, 3]).sample_affine(&zeros(&[1, 8]), [1, 1]).is_err());
    assert!(zeros(&[1, 2, 2, 4]).sample_affine(&zeros(&[1, 6]), [1, 1]).is_err());
}

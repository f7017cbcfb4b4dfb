//! Masks from landmarks and on latents: rasterise_mask and downsample_mask.

use crate::{Random, check, gpu};
use viseme::face::landmarks::Face;
use viseme::face::mask::{MaskKind, MaskRule};
use viseme::ops::PixelBox;
use viseme::tensor::Tensor;

fn random_box(random: &mut Random, size: usize) -> PixelBox {
    let mut at = || (random.uniform() * size as f32) as i32 + size as i32 / 3;
    PixelBox { left: at(), top: at(), right: at(), bottom: at() }
}

#[test]
fn boxes_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(1);
    for (frames, size) in [(1, 1), (3, 5), (2, 64), (5, 131), (1, 512)] {
        let boxes: Vec<[PixelBox; 2]> =
            (0..frames).map(|_| [random_box(&mut random, size), random_box(&mut random, size)]).collect();
        let within = |b: PixelBox, x: i32, y: i32| b.left <= x && x <= b.right && b.top <= y && y <= b.bottom;
        let mut want = Vec::new();
        for [filled, hole] in &boxes {
            for y in 0..size as i32 {
                for x in 0..size as i32 {
                    want.push(if within(*filled, x, y) && !within(*hole, x, y) { 1.0 } else { 0.0 });
                }
            }
        }
        check(&format!("{frames}x{size}"), &Tensor::mask_of_boxes(gpu, &boxes, size).unwrap(), &want, 0.0);
    }
}

/// Even-odd at (x, y), or less than half a pixel along x from an edge, or on a level one.
fn in_polygon(polygon: &[[i32; 2]], x: f64, y: f64) -> bool {
    let (mut crossings, mut edge) = (0, false);
    for i in 0..polygon.len() {
        let [x0, y0] = polygon[i].map(f64::from);
        let [x1, y1] = polygon[(i + 1) % polygon.len()].map(f64::from);
        if y < y0.min(y1) || y > y0.max(y1) {
            continue;
        }
        if y0 == y1 {
            edge |= x >= x0.min(x1) && x <= x0.max(x1);
            continue;
        }
        let at = x0 + (y - y0) * (x1 - x0) / (y1 - y0);
        edge |= (x - at).abs() < 0.5 - 1e-9;
        if y < y0.max(y1) && x < at - 1e-9 {
            crossings += 1;
        }
    }
    edge || crossings % 2 == 1
}

#[test]
fn polygons_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(2);
    for (frames, size) in [(1, 1), (3, 7), (2, 64), (4, 131)] {
        let polygons: Vec<[[i32; 2]; 7]> = (0..frames)
            .map(|_| [(); 7].map(|()| [(); 2].map(|()| ((random.uniform() * 0.7 + 0.5) * size as f32) as i32)))
            .collect();
        let mut want = Vec::new();
        for polygon in &polygons {
            for y in 0..size {
                for x in 0..size {
                    want.push(f64::from(u8::from(in_polygon(polygon, x as f64, y as f64))));
                }
            }
        }
        check(&format!("{frames}x{size}"), &Tensor::mask_of_polygons(gpu, &polygons, size).unwrap(), &want, 0.0);
    }
}

#[test]
fn downsampling_takes_every_nth_pixel_without_the_occluder() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(3);
    for (frames, size, step) in [(1, 1, 1), (2, 15, 3), (3, 128, 8), (5, 512, 8), (1, 192, 8)] {
        let small = size / step;
        let x: Vec<f32> = random.vec(frames * size * size).iter().map(|v| v.round()).collect();
        let occluder: Vec<f32> = (0..frames * small * small).map(|i| f32::from(u8::from(i % 3 == 1))).collect();
        let (mut plain, mut cut) = (Vec::new(), Vec::new());
        for f in 0..frames {
            for r in 0..small {
                for c in 0..small {
                    let value = f64::from(x[(f * size + r * step) * size + c * step]);
                    plain.push(value);
                    cut.push(if occluder[(f * small + r) * small + c] != 0.0 { 0.0 } else { value });
                }
            }
        }
        let x = Tensor::from_f32(gpu, &[frames, size, size, 1], &x).unwrap();
        let occluder = Tensor::from_f32(gpu, &[frames, small, small, 1], &occluder).unwrap();
        let case = format!("{frames}x{size}/{step}");
        check(&case, &x.downsample_mask(step, None).unwrap(), &plain, 0.0);
        check(&format!("{case} occluded"), &x.downsample_mask(step, Some(&occluder)).unwrap(), &cut, 0.0);
        assert!(x.downsample_mask(step + size, None).is_err());
    }
}

#[test]
fn landmarks_beyond_the_picture_and_every_nose_index_draw() {
    let Some(gpu) = gpu() else { return };
    let mut far: Face = [[1e30, -1e30]; 68];
    far[28] = [-5.0, 1e9];
    for (_, kind) in MaskKind::ALL {
        let mask = MaskRule { kind, nose_index: 67 }.draw(gpu, &[far, [[3.0; 2]; 68]], 16).unwrap();
        assert_eq!(mask.shape(), [2, 16, 16, 1]);
        assert!(mask.to_f32().unwrap().iter().all(|&v| v == 0.0 || v == 1.0), "{kind:?}");
    }
    assert!(MaskRule { kind: MaskKind::Box, nose_index: 68 }.draw(gpu, &[far], 16).is_err());
    assert_eq!("heart".parse::<MaskKind>().unwrap(), MaskKind::Heart);
    assert_eq!("ellipse".parse::<MaskKind>().unwrap_err().exit_code(), 2);
}

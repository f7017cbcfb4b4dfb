use crate::{Random, check, gpu};
use viseme::gpu::Elem;
use viseme::ops::{LandmarkPart, LandmarkParts, Window};
use viseme::tensor::Tensor;

/// The map's two rows: through the middle of the box of the landmarks, turned so that the corners are level.
fn reference(landmarks: &[f32], part: &LandmarkPart<'_>, window: Window) -> [f64; 8] {
    let unit = f64::from(window.unit);
    let at = |index: u32| [0, 1].map(|axis| unit * f64::from(landmarks[3 * index as usize + axis]));
    let ([ax, ay], [bx, by]) = (at(part.corners[0]), at(part.corners[1]));
    let angle = if (ax, ay) == (bx, by) { 0.0 } else { (by - ay).atan2(bx - ax) };
    let (mut low, mut high) = ([f64::MAX; 2], [f64::MIN; 2]);
    for &index in part.landmarks {
        let [x, y] = at(index);
        let turned = [angle.cos() * x + angle.sin() * y, -angle.sin() * x + angle.cos() * y];
        for axis in 0..2 {
            low[axis] = low[axis].min(turned[axis]);
            high[axis] = high[axis].max(turned[axis]);
        }
    }
    let scale = [0, 1].map(|axis| f64::from(window.growth) * (high[axis] - low[axis]) / window.side as f64);
    let corner = [0, 1].map(|axis| 0.5 * (low[axis] + high[axis]) - 0.5 * window.side as f64 * scale[axis]);
    let back = |[x, y]: [f64; 2]| [angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y];
    let (across, down, from) = (back([scale[0], 0.0]), back([0.0, scale[1]]), back(corner));
    [across[0], down[0], from[0], across[1], down[1], from[1], 0.0, 0.0]
}

#[test]
fn windows_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(5);
    let all: Vec<u32> = (0..131).collect();
    let parts = [
        LandmarkPart { corners: [0, 130], landmarks: &all },
        LandmarkPart { corners: [7, 3], landmarks: &all[5..70] },
        LandmarkPart { corners: [2, 2], landmarks: &all[2..4] },
    ];
    let table = LandmarkParts::new(gpu, &parts).unwrap();
    for (images, values, window) in [
        (1, 393, Window { side: 16, growth: 1.5, unit: 0.25 }),
        (3, 396, Window { side: 7, growth: 1.0, unit: 2.0 }),
        (70, 393, Window { side: 16, growth: 1.25, unit: 1.0 }),
    ] {
        let x: Vec<f32> = random.vec(images * values).iter().map(|v| 96.0 + 90.0 * v).collect();
        let y = Tensor::from_f32(gpu, &[images, values], &x).unwrap().landmark_windows(&table, window).unwrap();
        assert_eq!(y.shape(), [3 * images, 8]);
        let rows = parts.iter().flat_map(|part| x.chunks(values).map(move |row| reference(row, part, window)));
        check(&format!("{images} x {values} {window:?}"), &y, &rows.flatten().collect::<Vec<_>>(), 2e-6);
    }
    let few = Tensor::zeros(gpu, &[1, 390], Elem::F32).unwrap();
    let error = few.landmark_windows(&table, Window { side: 1, growth: 1.0, unit: 1.0 }).unwrap_err().to_string();
    assert!(error.contains("131 landmarks"), "{error}");
}

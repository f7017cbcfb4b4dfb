use crate::{Fixture, close};
use viseme::face::landmarks::{Face, Landmarks};
use viseme::media::{Audio, Fps};
use viseme::metrics::lipleak::{LipLeak, THRESHOLD, mouth_aspect_ratio, mouth_aspect_ratios};
use viseme::metrics::mouth::{Against, Mouth, opening};
use viseme::metrics::sync::{FLOOR_DB, Sync, correlation, loudness_db};

/// A mouth 40 wide whose three inner distances are `heights`.
pub fn face(heights: [f32; 3]) -> Face {
    let mut face = [[7.0, 9.0]; 68];
    face[60] = [100.0, 50.0];
    face[64] = [140.0, 50.0];
    for (i, height) in heights.into_iter().enumerate() {
        face[61 + i] = [110.0 + 10.0 * i as f32, 50.0 - height / 2.0];
        face[67 - i] = [110.0 + 10.0 * i as f32, 50.0 + height / 2.0];
    }
    face
}

#[test]
fn mouth_aspect_ratio_by_hand() {
    // (6 + 12 + 6) / (2 * 40): the paper's 2, not a mean over three.
    assert_eq!(mouth_aspect_ratio(&face([6.0, 12.0, 6.0])), Some(0.3));
    assert_eq!(mouth_aspect_ratio(&face([0.0; 3])), Some(0.0));
    // Turned by a right angle.
    let turned = face([6.0, 12.0, 6.0]).map(|[x, y]| [-y, x]);
    close("turned", mouth_aspect_ratio(&turned).unwrap(), 0.3, 1e-7);
    assert_eq!(mouth_aspect_ratio(&[[1.0, 2.0]; 68]), None);
}

/// The same with the eyes' outer corners 100 apart.
pub fn eyed_face(heights: [f32; 3]) -> Face {
    let mut face = face(heights);
    (face[36], face[45]) = ([70.0, 0.0], [170.0, 0.0]);
    face
}

#[test]
fn opening_by_hand() {
    // The mean of 6, 12 and 9 over 100; the mouth's width does not count.
    let mut face = eyed_face([6.0, 12.0, 9.0]);
    close("opening", opening(&face).unwrap(), 0.09, 1e-12);
    face[64] = [300.0, 50.0];
    close("wider", opening(&face).unwrap(), 0.09, 1e-12);
    close("larger", opening(&face.map(|[x, y]| [3.0 * x, 3.0 * y])).unwrap(), 0.09, 1e-6);
    assert_eq!(opening(&eyed_face([0.0; 3])), Some(0.0));
    assert_eq!(opening(&[[1.0, 2.0]; 68]), None);
}

/// Pearson's correlation of `truth[t]` and `mouth[t + lag]`, in plain loops.
fn plain_correlation(mouth: &[Option<f64>], truth: &[Option<f64>], lag: i64) -> f64 {
    let mut pairs = Vec::new();
    for t in 0..truth.len() as i64 {
        let at = t + lag;
        if at < 0 || at >= mouth.len() as i64 {
            continue;
        }
        if let (Some(m), Some(w)) = (mouth[at as usize], truth[t as usize]) {
            pairs.push([m, w]);
        }
    }
    let n = pairs.len() as f64;
    let (mut sums, mut products) = ([0.0; 2], [0.0; 3]);
    for [m, w] in pairs {
        sums = [sums[0] + m, sums[1] + w];
        products = [products[0] + m * w, products[1] + m * m, products[2] + w * w];
    }
    let [both, mouths, truths] =
        [products[0] - sums[0] * sums[1] / n, products[1] - sums[0] * sums[0] / n, products[2] - sums[1] * sums[1] / n];
    both / (mouths * truths).sqrt()
}

#[test]
fn a_late_mouth_has_a_lag_above_0() {
    let truth: Vec<Option<f64>> = (0..60)
        .map(|t: usize| (t % 17 != 3).then(|| 0.2 + 0.15 * (t as f64 * 0.9).sin() * (t as f64 * 0.23).cos()))
        .collect();
    for shift in [-4i64, 0, 3] {
        // Half as wide open, and with frames of its own that are not found.
        let shown = |t: i64| usize::try_from(t - shift).ok().and_then(|t| truth.get(t).copied().flatten());
        let mouth: Vec<_> = (0..60).map(|t| if t % 23 == 5 { None } else { shown(t).map(|v| 0.5 * v) }).collect();
        let found = Mouth::new(&mouth, &truth, Against::Reference).unwrap();
        assert_eq!(found.sync.lag_frames, shift);
        close("best", found.sync.best, 1.0, 1e-9);
        close("unshifted", found.sync.correlation.unwrap(), plain_correlation(&mouth, &truth, 0), 1e-9);
        assert_eq!((found.frames, found.missing_in_reference), (60, 4));
        assert_eq!(found.missing, mouth.iter().filter(|v| v.is_none()).count());
        let line = format!("mouth correlation {:.2}, lag {shift} frames", plain_correlation(&mouth, &truth, 0));
        assert_eq!(found.line(), line);
        assert!(found.meaning().contains("of 60 frames without a face; 4 of the reference"), "{}", found.meaning());
    }
    // Shifts beyond ten frames are not looked for.
    let late: Vec<_> = [vec![None; 14], truth.clone()].concat();
    assert!(Mouth::new(&late[..60], &truth, Against::Reference).unwrap().sync.lag_frames.abs() <= 10);
    assert_eq!(Mouth::new(&[Some(0.1); 60], &truth, Against::Reference), None);
}

#[test]
fn lipleak_by_hand() {
    // The threshold itself is not above it.
    let ratios = [Some(0.25), Some(0.26), None, Some(0.5), Some(0.0), None];
    let leak = LipLeak::new(&ratios, THRESHOLD).unwrap();
    assert_eq!((leak.frames, leak.missing, leak.open, leak.largest), (6, 2, 2, 0.5));
    assert_eq!(leak.share(), 0.5);
    assert_eq!(leak.bounds(), [2.0 / 6.0, 4.0 / 6.0]);
    close("mean", leak.mean, 1.01 / 4.0, 1e-12);
    assert_eq!(LipLeak::new(&[None, None], THRESHOLD), None);
    assert_eq!(LipLeak::new(&[], THRESHOLD), None);
}

#[test]
fn frames_without_a_face_are_kept() {
    let points = serde_json::to_string(&face([6.0, 12.0, 6.0]).to_vec()).unwrap();
    let blind = points.replacen("7.0", "null", 1);
    for json in [
        format!("[{points}, null, {blind}, {points}]"),
        format!(r#"{{"width": 320, "height": 240, "frames": [{points}, null, {blind}, {points}]}}"#),
    ] {
        let landmarks = Landmarks::from_json("t.json", json.as_bytes()).unwrap();
        assert_eq!(mouth_aspect_ratios(&landmarks), [Some(0.3), None, None, Some(0.3)]);
    }
    // Lip sync needs one.
    let blind = Landmarks::from_json("t.json", format!("[{blind}]").as_bytes()).unwrap();
    let error = blind.for_pictures("t.json", [320, 240]).unwrap_err();
    assert!(
        error.to_string().contains("t.json: expected a face in a frame or more") && error.exit_code() == 3,
        "{error}"
    );

    let mut values: Vec<f32> = [face([6.0, 12.0, 6.0]), face([0.0; 3])].concat().concat();
    values[136] = f32::NAN;
    let npy = npy(&values);
    assert_eq!(mouth_aspect_ratios(&Landmarks::from_npy("t.npy", &npy).unwrap()), [Some(0.3), None]);

    // Infinity is no way to say that nothing was found.
    assert!(Landmarks::new("t", vec![[[f32::INFINITY; 2]; 68]], None).is_err());
    for broken in ["[]", "[[[1, 2]]]", "[[]]", "{}", "[7]"] {
        assert!(Landmarks::from_json("t.json", broken.as_bytes()).is_err(), "{broken}");
    }
}

/// `[frames, 68, 2]` as numpy.save writes it.
fn npy(values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 68, 2), }}", values.len() / 136);
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), bytemuck::cast_slice(values)]
        .concat()
}

const FPS: Fps = Fps::INSIDE;

#[test]
fn loudness_by_hand() {
    // 640 samples a frame at 25: full scale, a tenth, silence, and the first half of a frame; less than half is dropped.
    let level = |value: f32, count: usize| vec![value; count];
    let whole = [level(1.0, 640), level(-0.1, 640), level(0.0, 640)].concat();
    let levels = |samples: Vec<f32>| loudness_db(&Audio::samples(samples, 16_000), FPS).unwrap();
    let got = levels([whole.clone(), level(0.5, 320)].concat());
    assert_eq!(got.len(), 4);
    for (got, want) in got.iter().zip([0.0, -20.0, FLOOR_DB, -6.020_599_913]) {
        assert!((got - want).abs() < 1e-6, "got {got}, want {want}");
    }
    assert_eq!(levels([whole, level(0.5, 319)].concat()).len(), 3);
}

#[test]
fn correlation_by_hand() {
    // The mouth is the sound two frames later, scaled and moved.
    let mut loudness = [1.0, 5.0, 2.0, 8.0, 3.0, 9.0, 4.0, 4.0, 7.0, 1.0, 6.0, 2.0];
    let later = |t: usize| if t < 2 { 0.4 } else { 0.1 * loudness[t - 2] + 0.2 };
    let mut mouth: Vec<Option<f64>> = (0..12).map(|t| Some(later(t))).collect();
    close("at the lag", correlation(&mouth, &loudness, 2).unwrap(), 1.0, 1e-12);
    let sync = Sync::new(&mouth, &loudness, 5).unwrap();
    assert_eq!((sync.lag_frames, sync.lag_ms(FPS)), (2, 80.0));
    assert!(sync.correlation.unwrap() < 0.9);
    // A frame without a mouth takes no part, whatever is heard with it.
    mouth[5] = None;
    loudness[3] = 1000.0;
    close("with a gap", correlation(&mouth, &loudness, 2).unwrap(), 1.0, 1e-12);

    // x = 1..8 against its squares: sums of products of deviations 378 of both, 42 of x, 3570 of the squares.
    let x: Vec<f64> = (1..=8).map(f64::from).collect();
    let squares: Vec<Option<f64>> = x.iter().map(|v| Some(v * v)).collect();
    close("squares", correlation(&squares, &x, 0).unwrap(), 378.0 / (42.0f64 * 3570.0).sqrt(), 1e-12);
}

#[test]
fn what_never_changes_has_no_correlation() {
    let varied: Vec<f64> = (0..20).map(|t| f64::from(t * 7 % 5)).collect();
    let moving: Vec<Option<f64>> = varied.iter().map(|&v| Some(v)).collect();
    assert_eq!(Sync::new(&moving, &[FLOOR_DB; 20], 5), None);
    assert_eq!(Sync::new(&[Some(0.1); 20], &varied, 5), None);
    assert_eq!(Sync::new(&[None; 20], &varied, 5), None);
    assert_eq!(Sync::new(&moving[..7], &varied[..7], 5), None);
    assert_eq!(Sync::new::<f64>(&[], &[], 5), None);
    // Opposite movement is a correlation of -1, not a good one.
    let opposite: Vec<Option<f64>> = varied.iter().map(|&v| Some(-v)).collect();
    close("opposite", Sync::new(&opposite, &varied, 0).unwrap().best, -1.0, 1e-12);
}

#[test]
fn mouth_and_sound_agree_with_python() {
    let fixture = Fixture::read();
    let face = &fixture.config["face"];
    let points: Vec<Face> = bytemuck::pod_collect_to_vec(&fixture.bytes("input.landmarks"));
    let track = Landmarks::from_npy("fixture", &npy(points.as_flattened().as_flattened())).unwrap();
    let ratios = mouth_aspect_ratios(&track);
    let want = fixture.floats("output.mouth_aspect_ratio");
    assert_eq!(ratios.len(), want.len());
    for (frame, (got, want)) in ratios.iter().zip(want).enumerate() {
        assert_eq!(got.is_none(), want.is_nan(), "frame {frame}");
        close("ratio", got.unwrap_or(0.0), got.map_or(0.0, |_| f64::from(want)), 1e-7);
    }
    let leak = LipLeak::new(&ratios, THRESHOLD).unwrap();
    assert_eq!(
        (leak.open as u64, leak.missing as u64),
        (face["open_frames"].as_u64().unwrap(), face["missing_frames"].as_u64().unwrap())
    );

    let samples: Vec<i16> = bytemuck::pod_collect_to_vec(&fixture.bytes("input.samples"));
    let samples: Vec<f32> = samples.iter().map(|&v| f32::from(v) / 32768.0).collect();
    let fps = Fps::new(face["fps"][0].as_u64().unwrap() as u32, face["fps"][1].as_u64().unwrap() as u32).unwrap();
    let loudness = loudness_db(&Audio::samples(samples, 16_000), fps).unwrap();
    let want = fixture.floats("output.loudness_db");
    assert_eq!(loudness.len(), want.len());
    for (got, want) in loudness.iter().zip(want) {
        close("loudness", *got, f64::from(want), 1e-6);
    }

    let first = face["lags"][0].as_i64().unwrap();
    for (lag, want) in (first..).zip(fixture.floats("output.correlation")) {
        let got = correlation(&ratios, &loudness, lag).unwrap();
        assert!((got - f64::from(want)).abs() < 1e-6, "lag {lag}: got {got}, want {want}");
    }
    let sync = Sync::new(&ratios, &loudness, first.unsigned_abs() as usize).unwrap();
    assert_eq!(sync.lag_frames, face["best_lag"].as_i64().unwrap());
}

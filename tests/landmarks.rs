//! Landmark files: the forms that they come in, what is refused, and the scaling. No device is needed.

use std::f64::consts::TAU;

use serde_json::{Value, json};
use viseme::face::landmarks::Landmarks;

/// A file of the golden folder, or nothing, said aloud, where there is no such folder.
fn golden(name: &str) -> Option<Vec<u8>> {
    let Some(folder) = std::env::var_os("VISEME_GOLDEN") else {
        eprintln!("skipped: {name} (VISEME_GOLDEN is not set)");
        return None;
    };
    Some(std::fs::read(std::path::PathBuf::from(folder).join(name)).unwrap())
}

/// A face of 67x67 in a picture of 100x100, moved by `dx`.
fn points(dx: f64) -> Vec<[f64; 2]> {
    let around = |[x, y]: [f64; 2], [width, height]: [f64; 2], at: f64| {
        [x - width * (TAU * at).cos(), y - height * (TAU * at).sin()]
    };
    let point = |i: usize| match i {
        0..17 => around([0.5, 0.3], [0.5, -0.7], i as f64 / 32.0),
        17..27 => [0.1 + 0.09 * (i - 17) as f64, 0.0],
        27..31 => [0.5, 0.2 + 0.1 * (i - 27) as f64],
        31..36 => [0.4 + 0.05 * (i - 31) as f64, 0.55],
        36..42 => around([0.28, 0.2], [0.1, 0.04], (i - 36) as f64 / 6.0),
        42..48 => around([0.72, 0.2], [0.1, 0.04], (i - 42) as f64 / 6.0),
        48..60 => around([0.5, 0.75], [0.18, 0.08], (i - 48) as f64 / 12.0),
        _ => around([0.5, 0.75], [0.12, 0.03], (i - 60) as f64 / 8.0),
    };
    (0..68).map(point).map(|[x, y]| [10.0 + 67.0 * x + dx, 20.0 + 67.0 * y]).collect()
}

fn face(points: &[[f64; 2]]) -> [[f32; 2]; 68] {
    points.iter().map(|p| p.map(|v| v as f32)).collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn landmarks_read_alike_from_every_form() {
    let frames = [points(0.0), points(3.25)];
    let from_json = |value: Value| Landmarks::from_json("a.json", &serde_json::to_vec(&value).unwrap()).unwrap();
    let bare = from_json(json!(frames));
    let sized = from_json(json!({ "width": 200, "height": 100, "frames": frames }));
    assert_eq!((bare.len(), bare.size(), sized.size()), (2, None, Some([200, 100])));
    assert_eq!(bare.face(1).unwrap()[27], [46.75, 33.4]);
    assert_eq!((bare.face(1), bare.face(0)), (sized.face(1), sized.face(0)));
    assert_eq!(bare.face(99), bare.face(1));

    let flat: Vec<f64> = frames.iter().flatten().flatten().copied().collect();
    let f4 = flat.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
    let f8 = flat.iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(Landmarks::from_npy("a.npy", &npy("<f4", "(2, 68, 2)", f4)).unwrap(), bare);
    assert_eq!(Landmarks::from_npy("a.npy", &npy("<f8", "(2, 68, 2)", f8)).unwrap(), bare);
    let whole = flat.iter().map(|v| v.trunc() - 40.0);
    for (description, bytes) in [
        ("<i2", whole.clone().flat_map(|v| (v as i16).to_le_bytes()).collect()),
        ("<i4", whole.clone().flat_map(|v| (v as i32).to_le_bytes()).collect()),
        ("<i8", whole.clone().flat_map(|v| (v as i64).to_le_bytes()).collect()),
    ] {
        let read = Landmarks::from_npy("a.npy", &npy(description, "(2, 68, 2)", bytes)).unwrap();
        assert_eq!((read.face(1).unwrap()[27], read.face(0).unwrap()[0]), ([6.0, -7.0], [-30.0, 0.0]), "{description}");
    }
    let u1 = flat.iter().map(|&v| v as u8).collect();
    assert_eq!(Landmarks::from_npy("a.npy", &npy("|u1", "(2, 68, 2)", u1)).unwrap().face(1).unwrap()[27], [46.0, 33.0]);
}

fn npy(description: &str, shape: &str, data: Vec<u8>) -> Vec<u8> {
    let header = format!("{{'descr': '{description}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes().chain(data));
    file
}

#[test]
fn broken_landmarks_are_named() {
    let mut short = vec![points(0.0), points(0.0)];
    short[1].pop();
    let mut huge = vec![points(0.0)];
    huge[0][27][1] = 1e300;
    let json_cases = [
        (json!(short), "frame 1: expected 68 points, or MediaPipe's 478, found 67 points"),
        (json!(huge), "frame 0, point 27: expected finite numbers, found [43.5, inf]"),
        (json!([]), "found none"),
        (json!([vec![[1.0, 2.0, 3.0]; 68]]), "frame 0, point 0: expected [x, y], found 3 numbers"),
        (json!({ "width": 0, "height": 5, "frames": [points(0.0)] }), "found 0x5"),
        (json!({ "faces": 3 }), "missing field `width`"),
        (json!([[["106.8", 3.0]]]), "invalid type: string"),
        (json!("frames"), "found another kind of file"),
    ];
    let message = |result: viseme::Result<Landmarks>| {
        let error = result.unwrap_err();
        assert_eq!(error.exit_code(), 3);
        error.to_string()
    };
    for (value, needle) in json_cases {
        let message = message(Landmarks::from_json("a.json", &serde_json::to_vec(&value).unwrap()));
        assert!(message.starts_with("a.json") && message.contains(needle), "{message}");
        assert!(!message.contains("untagged") && !message.contains("Some("), "{message}");
    }
    for (bytes, needle) in
        [(&b"PK\x03\x04frames.npy"[..], ".npz archive"), (b"", "an empty file"), (b"\xef\xbb\xbf ", "an empty file")]
    {
        let message = message(Landmarks::from_json("a.npz", bytes));
        assert!(message.contains(needle), "{message}");
    }
    let good = npy("<f4", "(1, 68, 2)", vec![0; 544]);
    let fortran = String::from_utf8_lossy(&good[10..]).replace("False", "True ");
    let fortran: Vec<u8> = good[..10].iter().copied().chain(fortran.bytes()).collect();
    for (bytes, needle) in [
        (npy("<f4", "(1, 67, 2)", vec![0; 536]), "shape [1, 67, 2]"),
        (npy("<f4", "(1, 68, 2)", vec![0; 543]), "543 bytes"),
        (npy("<f4", "(99999999999999999, 68, 2)", vec![]), "0 bytes"),
        (npy("<f4", "(99999999999999999999999, 68, 2)", vec![]), "broken shape"),
        (npy("|O", "(1, 68, 2)", vec![0; 544]), "found |O"),
        (npy("<f4", "(0, 68, 2)", vec![]), "found none"),
        (fortran, "Fortran order"),
    ] {
        let message = message(Landmarks::from_npy("a.npy", &bytes));
        assert!(message.contains(needle), "{message}");
    }
    for cut in 0..good.len() {
        assert!(Landmarks::from_npy("a.npy", &good[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn landmarks_are_scaled_once_and_kept_near_the_picture() {
    let new = |dx, size| Landmarks::new("a", vec![face(&points(dx))], size).unwrap();
    let scaled = new(0.5, Some([200, 100])).for_pictures("a", [100, 100]).unwrap();
    assert_eq!((scaled.face(0).unwrap()[27], scaled.size()), ([22.0, 33.0], Some([100, 100])));
    let again = scaled.for_pictures("a", [100, 100]).unwrap();
    assert_eq!(again, scaled);
    assert_eq!(new(0.5, None).for_pictures("a", [100, 100]).unwrap().face(0).unwrap()[27], [44.0, 33.4]);

    // The face is 67 wide: it may stand out by 33.
    assert!(new(-43.0, None).for_pictures("a", [100, 100]).is_ok());
    assert!(new(56.0, None).for_pictures("a", [100, 100]).is_ok());
    for dx in [-44.0, 57.0] {
        let message = new(dx, None).for_pictures("a", [100, 100]).unwrap_err().to_string();
        assert!(message.contains("frame 0, point") && message.contains("100x100"), "{message}");
    }
    let flat = Landmarks::new("a", vec![[[5.0, 5.0]; 68]], None).unwrap();
    assert!(flat.for_pictures("a", [100, 100]).unwrap_err().to_string().contains("one place"));
}

#[test]
fn landmark_scaling_equals_golden_07() {
    let Some(file) = golden("07_masks.safetensors") else { return };
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let input = tensors.tensor("input.scale.landmarks_640x480").unwrap();
    let output = tensors.tensor("output.scale.landmarks_512").unwrap();
    let shape = format!("({}, 68, 2)", input.shape()[0]);
    let scaled =
        Landmarks::from_npy("07", &npy("<f4", &shape, input.data().to_vec())).unwrap().scaled([640, 480], [512, 512]);
    let expected = Landmarks::from_npy("07", &npy("<i8", &shape, output.data().to_vec())).unwrap();
    for frame in 0..expected.len() {
        assert_eq!(scaled.face(frame), expected.face(frame), "frame {frame}");
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let plain = serde_json::to_vec(&json!([points(0.0)])).unwrap();
    let marked = [&b"\xef\xbb\xbf"[..], &plain].concat();
    assert_eq!(Landmarks::from_json("a", &marked).unwrap(), Landmarks::from_json("a", &plain).unwrap());
}

/// Each of MediaPipe's points lies where its number says, so that the 68 tell which of them they are.
#[test]
fn mediapipes_points_become_the_68() {
    for count in [468, 478] {
        let mesh: Vec<[f64; 2]> = (0..count).map(|i| [i as f64, 1_000.0 + i as f64]).collect();
        let flat: Vec<u8> = mesh.iter().flatten().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        let from_json = Landmarks::from_json("a", &serde_json::to_vec(&json!([mesh])).unwrap()).unwrap();
        let from_npy = Landmarks::from_npy("a", &npy("<f4", &format!("(1, {count}, 2)"), flat)).unwrap();
        assert_eq!(from_json, from_npy);
        let face = from_json.face(0).unwrap();
        // The bridge of the nose, both outer corners of the eyes, both corners of the mouth; two that are means.
        for (ibug, mesh) in [(27, 168.0), (36, 33.0), (45, 263.0), (48, 61.0), (54, 291.0), (29, 100.0), (59, 136.0)] {
            assert_eq!(face[ibug], [mesh, 1_000.0 + mesh], "point {ibug} of {count}");
        }
        assert_ne!(face[8], [152.0, 1_152.0], "the chin of {count} is corrected");
    }
}

fn demo() -> Landmarks {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo/landmarks.json");
    Landmarks::read(&path).unwrap()
}

/// `landmarks` with every point changed by `change`, as landmarks of pictures of 4000x4000.
fn checked(landmarks: &Landmarks, change: impl Fn([f64; 2]) -> [f64; 2]) -> Result<(), String> {
    let changed = |frame: usize| landmarks.face(frame).unwrap().map(|p| change(p.map(f64::from)).map(|v| v as f32));
    let faces = (0..landmarks.len()).map(changed).collect();
    let fitted = Landmarks::new("a", faces, None).unwrap().for_pictures("a", [4_000, 4_000]);
    fitted.map(drop).map_err(|e| e.to_string())
}

#[test]
fn heads_in_every_position_pass() {
    let drawn = Landmarks::new("drawn", vec![face(&points(0.0))], None).unwrap();
    for landmarks in [demo(), drawn] {
        for degrees in (0..360).step_by(15) {
            let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
            // Turned in the picture, and in depth: to profile and a little past it.
            for squeeze in [1.0, 0.6, 0.3, 0.0, -0.2] {
                let turned = |[x, y]: [f64; 2]| {
                    let x = x * squeeze;
                    [2_000.0 + x * cos - y * sin, 2_000.0 + x * sin + y * cos]
                };
                checked(&landmarks, turned).unwrap_or_else(|e| panic!("{degrees} degrees, {squeeze}: {e}"));
            }
        }
    }
    // A mouth as wide open as the face is long.
    let mut open = points(0.0);
    for i in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 55, 56, 57, 58, 59, 65, 66, 67] {
        open[i][1] += 40.0;
    }
    let open = Landmarks::new("open", vec![face(&open)], None).unwrap();
    checked(&open, |p| p).unwrap();
}

#[test]
fn points_in_another_form_are_refused_by_name() {
    let upright = demo();
    let refused = |change: &dyn Fn([f64; 2]) -> [f64; 2], needle: &str| {
        let message = checked(&upright, change).expect_err(needle);
        assert!(message.starts_with("a, frame 0") && message.contains(needle), "'{message}' does not say '{needle}'");
    };
    refused(&|[x, y]| [y, x], "[y, x]");
    refused(&|[x, y]| [320.0 - x, y], "a mirrored face");
    refused(&|[x, y]| [x, 320.0 - y], "y that counts from the bottom");
    refused(&|[x, y]| [x / 320.0, y / 320.0], "look normalised");
    refused(&|[x, y]| [x / 16.0, y / 16.0], "a face of 16 pixels or more");

    // Every other point, and whole parts, in each other's place.
    let shuffle = |order: &dyn Fn(usize) -> usize, frames: usize| {
        let shuffled = |frame: usize| {
            let face = upright.face(frame).unwrap();
            std::array::from_fn(|i| face[if frame < frames { order(i) } else { i }])
        };
        Landmarks::new("a", (0..upright.len()).map(shuffled).collect(), None).unwrap().for_pictures("a", [320, 320])
    };
    let all = upright.len();
    for (case, order) in
        [("by 29", &(|i: usize| i * 29 % 68) as &dyn Fn(usize) -> usize), ("mouth first", &|i| (i + 48) % 68)]
    {
        let message = shuffle(order, all).expect_err(case).to_string();
        assert!(message.contains("another order") && message.contains(&format!("{all} of {all}")), "{case}: {message}");
    }
    // One frame of a detector's is no reason.
    shuffle(&|i| i * 29 % 68, 1).unwrap();
}

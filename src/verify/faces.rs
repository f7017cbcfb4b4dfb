//! Golden cases blazeface, attention_mesh and face_points: the networks that find faces, and all of it from a picture to points.

use super::checker::Checker;
use super::golden::{Comparison, Worst};
use crate::face::finder::{FaceFinder, Roi};
use crate::models::attention_mesh::{AttentionMesh, RawMesh};
use crate::models::blazeface::{self, BlazeFace};
use crate::ops::Rgb;
use crate::{Problem, Result};

const NETWORK_BAR: f64 = 1e-5;
/// Of points in pixels of the picture: coordinates of samples are f32, which alone moves points by a hundredth of a pixel.
const PICTURE_BAR: f64 = 1e-4;
/// Against MediaPipe itself, in the mean over all points.
const POINTS_BAR_PX: f64 = 0.05;

pub fn check_blazeface(checker: &mut Checker<'_>) -> Result<()> {
    let network = BlazeFace::load(&checker.loader(&checker.golden.weights()?))?;
    let x = checker.input("image")?.reshape(&[1, blazeface::SIDE, blazeface::SIDE, 3])?;
    for anchors in network.forward(&x)? {
        let count = anchors.scores.len();
        let regressors = anchors.regressors.as_flattened();
        let shape = [1, count, blazeface::REGRESSORS];
        checker.compare_values("output.regressors", &shape, regressors, Some(NETWORK_BAR))?;
        checker.compare_values("output.scores", &[1, count, 1], &anchors.scores, Some(NETWORK_BAR))?;
    }
    Ok(())
}

pub fn check_attention_mesh(checker: &mut Checker<'_>) -> Result<()> {
    let network = AttentionMesh::load(&checker.loader(&checker.golden.weights()?))?;
    for raw in network.forward(&checker.input("image")?)? {
        let RawMesh { mesh, lips, left_eye, left_iris, right_eye, right_iris, flag } = raw;
        let outputs: [(&str, &[f32]); 7] = [
            ("output.mesh", mesh.as_flattened()),
            ("output.lips", lips.as_flattened()),
            ("output.left_eye", left_eye.as_flattened()),
            ("output.left_iris", left_iris.as_flattened()),
            ("output.right_eye", right_eye.as_flattened()),
            ("output.right_iris", right_iris.as_flattened()),
            ("output.flag", &[flag]),
        ];
        for (name, values) in outputs {
            checker.compare_values(name, &[1, 1, 1, values.len()], values, Some(NETWORK_BAR))?;
        }
    }
    Ok(())
}

pub fn check_face_points(checker: &mut Checker<'_>) -> Result<()> {
    let (detector, mesh) = (checker.golden.weights_for("detector")?, checker.golden.weights_for("mesh")?);
    let finder = FaceFinder::from_weights(checker.gpu, &detector, &mesh)?;
    let input = checker.golden.input("rgb")?;
    let [height, width, 3] = input.shape[..] else {
        return Err(Problem::new("input.rgb", "[height, width, 3]", format!("{:?}", input.shape)).input());
    };
    let picture = Rgb::upload(checker.gpu, height, width, input.to_u8()?)?;
    let detections = finder.detect(&picture)?;
    let Some(best) = detections.first() else {
        return Err(Problem::new("input.rgb", "a face", "none").input());
    };
    let narrow = |points: &[[f64; 2]]| points.as_flattened().iter().map(|&v| v as f32).collect::<Vec<f32>>();
    checker.compare_values("output.score", &[1], &[best.score], Some(NETWORK_BAR))?;
    checker.compare_values("output.box", &[2, 2], &narrow(&best.corners), Some(NETWORK_BAR))?;
    checker.compare_values("output.keypoints", &[6, 2], &narrow(&best.keypoints), Some(NETWORK_BAR))?;

    let roi = Roi::of_detection(best);
    let [x, y] = roi.centre;
    let region = [x, y, roi.side, roi.angle].map(|v| v as f32);
    checker.compare_values("output.roi", &[4], &region, Some(NETWORK_BAR))?;

    let points = finder.mesh(&picture, roi)?.points;
    checker.compare_values("output.landmarks478", &[points.len(), 2], points.as_flattened(), Some(PICTURE_BAR))?;
    let mapped = map_to_68(checker, &points)?;
    checker.compare_values("output.landmarks68", &[mapped.len(), 2], mapped.as_flattened(), Some(PICTURE_BAR))?;
    let theirs = checker.golden.output("mediapipe478")?.to_f32();
    let distances = mean_distance(&points, theirs.as_chunks().0)?;
    checker.push("output.mediapipe478, mean distance in pixels", distances, Some(POINTS_BAR_PX));
    Ok(())
}

/// The means of the points that the file's own map names.
fn map_to_68(checker: &Checker<'_>, points: &[[f32; 2]]) -> Result<Vec<[f32; 2]>> {
    let subject = "config.map_478_to_68";
    let map = &checker.golden.config["map_478_to_68"];
    let wrong = || Problem::new(subject, format!("lists of points below {}", points.len()), map.to_string()).input();
    let mean = |named: &serde_json::Value| {
        let named = named.as_array().filter(|named| !named.is_empty()).ok_or_else(wrong)?;
        let mut sum = [0.0; 2];
        for index in named {
            let [x, y] = index.as_u64().and_then(|index| points.get(index as usize)).ok_or_else(wrong)?;
            sum = [sum[0] + x, sum[1] + y];
        }
        Ok(sum.map(|v| v / named.len() as f32))
    };
    map.as_array().ok_or_else(wrong)?.iter().map(mean).collect()
}

/// The mean distance between points of the same number, as the error.
fn mean_distance(got: &[[f32; 2]], want: &[[f32; 2]]) -> Result<Comparison> {
    if got.len() != want.len() || got.is_empty() {
        return Err(
            Problem::new("output.mediapipe478", format!("{} points", got.len()), want.len().to_string()).input()
        );
    }
    let distance = |i: usize| {
        let ([ax, ay], [bx, by]) = (got[i].map(f64::from), want[i].map(f64::from));
        (ax - bx).hypot(ay - by)
    };
    let mean = (0..got.len()).map(distance).sum::<f64>() / got.len() as f64;
    let index = (0..got.len()).max_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap_or(0);
    let worst = Worst { index, got: distance(index), want: 0.0 };
    Ok(Comparison { relative_l2: mean, cosine: None, worst })
}

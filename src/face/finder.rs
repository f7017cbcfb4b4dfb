//! Finds the faces in a picture: BlazeFace says where, Attention Mesh says what is where in each.
//!
//! Source: MediaPipe's face_landmark graphs. Points are in pixels as MediaPipe counts them, from its normalised coordinates times the
//! picture's size.

use super::landmarks::Face;
use super::mesh;
use crate::gpu::Gpu;
use crate::media::Frame;
use crate::models::attention_mesh::{self, AttentionMesh};
use crate::models::blazeface::{self, Anchors, BlazeFace};
use crate::nn::Loader;
use crate::ops::{Affine, Border, Rgb};
use crate::tensor::Tensor;
use crate::weights::{Embedded, Weights};
use crate::{Problem, Result, gpu::Elem};

const DETECTOR_WEIGHTS: &[u8] = include_bytes!("../../weights/faces/face_detection_short_range.safetensors");
const MESH_WEIGHTS: &[u8] = include_bytes!("../../weights/faces/face_landmark_with_attention.safetensors");

/// The least score of a detection, and of the mesh's flag while a face is followed.
const LEAST_SCORE: f64 = 0.5;
/// The least flag of each of the three looks at a face that is new: faces have 1.00, what the detector takes for one in a landscape up
/// to 0.74 at the first look, but up to 0.96 at the third.
const SURE_SCORE: f64 = 0.9;
/// The least score of a detection in a tile. Tiles show more of a background, larger: a landscape's false hits in them score up to 0.67,
/// a few of which the mesh is sure of too; faces of 4 % score 0.82 and more.
const TILE_SCORE: f64 = 0.7;
/// Detections that overlap by more of their union are of one face, and so are meshes.
const SAME_FACE: f64 = 0.3;
/// A region's side over the longer side of the box that it is around.
const MARGIN: f64 = 1.5;
/// Corners of the eyes: a region is turned so that they are level.
const EYES: [usize; 2] = [33, 263];
/// Squares that go through the detector at once.
const SQUARES_AT_ONCE: usize = 16;
/// Tiles along the picture's longer side that are looked at beside the whole of it, and those where all others show no face.
const TILES: usize = 2;
const FINE_TILES: usize = 4;

/// Radians up to which a head counts as level. More brings points nearer to MediaPipe's, less nearer to those of the same face
/// upright: measured on two people who talk and on films with known truth.
const LEVEL: f64 = 0.015;
/// How far a face may go from one frame to the next, in sides of the square that is looked at, before it is looked at once more.
const MOST_MOVED: f64 = 0.05;

/// A face as the detector sees it, in pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    pub score: f32,
    /// Top left and bottom right of its box.
    pub corners: [[f64; 2]; 2],
    /// Right eye, left eye, nose, mouth, right ear, left ear, the person's right being on the picture's left.
    pub keypoints: [[f64; 2]; 6],
}

/// A square of the picture that the mesh looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roi {
    pub centre: [f64; 2],
    pub side: f64,
    /// In radians, clockwise as it is seen: how a level line of the square lies in the picture.
    pub angle: f64,
}

/// A face's points.
#[derive(Debug, Clone, PartialEq)]
pub struct Mesh {
    /// 478, in pixels of the picture: 468 of the face, then 5 of each iris, the left one in the picture first.
    pub points: Vec<[f32; 2]>,
    /// How sure the mesh is that there is a face, 0 to 1.
    pub score: f32,
}

/// Both networks on a device.
pub struct FaceFinder {
    gpu: Gpu,
    detector: BlazeFace,
    mesh: AttentionMesh,
}

/// A square of the picture that the detector looks at, its edges level.
#[derive(Debug, Clone, Copy)]
struct Square {
    left: f64,
    top: f64,
    side: f64,
}

/// A part of a picture on the device, and where its top left corner lies in the picture.
struct Part {
    rgb: Rgb,
    corner: [f64; 2],
}

impl Roi {
    /// Around a detection, its eyes level.
    pub fn of_detection(detection: &Detection) -> Self {
        let [right_eye, left_eye, ..] = detection.keypoints;
        Self::around(detection.corners, tilt(right_eye, left_eye))
    }

    /// Around all of a face's points, the corners of its eyes level. The box around them is taken along the picture's axes, as
    /// MediaPipe does it, up to [`LEVEL`], and turns with a head that tilts further, so that it is seen as it was before. Errors:
    /// fewer points than the mesh has.
    pub fn of_points(points: &[[f32; 2]]) -> Result<Self> {
        if points.len() != attention_mesh::POINTS {
            let expected = format!("{} points", attention_mesh::POINTS);
            return Err(Problem::new("a face", expected, points.len().to_string()).input());
        }
        let eye = |index: usize| points[index].map(f64::from);
        let angle = tilt(eye(EYES[0]), eye(EYES[1]));
        let turned = angle.signum() * (angle.abs() - LEVEL).max(0.0);
        let upright = Affine::rotation(-turned);
        let level: Vec<[f32; 2]> =
            points.iter().map(|point| upright.at(point.map(f64::from)).map(|v| v as f32)).collect();
        let roi = Self::around(bounds(&level), angle);
        Ok(Self { centre: Affine::rotation(turned).at(roi.centre), ..roi })
    }

    /// Whether the face is elsewhere than one would look for it here.
    fn is_off(&self, face: &Self) -> bool {
        let moved = [0, 1].map(|axis| (face.centre[axis] - self.centre[axis]) / self.side);
        moved[0].hypot(moved[1]) > MOST_MOVED
    }

    fn around([low, high]: [[f64; 2]; 2], angle: f64) -> Self {
        let longer = (high[0] - low[0]).max(high[1] - low[1]);
        Self { centre: [0, 1].map(|axis| 0.5 * (low[axis] + high[axis])), side: MARGIN * longer, angle }
    }

    /// From points of the mesh's input to points of the picture.
    fn map(&self) -> Affine {
        let half = 0.5 * attention_mesh::SIDE as f64;
        let scale = self.side / attention_mesh::SIDE as f64;
        let [x, y] = self.centre;
        Affine::translation(-half, -half)
            .then(&Affine::scaling(scale, scale))
            .then(&Affine::rotation(self.angle))
            .then(&Affine::translation(x, y))
    }

    /// Top left and bottom right of the square's corners.
    fn bounds(&self) -> [[f64; 2]; 2] {
        let reach = 0.5 * self.side * (self.angle.sin().abs() + self.angle.cos().abs());
        [self.centre.map(|c| c - reach), self.centre.map(|c| c + reach)]
    }

    fn is_finite(&self) -> bool {
        self.centre.iter().chain([&self.side, &self.angle]).all(|v| v.is_finite()) && self.side > 0.0
    }
}

impl Mesh {
    /// As iBUG's 68 points, the jaw corrected; see [`mesh`](super::mesh).
    pub fn face(&self) -> Face {
        mesh::to_face(&self.points)
    }

    /// Top left and bottom right of the box around its points.
    pub fn bounds(&self) -> [[f64; 2]; 2] {
        bounds(&self.points)
    }

    fn area(&self) -> f64 {
        area(self.bounds())
    }
}

impl FaceFinder {
    /// With the weights inside the crate.
    pub fn load(gpu: &Gpu) -> Result<Self> {
        let embedded = |name, bytes| Ok(Weights::from_source(Embedded::new(name, bytes)?));
        Self::from_weights(
            gpu,
            &embedded("face_detection_short_range.safetensors", DETECTOR_WEIGHTS)?,
            &embedded("face_landmark_with_attention.safetensors", MESH_WEIGHTS)?,
        )
    }

    /// With other weights of the same two networks. Errors: every missing or misshapen tensor by name.
    pub fn from_weights(gpu: &Gpu, detector: &Weights, mesh: &Weights) -> Result<Self> {
        let loader = |w: &Weights| Loader::new(gpu, w, Elem::F32);
        Ok(Self {
            gpu: gpu.clone(),
            detector: detector.checked(&[], false, |w| BlazeFace::load(&loader(w)))?,
            mesh: mesh.checked(&[], false, |w| AttentionMesh::load(&loader(w)))?,
        })
    }

    /// Faces that take a tenth of the picture's longer side or more, the surest first: one pass of the detector over the whole of it.
    pub fn detect(&self, picture: &Rgb) -> Result<Vec<Detection>> {
        self.detect_in(picture, &squares([picture.width(), picture.height()], 1))
    }

    /// The points of the face in `roi`: one pass of the mesh. What comes out where there is no face has a low score.
    pub fn mesh(&self, picture: &Rgb, roi: Roi) -> Result<Mesh> {
        self.mesh_in(&Part { rgb: picture.frame(0)?, corner: [0.0; 2] }, roi)
    }

    /// Every face down to about 4 % of the picture's longer side, the largest first: seen by the detector in the whole picture or in a tile
    /// of half of it, or, where those show none, of a quarter; then by the mesh three times, each time from better points.
    pub fn find(&self, picture: &Rgb) -> Result<Vec<Mesh>> {
        self.find_beside(picture, Vec::new())
    }

    /// The same beside the faces that are `known` to be in the picture, at which nothing looks again.
    pub fn find_beside(&self, picture: &Rgb, known: Vec<Mesh>) -> Result<Vec<Mesh>> {
        let size = [picture.width(), picture.height()];
        let (count, mut found) = (known.len(), known);
        self.find_in(picture, &squares(size, 1), LEAST_SCORE, &mut found)?;
        self.find_in(picture, &squares(size, TILES), TILE_SCORE, &mut found)?;
        if found.is_empty() {
            self.find_in(picture, &squares(size, FINE_TILES), TILE_SCORE, &mut found)?;
        }
        let mut found = found.split_off(count);
        found.sort_by(|a, b| b.area().total_cmp(&a.area()));
        Ok(found)
    }

    /// The face that was `before` in the frame before this; None where it is gone.
    pub fn follow(&self, picture: &Rgb, before: &Mesh) -> Result<Option<Mesh>> {
        self.follow_in(before, |_| Ok(Some(Part { rgb: picture.frame(0)?, corner: [0.0; 2] })))
    }

    /// The same in a frame that is not on the device yet, of which only what is looked at goes there.
    pub fn follow_frame(&self, frame: &Frame, before: &Mesh) -> Result<Option<Mesh>> {
        self.follow_in(before, |roi| Part::upload(&self.gpu, frame, roi))
    }

    /// Looks where the face was, and again where it is, if that is elsewhere; `part` gives what of the picture is looked at.
    fn follow_in(&self, before: &Mesh, part: impl Fn(Roi) -> Result<Option<Part>>) -> Result<Option<Mesh>> {
        let look = |roi| match part(roi)? {
            Some(part) => self.look(&part, roi, LEAST_SCORE),
            None => Ok(None),
        };
        let roi = Roi::of_points(&before.points)?;
        let Some(mesh) = look(roi)? else { return Ok(None) };
        let own = Roi::of_points(&mesh.points)?;
        if roi.is_off(&own) { look(own) } else { Ok(Some(mesh)) }
    }

    /// The face in `roi`; None where the mesh is not so sure of it.
    fn look(&self, part: &Part, roi: Roi, least_score: f64) -> Result<Option<Mesh>> {
        if !roi.is_finite() {
            return Ok(None);
        }
        let mesh = self.mesh_in(part, roi)?;
        Ok(Some(mesh).filter(|mesh| f64::from(mesh.score) >= least_score && is_face(mesh, roi)))
    }

    fn mesh_in(&self, part: &Part, roi: Roi) -> Result<Mesh> {
        let [left, top] = part.corner;
        let map = roi.map().then(&Affine::translation(-left, -top));
        let x =
            part.rgb.sample_tensor(&between_indices(&map), [attention_mesh::SIDE; 2], Border::Replicate, [1.0, 0.0])?;
        let raw = self.mesh.forward(&x)?.pop();
        let raw = raw.ok_or_else(|| Problem::new("attention mesh", "a face for a picture", "none").shape())?;
        let to_picture = roi.map();
        let points =
            raw.points().into_iter().map(|point| to_picture.at(point.map(f64::from)).map(|v| v as f32)).collect();
        Ok(Mesh { points, score: sigmoid(f64::from(raw.flag)) as f32 })
    }

    /// Adds the faces that the detector sees in `squares` with a score of at least `least_score`, each once.
    fn find_in(&self, picture: &Rgb, squares: &[Square], least_score: f64, found: &mut Vec<Mesh>) -> Result<()> {
        let part = Part { rgb: picture.frame(0)?, corner: [0.0; 2] };
        for detection in self.detect_in(picture, squares)? {
            let known = |found: &[Mesh], corners| found.iter().any(|mesh| overlap(mesh.bounds(), corners) > SAME_FACE);
            if f64::from(detection.score) < least_score || known(found, detection.corners) {
                continue;
            }
            let mut seen = self.look(&part, Roi::of_detection(&detection), SURE_SCORE)?;
            for _ in 0..2 {
                if let Some(mesh) = seen {
                    seen = self.look(&part, Roi::of_points(&mesh.points)?, SURE_SCORE)?;
                }
            }
            if let Some(mesh) = seen.filter(|mesh| !known(found, mesh.bounds())) {
                found.push(mesh);
            }
        }
        Ok(())
    }

    fn detect_in(&self, picture: &Rgb, squares: &[Square]) -> Result<Vec<Detection>> {
        let mut seen = Vec::new();
        for group in squares.chunks(SQUARES_AT_ONCE) {
            let crop = |square: &Square| {
                let scale = square.side / blazeface::SIDE as f64;
                let map = Affine::scaling(scale, scale).then(&Affine::translation(square.left, square.top));
                picture.sample_tensor(&between_indices(&map), [blazeface::SIDE; 2], Border::Zero, [2.0, -1.0])
            };
            let crops = group.iter().map(crop).collect::<Result<Vec<_>>>()?;
            let x = Tensor::stack_rows(&crops.iter().collect::<Vec<_>>())?;
            for (anchors, square) in self.detector.forward(&x)?.iter().zip(group) {
                seen.extend(square.detections(anchors));
            }
        }
        Ok(merged(seen))
    }
}

impl Part {
    /// The rectangle of `frame` that `roi` needs; None where that lies outside.
    fn upload(gpu: &Gpu, frame: &Frame, roi: Roi) -> Result<Option<Self>> {
        if !roi.is_finite() {
            return Ok(None);
        }
        // Samples lie up to a pixel beyond, between two centres.
        let [low, high] = roi.bounds();
        let size = [frame.width as usize, frame.height as usize];
        let first = [0, 1].map(|axis| (low[axis] - 2.0).max(0.0) as usize);
        let end = [0, 1].map(|axis| ((high[axis] + 3.0).max(0.0) as usize).min(size[axis]));
        if first[0] >= end[0] || first[1] >= end[1] {
            return Ok(None);
        }
        let pixel = 3 * frame.depth.bytes();
        let mut bytes = Vec::with_capacity((end[0] - first[0]) * (end[1] - first[1]) * pixel);
        for row in frame.rgb.chunks_exact(size[0] * pixel).take(end[1]).skip(first[1]) {
            bytes.extend_from_slice(&row[first[0] * pixel..end[0] * pixel]);
        }
        let rgb = Rgb::upload_at(gpu, end[1] - first[1], end[0] - first[0], frame.depth, &bytes)?;
        Ok(Some(Self { rgb, corner: first.map(|v| v as f64) }))
    }
}

impl Square {
    /// The detections among the anchors of this square, in pixels of the picture.
    fn detections(&self, anchors: &Anchors) -> Vec<Detection> {
        let side = blazeface::SIDE as f64;
        let mut seen = Vec::new();
        for ((values, &logit), [x, y]) in anchors.regressors.iter().zip(&anchors.scores).zip(Anchors::centres()) {
            let score = sigmoid(f64::from(logit));
            if score < LEAST_SCORE {
                continue;
            }
            let [centre_x, centre_y, width, height, keypoints @ ..] = values.map(|v| f64::from(v) / side);
            let at = |u: f64, v: f64| [self.left + (x + u) * self.side, self.top + (y + v) * self.side];
            let corner = |sign: f64| at(centre_x + 0.5 * sign * width, centre_y + 0.5 * sign * height);
            seen.push(Detection {
                score: score as f32,
                corners: [corner(-1.0), corner(1.0)],
                keypoints: std::array::from_fn(|k| at(keypoints[2 * k], keypoints[2 * k + 1])),
            });
        }
        seen
    }
}

/// `tiles` squares along the longer side of a picture, each half over the next one, and as many along the shorter side as cover it;
/// one square around all of it where `tiles` is 1.
fn squares([width, height]: [usize; 2], tiles: usize) -> Vec<Square> {
    let size = [width as f64, height as f64];
    let side = size[0].max(size[1]) / tiles as f64;
    let starts = size.map(|length| {
        let steps = ((length - side) / (0.5 * side)).ceil().max(0.0) as usize;
        let spare = length - side;
        // Of a picture that is narrower than a square, the middle.
        (0..=steps)
            .map(|step| if steps == 0 { 0.5 * spare } else { spare * step as f64 / steps as f64 })
            .collect::<Vec<_>>()
    });
    let [across, down] = &starts;
    down.iter().flat_map(|&top| across.iter().map(move |&left| Square { left, top, side })).collect()
}

/// Of all detections of one face their mean, weighted by score, with the best one's score; the surest face first.
/// Source: BlazeFace, sec. 5 ("blending").
fn merged(mut seen: Vec<Detection>) -> Vec<Detection> {
    seen.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut faces = Vec::new();
    while let Some(best) = seen.first().cloned() {
        let (same, others): (Vec<_>, Vec<_>) =
            seen.into_iter().enumerate().partition(|(i, d)| *i == 0 || overlap(best.corners, d.corners) > SAME_FACE);
        let total: f64 = same.iter().map(|(_, d)| f64::from(d.score)).sum();
        let mean = |point: &dyn Fn(&Detection) -> [f64; 2]| {
            [0, 1].map(|axis| same.iter().map(|(_, d)| f64::from(d.score) * point(d)[axis]).sum::<f64>() / total)
        };
        faces.push(Detection {
            score: best.score,
            corners: std::array::from_fn(|k| mean(&|d| d.corners[k])),
            keypoints: std::array::from_fn(|k| mean(&|d| d.keypoints[k])),
        });
        seen = others.into_iter().map(|(_, d)| d).collect();
    }
    faces
}

/// Whether what the mesh saw in `roi` has the size that a face has there.
fn is_face(mesh: &Mesh, roi: Roi) -> bool {
    let [low, high] = mesh.bounds();
    let longer = (high[0] - low[0]).max(high[1] - low[1]);
    let share = longer * MARGIN / roi.side;
    let eye = |index: usize| mesh.points[index].map(f64::from);
    let ([ax, ay], [bx, by]) = (eye(EYES[0]), eye(EYES[1]));
    let eyes_apart = (bx - ax).hypot(by - ay);
    (0.5..2.0).contains(&share) && eyes_apart > 0.0
}

/// The same map between indices of pixels: MediaPipe samples where index i of the output is index `map(i)` of the picture, without
/// half a pixel at either end. What the networks learned depends on it.
fn between_indices(map: &Affine) -> Affine {
    Affine::translation(-0.5, -0.5).then(map).then(&Affine::translation(0.5, 0.5))
}

/// How far the line from one eye to the other is turned, clockwise.
fn tilt(right_eye: [f64; 2], left_eye: [f64; 2]) -> f64 {
    (left_eye[1] - right_eye[1]).atan2(left_eye[0] - right_eye[0])
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn bounds(points: &[[f32; 2]]) -> [[f64; 2]; 2] {
    let edge = |start: f64, pick: fn(f64, f64) -> f64| {
        [0, 1].map(|axis| points.iter().map(|p| f64::from(p[axis])).fold(start, pick))
    };
    [edge(f64::INFINITY, f64::min), edge(f64::NEG_INFINITY, f64::max)]
}

fn area([low, high]: [[f64; 2]; 2]) -> f64 {
    (high[0] - low[0]).max(0.0) * (high[1] - low[1]).max(0.0)
}

/// Intersection over union of two boxes.
fn overlap(a: [[f64; 2]; 2], b: [[f64; 2]; 2]) -> f64 {
    let both = [[0, 1].map(|axis| a[0][axis].max(b[0][axis])), [0, 1].map(|axis| a[1][axis].min(b[1][axis]))];
    let shared = area(both);
    shared / (area(a) + area(b) - shared).max(f64::MIN_POSITIVE)
}

//! 68 landmarks per frame in iBUG order (0-16 jaw, 17-26 brows, 27-30 nose bridge, 31-35 nostrils, 36-47 eyes, 48-59
//! outer lip, 60-67 inner lip), in pixels, x right and y down; read from JSON or .npy, checked, scaled once. MediaPipe's face mesh is
//! taken too, as 68 points of it with the jaw where dlib would put it ([`mesh`]).

use std::path::Path;

use serde::Deserialize;

use super::mesh;
use super::npy::{self, NPY_MAGIC, Npy};
use super::order;
use crate::media::file::write_whole;
use crate::media::{Fps, FrameTimes};
use crate::{Error, Problem, Result};

pub const POINTS: usize = 68;

const JSON_FORM: &str = r#"JSON of {"width": w, "height": h, "frames": [[[x, y], ...], ...]} or of the list alone"#;

/// `[x, y]` of each landmark.
pub type Face = [[f32; 2]; POINTS];

/// The landmarks of a clip: a face per frame, or none where it was not found; at least one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Landmarks {
    faces: Vec<Option<Face>>,
    size: Option<[u32; 2]>,
}

#[derive(Deserialize)]
struct Json {
    width: u32,
    height: u32,
    frames: Vec<Option<Points>>,
}

/// The points of one frame as a file has them; null stands for NaN, which JSON cannot say.
type Points = Vec<Vec<Option<f64>>>;

impl Landmarks {
    /// Landmarks of a file, .npy or JSON by what is in it. A frame that is null, or has NaN (in JSON, null) for a coordinate, is one
    /// without a face.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        let file = path.display().to_string();
        if bytes.starts_with(NPY_MAGIC) { Self::from_npy(&file, &bytes) } else { Self::from_json(&file, &bytes) }
    }

    /// From `{"width": w, "height": h, "frames": [[[x, y], ...], ...]}` or the bare list. `subject` names it in errors.
    pub fn from_json(subject: &str, bytes: &[u8]) -> Result<Self> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        const ZIP: &[u8] = b"PK\x03\x04";
        let refused = |found: String| Problem::new(subject, format!("{JSON_FORM}, or a .npy file"), found);
        if bytes.starts_with(ZIP) {
            let found = "an .npz archive or another zip file".to_string();
            return Err(refused(found).remedy("save its array alone, with numpy.save(file, points)").input());
        }
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let unread = |e: serde_json::Error| refused(e.to_string()).input();
        let (frames, size) = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {
                let Json { width, height, frames } = serde_json::from_slice(bytes).map_err(unread)?;
                (frames, Some([width, height]))
            }
            Some(b'[') => (serde_json::from_slice(bytes).map_err(unread)?, None),
            Some(_) => return Err(refused("another kind of file".to_string()).input()),
            None => return Err(refused("an empty file".to_string()).input()),
        };
        let face = |(frame, points): (usize, &Option<Points>)| {
            points.as_ref().map(|points| face(subject, frame, points)).transpose()
        };
        Self::of_frames(subject, frames.iter().enumerate().map(face).collect::<Result<_>>()?, size)
    }

    /// From a NumPy file of shape `[frames, 68, 2]`, or `[frames, 478, 2]` of MediaPipe's mesh, any real number type, little-endian, C order.
    pub fn from_npy(subject: &str, bytes: &[u8]) -> Result<Self> {
        let Npy { number, shape, data } = Npy::parse(subject, bytes)?;
        let (frames, points) = match shape[..] {
            [frames, points, 2] if points == POINTS || mesh::SIZES.contains(&points) => (frames, points),
            _ => {
                let found = format!("shape {shape:?}");
                return Err(Problem::new(
                    subject,
                    "shape [frames, 68, 2], or [frames, 478, 2] of MediaPipe's points",
                    found,
                )
                .remedy("each point is [x, y]: leave out a third number")
                .input());
            }
        };
        let face_bytes = points * 2 * number.size_bytes();
        if frames.checked_mul(face_bytes) != Some(data.len()) {
            let expected = format!("{frames} frames of {face_bytes} bytes");
            return Err(Problem::new(subject, expected, format!("{} bytes", data.len())).input());
        }
        let face = |bytes: &[u8]| {
            let values: Vec<f32> = bytes.chunks_exact(number.size_bytes()).map(|bytes| number.read(bytes)).collect();
            let (points, _) = values.as_chunks();
            Some(mesh::to_face(points))
        };
        Self::of_frames(subject, data.chunks_exact(face_bytes).map(face).collect(), None)
    }

    /// A face in each frame, found in pictures of `size` `[width, height]`. Errors: see [`of_frames`](Self::of_frames).
    pub fn new(subject: &str, faces: Vec<Face>, size: Option<[u32; 2]>) -> Result<Self> {
        Self::of_frames(subject, faces.into_iter().map(Some).collect(), size)
    }

    /// `faces` found in pictures of `size` `[width, height]`; a face with NaN in it is none. Errors: no frame at all, or a point that
    /// is infinite.
    pub fn of_frames(subject: &str, faces: Vec<Option<Face>>, size: Option<[u32; 2]>) -> Result<Self> {
        if faces.is_empty() {
            return Err(Problem::new(subject, "landmarks of a frame or more", "none").input());
        }
        let is_found = |face: &Face| !face.as_flattened().iter().any(|v| v.is_nan());
        let faces: Vec<Option<Face>> = faces.into_iter().map(|face| face.filter(is_found)).collect();
        for (frame, face) in faces.iter().enumerate() {
            if let Some(face) = face {
                refuse_infinite(subject, frame, face)?;
            }
        }
        if let Some([width, height]) = size.filter(|s| s.contains(&0)) {
            return Err(Problem::new(subject, "a picture size above 0", format!("{width}x{height}")).input());
        }
        Ok(Self { faces, size })
    }

    /// Writes what [`read`](Self::read) takes: .json with null for a frame without a face, else .npy `[frames, 68, 2]` in f32 with NaN.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = match path.extension() {
            Some(end) if end.eq_ignore_ascii_case("json") => {
                // Floats that read back to the same bits.
                let frames =
                    serde_json::json!(self.faces.iter().map(|face| face.map(|f| f.to_vec())).collect::<Vec<_>>());
                let whole = match self.size {
                    Some([width, height]) => serde_json::json!({"width": width, "height": height, "frames": frames}),
                    None => frames,
                };
                whole.to_string().into_bytes()
            }
            _ => {
                let values: Vec<f32> = self
                    .faces
                    .iter()
                    .flat_map(|face| face.unwrap_or([[f32::NAN; 2]; POINTS]).as_flattened().to_vec())
                    .collect();
                npy::of_f32(&[self.faces.len(), POINTS, 2], &values)
            }
        };
        write_whole(path, &bytes)
    }

    pub fn len(&self) -> usize {
        self.faces.len()
    }

    pub fn is_empty(&self) -> bool {
        self.faces.is_empty()
    }

    /// `[width, height]` of the pictures they belong to, where that is known.
    pub fn size(&self) -> Option<[u32; 2]> {
        self.size
    }

    /// The face of each frame.
    pub fn faces(&self) -> &[Option<Face>] {
        &self.faces
    }

    /// The face of a frame; past the end the last frame's stands.
    pub fn face(&self, frame: usize) -> Option<&Face> {
        self.faces[frame.min(self.faces.len() - 1)].as_ref()
    }

    /// One face for each frame of a video whose frames lie at `times` and are shown at `fps`. There may be one set for all, one
    /// for each frame, or one for each moment of a constant rate (`fps` or 25), as tools give that read a video of variable times
    /// at a rate of their own. Two sets more or less are no error, since decoders do not agree about the end of a video; the last
    /// face stands there.
    pub fn per_frame(&self, subject: &str, times: &FrameTimes, fps: Fps) -> Result<Self> {
        let (count, sets) = (times.count(), self.len() as u64);
        if sets == 1 || sets.abs_diff(count) <= 2 {
            return Ok(self.clone());
        }
        let shown = |rate: f64| (times.duration_s() * rate).round() as u64;
        let mut rates = vec![fps.as_f64(), Fps::INSIDE.as_f64()];
        rates.dedup();
        if let Some(rate) = rates.iter().copied().find(|&rate| sets.abs_diff(shown(rate)) <= 2) {
            let at = |frame: u64| self.face(((times.start_s(frame) + 1e-3) * rate) as usize).copied();
            return Ok(Self { faces: (0..count).map(at).collect(), size: self.size });
        }
        let mut expected = format!("{count} sets of points, one for each frame of the video");
        for rate in rates {
            if shown(rate).abs_diff(count) > 2 {
                expected += &format!(", {} for {rate:.2} a second", shown(rate));
            }
        }
        expected += ", or one for all";
        let remedy = "find the landmarks in this very file, frame by frame";
        Err(Problem::new(subject, expected, format!("{sets} sets")).remedy(remedy).input())
    }

    /// The same landmarks for pictures of `size` `[width, height]`. They come scaled if they name another size of their own,
    /// which is done here and nowhere else. Errors: no frame has a face; a frame's face is below 16 pixels, as points from 0 to 1 are; one of its
    /// points lies outside the picture by more than half of the face's longer side (a cropped chin or ear lies outside by less);
    /// most frames' points are in another order, mirrored, or [y, x].
    pub fn for_pictures(&self, subject: &str, size: [u32; 2]) -> Result<Self> {
        let fitted = match self.size {
            Some(own) if own != size => self.scaled(own, size),
            _ => Self { faces: self.faces.clone(), size: Some(size) },
        };
        let found = || fitted.faces.iter().enumerate().filter_map(|(frame, face)| Some((frame, face.as_ref()?)));
        if found().next().is_none() {
            let remedy = "without landmarks of its own, a face is looked for";
            return Err(Problem::new(subject, "a face in a frame or more", "none").remedy(remedy).input());
        }
        for (frame, face) in found() {
            refuse_small(subject, frame, face)?;
        }
        order::check(subject, &found().collect::<Vec<_>>())?;
        for (frame, face) in found() {
            refuse_outside(subject, frame, face, size)?;
        }
        Ok(fitted)
    }

    /// From pictures of size `from` to size `to`, both `[width, height]`, by [`scaled_to_whole_pixels`].
    pub fn scaled(&self, from: [u32; 2], to: [u32; 2]) -> Self {
        let scaled = |face: &Face| scaled_to_whole_pixels(face, from, to);
        let faces = self.faces.iter().map(|face| face.as_ref().map(scaled)).collect();
        Self { faces, size: Some(to) }
    }
}

/// `face` from pictures of size `from` to size `to`, both `[width, height]`, cut down to whole pixels toward zero as
/// upstream's `scale_landmarks` does: mask rows depend on it.
pub fn scaled_to_whole_pixels(face: &Face, from: [u32; 2], to: [u32; 2]) -> Face {
    let scale = [0, 1].map(|axis| f64::from(to[axis]) / f64::from(from[axis]));
    face.map(|[x, y]| [(f64::from(x) * scale[0]).trunc() as f32, (f64::from(y) * scale[1]).trunc() as f32])
}

/// Faces below this are too small to make anything of.
const SMALLEST_PX: f32 = 16.0;
/// Where points lie that were divided by the picture's size; a chin may lie outside.
const NORMALISED: std::ops::RangeInclusive<f32> = -1.0..=2.0;

fn at(subject: &str, frame: usize, point: usize) -> String {
    format!("{subject}, frame {frame}, point {point}")
}

fn refuse_infinite(subject: &str, frame: usize, face: &Face) -> Result<()> {
    let Some(point) = face.iter().position(|p| !p.iter().all(|v| v.is_finite())) else { return Ok(()) };
    let found = format!("[{}, {}]", face[point][0], face[point][1]);
    Err(Problem::new(at(subject, frame, point), "finite numbers", found).input())
}

fn face(subject: &str, frame: usize, points: &[Vec<Option<f64>>]) -> Result<Face> {
    if points.len() != POINTS && !mesh::SIZES.contains(&points.len()) {
        let (subject, found) = (format!("{subject}, frame {frame}"), format!("{} points", points.len()));
        return Err(Problem::new(subject, "68 points, or MediaPipe's 478", found).input());
    }
    let point = |(i, point): (usize, &Vec<Option<f64>>)| match point[..] {
        [x, y] => Ok([x, y].map(|v| v.map_or(f32::NAN, |v| v as f32))),
        _ => Err(Problem::new(at(subject, frame, i), "[x, y]", format!("{} numbers", point.len())).input()),
    };
    Ok(mesh::to_face(&points.iter().enumerate().map(point).collect::<Result<Vec<_>>>()?))
}

/// The longer side of the box around the points.
pub(super) fn side(face: &Face) -> f32 {
    let extent = |axis: usize| {
        let values = face.iter().map(|p| p[axis]);
        values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min)
    };
    extent(0).max(extent(1))
}

/// The middle of that box.
pub(super) fn middle(face: &Face) -> [f64; 2] {
    [0, 1].map(|axis| {
        let values = face.iter().map(|p| f64::from(p[axis]));
        (values.clone().fold(f64::MAX, f64::min) + values.fold(f64::MIN, f64::max)) / 2.0
    })
}

fn refuse_small(subject: &str, frame: usize, face: &Face) -> Result<()> {
    let side = side(face);
    if side < SMALLEST_PX {
        let subject = format!("{subject}, frame {frame}");
        let expected = format!("a face of {SMALLEST_PX} pixels or more");
        let is_normalised = face.as_flattened().iter().all(|v| NORMALISED.contains(v));
        return Err(match (side > 0.0, is_normalised) {
            (false, _) => Problem::new(subject, expected, "all of its points in one place"),
            (_, true) => Problem::new(subject, "points in pixels", "points from 0 to 1, which look normalised")
                .remedy("multiply x by the picture's width and y by its height"),
            (_, false) => Problem::new(subject, expected, format!("one of {side:.1}"))
                .remedy("landmarks are pixels of the video; a JSON file may name another width and height"),
        }
        .input());
    }
    Ok(())
}

fn refuse_outside(subject: &str, frame: usize, face: &Face, size: [u32; 2]) -> Result<()> {
    let slack = side(face) / 2.0;
    let is_inside = |p: &[f32; 2]| (0..2).all(|axis| p[axis] >= -slack && p[axis] <= size[axis] as f32 + slack);
    let Some(point) = face.iter().position(|p| !is_inside(p)) else { return Ok(()) };
    let expected = format!("a point in or near the picture of {}x{}", size[0], size[1]);
    Err(Problem::new(at(subject, frame, point), expected, format!("[{}, {}]", face[point][0], face[point][1]))
        .remedy("landmarks are pixels of the video; a JSON file may name another width and height")
        .input())
}

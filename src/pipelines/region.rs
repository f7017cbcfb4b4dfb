//! Where the square crop lies in each frame, and the landmarks as seen in it.

use super::segments::Parity;
use crate::face::landmarks::{Face, Landmarks, scaled_to_whole_pixels};
use crate::ops::Region;
use crate::{Problem, Result};

/// The crop's side over the larger side of the landmarks' box: the forehead and some of the neck are in it, as in the
/// published training crops.
const MARGIN: f64 = 1.9;
/// Frames on either side over which the crop's middle is averaged, half a second: it moves with the head without shaking.
const SMOOTHING: usize = 12;

/// The crop of every frame of a video.
pub struct Regions {
    landmarks: Landmarks,
    rule: Rule,
    side: usize,
    /// Upstream's second scaling of the landmarks, from the picture's size to the crop's, cut to whole pixels.
    rescaled: Option<[u32; 2]>,
}

enum Rule {
    /// The same place in every frame.
    Fixed(Region),
    /// A square of this many pixels around the face.
    Follow { size: f64 },
}

impl Regions {
    /// `face` fixes the place; upstream takes the whole picture, squeezed; else a square follows the landmarks, as large as
    /// the largest face asks for. `side` is the crop's own size in pixels.
    pub fn new(
        landmarks: &Landmarks,
        [width, height]: [u32; 2],
        face: Option<Region>,
        parity: Parity,
        side: usize,
    ) -> Result<Self> {
        let rule = match (face, parity) {
            (Some(region), _) => {
                refuse_elsewhere(landmarks, region)?;
                Rule::Fixed(region)
            }
            (None, Parity::Upstream) => {
                Rule::Fixed(Region { left: 0.0, top: 0.0, width: f64::from(width), height: f64::from(height) })
            }
            (None, Parity::Corrected) => {
                let sizes = (0..landmarks.len()).map(|frame| extent(landmarks.face(frame)));
                Rule::Follow { size: MARGIN * sizes.fold(1.0, f64::max) }
            }
        };
        let rescaled = (parity == Parity::Upstream).then_some([width, height]);
        Ok(Self { landmarks: landmarks.clone(), rule, side, rescaled })
    }

    /// Longer side of the crop, in the picture's pixels.
    pub fn side(&self) -> f64 {
        match self.rule {
            Rule::Fixed(region) => region.width.max(region.height),
            Rule::Follow { size } => size,
        }
    }

    /// The crop of source frame `frame`, in its pixels.
    pub fn at(&self, frame: usize) -> Region {
        match self.rule {
            Rule::Fixed(region) => region,
            Rule::Follow { size } => {
                let frames = frame.saturating_sub(SMOOTHING)..=frame + SMOOTHING;
                let (mut x, mut y, mut count) = (0.0, 0.0, 0.0);
                for near in frames {
                    let [cx, cy] = middle(self.landmarks.face(near));
                    x += cx;
                    y += cy;
                    count += 1.0;
                }
                Region { left: x / count - size / 2.0, top: y / count - size / 2.0, width: size, height: size }
            }
        }
    }

    /// The landmarks of source frame `frame` in the crop's pixels.
    pub fn face_in_crop(&self, frame: usize) -> Face {
        let region = self.at(frame);
        let scale = [self.side as f64 / region.width, self.side as f64 / region.height];
        let face = self.landmarks.face(frame).map(|[x, y]| {
            [((f64::from(x) - region.left) * scale[0]) as f32, ((f64::from(y) - region.top) * scale[1]) as f32]
        });
        match self.rescaled {
            Some(size) => scaled_to_whole_pixels(&face, size, [self.side as u32; 2]),
            None => face,
        }
    }
}

/// An error unless the middle of every face lies in `region`.
fn refuse_elsewhere(landmarks: &Landmarks, region: Region) -> Result<()> {
    let (right, bottom) = (region.left + region.width, region.top + region.height);
    let is_in = |[x, y]: [f64; 2]| (region.left..right).contains(&x) && (region.top..bottom).contains(&y);
    let Some(frame) = (0..landmarks.len()).find(|&frame| !is_in(middle(landmarks.face(frame)))) else { return Ok(()) };
    let [x, y] = middle(landmarks.face(frame));
    let expected = format!("a square around the face, which is at {x:.0},{y:.0} in frame {frame}");
    let found = format!("{},{},{}", region.left, region.top, region.width);
    Err(Problem::new("--face", expected, found).usage())
}

/// Smallest and largest x and y.
fn bounds(face: &Face) -> [[f64; 2]; 2] {
    let along = |axis: usize| face.iter().map(move |point| f64::from(point[axis]));
    [0, 1].map(|axis| [along(axis).fold(f64::MAX, f64::min), along(axis).fold(f64::MIN, f64::max)])
}

fn extent(face: &Face) -> f64 {
    let [x, y] = bounds(face);
    (x[1] - x[0]).max(y[1] - y[0])
}

fn middle(face: &Face) -> [f64; 2] {
    bounds(face).map(|[low, high]| (low + high) / 2.0)
}

//! Where the square crop lies in each frame, and the landmarks as seen in it.

use std::ops::RangeInclusive;

use super::segments::Parity;
use crate::face::landmarks::{Face, Landmarks, scaled_to_whole_pixels};
use crate::media::FrameTimes;
use crate::ops::Region;
use crate::{Problem, Result};

/// The crop's side over the larger side of the landmarks' box: the forehead and some of the neck are in it, as in the
/// published training crops.
const MARGIN: f64 = 1.9;
/// Seconds before and after over which the crop's middle is averaged: it moves with the head without shaking.
const SMOOTHING_S: f64 = 0.48;

/// What the crop has to know of a video.
pub struct Filmed {
    /// Width and height in stored pixels.
    pub size: [u32; 2],
    /// Width of a pixel over its height, as it is shown.
    pub pixel_aspect: f64,
    pub times: FrameTimes,
}

/// The crop of every frame of a video. Landmarks and regions are in stored pixels; the crop is a square as it is shown, so that
/// the networks see a face in its own shape.
pub struct Regions {
    landmarks: Landmarks,
    filmed: Filmed,
    rule: Rule,
    side: usize,
    /// Upstream's second scaling of the landmarks, from the picture's size to the crop's, cut to whole pixels.
    rescaled: Option<[u32; 2]>,
}

enum Rule {
    /// The same place in every frame.
    Fixed(Region),
    /// A square of this many rows around the face.
    Follow { size: f64 },
}

impl Regions {
    /// `face` fixes the place; upstream takes the whole picture, squeezed; else a square follows the landmarks, as large as
    /// the largest face asks for. `side` is the crop's own size in pixels.
    pub fn new(
        landmarks: &Landmarks,
        filmed: Filmed,
        face: Option<Region>,
        parity: Parity,
        side: usize,
    ) -> Result<Self> {
        let [width, height] = filmed.size;
        let rule = match (face, parity) {
            (Some(region), _) => {
                refuse_elsewhere(landmarks, region)?;
                Rule::Fixed(region)
            }
            (None, Parity::Upstream) => {
                Rule::Fixed(Region { left: 0.0, top: 0.0, width: f64::from(width), height: f64::from(height) })
            }
            (None, Parity::Corrected) => {
                let sizes = (0..landmarks.len()).map(|frame| extent(landmarks.face(frame), filmed.pixel_aspect));
                Rule::Follow { size: MARGIN * sizes.fold(1.0, f64::max) }
            }
        };
        let rescaled = (parity == Parity::Upstream).then_some([width, height]);
        Ok(Self { landmarks: landmarks.clone(), filmed, rule, side, rescaled })
    }

    /// Longer side of the crop, in the picture's pixels.
    pub fn side(&self) -> f64 {
        match self.rule {
            Rule::Fixed(region) => region.width.max(region.height),
            Rule::Follow { size } => size.max(size / self.filmed.pixel_aspect),
        }
    }

    /// The crop of source frame `frame`, in its pixels.
    pub fn at(&self, frame: usize) -> Region {
        match self.rule {
            Rule::Fixed(region) => region,
            Rule::Follow { size } => {
                let (mut x, mut y, mut count) = (0.0, 0.0, 0.0);
                for near in self.near(frame) {
                    let [cx, cy] = middle(self.landmarks.face(near));
                    x += cx;
                    y += cy;
                    count += 1.0;
                }
                let (width, height) = (size / self.filmed.pixel_aspect, size);
                Region { left: x / count - width / 2.0, top: y / count - height / 2.0, width, height }
            }
        }
    }

    /// The frames whose faces share in the place of `frame`'s crop. Past the last one, that one counts again.
    fn near(&self, frame: usize) -> RangeInclusive<usize> {
        match &self.filmed.times {
            FrameTimes::Constant { fps, .. } => {
                let reach = (SMOOTHING_S * fps.as_f64()).round() as usize;
                frame.saturating_sub(reach)..=frame + reach
            }
            times @ FrameTimes::Stamps { .. } => {
                let start_s = times.start_s(frame as u64);
                times.at(start_s - SMOOTHING_S) as usize..=times.at(start_s + SMOOTHING_S) as usize
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

/// An error unless half of `region` or more lies in a picture of `[width, height]`: what lies beyond is made of its border.
pub(super) fn refuse_outside(region: Region, [width, height]: [u32; 2]) -> Result<()> {
    let within = |start: f64, length: f64, size: u32| ((start + length).min(f64::from(size)) - start.max(0.0)).max(0.0);
    let inside = within(region.left, region.width, width) * within(region.top, region.height, height);
    if inside >= 0.5 * region.width * region.height && inside > 0.0 {
        return Ok(());
    }
    let expected = format!("a square that lies at least by half in the picture of {width}x{height}");
    Err(Problem::new("--face", expected, format!("{},{},{}", region.left, region.top, region.width)).usage())
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

/// The larger side of its box, in rows.
fn extent(face: &Face, pixel_aspect: f64) -> f64 {
    let [x, y] = bounds(face);
    ((x[1] - x[0]) * pixel_aspect).max(y[1] - y[0])
}

fn middle(face: &Face) -> [f64; 2] {
    bounds(face).map(|[low, high]| (low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Fps;

    /// Faces of 40 by 80 pixels, whose left side is at `lefts`.
    fn faces(lefts: &[f32]) -> Landmarks {
        let face = |left: f32| -> Face {
            std::array::from_fn(|i| [left + 40.0 * (i % 2) as f32, 100.0 + 80.0 * (i / 2 % 2) as f32])
        };
        Landmarks::new("faces", lefts.iter().map(|&left| face(left)).collect(), None).unwrap()
    }

    fn regions(lefts: &[f32], pixel_aspect: f64, times: FrameTimes) -> Regions {
        let filmed = Filmed { size: [720, 576], pixel_aspect, times };
        Regions::new(&faces(lefts), filmed, None, Parity::Corrected, 64).unwrap()
    }

    #[test]
    fn the_crop_is_a_square_as_it_is_shown() {
        let times = FrameTimes::Constant { fps: Fps::INSIDE, count: 1 };
        for aspect in [1.0, 16.0 / 15.0, 64.0 / 45.0, 3.0] {
            let regions = regions(&[300.0], aspect, times.clone());
            let region = regions.at(0);
            let rows = 1.9 * (40.0 * aspect).max(80.0);
            assert!((region.height - rows).abs() < 1e-9, "{aspect}: {region:?}");
            assert!((region.width * aspect - region.height).abs() < 1e-9, "{aspect}: {region:?}");
            assert!((region.left + region.width / 2.0 - 320.0).abs() < 1e-9, "{aspect}: {region:?}");
            let [x, y] = bounds(&regions.face_in_crop(0));
            let shape = (x[1] - x[0]) / (y[1] - y[0]);
            assert!((shape - aspect * 40.0 / 80.0).abs() < 1e-5, "{aspect}: the face is squeezed to {shape}");
        }
    }

    /// A face that steps aside once: how long before the step the crop begins to move, and how long after it still does.
    #[test]
    fn the_crop_follows_over_half_a_second_at_any_rate() {
        for (num, den) in [(25, 1), (60, 1), (30_000, 1001), (15, 1)] {
            let fps = Fps::new(num, den).unwrap();
            let step = (2.0 * fps.as_f64()) as usize;
            let lefts: Vec<f32> = (0..2 * step).map(|i| if i < step { 100.0 } else { 300.0 }).collect();
            let constant = FrameTimes::Constant { fps, count: lefts.len() as u64 };
            let starts: Vec<f64> = (0..lefts.len()).map(|i| i as f64 / fps.as_f64()).collect();
            let end_s = lefts.len() as f64 / fps.as_f64();
            let stamps = FrameTimes::Stamps { starts_s: starts.into(), end_s };
            for times in [constant, stamps] {
                let regions = regions(&lefts, 1.0, times);
                let left = |frame: usize| regions.at(frame).left;
                let moving: Vec<usize> = (1..lefts.len()).filter(|&i| (left(i) - left(i - 1)).abs() > 1e-6).collect();
                let seconds = |frames: usize| frames as f64 / fps.as_f64();
                let (first, last) = (moving[0], moving[moving.len() - 1]);
                let frame_s = 1.0 / fps.as_f64();
                assert!((seconds(step - first) - 0.48).abs() <= frame_s, "{fps}: from {first}, step at {step}");
                assert!((seconds(last - step) - 0.48).abs() <= frame_s, "{fps}: to {last}, step at {step}");
            }
        }
    }
}

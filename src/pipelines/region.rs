//! Where the square crop lies in each frame, shot by shot, and the landmarks as seen in it.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use super::segments::Parity;
use crate::face::landmarks::{Face, scaled_to_whole_pixels};
use crate::media::FrameTimes;
use crate::ops::{Affine, Region};
use crate::{Problem, Result};

/// The crop's side over the larger side of the landmarks' box: the forehead and some of the neck are in it, as in the
/// published training crops.
const MARGIN: f64 = 1.9;
/// Seconds before and after over which the crop's middle is averaged: it moves with the head without shaking.
const SMOOTHING_S: f64 = 0.48;
/// Seconds before and after over which its size is averaged, where it follows the face's.
const SIZE_SMOOTHING_S: f64 = 0.5;
/// The share of a shot's faces that its crop is large enough for, where one size serves all.
const SIZE_SHARE: f64 = 0.95;
/// Where a shot's large faces are this many times larger than its small ones, the crop's size follows.
const MOST_SIZES: f64 = 1.5;
/// Degrees that a head may be tilted, in the median of a shot, before it is turned upright: published training crops are not turned.
const MOST_TILT: f64 = 15.0;

/// One face in a video, as the crop has to know it. Landmarks are in stored pixels.
#[derive(Debug, Clone)]
pub struct Filmed {
    /// Width and height in stored pixels.
    pub size: [u32; 2],
    /// Width of a pixel over its height, as it is shown.
    pub pixel_aspect: f64,
    pub times: FrameTimes,
    /// Its landmarks in each frame; None where it is not seen.
    pub faces: Arc<[Option<Face>]>,
    /// Frames without a cut between them; those of all shots are all frames.
    pub shots: Vec<Range<usize>>,
}

impl Filmed {
    /// The shot that a frame belongs to.
    pub fn shot_of(&self, frame: usize) -> usize {
        self.shots.partition_point(|shot| shot.end <= frame).min(self.shots.len().saturating_sub(1))
    }

    /// The largest square in the middle, as it is shown.
    fn middle(&self) -> Region {
        let [width, height] = self.size.map(f64::from);
        let rows = height.min(width * self.pixel_aspect);
        let columns = rows / self.pixel_aspect;
        Region { left: (width - columns) / 2.0, top: (height - rows) / 2.0, width: columns, height: rows }
    }

    /// The face in the frame of a shot nearest to `frame`; None where the shot has none.
    fn nearest(&self, frame: usize) -> Option<&Face> {
        let shot = self.shots.get(self.shot_of(frame))?;
        let at = |frame: usize| self.faces.get(frame)?.as_ref();
        (0..shot.len().max(1)).find_map(|away| {
            let before = frame.checked_sub(away).filter(|frame| shot.contains(frame));
            let after = Some(frame + away).filter(|frame| shot.contains(frame));
            before.and_then(at).or_else(|| after.and_then(at))
        })
    }

    /// The faces of frames that are shown within `reach_s` of `frame`, and in its shot.
    fn near(&self, frame: usize, reach_s: f64) -> impl Iterator<Item = &Face> {
        let range: RangeInclusive<usize> = match &self.times {
            FrameTimes::Constant { fps, .. } => {
                let reach = (reach_s * fps.as_f64()).round() as usize;
                frame.saturating_sub(reach)..=frame + reach
            }
            times @ FrameTimes::Stamps { .. } => {
                let start_s = times.start_s(frame as u64);
                times.at(start_s - reach_s) as usize..=times.at(start_s + reach_s) as usize
            }
        };
        let shot = self.shots.get(self.shot_of(frame)).cloned().unwrap_or_default();
        let within = (*range.start()).max(shot.start)..(*range.end() + 1).min(shot.end);
        self.faces.get(within).unwrap_or_default().iter().flatten()
    }
}

/// A rectangle of the picture that is a square as it is shown, turned about its middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Before it is turned, in stored pixels.
    pub region: Region,
    /// Clockwise as it is shown, in radians.
    pub angle: f64,
    pixel_aspect: f64,
}

impl Placement {
    pub fn upright(region: Region) -> Self {
        Self { region, angle: 0.0, pixel_aspect: 1.0 }
    }

    /// All of a picture of `[width, height]`.
    pub fn whole([width, height]: [u32; 2]) -> Self {
        Self::upright(Region { left: 0.0, top: 0.0, width: f64::from(width), height: f64::from(height) })
    }

    /// The same moved, and where it has to be made smaller, so that nothing of it lies beyond a picture of `[width, height]`; one
    /// that is turned stays as it is.
    pub fn within(self, size: [u32; 2]) -> Self {
        if self.angle != 0.0 {
            return self;
        }
        let [width, height] = size.map(f64::from);
        let share = (width / self.region.width).min(height / self.region.height).min(1.0);
        let inside = |start: f64, length: f64, end: f64| {
            let smaller = length * share;
            ((start + (length - smaller) / 2.0).clamp(0.0, end - smaller), smaller)
        };
        let (left, width) = inside(self.region.left, self.region.width, width);
        let (top, height) = inside(self.region.top, self.region.height, height);
        Self { region: Region { left, top, width, height }, ..self }
    }

    /// From the pixels of a crop of `side` to those of the picture.
    pub fn map(&self, side: usize) -> Affine {
        let upright = self.region.map(side);
        if self.angle == 0.0 { upright } else { upright.then(&self.turn(self.angle)) }
    }

    /// The picture turned about the region's middle, as it is shown.
    fn turn(&self, angle: f64) -> Affine {
        let Region { left, top, width, height } = self.region;
        let [x, y] = [left + width / 2.0, top + height / 2.0];
        let shown = Affine::translation(-x, -y).then(&Affine::scaling(self.pixel_aspect, 1.0));
        let stored = Affine::scaling(1.0 / self.pixel_aspect, 1.0).then(&Affine::translation(x, y));
        shown.then(&Affine::rotation(angle)).then(&stored)
    }

    /// `face` in the pixels of a crop of `side`.
    fn face(&self, face: &Face, side: usize) -> Face {
        let Region { left, top, width, height } = self.region;
        let scale = [side as f64 / width, side as f64 / height];
        let turn = (self.angle != 0.0).then(|| self.turn(-self.angle));
        face.map(|point| {
            let point = point.map(f64::from);
            let [x, y] = turn.map_or(point, |turn| turn.at(point));
            [((x - left) * scale[0]) as f32, ((y - top) * scale[1]) as f32]
        })
    }
}

/// How large the crop of a shot is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crop {
    /// Longer side in the picture's pixels, of the largest.
    pub side: f64,
    /// Whether its size follows the face's.
    pub follows: bool,
    /// How far it is turned, clockwise in radians.
    pub tilt: f64,
}

/// The crop of every frame of a video: a square as it is shown, so that the networks see a face in its own shape.
pub struct Regions {
    filmed: Filmed,
    rule: Rule,
    side: usize,
    /// Upstream's second scaling of the landmarks, from the picture's size to the crop's, cut to whole pixels.
    rescaled: Option<[u32; 2]>,
}

enum Rule {
    /// The same place in every frame.
    Fixed(Region),
    /// A square around the face, by shot.
    Follow(Vec<Framing>),
}

/// How a shot is cropped.
#[derive(Debug, Clone, Copy)]
struct Framing {
    /// Rows of the crop; None: as many as the face asks for.
    size: Option<f64>,
    angle: f64,
}

impl Framing {
    fn of(filmed: &Filmed, shot: &Range<usize>) -> Self {
        let faces = || filmed.faces.get(shot.clone()).unwrap_or_default().iter().flatten();
        let tilt = median(faces().map(|face| tilt(face, filmed.pixel_aspect)).collect());
        let angle = if tilt.abs() > MOST_TILT.to_radians() { tilt } else { 0.0 };
        let mut sizes: Vec<f64> = faces().map(|face| extent(face, filmed.pixel_aspect, angle)).collect();
        sizes.sort_by(f64::total_cmp);
        let share = |share: f64| {
            let index = (share * sizes.len() as f64).ceil() as usize;
            sizes.get(index.saturating_sub(1)).copied().unwrap_or(1.0).max(1.0)
        };
        let [small, large] = [share(1.0 - SIZE_SHARE), share(SIZE_SHARE)];
        Self { size: (large <= MOST_SIZES * small).then_some(MARGIN * large), angle }
    }
}

impl Regions {
    /// `crop` fixes the place; upstream takes the whole picture, squeezed; else a square follows the landmarks, as large as nearly
    /// all faces of the shot ask for, and turned with a head that is tilted. `side` is the crop's own size in pixels.
    pub fn new(filmed: Filmed, crop: Option<Region>, parity: Parity, side: usize) -> Result<Self> {
        let size = filmed.size;
        let rule = match (crop, parity) {
            (Some(region), _) => {
                refuse_elsewhere(&filmed, region)?;
                Rule::Fixed(region)
            }
            (None, Parity::Upstream) => Rule::Fixed(Placement::whole(filmed.size).region),
            (None, Parity::Corrected) => {
                Rule::Follow(filmed.shots.iter().map(|shot| Framing::of(&filmed, shot)).collect())
            }
        };
        let rescaled = (parity == Parity::Upstream).then_some(size);
        Ok(Self { filmed, rule, side, rescaled })
    }

    pub fn filmed(&self) -> &Filmed {
        &self.filmed
    }

    /// The crop's own side in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// How a shot is cropped.
    pub fn of_shot(&self, shot: usize) -> Crop {
        let longer = |region: &Region| region.width.max(region.height);
        match &self.rule {
            Rule::Fixed(region) => Crop { side: longer(region), follows: false, tilt: 0.0 },
            Rule::Follow(framings) => {
                let Framing { size, angle } = framings[shot];
                let frames = self.filmed.shots[shot].clone();
                // One size is the size of any.
                let frames = if size.is_some() { frames.start..frames.start + 1 } else { frames };
                let side = frames.map(|frame| longer(&self.at(frame).region)).fold(1.0, f64::max);
                Crop { side, follows: size.is_none(), tilt: angle }
            }
        }
    }

    /// The crop of source frame `frame`, in its pixels.
    pub fn at(&self, frame: usize) -> Placement {
        match &self.rule {
            Rule::Fixed(region) => Placement::upright(*region),
            Rule::Follow(framings) => {
                let framing = &framings[self.filmed.shot_of(frame)];
                self.around_the_face(frame, framing)
            }
        }
    }

    fn around_the_face(&self, frame: usize, framing: &Framing) -> Placement {
        let (filmed, angle) = (&self.filmed, framing.angle);
        let aspect = filmed.pixel_aspect;
        let near = |reach_s: f64| {
            let faces: Vec<&Face> = filmed.near(frame, reach_s).collect();
            if faces.is_empty() { filmed.nearest(frame).into_iter().collect() } else { faces }
        };
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            sum / f64::max(count, 1.0)
        };
        let faces = near(SMOOTHING_S);
        if faces.is_empty() {
            return Placement { region: filmed.middle(), angle: 0.0, pixel_aspect: aspect };
        }
        let [x, y] = [0, 1].map(|axis| mean(&mut faces.iter().map(|face| middle(face, aspect, angle)[axis])));
        let sizes = || near(SIZE_SMOOTHING_S).into_iter().map(|face| extent(face, aspect, angle));
        let size = framing.size.unwrap_or_else(|| MARGIN * mean(&mut sizes()).max(1.0));
        let (width, height) = (size / aspect, size);
        let region = Region { left: x - width / 2.0, top: y - height / 2.0, width, height };
        Placement { region, angle, pixel_aspect: aspect }
    }

    /// The landmarks of source frame `frame`, or where it has none of that nearest to it in its shot.
    pub fn face(&self, frame: usize) -> Result<&Face> {
        self.filmed.nearest(frame).ok_or_else(|| Problem::new(format!("frame {frame}"), "a face", "none").shape())
    }

    /// The same in the crop's pixels.
    pub fn face_in_crop(&self, frame: usize) -> Result<Face> {
        let face = self.at(frame).face(self.face(frame)?, self.side);
        Ok(match self.rescaled {
            Some(size) => scaled_to_whole_pixels(&face, size, [self.side as u32; 2]),
            None => face,
        })
    }

    /// Where the head of source frame `from` is in source frame `to`: the picture's similarity between the landmarks that neither
    /// speech nor a blink moves.
    pub fn motion(&self, from: usize, to: usize) -> Result<Affine> {
        if from == to {
            return Ok(Affine::IDENTITY);
        }
        let aspect = self.filmed.pixel_aspect;
        let still = |face: &Face| STILL.map(|i| [f64::from(face[i][0]) * aspect, f64::from(face[i][1])]);
        let similarity = Affine::similarity(&still(self.face(from)?), &still(self.face(to)?));
        let (shown, stored) = (Affine::scaling(aspect, 1.0), Affine::scaling(1.0 / aspect, 1.0));
        Ok(shown.then(&similarity.unwrap_or(Affine::IDENTITY)).then(&stored))
    }
}

/// Nose and corners of the eyes.
const STILL: [usize; 13] = [27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45];

/// An error unless half of `region` or more lies in a picture of `[width, height]`: what lies beyond is made of its border.
pub(super) fn refuse_outside(region: Region, [width, height]: [u32; 2]) -> Result<()> {
    let within = |start: f64, length: f64, size: u32| ((start + length).min(f64::from(size)) - start.max(0.0)).max(0.0);
    let inside = within(region.left, region.width, width) * within(region.top, region.height, height);
    let is_finite = [region.left, region.top, region.width, region.height].iter().all(|value| value.is_finite());
    if is_finite && inside >= 0.5 * region.width * region.height && inside > 0.0 {
        return Ok(());
    }
    let expected = format!("a square that lies at least by half in the picture of {width}x{height}");
    Err(Problem::new("--crop", expected, format!("{},{},{}", region.left, region.top, region.width)).usage())
}

/// An error unless the middle of every face lies in `region`.
fn refuse_elsewhere(filmed: &Filmed, region: Region) -> Result<()> {
    let (right, bottom) = (region.left + region.width, region.top + region.height);
    let is_in = |[x, y]: [f64; 2]| (region.left..right).contains(&x) && (region.top..bottom).contains(&y);
    let middles =
        filmed.faces.iter().enumerate().filter_map(|(frame, face)| Some((frame, middle(face.as_ref()?, 1.0, 0.0))));
    let Some((frame, [x, y])) = middles.into_iter().find(|(_, middle)| !is_in(*middle)) else { return Ok(()) };
    let expected = format!("a square around the face, which is at {x:.0},{y:.0} in frame {frame}");
    let found = format!("{},{},{}", region.left, region.top, region.width);
    Err(Problem::new("--crop", expected, found).usage())
}

/// The middle of its box along axes turned by `angle`, in stored pixels.
fn middle(face: &Face, pixel_aspect: f64, angle: f64) -> [f64; 2] {
    let middle = bounds(face, pixel_aspect, angle).map(|[low, high]| (low + high) / 2.0);
    let [x, y] = Affine::rotation(angle).at(middle);
    [x / pixel_aspect, y]
}

/// The larger side of that box, in rows.
fn extent(face: &Face, pixel_aspect: f64, angle: f64) -> f64 {
    let [x, y] = bounds(face, pixel_aspect, angle);
    (x[1] - x[0]).max(y[1] - y[0])
}

/// Smallest and largest x and y as the face is shown, along axes turned by `angle`; in rows.
fn bounds(face: &Face, pixel_aspect: f64, angle: f64) -> [[f64; 2]; 2] {
    let back = Affine::rotation(-angle);
    let along =
        |axis: usize| face.iter().map(move |&[x, y]| back.at([f64::from(x) * pixel_aspect, f64::from(y)])[axis]);
    [0, 1].map(|axis| [along(axis).fold(f64::MAX, f64::min), along(axis).fold(f64::MIN, f64::max)])
}

/// How far the line from eye to eye is turned, clockwise as it is shown, in radians.
fn tilt(face: &Face, pixel_aspect: f64) -> f64 {
    let eye = |points: Range<usize>| {
        let count = points.len() as f64;
        [0, 1].map(|axis| face[points.clone()].iter().map(|point| f64::from(point[axis])).sum::<f64>() / count)
    };
    let ([x0, y0], [x1, y1]) = (eye(36..42), eye(42..48));
    (y1 - y0).atan2((x1 - x0) * pixel_aspect)
}

/// Of an even number the lower of the two in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Fps;

    /// Faces of 40 by 80 pixels, whose left side is at `lefts`.
    fn faces(lefts: &[f32]) -> Arc<[Option<Face>]> {
        let face = |left: f32| -> Face {
            std::array::from_fn(|i| match i {
                36..42 => [left + 10.0, 120.0],
                42..48 => [left + 30.0, 120.0],
                _ => [left + 40.0 * (i % 2) as f32, 100.0 + 80.0 * (i / 2 % 2) as f32],
            })
        };
        lefts.iter().map(|&left| Some(face(left))).collect()
    }

    fn regions(lefts: &[f32], pixel_aspect: f64, times: FrameTimes) -> Regions {
        let (faces, shots) = (faces(lefts), std::iter::once(0..lefts.len()).collect());
        let filmed = Filmed { size: [720, 576], pixel_aspect, times, faces, shots };
        Regions::new(filmed, None, Parity::Corrected, 64).unwrap()
    }

    #[test]
    fn the_crop_is_a_square_as_it_is_shown() {
        let times = FrameTimes::Constant { fps: Fps::INSIDE, count: 1 };
        for aspect in [1.0, 16.0 / 15.0, 64.0 / 45.0, 3.0] {
            let regions = regions(&[300.0], aspect, times.clone());
            let region = regions.at(0).region;
            let rows = 1.9 * (40.0 * aspect).max(80.0);
            assert!((region.height - rows).abs() < 1e-9, "{aspect}: {region:?}");
            assert!((region.width * aspect - region.height).abs() < 1e-9, "{aspect}: {region:?}");
            assert!((region.left + region.width / 2.0 - 320.0).abs() < 1e-9, "{aspect}: {region:?}");
            let [x, y] = bounds(&regions.face_in_crop(0).unwrap(), 1.0, 0.0);
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
                let left = |frame: usize| regions.at(frame).region.left;
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

//! Faces found and followed through a video, shot by shot, and the one of them that is worked on.

use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use super::finder::{FaceFinder, Mesh};
use super::landmarks::{Face, Landmarks, middle, side};
use super::shots::CutFinder;
use super::smoothing::{OneEuro, fill_gaps};
use crate::gpu::{Cancel, Gpu};
use crate::media::{Frame, FrameSource, FrameTimes};
use crate::ops::{Region, Rgb};
use crate::{Error, Problem, Result};

/// Seconds from one look for new faces to the next.
const LOOK_S: f64 = 0.5;
/// The same while a face has just been lost.
const LOOK_AGAIN_S: f64 = 0.1;
/// Seconds without a face that are bridged.
pub const MOST_GAP_S: f64 = 0.5;

/// A face from where it is found in a shot to where it is last seen in it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackedFace {
    /// Counted from 1 over the whole video.
    pub number: usize,
    pub shot: usize,
    /// The first frame with it.
    pub first: usize,
    /// From there on; None where it was lost for a while.
    pub faces: Vec<Option<Face>>,
}

/// All faces of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracks {
    /// Width and height in stored pixels.
    pub size: [u32; 2],
    pub times: FrameTimes,
    /// Frames without a cut between them.
    pub shots: Vec<Range<usize>>,
    /// By number.
    pub faces: Vec<TrackedFace>,
}

/// Which face is worked on.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum FaceChoice {
    /// In each shot the one that fills most of it.
    #[default]
    Largest,
    /// In each shot the one furthest left (right) of those that are seen for a fair part of it.
    Left,
    Right,
    /// Those of these numbers, each in its shot.
    Numbers(Vec<usize>),
    /// The one at this point of the picture, in pixels: at a time, in its shot, or in each shot.
    At {
        point: [f64; 2],
        time_s: Option<f64>,
    },
}

impl FaceChoice {
    /// The one that a square is around.
    pub fn amid(Region { left, top, width, height }: Region) -> Self {
        Self::At { point: [left + width / 2.0, top + height / 2.0], time_s: None }
    }
}

impl FromStr for FaceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.trim().parse().ok().filter(|value: &f64| value.is_finite());
        let point = |text: &str| {
            let (x, y) = text.split_once(',')?;
            Some([number(x)?, number(y)?])
        };
        let numbers =
            || text.split('+').map(|n| n.trim().parse().ok().filter(|&n: &usize| n > 0)).collect::<Option<Vec<_>>>();
        let choice = match text {
            "largest" => Some(Self::Largest),
            "left" => Some(Self::Left),
            "right" => Some(Self::Right),
            _ => match text.split_once('@') {
                Some((at, time)) => point(at)
                    .zip(number(time).filter(|&time| time >= 0.0))
                    .map(|(point, time_s)| Self::At { point, time_s: Some(time_s) }),
                None if text.contains(',') => point(text).map(|point| Self::At { point, time_s: None }),
                None => numbers().map(Self::Numbers),
            },
        };
        choice.ok_or_else(|| {
            let expected =
                "largest, left, right, a number that `viseme faces` prints (several as 1+4), X,Y or X,Y@SECONDS";
            let problem = Problem::new("--face", expected, format!("'{text}'"));
            let problem = match text.split(',').count() {
                3 => problem.remedy("a square of the picture, LEFT,TOP,SIDE, is --crop"),
                _ => problem,
            };
            problem.usage()
        })
    }
}

/// Follows the faces of a video as its frames come.
pub struct Tracker {
    gpu: Gpu,
    finder: FaceFinder,
    cuts: CutFinder,
    frames: usize,
    shots: Vec<usize>,
    live: Vec<Live>,
    done: Vec<TrackedFace>,
    looked_s: f64,
}

/// A face as it was found in a frame.
struct Sight {
    mesh: Mesh,
    face: Face,
    middle: [f64; 2],
    side: f64,
}

impl Sight {
    fn of(mesh: Mesh) -> Self {
        let face = mesh.face();
        Self { mesh, face, middle: middle(&face), side: f64::from(side(&face)) }
    }

    /// Of the middles, in sides of this face.
    fn distance(&self, other: &Self) -> f64 {
        let ([x0, y0], [x1, y1]) = (self.middle, other.middle);
        (x1 - x0).hypot(y1 - y0) / self.side
    }

    /// Whether two faces of one picture are one.
    fn is_same(&self, other: &Self) -> bool {
        self.distance(other).min(other.distance(self)) < 0.4
    }
}

/// A face that may still be seen.
struct Live {
    track: TrackedFace,
    last: Sight,
    /// Since when it is out of sight.
    lost_s: Option<f64>,
}

impl Tracker {
    /// A new shot begins where the picture changes by more than `cut_threshold`, see [`CutFinder`].
    pub fn new(gpu: &Gpu, cut_threshold: f32) -> Result<Self> {
        Ok(Self {
            gpu: gpu.clone(),
            finder: FaceFinder::load(gpu)?,
            cuts: CutFinder::new(cut_threshold),
            frames: 0,
            shots: Vec::new(),
            live: Vec::new(),
            done: Vec::new(),
            looked_s: 0.0,
        })
    }

    /// The next frame, which is shown from `start_s` on.
    pub fn see(&mut self, frame: &Frame, start_s: f64) -> Result<()> {
        let index = self.frames;
        self.frames += 1;
        let is_cut = self.cuts.next(frame) || index == 0;
        if is_cut {
            self.shots.push(index);
            self.done.extend(self.live.drain(..).map(|live| live.track));
        }
        let mut is_lost = false;
        for live in self.live.iter_mut().filter(|live| live.lost_s.is_none()) {
            let seen = self.finder.follow_frame(frame, &live.last.mesh)?.map(Sight::of);
            match seen.filter(|seen| live.continues(seen)) {
                Some(seen) => live.see(index, seen),
                None => {
                    live.lost_s = Some(start_s);
                    is_lost = true;
                }
            }
        }
        self.drop_doubles();

        let is_missing = |live: &Live| live.lost_s.is_some_and(|lost_s| start_s - lost_s <= MOST_GAP_S);
        let pause_s = if self.live.iter().any(is_missing) { LOOK_AGAIN_S } else { LOOK_S };
        // Half a millisecond: frame times are rounded.
        if is_cut || is_lost || start_s - self.looked_s >= pause_s - 5e-4 {
            self.looked_s = start_s;
            let [width, height] = [frame.width, frame.height].map(|v| v as usize);
            let picture = Rgb::upload_at(&self.gpu, height, width, frame.depth, &frame.rgb)?;
            let in_sight = self.live.iter().filter(|live| live.lost_s.is_none());
            let known = in_sight.map(|live| live.last.mesh.clone()).collect();
            for found in self.finder.find_beside(&picture, known)? {
                self.meet(index, start_s, Sight::of(found));
            }
        }
        Ok(())
    }

    /// A face that was found anew: one that is followed already, one that was lost, or a new one.
    fn meet(&mut self, index: usize, start_s: f64, found: Sight) {
        if self.live.iter().any(|live| live.lost_s.is_none() && live.last.is_same(&found)) {
            return;
        }
        let lost = self.live.iter_mut().filter(|live| live.may_be(&found, start_s));
        if let Some(live) = lost.min_by(|a, b| a.last.distance(&found).total_cmp(&b.last.distance(&found))) {
            return live.see(index, found);
        }
        let number = 1 + self.live.len() + self.done.len();
        let shot = self.shots.len().saturating_sub(1);
        let faces = vec![Some(found.face)];
        self.live.push(Live { track: TrackedFace { number, shot, first: index, faces }, last: found, lost_s: None });
    }

    /// Of two that have come to follow one face, the one that was found first stays.
    fn drop_doubles(&mut self) {
        let frames = self.frames;
        for younger in (1..self.live.len()).rev() {
            let (before, rest) = self.live.split_at_mut(younger);
            let live = &mut rest[0];
            let is_double = |other: &Live| other.lost_s.is_none() && other.last.is_same(&live.last);
            if live.lost_s.is_none() && before.iter().any(is_double) {
                live.lost_s = Some(f64::NEG_INFINITY);
                live.track.faces.truncate((frames - 1).saturating_sub(live.track.first));
            }
        }
    }

    /// What was seen; `times` are those of the frames.
    pub fn finish(mut self, size: [u32; 2], times: FrameTimes) -> Tracks {
        self.done.extend(self.live.drain(..).map(|live| live.track));
        self.done.retain(|track| !track.faces.is_empty());
        self.done.sort_by_key(|track| track.number);
        for (track, number) in self.done.iter_mut().zip(1..) {
            track.number = number;
        }
        let shots = between_starts(&self.shots, self.frames);
        Tracks { size, times, shots, faces: self.done }
    }
}

impl Live {
    fn see(&mut self, index: usize, seen: Sight) {
        self.track.faces.resize(index - self.track.first, None);
        self.track.faces.push(Some(seen.face));
        (self.last, self.lost_s) = (seen, None);
    }

    /// Whether `seen` may be the same face a frame later: nobody moves by half a face, or grows by half.
    fn continues(&self, seen: &Sight) -> bool {
        let ratio = seen.side / self.last.side;
        self.last.distance(seen) < 0.5 && (1.0 / 1.5..1.5).contains(&ratio)
    }

    /// Whether `found` may be this lost face: of about its size, and not further away than it may have come.
    fn may_be(&self, found: &Sight, start_s: f64) -> bool {
        let Some(lost_s) = self.lost_s.filter(|lost_s| lost_s.is_finite()) else { return false };
        let ratio = found.side / self.last.side;
        self.last.distance(found) < 1.0 + (start_s - lost_s) && (1.0 / 1.6..1.6).contains(&ratio)
    }
}

/// How a video is looked through.
pub struct Look<'a> {
    /// A new shot begins where the picture changes by more, see [`CutFinder`].
    pub cut_threshold: f32,
    /// How many frames are looked at, from the first one on, if there are so many.
    pub frames: u64,
    pub cancel: &'a Cancel,
    /// Told how many have been.
    pub seen: &'a dyn Fn(u64),
}

/// All faces of `source`, from its start.
pub fn track(gpu: &Gpu, source: &mut dyn FrameSource, look: &Look<'_>) -> Result<Tracks> {
    let mut tracker = Tracker::new(gpu, look.cut_threshold)?;
    let times = look.through(source, |frame, start_s| tracker.see(frame, start_s))?;
    Ok(tracker.finish(source.size(), times))
}

/// The shots of `source` alone, and the times of its frames.
pub fn shots(source: &mut dyn FrameSource, look: &Look<'_>) -> Result<(Vec<Range<usize>>, FrameTimes)> {
    let (mut cuts, mut starts, mut frames) = (CutFinder::new(look.cut_threshold), Vec::new(), 0);
    let times = look.through(source, |frame, _| {
        if cuts.next(frame) || frames == 0 {
            starts.push(frames);
        }
        frames += 1;
        Ok(())
    })?;
    Ok((between_starts(&starts, frames), times))
}

impl Look<'_> {
    /// The times of all of `source`'s frames, after `see` saw those that are looked at, each with its own.
    fn through(
        &self,
        source: &mut dyn FrameSource,
        mut see: impl FnMut(&Frame, f64) -> Result<()>,
    ) -> Result<FrameTimes> {
        let (known, fps) = (source.times(), source.fps());
        let mut count = 0;
        while count < self.frames
            && let Some(frame) = source.next_frame()?
        {
            self.cancel.check()?;
            let start_s = known.as_ref().map_or(count as f64 / fps.as_f64(), |times| times.start_s(count));
            see(&frame, start_s)?;
            count += 1;
            (self.seen)(count);
        }
        Ok(known.unwrap_or(FrameTimes::Constant { fps, count }))
    }
}

/// Shots of `frames` frames in all, by their first frames.
fn between_starts(starts: &[usize], frames: usize) -> Vec<Range<usize>> {
    let ends = starts.iter().skip(1).copied().chain([frames]);
    starts.iter().zip(ends).map(|(&start, end)| start..end).collect()
}

/// The face that is worked on, through all of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// By frame; None where it is not seen.
    pub faces: Arc<[Option<Face>]>,
    pub shots: Vec<FollowedShot>,
}

/// A shot, and which of all faces is followed in it.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowedShot {
    pub frames: Range<usize>,
    /// None: none, or one whose landmarks came from elsewhere.
    pub number: Option<usize>,
    /// In how many of the frames it was seen, gaps that were bridged not counted.
    pub seen: usize,
}

impl Followed {
    /// Of `landmarks`, one for each frame, of a video with `shots`.
    pub fn given(
        landmarks: &Landmarks,
        shots: Vec<Range<usize>>,
        times: &FrameTimes,
        smoothing: Option<OneEuro>,
    ) -> Self {
        let count = shots.last().map_or(0, |shot| shot.end);
        let faces = (0..count).map(|frame| landmarks.face(frame).copied()).collect();
        Self::prepared(faces, shots.into_iter().map(|frames| (frames, None)), times, smoothing)
    }

    /// Gaps are bridged and the points are smoothed, within shots.
    fn prepared(
        mut faces: Vec<Option<Face>>,
        shots: impl Iterator<Item = (Range<usize>, Option<usize>)>,
        times: &FrameTimes,
        smoothing: Option<OneEuro>,
    ) -> Self {
        let mut followed = Vec::new();
        for (frames, number) in shots {
            let starts_s: Vec<f64> = frames.clone().map(|frame| times.start_s(frame as u64)).collect();
            let shot = &mut faces[frames.clone()];
            let seen = shot.iter().flatten().count();
            fill_gaps(shot, &starts_s, MOST_GAP_S);
            if let Some(filter) = smoothing {
                smooth(shot, &starts_s, &filter);
            }
            followed.push(FollowedShot { frames, number, seen });
        }
        Self { faces: faces.into(), shots: followed }
    }

    /// The shot that shows `frame` with the face in it.
    pub fn shot_of(&self, frame: usize) -> Option<usize> {
        self.faces.get(frame)?.as_ref()?;
        Some(self.shots.partition_point(|shot| shot.frames.end <= frame))
    }
}

/// Smooths each run of faces.
fn smooth(faces: &mut [Option<Face>], starts_s: &[f64], filter: &OneEuro) {
    let mut from = 0;
    while let Some(start) = (from..faces.len()).find(|&i| faces[i].is_some()) {
        let run: Vec<Face> = faces[start..].iter().map_while(|face| *face).collect();
        from = start + run.len();
        let smoothed = filter.smooth(&run, &starts_s[start..from]);
        faces[start..from].iter_mut().zip(smoothed).for_each(|(face, smooth)| *face = Some(smooth));
    }
}

/// Of the time that the longest-seen face of a shot is seen: faces that are seen for less are passers-by.
const FAIR_PART: f64 = 0.25;

impl TrackedFace {
    /// In how many frames it was seen.
    pub fn seen(&self) -> usize {
        self.faces.iter().flatten().count()
    }

    /// The longer side of its box in pixels, in the mean.
    pub fn side(&self) -> f64 {
        self.mean(|face| f64::from(side(face)))
    }

    /// The middle of its box in pixels, in the mean.
    pub fn middle(&self) -> [f64; 2] {
        [0, 1].map(|axis| self.mean(|face| middle(face)[axis]))
    }

    fn mean(&self, of: impl Fn(&Face) -> f64) -> f64 {
        self.faces.iter().flatten().map(of).sum::<f64>() / self.seen().max(1) as f64
    }

    /// Its landmarks in a frame of the video.
    pub fn face(&self, frame: usize) -> Option<&Face> {
        self.faces.get(frame.checked_sub(self.first)?)?.as_ref()
    }
}

impl Tracks {
    pub fn in_shot(&self, shot: usize) -> impl Iterator<Item = &TrackedFace> {
        self.faces.iter().filter(move |face| face.shot == shot)
    }

    /// The face of each shot that `choice` means. Errors: there is none in the whole video; two numbers of one shot.
    pub fn choose(&self, choice: &FaceChoice) -> Result<Vec<Option<&TrackedFace>>> {
        let missing = |expected: String| {
            let found = match self.faces.len() {
                0 => "none".to_string(),
                count => format!("{count} others"),
            };
            Problem::new("the video", expected, found)
        };
        if self.faces.is_empty() {
            let remedy = "give landmarks of your own (--landmarks) if there is one after all";
            return Err(missing("a face in a frame or more".to_string()).remedy(remedy).input());
        }
        let shots = 0..self.shots.len();
        let chosen: Vec<Option<&TrackedFace>> = match choice {
            FaceChoice::Largest => {
                let filled = |face: &TrackedFace| -> f64 {
                    face.faces.iter().flatten().map(|face| f64::from(side(face)).powi(2)).sum()
                };
                let largest = |shot| self.in_shot(shot).max_by(|a, b| filled(a).total_cmp(&filled(b)));
                shots.map(largest).collect()
            }
            FaceChoice::Left => shots.map(|shot| self.outermost(shot, -1.0)).collect(),
            FaceChoice::Right => shots.map(|shot| self.outermost(shot, 1.0)).collect(),
            FaceChoice::Numbers(numbers) => {
                let mut chosen = vec![None; self.shots.len()];
                for &number in numbers {
                    let face = self.faces.iter().find(|face| face.number == number);
                    let face = face.ok_or_else(|| {
                        let expected = format!("a face with the number {number}");
                        missing(expected).remedy("`viseme faces` lists them").input()
                    })?;
                    if let Some(other) = chosen[face.shot].replace(face) {
                        let expected = "one face in a shot: a second run, on the first one's result, takes the other";
                        let found = format!("{} and {number} in one", other.number);
                        return Err(Problem::new("--face", expected, found).usage());
                    }
                }
                chosen
            }
            FaceChoice::At { point, time_s: None } => shots
                .map(|shot| nearest(self.in_shot(shot).map(|face| (face, face.middle(), face.side())), *point))
                .collect(),
            FaceChoice::At { point, time_s: Some(time_s) } => {
                let frame = self.times.at(*time_s) as usize;
                let at = |face: &'_ TrackedFace| face.face(frame).map(|found| (middle(found), f64::from(side(found))));
                let there = self.faces.iter().filter_map(|face| at(face).map(|(middle, side)| (face, middle, side)));
                let face = nearest(there, *point);
                shots.map(|shot| face.filter(|face| face.shot == shot)).collect()
            }
        };
        if chosen.iter().all(Option::is_none) {
            let expected = match choice {
                FaceChoice::At { point: [x, y], time_s } => {
                    format!("a face at {x},{y}{}", time_s.map_or(String::new(), |time_s| format!(" at {time_s} s")))
                }
                _ => "a face that this means".to_string(),
            };
            return Err(missing(expected).remedy("`viseme faces` shows where they are").input());
        }
        Ok(chosen)
    }

    /// Of the faces of a shot that are seen for a fair part of it, the one whose middle lies furthest in `direction`.
    fn outermost(&self, shot: usize, direction: f64) -> Option<&TrackedFace> {
        let longest = self.in_shot(shot).map(TrackedFace::seen).max()?;
        let is_fair = |face: &&TrackedFace| face.seen() as f64 >= FAIR_PART * longest as f64;
        let place = |face: &TrackedFace| direction * face.middle()[0];
        self.in_shot(shot).filter(is_fair).max_by(|a, b| place(a).total_cmp(&place(b)))
    }

    /// The faces that `choice` means, by frame, as they were seen. Errors: as those of [`choose`](Self::choose).
    pub fn seen(&self, choice: &FaceChoice) -> Result<Vec<Option<Face>>> {
        Ok(self.by_frame(&self.choose(choice)?))
    }

    fn by_frame(&self, chosen: &[Option<&TrackedFace>]) -> Vec<Option<Face>> {
        // At least as many as were looked at, whatever the file says.
        let seen = self.shots.last().map_or(0, |shot| shot.end);
        let mut faces = vec![None; seen.max(self.times.count() as usize)];
        for track in chosen.iter().flatten() {
            for (to, from) in faces[track.first..].iter_mut().zip(&track.faces) {
                *to = *from;
            }
        }
        faces
    }

    /// The same with gaps bridged, smoothed by `smoothing`. Errors: as those of [`choose`](Self::choose).
    pub fn follow(&self, choice: &FaceChoice, smoothing: Option<OneEuro>) -> Result<Followed> {
        let chosen = self.choose(choice)?;
        let faces = self.by_frame(&chosen);
        let numbers = chosen.iter().map(|face| face.map(|face| face.number));
        Ok(Followed::prepared(faces, self.shots.iter().cloned().zip(numbers), &self.times, smoothing))
    }
}

/// Of faces with their middles and sides the one nearest to `point`, which lies within a side of its middle.
fn nearest<'a>(
    faces: impl Iterator<Item = (&'a TrackedFace, [f64; 2], f64)>,
    point: [f64; 2],
) -> Option<&'a TrackedFace> {
    let away = |[x, y]: [f64; 2]| (x - point[0]).hypot(y - point[1]);
    let reached = faces.filter(|(_, middle, side)| away(*middle) <= *side);
    reached.min_by(|(_, a, _), (_, b, _)| away(*a).total_cmp(&away(*b))).map(|(face, ..)| face)
}

//! Which faces a video has, and where lip sync would work on them.

use super::input::{Input, frame_rate};
use super::job::square;
use super::progress::{Output, ProgressBar};
use super::{DeviceOptions, note, say};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use viseme::face::landmarks::Landmarks;
use viseme::face::mask::MaskRule;
use viseme::face::sheet::{Entry, sheet};
use viseme::face::shots::CutFinder;
use viseme::face::tracking::{FaceChoice, Followed, FollowedShot, Look, Tracks, track};
use viseme::gpu::{Cancel, Gpu};
use viseme::media::FrameTimes;
use viseme::media::frames::{FrameReader, write_picture};
use viseme::ops::Region;
use viseme::pipelines::region::{Crop, Filmed, Regions};
use viseme::pipelines::segments::Parity;
use viseme::pipelines::{Phase, Progress};
use viseme::{Problem, Result};

/// Which face, for lip sync and its preview.
#[derive(Args)]
pub struct FaceOptions {
    /// The face to work on: largest, left, right (in each shot), a number that `viseme faces` prints (several as 1+4), or the
    /// one at X,Y in pixels, or at X,Y@SECONDS
    #[arg(long, value_name = "WHICH", default_value = "largest", help_heading = "Face")]
    pub face: FaceChoice,
    /// The square to work on, in the video's pixels, SIDE in rows [default: around the face]
    #[arg(
        long,
        value_name = "LEFT,TOP,SIDE",
        allow_hyphen_values = true,
        conflicts_with = "face",
        help_heading = "Face"
    )]
    pub crop: Option<String>,
    /// How much the picture changes at a cut: from 0, nothing, to 1, everything; above 1 there are no cuts
    #[arg(long, value_name = "CHANGE", default_value_t = CutFinder::THRESHOLD, help_heading = "Face")]
    pub cut_threshold: f32,
}

impl FaceOptions {
    /// The square, as it is shown, of a video whose pixels are `pixel_aspect` times as wide as high.
    pub fn crop(&self, pixel_aspect: f64) -> Result<Option<Region>> {
        let square = self.crop.as_deref().map(|text| square("--crop", text)).transpose()?;
        Ok(square.map(|square| Region { width: square.width / pixel_aspect, ..square }))
    }
}

/// Finds the faces of a video, shot by shot, and shows what lip sync would work on.
///
/// Prints a line for each shot and each face in it: its number, which --face takes, its size, where it is, and in how many
/// frames it was seen.
///
/// $ viseme faces --video in.mp4 --sheet sheet.png
///
/// The sheet shows, for each shot, the square that the networks see, the 68 points and what is generated. --landmarks-out
/// writes the points of the chosen face, which lipsync and metrics take with --landmarks.
#[derive(Args)]
pub struct Options {
    /// The video: any file that ffmpeg reads, a picture, or a folder of pictures
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    #[command(flatten)]
    faces: FaceOptions,
    /// Write the chosen face's 68 points per frame: .npy ([frames, 68, 2], NaN where it is not seen) or .json (null there)
    #[arg(long, value_name = "FILE")]
    landmarks_out: Option<PathBuf>,
    /// Draw crop, points and mask of each shot (.png)
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Frames a second of a folder of pictures
    #[arg(long, default_value_t = 25.0)]
    fps: f64,
    #[command(flatten)]
    device: DeviceOptions,
    /// The ffmpeg program [default: the one in PATH]
    #[arg(long, value_name = "PATH")]
    ffmpeg: Option<PathBuf>,
    /// No progress and no lines: what is written is all
    #[arg(long)]
    quiet: bool,
    /// Progress and result as one JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> Result<()> {
    options.faces.crop(1.0)?;
    for (path, ends) in [(&options.landmarks_out, &["npy", "json"][..]), (&options.sheet, &["png"])] {
        path.as_deref().map_or(Ok(()), |path| refuse_name(path, ends, &options.video))?;
    }
    let input = Input::open(&options.video, frame_rate(options.fps)?, options.ffmpeg.as_deref())?;
    let output = match (options.json, options.quiet) {
        (true, _) => Output::Json,
        (false, true) => Output::Quiet,
        (false, false) => Output::Text,
    };
    let pixel_aspect = input.source()?.pixel_aspect();
    let crop = options.faces.crop(pixel_aspect)?;
    let gpu = options.device.open(output != Output::Text)?;
    let tracks = follow(&gpu, &input, options.faces.cut_threshold, output)?;
    let choice = crop.map_or(options.faces.face.clone(), FaceChoice::amid);
    // Faces are listed even where none of them is meant.
    let followed = tracks.follow(&choice, None);
    let regions = match &followed {
        Ok(followed) => Some(Regions::new(
            Filmed {
                size: tracks.size,
                pixel_aspect,
                times: tracks.times.clone(),
                faces: followed.faces.clone(),
                shots: tracks.shots.clone(),
            },
            crop,
            Parity::Corrected,
            SHEET_SIDE,
        )?),
        Err(_) => None,
    };
    match output {
        Output::Quiet => {}
        Output::Json => say(as_json(&tracks, followed.as_ref().ok(), regions.as_ref()))?,
        Output::Text => lines(&tracks, followed.as_ref().ok(), regions.as_ref()).into_iter().try_for_each(say)?,
    }
    let followed = followed?;
    if let Some(path) = &options.landmarks_out {
        let seen = tracks.seen(&choice)?;
        Landmarks::of_frames(&path.display().to_string(), seen, Some(tracks.size))?.write(path)?;
    }
    if let (Some(path), Some(regions)) = (&options.sheet, &regions) {
        draw(&gpu, &input, &followed, regions, path)?;
    }
    if output == Output::Text {
        [&options.landmarks_out, &options.sheet].into_iter().flatten().for_each(|path| note(path.display()));
    }
    Ok(())
}

/// An error unless `path` ends in one of `ends` and is another file than `other`, which would be lost.
pub fn refuse_name(path: &Path, ends: &[&str], other: &Path) -> Result<()> {
    let is_fine = path.extension().is_some_and(|end| ends.iter().any(|known| end.eq_ignore_ascii_case(known)));
    if !is_fine {
        let expected = ends.iter().map(|end| format!(".{end}")).collect::<Vec<_>>().join(" or ");
        return Err(
            Problem::new(path.display().to_string(), format!("a name that ends in {expected}"), "another").usage()
        );
    }
    if path == other || super::job::is_same_file(path, other) {
        let expected = format!("another file than {}", other.display());
        return Err(Problem::new(path.display().to_string(), expected, "the same").usage());
    }
    Ok(())
}

/// All faces of the video, with a progress display.
pub fn follow(gpu: &Gpu, input: &Input, cut_threshold: f32, output: Output) -> Result<Tracks> {
    let bar = ProgressBar::new(output);
    let mut source = input.source()?;
    let total = source.times().map_or(0, |times| times.count()) as f64;
    let seen = |done: u64| bar.show(Progress { phase: Phase::Tracking, done: done as f64, total, step: [0, 0] });
    let look = Look { cut_threshold, frames: u64::MAX, cancel: &Cancel::default(), seen: &seen };
    let tracks = track(gpu, source.as_mut(), &look);
    bar.finish();
    bar.check()?;
    tracks
}

/// What is worked on in each shot.
pub struct Shots<'a> {
    followed: &'a Followed,
    times: &'a FrameTimes,
    crops: Vec<Crop>,
}

pub fn shots<'a>(followed: &'a Followed, times: &'a FrameTimes, regions: &Regions) -> Shots<'a> {
    Shots { followed, times, crops: (0..followed.shots.len()).map(|shot| regions.of_shot(shot)).collect() }
}

/// Shots beyond these are summed up before a run.
const LISTED: usize = 8;

impl Shots<'_> {
    /// A line for each shot; `all` of them, or one for many.
    pub fn lines(&self, all: bool) -> Vec<String> {
        let shots = &self.followed.shots;
        if all || shots.len() <= LISTED {
            return shots.iter().zip(&self.crops).map(|(shot, crop)| self.line(shot, crop)).collect();
        }
        let with = shots.iter().filter(|shot| shot.seen > 0).count();
        vec![format!("in {with} of {} shots; --dry-run lists them", shots.len())]
    }

    fn line(&self, shot: &FollowedShot, crop: &Crop) -> String {
        let span = span(&shot.frames, self.times);
        if shot.seen == 0 {
            return format!("{span}: none");
        }
        let number = shot.number.map_or("the landmarks'".to_string(), |number| format!("number {number}"));
        format!("{span}: {number}, in {} of {} frames, {}", shot.seen, shot.frames.len(), cropped(crop))
    }

    pub fn to_json(&self) -> Value {
        let shot = |(shot, crop): (&FollowedShot, &Crop)| {
            json!({"first_frame": shot.frames.start, "end_frame": shot.frames.end,
                "start_s": self.times.start_s(shot.frames.start as u64), "end_s": self.times.start_s(shot.frames.end as u64),
                "face": shot.number, "seen": shot.seen, "crop_side": crop.side, "crop_follows": crop.follows,
                "tilt_degrees": crop.tilt.to_degrees()})
        };
        self.followed.shots.iter().zip(&self.crops).map(shot).collect()
    }
}

fn span(frames: &std::ops::Range<usize>, times: &FrameTimes) -> String {
    format!("{:.2} to {:.2} s", times.start_s(frames.start as u64), times.start_s(frames.end as u64))
}

fn cropped(crop: &Crop) -> String {
    let size = if crop.follows { "up to " } else { "" };
    let tilt = crop.tilt.to_degrees();
    let turned = if tilt == 0.0 { String::new() } else { format!(", turned by {tilt:.0} degrees") };
    format!("crop of {size}{:.0} pixels{turned}", crop.side)
}

fn lines(tracks: &Tracks, followed: Option<&Followed>, regions: Option<&Regions>) -> Vec<String> {
    let [width, height] = tracks.size;
    let times = &tracks.times;
    let counts = [(tracks.shots.len(), "shot"), (tracks.faces.len(), "face")]
        .map(|(count, noun)| format!("{count} {noun}{}", if count == 1 { "" } else { "s" }));
    let mut lines = vec![format!(
        "video     {width}x{height}, {} frames, {:.2} s: {}",
        times.count(),
        times.duration_s(),
        counts.join(", ")
    )];
    for (shot, frames) in tracks.shots.iter().enumerate() {
        lines.push(format!("shot {:<4} {}, {} frames", shot + 1, span(frames, times), frames.len()));
        for face in tracks.in_shot(shot) {
            let [x, y] = face.middle();
            let is_chosen = followed.is_some_and(|followed| followed.shots[shot].number == Some(face.number));
            let chosen = match regions.filter(|_| is_chosen) {
                Some(regions) => format!(": chosen, {}", cropped(&regions.of_shot(shot))),
                None => String::new(),
            };
            lines.push(format!(
                "  face {:<2} {:.0} pixels at {x:.0},{y:.0}, in {} of {} frames{chosen}",
                face.number,
                face.side(),
                face.seen(),
                frames.len()
            ));
        }
    }
    lines
}

fn as_json(tracks: &Tracks, followed: Option<&Followed>, regions: Option<&Regions>) -> Value {
    let face = |face: &viseme::face::tracking::TrackedFace| {
        json!({"number": face.number, "shot": face.shot + 1, "first_frame": face.first, "seen": face.seen(),
            "side": face.side(), "middle": face.middle()})
    };
    let chosen = followed.zip(regions).map(|(followed, regions)| shots(followed, &tracks.times, regions).to_json());
    let spans: Vec<_> = tracks.shots.iter().map(|shot| [shot.start, shot.end]).collect();
    json!({"event": "faces", "width": tracks.size[0], "height": tracks.size[1], "frames": tracks.times.count(),
        "duration_s": tracks.times.duration_s(), "shots": spans, "faces": tracks.faces.iter().map(face).collect::<Value>(),
        "chosen": chosen})
}

/// Pixels of the crops whose masks a sheet shows.
const SHEET_SIDE: usize = 256;
/// Cells of a sheet, if there are so many shots, and the fewest that are drawn.
const CELLS: usize = 48;
const FEWEST_CELLS: usize = 6;

/// A sheet of frames from the shots with the face: one of each, several of few.
fn draw(gpu: &Gpu, input: &Input, followed: &Followed, regions: &Regions, path: &Path) -> Result<()> {
    let shots: Vec<(usize, Vec<usize>)> = (followed.shots.iter().enumerate())
        .map(|(number, shot)| {
            (number + 1, shot.frames.clone().filter(|&frame| followed.faces[frame].is_some()).collect())
        })
        .filter(|(_, frames): &(usize, Vec<usize>)| !frames.is_empty())
        .collect();
    let each = FEWEST_CELLS.div_ceil(shots.len().max(1));
    let step = shots.len().div_ceil(CELLS).max(1);
    let mut reader = FrameReader::new(input.source()?);
    let mut drawn = Vec::new();
    for (number, frames) in shots.iter().step_by(step) {
        for cell in 0..each.min(frames.len()) {
            let frame = frames[(2 * cell + 1) * frames.len() / (2 * each.min(frames.len()))];
            let picture = reader.frame_or_last(frame as u64)?.clone();
            let mask = MaskRule::default().draw(gpu, &[regions.face_in_crop(frame)?], SHEET_SIDE)?.to_f32()?;
            let label = format!("SHOT {number}  FRAME {frame}");
            drawn.push((picture, regions.at(frame).map(SHEET_SIDE), *regions.face(frame)?, mask, label));
        }
    }
    let entries: Vec<Entry<'_>> = drawn
        .iter()
        .map(|(picture, crop, points, mask, label)| Entry {
            frame: picture,
            crop: *crop,
            side: SHEET_SIDE,
            face: points,
            mask,
            label,
        })
        .collect();
    write_picture(path, &sheet(&entries)?)
}

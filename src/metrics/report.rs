//! All measures of one clip: frame by frame, and summed up.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::image::{SSIM_MIN_SIDE, expect_one_size, laplacian_variance, mean_squared_error, psnr_db, ssim};
use super::lipleak::{LipLeak, THRESHOLD, mouth_aspect_ratio};
use super::lpips::{self, Lpips};
use super::mouth::{Against, MAX_LAG, Mouth, opening};
use super::sync::{Sync, loudness_db};
use crate::face::landmarks::Landmarks;
use crate::gpu::Gpu;
use crate::media::file::write_whole;
use crate::media::{Audio, Fps, Frame, FrameSource, FrameTimes};
use crate::ops::{Depth, Rgb};
use crate::{Problem, Result};

/// What there is of a clip; every part may be missing, but not all.
#[derive(Default)]
pub struct Inputs {
    /// Landmarks of the generated video.
    pub landmarks: Option<Landmarks>,
    /// Landmarks of the true video, frame by frame, which the mouth is held against before the sound.
    pub reference_landmarks: Option<Landmarks>,
    /// The sound that the mouth should follow.
    pub audio: Option<Audio>,
    pub pictures: Option<Pictures>,
    /// The frame rate, where there are no pictures to tell it.
    pub fps: Option<Fps>,
}

/// A generated video on the device, and what it is compared with.
pub struct Pictures {
    pub gpu: Gpu,
    pub video: Box<dyn FrameSource>,
    pub reference: Option<Box<dyn FrameSource>>,
    pub lpips: Option<Lpips>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Mouth aspect ratio above which a mouth counts as open.
    pub threshold: f64,
    /// Shifts between mouth and sound that are tried, in frames each way.
    pub max_lag: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threshold: THRESHOLD, max_lag: 15 }
    }
}

/// A metric, or why there is none.
pub type Measured<T> = std::result::Result<T, &'static str>;

/// What is known of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Row {
    pub mouth_aspect_ratio: Option<f64>,
    pub mouth_opening: Option<f64>,
    /// Of the true video.
    pub reference_opening: Option<f64>,
    pub loudness_db: Option<f64>,
    pub mean_squared_error: Option<f64>,
    pub ssim: Option<f64>,
    pub lpips: Option<f64>,
    pub laplacian_variance: Option<f64>,
}

/// The measures of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub rows: Vec<Row>,
    pub fps: Option<Fps>,
    pub options: Options,
    pub lipleak: Measured<LipLeak>,
    pub sync: Measured<Sync>,
    pub mouth: Measured<Mouth>,
    /// Of the mean squared error of all compared frames, as ffmpeg averages it; infinite where all are equal.
    pub psnr_db: Measured<f64>,
    /// Means over the frames.
    pub ssim: Measured<f64>,
    pub lpips: Measured<f64>,
    pub laplacian_variance: Measured<f64>,
    /// Frames that have a partner in the reference.
    pub compared: usize,
    /// What a reader must know about the inputs, such as lengths that differ.
    pub notes: Vec<String>,
}

/// Measures what `inputs` allow.
///
/// A frame is a frame of the video, or of the landmarks where there is no video. A frame of the video behind the last
/// landmarks counts as one without a face. Errors: neither video nor landmarks, a reference of another size, a broken input.
pub fn measure(inputs: Inputs, options: Options) -> Result<Report> {
    let Inputs { landmarks, reference_landmarks, audio, pictures, fps } = inputs;
    if landmarks.is_none() && pictures.is_none() {
        let remedy = "give --video, --landmarks, or both";
        return Err(Problem::new("metrics", "a video or landmarks", "neither").remedy(remedy).usage());
    }
    let fps = pictures.as_ref().map(|p| p.video.fps()).or(fps);
    let loudness = match (&audio, fps) {
        (Some(audio), Some(fps)) => Some(loudness_db(audio, fps)?),
        _ => None,
    };
    // Frames at times of their own are heard at these times, and shown at a constant rate where mouth and sound are compared.
    let times = pictures.as_ref().and_then(|p| p.video.times());
    let has_reference = pictures.as_ref().is_some_and(|p| p.reference.is_some());
    let has_lpips = pictures.as_ref().is_some_and(|p| p.lpips.is_some());
    let mut notes = Vec::new();
    let mut rows = Vec::new();
    if let Some(pictures) = pictures {
        rows = pictures.rows(&mut notes)?;
        if let Some(found) = landmarks.as_ref().map(|t| t.faces().len()).filter(|&found| found != rows.len()) {
            notes.push(format!("the video has {} frames, the landmarks {found}", rows.len()));
        }
    }
    let faces = landmarks.as_ref().map_or(&[][..], Landmarks::faces);
    rows.resize(rows.len().max(faces.len()), Row::default());
    for (row, face) in rows.iter_mut().zip(faces) {
        row.mouth_aspect_ratio = face.as_ref().and_then(mouth_aspect_ratio);
        row.mouth_opening = face.as_ref().and_then(opening);
    }
    let true_faces = reference_landmarks.as_ref().map_or(&[][..], Landmarks::faces);
    for (row, face) in rows.iter_mut().zip(true_faces) {
        row.reference_opening = face.as_ref().and_then(opening);
    }
    let strip = match (&times, fps) {
        (Some(times), Some(fps)) => Strip::new(times, fps, rows.len()),
        _ => Strip::one_to_one(rows.len()),
    };
    for (shown, &level) in strip.frames.iter().zip(loudness.iter().flatten()) {
        if let Some(row) = rows.get_mut(*shown) {
            row.loudness_db.get_or_insert(level);
        }
    }
    if let Some(heard) = loudness.as_ref().map(Vec::len).filter(|&heard| heard != strip.frames.len()) {
        notes.push(format!("the sound lasts {heard} frames, the clip {}", strip.frames.len()));
    }

    let ratios: Vec<Option<f64>> = rows.iter().map(|row| row.mouth_aspect_ratio).collect();
    let lipleak = match landmarks {
        None => Err("no landmarks (--landmarks)"),
        Some(found) if found.faces().iter().all(Option::is_none) => Err("no face in any frame"),
        Some(_) => LipLeak::new(&ratios, options.threshold).ok_or("no frame has a mouth with a width"),
    };
    let as_heard = |values: &[Option<f64>]| -> Vec<_> {
        strip.frames.iter().map(|&shown| values.get(shown).copied().flatten()).collect()
    };
    let sync = match (&lipleak, &loudness, fps) {
        (Err(reason), ..) => Err(*reason),
        (_, _, None) => Err("no frame rate (--video or --fps)"),
        (_, None, _) => Err("no sound (--audio)"),
        (_, Some(loudness), _) => {
            let mouth = as_heard(&ratios);
            Sync::new(&mouth, &loudness[..loudness.len().min(mouth.len())], options.max_lag).ok_or(NEVER_CHANGES)
        }
    };
    let openings: Vec<Option<f64>> = rows.iter().map(|row| row.mouth_opening).collect();
    let mouth = match (&lipleak, &reference_landmarks, &loudness) {
        (Err(reason), ..) => Err(*reason),
        (_, Some(reference), _) => {
            let compared = rows.iter().take(reference.faces().len());
            let truth: Vec<Option<f64>> = compared.map(|row| row.reference_opening).collect();
            Mouth::new(&openings, &truth, Against::Reference).ok_or(NEVER_CHANGES)
        }
        (_, None, Some(loudness)) => {
            let openings = as_heard(&openings);
            let heard: Vec<Option<f64>> = loudness.iter().take(openings.len()).map(|&level| Some(level)).collect();
            Mouth::new(&openings, &heard, Against::Sound).ok_or(NEVER_CHANGES)
        }
        (_, None, None) => Err("no reference (--reference), and no sound (--audio)"),
    };
    let mean = |of: fn(&Row) -> Option<f64>, missing: &'static str| {
        let values: Vec<f64> = rows.iter().filter_map(of).collect();
        if values.is_empty() { Err(missing) } else { Ok(values.iter().sum::<f64>() / values.len() as f64) }
    };
    let no_reference = if has_reference { "smaller than a window of 11x11" } else { "no reference (--reference)" };
    let no_lpips = match (has_reference, has_lpips) {
        (false, _) => no_reference,
        (true, false) => "no weights (--lpips-weights)",
        (true, true) => "smaller than 32x32",
    };
    Ok(Report {
        fps,
        options,
        lipleak,
        sync,
        mouth,
        psnr_db: mean(|row| row.mean_squared_error, no_reference).map(psnr_db),
        ssim: mean(|row| row.ssim, no_reference),
        lpips: mean(|row| row.lpips, no_lpips),
        laplacian_variance: mean(|row| row.laplacian_variance, "no video (--video)"),
        compared: rows.iter().filter(|row| row.mean_squared_error.is_some()).count(),
        rows,
        notes,
    })
}

/// Why two curves have no correlation.
const NEVER_CHANGES: &str = "too few frames, or the mouth or what leads it never change";

/// Which frame is on screen, at a constant rate.
struct Strip {
    frames: Vec<usize>,
}

impl Strip {
    fn one_to_one(frames: usize) -> Self {
        Self { frames: (0..frames).collect() }
    }

    /// Of a clip of `rows` frames.
    fn new(times: &FrameTimes, fps: Fps, rows: usize) -> Self {
        match times {
            FrameTimes::Constant { fps: own, .. } if *own == fps => Self::one_to_one(rows),
            _ => {
                let count = (times.duration_s() * fps.as_f64()).round() as u64;
                let at = |shown: u64| times.at((shown as f64 + 0.5) / fps.as_f64()) as usize;
                Self { frames: (0..count).map(at).collect() }
            }
        }
    }
}

impl Pictures {
    /// One row per frame of the video, held one at a time.
    fn rows(mut self, notes: &mut Vec<String>) -> Result<Vec<Row>> {
        let [width, height] = self.video.size();
        if let Some(reference) = &self.reference {
            expect_one_size([width, height], reference.size())?;
        }
        let upload = |frame: Frame| {
            let levels = frame.at_depth(Depth::Eight).rgb;
            Rgb::upload(&self.gpu, height as usize, width as usize, &levels)
        };
        let (mut rows, mut compared) = (Vec::new(), 0);
        while let Some(frame) = self.video.next_frame()? {
            let frame = upload(frame)?;
            let mut row = Row { laplacian_variance: only(laplacian_variance(&frame)?), ..Row::default() };
            let reference = match &mut self.reference {
                Some(reference) => reference.next_frame()?,
                None => None,
            };
            if let Some(reference) = reference {
                let reference = upload(reference)?;
                self.compare(&frame, &reference, &mut row)?;
                compared += 1;
            }
            rows.push(row);
        }
        if let Some(reference) = &mut self.reference {
            if compared < rows.len() {
                notes.push(format!("the video has {} frames, the reference {compared}", rows.len()));
            } else if reference.next_frame()?.is_some() {
                notes.push(format!("the video has {} frames, the reference more", rows.len()));
            }
        }
        Ok(rows)
    }

    fn compare(&self, frame: &Rgb, reference: &Rgb, row: &mut Row) -> Result<()> {
        let side = frame.height().min(frame.width());
        row.mean_squared_error = only(mean_squared_error(frame, reference)?);
        if side >= SSIM_MIN_SIDE {
            row.ssim = only(ssim(frame, reference)?);
        }
        if let Some(lpips) = self.lpips.as_ref().filter(|_| side >= lpips::MIN_SIDE) {
            row.lpips = only(lpips.distance(frame, reference)?);
        }
        Ok(())
    }
}

fn only(values: Vec<f64>) -> Option<f64> {
    values.first().copied()
}

impl Report {
    /// Name and reason of each metric that is not there.
    pub fn left_out(&self) -> Vec<(&'static str, &'static str)> {
        let all = [
            ("lipleak", self.lipleak.as_ref().err()),
            ("sync", self.sync.as_ref().err()),
            ("mouth", self.mouth.as_ref().err()),
            ("psnr", self.psnr_db.as_ref().err()),
            ("ssim", self.ssim.as_ref().err()),
            ("lpips", self.lpips.as_ref().err()),
            ("laplacian_variance", self.laplacian_variance.as_ref().err()),
        ];
        all.into_iter().filter_map(|(name, reason)| reason.map(|reason| (name, *reason))).collect()
    }

    /// Frame `index`'s start in seconds.
    pub fn time_s(&self, index: usize) -> Option<f64> {
        self.fps.map(|fps| index as f64 / fps.as_f64())
    }

    /// One object; a metric that is not there is null, with its reason under `left_out`.
    pub fn to_json(&self) -> Value {
        let lipleak = self.lipleak.as_ref().ok().map(|l| {
            let [least, most] = l.bounds();
            json!({"value": l.share(), "threshold": l.threshold, "frames": l.frames, "frames_without_face": l.missing,
                "open_frames": l.open, "least": least, "most": most,
                "mean_mouth_aspect_ratio": l.mean, "largest_mouth_aspect_ratio": l.largest})
        });
        let lag_ms = |sync: &Sync| self.fps.map(|fps| sync.lag_ms(fps));
        let sync = self.sync.as_ref().ok().map(|s| {
            json!({"correlation": s.correlation, "best_correlation": s.best, "lag_frames": s.lag_frames,
                "lag_ms": lag_ms(s), "max_lag_frames": self.options.max_lag})
        });
        let mouth = self.mouth.as_ref().ok().map(|m| {
            json!({"against": m.against.name(), "correlation": m.sync.correlation, "best_correlation": m.sync.best,
                "lag_frames": m.sync.lag_frames, "lag_ms": lag_ms(&m.sync), "max_lag_frames": MAX_LAG, "frames": m.frames,
                "frames_without_face": m.missing, "reference_frames_without_face": m.missing_in_reference,
                "mean_opening": m.mean})
        });
        let psnr = self.psnr_db.ok().map(|db| {
            // JSON has no infinity.
            json!({"db": db.is_finite().then_some(db), "identical": db.is_infinite(), "frames": self.compared})
        });
        let left_out: serde_json::Map<String, Value> =
            self.left_out().into_iter().map(|(name, reason)| (name.to_string(), json!(reason))).collect();
        json!({"frames": self.rows.len(), "fps": self.fps.map(Fps::as_f64), "lipleak": lipleak, "sync": sync,
            "mouth": mouth, "psnr": psnr,
            "ssim": self.ssim.ok(), "lpips": self.lpips.ok(), "laplacian_variance": self.laplacian_variance.ok(),
            "left_out": left_out, "notes": self.notes})
    }

    /// A line per metric, each with what it says; then what was left out, and notes.
    pub fn to_table(&self) -> String {
        let mut lines: Vec<(&str, String, String)> = Vec::new();
        if let Ok(l) = &self.lipleak {
            let found = l.frames - l.missing;
            let meaning = format!("{} of {found} frames with a mouth aspect ratio above {}", l.open, l.threshold);
            lines.push(("LipLeak", format!("{:.3}", l.share()), meaning));
            if l.missing > 0 {
                let [least, most] = l.bounds();
                let meaning = format!("frames without a face; with them LipLeak lies in {least:.3} to {most:.3}");
                lines.push(("  not measured", l.missing.to_string(), meaning));
            }
            lines.push(("  mean ratio", format!("{:.3}", l.mean), format!("largest {:.3}", l.largest)));
        }
        if let Ok(s) = &self.sync {
            let meaning = match self.fps {
                Some(fps) => {
                    format!("{:+} frames ({:+.0} ms) from the sound to the mouth", s.lag_frames, s.lag_ms(fps))
                }
                None => format!("{:+} frames from the sound to the mouth", s.lag_frames),
            };
            let unshifted = s.correlation.map_or("-".to_string(), |r| format!("{r:.3}"));
            lines.push(("sync", unshifted, "correlation of mouth opening and loudness as they are".to_string()));
            lines.push(("  best shift", format!("{:.3}", s.best), meaning));
        }
        let frames = format!("over {} frames", self.compared);
        if let Ok(db) = self.psnr_db {
            let value = if db.is_finite() { format!("{db:.2}") } else { "equal".to_string() };
            lines.push(("PSNR (dB)", value, format!("{frames}; higher is closer to the reference")));
        }
        if let Ok(value) = self.ssim {
            lines.push(("SSIM", format!("{value:.4}"), format!("{frames}; 1 is equal to the reference")));
        }
        if let Ok(value) = self.lpips {
            lines.push(("LPIPS", format!("{value:.4}"), format!("{frames}; 0 is equal to the reference")));
        }
        if let Ok(value) = self.laplacian_variance {
            lines.push((
                "sharpness (VL)",
                format!("{value:.2}"),
                "variance of the Laplacian; higher is sharper".to_string(),
            ));
        }
        let mut text = self.mouth.as_ref().map_or(String::new(), |m| format!("{}: {}\n", m.line(), m.meaning()));
        for (name, value, meaning) in lines {
            let _ = writeln!(text, "{name:<16} {value:>9}   {meaning}");
        }
        for (name, reason) in self.left_out() {
            let _ = writeln!(text, "left out: {name}: {reason}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }

    /// A line per frame; a value that is not there is empty, an infinite one `inf`.
    pub fn to_csv(&self) -> String {
        let mut text = "frame,time_s,mouth_aspect_ratio,mouth_open,loudness_db,psnr_db,ssim,lpips,laplacian_variance,\
            mouth_opening,reference_mouth_opening\n"
            .to_string();
        let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.6}"));
        for (index, row) in self.rows.iter().enumerate() {
            let open = row.mouth_aspect_ratio.map(|ratio| u8::from(ratio > self.options.threshold).to_string());
            let fields = [
                index.to_string(),
                number(self.time_s(index)),
                number(row.mouth_aspect_ratio),
                open.unwrap_or_default(),
                number(row.loudness_db),
                number(row.mean_squared_error.map(psnr_db)),
                number(row.ssim),
                number(row.lpips),
                number(row.laplacian_variance),
                number(row.mouth_opening),
                number(row.reference_opening),
            ];
            let _ = writeln!(text, "{}", fields.join(","));
        }
        text
    }

    /// [`Report::to_csv`] as a file that is complete or not there.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        write_whole(path, self.to_csv().as_bytes())
    }

    /// [`Report::to_svg`] as a file that is complete or not there.
    pub fn write_svg(&self, path: &Path) -> Result<()> {
        write_whole(path, self.to_svg().as_bytes())
    }
}

use super::faces;
use super::input::{Input, frame_rate};
use super::peaks::Peaks;
use super::progress::Output;
use super::{DeviceOptions, check_svg, say};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use viseme::face::landmarks::Landmarks;
use viseme::face::shots::CutFinder;
use viseme::face::tracking::FaceChoice;
use viseme::gpu::Gpu;
use viseme::media::{Audio, Fps};
use viseme::metrics::{self, Inputs, Lpips, Pictures, lipleak};
use viseme::weights::{Layers, Safetensors, Source, Weights};
use viseme::{Problem, Result};

/// Measures a generated video: LipLeak, lip sync, likeness to a reference, sharpness.
///
/// What can be computed from what is given is computed; the rest is named with the reason. Where no landmarks are given, the
/// face is found and followed.
///
/// $ viseme metrics --video out.mp4 --reference true.mp4 --audio speech.wav --plot out.svg
///
/// Mouth correlation tells whether the mouth opens and closes when it should: the gap between the inner lips over the distance
/// of the eyes' outer corners, per frame, correlated with that of the true video (--reference, --reference-landmarks), else with
/// the loudness of the sound. 1 is equal motion. The lag is the shift, of up to 10 frames each way, at which the correlation is
/// largest; above 0 the mouth is late. Frames without a face are counted, and are in no correlation.
///
/// LipLeak tells how much the mouth of the source video shows in the result. Drive the model with silence and with a video of
/// someone who speaks, and measure the result:
///
/// $ viseme lipsync --video talking.mp4 --audio silence.wav --out out.mp4
///
/// $ viseme metrics --video out.mp4 --plot out.svg
///
/// It is the share of frames in which the mouth is open all the same: 0 is perfect; in the KeySync paper KeySync has 0.16,
/// others 0.25 to 0.66. Open means that the mouth aspect ratio of the inner lips lies above 0.25; closed lips have about 0,
/// wide open ones 0.6. Frames without a face (null or NaN in landmarks) are counted and reported, and are in no share. A
/// mouth that never moves scores 0 as well: look at sync with real speech beside it.
///
/// Sync (--audio, or a video with sound) is the correlation of mouth opening and loudness over the frames, -1
/// to 1. The best shift is where it is largest; above 0 the mouth comes late, so that the sound is early. Viewers notice sound
/// that is 45 ms early or 125 ms late (ITU-R BT.1359). Silence has no correlation: take real speech. A mouth that hardly
/// moves has one that says nothing.
///
/// PSNR, SSIM and LPIPS (--reference) compare frame by frame with the true video. Equal pictures have no limit in dB, an SSIM of
/// 1 and an LPIPS of 0; LPIPS follows most closely what people call alike. Sharpness is the variance of the Laplacian:
/// compare it with that of the source video, since noise counts as sharp. FVD and LipScore need networks that viseme does not
/// have.
#[derive(Args)]
pub struct Options {
    /// The generated video: any file that ffmpeg reads, a picture, or a folder of pictures
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Its 68 landmarks per frame, null for a frame without a face: .json or .npy ([frames, 68, 2], NaN) [default: found]
    #[arg(long, value_name = "FILE")]
    landmarks: Option<PathBuf>,
    /// The face to measure where it is found: largest, left, right, a number that `viseme faces` prints, or the one at X,Y
    #[arg(long, value_name = "WHICH", default_value = "largest", conflicts_with = "landmarks")]
    face: FaceChoice,
    /// The speech that the mouth should follow [default: the video's own sound]
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    /// The true video, frame by frame of the same size
    #[arg(long, value_name = "FILE", requires = "video")]
    reference: Option<PathBuf>,
    /// Landmarks of the true video, as --landmarks [default: found in --reference]
    #[arg(long, value_name = "FILE")]
    reference_landmarks: Option<PathBuf>,
    /// For LPIPS: torchvision's AlexNet or VGG16 and the lpips package's linear layers, each after `viseme convert`; once
    /// per file
    #[arg(long, value_name = "FILE", requires = "reference")]
    lpips_weights: Vec<PathBuf>,

    /// Mouth aspect ratio above which a mouth is open
    #[arg(long, value_name = "RATIO", default_value_t = lipleak::THRESHOLD)]
    threshold: f64,
    /// Shifts between mouth and sound to try, in frames each way, up to 1000
    #[arg(long, value_name = "FRAMES", default_value_t = metrics::Options::default().max_lag)]
    max_lag: usize,
    /// Frames a second of a folder of pictures, or of landmarks without a video
    #[arg(long)]
    fps: Option<f64>,

    /// Write the values of every frame
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw mouth opening and loudness over time (.svg)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The result as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceOptions,
    /// The ffmpeg program [default: the one in PATH]
    #[arg(long, value_name = "PATH")]
    ffmpeg: Option<PathBuf>,
}

/// Each shift costs a pass over the clip.
const MAX_LAG: usize = 1000;

pub fn run(options: &Options) -> Result<()> {
    options.check()?;
    let fps = options.fps.map(frame_rate).transpose()?;
    let open = |path| Input::open(path, fps.unwrap_or(Fps::INSIDE), options.ffmpeg.as_deref());
    let video = options.video.as_deref().map(open).transpose()?;
    let own_sound = video.as_ref().and_then(|input| input.sound());
    let audio = options.audio.as_deref().or(own_sound).map(|path| Audio::file(path, options.ffmpeg.as_deref()));
    let reference = options.reference.as_deref().map(open).transpose()?;
    let read = |path: &Option<PathBuf>| path.as_deref().map(Landmarks::read).transpose();
    let (mut landmarks, mut reference_landmarks) = (read(&options.landmarks)?, read(&options.reference_landmarks)?);
    let pictures = match video {
        None => None,
        Some(input) => {
            let gpu = options.device.open(options.json)?;
            for (input, landmarks) in [(Some(&input), &mut landmarks), (reference.as_ref(), &mut reference_landmarks)] {
                if let (Some(input), None) = (input, &landmarks) {
                    *landmarks = Some(options.find(&gpu, input)?);
                }
            }
            let lpips = match options.lpips_weights.is_empty() {
                true => None,
                false => Some(Lpips::load(&gpu, &layered(&options.lpips_weights)?)?),
            };
            let reference = reference.map(|input| input.source()).transpose()?;
            Some(Pictures { gpu, video: input.source()?, reference, lpips })
        }
    };
    let measuring = metrics::Options { threshold: options.threshold, max_lag: options.max_lag };
    let gpu = pictures.as_ref().map(|pictures| pictures.gpu.clone());
    let report = metrics::measure(Inputs { landmarks, reference_landmarks, audio, pictures, fps }, measuring)?;

    if let Some(path) = &options.csv {
        report.write_csv(path)?;
    }
    if let Some(path) = &options.plot {
        report.write_svg(path)?;
    }
    let peaks = gpu.as_ref().map(Peaks::of);
    if options.json {
        let mut line = report.to_json();
        if let Some(peaks) = peaks {
            peaks.add_to(&mut line);
        }
        return say(line);
    }
    say(report.to_table().trim_end())?;
    peaks.map_or(Ok(()), say)
}

impl Options {
    /// What is wrong with the options is said before a long video is decoded.
    fn check(&self) -> Result<()> {
        if !(self.threshold.is_finite() && self.threshold > 0.0) {
            return Err(Problem::new("--threshold", "a ratio above 0", self.threshold.to_string()).usage());
        }
        if self.max_lag > MAX_LAG {
            return Err(Problem::new("--max-lag", format!("0 to {MAX_LAG} frames"), self.max_lag.to_string()).usage());
        }
        check_svg(self.plot.as_deref())
    }

    /// The landmarks of the face in a video, none in any frame where there is no face at all.
    fn find(&self, gpu: &Gpu, input: &Input) -> Result<Landmarks> {
        let output = if self.json { Output::Quiet } else { Output::Text };
        let tracks = faces::follow(gpu, input, CutFinder::THRESHOLD, output)?;
        let faces = match tracks.faces.is_empty() {
            true => vec![None; tracks.times.count() as usize],
            false => tracks.seen(&self.face)?,
        };
        Landmarks::of_frames("the video", faces, Some(tracks.size))
    }
}

/// Several files as one set of names.
fn layered(files: &[PathBuf]) -> Result<Weights> {
    let open = |path: &PathBuf| Ok((Arc::new(Safetensors::open(path)?) as Arc<dyn Source>, String::new()));
    Ok(Weights::from_source(Layers::new(files.iter().map(open).collect::<Result<_>>()?)))
}

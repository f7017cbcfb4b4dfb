use super::faces::{self, FaceOptions};
use super::input::Input;
use super::job::{JobOptions, Made, PasteArg, Target, is_same_file};
use super::progress::{Output, ProgressBar};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use viseme::face::landmarks::{Landmarks, POINTS};
use viseme::face::mask::{MaskKind, MaskRule, NOSE_INDEX};
use viseme::face::smoothing::OneEuro;
use viseme::gpu::Gpu;
use viseme::media::probe::VideoInfo;
use viseme::media::writer::{Sound, SoundPart};
use viseme::media::{Audio, Fps, FrameTimes};
use viseme::pipelines::lipsync::{LipSync, Options as Job, Span, Survey};
use viseme::pipelines::resume::{Identity, file_identity};
use viseme::pipelines::segments::Length;
use viseme::pipelines::sheet::Sheet;
use viseme::pipelines::timeline::{Extend, Timeline};
use viseme::pipelines::weights::{Role, WeightSet};
use viseme::{Problem, Result};

/// Give a video new speech (KeySync): the mouth follows the audio, everything else stays.
///
/// The video may be anything that ffmpeg reads, or a folder of pictures; so may the output. The face is found and followed,
/// shot by shot; where there are several, --face says which, and a second run on the first one's result dubs another. Frames
/// without it stay as they are. A run that was stopped goes on where it was when the same command is started again.
///
/// $ viseme lipsync --video in.mp4 --audio speech.wav --out out.mp4
///
/// What will be worked on, before hours of it: --dry-run, or `viseme faces --video in.mp4 --sheet sheet.png`.
#[derive(Args)]
pub struct Options {
    /// The video to change: any file that ffmpeg reads, a picture, or a folder of pictures
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    #[command(flatten)]
    faces: FaceOptions,
    /// Points of another program in place of those that are found: 68 per frame (iBUG order), or MediaPipe's 478,
    /// in the video's pixels, null or NaN where there is no face: .json ([[[x, y], ..], ..]) or .npy ([frames, 68, 2])
    #[arg(long, value_name = "FILE", conflicts_with = "face", help_heading = "Face")]
    landmarks: Option<PathBuf>,
    /// The points as they are found, not smoothed over time
    #[arg(long, help_heading = "Face")]
    no_smoothing: bool,

    /// What is generated: box, full, heart, mouth or face
    #[arg(long, default_value = "box", value_name = "KIND")]
    mask: MaskKind,
    /// Landmark where the mask begins
    #[arg(long, default_value_t = NOSE_INDEX, value_name = "N")]
    nose_index: usize,
    /// Pictures of the video's size, white where something in front of the face must stay
    #[arg(long, value_name = "DIR|FILE")]
    occluder_mask: Option<PathBuf>,
    /// How long the output is
    #[arg(long, value_enum, default_value = "audio")]
    length: LengthArg,
    /// How a video that is too short goes on
    #[arg(long, value_enum, default_value = "bounce")]
    extend: ExtendArg,
    /// Work from here on only; the rest of the video stays as it is, with its own sound
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["length", "extend"], allow_hyphen_values = true)]
    from: Option<f64>,
    /// Work up to here only [with --from alone: as long as the speech lasts]
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["length", "extend"], allow_hyphen_values = true)]
    to: Option<f64>,
    /// mask: source pixels outside the feathered mask stay as they are; none: the whole decoded crop
    #[arg(long, value_enum, default_value = "mask")]
    paste: PasteArg,
    /// Pixels of the crop over which the mask fades [default: a fiftieth of its side]
    #[arg(long, value_name = "PIXELS")]
    feather: Option<f32>,
    /// Frames a second of a folder of pictures
    #[arg(long, default_value_t = 25.0)]
    fps: f64,

    /// The keyframe network alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    keyframe_weights: Option<PathBuf>,
    /// The interpolation network alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    interpolation_weights: Option<PathBuf>,
    /// Stable Video Diffusion's VAE alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    vae_weights: Option<PathBuf>,
    /// HuBERT base alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    hubert_weights: Option<PathBuf>,
    /// WavLM Base+ alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    wavlm_weights: Option<PathBuf>,

    #[command(flatten)]
    job: JobOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LengthArg {
    Audio,
    Video,
    Shortest,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExtendArg {
    Bounce,
    Loop,
    Hold,
}

pub fn run(options: &Options) -> Result<()> {
    let common = &options.job;
    let mut job = options.job()?;
    common.check_output(&[&options.video])?;
    let open = |path: &Path| Input::open(path, options.folder_fps()?, common.ffmpeg.as_deref());
    let mut input = open(&options.video)?;
    if common.upstream_parity {
        input = input.in_eight_bits();
    }
    let landmarks = options.landmarks(&input)?;
    let pixel_aspect = if common.upstream_parity { 1.0 } else { input.source()?.pixel_aspect() };
    job.crop = options.faces.crop(pixel_aspect)?;
    let weights = common.weight_set(Role::LIPSYNC, &options.named())?;
    let gpu = common.device.open(common.output() != Output::Text)?;
    let video = || input.source();

    let cancel = common.cancel();
    let bar = ProgressBar::new(common.output());
    let looking = ProgressBar::new(match (common.output(), common.dry_run) {
        // One line, which is the plan.
        (Output::Json, true) => Output::Quiet,
        (output, _) => output,
    });
    let lipsync = LipSync::new(&gpu, &weights, video, options.speech(&input)).options(job.clone());
    let mut lipsync = lipsync.cancel_with(&cancel).on_look(|progress| looking.show(progress));
    if let Some(landmarks) = landmarks {
        lipsync = lipsync.landmarks(landmarks);
    }
    if let Some(path) = &options.occluder_mask {
        lipsync = lipsync.occluder(open(path)?.source()?);
    }
    let side = weights.crop_side(Role::Interpolation)?;
    let size = input.source()?.size();
    // What cannot be written is said before the video is looked through.
    let span = lipsync.span()?.ok_or_else(|| Problem::new("the video", "frames at known times", "none").input())?;
    let target = options.target(&input, &span, size, side as u32)?;
    let (format, notes) = common.try_output(&target)?;
    let survey = lipsync.survey();
    looking.finish();
    let survey = survey?;
    looking.check()?;
    let (regions, largest) = (survey.regions(&job, side)?, survey.crop_side(&job)?);
    let crop = largest / side as f64;
    let [width, height] = size;
    let mut lines = vec![
        ("video", format!("{width}x{height}, {}", described(&survey.timeline))),
        ("audio", format!("{:.2} s", survey.samples as f64 / 16_000.0)),
        ("crop", enlarged(largest, crop)),
        (
            "output",
            format!("{} frames ({} inside at 25 a second)", survey.output_frames, survey.stretches.inside_frames()),
        ),
        ("file", format.clone()),
    ];
    let shots = faces::shots(&survey.followed, survey.timeline.times(), &regions);
    lines.extend(shots.lines(common.dry_run).into_iter().map(|line| ("face", line)));
    let notes: Vec<String> = input.notes().into_iter().chain(without_face(&survey)).chain(notes).collect();
    lines.extend(notes.iter().map(|note| ("note", note.clone())));
    let fields = serde_json::json!({"width": width, "height": height, "output_frames": survey.output_frames,
        "crop_side": largest, "crop_enlarged": crop, "shots": shots.to_json(), "output_format": format, "notes": notes});
    common.describe(&gpu, &weights, &survey.stretches, &survey.demand(&job)?, (&lines, fields))?;
    if common.dry_run {
        return Ok(());
    }
    let identity = options.identity(&weights, &gpu)?;
    let mut sheet = common.sheet(|| Sheet::lipsync(&survey, &job, side))?;
    let frames = common.run(&gpu, identity, &target, (&bar, sheet.as_mut()), |work, observer| {
        lipsync.resume(work).on_progress(observer).frames()
    })?;
    // The result is finished, whatever becomes of the sheet.
    let drawn = sheet.map_or(Ok(()), |mut sheet| {
        let occluder = options.occluder_mask.as_deref().map(|path| open(path)?.source()).transpose()?;
        sheet.look(&gpu, &survey, &job, input.source()?, occluder)?;
        common.write_sheet(sheet, &options.speech(&input))
    });
    common.report(&gpu, Made { frames, weights: weights.kind })?;
    drawn
}

/// Which frames stay as they are because the face is not in them, a sentence.
fn without_face(survey: &Survey) -> Option<String> {
    /// As many are listed.
    const LISTED: usize = 6;
    let fps = survey.timeline.fps().as_f64();
    let missing = survey.without_face();
    let listed: Vec<String> = missing.iter().take(LISTED).map(|frames| seconds(frames, fps)).collect();
    let more = missing.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more stretches") } else { String::new() };
    (!missing.is_empty()).then(|| format!("no face from {}{more}: these frames stay as they are", listed.join(", ")))
}

fn seconds(frames: &std::ops::Range<u64>, fps: f64) -> String {
    format!("{:.2} to {:.2} s", frames.start as f64 / fps, frames.end as f64 / fps)
}

/// How many frames a video has, and when.
fn described(timeline: &Timeline) -> String {
    let (times, fps) = (timeline.times(), timeline.fps());
    let rate = match times {
        FrameTimes::Constant { fps: own, .. } if *own == fps => format!("{fps} a second"),
        FrameTimes::Constant { fps: own, .. } => format!("{own} a second, shown at {fps}"),
        FrameTimes::Stamps { .. } => format!("times of their own, shown at {fps} a second"),
    };
    format!("{} frames at {rate}, {:.2} s", times.count(), times.duration_s())
}

/// Bits a second of a file.
fn bit_rate(info: &VideoInfo) -> Option<u64> {
    let bytes = std::fs::metadata(&info.path).ok()?.len();
    Some((8.0 * bytes as f64 / info.times.duration_s()) as u64).filter(|&bits| bits > 0)
}

/// How large the square around the face is, and by which factor what the network makes is enlarged to fill it.
fn enlarged(side: f64, factor: f64) -> String {
    let verdict = match factor {
        f if f > 2.0 => format!(", enlarged {f:.1} times: the mouth will be softer than what is around it"),
        f if f > 1.0 => format!(", enlarged {f:.1} times"),
        _ => String::new(),
    };
    format!("{side:.0} pixels a side{verdict}")
}

impl Options {
    fn job(&self) -> Result<Job> {
        if self.nose_index >= POINTS {
            return Err(Problem::new("--nose-index", "0 to 67", self.nose_index.to_string()).usage());
        }
        self.folder_fps()?;
        let job = Job {
            sampling: self.job.sampling()?,
            guidance: self.job.guidance()?,
            mask: MaskRule { kind: self.mask, nose_index: self.nose_index },
            length: match self.length {
                LengthArg::Audio => Length::Audio,
                LengthArg::Video => Length::Video,
                LengthArg::Shortest => Length::Shortest,
            },
            extend: match self.extend {
                ExtendArg::Bounce => Extend::Bounce,
                ExtendArg::Loop => Extend::Loop,
                ExtendArg::Hold => Extend::Hold,
            },
            part_s: self.part_s(),
            paste: self.paste.into(),
            feather: self.feather,
            face: self.faces.face.clone(),
            // Whether it is one; how wide, the video tells.
            crop: self.faces.crop(1.0)?,
            smoothing: (!self.no_smoothing).then(OneEuro::default),
            cut_threshold: self.faces.cut_threshold,
            sample_posterior: self.job.sample_latents,
            parity: self.job.parity(),
            storage: self.job.storage(),
        };
        job.check()?;
        Ok(job)
    }

    /// What the frames become; with nothing pasted back they are as large as the crop, `side`.
    fn target(&self, input: &Input, span: &Span, size: [u32; 2], side: u32) -> Result<Target> {
        let fps = span.timeline.fps();
        let seconds = |frame: u64| frame as f64 / fps.as_f64();
        let around = input.video().filter(|info| info.has_audio);
        let part = span.timeline.part().map(|part| SoundPart {
            from_s: seconds(part.first),
            to_s: seconds(part.end),
            around: around.map(|info| (info.path.clone(), -info.late_s())),
        });
        let start_s = self.speech(input).offset_s() + part.as_ref().map_or(0.0, |part| part.from_s);
        Ok(Target {
            size: if matches!(self.paste, PasteArg::None) { [side; 2] } else { size },
            fps,
            frames: span.output_frames,
            look: input.look()?,
            sound: Sound { path: self.job.audio.clone(), start_s, part },
            source: input.video().map(|info| info.path.clone()),
            source_rate: input.video().and_then(bit_rate),
        })
    }

    /// The landmarks that were given, for the video's pictures and frames.
    fn landmarks(&self, input: &Input) -> Result<Option<Landmarks>> {
        let Some(path) = &self.landmarks else { return Ok(None) };
        let (named, source) = (path.display().to_string(), input.source()?);
        let landmarks = Landmarks::read(path)?.for_pictures(&named, source.size())?;
        Ok(Some(match source.times() {
            Some(times) => landmarks.per_frame(&named, &times, source.fps())?,
            None => landmarks,
        }))
    }

    fn named(&self) -> [(Role, &Option<PathBuf>); 5] {
        [
            (Role::Keyframe, &self.keyframe_weights),
            (Role::Interpolation, &self.interpolation_weights),
            (Role::Vae, &self.vae_weights),
            (Role::Hubert, &self.hubert_weights),
            (Role::WavLm, &self.wavlm_weights),
        ]
    }

    /// Everything that shows in the latents.
    fn identity(&self, weights: &WeightSet, gpu: &Gpu) -> Result<Identity> {
        let mut identity = self.job.identity(weights, gpu)?;
        identity.insert("video".into(), file_identity(&self.video)?);
        if let Some(path) = &self.landmarks {
            identity.insert("landmarks".into(), file_identity(path)?);
        }
        if let Some(path) = &self.occluder_mask {
            identity.insert("occluder mask".into(), file_identity(path)?);
        }
        for (option, value) in [
            ("--mask", format!("{:?}", self.mask)),
            ("--nose-index", self.nose_index.to_string()),
            ("--face", format!("{:?}", self.faces.face)),
            ("--crop", self.faces.crop.clone().unwrap_or("none".to_string())),
            ("--cut-threshold", self.faces.cut_threshold.to_string()),
            ("--no-smoothing", self.no_smoothing.to_string()),
            ("--length", format!("{:?}", self.length)),
            ("--extend", format!("{:?}", self.extend)),
            ("--fps", self.fps.to_string()),
            ("--from, --to", format!("{:?}", self.part_s())),
        ] {
            identity.insert(option.into(), value);
        }
        Ok(identity)
    }

    /// The speech; of the video's own file its sound is laid out as it lies beside the picture.
    fn speech(&self, input: &Input) -> Audio {
        let is_same = |info: &&VideoInfo| is_same_file(&info.path, &self.job.audio);
        let late_s = input.video().filter(is_same).map_or(0.0, VideoInfo::late_s);
        self.job.source().offset(-late_s)
    }

    fn part_s(&self) -> Option<(f64, Option<f64>)> {
        (self.from.is_some() || self.to.is_some()).then(|| (self.from.unwrap_or(0.0), self.to))
    }

    fn folder_fps(&self) -> Result<Fps> {
        super::input::frame_rate(self.fps)
    }
}

use super::input::Input;
use super::job::{JobOptions, Made, square};
use super::progress::{Output, ProgressBar};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use viseme::face::landmarks::{Landmarks, POINTS};
use viseme::face::mask::{MaskKind, MaskRule, NOSE_INDEX};
use viseme::gpu::Gpu;
use viseme::media::Fps;
use viseme::pipelines::lipsync::{LipSync, Options as Job, Paste};
use viseme::pipelines::resume::{Identity, file_identity};
use viseme::pipelines::segments::{Extend, Length};
use viseme::pipelines::weights::{Role, WeightSet};
use viseme::{Problem, Result};

/// Give a video new speech (KeySync): the mouth follows the audio, everything else stays.
///
/// The video may be anything that ffmpeg reads, or a folder of pictures; so may the output. Landmarks are 68 points per
/// frame (iBUG order), as JSON or .npy. A run that was stopped goes on where it was when the same command is started again.
///
/// $ viseme lipsync --video in.mp4 --audio speech.wav --landmarks points.json --out out.mp4 --weights models/
#[derive(Args)]
pub struct Options {
    /// The video to change: any file that ffmpeg reads, or a folder of PNG or JPEG pictures
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    /// 68 points per frame in the video's pixels: .json ([[[x, y], ..], ..]) or .npy ([frames, 68, 2])
    #[arg(long, value_name = "FILE")]
    landmarks: PathBuf,

    /// What is generated: box, full, heart, mouth or face
    #[arg(long, default_value = "box", value_name = "KIND")]
    mask: MaskKind,
    /// Landmark where the mask begins
    #[arg(long, default_value_t = NOSE_INDEX, value_name = "N")]
    nose_index: usize,
    /// The square to work on, in the video's pixels [default: around the landmarks]
    #[arg(long, value_name = "LEFT,TOP,SIDE", allow_hyphen_values = true)]
    face: Option<String>,
    /// Pictures of the video's size, white where something in front of the face must stay
    #[arg(long, value_name = "DIR|FILE")]
    occluder_mask: Option<PathBuf>,
    /// How long the output is
    #[arg(long, value_enum, default_value = "audio")]
    length: LengthArg,
    /// How a video that is too short goes on
    #[arg(long, value_enum, default_value = "bounce")]
    extend: ExtendArg,
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

#[derive(Clone, Copy, ValueEnum)]
enum PasteArg {
    Mask,
    None,
}

pub fn run(options: &Options) -> Result<()> {
    let common = &options.job;
    let job = options.job()?;
    common.check_output(&[&options.video])?;
    let open = |path| Input::open(path, options.folder_fps()?, common.ffmpeg.as_deref());
    let input = open(&options.video)?;
    let landmarks = Landmarks::read(&options.landmarks)?;
    let landmarks = landmarks.for_pictures(&options.landmarks.display().to_string(), input.source()?.size())?;
    let weights = common.weight_set(Role::LIPSYNC, &options.named())?;
    let gpu = common.device.open(common.output() != Output::Text)?;
    let video = || input.source();

    let cancel = common.cancel();
    let bar = ProgressBar::new(common.output());
    let lipsync = LipSync::new(&gpu, &weights, video, common.source(), landmarks).options(job.clone());
    let mut lipsync = lipsync.cancel_with(&cancel);
    if let Some(path) = &options.occluder_mask {
        lipsync = lipsync.occluder(open(path)?.source()?);
    }
    if common.dry_run {
        let survey = lipsync.survey()?;
        let [width, height] = survey.size;
        let lines = [
            ("video", format!("{width}x{height}, {} frames at {} a second", survey.video_frames, survey.fps)),
            ("audio", format!("{:.2} s", survey.samples as f64 / 16_000.0)),
            (
                "output",
                format!("{} frames ({} inside at 25 a second)", survey.output_frames, survey.plan.output_frames()),
            ),
        ];
        let fields = serde_json::json!({"width": width, "height": height, "output_frames": survey.output_frames});
        return common.describe(&gpu, &weights, &survey.plan, &survey.demand(&job)?, (&lines, fields));
    }
    let identity = options.identity(&weights, &gpu)?;
    let frames = common.run(&gpu, identity, input.look(), &bar, |work, observer| {
        lipsync.resume(work).on_progress(observer).frames()
    })?;
    common.report(&gpu, Made { frames, is_demo: weights.is_demo })
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
            paste: match self.paste {
                PasteArg::Mask => Paste::Mask,
                PasteArg::None => Paste::None,
            },
            feather: self.feather,
            face: self.face.as_deref().map(|text| square("--face", text)).transpose()?,
            sample_posterior: self.job.sample_latents,
            parity: self.job.parity(),
            storage: self.job.storage(),
        };
        job.check()?;
        Ok(job)
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
        identity.insert("landmarks".into(), file_identity(&self.landmarks)?);
        if let Some(path) = &self.occluder_mask {
            identity.insert("occluder mask".into(), file_identity(path)?);
        }
        for (option, value) in [
            ("--mask", format!("{:?}", self.mask)),
            ("--nose-index", self.nose_index.to_string()),
            ("--face", self.face.clone().unwrap_or("none".to_string())),
            ("--length", format!("{:?}", self.length)),
            ("--extend", format!("{:?}", self.extend)),
            ("--fps", self.fps.to_string()),
        ] {
            identity.insert(option.into(), value);
        }
        Ok(identity)
    }

    fn folder_fps(&self) -> Result<Fps> {
        super::input::frame_rate(self.fps)
    }
}

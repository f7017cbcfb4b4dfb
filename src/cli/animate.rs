use super::input::Input;
use super::job::{JobOptions, Made, PasteArg, Target, guidance, numbers, square};
use super::progress::{Output, ProgressBar};
use clap::Args;
use std::path::{Path, PathBuf};
use viseme::diffusion::{AUTO_SCALE, Guidance};
use viseme::face::tracking::FaceChoice;
use viseme::gpu::Gpu;
use viseme::media::frames::read_picture_by;
use viseme::media::picture::holds_picture;
use viseme::media::probe::Look;
use viseme::media::writer::Sound;
use viseme::media::{Fps, Frame};
use viseme::ops::Region;
use viseme::pipelines::animate::{Animate, Options as Job, Survey};
use viseme::pipelines::emotion::Emotion;
use viseme::pipelines::resume::{Identity, file_identity};
use viseme::pipelines::sheet::Sheet;
use viseme::pipelines::stretches::Stretches;
use viseme::pipelines::weights::{Role, WeightSet};
use viseme::{Problem, Result};

/// Animate a portrait by speech (KeyFace), with emotion.
///
/// The portrait is a picture (PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF; HEIC where ffmpeg reads it), turned as its EXIF says and on
/// black where it is transparent, or a video whose first frame is taken. The face is found, and a square around it is animated
/// (--dry-run says which). Speech may be of any length; laughter, sighs and other sounds need nothing but being in it.
///
/// $ viseme animate --image face.png --audio speech.wav --out out.mp4 --weights models/ --emotion happy
///
/// An emotion is a name, several names (from one to the next over the clip, such as sad,neutral,happy), or two numbers from -1
/// to 1, valence (displeased to pleased) and arousal (calm to excited). Names: happy, angry, surprised, sad, neutral, fear,
/// disgusted, contempt, calm, excited, bored, confused, anxious, confident, frustrated, amused, proud, ashamed, grateful,
/// jealous, hopeful, disappointed, curious, overwhelmed.
#[derive(Args)]
pub struct Options {
    /// The portrait: a picture, or a video whose first frame is taken
    #[arg(long, value_name = "FILE")]
    image: PathBuf,

    /// Names, or VALENCE,AROUSAL
    #[arg(long, value_name = "EMOTION", default_value = "neutral", allow_hyphen_values = true)]
    emotion: String,
    /// The emotion over time: a CSV file of time_s,valence,arousal
    #[arg(long, value_name = "FILE", conflicts_with = "emotion")]
    emotion_track: Option<PathBuf>,
    /// Every emotion half as strong again
    #[arg(long)]
    accentuate: bool,
    /// The face to animate: largest, left, right, or the one at X,Y in pixels
    #[arg(long, value_name = "WHICH", default_value = "largest", help_heading = "Face")]
    face: FaceChoice,
    /// The square to animate, in the portrait's pixels [default: around the face; where none is found, the largest in the middle]
    #[arg(
        long,
        value_name = "LEFT,TOP,SIDE",
        allow_hyphen_values = true,
        conflicts_with = "face",
        help_heading = "Face"
    )]
    crop: Option<String>,
    /// none: the square alone; mask: put back into the whole portrait
    #[arg(long, value_enum, default_value = "none", help_heading = "Face")]
    paste: PasteArg,

    /// Guidance between keyframes: none, auto (by the weaker network, scale 2), auto,SCALE, or AUDIO,REFERENCE [default: auto
    /// where the weaker network is there, else none]
    #[arg(long, value_name = "GUIDANCE", help_heading = "Diffusion")]
    interpolation_guidance: Option<String>,

    /// The keyframe network alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    keyframe_weights: Option<PathBuf>,
    /// The interpolation network alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    interpolation_weights: Option<PathBuf>,
    /// The weaker interpolation network of autoguidance alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    weaker_weights: Option<PathBuf>,
    /// Stable Video Diffusion's VAE alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    vae_weights: Option<PathBuf>,
    /// WavLM Base+ alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    wavlm_weights: Option<PathBuf>,
    /// BEATs alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    beats_weights: Option<PathBuf>,
    /// wav2vec 2.0 base alone
    #[arg(long, value_name = "FILE", help_heading = "Weights")]
    wav2vec2_weights: Option<PathBuf>,

    #[command(flatten)]
    job: JobOptions,
}

pub fn run(options: &Options) -> Result<()> {
    let common = &options.job;
    let job = options.job()?;
    common.check_output(&[&options.image])?;
    let portrait = portrait(&options.image, common.ffmpeg.as_deref())?;
    let weights = common.weight_set(Role::ANIMATE, &options.named())?;
    let gpu = common.device.open(common.output() != Output::Text)?;

    let cancel = common.cancel();
    let bar = ProgressBar::new(common.output());
    let size = [portrait.width, portrait.height];
    let animate = Animate::new(&gpu, &weights, portrait, common.source()).options(job.clone()).cancel_with(&cancel);
    let survey = animate.survey()?;
    let side = weights.crop_side(Role::KeyfaceInterpolation)?;
    let mut sheet = common.sheet(|| Ok(Sheet::animate(&survey, &job, animate.portrait(), side)))?;
    let [width, height] = size;
    let output_frames = survey.plan.output_frames();
    let sound = Sound { path: common.audio.clone(), start_s: common.audio_offset, part: None };
    let target = Target {
        size: if options.paste == PasteArg::None { [side as u32; 2] } else { size },
        fps: Fps::INSIDE,
        frames: output_frames as u64,
        look: Look::standard(),
        sound,
        source: None,
        source_rate: None,
    };
    let (format, notes) = common.try_output(&target)?;
    let mut lines = vec![
        ("portrait", format!("{width}x{height}, {}", options.place(size, &survey))),
        ("audio", format!("{:.2} s", survey.samples as f64 / 16_000.0)),
        ("output", format!("{}x{}, {output_frames} frames at 25 a second", target.size[0], target.size[1])),
        ("file", format.clone()),
    ];
    lines.extend(notes.iter().map(|note| ("note", note.clone())));
    let Region { left, top, width: crop_width, height: crop_height } = survey.place.region;
    let fields = serde_json::json!({"width": width, "height": height, "output_frames": output_frames,
        "crop": [left, top, crop_width, crop_height], "face_found": survey.is_found, "output_format": format, "notes": notes});
    let demand = survey.demand(&job, &weights)?;
    let stretches = Stretches::whole(survey.plan, 0..output_frames as u64);
    common.describe(&gpu, &weights, &stretches, &demand, (&lines, fields))?;
    if common.dry_run {
        return Ok(());
    }
    let identity = options.identity(&weights, &gpu)?;
    let frames = common.run(&gpu, identity, &target, (&bar, sheet.as_mut()), |work, observer| {
        animate.resume(work).on_progress(observer).frames()
    })?;
    // The result is finished, whatever becomes of the sheet.
    let drawn = sheet.map_or(Ok(()), |sheet| common.write_sheet(sheet, &common.source()));
    common.report(&gpu, Made { frames, weights: weights.kind })?;
    drawn
}

fn portrait(path: &Path, ffmpeg: Option<&Path>) -> Result<Frame> {
    if holds_picture(path)? {
        return read_picture_by(path, ffmpeg);
    }
    let first = Input::open(path, Fps::INSIDE, ffmpeg)?.source()?.next_frame()?;
    first.ok_or_else(|| Problem::new(path.display().to_string(), "a frame", "none").input())
}

impl Options {
    fn job(&self) -> Result<Job> {
        let emotion = match &self.emotion_track {
            Some(path) => Emotion::read(path)?,
            None => self.emotion.parse()?,
        };
        Ok(Job {
            sampling: self.job.sampling()?,
            guidance: self.job.guidance()?,
            interpolation_guidance: self.interpolation_guidance.as_deref().map(between_keyframes).transpose()?,
            emotion: if self.accentuate { emotion.accentuated() } else { emotion },
            face: self.face.clone(),
            crop: self.crop.as_deref().map(|text| square("--crop", text)).transpose()?,
            paste: self.paste.into(),
            sample_posterior: self.job.sample_latents,
            parity: self.job.parity(),
            storage: self.job.storage(),
        })
    }

    /// Which square of the picture is animated.
    fn place(&self, [width, height]: [u32; 2], survey: &Survey) -> String {
        let Region { left, top, width: side, height: rows } = survey.place.region;
        let is_all = left == 0.0 && top == 0.0 && [side, rows] == [f64::from(width), f64::from(height)];
        let square = format!("{left:.0},{top:.0},{side:.0}");
        match () {
            () if is_all && width == height => "all of it".to_string(),
            () if is_all => "all of it, squeezed into a square".to_string(),
            () if survey.is_found => format!("of it the square {square} around the face"),
            () if self.crop.is_some() => format!("of it the square {square}"),
            () => format!("no face found: of it the square {square} in the middle (--crop LEFT,TOP,SIDE for another)"),
        }
    }

    fn named(&self) -> [(Role, &Option<PathBuf>); 7] {
        [
            (Role::KeyfaceKeyframe, &self.keyframe_weights),
            (Role::KeyfaceInterpolation, &self.interpolation_weights),
            (Role::KeyfaceWeaker, &self.weaker_weights),
            (Role::Vae, &self.vae_weights),
            (Role::WavLm, &self.wavlm_weights),
            (Role::Beats, &self.beats_weights),
            (Role::Wav2Vec2, &self.wav2vec2_weights),
        ]
    }

    /// Everything that shows in the latents.
    fn identity(&self, weights: &WeightSet, gpu: &Gpu) -> Result<Identity> {
        let mut identity = self.job.identity(weights, gpu)?;
        identity.insert("image".into(), file_identity(&self.image)?);
        if let Some(path) = &self.emotion_track {
            identity.insert("emotion track".into(), file_identity(path)?);
        }
        let given = |option: &Option<String>| option.clone().unwrap_or("none".to_string());
        for (option, value) in [
            ("--emotion", self.emotion.clone()),
            ("--accentuate", self.accentuate.to_string()),
            ("--face", format!("{:?}", self.face)),
            ("--crop", given(&self.crop)),
            ("--interpolation-guidance", given(&self.interpolation_guidance)),
        ] {
            identity.insert(option.into(), value);
        }
        Ok(identity)
    }
}

fn between_keyframes(text: &str) -> Result<Guidance> {
    const OPTION: &str = "--interpolation-guidance";
    match (text, text.strip_prefix("auto,")) {
        ("none", _) => Ok(Guidance::None),
        ("auto", _) => Ok(Guidance::Auto { scale: AUTO_SCALE }),
        (_, Some(scale)) => {
            let [scale] = numbers(OPTION, scale, "auto,SCALE, such as auto,2")?;
            Ok(Guidance::Auto { scale: scale as f32 })
        }
        _ => guidance(OPTION, text),
    }
}

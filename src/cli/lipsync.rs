use super::progress::{Output, ProgressBar};
use super::{DeviceOptions, Precision};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use viseme::diffusion::{AUDIO_SCALE, Guidance, REFERENCE_SCALE};
use viseme::face::landmarks::Landmarks;
use viseme::face::mask::{MaskKind, MaskRule, NOSE_INDEX};
use viseme::gpu::Gpu;
use viseme::media::frames::{FolderSink, FolderSource};
use viseme::media::probe::{Look, VideoInfo, probe};
use viseme::media::video::{VideoReader, VideoSpec, VideoWriter};
use viseme::media::{Audio, Ffmpeg, Fps, FrameSink, FrameSource};
use viseme::ops::Region;
use viseme::pipelines::lipsync::{LipSync, Options as Job, Paste, Survey};
use viseme::pipelines::resume::{Identity, WorkFolder, file_identity};
use viseme::pipelines::segments::{Extend, Length, Parity};
use viseme::pipelines::weights::{Role, Storage, WeightSet};
use viseme::pipelines::{Cancel, Sampling};
use viseme::{Problem, Result};

/// Gives a video new speech (KeySync): the mouth follows the audio, everything else stays.
///
/// The video may be anything that ffmpeg reads, or a folder of pictures; so may the output. Landmarks are 68 points per
/// frame (iBUG order), as JSON or .npy.
///
/// Example: viseme lipsync --video in.mp4 --audio speech.wav --landmarks points.json --out out.mp4 --weights models/
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The video to change: any file that ffmpeg reads, or a folder of PNG or JPEG pictures
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    /// The speech: a wav file, or any file with sound that ffmpeg reads
    #[arg(long, value_name = "FILE")]
    audio: PathBuf,
    /// 68 points per frame in the video's pixels: .json ([[[x, y], ..], ..]) or .npy ([frames, 68, 2])
    #[arg(long, value_name = "FILE")]
    landmarks: PathBuf,
    /// The result: .mp4, .mov, .mkv, .webm, or a folder for PNG pictures
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,

    /// Folder with the networks under their published names [default: VISEME_WEIGHTS, then the user's data folder]
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// The keyframe network alone
    #[arg(long, value_name = "FILE")]
    keyframe_weights: Option<PathBuf>,
    /// The interpolation network alone
    #[arg(long, value_name = "FILE")]
    interpolation_weights: Option<PathBuf>,
    /// Stable Video Diffusion's VAE alone
    #[arg(long, value_name = "FILE")]
    vae_weights: Option<PathBuf>,
    /// HuBERT base alone
    #[arg(long, value_name = "FILE")]
    hubert_weights: Option<PathBuf>,
    /// WavLM Base+ alone
    #[arg(long, value_name = "FILE")]
    wavlm_weights: Option<PathBuf>,
    /// Small networks with random weights: shows that everything runs, not what it looks like
    #[arg(long, conflicts_with = "weights")]
    demo: bool,
    /// Tensors in a file that no network reads are an error
    #[arg(long)]
    strict: bool,

    /// Network evaluations of each diffusion loop
    #[arg(long, default_value_t = 11, value_name = "N")]
    steps: usize,
    /// Guidance towards audio and reference
    #[arg(long, value_name = "AUDIO,REFERENCE", default_value_t = format!("{AUDIO_SCALE},{REFERENCE_SCALE}"))]
    guidance: String,
    /// The same seed gives the same video
    #[arg(long, default_value_t = 23)]
    seed: u64,
    /// What is generated: box, full, heart, mouth or face
    #[arg(long, default_value = "box", value_name = "KIND")]
    mask: MaskKind,
    /// Landmark where the mask begins
    #[arg(long, default_value_t = NOSE_INDEX, value_name = "N")]
    nose_index: usize,
    /// The square to work on, in the video's pixels [default: around the landmarks]
    #[arg(long, value_name = "LEFT,TOP,SIDE")]
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
    /// A random sample of the encoder's latents instead of their mode
    #[arg(long)]
    sample_latents: bool,
    /// Everything as the published program does it, faults included (docs/differences.md)
    #[arg(long)]
    upstream_parity: bool,

    #[command(flatten)]
    device: DeviceOptions,
    /// Storage of the UNets' activations
    #[arg(long, value_enum, default_value = "f16")]
    precision: Precision,
    /// Storage of weights on the device
    #[arg(long, value_enum, default_value = "f16")]
    weight_type: Precision,
    /// Guidance branches one after another: a third of the memory
    #[arg(long)]
    low_memory: bool,
    /// Print where GPU time went, by kernel
    #[arg(long)]
    profile: bool,

    /// Frames a second of a folder of pictures
    #[arg(long, default_value_t = 25.0)]
    fps: f64,
    /// Quality of the output video, lower is better
    #[arg(long)]
    crf: Option<u8>,
    /// ffmpeg's name of the video encoder
    #[arg(long, value_name = "NAME")]
    codec: Option<String>,
    /// The ffmpeg program [default: the one in PATH]
    #[arg(long, value_name = "PATH")]
    ffmpeg: Option<PathBuf>,
    /// Folder for what a run that is cut off needs to go on [default: OUT.viseme]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Print what would be done, how much memory and about how long it takes
    #[arg(long)]
    dry_run: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
    /// Progress and result as one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LengthArg {
    Audio,
    Video,
    Shortest,
}

#[derive(Clone, Copy, ValueEnum)]
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
    let job = options.job()?;
    let input = Input::open(&options.video, options)?;
    let landmarks = Landmarks::read(&options.landmarks)?;
    let weights = options.weight_set()?;
    let audio = Audio::file(&options.audio, options.ffmpeg.as_deref());
    let gpu = options.device.open()?;
    let video = || input.source();

    let mut lipsync = LipSync::new(&gpu, &weights, video, audio, landmarks).options(job.clone());
    if let Some(path) = &options.occluder_mask {
        lipsync = lipsync.occluder(Input::open(path, options)?.source()?);
    }
    let output = if options.json {
        Output::Json
    } else if options.quiet {
        Output::Quiet
    } else {
        Output::Text
    };
    let survey = lipsync.survey()?;
    if options.dry_run {
        return describe(&gpu, &weights, &survey, &job, output);
    }

    let cancel = Cancel::default();
    let handler = cancel.clone();
    // A second handler is refused, which leaves the first in place: nothing to do about it.
    let _ = ctrlc::set_handler(move || handler.cancel());
    let work = options.work.clone().unwrap_or_else(|| WorkFolder::beside(&options.out));
    let work = WorkFolder::open(work, options.identity(&weights)?)?;
    if options.profile {
        gpu.start_profile()?;
    }
    let bar = ProgressBar::new(output);
    let mut frames = lipsync.resume(work).cancel_with(&cancel).on_progress(|progress| bar.show(progress)).frames()?;
    let mut sink = options.sink(&input, frames.size(), frames.fps())?;
    for frame in frames.by_ref() {
        sink.write(&frame?)?;
    }
    sink.finish()?;
    frames.finish()?;
    bar.finish();
    if options.profile {
        print_profile(&gpu)?;
    }
    let memory = gpu.memory();
    match output {
        Output::Json => println!(
            "{}",
            serde_json::json!({"event": "done", "out": options.out, "frames": survey.output_frames,
                "demo_weights": weights.is_demo, "gpu_peak_bytes": memory.peak})
        ),
        Output::Text => println!("{} ({} frames)", options.out.display(), survey.output_frames),
        Output::Quiet => {}
    }
    Ok(())
}

fn print_profile(gpu: &Gpu) -> Result<()> {
    for row in gpu.stop_profile()? {
        let ms = row.time.as_secs_f64() * 1e3;
        let rate = row.flops / row.time.as_secs_f64().max(1e-9) / 1e9;
        eprintln!("{:<24} {:>7} calls {ms:>10.1} ms {rate:>8.1} GFLOP/s", row.kernel, row.calls);
    }
    Ok(())
}

/// The plan, the memory and the time that a job takes, as far as they are known before it runs.
fn describe(gpu: &Gpu, weights: &WeightSet, survey: &Survey, job: &Job, output: Output) -> Result<()> {
    let estimate = weights.estimate(survey, job)?;
    let [width, height] = survey.size;
    if output == Output::Json {
        println!(
            "{}",
            serde_json::json!({"event": "plan", "device": gpu.capabilities().name, "width": width, "height": height,
                "output_frames": survey.output_frames, "chunks": survey.plan.chunk_count(),
                "keyframe_batches": survey.plan.batch_count(), "windows": survey.plan.window_count(),
                "unet_evaluations": survey.clip_evaluations(job), "weight_bytes": estimate.weight_bytes,
                "tflop": estimate.flops / 1e12, "demo_weights": weights.is_demo})
        );
        return Ok(());
    }
    println!("device    {}", gpu.capabilities().name);
    println!("video     {width}x{height}, {} frames at {} a second", survey.video_frames, survey.fps);
    println!("audio     {:.2} s", survey.samples as f64 / 16_000.0);
    println!("output    {} frames ({} inside at 25 a second)", survey.output_frames, survey.plan.output_frames());
    println!(
        "plan      {} chunks, {} keyframe batches, {} windows, {} evaluations of a clip",
        survey.plan.chunk_count(),
        survey.plan.batch_count(),
        survey.plan.window_count(),
        survey.clip_evaluations(job)
    );
    println!(
        "memory    {:.2} GiB of weights, about {:.2} GiB at work",
        gib(estimate.weight_bytes),
        gib(estimate.work_bytes)
    );
    let rate = super::bench::measured_rate(gpu)?;
    let seconds = estimate.flops / rate;
    println!(
        "work      {:.2} TFLOP, about {} at the {:.0} GFLOP/s measured here",
        estimate.flops / 1e12,
        duration(seconds),
        rate / 1e9
    );
    Ok(())
}

fn gib(bytes: f64) -> f64 {
    bytes / f64::from(1u32 << 30)
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// A video or a folder of pictures, opened as often as asked.
enum Input {
    Video { ffmpeg: Ffmpeg, info: VideoInfo },
    Folder { path: PathBuf, fps: Fps },
}

impl Input {
    fn open(path: &Path, options: &Options) -> Result<Self> {
        if path.is_dir() {
            let fps = Fps::new((options.fps * 1000.0).round() as u32, 1000)?;
            let fps = if options.fps.fract() == 0.0 { Fps::new(options.fps as u32, 1)? } else { fps };
            return Ok(Input::Folder { path: path.to_path_buf(), fps });
        }
        let ffmpeg = Ffmpeg::find(options.ffmpeg.as_deref())?;
        let info = probe(&ffmpeg, path)?;
        Ok(Input::Video { ffmpeg, info })
    }

    fn source(&self) -> Result<Box<dyn FrameSource>> {
        Ok(match self {
            Input::Video { ffmpeg, info } => Box::new(VideoReader::new(ffmpeg, info.clone())),
            Input::Folder { path, fps } => Box::new(FolderSource::open(path, *fps)?),
        })
    }

    fn look(&self) -> Look {
        match self {
            Input::Video { info, .. } => info.look.clone(),
            Input::Folder { .. } => Look::standard(),
        }
    }
}

impl Options {
    fn job(&self) -> Result<Job> {
        let [audio, reference] = numbers("--guidance", &self.guidance, "AUDIO,REFERENCE, such as 5,2")?;
        let face = match &self.face {
            None => None,
            Some(text) => {
                let [left, top, side] = numbers("--face", text, "LEFT,TOP,SIDE in pixels, such as 100,50,320")?;
                Some(Region { left, top, width: side, height: side })
            }
        };
        if self.steps == 0 {
            return Err(Problem::new("--steps", "1 or more", "0").usage());
        }
        Ok(Job {
            sampling: Sampling { steps: self.steps, seed: self.seed, low_memory: self.low_memory },
            guidance: Guidance::AudioReference { audio: audio as f32, reference: reference as f32 },
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
            face,
            sample_posterior: self.sample_latents,
            parity: if self.upstream_parity { Parity::Upstream } else { Parity::Corrected },
            storage: Storage {
                activations: self.precision.elem(),
                weights: self.weight_type.elem(),
                strict: self.strict,
            },
        })
    }

    /// The networks that were named, else those of `VISEME_WEIGHTS` or the user's data folder, else, with a warning, the demo.
    fn weight_set(&self) -> Result<WeightSet> {
        let single: BTreeMap<Role, PathBuf> = [
            (Role::Keyframe, &self.keyframe_weights),
            (Role::Interpolation, &self.interpolation_weights),
            (Role::Vae, &self.vae_weights),
            (Role::Hubert, &self.hubert_weights),
            (Role::WavLm, &self.wavlm_weights),
        ]
        .into_iter()
        .filter_map(|(role, path)| path.clone().map(|path| (role, path)))
        .collect();
        if self.demo && single.is_empty() {
            return WeightSet::demo();
        }
        let named = self.weights.clone().or_else(|| std::env::var_os("VISEME_WEIGHTS").map(PathBuf::from));
        if named.is_some() || !single.is_empty() {
            return WeightSet::open(named.as_deref(), &single);
        }
        let data = directories::ProjectDirs::from("", "", "viseme").map(|dirs| dirs.data_dir().join("weights"));
        if let Some(folder) = data.filter(|folder| folder.is_dir()) {
            return WeightSet::open(Some(&folder), &single);
        }
        eprintln!(
            "viseme: warning: no weights named or found: small demo networks with random weights run instead (README.md, weights)"
        );
        WeightSet::demo()
    }

    /// Everything that shows in the output.
    fn identity(&self, weights: &WeightSet) -> Result<Identity> {
        let mut identity = Identity::new();
        identity.insert("video".into(), file_identity(&self.video)?);
        identity.insert("audio".into(), file_identity(&self.audio)?);
        identity.insert("landmarks".into(), file_identity(&self.landmarks)?);
        if let Some(path) = &self.occluder_mask {
            identity.insert("occluder mask".into(), file_identity(path)?);
        }
        for (role, origin) in &weights.origins {
            identity.insert(format!("{role} weights"), origin.clone());
        }
        let job = self.job()?;
        identity.insert("options".into(), format!("{job:?}"));
        Ok(identity)
    }

    fn sink(&self, input: &Input, size: [u32; 2], fps: Fps) -> Result<Box<dyn FrameSink>> {
        if self.out.extension().is_none() {
            return Ok(Box::new(FolderSink::create(&self.out)?));
        }
        let ffmpeg = Ffmpeg::find(self.ffmpeg.as_deref())?;
        let mut spec = VideoSpec::new(size, fps, input.look());
        if let Some(codec) = &self.codec {
            spec.codec = codec.clone();
        }
        if self.crf.is_some() {
            spec.crf = self.crf;
        }
        Ok(Box::new(VideoWriter::create(&ffmpeg, &self.out, spec, Some(&self.audio))?))
    }
}

fn numbers<const N: usize>(option: &str, text: &str, expected: &str) -> Result<[f64; N]> {
    let values: Option<Vec<f64>> =
        text.split(',').map(|v| v.trim().parse().ok().filter(|v: &f64| v.is_finite())).collect();
    let values = values.and_then(|values| <[f64; N]>::try_from(values).ok());
    values.ok_or_else(|| Problem::new(option, expected, format!("'{text}'")).usage())
}

//! What lip sync and animation have in common on the command line: weights, diffusion, device, output.

use super::faces::refuse_name;
use super::peaks::Peaks;
use super::progress::{Output, ProgressBar};
use super::{DeviceOptions, Precision, WeightType, note, note_profile, say};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use viseme::diffusion::schedule::MAX_STEPS;
use viseme::diffusion::{AUDIO_SCALE, Guidance, REFERENCE_SCALE};
use viseme::gpu::{Elem, Gpu};
use viseme::media::frames::{BackgroundSink, FolderSink, write_picture};
use viseme::media::labels::{self, Label};
use viseme::media::probe::Look;
use viseme::media::writer::{Sound, Tracks, Trial, VideoSpec, VideoWriter};
use viseme::media::{Audio, Ffmpeg, Fps, FrameSink, disk};
use viseme::ops::ConvClass;
use viseme::pipelines::resume::{Identity, WorkFolder, file_identity};
use viseme::pipelines::segments::Parity;
use viseme::pipelines::sheet::Sheet;
use viseme::pipelines::stretches::Stretches;
use viseme::pipelines::weights::{Demand, Kind, Role, Storage, WeightSet};
use viseme::pipelines::{Approximation, Cancel, Frames, Paste, Progress, Sampling};
use viseme::{Error, Problem, Result};

#[derive(Args)]
pub struct JobOptions {
    /// The speech: a wav file, or any file with sound that ffmpeg reads
    #[arg(long, value_name = "FILE")]
    pub audio: PathBuf,
    /// Seconds by which the speech is heard later; below 0, its beginning is cut off
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, allow_hyphen_values = true, value_parser = seconds)]
    pub audio_offset: f64,
    /// The result: .mp4, .mov, .mkv, .webm, .avi, .ts, or a folder for PNG pictures
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,

    /// Folder with the networks under their published names [default: VISEME_WEIGHTS, then the user's data folder]
    #[arg(long, value_name = "DIR", help_heading = "Weights")]
    weights: Option<PathBuf>,
    /// The small models that come with viseme, whatever lies elsewhere: they show how it works, not how good it gets
    #[arg(long, conflicts_with = "weights", help_heading = "Weights")]
    demo: bool,
    /// Tensors in a file that no network reads are an error
    #[arg(long, help_heading = "Weights")]
    strict: bool,

    /// Network evaluations of each diffusion loop, 1 to 1000 [default: 11, with --fast steps 6]
    #[arg(long, value_name = "N", help_heading = "Diffusion")]
    steps: Option<usize>,
    /// Guidance towards audio and reference
    #[arg(long, value_name = "AUDIO,REFERENCE", default_value_t = format!("{AUDIO_SCALE},{REFERENCE_SCALE}"),
        help_heading = "Diffusion")]
    guidance: String,
    /// The same seed gives the same video
    #[arg(long, default_value_t = 23, help_heading = "Diffusion")]
    seed: u64,
    /// A random sample of the encoder's latents instead of their mode
    #[arg(long, help_heading = "Diffusion")]
    pub sample_latents: bool,
    /// Everything as the published program does it, faults included (docs/differences.md)
    #[arg(long, conflicts_with = "fast", help_heading = "Diffusion")]
    pub upstream_parity: bool,
    /// Approximate for speed, in all ways or in those named. Without it nothing is approximated
    #[arg(long, value_enum, value_name = "WAY,..", value_delimiter = ',', num_args = 0..=1,
        default_missing_values = ["guidance", "reuse", "steps"], help_heading = "Diffusion")]
    fast: Vec<Fast>,

    #[command(flatten)]
    pub device: DeviceOptions,
    /// Storage of activations: f16 in the UNets; f16-all in the VAE too, which the published VAE overflows
    #[arg(long, value_enum, default_value = "f16", help_heading = "Device")]
    precision: Precision,
    /// Storage of weights on the device, whatever their files hold
    #[arg(long, value_enum, default_value = "f16", help_heading = "Device")]
    weight_type: WeightType,
    /// Guidance branches and windows one after another: a sixth of the memory
    #[arg(long, help_heading = "Device")]
    low_memory: bool,
    /// Print where GPU time went, by kernel
    #[arg(long, help_heading = "Device")]
    profile: bool,

    /// Quality of the output video on its encoder's own scale, lower is better [default: hard to tell from the source]
    #[arg(long, help_heading = "Output")]
    crf: Option<u8>,
    /// ffmpeg's name of the video encoder [default: what files that end as OUT are usually encoded with]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    codec: Option<String>,
    /// The ffmpeg program [default: the one in PATH]
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub ffmpeg: Option<PathBuf>,
    /// Draw some of the frames, what went in above what came out, over the speech (.png)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    sheet: Option<PathBuf>,
    /// For --sheet: the phones of the speech, a line each of start, end (in seconds) and label with tabs between them, as
    /// Audacity's label tracks
    #[arg(long, value_name = "FILE", requires = "sheet", help_heading = "Output")]
    phones: Option<PathBuf>,
    /// Folder for what a run that is cut off needs to go on [default: OUT.viseme]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    work: Option<PathBuf>,
    /// Print what would be done, how much memory and about how long it takes
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// No progress
    #[arg(long, help_heading = "Output")]
    quiet: bool,
    /// Progress and result as one JSON object a line
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Ways to a result near the exact one; what each costs was measured on the demo (benches/RESULTS.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Fast {
    /// Guide at noise levels from 20 down to 0.28 only, elsewhere ask the network once instead of two or three times: about a
    /// third less work. What audio and reference ask of the first rough shapes and of the finest detail is not amplified
    Guidance,
    /// Run the UNet's levels below the first in every second step, and use what they made twice: about a third less work, and
    /// memory for what is kept. Large shapes come a step late
    Reuse,
    /// DPM-Solver++ (2M) in 6 steps instead of Euler's 11: about half the work. Longer steps, so that all of
    /// the picture moves a little
    Steps,
}

impl From<Fast> for Approximation {
    fn from(fast: Fast) -> Self {
        match fast {
            Fast::Guidance => Self::Guidance,
            Fast::Reuse => Self::Reuse,
            Fast::Steps => Self::Steps,
        }
    }
}

/// What becomes of the decoded crop.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PasteArg {
    Mask,
    None,
}

impl From<PasteArg> for Paste {
    fn from(paste: PasteArg) -> Self {
        match paste {
            PasteArg::Mask => Self::Mask,
            PasteArg::None => Self::None,
        }
    }
}

/// A job that takes longer than this is worth a trial.
const LONG_S: f64 = 600.0;

/// What a job's result is, for the last line.
pub struct Made {
    pub frames: u64,
    pub weights: Kind,
}

/// What the frames of a job become.
pub struct Target {
    pub size: [u32; 2],
    pub fps: Fps,
    pub frames: u64,
    pub look: Look,
    pub sound: Sound,
    /// The video that they are made from, whose other streams are kept, and how many bits a second it takes.
    pub source: Option<PathBuf>,
    pub source_rate: Option<u64>,
}

impl Target {
    fn tracks(&self) -> Tracks<'_> {
        Tracks { sound: Some(&self.sound), source: self.source.as_deref() }
    }
}

impl JobOptions {
    pub fn sampling(&self) -> Result<Sampling> {
        if let Some(steps) = self.steps.filter(|steps| !(1..=MAX_STEPS).contains(steps)) {
            return Err(Problem::new("--steps", format!("1 to {MAX_STEPS}"), steps.to_string()).usage());
        }
        let exact = Sampling { seed: self.seed, low_memory: self.low_memory, ..Sampling::default() };
        let fast = self.fast.iter().fold(exact, |sampling, &fast| sampling.approximate(fast.into()));
        Ok(Sampling { steps: self.steps.unwrap_or(fast.steps), ..fast })
    }

    pub fn guidance(&self) -> Result<Guidance> {
        guidance("--guidance", &self.guidance)
    }

    pub fn parity(&self) -> Parity {
        if self.upstream_parity { Parity::Upstream } else { Parity::Corrected }
    }

    pub fn storage(&self) -> Storage {
        Storage {
            activations: if self.precision == Precision::F32 { Elem::F32 } else { Elem::F16 },
            coding: if self.precision == Precision::F16All { Elem::F16 } else { Elem::F32 },
            weights: self.weight_type.elem(),
            strict: self.strict,
        }
    }

    pub fn source(&self) -> Audio {
        Audio::file(&self.audio, self.ffmpeg.as_deref()).offset(self.audio_offset)
    }

    pub fn output(&self) -> Output {
        match (self.json, self.quiet) {
            (true, _) => Output::Json,
            (false, true) => Output::Quiet,
            (false, false) => Output::Text,
        }
    }

    /// The networks that were named, else those of `VISEME_WEIGHTS` or the user's data folder, else, with a warning, the demo.
    pub fn weight_set(&self, roles: &[Role], named: &[(Role, &Option<PathBuf>)]) -> Result<WeightSet> {
        let single: BTreeMap<Role, PathBuf> =
            named.iter().filter_map(|(role, path)| Some((*role, path.as_ref()?.clone()))).collect();
        if self.demo {
            return match single.first_key_value() {
                None => demo(roles),
                Some((_, path)) => {
                    Err(Problem::new("--demo", "no file of weights beside it", path.display().to_string())
                        .remedy("leave out one of the two")
                        .usage())
                }
            };
        }
        let folder = self.weights.clone().or_else(|| std::env::var_os("VISEME_WEIGHTS").map(PathBuf::from));
        if folder.is_some() || !single.is_empty() {
            return WeightSet::open(roles, folder.as_deref(), &single);
        }
        if let Some(folder) = data_folder("weights").filter(|folder| folder.is_dir()) {
            return WeightSet::open(roles, Some(&folder), &single);
        }
        let set = demo(roles)?;
        let instead = described(set.kind).unwrap_or("others");
        note(format_args!("viseme: warning: no weights named or found: {instead} run instead (README.md, weights)"));
        Ok(set)
    }

    /// What of these options, the audio and the weights shows in the latents, which is what a work folder keeps.
    pub fn identity(&self, weights: &WeightSet, gpu: &Gpu) -> Result<Identity> {
        let mut identity = Identity::new();
        identity.insert("audio".into(), file_identity(&self.audio)?);
        for (role, origin) in &weights.origins {
            identity.insert(format!("{role} weights"), origin.clone());
        }
        let (storage, sampling) = (self.storage(), self.sampling()?);
        for (option, value) in [
            ("--steps", sampling.steps.to_string()),
            ("--guidance", self.guidance.clone()),
            ("--seed", self.seed.to_string()),
            ("--audio-offset", self.audio_offset.to_string()),
            ("--sample-latents", self.sample_latents.to_string()),
            ("--upstream-parity", self.upstream_parity.to_string()),
            ("--precision", format!("{:?}, {:?}", storage.activations, storage.coding)),
            ("--weight-type", self.weight_type.to_string()),
            ("convolutions", format!("{:?}", ConvClass::of_large_layers(gpu, storage.weights)?)),
        ] {
            identity.insert(option.into(), value);
        }
        // Absent from an exact job, so that one which an earlier version began goes on.
        if !self.fast.is_empty() {
            let mut ways = self.fast.clone();
            ways.sort_unstable();
            ways.dedup();
            let names: Vec<String> = ways.iter().map(|way| format!("{way:?}").to_lowercase()).collect();
            identity.insert("--fast".into(), names.join(","));
        }
        Ok(identity)
    }

    /// What would stop the result from being written, found before hours of work; `inputs` must not be overwritten.
    pub fn check_output(&self, inputs: &[&Path]) -> Result<()> {
        if let Err(source) = std::fs::read_dir(self.out_folder()) {
            return Err(Error::Write { path: self.out.clone(), source });
        }
        let is_out = |input: &&Path| is_same_file(&self.out, input);
        if [&[self.audio.as_path()], inputs].concat().iter().any(is_out) {
            let problem = Problem::new("--out", "another file than the inputs", self.out.display().to_string());
            return Err(problem.remedy("the result would take its place").usage());
        }
        self.check_sheet(inputs)?;
        if self.out.extension().is_none() {
            FolderSink::check(&self.out)
        } else {
            VideoWriter::check(&self.out)?;
            Ffmpeg::find(self.ffmpeg.as_deref()).map(drop)
        }
    }

    fn check_sheet(&self, inputs: &[&Path]) -> Result<()> {
        let Some(sheet) = &self.sheet else { return Ok(()) };
        for other in [&[self.audio.as_path(), self.out.as_path()], inputs].concat() {
            refuse_name(sheet, &["png"], other)?;
        }
        if let Err(source) = std::fs::read_dir(folder_of(sheet)) {
            return Err(Error::Write { path: sheet.clone(), source });
        }
        self.phones().map(drop)
    }

    /// The phones of the speech, as far as they were given.
    fn phones(&self) -> Result<Vec<Label>> {
        self.phones.as_deref().map_or(Ok(Vec::new()), labels::read)
    }

    /// What `choose` makes of the job, where a sheet was asked for.
    pub fn sheet(&self, choose: impl FnOnce() -> Result<Sheet>) -> Result<Option<Sheet>> {
        self.sheet.as_ref().map(|_| choose()).transpose()
    }

    /// Writes the sheet of a job whose result is finished.
    pub fn write_sheet(&self, sheet: Sheet, speech: &Audio) -> Result<()> {
        let Some(path) = &self.sheet else { return Ok(()) };
        write_picture(path, &sheet.draw(speech, &self.phones()?)?)?;
        if self.output() == Output::Text {
            note(path.display());
        }
        Ok(())
    }

    fn out_folder(&self) -> &Path {
        folder_of(&self.out)
    }

    /// Tries the output on a few frames: how it is written, in a few words, and what of the source is changed or left out, a
    /// sentence each. Errors: all that would stop the result from being written later, too little room on the disk too.
    pub fn try_output(&self, target: &Target) -> Result<(String, Vec<String>)> {
        if self.out.extension().is_none() {
            // PNG makes about half of a picture.
            let [width, height] = target.size.map(u64::from);
            disk::check(self.out_folder(), target.frames * width * height * 3 / 2)?;
            return Ok(("PNG".to_string(), Vec::new()));
        }
        let ffmpeg = Ffmpeg::find(self.ffmpeg.as_deref())?;
        let trial = Trial::new(&ffmpeg, &self.out, &self.spec(target), target.tracks())?;
        disk::check(self.out_folder(), trial.bytes(target.frames))?;
        Ok((trial.summary, trial.notes))
    }

    fn spec(&self, target: &Target) -> VideoSpec {
        let mut spec = VideoSpec::new(target.size, target.fps, target.look.clone());
        (spec.codec, spec.crf, spec.source_rate) = (self.codec.clone(), self.crf, target.source_rate);
        spec
    }

    /// From now on Ctrl-C ends a run once the device is done with what it has, and a second one ends the process at once: what is
    /// finished in the work folder is whole either way, since its files get their names when they are.
    pub fn cancel(&self) -> Cancel {
        let cancel = Cancel::default();
        let handler = cancel.clone();
        // A second handler is refused, which leaves the first in place: nothing to do about it.
        let _ = ctrlc::set_handler(move || {
            if handler.is_cancelled() {
                exit_at_once();
            }
            handler.cancel();
        });
        cancel
    }

    /// Writes the frames that `start` begins to make with the work folder and the progress display that it is given; `sheet`
    /// sees them go by.
    pub fn run<'a>(
        &self,
        gpu: &Gpu,
        identity: Identity,
        target: &Target,
        (bar, mut sheet): (&'a ProgressBar, Option<&mut Sheet>),
        start: impl FnOnce(WorkFolder, Box<dyn FnMut(Progress) + 'a>) -> Result<Frames<'a>>,
    ) -> Result<u64> {
        let work = self.work.clone().unwrap_or_else(|| WorkFolder::beside(&self.out));
        let work = WorkFolder::open(work, identity)?;
        if self.profile {
            gpu.start_profile()?;
        }
        let kept = work.dir().to_path_buf();
        let made = (|| {
            let mut frames = start(work, Box::new(|progress| bar.show(progress)))?;
            let mut sink = Box::new(BackgroundSink::new(self.sink(target)?));
            for (output, frame) in (0..).zip(frames.by_ref()) {
                let frame = frame?;
                sink.write(&frame)?;
                if let Some(sheet) = &mut sheet {
                    sheet.see(output, &frame);
                }
                bar.check()?;
            }
            sink.finish()?;
            let total = frames.total();
            frames.finish()?;
            Ok(total)
        })();
        bar.finish();
        match &made {
            Ok(_) if self.profile => note_profile(&gpu.stop_profile()?),
            Ok(_) => {}
            Err(Error::Cancelled) if self.output() != Output::Quiet => {
                note(format_args!("viseme: the same command goes on from what is finished in {}", kept.display()));
            }
            Err(Error::Cancelled) => {}
            // The first error is the one to report.
            Err(_) => drop(WorkFolder::remove_unused(&kept)),
        }
        made
    }

    /// The last line of a run.
    pub fn report(&self, gpu: &Gpu, made: Made) -> Result<()> {
        let peaks = Peaks::of(gpu);
        match self.output() {
            Output::Json => {
                let mut line = serde_json::json!({"event": "done", "out": self.out.to_string_lossy(), "frames": made.frames,
                    "demo_weights": made.weights.is_demo(), "weights": made.weights.name()});
                if self.out.to_str().is_none() {
                    // JSON has no such names.
                    line["out_bytes"] = self.out.as_os_str().as_encoded_bytes().into();
                }
                peaks.add_to(&mut line);
                say(line)
            }
            Output::Text => say(format_args!("{} ({} frames, {peaks})", self.out.display(), made.frames)),
            Output::Quiet => Ok(()),
        }
    }

    /// What a job will do, with which memory and in about which time, as far as that is known before it runs: to standard output in
    /// a dry run, else where progress goes. `lines` and the JSON object `fields` say what the command's own inputs are.
    pub fn describe(
        &self,
        gpu: &Gpu,
        weights: &WeightSet,
        stretches: &Stretches,
        demand: &Demand,
        (lines, mut fields): (&[(&str, String)], serde_json::Value),
    ) -> Result<()> {
        if self.output() == Output::Quiet && !self.dry_run {
            return Ok(());
        }
        let estimate = weights.estimate(gpu, demand)?;
        let rate = viseme::ops::rate(gpu)?.flops;
        let seconds = estimate.flops / rate;
        let is_software = gpu.capabilities().kind == "software";
        let (chunks, batches) = (stretches.chunk_count(), stretches.batch_count());
        let windows = stretches.window_count();
        if self.output() == Output::Json {
            let plan = serde_json::json!({"event": "plan", "device": gpu.capabilities().name, "software_device": is_software,
                "chunks": chunks, "keyframe_batches": batches, "windows": windows,
                "inside_frames": stretches.inside_frames(), "unet_evaluations": demand.clip_evaluations,
                "weight_bytes": estimate.weight_bytes, "winograd_bytes": estimate.winograd_bytes, "work_bytes": estimate.work_bytes,
                "tflop": estimate.flops / 1e12, "seconds": seconds, "demo_weights": weights.kind.is_demo(),
                "weights": weights.kind.name()});
            for (name, value) in plan.as_object().into_iter().flatten() {
                fields[name] = value.clone();
            }
            return say(fields);
        }
        let gib = |bytes: f64| bytes / f64::from(1u32 << 30);
        let device = match is_software {
            true => format!("{}: this is the CPU, no GPU was found", gpu.capabilities().name),
            false => gpu.capabilities().name.clone(),
        };
        let mut all = vec![("device", device)];
        all.extend(described(weights.kind).map(|demo| ("weights", demo.to_string())));
        all.extend(lines.iter().cloned());
        all.push((
            "plan",
            format!(
                "{chunks} chunks, {batches} keyframe batches, {windows} windows, {} evaluations of a clip",
                demand.clip_evaluations
            ),
        ));
        all.push((
            "memory",
            format!(
                "{:.2} GiB of weights ({:.2} GiB of them for Winograd's convolutions), about {:.2} GiB at work",
                gib(estimate.weight_bytes),
                gib(estimate.winograd_bytes),
                gib(estimate.work_bytes)
            ),
        ));
        all.push((
            "work",
            format!(
                "{:.2} TFLOP, about {} at the {:.0} GFLOP/s measured here",
                estimate.flops / 1e12,
                duration(seconds),
                rate / 1e9
            ),
        ));
        if self.dry_run && seconds > LONG_S {
            let (audio, out) = (self.audio.display(), self.out.with_file_name("trial"));
            let out = self.out.extension().map_or(out.clone(), |end| out.with_extension(end));
            all.push((
                "trial",
                format!(
                    "three seconds first: ffmpeg -i {audio} -t 3 trial.wav, then the same command with --audio trial.wav --out {}",
                    out.display()
                ),
            ));
        }
        for (name, value) in all {
            let line = format!("{name:<9} {value}");
            if self.dry_run {
                say(line)?;
            } else {
                note(line);
            }
        }
        Ok(())
    }

    fn sink(&self, target: &Target) -> Result<Box<dyn FrameSink>> {
        if self.out.extension().is_none() {
            return Ok(Box::new(FolderSink::create(&self.out)?));
        }
        let ffmpeg = Ffmpeg::find(self.ffmpeg.as_deref())?;
        Ok(Box::new(VideoWriter::create(&ffmpeg, &self.out, &self.spec(target), target.tracks())?))
    }
}

/// The demo's networks, from the user's data folder or beside the program.
fn demo(roles: &[Role]) -> Result<WeightSet> {
    WeightSet::demo(roles, data_folder("demo").as_deref())
}

/// A folder in the user's data folder, where there is such a place.
fn data_folder(name: &str) -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "viseme").map(|dirs| dirs.data_dir().join(name))
}

/// What networks that nobody gave are.
fn described(weights: Kind) -> Option<&'static str> {
    match weights {
        Kind::Given => None,
        Kind::TrainedDemo => Some("small demo models trained on faces made by script"),
        Kind::RandomDemo => Some("small demo networks with random weights"),
    }
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Ends the process with the code of an interrupted run, without waiting for the device or any thread.
fn exit_at_once() -> ! {
    const INTERRUPTED: i32 = 130;
    #[cfg(unix)]
    signal_hook::low_level::exit(INTERRUPTED);
    #[cfg(not(unix))]
    std::process::exit(INTERRUPTED)
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Three-branch guidance by its two scales.
pub fn guidance(option: &str, text: &str) -> Result<Guidance> {
    let [audio, reference] = numbers(option, text, "AUDIO,REFERENCE, such as 5,2")?;
    Ok(Guidance::AudioReference { audio: audio as f32, reference: reference as f32 })
}

pub fn numbers<const N: usize>(option: &str, text: &str, expected: &str) -> Result<[f64; N]> {
    let values: Option<Vec<f64>> =
        text.split(',').map(|v| v.trim().parse().ok().filter(|v: &f64| (*v as f32).is_finite())).collect();
    let values = values.and_then(|values| <[f64; N]>::try_from(values).ok());
    values.ok_or_else(|| Problem::new(option, expected, format!("'{text}'")).usage())
}

/// Seconds, of either sign.
fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.abs() < 1e6);
    value.ok_or_else(|| "expected a number of seconds, such as 0.25 or -1.5".to_string())
}

/// Whether two paths lead to one file, which is there.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// A square of a picture.
pub fn square(option: &str, text: &str) -> Result<viseme::ops::Region> {
    let expected = "LEFT,TOP,SIDE in pixels, such as 100,50,320";
    let [left, top, side] = numbers(option, text, expected)?;
    if side < 1.0 {
        return Err(Problem::new(option, expected, format!("'{text}'")).usage());
    }
    Ok(viseme::ops::Region { left, top, width: side, height: side })
}

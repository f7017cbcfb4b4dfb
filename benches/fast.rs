//! `cargo bench --bench fast [-- lipsync|animate [SECONDS]]`: what `--fast` costs and saves on the demo, as a table for
//! RESULTS.md. PSNR and SSIM are those of the decoded crop against the exact result of the same seed, averages over the frames; the
//! difference of the latents is relative, of all keyframes and windows. The demo's networks are random: the pictures are noise,
//! and the numbers say how far an approximation moved them, not what a face would look like.

use std::path::Path;
use std::time::Instant;
use viseme::diffusion::Sampler;
use viseme::face::landmarks::Landmarks;
use viseme::gpu::Gpu;
use viseme::media::probe::probe;
use viseme::media::reader::VideoReader;
use viseme::media::{Audio, Ffmpeg, Frame, FrameSource};
use viseme::metrics::image::{mean_squared_error, psnr_db, ssim};
use viseme::ops::Rgb;
use viseme::pipelines::resume::{Identity, WorkFolder};
use viseme::pipelines::weights::{Role, WeightSet};
use viseme::pipelines::{Approximation, Frames, Sampling, animate, lipsync};
use viseme::{Problem, Result};

/// What the published loops and each way of approximating them make.
struct Made {
    frames: Vec<Frame>,
    latents: Vec<f32>,
    seconds: f64,
    cpu_seconds: f64,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let only = arguments.next().unwrap_or_default();
    let seconds: f64 = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(4.0);
    let gpu = Gpu::new(None)?;
    println!("{} ({}), {seconds} s of speech", gpu.capabilities().name, gpu.capabilities().driver);

    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo");
    let speech: Vec<f32> = Audio::file(demo.join("speech.wav"), None).blocks()?.flatten().flatten().collect();
    let speech = speech[..speech.len().min((seconds * 16_000.0) as usize)].to_vec();
    let ffmpeg = Ffmpeg::find(None)?;
    let info = probe(&ffmpeg, &demo.join("face.mp4"))?;
    let video = || Ok(Box::new(VideoReader::new(&ffmpeg, info.clone())) as Box<dyn FrameSource>);
    let landmarks = Landmarks::read(&demo.join("landmarks.json"))?;
    let audio = || Audio::samples(speech.clone(), 16_000);

    if only != "animate" {
        let weights = WeightSet::demo(Role::LIPSYNC, None)?;
        table(&gpu, "lipsync", |sampling, work| {
            let options = lipsync::Options { sampling, paste: lipsync::Paste::None, ..Default::default() };
            let job = lipsync::LipSync::new(&gpu, &weights, video, audio()).landmarks(landmarks.clone());
            job.options(options).resume(work).frames()
        })?;
    }
    if only != "lipsync" {
        let weights = WeightSet::demo(Role::ANIMATE, None)?;
        let portrait = video()?.next_frame()?.ok_or_else(|| Problem::new("face.mp4", "a frame", "none").input())?;
        table(&gpu, "animate", |sampling, work| {
            let options = animate::Options { sampling, ..Default::default() };
            let job = animate::Animate::new(&gpu, &weights, portrait.clone(), audio());
            job.options(options).resume(work).frames()
        })?;
    }
    Ok(())
}

fn table<'a>(gpu: &Gpu, job: &str, start: impl Fn(Sampling, WorkFolder) -> Result<Frames<'a>>) -> Result<()> {
    let exact = Sampling::default();
    let with = |what: &[Approximation]| what.iter().fold(exact, |sampling, &what| sampling.approximate(what));
    use Approximation::{Guidance, Reuse, Steps};
    let ways = [
        ("`--fast guidance`", with(&[Guidance])),
        ("`--fast reuse`", with(&[Reuse])),
        ("`--fast steps`", with(&[Steps])),
        ("`--fast`", with(&Approximation::ALL)),
        ("for comparison: Euler in as many steps", Sampling { sampler: Sampler::default(), ..with(&[Steps]) }),
        ("for comparison: another seed", Sampling { seed: exact.seed + 1, ..exact }),
    ];
    println!(
        "\n| {job} | CPU s | of exact | wall s | PSNR dB | SSIM | latents, relative L2 |\n|---|---|---|---|---|---|---|"
    );
    // Compiles the kernels, so that no row pays for them.
    make(start(Sampling { steps: 3, ..with(&[Guidance, Reuse]) }, folder()?)?)?;
    let reference = make(start(exact, folder()?)?)?;
    println!("| exact | {:.1} | 1 | {:.1} | | | |", reference.cpu_seconds, reference.seconds);
    for (name, sampling) in ways {
        let made = make(start(sampling, folder()?)?)?;
        let [mut psnr, mut likeness] = [0.0; 2];
        for (frame, wanted) in made.frames.iter().zip(&reference.frames) {
            let [frame, wanted] = [upload(gpu, frame)?, upload(gpu, wanted)?];
            psnr += psnr_db(mean_squared_error(&frame, &wanted)?[0]) / made.frames.len() as f64;
            likeness += ssim(&frame, &wanted)?[0] / made.frames.len() as f64;
        }
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let moved = norm(&mut made.latents.iter().zip(&reference.latents).map(|(a, b)| a - b));
        println!(
            "| {name} | {:.1} | {:.2} | {:.1} | {psnr:.1} | {likeness:.3} | {:.3} |",
            made.cpu_seconds,
            made.cpu_seconds / reference.cpu_seconds,
            made.seconds,
            moved / norm(&mut reference.latents.iter().copied())
        );
    }
    Ok(())
}

/// A work folder, since finished latents are found there.
fn folder() -> Result<WorkFolder> {
    let dir = std::env::temp_dir().join(format!("viseme-fast-{}", std::process::id()));
    WorkFolder::open(dir, Identity::new())
}

fn make(mut frames: Frames<'_>) -> Result<Made> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let made = frames.by_ref().collect::<Result<Vec<Frame>>>()?;
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let dir = std::env::temp_dir().join(format!("viseme-fast-{}", std::process::id()));
    let mut latents = Vec::new();
    for stage in ["keyframes", "window"] {
        for index in 0.. {
            let name = format!("{stage}{index}.latents");
            if index > made.len() {
                break;
            }
            if let Ok(bytes) = std::fs::read(dir.join(name)) {
                latents.extend(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
            }
        }
    }
    frames.finish()?;
    Ok(Made { frames: made, latents, seconds, cpu_seconds })
}

fn upload(gpu: &Gpu, frame: &Frame) -> Result<Rgb> {
    Rgb::upload(gpu, frame.height as usize, frame.width as usize, &frame.rgb)
}

/// CPU time of this process, ended threads included, in ticks of 10 ms; NaN but on Linux.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in brackets, may hold anything; user and system time are fields 14 and 15, of which it is the second.
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(14) + ticks(15)) / 100.0
}

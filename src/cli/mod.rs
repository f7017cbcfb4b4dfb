//! Arguments to typed options, progress and exit codes; nothing here that a library caller would miss.

mod animate;
mod bench;
mod convert;
mod devices;
mod faces;
mod input;
mod job;
mod lipsync;
mod metrics;
mod peaks;
mod progress;
mod verify;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use viseme::gpu::{Elem, Gpu, Profile, parse_size};
use viseme::ops::autotune;
use viseme::{Error, Problem, Result};

/// Talking-face generation on any GPU: hand-written WGSL kernels, no Python, no CUDA.
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done, 1 a check failed, 2 usage, 3 bad input, 4 weights, 5 GPU, 6 out of memory, \
7 output cannot be written, 8 ffmpeg missing or failed, 130 interrupted.";

#[derive(Subcommand)]
enum Command {
    // No line on these four: it would take the place of what the command's own help teaches.
    Lipsync(Box<lipsync::Options>),
    Animate(Box<animate::Options>),
    Metrics(Box<metrics::Options>),
    Faces(Box<faces::Options>),
    /// Run golden files and compare: does this GPU compute right?
    Verify(verify::Options),
    /// Make a PyTorch checkpoint loadable (.pt to .safetensors).
    Convert(convert::Options),
    /// Time single kernels.
    Bench(bench::Options),
    /// List the GPUs that viseme can use, and what they can do.
    Devices(devices::Options),
}

/// Which device to use and how.
#[derive(Args)]
struct DeviceOptions {
    /// Part of a device's name, or its number in `viseme devices` [default: the best one]
    #[arg(long, env = "VISEME_ADAPTER", value_name = "NAME", help_heading = "Device")]
    adapter: Option<String>,
    /// Most GPU memory to use, such as 8G
    #[arg(long, value_name = "SIZE", help_heading = "Device", value_parser = |text: &str| parse_size(text).map_err(|e| e.to_string()))]
    vram: Option<u64>,
    /// Neither use nor keep compiled kernels [kept in: VISEME_CACHE, else the user's cache folder]
    #[arg(long, help_heading = "Device")]
    no_cache: bool,
    /// The built-in choice among kernels that give the same bits, not what is fastest here (measured once per driver and kept
    /// with the compiled kernels, a moment at each start until it is done)
    #[arg(long, help_heading = "Device")]
    no_autotune: bool,
}

/// What measuring kernels may take of a start, about.
const AUTOTUNE_BUDGET: Duration = Duration::from_secs(2);

impl DeviceOptions {
    /// The device, its kernels tuned where there is a place to keep what is measured; `quiet` leaves that unsaid.
    fn open(&self, quiet: bool) -> Result<Gpu> {
        let gpu = Gpu::new(self.adapter.as_deref())?;
        if !quiet {
            announce_compilation(&gpu);
        }
        if !self.no_cache {
            let user = directories::ProjectDirs::from("", "", "viseme").map(|dirs| dirs.cache_dir().to_path_buf());
            gpu.keep_kernels(user.filter(|_| std::env::var_os("VISEME_CACHE").is_none()).as_deref());
        }
        if !self.no_autotune && gpu.keeps_files() {
            autotune(&gpu, AUTOTUNE_BUDGET, &mut |done, left| {
                if done == 0 && !quiet {
                    let name = &gpu.capabilities().name;
                    note(format_args!(
                        "viseme: measuring which kernels are fastest on {name}, {left} operations to go"
                    ));
                }
            })?;
        }
        gpu.set_budget(self.vram);
        Ok(gpu)
    }
}

/// Says, once, that kernels are being compiled where that takes longer than a second: it cannot be interrupted, and on a first run
/// it is what nothing else shows.
fn announce_compilation(gpu: &Gpu) {
    const LONG: Duration = Duration::from_secs(1);
    let (compilation, name) = (gpu.compilation(), gpu.capabilities().name.clone());
    // It ends with the process at the latest.
    std::thread::spawn(move || {
        while compilation.is_going_on() {
            if compilation.spent() >= LONG {
                return note(format_args!("viseme: compiling kernels for {name}: once, later runs keep them"));
            }
            std::thread::sleep(LONG / 4);
        }
    });
}

/// How numbers are stored on the device; sums are always f32.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    F16,
    F16All,
    F32,
}

impl Precision {
    fn elem(self) -> Elem {
        match self {
            Precision::F16 | Precision::F16All => Elem::F16,
            Precision::F32 => Elem::F32,
        }
    }
}

/// How weights are stored on the device, whatever their files hold.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WeightType {
    /// Half of f32's memory; rounding that no picture shows
    F16,
    /// As published; for comparisons, and for weights beyond f16's range
    F32,
    /// The UNets' matrices in one byte a weight with a scale per output channel: half of f16's memory, for pictures that
    /// differ slightly (benches/RESULTS.md says how much); the rest stays f16. Rounded at load from any file
    Int8,
}

impl WeightType {
    fn elem(self) -> Elem {
        match self {
            WeightType::F16 => Elem::F16,
            WeightType::F32 => Elem::F32,
            WeightType::Int8 => Elem::I8,
        }
    }
}

impl Display for WeightType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WeightType::F16 => "f16",
            WeightType::F32 => "f32",
            WeightType::Int8 => "int8",
        })
    }
}

/// A drawing is asked for by a name that says what it will be.
fn check_svg(path: Option<&Path>) -> Result<()> {
    let is_svg = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg"));
    match path.filter(|path| !is_svg(path)) {
        None => Ok(()),
        Some(path) => Err(Problem::new("--plot", "a file name that ends in .svg", path.display().to_string())
            .remedy("browsers show it; `rsvg-convert FILE.svg -o FILE.png` makes a PNG")
            .usage()),
    }
}

/// Writes a line of results to standard output, which may be a full disk or a pipe that nobody reads any more.
fn say(line: impl Display) -> Result<()> {
    let written = writeln!(std::io::stdout(), "{line}");
    written.map_err(|source| Error::Write { path: "standard output".into(), source })
}

/// Writes a line to stderr; that this fails could be said nowhere.
fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Where GPU time went, to stderr.
fn note_profile(profile: &Profile) {
    let total: f64 = profile.rows.iter().map(|row| row.time.as_secs_f64()).sum();
    for row in &profile.rows {
        let seconds = row.time.as_secs_f64();
        let (share, rate) = (100.0 * seconds / total.max(1e-9), row.flops / seconds.max(1e-9) / 1e9);
        let ms = 1e3 * seconds;
        note(format_args!(
            "{:<24} {:>7} calls {ms:>10.1} ms {share:>5.1} % {rate:>8.1} GFLOP/s",
            row.kernel, row.calls
        ));
    }
    let calls: u64 = profile.rows.iter().map(|row| row.calls).sum();
    let (ms, wall) = (1e3 * total, 1e3 * profile.wall.as_secs_f64());
    let share = 100.0 * ms / wall.max(1e-9);
    note(format_args!("{:<24} {calls:>7} calls {ms:>10.1} ms, {share:.1} % of {wall:.1} ms from start to end", "all"));
}

/// Runs the command line; errors go to stderr in one line and decide the exit code.
pub fn run() -> ExitCode {
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
        .without_time()
        .with_target(false)
        .with_max_level(tracing::Level::WARN)
        .init();
    #[cfg(unix)]
    {
        const SIGXFSZ: i32 = 25;
        // Without the handler a file limit ends the process, as it would have before: nothing to say.
        let _ = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    }
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Lipsync(options) => lipsync::run(&options),
        Command::Animate(options) => animate::run(&options),
        Command::Metrics(options) => metrics::run(&options),
        Command::Faces(options) => faces::run(&options),
        Command::Convert(options) => convert::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Devices(options) => devices::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("viseme: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

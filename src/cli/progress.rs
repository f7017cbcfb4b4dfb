//! How far a run is, as a bar, as lines or as JSON.

use super::{note, say};
use indicatif::ProgressStyle;
use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use viseme::pipelines::{Phase, Progress};
use viseme::{Error, Result};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Text,
    Quiet,
    Json,
}

/// A bar on a terminal, else a line now and then.
pub struct ProgressBar {
    bar: Option<indicatif::ProgressBar>,
    output: Output,
    shown: Cell<Option<Instant>>,
    failed: RefCell<Option<Error>>,
    start: Instant,
}

const RESOLUTION: f64 = 1000.0;
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
const JSON_INTERVAL: Duration = Duration::from_secs(1);

impl ProgressBar {
    pub fn new(output: Output) -> Self {
        let terminal = output == Output::Text && std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let bar = indicatif::ProgressBar::new(RESOLUTION as u64);
            if let Ok(style) = ProgressStyle::with_template("{msg:34} {wide_bar} {percent:>3}% {eta:>5} left") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, output, shown: Cell::new(None), failed: RefCell::new(None), start: Instant::now() }
    }

    pub fn show(&self, progress: Progress) {
        let share = progress.share();
        let name = match progress.phase {
            Phase::Tracking => "finding faces",
            Phase::Listening => "listening",
            Phase::Encoding => "encoding",
            Phase::Keyframes => "keyframes",
            Phase::Interpolation => "interpolation",
            Phase::Decoding => "decoding",
        };
        let [step, steps] = progress.step;
        let text = if steps > 0 { format!("{name}, step {step} of {steps}") } else { name.to_string() };
        let elapsed = self.start.elapsed().as_secs_f64();
        let left = (share > 0.0).then(|| elapsed * (1.0 - share) / share);
        if let Some(bar) = &self.bar {
            bar.set_position((share * RESOLUTION) as u64);
            bar.set_message(text);
        } else if self.output == Output::Json && self.is_due(progress) {
            let line = serde_json::json!({"event": "progress", "phase": name, "step": step, "steps": steps,
                    "share": share, "elapsed_s": elapsed, "left_s": left});
            if let Err(error) = say(line) {
                self.failed.borrow_mut().get_or_insert(error);
            }
        } else if self.output == Output::Text && self.shown.get().is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL) {
            self.shown.set(Some(Instant::now()));
            let left = left.map(|left| format!(", {left:.0} s left")).unwrap_or_default();
            note(format_args!("{:3.0} % {text}{left}", share * 100.0));
        }
    }

    /// Frames that are looked at go by too fast to say each.
    fn is_due(&self, progress: Progress) -> bool {
        let is_due =
            progress.phase != Phase::Tracking || self.shown.get().is_none_or(|at| at.elapsed() >= JSON_INTERVAL);
        if is_due {
            self.shown.set(Some(Instant::now()));
        }
        is_due
    }

    /// The first line that could not be written, as an error.
    pub fn check(&self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

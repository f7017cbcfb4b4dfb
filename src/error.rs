//! The library's one error type. Each message names the subject, what was expected, what was found and a remedy;
//! each error knows the exit code that the command ends with.

use std::fmt;
use std::path::PathBuf;

/// What went wrong with one thing: `subject: expected E, found F; remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, tensor, frame, option or operation.
    pub subject: String,
    pub expected: String,
    pub found: String,
    /// What to do about it; may be empty.
    pub remedy: String,
}

impl Problem {
    pub fn new(subject: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { subject: subject.into(), expected: expected.into(), found: found.into(), remedy: String::new() }
    }

    /// The same problem with advice.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub fn usage(self) -> Error {
        Error::Usage(self)
    }

    pub fn input(self) -> Error {
        Error::Input(self)
    }

    pub fn weights(self) -> Error {
        Error::Weights(vec![self])
    }

    pub fn shape(self) -> Error {
        Error::Shape(self)
    }

    pub fn gpu(self) -> Error {
        Error::Gpu(self)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.subject, self.expected, self.found)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A check (such as a golden comparison) ran and did not hold.
    #[error("check failed: {0}")]
    Check(Problem),
    /// An option or argument of the caller.
    #[error("{0}")]
    Usage(Problem),
    /// An input file or value: audio, video, landmarks.
    #[error("{0}")]
    Input(Problem),
    /// Every missing, misshapen or broken tensor of a set of weights, listed at once.
    #[error("{}", list(.0))]
    Weights(Vec<Problem>),
    /// Operands of an operation that do not fit together.
    #[error("{0}")]
    Shape(Problem),
    /// The device or its driver refused something.
    #[error("{0}")]
    Gpu(Problem),
    #[error("the device was lost: {reason}; start again, and with --work the job goes on where it stopped")]
    DeviceLost { reason: String },
    /// A value left the range of its storage type.
    #[error("{operation}: expected finite values within f16's range, found one beyond it; try --precision f32")]
    Overflow { operation: String },
    #[error(
        "out of GPU memory: {what} asked for {wanted_bytes} bytes with {used_bytes} in use{}; \
         raise --vram, or use fewer frames at once or --precision f16",
        match .budget_bytes { Some(b) => format!(" of a budget of {b}"), None => String::new() }
    )]
    OutOfMemory { what: String, wanted_bytes: u64, used_bytes: u64, budget_bytes: Option<u64> },
    #[error("{}: cannot read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: cannot write: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    /// ffmpeg is missing or failed.
    #[error("{0}")]
    Ffmpeg(Problem),
    #[error("interrupted")]
    Cancelled,
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        many => {
            let lines: Vec<String> = many.iter().map(|p| format!("\n  {p}")).collect();
            format!("{} problems with the weights:{}", many.len(), lines.concat())
        }
    }
}

impl Error {
    /// The command's exit code: 1 check, 2 usage, 3 input, 4 weights, 5 GPU, 6 memory, 7 output, 8 ffmpeg, 130 cancelled.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Check(_) => 1,
            Error::Usage(_) => 2,
            Error::Input(_) | Error::Read { .. } => 3,
            Error::Weights(_) => 4,
            Error::Shape(_) | Error::Gpu(_) | Error::DeviceLost { .. } | Error::Overflow { .. } => 5,
            Error::OutOfMemory { .. } => 6,
            Error::Write { .. } => 7,
            Error::Ffmpeg(_) => 8,
            Error::Cancelled => 130,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

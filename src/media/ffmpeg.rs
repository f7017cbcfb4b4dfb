//! The ffmpeg program as a child process. `std::process` does it: what the crates for this add is parsing ffmpeg's log,
//! while raw pipes, the end of stderr and a clean stop are ours to do either way.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use crate::{Error, Problem, Result};

const HINT: &str =
    "install it (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg) or name it with --ffmpeg";
const STDERR_TAIL_BYTES: usize = 4096;

/// An ffmpeg that starts, and the ffprobe beside it, where there is one.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    program: PathBuf,
    probe: Option<PathBuf>,
    /// None of a build that no release names.
    release: Option<(u32, u32)>,
}

impl Ffmpeg {
    /// The ffmpeg at `path`, or else the first in PATH. Errors: there is none, or it does not start.
    pub fn find(path: Option<&Path>) -> Result<Self> {
        let program = path.unwrap_or(Path::new("ffmpeg"));
        let version_line = version(program).map_err(|e| {
            Error::Ffmpeg(Problem::new(program.display().to_string(), "the ffmpeg program", e).remedy(HINT))
        })?;
        let name = if cfg!(windows) { "ffprobe.exe" } else { "ffprobe" };
        let probe = program.with_file_name(name);
        let probe = version(&probe).is_ok().then_some(probe);
        Ok(Self { program: program.to_path_buf(), probe, release: release(&version_line) })
    }

    /// Options of an output that keep each decoded frame with its own time stamp.
    pub(super) fn passthrough(&self) -> [&'static str; 2] {
        let option = if self.release.is_some_and(|release| release < (5, 1)) { "-vsync" } else { "-fps_mode" };
        [option, "passthrough"]
    }

    /// Options of an output whose time stamps are to be as fine as the input's.
    pub(super) fn source_time_base(&self) -> [&'static str; 2] {
        let name = if self.release.is_some_and(|release| release < (7, 0)) { "-1" } else { "demux" };
        ["-enc_time_base", name]
    }

    /// The same ffmpeg, taken to have no ffprobe beside it.
    pub fn without_probe(self) -> Self {
        Self { probe: None, ..self }
    }

    /// The names of its encoders.
    pub(super) fn encoders(&self) -> Result<BTreeSet<String>> {
        let mut list = Vec::new();
        let mut process = Process::spawn(self.command().arg("-encoders").stdout(Stdio::piped()))?;
        if let Some(mut pipe) = process.stdout() {
            // A list that breaks off is short of what is asked for, which is said.
            let _ = pipe.read_to_end(&mut list);
        }
        process.wait()?;
        let list = String::from_utf8_lossy(&list);
        Ok(list.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_string).collect())
    }

    pub(super) fn command(&self) -> Command {
        let mut command = quiet(&self.program);
        command.args(["-nostdin", "-loglevel", "error"]);
        command
    }

    /// ffmpeg at the log level that describes its inputs.
    pub(super) fn describe(&self) -> Command {
        quiet(&self.program)
    }

    /// Whether it was built with the filter.
    pub(super) fn has_filter(&self, name: &str) -> bool {
        self.asked(&["-filters"]).lines().any(|line| line.split_whitespace().nth(1) == Some(name))
    }

    /// The pixel formats that `encoder` takes; none where it does not say, or is not there.
    pub(super) fn pixel_formats(&self, encoder: &str) -> Vec<String> {
        let help = self.asked(&["-h", &format!("encoder={encoder}")]);
        let listed = help.lines().find_map(|line| line.trim().strip_prefix("Supported pixel formats:"));
        listed.unwrap_or("").split_whitespace().map(str::to_string).collect()
    }

    /// What it prints about itself; nothing where it cannot say.
    fn asked(&self, args: &[&str]) -> String {
        let ended = quiet(&self.program).args(args).stdout(Stdio::piped()).output();
        ended.map_or(String::new(), |ended| String::from_utf8_lossy(&ended.stdout).into_owned())
    }

    pub(super) fn probe_command(&self) -> Option<Command> {
        let mut command = quiet(self.probe.as_deref()?);
        command.args(["-loglevel", "error"]);
        Some(command)
    }
}

fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-hide_banner").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Ctrl-C in a terminal reaches every process of the group; the parent alone decides what becomes of a video.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NEW_PROCESS_GROUP);
    }
    command
}

/// The first line that `program` says of its version.
fn version(program: &Path) -> Result<String, String> {
    let mut command = Command::new(program);
    command.arg("-version").stdin(Stdio::null()).stderr(Stdio::null());
    let ended = command.output().map_err(|e| e.to_string())?;
    if !ended.status.success() {
        return Err(format!("a program that ends with {} when asked for its version", ended.status));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).lines().next().unwrap_or("").to_string())
}

/// `ffmpeg version 5.1.6-0+deb12u1 Copyright ..`, `ffmpeg version n7.0 ..`.
fn release(line: &str) -> Option<(u32, u32)> {
    let version = line.split(' ').nth(2)?.trim_start_matches('n');
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `path` as ffmpeg takes it for a file whatever it is called: `-x.mp4` is no option then and `a:b.mp4` no protocol.
pub(super) fn file(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

/// A running ffmpeg. A thread drains its stderr, so that it never blocks on that; it is killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command.spawn().map_err(|e| {
            let program = command.get_program().display().to_string();
            Error::Ffmpeg(Problem::new(program, "a program that starts", e.to_string()).remedy(HINT))
        })?;
        let stderr = child.stderr.take().map(|stderr| std::thread::spawn(move || tail(stderr)));
        Ok(Self { child, stderr })
    }

    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, and the end of what it said.
    pub fn wait(&mut self) -> Result<(ExitStatus, String)> {
        drop(self.child.stdin.take());
        let status =
            self.child.wait().map_err(|e| Error::Ffmpeg(Problem::new("ffmpeg", "an exit status", e.to_string())))?;
        let said = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok((status, said))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killing what has ended is an error that means nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that `command` prints; what it says instead becomes an error by `refused`.
pub(super) fn output(command: &mut Command, refused: impl Fn(&str) -> Error) -> Result<Vec<u8>> {
    let mut process = Process::spawn(command.stdout(Stdio::piped()))?;
    let mut printed = Vec::new();
    if let Some(mut pipe) = process.stdout() {
        pipe.read_to_end(&mut printed).map_err(|e| refused(&e.to_string()))?;
    }
    let (status, said) = process.wait()?;
    if status.success() { Ok(printed) } else { Err(refused(&ending(status, &said))) }
}

fn tail(mut stderr: impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(n @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..n]);
        kept.drain(..kept.len().saturating_sub(STDERR_TAIL_BYTES));
    }
    String::from_utf8_lossy(&kept).trim().to_string()
}

/// Why ffmpeg could not make `path`: the file system's fault if it says so, else ffmpeg's.
pub(super) fn write_failed(path: &Path, status: ExitStatus, said: &str) -> Error {
    const NO_SPACE: [&str; 3] = ["No space left on device", "File too large", "Disk quota exceeded"];
    const REFUSED: [&str; 3] = ["Permission denied", "Read-only file system", "No such file or directory"];
    let name_of_path = |line: &&str| path.file_name().is_some_and(|name| line.contains(&*name.to_string_lossy()));
    let kind = if NO_SPACE.iter().any(|text| said.contains(text)) || is_file_size_signal(status) {
        Some(std::io::ErrorKind::StorageFull)
    } else {
        let refused = |line: &str| REFUSED.iter().any(|text| line.contains(text));
        said.lines().filter(name_of_path).any(refused).then_some(std::io::ErrorKind::PermissionDenied)
    };
    match kind {
        Some(kind) => {
            Error::Write { path: path.to_path_buf(), source: std::io::Error::new(kind, ending(status, said)) }
        }
        None => {
            let expected = format!("a finished {}", path.display());
            Error::Ffmpeg(Problem::new("ffmpeg", expected, ending(status, said)))
        }
    }
}

/// A process over its limit of file size is killed by SIGXFSZ.
fn is_file_size_signal(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        const SIGXFSZ: i32 = 25;
        std::os::unix::process::ExitStatusExt::signal(&status) == Some(SIGXFSZ)
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        false
    }
}

/// Options by which ffmpeg says warnings too, each line with its level: for [`errors`] and [`changed_size`].
pub(super) const WARNINGS: [&str; 2] = ["-loglevel", "level+warning"];

/// The lines of errors among what it said with [`WARNINGS`].
pub(super) fn errors(said: &str) -> String {
    let levels = ["[error] ", "[fatal] ", "[panic] "];
    let text = |line: &str| levels.iter().find(|level| line.contains(*level)).map(|level| line.replacen(level, "", 1));
    said.lines().filter_map(text).collect::<Vec<_>>().join("\n")
}

/// Whether frames of another size came, by what it said with [`WARNINGS`].
pub(super) fn changed_size(said: &str) -> bool {
    said.contains("Changing video frame properties on the fly")
}

/// The last line or two that ffmpeg said, or how it ended if it said nothing.
pub(super) fn ending(status: ExitStatus, said: &str) -> String {
    // `[mov,mp4,m4a @ 0x55d0a8] text`: which part of ffmpeg said it, at which address.
    let text = |line: &'_ str| match line.split_once("] ") {
        Some((part, text)) if part.starts_with('[') && part.contains(" @ 0x") => text.to_string(),
        _ => line.to_string(),
    };
    let lines: Vec<String> = said.lines().map(str::trim).filter(|line| !line.is_empty()).map(text).collect();
    match lines.as_slice() {
        [] => status.to_string(),
        [.., a, b] => format!("{a} / {b}"),
        [one] => one.clone(),
    }
}

//! Sound, pictures and videos in and out. None of it needs a device; what needs ffmpeg says so where there is none.

mod audio;
mod fidelity;
mod frames;
mod output;
mod pictures;
mod sound;
mod video;
mod writer;

#[path = "../common/device.rs"]
mod device;
#[path = "../common/numbered.rs"]
mod numbered;

use device::there;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use viseme::media::{Ffmpeg, Fps};

pub use numbered::{PATCHES, number_of, numbered, patch_error};

/// The ffmpeg in PATH; None, said aloud, where there is none. `VISEME_REQUIRE_GPU=1` makes that a failure.
pub fn ffmpeg() -> Option<Ffmpeg> {
    there(Ffmpeg::find(None))
}

/// Runs ffmpeg on its own to make an input that this crate does not write.
pub fn make(out: &Path, args: &[&str]) {
    let run = Command::new("ffmpeg").args(["-nostdin", "-loglevel", "error", "-y"]).args(args).arg(out).output();
    let run = run.expect("ffmpeg starts");
    assert!(run.status.success(), "ffmpeg {args:?}: {}", String::from_utf8_lossy(&run.stderr));
}

/// A folder that is removed at the end of the test.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// All names in a folder, hidden ones too, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Fails unless `result` is an error with this exit code whose message holds every one of `words`.
pub fn refused<T>(result: viseme::Result<T>, code: u8, words: &[&str]) {
    let Err(error) = result else { panic!("no error, wanted one that says {words:?}") };
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "'{message}' does not say '{word}'");
    }
    assert_eq!(error.exit_code(), code, "{message}");
}

pub fn fps(num: u32, den: u32) -> Fps {
    Fps::new(num, den).expect("a rate")
}

/// The path of `name` in `folder`.
pub fn at(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

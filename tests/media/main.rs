//! Sound, pictures and videos in and out. None of it needs a device; what needs ffmpeg says so where there is none.

mod audio;
mod frames;
mod pictures;
mod sound;
mod video;
mod writer;

#[path = "../common/device.rs"]
mod device;

use device::there;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use viseme::media::{Ffmpeg, Fps, Frame};

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

const BITS: u32 = 8;

/// A picture that says its number: the upper half holds 8 columns, white for a set bit, lowest first; the lower half is
/// four patches of colour that are the same in every frame.
pub fn numbered(number: u64, [width, height]: [u32; 2]) -> Frame {
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            rgb.extend(match 2 * y < height {
                true => [if number >> (x * BITS / width) & 1 == 1 { 235 } else { 20 }; 3],
                false => PATCHES[(x * 4 / width) as usize],
            });
        }
    }
    Frame { width, height, rgb }
}

pub const PATCHES: [[u8; 3]; 4] = [[200, 60, 40], [50, 180, 70], [60, 80, 210], [128, 128, 128]];

fn pixel(frame: &Frame, x: u32, y: u32) -> [u8; 3] {
    let at = 3 * (y * frame.width + x) as usize;
    [frame.rgb[at], frame.rgb[at + 1], frame.rgb[at + 2]]
}

/// The number that a [`numbered`] picture says, after any encoder.
pub fn number_of(frame: &Frame) -> u64 {
    let bit = |i: u32| u64::from(pixel(frame, (2 * i + 1) * frame.width / (2 * BITS), frame.height / 4)[1] > 128) << i;
    (0..BITS).map(bit).sum()
}

/// The largest difference, in levels, between the middles of the patches and what they were.
pub fn patch_error(frame: &Frame) -> u8 {
    let differences = (0..4u32).flat_map(|i| {
        let got = pixel(frame, (2 * i + 1) * frame.width / 8, frame.height * 3 / 4);
        (0..3).map(move |c| got[c].abs_diff(PATCHES[i as usize][c]))
    });
    differences.max().unwrap_or(255)
}

/// The path of `name` in `folder`.
pub fn at(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

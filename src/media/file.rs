//! Files that appear under their name complete or not at all, and the names that they have until then.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Problem, Result};

/// The end of an unfinished file's name.
pub(crate) const PARTIAL: &str = "partial";

/// Writes beside `path`, flushes to the disk, then renames.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{PARTIAL}"));
    let partial = PathBuf::from(partial);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|source| {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        Error::Write { path: path.to_path_buf(), source }
    })
}

/// Most bytes of a name on all usual file systems.
const NAME_BYTES: usize = 255;

/// `dir/.NAME.END` for `dir/NAME.END`: hidden, on the same disk, and of the same kind; `tag` goes in front of the end.
pub(super) fn beside(path: &Path, tag: &str) -> Result<PathBuf> {
    let (Some(name), Some(stem)) = (path.file_name(), path.file_stem()) else {
        return Err(Problem::new("--out", "a file or folder name", path.display().to_string()).usage());
    };
    // What is longer is no kind of file.
    let extension = path.extension().filter(|extension| extension.len() <= 16);
    let stem = if extension.is_some() { stem } else { name };
    let mut end = OsString::from(tag);
    if let Some(extension) = extension {
        end.push(".");
        end.push(extension);
    }
    let mut name = OsString::from(".");
    name.push(fitting(stem, 1 + end.len()));
    name.push(end);
    Ok(path.with_file_name(name))
}

/// `name`, or where that and `more` bytes would be too long for a file system, its beginning and a number that follows from all
/// of it: always the same one.
pub(crate) fn fitting(name: &OsStr, more: usize) -> OsString {
    if name.len() + more <= NAME_BYTES {
        return name.to_owned();
    }
    // FNV-1a.
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let number = name.as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hash);
    let number = format!("-{number:016x}");
    let room = NAME_BYTES.saturating_sub(more + number.len());
    let text = name.to_string_lossy();
    let end = (0..=room.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}{number}", &text[..end]).into()
}

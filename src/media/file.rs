//! Small files that appear under their name complete or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

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

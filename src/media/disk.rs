//! Whether a disk has the room that a job needs.

use std::path::Path;

use crate::{Error, Result};

/// How many bytes may still be written to the disk that `folder` is on.
pub fn room(folder: &Path) -> Result<u64> {
    fs4::available_space(folder).map_err(|source| Error::Write { path: folder.to_path_buf(), source })
}

/// Refuses to begin what needs about `needed_bytes` in `folder` if that is plainly too much: four times the room, as how well
/// pictures can be compressed is not known before.
pub fn check(folder: &Path, needed_bytes: u64) -> Result<()> {
    let room_bytes = room(folder)?;
    if needed_bytes / 4 <= room_bytes {
        return Ok(());
    }
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    let said = format!("about {} MB are needed, {} MB are free", megabytes(needed_bytes), megabytes(room_bytes));
    let source = std::io::Error::new(std::io::ErrorKind::StorageFull, said);
    Err(Error::Write { path: folder.to_path_buf(), source })
}

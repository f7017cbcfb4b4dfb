//! Rows of numbers on disk: samples and embeddings of a job, so that memory does not grow with its length.

use crate::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// f32 values that are appended once and read by position; the file goes when this drops.
pub struct FloatFile {
    /// For messages.
    folder: PathBuf,
    file: Mutex<File>,
    len: usize,
}

impl FloatFile {
    /// An empty file in `folder`, else in the system's folder for temporary files. It has no name, or one that cannot be guessed, so
    /// that nobody can put another in its place and nothing is left of a run that is killed.
    pub fn temporary(folder: Option<&Path>) -> Result<Self> {
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let file = tempfile::tempfile_in(&folder).map_err(|source| Error::Write { path: folder.clone(), source })?;
        Ok(Self { folder, file: Mutex::new(file), len: 0 })
    }

    pub fn append(&mut self, values: &[f32]) -> Result<()> {
        let file = self.file.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let written = file.write_all(bytemuck::cast_slice(values));
        written.map_err(|source| Error::Write { path: self.folder.clone(), source })?;
        self.len += values.len();
        Ok(())
    }

    /// Values in all.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values in `range`, zeros for those past the end.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<f32>> {
        let mut values = vec![0f32; range.len()];
        let held = range.start.min(self.len)..range.end.min(self.len);
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bytes = bytemuck::cast_slice_mut(&mut values[..held.len()]);
        let done = file.seek(SeekFrom::Start(4 * held.start as u64)).and_then(|_| file.read_exact(bytes));
        // Appending goes on at the end.
        let done = done.and_then(|()| file.seek(SeekFrom::End(0)));
        done.map_err(|source| Error::Read { path: self.folder.clone(), source })?;
        Ok(values)
    }
}

impl super::audio::Samples for FloatFile {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<f32>> {
        FloatFile::read(self, range)
    }
}

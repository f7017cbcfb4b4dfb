//! Safetensors on disk: one file, or an index of shards, mapped into memory.
//!
//! The header is read and checked once into our own memory; from the map only tensor values are taken, at offsets that
//! were checked against the file's length. A file that changes underneath shows in its size or time stamp.

use super::Source;
use crate::{Error, Problem, Result};
use ::safetensors::Dtype;
use ::safetensors::tensor::Metadata;
use memmap2::Mmap;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// The longest header that is believed; the published 1945-tensor checkpoint has 0.3 MB.
const MAX_HEADER_BYTES: u64 = 100_000_000;

const DAMAGED: &str = "the file is damaged or was not downloaded to its end; get it again";

/// The tensors of one safetensors file or of all shards of an index.
pub struct Safetensors {
    path: PathBuf,
    files: Vec<OneFile>,
    entries: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
}

struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// From the start of the file.
    bytes: Range<u64>,
}

struct OneFile {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    /// Held while values are read, which moves the position.
    file: Mutex<File>,
    map: Option<Mmap>,
}

impl Safetensors {
    /// Opens `path`, a `.safetensors` file or the `.index.json` of several. `VISEME_NO_MMAP=1` reads where it would map.
    pub fn open(path: &Path) -> Result<Self> {
        let mut opened =
            Self { path: path.to_owned(), files: Vec::new(), entries: BTreeMap::new(), metadata: HashMap::new() };
        if path.extension().is_some_and(|extension| extension == "json") {
            opened.add_shards()?;
        } else {
            opened.add_file(path, None)?;
        }
        if !opened.metadata.contains_key("config")
            && let Some(config) = config_beside(path)
        {
            opened.metadata.insert("config".to_owned(), config);
        }
        Ok(opened)
    }

    /// The shards that the index at `self.path` names, `{"weight_map": {tensor: file}}`.
    fn add_shards(&mut self) -> Result<()> {
        let path = self.path.clone();
        let subject = path.display().to_string();
        let text = std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let index: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|error| Problem::new(&subject, "a JSON index of shards", error.to_string()).weights())?;
        let Some(map) = index["weight_map"].as_object() else {
            return Err(Problem::new(subject, "an index with a `weight_map`", "none").weights());
        };
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, shard) in map {
            match shard.as_str() {
                Some(shard) if Path::new(shard).file_name().is_some_and(|name| name == shard) => {
                    shards.entry(shard).or_default().push(tensor);
                }
                _ => return Err(Problem::new(subject, "shards beside the index", shard.to_string()).weights()),
            }
        }
        for (key, value) in index["metadata"].as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.metadata.insert(key.clone(), text);
        }
        for (shard, tensors) in shards {
            self.add_file(&path.with_file_name(shard), Some(&tensors))?;
        }
        Ok(())
    }

    /// The tensors of one file, or of them those in `only`, which must all be there.
    fn add_file(&mut self, path: &Path, only: Option<&[&str]>) -> Result<()> {
        let (file, header, values_start) = OneFile::open(path)?;
        let index = self.files.len();
        for (name, info) in header.tensors() {
            if only.is_none_or(|only| only.contains(&name.as_str())) {
                let (start, end) = info.data_offsets;
                let bytes = values_start + start as u64..values_start + end as u64;
                self.entries.insert(name, Entry { file: index, dtype: info.dtype, shape: info.shape.clone(), bytes });
            }
        }
        let absent = only.unwrap_or_default().iter().filter(|name| !self.entries.contains_key(**name));
        let problems: Vec<Problem> = absent
            .map(|name| Problem::new(*name, format!("a tensor in {}", file_name(path)), "none").remedy(DAMAGED))
            .collect();
        if !problems.is_empty() {
            return Err(Error::Weights(problems));
        }
        for (key, value) in header.metadata().iter().flatten() {
            self.metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self.files.push(file);
        Ok(())
    }
}

impl OneFile {
    /// The file, its checked header, and where the values start.
    fn open(path: &Path) -> Result<(Self, Metadata, u64)> {
        let subject = path.display().to_string();
        let unreadable = |source| Error::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let state = file.metadata().map_err(unreadable)?;
        if !state.is_file() {
            return Err(Problem::new(subject, "a safetensors file", "not a file").weights());
        }
        let length = state.len();

        let mut start = [0; 8];
        let got = read_up_to(&mut file, &mut start).map_err(unreadable)?;
        if let Some((found, remedy)) = other_format(&start[..got]) {
            return Err(Problem::new(subject, "a safetensors file", found).remedy(remedy).weights());
        }
        if got < start.len() {
            return Err(Problem::new(subject, "8 bytes of header length", format!("{got} bytes"))
                .remedy(DAMAGED)
                .weights());
        }
        let header_length = u64::from_le_bytes(start);
        if header_length > MAX_HEADER_BYTES || header_length > length - 8 {
            let found = format!("a header of {header_length} bytes in a file of {length}");
            return Err(Problem::new(subject, "a safetensors header", found).remedy(DAMAGED).weights());
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| {
            Problem::new(&subject, "a safetensors header", error.to_string()).remedy(DAMAGED).weights()
        })?;
        let (expected, found) = (header.data_len() as u64, length - 8 - header_length);
        if expected != found {
            let found = format!("{found} bytes");
            return Err(Problem::new(subject, format!("{expected} bytes of values"), found).remedy(DAMAGED).weights());
        }

        let read = std::env::var_os("VISEME_NO_MMAP").is_some_and(|value| value == "1");
        let map = if read { None } else { Some(map(&file).map_err(unreadable)?) };
        let (path, file) = (path.to_owned(), Mutex::new(file));
        let one = Self { path, length, modified: state.modified().ok(), file, map };
        Ok((one, header, 8 + header_length))
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        Error::Read { path: self.path.clone(), source }
    }

    /// Asks the open file, not the path: one that was deleted or replaced by a new one still holds what was opened.
    fn unchanged(&self) -> Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let state = file.metadata().map_err(|source| self.unreadable(source))?;
        if state.len() != self.length || state.modified().ok() != self.modified {
            let found = format!("{} bytes, written since", state.len());
            let expected = format!("the file of {} bytes that was opened", self.length);
            return Err(Problem::new(self.path.display().to_string(), expected, found)
                .remedy("leave the file alone while it is read, and start again")
                .weights());
        }
        Ok(())
    }

    /// `bytes` lie within `self.length`: the header was checked against it.
    fn read(&self, bytes: &Range<u64>) -> Result<Cow<'_, [u8]>> {
        self.unchanged()?;
        if let Some(map) = &self.map {
            let mapped = map.get(bytes.start as usize..bytes.end as usize);
            return mapped.map(Cow::Borrowed).ok_or_else(|| self.unreadable(ErrorKind::UnexpectedEof.into()));
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values = vec![0; (bytes.end - bytes.start) as usize];
        let read = file.seek(SeekFrom::Start(bytes.start)).and_then(|_| file.read_exact(&mut values));
        read.map_err(|source| self.unreadable(source)).map(|()| Cow::Owned(values))
    }
}

/// Maps `file` read-only.
#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the bytes are only read as numbers, for which every bit pattern is valid, at offsets that come from our
    // own checked copy of the header; nothing is concluded from them twice. Another process may still write or truncate
    // the file: no map can exclude that, so size and time stamp are compared before and after each use, and
    // VISEME_NO_MMAP=1 avoids the map on file systems where files do change.
    unsafe { Mmap::map(file) }
}

impl Source for Safetensors {
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        self.entries.get(name).map(|entry| (entry.dtype, entry.shape.clone()))
    }

    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let entry = self.entries.get(name).and_then(|entry| Some((self.files.get(entry.file)?, entry)));
        let Some((file, entry)) = entry else {
            return Err(Problem::new(name, "a tensor", "none of this name").weights());
        };
        file.read(&entry.bytes)
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    fn unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(OneFile::unchanged)
    }

    fn origin(&self) -> String {
        file_name(&self.path)
    }
}

/// The model's configuration from `NAME.json` beside `NAME.safetensors`, or, for files named as on the hub, from the
/// `config.json` of their folder. (Other folders hold several networks, so that a `config.json` there says little.)
fn config_beside(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let on_the_hub = ["model.", "model-", "pytorch_model.", "diffusion_pytorch_model."];
    let candidates = [
        (!name.ends_with(".json")).then(|| path.with_extension("json")),
        on_the_hub.iter().any(|start| name.starts_with(start)).then(|| path.with_file_name("config.json")),
    ];
    let text = candidates.iter().flatten().find_map(|path| std::fs::read_to_string(path).ok())?;
    serde_json::from_str::<serde_json::Map<_, _>>(&text).ok().map(|_| text)
}

/// What a file that is no safetensors is, judged by its first bytes, and what to do with it.
fn other_format(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let convert = "turn it into safetensors: viseme convert IN OUT.safetensors";
    match start {
        [] => Some(("an empty file", DAMAGED)),
        [b'P', b'K', 3, 4, ..] => Some(("a PyTorch zip checkpoint", convert)),
        [0x80, 2..=5, ..] => Some(("a Python pickle", convert)),
        _ if start.starts_with(b"version ") => {
            Some(("a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`"))
        }
        _ if start.starts_with(b"<!DOCTYP") || start.starts_with(b"<!doctyp") || start.starts_with(b"<html") => {
            Some(("a web page", "download the file itself; a gated one needs you to be logged in"))
        }
        _ => None,
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read(&mut buffer[got..])? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

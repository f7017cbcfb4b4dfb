//! Weights from files and by formula, conversion of checkpoints, golden files. None of it needs a device.

mod big;
mod convert;
mod files;
mod formula;
mod golden;

use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One tensor of a test file: name, type as in the header, shape, values.
pub struct Stored(pub &'static str, pub &'static str, pub Vec<usize>, pub Vec<u8>);

impl Stored {
    pub fn f32(name: &'static str, shape: &[usize], values: &[f32]) -> Self {
        Self(name, "F32", shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }
}

/// A safetensors file as the format's description has it, header unpadded, so that values may lie unaligned.
pub fn safetensors(metadata: &[(&str, &str)], tensors: &[Stored]) -> Vec<u8> {
    let (mut header, mut values) = (Map::new(), Vec::new());
    if !metadata.is_empty() {
        let entries = metadata.iter().map(|(key, value)| (key.to_string(), json!(value)));
        header.insert("__metadata__".to_owned(), Value::Object(entries.collect()));
    }
    for Stored(name, dtype, shape, bytes) in tensors {
        let end = values.len() + bytes.len();
        header.insert(name.to_string(), json!({"dtype": dtype, "shape": shape, "data_offsets": [values.len(), end]}));
        values.extend(bytes);
    }
    with_header(&Value::Object(header).to_string(), &values)
}

pub fn with_header(header: &str, values: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), values].concat()
}

/// A folder that is removed at the end of the test.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a test file");
    path
}

/// A file of the golden folder that `VISEME_GOLDEN` names; None, said aloud, without it.
pub fn published(name: &str) -> Option<PathBuf> {
    match std::env::var_os("VISEME_GOLDEN") {
        Some(folder) => Some(Path::new(&folder).join(name)),
        None => {
            eprintln!("skipped: {name} (VISEME_GOLDEN is not set)");
            None
        }
    }
}

//! PyTorch zip checkpoints (`.pt`, `.pth`, `.bin`, `.ckpt`) to safetensors, executing nothing, one tensor in memory at a time.

use super::Dtype;
use super::pickle::{Id, MAX_PICKLE_BYTES, Pickle, Tensor, Value};
use crate::{Error, Problem, Result};
use half::{bf16, f16};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// How a checkpoint is converted.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConvertOptions {
    /// Floats become f16; a value beyond its range is an error. Otherwise types stay, but for f64, which becomes f32.
    pub half: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub tensors: usize,
    pub elements: u64,
    /// Of the new file.
    pub bytes: u64,
    /// Entries of the state dict that are no tensors.
    pub skipped: Vec<String>,
    /// Whether the checkpoint had a `cfg`, which is now the metadata's `config`.
    pub has_config: bool,
}

const DAMAGED: &str = "the file is damaged or was not downloaded to its end; get it again";

/// Where checkpoints keep their state dict, in order of preference; else the whole is one.
const STATE_DICTS: [&str; 3] = ["module", "state_dict", "model"];

/// What training wrappers put before the published names.
const WRAPPERS: [&str; 2] = ["_forward_module.", "module."];

/// Of a checkpoint's `cfg`: more is no configuration.
const MAX_CONFIG_VALUES: usize = 100_000;
const MAX_CONFIG_DEPTH: usize = 32;

/// Writes the tensors of the checkpoint `input` to `output` as safetensors, under their published names: what training
/// wrappers put in front is dropped, the state dict is looked for under `module`, `state_dict` and `model`, and a stored
/// `cfg` becomes the metadata's `config`. `output` appears only when it is complete.
pub fn convert(input: &Path, output: &Path, options: ConvertOptions) -> Result<Report> {
    if input.canonicalize().is_ok_and(|input| output.canonicalize().is_ok_and(|output| input == output)) {
        return Err(Problem::new("OUT", "another file than IN", output.display().to_string()).usage());
    }
    let mut archive = Archive::open(input)?;
    let bytes = archive.pickle()?;
    let pickle = Pickle::parse(&archive.subject, &bytes)?;
    let (tensors, skipped) = state_dict(&archive.subject, &pickle)?;
    let tensors = plan(&archive, tensors, options)?;
    let config = pickle.get(pickle.root, "cfg").map(|cfg| json(&pickle, cfg, 0, &mut 0)).transpose()?;
    let config = config.filter(serde_json::Value::is_object);
    let header = header(&tensors, config.as_ref());

    let mut file = Unfinished::create(output)?;
    file.write(&header)?;
    for planned in &tensors {
        file.write(&archive.values(planned)?)?;
    }
    let bytes = file.finish()?;
    let elements = tensors.iter().map(|planned| planned.elements).sum();
    Ok(Report { tensors: tensors.len(), elements, bytes, skipped, has_config: config.is_some() })
}

/// A tensor to be written.
struct Planned {
    name: String,
    tensor: Tensor,
    elements: u64,
    /// The part of the storage that it lies in, in elements from `tensor.offset` on.
    span: u64,
    /// As written.
    dtype: Dtype,
}

impl Planned {
    fn bytes(&self) -> u64 {
        self.elements * bytes_of(self.dtype)
    }
}

/// The tensors of the state dict by published name, and the names of what else it holds.
fn state_dict<'a>(subject: &str, pickle: &'a Pickle) -> Result<(BTreeMap<String, &'a Tensor>, Vec<String>)> {
    let holds_tensors = |id: &Id| {
        let pairs = pickle.dict(*id).unwrap_or_default();
        pairs.iter().any(|&(_, value)| matches!(pickle.value(value), Value::Tensor(_)))
    };
    let nested = STATE_DICTS.iter().filter_map(|key| pickle.get(pickle.root, key));
    let Some(state) = nested.chain([pickle.root]).find(holds_tensors) else {
        let keys = pickle.dict(pickle.root).unwrap_or_default().iter().filter_map(|&(key, _)| pickle.text(key));
        let keys: Vec<&str> = keys.take(10).collect();
        let found = if keys.is_empty() { "none".to_owned() } else { format!("none, only {}", keys.join(", ")) };
        return Err(Problem::new(subject, "tensors at the top or under module, state_dict or model", found).weights());
    };
    // Later entries of a dict replace earlier ones of the same key.
    let entries: BTreeMap<&str, Id> = pickle
        .dict(state)
        .unwrap_or_default()
        .iter()
        .filter_map(|&(key, value)| pickle.text(key).map(|key| (key, value)))
        .collect();
    let (mut tensors, mut skipped) = (BTreeMap::new(), Vec::new());
    for (key, id) in entries {
        let mut name = key;
        while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
            name = rest;
        }
        match pickle.value(id) {
            Value::Tensor(tensor) => {
                if tensors.insert(name.to_owned(), tensor).is_some() {
                    return Err(Problem::new(subject, format!("one tensor named {name}"), "two").weights());
                }
            }
            _ => skipped.push(key.to_owned()),
        }
    }
    if tensors.contains_key("__metadata__") {
        return Err(Problem::new(subject, "names that safetensors allows", "a tensor named __metadata__").weights());
    }
    Ok((tensors, skipped))
}

/// The tensors in the order of the file, wide types first so that all lie aligned, each held to its storage.
fn plan(archive: &Archive, tensors: BTreeMap<String, &Tensor>, options: ConvertOptions) -> Result<Vec<Planned>> {
    let (mut planned, mut problems) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors {
        let Some((elements, span)) = extent(tensor) else {
            let found = format!("shape {:?}, strides {:?}, offset {}", tensor.shape, tensor.strides, tensor.offset);
            let expected = format!("a tensor within its storage of {} elements", stored_elements(tensor));
            problems.push(Problem::new(name, expected, found).remedy(DAMAGED));
            continue;
        };
        let dtype = match tensor.dtype {
            Dtype::F64 | Dtype::F32 | Dtype::BF16 if options.half => Dtype::F16,
            Dtype::F64 => Dtype::F32,
            other => other,
        };
        planned.push(Planned { name, tensor: tensor.clone(), elements, span, dtype });
    }
    if !problems.is_empty() {
        return Err(Error::Weights(problems));
    }
    // Tensors may share a storage, and a zip may compress, but neither by much in an honest checkpoint.
    let total = planned.iter().fold(0u64, |total, planned| total.saturating_add(planned.bytes()));
    let limit = archive.length.saturating_mul(8).saturating_add(256 << 20);
    if total > limit {
        let expected = format!("at most {limit} bytes of tensors in a file of {}", archive.length);
        return Err(Problem::new(&archive.subject, expected, total.to_string()).weights());
    }
    planned.sort_by_key(|planned| std::cmp::Reverse(bytes_of(planned.dtype)));
    Ok(planned)
}

/// Elements of `tensor` and of the part of its storage that it spans; None when it leaves the storage or repeats
/// elements (a stride of 0 makes a large tensor out of nothing).
fn extent(tensor: &Tensor) -> Option<(u64, u64)> {
    let stored = stored_elements(tensor);
    let elements = tensor.shape.iter().try_fold(1u64, |all, &dim| all.checked_mul(dim))?;
    if elements == 0 {
        return Some((0, 0));
    }
    let last = tensor.shape.iter().zip(&tensor.strides).try_fold(0u64, |last, (&dim, &stride)| {
        (dim - 1).checked_mul(stride).and_then(|step| last.checked_add(step))
    })?;
    let end = tensor.offset.checked_add(last)?.checked_add(1)?;
    (end <= stored && elements <= last + 1).then_some((elements, last + 1))
}

/// Elements of the tensor's type in its storage; an untyped storage counts bytes.
fn stored_elements(tensor: &Tensor) -> u64 {
    match tensor.storage.dtype {
        Some(dtype) => tensor.storage.elements.saturating_mul(bytes_of(dtype)) / bytes_of(tensor.dtype),
        None => tensor.storage.elements / bytes_of(tensor.dtype),
    }
}

fn bytes_of(dtype: Dtype) -> u64 {
    dtype.bitsize() as u64 / 8
}

/// The length and the JSON of a safetensors header, padded so that the values start aligned.
fn header(tensors: &[Planned], config: Option<&serde_json::Value>) -> Vec<u8> {
    let (mut header, mut end) = (Map::new(), 0);
    let mut metadata = Map::from_iter([("format".to_owned(), json!("pt"))]);
    metadata.extend(config.map(|config| ("config".to_owned(), json!(config.to_string()))));
    header.insert("__metadata__".to_owned(), metadata.into());
    for planned in tensors {
        let start = end;
        end += planned.bytes();
        let entry = json!({"dtype": planned.dtype, "shape": planned.tensor.shape, "data_offsets": [start, end]});
        header.insert(planned.name.clone(), entry);
    }
    let mut text = serde_json::Value::Object(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A pickled value as JSON; what JSON cannot say is null.
fn json(pickle: &Pickle, id: Id, depth: usize, count: &mut usize) -> Result<serde_json::Value> {
    *count += 1;
    if *count > MAX_CONFIG_VALUES || depth > MAX_CONFIG_DEPTH {
        let expected = format!("at most {MAX_CONFIG_VALUES} values, {MAX_CONFIG_DEPTH} deep");
        return Err(Problem::new("the checkpoint's cfg", expected, "more").weights());
    }
    if let Some(pairs) = pickle.dict(id) {
        let pair = |&(key, value): &(Id, Id)| {
            let key = match json(pickle, key, depth + 1, count)? {
                serde_json::Value::String(key) => key,
                other => other.to_string(),
            };
            Ok((key, json(pickle, value, depth + 1, count)?))
        };
        return Ok(serde_json::Value::Object(pairs.iter().map(pair).collect::<Result<_>>()?));
    }
    Ok(match pickle.value(id) {
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Text(value) => json!(value),
        Value::Sequence(items) => {
            items.iter().map(|&item| json(pickle, item, depth + 1, count)).collect::<Result<Vec<_>>>()?.into()
        }
        _ => serde_json::Value::Null,
    })
}

/// A PyTorch zip: `NAME/data.pkl`, and each storage as `NAME/data/KEY`.
struct Archive {
    subject: String,
    path: PathBuf,
    length: u64,
    zip: ZipArchive<BufReader<File>>,
    /// `NAME/`.
    folder: String,
}

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        let subject = path.display().to_string();
        let unreadable = |source| Error::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut start = Vec::new();
        (&file).take(512).read_to_end(&mut start).map_err(unreadable)?;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        if let Some((found, remedy)) = other_format(&start) {
            return Err(Problem::new(subject, "a PyTorch zip checkpoint", found).remedy(remedy).weights());
        }
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(&subject, path, error))?;
        let names = zip.file_names().flatten().filter(|name| name == "data.pkl" || name.ends_with("/data.pkl"));
        let Some(name) = names.map(|name| name.into_owned()).min_by_key(String::len) else {
            return Err(Problem::new(subject, "a zip with a data.pkl, as torch.save writes it", "none").weights());
        };
        let folder = name.trim_end_matches("data.pkl").to_owned();
        let mut archive = Self { subject, path: path.to_owned(), length, zip, folder };
        if archive.zip.index_for_name(&archive.name("byteorder")).is_some()
            && archive.entry("byteorder", 16)?.trim_ascii() != b"little"
        {
            return Err(Problem::new(archive.subject, "little-endian tensors", "another byte order").weights());
        }
        Ok(archive)
    }

    fn name(&self, leaf: &str) -> String {
        format!("{}{leaf}", self.folder)
    }

    fn pickle(&mut self) -> Result<Vec<u8>> {
        self.entry("data.pkl", MAX_PICKLE_BYTES)
    }

    /// The whole of an entry of at most `limit` bytes; its checksum is verified.
    fn entry(&mut self, leaf: &str, limit: u64) -> Result<Vec<u8>> {
        let name = self.name(leaf);
        let (subject, path) = (&self.subject, &self.path);
        let entry = self.zip.by_name(&name).map_err(|error| broken(&format!("{subject}: {name}"), path, error))?;
        let mut bytes = Vec::new();
        let read = entry.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| broken(&format!("{subject}: {name}"), path, ZipError::Io(error)))?;
        if bytes.len() as u64 > limit {
            return Err(Problem::new(name, format!("at most {limit} bytes"), "more").weights());
        }
        Ok(bytes)
    }

    /// Bytes `start..start + length` of a storage.
    fn window(&mut self, key: &str, stored: u64, start: u64, length: u64) -> Result<Vec<u8>> {
        let leaf = format!("data/{key}");
        let name = self.name(&leaf);
        let subject = format!("{}: {name}", self.subject);
        let (size, compression) = {
            let entry = self.zip.by_name(&name).map_err(|error| broken(&subject, &self.path, error))?;
            (entry.size(), entry.compression())
        };
        if size != stored {
            return Err(Problem::new(subject, format!("{stored} bytes"), size.to_string()).remedy(DAMAGED).weights());
        }
        let window = if (start, length) == (0, stored) {
            self.entry(&leaf, stored)?
        } else {
            let mut window = Vec::new();
            let read = if compression == CompressionMethod::Stored {
                let entry = self.zip.by_name_seek(&name).map_err(|error| broken(&subject, &self.path, error));
                let mut entry = entry?;
                entry.seek(SeekFrom::Start(start)).and_then(|_| entry.take(length).read_to_end(&mut window))
            } else {
                let entry = self.zip.by_name(&name).map_err(|error| broken(&subject, &self.path, error));
                let mut entry = entry?;
                std::io::copy(&mut entry.by_ref().take(start), &mut std::io::sink())
                    .and_then(|_| entry.take(length).read_to_end(&mut window))
            };
            read.map_err(|error| broken(&subject, &self.path, ZipError::Io(error)))?;
            window
        };
        if window.len() as u64 != length {
            let found = format!("{} bytes", window.len());
            return Err(Problem::new(subject, format!("{length} bytes"), found).remedy(DAMAGED).weights());
        }
        Ok(window)
    }

    /// The values of a tensor, contiguous, in the type that it is written in.
    fn values(&mut self, planned: &Planned) -> Result<Vec<u8>> {
        let tensor = &planned.tensor;
        if planned.elements == 0 {
            return Ok(Vec::new());
        }
        let size = bytes_of(tensor.dtype);
        let stored = tensor.storage.elements.saturating_mul(tensor.storage.dtype.map_or(1, bytes_of));
        let window = self.window(&tensor.storage.key, stored, tensor.offset * size, planned.span * size)?;
        let values = if contiguous(tensor) { window } else { gather(&window, tensor, size as usize) };
        let to_f16 = |value| {
            let value = f16::from_f64(value);
            (value.is_finite(), value.to_le_bytes())
        };
        let to_f32 = |value: f64| {
            let value = value as f32;
            (value.is_finite(), value.to_le_bytes())
        };
        let cast = match (tensor.dtype, planned.dtype) {
            (from, to) if from == to => Some(values),
            (Dtype::F64, Dtype::F32) => cast(&values, f64::from_le_bytes, to_f32),
            (Dtype::F64, _) => cast(&values, f64::from_le_bytes, to_f16),
            (Dtype::BF16, _) => cast(&values, |b| bf16::from_le_bytes(b).to_f64(), to_f16),
            (_, _) => cast(&values, |b| f32::from_le_bytes(b).into(), to_f16),
        };
        cast.ok_or_else(|| {
            Problem::new(&planned.name, format!("values within the range of {:?}", planned.dtype), "one beyond it")
                .remedy("convert without rounding to f16")
                .weights()
        })
    }
}

/// Each value in another type, by a function that also says whether the result is finite; None when a finite value
/// becomes infinite.
fn cast<const FROM: usize, const TO: usize>(
    bytes: &[u8],
    read: impl Fn([u8; FROM]) -> f64,
    write: impl Fn(f64) -> (bool, [u8; TO]),
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() / FROM * TO);
    for &value in bytes.as_chunks().0 {
        let value = read(value);
        let (finite, written) = write(value);
        if value.is_finite() && !finite {
            return None;
        }
        out.extend(written);
    }
    Some(out)
}

/// Whether the elements lie row-major without gaps; strides of dimensions of one do not matter.
fn contiguous(tensor: &Tensor) -> bool {
    let mut expected = 1;
    tensor.shape.iter().zip(&tensor.strides).rev().all(|(&dim, &stride)| {
        let fits = dim == 1 || stride == expected;
        expected *= dim;
        fits
    })
}

/// The elements of `window` in row-major order of the tensor's shape.
fn gather(window: &[u8], tensor: &Tensor, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(window.len());
    let mut index = vec![0u64; tensor.shape.len()];
    loop {
        let element: u64 = index.iter().zip(&tensor.strides).map(|(i, stride)| i * stride).sum();
        let at = element as usize * size;
        out.extend_from_slice(&window[at..at + size]);
        let Some(d) = (0..index.len()).rev().find(|&d| index[d] + 1 < tensor.shape[d]) else { return out };
        index[d] += 1;
        index[d + 1..].fill(0);
    }
}

/// What a file that is no zip checkpoint is, and what to do with it.
fn other_format(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let again = "open it with a recent PyTorch and write it anew: torch.save(torch.load(IN, weights_only=True), OUT)";
    match start {
        [] => Some(("an empty file", DAMAGED)),
        [b'P', b'K', ..] => None,
        [0x80, 2..=5, ..] => Some(("a pickle from before PyTorch 1.6", again)),
        [_, _, _, _, _, _, _, _, b'{', ..] => Some(("safetensors", "use the file as it is")),
        _ if start.get(257..262) == Some(b"ustar") => Some(("a tar archive from before PyTorch 0.2", again)),
        _ if start.starts_with(b"version ") => Some(("a Git LFS pointer", "fetch the file with `git lfs pull`")),
        _ => Some(("another kind of file", DAMAGED)),
    }
}

fn broken(subject: &str, path: &Path, error: ZipError) -> Error {
    match error {
        ZipError::Io(source) if source.kind() != std::io::ErrorKind::InvalidData && source.raw_os_error().is_some() => {
            Error::Read { path: path.to_owned(), source }
        }
        other => Problem::new(subject, "an intact PyTorch zip checkpoint", other.to_string()).remedy(DAMAGED).weights(),
    }
}

/// A file that takes its final name when it is complete, and is removed when it is dropped before.
struct Unfinished {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
    bytes: u64,
}

impl Unfinished {
    fn create(path: &Path) -> Result<Self> {
        let unwritable = |source| Error::Write { path: path.to_owned(), source };
        let Some(name) = path.file_name() else { return Err(unwritable(std::io::ErrorKind::InvalidFilename.into())) };
        let temporary = path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let file = File::options().write(true).create_new(true).open(&temporary).map_err(unwritable)?;
        Ok(Self { path: path.to_owned(), temporary, file: Some(BufWriter::new(file)), bytes: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes));
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// The number of bytes of the complete file.
    fn finish(mut self) -> Result<u64> {
        let unwritable = |source| Error::Write { path: self.path.clone(), source };
        if let Some(mut file) = self.file.take() {
            let done = file.flush().and_then(|()| file.get_ref().sync_all());
            drop(file);
            if let Err(source) = done.and_then(|()| std::fs::rename(&self.temporary, &self.path)) {
                let _ = std::fs::remove_file(&self.temporary); // the first error is the one to report
                return Err(unwritable(source));
            }
        }
        Ok(self.bytes)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            drop(file.into_parts()); // without a flush
            let _ = std::fs::remove_file(&self.temporary); // an error is on its way already
        }
    }
}

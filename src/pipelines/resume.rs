//! The work folder of a job, `OUT.viseme/`: what the job is, and what of it is finished, a file for each part. A run that
//! was cut off finds there where to go on; success removes it.
//!
//! Every file appears under its name complete or not at all: it is written beside it, flushed to the disk and renamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::gpu::Gpu;
use crate::media::file::{PARTIAL, fitting, write_whole};
use crate::ops::{ConvBudget, Tuning};
use crate::{Error, Problem, Result};

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";
const VERSION: u32 = 1;

/// What makes two jobs the same: the inputs (see [`file_identity`]) and every parameter that shows in the output, by name.
pub type Identity = BTreeMap<String, String>;

/// An open work folder; no second run can open it meanwhile.
#[derive(Debug)]
pub struct WorkFolder {
    dir: PathBuf,
    lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    identity: Identity,
    /// Once a run has begun to compute.
    #[serde(default)]
    choices: Option<Choices>,
}

/// What a device chose for a job and its later runs keep to, whatever they would choose themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Choices {
    /// Which bit-equal variants run. A device that lacks one runs its default.
    tuning: Tuning,
    /// What decides which convolutions are Winograd's, and so the last bits: see [`ConvBudget`].
    convolution_budget_bytes: u64,
}

impl WorkFolder {
    /// The folder beside `output` that a job uses unless told otherwise: `out.mp4` has `out.mp4.viseme`.
    pub fn beside(output: &Path) -> PathBuf {
        const END: &str = ".viseme";
        // Without the slash that may end a folder's name.
        let output = output.components().collect::<PathBuf>();
        let mut name = fitting(output.file_name().unwrap_or_default(), END.len());
        name.push(END);
        output.with_file_name(name)
    }

    /// A new folder at `dir`, or the one that an earlier run of the same job left there; one in which nothing is finished serves
    /// any job. Errors: it belongs to another job (the message says what differs), to a running one, or is a folder with other
    /// things in it.
    pub fn open(dir: impl Into<PathBuf>, identity: Identity) -> Result<Self> {
        let dir = dir.into();
        if !dir.join(MANIFEST).exists() {
            refuse_foreign(&dir)?;
        }
        fs::create_dir_all(&dir).map_err(|source| Error::Write { path: dir.clone(), source })?;
        let lock = lock(&dir)?;

        match fs::read(dir.join(MANIFEST)) {
            Ok(bytes) if has_parts(&dir)? => refuse_other_job(&dir, &parse(&dir, &bytes)?.identity, &identity)?,
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Error::Read { path: dir.join(MANIFEST), source: e });
            }
            _ => write_manifest(&dir, &Manifest { version: VERSION, identity, choices: None })?,
        }
        Ok(Self { dir, lock })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes `gpu` choose as the job's first run did: the table of kernel variants, and the memory within which convolutions are
    /// Winograd's. The first run's own choices are kept for that. So a run with another memory budget or another table goes on
    /// with the same bits; if its budget does not suffice for the weights, that is the usual error.
    pub fn keep_choices(&self, gpu: &Gpu) -> Result<()> {
        let path = self.dir.join(MANIFEST);
        let bytes = fs::read(&path).map_err(|source| Error::Read { path, source })?;
        let manifest = parse(&self.dir, &bytes)?;
        match manifest.choices {
            Some(choices) => {
                gpu.set(choices.tuning);
                gpu.set(ConvBudget(choices.convolution_budget_bytes));
                Ok(())
            }
            None => {
                let convolution_budget_bytes = ConvBudget::of(gpu).0;
                let choices = Some(Choices { tuning: (*Tuning::of(gpu)).clone(), convolution_budget_bytes });
                write_manifest(&self.dir, &Manifest { choices, ..manifest })
            }
        }
    }

    /// Where `file` lies. Errors: it is not a plain file name, or taken.
    fn path(&self, file: &str) -> Result<PathBuf> {
        let is_plain = !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\\', ':']);
        let is_taken = [MANIFEST, LOCK].contains(&file) || file.ends_with(PARTIAL);
        if !is_plain || is_taken {
            return Err(Problem::new(name(&self.dir), "a plain file name not in use", format!("{file:?}")).usage());
        }
        Ok(self.dir.join(file))
    }

    pub fn contains(&self, file: &str) -> Result<bool> {
        Ok(self.path(file)?.is_file())
    }

    /// Writes `file`, in place of an older one.
    pub fn store(&self, file: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.path(file)?, bytes)
    }

    pub fn load(&self, file: &str) -> Result<Vec<u8>> {
        let path = self.path(file)?;
        fs::read(&path).map_err(|source| Error::Read { path, source })
    }

    /// Removes the work folder at `dir`, which no run has open, if nothing is finished in it.
    pub fn remove_unused(dir: &Path) -> Result<()> {
        if !dir.join(MANIFEST).is_file() || has_parts(dir)? {
            return Ok(());
        }
        fs::remove_dir_all(dir).map_err(|source| Error::Write { path: dir.to_path_buf(), source })
    }

    /// Removes the folder: the job is done.
    pub fn remove(self) -> Result<()> {
        // Windows does not remove what is open.
        drop(self.lock);
        fs::remove_dir_all(&self.dir).map_err(|source| Error::Write { path: self.dir, source })
    }
}

/// What tells an input file from another or a later one: its size in bytes and its time stamp in nanoseconds. Of a folder: how
/// many files are in it, their size together and the latest time stamp.
pub fn file_identity(path: &Path) -> Result<String> {
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let metadata = fs::metadata(path).map_err(read)?;
    let (mut files, mut bytes) = (String::new(), metadata.len());
    let mut modified = metadata.modified().map_err(read)?;
    if metadata.is_dir() {
        let entries = fs::read_dir(path).map_err(read)?.map(|entry| entry?.metadata());
        let entries: Vec<fs::Metadata> = entries.collect::<Result<_, _>>().map_err(read)?;
        files = format!("{} files, ", entries.len());
        bytes = entries.iter().map(fs::Metadata::len).sum();
        for entry in &entries {
            modified = modified.max(entry.modified().map_err(read)?);
        }
    }
    let stamp = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos().to_string(),
        Err(before) => format!("-{}", before.duration().as_nanos()),
    };
    Ok(format!("{files}{bytes} bytes, modified {stamp}"))
}

fn name(dir: &Path) -> String {
    dir.display().to_string()
}

/// Whether any part of a job is finished in the work folder `dir`.
fn has_parts(dir: &Path) -> Result<bool> {
    let read = |source| Error::Read { path: dir.to_path_buf(), source };
    for entry in fs::read_dir(dir).map_err(read)? {
        let file = entry.map_err(read)?.file_name();
        let file = file.to_string_lossy();
        if file != LOCK && file != MANIFEST && !file.ends_with(PARTIAL) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn refuse_foreign(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Write { path: dir.to_path_buf(), source }),
    };
    for entry in entries {
        let file = entry.map_err(|source| Error::Read { path: dir.to_path_buf(), source })?.file_name();
        let file = file.to_string_lossy();
        // A run killed at its very start leaves these without a manifest.
        if file != LOCK && file != format!("{MANIFEST}.{PARTIAL}") {
            return Err(Problem::new(name(dir), "an empty or a viseme work folder", format!("{file} in it"))
                .remedy("name another folder with --work")
                .usage());
        }
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = File::create(&path).map_err(|source| Error::Write { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Problem::new(name(dir), "a folder no one works in", "a run at work in it")
                .remedy("wait for it, or name another folder with --work")
                .usage())
        }
        // Some network file systems cannot lock; the job runs there all the same.
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(source)) => Err(Error::Write { path, source }),
    }
}

fn parse(dir: &Path, bytes: &[u8]) -> Result<Manifest> {
    let problem = |found: String| {
        Problem::new(name(&dir.join(MANIFEST)), format!("a work folder's manifest, version {VERSION}"), found)
            .remedy("remove the folder to start again")
            .input()
    };
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| problem(e.to_string()))?;
    if manifest.version != VERSION {
        return Err(problem(format!("version {}", manifest.version)));
    }
    Ok(manifest)
}

fn refuse_other_job(dir: &Path, started: &Identity, asked: &Identity) -> Result<()> {
    let keys: BTreeSet<&String> = started.keys().chain(asked.keys()).collect();
    let value = |identity: &Identity, key: &String| identity.get(key).cloned().unwrap_or_else(|| "nothing".into());
    let changes: Vec<String> = keys
        .into_iter()
        .filter(|&key| started.get(key) != asked.get(key))
        .map(|key| format!("{key} changed from {} to {}", value(started, key), value(asked, key)))
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    Err(Problem::new(name(dir), "the job that was started in this folder", changes.join("; "))
        .remedy("remove the folder to start again, or name another with --work")
        .usage())
}

fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<()> {
    let path = dir.join(MANIFEST);
    let json = serde_json::to_vec_pretty(manifest)
        .map_err(|e| Error::Write { path: path.clone(), source: std::io::Error::other(e) })?;
    write_whole(&path, &json)
}

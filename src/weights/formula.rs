//! Weights by formula: every value follows from the tensor's name, its shape, a seed and the element's index, so that a
//! golden file for 1.5 billion parameters holds none. Definition: golden/README.md, "Weights by formula".
//!
//! All integers wrap at 64 bits; every f32 operation rounds once, in this order, never fused.

use crate::weights::{Dtype, Source};
use crate::{Error, Problem, Result};
use half::f16;
use half::slice::HalfFloatSliceExt;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// Elements per turn of the inner loop, and fewest for which another thread is worth its start.
const BLOCK: usize = 4096;
const PER_THREAD: usize = 1 << 16;

/// Tensors computed when they are read.
pub struct FormulaSource {
    seed: u64,
    half: bool,
    gain: f64,
    tensors: BTreeMap<String, Vec<usize>>,
    /// The name whose values a name takes.
    tied: BTreeMap<String, String>,
    /// What a file would carry as its configuration.
    config: Option<String>,
}

impl FormulaSource {
    /// `tensors` by name; `half` rounds to f16 and hands out f16; `gain` scales the matrices.
    pub fn new(tensors: BTreeMap<String, Vec<usize>>, seed: u64, half: bool, gain: f64) -> Self {
        Self { seed, half, gain, tensors, tied: BTreeMap::new(), config: None }
    }

    /// The same weights with `config` (JSON) in their metadata.
    pub fn with_config(self, config: &Value) -> Self {
        Self { config: Some(config.to_string()), ..self }
    }

    /// The source that a golden file's `config.weights` describes. Where it names a `tensors_file`, that file lies in one
    /// of `folders`.
    pub fn from_config(config: &Value, folders: &[&Path]) -> Result<Self> {
        if config["formula"].as_u64() != Some(1) {
            return Err(wrong("formula", "1", &config["formula"]));
        }
        let seed = config["seed"].as_u64().ok_or_else(|| wrong("seed", "a number from 0", &config["seed"]))?;
        let half = match config["dtype"].as_str() {
            Some("f16") => true,
            Some("f32") | None => false,
            Some(_) => return Err(wrong("dtype", "\"f32\" or \"f16\"", &config["dtype"])),
        };
        let gain = match &config["gain"] {
            Value::Null => 1.0,
            gain => gain.as_f64().ok_or_else(|| wrong("gain", "a number", gain))?,
        };
        let mut tensors = match &config["tensors_file"] {
            Value::Null => shapes("tensors", &config["tensors"])?,
            file => {
                let file = file.as_str().ok_or_else(|| wrong("tensors_file", "a file name", file))?;
                let listed = read_json(file, folders)?;
                shapes("tensors_file", config["tensors_key"].as_str().map_or(&listed, |key| &listed[key]))?
            }
        };
        let prefix = config["tensors_prefix"].as_str().unwrap_or_default();
        tensors.retain(|name, _| name.starts_with(prefix) && !name.ends_with("num_batches_tracked"));
        if !config["shape_overrides"].is_null() {
            tensors.extend(shapes("shape_overrides", &config["shape_overrides"])?);
        }
        let mut source = Self::new(tensors, seed, half, gain);
        for (name, target) in config["tied"].as_object().into_iter().flatten() {
            let target = target.as_str().ok_or_else(|| wrong("tied", "names", target))?;
            let shape = source.tensors.get(target).cloned();
            let shape = shape.ok_or_else(|| wrong("tied", "a name of `tensors`", &Value::from(target)))?;
            source.tensors.insert(name.clone(), shape);
            source.tied.insert(name.clone(), target.to_owned());
        }
        Ok(source)
    }
}

impl Source for FormulaSource {
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        let dtype = if self.half { Dtype::F16 } else { Dtype::F32 };
        self.tensors.get(name).map(|shape| (dtype, shape.clone()))
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.config.as_deref().filter(|_| key == "config")
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let Some(shape) = self.tensors.get(name) else {
            return Err(Problem::new(name, "a tensor", "none of this name").weights());
        };
        let name = self.tied.get(name).map_or(name, String::as_str);
        let rule = Rule::of(name, shape, self.gain);
        let start = fnv1a64(name).wrapping_add(self.seed.wrapping_mul(GOLDEN_RATIO)).wrapping_add(GOLDEN_RATIO);

        let size = if self.half { 2 } else { 4 };
        let elements: usize = shape.iter().product();
        let mut bytes = vec![0; elements * size];
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let share = elements.div_ceil(threads).max(PER_THREAD);
        std::thread::scope(|scope| {
            for (i, part) in bytes.chunks_mut(share * size).enumerate() {
                let start = start.wrapping_add((i * share) as u64);
                let mut fill =
                    move || if self.half { fill_f16(part, start, rule) } else { fill_f32(part, start, rule) };
                if elements <= share {
                    fill();
                } else {
                    scope.spawn(fill);
                }
            }
        });
        Ok(Cow::Owned(bytes))
    }

    fn origin(&self) -> String {
        "the weights by formula".to_owned()
    }
}

/// `offset + u * scale` for u in [-1, 1); a zero offset is not added.
#[derive(Clone, Copy)]
struct Rule {
    offset: f32,
    scale: f32,
}

impl Rule {
    /// The first line of the table that matches.
    fn of(name: &str, shape: &[usize], gain: f64) -> Self {
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let matrix = shape.len() >= 2;
        let (offset, scale) = if ends(&["mix_factor"]) {
            (0.0, 1.0)
        } else if ends(&["running_mean"]) {
            (0.0, 0.1)
        } else if ends(&["running_var"]) {
            (1.0, 0.2)
        } else if ends(&["weight_g"]) {
            (2.5, 0.5)
        } else if ends(&["grep_a"]) {
            (1.0, 0.5)
        } else if ends(&[".scale", ".gamma"]) {
            (0.5, 0.25)
        } else if matrix
            && (ends(&["embed.weight", "token.weight", "tokens.weight", "relative_attention_bias.weight"])
                || !ends(&[".weight", ".weight_v"]))
        {
            (0.0, 1.0)
        } else if matrix {
            let fan_in: usize = shape[1..].iter().product();
            (0.0, ((3.0 / fan_in as f64).sqrt() * gain) as f32)
        } else if ends(&["_3_norm.weight"]) {
            (8.0, 0.8)
        } else if ends(&[".weight"]) {
            (1.0, 0.1)
        } else {
            (0.0, 0.05)
        };
        Self { offset, scale }
    }

    /// The value whose hash input is `x`: splitmix64 of it, its top 24 bits as a number in [-1, 1), scaled.
    fn value(self, x: u64) -> f32 {
        let z = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let hash = z ^ (z >> 31);
        let u = (hash >> 40) as u32 as f32 * (1.0 / 8_388_608.0) - 1.0;
        let scaled = u * self.scale;
        if self.offset == 0.0 { scaled } else { scaled + self.offset }
    }
}

fn fill_f32(bytes: &mut [u8], start: u64, rule: Rule) {
    for (i, value) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
        *value = rule.value(start.wrapping_add(i as u64)).to_le_bytes();
    }
}

/// Rounds to nearest, ties to even.
fn fill_f16(bytes: &mut [u8], start: u64, rule: Rule) {
    let (mut values, mut halves) = ([0f32; BLOCK], [f16::ZERO; BLOCK]);
    for (block, bytes) in bytes.chunks_mut(BLOCK * 2).enumerate() {
        let start = start.wrapping_add((block * BLOCK) as u64);
        let count = bytes.len() / 2;
        for (i, value) in values[..count].iter_mut().enumerate() {
            *value = rule.value(start.wrapping_add(i as u64));
        }
        halves[..count].convert_from_f32_slice(&values[..count]);
        for (bytes, half) in bytes.as_chunks_mut().0.iter_mut().zip(&halves) {
            *bytes = half.to_le_bytes();
        }
    }
}

fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// The first of `folders` that has `file`, as JSON.
fn read_json(file: &str, folders: &[&Path]) -> Result<Value> {
    let name = plain_name(file)?;
    let Some(path) = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists()) else {
        let searched: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(Problem::new(file, format!("in {}", searched.join(" or ")), "no such file")
            .remedy("set VISEME_GOLDEN to the folder that has it")
            .input());
    };
    let text = std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    serde_json::from_slice(&text).map_err(|error| Problem::new(file, "JSON", error.to_string()).input())
}

/// `{name: [dims]}`, each of at most 2^40 elements.
fn shapes(key: &str, listed: &Value) -> Result<BTreeMap<String, Vec<usize>>> {
    let listed = listed.as_object().ok_or_else(|| wrong(key, "names and their shapes", listed))?;
    let shape = |(name, dims): (&String, &Value)| {
        let dims: Option<Vec<usize>> = serde_json::from_value(dims.clone()).ok();
        let elements = |dims: &[usize]| dims.iter().try_fold(1usize, |all, &dim| all.checked_mul(dim));
        let believable = dims.filter(|dims| elements(dims).is_some_and(|n| n <= 1 << 40));
        let shape = believable.ok_or_else(|| wrong(key, &format!("a shape for {name}"), &listed[name]))?;
        Ok((name.clone(), shape))
    };
    listed.iter().map(shape).collect()
}

fn wrong(key: &str, expected: &str, found: &Value) -> Error {
    let mut found = found.to_string();
    if found.len() > 80 {
        found = format!("{} characters of JSON", found.len());
    }
    Problem::new(format!("config.weights.{key}"), expected, found).input()
}

/// `file`, which must be a name without a folder: what a golden file names lies beside it.
pub(crate) fn plain_name(file: &str) -> Result<&str> {
    match Path::new(file).file_name() {
        Some(name) if name == file => Ok(file),
        _ => Err(Problem::new("a file named in a golden file", "a name without a folder", file).input()),
    }
}

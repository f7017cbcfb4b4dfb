//! Golden files: inputs, outputs and inner values of a reference run, with the weights in the file, in another, or by
//! formula. Format: golden/README.md.

use crate::weights::formula::{FormulaSource, plain_name};
use crate::weights::{Dtype, Layers, Safetensors, Source, Weights};
use crate::{Error, Problem, Result};
use half::{bf16, f16};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One golden file.
pub struct Golden {
    pub path: PathBuf,
    /// What kind of case it is, such as `unet_keyframe`.
    pub case: String,
    /// Sizes, seeds and settings; null in a file without any.
    pub config: Value,
    /// The whole of a JSON file; null for safetensors.
    pub document: Value,
    tensors: Option<Arc<dyn Source>>,
    /// The file that `config.inputs_file` names.
    inputs: Option<Arc<dyn Source>>,
}

/// A tensor of a golden file.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    U8(Vec<u8>),
    I64(Vec<i64>),
}

/// How far a result is from what was expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// |got - want| / |want|; |got| where want is zero. NaN when either holds one, so ask `relative_l2 <= bar`.
    pub relative_l2: f64,
    /// Of the angle between got and want; None where what differs is counted, or one of them is zero.
    pub cosine: Option<f64>,
    /// The element with the largest difference, the first NaN before any.
    pub worst: Worst,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worst {
    pub index: usize,
    pub got: f64,
    pub want: f64,
}

impl Golden {
    pub fn open(path: &Path) -> Result<Self> {
        let subject = path.display().to_string();
        let missing = |what: &str| Problem::new(&subject, format!("a golden file with `{what}`"), "none").input();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
            let document: Value = serde_json::from_slice(&text)
                .map_err(|error| Problem::new(&subject, "JSON", error.to_string()).input())?;
            let case = document["case"].as_str().ok_or_else(|| missing("case"))?.to_owned();
            let config = document["config"].clone();
            return Ok(Self { path: path.to_owned(), case, config, document, tensors: None, inputs: None });
        }
        let tensors = Safetensors::open(path)?;
        let case = tensors.metadata("case").ok_or_else(|| missing("case"))?.to_owned();
        let config = config_of(&tensors, path)?;
        let mut golden = Self {
            path: path.to_owned(),
            case,
            config,
            document: Value::Null,
            tensors: Some(Arc::new(tensors)),
            inputs: None,
        };
        if let Some(file) = golden.config["inputs_file"].as_str() {
            golden.inputs = Some(Arc::new(Safetensors::open(&golden.beside(file)?)?));
        }
        Ok(golden)
    }

    /// Every tensor's name: `input.*`, `output.*`, `intermediate.*`, `weights.*`; sorted.
    pub fn names(&self) -> Vec<String> {
        self.tensors.as_ref().map_or_else(Vec::new, |tensors| tensors.names())
    }

    /// The names that start with `prefix`, without it.
    pub fn names_under(&self, prefix: &str) -> Vec<String> {
        self.names().iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.source(name).is_some()
    }

    pub fn input(&self, name: &str) -> Result<Array> {
        self.tensor(&format!("input.{name}"))
    }

    pub fn output(&self, name: &str) -> Result<Array> {
        self.tensor(&format!("output.{name}"))
    }

    pub fn intermediate(&self, name: &str) -> Result<Array> {
        self.tensor(&format!("intermediate.{name}"))
    }

    /// The tensor of this full name.
    pub fn tensor(&self, name: &str) -> Result<Array> {
        let Some((source, (dtype, shape))) = self.source(name).and_then(|source| Some((source, source.entry(name)?)))
        else {
            return Err(Problem::new(self.path.display().to_string(), name, "no such tensor").input());
        };
        let bytes = source.read(name)?;
        let data = match dtype {
            Dtype::F32 => Data::F32(elements(&bytes, f32::from_le_bytes)),
            Dtype::F16 => Data::F32(elements(&bytes, |b| f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => Data::F32(elements(&bytes, |b| bf16::from_le_bytes(b).to_f32())),
            Dtype::U8 | Dtype::BOOL => Data::U8(bytes.to_vec()),
            Dtype::I32 => Data::I64(elements(&bytes, |b| i64::from(i32::from_le_bytes(b)))),
            Dtype::U32 => Data::I64(elements(&bytes, |b| i64::from(u32::from_le_bytes(b)))),
            Dtype::I64 => Data::I64(elements(&bytes, i64::from_le_bytes)),
            other => {
                return Err(Problem::new(name, "f32, f16, bf16, u8, i32, u32 or i64", format!("{other:?}")).input());
            }
        };
        Ok(Array { shape, data })
    }

    /// `values` `shape` against the tensor `name`. Where `config.steps` says that the file holds every n-th element along
    /// each dimension only, the same ones are taken from `values`.
    pub fn compare(&self, name: &str, shape: &[usize], values: &[f32]) -> Result<Comparison> {
        let want = self.tensor(name)?;
        let kept = match self.steps(name)? {
            Some(steps) => every_nth(shape, values, &steps).ok_or_else(|| {
                Problem::new(name, format!("{} dimensions", steps.len()), format!("{shape:?}")).shape()
            })?,
            None => Array { shape: shape.to_vec(), data: Data::F32(values.to_vec()) },
        };
        if kept.shape != want.shape {
            return Err(Problem::new(name, format!("{:?}", want.shape), format!("{:?}", kept.shape)).shape());
        }
        compare(name, &kept.to_f32(), &want.to_f32())
    }

    fn steps(&self, name: &str) -> Result<Option<Vec<usize>>> {
        match &self.config["steps"][name] {
            Value::Null => Ok(None),
            steps => match serde_json::from_value::<Vec<usize>>(steps.clone()) {
                Ok(steps) if !steps.contains(&0) => Ok(Some(steps)),
                _ => Err(Problem::new(format!("config.steps.{name}"), "steps from 1", steps.to_string()).input()),
            },
        }
    }

    /// The network's weights: a tensor `weights.NAME` in the file, else by formula as `config.weights` says, else from the
    /// file that `config.weights_file` names.
    pub fn weights(&self) -> Result<Weights> {
        self.weights_under("weights.")
    }

    /// As [`weights`](Self::weights), with the file's own tensors under `prefix`, such as `weights_bad.`, and the formula that
    /// the config has under the same word; only for `weights.` is the other file looked at.
    pub fn weights_under(&self, prefix: &str) -> Result<Weights> {
        let mut layers: Vec<(Arc<dyn Source>, String)> = Vec::new();
        layers.extend(self.tensors.clone().map(|tensors| (tensors, prefix.to_owned())));
        let formula = &self.config[prefix.trim_end_matches('.')];
        if !formula.is_null() {
            layers.push((Arc::new(self.formula(formula)?), String::new()));
        }
        if let (Some(file), "weights.") = (self.config["weights_file"].as_str(), prefix) {
            layers.push((self.weights_of(file)?, String::new()));
        }
        Ok(Weights::from_source(Layers::new(layers)))
    }

    /// The weights in the file that `config.weights_files` names for `role`.
    pub fn weights_for(&self, role: &str) -> Result<Weights> {
        Ok(Weights::from_shared(self.weights_of(self.file_for(role)?)?))
    }

    /// The network's own configuration in that file: what a golden file has as `config.config`, any other as `config`.
    pub fn network_config_for(&self, role: &str) -> Result<Value> {
        let path = self.beside(self.file_for(role)?)?;
        let tensors = Safetensors::open(&path)?;
        let mut config = config_of(&tensors, &path)?;
        Ok(match tensors.metadata("case") {
            Some(_) => config["config"].take(),
            None => config,
        })
    }

    fn file_for(&self, role: &str) -> Result<&str> {
        let files = &self.config["weights_files"];
        files[role].as_str().ok_or_else(|| {
            Problem::new("config.weights_files", format!("a file for {role}"), files.to_string()).input()
        })
    }

    /// The weights of the golden file `file` beside this one, without those that it has from elsewhere in turn; a file
    /// that is no golden file is weights as it stands.
    fn weights_of(&self, file: &str) -> Result<Arc<dyn Source>> {
        let path = self.beside(file)?;
        let tensors = Safetensors::open(&path)?;
        if tensors.metadata("case").is_none() {
            return Ok(Arc::new(tensors));
        }
        let golden = Self::open(&path)?;
        let mut layers: Vec<(Arc<dyn Source>, String)> = vec![(Arc::new(tensors), "weights.".to_owned())];
        if !golden.config["weights"].is_null() {
            layers.push((Arc::new(golden.formula(&golden.config["weights"])?), String::new()));
        }
        Ok(Arc::new(Layers::new(layers)))
    }

    fn formula(&self, description: &Value) -> Result<FormulaSource> {
        // The lists of names stay in the golden folder, also for golden files kept elsewhere.
        let golden_folder = std::env::var_os("VISEME_GOLDEN").map(PathBuf::from);
        let own = self.path.parent().unwrap_or(Path::new(""));
        let folders: Vec<&Path> = [Some(own), golden_folder.as_deref()].into_iter().flatten().collect();
        FormulaSource::from_config(description, &folders)
    }

    fn beside(&self, file: &str) -> Result<PathBuf> {
        Ok(self.path.with_file_name(plain_name(file)?))
    }

    fn source(&self, name: &str) -> Option<&dyn Source> {
        let inputs = self.inputs.as_ref().filter(|_| name.starts_with("input."));
        let sources = [self.tensors.as_ref(), inputs];
        sources.into_iter().flatten().find(|source| source.entry(name).is_some()).map(AsRef::as_ref)
    }
}

impl Array {
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::F32(values) => values.clone(),
            Data::U8(values) => values.iter().map(|&value| f32::from(value)).collect(),
            Data::I64(values) => values.iter().map(|&value| value as f32).collect(),
        }
    }

    /// The bytes of a u8 tensor.
    pub fn to_u8(&self) -> Result<&[u8]> {
        match &self.data {
            Data::U8(values) => Ok(values),
            _ => Err(Problem::new("a golden tensor", "u8", format!("another type, {:?}", self.shape)).input()),
        }
    }

    pub fn to_i64(&self) -> Result<&[i64]> {
        match &self.data {
            Data::I64(values) => Ok(values),
            _ => Err(Problem::new("a golden tensor", "i64", format!("another type, {:?}", self.shape)).input()),
        }
    }
}

/// The configuration in a file's metadata; null where there is none.
fn config_of(tensors: &Safetensors, path: &Path) -> Result<Value> {
    let parse = |text| {
        serde_json::from_str(text).map_err(|error: serde_json::Error| {
            Problem::new(format!("{}: config", path.display()), "JSON", error.to_string()).input()
        })
    };
    tensors.metadata("config").map_or(Ok(Value::Null), parse)
}

/// `got` against `want`, which must be as long; sums in f64. `name` is for the message.
pub fn compare(name: &str, got: &[f32], want: &[f32]) -> Result<Comparison> {
    if got.len() != want.len() {
        return Err(Problem::new(name, format!("{} values", want.len()), format!("{}", got.len())).shape());
    }
    let (mut error, mut norm, mut largest) = (0f64, 0f64, -1f64);
    let (mut product, mut got_norm) = (0f64, 0f64);
    let mut worst = Worst { index: 0, got: 0.0, want: 0.0 };
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let (got, want) = (f64::from(got), f64::from(want));
        let difference = (got - want).abs();
        error += difference * difference;
        norm += want * want;
        product += got * want;
        got_norm += got * got;
        if difference > largest || (difference.is_nan() && !largest.is_nan()) {
            largest = difference;
            worst = Worst { index, got, want };
        }
    }
    let relative_l2 = if norm == 0.0 { error.sqrt() } else { (error / norm).sqrt() };
    let cosine = Some(product / (norm * got_norm).sqrt()).filter(|cosine| cosine.is_finite());
    Ok(Comparison { relative_l2, cosine, worst })
}

/// `values[::s0, ::s1, ..]`; None when the numbers of dimensions or of values do not fit.
fn every_nth(shape: &[usize], values: &[f32], steps: &[usize]) -> Option<Array> {
    if shape.len() != steps.len() || shape.iter().product::<usize>() != values.len() {
        return None;
    }
    let kept: Vec<usize> = shape.iter().zip(steps).map(|(&dim, &step)| dim.div_ceil(step)).collect();
    let source = |i: usize| {
        let (mut rest, mut from, mut stride) = (i, 0, 1);
        for d in (0..shape.len()).rev() {
            from += rest % kept[d] * steps[d] * stride;
            rest /= kept[d];
            stride *= shape[d];
        }
        values[from]
    };
    let data = Data::F32((0..kept.iter().product()).map(source).collect());
    Some(Array { shape: kept, data })
}

fn elements<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&b| value(b)).collect()
}

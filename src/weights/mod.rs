//! Weights by their published names: looked up like a path, checked as a whole before any work starts.

pub mod convert;
mod embedded;
pub mod formula;
mod pickle;
mod plan;
mod safetensors;
mod source;
mod weight_norm;

pub use self::safetensors::Safetensors;
pub use ::safetensors::Dtype;
pub use convert::{ConvertOptions, Report, convert};
pub use embedded::Embedded;
pub use plan::{Plan, Request};
pub use source::{Layers, Source};

use crate::{Problem, Result};
use half::{bf16, f16};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The largest count that a network's configuration may hold: of heads, of their channels, of distances.
pub(crate) const MOST_IN_CONFIG: u64 = 1 << 16;

/// While a load is planned, tensors up to this many elements read as zeros, larger ones as nothing.
const PLANNED_ZEROS: usize = 4096;

/// A place among named tensors, such as `model.diffusion_model.input_blocks.1`. Cheap to clone and to send.
#[derive(Clone)]
pub struct Weights {
    store: Arc<Store>,
    prefix: String,
}

struct Store {
    source: Arc<dyn Source>,
    /// What has been asked for, while a load is planned; what [`Weights::renamed`] makes shares it.
    plan: Option<Arc<Mutex<plan::Draft>>>,
}

/// A tensor's values on the host.
pub struct HostTensor<'a> {
    /// The full published name.
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values<'a>,
}

/// Raw little-endian values, row-major, perhaps unaligned.
pub enum Values<'a> {
    F32(Cow<'a, [u8]>),
    F16(Cow<'a, [u8]>),
    BF16(Cow<'a, [u8]>),
    /// The load is only planned: there are no values, and a placeholder is to be made of this tensor.
    Planned,
}

impl Weights {
    /// The weights in `path`: a `.safetensors` file, or the `.index.json` of several. Where the metadata has no `config`,
    /// one is taken from `NAME.json` beside `NAME.safetensors`, or from `config.json` for files named as on the hub.
    pub fn open(path: &Path) -> Result<Weights> {
        Ok(Self::from_source(Safetensors::open(path)?))
    }

    pub fn from_source(source: impl Source + 'static) -> Weights {
        Self::from_shared(Arc::new(source))
    }

    pub fn from_shared(source: Arc<dyn Source>) -> Weights {
        Self { store: Arc::new(Store { source, plan: None }), prefix: String::new() }
    }

    /// The place `name` below this one; `at("in_layers").at("0")` is `at("in_layers.0")`.
    pub fn at(&self, name: &str) -> Weights {
        Self { store: self.store.clone(), prefix: self.name(name) }
    }

    /// The full published name of `leaf`; of this place itself when `leaf` is empty.
    pub fn name(&self, leaf: &str) -> String {
        match (self.prefix.is_empty(), leaf.is_empty()) {
            (true, _) => leaf.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}.{leaf}", self.prefix),
        }
    }

    /// The shape of `leaf`; None when there is no such tensor, or one without a value: no layer has it, and who reads a size
    /// off a shape never reads 0.
    pub fn shape(&self, leaf: &str) -> Option<Vec<usize>> {
        self.shape_of(&self.name(leaf))
    }

    fn shape_of(&self, name: &str) -> Option<Vec<usize>> {
        self.store.source.entry(name).map(|(_, shape)| shape).filter(|shape| !shape.contains(&0))
    }

    /// Whether any tensor lies at or below `prefix`.
    pub fn has(&self, prefix: &str) -> bool {
        let full = self.name(prefix);
        self.store.source.entry(&full).is_some() || self.store.source.names().iter().any(|name| lies_at(name, &full))
    }

    /// Every full name at or below this place, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.store.source.names();
        names.retain(|name| lies_at(name, &self.prefix));
        names.sort();
        names
    }

    /// The full name and shape of every tensor at or below this place that has values, sorted.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let shape = |name: String| self.shape_of(&name).map(|shape| (name, shape));
        self.names().into_iter().filter_map(shape).collect()
    }

    /// Values in all tensors at or below this place.
    pub fn total_values(&self) -> usize {
        self.shapes().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// The tensors at or below this place, each under the name that `rule` gives for its full one; None leaves it out.
    /// Where a load is planned, one from what comes out is, too. Errors: two of one name.
    pub fn renamed(&self, rule: impl Fn(&str) -> Option<String>) -> Result<Weights> {
        let mut names = BTreeMap::new();
        for old in self.names() {
            let Some(new) = rule(&old) else { continue };
            if let Some(other) = names.insert(new.clone(), old.clone()) {
                let expected = format!("one tensor for {new}");
                return Err(Problem::new(self.origin(), expected, format!("{other} and {old}")).weights());
            }
        }
        let source = Arc::new(source::Renamed { source: self.store.source.clone(), names });
        Ok(Self { store: Arc::new(Store { source, plan: self.store.plan.clone() }), prefix: String::new() })
    }

    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.store.source.metadata(key)
    }

    /// The file, for messages.
    pub fn origin(&self) -> String {
        self.store.source.origin()
    }

    /// The tensor `leaf`, which must have `shape`, be f32, f16 or bf16, and hold finite values only. While a load is
    /// planned (see [`checked`](Self::checked)) any request succeeds, with [`Values::Planned`].
    pub fn get(&self, leaf: &str, shape: &[usize]) -> Result<HostTensor<'_>> {
        let name = self.name(leaf);
        let source = &self.store.source;
        if elements(shape).is_none() {
            return Err(Problem::new(name, "a shape that fits into memory", format!("{shape:?}")).weights());
        }
        if self.request(&name, shape) {
            return Ok(HostTensor { name, shape: shape.to_vec(), values: Values::Planned });
        }
        let dtype = plan::check(source.as_ref(), &name, shape).map_err(Problem::weights)?;
        let bytes = source.read(&name)?;
        let elements: usize = shape.iter().product();
        if bytes.len() * 8 != elements * dtype.bitsize() {
            let (expected, found) = (format!("{elements} elements of {dtype:?}"), format!("{} bytes", bytes.len()));
            return Err(Problem::new(name, expected, found).weights());
        }
        let values = match dtype {
            Dtype::F16 => Values::F16(bytes),
            Dtype::BF16 => Values::BF16(bytes),
            _ => Values::F32(bytes),
        };
        let tensor = HostTensor { name, shape: shape.to_vec(), values };
        let finite = tensor.expect_finite();
        source.unchanged()?;
        finite.map(|()| tensor)
    }
}

impl HostTensor<'_> {
    /// Whether this stands for a tensor that has not been read.
    pub fn planned(&self) -> bool {
        matches!(self.values, Values::Planned)
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as f32. Of a planned tensor: zeros up to 4096 elements, so that small tables can be computed with, and
    /// an empty list above, so that planning 1.5 billion parameters costs no memory.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        Ok(match &self.values {
            Values::F32(bytes) => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Values::F16(bytes) => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Values::BF16(bytes) => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            Values::Planned if self.len() <= PLANNED_ZEROS => vec![0.0; self.len()],
            Values::Planned => Vec::new(),
        })
    }

    /// An error that names the first NaN or infinity.
    fn expect_finite(&self) -> Result<()> {
        // A value is finite unless its exponent bits are all ones.
        let bad = match &self.values {
            Values::F32(bytes) => first(bytes, |b: [u8; 4]| !u32::from_le_bytes(b) & 0x7F80_0000 == 0),
            Values::F16(bytes) => first(bytes, |b: [u8; 2]| !u16::from_le_bytes(b) & 0x7C00 == 0),
            Values::BF16(bytes) => first(bytes, |b: [u8; 2]| !u16::from_le_bytes(b) & 0x7F80 == 0),
            Values::Planned => None,
        };
        match bad {
            None => Ok(()),
            Some(index) => {
                Err(Problem::new(&self.name, "finite values", format!("NaN or infinity at element {index}"))
                    .remedy("the file is damaged, or was saved from a run that diverged; get it again")
                    .weights())
            }
        }
    }
}

/// Elements of `shape`; None for more than any memory holds.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    const MOST: usize = 1 << 40;
    shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size)).filter(|&count| count <= MOST)
}

/// The index of the first element that is `bad`. Whole blocks are judged without a branch, which is what makes it fast.
fn first<const N: usize>(bytes: &[u8], bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    const BLOCK: usize = 4096;
    let elements = bytes.as_chunks::<N>().0;
    let (at, block) =
        elements.chunks(BLOCK).enumerate().find(|(_, block)| block.iter().fold(false, |any, &b| any | bad(b)))?;
    block.iter().position(|&b| bad(b)).map(|i| at * BLOCK + i)
}

/// Whether `name` is `place` or lies below it; everything lies below the empty place.
fn lies_at(name: &str, place: &str) -> bool {
    place.is_empty() || name.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

//! Where tensors come from: a file, a formula, or several of them one over the other.

use crate::Result;
use safetensors::Dtype;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Named tensors whose values are read one at a time.
pub trait Source: Send + Sync {
    /// Element type and shape of `name`; None when there is no such tensor.
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)>;

    fn names(&self) -> Vec<String>;

    /// The values of `name`: little-endian, row-major, with no promise of alignment.
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>>;

    fn metadata(&self, _key: &str) -> Option<&str> {
        None
    }

    /// An error once what lies behind the source is no longer what was opened.
    fn unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// The file, for messages.
    fn origin(&self) -> String {
        "these weights".to_owned()
    }
}

/// Several sources in one: the first that has a tensor or a metadata key answers for it. Each shows the names that
/// start with its prefix, without it.
pub struct Layers(Vec<(Arc<dyn Source>, String)>);

impl Layers {
    pub fn new(layers: Vec<(Arc<dyn Source>, String)>) -> Self {
        Self(layers)
    }

    /// The layer that has `name`, and what it calls it.
    fn find(&self, name: &str) -> Option<(&dyn Source, String)> {
        self.0.iter().find_map(|(source, prefix)| {
            let inner = format!("{prefix}{name}");
            source.entry(&inner).map(|_| (source.as_ref(), inner))
        })
    }
}

impl Source for Layers {
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        self.find(name).and_then(|(source, inner)| source.entry(&inner))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (source, prefix) in &self.0 {
            names
                .extend(source.names().iter().filter_map(|name| name.strip_prefix(prefix.as_str())).map(str::to_owned));
        }
        names.sort();
        names.dedup();
        names
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        match self.find(name) {
            Some((source, inner)) => source.read(&inner),
            None => Err(crate::Problem::new(name, "a tensor", "none of this name").weights()),
        }
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|(source, _)| source.metadata(key))
    }

    fn unchanged(&self) -> Result<()> {
        self.0.iter().try_for_each(|(source, _)| source.unchanged())
    }

    fn origin(&self) -> String {
        self.0.first().map_or_else(|| "no weights".to_owned(), |(source, _)| source.origin())
    }
}

/// A source whose tensors go by other names; those without a new one are not shown.
pub(super) struct Renamed {
    pub source: Arc<dyn Source>,
    /// New to old.
    pub names: BTreeMap<String, String>,
}

impl Source for Renamed {
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        self.source.entry(self.names.get(name)?)
    }

    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        match self.names.get(name) {
            Some(old) => self.source.read(old),
            None => Err(crate::Problem::new(name, "a tensor", "none of this name").weights()),
        }
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.source.metadata(key)
    }

    fn unchanged(&self) -> Result<()> {
        self.source.unchanged()
    }

    fn origin(&self) -> String {
        self.source.origin()
    }
}

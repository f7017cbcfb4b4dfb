//! Safetensors that lie in memory, such as those built into this crate.

use super::Source;
use crate::{Problem, Result};
use safetensors::{Dtype, SafeTensors};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// The tensors of a safetensors file that is part of the program.
pub struct Embedded {
    name: &'static str,
    bytes: &'static [u8],
    /// Type, shape and place in `bytes`.
    entries: BTreeMap<String, (Dtype, Vec<usize>, Range<usize>)>,
}

impl Embedded {
    /// `bytes` of the file `name`. Errors: no safetensors file.
    pub fn new(name: &'static str, bytes: &'static [u8]) -> Result<Self> {
        let (header, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|error| Problem::new(name, "a safetensors file", error.to_string()).weights())?;
        // The header's length lies in front of it in 8 bytes.
        let values = 8 + header;
        let place = |(start, end): (usize, usize)| values + start..values + end;
        let entries = metadata
            .tensors()
            .into_iter()
            .map(|(tensor, info)| (tensor, (info.dtype, info.shape.clone(), place(info.data_offsets))))
            .collect();
        Ok(Self { name, bytes, entries })
    }
}

impl Source for Embedded {
    fn entry(&self, name: &str) -> Option<(Dtype, Vec<usize>)> {
        self.entries.get(name).map(|(dtype, shape, _)| (*dtype, shape.clone()))
    }

    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let bytes = self.entries.get(name).and_then(|(_, _, place)| self.bytes.get(place.clone()));
        bytes.map(Cow::Borrowed).ok_or_else(|| Problem::new(name, "a tensor", "none of this name").weights())
    }

    fn origin(&self) -> String {
        self.name.to_owned()
    }
}

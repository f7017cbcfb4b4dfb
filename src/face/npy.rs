//! NumPy array files, which landmarks come in and go out.

use crate::{Problem, Result};

pub(super) const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// A NumPy array file, taken apart. Source: NEP 1.
pub(super) struct Npy<'a> {
    pub number: Number,
    pub shape: Vec<usize>,
    pub data: &'a [u8],
}

#[derive(Clone, Copy)]
pub(super) enum Number {
    F32,
    F64,
    I16,
    I32,
    I64,
    U8,
    U16,
}

impl Number {
    const DESCRIPTIONS: [(&'static str, Number); 7] = [
        ("<f4", Number::F32),
        ("<f8", Number::F64),
        ("<i2", Number::I16),
        ("<i4", Number::I32),
        ("<i8", Number::I64),
        ("|u1", Number::U8),
        ("<u2", Number::U16),
    ];

    pub fn size_bytes(self) -> usize {
        match self {
            Number::U8 => 1,
            Number::I16 | Number::U16 => 2,
            Number::F32 | Number::I32 => 4,
            Number::F64 | Number::I64 => 8,
        }
    }

    /// `bytes` are [`Self::size_bytes`] long.
    pub fn read(self, bytes: &[u8]) -> f32 {
        let mut raw = [0; 8];
        raw[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(raw);
        match self {
            Number::F32 => f32::from_bits(bits as u32),
            Number::F64 => f64::from_bits(bits) as f32,
            Number::I16 => f32::from(bits as i16),
            Number::I32 => bits as i32 as f32,
            Number::I64 => bits as i64 as f32,
            Number::U8 | Number::U16 => bits as f32,
        }
    }
}

impl<'a> Npy<'a> {
    pub fn parse(subject: &str, bytes: &'a [u8]) -> Result<Self> {
        let broken = |found: &str| Problem::new(subject, "a NumPy array file", found).input();
        let version = *bytes.get(NPY_MAGIC.len()).ok_or_else(|| broken("a file cut off in its header"))?;
        let length_bytes = if version == 1 { 2 } else { 4 };
        let mut length = [0; 4];
        let start = NPY_MAGIC.len() + 2;
        let field = bytes.get(start..start + length_bytes).ok_or_else(|| broken("a file cut off in its header"))?;
        length[..length_bytes].copy_from_slice(field);
        let (start, length) = (start + length_bytes, u32::from_le_bytes(length) as usize);
        let rest = &bytes[start..];
        let header = rest.get(..length).ok_or_else(|| broken("a file cut off in its header"))?;
        let header = std::str::from_utf8(header).map_err(|_| broken("a header that is no text"))?;

        let description = entry(header, "descr").and_then(|v| v.split(['\'', '"']).nth(1)).unwrap_or("no type");
        let number = Number::DESCRIPTIONS.iter().find(|(name, _)| *name == description);
        let (_, number) = number.ok_or_else(|| {
            let known = Number::DESCRIPTIONS.map(|(name, _)| name).join(", ");
            Problem::new(subject, format!("numbers of type {known}"), description)
                .remedy("save with numpy.save(file, points.astype('<f4'))")
                .input()
        })?;
        if entry(header, "fortran_order").is_none_or(|v| !v.starts_with("False")) {
            return Err(Problem::new(subject, "an array in C order", "Fortran order")
                .remedy("save with numpy.save(file, numpy.ascontiguousarray(points))")
                .input());
        }
        let shape = entry(header, "shape").and_then(|v| v.strip_prefix('(')?.split(')').next());
        let shape = shape.ok_or_else(|| broken("a header without a shape"))?;
        let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::parse);
        let shape = sizes.collect::<Result<_, _>>().map_err(|_| broken("a header with a broken shape"))?;
        Ok(Self { number: *number, shape, data: &rest[length..] })
    }
}

/// A file of `values` in f32. Source: NEP 1, version 1.0.
pub(super) fn of_f32(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", sizes.join(", "));
    // The data begin at a multiple of 64 bytes, a line break before them.
    let before = NPY_MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(64) - before;
    header = format!("{header:<width$}\n", width = padded - 1);
    let mut file = [NPY_MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file
}

/// What follows `'key':` in a header.
fn entry<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let (_, value) = header.split_once(&format!("'{key}':"))?;
    Some(value.trim_start())
}

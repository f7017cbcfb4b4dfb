//! Symmetric int8 weights with one scale per output column.

use super::on_all_cores;
use super::packed::{Raw, WeightShape};
use crate::{Problem, Result};

/// How one output column is stored: w ≈ q scale with integers q from -127 to 127, so that no weight is off by more than half
/// a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Int8 {
    pub scale: f32,
}

/// The largest scale whose 127-fold is finite.
const LARGEST: f32 = f32::from_bits((f32::MAX / 127.0).to_bits() - 1);

impl Int8 {
    /// The finest that holds all of `column`; None where a value is not finite.
    pub fn of(column: impl Iterator<Item = f32>) -> Option<Self> {
        let mut largest = 0.0f32;
        for value in column {
            if !value.is_finite() {
                return None;
            }
            largest = largest.max(value.abs());
        }
        // Devices take smaller scales for zero, and zeros need one to be divided by.
        Some(Self { scale: (largest / 127.0).clamp(f32::MIN_POSITIVE, LARGEST) })
    }

    /// The same for each column of a weight, on all cores. Errors: a value that is not finite.
    pub(super) fn of_columns(shape: WeightShape, raw: Raw<'_>, site: &str) -> Result<Vec<Self>> {
        let len = shape.column_len();
        let mut columns = vec![None; shape.columns];
        on_all_cores(&mut columns, 1, shape.len(), |index, column| {
            column.fill(Self::of((index * len..(index + 1) * len).map(|i| raw.at(i))));
        });
        match columns.iter().position(Option::is_none) {
            Some(at) => {
                let found = format!("NaN or infinity in column {at}");
                Err(Problem::new(site, "finite values", found).weights())
            }
            None => Ok(columns.into_iter().flatten().collect()),
        }
    }

    /// The integer nearest to `value` / scale.
    pub fn nearest(self, value: f32) -> i8 {
        let steps = f64::from(value) / f64::from(self.scale);
        // Towards zero, and never beyond i8.
        (steps + 0.5f64.copysign(steps)) as i8
    }

    pub fn value(self, q: i8) -> f32 {
        f32::from(q) * self.scale
    }
}

//! A device that tells which variants of its kernels have run.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use viseme::gpu::{Gpu, Kernel, Variant};
use viseme::ops::ProductKernel;

/// A device of a test's own, since tables of variants are a device's, not a test's.
pub struct Watched {
    pub gpu: Gpu,
    ran: Arc<Mutex<BTreeSet<String>>>,
}

impl Watched {
    /// `check` sees each variant too.
    pub fn new(gpu: Gpu, check: fn(&Kernel, &Variant)) -> Self {
        let ran = Arc::new(Mutex::new(BTreeSet::new()));
        let record = ran.clone();
        gpu.inspect_variants(Box::new(move |kernel, variant| {
            check(kernel, variant);
            record.lock().expect("no test failed").insert(variant.to_string());
        }));
        Self { gpu, ran }
    }

    /// Whether `kernel` has run with all of these constants, `NAME=VALUE`.
    pub fn saw(&self, kernel: &str, constants: &[String]) -> bool {
        self.ran.lock().expect("no test failed").iter().any(|variant| {
            let mut words = variant.split(' ');
            words.next() == Some(kernel) && {
                let found: Vec<&str> = words.next().unwrap_or("").split(',').collect();
                constants.iter().all(|constant| found.contains(&constant.as_str()))
            }
        })
    }

    pub fn saw_size(&self, kernel: &str, name: &str, size: usize) -> bool {
        self.saw(kernel, &[format!("{name}={size}")])
    }

    pub fn saw_product(&self, kernel: ProductKernel) -> bool {
        let Some(tile) = kernel.tile() else {
            let eights = match kernel {
                ProductKernel::Subgroup16x64 => 2,
                ProductKernel::Subgroup24x64 => 3,
                _ => 4,
            };
            return self.saw_size("gemm_subgroup", "EIGHTS", eights);
        };
        let constants = [
            format!("ROWS={}", tile.rows),
            format!("PANELS={}", tile.panels),
            format!("EACH_ROWS={}", tile.each_rows),
            format!("EACH_VECTORS={}", tile.each_vectors),
            format!("STEP={}", tile.step),
        ];
        self.saw("gemm_tiled", &constants)
    }
}

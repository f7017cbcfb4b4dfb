//! The pipelines as a library caller runs them, on small networks: what is kept, what is made, how a run goes on.

mod animate;
mod lipsync;
mod memory;
#[path = "../common/small.rs"]
mod small;

use std::path::Path;
use std::sync::OnceLock;
use viseme::gpu::Gpu;
use viseme::pipelines::resume::{Identity, WorkFolder};
use viseme::pipelines::weights::WeightSet;

/// Side of the crop.
const SIDE: u32 = 64;

fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| match Gpu::new(None) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            assert!(std::env::var_os("VISEME_REQUIRE_GPU").is_none(), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    })
    .as_ref()
}

fn weights() -> &'static WeightSet {
    static WEIGHTS: OnceLock<WeightSet> = OnceLock::new();
    WEIGHTS.get_or_init(|| WeightSet::by_formula("small networks", &small::shapes().to_string()).unwrap())
}

fn open(dir: &Path) -> WorkFolder {
    WorkFolder::open(dir, Identity::from([("job".into(), "test".into())])).unwrap()
}

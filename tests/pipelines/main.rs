//! The pipelines as a library caller runs them, on small networks: what is kept, what is made, how a run goes on.

mod animate;
mod bounded;
mod demo;
#[path = "../common/device.rs"]
mod device;
mod fast;
mod hostile;
mod lipsync;
mod memory;
mod samplers;
#[path = "../common/small.rs"]
mod small;
#[path = "../common/trained.rs"]
mod trained;

use device::gpu;
use std::path::Path;
use std::sync::OnceLock;
use viseme::pipelines::resume::{Identity, WorkFolder};
use viseme::pipelines::weights::WeightSet;

/// Side of the crop.
const SIDE: u32 = 64;

fn weights() -> &'static WeightSet {
    static WEIGHTS: OnceLock<WeightSet> = OnceLock::new();
    WEIGHTS.get_or_init(|| WeightSet::by_formula("small networks", &small::shapes().to_string()).unwrap())
}

fn open(dir: &Path) -> WorkFolder {
    WorkFolder::open(dir, Identity::from([("job".into(), "test".into())])).unwrap()
}

//! The device that tests run on.

use std::sync::OnceLock;
use viseme::gpu::Gpu;

/// What a test needs, such as a device; None, said, where it is not there. `VISEME_REQUIRE_GPU=1` makes that a failure.
pub fn there<T>(found: viseme::Result<T>) -> Option<T> {
    found
        .inspect_err(|error| {
            assert!(std::env::var_os("VISEME_REQUIRE_GPU").is_none(), "{error}");
            eprintln!("skipped: {error}");
        })
        .ok()
}

/// The device that all tests of a program share.
#[allow(dead_code)]
pub fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| there(Gpu::new(None))).as_ref()
}

//! Each measure against a case worked out by hand, and against an independent one in Python (tests/reference/make_metrics.py).

#[path = "../common/device.rs"]
mod device;

mod command;
mod mouth;
mod pictures;
mod report;

use std::path::PathBuf;
use std::sync::OnceLock;

use device::there;
use safetensors::SafeTensors;
use serde_json::Value;
use viseme::gpu::Gpu;

/// The device that all tests share, its allocations poisoned; None, said once, where there is none.
/// `VISEME_REQUIRE_GPU=1` makes that a failure.
fn gpu() -> Option<&'static Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| there(Gpu::new(None)).inspect(|gpu| gpu.poison_allocations().expect("poison"))).as_ref()
}

/// tests/fixtures/metrics.safetensors.
struct Fixture {
    bytes: Vec<u8>,
    config: Value,
}

impl Fixture {
    fn read() -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = serde_json::from_str(&header.metadata().as_ref().unwrap()["config"]).unwrap();
        Self { bytes, config }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().data().to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        bytemuck::pod_collect_to_vec(&self.bytes(name))
    }

    /// Name, height and width of each picture size.
    fn sizes(&self) -> Vec<(String, usize, usize)> {
        let size = |(name, size): (&String, &Value)| {
            let [height, width] = [0, 1].map(|i| size[i].as_u64().unwrap() as usize);
            (name.clone(), height, width)
        };
        self.config["sizes"].as_object().unwrap().iter().map(size).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.config["kinds"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap().to_string()).collect()
    }
}

fn close(case: &str, got: f64, want: f64, relative: f64) {
    assert!((got - want).abs() <= relative * want.abs(), "{case}: got {got}, want {want}");
}

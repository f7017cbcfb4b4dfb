//! The most memory that a run took, for its last line.

use std::fmt;
use viseme::gpu::{Gpu, Memory};

/// Bytes at their peak.
pub struct Peaks {
    device: Memory,
    /// Of the process, all that it shares with nobody else included; None where the system does not tell.
    process: Option<u64>,
}

impl Peaks {
    pub fn of(gpu: &Gpu) -> Self {
        Self { device: gpu.memory(), process: process_peak() }
    }

    /// Adds the fields `gpu_peak_bytes` (of live tensors and weights), `gpu_resident_peak_bytes` (freed buffers that wait for
    /// their next use and the transfers' buffers included) and `process_peak_bytes` to a JSON object.
    pub fn add_to(&self, line: &mut serde_json::Value) {
        line["gpu_peak_bytes"] = self.device.peak.into();
        line["gpu_resident_peak_bytes"] = self.resident().into();
        line["process_peak_bytes"] = self.process.into();
    }

    fn resident(&self) -> u64 {
        self.device.resident_peak + self.device.staging
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(f, "at most {} MiB on the device", mib(self.resident()))?;
        self.process.map_or(Ok(()), |bytes| write!(f, ", {} MiB in the process", mib(bytes)))
    }
}

/// `VmHWM`, the largest resident set so far.
#[cfg(target_os = "linux")]
fn process_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(not(target_os = "linux"))]
fn process_peak() -> Option<u64> {
    None
}

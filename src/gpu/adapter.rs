//! Which adapters there are, which one to use, and what it can do.

use crate::{Problem, Result};
use serde::Serialize;

/// What an adapter reports; operations choose their variants from this, never from a vendor's name.
#[derive(Debug, Clone, Serialize)]
pub struct Capabilities {
    pub name: String,
    pub backend: String,
    pub driver: String,
    /// "discrete", "integrated", "virtual", "software" or "other".
    pub kind: &'static str,
    pub software: bool,
    /// Parameters travel as immediates; without them in a uniform buffer.
    pub immediates: bool,
    pub shader_f16: bool,
    /// The size of a subgroup where it is one fixed number and subgroup operations are there.
    pub subgroup_size: Option<u32>,
    pub timestamps: bool,
    /// Sizes and types of cooperative matrices, as `MxNxK ab->cr`.
    pub cooperative_matrices: Vec<String>,
    /// Which of them the kernels multiply; None on a host program's device, whose list is out of reach.
    pub matrices: Option<Matrices>,
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    pub max_workgroup_bytes: u32,
    pub max_invocations: u32,
    pub offset_alignment: u32,
    pub storage_buffers: u32,
}

impl Capabilities {
    pub(super) fn read(info: &wgpu::AdapterInfo, features: wgpu::Features, limits: &wgpu::Limits) -> Result<Self> {
        let subgroups = features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
        let max_binding_bytes = match std::env::var("VISEME_MAX_BINDING") {
            Ok(text) => limits.max_storage_buffer_binding_size.min(parse_size(&text)?),
            Err(_) => limits.max_storage_buffer_binding_size,
        };
        Ok(Self {
            name: info.name.clone(),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            kind: kind(info.device_type),
            software: info.device_type == wgpu::DeviceType::Cpu,
            immediates: features.contains(wgpu::Features::IMMEDIATES),
            shader_f16: features.contains(wgpu::Features::SHADER_F16),
            subgroup_size: subgroups.then_some(info.subgroup_min_size),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            cooperative_matrices: Vec::new(),
            matrices: None,
            max_binding_bytes,
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            offset_alignment: limits.min_storage_buffer_offset_alignment,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
        })
    }
}

/// Square matrices of f16 that a subgroup multiplies and adds to one of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Matrices {
    /// Rows and columns of each: 16, or 8 (Metal).
    pub edge: u32,
    /// By plain loops over the same tiles, which any device with f16 in shaders can run: for tests, and to tell a fault of the
    /// tile code from one of the device.
    pub emulated: bool,
}

impl Matrices {
    /// The best of those that are listed and that `features` opened, as `VISEME_MATRICES` asks.
    pub(super) fn of(capabilities: &Capabilities, features: wgpu::Features) -> Result<Option<Self>> {
        Asked::read(&std::env::var("VISEME_MATRICES").unwrap_or_default())?.matrices(capabilities, features)
    }
}

/// What `VISEME_MATRICES` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Nothing: as the device has them, unless it is software. There they are loops, and its compiler takes minutes over them.
    Default,
    On,
    Off,
    Emulated,
}

impl Asked {
    fn read(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::Default),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            "emulated" => Ok(Self::Emulated),
            other => Err(Problem::new("VISEME_MATRICES", "on, off, emulated or nothing", format!("'{other}'")).usage()),
        }
    }

    fn matrices(self, capabilities: &Capabilities, features: wgpu::Features) -> Result<Option<Matrices>> {
        let needed =
            wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
        let listed = |edge: &u32| {
            let text = format!("{edge}x{edge}x{edge} F16->F32");
            features.contains(needed) && capabilities.cooperative_matrices.contains(&text)
        };
        match self {
            Self::Default if capabilities.software => Ok(None),
            Self::Default | Self::On => {
                Ok([16, 8].into_iter().find(listed).map(|edge| Matrices { edge, emulated: false }))
            }
            Self::Off => Ok(None),
            Self::Emulated if capabilities.shader_f16 => Ok(Some(Matrices { edge: 16, emulated: true })),
            Self::Emulated => Err(Problem::new("VISEME_MATRICES=emulated", "f16 in shaders", "a device without").gpu()),
        }
    }
}

/// Bytes from text such as `1048576`, `64K`, `1M` or `4G` (powers of 1024).
pub fn parse_size(text: &str) -> Result<u64> {
    let text = text.trim();
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: Option<f64> = digits.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
    number
        .map(|n| (n * f64::from(1u32 << shift)) as u64)
        .ok_or_else(|| Problem::new("size", "a number of bytes such as 64K, 1M or 4G", format!("'{text}'")).usage())
}

fn kind(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

fn preference(device_type: wgpu::DeviceType) -> u32 {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// All adapters of the native backends, best first, software last.
pub(super) fn adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let mut all = pollster::block_on(instance.enumerate_adapters(backends));
    all.sort_by_key(|a| preference(a.get_info().device_type));
    all
}

/// The adapter that `wanted` names (its number in the list, or part of its name, which may be a number too), or the best one.
pub(super) fn choose(wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let from_env = std::env::var("VISEME_ADAPTER").ok();
    let wanted = wanted.or(from_env.as_deref()).filter(|w| !w.is_empty());
    let mut all = adapters();
    let names: Vec<String> = all.iter().map(|a| a.get_info().name).collect();
    if names.is_empty() {
        return Err(Problem::new("GPU", "a Vulkan, Metal or DX12 device", "none")
            .remedy("install a driver; on Debian without a GPU: apt install mesa-vulkan-drivers")
            .gpu());
    }
    let index = match wanted {
        None => Some(0),
        Some(w) => named(&names, w),
    };
    match index {
        Some(i) => Ok(all.swap_remove(i)),
        None => Err(Problem::new(
            format!("adapter '{}'", wanted.unwrap_or_default()),
            "part of the name, or the number, of a device here",
            names.join(", "),
        )
        .remedy("`viseme devices` lists them")
        .gpu()),
    }
}

/// The place that `wanted` means among `names`.
fn named(names: &[String], wanted: &str) -> Option<usize> {
    let number = wanted.parse().ok().filter(|&number: &usize| number < names.len());
    number.or_else(|| names.iter().position(|name| name.to_lowercase().contains(&wanted.to_lowercase())))
}

/// A device with every feature and limit that the kernels can make use of.
#[allow(unsafe_code)]
pub(super) fn open(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue)> {
    let useful = wgpu::Features::IMMEDIATES
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP
        | wgpu::Features::PIPELINE_CACHE
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    // SAFETY: of the experimental features only cooperative matrices are asked for, and a kernel that uses them loads and
    // stores whole matrices inside its own tiles.
    let experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("viseme"),
        required_features: adapter.features() & useful,
        required_limits: adapter.limits(),
        experimental_features,
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&descriptor))
        .map_err(|e| Problem::new(adapter.get_info().name, "a device", e.to_string()).gpu())
}

/// Cooperative-matrix shapes and types as text, for the capability report.
pub(super) fn cooperative_matrices(adapter: &wgpu::Adapter) -> Vec<String> {
    if !adapter.features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return Vec::new();
    }
    let shape = |p: wgpu::CooperativeMatrixProperties| {
        format!("{}x{}x{} {:?}->{:?}", p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type)
    };
    adapter.cooperative_matrix_properties().into_iter().map(shape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(software: bool) -> Capabilities {
        Capabilities {
            name: "a device".into(),
            backend: "Vulkan".into(),
            driver: String::new(),
            kind: if software { "software" } else { "discrete" },
            software,
            immediates: true,
            shader_f16: true,
            subgroup_size: Some(32),
            timestamps: true,
            cooperative_matrices: vec!["8x8x8 F16->F32".into()],
            matrices: None,
            max_binding_bytes: 1 << 30,
            max_buffer_bytes: 1 << 30,
            max_workgroup_bytes: 32 << 10,
            max_invocations: 1024,
            offset_alignment: 32,
            storage_buffers: 16,
        }
    }

    /// Mesa 26's software device lists matrices, and compiles their kernels for minutes.
    #[test]
    fn a_software_device_takes_matrices_only_when_asked() {
        let taken = |software, asked: &str| {
            let asked = Asked::read(asked).unwrap();
            asked.matrices(&capabilities(software), wgpu::Features::all()).unwrap().map(|m| (m.edge, m.emulated))
        };
        assert_eq!(taken(true, ""), None);
        assert_eq!(taken(true, "on"), Some((8, false)));
        assert_eq!(taken(false, ""), Some((8, false)));
        assert_eq!(taken(false, "on"), Some((8, false)));
        for software in [false, true] {
            assert_eq!(taken(software, "off"), None);
            assert_eq!(taken(software, "emulated"), Some((16, true)));
        }
        assert_eq!(Asked::read("maybe").unwrap_err().exit_code(), 2);
        let without = Asked::On.matrices(&capabilities(true), wgpu::Features::empty()).unwrap();
        assert_eq!(without, None, "they cannot be had where the device did not open them");
    }

    #[test]
    fn a_number_that_is_no_place_is_part_of_a_name() {
        let names = ["NVIDIA GeForce RTX 4090", "AMD Radeon RX 7900 XTX", "llvmpipe"].map(String::from);
        for (wanted, found) in [
            ("4090", Some(0)),
            ("7900", Some(1)),
            ("1", Some(1)),
            ("2", Some(2)),
            ("radeon", Some(1)),
            ("3", None),
            ("99999999999999999999999", None),
            ("intel", None),
        ] {
            assert_eq!(named(&names, wanted), found, "{wanted}");
        }
    }
}

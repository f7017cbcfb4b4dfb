//! What a later run need not compile again, on disk: the driver's pipelines (wgpu's pipeline cache, Vulkan alone has one), and
//! the list of variants that a job used, so that the next run makes them on several threads before it needs them.
//!
//! A file of another adapter, another driver or another version of this format, or one that is damaged, counts as none.

use std::fs;
use std::path::{Path, PathBuf};

/// The files of one adapter and driver.
pub(super) struct Cache {
    folder: PathBuf,
    /// Adapter and driver, as the first lines of each file tell them.
    key: String,
    pipelines: Option<wgpu::PipelineCache>,
}

impl Cache {
    pub fn open(device: &wgpu::Device, folder: &Path) -> Self {
        let info = device.adapter_info();
        let adapter = wgpu::util::pipeline_cache_key(&info)
            .unwrap_or_else(|| format!("{:?}_{}_{}", info.backend, info.vendor, info.device));
        let key = format!("{adapter}\n{} {}", info.driver, info.driver_info.replace('\n', " "));
        let mut cache = Self { folder: folder.join(adapter), key, pipelines: None };
        if device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            cache.pipelines = Some(cache.driver_cache(device));
        }
        cache
    }

    #[allow(unsafe_code)]
    fn driver_cache(&self, device: &wgpu::Device) -> wgpu::PipelineCache {
        let data = self.read("pipelines");
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("viseme"), data: data.as_deref(), fallback: true };
        // SAFETY: the data must come from `PipelineCache::get_data`. `write` alone makes these files, from that, with adapter,
        // driver and a checksum in front, under a temporary name until they are whole; `read` gives nothing where one of them
        // is not what it was. Who forges a checksum in the user's own cache folder can replace the program as well.
        unsafe { device.create_pipeline_cache(&descriptor) }
    }

    /// To make pipelines with, on devices that have it.
    pub fn pipelines(&self) -> Option<&wgpu::PipelineCache> {
        self.pipelines.as_ref()
    }

    /// The variants that `job` used last, one a line.
    pub fn variants(&self, job: &str) -> String {
        self.read(&format!("{job}.variants")).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Keeps the driver's pipelines and, where `job` tells it, the variants it used. That it fails costs the next run some
    /// time, and this one a warning.
    pub fn save(&self, job: Option<(&str, String)>) {
        let mut files = Vec::new();
        files.extend(self.pipelines.as_ref().and_then(|cache| cache.get_data()).map(|data| ("pipelines".into(), data)));
        files.extend(job.map(|(job, variants)| (format!("{job}.variants"), variants.into_bytes())));
        for (name, data) in files {
            if !self.keep(&name, &data) {
                return;
            }
        }
    }

    /// Writes a file; a warning and false where that fails.
    pub fn keep(&self, name: &str, data: &[u8]) -> bool {
        let written = self.write(name, data);
        if let Err(error) = &written {
            let file = self.folder.join(name);
            tracing::warn!("{}: what the next run needs is not kept: {error}", file.display());
        }
        written.is_ok()
    }

    /// The first lines of every file of this adapter and driver.
    fn origin(&self) -> String {
        format!("viseme cache 1\n{}\n", self.key)
    }

    /// The first lines of a file with this content.
    fn head(&self, data: &[u8]) -> String {
        format!("{}{:016x}\n", self.origin(), checksum(data))
    }

    /// The content of a file; None where there is none, where it is another driver's or, with a warning, damaged.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.folder.join(name)).ok()?;
        let data = bytes.split_off(self.head(&[]).len().min(bytes.len()));
        let is_whole = bytes == self.head(&data).as_bytes();
        let file = self.folder.join(name);
        match (is_whole, bytes.starts_with(self.origin().as_bytes())) {
            (true, _) => return Some(data),
            (false, true) => tracing::warn!("{}: damaged, and made anew", file.display()),
            (false, false) => tracing::info!("{}: of another driver or damaged, and made anew", file.display()),
        }
        None
    }

    fn write(&self, name: &str, data: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let partial = self.folder.join(format!("{name}.{}.partial", std::process::id()));
        let written = fs::write(&partial, [self.head(data).as_bytes(), data].concat());
        let renamed = written.and_then(|()| fs::rename(&partial, self.folder.join(name)));
        if renamed.is_err() {
            let _ = fs::remove_file(&partial);
        }
        renamed
    }
}

/// FNV-1a of 64 bits: it finds damage, not intent.
fn checksum(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_and_foreign_files_count_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = |key: &str| Cache { folder: folder.path().to_path_buf(), key: key.to_string(), pipelines: None };
        let ours = cache("adapter\ndriver 1");
        assert_eq!(ours.read("file"), None);
        ours.write("file", b"content").unwrap();
        assert_eq!(ours.read("file").as_deref(), Some(&b"content"[..]));
        assert_eq!(cache("adapter\ndriver 2").read("file"), None, "another driver");

        let path = folder.path().join("file");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(ours.read("file"), None, "bit 0 of byte {at} turned");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(ours.read("file"), None, "cut after {at} bytes");
        }
        ours.write("file", b"new").unwrap();
        assert_eq!(ours.read("file").as_deref(), Some(&b"new"[..]));
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "nothing beside it");
    }
}

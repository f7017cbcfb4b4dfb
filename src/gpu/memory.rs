//! Device memory: buffers that return to a pool when they drop, with a count of what is in use and a budget.

use crate::{Error, Problem, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Device memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Held by live tensors and weights.
    pub current: u64,
    /// The most that `current` has been.
    pub peak: u64,
    /// Allocated on the device, freed buffers that wait for their next use included.
    pub resident: u64,
    pub budget: Option<u64>,
}

#[derive(Default)]
struct Ledger {
    memory: Memory,
    /// Free buffers by size.
    free: BTreeMap<u64, Vec<wgpu::Buffer>>,
}

/// Storage buffers by size. One queue runs in order, so a buffer freed on the host may serve the very next operation.
pub(super) struct Pool {
    device: wgpu::Device,
    ledger: Mutex<Ledger>,
}

/// A storage buffer that goes back to its pool on drop.
pub struct Buffer {
    raw: Option<wgpu::Buffer>,
    size: u64,
    pool: Arc<Pool>,
}

impl Buffer {
    pub(super) fn raw(&self) -> &wgpu::Buffer {
        match &self.raw {
            Some(raw) => raw,
            None => unreachable!("a buffer gives up its allocation only while it drops"),
        }
    }

    /// Bytes, a multiple of 16.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(raw) = self.raw.take() {
            let mut ledger = self.pool.lock();
            ledger.memory.current -= self.size;
            ledger.free.entry(self.size).or_default().push(raw);
        }
    }
}

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// Sizes that the pool keeps: sixteen steps per power of two, so that at most 1/16 is wasted and buffers find new users.
fn size_class(bytes: u64) -> u64 {
    let step = (bytes.max(256).next_power_of_two() / 32).max(256);
    bytes.max(1).next_multiple_of(step)
}

impl Pool {
    pub(super) fn new(device: wgpu::Device) -> Arc<Self> {
        Arc::new(Self { device, ledger: Mutex::default() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory(&self) -> Memory {
        self.lock().memory
    }

    pub(super) fn reset_peak(&self) {
        let memory = &mut self.lock().memory;
        memory.peak = memory.current;
    }

    pub(super) fn set_budget(&self, budget: Option<u64>) {
        self.lock().memory.budget = budget;
    }

    /// Gives the free buffers back to the device.
    pub(super) fn trim(&self) {
        let mut ledger = self.lock();
        let freed: u64 = ledger.free.iter().map(|(size, list)| size * list.len() as u64).sum();
        ledger.free.clear();
        ledger.memory.resident -= freed;
    }

    /// A buffer of at least `bytes` with undefined contents; `what` names the asker in errors.
    pub(super) fn allocate(self: &Arc<Self>, bytes: u64, what: &str) -> Result<Buffer> {
        let size = size_class(bytes);
        let mut ledger = self.lock();
        let reusable = ledger.free.range_mut(size..=size + size / 8).find(|(_, list)| !list.is_empty());
        if let Some((&size, list)) = reusable
            && let Some(raw) = list.pop()
        {
            return Ok(self.hand_out(&mut ledger, raw, size));
        }
        drop(ledger);
        let raw = self.create(size, what, false)?;
        Ok(self.hand_out(&mut self.lock(), raw, size))
    }

    /// A new buffer that begins with `bytes`; nothing recorded so far can see or disturb it.
    pub(super) fn upload(self: &Arc<Self>, bytes: &[u8], what: &str) -> Result<Buffer> {
        let size = size_class(bytes.len() as u64);
        let raw = self.create(size, what, true)?;
        raw.get_mapped_range_mut(..)
            .map_err(|e| Problem::new(what, "memory to fill", e.to_string()).gpu())?
            .slice(..bytes.len())
            .copy_from_slice(bytes);
        raw.unmap();
        Ok(self.hand_out(&mut self.lock(), raw, size))
    }

    fn hand_out(self: &Arc<Self>, ledger: &mut Ledger, raw: wgpu::Buffer, size: u64) -> Buffer {
        ledger.memory.current += size;
        ledger.memory.peak = ledger.memory.peak.max(ledger.memory.current);
        Buffer { raw: Some(raw), size, pool: self.clone() }
    }

    fn create(&self, size: u64, what: &str, mapped_at_creation: bool) -> Result<wgpu::Buffer> {
        let over = |memory: Memory| memory.budget.is_some_and(|budget| memory.resident + size > budget);
        if over(self.memory()) {
            self.trim();
        }
        let memory = self.memory();
        let out_of_memory = || Error::OutOfMemory {
            what: what.to_string(),
            wanted_bytes: size,
            used_bytes: memory.current,
            budget_bytes: memory.budget,
        };
        if over(memory) || size > self.device.limits().max_buffer_size {
            return Err(out_of_memory());
        }
        let scopes =
            [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation].map(|f| self.device.push_error_scope(f));
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage: USAGE, mapped_at_creation };
        let raw = self.device.create_buffer(&descriptor);
        let [memory_scope, validation_scope] = scopes;
        let invalid = pollster::block_on(validation_scope.pop());
        if pollster::block_on(memory_scope.pop()).is_some() {
            return Err(out_of_memory());
        }
        if let Some(error) = invalid {
            return Err(Problem::new(what, format!("a buffer of {size} bytes"), error.to_string()).gpu());
        }
        self.lock().memory.resident += size;
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_little() {
        for bytes in [1u64, 255, 256, 257, 4096, 4097, 100_000, 1 << 20, (1 << 20) + 1, 3_000_000_000] {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(256), "{bytes} -> {class}");
            assert!(class <= bytes + (bytes / 16).max(256), "{bytes} -> {class}");
        }
    }
}

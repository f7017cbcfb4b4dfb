//! Device memory: buffers that return to a pool when they drop, with a count of what is in use and a budget.

use crate::{Error, Problem, Result};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Device memory in bytes, as tensors and weights use it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Held by live tensors and weights.
    pub current: u64,
    /// The most that `current` has been.
    pub peak: u64,
    /// Allocated on the device, freed buffers that wait for their next use included.
    pub resident: u64,
    /// The most that `resident` has been.
    pub resident_peak: u64,
    /// Of the buffers that uploads and read-backs go through, which no tensor lives in and `resident` does not count: of a
    /// bounded size, whatever a job's length.
    pub staging: u64,
    /// Buffers that were ever allocated for tensors and weights: it stands still while freed ones serve.
    pub allocations: u64,
    pub budget: Option<u64>,
}

/// Freed buffers may take so many bytes beyond those that the live ones have not reached again since their peak: a quarter of
/// the peak, since sizes differ, and this.
const SPARE: u64 = 64 << 20;

#[derive(Default)]
struct Ledger {
    memory: Memory,
    /// Free buffers by size, the longest free first, each with the moment when it was freed.
    free: BTreeMap<u64, VecDeque<(u64, wgpu::Buffer)>>,
    /// Buffers that were ever freed.
    moment: u64,
    /// For tests: what the device has.
    device_bytes: Option<u64>,
}

impl Ledger {
    /// Gives buffers back to the device, the longest free first, until at most `most` bytes are resident or none is free.
    fn shrink(&mut self, most: u64) {
        while self.memory.resident > most {
            let oldest = self.free.iter().min_by_key(|(_, list)| list.front().map_or(u64::MAX, |(moment, _)| *moment));
            let Some(size) = oldest.map(|(size, _)| *size) else { return };
            if let Some(list) = self.free.get_mut(&size) {
                list.pop_front();
                if list.is_empty() {
                    self.free.remove(&size);
                }
            }
            self.memory.resident -= size;
        }
    }

    fn most_resident(&self) -> u64 {
        self.memory.peak + self.memory.peak / 4 + SPARE
    }
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
            ledger.moment += 1;
            let moment = ledger.moment;
            ledger.free.entry(self.size).or_default().push_back((moment, raw));
            let most = ledger.most_resident();
            ledger.shrink(most);
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
        memory.resident_peak = memory.resident;
    }

    pub(super) fn set_budget(&self, budget: Option<u64>) {
        self.lock().memory.budget = budget;
    }

    /// For tests: as if the device had no more than `bytes` for buffers.
    pub(super) fn set_device_bytes(&self, bytes: Option<u64>) {
        self.lock().device_bytes = bytes;
    }

    /// Gives the free buffers back to the device, which has them once it has done what it was told before.
    pub(super) fn trim(&self) {
        self.lock().shrink(0);
    }

    /// A buffer of at least `bytes` with undefined contents; `what` names the asker in errors.
    pub(super) fn allocate(self: &Arc<Self>, bytes: u64, what: &str) -> Result<Buffer> {
        let size = size_class(bytes);
        let mut ledger = self.lock();
        // Of a list the last freed, so that what has long been free can go.
        let reusable = ledger.free.range_mut(size..=size + size / 8).next();
        if let Some((&size, list)) = reusable
            && let Some((_, raw)) = list.pop_back()
        {
            if list.is_empty() {
                ledger.free.remove(&size);
            }
            return Ok(self.hand_out(&mut ledger, raw, size));
        }
        drop(ledger);
        let raw = self.create(size, what)?;
        Ok(self.hand_out(&mut self.lock(), raw, size))
    }

    fn hand_out(self: &Arc<Self>, ledger: &mut Ledger, raw: wgpu::Buffer, size: u64) -> Buffer {
        ledger.memory.current += size;
        ledger.memory.peak = ledger.memory.peak.max(ledger.memory.current);
        Buffer { raw: Some(raw), size, pool: self.clone() }
    }

    fn create(&self, size: u64, what: &str) -> Result<wgpu::Buffer> {
        let mut ledger = self.lock();
        if let Some(budget) = ledger.memory.budget {
            ledger.shrink(budget.saturating_sub(size));
        }
        let (memory, device_bytes) = (ledger.memory, ledger.device_bytes);
        drop(ledger);
        let out_of_memory = || Error::OutOfMemory {
            what: what.to_string(),
            wanted_bytes: size,
            used_bytes: memory.current,
            budget_bytes: memory.budget,
        };
        let over = |limit: Option<u64>| limit.is_some_and(|limit| memory.resident + size > limit);
        if over(memory.budget) || over(device_bytes) || size > self.device.limits().max_buffer_size {
            return Err(out_of_memory());
        }
        let scopes =
            [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation].map(|f| self.device.push_error_scope(f));
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage: USAGE, mapped_at_creation: false };
        let raw = self.device.create_buffer(&descriptor);
        let [memory_scope, validation_scope] = scopes;
        let invalid = pollster::block_on(validation_scope.pop());
        if pollster::block_on(memory_scope.pop()).is_some() {
            return Err(out_of_memory());
        }
        if let Some(error) = invalid {
            return Err(Problem::new(what, format!("a buffer of {size} bytes"), error.to_string()).gpu());
        }
        let memory = &mut self.lock().memory;
        memory.resident += size;
        memory.resident_peak = memory.resident_peak.max(memory.resident);
        memory.allocations += 1;
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

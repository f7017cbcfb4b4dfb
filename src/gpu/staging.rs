//! Host memory between the program and the device: buffers that are filled, copied and filled again, so that neither uploads
//! nor read-backs allocate once a job is under way.

use super::lock;
use crate::{Problem, Result};
use std::sync::{Arc, Mutex};

/// Bytes of one buffer of [`Uploads`].
const CHUNK: u64 = 4 << 20;
/// Buffers that there may be: 64 MiB in all.
const MOST_CHUNKS: usize = 16;
/// The most bytes that are read back at a time, so that with the overflow word before them they fill a power of two.
pub(super) const MOST_READ: u64 = (32 << 20) - 16;
/// Bytes that a tensor's last group of four takes: what lies behind its last element there is zero.
const GROUP: u64 = 16;

/// Buffers that uploads go through, in the order of the recording.
pub(super) struct Uploads {
    device: wgpu::Device,
    chunks: Vec<wgpu::Buffer>,
    /// Numbers of those that are mapped and empty: where the device puts those that it has read. Not the buffers themselves, which
    /// a device that is never asked again would keep.
    free: Arc<Mutex<Vec<usize>>>,
    /// Mapped and filled up to so many bytes.
    open: Option<(usize, u64)>,
    /// Mapped and full, to be handed over with the next submission.
    full: Vec<usize>,
}

/// Bytes that wait in a buffer to be copied on the device.
pub(super) struct Waiting {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    /// Of the source, not padded.
    pub len: usize,
    /// Of the copy.
    pub padded: u64,
}

impl Uploads {
    pub fn new(device: &wgpu::Device) -> Self {
        Self { device: device.clone(), chunks: Vec::new(), free: Arc::default(), open: None, full: Vec::new() }
    }

    /// As many of the first of `bytes` as fit one buffer, padded with zeros to a group of sixteen; None where all buffers are on
    /// their way.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<Option<Waiting>> {
        if self.open.is_none() {
            self.open = self.next_chunk()?.map(|chunk| (chunk, 0));
        }
        let Some((chunk, used)) = &mut self.open else { return Ok(None) };
        let (buffer, offset) = (&self.chunks[*chunk], *used);
        let len = bytes.len().min((CHUNK - offset) as usize);
        let padded = (len as u64).next_multiple_of(GROUP);
        let mut view = buffer.get_mapped_range_mut(offset..offset + padded).map_err(|error| failed(&error))?;
        view.slice(..len).copy_from_slice(&bytes[..len]);
        view.slice(len..).copy_from_slice(&[0; GROUP as usize][..padded as usize - len]);
        drop(view);
        let waiting = Waiting { buffer: buffer.clone(), offset, len, padded };
        *used = offset + padded;
        if *used >= CHUNK {
            self.full.extend(self.open.take().map(|(chunk, _)| chunk));
        }
        Ok(Some(waiting))
    }

    fn next_chunk(&mut self) -> Result<Option<usize>> {
        let free = || lock(&self.free).pop();
        // Those that the device has read come back when it is asked: better one of them than one more.
        let chunk = free().or_else(|| {
            let _ = self.device.poll(wgpu::PollType::Poll);
            free()
        });
        if chunk.is_some() {
            return Ok(chunk);
        }
        if self.chunks.len() == MOST_CHUNKS {
            return Ok(None);
        }
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        self.chunks.push(create(&self.device, "uploads", CHUNK, usage, true)?);
        Ok(Some(self.chunks.len() - 1))
    }

    /// Bytes that wait for the next submission, whole buffers of them.
    pub fn waiting(&self) -> u64 {
        self.full.len() as u64 * CHUNK
    }

    /// Ends the filling of what the next submission copies from; [`Uploads::hand_over`] follows it.
    pub fn close(&mut self) {
        if self.open.is_some_and(|(_, used)| used > 0) {
            self.full.extend(self.open.take().map(|(chunk, _)| chunk));
        }
        self.full.iter().for_each(|&chunk| self.chunks[chunk].unmap());
    }

    /// Has what was submitted come back once the device has read it.
    pub fn hand_over(&mut self) {
        for chunk in self.full.drain(..) {
            let free = self.free.clone();
            self.chunks[chunk].map_async(wgpu::MapMode::Write, .., move |mapped| {
                // Not on a lost device, which every later call reports.
                if mapped.is_ok() {
                    lock(&free).push(chunk);
                }
            });
        }
    }

    pub fn bytes(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK
    }
}

/// The buffer that is read back through, as large as the largest read so far, [`MOST_READ`] at most.
#[derive(Default)]
pub(super) struct ReadBack {
    buffer: Option<wgpu::Buffer>,
}

impl ReadBack {
    /// The buffer with room for `bytes`, to be copied into.
    pub fn room(&mut self, device: &wgpu::Device, bytes: u64) -> Result<wgpu::Buffer> {
        if let Some(buffer) = self.buffer.as_ref().filter(|buffer| buffer.size() >= bytes) {
            return Ok(buffer.clone());
        }
        self.buffer = None;
        let size = bytes.next_power_of_two().max(64 << 10);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let buffer = create(device, "read-back", size, usage, false)?;
        Ok(self.buffer.insert(buffer).clone())
    }

    /// Forgets the buffer, whose state a failed read leaves unknown.
    pub fn forget(&mut self) {
        self.buffer = None;
    }

    pub fn bytes(&self) -> u64 {
        self.buffer.as_ref().map_or(0, wgpu::Buffer::size)
    }
}

fn create(
    device: &wgpu::Device,
    what: &'static str,
    size: u64,
    usage: wgpu::BufferUsages,
    mapped_at_creation: bool,
) -> Result<wgpu::Buffer> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let descriptor = wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation };
    let buffer = device.create_buffer(&descriptor);
    match pollster::block_on(scope.pop()) {
        None => Ok(buffer),
        Some(_) => Err(crate::Error::OutOfMemory {
            what: what.to_string(),
            wanted_bytes: size,
            used_bytes: 0,
            budget_bytes: None,
        }),
    }
}

fn failed(error: &dyn std::fmt::Display) -> crate::Error {
    Problem::new("upload", "memory to fill", error.to_string()).gpu()
}

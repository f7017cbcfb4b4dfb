//! Records dispatches and copies into the open command encoder and submits them in bounded batches.

use super::kernel::{Parameters, Pipeline};
use crate::{Error, Problem, Result};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The work of a dispatch, for batching, benches and `--profile`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    pub flops: f64,
    pub bytes: f64,
}

/// GPU time of everything between [`Gpu::start_profile`](super::Gpu::start_profile) and its end.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// By kernel, longest first.
    pub rows: Vec<ProfileRow>,
    /// From start to end, the host's time and the device's idle time included.
    pub wall: Duration,
}

/// GPU time of a kernel.
#[derive(Debug, Clone, Default)]
pub struct ProfileRow {
    pub kernel: String,
    pub calls: u64,
    pub time: Duration,
    pub flops: f64,
    pub bytes: f64,
}

/// One tensor of a dispatch: a buffer, where it starts and how many bytes to bind.
pub(super) struct Bound<'a> {
    pub buffer: &'a wgpu::Buffer,
    pub offset: u64,
    pub size: u64,
}

pub(super) struct Dispatch<'a> {
    pub kernel: &'static str,
    pub site: Option<std::sync::Arc<str>>,
    pub pipeline: &'a Pipeline,
    pub params: &'a [u8],
    pub bound: &'a [Bound<'a>],
    pub groups: [u32; 3],
    pub work: Work,
}

/// Dispatches and estimated work that one submission may hold, so that no submission occupies a device for long.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimit {
    pub dispatches: usize,
    pub flops: f64,
}

/// Submissions that may be under way before recording waits for the oldest.
const IN_FLIGHT: usize = 3;
/// Uploads that may wait for the next submission: beyond, they start at once, beside what the host reads next.
const UPLOADS_AT_ONCE: u64 = 128 << 20;
/// Timestamp pairs of one profiled submission (two queries each; 4096 is WebGPU's limit).
const TIMED: usize = 1024;
const UNIFORM_STRIDE: usize = 256;
pub(super) const NO_OVERFLOW: u32 = u32::MAX;

pub(super) struct Recorder {
    device: wgpu::Device,
    queue: wgpu::Queue,
    parameters: Parameters,
    uniform_layout: wgpu::BindGroupLayout,
    limit: BatchLimit,
    encoder: Option<wgpu::CommandEncoder>,
    /// Belongs to `encoder` and ends before it finishes.
    pass: Option<wgpu::ComputePass<'static>>,
    recorded: usize,
    flops: f64,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    /// Bytes uploaded since the last submission.
    uploaded: u64,
    uniforms: Vec<u8>,
    uniform_buffer: Option<(wgpu::Buffer, wgpu::BindGroup)>,
    /// Holds the smallest number of an operation that left the range of f16.
    pub overflow: wgpu::Buffer,
    /// Names of the operations recorded since the last look at `overflow`.
    operations: Vec<(&'static str, Option<std::sync::Arc<str>>)>,
    profiler: Option<Profiler>,
    /// Of everything recorded so far.
    pub total: Work,
}

struct Profiler {
    queries: wgpu::QuerySet,
    timed: Vec<(&'static str, Work)>,
    rows: HashMap<&'static str, ProfileRow>,
    start: Instant,
}

impl Recorder {
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        parameters: Parameters,
        uniform_layout: &wgpu::BindGroupLayout,
        limit: BatchLimit,
    ) -> Self {
        let overflow = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("overflow"),
            size: 16,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&overflow, 0, bytemuck::bytes_of(&[NO_OVERFLOW; 4]));
        Self {
            device: device.clone(),
            queue: queue.clone(),
            parameters,
            uniform_layout: uniform_layout.clone(),
            limit,
            encoder: None,
            pass: None,
            recorded: 0,
            flops: 0.0,
            in_flight: VecDeque::new(),
            uploaded: 0,
            uniforms: Vec::new(),
            uniform_buffer: None,
            overflow,
            operations: Vec::new(),
            profiler: None,
            total: Work::default(),
        }
    }

    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let device = &self.device;
        self.encoder
            .get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None }))
    }

    pub fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<()> {
        let overflow = self.overflow.clone();
        let mut entries: Vec<wgpu::BindGroupEntry<'_>> = Vec::with_capacity(dispatch.bound.len() + 1);
        for (index, bound) in dispatch.bound.iter().enumerate() {
            entries.push(wgpu::BindGroupEntry {
                binding: index as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: bound.buffer,
                    offset: bound.offset,
                    size: std::num::NonZeroU64::new(bound.size),
                }),
            });
        }
        if dispatch.pipeline.reports_overflow {
            entries
                .push(wgpu::BindGroupEntry { binding: entries.len() as u32, resource: overflow.as_entire_binding() });
        }
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.kernel),
            layout: &dispatch.pipeline.layout,
            entries: &entries,
        });

        let mut params = dispatch.params.to_vec();
        params.extend_from_slice(&(self.operations.len() as u32).to_le_bytes());
        self.operations.push((dispatch.kernel, dispatch.site.clone()));

        let uniform = match self.parameters {
            Parameters::Immediate => None,
            Parameters::Uniform => Some(self.uniform(&params)),
        };
        self.begin_pass(dispatch.kernel, dispatch.work);
        if let Some(pass) = &mut self.pass {
            pass.set_pipeline(&dispatch.pipeline.raw);
            pass.set_bind_group(0, &bind_group, &[]);
            match uniform {
                None => pass.set_immediates(0, &params),
                Some((group, offset)) => pass.set_bind_group(1, &group, &[offset]),
            }
            let [x, y, z] = dispatch.groups;
            pass.dispatch_workgroups(x, y, z);
        }
        if self.profiler.is_some() {
            self.pass = None;
        }
        self.recorded += 1;
        self.total.flops += dispatch.work.flops;
        self.total.bytes += dispatch.work.bytes;
        self.flops += dispatch.work.flops.max(dispatch.work.bytes);
        let timed_full = self.profiler.as_ref().is_some_and(|p| p.timed.len() >= TIMED);
        let uniforms_full = self.uniforms.len() >= self.limit.dispatches * UNIFORM_STRIDE;
        if self.recorded >= self.limit.dispatches || self.flops >= self.limit.flops || timed_full || uniforms_full {
            self.submit()?;
        }
        Ok(())
    }

    /// Opens a pass unless one is open; while profiling each dispatch has its own, timed at both ends.
    fn begin_pass(&mut self, kernel: &'static str, work: Work) {
        if self.pass.is_some() {
            return;
        }
        let queries = self.profiler.as_mut().map(|profiler| {
            profiler.timed.push((kernel, work));
            (profiler.queries.clone(), 2 * (profiler.timed.len() as u32 - 1))
        });
        let timestamp_writes = queries.as_ref().map(|(set, first)| wgpu::ComputePassTimestampWrites {
            query_set: set,
            beginning_of_pass_write_index: Some(*first),
            end_of_pass_write_index: Some(first + 1),
        });
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        let pass = self.encoder().begin_compute_pass(&descriptor).forget_lifetime();
        self.pass = Some(pass);
    }

    /// A slot for `params` in this batch's uniform buffer, written just before the batch is submitted.
    fn uniform(&mut self, params: &[u8]) -> (wgpu::BindGroup, u32) {
        let size = (self.limit.dispatches + 1) * UNIFORM_STRIDE;
        if self.uniform_buffer.is_none() {
            let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("parameters"),
                size: size as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &buffer,
                offset: 0,
                size: std::num::NonZeroU64::new(UNIFORM_STRIDE as u64),
            });
            let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("parameters"),
                layout: &self.uniform_layout,
                entries: &[wgpu::BindGroupEntry { binding: 0, resource }],
            });
            self.uniform_buffer = Some((buffer, group));
        }
        let offset = self.uniforms.len();
        self.uniforms.extend_from_slice(params);
        self.uniforms.resize(offset + UNIFORM_STRIDE, 0);
        match &self.uniform_buffer {
            Some((_, group)) => (group.clone(), offset as u32),
            None => unreachable!("made above"),
        }
    }

    pub fn copy(&mut self, from: &wgpu::Buffer, from_offset: u64, to: &wgpu::Buffer, to_offset: u64, size: u64) {
        self.pass = None;
        self.encoder().copy_buffer_to_buffer(from, from_offset, to, to_offset, size);
        self.recorded += 1;
    }

    pub fn clear(&mut self, buffer: &wgpu::Buffer, offset: u64, size: u64) {
        self.pass = None;
        self.encoder().clear_buffer(buffer, offset, Some(size));
        self.recorded += 1;
    }

    /// Hands what is recorded to the device; waits for an earlier batch when several are under way.
    pub fn submit(&mut self) -> Result<()> {
        self.pass = None;
        let Some(mut encoder) = self.encoder.take() else { return Ok(()) };
        if !self.uniforms.is_empty()
            && let Some((buffer, _)) = &self.uniform_buffer
        {
            self.queue.write_buffer(buffer, 0, &self.uniforms);
            self.uniforms.clear();
        }
        let timed = match &self.profiler {
            Some(profiler) if !profiler.timed.is_empty() => {
                let count = 2 * profiler.timed.len() as u32;
                let size = u64::from(count) * 8;
                let resolved = self.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size,
                    usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                    mapped_at_creation: false,
                });
                encoder.resolve_query_set(&profiler.queries, 0..count, &resolved, 0);
                let staging = staging(&self.device, size);
                encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, size);
                Some(staging)
            }
            _ => None,
        };
        self.recorded = 0;
        self.flops = 0.0;
        self.queue(Some(encoder.finish()))?;
        if let Some(staging) = timed {
            self.collect_times(&staging)?;
        }
        Ok(())
    }

    /// `commands` after all that was submitted and uploaded before.
    fn queue(&mut self, commands: Option<wgpu::CommandBuffer>) -> Result<()> {
        self.uploaded = 0;
        self.in_flight.push_back(self.queue.submit(commands));
        while self.in_flight.len() > IN_FLIGHT {
            if let Some(oldest) = self.in_flight.pop_front() {
                wait(&self.device, Some(oldest))?;
            }
        }
        Ok(())
    }

    /// Counts `bytes` of an upload, and lets the device begin with those that wait once there are many: they need no recorded
    /// operation, and what is recorded still comes after them.
    pub fn uploaded(&mut self, bytes: u64) -> Result<()> {
        self.uploaded += bytes;
        if self.uploaded < UPLOADS_AT_ONCE {
            return Ok(());
        }
        self.queue(None)
    }

    /// The last submission, which all that was recorded before belongs to or comes before.
    pub fn mark(&mut self) -> Result<Option<wgpu::SubmissionIndex>> {
        self.submit()?;
        Ok(self.in_flight.back().cloned())
    }

    pub fn wait_for(&mut self, submission: wgpu::SubmissionIndex) -> Result<()> {
        wait(&self.device, Some(submission))
    }

    fn collect_times(&mut self, staging: &wgpu::Buffer) -> Result<()> {
        let bytes = map(&self.device, staging)?;
        let period_ns = f64::from(self.queue.get_timestamp_period());
        let Some(profiler) = &mut self.profiler else { return Ok(()) };
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        for ((kernel, work), pair) in profiler.timed.drain(..).zip(ticks.chunks_exact(2)) {
            let row = profiler
                .rows
                .entry(kernel)
                .or_insert_with(|| ProfileRow { kernel: kernel.to_string(), ..Default::default() });
            row.calls += 1;
            row.time += Duration::from_nanos((pair[1].saturating_sub(pair[0]) as f64 * period_ns) as u64);
            row.flops += work.flops;
            row.bytes += work.bytes;
        }
        Ok(())
    }

    /// Submits and waits until the device is idle.
    pub fn wait(&mut self) -> Result<()> {
        self.submit()?;
        self.in_flight.clear();
        wait(&self.device, None)
    }

    /// `size` bytes of `buffer`, after everything recorded before; an f16 overflow since the last read is an error.
    pub fn read(&mut self, buffer: &wgpu::Buffer, offset: u64, size: u64) -> Result<Vec<u8>> {
        let data = staging(&self.device, size.next_multiple_of(4).max(4));
        self.copy(buffer, offset, &data, 0, size.next_multiple_of(4));
        let status = staging(&self.device, 4);
        let overflow = self.overflow.clone();
        self.copy(&overflow, 0, &status, 0, 4);
        self.wait()?;
        let first: Vec<u32> = bytemuck::pod_collect_to_vec(&map(&self.device, &status)?);
        let operations = std::mem::take(&mut self.operations);
        if let Some(&number) = first.first()
            && number != NO_OVERFLOW
        {
            self.queue.write_buffer(&self.overflow, 0, bytemuck::bytes_of(&NO_OVERFLOW));
            let operation = match operations.get(number as usize) {
                Some((kernel, Some(site))) => format!("{site} ({kernel})"),
                Some((kernel, None)) => kernel.to_string(),
                None => format!("operation {number}"),
            };
            return Err(Error::Overflow { operation });
        }
        let mut bytes = map(&self.device, &data)?;
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    pub fn start_profile(&mut self) -> Result<()> {
        self.wait()?;
        let queries = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * TIMED as u32,
        });
        self.profiler = Some(Profiler { queries, timed: Vec::new(), rows: HashMap::new(), start: Instant::now() });
        Ok(())
    }

    /// The profile so far; profiling ends.
    pub fn stop_profile(&mut self) -> Result<Profile> {
        self.wait()?;
        let Some(profiler) = self.profiler.take() else { return Ok(Profile::default()) };
        let mut rows: Vec<ProfileRow> = profiler.rows.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.time));
        Ok(Profile { rows, wall: profiler.start.elapsed() })
    }
}

fn staging(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("read-back"),
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

fn wait(device: &wgpu::Device, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
    device
        .poll(wgpu::PollType::Wait { submission_index, timeout: None })
        .map(|_| ())
        .map_err(|e| Problem::new("device", "to finish its work", e.to_string()).gpu())
}

fn map(device: &wgpu::Device, buffer: &wgpu::Buffer) -> Result<Vec<u8>> {
    let failed = |found: String| Problem::new("read-back", "mapped memory", found).gpu();
    let (send, receive) = std::sync::mpsc::channel();
    buffer.map_async(wgpu::MapMode::Read, .., move |result| {
        let _ = send.send(result);
    });
    wait(device, None)?;
    match receive.try_recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("no answer from the device".to_string())),
    }
    let bytes = buffer.get_mapped_range(..).map_err(|e| failed(e.to_string()))?.to_vec();
    buffer.unmap();
    Ok(bytes)
}

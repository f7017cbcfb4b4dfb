//! Records dispatches and copies into the open command encoder and submits them in bounded batches.

use super::kernel::{Parameters, Pipeline};
use super::staging::{MOST_READ, ReadBack, Uploads};
use crate::{Error, Problem, Result};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The work of a dispatch, for batching, benches and `--profile`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    pub flops: f64,
    pub bytes: f64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl std::ops::Mul<f64> for Work {
    type Output = Self;

    fn mul(self, share: f64) -> Self {
        Self { flops: self.flops * share, bytes: self.bytes * share }
    }
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
    pub site: Option<Arc<str>>,
    pub pipeline: &'a Pipeline,
    pub params: &'a [u8],
    pub bound: &'a [Bound<'a>],
    pub groups: [u32; 3],
    /// Workgroups of the same operation that earlier dispatches ran.
    pub first_group: u32,
    pub work: Work,
}

/// What a device does in a second: products in f16 and copies, each alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub flops: f64,
    pub bytes: f64,
}

impl Rate {
    /// Taken for every device until its own is measured: less than the slowest that can be of use.
    pub(super) const LEAST: Self = Self { flops: 4e9, bytes: 1e9 };

    /// What `work` takes at this rate, arithmetic and memory one after the other.
    pub fn seconds(self, work: Work) -> f64 {
        work.flops / self.flops + work.bytes / self.bytes
    }
}

/// The longest that a dispatch, and a submission, may take at a device's rate: a desktop's GPU watchdog ends what takes seconds,
/// and whoever cancels a job waits for what is under way.
pub const LONGEST_S: f64 = 0.25;

/// What is told to a [`Counter`].
#[derive(Debug, Clone)]
pub enum Counted {
    Dispatch {
        kernel: &'static str,
        site: Option<Arc<str>>,
        work: Work,
    },
    Copy(Work),
    /// All that was told since the last one.
    Submission(Work),
}

/// Sees work in the place of the device.
pub type Counter = Box<dyn FnMut(Counted) + Send>;

/// Dispatches of one submission.
const MOST_DISPATCHES: usize = 512;
/// Submissions that may be under way before recording waits for the oldest.
const IN_FLIGHT: usize = 2;
/// Uploads that may wait for the next submission: beyond, they start at once, beside what the host reads next.
const UPLOADS_AT_ONCE: u64 = 16 << 20;
/// Timestamp pairs of one profiled submission (two queries each; 4096 is WebGPU's limit).
const TIMED: usize = 1024;
const UNIFORM_STRIDE: usize = 256;
pub(super) const NO_OVERFLOW: u32 = u32::MAX;

pub(super) struct Recorder {
    device: wgpu::Device,
    queue: wgpu::Queue,
    parameters: Parameters,
    uniform_layout: wgpu::BindGroupLayout,
    pub rate: Rate,
    encoder: Option<wgpu::CommandEncoder>,
    /// Belongs to `encoder` and ends before it finishes.
    pass: Option<wgpu::ComputePass<'static>>,
    recorded: usize,
    /// Of what is recorded since the last submission.
    pending: Work,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    uploads: Uploads,
    read_back: ReadBack,
    counter: Option<Counter>,
    uniforms: Vec<u8>,
    uniform_buffer: Option<(wgpu::Buffer, wgpu::BindGroup)>,
    /// Holds the smallest number of an operation that left the range of f16.
    pub overflow: wgpu::Buffer,
    /// Names of the operations recorded since the last look at `overflow`.
    operations: Vec<(&'static str, Option<Arc<str>>)>,
    profiler: Option<Profiler>,
    /// Of everything recorded so far.
    pub total: Work,
    pub dispatches: u64,
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
            rate: Rate::LEAST,
            encoder: None,
            pass: None,
            recorded: 0,
            pending: Work::default(),
            in_flight: VecDeque::new(),
            uploads: Uploads::new(device),
            read_back: ReadBack::default(),
            counter: None,
            uniforms: Vec::new(),
            uniform_buffer: None,
            overflow,
            operations: Vec::new(),
            profiler: None,
            total: Work::default(),
            dispatches: 0,
        }
    }

    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let device = &self.device;
        self.encoder
            .get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None }))
    }

    /// Makes room for `work` in the open submission, which ends before it where both together would take too long.
    fn admit(&mut self, work: Work) -> Result<()> {
        if self.recorded > 0 && self.rate.seconds(self.pending + work) > LONGEST_S { self.submit() } else { Ok(()) }
    }

    /// Counts `work` as recorded.
    fn admitted(&mut self, work: Work) -> Result<()> {
        self.recorded += 1;
        self.pending = self.pending + work;
        let timed_full = self.profiler.as_ref().is_some_and(|p| p.timed.len() >= TIMED);
        if self.recorded >= MOST_DISPATCHES || timed_full { self.submit() } else { Ok(()) }
    }

    pub fn count_in(&mut self, counter: Counter) {
        self.counter = Some(counter);
    }

    /// Tells the counter, where there is one, of a dispatch that is then not to be recorded.
    pub fn is_counted(&mut self, kernel: &'static str, site: Option<&Arc<str>>, work: Work) -> Result<bool> {
        if self.counter.is_none() {
            return Ok(false);
        }
        self.admit(work)?;
        self.tell(Counted::Dispatch { kernel, site: site.cloned(), work });
        self.admitted(work)?;
        Ok(true)
    }

    fn tell(&mut self, counted: Counted) {
        if let Some(counter) = &mut self.counter {
            counter(counted);
        }
    }

    pub fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<()> {
        self.admit(dispatch.work)?;
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
        params.extend_from_slice(bytemuck::bytes_of(&[self.operations.len() as u32, dispatch.first_group]));
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
        self.total = self.total + dispatch.work;
        self.dispatches += 1;
        self.admitted(dispatch.work)
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
        let size = MOST_DISPATCHES * UNIFORM_STRIDE;
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

    /// Records a copy in as many pieces as the time that each may take asks for.
    pub fn copy(
        &mut self,
        from: &wgpu::Buffer,
        from_offset: u64,
        to: &wgpu::Buffer,
        to_offset: u64,
        size: u64,
    ) -> Result<()> {
        let most = (self.rate.bytes * LONGEST_S / 2.0) as u64 / 256 * 256;
        for start in (0..size).step_by(most.max(256) as usize) {
            let part = most.max(256).min(size - start);
            let work = Work { flops: 0.0, bytes: 2.0 * part as f64 };
            self.admit(work)?;
            if self.counter.is_some() {
                self.tell(Counted::Copy(work));
            } else {
                self.pass = None;
                self.encoder().copy_buffer_to_buffer(from, from_offset + start, to, to_offset + start, part);
            }
            self.admitted(work)?;
        }
        Ok(())
    }

    pub fn clear(&mut self, buffer: &wgpu::Buffer, offset: u64, size: u64) -> Result<()> {
        let work = Work { flops: 0.0, bytes: size as f64 };
        self.admit(work)?;
        if self.counter.is_some() {
            self.tell(Counted::Copy(work));
        } else {
            self.pass = None;
            self.encoder().clear_buffer(buffer, offset, Some(size));
        }
        self.admitted(work)
    }

    /// Records that `buffer` begins with `bytes`, padded with zeros to a group of sixteen.
    pub fn upload(&mut self, bytes: &[u8], buffer: &wgpu::Buffer) -> Result<()> {
        if self.counter.is_some() {
            return Ok(());
        }
        let mut start = 0;
        while start < bytes.len() {
            match self.uploads.fill(&bytes[start..])? {
                Some(waiting) => {
                    self.copy(&waiting.buffer, waiting.offset, buffer, start as u64, waiting.padded)?;
                    start += waiting.len;
                }
                None => {
                    self.submit()?;
                    let Some(oldest) = self.in_flight.pop_front() else {
                        return Err(Problem::new("upload", "a buffer that the device is done with", "none").gpu());
                    };
                    wait(&self.device, Some(oldest))?;
                }
            }
        }
        if self.uploads.waiting() >= UPLOADS_AT_ONCE { self.submit() } else { Ok(()) }
    }

    /// Bytes of the buffers between the program and the device.
    pub fn staging_bytes(&self) -> u64 {
        self.uploads.bytes() + self.read_back.bytes()
    }

    /// Hands what is recorded to the device; waits for an earlier batch when several are under way.
    pub fn submit(&mut self) -> Result<()> {
        self.recorded = 0;
        let pending = std::mem::take(&mut self.pending);
        if self.counter.is_some() {
            self.tell(Counted::Submission(pending));
            return Ok(());
        }
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
        self.uploads.close();
        self.in_flight.push_back(self.queue.submit(Some(encoder.finish())));
        self.uploads.hand_over();
        while self.in_flight.len() > IN_FLIGHT {
            if let Some(oldest) = self.in_flight.pop_front() {
                wait(&self.device, Some(oldest))?;
            }
        }
        if let Some(staging) = timed {
            self.collect_times(&staging)?;
        }
        Ok(())
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
        let ticks: Vec<u64> = map(&self.device, staging, staging.size(), bytemuck::pod_collect_to_vec)?;
        let period_ns = f64::from(self.queue.get_timestamp_period());
        let Some(profiler) = &mut self.profiler else { return Ok(()) };
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
        let mut bytes = Vec::with_capacity(size as usize);
        loop {
            let start = bytes.len() as u64;
            let part = MOST_READ.min(size - start);
            let read = self.read_part(buffer, offset + start, part);
            if read.is_err() {
                self.read_back.forget();
            }
            bytes.extend(read?);
            if bytes.len() as u64 >= size {
                return Ok(bytes);
            }
        }
    }

    fn read_part(&mut self, buffer: &wgpu::Buffer, offset: u64, size: u64) -> Result<Vec<u8>> {
        if self.counter.is_some() {
            return Ok(vec![0; size as usize]);
        }
        // Behind the overflow word.
        const DATA: u64 = 16;
        let padded = size.next_multiple_of(4);
        let staging = self.read_back.room(&self.device, DATA + padded)?;
        let overflow = self.overflow.clone();
        self.copy(&overflow, 0, &staging, 0, 4)?;
        if padded > 0 {
            self.copy(buffer, offset, &staging, DATA, padded)?;
        }
        self.wait()?;
        let (first, bytes) = map(&self.device, &staging, DATA + padded, |mapped| {
            let first = u32::from_le_bytes([mapped[0], mapped[1], mapped[2], mapped[3]]);
            (first, mapped[DATA as usize..][..size as usize].to_vec())
        })?;
        let operations = std::mem::take(&mut self.operations);
        if first == NO_OVERFLOW {
            return Ok(bytes);
        }
        self.queue.write_buffer(&self.overflow, 0, bytemuck::bytes_of(&NO_OVERFLOW));
        let operation = match operations.get(first as usize) {
            Some((kernel, Some(site))) => format!("{site} ({kernel})"),
            Some((kernel, None)) => kernel.to_string(),
            None => format!("operation {first}"),
        };
        Err(Error::Overflow { operation })
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

/// What `look` makes of the first `size` bytes of `buffer`, once the device is idle.
fn map<T>(device: &wgpu::Device, buffer: &wgpu::Buffer, size: u64, look: impl FnOnce(&[u8]) -> T) -> Result<T> {
    let failed = |found: String| Problem::new("read-back", "mapped memory", found).gpu();
    let (send, receive) = std::sync::mpsc::channel();
    buffer.map_async(wgpu::MapMode::Read, ..size, move |result| {
        let _ = send.send(result);
    });
    wait(device, None)?;
    match receive.try_recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("no answer from the device".to_string())),
    }
    let seen = look(&buffer.get_mapped_range(..size).map_err(|e| failed(e.to_string()))?);
    buffer.unmap();
    Ok(seen)
}

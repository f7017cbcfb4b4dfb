//! The device: adapter and capabilities, memory, kernels, recording and read-back.
//! Nothing here knows what a convolution is.

mod adapter;
mod cache;
mod kernel;
mod memory;
mod recorder;
mod staging;

pub use adapter::{Capabilities, Matrices, parse_size};
pub use kernel::{Access, Compilation, Editor, Elem, Expanded, Inspector, Kernel, Parameters, Variant, expand};
pub use memory::{Buffer, Memory};
pub use recorder::{Counted, Counter, LONGEST_S, Profile, ProfileRow, Rate, Work};

use crate::{Error, Problem, Result};
use cache::Cache;
use kernel::{Pipelines, Preparation};
use memory::Pool;
use recorder::{Bound, Dispatch, Recorder};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// A handle to one device with its memory, its kernels and the open recording. Cheap to clone, `Send + Sync`.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    /// Ends the work of this handle and of the tensors made through it, not that of others.
    cancel: Cancel,
}

/// Stops a run, from any thread: what it has handed to the device is finished, a second or two at most, and nothing more is.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Errors: [`Error::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// A moment in the order of the device's work.
pub struct Mark {
    /// None where nothing was under way.
    submission: Option<wgpu::SubmissionIndex>,
}

struct Inner {
    device: wgpu::Device,
    capabilities: Capabilities,
    /// Workgroups along one axis of a dispatch.
    max_groups: u32,
    pool: Arc<Pool>,
    pipelines: Arc<Pipelines>,
    prepared: Mutex<Option<Prepared>>,
    recorder: Mutex<Recorder>,
    /// Whether the device's rate is known, or being measured.
    is_rated: AtomicBool,
    /// Whether work is told to a counter and not done.
    is_counting: AtomicBool,
    least_parts: AtomicUsize,
    faults: Arc<Mutex<Faults>>,
    /// NaN in every element type; copied over each new allocation once tests ask for it.
    poison: std::sync::OnceLock<Buffer>,
    /// What layers above decided for this device, one value of a type.
    settings: RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    /// The matrices that a check found right.
    matrices: std::sync::OnceLock<Option<Matrices>>,
}

/// A job whose variants are kept for its next run.
struct Prepared {
    job: &'static str,
    /// The variants that its last run used.
    listed: String,
    threads: Preparation,
}

impl Drop for Inner {
    /// Keeps what this run compiled and the last one had not.
    fn drop(&mut self) {
        let prepared = lock(&self.prepared).take().map(|Prepared { job, listed, threads }| {
            drop(threads);
            (job, listed)
        });
        let Some(cache) = self.pipelines.cache.get() else { return };
        let used = self.pipelines.list();
        let listed = prepared.as_ref().map_or("", |(_, listed)| listed);
        if used.lines().any(|variant| !listed.lines().any(|line| line == variant)) {
            cache.save(prepared.as_ref().map(|(job, _)| (*job, used)));
        }
    }
}

/// What the device reported outside of any call.
#[derive(Default)]
struct Faults {
    lost: Option<String>,
    error: Option<String>,
}

/// One tensor of a dispatch as `gpu` sees it: bytes from `offset` on.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    pub buffer: &'a Buffer,
    pub offset: u64,
    pub size: u64,
    pub elem: Elem,
}

/// A dispatch of one kernel.
pub struct Run<'a> {
    pub kernel: &'static Kernel,
    pub constants: &'a [(&'static str, u32)],
    /// The kernel's `#params`, in order, as bytes.
    pub params: &'a [u8],
    pub bindings: &'a [Binding<'a>],
    pub groups: [u32; 3],
    /// Workgroups of the same operation that earlier dispatches run: what the kernel counts its own from.
    pub first_group: u32,
    pub work: Work,
    /// Where in a model this is, for error messages.
    pub site: Option<Arc<str>>,
}

impl Gpu {
    /// The device that `adapter` names (part of its name, or its number), `VISEME_ADAPTER`, or the best one there is.
    pub fn new(adapter: Option<&str>) -> Result<Self> {
        Self::restricted(adapter, |_| {})
    }

    /// The same device, but `restrict` may take capabilities away: how tests reach the variants for lesser devices.
    pub fn restricted(adapter: Option<&str>, restrict: impl FnOnce(&mut Capabilities)) -> Result<Self> {
        let adapter = adapter::choose(adapter)?;
        let (device, queue) = adapter::open(&adapter)?;
        let mut gpu = Self::from_device(device, queue)?;
        if let Some(inner) = Arc::get_mut(&mut gpu.inner) {
            inner.capabilities.cooperative_matrices = adapter::cooperative_matrices(&adapter);
            inner.capabilities.matrices = Matrices::of(&inner.capabilities, inner.device.features())?;
            restrict(&mut inner.capabilities);
        }
        Ok(gpu)
    }

    /// Shares a host program's device. Its features decide which variants run; its error handler is replaced.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let (features, limits) = (device.features(), device.limits());
        let capabilities = Capabilities::read(&device.adapter_info(), features, &limits)?;
        let no_immediates = std::env::var_os("VISEME_NO_IMMEDIATES").is_some();
        let parameters = if capabilities.immediates && limits.max_immediate_size >= 128 && !no_immediates {
            Parameters::Immediate
        } else {
            Parameters::Uniform
        };
        let uniform_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("parameters"),
            entries: &[wgpu::BindGroupLayoutEntry {
                binding: 0,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: true,
                    min_binding_size: None,
                },
                count: None,
            }],
        });
        let faults = Arc::new(Mutex::new(Faults::default()));
        let lost = faults.clone();
        device.set_device_lost_callback(move |_, reason| lock(&lost).lost = Some(reason));
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&uncaptured).error.get_or_insert(error.to_string());
        }));
        let recorder = Recorder::new(&device, &queue, parameters, &uniform_layout);
        let inner = Inner {
            pool: Pool::new(device.clone()),
            pipelines: Arc::new(Pipelines::new(&device, parameters, &uniform_layout)),
            device,
            capabilities,
            max_groups: limits.max_compute_workgroups_per_dimension,
            prepared: Mutex::default(),
            recorder: Mutex::new(recorder),
            is_rated: AtomicBool::new(false),
            is_counting: AtomicBool::new(false),
            least_parts: AtomicUsize::new(1),
            faults,
            poison: std::sync::OnceLock::new(),
            settings: RwLock::default(),
            matrices: std::sync::OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner), cancel: Cancel::default() })
    }

    /// Keeps compiled kernels in `folder`, or in that of `VISEME_CACHE` where there is one, from the last handle's drop to the
    /// next run on this adapter and driver. To be called before any kernel runs, once. A file that is damaged or foreign is not
    /// used; one that cannot be written is a warning.
    pub fn keep_kernels(&self, folder: Option<&Path>) {
        let from_env = || std::env::var_os("VISEME_CACHE").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        if let Some(folder) = folder.map(Path::to_path_buf).or_else(from_env) {
            self.inner.pipelines.cache.get_or_init(|| Cache::open(&self.inner.device, &folder));
        }
    }

    /// Compiles in the background what the last run of `job` needed of `kernels`, if [`Gpu::keep_kernels`] knows it, and keeps
    /// what this one needs.
    pub fn prepare(&self, kernels: &[&'static Kernel], job: &'static str) {
        let mut prepared = lock(&self.inner.prepared);
        if let Some(cache) = self.inner.pipelines.cache.get().filter(|_| prepared.is_none()) {
            let listed = cache.variants(job);
            let threads = self.inner.pipelines.prepare(kernels, &listed);
            *prepared = Some(Prepared { job, listed, threads });
        }
    }

    /// How long operations have waited for kernels; it outlives the device without keeping it.
    pub fn compilation(&self) -> Compilation {
        self.inner.pipelines.compilation()
    }

    /// What a run on this adapter and driver kept as `name` in the folder of [`Gpu::keep_kernels`].
    pub fn kept_file(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.pipelines.cache.get().and_then(|cache| cache.read(name))
    }

    /// Keeps `data` as `name` for later runs on this adapter and driver. That it cannot be written is a warning; without a folder
    /// nothing is kept.
    pub fn keep_file(&self, name: &str, data: &[u8]) {
        if let Some(cache) = self.inner.pipelines.cache.get() {
            cache.keep(name, data);
        }
    }

    /// Whether there is a folder for what later runs need.
    pub fn keeps_files(&self) -> bool {
        self.inner.pipelines.cache.get().is_some()
    }

    /// The value of type `T` that a layer above decided for this device.
    pub fn setting<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let settings = self.inner.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.get(&TypeId::of::<T>()).cloned().and_then(|value| value.downcast().ok())
    }

    /// Decides it, for every handle to this device and for operations from now on.
    pub fn set<T: Send + Sync + 'static>(&self, value: T) {
        let mut settings = self.inner.settings.write().unwrap_or_else(PoisonError::into_inner);
        settings.insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// What each adapter of this machine reports, best first.
    pub fn list() -> Result<Vec<Capabilities>> {
        let report = |a: &wgpu::Adapter| {
            let mut capabilities = Capabilities::read(&a.get_info(), a.features(), &a.limits())?;
            capabilities.cooperative_matrices = adapter::cooperative_matrices(a);
            Ok(capabilities)
        };
        adapter::adapters().iter().map(report).collect()
    }

    pub fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    /// The wgpu device underneath.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub fn memory(&self) -> Memory {
        let staging = self.recorder().staging_bytes();
        Memory { staging, ..self.inner.pool.memory() }
    }

    /// A handle to the same device, whose work, and that of the tensors made through it, ends with [`Error::Cancelled`] once
    /// `cancel` says so.
    pub fn cancelled_by(&self, cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..self.clone() }
    }

    /// What the device does in a second, as far as it is known.
    pub fn rate(&self) -> Rate {
        self.recorder().rate
    }

    /// Whether it was measured or decided, or is being measured.
    pub fn is_rated(&self) -> bool {
        self.inner.is_rated.load(Ordering::Relaxed)
    }

    /// Decides it, and with it how much a dispatch and a submission may hold.
    pub fn set_rate(&self, rate: Rate) {
        self.inner.is_rated.store(true, Ordering::Relaxed);
        self.recorder().rate = rate;
    }

    /// Has `measure` find the device's rate out, unless it is known or just being measured.
    pub fn rate_by(&self, measure: impl FnOnce() -> Result<Rate>) -> Result<()> {
        if self.inner.is_rated.swap(true, Ordering::Relaxed) || self.is_counting() {
            return Ok(());
        }
        match measure() {
            Ok(rate) => {
                self.set_rate(rate);
                Ok(())
            }
            Err(error) => {
                self.inner.is_rated.store(false, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// For tests: from now on operations are cut into `parts` dispatches, or into as many as they have workgroups, whatever they take.
    pub fn cut_into(&self, parts: usize) {
        self.inner.least_parts.store(parts, Ordering::Relaxed);
    }

    /// The least number of dispatches for an operation with workgroups enough.
    pub fn least_parts(&self) -> usize {
        self.inner.least_parts.load(Ordering::Relaxed)
    }

    /// For tests and estimates: from now on nothing is computed, and what reads back is zeros; `counter` sees each dispatch, copy
    /// and submission instead.
    pub fn count_only(&self, counter: Counter) {
        self.recorder().count_in(counter);
        self.inner.is_counting.store(true, Ordering::Relaxed);
    }

    fn is_counting(&self) -> bool {
        self.inner.is_counting.load(Ordering::Relaxed)
    }

    /// For tests: as if the device refused more than `bytes` of buffers.
    pub fn refuse_beyond(&self, bytes: Option<u64>) {
        self.inner.pool.set_device_bytes(bytes);
    }

    /// Starts a new count of [`Memory::peak`] and [`Memory::resident_peak`].
    pub fn reset_peak(&self) {
        self.inner.pool.reset_peak();
    }

    /// The most bytes that may be resident; past it an allocation is [`Error::OutOfMemory`].
    pub fn set_budget(&self, budget_bytes: Option<u64>) {
        self.inner.pool.set_budget(budget_bytes);
    }

    /// Gives freed buffers back to the device.
    pub fn trim(&self) -> Result<()> {
        self.inner.pool.trim();
        // What is still in use goes when the device is done with it.
        self.wait()
    }

    /// A buffer of at least `bytes` with undefined contents.
    pub fn allocate(&self, bytes: u64, what: &str) -> Result<Buffer> {
        self.check()?;
        let buffer = self.allocate_or_trim(bytes, what)?;
        if let Some(poison) = self.inner.poison.get() {
            for offset in (0..buffer.size()).step_by(poison.size() as usize) {
                let size = poison.size().min(buffer.size() - offset);
                self.copy(poison, 0, &buffer, offset, size)?;
            }
        }
        Ok(buffer)
    }

    /// From the pool; where the device or the budget refuses, all that is free goes back first, once.
    fn allocate_or_trim(&self, bytes: u64, what: &str) -> Result<Buffer> {
        match self.inner.pool.allocate(bytes, what) {
            Err(Error::OutOfMemory { .. }) => {
                self.trim()?;
                self.inner.pool.allocate(bytes, what)
            }
            allocated => allocated,
        }
    }

    /// For tests: from now on every allocation starts out as NaN, so that an element no kernel wrote is seen.
    pub fn poison_allocations(&self) -> Result<()> {
        let poison = self.upload(&vec![0xff; 1 << 20], "poison")?;
        let _ = self.inner.poison.set(poison);
        Ok(())
    }

    /// A buffer that begins with `bytes`.
    pub fn upload(&self, bytes: &[u8], what: &str) -> Result<Buffer> {
        self.check()?;
        let buffer = self.allocate_or_trim(bytes.len() as u64, what)?;
        self.recorder().upload(bytes, buffer.raw())?;
        Ok(buffer)
    }

    /// For tests: `inspector` sees every variant of a kernel that is used from now on.
    pub fn inspect_variants(&self, inspector: Inspector) {
        *lock(&self.inner.pipelines.inspector) = Some(inspector);
    }

    /// For tests: from now on `editor` may change a kernel's WGSL before it is compiled, to put a fault into it.
    pub fn edit_kernels(&self, editor: Editor) {
        *lock(&self.inner.pipelines.editor) = Some(editor);
    }

    /// The matrices that kernels may multiply: those of the capabilities if `check`, which the first call runs, finds nothing
    /// wrong with them. A device that lists what it computes wrongly goes on without, with a warning.
    pub fn checked_matrices(&self, check: impl FnOnce(Matrices) -> Result<()>) -> Option<Matrices> {
        let settle = || {
            let matrices = self.inner.capabilities.matrices?;
            match check(matrices) {
                Ok(()) => Some(matrices),
                Err(error) => {
                    let name = &self.inner.capabilities.name;
                    tracing::warn!("{name} lists cooperative matrices but fails their test, goes on without: {error}");
                    None
                }
            }
        };
        *self.inner.matrices.get_or_init(settle)
    }

    /// Records one dispatch.
    pub fn run(&self, run: Run<'_>) -> Result<()> {
        self.check()?;
        let limit = self.inner.capabilities.max_binding_bytes;
        let name = run.kernel.name;
        if let Some(binding) = run.bindings.iter().find(|b| b.size > limit) {
            let found = format!("{} bytes", binding.size);
            return Err(Problem::new(
                format!("{name}: operand"),
                format!("at most {limit} bytes in one binding"),
                found,
            )
            .gpu());
        }
        let max_groups = self.inner.max_groups;
        if run.groups.iter().any(|&g| g > max_groups) {
            return Err(Problem::new(
                name,
                format!("at most {max_groups} workgroups a side"),
                format!("{:?}", run.groups),
            )
            .gpu());
        }
        if run.groups.contains(&0) {
            return Ok(());
        }
        if self.is_counting() && self.recorder().is_counted(name, run.site.as_ref(), run.work)? {
            return Ok(());
        }
        let variant = Variant {
            kernel: name,
            constants: run.constants.to_vec(),
            elems: run.bindings.iter().map(|b| b.elem).collect(),
        };
        let pipeline = self.inner.pipelines.get(run.kernel, variant)?;
        let common = 4 * kernel::COMMON_PARAMS as u32;
        if run.params.len() as u32 + common != pipeline.params_size {
            let expected = format!("{} bytes of parameters", pipeline.params_size - common);
            return Err(Problem::new(name, expected, format!("{}", run.params.len())).gpu());
        }
        let buffers = run.bindings.len() + usize::from(pipeline.reports_overflow);
        let most = self.inner.capabilities.storage_buffers as usize;
        if buffers > most {
            return Err(Problem::new(name, format!("at most {most} storage buffers"), buffers.to_string()).gpu());
        }
        let bound: Vec<Bound<'_>> = run
            .bindings
            .iter()
            .map(|b| Bound { buffer: b.buffer.raw(), offset: b.offset, size: b.size.next_multiple_of(16) })
            .collect();
        let dispatch = Dispatch {
            kernel: name,
            site: run.site,
            pipeline: &pipeline,
            params: run.params,
            bound: &bound,
            groups: run.groups,
            first_group: run.first_group,
            work: run.work,
        };
        self.recorder().dispatch(dispatch)
    }

    /// Records a copy of `size` bytes; offsets and size are multiples of 4.
    pub fn copy(&self, from: &Buffer, from_offset: u64, to: &Buffer, to_offset: u64, size: u64) -> Result<()> {
        self.check()?;
        self.recorder().copy(from.raw(), from_offset, to.raw(), to_offset, size)
    }

    /// Records zeros over `size` bytes, a multiple of 4.
    pub fn clear(&self, buffer: &Buffer, offset: u64, size: u64) -> Result<()> {
        self.check()?;
        self.recorder().clear(buffer.raw(), offset, size)
    }

    /// `size` bytes of `buffer` from `offset`, once everything recorded before is done.
    pub fn read(&self, buffer: &Buffer, offset: u64, size: u64) -> Result<Vec<u8>> {
        self.check()?;
        let bytes = self.recorder().read(buffer.raw(), offset, size);
        self.check()?;
        bytes
    }

    /// Hands what is recorded to the device and returns at once.
    pub fn submit(&self) -> Result<()> {
        self.check()?;
        self.recorder().submit()?;
        self.check()
    }

    /// Hands what is recorded to the device; to be waited for by [`Gpu::wait_for`] once later work is on its way.
    pub fn mark(&self) -> Result<Mark> {
        self.check()?;
        let submission = self.recorder().mark()?;
        self.check()?;
        Ok(Mark { submission })
    }

    /// Waits until all that was recorded before `mark` is done; what was recorded since goes on.
    pub fn wait_for(&self, mark: Mark) -> Result<()> {
        if let Some(submission) = mark.submission {
            self.recorder().wait_for(submission)?;
        }
        self.check()
    }

    /// Waits until everything recorded is done.
    pub fn wait(&self) -> Result<()> {
        self.check()?;
        self.recorder().wait()?;
        self.check()
    }

    /// The work of all dispatches recorded so far.
    pub fn work(&self) -> Work {
        self.recorder().total
    }

    /// How many they are.
    pub fn dispatches(&self) -> u64 {
        self.recorder().dispatches
    }

    /// From now on every dispatch is timed on the device; an error where it has no timestamps.
    pub fn start_profile(&self) -> Result<()> {
        if !self.capabilities().timestamps {
            return Err(
                Problem::new("--profile", "a device with timestamp queries", self.capabilities().name.clone()).gpu()
            );
        }
        self.recorder().start_profile()
    }

    /// GPU time by kernel since [`Gpu::start_profile`].
    pub fn stop_profile(&self) -> Result<Profile> {
        self.recorder().stop_profile()
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        lock(&self.inner.recorder)
    }

    /// The device's loss or an error that it reported since the last call; that this handle's work is cancelled.
    fn check(&self) -> Result<()> {
        self.cancel.check()?;
        let mut faults = lock(&self.inner.faults);
        if let Some(reason) = &faults.lost {
            return Err(Error::DeviceLost { reason: reason.clone() });
        }
        match faults.error.take() {
            None => Ok(()),
            Some(error) => Err(Problem::new("device", "no error", error).gpu()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Workgroup counts for at least `groups` workgroups, folded over x and y; a kernel takes `id.x + id.y * count.x` and
/// stops where that is `groups` or more.
pub fn fold(groups: usize) -> [u32; 3] {
    const SIDE: usize = 65535;
    if groups <= SIDE {
        return [groups as u32, 1, 1];
    }
    let rows = groups.div_ceil(SIDE);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

//! Kernels: WGSL templates, their expansion for element types and constants, and the cache of pipelines.
//!
//! A kernel file is WGSL with lines that start with `#`; kernels/README.md lists them.

use super::cache::Cache;
use super::lock;
use crate::{Problem, Result};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    F32,
    /// IEEE halves, two in a u32.
    F16,
    U32,
    /// Signed bytes, four in a u32: weights alone, with a scale per column beside them.
    I8,
}

impl Elem {
    pub fn size(self) -> usize {
        match self {
            Elem::F32 | Elem::U32 => 4,
            Elem::F16 => 2,
            Elem::I8 => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Elem::F32 => "f32",
            Elem::F16 => "f16",
            Elem::U32 => "u32",
            Elem::I8 => "i8",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Elem::F32, Elem::F16, Elem::U32, Elem::I8].into_iter().find(|elem| elem.name() == name)
    }
}

/// A WGSL template: a file of kernels/ by its name.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    pub name: &'static str,
    pub source: &'static str,
}

/// One pipeline: a kernel with its constants and the element type of each binding, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Variant {
    pub kernel: &'static str,
    pub constants: Vec<(&'static str, u32)>,
    pub elems: Vec<Elem>,
}

/// Where a kernel's parameters live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameters {
    Immediate,
    Uniform,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

/// A template with everything filled in.
#[derive(Debug, Clone)]
pub struct Expanded {
    pub wgsl: String,
    /// Name and access of each tensor binding, in order.
    pub bindings: Vec<(String, Access)>,
    /// Name and WGSL type of each parameter, without the two that every kernel ends with.
    pub params: Vec<(String, String)>,
    /// Whether an f16 store may report an overflow, through one more storage binding.
    pub reports_overflow: bool,
}

const INCLUDES: &[(&str, &str)] = &[
    ("activate", include_str!("../../kernels/common/activate.wgsl")),
    ("attention", include_str!("../../kernels/common/attention.wgsl")),
    ("gelu", include_str!("../../kernels/common/gelu.wgsl")),
    ("gemm", include_str!("../../kernels/common/gemm.wgsl")),
    ("matrix", include_str!("../../kernels/common/matrix.wgsl")),
    ("reduce", include_str!("../../kernels/common/reduce.wgsl")),
    ("separable", include_str!("../../kernels/common/separable.wgsl")),
    ("winograd", include_str!("../../kernels/common/winograd.wgsl")),
];

/// The WGSL of `kernel` in one variant.
pub fn expand(
    kernel: &Kernel,
    constants: &[(&'static str, u32)],
    elems: &[Elem],
    parameters: Parameters,
) -> Result<Expanded> {
    let mut out = Expansion {
        kernel,
        constants,
        elems,
        parameters,
        wgsl: String::new(),
        bindings: Vec::new(),
        params: Vec::new(),
    };
    for (name, value) in constants {
        let _ = writeln!(out.wgsl, "const {name}: u32 = {value}u;");
    }
    let lines: Vec<&str> = kernel.source.lines().collect();
    out.block(&lines, &[])?;
    if out.bindings.len() != elems.len() {
        return Err(out.wrong(&format!("{} bindings", out.bindings.len()), &format!("{} tensors", elems.len())));
    }
    let reports_overflow = out.overflow();
    if reports_overflow {
        let binding = out.bindings.len();
        let _ =
            writeln!(out.wgsl, "@group(0) @binding({binding}) var<storage, read_write> overflow: array<atomic<u32>>;");
        out.wgsl.push_str(OVERFLOW);
    }
    Ok(Expanded { wgsl: out.wgsl, bindings: out.bindings, params: out.params, reports_overflow })
}

/// A workgroup's place in an operation whose workgroups are folded over x and y, and which may be cut into several dispatches.
const GROUP_INDEX: &str = "fn group_index(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return params.first_group + id.x + id.y * count.x;
}
";

/// Parameters behind a kernel's own: the number of the operation, and the dispatch's first workgroup.
pub(super) const COMMON_PARAMS: usize = 2;

/// Largest finite f16; the comparison is false for NaN as well.
const OVERFLOW: &str = "fn check_range(v: vec4<f32>) {
    if !all(abs(v) <= vec4<f32>(65504.0)) { atomicMin(&overflow[0], params.operation); }
}
";

struct Expansion<'a> {
    kernel: &'a Kernel,
    constants: &'a [(&'static str, u32)],
    elems: &'a [Elem],
    parameters: Parameters,
    wgsl: String,
    bindings: Vec<(String, Access)>,
    params: Vec<(String, String)>,
}

type Loops<'a> = [(&'a str, u32)];

impl Expansion<'_> {
    fn wrong(&self, expected: &str, found: &str) -> crate::Error {
        Problem::new(format!("kernel {}", self.kernel.name), expected, found).gpu()
    }

    fn overflow(&self) -> bool {
        self.bindings.iter().zip(self.elems).any(|((_, access), elem)| *access != Access::Read && *elem == Elem::F16)
    }

    fn constant(&self, word: &str) -> Result<u32> {
        let named = self.constants.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        named.or_else(|| word.parse().ok()).ok_or_else(|| self.wrong("a number or a constant", word))
    }

    /// `NAME`, `!NAME`, `NAME == VALUE`; an unknown name counts as 0.
    fn holds(&self, condition: &str) -> Result<bool> {
        if let Some((left, right)) = condition.split_once("==") {
            return Ok(self.constant(left.trim())? == self.constant(right.trim())?);
        }
        Ok(match condition.strip_prefix('!') {
            Some(name) => self.constant(name).unwrap_or(0) == 0,
            None => self.constant(condition).unwrap_or(0) != 0,
        })
    }

    fn block(&mut self, lines: &[&str], loops: &Loops<'_>) -> Result<()> {
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            at += 1;
            let Some(directive) = line.trim_start().strip_prefix('#') else {
                self.text(line, loops);
                continue;
            };
            let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
            match word {
                "include" => {
                    let included = INCLUDES.iter().find(|(name, _)| *name == rest.trim());
                    let (_, text) = included.ok_or_else(|| self.wrong("an include", rest))?;
                    self.block(&text.lines().collect::<Vec<_>>(), loops)?;
                }
                "read" => self.bind(rest.trim(), Access::Read)?,
                "write" => self.bind(rest.trim(), Access::Write)?,
                "readwrite" => self.bind(rest.trim(), Access::ReadWrite)?,
                "params" => {
                    let (body, _, next) = self.body(lines, at)?;
                    at = next;
                    self.parameters(body)?;
                }
                "for" => {
                    let (body, _, next) = self.body(lines, at)?;
                    at = next;
                    let (name, range) = rest.split_once(" in ").ok_or_else(|| self.wrong("#for NAME in A..B", line))?;
                    let (from, to) = range.split_once("..").ok_or_else(|| self.wrong("#for NAME in A..B", line))?;
                    for value in self.constant(from.trim())?..self.constant(to.trim())? {
                        let mut inner = loops.to_vec();
                        inner.push((name.trim(), value));
                        self.block(body, &inner)?;
                    }
                }
                "if" => {
                    let (yes, no, next) = self.body(lines, at)?;
                    at = next;
                    let chosen = if self.holds(rest.trim())? { yes } else { no };
                    self.block(chosen, loops)?;
                }
                other => return Err(self.wrong("a directive", other)),
            }
        }
        Ok(())
    }

    /// The lines up to the matching `#end`, split at this level's `#else`, and where to go on.
    fn body<'l>(&self, lines: &'l [&'l str], start: usize) -> Result<(&'l [&'l str], &'l [&'l str], usize)> {
        let (mut depth, mut other) = (0, None);
        for (at, line) in lines.iter().enumerate().skip(start) {
            let directive = line.trim_start();
            if ["#for ", "#if ", "#params"].iter().any(|d| directive.starts_with(d)) {
                depth += 1;
            } else if directive.starts_with("#else") && depth == 0 {
                other = Some(at);
            } else if directive.starts_with("#end") {
                if depth == 0 {
                    let middle = other.unwrap_or(at);
                    return Ok((&lines[start..middle], &lines[(middle + 1).min(at)..at], at + 1));
                }
                depth -= 1;
            }
        }
        Err(self.wrong("#end", "the end of the file"))
    }

    /// One line of WGSL, each `$name` replaced by its loop's value.
    fn text(&mut self, line: &str, loops: &Loops<'_>) {
        if line.trim_start().starts_with("//") {
            return;
        }
        // WGSL wants these before everything else, our constants included.
        if line.starts_with("enable ") {
            self.wgsl.insert_str(0, &format!("{line}\n"));
            return;
        }
        let mut pieces = line.split('$');
        self.wgsl.push_str(pieces.next().unwrap_or(""));
        for piece in pieces {
            let end = piece.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(piece.len());
            let value = loops.iter().rev().find(|(name, _)| *name == &piece[..end]);
            match value {
                Some((_, value)) => {
                    let _ = write!(self.wgsl, "{value}");
                }
                None => {
                    self.wgsl.push('$');
                    self.wgsl.push_str(&piece[..end]);
                }
            }
            self.wgsl.push_str(&piece[end..]);
        }
        self.wgsl.push('\n');
    }

    fn parameters(&mut self, lines: &[&str]) -> Result<()> {
        self.wgsl.push_str("struct Params {\n");
        for line in lines {
            let line = line.split("//").next().unwrap_or("").trim().trim_end_matches(',');
            if line.is_empty() {
                continue;
            }
            let (name, kind) = line.split_once(':').ok_or_else(|| self.wrong("name: type", line))?;
            let _ = writeln!(self.wgsl, "    {}: {},", name.trim(), kind.trim());
            self.params.push((name.trim().to_string(), kind.trim().to_string()));
        }
        self.wgsl.push_str("    operation: u32,\n    first_group: u32,\n}\n");
        match self.parameters {
            Parameters::Immediate => self.wgsl.push_str("var<immediate> params: Params;\n"),
            Parameters::Uniform => self.wgsl.push_str("@group(1) @binding(0) var<uniform> params: Params;\n"),
        }
        self.wgsl.push_str(GROUP_INDEX);
        Ok(())
    }

    fn bind(&mut self, name: &str, access: Access) -> Result<()> {
        let index = self.bindings.len();
        let Some(elem) = self.elems.get(index).copied() else {
            return Err(
                self.wrong(&format!("a tensor for binding {index} ({name})"), &format!("{} tensors", self.elems.len()))
            );
        };
        let mode = if access == Access::Read { "read" } else { "read_write" };
        let native = access == Access::Read && elem == Elem::F16 && self.holds("NATIVE_F16")?;
        let array = match elem {
            Elem::F32 => "vec4<f32>",
            Elem::F16 if native => "vec4<f16>",
            Elem::F16 => "vec2<u32>",
            Elem::U32 => "u32",
            Elem::I8 => "vec4<u32>",
        };
        let _ = writeln!(self.wgsl, "@group(0) @binding({index}) var<storage, {mode}> {name}: array<{array}>;");
        let reads = match elem {
            Elem::F32 => READS_F32,
            Elem::F16 if native => READS_NATIVE_F16,
            Elem::F16 => READS_F16,
            Elem::U32 | Elem::I8 => "",
        };
        self.wgsl.push_str(&reads.replace("NAME", name));
        if access != Access::Read {
            let writes = match elem {
                Elem::F32 => WRITES_F32,
                Elem::F16 => WRITES_F16,
                Elem::U32 | Elem::I8 => "",
            };
            self.wgsl.push_str(&writes.replace("NAME", name));
        }
        self.bindings.push((name.to_string(), access));
        Ok(())
    }
}

// Indices: `_at` and `_set` count elements, `_at4` and `_set4` groups of four, `_at2` and `_set2` groups of two.
const READS_F32: &str = "fn NAME_at(i: u32) -> f32 { return NAME[i >> 2u][i & 3u]; }
fn NAME_at2(i: u32) -> vec2<f32> { return vec2<f32>(NAME[i >> 1u][(i & 1u) * 2u], NAME[i >> 1u][(i & 1u) * 2u + 1u]); }
fn NAME_at4(i: u32) -> vec4<f32> { return NAME[i]; }
";
const READS_F16: &str = "fn NAME_at(i: u32) -> f32 { return unpack2x16float(NAME[i >> 2u][(i >> 1u) & 1u])[i & 1u]; }
fn NAME_at2(i: u32) -> vec2<f32> { return unpack2x16float(NAME[i >> 1u][i & 1u]); }
fn NAME_at4(i: u32) -> vec4<f32> { let w = NAME[i]; return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y)); }
";
// With one accessor more, which leaves the elements as they are.
const READS_NATIVE_F16: &str = "fn NAME_at(i: u32) -> f32 { return f32(NAME[i >> 2u][i & 3u]); }
fn NAME_at2(i: u32) -> vec2<f32> {
    let v = NAME[i >> 1u];
    return vec2<f32>(select(v.xy, v.zw, (i & 1u) == 1u));
}
fn NAME_at4(i: u32) -> vec4<f32> { return vec4<f32>(NAME[i]); }
fn NAME_half4(i: u32) -> vec4<f16> { return NAME[i]; }
";
const WRITES_F32: &str = "fn NAME_set4(i: u32, v: vec4<f32>) { NAME[i] = v; }
fn NAME_set2(i: u32, v: vec2<f32>) { NAME[i >> 1u][(i & 1u) * 2u] = v.x; NAME[i >> 1u][(i & 1u) * 2u + 1u] = v.y; }
fn NAME_set(i: u32, v: f32) { NAME[i >> 2u][i & 3u] = v; }
";
const WRITES_F16: &str = "fn NAME_set4(i: u32, v: vec4<f32>) {
    check_range(v);
    NAME[i] = vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
}
fn NAME_set2(i: u32, v: vec2<f32>) {
    check_range(v.xyxy);
    NAME[i >> 1u][i & 1u] = pack2x16float(v);
}
";

/// A pipeline with the layout that its bind groups follow.
pub(super) struct Pipeline {
    pub raw: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub reports_overflow: bool,
    /// Bytes of the parameters, with [`COMMON_PARAMS`].
    pub params_size: u32,
}

/// Sees every variant of a kernel once, before its first use.
pub type Inspector = Box<dyn Fn(&Kernel, &Variant) + Send>;

/// Changes the WGSL of a variant before it is compiled.
pub type Editor = Box<dyn Fn(&Kernel, String) -> String + Send>;

/// How long operations have waited for their kernels to be compiled.
#[derive(Clone)]
pub struct Compilation(Weak<Mutex<Waits>>);

#[derive(Default)]
struct Waits {
    /// Of those that are over.
    spent: Duration,
    /// When those that go on began.
    going_on: Vec<Instant>,
}

impl Compilation {
    /// Whether the device is still in use.
    pub fn is_going_on(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// All waits together, those that are not over included.
    pub fn spent(&self) -> Duration {
        let Some(waits) = self.0.upgrade() else { return Duration::ZERO };
        let waits = lock(&waits);
        waits.spent + waits.going_on.iter().map(Instant::elapsed).sum::<Duration>()
    }
}

/// Pipelines by variant, each made once, by whoever needs it first or ahead of that by [`Pipelines::prepare`].
pub(super) struct Pipelines {
    device: wgpu::Device,
    pub parameters: Parameters,
    uniform_layout: wgpu::BindGroupLayout,
    slots: Mutex<HashMap<Variant, Arc<Slot>>>,
    /// Variants that were asked for, in the order of their first use.
    used: Mutex<Vec<Variant>>,
    pub cache: OnceLock<Cache>,
    pub inspector: Mutex<Option<Inspector>>,
    pub editor: Mutex<Option<Editor>>,
    waits: Arc<Mutex<Waits>>,
}

/// Locked while its pipeline is made, so that nobody makes it twice.
#[derive(Default)]
struct Slot {
    pipeline: Mutex<Option<Arc<Pipeline>>>,
    is_used: AtomicBool,
}

impl Pipelines {
    pub fn new(device: &wgpu::Device, parameters: Parameters, uniform_layout: &wgpu::BindGroupLayout) -> Self {
        Self {
            device: device.clone(),
            parameters,
            uniform_layout: uniform_layout.clone(),
            slots: Mutex::default(),
            used: Mutex::default(),
            cache: OnceLock::new(),
            inspector: Mutex::default(),
            editor: Mutex::default(),
            waits: Arc::default(),
        }
    }

    pub fn compilation(&self) -> Compilation {
        Compilation(Arc::downgrade(&self.waits))
    }

    pub fn get(&self, kernel: &Kernel, variant: Variant) -> Result<Arc<Pipeline>> {
        let found = lock(&self.slots).get(&variant).cloned();
        let slot = match found {
            Some(slot) => slot,
            None => lock(&self.slots).entry(variant.clone()).or_default().clone(),
        };
        if !slot.is_used.swap(true, Ordering::Relaxed) {
            if let Some(inspect) = &*lock(&self.inspector) {
                inspect(kernel, &variant);
            }
            lock(&self.used).push(variant.clone());
        }
        let made = slot.pipeline.try_lock().ok().and_then(|made| made.clone());
        if let Some(pipeline) = made {
            return Ok(pipeline);
        }
        let start = Instant::now();
        lock(&self.waits).going_on.push(start);
        let pipeline = self.fill(&slot, kernel, &variant);
        let mut waits = lock(&self.waits);
        waits.spent += start.elapsed();
        if let Some(at) = waits.going_on.iter().position(|began| *began == start) {
            waits.going_on.swap_remove(at);
        }
        pipeline
    }

    fn fill(&self, slot: &Slot, kernel: &Kernel, variant: &Variant) -> Result<Arc<Pipeline>> {
        let mut made = lock(&slot.pipeline);
        if let Some(pipeline) = &*made {
            return Ok(pipeline.clone());
        }
        let mut expanded = expand(kernel, &variant.constants, &variant.elems, self.parameters)?;
        if let Some(edit) = &*lock(&self.editor) {
            expanded.wgsl = edit(kernel, expanded.wgsl);
        }
        let pipeline = Arc::new(self.build(kernel, &expanded)?);
        *made = Some(pipeline.clone());
        Ok(pipeline)
    }

    /// The variants in use, one a line.
    pub fn list(&self) -> String {
        lock(&self.used).iter().map(|variant| format!("{variant}\n")).collect()
    }

    /// Makes the pipelines of `list`, as [`Pipelines::list`] wrote it, on threads of its own. Lines that no kernel knows, and
    /// variants that the device refuses, are left to who needs them.
    pub fn prepare(self: &Arc<Self>, kernels: &[&'static Kernel], list: &str) -> Preparation {
        let variants: Vec<_> = list.lines().filter_map(|line| Variant::parse(line, kernels)).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2).min(variants.len());
        let shared = Arc::new((AtomicUsize::new(0), variants));
        let work = |_| {
            let (pipelines, shared) = (self.clone(), shared.clone());
            std::thread::spawn(move || {
                let (next, variants) = &*shared;
                while let Some((kernel, variant)) = variants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let slot = lock(&pipelines.slots).entry(variant.clone()).or_default().clone();
                    let _ = pipelines.fill(&slot, kernel, variant);
                }
            })
        };
        Preparation { threads: (0..threads).map(work).collect(), shared }
    }
}

/// Threads that make pipelines ahead of their use; dropped, it ends after those that are being made.
pub(super) struct Preparation {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<(AtomicUsize, Vec<(&'static Kernel, Variant)>)>,
}

impl Drop for Preparation {
    fn drop(&mut self) {
        let (next, variants) = &*self.shared;
        next.store(variants.len(), Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// `KERNEL NAME=VALUE,NAME=VALUE,.. ELEM,ELEM,..`
impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let constants: Vec<String> = self.constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let elems: Vec<&str> = self.elems.iter().map(|elem| elem.name()).collect();
        write!(f, "{} {} {}", self.kernel, constants.join(","), elems.join(","))
    }
}

impl Variant {
    /// A line that `Display` wrote, if one of `kernels` knows what it names.
    fn parse(line: &str, kernels: &[&'static Kernel]) -> Option<(&'static Kernel, Self)> {
        let mut words = line.split(' ');
        let (name, constants, elems) = (words.next()?, words.next()?, words.next()?);
        let kernel = *kernels.iter().find(|kernel| kernel.name == name)?;
        let constant = |text: &str| {
            let (name, value) = text.split_once('=')?;
            Some((kernel.own_word(name)?, value.parse().ok()?))
        };
        let listed = |text: &'_ str| text.split(',').filter(|item| !item.is_empty()).map(str::to_string).collect();
        let (constants, elems): (Vec<String>, Vec<String>) = (listed(constants), listed(elems));
        Some((
            kernel,
            Self {
                kernel: kernel.name,
                constants: constants.iter().map(|text| constant(text)).collect::<Option<_>>()?,
                elems: elems.iter().map(|name| Elem::named(name)).collect::<Option<_>>()?,
            },
        ))
    }
}

impl Kernel {
    /// `word` as the kernel's text or an include spells it, which lasts as long as the program.
    fn own_word(&self, word: &str) -> Option<&'static str> {
        let texts = std::iter::once(self.source).chain(INCLUDES.iter().map(|(_, text)| *text));
        texts.into_iter().find_map(|text| text.find(word).map(|at| &text[at..at + word.len()]))
    }
}

impl Pipelines {
    #[allow(unsafe_code)]
    fn build(&self, kernel: &Kernel, expanded: &Expanded) -> Result<Pipeline> {
        let device = &self.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let source = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(expanded.wgsl.as_str().into()),
        };
        // SAFETY: unchecked means no clamps and loop counters from naga. Every index a kernel forms is bounded by parameters
        // that its only caller in src/ops checked against the tensors' shapes, and every loop ends by such a parameter; the
        // kernel tests check both with sentinels around odd sizes. Vulkan's robust buffer access stays on.
        let module = unsafe { device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked()) };
        let entry = |binding: usize, access: Access| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let mut entries: Vec<_> =
            expanded.bindings.iter().enumerate().map(|(i, (_, access))| entry(i, *access)).collect();
        if expanded.reports_overflow {
            entries.push(entry(entries.len(), Access::ReadWrite));
        }
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries });
        let params_size = 4 * (expanded.params.len() + COMMON_PARAMS) as u32;
        let groups = [Some(&layout), Some(&self.uniform_layout)];
        let (groups, immediate_size) = match self.parameters {
            Parameters::Immediate => (&groups[..1], params_size),
            Parameters::Uniform => (&groups[..], 0),
        };
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: groups,
            immediate_size,
        });
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: self.cache.get().and_then(|cache| cache.pipelines()),
        });
        match pollster::block_on(scope.pop()) {
            None => Ok(Pipeline { raw, layout, reports_overflow: expanded.reports_overflow, params_size }),
            Some(error) => {
                Err(Problem::new(format!("kernel {}", kernel.name), "WGSL that this device takes", error.to_string())
                    .gpu())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_come_back_from_their_lines() {
        static KERNEL: Kernel = Kernel { name: "scale", source: "const _x = WORKGROUP + TILE;" };
        let variant = |constants: &[(&'static str, u32)], elems: &[Elem]| Variant {
            kernel: "scale",
            constants: constants.to_vec(),
            elems: elems.to_vec(),
        };
        for variant in [
            variant(&[("WORKGROUP", 64), ("TILE", 0)], &[Elem::F32, Elem::F16, Elem::U32, Elem::I8]),
            variant(&[], &[Elem::F16]),
            variant(&[("TILE", u32::MAX)], &[]),
        ] {
            let (kernel, read) = Variant::parse(&variant.to_string(), &[&KERNEL]).unwrap();
            assert_eq!((kernel.name, read), ("scale", variant));
        }
        for line in ["", "scale", "other TILE=1 f32", "scale NOSUCH=1 f32", "scale TILE=x f32", "scale TILE=1 f64"] {
            assert!(Variant::parse(line, &[&KERNEL]).is_none(), "{line}");
        }
    }
}

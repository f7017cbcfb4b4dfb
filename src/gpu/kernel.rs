//! Kernels: WGSL templates, their expansion for element types and constants, and the cache of pipelines.
//!
//! A kernel file is WGSL with lines that start with `#`; kernels/README.md lists them.

use crate::{Problem, Result};
use std::collections::HashMap;
use std::fmt::Write as _;

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    F32,
    /// IEEE halves, two in a u32.
    F16,
    U32,
}

impl Elem {
    pub fn size(self) -> usize {
        match self {
            Elem::F32 | Elem::U32 => 4,
            Elem::F16 => 2,
        }
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
    /// Name and WGSL type of each parameter, without the trailing operation number.
    pub params: Vec<(String, String)>,
    /// Whether an f16 store may report an overflow, through one more storage binding.
    pub reports_overflow: bool,
}

const INCLUDES: &[(&str, &str)] = &[
    ("activate", include_str!("../../kernels/common/activate.wgsl")),
    ("attention", include_str!("../../kernels/common/attention.wgsl")),
    ("gelu", include_str!("../../kernels/common/gelu.wgsl")),
    ("gemm", include_str!("../../kernels/common/gemm.wgsl")),
    ("reduce", include_str!("../../kernels/common/reduce.wgsl")),
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
        self.wgsl.push_str("    operation: u32,\n}\n");
        match self.parameters {
            Parameters::Immediate => self.wgsl.push_str("var<immediate> params: Params;\n"),
            Parameters::Uniform => self.wgsl.push_str("@group(1) @binding(0) var<uniform> params: Params;\n"),
        }
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
        let array = match elem {
            Elem::F32 => "vec4<f32>",
            Elem::F16 => "vec2<u32>",
            Elem::U32 => "u32",
        };
        let _ = writeln!(self.wgsl, "@group(0) @binding({index}) var<storage, {mode}> {name}: array<{array}>;");
        let reads = match elem {
            Elem::F32 => READS_F32,
            Elem::F16 => READS_F16,
            Elem::U32 => "",
        };
        self.wgsl.push_str(&reads.replace("NAME", name));
        if access != Access::Read {
            let writes = match elem {
                Elem::F32 => WRITES_F32,
                Elem::F16 => WRITES_F16,
                Elem::U32 => "",
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
    /// Bytes of the parameters, the operation number included.
    pub params_size: u32,
}

/// Sees every variant of a kernel before its pipeline is made.
pub type Inspector = Box<dyn Fn(&Kernel, &Variant) + Send>;

/// Pipelines by variant, each made once.
#[derive(Default)]
pub(super) struct Pipelines {
    made: HashMap<Variant, std::sync::Arc<Pipeline>>,
    pub inspector: Option<Inspector>,
}

impl Pipelines {
    pub fn get(
        &mut self,
        device: &wgpu::Device,
        parameters: Parameters,
        uniform_layout: &wgpu::BindGroupLayout,
        kernel: &Kernel,
        variant: Variant,
    ) -> Result<std::sync::Arc<Pipeline>> {
        if let Some(pipeline) = self.made.get(&variant) {
            return Ok(pipeline.clone());
        }
        if let Some(inspect) = &self.inspector {
            inspect(kernel, &variant);
        }
        let expanded = expand(kernel, &variant.constants, &variant.elems, parameters)?;
        let pipeline = std::sync::Arc::new(build(device, parameters, uniform_layout, kernel, &expanded)?);
        self.made.insert(variant, pipeline.clone());
        Ok(pipeline)
    }
}

#[allow(unsafe_code)]
fn build(
    device: &wgpu::Device,
    parameters: Parameters,
    uniform_layout: &wgpu::BindGroupLayout,
    kernel: &Kernel,
    expanded: &Expanded,
) -> Result<Pipeline> {
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
    let mut entries: Vec<_> = expanded.bindings.iter().enumerate().map(|(i, (_, access))| entry(i, *access)).collect();
    if expanded.reports_overflow {
        entries.push(entry(entries.len(), Access::ReadWrite));
    }
    let layout = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries });
    let params_size = 4 * (expanded.params.len() as u32 + 1);
    let groups = [Some(&layout), Some(uniform_layout)];
    let (groups, immediate_size) = match parameters {
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
        cache: None,
    });
    match pollster::block_on(scope.pop()) {
        None => Ok(Pipeline { raw, layout, reports_overflow: expanded.reports_overflow, params_size }),
        Some(error) => {
            Err(Problem::new(format!("kernel {}", kernel.name), "WGSL that this device takes", error.to_string()).gpu())
        }
    }
}

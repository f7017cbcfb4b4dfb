//! Attention over rows of channels-last tensors, read where they lie: nothing is transposed, repeated or gathered.

use super::Call;
use super::cooperative::{self, AttentionTile};
use super::tuning::{AttentionClass, Tuning, is_narrow_software};
use crate::gpu::{Elem, Gpu, Kernel, Matrices};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::ops::Range;

pub(super) const FEW: Kernel = super::kernel!("attention_few");
pub(super) const SUBGROUP: Kernel = super::kernel!("attention_subgroup");
pub(super) const TILED: Kernel = super::kernel!("attention_tiled");

/// softmax(q k^T * scale + gate * bias) v, per batch and head.
pub struct Attend<'a> {
    pub q: Rows<'a>,
    pub k: Rows<'a>,
    pub v: Rows<'a>,
    pub heads: usize,
    pub head_dim: usize,
    /// What the products of `q` and `k` are multiplied by, mostly `head_dim^-0.5`.
    pub scale: f32,
    pub bias: Option<Bias<'a>>,
}

/// A table added to the scores, weighed per query (WavLM's gated relative position bias).
#[derive(Clone, Copy)]
pub struct Bias<'a> {
    /// `[heads, queries, keys]` f32, the same for every batch.
    pub table: &'a Tensor,
    /// `[batches, heads, queries]` f32.
    pub gate: &'a Tensor,
}

/// The rows of a tensor `[.., width]` that are the tokens of each batch; head `h` has `head_dim` elements of a row, from
/// `column + h * head_dim` on. Batches have two axes; steps between them and between tokens count rows.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    tensor: &'a Tensor,
    column: usize,
    outer: usize,
    inner: usize,
    tokens: usize,
    outer_step: usize,
    inner_step: usize,
    token_step: usize,
}

impl<'a> Rows<'a> {
    /// Attention along the last axis of rows of `[.., tokens, width]`; all axes before it are batches.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let [outer @ .., tokens, _] = tensor.shape() else {
            return Err(Problem::new("attention", "[.., tokens, width]", format!("{:?}", tensor.shape())).shape());
        };
        let (outer, tokens) = (outer.iter().product(), *tokens);
        Ok(Self { tensor, column: 0, outer, inner: 1, tokens, outer_step: tokens, inner_step: 0, token_step: 1 })
    }

    /// Attention along the frames of `[clips, frames, positions, width]`; each position of each clip is a batch.
    pub fn over_frames(tensor: &'a Tensor) -> Result<Self> {
        let [outer, tokens, inner, _] = tensor.dims("attention over frames")?;
        Ok(Self {
            tensor,
            column: 0,
            outer,
            inner,
            tokens,
            outer_step: tokens * inner,
            inner_step: 1,
            token_step: inner,
        })
    }

    /// The heads begin at element `column` of each row: for q, k and v out of one projection.
    pub fn column(self, column: usize) -> Self {
        Self { column, ..self }
    }

    /// Each batch serves `batches` consecutive ones of the queries: a clip's context all its frames or positions.
    pub fn shared_by(self, batches: usize) -> Self {
        Self { inner: batches, inner_step: 0, ..self }
    }

    /// The same batches as `[outer / inner, inner]`.
    fn grouped(self, inner: usize) -> Option<Self> {
        if self.inner == inner {
            return Some(self);
        }
        let even = self.inner == 1 && inner > 0 && self.outer.is_multiple_of(inner);
        let (outer, outer_step, inner_step) = (self.outer / inner.max(1), self.outer_step * inner, self.outer_step);
        even.then_some(Self { outer, inner, outer_step, inner_step, ..self })
    }

    fn batches(&self) -> String {
        format!("{} x {} batches of {} tokens in {:?}", self.outer, self.inner, self.tokens, self.tensor)
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    q_base: u32,
    q_outer: u32,
    q_inner: u32,
    q_token: u32,
    out_base: u32,
    out_outer: u32,
    out_inner: u32,
    out_token: u32,
    k_base: u32,
    v_base: u32,
    k_outer: u32,
    k_inner: u32,
    k_token: u32,
    bias_base: u32,
    bias_head: u32,
    bias_query: u32,
    gate_base: u32,
    gate_outer: u32,
    gate_inner: u32,
    gate_head: u32,
    problems: u32,
    inner: u32,
    heads: u32,
    queries: u32,
    keys: u32,
    scale: f32,
    first: u32,
    last: u32,
}

/// Axes of an attention; an operand has a step for each.
const OUTER: usize = 0;
const INNER: usize = 1;
const HEADS: usize = 2;
const QUERIES: usize = 3;
const KEYS: usize = 4;
type Axes = [usize; 5];

/// A tensor seen from an attention: at element `base + sum(index * step)` begins a run of `run` elements.
struct Operand<'a> {
    tensor: &'a Tensor,
    base: usize,
    steps: Axes,
    run: usize,
}

impl Operand<'_> {
    /// Elements from the first to the last that a block touches.
    fn span(&self, block: &Axes) -> usize {
        self.run + block.iter().zip(&self.steps).map(|(&len, &step)| len.saturating_sub(1) * step).sum::<usize>()
    }

    /// The part of the tensor that `block` touches, as a view from the binding border before it, and its first element there.
    fn window(&self, block: &[Range<usize>; 5]) -> Result<(Tensor, u32)> {
        let first = self.base + block.iter().zip(&self.steps).map(|(range, step)| range.start * step).sum::<usize>();
        let start = first - first % (alignment(self.tensor.gpu()) / self.tensor.elem().size());
        let end = first + self.span(&block.clone().map(|range| range.len()));
        let view = self.tensor.view(start, &[end - start]).ok_or_else(|| {
            Problem::new("attention", format!("elements {start}..{end}"), format!("{:?}", self.tensor)).gpu()
        })?;
        Ok((view, (first - start) as u32))
    }
}

/// Bytes between places where a binding may start.
fn alignment(gpu: &Gpu) -> usize {
    gpu.capabilities().offset_alignment.max(16) as usize
}

impl Attend<'_> {
    /// The attended values, `heads * head_dim` wide, in the rows, order and element type of `q`'s tensor.
    pub fn run(&self) -> Result<Tensor> {
        let is_f16 = [&self.q, &self.k, &self.v].iter().all(|rows| rows.tensor.elem() == Elem::F16);
        self.run_on(is_f16.then(|| cooperative::matrices(self.q.tensor.gpu())).flatten())
    }

    /// The same on cooperative matrices, if they are given and pay: for q, k and v of f16.
    pub(super) fn run_on(&self, matrices: Option<Matrices>) -> Result<Tensor> {
        let (heads, dim) = (self.heads, self.head_dim);
        let inner = self.q.inner.max(self.k.inner);
        let (Some(q), Some(k), Some(v)) = (self.q.grouped(inner), self.k.grouped(inner), self.v.grouped(inner)) else {
            return Err(Problem::new("attention", self.q.batches(), self.k.batches()).shape());
        };
        self.check(&q, &k, &v)?;
        let mut shape = q.tensor.shape().to_vec();
        shape.pop();
        shape.push(heads * dim);
        let out = Tensor::empty(q.tensor.gpu(), &shape, q.tensor.elem())?;
        if out.is_empty() {
            return Ok(out);
        }

        let steps = |rows: &Rows<'_>, width: usize, token_axis: usize| {
            let mut steps = [rows.outer_step * width, rows.inner_step * width, dim, 0, 0];
            steps[token_axis] = rows.token_step * width;
            steps
        };
        let operand = |rows: &Rows<'_>, token_axis| steps(rows, rows.tensor.last_dim(), token_axis);
        let mut operands = vec![
            Operand { tensor: q.tensor, base: q.column, steps: operand(&q, QUERIES), run: dim },
            Operand { tensor: k.tensor, base: k.column, steps: operand(&k, KEYS), run: dim },
            Operand { tensor: v.tensor, base: v.column, steps: operand(&v, KEYS), run: dim },
            Operand { tensor: &out, base: 0, steps: steps(&q, heads * dim, QUERIES), run: dim },
        ];
        let (queries, keys) = (q.tokens, k.tokens);
        if let Some(Bias { table, gate }) = self.bias {
            operands.push(Operand { tensor: table, base: 0, steps: [0, 0, queries * keys, keys, 1], run: 1 });
            let per_batch = heads * queries;
            operands.push(Operand {
                tensor: gate,
                base: 0,
                steps: [inner * per_batch, per_batch, queries, 1, 0],
                run: 1,
            });
        }
        self.record(&operands, [q.outer, inner, heads, queries, keys], matrices)?;
        Ok(out)
    }

    fn check(&self, q: &Rows<'_>, k: &Rows<'_>, v: &Rows<'_>) -> Result<()> {
        let wrong = |what: &str, expected: String, found: String| {
            Err(Problem::new(format!("attention {what}"), expected, found).shape())
        };
        let width = self.heads * self.head_dim;
        for (what, rows) in [("q", q), ("k", k), ("v", v)] {
            if rows.column + width > rows.tensor.last_dim() {
                let found = format!("columns {}..{} of {:?}", rows.column, rows.column + width, rows.tensor);
                return wrong(what, format!("{} heads of {} in a row", self.heads, self.head_dim), found);
            }
            if !self.vector() && rows.tensor.elem() != Elem::F32 {
                return wrong(
                    what,
                    "f32, or heads of a multiple of 4".to_string(),
                    format!("heads of {} in {:?}", self.head_dim, rows.tensor),
                );
            }
        }
        let layout = |rows: &Rows<'_>| {
            (rows.tensor.last_dim(), rows.outer_step, rows.inner_step, rows.token_step, rows.tokens, rows.outer)
        };
        if layout(k) != layout(v) {
            return wrong("v", k.batches(), v.batches());
        }
        if q.outer != k.outer || k.tokens == 0 {
            return wrong("k", q.batches(), k.batches());
        }
        if let Some(Bias { table, gate }) = self.bias {
            table.expect("attention bias", &[self.heads, q.tokens, k.tokens])?;
            gate.expect("attention gate", &[q.outer * q.inner, self.heads, q.tokens])?;
            table.expect_elem("attention bias", Elem::F32)?;
            gate.expect_elem("attention gate", Elem::F32)?;
        }
        Ok(())
    }

    /// Whether every row of a head begins and ends on a group of four elements.
    fn vector(&self) -> bool {
        let rows = [&self.q, &self.k, &self.v];
        self.head_dim.is_multiple_of(4)
            && rows.iter().all(|r| r.column.is_multiple_of(4) && r.tensor.last_dim().is_multiple_of(4))
    }

    /// The dispatches for `extents`, cut into blocks whose operands fit a binding. Blocks of keys follow one another over
    /// a state that holds each query's maximum, sum and accumulator.
    fn record(&self, operands: &[Operand<'_>], extents: Axes, matrices: Option<Matrices>) -> Result<()> {
        let gpu = operands[0].tensor.gpu();
        let block = self.block(operands, extents)?;
        let ranges =
            |axis: usize| (0..extents[axis]).step_by(block[axis]).map(move |i| i..extents[axis].min(i + block[axis]));
        let carry = block[KEYS] < extents[KEYS];
        // That kernel takes no state.
        let matrices = matrices.filter(|_| !carry);
        for outer in ranges(OUTER) {
            for (inner, heads) in ranges(INNER).flat_map(|inner| ranges(HEADS).map(move |heads| (inner.clone(), heads)))
            {
                for queries in ranges(QUERIES) {
                    let rows = outer.len() * inner.len() * heads.len() * queries.len();
                    let state =
                        carry.then(|| Tensor::empty(gpu, &[rows, self.state_width()], Elem::F32)).transpose()?;
                    for keys in ranges(KEYS) {
                        let (first, last) = (keys.start == 0, keys.end == extents[KEYS]);
                        let block = [outer.clone(), inner.clone(), heads.clone(), queries.clone(), keys];
                        self.dispatch(operands, &block, state.as_ref(), [first, last], matrices)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The largest block that fits, halving the axis over which a too large operand reaches farthest.
    fn block(&self, operands: &[Operand<'_>], extents: Axes) -> Result<Axes> {
        let gpu = operands[0].tensor.gpu();
        let limit = gpu.capabilities().max_binding_bytes as usize;
        let bytes = |o: &Operand<'_>, block: &Axes| o.span(block) * o.tensor.elem().size() + alignment(gpu);
        let mut block = extents;
        loop {
            let rows: usize = block[..KEYS].iter().product();
            let steps = if let Some(large) = operands.iter().find(|o| bytes(o, &block) > limit) {
                large.steps
            } else if block[KEYS] < extents[KEYS] && rows * self.state_width() * 4 > limit {
                [1, 1, 1, 1, 0]
            } else {
                return Ok(block);
            };
            let reach = |&axis: &usize| (block[axis] - 1) * steps[axis];
            match (0..5).max_by_key(reach).filter(|axis| reach(axis) > 0) {
                Some(axis) => block[axis] = block[axis].div_ceil(2),
                None => {
                    let found = format!("a binding of {limit} bytes");
                    return Err(Problem::new("attention", format!("room for a head of {}", self.head_dim), found).gpu());
                }
            }
        }
    }

    /// Elements of a query's state: maximum, sum, two unused, accumulator.
    fn state_width(&self) -> usize {
        4 + self.head_dim.next_multiple_of(4)
    }

    fn dispatch(
        &self,
        operands: &[Operand<'_>],
        block: &[Range<usize>; 5],
        state: Option<&Tensor>,
        [first, last]: [bool; 2],
        matrices: Option<Matrices>,
    ) -> Result<()> {
        let windows = operands.iter().map(|o| o.window(block)).collect::<Result<Vec<_>>>()?;
        let base = |i: usize| windows.get(i).map_or(0, |(_, base)| *base);
        let step = |i: usize, axis: usize| operands.get(i).map_or(0, |o| o.steps[axis] as u32);
        let [outer, inner, heads, queries, keys] = block.clone().map(|range| range.len());
        let problems = outer * inner * heads;
        let params = Params {
            q_base: base(0),
            q_outer: step(0, OUTER),
            q_inner: step(0, INNER),
            q_token: step(0, QUERIES),
            out_base: base(3),
            out_outer: step(3, OUTER),
            out_inner: step(3, INNER),
            out_token: step(3, QUERIES),
            k_base: base(1),
            v_base: base(2),
            k_outer: step(1, OUTER),
            k_inner: step(1, INNER),
            k_token: step(1, KEYS),
            bias_base: base(4),
            bias_head: step(4, HEADS),
            bias_query: step(4, QUERIES),
            gate_base: base(5),
            gate_outer: step(5, OUTER),
            gate_inner: step(5, INNER),
            gate_head: step(5, HEADS),
            problems: problems as u32,
            inner: inner as u32,
            heads: heads as u32,
            queries: queries as u32,
            keys: keys as u32,
            scale: self.scale,
            first: first.into(),
            last: last.into(),
        };
        let plan = plan(windows[0].0.gpu(), matrices, self.head_dim, problems, queries, keys);
        let flags = [("BIAS", self.bias.is_some()), ("CARRY", state.is_some()), ("VECTOR", self.vector())];
        let flags = flags.map(|(name, holds)| (name, usize::from(holds)));
        let constants: Vec<_> = plan.constants.into_iter().chain([("DIM", self.head_dim)]).chain(flags).collect();
        let constants: Vec<_> = constants.into_iter().map(|(name, value)| (name, value as u32)).collect();
        let tensors: Vec<&Tensor> = windows.iter().map(|(window, _)| window).chain(state).collect();
        Call {
            kernel: plan.kernel,
            constants: &constants,
            params,
            tensors: &tensors,
            groups: plan.groups,
            flops: 4.0 * (problems * queries * keys * self.head_dim) as f64,
            site: None,
        }
        .record()
    }
}

/// A kernel and how it is started.
struct Plan {
    kernel: &'static Kernel,
    groups: usize,
    constants: Vec<(&'static str, usize)>,
}

/// The kernel for `problems` heads of `dim`, its workgroups and its sizes.
fn plan(gpu: &Gpu, matrices: Option<Matrices>, dim: usize, problems: usize, queries: usize, keys: usize) -> Plan {
    let dim4 = dim.div_ceil(4);
    let class = AttentionClass::of(dim, keys);
    // Fewer queries or keys leave most of a tile empty.
    let pays = queries >= 16 && class != AttentionClass::Few;
    if let Some(tile) = matrices.filter(|_| pays).and_then(|matrices| AttentionTile::choose(gpu, matrices, dim)) {
        let groups = problems * queries.div_ceil(tile.rows);
        return Plan { kernel: &cooperative::ATTENTION, groups, constants: tile.constants() };
    }
    let tile = Tuning::of(gpu).queries(class, gpu.capabilities());
    if is_narrow_software(gpu.capabilities()) {
        let wide = dim4 > 32;
        let tiles = queries.div_ceil(8).min(if wide { 2 } else { 3 }).min(tile.of([1, 2, 3]));
        let parts = keys.div_ceil(8).next_power_of_two().min(if wide { 4 } else { 8 });
        let groups = dim4.div_ceil(8).min(2);
        let chunks = dim4.div_ceil(8 * groups);
        let constants = vec![("TILES", tiles), ("PARTS", parts), ("GROUPS", groups), ("CHUNKS", chunks)];
        Plan { kernel: &SUBGROUP, groups: problems * queries.div_ceil(8 * tiles), constants }
    } else if class == AttentionClass::Few {
        let workgroup = tile.of([32, 64, 128]);
        let constants = vec![("WORKGROUP", workgroup), ("GROUPS", dim4)];
        Plan { kernel: &FEW, groups: (problems * queries).div_ceil(workgroup), constants }
    } else {
        let lanes = (dim4 / 2).next_power_of_two().clamp(4, 32);
        let rows = tile.of([64, 128, 256]) / lanes;
        let constants = vec![("LANES", lanes), ("ROWS", rows), ("COLUMNS", dim4.div_ceil(lanes))];
        Plan { kernel: &TILED, groups: problems * queries.div_ceil(4 * rows), constants }
    }
}

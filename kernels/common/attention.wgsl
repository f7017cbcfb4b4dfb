// What every attention kernel shares: operands, addresses, rows in groups of four, and the state carried over key blocks.
//   q, out          element base + outer * _outer + inner * _inner + query * _token + head * DIM
//   k, v            element base + outer * k_outer + inner * k_inner + key * k_token + head * DIM
//   bias            [heads, queries, keys]   times gate [batches, heads, queries]; only with BIAS
//   state           [problems, queries, 1 + DIM4] vec4: (maximum, sum, -, -), then the accumulator; only with CARRY
// A problem is one (batch, head). VECTOR: DIM and every address are multiples of 4; else f32 only, element by element.
#params
q_base: u32
q_outer: u32
q_inner: u32
q_token: u32
out_base: u32
out_outer: u32
out_inner: u32
out_token: u32
k_base: u32
v_base: u32
k_outer: u32
k_inner: u32
k_token: u32
bias_base: u32
bias_head: u32
bias_query: u32
gate_base: u32
gate_outer: u32
gate_inner: u32
gate_head: u32
problems: u32
inner: u32
heads: u32
queries: u32
keys: u32
scale: f32
first: u32        // whether this dispatch has the first keys, and the last: otherwise the state goes in, or out
last: u32
#end
#read q
#read k
#read v
#write out
#if BIAS
#read bias
#read gate
#end
#if CARRY
#readwrite state
#end
const DIM4 = (DIM + 3u) / 4u;
// Below every score, and finite, so that differences of maxima never are NaN.
const LOWEST = -3.0e38;

// Where token 0 of a problem lies in each operand, in elements.
struct Starts { q: u32, k: u32, v: u32, out: u32, bias: u32, gate: u32 }

fn starts(problem: u32) -> Starts {
    let head = problem % params.heads;
    let batch = problem / params.heads;
    let outer = batch / params.inner;
    let inner = batch % params.inner;
    let kv = outer * params.k_outer + inner * params.k_inner + head * DIM;
    return Starts(
        params.q_base + outer * params.q_outer + inner * params.q_inner + head * DIM,
        params.k_base + kv,
        params.v_base + kv,
        params.out_base + outer * params.out_outer + inner * params.out_inner + head * DIM,
        params.bias_base + head * params.bias_head,
        params.gate_base + outer * params.gate_outer + inner * params.gate_inner + head * params.gate_head,
    );
}

// Elements 4d..4d+4 of the row of DIM that begins at element `start`; zero past its end.
#if VECTOR
fn q_row4(start: u32, d: u32) -> vec4<f32> { return q_at4(start / 4u + d); }
fn k_row4(start: u32, d: u32) -> vec4<f32> { return k_at4(start / 4u + d); }
fn v_row4(start: u32, d: u32) -> vec4<f32> { return v_at4(start / 4u + d); }
fn out_row4(start: u32, d: u32, value: vec4<f32>) { out_set4(start / 4u + d, value); }
#else
fn inside(d: u32) -> vec4<bool> { return vec4<u32>(4u * d) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(DIM); }
fn places(start: u32, d: u32) -> vec4<u32> {
    return start + min(vec4<u32>(4u * d) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(DIM - 1u));
}
fn q_row4(start: u32, d: u32) -> vec4<f32> {
    let i = places(start, d);
    return select(vec4<f32>(), vec4<f32>(q_at(i.x), q_at(i.y), q_at(i.z), q_at(i.w)), inside(d));
}
fn k_row4(start: u32, d: u32) -> vec4<f32> {
    let i = places(start, d);
    return select(vec4<f32>(), vec4<f32>(k_at(i.x), k_at(i.y), k_at(i.z), k_at(i.w)), inside(d));
}
fn v_row4(start: u32, d: u32) -> vec4<f32> {
    let i = places(start, d);
    return select(vec4<f32>(), vec4<f32>(v_at(i.x), v_at(i.y), v_at(i.z), v_at(i.w)), inside(d));
}
fn out_row4(start: u32, d: u32, value: vec4<f32>) {
    for (var c = 0u; c < min(4u, DIM - 4u * d); c++) { out_set(start + 4u * d + c, value[c]); }
}
#end

#if BIAS
fn score(dot: f32, at: Starts, query: u32, key: u32) -> f32 {
    return dot * params.scale + gate_at(at.gate + query) * bias_at(at.bias + query * params.bias_query + key);
}
#else
fn score(dot: f32, at: Starts, query: u32, key: u32) -> f32 { return dot * params.scale; }
#end

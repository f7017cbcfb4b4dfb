// attention_cooperative: out = softmax(q k^T * scale + gate * bias) v per batch and head on cooperative matrices: f16 q, k, v and
// probabilities, f32 scores, softmax and sums; scores never leave the workgroup (online softmax: Milakov and Gimelshein 2018;
// tiles: Dao et al. 2022). Operands: common/attention.wgsl, all of f16, VECTOR, no CARRY; matrices: common/matrix.wgsl.
// Dispatch: one workgroup of four subgroups per (problem, tile of ROWS queries), folded over x and y.
// For each block of KEYS keys: scores of all of the head, CHUNK dimensions at a time; softmax; then for each chunk the products with v,
// which go out through `sums` and are added up by the invocations. That order keeps a head of 512 within 32 KiB of workgroup memory.
//   DIM, CHUNK, CHUNKS               of a head; CHUNK * CHUNKS is DIM or more, the rest zeros
//   ROWS, KEYS                       of a block
//   COLUMN_PARTS                     1: each subgroup has its own quarter of the rows; 4: all rows and a quarter of the columns
//   ROW_MATRICES, KEY_MATRICES, OUT_MATRICES    of a subgroup: down, across the scores, across a chunk
//   WORKGROUP, LANES                 LANES = WORKGROUP / ROWS invocations share a query's row
//   SCORES, QUADS                    groups of four that an invocation has of a row's scores and of a row of a chunk
//   BIAS
#include attention
#include matrix
const CHUNK4 = CHUNK / 4u;
// Two groups of padding keep the rows of a matrix apart in the banks of workgroup memory.
const Q_STRIDE = CHUNKS * CHUNK4 + 2u;
const KV_STRIDE = CHUNK4 + 2u;
const P_STRIDE = KEYS / 4u + 2u;
const SUMS_STRIDE = max(KEYS, CHUNK) / 4u + 1u;
const KV_AT = ROWS * Q_STRIDE;
const P_AT = KV_AT + KEYS * KV_STRIDE;
const HALVES = P_AT + ROWS * P_STRIDE;
const SUMS = ROWS * SUMS_STRIDE;
var<workgroup> partial: array<f32, WORKGROUP>;

#if EMULATED
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let part = local / LANES_EACH;
    own = local % LANES_EACH;
#else
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) part: u32) {
#end
    let tiles = (params.queries + ROWS - 1u) / ROWS;
    let group = group_index(id, count);
    if group >= params.problems * tiles { return; }
    let problem = group / tiles;
    let at = starts(problem);
    let first_query = group % tiles * ROWS;
    let row = local / LANES;
    let lane = local % LANES;
    let query = min(first_query + row, params.queries - 1u);
    let part_row = part / COLUMN_PARTS * ROW_MATRICES * MATRIX;
    let part_column = part % COLUMN_PARTS;

    for (var i = local; i < ROWS * CHUNKS * CHUNK4; i += WORKGROUP) {
        let token = first_query + i / (CHUNKS * CHUNK4);
        let d = i % (CHUNKS * CHUNK4);
        var value = vec4<f16>();
        if token < params.queries && d < DIM4 { value = q_half4((at.q + token * params.q_token) / 4u + d); }
        halves_set(i / (CHUNKS * CHUNK4) * Q_STRIDE + d, value);
    }
    var most = LOWEST;
    var sum = 0.0;
#for c in 0..CHUNKS
#for j in 0..QUADS
    var acc$c_$j = vec4<f32>();
#end
#end
    for (var key = 0u; key < params.keys; key += KEYS) {
#for m in 0..ROW_MATRICES
#for n in 0..KEY_MATRICES
        var scores$m_$n: Sum;
#end
#end
        for (var c = 0u; c < CHUNKS; c++) {
            workgroupBarrier();
            for (var i = local; i < KEYS * CHUNK4; i += WORKGROUP) {
                let token = key + i / CHUNK4;
                let d = c * CHUNK4 + i % CHUNK4;
                var value = vec4<f16>();
                if token < params.keys && d < DIM4 { value = k_half4((at.k + token * params.k_token) / 4u + d); }
                halves_set(KV_AT + i / CHUNK4 * KV_STRIDE + i % CHUNK4, value);
            }
            workgroupBarrier();
            for (var d = 0u; d < CHUNK4; d += MATRIX / 4u) {
#for m in 0..ROW_MATRICES
                let q$m = left((part_row + $m * MATRIX) * Q_STRIDE + c * CHUNK4 + d, Q_STRIDE);
#end
#for n in 0..KEY_MATRICES
                let k$n = right_transposed(KV_AT + (part_column * KEY_MATRICES + $n) * MATRIX * KV_STRIDE + d, KV_STRIDE);
#for m in 0..ROW_MATRICES
                scores$m_$n = multiply_add(q$m, k$n, scores$m_$n);
#end
#end
            }
        }
#for m in 0..ROW_MATRICES
#for n in 0..KEY_MATRICES
        store(scores$m_$n, (part_row + $m * MATRIX) * SUMS_STRIDE + (part_column * KEY_MATRICES + $n) * MATRIX / 4u, SUMS_STRIDE);
#end
#end
        workgroupBarrier();
        var block_most = LOWEST;
#for j in 0..SCORES
        var s$j = sums_at(row * SUMS_STRIDE + lane + $j * LANES);
#for e in 0..4
        {
            let token = key + 4u * (lane + $j * LANES) + $e;
            let inside = token < params.keys;
            s$j[$e] = select(LOWEST, score(s$j[$e], at, query, min(token, params.keys - 1u)), inside);
            block_most = max(block_most, s$j[$e]);
        }
#end
#end
        partial[local] = block_most;
        workgroupBarrier();
        var next = most;
        for (var i = 0u; i < LANES; i++) { next = max(next, partial[row * LANES + i]); }
        let shrink = exp(most - next);
        most = next;
        sum *= shrink;
#for j in 0..SCORES
        {
            // Summed as they are multiplied, rounded, so that they add up to one.
            let p = vec4<f16>(exp(s$j - most));
            sum += dot(vec4<f32>(p), vec4<f32>(1.0));
            halves_set(P_AT + row * P_STRIDE + lane + $j * LANES, p);
        }
#end
#for c in 0..CHUNKS
        for (var i = local; i < KEYS * CHUNK4; i += WORKGROUP) {
            let token = key + i / CHUNK4;
            let d = $c * CHUNK4 + i % CHUNK4;
            var value = vec4<f16>();
            if token < params.keys && d < DIM4 { value = v_half4((at.v + token * params.k_token) / 4u + d); }
            halves_set(KV_AT + i / CHUNK4 * KV_STRIDE + i % CHUNK4, value);
        }
        workgroupBarrier();
        {
#for m in 0..ROW_MATRICES
#for n in 0..OUT_MATRICES
            var out$m_$n: Sum;
#end
#end
            for (var k = 0u; k < KEYS; k += MATRIX) {
#for m in 0..ROW_MATRICES
                let p$m = left(P_AT + (part_row + $m * MATRIX) * P_STRIDE + k / 4u, P_STRIDE);
#end
#for n in 0..OUT_MATRICES
                let v$n = right(KV_AT + k * KV_STRIDE + (part_column * OUT_MATRICES + $n) * MATRIX / 4u, KV_STRIDE);
#for m in 0..ROW_MATRICES
                out$m_$n = multiply_add(p$m, v$n, out$m_$n);
#end
#end
            }
#for m in 0..ROW_MATRICES
#for n in 0..OUT_MATRICES
            store(out$m_$n, (part_row + $m * MATRIX) * SUMS_STRIDE + (part_column * OUT_MATRICES + $n) * MATRIX / 4u, SUMS_STRIDE);
#end
#end
        }
        workgroupBarrier();
#for j in 0..QUADS
        acc$c_$j = shrink * acc$c_$j + sums_at(row * SUMS_STRIDE + lane + $j * LANES);
#end
#end
    }
    workgroupBarrier();
    partial[local] = sum;
    workgroupBarrier();
    sum = 0.0;
    for (var i = 0u; i < LANES; i++) { sum += partial[row * LANES + i]; }
    if first_query + row < params.queries {
        let start = at.out + query * params.out_token;
#for c in 0..CHUNKS
#for j in 0..QUADS
        if $c * CHUNK4 + lane + $j * LANES < DIM4 { out_row4(start, $c * CHUNK4 + lane + $j * LANES, acc$c_$j / sum); }
#end
#end
    }
}

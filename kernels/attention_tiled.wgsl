// attention_tiled: out = softmax(q k^T * scale + gate * bias) v per batch and head, scores never stored
//   (online softmax: Milakov and Gimelshein 2018; tiles: Dao et al. 2022). Operands: common/attention.wgsl.
// Dispatch: one workgroup of ROWS x LANES per (problem, tile of 4 ROWS queries), folded over x and y. Needs no subgroups and
// workgroup memory for 5 vec4 per invocation or more. Invocation (row, lane) keeps, for queries row + ROWS r, r in 0..4,
// the scores of keys lane + LANES j, j in 0..4, of a block, and groups lane + LANES c, c in 0..COLUMNS, of the output.
// Keys come in the same order and blocks whatever ROWS is, so that it changes no bit.
// Constants: DIM (of a head), LANES, ROWS, COLUMNS = DIM4 / LANES rounded up; BIAS, CARRY, VECTOR.
#include attention

const CHUNK = 4u;
const QUERIES = 4u * ROWS;
const KEYS = 4u * LANES;
const THREADS = ROWS * LANES;
// CHUNK groups of four dimensions of q and k, then the block's probabilities [KEYS, ROWS], a query of the four in each component.
var<workgroup> tile: array<vec4<f32>, max(4u * THREADS, (QUERIES + KEYS) * CHUNK)>;
var<workgroup> partial: array<vec4<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let tiles = (params.queries + QUERIES - 1u) / QUERIES;
    let group = group_index(id, count);
    if group >= params.problems * tiles { return; }
    let problem = group / tiles;
    let at = starts(problem);
    let query = group % tiles * QUERIES;
    let row = local / LANES;
    let lane = local % LANES;

    var most = vec4<f32>(LOWEST);
    var sum = vec4<f32>();
#for r in 0..4
#for c in 0..COLUMNS
    var acc$r_$c = vec4<f32>();
#end
#end
#if CARRY
    if params.first == 0u {
#for r in 0..4
        if query + row + ROWS * $r < params.queries {
            let start = (problem * params.queries + query + row + ROWS * $r) * (DIM4 + 1u);
            let carried = state_at4(start);
            most[$r] = carried.x;
            sum[$r] = select(0.0, carried.y, lane == 0u);
#for c in 0..COLUMNS
            acc$r_$c = state_at4(start + 1u + min(lane + LANES * $c, DIM4 - 1u));
#end
        }
#end
    }
#end
    for (var key = 0u; key < params.keys; key += KEYS) {
#for j in 0..4
        var s$j = vec4<f32>();
#end
        for (var d = 0u; d < DIM4; d += CHUNK) {
            workgroupBarrier();
            for (var i = local; i < (QUERIES + KEYS) * CHUNK; i += THREADS) {
                let token = i / CHUNK;
                let group4 = d + i % CHUNK;
                var value = vec4<f32>();
                if group4 < DIM4 {
                    if token < QUERIES {
                        if query + token < params.queries { value = q_row4(at.q + (query + token) * params.q_token, group4); }
                    } else if key + token - QUERIES < params.keys {
                        value = k_row4(at.k + (key + token - QUERIES) * params.k_token, group4);
                    }
                }
                tile[i % CHUNK * (QUERIES + KEYS) + token] = value;
            }
            workgroupBarrier();
            for (var i = 0u; i < CHUNK; i++) {
                let start = i * (QUERIES + KEYS);
#for r in 0..4
                let q$r = tile[start + row + ROWS * $r];
#end
#for j in 0..4
                let k$j = tile[start + QUERIES + lane + LANES * $j];
                s$j += vec4<f32>(dot(q0, k$j), dot(q1, k$j), dot(q2, k$j), dot(q3, k$j));
#end
            }
        }
#for j in 0..4
        if key + lane + LANES * $j < params.keys {
#for r in 0..4
            s$j[$r] = score(s$j[$r], at, min(query + row + ROWS * $r, params.queries - 1u), key + lane + LANES * $j);
#end
        } else {
            s$j = vec4<f32>(LOWEST);
        }
#end
        partial[lane * ROWS + row] = max(max(s0, s1), max(s2, s3));
        workgroupBarrier();
        var next = most;
        for (var i = 0u; i < LANES; i++) { next = max(next, partial[i * ROWS + row]); }
        let shrink = exp(most - next);
        most = next;
        sum *= shrink;
#for j in 0..4
        s$j = exp(s$j - most);
        sum += s$j;
        tile[(lane + LANES * $j) * ROWS + row] = s$j;
#end
        workgroupBarrier();
#for r in 0..4
#for c in 0..COLUMNS
        acc$r_$c *= shrink[$r];
#end
#end
        let keys = min(KEYS, params.keys - key);
        for (var j = 0u; j < keys; j++) {
            let p = tile[j * ROWS + row];
            let start = at.v + (key + j) * params.k_token;
#for c in 0..COLUMNS
            let v$c = v_row4(start, min(lane + LANES * $c, DIM4 - 1u));
#for r in 0..4
            acc$r_$c += p[$r] * v$c;
#end
#end
        }
    }
    workgroupBarrier();
    partial[lane * ROWS + row] = sum;
    workgroupBarrier();
    sum = vec4<f32>();
    for (var i = 0u; i < LANES; i++) { sum += partial[i * ROWS + row]; }
#for r in 0..4
    if query + row + ROWS * $r < params.queries {
        let token = query + row + ROWS * $r;
#if CARRY
        if params.last == 0u {
            let to = (problem * params.queries + token) * (DIM4 + 1u);
            if lane == 0u { state_set4(to, vec4<f32>(most[$r], sum[$r], 0.0, 0.0)); }
#for c in 0..COLUMNS
            if lane + LANES * $c < DIM4 { state_set4(to + 1u + lane + LANES * $c, acc$r_$c); }
#end
        } else {
#end
#for c in 0..COLUMNS
        if lane + LANES * $c < DIM4 { out_row4(at.out + token * params.out_token, lane + LANES * $c, acc$r_$c / sum[$r]); }
#end
#if CARRY
        }
#end
    }
#end
}

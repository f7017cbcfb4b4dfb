// attention_subgroup: out = softmax(q k^T * scale + gate * bias) v per batch and head, where a subgroup is 8 lanes and
//   loads are dear (software devices): scores and probabilities stay in registers and go round by broadcast and shuffle.
//   Operands: common/attention.wgsl. Online softmax: Milakov and Gimelshein 2018.
// Dispatch: one workgroup of 8, a subgroup, per (problem, tile of 8 TILES queries), folded over x and y; no barrier.
// Lane l holds queries 8u + l, u in 0..TILES, keys 8j + l, j in 0..PARTS, of a block, and groups 8 (GROUPS h + g) + l,
// h in 0..CHUNKS, g in 0..GROUPS, of every query's output.
// Constants: DIM (of a head), TILES, PARTS, CHUNKS, GROUPS (8 * CHUNKS * GROUPS >= DIM4); BIAS, CARRY, VECTOR.
#include attention

const QUERIES = 8u * TILES;
const KEYS = 8u * PARTS;

fn most_of(value: f32) -> f32 {
    let pair = max(value, subgroupShuffleXor(value, 1u));
    let four = max(pair, subgroupShuffleXor(pair, 2u));
    return max(four, subgroupShuffleXor(four, 4u));
}
fn sum_of(value: f32) -> f32 {
    let pair = value + subgroupShuffleXor(value, 1u);
    let four = pair + subgroupShuffleXor(pair, 2u);
    return four + subgroupShuffleXor(four, 4u);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(subgroup_invocation_id) lane: u32) {
    let tiles = (params.queries + QUERIES - 1u) / QUERIES;
    let group = group_index(id, count);
    if group >= params.problems * tiles { return; }
    let problem = group / tiles;
    let at = starts(problem);
    let query = group % tiles * QUERIES;
#for u in 0..TILES
    let q_start$u = at.q + min(query + 8u * $u + lane, params.queries - 1u) * params.q_token;
#end

#for u in 0..TILES
#for r in 0..8
    var most$u_$r = LOWEST;
    var sum$u_$r = 0.0;
#for h in 0..CHUNKS
#for g in 0..GROUPS
    var acc$u_$r_$h_$g = vec4<f32>();
#end
#end
#end
#end
#if CARRY
    if params.first == 0u {
#for u in 0..TILES
#for r in 0..8
        if query + 8u * $u + $r < params.queries {
            let start = (problem * params.queries + query + 8u * $u + $r) * (DIM4 + 1u);
            let carried = state_at4(start);
            most$u_$r = carried.x;
            sum$u_$r = select(0.0, carried.y, lane == 0u);
#for h in 0..CHUNKS
#for g in 0..GROUPS
            acc$u_$r_$h_$g = state_at4(start + 1u + min(8u * (GROUPS * $h + $g) + lane, DIM4 - 1u));
#end
#end
        }
#end
#end
    }
#end
    for (var key = 0u; key < params.keys; key += KEYS) {
#for u in 0..TILES
#for r in 0..8
#for j in 0..PARTS
        var s$u_$r_$j = 0.0;
#end
#end
#end
#for j in 0..PARTS
        let key$j = min(key + 8u * $j + lane, params.keys - 1u);
        let k_start$j = at.k + key$j * params.k_token;
#end
        for (var d = 0u; d < DIM4; d++) {
#for j in 0..PARTS
            let k$j = k_row4(k_start$j, d);
#end
#for u in 0..TILES
            let q$u = q_row4(q_start$u, d);
#for r in 0..8
            {
                let a = subgroupBroadcast(q$u, u32($r));
#for j in 0..PARTS
                s$u_$r_$j += a.x * k$j.x;
                s$u_$r_$j += a.y * k$j.y;
                s$u_$r_$j += a.z * k$j.z;
                s$u_$r_$j += a.w * k$j.w;
#end
            }
#end
#end
        }
#for u in 0..TILES
#for r in 0..8
        {
            let row = min(query + 8u * $u + $r, params.queries - 1u);
            var next = most$u_$r;
#for j in 0..PARTS
            s$u_$r_$j = select(LOWEST, score(s$u_$r_$j, at, row, key$j), key + 8u * $j + lane < params.keys);
            next = max(next, s$u_$r_$j);
#end
            next = most_of(next);
            let shrink = exp(most$u_$r - next);
            most$u_$r = next;
            sum$u_$r *= shrink;
#for j in 0..PARTS
            s$u_$r_$j = exp(s$u_$r_$j - next);
            sum$u_$r += s$u_$r_$j;
#end
#for h in 0..CHUNKS
#for g in 0..GROUPS
            acc$u_$r_$h_$g *= shrink;
#end
#end
        }
#end
#end
#for h in 0..CHUNKS
        for (var i = 0u; i < min(8u, params.keys - key); i++) {
#for j in 0..PARTS
            let v_start$j = at.v + min(key + 8u * $j + i, params.keys - 1u) * params.k_token;
#for g in 0..GROUPS
            let v$j_$g = v_row4(v_start$j, min(8u * (GROUPS * $h + $g) + lane, DIM4 - 1u));
#end
#end
#for u in 0..TILES
#for r in 0..8
            {
#for j in 0..PARTS
                let p$j = subgroupShuffle(s$u_$r_$j, i);
#end
#for g in 0..GROUPS
#for j in 0..PARTS
                acc$u_$r_$h_$g += p$j * v$j_$g;
#end
#end
            }
#end
#end
        }
#end
    }
#for u in 0..TILES
#for r in 0..8
    {
        let row = query + 8u * $u + $r;
        let sum = sum_of(sum$u_$r);
        if row < params.queries {
#if CARRY
            if params.last == 0u {
                let start = (problem * params.queries + row) * (DIM4 + 1u);
                if lane == 0u { state_set4(start, vec4<f32>(most$u_$r, sum, 0.0, 0.0)); }
#for h in 0..CHUNKS
#for g in 0..GROUPS
                if 8u * (GROUPS * $h + $g) + lane < DIM4 { state_set4(start + 1u + 8u * (GROUPS * $h + $g) + lane, acc$u_$r_$h_$g); }
#end
#end
            } else {
#end
#for h in 0..CHUNKS
#for g in 0..GROUPS
            if 8u * (GROUPS * $h + $g) + lane < DIM4 {
                out_row4(at.out + row * params.out_token, 8u * (GROUPS * $h + $g) + lane, acc$u_$r_$h_$g / sum);
            }
#end
#end
#if CARRY
            }
#end
        }
    }
#end
#end
}

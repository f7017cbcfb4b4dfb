// attention_few: out = softmax(q k^T * scale + gate * bias) v per batch and head, for few keys (a clip's frames or its
//   context). Operands: common/attention.wgsl. Online softmax: Milakov and Gimelshein 2018.
// Dispatch: one invocation per (problem, query), queries innermost so that neighbours read the same keys; workgroup of
// WORKGROUP, folded over x and y. Query and output live in registers: DIM of at most 64.
// Constants: WORKGROUP, DIM (of a head), GROUPS = DIM4; BIAS, CARRY, VECTOR.
#include attention

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let index = group_index(id, count) * WORKGROUP + local;
    if index >= params.problems * params.queries { return; }
    let query = index % params.queries;
    let at = starts(index / params.queries);
    var most = LOWEST;
    var sum = 0.0;
#for d in 0..GROUPS
    let q$d = q_row4(at.q + query * params.q_token, $d);
    var acc$d = vec4<f32>();
#end
#if CARRY
    if params.first == 0u {
        let carried = state_at4(index * (DIM4 + 1u));
        most = carried.x;
        sum = carried.y;
#for d in 0..GROUPS
        acc$d = state_at4(index * (DIM4 + 1u) + 1u + $d);
#end
    }
#end
    for (var key = 0u; key < params.keys; key++) {
        var s = 0.0;
#for d in 0..GROUPS
        s += dot(q$d, k_row4(at.k + key * params.k_token, $d));
#end
        s = score(s, at, query, key);
        let next = max(most, s);
        let shrink = exp(most - next);
        let p = exp(s - next);
        most = next;
        sum = sum * shrink + p;
#for d in 0..GROUPS
        acc$d = acc$d * shrink + p * v_row4(at.v + key * params.k_token, $d);
#end
    }
#if CARRY
    if params.last == 0u {
        state_set4(index * (DIM4 + 1u), vec4<f32>(most, sum, 0.0, 0.0));
#for d in 0..GROUPS
        state_set4(index * (DIM4 + 1u) + 1u + $d, acc$d);
#end
        return;
    }
#end
#for d in 0..GROUPS
    out_row4(at.out + query * params.out_token, $d, acc$d / sum);
#end
}

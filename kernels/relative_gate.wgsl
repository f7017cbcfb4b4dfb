// relative_gate: y[h, t] = a (b scale[h] - 1) + 2, a = sigmoid(x[t, h, 0] + .. + x[t, h, 3]), b = sigmoid(x[t, h, 4] + ..).
//   x       [tokens, heads, 8]
//   scale   [heads]
//   y       [heads, tokens]   written everywhere, f32
// Source: WavLM (Chen et al. 2022), sec. 3.1, gated relative position bias. Dispatch: one invocation per element, folded.
#params
tokens: u32
heads: u32
#end
#read x
#read scale
#write y

fn sigmoid(v: f32) -> f32 { return 1.0 / (1.0 + exp(-v)); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.tokens * params.heads { return; }
    let head = at / params.tokens;
    let row = (at - head * params.tokens) * params.heads + head;
    let one = vec4<f32>(1.0);
    let a = sigmoid(dot(x_at4(2u * row), one));
    let b = sigmoid(dot(x_at4(2u * row + 1u), one));
    y_set(at, a * (b * scale_at(head) - 1.0) + 2.0);
}

// relative_bias: y[h, q, k] = table[h, k - q + tokens - 1], a bias by distance spread over all pairs of tokens.
//   table   [heads, 2 * tokens - 1]
//   y       [heads, tokens, tokens]   written everywhere
// Source: WavLM (Chen et al. 2022), sec. 3.1, position bias. Dispatch: one invocation per four elements of y, folded.
#params
count: u32              // elements of y here
first: u32              // elements of y before them
tokens: u32
#end
#read table
#write y

fn spread(i: u32) -> f32 {
    let tokens = params.tokens;
    let head = i / (tokens * tokens);
    let pair = i - head * tokens * tokens;
    let q = pair / tokens;
    return table_at(head * (2u * tokens - 1u) + (pair - q * tokens) + tokens - 1u - q);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    let i = at * 4u;
    if i >= params.count { return; }
    let last = params.count - 1u;
    let first = params.first;
    y_set4(at, vec4<f32>(spread(first + i), spread(first + min(i + 1u, last)),
                         spread(first + min(i + 2u, last)), spread(first + min(i + 3u, last))));
}

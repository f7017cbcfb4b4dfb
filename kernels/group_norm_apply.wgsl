// group_norm_apply: y = activation((x - mean) * rstd * weight + bias), statistics per sample and group (Wu and He 2018).
//   x, y          [samples, positions, channels]   y is written everywhere, may not alias x
//   statistics    [samples, groups, 4]             mean, rstd
//   weight, bias  [channels]
// ACTIVATION: 0 none, 1 SiLU. VECTOR: channels / groups is a multiple of 4.
// Dispatch: one invocation per four consecutive elements, workgroups folded over x and y.
#params
count: u32              // elements here
first: u32              // groups of four elements before them
sample_size: u32        // positions * channels
channels: u32
groups: u32
#end
#read x
#read statistics
#read weight
#read bias
#write y

fn normal(i: u32, value: f32) -> f32 {
    let channel = i % params.channels;
    let s = statistics_at4((i / params.sample_size) * params.groups + channel / (params.channels / params.groups));
    return (value - s.x) * s.y * weight_at(channel) + bias_at(channel);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = (id.x + id.y * count.x) * WORKGROUP + local;
    if at * 4u >= params.count { return; }
    let i = (params.first + at) * 4u;
    let v = x_at4(at);
#if VECTOR
    let channel = i % params.channels;
    let s = statistics_at4((i / params.sample_size) * params.groups + channel / (params.channels / params.groups));
    var r = (v - s.x) * s.y * weight_at4(channel / 4u) + bias_at4(channel / 4u);
#else
    var r = vec4<f32>(normal(i, v.x), normal(i + 1u, v.y), normal(i + 2u, v.z), normal(i + 3u, v.w));
#end
#if ACTIVATION == 1
    r = r / (1.0 + exp(-r));
#end
    // What hangs over the end may be anything, and must not count as an overflow.
    let inside = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.count - at * 4u);
    y_set4(at, select(vec4<f32>(), r, inside));
}

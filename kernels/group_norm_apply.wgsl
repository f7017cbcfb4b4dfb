// group_norm_apply: y = activation((x - mean) * rstd * weight + bias), statistics per sample and group (Wu and He 2018).
//   x, y          [samples, positions, channels]   y is written everywhere, may not alias x
//   statistics    [samples, 2, channels]           mean, then weight * rstd
//   bias          [channels]
// ACTIVATION: 0 none, 1 SiLU. ROWS: positions of an invocation where channels is a multiple of 4 and it has four of them, so
// that it reads what belongs to the channels once; 0: it has four consecutive elements of any channels.
// Dispatch: one invocation per ROWS positions of one sample and its channels, or per four elements, workgroups folded over x and y.
#params
count: u32              // elements here
first: u32              // positions before them, of all samples; with ROWS == 0 groups of four elements
positions: u32          // of a sample
channels: u32
#end
#read x
#read statistics
#read bias
#write y

#if ACTIVATION == 1
fn activate(v: vec4<f32>) -> vec4<f32> { return v / (1.0 + exp(-v)); }
#else
fn activate(v: vec4<f32>) -> vec4<f32> { return v; }
#end

#if ROWS == 0
fn normal(i: u32, value: f32) -> f32 {
    let row = i / params.channels;
    let channel = i - row * params.channels;
    let at = 2u * (row / params.positions) * params.channels + channel;
    return (value - statistics_at(at)) * statistics_at(at + params.channels) + bias_at(channel);
}
#end

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
#if ROWS == 0
    if at * 4u >= params.count { return; }
    let i = (params.first + at) * 4u;
    let v = x_at4(at);
    let r = activate(vec4<f32>(normal(i, v.x), normal(i + 1u, v.y), normal(i + 2u, v.z), normal(i + 3u, v.w)));
    // What hangs over the end may be anything, and must not count as an overflow.
    let inside = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.count - at * 4u);
    y_set4(at, select(vec4<f32>(), r, inside));
#else
    let columns = params.channels / 4u;
    let block = at / columns;
    let column = at - block * columns;
    let start = block * ROWS * columns + column;
    if start * 4u >= params.count { return; }
    let table = 2u * ((params.first + block * ROWS) / params.positions) * columns + column;
    let mean = statistics_at4(table);
    let scale = statistics_at4(table + columns);
    let shift = bias_at4(column);
#for r in 0..ROWS
    y_set4(start + ($r) * columns, activate((x_at4(start + ($r) * columns) - mean) * scale + shift));
#end
#end
}

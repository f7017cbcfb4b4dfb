// concat_channels: y = [a | b] row by row.
//   a   [rows, a_channels]
//   b   [rows, b_channels]
//   y   [rows, a_channels + b_channels]   written everywhere
// VECTOR: both are multiples of 4. Dispatch: one invocation per four elements of y, workgroups folded over x and y.
#params
count: u32              // elements of y
a_channels: u32
b_channels: u32
#end
#read a
#read b
#write y

fn joined(i: u32) -> f32 {
    let width = params.a_channels + params.b_channels;
    let row = i / width;
    let c = i - row * width;
    if c < params.a_channels { return a_at(row * params.a_channels + c); }
    return b_at(row * params.b_channels + c - params.a_channels);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    let i = at * 4u;
    if i >= params.count { return; }
#if VECTOR
    let width = params.a_channels + params.b_channels;
    let row = i / width;
    let c = i - row * width;
    if c < params.a_channels {
        y_set4(at, a_at4((row * params.a_channels + c) / 4u));
    } else {
        y_set4(at, b_at4((row * params.b_channels + c - params.a_channels) / 4u));
    }
#else
    let last = params.count - 1u;
    y_set4(at, vec4<f32>(joined(i), joined(min(i + 1u, last)), joined(min(i + 2u, last)), joined(min(i + 3u, last))));
#end
}

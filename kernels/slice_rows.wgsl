// slice_rows: y[r, c] = x[r / times, start + c]: some channels of each row, each row `times` times.
//   x   [rows, channels]
//   y   [rows * times, len]   written everywhere
// VECTOR: channels, start and len are multiples of 4. Dispatch: one invocation per four elements of y, workgroups folded.
#params
count: u32              // elements of y
channels: u32
start: u32
len: u32
times: u32
#end
#read x
#write y

fn sliced(i: u32) -> u32 {
    let row = i / params.len;
    return (row / params.times) * params.channels + params.start + i - row * params.len;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    let i = at * 4u;
    if i >= params.count { return; }
#if VECTOR
    y_set4(at, x_at4(sliced(i) / 4u));
#else
    let last = params.count - 1u;
    y_set4(at, vec4<f32>(x_at(sliced(i)), x_at(sliced(min(i + 1u, last))),
                         x_at(sliced(min(i + 2u, last))), x_at(sliced(min(i + 3u, last)))));
#end
}

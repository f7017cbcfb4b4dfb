// geglu: y = x[.., :channels] * gelu(x[.., channels:]) (Shazeer 2020).
//   x   [rows, 2 * channels]
//   y   [rows, channels]       written everywhere
// VECTOR: channels is a multiple of 4; else four elements of y may lie in two rows.
// Dispatch: one invocation per four elements of y, workgroups folded over x and y.
#include gelu
#params
count: u32              // elements of y
channels: u32
#end
#read x
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = (id.x + id.y * count.x) * WORKGROUP + local;
    if at * 4u >= params.count { return; }
    let channels = params.channels;
#if VECTOR
    let row = at / (channels / 4u);
    let source = at + row * (channels / 4u);
    y_set4(at, x_at4(source) * gelu(x_at4(source + channels / 4u)));
#else
    var value = vec4<f32>();
    var gate = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
        let i = min(at * 4u + j, params.count - 1u);
        let source = i + (i / channels) * channels;
        value[j] = x_at(source);
        gate[j] = x_at(source + channels);
    }
    y_set4(at, value * gelu(gate));
#end
}

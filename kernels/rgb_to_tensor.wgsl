// rgb_to_tensor: y = x / 127.5 - 1.
//   x   u32 [frames, stride]       bytes of packed RGB, four to a word, least significant first
//   y   f32 [frames, per_frame]    one value per byte, written everywhere
// Dispatch: one invocation per four elements of y, workgroups folded over x and y.
#params
count: u32              // groups of four elements here
first: u32              // groups of four elements before them
elements: u32           // of all frames
per_frame: u32          // bytes of a frame
stride: u32             // words of a frame
base: u32               // words before x
#end
#read x
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    var v = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
        let i = min((params.first + at) * 4u + j, params.elements - 1u);
        let byte = i % params.per_frame;
        let word = x[i / params.per_frame * params.stride + byte / 4u - params.base];
        v[j] = f32((word >> (byte % 4u * 8u)) & 0xffu) / 127.5 - 1.0;
    }
    y_set4(at, v);
}

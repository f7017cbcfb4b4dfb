// tensor_to_rgb: y = trunc(255 clamp((x + 1) / 2, 0, 1)), as upstream writes its frames.
//   x   f32 [frames, per_frame]
//   y   u32 [frames, stride]       bytes of packed RGB, four to a word, least significant first; 0 behind a frame's end
// Dispatch: one invocation per word of y, workgroups folded over x and y.
#params
count: u32              // words here
first: u32              // words before them
per_frame: u32          // bytes of a frame
stride: u32             // words of a frame
base: u32               // elements before x
#end
#read x
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    let frame = (params.first + at) / params.stride;
    var word = 0u;
    for (var j = 0u; j < 4u; j++) {
        let byte = (params.first + at) % params.stride * 4u + j;
        if byte < params.per_frame {
            let value = x_at(frame * params.per_frame + byte - params.base);
            word |= u32(clamp((value + 1.0) * 0.5, 0.0, 1.0) * 255.0) << (j * 8u);
        }
    }
    y[at] = word;
}

// tensor_to_rgb: y = trunc(white clamp((x + 1) / 2, 0, 1)), as upstream writes its frames; white is 255, or 65535 where values have
// 16 bits.
//   x   f32 [frames, per_frame]
//   y   u32 [frames, stride]       packed RGB, PER_WORD values to a word (4 of 8 bits, 2 of 16), least significant first; 0
//                                  behind a frame's end
// Dispatch: one invocation per word of y, workgroups folded over x and y.
#params
count: u32              // words here
first: u32              // words before them
per_frame: u32          // values of a frame
stride: u32             // words of a frame
base: u32               // elements before x
#end
#read x
#write y

const BITS: u32 = 32u / PER_WORD;
const WHITE: u32 = (1u << BITS) - 1u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    let frame = (params.first + at) / params.stride;
    var word = 0u;
    for (var j = 0u; j < PER_WORD; j++) {
        let i = (params.first + at) % params.stride * PER_WORD + j;
        if i < params.per_frame {
            let value = x_at(frame * params.per_frame + i - params.base);
            word |= u32(clamp((value + 1.0) * 0.5, 0.0, 1.0) * f32(WHITE)) << (j * BITS);
        }
    }
    y[at] = word;
}

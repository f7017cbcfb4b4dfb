// rgb_to_tensor: y = 2 x / white - 1, white being 255, or 65535 where values have 16 bits.
//   x   u32 [frames, stride]       packed RGB, PER_WORD values to a word (4 of 8 bits, 2 of 16), least significant first
//   y   f32 [frames, per_frame]    one for each, written everywhere
// Dispatch: one invocation per four elements of y, workgroups folded over x and y.
#params
count: u32              // groups of four elements here
first: u32              // groups of four elements before them
elements: u32           // of all frames
per_frame: u32          // values of a frame
stride: u32             // words of a frame
base: u32               // words before x
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
    var v = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
        let i = min((params.first + at) * 4u + j, params.elements - 1u);
        let value = i % params.per_frame;
        let word = x[i / params.per_frame * params.stride + value / PER_WORD - params.base];
        v[j] = f32((word >> (value % PER_WORD * BITS)) & WHITE) / (0.5 * f32(WHITE)) - 1.0;
    }
    y_set4(at, v);
}

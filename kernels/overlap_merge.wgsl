// overlap_merge: y[f] = mean of x[s, f - s * step] over all segments s that hold frame f, summed in their order.
//   x   [segments, length, width]   f32; bound from frame `base` (counted over all segments) on
//   y   [frames, width]             f32, written everywhere; bound from frame `first` on
// Dispatch: one invocation per element of y, workgroups folded over x and y.
#params
count: u32              // elements of y here
width: u32              // elements of a frame
first: u32
base: u32
segments: u32
length: u32
step: u32
#end
#read x
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let i = group_index(id, count) * WORKGROUP + local;
    if i >= params.count { return; }
    let frame = params.first + i / params.width;
    var s = 0u;
    if frame >= params.length { s = (frame - params.length) / params.step + 1u; }
    var sum = 0.0;
    var held = 0.0;
    for (; s < params.segments && s * params.step <= frame; s++) {
        let at = s * params.length + frame - s * params.step - params.base;
        sum += x_at(at * params.width + i % params.width);
        held += 1.0;
    }
    y_set(i, sum / held);
}

// feather_mask: y = max(0, 1 - d / feather), d the distance to the nearest pixel of the mask, in two exact passes.
//   x, y   f32 [frames, height, width]
// AXIS 0: y is the distance to the nearest pixel of the mask (x >= 1/2) in the same row, or 1e6 beyond `reach`.
// AXIS 1: x is that; y the result.
// Dispatch: one invocation per element, workgroups folded over x and y.
#params
count: u32
width: u32
height: u32
reach: u32
feather: f32
#end
#read x
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let i = group_index(id, count) * WORKGROUP + local;
    if i >= params.count { return; }
#if AXIS == 0
    let at = i % params.width;
    let begin = at - min(at, params.reach);
    let end = min(at + params.reach, params.width - 1u);
    var nearest = 1e6;
    for (var j = begin; j <= end; j++) {
        if x_at(i - at + j) >= 0.5 { nearest = min(nearest, abs(f32(j) - f32(at))); }
    }
    y_set(i, nearest);
#else
    let at = i / params.width % params.height;
    let begin = at - min(at, params.reach);
    let end = min(at + params.reach, params.height - 1u);
    var nearest = 1e12;
    for (var j = begin; j <= end; j++) {
        let across = x_at(i - at * params.width + j * params.width);
        let along = f32(j) - f32(at);
        nearest = min(nearest, across * across + along * along);
    }
    if nearest == 0.0 {
        y_set(i, 1.0);
    } else {
        y_set(i, max(0.0, 1.0 - sqrt(nearest) / max(params.feather, 1e-3)));
    }
#end
}

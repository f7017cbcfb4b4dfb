// downsample_mask: y[r, c] = x[step r, step c], 0 where the occluder is not 0: nearest, as published.
//   x          [rows * step, width * step]   f32
//   occluder   [rows, width]                 f32, only with OCCLUDER
//   y          [rows, width]                 f32, written everywhere
// Dispatch: one invocation per element of y, workgroups folded over x and y.
#params
count: u32
width: u32
step: u32
#end
#read x
#if OCCLUDER
#read occluder
#end
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let i = group_index(id, count) * WORKGROUP + local;
    if i >= params.count { return; }
    let row = i / params.width;
    var value = x_at((row * params.width * params.step + i % params.width) * params.step);
#if OCCLUDER
    if occluder_at(i) != 0.0 { value = 0.0; }
#end
    y_set(i, value);
}

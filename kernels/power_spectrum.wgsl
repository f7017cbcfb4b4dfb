// power_spectrum: y[r, k] = x[r, k]^2 + x[r, bins + k]^2, from the real and imaginary parts of a transform.
//   x   [rows, 2 * bins]
//   y   [rows, bins]       written everywhere
// VECTOR: bins is a multiple of 4; else four elements of y may lie in two rows.
// Dispatch: one invocation per four elements of y, workgroups folded over x and y.
#params
count: u32              // elements of y
bins: u32
#end
#read x
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at * 4u >= params.count { return; }
    let bins = params.bins;
#if VECTOR
    let source = at + (at / (bins / 4u)) * (bins / 4u);
    let re = x_at4(source);
    let im = x_at4(source + bins / 4u);
#else
    var re = vec4<f32>();
    var im = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
        let i = min(at * 4u + j, params.count - 1u);
        let source = i + (i / bins) * bins;
        re[j] = x_at(source);
        im[j] = x_at(source + bins);
    }
#end
    y_set4(at, re * re + im * im);
}

// feature_distance: y[r] = sum over channels of weight (a / (|a| + eps) - b / (|b| + eps))^2, |.| the norm of a row
// (LPIPS, Zhang et al. 2018, eq. 1; eps inside the quotient as in the published package).
//   params   rows, channels, eps
//   a, b     [rows, channels]   f32
//   weight   [channels]         f32
//   y        [rows]             f32, written everywhere
// Dispatch: one workgroup per row, folded over x and y. Two passes: norms, then differences.
#params
rows: u32
channels: u32
eps: f32
#end
#read a
#read b
#read weight
#write y
#include reduce

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let row = group_index(id, count);
    if row >= params.rows { return; }
    let start = row * params.channels;
    var squares = vec2<f32>();
    for (var c = local; c < params.channels; c += WORKGROUP) {
        let v = vec2<f32>(a_at(start + c), b_at(start + c));
        squares += v * v;
    }
    let norm_a = sqrt(reduce_sum(squares.x, local)) + params.eps;
    let norm_b = sqrt(reduce_sum(squares.y, local)) + params.eps;
    var distance = 0.0;
    for (var c = local; c < params.channels; c += WORKGROUP) {
        let d = a_at(start + c) / norm_a - b_at(start + c) / norm_b;
        distance += weight_at(c) * d * d;
    }
    let sum = reduce_sum(distance, local);
    if local == 0u { y_set(row, sum); }
}

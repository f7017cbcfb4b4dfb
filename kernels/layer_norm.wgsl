// layer_norm: y = (x - mean) / sqrt(var + eps) * weight + bias, per row, biased variance (Ba et al. 2016, eq. 3).
//   x, y            [rows, channels]  y is written everywhere, may not alias x
//   weight, bias    [channels]
// Dispatch: one workgroup per row, folded over x and y. Accumulates in f32, two passes (no E[x^2] - E[x]^2).
// VECTOR: channels is a multiple of 4, so that a row is read and written in groups of four; else f32 only.
#params
rows: u32
channels: u32
eps: f32
#end
#read x
#read weight
#read bias
#write y
#include reduce

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let row = id.x + id.y * count.x;
    if row >= params.rows { return; }
    let channels = params.channels;
#if VECTOR
    let groups = channels / 4u;
    let start = row * groups;
    var total = vec4<f32>();
    for (var c = local; c < groups; c += WORKGROUP) { total += x_at4(start + c); }
    let mean = reduce_sum(dot(total, vec4<f32>(1.0)), local) / f32(channels);
    var squares = vec4<f32>();
    for (var c = local; c < groups; c += WORKGROUP) {
        let d = x_at4(start + c) - mean;
        squares += d * d;
    }
    let rstd = inverseSqrt(reduce_sum(dot(squares, vec4<f32>(1.0)), local) / f32(channels) + params.eps);
    for (var c = local; c < groups; c += WORKGROUP) {
        y_set4(start + c, (x_at4(start + c) - mean) * rstd * weight_at4(c) + bias_at4(c));
    }
#else
    let start = row * channels;
    var total = 0.0;
    for (var c = local; c < channels; c += WORKGROUP) { total += x_at(start + c); }
    let mean = reduce_sum(total, local) / f32(channels);
    var squares = 0.0;
    for (var c = local; c < channels; c += WORKGROUP) {
        let d = x_at(start + c) - mean;
        squares += d * d;
    }
    let rstd = inverseSqrt(reduce_sum(squares, local) / f32(channels) + params.eps);
    for (var c = local; c < channels; c += WORKGROUP) {
        y_set(start + c, (x_at(start + c) - mean) * rstd * weight_at(c) + bias_at(c));
    }
#end
}

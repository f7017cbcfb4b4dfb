// layer_norm: y = (x - mean) / sqrt(var + eps) * weight + bias, per row, biased variance (Ba et al. 2016, eq. 3).
//   x, y            [rows, channels]  y is written everywhere, may not alias x
//   weight, bias    [channels]
// ROWS: rows of a workgroup, which share its reading of weight and bias. Past the end the last row is done again.
// Dispatch: one workgroup per ROWS rows, folded over x and y. Accumulates in f32: each invocation its mean and squared
// deviations in one pass (Welford 1962), then those of all (Chan et al. 1979); no E[x^2] - E[x]^2.
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

// Mean and 1 / sqrt(var + eps) of a row from an invocation's number of values, their mean and squared deviations.
fn normal(n: f32, mean: f32, squares: f32, local: u32) -> vec2<f32> {
    let channels = f32(params.channels);
    let whole = reduce_sum(n * mean, local) / channels;
    let delta = mean - whole;
    let deviations = reduce_sum(squares + n * delta * delta, local);
    return vec2<f32>(whole, inverseSqrt(deviations / channels + params.eps));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let first = group_index(id, count) * ROWS;
    if first >= params.rows { return; }
#if VECTOR
    let columns = params.channels / 4u;
#else
    let columns = params.channels;
#end
#for r in 0..ROWS
    let start$r_ = min(first + $r, params.rows - 1u) * columns;
#if VECTOR
    var mean$r_ = vec4<f32>();
    var squares$r_ = vec4<f32>();
#else
    var mean$r_ = 0.0;
    var squares$r_ = 0.0;
#end
#end
    var n = 0.0;
    for (var c = local; c < columns; c += WORKGROUP) {
        n += 1.0;
        let share = 1.0 / n;
#for r in 0..ROWS
#if VECTOR
        let v$r_ = x_at4(start$r_ + c);
#else
        let v$r_ = x_at(start$r_ + c);
#end
        let delta$r_ = v$r_ - mean$r_;
        mean$r_ += delta$r_ * share;
        squares$r_ += delta$r_ * (v$r_ - mean$r_);
#end
    }
#for r in 0..ROWS
#if VECTOR
    let middle$r_ = dot(mean$r_, vec4<f32>(0.25));
    let apart$r_ = mean$r_ - middle$r_;
    let s$r_ = normal(4.0 * n, middle$r_, dot(squares$r_ + n * apart$r_ * apart$r_, vec4<f32>(1.0)), local);
#else
    let s$r_ = normal(n, mean$r_, squares$r_, local);
#end
#end
    for (var c = local; c < columns; c += WORKGROUP) {
#if VECTOR
        let scale = weight_at4(c);
        let shift = bias_at4(c);
#for r in 0..ROWS
        y_set4(start$r_ + c, (x_at4(start$r_ + c) - s$r_.x) * s$r_.y * scale + shift);
#end
#else
#for r in 0..ROWS
        y_set(start$r_ + c, (x_at(start$r_ + c) - s$r_.x) * s$r_.y * weight_at(c) + bias_at(c));
#end
#end
    }
}

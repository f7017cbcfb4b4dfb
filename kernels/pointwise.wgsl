// pointwise: y[i] = f(x[i], ..), four elements at a time. OP picks f:
//   0 x    1 SiLU    2 GELU (erf)    3 a x + b    4 clamp(x, a, b)    5 a x + b other
//   6 w x + (1 - w) other, w = table[i / run]
//   7 x + table[(i / run) * channels + i % channels]: one row of the table per `run` elements
//   8 x exp(other / 2)
//   9 ln(max(x, a)); WGSL's log is within 2^-21 between 1/2 and 2 and within 3 ULP elsewhere, which is enough here
//   10 x where it is not below zero, else x table[i % channels]
//   x, other, y   [count, 4]   same length; y is written everywhere, element types may differ
//   table         f32          [rows] for 6, [rows, channels] for 7, one row for 10
// ROWS: the table is of rows. Dispatch: one invocation per four elements, workgroups folded over x and y.
#include gelu
#params
count: u32              // elements here
first: u32              // groups of four elements before them
run: u32
channels: u32
a: f32
b: f32
#end
#read x
#if OTHER
#read other
#end
#if TABLE
#read table
#end
#write y

#if OP == 6
fn weight(i: u32) -> f32 { return table_at(i / params.run); }
#end
#if ROWS
fn row_value(i: u32) -> f32 { return table_at((i / params.run) * params.channels + i % params.channels); }

fn row_values(i: u32) -> vec4<f32> {
#if VECTOR
    return table_at4(((i / params.run) * params.channels + i % params.channels) / 4u);
#else
    return vec4<f32>(row_value(i), row_value(i + 1u), row_value(i + 2u), row_value(i + 3u));
#end
}
#end

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at * 4u >= params.count { return; }
    let i = (params.first + at) * 4u;
    let v = x_at4(at);
#if OP == 0
    let r = v;
#end
#if OP == 1
    let r = v / (1.0 + exp(-v));
#end
#if OP == 2
    let r = gelu(v);
#end
#if OP == 3
    let r = params.a * v + params.b;
#end
#if OP == 4
    let r = clamp(v, vec4<f32>(params.a), vec4<f32>(params.b));
#end
#if OP == 5
    let r = params.a * v + params.b * other_at4(at);
#end
#if OP == 9
    let r = log(max(v, vec4<f32>(params.a)));
#end
#if OP == 8
    let r = v * exp(0.5 * other_at4(at));
#end
#if OP == 6
    var w = vec4<f32>(weight(i));
    if params.run % 4u != 0u { w = vec4<f32>(weight(i), weight(i + 1u), weight(i + 2u), weight(i + 3u)); }
    let r = w * v + (1.0 - w) * other_at4(at);
#end
#if OP == 7
    let r = v + row_values(i);
#end
#if OP == 10
    let r = select(v * row_values(i), v, v >= vec4<f32>());
#end
    // What hangs over the end may be anything, and must not count as an overflow.
    let inside = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.count - at * 4u);
    y_set4(at, select(vec4<f32>(), r, inside));
}

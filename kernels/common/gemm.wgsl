// What the GEMM kernels share: y[row, column] = activation(sum over depth of A[row, k] * B[k, column] + bias + add) + residual;
// GATED: of every eight columns the first four are values and the others their gates, and y[row, .] = value * activation(gate).
//
//   x          [images, in_height, in_width, channels]   A[row, (ky, kx, c)] is x under tap (ky, kx) of output pixel row,
//                                                        zero outside the image; a linear layer is a 1x1 kernel on one row of pixels
//   weight     [panels, depth, PANEL]                    B packed: column panels, depth = (ky, kx, c padded to a multiple of 4)
//              [panels, depth / 4, PANEL, 4]  int8       B / scale, four depths of a column in a word (INT8)
//   scale      [columns]        f32                      what one step of a column's int8 is worth (INT8)
//   carry      [rows, columns]  f32                      sums over an earlier part of the depth (CARRY)
//   bias       [columns]        f32                      (BIAS)
//   add        [rows / rows_per_add, columns]            one row per group of output rows, such as a time embedding (ADD)
//   residual   [rows, columns]                           (RESIDUAL)
//   y          [rows, columns]  GATED: [rows, columns / 2]  may not alias any of them
//
// PANEL     columns of a panel: 32 or 64
// VECTOR    channels and group_channels are multiples of 4
// STORE     4, 2 or 1: the largest of them that divides group_columns (4, 2 also divide columns then)
// GATED     1: columns are a multiple of 8, PANEL is 64, and there is neither `add` nor `residual`
// ACTIVATION 0 none, 1 SiLU, 2 GELU (erf)
// INT8      1: the sum over this dispatch's depth is scaled first, so that carried sums mean the same for every weight
// UPSAMPLE  1: taps walk over x enlarged twice (nearest), which is never stored
// SPLIT     1: y is [parts, rows, columns], the bare sums of each `part_depth` of the depth, for gemm_reduce
#include activate
#params
rows: u32
columns: u32
panel_begin: u32        // first panel of this dispatch; `weight` is bound from it on
depth_begin: u32        // depth range of this dispatch; `weight` is bound from it on
depth_end: u32
panel_depth: u32        // depth of a panel in `weight` as bound
in_height: u32          // of x as stored
in_width: u32
out_height: u32
out_width: u32
channels: u32
kernel_width: u32
stride: u32
pad_top: i32
pad_left: i32
group_channels: u32     // channels that one output column reads
tap_depth: u32          // group_channels rounded up to a multiple of 4
group_columns: u32
panels_per_group: u32
rows_per_add: u32
row_begin: u32          // rows of the whole output before this dispatch's, for `add`
part_depth: u32         // depths of one part, where the depth is split
panels_first: u32       // of gemm_subgroup's workgroups
#end
#read x
#read weight
#if INT8
#read scale
#end
#if CARRY
#read carry
#end
#if BIAS
#read bias
#end
#if ADD
#read add
#end
#if RESIDUAL
#read residual
#end
#write y

const OUTSIDE = 0xffffffffu;

// Loads that four depths of a panel take: of four columns at one depth, or of four columns at four depths.
#if INT8
const QUAD = PANEL / 4u;

// Four columns at depth `d` of the four that their words hold.
fn at_depth(words: vec4<u32>, d: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(words << vec4<u32>(24u - 8u * d)) >> vec4<u32>(24u));
}
#else
const QUAD = PANEL;
#end

// Where an output row sits: image, and the top left corner of its window.
struct Window { image: u32, top: i32, left: i32 }

fn window(row: u32) -> Window {
    let at = min(row, params.rows - 1u);
    let line = at / params.out_width;
    let column = at - line * params.out_width;
    let image = line / params.out_height;
    let height = line - image * params.out_height;
    return Window(image, i32(height * params.stride) - params.pad_top, i32(column * params.stride) - params.pad_left);
}

// First element of x under `tap`, or OUTSIDE.
fn tap_start(w: Window, tap: u32) -> u32 {
    let ky = tap / params.kernel_width;
    var y = w.top + i32(ky);
    var x = w.left + i32(tap - ky * params.kernel_width);
    if y < 0 || x < 0 { return OUTSIDE; }
#if UPSAMPLE
    y = y >> 1u;
    x = x >> 1u;
#end
    if u32(y) >= params.in_height || u32(x) >= params.in_width { return OUTSIDE; }
    return ((w.image * params.in_height + u32(y)) * params.in_width + u32(x)) * params.channels;
}

// Channels c .. c + 4 of the pixel that starts at `start`, of group `group`.
fn pixel4(start: u32, group_start: u32, c: u32) -> vec4<f32> {
    if start == OUTSIDE { return vec4<f32>(); }
#if VECTOR
    return x_at4((start + group_start + c) >> 2u);
#else
    var v = vec4<f32>();
    let left = params.group_channels - c;
    let at = start + group_start + c;
    v.x = x_at(at);
    if left > 1u { v.y = x_at(at + 1u); }
    if left > 2u { v.z = x_at(at + 2u); }
    if left > 3u { v.w = x_at(at + 3u); }
    return v;
#end
}

// Of an invocation's group of four columns number `v`, which of the groups that `lanes` invocations share it is: apart, or a value
// beside its gate.
fn vector_of(lane: u32, v: u32, lanes: u32) -> u32 {
#if GATED
    return lane * 2u + v;
#else
    return lane + v * lanes;
#end
}

#if STORE == 4
// What the activation is applied to, of the four columns whose sums are `sum`.
fn biased4(row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    var v = sum;
#if INT8
    v *= scale_at4(column >> 2u);
#end
#if CARRY
    v += carry_at4((row * params.columns + column) >> 2u);
#end
#if BIAS
    v += bias_at4(column >> 2u);
#end
#if ADD
    v += add_at4((((params.row_begin + row) / params.rows_per_add) * params.columns + column) >> 2u);
#end
    return v;
}
#end

#if GATED
// The epilogue for four values from column `local` on and the gates beside them, of the group that starts at column `first`.
fn finish(row: u32, first: u32, local: u32, values: vec4<f32>, gates: vec4<f32>) {
    if row >= params.rows || local >= params.group_columns { return; }
    let column = first + local;
    let v = biased4(row, column, values) * activate(biased4(row, column + 4u, gates));
    y_set4((row * params.columns + column) >> 3u, v);
}
#else
#if SPLIT
// The part of the depth that an invocation sums.
var<private> part_of_depth: u32;
#end

// The epilogue for four columns from `local` on, of the group that starts at column `first`.
fn finish(row: u32, first: u32, local: u32, sum: vec4<f32>) {
    if row >= params.rows || local >= params.group_columns { return; }
    let column = first + local;
#if SPLIT
    let at = (part_of_depth * params.rows + row) * params.columns + column;
#else
    let at = row * params.columns + column;
#end
#if STORE == 4
    var v = activate(biased4(row, column, sum));
#if RESIDUAL
    v += residual_at4(at >> 2u);
#end
    y_set4(at >> 2u, v);
#else
    var v = sum;
#if ADD
    let add_start = ((params.row_begin + row) / params.rows_per_add) * params.columns + column;
#end
    let count = min(4u, params.group_columns - local);
    for (var j = 0u; j < count; j++) {
#if INT8
        v[j] *= scale_at(column + j);
#end
#if CARRY
        v[j] += carry_at(at + j);
#end
#if BIAS
        v[j] += bias_at(column + j);
#end
#if ADD
        v[j] += add_at(add_start + j);
#end
    }
    v = activate(v);
#if RESIDUAL
    for (var j = 0u; j < count; j++) { v[j] += residual_at(at + j); }
#end
#if STORE == 2
    y_set2(at >> 1u, v.xy);
    if count > 2u { y_set2((at >> 1u) + 1u, v.zw); }
#else
    for (var j = 0u; j < count; j++) { y_set(at + j, v[j]); }
#end
#end
}
#end

// What the kernels of small convolutions share: y[p, j] = prelu(sum over k of a[p, k] weight[k, j] + bias[j] + shortcut[p, j]).
//   x        [images, in_height, in_width, channels] f32   image i uses weight set i / images_per_set
//   taps     [sets, KERNEL KERNEL + 1, channels]     f32   DEPTHWISE: row (a, b) under window pixel (a, b), last their bias
//   weight   [sets, chunks, depth, 32 VECTORS]             chunks of columns; zeros past the last column
//   finish   [sets, 2, columns]                      f32   bias, then PReLU's slope below zero
//   y        [images, out_height, out_width, columns] f32  columns is a multiple of 4; written everywhere
// DEPTHWISE 1: a[p, c] = taps_bias[c] + sum over the window at p of x[.., c] taps[.., c], depth = channels, a multiple of 4
//           0: a[p, (tap, c)] = x at that tap of the window, c padded to a multiple of 4: a direct convolution
// shortcut  the largest x[.., j] of the STRIDE x STRIDE pixels from STRIDE p on, 0 for j >= channels (`shortcut`), or nothing
// KERNEL, STRIDE: of the window, zero beyond x's edge. VECTOR: channels is a multiple of 4.
#params
images_per_set: u32
set_begin: u32          // sets before x's first
in_height: u32
in_width: u32
out_height: u32
out_width: u32
channels: u32
depth: u32
columns: u32
pad_top: u32
pad_left: u32
shortcut: u32           // 1: there is one
shortcut_top: u32       // row of x at y's first row's shortcut
chunk_begin: u32        // chunks before the first of `weight` as bound
chunks: u32             // in `weight` as bound, for each set
#end
#read x
#if DEPTHWISE
#read taps
#end
#if PRODUCT
#read weight
#read finish
#end
#write y

const ROWS: u32 = KERNEL * KERNEL + 1u;

// An output pixel, by image, row and column.
struct Place { image: u32, row: u32, column: u32 }

fn pixel4(image: u32, row: i32, column: i32, c: u32) -> vec4<f32> {
    if row < 0 || column < 0 || u32(row) >= params.in_height || u32(column) >= params.in_width { return vec4<f32>(); }
    let start = ((image * params.in_height + u32(row)) * params.in_width + u32(column)) * params.channels + c;
#if VECTOR
    return x_at4(start >> 2u);
#else
    var v = vec4<f32>();
    let left = params.channels - c;
    v.x = x_at(start);
    if left > 1u { v.y = x_at(start + 1u); }
    if left > 2u { v.z = x_at(start + 2u); }
    if left > 3u { v.w = x_at(start + 3u); }
    return v;
#end
}

#if DEPTHWISE
fn taps4(weight_set: u32, row: u32, quad: u32) -> vec4<f32> {
    return taps_at4((weight_set * ROWS + row) * (params.channels >> 2u) + quad);
}
#end

// a[p, 4 quad .. 4 quad + 4].
fn operand4(weight_set: u32, p: Place, quad: u32) -> vec4<f32> {
    let top = i32(p.row * STRIDE) - i32(params.pad_top);
    let left = i32(p.column * STRIDE) - i32(params.pad_left);
#if DEPTHWISE
    var sum = taps4(weight_set, ROWS - 1u, quad);
    // Loops, not copies: over so many inlined returns SwiftShader's compiler takes all memory that there is.
    for (var a = 0u; a < KERNEL; a++) {
        for (var b = 0u; b < KERNEL; b++) {
            sum += pixel4(p.image, top + i32(a), left + i32(b), 4u * quad) * taps4(weight_set, a * KERNEL + b, quad);
        }
    }
    return sum;
#else
    let quads = (params.channels + 3u) >> 2u;
    let tap = quad / quads;
    return pixel4(p.image, top + i32(tap / KERNEL), left + i32(tap % KERNEL), 4u * (quad - tap * quads));
#end
}

#if PRODUCT
// The shortcut's four columns from 4 quad on, at output pixel p.
fn shortcut4(p: Place, quad: u32) -> vec4<f32> {
    if params.shortcut == 0u || 4u * quad >= params.channels { return vec4<f32>(); }
    let row = p.row * STRIDE + params.shortcut_top;
    let column = p.column * STRIDE;
    let start = ((p.image * params.in_height + row) * params.in_width + column) * (params.channels >> 2u) + quad;
    var most = x_at4(start);
#if STRIDE == 2
    let is_last_row = row + 1u >= params.in_height;
    let right = select(params.channels >> 2u, 0u, column + 1u >= params.in_width);
    let below = select(params.in_width * (params.channels >> 2u), 0u, is_last_row);
    most = max(most, x_at4(start + right));
    most = max(most, max(x_at4(start + below), x_at4(start + below + right)));
#end
    return most;
}

fn prelu(v: vec4<f32>, slope: vec4<f32>) -> vec4<f32> {
    return select(slope * v, v, v >= vec4<f32>());
}
#end

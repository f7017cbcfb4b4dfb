// sample_affine: y[n, r, c] = scale x(M_n (c + 1/2, r + 1/2)) + shift, x bilinear between pixel centres, which lie at halves.
//   x      u32 [words]                       RGB: rows of packed pixels, PER_WORD values to a word (4 of 8 bits, 2 of 16); white is 1
//          f32 [rows, width, channels]       else: rows of images of `height` rows each, image n % images under map n
//   maps   f32 [n, 8]                        not RGB: M_n, rows [a, b, c] and [d, e, f], then two of no use; RGB has one, as parameters
//   y      f32 [n, out_height, out_width, channels]  channels is 3 for RGB, else a multiple of 4; written everywhere
// BORDER: beyond x's edge 0 pixels are zero, 1 are those at the edge, 2 a point outside the outermost centres is zero.
// CARRY: y holds what other rows of x gave; x has `rows` rows from `first_row` on, pixels in others count as zero.
// Dispatch: one invocation per pixel (RGB) or four channels of y, workgroups folded over x and y.
#params
count: u32              // invocations' parts of y here
first: u32              // and before it
out_height: u32
out_width: u32
images: u32
height: u32             // of an image
width: u32
quads: u32              // groups of four channels; 1 for RGB
first_row: u32          // of x as bound, over all images
rows: u32
base: u32               // words of the picture before x
a: f32
b: f32
c: f32
d: f32
e: f32
f: f32
scale: f32
shift: f32
#end
#read x
#if !RGB
#read maps
#end
#if CARRY
#readwrite y
#else
#write y
#end

#if RGB
const BITS: u32 = 32u / PER_WORD;
const WHITE: u32 = (1u << BITS) - 1u;

fn colour(value: u32) -> f32 {
    return f32((x[value / PER_WORD - params.base] >> (value % PER_WORD * BITS)) & WHITE) / f32(WHITE);
}
#end

// Four channels of a pixel of image `image`.
fn texel(image: u32, row: i32, column: i32, quad: u32) -> vec4<f32> {
#if BORDER == 1
    let at = clamp(vec2<i32>(column, row), vec2<i32>(), vec2<i32>(vec2<u32>(params.width, params.height)) - 1);
#else
    let at = vec2<i32>(column, row);
    if column < 0 || row < 0 || u32(column) >= params.width || u32(row) >= params.height { return vec4<f32>(); }
#end
    // Above the first row, the difference wraps around and is large.
    let line = image * params.height + u32(at.y) - params.first_row;
    if line >= params.rows { return vec4<f32>(); }
#if RGB
    let value = (u32(at.y) * params.width + u32(at.x)) * 3u;
    return vec4<f32>(colour(value), colour(value + 1u), colour(value + 2u), 0.0);
#else
    return x_at4((line * params.width + u32(at.x)) * params.quads + quad);
#end
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    let all = params.first + at;
    let quad = all % params.quads;
    let pixel = all / params.quads;
    let line = pixel / params.out_width;
    let n = line / params.out_height;
    let target_at = vec2<f32>(vec2<u32>(pixel - line * params.out_width, line - n * params.out_height)) + 0.5;
#if RGB
    let source = vec2<f32>(params.a * target_at.x + params.b * target_at.y + params.c, params.d * target_at.x + params.e * target_at.y + params.f) - 0.5;
#else
    let upper_map = maps_at4(2u * n);
    let lower_map = maps_at4(2u * n + 1u);
    let source = vec2<f32>(dot(upper_map.xyz, vec3<f32>(target_at, 1.0)),
                         upper_map.w * target_at.x + lower_map.x * target_at.y + lower_map.y) - 0.5;
#end
    // So far out that a whole number could not say where, it is outside all the same.
    let reach = vec2<f32>(vec2<u32>(params.width, params.height)) + 1.0;
    let near = clamp(source, -reach, 2.0 * reach);
    let low = vec2<i32>(floor(near));
    let part = near - floor(near);
    let image = n % params.images;
    var v = mix(mix(texel(image, low.y, low.x, quad), texel(image, low.y, low.x + 1, quad), part.x),
                mix(texel(image, low.y + 1, low.x, quad), texel(image, low.y + 1, low.x + 1, quad), part.x), part.y);
#if BORDER == 2
    let last = vec2<f32>(vec2<u32>(params.width, params.height)) - 1.0;
    if any(source < vec2<f32>()) || any(source > last) { v = vec4<f32>(); }
#end
    v *= params.scale;
#if RGB
#for k in 0..3
#if CARRY
    y_set(at * 3u + $k, y_at(at * 3u + $k) + v[$k]);
#else
    y_set(at * 3u + $k, v[$k] + params.shift);
#end
#end
#else
#if CARRY
    y_set4(at, y_at4(at) + v);
#else
    y_set4(at, v + params.shift);
#end
#end
}

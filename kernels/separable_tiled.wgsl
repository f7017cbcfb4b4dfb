// separable_tiled: a small convolution, depthwise-separable or direct, its shortcut and PReLU, on any device: a workgroup
// computes 16 pixels x 32 VECTORS columns from a tile of the product's left operand in workgroup memory (8 KiB).
// Bindings, constants and formula: common/separable.wgsl. Dispatch: x tiles of 16 pixels, y chunks, z sets; workgroup of
// 32 VECTORS: 8 VECTORS groups of four columns x 4 lines of 4 pixels.
#include separable
const PIXELS = 16u;
const EACH = 4u;
const LANES = 8u * VECTORS;
const THREADS = LANES * PIXELS / EACH;
// Groups of four depths in the tile.
const STEP = 32u;

var<workgroup> tile: array<vec4<f32>, 512>;

fn place(at: u32, first_image: u32) -> Place {
    let line = at / params.out_width;
    let image = line / params.out_height;
    return Place(first_image + image, line - image * params.out_height, at - line * params.out_width);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let weight_set = params.set_begin + id.z;
    let first_image = id.z * params.images_per_set;
    let pixels = params.images_per_set * params.out_height * params.out_width;
    let first = (params.first_group + id.x) * PIXELS;
    let lane = local % LANES;
    let line = local / LANES * EACH;
    let quads = params.columns >> 2u;
    let wanted = (params.chunk_begin + id.y) * LANES + lane;
    let quad = min(wanted, quads - 1u);
    let bias = finish_at4(weight_set * 2u * quads + quad);
    let slope = finish_at4((weight_set * 2u + 1u) * quads + quad);
#for r in 0..4
    var acc$r = bias;
#end
    let weight_start = (id.z * params.chunks + id.y) * params.depth * LANES + lane;
    let depth = params.depth >> 2u;
    for (var q = 0u; q < depth; q += STEP) {
        let steps = min(STEP, depth - q);
        for (var i = local; i < PIXELS * steps; i += THREADS) {
            let pixel = i / steps;
            let step = i - pixel * steps;
            tile[pixel * STEP + step] = operand4(weight_set, place(min(first + pixel, pixels - 1u), first_image), q + step);
        }
        workgroupBarrier();
        for (var step = 0u; step < steps; step++) {
#for r in 0..4
            let a$r = tile[(line + u32($r)) * STEP + step];
#end
#for d in 0..4
            let b$d = weight_at4(weight_start + (4u * (q + step) + u32($d)) * LANES);
#for r in 0..4
            acc$r += a$r[$d] * b$d;
#end
#end
        }
        workgroupBarrier();
    }
    if wanted >= quads { return; }
#for r in 0..4
    if first + line + u32($r) < pixels {
        let at = first + line + u32($r);
        let shortcut = shortcut4(place(at, first_image), quad);
        y_set4((first_image * params.out_height * params.out_width + at) * quads + quad, prelu(acc$r + shortcut, slope));
    }
#end
}

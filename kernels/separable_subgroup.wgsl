// separable_subgroup: a small convolution, depthwise-separable or direct, its shortcut and PReLU where a subgroup is 8 lanes and
// loads are dear (software devices): one subgroup computes 8 EACH pixels x 32 VECTORS columns in registers, no barrier.
// Lane l holds a run of EACH output pixels side by side, so that their windows share loads, and every eighth group of four columns;
// taps and the runs' values go round by broadcast.
// COLUMNS: x's pixels below a run in a row, STRIDE (EACH - 1) + KERNEL. TAP_LOADS: taps' rows and their bias over 8, rounded up.
// Bindings, constants and formula: common/separable.wgsl. Dispatch: x tiles of 8 runs, y chunks, z sets; workgroup of 8.
#include separable
const LANES = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let weight_set = params.set_begin + id.z;
    let runs_per_row = (params.out_width + EACH - 1u) / EACH;
    let runs = params.images_per_set * params.out_height * runs_per_row;
    let run = (params.first_group + id.x) * LANES + lane;
    let inside = min(run, runs - 1u);
    let line = inside / runs_per_row;
    let row = line % params.out_height;
    let image = id.z * params.images_per_set + line / params.out_height;
    let column = (inside - line * runs_per_row) * EACH;
    // Of the run, the pixels that there are.
    let length = select(0u, min(EACH, params.out_width - column), run < runs);
    let place = Place(image, row, column);

    let quads = params.columns >> 2u;
    let first_quad = (params.chunk_begin + id.y) * VECTORS * LANES + lane;
#for v in 0..VECTORS
    let quad$v_ = min(first_quad + u32($v) * LANES, quads - 1u);
    let bias$v_ = finish_at4(weight_set * 2u * quads + quad$v_);
    let slope$v_ = finish_at4((weight_set * 2u + 1u) * quads + quad$v_);
#for e in 0..EACH
#for r in 0..8
    var acc$e_$r_$v = bias$v_;
#end
#end
#end
    let weight_start = (id.z * params.chunks + id.y) * params.depth * VECTORS * LANES + lane;
    for (var q = 0u; q < (params.depth >> 2u); q++) {
#if DEPTHWISE
        var t: array<vec4<f32>, TAP_LOADS>;
#for i in 0..TAP_LOADS
        t[$i] = taps4(weight_set, min(u32($i) * LANES + lane, ROWS - 1u), q);
#end
        let tap_bias = subgroupBroadcast(t[(ROWS - 1u) / LANES], (ROWS - 1u) % LANES);
#for e in 0..EACH
        var a$e = tap_bias;
#end
#for a in 0..KERNEL
        {
            var under: array<vec4<f32>, COLUMNS>;
#for c in 0..COLUMNS
            under[$c] = pixel4(image, i32(row * STRIDE) - i32(params.pad_top) + $a,
                               i32(column * STRIDE) - i32(params.pad_left) + $c, 4u * q);
#end
#for b in 0..KERNEL
            let tap$b = subgroupBroadcast(t[(u32($a) * KERNEL + u32($b)) / LANES], (u32($a) * KERNEL + u32($b)) % LANES);
#for e in 0..EACH
            a$e += under[u32($e) * STRIDE + u32($b)] * tap$b;
#end
#end
        }
#end
#else
#for e in 0..EACH
        let a$e = operand4(weight_set, Place(image, row, column + u32($e)), q);
#end
#end
#for v in 0..VECTORS
#for d in 0..4
        let b$d_$v = weight_at4(weight_start + ((4u * q + u32($d)) * VECTORS + u32($v)) * LANES);
#end
#end
#for e in 0..EACH
#for r in 0..8
        {
            let s = subgroupBroadcast(a$e, u32($r));
#for v in 0..VECTORS
            acc$e_$r_$v += s.x * b0_$v;
            acc$e_$r_$v += s.y * b1_$v;
            acc$e_$r_$v += s.z * b2_$v;
            acc$e_$r_$v += s.w * b3_$v;
#end
        }
#end
#end
    }
#for r in 0..8
    {
        let its = Place(subgroupBroadcast(image, u32($r)), subgroupBroadcast(row, u32($r)), subgroupBroadcast(column, u32($r)));
        let its_length = subgroupBroadcast(length, u32($r));
        let start = ((its.image * params.out_height + its.row) * params.out_width + its.column) * quads;
#for e in 0..EACH
        if u32($e) < its_length {
#for v in 0..VECTORS
            if first_quad + u32($v) * LANES < quads {
                let shortcut = shortcut4(Place(its.image, its.row, its.column + u32($e)), quad$v_);
                y_set4(start + u32($e) * quads + quad$v_, prelu(acc$e_$r_$v + shortcut, slope$v_));
            }
#end
        }
#end
    }
#end
}

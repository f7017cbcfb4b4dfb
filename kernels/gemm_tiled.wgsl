// gemm_tiled: matmul and convolution through workgroup memory: a workgroup computes ROWS rows x PANELS panels, each invocation
// EACH_ROWS rows of it by EACH_VECTORS times four columns, in steps of STEP depths. Needs no optional feature.
// Every sum is taken over the depth in order, whatever the tile, so that all tiles give the same bits.
// Bindings, constants and formula: common/gemm.wgsl. Dispatch: x row tiles, y PANELS panels of one group each.
//
// ROWS, PANELS           the tile of a workgroup: rows, and panels of columns (1 or 2)
// EACH_ROWS, EACH_VECTORS  the tile of an invocation: rows, and groups of four columns; ROWS / EACH_ROWS x PANELS * PANEL /
//                        (4 EACH_VECTORS) invocations; GATED: EACH_VECTORS is 2
// STEP                   depths staged at a time, a multiple of 4; 4 ROWS (STEP + 1) + 4 STEP PANELS PANEL bytes of workgroup memory
// With PANELS of 2, the panels of a dispatch are whole groups, or lie in one group and end with it or are even in number.
#include gemm
const WIDTH = PANELS * PANEL / 4u;
const LANES = WIDTH / EACH_VECTORS;
const THREADS = ROWS / EACH_ROWS * LANES;
const A_STRIDE = STEP + 1u;
var<workgroup> tile_a: array<f32, ROWS * A_STRIDE>;
var<workgroup> tile_b: array<vec4<f32>, STEP * WIDTH>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
#if PANELS == 1
    let bound = id.y;
    let panel = params.panel_begin + id.y;
    let group = panel / params.panels_per_group;
    let in_group = panel - group * params.panels_per_group;
#else
    let begin = params.panel_begin % params.panels_per_group;
    let blocks = (params.panels_per_group - begin + PANELS - 1u) / PANELS;
    let ahead = id.y / blocks;
    let block = (id.y - ahead * blocks) * PANELS;
    let bound = ahead * params.panels_per_group + block;
    let group = params.panel_begin / params.panels_per_group + ahead;
    let in_group = begin + block;
#end
    let group_start = group * params.group_channels;
    let row = (params.first_group + id.x) * ROWS;
    let lane = local % LANES;
    let line = local / LANES * EACH_ROWS;
    let depth = params.depth_end - params.depth_begin;
#for r in 0..EACH_ROWS
#for v in 0..EACH_VECTORS
    var acc$r_$v = vec4<f32>();
#end
#end
    for (var k = 0u; k < depth; k += STEP) {
        for (var i = local; i < ROWS * STEP / 4u; i += THREADS) {
            let at_row = i / (STEP / 4u);
            let at_depth = (i % (STEP / 4u)) * 4u;
            var v = vec4<f32>();
            if k + at_depth < depth {
                let full = params.depth_begin + k + at_depth;
                let tap = full / params.tap_depth;
                v = pixel4(tap_start(window(row + at_row), tap), group_start, full - tap * params.tap_depth);
            }
            let to = at_row * A_STRIDE + at_depth;
            tile_a[to] = v.x;
            tile_a[to + 1u] = v.y;
            tile_a[to + 2u] = v.z;
            tile_a[to + 3u] = v.w;
        }
#if INT8
        for (var i = local; i < STEP / 4u * WIDTH; i += THREADS) {
            let quad = i / WIDTH;
            let at_vector = i % WIDTH;
            let at_panel = at_vector / QUAD;
            var words = vec4<u32>();
            if k + quad * 4u < depth && in_group + at_panel < params.panels_per_group {
                let start = (bound + at_panel) * (params.panel_depth / 4u) + k / 4u + quad;
                words = weight[start * QUAD + at_vector % QUAD];
            }
#for d in 0..4
            tile_b[(quad * 4u + u32($d)) * WIDTH + at_vector] = at_depth(words, u32($d));
#end
        }
#else
        for (var i = local; i < STEP * WIDTH; i += THREADS) {
            let at_depth = k + i / WIDTH;
            let at_vector = i % WIDTH;
            let at_panel = at_vector / (PANEL / 4u);
            var v = vec4<f32>();
            if at_depth < depth && in_group + at_panel < params.panels_per_group {
                let start = (bound + at_panel) * params.panel_depth + at_depth;
                v = weight_at4(start * (PANEL / 4u) + at_vector % (PANEL / 4u));
            }
            tile_b[i] = v;
        }
#end
        workgroupBarrier();
        for (var d = 0u; d < STEP; d++) {
#for v in 0..EACH_VECTORS
            let b$v = tile_b[d * WIDTH + vector_of(lane, u32($v), LANES)];
#end
#for r in 0..EACH_ROWS
            let a$r = tile_a[(line + $r) * A_STRIDE + d];
#for v in 0..EACH_VECTORS
            acc$r_$v += a$r * b$v;
#end
#end
        }
        workgroupBarrier();
    }
    let first = group * params.group_columns;
    let columns = in_group * PANEL;
#for r in 0..EACH_ROWS
#if GATED
    finish(row + line + $r, first, columns + 8u * lane, acc$r_0, acc$r_1);
#else
#for v in 0..EACH_VECTORS
    finish(row + line + $r, first, columns + 4u * vector_of(lane, u32($v), LANES), acc$r_$v);
#end
#end
#end
}

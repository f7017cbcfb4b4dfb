// gemm_tiled: matmul and convolution through workgroup memory: a workgroup computes 64 rows x PANEL columns, each
// invocation 4 x 4 of them, in steps of 16 depths. Needs no optional feature and 8.3 KiB of workgroup memory.
// Bindings, constants and formula: common/gemm.wgsl. Dispatch: x row tiles, y panels; workgroup of 4 * PANEL.
#include gemm
const ROWS = 64u;
const STEP = 16u;
const THREADS = 4u * PANEL;
const A_STRIDE = STEP + 1u;
var<workgroup> tile_a: array<f32, ROWS * A_STRIDE>;
var<workgroup> tile_b: array<vec4<f32>, STEP * PANEL / 4u>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let panel = params.panel_begin + id.y;
    let group = panel / params.panels_per_group;
    let group_start = group * params.group_channels;
    let row = id.x * ROWS;
    let column = local % (PANEL / 4u);
    let line = local / (PANEL / 4u);
    let panel_start = id.y * (params.panel_depth / 4u) * QUAD;
    let depth = params.depth_end - params.depth_begin;
#for r in 0..4
    var acc$r = vec4<f32>();
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
        for (var i = local; i < STEP / 4u * QUAD; i += THREADS) {
            let quad = i / QUAD;
            var words = vec4<u32>();
            if k + quad * 4u < depth { words = weight[panel_start + k / 4u * QUAD + i]; }
#for d in 0..4
            tile_b[(quad * 4u + u32($d)) * QUAD + i % QUAD] = at_depth(words, u32($d));
#end
        }
#else
        for (var i = local; i < STEP * PANEL / 4u; i += THREADS) {
            var v = vec4<f32>();
            if k + i / (PANEL / 4u) < depth { v = weight_at4(panel_start + k * PANEL / 4u + i); }
            tile_b[i] = v;
        }
#end
        workgroupBarrier();
        for (var d = 0u; d < STEP; d++) {
            let b = tile_b[d * PANEL / 4u + column];
#for r in 0..4
            acc$r += tile_a[(line * 4u + ($r)) * A_STRIDE + d] * b;
#end
        }
        workgroupBarrier();
    }
    let first = group * params.group_columns;
    let in_group = (panel - group * params.panels_per_group) * PANEL + column * 4u;
#for r in 0..4
    finish(row + line * 4u + ($r), first, in_group, acc$r);
#end
}

// gemm_subgroup: matmul and convolution where a subgroup is 8 lanes and loads are dear (software devices): one subgroup
// computes 16 rows x PANEL columns with everything in registers, no workgroup memory, no barrier.
// Lane l holds rows l and l + 8 of A (4 depths at a time) and PANEL / 8 columns of B; A's values go round by broadcast.
// Bindings, constants and formula: common/gemm.wgsl. Dispatch: x row tiles, y panels; workgroup of 8.
#include gemm
const LANES = 8u;
const ROWS = 16u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let panel = params.panel_begin + id.y;
    let group = panel / params.panels_per_group;
    let group_start = group * params.group_channels;
    let row = id.x * ROWS;
    let upper = window(row + lane);
    let lower = window(row + LANES + lane);
#for v in 0..VECTORS
#for r in 0..16
    var acc$r_$v = vec4<f32>();
#end
#end
    var b = id.y * (params.panel_depth / 4u) * QUAD + lane;
    var k = params.depth_begin;
    while k < params.depth_end {
        let tap = k / params.tap_depth;
        let upper_start = tap_start(upper, tap);
        let lower_start = tap_start(lower, tap);
        var c = k - tap * params.tap_depth;
        let end = min(params.tap_depth, c + params.depth_end - k);
        k += end - c;
        for (; c < end; c += 4u) {
            let a0 = pixel4(upper_start, group_start, c);
            let a1 = pixel4(lower_start, group_start, c);
#for v in 0..VECTORS
#if INT8
            let words_$v = weight[b + ($v) * LANES];
#for d in 0..4
            let b$d_$v = at_depth(words_$v, u32($d));
#end
#else
#for d in 0..4
            let b$d_$v = weight_at4(b + ($d) * PANEL / 4u + ($v) * LANES);
#end
#end
#end
            b += QUAD;
#for r in 0..8
            {
                let s = subgroupBroadcast(a0, u32($r) % LANES);
#for v in 0..VECTORS
                acc$r_$v += s.x * b0_$v;
                acc$r_$v += s.y * b1_$v;
                acc$r_$v += s.z * b2_$v;
                acc$r_$v += s.w * b3_$v;
#end
            }
#end
#for r in 8..16
            {
                let s = subgroupBroadcast(a1, u32($r) % LANES);
#for v in 0..VECTORS
                acc$r_$v += s.x * b0_$v;
                acc$r_$v += s.y * b1_$v;
                acc$r_$v += s.z * b2_$v;
                acc$r_$v += s.w * b3_$v;
#end
            }
#end
        }
    }
    let first = group * params.group_columns;
    let local = (panel - group * params.panels_per_group) * PANEL + lane * 4u;
#for r in 0..16
#for v in 0..VECTORS
    finish(row + u32($r), first, local + ($v) * LANES * 4u, acc$r_$v);
#end
#end
}

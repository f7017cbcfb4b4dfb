// gemm_subgroup: matmul and convolution where a subgroup is 8 lanes and loads are dear (software devices): one subgroup
// computes 8 EIGHTS rows x PANEL columns with everything in registers, no workgroup memory, no barrier.
// Lane l holds rows l, l + 8 .. of A (4 depths at a time) and PANEL / 8 columns of B; A's values go round by broadcast.
// Every sum is taken over the depth in order, so that all heights give the same bits.
// Bindings, constants and formula: common/gemm.wgsl. Dispatch: x row tiles, y panels; `panels_first` x panels, y row tiles, so that
// neighbours share rows of A and walk through B, not the other way round; workgroup of 8.
#include gemm
const LANES = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let at = select(id.xy, id.yx, params.panels_first == 1u);
    let panel = params.panel_begin + at.y;
    let group = panel / params.panels_per_group;
    let group_start = group * params.group_channels;
    let row = (params.first_group + at.x) * LANES * EIGHTS;
#for e in 0..EIGHTS
    let window$e = window(row + $e * LANES + lane);
#for r in 0..8
#for v in 0..VECTORS
    var acc$e_$r_$v = vec4<f32>();
#end
#end
#end
    var b = at.y * (params.panel_depth / 4u) * QUAD;
    var k = params.depth_begin;
    while k < params.depth_end {
        let tap = k / params.tap_depth;
#for e in 0..EIGHTS
        let start$e = tap_start(window$e, tap);
#end
        var c = k - tap * params.tap_depth;
        let end = min(params.tap_depth, c + params.depth_end - k);
        k += end - c;
        for (; c < end; c += 4u) {
#for e in 0..EIGHTS
            let a$e = pixel4(start$e, group_start, c);
#end
#for v in 0..VECTORS
#if INT8
            let words_$v = weight[b + vector_of(lane, u32($v), LANES)];
#for d in 0..4
            let b$d_$v = at_depth(words_$v, u32($d));
#end
#else
#for d in 0..4
            let b$d_$v = weight_at4(b + ($d) * PANEL / 4u + vector_of(lane, u32($v), LANES));
#end
#end
#end
            b += QUAD;
#for e in 0..EIGHTS
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
    }
    let first = group * params.group_columns;
    let in_group = (panel - group * params.panels_per_group) * PANEL;
#for e in 0..EIGHTS
#for r in 0..8
#if GATED
    finish(row + u32($e * 8 + $r), first, in_group + 8u * lane, acc$e_$r_0, acc$e_$r_1);
#else
#for v in 0..VECTORS
    finish(row + u32($e * 8 + $r), first, in_group + 4u * vector_of(lane, u32($v), LANES), acc$e_$r_$v);
#end
#end
#end
#end
}

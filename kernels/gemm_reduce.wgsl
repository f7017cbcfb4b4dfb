// gemm_reduce: the parts of a product whose depth was split, added up in order, and the epilogue.
//   x   [PARTS, rows, columns]   f32, what the kernel with SPLIT gave; columns are a multiple of 4, and one group
// Other bindings, constants and formula: common/gemm.wgsl; `weight` is bound and not read.
// Dispatch: one invocation per four columns of a row, workgroups folded over x and y.
#include gemm

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    let columns4 = params.columns / 4u;
    let row = at / columns4;
    if row >= params.rows { return; }
    var sum = vec4<f32>();
    for (var part = 0u; part < PARTS; part++) {
        sum += x_at4(part * params.rows * columns4 + at);
    }
    finish(row, 0u, (at - row * columns4) * 4u, sum);
}

// guidance_update: y = s (d - (1 - eta) (d . c) / (c . c) c), s = min(1, threshold / |d|), per row: what normalised
//   guidance adds to a prediction (Sadat et al. 2024, "Eliminating oversaturation", sec. 5: rescaling and projection).
//   d, c, y   [rows, width]   d difference of two branches, or its running average; c the conditional prediction;
//                             y is written everywhere. f32 throughout.
// Dispatch: one workgroup per row, folded over x and y.
#params
rows: u32
width: u32
threshold: f32
eta: f32
#end
#read d
#read c
#write y
#include reduce

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let row = group_index(id, count);
    if row >= params.rows { return; }
    let start = row * params.width;
    var dd = 0.0;
    var dc = 0.0;
    var cc = 0.0;
    for (var i = local; i < params.width; i += WORKGROUP) {
        let p = d_at(start + i);
        let q = c_at(start + i);
        dd += p * p;
        dc += p * q;
        cc += q * q;
    }
    let length = sqrt(reduce_sum(dd, local));
    let along = (1.0 - params.eta) * reduce_sum(dc, local) / max(reduce_sum(cc, local), 1e-24);
    var scale = 1.0;
    if length > params.threshold { scale = params.threshold / length; }
    for (var i = local; i < params.width; i += WORKGROUP) {
        y_set(start + i, scale * (d_at(start + i) - along * c_at(start + i)));
    }
}

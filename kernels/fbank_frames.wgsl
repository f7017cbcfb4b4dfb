// fbank_frames: y[t, j] = window[j] (d[t, j] - preemphasis d[t, max(j - 1, 0)]), d[t, j] = scale (x[t hop + j] - mean of frame t).
//   x        [samples]          (frames - 1) hop + length of them or more
//   window   [length]
//   y        [frames, length]   written everywhere
// Source: Kaldi's feature extraction (offset removal, pre-emphasis in which a frame's first sample stands before itself,
// window, in this order). The mean is taken of differences from a frame's first sample, so that an offset costs no digits.
// Dispatch: one workgroup per frame, folded over x and y.
#params
frames: u32
length: u32
hop: u32
scale: f32
preemphasis: f32
#end
#read x
#read window
#write y
#include reduce

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let frame = group_index(id, count);
    if frame >= params.frames { return; }
    let start = frame * params.hop;
    let first = x_at(start);
    var total = 0.0;
    for (var j = local; j < params.length; j += WORKGROUP) { total += x_at(start + j) - first; }
    let mean = reduce_sum(total, local) / f32(params.length);
    for (var j = local; j < params.length; j += WORKGROUP) {
        let d = (x_at(start + j) - first) - mean;
        let before = (x_at(start + max(j, 1u) - 1u) - first) - mean;
        y_set(frame * params.length + j, params.scale * (d - params.preemphasis * before) * window_at(j));
    }
}

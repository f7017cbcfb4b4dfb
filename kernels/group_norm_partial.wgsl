// group_norm_partial: mean, sum of squared deviations and count of one block of positions, per group.
//   x        [samples, positions, channels]
//   partial  [samples, blocks, groups, 4]   mean, squared deviations, count, 0; written everywhere
// Dispatch: one workgroup per (sample, block, group), folded over x and y. Two passes over the block in f32.
#params
samples: u32
positions: u32
channels: u32
groups: u32
block: u32              // positions of a block
blocks: u32
#end
#read x
#write partial
#include reduce

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = id.x + id.y * count.x;
    if at >= params.samples * params.blocks * params.groups { return; }
    let group = at % params.groups;
    let block = (at / params.groups) % params.blocks;
    let sample = at / params.groups / params.blocks;
    let width = params.channels / params.groups;
    let first = block * params.block;
    let rows = min(params.block, params.positions - first);
    let start = (sample * params.positions + first) * params.channels + group * width;
    let n = f32(rows * width);
#if VECTOR
    var total = vec4<f32>();
    for (var row = local; row < rows; row += WORKGROUP) {
        let at_row = (start + row * params.channels) / 4u;
        for (var c = 0u; c < width / 4u; c++) { total += x_at4(at_row + c); }
    }
    let mean = reduce_sum(dot(total, vec4<f32>(1.0)), local) / n;
    var squares = vec4<f32>();
    for (var row = local; row < rows; row += WORKGROUP) {
        let at_row = (start + row * params.channels) / 4u;
        for (var c = 0u; c < width / 4u; c++) {
            let d = x_at4(at_row + c) - mean;
            squares += d * d;
        }
    }
    let deviations = reduce_sum(dot(squares, vec4<f32>(1.0)), local);
#else
    var total = 0.0;
    for (var row = local; row < rows; row += WORKGROUP) {
        for (var c = 0u; c < width; c++) { total += x_at(start + row * params.channels + c); }
    }
    let mean = reduce_sum(total, local) / n;
    var squares = 0.0;
    for (var row = local; row < rows; row += WORKGROUP) {
        for (var c = 0u; c < width; c++) {
            let d = x_at(start + row * params.channels + c) - mean;
            squares += d * d;
        }
    }
    let deviations = reduce_sum(squares, local);
#end
    if local == 0u { partial_set4(at, vec4<f32>(mean, deviations, n, 0.0)); }
}

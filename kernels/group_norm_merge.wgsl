// group_norm_merge: the statistics of whole groups from those of their channels' blocks (Chan et al. 1979), spread over the
// channels again with the weight.
//   partial     [samples, blocks, 2, channels]   means, then squared deviations
//   weight      [channels]
//   statistics  [samples, 2, channels]           mean, then weight / sqrt(var + eps); written everywhere
// Dispatch: one workgroup per (sample, group), or with SERIAL one invocation, folded over x and y. Two passes in f32.
#params
samples: u32
groups: u32
channels: u32
positions: u32
block: u32              // positions of a block; the last has what is left
blocks: u32
eps: f32
#end
#read partial
#read weight
#write statistics
#if SERIAL
const STEP = 1u;
fn sum(value: f32, local: u32) -> f32 { return value; }
#else
#include reduce
const STEP = WORKGROUP;
fn sum(value: f32, local: u32) -> f32 { return reduce_sum(value, local); }
#end

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
#if SERIAL
    let at = group_index(id, count) * WORKGROUP + local;
    let lane = 0u;
#else
    let at = group_index(id, count);
    let lane = local;
#end
    if at >= params.samples * params.groups { return; }
    let sample = at / params.groups;
    let width = params.channels / params.groups;
    let first = (at - sample * params.groups) * width;
    let start = 2u * sample * params.blocks * params.channels + first;
    let parts = params.blocks * width;
    let n = f32(params.positions) * f32(width);

    // A short last block counts for less.
    var total = 0.0;
    for (var part = lane; part < parts; part += STEP) {
        let block = part / width;
        let rows = min(params.block, params.positions - block * params.block);
        total += f32(rows) * partial_at(start + 2u * block * params.channels + part - block * width);
    }
    let mean = sum(total, local) / n;
    var squares = 0.0;
    for (var part = lane; part < parts; part += STEP) {
        let block = part / width;
        let rows = min(params.block, params.positions - block * params.block);
        let place = start + 2u * block * params.channels + part - block * width;
        let delta = partial_at(place) - mean;
        squares += partial_at(place + params.channels) + f32(rows) * delta * delta;
    }
    let rstd = inverseSqrt(sum(squares, local) / n + params.eps);
    for (var c = lane; c < width; c += STEP) {
        statistics_set(2u * sample * params.channels + first + c, mean);
        statistics_set((2u * sample + 1u) * params.channels + first + c, rstd * weight_at(first + c));
    }
}

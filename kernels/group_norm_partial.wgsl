// group_norm_partial: mean and sum of squared deviations of one block of positions, per channel (Welford 1962).
//   x        [samples, positions, channels]
//   partial  [samples, blocks, 2, channels]   means, then squared deviations; written everywhere
// VECTOR: channels is a multiple of 4, and an invocation has four of them; else one.
// Dispatch: one invocation per (sample, block, its channels), workgroups folded over x and y. Reads x once, in f32; no
// cooperation, since each group's channels are few and the merge has to walk over blocks anyway.
#params
samples: u32
positions: u32
channels: u32
block: u32              // positions of a block
blocks: u32
#end
#read x
#write partial

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
#if VECTOR
    let columns = params.channels / 4u;
#else
    let columns = params.channels;
#end
    let part = at / columns;
    let column = at - part * columns;
    if part >= params.samples * params.blocks { return; }
    let sample = part / params.blocks;
    let first = (part - sample * params.blocks) * params.block;
    let rows = min(params.block, params.positions - first);
    var next = (sample * params.positions + first) * columns + column;
#if VECTOR
    var mean = vec4<f32>();
    var squares = vec4<f32>();
#else
    var mean = 0.0;
    var squares = 0.0;
#end
    for (var row = 1u; row <= rows; row++) {
#if VECTOR
        let v = x_at4(next);
#else
        let v = x_at(next);
#end
        let delta = v - mean;
        mean += delta * (1.0 / f32(row));
        squares += delta * (v - mean);
        next += columns;
    }
#if VECTOR
    partial_set4(2u * part * columns + column, mean);
    partial_set4((2u * part + 1u) * columns + column, squares);
#else
    partial_set(2u * part * columns + column, mean);
    partial_set((2u * part + 1u) * columns + column, squares);
#end
}

// group_norm_merge: the statistics of whole samples from those of their blocks (Chan et al. 1979).
//   partial     [samples, blocks, groups, 4]   mean, squared deviations, count, 0
//   statistics  [samples, groups, 4]           mean, 1 / sqrt(var + eps), 0, 0; written everywhere
// Dispatch: one invocation per (sample, group), workgroups folded over x and y.
#params
samples: u32
groups: u32
blocks: u32
eps: f32
#end
#read partial
#write statistics

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = (id.x + id.y * count.x) * WORKGROUP + local;
    if at >= params.samples * params.groups { return; }
    let sample = at / params.groups;
    let group = at - sample * params.groups;
    var merged = vec3<f32>();
    for (var block = 0u; block < params.blocks; block++) {
        let next = partial_at4((sample * params.blocks + block) * params.groups + group);
        let n = merged.z + next.z;
        let delta = next.x - merged.x;
        merged = vec3<f32>(merged.x + delta * (next.z / n), merged.y + next.y + delta * delta * (merged.z * next.z / n), n);
    }
    statistics_set4(at, vec4<f32>(merged.x, inverseSqrt(merged.y / merged.z + params.eps), 0.0, 0.0));
}

// seam_merge: gain = deviation of source / deviation of generated, offset = mean of source - gain mean of generated, per colour, both
// limited; statistics of the whole seam from those of its parts (Chan et al. 1979).
//   partial   f32 [parts, 13]   count; means of source, of generated; sums of squared deviations of source, of generated
//   y         f32 [2, 3]        gain, then offset in units of white; written everywhere; 1 and 0 without a seam
// Dispatch: one workgroup per colour. Two passes in f32.
#params
parts: u32
least_gain: f32
most_gain: f32
most_offset: f32
flat: f32               // a deviation below which the gain is 1
#end
#read partial
#write y
#include reduce

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let colour = group_index(id, count);
    if colour >= 3u { return; }
    // Of the source, then of the other.
    var seen = 0.0;
    var total = vec2<f32>();
    for (var part = local; part < params.parts; part += WORKGROUP) {
        let at = 13u * part + 1u + colour;
        let n = partial_at(13u * part);
        seen += n;
        total += n * vec2<f32>(partial_at(at), partial_at(at + 3u));
    }
    let n = reduce_sum(seen, local);
    let mean = vec2<f32>(reduce_sum(total.x, local), reduce_sum(total.y, local)) / max(n, 1.0);
    var squares = vec2<f32>();
    for (var part = local; part < params.parts; part += WORKGROUP) {
        let at = 13u * part + 1u + colour;
        let delta = vec2<f32>(partial_at(at), partial_at(at + 3u)) - mean;
        squares += vec2<f32>(partial_at(at + 6u), partial_at(at + 9u)) + partial_at(13u * part) * delta * delta;
    }
    let variance = vec2<f32>(reduce_sum(squares.x, local), reduce_sum(squares.y, local)) / max(n, 1.0);
    let deviation = sqrt(variance);
    var gain = 1.0;
    if min(deviation.x, deviation.y) >= params.flat {
        gain = clamp(deviation.x / deviation.y, params.least_gain, params.most_gain);
    }
    if local == 0u {
        y_set(colour, gain);
        y_set(3u + colour, clamp(mean.x - gain * mean.y, -params.most_offset, params.most_offset));
    }
}

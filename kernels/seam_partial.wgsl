// seam_partial: per part of PART pixels, how many lie on the seam (0 < alpha < 1), and per picture and colour the mean of their
// values, in units of white, and the sum of squared deviations from it.
//   source      u32               packed RGB, PER_WORD values to a word (4 of 8 bits, 2 of 16)
//   generated   u32               the same
//   alpha       f32 [pixels]
//   y           f32 [parts, 13]   count; means of source, of generated; sums of source, of generated; written everywhere
// Dispatch: one workgroup per part, folded over x and y. Two passes in f32 (no E[v^2] - E[v]^2).
#params
pixels: u32
parts: u32
#end
#read source
#read generated
#read alpha
#write y
#include reduce

const BITS: u32 = 32u / PER_WORD;
const WHITE: u32 = (1u << BITS) - 1u;

fn is_seam(pixel: u32) -> bool {
    if pixel >= params.pixels { return false; }
    let a = alpha_at(pixel);
    return a > 0.0 && a < 1.0;
}

fn source_value(i: u32) -> f32 {
    return f32((source[i / PER_WORD] >> (i % PER_WORD * BITS)) & WHITE) / f32(WHITE);
}

fn generated_value(i: u32) -> f32 {
    return f32((generated[i / PER_WORD] >> (i % PER_WORD * BITS)) & WHITE) / f32(WHITE);
}

fn source_colour(pixel: u32) -> vec3<f32> {
    return vec3<f32>(source_value(3u * pixel), source_value(3u * pixel + 1u), source_value(3u * pixel + 2u));
}

fn generated_colour(pixel: u32) -> vec3<f32> {
    return vec3<f32>(generated_value(3u * pixel), generated_value(3u * pixel + 1u), generated_value(3u * pixel + 2u));
}

fn sum(v: vec3<f32>, local: u32) -> vec3<f32> {
    return vec3<f32>(reduce_sum(v.x, local), reduce_sum(v.y, local), reduce_sum(v.z, local));
}

fn put(start: u32, v: vec3<f32>) {
    y_set(start, v.x);
    y_set(start + 1u, v.y);
    y_set(start + 2u, v.z);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let part = group_index(id, count);
    if part >= params.parts { return; }
    let first = part * PART;
    var seen = 0.0;
    var sources = vec3<f32>();
    var generateds = vec3<f32>();
    for (var i = local; i < PART; i += WORKGROUP) {
        if !is_seam(first + i) { continue; }
        seen += 1.0;
        sources += source_colour(first + i);
        generateds += generated_colour(first + i);
    }
    let n = reduce_sum(seen, local);
    let source_mean = sum(sources, local) / max(n, 1.0);
    let generated_mean = sum(generateds, local) / max(n, 1.0);
    sources = vec3<f32>();
    generateds = vec3<f32>();
    for (var i = local; i < PART; i += WORKGROUP) {
        if !is_seam(first + i) { continue; }
        let source_delta = source_colour(first + i) - source_mean;
        let generated_delta = generated_colour(first + i) - generated_mean;
        sources += source_delta * source_delta;
        generateds += generated_delta * generated_delta;
    }
    sources = sum(sources, local);
    generateds = sum(generateds, local);
    if local == 0u {
        y_set(13u * part, n);
        put(13u * part + 1u, source_mean);
        put(13u * part + 4u, generated_mean);
        put(13u * part + 7u, sources);
        put(13u * part + 10u, generateds);
    }
}

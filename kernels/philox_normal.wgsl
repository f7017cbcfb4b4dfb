// philox_normal: standard normal noise from Philox 4x32-10 (Salmon et al. 2011), by Box and Muller.
//   y   [frames, per_frame]   f32, written everywhere
// Elements 4k..4k+4 of a frame come from the counter (k, absolute frame, purpose, 0) under the key (seed low, seed high):
// words w0..w3 give u = (w >> 8 + 1/2) / 2^24 each, and (w0, w1) → r cos t, r sin t with r = sqrt(-2 ln u0), t = 2 pi u1;
// (w2, w3) likewise. ln, sin and cos are polynomials here, since WGSL promises little for its own.
// RAW: y is u32 [count, 4], the words of successive counters from (first, frame, purpose, last) on.
// WHOLE: per_frame is a multiple of 4, so that four elements of y share a counter.
// Dispatch: one invocation per four elements, workgroups folded over x and y.
#params
count: u32              // groups of four elements here
first: u32              // groups of four elements before them
per_frame: u32          // elements of a frame
frame: u32              // absolute number of the first frame
purpose: u32
last: u32
key_low: u32
key_high: u32
#end
#write y

// The 64-bit product of a and b, low word first; WGSL has no 64-bit integers.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>(a * b, a1 * b1 + (middle >> 16u) + (other >> 16u));
}

fn philox(counter: vec4<u32>) -> vec4<u32> {
    var c = counter;
    var key = vec2<u32>(params.key_low, params.key_high);
    for (var round = 0u; round < 10u; round++) {
        let p = wide_product(0xd2511f53u, c.x);
        let q = wide_product(0xcd9e8d57u, c.z);
        c = vec4<u32>(q.y ^ c.y ^ key.x, q.x, p.y ^ c.w ^ key.y, p.x);
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

#if !RAW
// ln u for u = odd / 2^25. u = 2^e (1 + f) with 1 + f in [sqrt 1/2, sqrt 2]: f is exact, so ln keeps its digits near 1.
fn ln_unit(odd: u32) -> f32 {
    var k = firstLeadingBit(odd);
    if f32(odd) > 1.41421356 * f32(1u << k) { k += 1u; }
    let f = f32(i32(odd) - i32(1u << k)) * bitcast<f32>((127u - k) << 23u);
    let s = f / (2.0 + f);
    let z = s * s;
    let log1p = 2.0 * s * (1.0 + z * (0.33333333 + z * (0.2 + z * (0.14285714 + z * 0.11111111))));
    return log1p + (f32(k) - 25.0) * 0.69314718;
}

// cos and sin of 2 pi odd / 2^25, Taylor's series within an eighth of a turn; the reduction is exact.
fn circle(odd: u32) -> vec2<f32> {
    let quarter = (odd + (1u << 22u)) >> 23u;
    let x = f32(i32(odd) - i32(quarter << 23u)) * 1.8725351e-7;
    let z = x * x;
    let c = 1.0 + z * (-0.5 + z * (0.041666667 + z * (-0.0013888889 + z * (2.4801587e-5 - z * 2.7557319e-7))));
    let s = x * (1.0 + z * (-0.16666667 + z * (0.0083333333 + z * (-1.9841270e-4 + z * 2.7557319e-6))));
    switch quarter & 3u {
        case 0u: { return vec2<f32>(c, s); }
        case 1u: { return vec2<f32>(-s, c); }
        case 2u: { return vec2<f32>(-c, -s); }
        default: { return vec2<f32>(s, -c); }
    }
}

fn normals(k: u32, frame: u32) -> vec4<f32> {
    let odd = (philox(vec4<u32>(k, frame, params.purpose, 0u)) >> vec4<u32>(8u)) * 2u + 1u;
    return vec4<f32>(sqrt(-2.0 * ln_unit(odd.x)) * circle(odd.y), sqrt(-2.0 * ln_unit(odd.z)) * circle(odd.w));
}
#end

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
#if RAW
    let words = philox(vec4<u32>(params.first + at, params.frame, params.purpose, params.last));
    for (var j = 0u; j < 4u; j++) { y[at * 4u + j] = words[j]; }
#else
    let i = (params.first + at) * 4u;
#if WHOLE
    y_set4(at, normals(i % params.per_frame / 4u, params.frame + i / params.per_frame));
#else
    var v = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
        let inside = (i + j) % params.per_frame;
        v[j] = normals(inside / 4u, params.frame + (i + j) / params.per_frame)[inside % 4u];
    }
    y_set4(at, v);
#end
#end
}

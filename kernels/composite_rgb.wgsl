// composite_rgb: y = x + a (shown - x), rounded, inside the patches; elsewhere, and where a is 0, y is x bit for bit. shown = patch_0
// or, of two LAYERS, patch_1 + share (patch_0 - patch_1); with COLOUR each value v of a patch is clamp(gain v + offset) first.
//   x, y       u32 [count]           words `first` and following of a frame of packed RGB [height, width], PER_WORD values to a
//                                    word (4 of 8 bits, 2 of 16); 0 behind its end
//   patch_i    u32                   packed RGB [patch_height, patch_width], at (left, top) of the frame
//   colour_i   f32 [2, 3]            gain, then offset in units of white, of red, green and blue
//   alpha      f32 [side, side]      between pixel centres linear
// A patch's pixel (i, j) lies at (a u + b v + c, d u + e v + f) of alpha, (u, v) = (i + 1/2, j + 1/2) being its centre and 0 alpha's
// edge. Outside of alpha's square a is 0, inside it is alpha times a ramp of `feather` of its pixels from each of its sides that
// `fade` names (1 left, 2 top, 4 right, 8 bottom).
// Dispatch: one invocation per word of y, workgroups folded over x and y.
#params
count: u32              // words of y
first: u32
width: u32
height: u32
left: u32
top: u32
patch_width: u32
patch_height: u32
a: f32
b: f32
c: f32
d: f32
e: f32
f: f32
side: u32
fade: u32
feather: f32
share: f32              // of layer 0
#end
#read x
#read alpha
#read patch_0
#if LAYERS == 2
#read patch_1
#end
#if COLOUR
#read colour_0
#if LAYERS == 2
#read colour_1
#end
#end
#write y

const BITS: u32 = 32u / PER_WORD;
const WHITE: u32 = (1u << BITS) - 1u;

fn opacity(column: u32, row: u32) -> f32 {
    let side = f32(params.side);
    let centre = vec2<f32>(f32(column), f32(row)) + 0.5;
    let place = vec2<f32>(params.a * centre.x + params.b * centre.y + params.c,
                          params.d * centre.x + params.e * centre.y + params.f);
    if any(place < vec2<f32>(0.0)) || any(place > vec2<f32>(side)) { return 0.0; }
    var ramp = 1.0;
    if (params.fade & 1u) != 0u { ramp = min(ramp, place.x / params.feather); }
    if (params.fade & 2u) != 0u { ramp = min(ramp, place.y / params.feather); }
    if (params.fade & 4u) != 0u { ramp = min(ramp, (side - place.x) / params.feather); }
    if (params.fade & 8u) != 0u { ramp = min(ramp, (side - place.y) / params.feather); }
    let at = clamp(place - 0.5, vec2<f32>(0.0), vec2<f32>(side - 1.0));
    let low = vec2<u32>(at);
    let high = min(low + 1u, vec2<u32>(params.side - 1u));
    let part = at - vec2<f32>(low);
    let upper = mix(alpha_at(low.y * params.side + low.x), alpha_at(low.y * params.side + high.x), part.x);
    let lower = mix(alpha_at(high.y * params.side + low.x), alpha_at(high.y * params.side + high.x), part.x);
    return mix(upper, lower, part.y) * ramp;
}

#for i in 0..LAYERS
// Value `offset` of the patch, a `colour`, in levels.
fn layer_$i(offset: u32, colour: u32) -> f32 {
    let v = f32((patch_$i[offset / PER_WORD] >> (offset % PER_WORD * BITS)) & WHITE);
#if COLOUR
    return clamp(colour_$i_at(colour) * v + colour_$i_at(3u + colour) * f32(WHITE), 0.0, f32(WHITE));
#else
    return v;
#end
}
#end

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    var word = x[at];
    for (var j = 0u; j < PER_WORD; j++) {
        let value = (params.first + at) * PER_WORD + j;
        let pixel = value / 3u;
        // Left of the patch or above it, the difference wraps around and is large.
        let column = pixel % params.width - params.left;
        let row = pixel / params.width - params.top;
        if pixel >= params.width * params.height || column >= params.patch_width || row >= params.patch_height { continue; }
        let a = opacity(column, row);
        if a <= 0.0 { continue; }
        let shift = j * BITS;
        let source = f32((word >> shift) & WHITE);
        let offset = (row * params.patch_width + column) * 3u + value % 3u;
#if LAYERS == 2
        let shown = mix(layer_1(offset, value % 3u), layer_0(offset, value % 3u), params.share);
#else
        let shown = layer_0(offset, value % 3u);
#end
        let blended = u32(clamp(source + a * (shown - source) + 0.5, 0.0, f32(WHITE)));
        word = (word & ~(WHITE << shift)) | (blended << shift);
    }
    y[at] = word;
}

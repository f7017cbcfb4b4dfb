// composite_rgb: y = x + a (patch - x), rounded, inside the patch; elsewhere, and where a is 0, y is x bit for bit.
//   x, y    u32 [stride]                  one frame of packed RGB [height, width], PER_WORD values to a word (4 of 8 bits, 2 of
//                                         16); 0 behind its end
//   patch   u32                           packed RGB [patch_height, patch_width], at (left, top) of the frame
//   alpha   f32 [side, side]              over the crop that the patch shows, between pixel centres linear
// The patch's pixel (i, j) lies at origin + (i + 1/2, j + 1/2) * scale of the crop. a = alpha times a ramp of `feather` crop
// pixels from each of the crop's sides that `fade` names (1 left, 2 top, 4 right, 8 bottom).
// Dispatch: one invocation per word of y, workgroups folded over x and y.
#params
count: u32              // words
width: u32
height: u32
left: u32
top: u32
patch_width: u32
patch_height: u32
side: u32
origin_x: f32
origin_y: f32
scale_x: f32
scale_y: f32
fade: u32
feather: f32
#end
#read x
#read patch_words
#read alpha
#write y

const BITS: u32 = 32u / PER_WORD;
const WHITE: u32 = (1u << BITS) - 1u;

fn opacity(column: u32, row: u32) -> f32 {
    let side = f32(params.side);
    let u = params.origin_x + (f32(column) + 0.5) * params.scale_x;
    let v = params.origin_y + (f32(row) + 0.5) * params.scale_y;
    var ramp = 1.0;
    if (params.fade & 1u) != 0u { ramp = min(ramp, u / params.feather); }
    if (params.fade & 2u) != 0u { ramp = min(ramp, v / params.feather); }
    if (params.fade & 4u) != 0u { ramp = min(ramp, (side - u) / params.feather); }
    if (params.fade & 8u) != 0u { ramp = min(ramp, (side - v) / params.feather); }
    let at = clamp(vec2<f32>(u, v) - 0.5, vec2<f32>(0.0), vec2<f32>(side - 1.0));
    let low = vec2<u32>(at);
    let high = min(low + 1u, vec2<u32>(params.side - 1u));
    let part = at - vec2<f32>(low);
    let upper = mix(alpha_at(low.y * params.side + low.x), alpha_at(low.y * params.side + high.x), part.x);
    let lower = mix(alpha_at(high.y * params.side + low.x), alpha_at(high.y * params.side + high.x), part.x);
    return mix(upper, lower, part.y) * max(ramp, 0.0);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    var word = x[at];
    for (var j = 0u; j < PER_WORD; j++) {
        let value = at * PER_WORD + j;
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
        let shown = f32((patch_words[offset / PER_WORD] >> (offset % PER_WORD * BITS)) & WHITE);
        let blended = u32(clamp(source + a * (shown - source) + 0.5, 0.0, f32(WHITE)));
        word = (word & ~(WHITE << shift)) | (blended << shift);
    }
    y[at] = word;
}

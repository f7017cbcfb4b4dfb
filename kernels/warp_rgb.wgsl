// warp_rgb: y = x between its four pixels next to a place, rounded; x's border goes on beyond it.
//   x       u32 [x_stride]     packed RGB [x_height, x_width], PER_WORD values to a word (4 of 8 bits, 2 of 16)
//   y       u32 [count]        words `first` and following of packed RGB [y_height, y_width]; 0 behind its end
// The place of y's pixel (i, j) is (left + a u + b v + c, top + d u + e v + f), (u, v) = (i + 1/2, j + 1/2) being its centre; 0 is x's
// edge. left and top are whole pixels, so that f32 keeps fractions in large pictures.
// Dispatch: one invocation per word of y, workgroups folded over x and y.
#params
count: u32              // words of y
first: u32
x_width: u32
x_height: u32
y_width: u32
y_height: u32
left: i32
top: i32
a: f32
b: f32
c: f32
d: f32
e: f32
f: f32
#end
#read x
#write y

const BITS: u32 = 32u / PER_WORD;
const WHITE: u32 = (1u << BITS) - 1u;
// More pixels than any picture has, and few enough for sums of i32.
const FAR: f32 = 1e9;

fn x_value(column: i32, row: i32, colour: u32) -> f32 {
    let at = vec2<u32>(clamp(vec2<i32>(column, row), vec2<i32>(0), vec2<i32>(vec2<u32>(params.x_width, params.x_height)) - 1));
    let i = (at.y * params.x_width + at.x) * 3u + colour;
    return f32((x[i / PER_WORD] >> (i % PER_WORD * BITS)) & WHITE);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    var word = 0u;
    for (var j = 0u; j < PER_WORD; j++) {
        let value = (params.first + at) * PER_WORD + j;
        let pixel = value / 3u;
        if pixel >= params.y_width * params.y_height { continue; }
        let centre = vec2<f32>(f32(pixel % params.y_width), f32(pixel / params.y_width)) + 0.5;
        let across = params.a * centre.x + params.b * centre.y + params.c;
        let down = params.d * centre.x + params.e * centre.y + params.f;
        let place = clamp(vec2<f32>(across, down) - 0.5, vec2<f32>(-FAR), vec2<f32>(FAR));
        let part = place - floor(place);
        let low = vec2<i32>(params.left, params.top) + vec2<i32>(floor(place));
        let colour = value % 3u;
        let upper = mix(x_value(low.x, low.y, colour), x_value(low.x + 1, low.y, colour), part.x);
        let lower = mix(x_value(low.x, low.y + 1, colour), x_value(low.x + 1, low.y + 1, colour), part.x);
        word |= min(u32(mix(upper, lower, part.y) + 0.5), WHITE) << (j * BITS);
    }
    y[at] = word;
}

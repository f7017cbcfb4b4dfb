// resample_rgb: y[i] = (2^(bits-1) + sum over t of weight[i, t] x[begin[i] + t]) >> bits along one axis, clamped to white.
//   x       u32 [frames, x_stride]      packed RGB [rows, x_width], PER_WORD values to a word (4 of 8 bits, 2 of 16)
//   table   u32 [outputs, 1 + taps]     begin, then weights in units of 2^-bits
//   y       u32 [frames, y_stride]      packed RGB [y_height, y_width]; 0 behind a frame's end
// AXIS 0: along rows, y's first row being x's row `row`. AXIS 1: along columns. Integers throughout: the fixed-point rule by
// which PyTorch resizes bytes (aten UpSampleKernel, 16-bit weights). bits is at most 15 where values have 16, or a sum would overflow.
// Dispatch: one invocation per word of y, workgroups folded over x and y.
#params
count: u32              // words of y
x_width: u32
x_stride: u32
y_width: u32
y_height: u32
y_stride: u32
row: u32
taps: u32
bits: u32
#end
#read x
#read table
#write y

const BITS: u32 = 32u / PER_WORD;
const WHITE: u32 = (1u << BITS) - 1u;

fn x_value(frame: u32, i: u32) -> u32 {
    return (x[frame * params.x_stride + i / PER_WORD] >> (i % PER_WORD * BITS)) & WHITE;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    let frame = at / params.y_stride;
    var word = 0u;
    for (var j = 0u; j < PER_WORD; j++) {
        let value = at % params.y_stride * PER_WORD + j;
        if value >= params.y_width * params.y_height * 3u { continue; }
        let pixel = value / 3u;
#if AXIS == 0
        let entry = pixel % params.y_width * (1u + params.taps);
        let start = ((pixel / params.y_width + params.row) * params.x_width + table[entry]) * 3u + value % 3u;
        let step = 3u;
#else
        let entry = pixel / params.y_width * (1u + params.taps);
        let start = (table[entry] * params.x_width + pixel % params.y_width) * 3u + value % 3u;
        let step = 3u * params.x_width;
#end
        var sum = 1u << (params.bits - 1u);
        for (var t = 0u; t < params.taps; t++) { sum += table[entry + 1u + t] * x_value(frame, start + t * step); }
        word |= min(sum >> params.bits, WHITE) << (j * BITS);
    }
    y[at] = word;
}

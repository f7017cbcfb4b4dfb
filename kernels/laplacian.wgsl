// laplacian: L = g[r-1, c] + g[r+1, c] + g[r, c-1] + g[r, c+1] - 4 g[r, c] of the grey picture g; y[p] = sum of L and of L^2
// over part p, exact.
//   g = (9798 R + 19235 G + 3735 B + 2^14) >> 15     BT.601 luma in OpenCV's fixed point
//   Beyond the border lies the picture mirrored about its outermost pixels (OpenCV's default, "reflect 101").
//   x   u32 [words]          bytes of packed RGB, four to a word, of the rows that the parts need
//   y   u32 [parts, 2]       the first of each pair is an i32; written everywhere
// Dispatch: one workgroup per part of WORKGROUP * EACH pixels, folded over x and y. A part may have up to 4128 pixels, or the
// sum of squares (at most 1020^2 each) leaves a u32.
#params
width: u32
height: u32
parts: u32
first: u32              // the picture's part that y begins with
base: u32               // the picture's byte that x begins with
#end
#read x
#write y

var<workgroup> total: atomic<i32>;
var<workgroup> squares: atomic<u32>;

fn byte(at: u32) -> u32 {
    let i = at - params.base;
    return (x[i / 4u] >> (i % 4u * 8u)) & 0xffu;
}

fn grey(row: u32, column: u32) -> i32 {
    let i = (row * params.width + column) * 3u;
    return i32((9798u * byte(i) + 19235u * byte(i + 1u) + 3735u * byte(i + 2u) + 16384u) >> 15u);
}

// The neighbours of `at` on a line of `size` pixels.
fn around(at: u32, size: u32) -> vec2<u32> {
    if size == 1u { return vec2<u32>(0u); }
    return vec2<u32>(select(at - 1u, 1u, at == 0u), select(at + 1u, size - 2u, at == size - 1u));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let part = group_index(id, count);
    if part >= params.parts { return; }
    // Workgroup memory begins undefined here.
    if local == 0u {
        atomicStore(&total, 0);
        atomicStore(&squares, 0u);
    }
    workgroupBarrier();
    var sum = 0;
    var sum_squares = 0u;
    for (var step = 0u; step < EACH; step++) {
        let i = ((params.first + part) * EACH + step) * WORKGROUP + local;
        if i >= params.width * params.height { break; }
        let row = i / params.width;
        let column = i % params.width;
        let rows = around(row, params.height);
        let columns = around(column, params.width);
        let value = grey(rows.x, column) + grey(rows.y, column) + grey(row, columns.x) + grey(row, columns.y)
            - 4 * grey(row, column);
        sum += value;
        sum_squares += u32(value * value);
    }
    atomicAdd(&total, sum);
    atomicAdd(&squares, sum_squares);
    workgroupBarrier();
    if local == 0u {
        y[2u * part] = bitcast<u32>(atomicLoad(&total));
        y[2u * part + 1u] = atomicLoad(&squares);
    }
}

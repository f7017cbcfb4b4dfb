// Matrices that a subgroup multiplies as one, MATRIX rows by MATRIX columns: Sum += Left * Right, f16 into f32.
//   halves, sums   tiles in workgroup memory that matrices come from and go to; the kernel states their sizes as HALVES
//                  and SUMS. Sizes, offsets and strides (from one row of a tile to the next) count groups of four elements.
//
// MATRIX    16, or 8 for Metal, whose matrices are loaded from scalars only
// EMULATED  1: the same with plain loops, 32 invocations to a subgroup: what tests run where there are no such matrices.
//           Left and Right are then read where they are multiplied; no kernel may write to a tile in between, or does.
enable f16;
#if !EMULATED
enable wgpu_cooperative_matrix;
#end
#if MATRIX == 8
var<workgroup> halves: array<f16, 4u * HALVES>;
var<workgroup> sums: array<f32, 4u * SUMS>;
fn halves_set(i: u32, v: vec4<f16>) {
    halves[4u * i] = v.x;
    halves[4u * i + 1u] = v.y;
    halves[4u * i + 2u] = v.z;
    halves[4u * i + 3u] = v.w;
}
fn sums_at(i: u32) -> vec4<f32> { return vec4<f32>(sums[4u * i], sums[4u * i + 1u], sums[4u * i + 2u], sums[4u * i + 3u]); }
#else
var<workgroup> halves: array<vec4<f16>, HALVES>;
var<workgroup> sums: array<vec4<f32>, SUMS>;
fn halves_set(i: u32, v: vec4<f16>) { halves[i] = v; }
fn sums_at(i: u32) -> vec4<f32> { return sums[i]; }
#end

#if EMULATED
const LANES_EACH = 32u;
const CELLS = MATRIX * MATRIX / LANES_EACH;
// This invocation's place in its subgroup: it owns CELLS elements of each Sum, all in one column.
var<private> own: u32;
struct Left { at: u32, stride: u32 }
struct Right { at: u32, down: u32, across: u32 }
struct Sum { cells: array<f32, CELLS> }

fn left(at: u32, stride: u32) -> Left { return Left(4u * at, 4u * stride); }
fn right(at: u32, stride: u32) -> Right { return Right(4u * at, 4u * stride, 1u); }
fn right_transposed(at: u32, stride: u32) -> Right { return Right(4u * at, 1u, 4u * stride); }
#if MATRIX == 8
fn half_at(i: u32) -> f32 { return f32(halves[i]); }
fn sum_set(i: u32, v: f32) { sums[i] = v; }
#else
fn half_at(i: u32) -> f32 { return f32(halves[i >> 2u][i & 3u]); }
fn sum_set(i: u32, v: f32) { sums[i >> 2u][i & 3u] = v; }
#end
fn cell_row(i: u32) -> u32 { return own / MATRIX + i * (LANES_EACH / MATRIX); }

fn multiply_add(a: Left, b: Right, c: Sum) -> Sum {
    var sum = c;
    for (var k = 0u; k < MATRIX; k++) {
        let factor = half_at(b.at + k * b.down + own % MATRIX * b.across);
        for (var i = 0u; i < CELLS; i++) { sum.cells[i] += half_at(a.at + cell_row(i) * a.stride + k) * factor; }
    }
    return sum;
}

fn store(sum: Sum, at: u32, stride: u32) {
    for (var i = 0u; i < CELLS; i++) { sum_set(4u * (at + cell_row(i) * stride) + own % MATRIX, sum.cells[i]); }
}
#else
#if MATRIX == 8
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
const UNIT = 4u;
#else
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
const UNIT = 1u;
#end
fn left(at: u32, stride: u32) -> Left { return coopLoadT<Left>(&halves[UNIT * at], UNIT * stride); }
// Row k of the tile is row k of the matrix.
fn right(at: u32, stride: u32) -> Right { return coopLoadT<Right>(&halves[UNIT * at], UNIT * stride); }
// Row n of the tile is column n of the matrix.
fn right_transposed(at: u32, stride: u32) -> Right { return coopLoad<Right>(&halves[UNIT * at], UNIT * stride); }

fn multiply_add(a: Left, b: Right, c: Sum) -> Sum { return coopMultiplyAdd(a, b, c); }

fn store(sum: Sum, at: u32, stride: u32) {
    // Bound first: naga 30 does not always emit what stands inside the call.
    let first = UNIT * at;
    let step = UNIT * stride;
    coopStoreT(sum, &sums[first], step);
}
#end

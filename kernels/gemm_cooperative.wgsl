// gemm_cooperative: matmul and convolution on cooperative matrices: f16 x and weights, f32 sums. A workgroup of four
// subgroups computes ROWS x COLUMNS outputs in steps of 32 depths through workgroup memory; a tile is multiplied while the
// next is on its way to registers, and to the other buffer where there are two (tile sizes: ggml's Vulkan back end; implicit GEMM: Chetlur et al. 2014).
// Bindings, constants and formula: common/gemm.wgsl; matrices: common/matrix.wgsl. Beyond rows, depth and panels the tiles hold zeros
// or rows that nothing is stored of, so that every subgroup does the same. Dispatch: x tiles of rows, y tiles of PANELS panels, z
// parts of the depth (SPLIT), a multiple of 32 each.
//   ROWS, COLUMNS                    of a tile; COLUMNS = PANELS * PANEL, and PANELS > 1 only where groups is 1
//   BUFFERS                          2, or 1 where workgroup memory has no room for them
//   WORKGROUP                        four subgroups, two by two over the tile
//   ROW_MATRICES                     of a subgroup; it has ROUNDS * STAGED across, STAGED of which are stored together
//   DEPTH_MATRICES                   32 / MATRIX
//   LEFT_QUADS, RIGHT_QUADS          groups of four elements that an invocation loads of each tile
#include gemm
#include matrix
const STEP = 32u;
const STEP4 = STEP / 4u;
const COLUMNS4 = COLUMNS / 4u;
// Two groups of padding keep the rows of a matrix apart in the banks of workgroup memory.
const LEFT_STRIDE = STEP4 + 2u;
const RIGHT_STRIDE = COLUMNS4 + 2u;
const RIGHT_AT = ROWS * LEFT_STRIDE;
const TILE = RIGHT_AT + STEP * RIGHT_STRIDE;
const HALVES = BUFFERS * TILE;
// Rows and columns of one subgroup, and its part of `sums`.
const PART_ROWS = ROWS / 2u;
const PART_COLUMNS = COLUMNS / 2u;
const STAGED4 = STAGED * MATRIX / 4u;
const SUMS_STRIDE = STAGED4 + 1u;
const PART_SUMS = MATRIX * SUMS_STRIDE;
const SUMS = 4u * PART_SUMS;
// Groups of four columns that are finished together.
#if GATED
const EACH = 2u;
#else
const EACH = 1u;
#end

// Channels c .. c + 4 of the pixel that starts at `start`.
fn pixel_halves(start: u32, group_start: u32, c: u32) -> vec4<f16> {
#if VECTOR
    if start == OUTSIDE { return vec4<f16>(); }
    return x_half4((start + group_start + c) >> 2u);
#else
    return vec4<f16>(pixel4(start, group_start, c));
#end
}

#if EMULATED
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let part = local / LANES_EACH;
    own = local % LANES_EACH;
#else
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32,
        @builtin(subgroup_id) part: u32) {
#end
    let panel = params.panel_begin + id.y * PANELS;
    let group = panel / params.panels_per_group;
    let group_start = group * params.group_channels;
    let row = (params.first_group + id.x) * ROWS;
#if SPLIT
    part_of_depth = id.z;
    let start_depth = id.z * params.part_depth;
    let depth = min(params.depth_end - params.depth_begin, start_depth + params.part_depth);
#else
    let start_depth = 0u;
    let depth = params.depth_end - params.depth_begin;
#end

    // Left tile: one group of depths, every WORKGROUP / STEP4 rows.
    let left_depth = local % STEP4 * 4u;
    let left_line = local / STEP4;
#for i in 0..LEFT_QUADS
    let window$i = window(row + left_line + $i * (WORKGROUP / STEP4));
    var next_left$i: vec4<f16>;
#end
#for i in 0..RIGHT_QUADS
    var next_right$i: vec4<f16>;
#end
    let left_at = part / 2u * PART_ROWS * LEFT_STRIDE;
    let right_at = RIGHT_AT + part % 2u * PART_COLUMNS / 4u;
#for m in 0..ROW_MATRICES
#for r in 0..ROUNDS
#for n in 0..STAGED
    var sum$m_$r_$n: Sum;
#end
#end
#end
    // Each turn loads tile k / STEP and multiplies the one before it.
    for (var k = start_depth; k < depth + STEP; k += STEP) {
        let tile = (k - start_depth) / STEP % BUFFERS * TILE;
        let full = params.depth_begin + k + left_depth;
        let tap = full / params.tap_depth;
        let channel = full - tap * params.tap_depth;
        let left_inside = k + left_depth < depth;
#for i in 0..LEFT_QUADS
        next_left$i = vec4<f16>();
        if left_inside { next_left$i = pixel_halves(tap_start(window$i, tap), group_start, channel); }
#end
#for i in 0..RIGHT_QUADS
        {
            let at = local + $i * WORKGROUP;
            let at_depth = k + at / COLUMNS4;
            let at_panel = at % COLUMNS4 / (PANEL / 4u);
            next_right$i = vec4<f16>();
            if at_depth < depth && (PANELS == 1u || panel + at_panel < params.panels_per_group) {
                let line = (id.y * PANELS + at_panel) * params.panel_depth + at_depth;
                next_right$i = weight_half4(line * (PANEL / 4u) + at % (PANEL / 4u));
            }
        }
#end
        if k > start_depth {
            let before = (BUFFERS - 1u) * TILE - tile;
#for d in 0..DEPTH_MATRICES
            {
#for m in 0..ROW_MATRICES
                let a$m = left(before + left_at + $m * MATRIX * LEFT_STRIDE + $d * MATRIX / 4u, LEFT_STRIDE);
#end
#for r in 0..ROUNDS
#for n in 0..STAGED
                let b$r_$n = right(before + right_at + $d * MATRIX * RIGHT_STRIDE + ($r * STAGED + $n) * MATRIX / 4u, RIGHT_STRIDE);
#for m in 0..ROW_MATRICES
                sum$m_$r_$n = multiply_add(a$m, b$r_$n, sum$m_$r_$n);
#end
#end
#end
            }
#end
        }
#if BUFFERS == 1
        workgroupBarrier();
#end
#for i in 0..LEFT_QUADS
        halves_set(tile + (left_line + $i * (WORKGROUP / STEP4)) * LEFT_STRIDE + left_depth / 4u, next_left$i);
#end
#for i in 0..RIGHT_QUADS
        halves_set(tile + RIGHT_AT + (local + $i * WORKGROUP) / COLUMNS4 * RIGHT_STRIDE + local % COLUMNS4, next_right$i);
#end
        workgroupBarrier();
    }

    // Out through `sums`, where any invocation reaches any element: MATRIX rows of STAGED matrices of each subgroup at a time.
    let first = group * params.group_columns;
    let in_group = (panel - group * params.panels_per_group) * PANEL;
#for m in 0..ROW_MATRICES
#for r in 0..ROUNDS
#for n in 0..STAGED
    store(sum$m_$r_$n, part * PART_SUMS + $n * MATRIX / 4u, SUMS_STRIDE);
#end
    workgroupBarrier();
    for (var i = local * EACH; i < 4u * MATRIX * STAGED4; i += WORKGROUP * EACH) {
        let owner = i / (MATRIX * STAGED4);
        let line = i / STAGED4 % MATRIX;
        let column = owner % 2u * PART_COLUMNS + $r * STAGED * MATRIX + i % STAGED4 * 4u;
        let at = owner * PART_SUMS + line * SUMS_STRIDE + i % STAGED4;
        let at_row = row + owner / 2u * PART_ROWS + $m * MATRIX + line;
#if GATED
        finish(at_row, first, in_group + column, sums_at(at), sums_at(at + 1u));
#else
        finish(at_row, first, in_group + column, sums_at(at));
#end
    }
    workgroupBarrier();
#end
#end
}

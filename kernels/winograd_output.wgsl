// winograd_output: y = activation(A^T m A + bias + add) + residual, m the TILE x ACROSS products of a tile and column:
// OUT x OUT_ACROSS output pixels, less what hangs over the image. Formulas and source: common/winograd.wgsl.
//
//   products   [tiles, TILE * ACROSS, columns]  f32
//   bias       [columns]        f32                      (BIAS)
//   add        [rows / rows_per_add, columns]            one row per group of output rows, such as a time embedding (ADD)
//   residual   [rows, columns]                           (RESIDUAL)
//   y          [rows, columns]                           rows: images, height, width; written everywhere, aliases none of them
//
// Tiles lie as in winograd_input. The epilogue is that of common/gemm.wgsl, for pairs of columns.
// TILE      4 or 6; ACROSS   TILE or 1; OUTPUTS, OUTPUTS_ACROSS   OUT and OUT_ACROSS
// ACTIVATION 0 none, 1 SiLU, 2 GELU (erf)
// Dispatch: one invocation per tile and pair of columns, workgroups folded over x and y. columns is even.
#include winograd
#include activate
#params
tiles: u32
tiles_x: u32            // tiles side by side in an image
tiles_y: u32
out_height: u32         // of an image
out_width: u32
columns: u32
rows_per_add: u32
row_begin: u32          // rows of the whole output before this dispatch's, for `add`
#end
#read products
#if BIAS
#read bias
#end
#if ADD
#read add
#end
#if RESIDUAL
#read residual
#end
#write y

// Stores columns 2c, 2c + 1 of an output row.
fn finish(row: u32, c: u32, sum: vec2<f32>) {
    let at = row * (params.columns / 2u) + c;
    var v = sum;
#if BIAS
    v += bias_at2(c);
#end
#if ADD
    v += add_at2((params.row_begin + row) / params.rows_per_add * (params.columns / 2u) + c);
#end
#if ACTIVATION
    v = activate(v.xyxy).xy;
#end
#if RESIDUAL
    v += residual_at2(at);
#end
    y_set2(at, v);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    let pairs = params.columns / 2u;
    let tile = at / pairs;
    if tile >= params.tiles { return; }
    let c = at - tile * pairs;
    let start = tile * (TILE * ACROSS) * pairs + c;
#for j in 0..ACROSS
    let column$j = transform_output(Line(
#for i in 0..TILE
        products_at2(start + ($i * ACROSS + $j) * pairs),
#end
    ));
#end
    let line = tile / params.tiles_x;
    let image = line / params.tiles_y;
    let top = (line - image * params.tiles_y) * OUT;
    let left = (tile - line * params.tiles_x) * OUT_ACROSS;
    let first = (image * params.out_height + top) * params.out_width + left;
#for i in 0..OUTPUTS
    if top + $i < params.out_height {
#if ACROSS == 1
        finish(first + $i * params.out_width, c, column0[$i]);
#else
        let row$i = transform_output(Line(
#for j in 0..TILE
            column$j[$i],
#end
        ));
        let start$i = first + $i * params.out_width;
#for j in 0..OUTPUTS_ACROSS
        if left + $j < params.out_width { finish(start$i + $j, c, row$i[$j]); }
#end
#end
    }
#end
}

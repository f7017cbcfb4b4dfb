// winograd_input: transformed[tile, f, c] = (B^T d B)[f], d the TILE x ACROSS pixels of channel c under a tile of
// OUT x OUT_ACROSS output pixels, zero outside the image. A stride of 1 only; formulas and source: common/winograd.wgsl.
//
//   x            [images, in_height, in_width, channels]
//   transformed  [tiles, row]  f32        row >= TILE * ACROSS * channels, [f, channels] at its start; the rest is not written
//
// Tiles lie row by row in images, and cover each image on their own, so that no sum depends on its neighbours.
// TILE      4 or 6; ACROSS   TILE or 1
// UPSAMPLE  1: tiles lie on x enlarged twice (nearest), which is never stored
// Dispatch: one invocation per tile and pair of channels, workgroups folded over x and y. channels is even.
#include winograd
#params
tiles: u32
tiles_x: u32            // tiles side by side in an image
tiles_y: u32
in_height: u32          // of x as stored
in_width: u32
channels: u32
row: u32                // elements of a row of transformed, even
pad_top: i32
pad_left: i32
#end
#read x
#write transformed

// Channels 2c, 2c + 1 of a pixel. The address is clamped and the value selected: cheaper than a branch on software devices.
fn pixel2(image: u32, y: i32, x: i32, c: u32) -> vec2<f32> {
#if UPSAMPLE
    let line = y >> 1u;
    let column = x >> 1u;
#else
    let line = y;
    let column = x;
#end
    let inside = line >= 0 && column >= 0 && line < i32(params.in_height) && column < i32(params.in_width);
    let at_line = u32(clamp(line, 0, i32(params.in_height) - 1));
    let at_column = u32(clamp(column, 0, i32(params.in_width) - 1));
    let start = ((image * params.in_height + at_line) * params.in_width + at_column) * (params.channels / 2u);
    return select(vec2<f32>(), x_at2(start + c), inside);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    let pairs = params.channels / 2u;
    let tile = at / pairs;
    if tile >= params.tiles { return; }
    let c = at - tile * pairs;
    let line = tile / params.tiles_x;
    let image = line / params.tiles_y;
    let top = i32((line - image * params.tiles_y) * OUT) - params.pad_top;
    let left = i32((tile - line * params.tiles_x) * OUT_ACROSS) - params.pad_left;
#for j in 0..ACROSS
    let column$j = transform_input(Line(
#for i in 0..TILE
        pixel2(image, top + $i, left + $j, c),
#end
    ));
#end
    let start = tile * (params.row / 2u) + c;
#if ACROSS == 1
#for i in 0..TILE
    transformed_set2(start + $i * pairs, column0[$i]);
#end
#else
#for i in 0..TILE
    let row$i = transform_input(Line(
#for j in 0..TILE
        column$j[$i],
#end
    ));
#for j in 0..TILE
    transformed_set2(start + ($i * TILE + $j) * pairs, row$i[$j]);
#end
#end
#end
}

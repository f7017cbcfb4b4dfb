// rasterise_mask: y = 1 inside a frame's outline, else 0. Exact integers throughout.
//   outlines   i32 as u32 [frames, 8] or [frames, 2 * VERTICES]   y   f32 [frames, size, size], written everywhere
// VERTICES 0: left, top, right, bottom of what is filled, then of the hole in it; all ends inclusive, empty where left > right.
// VERTICES n: the polygon's corners x, y. As Pillow fills one: even-odd at pixel centres, every pixel that an edge passes
// less than half a pixel to its left or right, and level edges from corner to corner.
// Dispatch: one invocation per four elements of y, workgroups folded over x and y.
#params
count: u32              // groups of four elements here
first: u32              // groups of four elements before them
elements: u32           // of all frames
size: u32
#end
#read outlines
#write y

#if VERTICES
fn value(outline: u32, x: i32, y: i32) -> f32 {
    let start = outline * 2u * VERTICES;
    var a = vec2<i32>(i32(outlines[start + 2u * VERTICES - 2u]), i32(outlines[start + 2u * VERTICES - 1u]));
    var inside = false;
    var edge = false;
    for (var i = 0u; i < VERTICES; i++) {
        let b = vec2<i32>(i32(outlines[start + 2u * i]), i32(outlines[start + 2u * i + 1u]));
        let d = b - a;
        // How far right of the edge the pixel lies, times d.y.
        let across = (x - a.x) * d.y - (y - a.y) * d.x;
        if (a.y <= y) != (b.y <= y) && (across < 0) == (d.y > 0) && across != 0 { inside = !inside; }
        let near = select(2 * abs(across) < abs(d.y), x >= min(a.x, b.x) && x <= max(a.x, b.x), d.y == 0);
        if near && y >= min(a.y, b.y) && y <= max(a.y, b.y) { edge = true; }
        a = b;
    }
    return select(0.0, 1.0, inside || edge);
}
#else
fn within(start: u32, x: i32, y: i32) -> bool {
    return x >= i32(outlines[start]) && y >= i32(outlines[start + 1u])
        && x <= i32(outlines[start + 2u]) && y <= i32(outlines[start + 3u]);
}
fn value(outline: u32, x: i32, y: i32) -> f32 {
    return select(0.0, 1.0, within(outline * 8u, x, y) && !within(outline * 8u + 4u, x, y));
}
#end

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    var v = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
        let i = min((params.first + at) * 4u + j, params.elements - 1u);
        let row = i / params.size;
        v[j] = value(row / params.size, i32(i % params.size), i32(row % params.size));
    }
    y_set4(at, v);
}

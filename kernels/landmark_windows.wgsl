// landmark_windows: for each part of a face, the map from a window [side, side] to the feature map around its landmarks: level with
// its two corners, the landmarks' box times `growth`. With u the unit vector from the first corner to the second, R its rows
// [u.x, u.y] and [-u.y, u.x]: box of R p over the part's landmarks p, M = R^-1 (growth size / side (q - side / 2) + centre).
//   x      f32 [images, stride]             x, y, z of each landmark in pixels of the network's input
//   parts  u32 [parts, part_stride]         first corner, second corner, number of landmarks, then which
//   y      f32 [parts, images, 8]           rows [a, b, c] and [d, e, f] of M, then two zeros; written everywhere
// unit: pixels of the feature map to one of the input. Dispatch: one invocation per map, workgroups folded over x and y.
// Source: Grishchenko et al. 2020, "Attention Mesh" (spatial transformers); MediaPipe's Landmarks2TransformMatrix.
#params
count: u32
images: u32
stride: u32
part_stride: u32
side: f32
growth: f32
unit: f32
#end
#read x
#read parts
#write y

fn landmark(image: u32, index: u32) -> vec2<f32> {
    let start = image * params.stride + 3u * index;
    return params.unit * vec2<f32>(x_at(start), x_at(start + 1u));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    let image = at % params.images;
    let start = at / params.images * params.part_stride;
    let along = landmark(image, parts[start + 1u]) - landmark(image, parts[start]);
    let apart = length(along);
    // Corners in one place say nothing: no turn.
    let u = select(vec2<f32>(1.0, 0.0), along / apart, apart > 0.0);
    var low = vec2<f32>(3.4e38);
    var high = vec2<f32>(-3.4e38);
    for (var i = 0u; i < parts[start + 2u]; i++) {
        let p = landmark(image, parts[start + 3u + i]);
        let turned = vec2<f32>(dot(u, p), u.x * p.y - u.y * p.x);
        low = min(low, turned);
        high = max(high, turned);
    }
    let scale = params.growth * (high - low) / params.side;
    let corner = 0.5 * (low + high) - 0.5 * params.side * scale;
    y_set4(2u * at, vec4<f32>(u.x * scale.x, -u.y * scale.y, u.x * corner.x - u.y * corner.y, u.y * scale.x));
    y_set4(2u * at + 1u, vec4<f32>(u.x * scale.y, u.y * corner.x + u.x * corner.y, 0.0, 0.0));
}

// max_pool: y[i, r, c, k] = largest of x[i, stride r + a, stride c + b, k], 0 <= a, b < size; windows that reach beyond x are
// left out, as in PyTorch's MaxPool2d(size, stride).
//   x   [height, width, channels]              of one image
//   y   [out height, out width, channels]      f32, written everywhere
// Dispatch: one invocation per four elements of y, workgroups folded over x and y. VECTOR: channels is a multiple of 4.
#params
count: u32              // elements of y
width: u32
out_width: u32
channels: u32
size: u32
stride: u32
#end
#read x
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at * 4u >= params.count { return; }
    var most = vec4<f32>();
#if VECTOR
    let pixel = at * 4u / params.channels;
    let start = (pixel / params.out_width * params.width + pixel % params.out_width) * params.stride;
    let group = at % (params.channels / 4u);
    most = x_at4(start * params.channels / 4u + group);
    for (var a = 0u; a < params.size; a++) {
        for (var b = 0u; b < params.size; b++) {
            most = max(most, x_at4((start + a * params.width + b) * params.channels / 4u + group));
        }
    }
#else
    for (var j = 0u; j < 4u; j++) {
        let i = min(at * 4u + j, params.count - 1u);
        let pixel = i / params.channels;
        let start = (pixel / params.out_width * params.width + pixel % params.out_width) * params.stride;
        let k = i % params.channels;
        most[j] = x_at(start * params.channels + k);
        for (var a = 0u; a < params.size; a++) {
            for (var b = 0u; b < params.size; b++) {
                most[j] = max(most[j], x_at((start + a * params.width + b) * params.channels + k));
            }
        }
    }
#end
    y_set4(at, most);
}

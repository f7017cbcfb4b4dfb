// depthwise: y[p, c] = bias[c] + sum over the KERNEL x KERNEL window at p of x[.., c] taps[.., c], zero beyond x's edge.
// Bindings, constants and formula: common/separable.wgsl, y being its a. Dispatch: one invocation per four channels of a pixel,
// workgroups folded over x and y.
#include separable

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    let quads = params.channels >> 2u;
    let pixel = at / quads;
    let line = pixel / params.out_width;
    let image = line / params.out_height;
    if image >= params.images_per_set { return; }
    let place = Place(image, line - image * params.out_height, pixel - line * params.out_width);
    y_set4(at, operand4(params.set_begin, place, at - pixel * quads));
}

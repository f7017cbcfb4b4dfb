// denoise: y = m (c_out f + c_skip x) + (1 - m) gt, the denoised latents of a masked diffusion step.
//   f, y   [branches, count, channels]   network output; y is written everywhere, may not alias f
//   x, gt  [count, channels]             the step's input and the clean latents, the same for every branch
//   mask   [count]                       1 where latents are generated
// NETWORK 0: y = m x + (1 - m) gt, f is not bound. MASK 0: no mask and no gt. Everything is f32.
// Sources: sgm `Denoiser`; KeySync `DenoiserDub`.
// Dispatch: one invocation per four elements of y, workgroups folded over x and y.
#params
count: u32              // elements of y here
first: u32              // elements of y before them
period: u32             // elements of x
channels: u32
c_out: f32
c_skip: f32
#end
#if NETWORK
#read f
#end
#read x
#if MASK
#read gt
#read mask
#end
#write y

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    for (var j = 0u; j < 4u; j++) {
        let here = at * 4u + j;
        if here >= params.count { return; }
        let i = (params.first + here) % params.period;
#if NETWORK
        var value = f_at(here) * params.c_out + x_at(i) * params.c_skip;
#else
        var value = x_at(i);
#end
#if MASK
        let m = mask_at(i / params.channels);
        value = value * m + gt_at(i) * (1.0 - m);
#end
        y_set(here, value);
    }
}

// sampler_step: one step's arithmetic on latents, f32 throughout. OP picks it:
//   0  x + b ((x - y) / a)                 Euler: y the denoised latents, a sigma, b sigma_next - sigma (EDM, algorithm 1)
//   1  a (x - y) + b (y - z) + z           guidance over audio and reference: x cond, y ref, z uncond (KeySync, sec. 3)
//   2  a x + b y + c z                     linear combinations, such as Heun's and DPM++'s
//   x, y, z, out   [count, 4]              out is written everywhere
// Dispatch: one invocation per four elements, workgroups folded over x and y.
#params
count: u32              // groups of four elements
a: f32
b: f32
c: f32
#end
#read x
#read y
#if OP
#read z
#end
#write out

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let at = group_index(id, count) * WORKGROUP + local;
    if at >= params.count { return; }
    let p = x_at4(at);
    let q = y_at4(at);
#if OP == 0
    let d = (p - q) / params.a;
    out_set4(at, p + params.b * d);
#else
    let r = z_at4(at);
#if OP == 1
    out_set4(at, params.a * (p - q) + params.b * (q - r) + r);
#else
    out_set4(at, params.a * p + params.b * q + params.c * r);
#end
#end
}

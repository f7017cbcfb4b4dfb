// ceiling: what a device can do at most: moving memory, or multiply-add on values that never leave its registers.
//   COPY     y = x
//   else     every accumulator, start 0: `rounds` times STEPS times v = scale v + shift; y = the sum of the CHAINS
//            accumulators. CHAINS independent ones hide the latency; HALF: in f16.
//   MATRIX   8 or 16: v = A B + v with all of A `scale`, all of B `shift`, f16 times f16 into f32, on cooperative matrices
//   x, y   [count, 4] f32    y is written everywhere
// Dispatch: one invocation per four elements of y, workgroups folded over x and y; MATRIX: one subgroup per workgroup,
// which writes a matrix.
// Method: Williams et al. 2009 (Roofline).
#if HALF
enable f16;
#end
#if MATRIX
enable f16;
enable wgpu_cooperative_matrix;
#end
#params
count: u32              // groups of four elements
rounds: u32
scale: f32
shift: f32
#end
#if COPY
#read x
#end
#write y
#if MATRIX
const CELLS: u32 = MATRIX * MATRIX;
var<workgroup> left: array<f16, CELLS>;
var<workgroup> right: array<f16, CELLS>;
var<workgroup> sum: array<f32, CELLS>;
#end

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let group = group_index(id, count);
#if MATRIX
    for (var i = local; i < CELLS; i += WORKGROUP) {
        left[i] = f16(params.scale);
        right[i] = f16(params.shift);
    }
    workgroupBarrier();
#if MATRIX == 8
    let a = coopLoadT<coop_mat8x8<f16, A>>(&left[0], 8u);
    let b = coopLoadT<coop_mat8x8<f16, B>>(&right[0], 8u);
#for n in 0..CHAINS
    var v$n_: coop_mat8x8<f32, C>;
#end
#else
    let a = coopLoadT<coop_mat16x16<f16, A>>(&left[0], 16u);
    let b = coopLoadT<coop_mat16x16<f16, B>>(&right[0], 16u);
#for n in 0..CHAINS
    var v$n_: coop_mat16x16<f32, C>;
#end
#end
    for (var round = 0u; round < params.rounds; round++) {
#for s in 0..STEPS
#for n in 0..CHAINS
        v$n_ = coopMultiplyAdd(a, b, v$n_);
#end
#end
    }
#for n in 1..CHAINS
    v0_ = v0_ + v$n_;
#end
    coopStoreT(v0_, &sum[0], MATRIX);
    workgroupBarrier();
    for (var i = local; i < CELLS / 4u; i += WORKGROUP) {
        let at = group * (CELLS / 4u) + i;
        if at < params.count { y_set4(at, vec4<f32>(sum[4u * i], sum[4u * i + 1u], sum[4u * i + 2u], sum[4u * i + 3u])); }
    }
#else
    let at = group * WORKGROUP + local;
    if at >= params.count { return; }
#if COPY
    y_set4(at, x_at4(at));
#else
#if HALF
    let scale = vec4<f16>(f16(params.scale));
    let shift = vec4<f16>(f16(params.shift));
#for n in 0..CHAINS
    var v$n_ = vec4<f16>();
#end
#else
    let scale = vec4<f32>(params.scale);
    let shift = vec4<f32>(params.shift);
#for n in 0..CHAINS
    var v$n_ = vec4<f32>();
#end
#end
    for (var round = 0u; round < params.rounds; round++) {
#for s in 0..STEPS
#for n in 0..CHAINS
        v$n_ = scale * v$n_ + shift;
#end
#end
    }
    var sum = vec4<f32>();
#for n in 0..CHAINS
    sum += vec4<f32>(v$n_);
#end
    y_set4(at, sum);
#end
#end
}

// squared_error: y[p] = sum of (a - b)^2 over the bytes of part p, exact.
//   a, b   u32 [words]     bytes of packed RGB, four to a word; zeros behind the last byte add nothing
//   y      u32 [parts]     written everywhere
// Dispatch: one workgroup per part of WORKGROUP * EACH words, folded over x and y. A part may have up to 66051 bytes, or the
// sum (at most 255^2 each) leaves a u32.
#params
words: u32
parts: u32
#end
#read a
#read b
#write y

var<workgroup> total: atomic<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let part = group_index(id, count);
    if part >= params.parts { return; }
    // Workgroup memory begins undefined here.
    if local == 0u { atomicStore(&total, 0u); }
    workgroupBarrier();
    var sum = 0u;
    for (var step = 0u; step < EACH; step++) {
        let i = (part * EACH + step) * WORKGROUP + local;
        if i >= params.words { break; }
        for (var shift = 0u; shift < 32u; shift += 8u) {
            let d = i32((a[i] >> shift) & 0xffu) - i32((b[i] >> shift) & 0xffu);
            sum += u32(d * d);
        }
    }
    atomicAdd(&total, sum);
    workgroupBarrier();
    if local == 0u { y[part] = atomicLoad(&total); }
}

// reduce_sum, reduce_max: one value from each invocation of a workgroup of WORKGROUP (a power of two) to all of them.
// SUBGROUP is set where the workgroup is exactly one subgroup: no memory, no barrier.
#if SUBGROUP
fn reduce_sum(value: f32, local: u32) -> f32 { return subgroupAdd(value); }
fn reduce_max(value: f32, local: u32) -> f32 { return subgroupMax(value); }
#else
var<workgroup> reduce_partial: array<f32, WORKGROUP>;
fn reduce_sum(value: f32, local: u32) -> f32 {
    reduce_partial[local] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if local < half { reduce_partial[local] += reduce_partial[local + half]; }
        workgroupBarrier();
    }
    let sum = reduce_partial[0];
    workgroupBarrier();
    return sum;
}
fn reduce_max(value: f32, local: u32) -> f32 {
    reduce_partial[local] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if local < half { reduce_partial[local] = max(reduce_partial[local], reduce_partial[local + half]); }
        workgroupBarrier();
    }
    let most = reduce_partial[0];
    workgroupBarrier();
    return most;
}
#end

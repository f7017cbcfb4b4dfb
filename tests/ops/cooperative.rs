//! gemm_cooperative and attention_cooperative, with plain loops in place of the matrices.

use crate::matrix_gpu;

#[test]
fn the_check_passes_where_all_is_right() {
    for edge in [16, 8] {
        let Some(gpu) = matrix_gpu(edge) else { return };
        let matrices = viseme::ops::matrices(gpu);
        assert_eq!(matrices.map(|m| m.edge), Some(edge));
    }
}

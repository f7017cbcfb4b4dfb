use crate::{Random, check, gpu};
use viseme::tensor::Tensor;

#[test]
fn matches_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(1);
    for (segments, length, overlap, width) in [
        (1, 1, 0, 1),
        (1, 14, 1, 5),
        (3, 14, 1, 24),
        (4, 5, 0, 7),
        (3, 14, 13, 3),
        (5, 4, 3, 17),
        (9, 14, 3, 1021),
        (3, 3, 2, 20_011),
    ] {
        let case = format!("{segments}x{length} overlap {overlap} width {width}");
        let x = random.vec(segments * length * width);
        let frames = length + (segments - 1) * (length - overlap);
        let (mut sum, mut count) = (vec![0.0; frames * width], vec![0.0; frames]);
        for s in 0..segments {
            for t in 0..length {
                let frame = s * (length - overlap) + t;
                count[frame] += 1.0;
                for i in 0..width {
                    sum[frame * width + i] += f64::from(x[(s * length + t) * width + i]);
                }
            }
        }
        let want: Vec<f64> = (0..frames * width).map(|i| sum[i] / count[i / width]).collect();
        let x = Tensor::from_f32(gpu, &[segments, length, width], &x).unwrap();
        let y = x.overlap_merge(overlap).unwrap();
        assert_eq!(y.shape(), [frames, width]);
        check(&case, &y, &want, 2e-6);
        assert!(x.overlap_merge(length).is_err());
    }
}

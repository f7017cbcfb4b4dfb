use crate::rgb::random_bytes;
use crate::{Random, bar, check, gpu, portable_gpu};
use viseme::gpu::{Elem, Gpu};
use viseme::ops::Rgb;
use viseme::tensor::Tensor;

/// Pairs of frames, height, width.
const SIZES: [[usize; 3]; 6] = [[1, 1, 1], [2, 1, 7], [3, 5, 1], [2, 16, 16], [1, 97, 131], [2, 300, 257]];

fn upload(bytes: &[u8], size: [usize; 3]) -> Rgb {
    upload_to(gpu().expect("a device"), bytes, size)
}

fn upload_to(gpu: &Gpu, bytes: &[u8], [_, height, width]: [usize; 3]) -> Rgb {
    Rgb::upload(gpu, height, width, bytes).unwrap()
}

/// Every element written, and nothing behind: poison is all ones, which no sum here reaches.
fn sums(case: &str, parts: &Tensor) -> Vec<u32> {
    let values = parts.to_u32().unwrap();
    assert!(parts.bytes_behind().unwrap().iter().all(|&b| b == 0xff), "{case}: wrote behind its output");
    values
}

#[test]
fn squared_errors_are_exact() {
    let Some(_) = gpu() else { return };
    let mut random = Random(1);
    for size in SIZES {
        let per_frame = size[1] * size[2] * 3;
        let a = random_bytes(&mut random, size[0] * per_frame);
        // Black against white is the largest sum that a part can have.
        let extreme = vec![255; a.len()];
        for (a, b) in [(&a, random_bytes(&mut random, a.len())), (&vec![0; a.len()], extreme), (&a, a.clone())] {
            let measured = upload(a, size).squared_error(&upload(&b, size)).unwrap();
            assert_eq!(measured.len(), size[0]);
            for (frame, parts) in measured.iter().enumerate() {
                let mut want = 0;
                for i in frame * per_frame..(frame + 1) * per_frame {
                    let d = i64::from(a[i]) - i64::from(b[i]);
                    want += d * d;
                }
                let got: i64 = sums("squared_error", parts).iter().map(|&part| i64::from(part)).sum();
                assert_eq!(got, want, "{size:?}, frame {frame}");
            }
        }
    }
}

/// Index of the pixel `step` beside `at`, mirrored about the outermost ones.
fn mirrored(at: usize, step: i64, size: usize) -> usize {
    if size == 1 {
        return 0;
    }
    let i = (at as i64 + step).abs();
    if i >= size as i64 { 2 * size - 2 - i as usize } else { i as usize }
}

#[test]
fn laplacians_are_exact() {
    let Some(_) = gpu() else { return };
    let mut random = Random(2);
    for size in SIZES {
        let [frames, height, width] = size;
        let checkers = (0..frames * height * width * 3).map(|i| if (i / 3 + i / 3 / width) % 2 == 0 { 0 } else { 255 });
        for bytes in [random_bytes(&mut random, frames * height * width * 3), checkers.collect()] {
            let measured = upload(&bytes, size).laplacian().unwrap();
            for (frame, parts) in measured.iter().enumerate() {
                let grey = |row: usize, column: usize| {
                    let at = ((frame * height + row) * width + column) * 3;
                    let [r, g, b] = [0, 1, 2].map(|c| i64::from(bytes[at + c]));
                    (9798 * r + 19235 * g + 3735 * b + 16384) >> 15
                };
                let (mut total, mut squares) = (0, 0);
                for row in 0..height {
                    for column in 0..width {
                        let mut l = -4 * grey(row, column);
                        for step in [-1, 1] {
                            l += grey(mirrored(row, step, height), column) + grey(row, mirrored(column, step, width));
                        }
                        total += l;
                        squares += l * l;
                    }
                }
                let parts = sums("laplacian", parts);
                let got_total: i64 = parts.iter().step_by(2).map(|&part| i64::from(part.cast_signed())).sum();
                let got_squares: i64 = parts.iter().skip(1).step_by(2).map(|&part| i64::from(part)).sum();
                assert_eq!((got_total, got_squares), (total, squares), "{size:?}, frame {frame}");
            }
        }
    }
}

/// Mean SSIM of each tile's windows times their number, `[3, tile rows, tiles]`.
fn ssim(a: &[u8], b: &[u8], height: usize, width: usize) -> Vec<f64> {
    let weights: Vec<f64> = (0..11).map(|k| (-((k as f64 - 5.0) * (k as f64 - 5.0)) / 4.5).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let (c1, c2) = ((0.01f64 * 255.0).powi(2), (0.03f64 * 255.0).powi(2));
    let (tile_rows, tiles) = ((height - 10).div_ceil(16), (width - 10).div_ceil(16));
    let mut y = vec![0.0; 3 * tile_rows * tiles];
    for channel in 0..3 {
        for row in 0..height - 10 {
            for column in 0..width - 10 {
                let mut moments = [0.0; 5];
                for i in 0..11 {
                    for j in 0..11 {
                        let at = ((row + i) * width + column + j) * 3 + channel;
                        let (va, vb) = (f64::from(a[at]), f64::from(b[at]));
                        let w = weights[i] * weights[j] / (sum * sum);
                        for (moment, value) in moments.iter_mut().zip([va, vb, va * va, vb * vb, va * vb]) {
                            *moment += w * value;
                        }
                    }
                }
                let [ma, mb, aa, bb, ab] = moments;
                let value = (2.0 * ma * mb + c1) * (2.0 * (ab - ma * mb) + c2)
                    / ((ma * ma + mb * mb + c1) * (aa - ma * ma + bb - mb * mb + c2));
                y[(channel * tile_rows + row / 16) * tiles + column / 16] += value;
            }
        }
    }
    y
}

#[test]
fn ssim_matches_the_reference() {
    let Some(_) = gpu() else { return };
    let mut random = Random(3);
    for size in [[1, 11, 11], [2, 12, 27], [1, 40, 26], [1, 11, 200], [1, 97, 131]] {
        let [frames, height, width] = size;
        let len = frames * height * width * 3;
        let a = random_bytes(&mut random, len);
        let near = a.iter().map(|&v| v.saturating_add((random.bits() % 9) as u8)).collect();
        let steps: Vec<u8> = (0..len).map(|i| if i / 3 % width < width / 2 { 3 } else { 250 }).collect();
        let brighter = steps.iter().map(|v| v + 2).collect();
        for (name, a, b) in [
            ("noise", &a, random_bytes(&mut random, len)),
            ("near", &a, near),
            ("equal", &a, a.clone()),
            ("an edge", &steps, brighter),
            ("black on white", &vec![0; len], vec![255; len]),
        ] {
            let want: Vec<Vec<f64>> = (0..frames)
                .map(|frame| frame * height * width * 3..(frame + 1) * height * width * 3)
                .map(|part| ssim(&a[part.clone()], &b[part], height, width))
                .collect();
            for gpu in [gpu(), portable_gpu()].into_iter().flatten() {
                let measured = upload_to(gpu, a, size).ssim(&upload_to(gpu, &b, size)).unwrap();
                assert_eq!(measured.len(), frames);
                for (sums, want) in measured.iter().zip(&want) {
                    check(&format!("ssim {size:?} {name}"), sums, want, bar(Elem::F32));
                }
            }
        }
    }
}

#[test]
fn pictures_that_do_not_fit_together_are_refused() {
    let Some(gpu) = gpu() else { return };
    let [a, b] = [[12, 12], [12, 13]].map(|[h, w]| Rgb::upload(gpu, h, w, &vec![0; h * w * 3]).unwrap());
    assert!(a.squared_error(&b).is_err());
    assert!(a.ssim(&b).is_err());
    let small = Rgb::upload(gpu, 10, 40, &[0; 1200]).unwrap();
    assert!(small.ssim(&small).unwrap_err().to_string().contains("11x11"));
}

#[test]
fn feature_distances_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(4);
    for (rows, channels) in [(1, 1), (3, 5), (7, 64), (131, 192), (70000, 2), (5, 1031)] {
        let [a, b] = [(); 2].map(|()| random.vec(rows * channels));
        let weight = random.vec(channels);
        let mut want = Vec::new();
        for row in 0..rows {
            let norm = |v: &[f32]| {
                let mut squares = 0.0;
                for c in 0..channels {
                    squares += f64::from(v[row * channels + c]).powi(2);
                }
                f64::sqrt(squares) + 1e-10
            };
            let (norm_a, norm_b) = (norm(&a), norm(&b));
            let mut distance = 0.0;
            for c in 0..channels {
                let [va, vb] = [&a, &b].map(|v| f64::from(v[row * channels + c]));
                distance += f64::from(weight[c]) * (va / norm_a - vb / norm_b).powi(2);
            }
            want.push(distance);
        }
        for gpu in [Some(gpu), portable_gpu()].into_iter().flatten() {
            let [ta, tb] = [&a, &b].map(|v| Tensor::from_f32(gpu, &[rows, channels], v).unwrap());
            let weight = Tensor::from_f32(gpu, &[channels], &weight).unwrap();
            let distances = ta.feature_distance(&tb, &weight, 1e-10).unwrap();
            check(&format!("{rows}x{channels}"), &distances, &want, bar(Elem::F32));
        }
    }
    // Rows of zeros, as a ReLU leaves them, are no division by zero.
    let zeros = Tensor::from_f32(gpu, &[2, 3], &[0.0; 6]).unwrap();
    let weight = Tensor::from_f32(gpu, &[3], &[1.0; 3]).unwrap();
    assert_eq!(zeros.feature_distance(&zeros, &weight, 1e-10).unwrap().to_f32().unwrap(), [0.0, 0.0]);
    assert!(zeros.feature_distance(&weight, &weight, 1e-10).is_err());
}

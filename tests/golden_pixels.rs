//! Golden files of the pixel operations: masks, resizing, merging.

use safetensors::SafeTensors;
use viseme::face::landmarks::Face;
use viseme::face::mask::{LATENT_STEP, MaskKind, MaskRule};
use viseme::gpu::Gpu;
use viseme::ops::{Filter, Rgb8};
use viseme::tensor::Tensor;

/// The file's bytes, or None, said once, without a folder of golden files.
fn golden(name: &str) -> Option<Vec<u8>> {
    let Some(folder) = std::env::var_os("VISEME_GOLDEN") else {
        eprintln!("skipped {name}: VISEME_GOLDEN names no folder of golden files");
        return None;
    };
    let path = std::path::Path::new(&folder).join(name);
    Some(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// None, said once, without a device; `VISEME_REQUIRE_GPU=1` makes that a failure.
fn gpu() -> Option<Gpu> {
    let gpu = Gpu::new(None);
    if let Err(error) = &gpu {
        assert!(std::env::var_os("VISEME_REQUIRE_GPU").is_none(), "{error}");
        eprintln!("skipped: {error}");
    }
    gpu.ok()
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
}

#[test]
fn masks_equal_golden_07() {
    let Some(bytes) = golden("07_masks.safetensors") else { return };
    let Some(gpu) = gpu() else { return };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let faces: Vec<Face> = bytemuck::pod_collect_to_vec(file.tensor("input.landmarks").unwrap().data());
    for (name, kind) in MaskKind::ALL {
        let rule = MaskRule { kind, ..Default::default() };
        let mask = rule.draw(&gpu, &faces, 512).unwrap();
        let got = mask.to_f32().unwrap();
        let packed = file.tensor(&format!("output.{name}.mask512_packbits")).unwrap();
        for (frame, packed) in packed.data().chunks(512 * 512 / 8).enumerate() {
            let bit = |i: usize| f32::from(packed[i / 8] >> (7 - i % 8) & 1);
            let got = &got[frame * 512 * 512..][..512 * 512];
            let wrong: Vec<usize> = (0..512 * 512).filter(|&i| got[i] != bit(i)).collect();
            if kind == MaskKind::Face {
                let inside = got.iter().sum::<f32>();
                assert!((wrong.len() as f32) < 0.005 * inside, "face, frame {frame}: {} pixels differ", wrong.len());
                for i in wrong {
                    let touches = [i - 513, i - 512, i - 511, i - 1, i + 1, i + 511, i + 512, i + 513];
                    assert!(
                        touches.iter().any(|&j| bit(j) != bit(i)),
                        "face, frame {frame}, pixel {i}: not on the edge"
                    );
                }
            } else {
                assert!(wrong.is_empty(), "{name}, frame {frame}: {} pixels differ, first {:?}", wrong.len(), wrong[0]);
            }
        }
        let small = mask.downsample_mask(LATENT_STEP, None).unwrap().to_f32().unwrap();
        let want = file.tensor(&format!("output.{name}.mask64")).unwrap();
        let wrong = small.iter().zip(want.data()).filter(|(got, want)| **got != f32::from(**want)).count();
        // Of the face's edge a few pixels may be picked.
        assert!(wrong <= if kind == MaskKind::Face { 2 } else { 0 }, "{name} at 64: {wrong} differ");
    }

    let arms: Vec<f32> = file.tensor("input.mask_arms").unwrap().data().iter().map(|&v| f32::from(v)).collect();
    let arms = Tensor::from_f32(&gpu, &[5, 64, 64, 1], &arms).unwrap();
    let mask = MaskRule::default().draw(&gpu, &faces, 512).unwrap();
    let got = mask.downsample_mask(LATENT_STEP, Some(&arms)).unwrap().to_f32().unwrap();
    let want = file.tensor("output.box_minus_arms.mask64").unwrap();
    assert!(got.iter().zip(want.data()).all(|(got, want)| *got == f32::from(*want)));
}

#[test]
fn resized_frames_equal_golden_12() {
    let Some(bytes) = golden("12_resize_u8.safetensors") else { return };
    let Some(gpu) = gpu() else { return };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut cases = 0;
    for (name, input) in file.iter().filter(|(name, _)| name.ends_with(".thwc_u8")) {
        let output = file.tensor(&name.replace("input.", "output.").replace("thwc", "tchw")).unwrap();
        let [frames, height, width] = [0, 2, 3].map(|i| output.shape()[i]);
        let from = Rgb8::upload(&gpu, input.shape()[1], input.shape()[2], input.data()).unwrap();
        let resized = from.resize(height, width, Filter::Bilinear).unwrap();
        let got = resized.to_bytes().unwrap();
        for f in 0..frames {
            for c in 0..3 {
                for i in 0..height * width {
                    let want = output.data()[(f * 3 + c) * height * width + i];
                    assert_eq!(got[(f * height * width + i) * 3 + c], want, "{name}: frame {f} channel {c} pixel {i}");
                }
            }
        }
        cases += 1;

        // Of the last case the file has the tensor too, [channels, frames, height, width].
        let want = floats(&file, "output.process_image.last_case_cthw_f32");
        let got = resized.to_tensor().unwrap().to_f32().unwrap();
        let at = |c: usize, f: usize, i: usize| want[(c * frames + f) * height * width + i];
        let close = |f: usize, c: usize, i: usize| (got[(f * height * width + i) * 3 + c] - at(c, f, i)).abs() < 1e-6;
        if name.contains("100x80") {
            assert!((0..frames).all(|f| (0..3).all(|c| (0..height * width).all(|i| close(f, c, i)))));
        }
    }
    assert!(cases > 0);
}

#[test]
fn merged_segments_equal_golden_05() {
    let Some(bytes) = golden("05_sampling_interpolation.safetensors") else { return };
    let Some(gpu) = gpu() else { return };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let shape = file.tensor("input.merge.segments").unwrap().shape().to_vec();
    let segments = Tensor::from_f32(&gpu, &shape, &floats(&file, "input.merge.segments")).unwrap();
    for overlap in [1, 3] {
        let name = format!("output.merge.overlap{overlap}");
        let merged = segments.overlap_merge(overlap).unwrap();
        assert_eq!(merged.shape(), file.tensor(&name).unwrap().shape());
        let (got, want) = (merged.to_f32().unwrap(), floats(&file, &name));
        let close = |(got, want): (&f32, &f32)| (got - want).abs() <= 1e-6 * want.abs().max(1.0);
        assert!(got.iter().zip(&want).all(close), "{name}");
    }
}

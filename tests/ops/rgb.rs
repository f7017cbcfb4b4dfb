//! 8-bit frames to tensors and back: rgb_to_tensor and tensor_to_rgb.

use crate::{Random, bar, check, gpu};
use viseme::gpu::Elem;
use viseme::ops::{Filter, Region, Rgb};
use viseme::tensor::Tensor;

pub fn random_bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.bits() as u8).collect()
}

/// The frames' bytes, after a look at what lies behind each of them and behind all.
pub fn written(case: &str, frames: &Rgb) -> Vec<u8> {
    let bytes = frames.words().to_bytes().unwrap();
    let per_frame = frames.height() * frames.width() * 3;
    for frame in bytes.chunks(bytes.len() / frames.frames()) {
        assert!(frame[per_frame..].iter().all(|&b| b == 0), "{case}: not zero behind a frame");
    }
    assert!(frames.words().bytes_behind().unwrap().iter().all(|&b| b == 0xff), "{case}: wrote behind its output");
    frames.to_bytes().unwrap()
}

const SIZES: [(usize, usize, usize); 6] = [(1, 1, 1), (3, 1, 2), (2, 16, 16), (5, 7, 11), (2, 131, 97), (9, 128, 128)];

#[test]
fn tensors_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(1);
    for (frames, height, width) in SIZES {
        let bytes = random_bytes(&mut random, frames * height * width * 3);
        let rgb = Rgb::upload(gpu, height, width, &bytes).unwrap();
        assert_eq!(rgb.to_bytes().unwrap(), bytes);
        let want: Vec<f64> = bytes.iter().map(|&b| f64::from(b) / 127.5 - 1.0).collect();
        let tensor = rgb.to_tensor().unwrap();
        assert_eq!(tensor.shape(), [frames, height, width, 3]);
        check(&format!("{frames}x{height}x{width}"), &tensor, &want, bar(Elem::F32));
        for index in 0..frames {
            let one = rgb.frame(index).unwrap().to_bytes().unwrap();
            assert_eq!(one, bytes[index * one.len()..][..one.len()], "frame {index}");
        }
        assert!(rgb.frame(frames).is_err());
    }
}

#[test]
fn levels_are_cut_off_not_rounded() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random(2);
    for (frames, height, width) in SIZES {
        let case = format!("{frames}x{height}x{width}");
        // Half a level above each level, so that a unit in the last place changes none, and values beyond black and white.
        let levels: Vec<u8> = random_bytes(&mut random, frames * height * width * 3);
        let values: Vec<f32> = levels.iter().map(|&l| (f32::from(l) + 0.5) / 127.5 - 1.0).collect();
        let x = Tensor::from_f32(gpu, &[frames, height, width, 3], &values).unwrap();
        assert_eq!(written(&case, &Rgb::from_tensor(&x).unwrap()), levels, "{case}");
    }
    let edges = [-1e30, -1.0, 0.0, 1.0, 1.5, 1e30];
    let x = Tensor::from_f32(gpu, &[1, 1, 2, 3], &edges).unwrap();
    assert_eq!(Rgb::from_tensor(&x).unwrap().to_bytes().unwrap(), [0, 0, 127, 255, 255, 255]);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let Some(gpu) = gpu() else { return };
    assert!(Rgb::upload(gpu, 2, 2, &[0; 13]).is_err());
    assert!(Rgb::upload(gpu, 2, 2, &[]).is_err());
    assert!(Rgb::upload(gpu, 0, 2, &[]).is_err());
    let rgb = Rgb::upload(gpu, 2, 2, &[0; 12]).unwrap();
    assert!(rgb.resize(0, 4, Filter::Bilinear).is_err());
    let nowhere = Region { left: 0.0, top: 0.0, width: 0.0, height: f64::NAN };
    assert!(rgb.crop(&[nowhere], 4).unwrap_err().to_string().contains("frame 0"));
    assert!(rgb.crop(&[], 4).is_err());
    assert!(Rgb::from_tensor(&Tensor::zeros(gpu, &[1, 2, 2, 4], Elem::F32).unwrap()).is_err());
}

//! Frames to tensors and back: rgb_to_tensor and tensor_to_rgb.

use crate::{Random, bar, check, gpu};
use viseme::gpu::Elem;
use viseme::ops::{Depth, Filter, Region, Rgb};
use viseme::tensor::Tensor;

pub fn random_bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.bits() as u8).collect()
}

pub const DEPTHS: [Depth; 2] = [Depth::Eight, Depth::Sixteen];

/// The colour values in `bytes`.
pub fn values(bytes: &[u8], depth: Depth) -> Vec<u32> {
    match depth {
        Depth::Eight => bytes.iter().map(|&v| u32::from(v)).collect(),
        Depth::Sixteen => bytes.chunks_exact(2).map(|v| u32::from(u16::from_le_bytes([v[0], v[1]]))).collect(),
    }
}

pub fn white(depth: Depth) -> f64 {
    match depth {
        Depth::Eight => 255.0,
        Depth::Sixteen => 65535.0,
    }
}

/// The frames' bytes, after a look at what lies behind each of them and behind all.
pub fn written(case: &str, frames: &Rgb) -> Vec<u8> {
    let bytes = frames.words().to_bytes().unwrap();
    let per_frame = frames.height() * frames.width() * 3 * frames.depth().bytes();
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
    let cases = SIZES.into_iter().flat_map(|size| DEPTHS.map(|depth| (size, depth)));
    for ((frames, height, width), depth) in cases {
        let bytes = random_bytes(&mut random, frames * height * width * 3 * depth.bytes());
        let rgb = Rgb::upload_at(gpu, height, width, depth, &bytes).unwrap();
        assert_eq!(rgb.to_bytes().unwrap(), bytes);
        let want: Vec<f64> = values(&bytes, depth).iter().map(|&v| 2.0 * f64::from(v) / white(depth) - 1.0).collect();
        let tensor = rgb.to_tensor().unwrap();
        assert_eq!(tensor.shape(), [frames, height, width, 3]);
        check(&format!("{frames}x{height}x{width} {depth:?}"), &tensor, &want, bar(Elem::F32));
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
    // Every level of 16 bits, a third of one above it.
    let levels: Vec<u16> = (0..=65535).chain([0; 8]).collect();
    let tones: Vec<f32> = levels.iter().map(|&l| ((2.0 * f64::from(l) + 0.67) / 65535.0 - 1.0) as f32).collect();
    let x = Tensor::from_f32(gpu, &[1, 8, 2731, 3], &tones).unwrap();
    let deep = Rgb::from_tensor_at(&x, Depth::Sixteen).unwrap();
    let want: Vec<u8> = levels.iter().flat_map(|l| l.to_le_bytes()).collect();
    assert_eq!(written("16 bits", &deep), want);

    let edges = [-1e30, -1.0, 0.0, 1.0, 1.5, 1e30];
    let x = Tensor::from_f32(gpu, &[1, 1, 2, 3], &edges).unwrap();
    assert_eq!(Rgb::from_tensor(&x).unwrap().to_bytes().unwrap(), [0, 0, 127, 255, 255, 255]);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let Some(gpu) = gpu() else { return };
    assert!(Rgb::upload(gpu, 2, 2, &[0; 13]).is_err());
    assert!(Rgb::upload_at(gpu, 2, 2, Depth::Sixteen, &[0; 12]).is_err());
    assert!(Rgb::upload(gpu, 2, 2, &[]).is_err());
    assert!(Rgb::upload(gpu, 0, 2, &[]).is_err());
    let rgb = Rgb::upload(gpu, 2, 2, &[0; 12]).unwrap();
    assert!(rgb.resize(0, 4, Filter::Bilinear).is_err());
    let deep = Rgb::upload_at(gpu, 2, 2, Depth::Sixteen, &[0; 24]).unwrap();
    assert!(deep.laplacian().unwrap_err().to_string().contains("8 bits"));
    let nowhere = Region { left: 0.0, top: 0.0, width: 0.0, height: f64::NAN };
    assert!(rgb.crop(&[nowhere.map(4)], 4).unwrap_err().to_string().contains("frame 0"));
    assert!(rgb.crop(&[], 4).is_err());
    assert!(Rgb::from_tensor(&Tensor::zeros(gpu, &[1, 2, 2, 4], Elem::F32).unwrap()).is_err());
}

//! Reproducible noise: philox_normal.

use crate::gpu;
use viseme::tensor::Tensor;

/// Philox 4x32-10 as published: Salmon et al. 2011, Random123.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p = u64::from(counter[0]) * 0xd251_1f53;
        let q = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [(q >> 32) as u32 ^ counter[1] ^ key[0], q as u32, (p >> 32) as u32 ^ counter[3] ^ key[1], p as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// Random123's known answers: counter, key, words.
#[test]
fn words_are_the_published_ones() {
    let Some(gpu) = gpu() else { return };
    for (counter, key, want) in [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ] {
        assert_eq!(philox(counter, key), want, "the reference itself");
        let words = Tensor::philox_words(gpu, key, counter, 1).unwrap().to_u32().unwrap();
        assert_eq!(words, want, "{counter:x?} {key:x?}");
    }
    let words = Tensor::philox_words(gpu, [7, 9], [u32::MAX - 1, 2, 3, 0], 5000).unwrap();
    for (i, got) in words.to_u32().unwrap().chunks(4).enumerate() {
        assert_eq!(got, philox([(u32::MAX - 1).wrapping_add(i as u32), 2, 3, 0], [7, 9]), "counter {i}");
    }
}

fn normal(seed: u64, purpose: u32, frame: u32, element: u32) -> f64 {
    let words = philox([element / 4, frame, purpose, 0], [seed as u32, (seed >> 32) as u32]);
    let uniform = |word: u32| (f64::from(word >> 8) + 0.5) / f64::from(1 << 24);
    let pair = (element % 4 / 2 * 2) as usize;
    let (r, t) = ((-2.0 * uniform(words[pair]).ln()).sqrt(), std::f64::consts::TAU * uniform(words[pair + 1]));
    if element.is_multiple_of(2) { r * t.cos() } else { r * t.sin() }
}

#[test]
fn normals_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    for (seed, purpose, first, shape) in [
        (0, 0, 0, [1, 1, 1, 1]),
        (23, 1, 5, [3, 2, 2, 4]),
        (u64::MAX, u32::MAX, u32::MAX - 2, [2, 3, 5, 1]),
        (0x1234_5678_9abc_def0, 7, 100, [5, 7, 9, 3]),
        (23, 2, 13, [14, 64, 64, 4]),
        (1, 2, 3, [6, 67, 83, 3]),
    ] {
        let case = format!("seed {seed} purpose {purpose} frame {first} {shape:?}");
        let noise = Tensor::noise(gpu, seed, purpose, first, shape).unwrap();
        let values = noise.to_f32().unwrap();
        let per_frame = (shape[1] * shape[2] * shape[3]) as u32;
        for (i, &got) in values.iter().enumerate() {
            let want = normal(seed, purpose, first + i as u32 / per_frame, i as u32 % per_frame);
            let error = (f64::from(got) - want).abs();
            assert!(error <= 1e-6 * want.abs().max(1.0), "{case}: element {i}: got {got}, want {want}");
        }
        assert!(noise.bytes_behind().unwrap().iter().all(|&b| b == 0xff), "{case}: wrote behind its output");
    }
}

#[test]
fn frames_cut_into_parts_give_the_same_noise() {
    let Some(gpu) = gpu() else { return };
    for [height, width, channels] in [[8, 8, 4], [3, 5, 3]] {
        let bits = |first: u32, frames: usize| -> Vec<u32> {
            let noise = Tensor::noise(gpu, 23, 1, first, [frames, height, width, channels]).unwrap();
            noise.to_f32().unwrap().iter().map(|v| v.to_bits()).collect()
        };
        let parts: Vec<u32> = [bits(40, 1), bits(41, 5), bits(46, 8)].concat();
        assert_eq!(bits(40, 14), parts);
        assert_ne!(bits(40, 1), bits(41, 1));
    }
}

#[test]
fn noise_is_standard_normal() {
    let Some(gpu) = gpu() else { return };
    let values = Tensor::noise(gpu, 5, 0, 0, [4, 64, 64, 4]).unwrap().to_f32().unwrap();
    let count = values.len() as f64;
    let moment = |p: i32| values.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / count;
    // Four standard deviations of each moment's estimate.
    for (p, want, deviation) in [(1, 0.0, 1.0), (2, 1.0, 2f64.sqrt()), (3, 0.0, 15f64.sqrt()), (4, 3.0, 96f64.sqrt())] {
        assert!((moment(p) - want).abs() < 4.0 * deviation / count.sqrt(), "moment {p}: {}", moment(p));
    }
}

/// Our own fixture, made by NumPy (tests/reference/make_philox.py): the rule is the one in the kernel's header.
#[test]
fn normals_equal_numpys() {
    let Some(gpu) = gpu() else { return };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/philox.safetensors");
    let golden = viseme::verify::golden::Golden::open(&path).unwrap();
    let grids = golden.config["grids"].as_object().unwrap();
    assert_eq!(grids.len(), 2);
    for (name, grid) in grids {
        let number = |key: &str| grid[key].as_u64().unwrap();
        let seed = number("seed_high") << 32 | number("seed_low");
        let shape = ["frames", "height", "width", "channels"].map(|key| number(key) as usize);
        let noise = Tensor::noise(gpu, seed, number("purpose") as u32, number("first_frame") as u32, shape).unwrap();
        let want = golden.output(&format!("{name}.normals")).unwrap();
        assert_eq!(want.shape, shape);
        for (i, (got, want)) in noise.to_f32().unwrap().into_iter().zip(want.to_f32()).enumerate() {
            assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{name}, element {i}: got {got}, want {want}");
        }
    }
}

//! Small convolutions in one pass, and depthwise windows by themselves: separable_subgroup, separable_tiled, depthwise.

use crate::{Random, bar, check, gpu, portable_gpu, stored};
use viseme::gpu::{Elem, Gpu};
use viseme::ops::{Padding, Separable, SeparableShape, SeparableValues, Shortcut};
use viseme::tensor::Tensor;

/// Zeros above or left of a line of `n` pixels, and output pixels.
fn line(n: usize, kernel: usize, stride: usize, padding: Padding) -> (usize, usize) {
    match padding {
        Padding::Valid => (0, (n - kernel) / stride + 1),
        Padding::Same => {
            let out = n.div_ceil(stride);
            let zeros = ((out - 1) * stride + kernel).saturating_sub(n);
            (zeros / 2, out)
        }
    }
}

struct Window {
    kernel: usize,
    stride: usize,
    padding: Padding,
}

/// For each output pixel of an image `[height, width, channels]`: the values below its window, zero outside.
fn windows(x: &[f32], [height, width, channels]: [usize; 3], window: &Window) -> Vec<Vec<f64>> {
    let Window { kernel, stride, padding } = *window;
    let (top, out_height) = line(height, kernel, stride, padding);
    let (left, out_width) = line(width, kernel, stride, padding);
    let mut all = Vec::new();
    for row in 0..out_height {
        for column in 0..out_width {
            let mut values = Vec::new();
            for a in 0..kernel {
                for b in 0..kernel {
                    for c in 0..channels {
                        let (y, z) = (row * stride + a, column * stride + b);
                        let inside = y >= top && z >= left && y - top < height && z - left < width;
                        let at = || ((y - top) * width + z - left) * channels + c;
                        values.push(if inside { f64::from(x[at()]) } else { 0.0 });
                    }
                }
            }
            all.push(values);
        }
    }
    all
}

fn depthwise_pixel(window: &[f64], taps: &[f32], bias: &[f32]) -> Vec<f64> {
    let channels = bias.len();
    let mut a = Vec::new();
    for c in 0..channels {
        let mut sum = f64::from(bias[c]);
        for tap in 0..window.len() / channels {
            sum += window[tap * channels + c] * f64::from(taps[tap * channels + c]);
        }
        a.push(sum);
    }
    a
}

struct Case {
    shape: SeparableShape,
    images: usize,
    size: [usize; 2],
    depthwise: bool,
    shortcut: Shortcut,
    elem: Elem,
}

/// Real channels in front of zeros up to a multiple of 4.
fn widened(values: &[f32], channels: usize) -> Vec<f32> {
    let wide = channels.next_multiple_of(4);
    values.chunks(channels).flat_map(|row| row.iter().copied().chain(vec![0.0; wide - channels])).collect()
}

fn run(gpu: &Gpu, random: &mut Random, case: &Case) {
    let SeparableShape { sets, kernel, stride, padding, channels, columns } = case.shape;
    let [height, width] = case.size;
    let taps = kernel * kernel;
    let depth = if case.depthwise { channels } else { taps * channels };
    let x = random.vec(case.images * height * width * channels);
    let (window, window_bias) = (random.vec(sets * taps * channels), random.vec(sets * channels));
    let weight = stored(case.elem, &random.vec(sets * columns * depth));
    let (bias, slope) = (random.vec(sets * columns), random.vec(sets * columns));

    let mut want = Vec::new();
    for image in 0..case.images {
        let set = image / (case.images / sets);
        let pixels = &x[image * height * width * channels..][..height * width * channels];
        let all = windows(pixels, [height, width, channels], &Window { kernel, stride, padding });
        let out_width = line(width, kernel, stride, padding).1;
        for (p, window_at) in all.iter().enumerate() {
            let a = match case.depthwise {
                true => depthwise_pixel(
                    window_at,
                    &window[set * taps * channels..][..taps * channels],
                    &window_bias[set * channels..][..channels],
                ),
                false => window_at.clone(),
            };
            for j in 0..columns.next_multiple_of(4) {
                if j >= columns && (j >= channels || case.shortcut == Shortcut::None) {
                    want.push(0.0);
                    continue;
                }
                let mut sum = f64::from(bias[set * columns + j]);
                for k in 0..depth {
                    sum += a[k] * f64::from(weight[(set * columns + j) * depth + k]);
                }
                if case.shortcut == Shortcut::Input && j < channels {
                    let mut most = f64::MIN;
                    for row in p / out_width * stride..height.min((p / out_width + 1) * stride) {
                        for column in p % out_width * stride..width.min((p % out_width + 1) * stride) {
                            most = most.max(f64::from(pixels[(row * width + column) * channels + j]));
                        }
                    }
                    sum += most;
                }
                want.push(if sum < 0.0 { sum * f64::from(slope[set * columns + j]) } else { sum });
            }
        }
    }

    let values = SeparableValues {
        depthwise: case.depthwise.then_some([&window[..], &window_bias[..]]),
        weight: &weight,
        bias: &bias,
        slope: &slope,
    };
    let packed = Separable::pack(gpu, case.shape, case.elem, values).unwrap();
    let (x, wide) = match case.depthwise {
        true => (widened(&x, channels), channels.next_multiple_of(4)),
        false => (x, channels),
    };
    let y = Tensor::from_f32(gpu, &[case.images, height, width, wide], &x).unwrap();
    let y = y.separable(&packed, case.shortcut).unwrap();
    let name = format!("{:?} {} x {:?} {:?} {:?}", case.shape, case.images, case.size, case.shortcut, case.elem);
    check(&name, &y, &want, bar(Elem::F32));
}

/// Sizes: sets, kernel, stride, channels, columns, images, height, width.
const BLOCKS: [[usize; 8]; 9] = [
    [1, 3, 1, 1, 1, 1, 1, 1],
    [1, 3, 1, 16, 16, 1, 13, 17],
    [1, 3, 2, 16, 32, 2, 14, 18],
    [1, 3, 2, 42, 48, 1, 7, 9],
    [3, 3, 1, 32, 32, 3, 16, 16],
    [5, 3, 2, 64, 128, 10, 4, 4],
    [2, 3, 1, 128, 128, 4, 3, 3],
    [1, 5, 2, 20, 100, 1, 11, 6],
    [1, 5, 1, 132, 136, 1, 5, 3],
];

/// Direct: the same, and the padding.
const DIRECT: [([usize; 8], Padding); 7] = [
    ([1, 1, 1, 1, 1, 1, 1, 1], Padding::Valid),
    ([1, 3, 2, 3, 16, 2, 23, 19], Padding::Same),
    ([1, 5, 2, 3, 24, 1, 16, 16], Padding::Same),
    ([1, 1, 1, 128, 32, 1, 3, 3], Padding::Same),
    ([1, 3, 1, 32, 1405, 2, 3, 3], Padding::Valid),
    ([5, 2, 2, 32, 160, 5, 2, 2], Padding::Valid),
    ([2, 1, 1, 7, 9, 4, 300, 1], Padding::Valid),
];

/// Element types by turns, since each variant takes a software device a second to compile.
fn all_match(gpu: &Gpu) {
    let mut random = Random(7);
    let mut elems = [Elem::F32, Elem::F16].into_iter().cycle();
    let shape = |[sets, kernel, stride, channels, columns, ..]: [usize; 8], padding| SeparableShape {
        sets,
        kernel,
        stride,
        padding,
        channels,
        columns,
    };
    for (sizes, elem) in BLOCKS.into_iter().zip(elems.by_ref()) {
        for shortcut in [Shortcut::None, Shortcut::Input] {
            let [.., images, height, width] = sizes;
            let (shape, size) = (shape(sizes, Padding::Same), [height, width]);
            run(gpu, &mut random, &Case { shape, images, size, depthwise: true, shortcut, elem });
        }
    }
    for ((sizes, padding), elem) in DIRECT.into_iter().zip(elems) {
        let [.., images, height, width] = sizes;
        let (shape, size, shortcut) = (shape(sizes, padding), [height, width], Shortcut::None);
        run(gpu, &mut random, &Case { shape, images, size, depthwise: false, shortcut, elem });
    }
}

#[test]
fn blocks_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    all_match(gpu);
}

#[test]
fn tiles_match_the_reference() {
    let Some(gpu) = portable_gpu() else { return };
    all_match(gpu);
}

/// Where an image or its weights do not fit a binding, bands and chunks meet.
#[test]
fn bands_and_chunks_meet() {
    let Some(_) = gpu() else { return };
    let gpu = Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = 8 << 10).unwrap();
    let mut random = Random(9);
    for (sizes, depthwise, shortcut) in [
        ([1, 3, 1, 16, 40, 2, 21, 17], true, Shortcut::Input),
        ([2, 3, 2, 16, 32, 2, 22, 18], true, Shortcut::Input),
        ([1, 5, 2, 3, 24, 1, 40, 40], false, Shortcut::None),
        ([1, 2, 2, 8, 300, 1, 2, 2], false, Shortcut::None),
    ] {
        let [sets, kernel, stride, channels, columns, images, height, width] = sizes;
        let shape = SeparableShape { sets, kernel, stride, padding: Padding::Same, channels, columns };
        gpu.poison_allocations().unwrap();
        run(&gpu, &mut random, &Case { shape, images, size: [height, width], depthwise, shortcut, elem: Elem::F16 });
    }
}

#[test]
fn depthwise_windows_match_the_reference() {
    let Some(gpu) = gpu() else { return };
    let small = Gpu::restricted(None, |capabilities| capabilities.max_binding_bytes = 8 << 10).unwrap();
    small.poison_allocations().unwrap();
    let mut random = Random(11);
    for ([kernel, stride, channels, images, height, width], padding) in [
        ([1, 1, 4, 1, 1, 1], Padding::Valid),
        ([3, 1, 16, 2, 13, 17], Padding::Same),
        ([3, 2, 32, 1, 22, 10], Padding::Same),
        ([5, 2, 8, 3, 9, 31], Padding::Valid),
    ] {
        let x = random.vec(images * height * width * channels);
        let (taps, bias) = (random.vec(kernel * kernel * channels), random.vec(channels));
        let mut want = Vec::new();
        for image in x.chunks(height * width * channels) {
            for window in windows(image, [height, width, channels], &Window { kernel, stride, padding }) {
                want.extend(depthwise_pixel(&window, &taps, &bias));
            }
        }
        for gpu in [gpu, &small] {
            let tensor = |shape: &[usize], values: &[f32]| Tensor::from_f32(gpu, shape, values).unwrap();
            let y = tensor(&[images, height, width, channels], &x);
            let (taps, bias) = (tensor(&[kernel, kernel, channels], &taps), tensor(&[channels], &bias));
            let y = y.depthwise(&taps, &bias, stride, padding).unwrap();
            check(&format!("{kernel}/{stride} {channels} {images}x{height}x{width}"), &y, &want, bar(Elem::F32));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = gpu() else { return };
    let shape = SeparableShape { sets: 1, kernel: 1, stride: 1, padding: Padding::Valid, channels: 4, columns: 4 };
    let ones = [1.0; 16];
    let values = SeparableValues { depthwise: None, weight: &ones, bias: &ones[..4], slope: &ones[..4] };
    let packed = Separable::pack(gpu, shape, Elem::F32, values).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape, Elem::F32).unwrap();
    assert!(zeros(&[1, 2, 2, 8]).separable(&packed, Shortcut::None).is_err());
    assert!(zeros(&[1, 2, 2, 4]).separable(&packed, Shortcut::Input).unwrap_err().to_string().contains("shortcut"));
    let of = |shape| Separable::pack(gpu, shape, Elem::F32, values).err().unwrap().to_string();
    assert!(of(SeparableShape { stride: 3, ..shape }).contains("stride"));
    assert!(of(SeparableShape { sets: 2, ..shape }).contains("weight: expected 32 values, found 16"));
    let window = SeparableShape { kernel: 3, ..shape };
    let nine = [1.0; 144];
    let packed = Separable::pack(gpu, window, Elem::F32, SeparableValues { weight: &nine, ..values }).unwrap();
    assert!(zeros(&[1, 2, 2, 4]).separable(&packed, Shortcut::None).unwrap_err().to_string().contains("3x3"));
    assert!(zeros(&[1, 2, 2, 3]).depthwise(&zeros(&[1, 1, 3]), &zeros(&[3]), 1, Padding::Same).is_err());
}

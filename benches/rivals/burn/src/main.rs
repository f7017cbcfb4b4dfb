//! One case of benches/rivals/run.py by burn on Vulkan, f32, on the device that it picks by itself: `burn-rival CASE RUNS`
//! prints the median wall and CPU milliseconds of RUNS, after one that is not counted (it compiles and tunes), as one line of
//! JSON.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, DeviceKind, Distribution, Tensor};

#[path = "../../measure.rs"]
mod measure;

/// Elements of the result, all of it computed.
type Run = Box<dyn Fn() -> Result<usize, String>>;

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Default, device)
}

fn run<const D: usize>(device: Device, make: impl Fn() -> Tensor<D> + 'static) -> Run {
    Box::new(move || {
        let made = make();
        let elements = made.shape().num_elements();
        device.sync().map_err(|error| format!("{error:?}"))?;
        Ok(elements)
    })
}

fn matmul(device: Device, rows: usize, depth: usize, columns: usize) -> Run {
    let (x, w) = (random([rows, depth], &device), random([depth, columns], &device));
    run(device, move || x.clone().matmul(w.clone()))
}

/// `kernel` 3x3, or 3x1 over the picture [frames, places] as our temporal convolution.
fn conv(device: Device, shape: [usize; 4], kernel: [usize; 2]) -> Run {
    let (x, w) = (random(shape, &device), random([shape[1], shape[1], kernel[0], kernel[1]], &device));
    let options = ConvOptions::new([1, 1], kernel.map(|k| k / 2), [1, 1], 1);
    run(device, move || conv2d(x.clone(), w.clone(), None, options.clone()))
}

/// Over 32 groups of `[images, channels, places]`, then SiLU.
fn group_norm(device: Device, [images, channels, places]: [usize; 3]) -> Run {
    let x = random([images, 32, channels / 32 * places], &device);
    let (gain, bias) = (random([1, channels, 1], &device), random([1, channels, 1], &device));
    run(device, move || {
        let (variance, mean) = x.clone().var_mean_bias(2);
        let normal = (x.clone() - mean) / (variance + 1e-5).sqrt();
        silu(normal.reshape([images, channels, places]) * gain.clone() + bias.clone())
    })
}

fn attention(device: Device, batches: usize, tokens: usize) -> Run {
    const HEADS: usize = 5;
    const HEAD_DIM: usize = 64;
    let part = || random([batches, HEADS, tokens, HEAD_DIM], &device);
    let (q, k, v) = (part(), part(), part());
    run(device.clone(), move || {
        let scores = q.clone().matmul(k.clone().transpose()) * (HEAD_DIM as f32).powf(-0.5);
        softmax(scores, 3).matmul(v.clone())
    })
}

fn case(name: &str) -> Result<Run, String> {
    let device = Device::vulkan(DeviceKind::DefaultDevice);
    Ok(match name {
        "matmul-1024" => matmul(device, 1024, 1024, 1024),
        "matmul-2048" => matmul(device, 2048, 1280, 1280),
        "conv-32" => conv(device, [14, 320, 32, 32], [3, 3]),
        "conv-64" => conv(device, [14, 320, 64, 64], [3, 3]),
        "temporal-conv" => conv(device, [1, 320, 14, 1024], [3, 1]),
        "group-norm" => group_norm(device, [14, 320, 1024]),
        "attention-1024" => attention(device, 14, 1024),
        "attention-4096" => attention(device, 14, 4096),
        other => return Err(format!("no case {other}")),
    })
}

fn main() -> Result<(), String> {
    let (name, runs) = measure::arguments();
    let run = case(&name)?;
    measure::report(runs, || run())
}

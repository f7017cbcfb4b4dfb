//! One case of benches/rivals/run.py by candle on the CPU, f32: `candle-rival CASE RUNS` prints the median wall and CPU
//! milliseconds of RUNS, after one that is not counted, as one line of JSON.

use candle_core::{D, Device, Module, Result, Tensor};
use candle_nn::GroupNorm;

#[path = "../../measure.rs"]
mod measure;

type Run = Box<dyn Fn() -> Result<Tensor>>;

fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0f32, 1f32, shape, &Device::Cpu)
}

fn matmul(rows: usize, depth: usize, columns: usize) -> Result<Run> {
    let (x, w) = (random(&[rows, depth])?, random(&[columns, depth])?);
    Ok(Box::new(move || x.matmul(&w.t()?)))
}

/// `kernel` by `width` taps: 3x3, or 3x1 over the picture [frames, places] as our temporal convolution.
fn conv(shape: [usize; 4], kernel: [usize; 2]) -> Result<Run> {
    let [_, channels, ..] = shape;
    let (x, w) = (random(&shape)?, random(&[channels, channels, kernel[0], kernel[1]])?);
    let [pad_y, pad_x] = kernel.map(|k| k / 2);
    if pad_y == pad_x {
        return Ok(Box::new(move || x.conv2d(&w, pad_y, 1, 1, 1)));
    }
    Ok(Box::new(move || x.pad_with_zeros(2, pad_y, pad_y)?.conv2d(&w, 0, 1, 1, 1)))
}

fn group_norm(shape: [usize; 4]) -> Result<Run> {
    let (x, channels) = (random(&shape)?, shape[1]);
    let norm = GroupNorm::new(random(&[channels])?, random(&[channels])?, channels, 32, 1e-5)?;
    Ok(Box::new(move || norm.forward(&x)?.silu()))
}

fn attention(batches: usize, tokens: usize) -> Result<Run> {
    const HEADS: usize = 5;
    const HEAD_DIM: usize = 64;
    let part = || random(&[batches, HEADS, tokens, HEAD_DIM]);
    let (q, k, v) = (part()?, part()?, part()?);
    Ok(Box::new(move || {
        // One picture at a time: the scores of all of them would not fit.
        let each = |i: usize| {
            let scores = (q.get(i)?.matmul(&k.get(i)?.t()?)? * (HEAD_DIM as f64).powf(-0.5))?;
            candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v.get(i)?)
        };
        Tensor::stack(&(0..batches).map(each).collect::<Result<Vec<_>>>()?, 0)
    }))
}

fn case(name: &str) -> Result<Run> {
    match name {
        "matmul-1024" => matmul(1024, 1024, 1024),
        "matmul-2048" => matmul(2048, 1280, 1280),
        "conv-32" => conv([14, 320, 32, 32], [3, 3]),
        "conv-64" => conv([14, 320, 64, 64], [3, 3]),
        "temporal-conv" => conv([1, 320, 14, 1024], [3, 1]),
        "group-norm" => group_norm([14, 320, 32, 32]),
        "attention-1024" => attention(14, 1024),
        "attention-4096" => attention(14, 4096),
        other => candle_core::bail!("no case {other}"),
    }
}

fn main() -> Result<()> {
    let (name, runs) = measure::arguments();
    let run = case(&name)?;
    measure::report(runs, || Ok(run()?.elem_count()))
}

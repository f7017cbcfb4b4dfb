//! Timing of single kernels: one list of cases for `viseme bench` and `cargo bench`.

use crate::gpu::{Elem, Gpu};
use crate::ops::{Activation, Attend, Epilogue, Geometry, PackedWeight, Raw, Rgb8, Rows, WeightShape};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::time::Instant;

type Run = Box<dyn Fn() -> Result<Tensor>>;
type Prepare = Box<dyn Fn(&Gpu) -> Result<Run>>;

/// A kernel at one shape.
pub struct Case {
    pub name: &'static str,
    pub shape: String,
    flops: f64,
    /// Read and written, each operand once.
    bytes: f64,
    prepare: Prepare,
}

/// What a case takes.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Median wall time, recording and waiting included.
    pub seconds: f64,
    pub flops: f64,
    pub bytes: f64,
}

impl Case {
    fn new(
        name: &'static str,
        shape: String,
        [flops, bytes]: [f64; 2],
        prepare: impl Fn(&Gpu) -> Result<Run> + 'static,
    ) -> Self {
        Self { name, shape, flops, bytes, prepare: Box::new(prepare) }
    }

    /// Median of `runs`, after one that compiles.
    pub fn measure(&self, gpu: &Gpu, runs: usize) -> Result<Row> {
        let run = (self.prepare)(gpu)?;
        run()?;
        gpu.wait()?;
        let mut times = Vec::new();
        for _ in 0..runs.max(1) {
            let start = Instant::now();
            run()?;
            gpu.wait()?;
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(Row { seconds: times[times.len() / 2], flops: self.flops, bytes: self.bytes })
    }

    /// `[rows, channels]` by f16 weights `[columns, channels]`.
    pub fn matmul(rows: usize, channels: usize, columns: usize) -> Self {
        let shape = format!("{rows} x {channels} x {columns}");
        let flops = 2.0 * (rows * channels * columns) as f64;
        let bytes = 2.0 * (rows * channels + channels * columns + rows * columns) as f64;
        Self::new("matmul", shape, [flops, bytes], move |gpu| {
            let x = ramp(gpu, &[rows, channels], Elem::F16)?;
            let weight = packed(gpu, WeightShape::linear(columns, channels))?;
            Ok(Box::new(move || x.linear(&weight, Epilogue::default())))
        })
    }

    fn conv(
        name: &'static str,
        [images, height, width, channels]: [usize; 4],
        columns: usize,
        kernel: [usize; 2],
    ) -> Self {
        let shape = format!("{images}x{height}x{width}x{channels} -> {columns}");
        let taps = kernel[0] * kernel[1];
        let pixels = images * height * width;
        let flops = 2.0 * (pixels * channels * columns * taps) as f64;
        let bytes = 2.0 * (pixels * (channels + columns) + taps * channels * columns) as f64;
        Self::new(name, shape, [flops, bytes], move |gpu| {
            let x = ramp(gpu, &[images, height, width, channels], Elem::F16)?;
            let weight = packed(gpu, WeightShape { columns, group_channels: channels, kernel, groups: 1 })?;
            let geometry = Geometry { stride: 1, pad: kernel.map(|k| k / 2), out: [height, width], upsample: false };
            Ok(Box::new(move || x.conv2d(&weight, geometry, Epilogue::default())))
        })
    }

    fn attention(batches: usize, tokens: usize, heads: usize, head_dim: usize) -> Self {
        let shape = format!("{batches} x {tokens}, {heads} heads of {head_dim}");
        let width = heads * head_dim;
        let flops = 4.0 * (batches * heads * tokens * tokens * head_dim) as f64;
        let bytes = 2.0 * (4 * batches * tokens * width) as f64;
        Self::new("attention", shape, [flops, bytes], move |gpu| {
            let qkv = ramp(gpu, &[batches, tokens, 3 * width], Elem::F16)?;
            Ok(Box::new(move || {
                let rows = Rows::of(&qkv)?;
                let (k, v) = (rows.column(width), rows.column(2 * width));
                let scale = (head_dim as f32).powf(-0.5);
                Attend { q: rows, k, v, heads, head_dim, scale, bias: None }.run()
            }))
        })
    }

    fn temporal_attention(frames: usize, places: usize, heads: usize, head_dim: usize) -> Self {
        let shape = format!("{places} x {frames} frames, {heads} heads of {head_dim}");
        let width = heads * head_dim;
        let flops = 4.0 * (places * heads * frames * frames * head_dim) as f64;
        let bytes = 2.0 * (4 * places * frames * width) as f64;
        Self::new("attention (temporal)", shape, [flops, bytes], move |gpu| {
            let qkv = ramp(gpu, &[1, frames, places, 3 * width], Elem::F16)?;
            Ok(Box::new(move || {
                let rows = Rows::over_frames(&qkv)?;
                let (k, v) = (rows.column(width), rows.column(2 * width));
                let scale = (head_dim as f32).powf(-0.5);
                Attend { q: rows, k, v, heads, head_dim, scale, bias: None }.run()
            }))
        })
    }

    /// A measure of a frame of 512x512, against another one.
    fn pictures(
        name: &'static str,
        flops_each: f64,
        frames_read: f64,
        op: impl Fn(&Rgb8, &Rgb8) -> Result<Vec<Tensor>> + Copy + 'static,
    ) -> Self {
        let bytes = (512 * 512 * 3) as f64;
        Self::new(name, "512x512".to_string(), [flops_each * bytes, frames_read * bytes], move |gpu| {
            let frame = |step: usize| -> Vec<u8> { (0..512 * 512 * 3).map(|i| (i * step % 251) as u8).collect() };
            let (a, b) = (Rgb8::upload(gpu, 512, 512, &frame(7919))?, Rgb8::upload(gpu, 512, 512, &frame(6007))?);
            Ok(Box::new(move || op(&a, &b)?.pop().ok_or_else(|| Problem::new(name, "a frame", "none").shape())))
        })
    }

    /// An operation that reads `x` `[rows, channels]` in f16 and does little arithmetic.
    fn streaming(
        name: &'static str,
        [rows, channels]: [usize; 2],
        values_moved: f64,
        flops_each: f64,
        op: impl Fn(&Tensor) -> Result<Tensor> + Copy + 'static,
    ) -> Self {
        let len = (rows * channels) as f64;
        Self::new(name, format!("{rows} x {channels}"), [flops_each * len, 2.0 * values_moved * len], move |gpu| {
            let x = ramp(gpu, &[rows, channels], Elem::F16)?;
            Ok(Box::new(move || op(&x)))
        })
    }
}

/// One case per kernel and per shape that dominates the published networks, at 32x32 latents and 14 frames.
pub fn cases() -> Vec<Case> {
    let pixels = 14 * 32 * 32;
    let table = |x: &Tensor, len: usize| ramp(x.gpu(), &[len], Elem::F32);
    vec![
        Case::matmul(1024, 1024, 1024),
        Case::matmul(2048, 1280, 1280),
        Case::matmul(pixels, 320, 2560),
        Case::conv("conv 3x3", [14, 32, 32, 320], 320, [3, 3]),
        Case::conv("conv 3x3", [14, 16, 16, 640], 640, [3, 3]),
        Case::conv("conv 3x1 (temporal)", [1, 14, 1024, 320], 320, [3, 1]),
        Case::conv("conv 1x1", [14, 32, 32, 640], 320, [1, 1]),
        Case::attention(14, 1024, 5, 64),
        Case::attention(1, 1024, 1, 512),
        Case::temporal_attention(14, 1024, 5, 64),
        Case::streaming("group_norm", [pixels, 320], 3.0, 8.0, move |x| {
            let (weight, bias) = (table(x, 320)?, table(x, 320)?);
            x.group_norm(14, 32, &weight, &bias, 1e-5, Activation::Silu)
        }),
        Case::streaming("layer_norm", [pixels, 320], 2.0, 8.0, move |x| {
            x.layer_norm(&table(x, 320)?, &table(x, 320)?, 1e-5)
        }),
        Case::streaming("geglu", [pixels, 2560], 1.5, 8.0, |x| x.geglu()),
        Case::streaming("silu", [pixels, 320], 2.0, 4.0, |x| x.silu()),
        Case::streaming("add", [pixels, 320], 3.0, 1.0, |x| x.add(x)),
        Case::streaming("concat_channels", [pixels, 320], 4.0, 0.0, |x| Tensor::concat_channels(&[x, x])),
        Case::streaming("slice_rows", [pixels, 640], 1.0, 0.0, |x| x.slice_channels(320, 320)),
        Case::pictures("squared_error", 12.0, 2.0, |a, b| a.squared_error(b)),
        Case::pictures("laplacian", 40.0 / 3.0, 1.0, |a, _| a.laplacian()),
        Case::pictures("ssim", 280.0, 2.0, |a, b| a.ssim(b)),
        Case::new("max_pool", "1x256x256x64".to_string(), [4.0 * 1_048_576.0, 4.0 * 5_242_880.0], |gpu| {
            let x = ramp(gpu, &[1, 256, 256, 64], Elem::F32)?;
            Ok(Box::new(move || x.max_pool(2, 2)))
        }),
        Case::new("feature_distance", "16129 x 64".to_string(), [10.0 * 1_032_256.0, 8.0 * 1_032_256.0], |gpu| {
            let (a, weight) = (ramp(gpu, &[16129, 64], Elem::F32)?, ramp(gpu, &[64], Elem::F32)?);
            let b = a.affine(0.5, 0.1)?;
            Ok(Box::new(move || a.feature_distance(&b, &weight, 1e-10)))
        }),
        Case::new("philox_normal", "14x64x64x4".to_string(), [4e7 * 0.23, 917_504.0], |gpu| {
            let gpu = gpu.clone();
            Ok(Box::new(move || Tensor::noise(&gpu, 1, 1, 0, [14, 64, 64, 4])))
        }),
    ]
}

/// Values from -1 to 1 that repeat with no short period.
fn ramp(gpu: &Gpu, shape: &[usize], elem: Elem) -> Result<Tensor> {
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|i| (i * 7919 % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::from_values(gpu, shape, elem, &values)
}

fn packed(gpu: &Gpu, shape: WeightShape) -> Result<PackedWeight> {
    let len = shape.columns * shape.group_channels * shape.kernel[0] * shape.kernel[1];
    let scale = 1.0 / (len as f32 / shape.columns as f32).sqrt();
    let values: Vec<f32> = (0..len).map(|i| ((i * 6007 % 1999) as f32 / 999.5 - 1.0) * scale).collect();
    PackedWeight::pack(gpu, shape, Elem::F16, Raw::F32(bytemuck::cast_slice(&values)), "bench")
}

//! Timing of kernels and networks: one list of cases for `viseme bench` and `cargo bench`.

mod ceiling;
mod growth;
mod plot;

pub use ceiling::{Ceilings, Counted, Limit, Share};
pub use growth::{Growth, Point, Series};

use crate::diffusion::{Denoiser, Guidance};
use crate::face::mask::LATENT_STEP;
use crate::gpu::{Elem, Gpu, Profile};
use crate::models::clip_unet::Prompt;
use crate::models::unet::Deep;
use crate::nn::Trace;
use crate::ops::{
    Activation, Affine, Attend, Border, ConvClass, Epilogue, Framing, Geometry, Inpaint, LandmarkPart, LandmarkParts,
    Layer, PackedWeight, Padding, PixelBox, Raw, Region, Rgb, Rows, Separable, SeparableShape, SeparableValues,
    Shortcut, WeightShape, Window,
};
use crate::pipelines::sampling::Levels;
use crate::pipelines::stage::{Conditions, StageNetworks};
use crate::pipelines::weights::{Role, Storage, WeightSet};
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::sync::Arc;
use std::time::Instant;

type Run = Box<dyn Fn() -> Result<Tensor>>;
type Prepare = Box<dyn Fn(&Gpu) -> Result<Run>>;

/// A kernel or a network at one shape.
pub struct Case {
    pub name: &'static str,
    pub shape: String,
    /// Operations, and bytes read and written, each operand once; None: those of all dispatches recorded.
    work: Option<[f64; 2]>,
    /// Dispatches whose recording alone is timed, not what the device does.
    recorded: Option<usize>,
    prepare: Prepare,
}

/// A case whose operands are on a device.
pub struct Prepared<'a> {
    case: &'a Case,
    gpu: Gpu,
    run: Run,
}

impl Prepared<'_> {
    /// What it computes.
    pub fn run(&self) -> Result<Tensor> {
        (self.run)()
    }

    /// Median of `runs`, after one that compiles.
    pub fn measure(&self, runs: usize) -> Result<Row> {
        let (gpu, recorded) = (&self.gpu, self.case.recorded);
        // Not among the case's own work, which it would be if a large operation asked for it first.
        crate::ops::rate(gpu)?;
        gpu.reset_peak();
        let before = gpu.work();
        (self.run)()?;
        let after = gpu.work();
        gpu.wait()?;
        let [flops, bytes] = self.case.work.unwrap_or([after.flops - before.flops, after.bytes - before.bytes]);
        let mut wall = Vec::new();
        let mut cpu = Vec::new();
        for _ in 0..runs.max(1) {
            let (start, cpu_start, own_start) = (Instant::now(), process_seconds(), thread_seconds());
            (self.run)()?;
            let own = if recorded.is_some() { gpu.submit().map(|()| seconds_since(own_start))? } else { None };
            gpu.wait()?;
            wall.push(own.unwrap_or_else(|| start.elapsed().as_secs_f64()));
            cpu.extend(cpu_start.zip(process_seconds()).map(|(start, end)| end - start));
        }
        let seconds = median(wall).unwrap_or_default();
        let row = Row { seconds, cpu_seconds: median(cpu), flops, bytes, peak_bytes: 0, dispatches: recorded };
        Ok(Row { peak_bytes: gpu.memory().peak, ..row })
    }

    /// Where the GPU time of one run goes, by kernel.
    pub fn profile(&self) -> Result<Profile> {
        self.gpu.start_profile()?;
        (self.run)()?;
        self.gpu.stop_profile()
    }
}

/// What a case takes.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Median wall time, recording and waiting included; of a case that only records, the recording thread's own time.
    pub seconds: f64,
    /// Median CPU time of all threads of this process, on a software device the work itself; None where the system does not tell.
    pub cpu_seconds: Option<f64>,
    pub flops: f64,
    pub bytes: f64,
    /// The most device memory in use, operands or weights included.
    pub peak_bytes: u64,
    /// Of a case that only records.
    pub dispatches: Option<usize>,
}

impl Case {
    fn new(name: &'static str, shape: String, work: [f64; 2], prepare: impl Fn(&Gpu) -> Result<Run> + 'static) -> Self {
        Self { name, shape, work: Some(work), recorded: None, prepare: Box::new(prepare) }
    }

    /// A network's forward.
    fn network(name: &'static str, shape: String, prepare: impl Fn(&Gpu) -> Result<Run> + 'static) -> Self {
        Self { name, shape, work: None, recorded: None, prepare: Box::new(prepare) }
    }

    /// Median of `runs`, after one that compiles.
    pub fn measure(&self, gpu: &Gpu, runs: usize) -> Result<Row> {
        self.prepare(gpu)?.measure(runs)
    }

    /// With its operands on `gpu`.
    pub fn prepare(&self, gpu: &Gpu) -> Result<Prepared<'_>> {
        Ok(Prepared { case: self, gpu: gpu.clone(), run: (self.prepare)(gpu)? })
    }

    /// Whether `text` is a part of its name and shape.
    pub fn matches(&self, text: &str) -> bool {
        format!("{} {}", self.name, self.shape).contains(text)
    }

    /// Recording, finishing and submitting `count` dispatches that do nothing, each with its bind group.
    fn host_overhead(count: usize) -> Self {
        let shape = format!("{count} dispatches");
        let case = Self::new("host overhead", shape, [0.0, 0.0], move |gpu| {
            let x = ramp(gpu, &[256], Elem::F32)?;
            Ok(Box::new(move || x.idle_dispatches(count)))
        });
        Self { recorded: Some(count), ..case }
    }

    /// `[rows, channels]` by f16 weights `[columns, channels]`.
    pub fn matmul(rows: usize, channels: usize, columns: usize) -> Self {
        Self::matmul_by("matmul", [rows, channels, columns], Elem::F16)
    }

    fn matmul_by(name: &'static str, [rows, channels, columns]: [usize; 3], weights: Elem) -> Self {
        let shape = format!("{rows} x {channels} x {columns}");
        let flops = 2.0 * (rows * channels * columns) as f64;
        let bytes = 2.0 * (rows * channels + rows * columns) as f64 + (weights.size() * channels * columns) as f64;
        Self::new(name, shape, [flops, bytes], move |gpu| {
            let x = ramp(gpu, &[rows, channels], Elem::F16)?;
            let weight = packed(gpu, WeightShape::linear(columns, channels), weights, ConvClass::Direct)?;
            Ok(Box::new(move || x.linear(&weight, Epilogue::default())))
        })
    }

    /// The feed-forward layer's first product with its GEGLU.
    fn gated_matmul(rows: usize, channels: usize, outputs: usize) -> Self {
        let flops = 4.0 * (rows * channels * outputs) as f64;
        let bytes = 2.0 * (rows * channels + rows * outputs + 2 * channels * outputs) as f64;
        Self::new("matmul, GEGLU", format!("{rows} x {channels} x 2 x {outputs}"), [flops, bytes], move |gpu| {
            let x = ramp(gpu, &[rows, channels], Elem::F16)?;
            let values = vec![0.01f32; 2 * outputs * channels];
            let raw = Raw::F32(bytemuck::cast_slice(&values));
            let weight = PackedWeight::pack_gated(gpu, [outputs, channels], Elem::F16, raw, "bench")?;
            let epilogue = Epilogue { activation: Activation::Gelu, ..Epilogue::default() };
            Ok(Box::new(move || x.linear(&weight, epilogue)))
        })
    }

    fn conv(
        name: &'static str,
        [images, height, width, channels]: [usize; 4],
        columns: usize,
        kernel: [usize; 2],
        class: ConvClass,
    ) -> Self {
        let shape = format!("{images}x{height}x{width}x{channels} -> {columns}");
        let taps = kernel[0] * kernel[1];
        let pixels = images * height * width;
        let flops = 2.0 * (pixels * channels * columns * taps) as f64;
        let bytes = 2.0 * (pixels * (channels + columns) + taps * channels * columns) as f64;
        Self::new(name, shape, [flops, bytes], move |gpu| {
            let x = ramp(gpu, &[images, height, width, channels], Elem::F16)?;
            let shape = WeightShape { columns, group_channels: channels, kernel, groups: 1 };
            let weight = packed(gpu, shape, Elem::F16, class)?;
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

    /// f32 frames of `length` samples, one every `hop`.
    fn fbank_frames(samples: usize, length: usize, hop: usize) -> Self {
        let frames = (samples - length) / hop + 1;
        let costs = [6.0 * (frames * length) as f64, 4.0 * (samples + frames * length) as f64];
        Self::new("fbank_frames", format!("{samples} samples, {length} every {hop}"), costs, move |gpu| {
            let (x, window) = (ramp(gpu, &[samples], Elem::F32)?, ramp(gpu, &[length], Elem::F32)?);
            let framing = Framing { hop, scale: 32_768.0, preemphasis: 0.97 };
            Ok(Box::new(move || x.fbank_frames(&window, framing)))
        })
    }

    /// A measure of a frame of 512x512, against another one.
    fn pictures(
        name: &'static str,
        flops_each: f64,
        frames_read: f64,
        op: impl Fn(&Rgb, &Rgb) -> Result<Vec<Tensor>> + Copy + 'static,
    ) -> Self {
        let bytes = (512 * 512 * 3) as f64;
        Self::new(name, "512x512".to_string(), [flops_each * bytes, frames_read * bytes], move |gpu| {
            let frame = |step: usize| -> Vec<u8> { (0..512 * 512 * 3).map(|i| (i * step % 251) as u8).collect() };
            let (a, b) = (Rgb::upload(gpu, 512, 512, &frame(7919))?, Rgb::upload(gpu, 512, 512, &frame(6007))?);
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
        Case::gated_matmul(pixels, 320, 1280),
        Case::matmul_by("matmul, int8", [1024, 1024, 1024], Elem::I8),
        Case::matmul_by("matmul, int8", [2048, 1280, 1280], Elem::I8),
        Case::conv("conv 3x3", [14, 32, 32, 320], 320, [3, 3], ConvClass::Direct),
        Case::conv("conv 3x3, F(2,3)", [14, 32, 32, 320], 320, [3, 3], ConvClass::F23),
        Case::conv("conv 3x3, F(4,3)", [14, 32, 32, 320], 320, [3, 3], ConvClass::F43),
        Case::conv("conv 3x3", [14, 16, 16, 640], 640, [3, 3], ConvClass::Direct),
        Case::conv("conv 3x3, F(4,3)", [14, 16, 16, 640], 640, [3, 3], ConvClass::F43),
        // The deepest level at 32x32 latents, whose depth devices with matrices split.
        Case::conv("conv 3x3", [14, 4, 4, 1280], 1280, [3, 3], ConvClass::Direct),
        Case::conv("conv 3x1 (temporal)", [1, 14, 1024, 320], 320, [3, 1], ConvClass::Direct),
        Case::conv("conv 3x1, F(4,3)", [1, 14, 1024, 320], 320, [3, 1], ConvClass::F43),
        Case::conv("conv 1x1", [14, 32, 32, 640], 320, [1, 1], ConvClass::Direct),
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
        Case::streaming("silu", [pixels, 320], 2.0, 4.0, |x| x.silu()),
        Case::streaming("add", [pixels, 320], 3.0, 1.0, |x| x.add(x)),
        Case::streaming("concat_channels", [pixels, 320], 4.0, 0.0, |x| Tensor::concat_channels(&[x, x])),
        Case::streaming("slice_rows", [pixels, 640], 1.0, 0.0, |x| x.slice_channels(320, 320)),
    ]
    .into_iter()
    .chain(speech_cases())
    .chain(sampler_cases())
    .chain(picture_cases())
    .chain(measure_cases())
    .chain(face_cases())
    .collect()
}

/// Shapes beside those of [`cases`] that benches/rivals compares: too large for a test that runs every case.
pub fn large_cases() -> Vec<Case> {
    vec![
        Case::attention(14, 4096, 5, 64),
        Case::matmul(4096, 4096, 4096),
        Case::conv("conv 3x3", [14, 64, 64, 320], 320, [3, 3], ConvClass::Direct),
        Case::conv("conv 3x3, F(4,3)", [14, 64, 64, 320], 320, [3, 3], ConvClass::F43),
        Case::conv("conv 3x3", [14, 32, 32, 640], 640, [3, 3], ConvClass::Direct),
        Case::attention(1, 4096, 1, 512),
        Case::host_overhead(10_000),
    ]
}

/// The filter bank of 40 s of speech, and WavLM's position bias over 8 s.
fn speech_cases() -> Vec<Case> {
    let (tokens, heads) = (400, 12);
    vec![
        // 40 s of audio: 400 samples every 160, then the powers of 256 bins.
        Case::fbank_frames(640_000, 400, 160),
        Case::streaming("power_spectrum", [3998, 512], 1.5, 1.5, |x| x.power_spectrum()),
        Case::streaming("log", [3998, 128], 2.0, 2.0, |x| x.log_above(1e-6)),
        Case::new(
            "relative_bias",
            format!("{heads} x {tokens} x {tokens}"),
            [0.0, 4.0 * 12.0 * 160_000.0],
            move |gpu| {
                let table = ramp(gpu, &[heads, 2 * tokens - 1], Elem::F32)?;
                Ok(Box::new(move || table.relative_bias()))
            },
        ),
        Case::new("relative_gate", format!("{tokens} x {heads}"), [16.0 * 4800.0, 36.0 * 4800.0], move |gpu| {
            let (x, scale) = (ramp(gpu, &[tokens, heads, 8], Elem::F32)?, ramp(gpu, &[heads], Elem::F32)?);
            Ok(Box::new(move || x.relative_gate(&scale)))
        }),
    ]
}

/// The arithmetic around the network: one guided step of a clip of 14 frames at 64x64 latents, three branches.
fn sampler_cases() -> Vec<Case> {
    const SHAPE: [usize; 5] = [1, 14, 64, 64, 4];
    let len = SHAPE.iter().product::<usize>() as f64;
    let latents = |gpu: &Gpu| ramp(gpu, &SHAPE, Elem::F32);
    let shape = || "14x64x64x4".to_string();
    vec![
        Case::new("philox_normal", shape(), [40.0 * len, 4.0 * len], |gpu| {
            let gpu = gpu.clone();
            Ok(Box::new(move || Tensor::noise(&gpu, 1, 1, 0, [14, 64, 64, 4])))
        }),
        Case::new("denoise", format!("3 x {}", shape()), [21.0 * len, 36.0 * len], move |gpu| {
            let (input, clean) = (latents(gpu)?, latents(gpu)?);
            let branches = ramp(gpu, &[3, 14, 64, 64, 4], Elem::F32)?;
            let mask = ramp(gpu, &[1, 14, 64, 64, 1], Elem::F32)?;
            Ok(Box::new(move || branches.denoised(&input, [-0.5, 0.5], Some(Inpaint { mask: &mask, clean: &clean }))))
        }),
        Case::new("sampler_step", shape(), [4.0 * len, 12.0 * len], move |gpu| {
            let (x, denoised) = (latents(gpu)?, latents(gpu)?);
            Ok(Box::new(move || x.euler_step(&denoised, 1.0, 0.5)))
        }),
        Case::new("guidance_update", shape(), [10.0 * len, 12.0 * len], move |gpu| {
            let (x, cond) = (latents(gpu)?, latents(gpu)?);
            Ok(Box::new(move || x.guidance_update(&cond, 14, Some(2.5), 0.0)))
        }),
        Case::new("overlap_merge", "2 segments of 14x64x64x4".to_string(), [2.0 * len, 16.0 * len], |gpu| {
            let segments = ramp(gpu, &[2, 14, 64, 64, 4], Elem::F32)?;
            Ok(Box::new(move || segments.overlap_merge(1)))
        }),
    ]
}

/// Frames in and out: a 1280x720 video with a 512x512 crop.
fn picture_cases() -> Vec<Case> {
    const SIDE: usize = 512;
    const REGION: Region = Region { left: 380.5, top: 90.25, width: 560.0, height: 560.0 };
    let (crop, whole) = ((SIDE * SIDE) as f64, 1280.0 * 720.0);
    let picture = |gpu: &Gpu, height: usize, width: usize| {
        let bytes: Vec<u8> = (0..height * width * 3).map(|i| ((i * 7919) >> 5) as u8).collect();
        Rgb::upload(gpu, height, width, &bytes)
    };
    let nose_down = PixelBox { left: 100, top: 180, right: 400, bottom: 511 };
    let mask = move |gpu: &Gpu| Tensor::mask_of_boxes(gpu, &[[nose_down, PixelBox::NONE]], SIDE);
    // Angle and share of each layer.
    let pasted = |shape: &str, layers: [Option<(f64, f32)>; 2], work: [f64; 2]| {
        Case::new("composite_rgb", shape.to_string(), work, move |gpu| {
            let (frame, crop) = (picture(gpu, 720, 1280)?, picture(gpu, SIDE, SIDE)?);
            let alpha = mask(gpu)?.feather_mask(10.0)?;
            let place = |angle: f64| Affine::rotation(angle).then(&REGION.map(SIDE));
            Ok(Box::new(move || {
                let layers: Vec<Layer<'_>> = layers
                    .iter()
                    .flatten()
                    .map(|&(angle, share)| Layer { crop: &crop, map: place(angle), share, colour: None })
                    .collect();
                Ok(frame.composite(&layers, &alpha, layers[0].map, 10.0)?.words().clone())
            }))
        })
    };
    vec![
        Case::new("resample_rgb", "1280x720 -> 512x512".to_string(), [24.0 * crop, 3.0 * (whole + crop)], move |gpu| {
            let frame = picture(gpu, 720, 1280)?;
            Ok(Box::new(move || Ok(frame.crop(&[REGION.map(SIDE)], SIDE)?.words().clone())))
        }),
        // At the picture's own scale, so that nothing is reduced before.
        Case::new("warp_rgb", "1280x720 -> 512x512, turned".to_string(), [30.0 * crop, 6.0 * crop], move |gpu| {
            let frame = picture(gpu, 720, 1280)?;
            let map = Affine::rotation(0.4).then(&Affine::translation(500.0, 100.0));
            Ok(Box::new(move || Ok(frame.crop(&[map], SIDE)?.words().clone())))
        }),
        Case::new("rgb_to_tensor", "512x512".to_string(), [6.0 * crop, 15.0 * crop], move |gpu| {
            let frame = picture(gpu, SIDE, SIDE)?;
            Ok(Box::new(move || frame.to_tensor()))
        }),
        Case::new("tensor_to_rgb", "512x512".to_string(), [9.0 * crop, 15.0 * crop], |gpu| {
            let x = ramp(gpu, &[1, SIDE, SIDE, 3], Elem::F32)?;
            Ok(Box::new(move || Ok(Rgb::from_tensor(&x)?.words().clone())))
        }),
        Case::new("rasterise_mask", "512x512".to_string(), [8.0 * crop, 4.0 * crop], move |gpu| {
            let gpu = gpu.clone();
            Ok(Box::new(move || mask(&gpu)))
        }),
        Case::new("downsample_mask", "512x512 -> 64x64".to_string(), [0.0, crop / 8.0], move |gpu| {
            let mask = mask(gpu)?;
            Ok(Box::new(move || mask.downsample_mask(8, None)))
        }),
        Case::new("feather_mask", "512x512, 10 pixels".to_string(), [160.0 * crop, 16.0 * crop], move |gpu| {
            let mask = mask(gpu)?;
            Ok(Box::new(move || mask.feather_mask(10.0)))
        }),
        Case::new("seam_partial", "512x512, 10 pixels".to_string(), [40.0 * crop, 10.0 * crop], move |gpu| {
            let (source, generated) = (picture(gpu, SIDE, SIDE)?, picture(gpu, SIDE, SIDE)?);
            let alpha = mask(gpu)?.feather_mask(10.0)?;
            Ok(Box::new(move || source.seam_colours(&generated, &alpha)))
        }),
        pasted("512x512 -> 1280x720", [Some((0.0, 1.0)), None], [40.0 * whole, 6.0 * whole + 7.0 * crop]),
        pasted(
            "2 of 512x512, turned -> 1280x720",
            [Some((0.3, 0.4)), Some((0.31, 0.6))],
            [50.0 * whole, 6.0 * whole + 10.0 * crop],
        ),
    ]
}

/// Measures of pictures, and what LPIPS is made of.
fn measure_cases() -> Vec<Case> {
    vec![
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
    ]
}

/// What finds and follows faces: blocks of Attention Mesh, and its input cut from a frame.
fn face_cases() -> Vec<Case> {
    let block = |[sets, height, channels, columns]: [usize; 4], stride: usize| {
        let (out, depth) = (height.div_ceil(stride), channels as f64);
        let pixels = (sets * out * out) as f64;
        let flops = 2.0 * pixels * depth * (9.0 + columns as f64);
        let values = (sets * height * height) as f64 * depth + pixels * columns as f64;
        let bytes = 4.0 * (values + (10 * sets * channels) as f64) + 2.0 * (sets * columns) as f64 * depth;
        let shape = format!("{sets}x{height}x{height}x{channels} -> {columns}, stride {stride}");
        Case::new("separable", shape, [flops, bytes], move |gpu| {
            let x = ramp(gpu, &[sets, height, height, channels], Elem::F32)?;
            let padding = Padding::Same;
            let shape = SeparableShape { sets, kernel: 3, stride, padding, channels, columns };
            let values = vec![0.01; sets * channels * columns.max(9)];
            let values = SeparableValues {
                depthwise: Some([&values[..sets * 9 * channels], &values[..sets * channels]]),
                weight: &values[..sets * columns * channels],
                bias: &values[..sets * columns],
                slope: &values[..sets * columns],
            };
            let weights = Separable::pack(gpu, shape, Elem::F16, values)?;
            Ok(Box::new(move || x.separable(&weights, Shortcut::Input)))
        })
    };
    let depthwise = 96.0 * 96.0 * 16.0;
    let (window, crop) = (3.0 * 16.0 * 16.0 * 32.0, 192.0 * 192.0);
    vec![
        block([1, 96, 16, 16], 1),
        block([1, 48, 32, 64], 2),
        block([1, 12, 128, 128], 1),
        block([5, 4, 128, 128], 1),
        Case::new("depthwise", "1x96x96x16".to_string(), [18.0 * depthwise, 8.0 * depthwise], |gpu| {
            let (x, taps) = (ramp(gpu, &[1, 96, 96, 16], Elem::F32)?, ramp(gpu, &[3, 3, 16], Elem::F32)?);
            let bias = ramp(gpu, &[16], Elem::F32)?;
            Ok(Box::new(move || x.depthwise(&taps, &bias, 1, Padding::Same)))
        }),
        Case::new("prelu", "9216 x 16".to_string(), [2.0 * depthwise, 8.0 * depthwise], |gpu| {
            let (x, slope) = (ramp(gpu, &[9216, 16], Elem::F32)?, ramp(gpu, &[16], Elem::F32)?);
            Ok(Box::new(move || x.prelu(&slope)))
        }),
        Case::new("landmark_windows", "3 parts of 80".to_string(), [8.0 * 240.0, 4.0 * 720.0], |gpu| {
            let landmarks: Vec<u32> = (0..80).collect();
            let part = LandmarkPart { corners: [0, 79], landmarks: &landmarks };
            let (x, parts) = (ramp(gpu, &[1, 240], Elem::F32)?, LandmarkParts::new(gpu, &[part; 3])?);
            Ok(Box::new(move || x.landmark_windows(&parts, Window { side: 16, growth: 1.5, unit: 0.25 })))
        }),
        Case::new("sample_affine", "3 x 16x16x32".to_string(), [10.0 * window, 20.0 * window], |gpu| {
            let (x, maps) = (ramp(gpu, &[1, 48, 48, 32], Elem::F32)?, ramp(gpu, &[3, 8], Elem::F32)?);
            Ok(Box::new(move || x.sample_affine(&maps, [16, 16])))
        }),
        Case::new("sample_affine", "1080x1920 -> 192x192".to_string(), [40.0 * crop, 24.0 * crop], |gpu| {
            let picture = Rgb::upload(gpu, 1920, 1080, &vec![127; 1920 * 1080 * 3])?;
            let map = Affine::rotation(0.2).then(&Affine::scaling(4.0, 4.0)).then(&Affine::translation(200.0, 300.0));
            Ok(Box::new(move || picture.sample_tensor(&map, [192, 192], Border::Replicate, [1.0, 0.0])))
        }),
    ]
}

const FRAMES: usize = 14;

/// The keyframe UNet on `clips` clips of 14 frames with latents of `side`.
fn unet_case(weights: &Arc<WeightSet>, clips: usize, side: usize) -> Case {
    let weights = weights.clone();
    let frames = clips * FRAMES;
    Case::network("unet", format!("{frames}x{side}x{side}x4"), move |gpu| {
        let (unet, projection) = weights.stage(gpu, Role::Keyframe, Storage::default())?;
        let x = ramp(gpu, &[clips, FRAMES, side, side, 4], Elem::F32)?;
        let condition = unet.condition(&ramp(gpu, &[clips, side, side, 4], Elem::F32)?, FRAMES)?;
        let audio = projection.forward(&ramp(gpu, &[frames, 2, projection.inputs()], Elem::F32)?)?;
        let audio = audio.reshape(&[clips, FRAMES, audio.last_dim()])?;
        let prompt = Prompt { concat: &condition, audio: &audio, unheard: 0, emotion: None };
        let prepared = unet.prepare(prompt, &mut Trace::off())?;
        Ok(Box::new(move || unet.forward(&x, &prepared, &vec![0.5; frames], None, Deep::Run, &mut Trace::off())))
    })
}

/// The networks of lip sync, one clip of 14 frames or one picture each, with latents of `side` and f16 storage as by default.
/// Interpolation has the keyframe network's structure.
pub fn network_cases(weights: &Arc<WeightSet>, side: usize) -> Vec<Case> {
    let storage = Storage::default();
    let pixels = LATENT_STEP * side;
    let with = |run: fn(&WeightSet, &Gpu, Storage, usize) -> Result<Run>, size: usize| {
        let weights = weights.clone();
        move |gpu: &Gpu| run(&weights, gpu, storage, size)
    };
    vec![
        unet_case(weights, 1, side),
        Case::network(
            "guided step",
            format!("3x{FRAMES}x{side}x{side}x4"),
            with(
                |weights, gpu, storage, side| {
                    let (unet, projection) = weights.stage(gpu, Role::Keyframe, storage)?;
                    let x = ramp(gpu, &[1, FRAMES, side, side, 4], Elem::F32)?;
                    let audio = projection.forward(&ramp(gpu, &[FRAMES, 2, projection.inputs()], Elem::F32)?)?;
                    let audio = audio.reshape(&[1, FRAMES, audio.last_dim()])?;
                    Ok(Box::new(move || {
                        let reference = ramp(x.gpu(), &[1, side, side, 4], Elem::F32)?;
                        let denoiser = Denoiser { guidance: Guidance::default(), inpaint: None, batched: true };
                        let networks = StageNetworks::one(&unet);
                        let told = Conditions::new(networks, &reference, &audio, None, denoiser.guidance.branches())?;
                        denoiser.denoise(&x, 1.0, |x, branches, c_noise| {
                            told.forward(x, branches, &[c_noise as f32; 3 * FRAMES], Levels::All)
                        })
                    }))
                },
                side,
            ),
        ),
        Case::network(
            "vae encode",
            format!("{pixels}x{pixels}"),
            with(
                |weights, gpu, storage, pixels| {
                    let encoder = weights.encoder(gpu, storage)?;
                    let x = ramp(gpu, &[1, pixels, pixels, 3], Elem::F32)?;
                    Ok(Box::new(move || Ok(encoder.forward(&x, &mut Trace::off())?.mean)))
                },
                pixels,
            ),
        ),
        Case::network(
            "vae decode",
            format!("{pixels}x{pixels}"),
            with(
                |weights, gpu, storage, side| {
                    let decoder = weights.decoder(gpu, Role::Interpolation, storage)?;
                    let z = ramp(gpu, &[1, side, side, 4], Elem::F32)?;
                    Ok(Box::new(move || decoder.forward(&z, &mut Trace::off())))
                },
                side,
            ),
        ),
        Case::network(
            "hubert",
            "4 s".to_string(),
            with(
                |weights, gpu, storage, samples| {
                    let hubert = weights.hubert(gpu, storage)?;
                    let samples = ramp(gpu, &[samples], Elem::F32)?;
                    Ok(Box::new(move || hubert.forward(&samples, &mut Trace::off())))
                },
                64_000,
            ),
        ),
        Case::network(
            "wavlm",
            "4 s".to_string(),
            with(
                |weights, gpu, storage, samples| {
                    let wavlm = weights.wavlm(gpu, storage)?;
                    let samples = ramp(gpu, &[samples], Elem::F32)?;
                    Ok(Box::new(move || wavlm.forward(&samples, &mut Trace::off())))
                },
                64_000,
            ),
        ),
    ]
}

/// Values from -1 to 1 that repeat with no short period.
fn ramp(gpu: &Gpu, shape: &[usize], elem: Elem) -> Result<Tensor> {
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|i| (i * 7919 % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::from_values(gpu, shape, elem, &values)
}

fn packed(gpu: &Gpu, shape: WeightShape, elem: Elem, class: ConvClass) -> Result<PackedWeight> {
    let len = shape.columns * shape.group_channels * shape.kernel[0] * shape.kernel[1];
    let scale = 1.0 / (len as f32 / shape.columns as f32).sqrt();
    let values: Vec<f32> = (0..len).map(|i| ((i * 6007 % 1999) as f32 / 999.5 - 1.0) * scale).collect();
    let raw = Raw::F32(bytemuck::cast_slice(&values));
    PackedWeight::pack(gpu, shape, elem, raw, "bench")?.with_class(class, raw)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// CPU time that the living threads of this process used so far, in nanoseconds' resolution; None but on Linux.
fn process_seconds() -> Option<f64> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?.flatten();
    Some(tasks.filter_map(|task| schedule_seconds(&task.path().join("schedstat"))).sum())
}

/// The same of this thread.
fn thread_seconds() -> Option<f64> {
    schedule_seconds(std::path::Path::new("/proc/thread-self/schedstat"))
}

fn seconds_since(start: Option<f64>) -> Option<f64> {
    start.zip(thread_seconds()).map(|(start, end)| end - start)
}

/// The first number of Linux's schedstat is the time on a CPU in nanoseconds.
fn schedule_seconds(file: &std::path::Path) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

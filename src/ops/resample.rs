//! Resizing and cropping of pictures: upright along x first, then along y, rounded to levels after each; turned between the four
//! nearest pixels.

use super::{Affine, Call, Depth, FLAT, Rgb, quad_ranges, row_ranges};
use crate::gpu::Kernel;
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("resample_rgb");
pub(super) const WARP: Kernel = super::kernel!("warp_rgb");

/// How a pixel is made of its neighbours; pixels' centres lie at halves, what lies beyond the picture is its border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Between the two nearest, whatever the scale: how the published system makes its input. Equal to PyTorch's
    /// `interpolate(mode="bilinear", align_corners=False)` of bytes, bit for bit.
    Bilinear,
    /// The same when enlarging; when shrinking the triangle is as much wider as the picture gets smaller.
    Antialiased,
}

/// A rectangle in a picture's pixels, x right and y down, 0 being the picture's edge; may reach beyond it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// For each output along one axis: where its inputs begin, and their weights in units of 2^-bits.
struct Axis {
    begin: Vec<usize>,
    weights: Vec<Vec<u32>>,
    bits: u32,
}

impl Axis {
    /// `outputs` samples of `inputs`; output i covers `origin + i * scale` to `origin + (i + 1) * scale`.
    fn new([inputs, outputs]: [usize; 2], origin: f64, scale: f64, filter: Filter, depth: Depth) -> Self {
        let samples: Vec<(usize, Vec<f64>)> = (0..outputs)
            .map(|i| {
                let centre = origin + scale * (i as f64 + 0.5);
                match filter {
                    Filter::Bilinear => between(inputs, centre),
                    Filter::Antialiased => triangle(inputs, centre, scale.max(1.0)),
                }
            })
            .collect();
        // The finest unit in which the largest weight is below 2^15 and a sum of weighted values below 2^32: at most 2^-22, and
        // 2^-15 where values have 16 bits.
        let finest = match depth {
            Depth::Eight => 22,
            Depth::Sixteen => 15,
        };
        let largest = samples.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
        let fits = |bits: &u32| (0.5 + largest * f64::from(1u32 << (bits + 1))).trunc() < 32768.0;
        let bits = (0..finest).find(|bits| !fits(bits)).unwrap_or(finest);
        let unit = f64::from(1u32 << bits);
        let fixed = |weights: &Vec<f64>| weights.iter().map(|w| (w * unit + 0.5) as u32).collect();
        Self {
            begin: samples.iter().map(|(begin, _)| *begin).collect(),
            weights: samples.iter().map(|(_, weights)| fixed(weights)).collect(),
            bits,
        }
    }

    /// The inputs that some output needs.
    fn used(&self) -> std::ops::Range<usize> {
        let end = self.begin.iter().zip(&self.weights).map(|(begin, weights)| begin + weights.len()).max();
        self.begin.iter().copied().min().unwrap_or(0)..end.unwrap_or(0)
    }

    fn taps(&self) -> usize {
        self.weights.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// `[outputs, 1 + taps]` for inputs `used`, which are all that is there. A begin is moved back where its taps would
    /// leave them.
    fn table(&self, gpu: &crate::gpu::Gpu, used: &std::ops::Range<usize>) -> Result<Tensor> {
        let taps = self.taps();
        let mut table = Vec::with_capacity(self.begin.len() * (1 + taps));
        for (begin, weights) in self.begin.iter().zip(&self.weights) {
            let from = (*begin).min(used.end - taps);
            table.push((from - used.start) as u32);
            table.resize(table.len() + begin - from, 0);
            table.extend(weights);
            table.resize(table.len() + taps - weights.len() - (begin - from), 0);
        }
        Tensor::from_u32(gpu, &[self.begin.len(), 1 + taps], &table)
    }
}

/// The two inputs whose centres are next to `centre`.
fn between(inputs: usize, centre: f64) -> (usize, Vec<f64>) {
    let place = (centre - 0.5).max(0.0);
    let left = (place as usize).min(inputs - 1);
    let part = (place - left as f64).min(1.0);
    if left + 1 < inputs { (left, vec![1.0 - part, part]) } else { (left, vec![1.0]) }
}

/// The inputs within `reach` of `centre`, weighted by closeness.
fn triangle(inputs: usize, centre: f64, reach: f64) -> (usize, Vec<f64>) {
    let last = inputs as f64;
    let begin = (centre - reach + 0.5).clamp(0.0, last) as usize;
    let end = (centre + reach + 0.5).clamp(0.0, last) as usize;
    let closeness = |input: usize| (1.0 - ((input as f64 - centre + 0.5) / reach).abs()).max(0.0);
    let total: f64 = (begin..end).map(closeness).sum();
    if total <= 0.0 {
        return (if centre < 0.0 { 0 } else { inputs - 1 }, vec![1.0]);
    }
    (begin, (begin..end).map(|input| closeness(input) / total).collect())
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    x_width: u32,
    x_stride: u32,
    y_width: u32,
    y_height: u32,
    y_stride: u32,
    row: u32,
    taps: u32,
    bits: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct WarpParams {
    count: u32,
    first: u32,
    x_size: [u32; 2],
    y_size: [u32; 2],
    corner: [i32; 2],
    map: [f32; 6],
}

impl Rgb {
    /// All frames at another size.
    pub fn resize(&self, height: usize, width: usize, filter: Filter) -> Result<Rgb> {
        let axis = |from: usize, to: usize| Axis::new([from, to], 0.0, from as f64 / to as f64, filter, self.depth());
        let (x, y) = (axis(self.width(), width), axis(self.height(), height));
        expect_pixels(height, width)?;
        let out = Rgb::empty(self.gpu(), self.frames(), [height, width], self.depth())?;
        self.resample(&x, &y, &out)?;
        Ok(out)
    }

    /// A square of `side` pixels of each frame, antialiased; `maps` lead from its pixels to the frame's, one per frame. What lies
    /// beyond the frame is its border. Errors: another number of maps than frames, or one to no area.
    pub fn crop(&self, maps: &[Affine], side: usize) -> Result<Rgb> {
        expect_pixels(side, side)?;
        if maps.len() != self.frames() {
            let expected = format!("{} maps, one per frame", self.frames());
            return Err(Problem::new("crop", expected, maps.len().to_string()).shape());
        }
        let out = Rgb::empty(self.gpu(), self.frames(), [side, side], self.depth())?;
        for (frame, map) in maps.iter().enumerate() {
            if map.inverse().is_none() {
                let expected = "a map to a region with an area";
                return Err(Problem::new(format!("crop of frame {frame}"), expected, format!("{map:?}")).input());
            }
            self.frame(frame)?.sample(map, &out.frame(frame)?)?;
        }
        Ok(out)
    }

    /// Fills the frame `out` with the frame `self`, antialiased; `map` leads from `out`'s pixels to those of `self`, whose border
    /// goes on beyond it. Where a turned picture is shrunk, it is reduced upright first.
    pub(super) fn sample(&self, map: &Affine, out: &Rgb) -> Result<()> {
        let [[a, b, c], [d, e, f]] = map.0;
        if map.is_upright() && a > 0.0 && e > 0.0 {
            return self.sample_upright([c, f], [a, e], out);
        }
        let steps = [a.hypot(b), d.hypot(e)].map(|step| step.max(1.0));
        if steps == [1.0; 2] {
            return self.warp(map, out);
        }
        // Of a picture reduced by `steps`, whose grid begins at its corner whatever is shown, so that nothing flickers as a crop moves:
        // what `out` shows, and a pixel around it.
        let bounds = map.bounds([out.width() as f64, out.height() as f64]);
        let size = [self.width() as f64, self.height() as f64];
        let [x, y] = [0, 1].map(|axis| {
            let ([low, high], step) = (bounds[axis], steps[axis]);
            let end = (size[axis] / step).ceil();
            let from = ((low / step).floor() - 1.0).clamp(0.0, end - 1.0);
            [from, ((high / step).ceil() + 1.0).clamp(from + 1.0, end)]
        });
        let reduced = Rgb::empty(self.gpu(), 1, [y, x].map(|[from, to]| (to - from) as usize), self.depth())?;
        self.sample_upright([x[0] * steps[0], y[0] * steps[1]], steps, &reduced)?;
        let onto = Affine::scaling(1.0 / steps[0], 1.0 / steps[1]).then(&Affine::translation(-x[0], -y[0]));
        reduced.warp(&map.then(&onto), out)
    }

    /// Fills `out`, whose pixel (i, j) lies at `origin + (i + 1/2, j + 1/2) * scale` in each frame, antialiased.
    fn sample_upright(&self, origin: [f64; 2], scale: [f64; 2], out: &Rgb) -> Result<()> {
        let (filter, depth) = (Filter::Antialiased, self.depth());
        let x = Axis::new([self.width(), out.width()], origin[0], scale[0], filter, depth);
        let y = Axis::new([self.height(), out.height()], origin[1], scale[1], filter, depth);
        self.resample(&x, &y, out)
    }

    /// Fills the frame `out`, each pixel between the four of `self` next to `map` of its centre.
    fn warp(&self, map: &Affine, out: &Rgb) -> Result<()> {
        // A crop's pixels are few, a picture's may be many: with the place of the crop in whole pixels, f32 keeps the fractions.
        const FAR: f64 = 1e9;
        let corner = map.0.map(|row| row[2].floor().clamp(-FAR, FAR));
        let within = map.then(&Affine::translation(-corner[0], -corner[1]));
        for range in quad_ranges(&[out.words()])? {
            let words = out.words().quads(&range)?;
            Call {
                kernel: &WARP,
                constants: &[FLAT, self.depth().constant()],
                params: WarpParams {
                    count: words.len() as u32,
                    first: 4 * range.start as u32,
                    x_size: [self.width() as u32, self.height() as u32],
                    y_size: [out.width() as u32, out.height() as u32],
                    corner: corner.map(|v| v as i32),
                    map: within.coefficients(),
                },
                tensors: &[self.words(), &words],
                groups: words.len().div_ceil(FLAT.1 as usize),
                flops: 40.0 * words.len() as f64,
                site: None,
            }
            .record()?;
        }
        Ok(())
    }

    fn resample(&self, x: &Axis, y: &Axis, out: &Rgb) -> Result<()> {
        let rows = y.used();
        let middle = Rgb::empty(self.gpu(), self.frames(), [rows.len(), out.width()], self.depth())?;
        let table = x.table(self.gpu(), &(0..self.width()))?;
        self.resample_axis(("AXIS", 0), x, &table, rows.start, &middle)?;
        let table = y.table(self.gpu(), &rows)?;
        middle.resample_axis(("AXIS", 1), y, &table, 0, out)
    }

    fn resample_axis(
        &self,
        which: (&'static str, u32),
        axis: &Axis,
        table: &Tensor,
        row: usize,
        out: &Rgb,
    ) -> Result<()> {
        let (from, to) = (self.words(), out.words());
        let frames = self.frames();
        for range in row_ranges("resample_rgb", frames, &[from, to])? {
            let words = range.len() * out.stride();
            let params =
                [words, self.width(), self.stride(), out.width(), out.height(), out.stride(), row, axis.taps()];
            let [count, x_width, x_stride, y_width, y_height, y_stride, row, taps] = params.map(|v| v as u32);
            Call {
                kernel: &KERNEL,
                constants: &[FLAT, which, self.depth().constant()],
                params: Params { count, x_width, x_stride, y_width, y_height, y_stride, row, taps, bits: axis.bits },
                tensors: &[&from.rows(frames, &range)?, table, &to.rows(frames, &range)?],
                groups: words.div_ceil(FLAT.1 as usize),
                flops: (8 * words * axis.taps()) as f64,
                site: None,
            }
            .record()?;
        }
        Ok(())
    }
}

impl Region {
    /// From the pixels of a crop of `side` pixels that shows the region to the picture's.
    pub fn map(&self, side: usize) -> Affine {
        let side = side as f64;
        Affine([[self.width / side, 0.0, self.left], [0.0, self.height / side, self.top]])
    }
}

fn expect_pixels(height: usize, width: usize) -> Result<()> {
    if height > 0 && width > 0 {
        return Ok(());
    }
    Err(Problem::new("picture size", "a pixel or more", format!("{width}x{height}")).shape())
}

//! Resizing and cropping of pictures, along x first, then along y, rounded to levels after each.

use super::{Affine, Call, Depth, FLAT, Rgb, row_ranges};
use crate::gpu::Kernel;
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("resample_rgb");

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

    /// One region of each frame as a square of `side` pixels, antialiased. Errors: another number of regions than frames,
    /// or an empty one.
    pub fn crop(&self, regions: &[Region], side: usize) -> Result<Rgb> {
        expect_pixels(side, side)?;
        if regions.len() != self.frames() {
            let expected = format!("{} regions, one per frame", self.frames());
            return Err(Problem::new("crop", expected, regions.len().to_string()).shape());
        }
        let out = Rgb::empty(self.gpu(), self.frames(), [side, side], self.depth())?;
        for (frame, region) in regions.iter().enumerate() {
            region.check(frame)?;
            let scale = [region.width / side as f64, region.height / side as f64];
            let (from, to) = (self.frame(frame)?, out.frame(frame)?);
            from.sample([region.left, region.top], scale, &to)?;
        }
        Ok(out)
    }

    /// Fills `out`, whose pixel (i, j) lies at `origin + (i + 1/2, j + 1/2) * scale` in each frame, antialiased.
    pub(super) fn sample(&self, origin: [f64; 2], scale: [f64; 2], out: &Rgb) -> Result<()> {
        let (filter, depth) = (Filter::Antialiased, self.depth());
        let x = Axis::new([self.width(), out.width()], origin[0], scale[0], filter, depth);
        let y = Axis::new([self.height(), out.height()], origin[1], scale[1], filter, depth);
        self.resample(&x, &y, out)
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
    /// From the pixels of a crop of `side` to those of the picture.
    pub fn map(&self, side: usize) -> Affine {
        let [x, y] = [self.width / side as f64, self.height / side as f64];
        Affine([[x, 0.0, self.left], [0.0, y, self.top]])
    }

    pub(super) fn check(&self, frame: usize) -> Result<()> {
        let fine = [self.left, self.top, self.width, self.height].iter().all(|v| v.is_finite());
        if fine && self.width > 0.0 && self.height > 0.0 {
            return Ok(());
        }
        Err(Problem::new(format!("crop of frame {frame}"), "a region with an area", format!("{self:?}")).input())
    }
}

fn expect_pixels(height: usize, width: usize) -> Result<()> {
    if height > 0 && width > 0 {
        return Ok(());
    }
    Err(Problem::new("picture size", "a pixel or more", format!("{width}x{height}")).shape())
}

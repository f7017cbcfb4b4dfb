//! Putting generated crops back into their frame.

use super::{Affine, Call, FLAT, Rgb, quad_ranges, row_ranges};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const COMPOSITE: Kernel = super::kernel!("composite_rgb");
pub(super) const FEATHER: Kernel = super::kernel!("feather_mask");

/// The most pixels of a soft rim: a pixel looks at all around it in reach.
pub const MOST_FEATHER: f32 = 4096.0;

/// A generated crop and where it lies.
pub struct Layer<'a> {
    /// A square of one frame.
    pub crop: &'a Rgb,
    /// From the crop's pixels to the picture's.
    pub map: Affine,
    /// Of what is shown; those of all layers sum to 1.
    pub share: f32,
    /// Gain, then offset in units of white, per colour, f32 `[2, 3]`, such as [`Rgb::seam_colours`] finds them.
    pub colour: Option<&'a Tensor>,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CompositeParams {
    count: u32,
    first: u32,
    size: [u32; 2],
    corner: [u32; 2],
    patch_size: [u32; 2],
    map: [f32; 6],
    side: u32,
    fade: u32,
    feather: f32,
    share: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct FeatherParams {
    count: u32,
    width: u32,
    height: u32,
    reach: u32,
    feather: f32,
}

impl Tensor {
    /// A mask `[frames, height, width, 1]` of 0 and 1 with a soft rim outside of it: 1 inside, falling linearly to 0 at
    /// `feather` pixels from it. With 0 the mask itself.
    pub fn feather_mask(&self, feather: f32) -> Result<Tensor> {
        let [frames, height, width, one] = self.dims("feather_mask")?;
        self.expect_elem("feather_mask", Elem::F32)?;
        if one != 1 || !(0.0..=MOST_FEATHER).contains(&feather) {
            let expected = format!("[frames, height, width, 1], feather 0 to {MOST_FEATHER}");
            return Err(Problem::new("feather_mask", expected, format!("{self:?}, feather {feather}")).shape());
        }
        let (across, y) = (self.empty_like()?, self.empty_like()?);
        let rows = frames * height;
        for (axis, rows, from, to) in [(0, rows, self, &across), (1, frames, &across, &y)] {
            for range in row_ranges("feather_mask", rows, &[from, to])? {
                let (from, to) = (from.rows(rows, &range)?, to.rows(rows, &range)?);
                let (count, width, height) = (to.len() as u32, width as u32, height as u32);
                let reach = feather.ceil() as u32;
                Call {
                    kernel: &FEATHER,
                    constants: &[FLAT, ("AXIS", axis)],
                    params: FeatherParams { count, width, height, reach, feather },
                    tensors: &[&from, &to],
                    groups: to.len().div_ceil(FLAT.1 as usize),
                    flops: f64::from(reach) * 8.0 * to.len() as f64,
                    site: None,
                }
                .record()?;
            }
        }
        Ok(y)
    }
}

impl Rgb {
    /// This picture with one or two layers blended in by `alpha` `[1, side, side, 1]`, such as [`Tensor::feather_mask`] makes it;
    /// `alpha_map` leads from its pixels to the picture's. Towards a side of alpha's square that lies inside the picture the layers
    /// fade out over `feather` of its pixels. Layers that are shrunk are antialiased; beyond a crop its border goes on. Pixels where
    /// alpha is 0 and those outside of its square stay bit for bit.
    pub fn composite(&self, layers: &[Layer<'_>], alpha: &Tensor, alpha_map: Affine, feather: f32) -> Result<Rgb> {
        self.expect_layers(layers)?;
        let [_, side, ..] = alpha.dims::<4>("composite alpha")?;
        alpha.expect("composite alpha", &[1, side, side, 1])?;
        alpha.expect_elem("composite alpha", Elem::F32)?;
        // Pixels whose centres may lie in alpha's square.
        let size = [self.width(), self.height()];
        let bounds = alpha_map.bounds([side as f64; 2]);
        let [columns, rows] = [0, 1].map(|axis| {
            let [from, to] = bounds[axis].map(|v| (v - 0.5).ceil().clamp(0.0, size[axis] as f64) as usize);
            from..to
        });
        let onto_alpha = inverse("composite alpha", &alpha_map)?;
        if columns.is_empty() || rows.is_empty() {
            return Ok(self.clone());
        }

        // Each layer on the picture's own pixels.
        let from_patch = Affine::translation(columns.start as f64, rows.start as f64);
        let mut patches = Vec::with_capacity(layers.len());
        for layer in layers {
            let patch = Rgb::empty(self.gpu(), 1, [rows.len(), columns.len()], self.depth())?;
            layer.crop.sample(&from_patch.then(&inverse("composite layer", &layer.map)?), &patch)?;
            patches.push(patch);
        }
        let is_coloured = layers.iter().any(|layer| layer.colour.is_some());
        let unchanged = || Tensor::from_f32(self.gpu(), &[2, 3], &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        let unchanged = is_coloured.then(unchanged).transpose()?;
        let colours = layers.iter().filter_map(|layer| layer.colour.or(unchanged.as_ref()));
        let shown: Vec<&Tensor> = patches.iter().map(|patch| patch.words()).chain(colours).collect();

        let out = Rgb::empty(self.gpu(), 1, [self.height(), self.width()], self.depth())?;
        let fade = if feather > 0.0 { sides_inside(&alpha_map, side as f64, size) } else { 0 };
        for range in quad_ranges(&[self.words(), out.words()])? {
            let (x, y) = (self.words().quads(&range)?, out.words().quads(&range)?);
            Call {
                kernel: &COMPOSITE,
                constants: &[
                    FLAT,
                    self.depth().constant(),
                    ("LAYERS", layers.len() as u32),
                    ("COLOUR", is_coloured.into()),
                ],
                params: CompositeParams {
                    count: y.len() as u32,
                    first: 4 * range.start as u32,
                    size: size.map(|v| v as u32),
                    corner: [&columns, &rows].map(|range| range.start as u32),
                    patch_size: [&columns, &rows].map(|range| range.len() as u32),
                    map: from_patch.then(&onto_alpha).coefficients(),
                    side: side as u32,
                    fade,
                    feather,
                    share: layers[0].share,
                },
                tensors: &[&[&x, alpha], shown.as_slice(), &[&y]].concat(),
                groups: y.len().div_ceil(FLAT.1 as usize),
                flops: 40.0 * y.len() as f64,
                site: None,
            }
            .record()?;
        }
        Ok(out)
    }

    /// Errors: layers that do not fit this picture or each other.
    fn expect_layers(&self, layers: &[Layer<'_>]) -> Result<()> {
        let is_square =
            |crop: &Rgb| crop.frames() == 1 && crop.height() == crop.width() && crop.depth() == self.depth();
        let share: f32 = layers.iter().map(|layer| layer.share).sum();
        let is_fine = self.frames() == 1
            && (1..=2).contains(&layers.len())
            && layers.iter().all(|layer| is_square(layer.crop) && layer.share >= 0.0)
            && (share - 1.0).abs() < 1e-4;
        if !is_fine {
            let crops: Vec<&Rgb> = layers.iter().map(|layer| layer.crop).collect();
            let expected = format!("one or two square crops, shares of 1 in all, for one frame like {self:?}");
            return Err(Problem::new("composite", expected, format!("{crops:?}, shares of {share}")).shape());
        }
        for colour in layers.iter().filter_map(|layer| layer.colour) {
            colour.expect("composite colours", &[2, 3])?;
            colour.expect_elem("composite colours", Elem::F32)?;
        }
        Ok(())
    }
}

fn inverse(what: &str, map: &Affine) -> Result<Affine> {
    let found = format!("{map:?}");
    map.inverse().ok_or_else(|| Problem::new(what, "a map to a region with an area", found).input())
}

/// The sides of a square from 0 to `side` (1 left, 2 top, 4 right, 8 bottom) that do not lie beyond one edge of the picture of
/// `size` behind `map`.
fn sides_inside(map: &Affine, side: f64, size: [usize; 2]) -> u32 {
    let corners = [[0.0, 0.0], [side, 0.0], [side, side], [0.0, side]].map(|corner| map.at(corner));
    let is_inside = |[from, to]: [usize; 2]| {
        let ends = [corners[from], corners[to]];
        (0..2).all(|axis| {
            let end = size[axis] as f64;
            ends.iter().any(|p| p[axis] > 0.0) && ends.iter().any(|p| p[axis] < end)
        })
    };
    let sides = [[3, 0], [0, 1], [1, 2], [2, 3]].map(is_inside);
    (0..4).map(|i| u32::from(sides[i]) << i).sum()
}

//! Masks drawn from outlines, and their copies at the latents' size.

use super::{Call, FLAT, quad_ranges, row_ranges};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const RASTERISE: Kernel = super::kernel!("rasterise_mask");
pub(super) const DOWNSAMPLE: Kernel = super::kernel!("downsample_mask");

/// Coordinates that the kernel's 32-bit products hold.
const FARTHEST: i32 = 16_384;

/// Pixels `left..=right`, `top..=bottom`; may reach beyond the picture, empty where `left > right`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelBox {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl PixelBox {
    pub const NONE: PixelBox = PixelBox { left: 1, top: 1, right: 0, bottom: 0 };

    fn corners(self) -> [i32; 4] {
        [self.left, self.top, self.right, self.bottom]
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct RasteriseParams {
    count: u32,
    first: u32,
    elements: u32,
    size: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct DownsampleParams {
    count: u32,
    width: u32,
    step: u32,
}

impl Tensor {
    /// For each frame a mask that is 1 in the first box but not in the second: `[frames, size, size, 1]`.
    pub fn mask_of_boxes(gpu: &Gpu, boxes: &[[PixelBox; 2]], size: usize) -> Result<Tensor> {
        let outlines: Vec<i32> = boxes.iter().flatten().flat_map(|b| b.corners()).collect();
        rasterise(gpu, boxes.len(), &outlines, 0, size)
    }

    /// For each frame a mask that is 1 inside a polygon of `N` corners `[x, y]` and on its edges: `[frames, size, size, 1]`.
    pub fn mask_of_polygons<const N: usize>(gpu: &Gpu, polygons: &[[[i32; 2]; N]], size: usize) -> Result<Tensor> {
        let outlines = polygons.as_flattened().as_flattened();
        rasterise(gpu, polygons.len(), outlines, N, size)
    }

    /// Every `step`-th pixel of every `step`-th row, and 0 where `occluder` is not 0: `[frames, size, size, 1]` →
    /// `[frames, size / step, size / step, 1]`; `occluder` has the smaller shape.
    pub fn downsample_mask(&self, step: usize, occluder: Option<&Tensor>) -> Result<Tensor> {
        let [frames, height, width, one] = self.dims("downsample_mask")?;
        if step == 0 || one != 1 || !height.is_multiple_of(step) || !width.is_multiple_of(step) {
            let expected = format!("[frames, height, width, 1] in steps of {step}");
            return Err(Problem::new("downsample_mask", expected, format!("{self:?}")).shape());
        }
        let shape = [frames, height / step, width / step, 1];
        if let Some(occluder) = occluder {
            occluder.expect("occluder", &shape)?;
        }
        let y = Tensor::empty(self.gpu(), &shape, Elem::F32)?;
        let rows = frames * height / step;
        let constants = [FLAT, ("OCCLUDER", u32::from(occluder.is_some()))];
        for range in row_ranges("downsample_mask", rows, &[self, &y])? {
            let (x_part, y_part) = (self.rows(rows, &range)?, y.rows(rows, &range)?);
            let occluder = occluder.map(|occluder| occluder.rows(rows, &range)).transpose()?;
            let mut tensors = vec![&x_part];
            tensors.extend(occluder.as_ref());
            tensors.push(&y_part);
            let params =
                DownsampleParams { count: y_part.len() as u32, width: (width / step) as u32, step: step as u32 };
            Call {
                kernel: &DOWNSAMPLE,
                constants: &constants,
                params,
                tensors: &tensors,
                groups: y_part.len().div_ceil(FLAT.1 as usize),
                flops: 0.0,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }
}

fn rasterise(gpu: &Gpu, frames: usize, outlines: &[i32], vertices: usize, size: usize) -> Result<Tensor> {
    if size > FARTHEST as usize || frames == 0 {
        let expected = format!("a frame or more of at most {FARTHEST} pixels a side");
        return Err(Problem::new("rasterise_mask", expected, format!("{frames} frames of {size}")).shape());
    }
    let outlines: Vec<u32> = outlines.iter().map(|&v| v.clamp(-FARTHEST, FARTHEST) as u32).collect();
    let outlines = Tensor::from_u32(gpu, &[frames, outlines.len() / frames], &outlines)?;
    let y = Tensor::empty(gpu, &[frames, size, size, 1], Elem::F32)?;
    for range in quad_ranges(&[&y])? {
        Call {
            kernel: &RASTERISE,
            constants: &[FLAT, ("VERTICES", vertices as u32)],
            params: RasteriseParams {
                count: range.len() as u32,
                first: range.start as u32,
                elements: y.len() as u32,
                size: size as u32,
            },
            tensors: &[&outlines, &y.quads(&range)?],
            groups: range.len().div_ceil(FLAT.1 as usize),
            flops: ((16 + 64 * vertices) * range.len()) as f64,
            site: None,
        }
        .record()?;
    }
    Ok(y)
}

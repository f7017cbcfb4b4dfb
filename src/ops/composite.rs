//! Putting a generated crop back into its frame.

use super::{Call, FLAT, Region, Rgb, row_ranges};
use crate::gpu::{Elem, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const COMPOSITE: Kernel = super::kernel!("composite_rgb");
pub(super) const FEATHER: Kernel = super::kernel!("feather_mask");

/// The most pixels of a soft rim: a pixel looks at all around it in reach.
pub const MOST_FEATHER: f32 = 4096.0;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CompositeParams {
    count: u32,
    width: u32,
    height: u32,
    left: u32,
    top: u32,
    patch_width: u32,
    patch_height: u32,
    side: u32,
    origin_x: f32,
    origin_y: f32,
    scale_x: f32,
    scale_y: f32,
    fade: u32,
    feather: f32,
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
    /// These frames with `crops` (squares, one per frame, of one region each) blended in by `alpha` `[frames, side, side,
    /// 1]`, such as [`Tensor::feather_mask`] makes it. Towards a side of the region that lies inside the frame the crop
    /// fades out over `feather` of its pixels. Pixels where alpha is 0 and those outside the regions stay bit for bit.
    pub fn composite(&self, crops: &Rgb, regions: &[Region], alpha: &Tensor, feather: f32) -> Result<Rgb> {
        let (frames, side) = (self.frames(), crops.width());
        let is_alike = crops.frames() == frames && crops.depth() == self.depth();
        if !is_alike || regions.len() != frames || crops.height() != side {
            let expected = format!("square crops and regions for {self:?}");
            return Err(Problem::new("composite", expected, format!("{crops:?}, {} regions", regions.len())).shape());
        }
        alpha.expect("composite alpha", &[frames, side, side, 1])?;
        alpha.expect_elem("composite alpha", Elem::F32)?;
        let out = Rgb::empty(self.gpu(), frames, [self.height(), self.width()], self.depth())?;
        for (frame, region) in regions.iter().enumerate() {
            region.check(frame)?;
            let from = self.frame(frame)?;
            let alpha = super::piece(alpha, frame * side * side, &[side * side])?;
            from.composite_one(&crops.frame(frame)?, region, &alpha, feather, &out.frame(frame)?)?;
        }
        Ok(out)
    }

    fn composite_one(&self, crop: &Rgb, region: &Region, alpha: &Tensor, feather: f32, out: &Rgb) -> Result<()> {
        let side = crop.width();
        // The pixels whose centres lie in the region, cut to the frame; there may be none.
        let reach = |start: f64, length: f64, end: usize| {
            let [from, to] = [start, start + length].map(|v| (v - 0.5).ceil().clamp(0.0, end as f64) as usize);
            (from, to)
        };
        let (left, right) = reach(region.left, region.width, self.width());
        let (top, bottom) = reach(region.top, region.height, self.height());
        let scale = [side as f64 / region.width, side as f64 / region.height];
        let origin = [(left as f64 - region.left) * scale[0], (top as f64 - region.top) * scale[1]];
        let empty = left == right || top == bottom;
        // A patch of a pixel stands in where nothing of the region is in the frame; its size is then given as 0.
        let patch_size = if empty { [1, 1] } else { [bottom - top, right - left] };
        let patch = Rgb::empty(self.gpu(), 1, patch_size, self.depth())?;
        crop.sample(origin, scale, &patch)?;

        let inside = [
            region.left > 0.0,
            region.top > 0.0,
            region.left + region.width < self.width() as f64,
            region.top + region.height < self.height() as f64,
        ];
        let fade = (0..4).filter(|&i| inside[i] && feather > 0.0).map(|i| 1u32 << i).sum();
        Call {
            kernel: &COMPOSITE,
            constants: &[FLAT, self.depth().constant()],
            params: CompositeParams {
                count: self.stride() as u32,
                width: self.width() as u32,
                height: self.height() as u32,
                left: left as u32,
                top: top as u32,
                patch_width: if empty { 0 } else { (right - left) as u32 },
                patch_height: if empty { 0 } else { (bottom - top) as u32 },
                side: side as u32,
                origin_x: origin[0] as f32,
                origin_y: origin[1] as f32,
                scale_x: scale[0] as f32,
                scale_y: scale[1] as f32,
                fade,
                feather,
            },
            tensors: &[self.words(), patch.words(), alpha, out.words()],
            groups: self.stride().div_ceil(FLAT.1 as usize),
            flops: 40.0 * self.stride() as f64,
            site: None,
        }
        .record()
    }
}

use super::{Call, FLAT, row_ranges};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const KERNEL: Kernel = super::kernel!("landmark_windows");

/// Landmarks that make up a part of a face, as a network names them by number.
#[derive(Debug, Clone, Copy)]
pub struct LandmarkPart<'a> {
    /// Outermost left and right: the window is level with them.
    pub corners: [u32; 2],
    pub landmarks: &'a [u32],
}

/// The parts of a face on the device.
pub struct LandmarkParts {
    /// u32 `[parts, 3 + most landmarks]`: corners, number of landmarks, then which.
    table: Tensor,
    /// The highest number of a landmark.
    highest: u32,
}

/// A window in a feature map.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Its pixels in a row.
    pub side: usize,
    /// Its size over that of the landmarks' box.
    pub growth: f32,
    /// Pixels of the feature map to one of the landmarks'.
    pub unit: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    images: u32,
    stride: u32,
    part_stride: u32,
    side: f32,
    growth: f32,
    unit: f32,
}

impl LandmarkParts {
    pub fn new(gpu: &Gpu, parts: &[LandmarkPart<'_>]) -> Result<Self> {
        let most = parts.iter().map(|part| part.landmarks.len()).max().unwrap_or(0);
        let mut table = Vec::with_capacity(parts.len() * (3 + most));
        for (index, part) in parts.iter().enumerate() {
            table.extend(part.corners);
            table.push(part.landmarks.len() as u32);
            table.extend(part.landmarks);
            table.resize((index + 1) * (3 + most), 0);
        }
        let named = parts.iter().flat_map(|part| part.landmarks.iter().chain(&part.corners));
        let highest = named.max().copied().unwrap_or(0);
        Ok(Self { table: Tensor::from_u32(gpu, &[parts.len(), 3 + most], &table)?, highest })
    }
}

impl Tensor {
    /// For landmarks `self` `[images, values]` in f32, x, y and z of one after the other, the maps from a window around each of
    /// `parts` to the feature map that it is cut from, as [`Tensor::sample_affine`] takes them: `[parts * images, 8]`.
    ///
    /// Errors: fewer landmarks than the parts name.
    pub fn landmark_windows(&self, parts: &LandmarkParts, window: Window) -> Result<Tensor> {
        let [images, stride] = self.dims("landmark_windows")?;
        self.expect_elem("landmark_windows", Elem::F32)?;
        let [count, part_stride] = parts.table.dims("parts of landmark_windows")?;
        if stride < 3 * (parts.highest as usize + 1) {
            let expected = format!("{} landmarks or more", parts.highest + 1);
            return Err(Problem::new("landmark_windows", expected, format!("{self:?}")).shape());
        }
        let ranges = row_ranges("landmark_windows", images, &[self])?;
        if ranges.len() > 1 {
            // Each range's maps lie part after part, and so shall those of all.
            let maps =
                |range| self.rows(images, range)?.landmark_windows(parts, window)?.reshape(&[count, range.len(), 8]);
            let pieces = ranges.iter().map(maps).collect::<Result<Vec<_>>>()?;
            let of_part =
                |part| pieces.iter().map(move |maps| maps.narrow_rows(part, 1)?.reshape(&[maps.shape()[1], 8]));
            let rows = (0..count).flat_map(of_part).collect::<Result<Vec<_>>>()?;
            return Tensor::stack_rows(&rows.iter().collect::<Vec<_>>());
        }
        let y = Tensor::empty(self.gpu(), &[count * images, 8], Elem::F32)?;
        Call {
            kernel: &KERNEL,
            constants: &[FLAT],
            params: Params {
                count: (count * images) as u32,
                images: images as u32,
                stride: stride as u32,
                part_stride: part_stride as u32,
                side: window.side as f32,
                growth: window.growth,
                unit: window.unit,
            },
            tensors: &[self, &parts.table, &y],
            groups: (count * images).div_ceil(FLAT.1 as usize),
            flops: (8 * part_stride * count * images) as f64,
            site: None,
        }
        .record()?;
        Ok(y)
    }
}

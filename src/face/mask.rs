//! The part of a face crop that is generated: 1 there, 0 where the source stays. Source: KeySync sec. 3.3 and its
//! `masking` code; golden 07.

use super::landmarks::{Face, POINTS};
use crate::gpu::Gpu;
use crate::ops::PixelBox;
use crate::tensor::Tensor;
use crate::{Error, Problem, Result};

/// Landmark on the nose bridge where the published masks begin.
pub const NOSE_INDEX: usize = 28;

/// Pixels of a mask per latent, along each axis.
pub const LATENT_STEP: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaskKind {
    /// From the nose to the picture's bottom, as wide as the landmarks; published.
    #[default]
    Box,
    /// From the nose to the bottom, the picture's whole width.
    Full,
    /// As the box, but from one landmark further down and without the nose itself.
    Heart,
    /// From the nose to a little below the chin.
    Mouth,
    /// The jaw from ear to ear, pushed outward.
    Face,
}

impl MaskKind {
    pub const ALL: [(&'static str, MaskKind); 5] = [
        ("box", MaskKind::Box),
        ("full", MaskKind::Full),
        ("heart", MaskKind::Heart),
        ("mouth", MaskKind::Mouth),
        ("face", MaskKind::Face),
    ];
}

impl std::str::FromStr for MaskKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = MaskKind::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, kind)| *kind).ok_or_else(|| {
            Problem::new("mask", MaskKind::ALL.map(|(name, _)| name).join(", "), format!("'{text}'")).usage()
        })
    }
}

/// How masks are drawn: what they cover, and the landmark that they begin at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskRule {
    pub kind: MaskKind,
    /// Heart begins at landmark 29 and face knows no nose, whatever this is.
    pub nose_index: usize,
}

impl Default for MaskRule {
    fn default() -> Self {
        Self { kind: MaskKind::Box, nose_index: NOSE_INDEX }
    }
}

impl MaskRule {
    /// The masks of `faces` in crops of `side` pixels, `[frames, side, side, 1]`. Landmarks are in the crop's pixels.
    pub fn draw(&self, gpu: &Gpu, faces: &[Face], side: usize) -> Result<Tensor> {
        if self.nose_index >= POINTS {
            return Err(Problem::new("nose index", format!("0 to {}", POINTS - 1), self.nose_index.to_string()).usage());
        }
        if side == 0 {
            return Err(Problem::new("mask", "a side of a pixel or more", "0").shape());
        }
        match self.kind {
            MaskKind::Face => {
                let polygons: Vec<_> = faces.iter().map(|face| jaw(face, side)).collect();
                Tensor::mask_of_polygons(gpu, &polygons, side)
            }
            _ => {
                let boxes: Vec<_> = faces.iter().map(|face| self.boxes(face, side)).collect();
                Tensor::mask_of_boxes(gpu, &boxes, side)
            }
        }
    }

    /// What is filled and the hole in it. Casts to i32 cut toward zero, as upstream's int() does.
    fn boxes(&self, face: &Face, side: usize) -> [PixelBox; 2] {
        let last = side as i32 - 1;
        let nose = face[self.nose_index][1];
        let x = |i: usize| face[i][0];
        let xs = face.iter().map(|p| p[0]);
        let chin = face.iter().map(|p| p[1]).fold(f32::MIN, f32::max);
        let (left, right) = (xs.clone().fold(f32::MAX, f32::min) as i32, xs.fold(f32::MIN, f32::max) as i32);
        let margin = (0.01 * side as f64) as i32 as f32;
        match self.kind {
            MaskKind::Full => {
                let top = nose.clamp(0.0, last as f32).ceil() as i32;
                [PixelBox { left: 0, top, right: last, bottom: last }, PixelBox::NONE]
            }
            MaskKind::Mouth => {
                let bottom = (chin + margin).min(side as f32) as i32;
                [PixelBox { left, top: (nose - margin) as i32, right, bottom }, PixelBox::NONE]
            }
            MaskKind::Heart => {
                let (bridge, nostrils) = (face[29][1] as i32, face[33][1] as i32);
                let aside = 0.1 * (x(2) - x(29)).abs();
                let (from, to) = ((x(31) - aside) as i32, (x(35) + aside) as i32);
                let nose = PixelBox {
                    left: from.min(to),
                    top: bridge.min(nostrils),
                    right: from.max(to),
                    bottom: bridge.max(nostrils),
                };
                [PixelBox { left, top: bridge, right, bottom: last }, nose]
            }
            MaskKind::Box | MaskKind::Face => {
                [PixelBox { left, top: nose as i32, right, bottom: last }, PixelBox::NONE]
            }
        }
    }
}

const JAW: std::ops::Range<usize> = 2..15;

/// The jaw's landmarks in whole pixels, each pushed away from their centroid by a twentieth of the side (25 at 512), whole
/// pixels again.
fn jaw(face: &Face, side: usize) -> [[i32; 2]; JAW.end - JAW.start] {
    let push = f64::from((0.05 * side as f64) as i32);
    let mut points = [[0.0; 2]; JAW.end - JAW.start];
    for (point, landmark) in points.iter_mut().zip(&face[JAW]) {
        *point = landmark.map(|v| f64::from(v).trunc());
    }
    let mean = [0, 1].map(|axis| points.iter().map(|p| p[axis]).sum::<f64>() / points.len() as f64);
    points.map(|p| {
        let away = [p[0] - mean[0], p[1] - mean[1]];
        let length = away[0].hypot(away[1]).max(f64::MIN_POSITIVE);
        [0, 1].map(|axis| (p[axis] + away[axis] / length * push) as i32)
    })
}

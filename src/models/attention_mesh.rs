//! Attention Mesh: 478 points of a face in an upright picture of it, and whether there is a face at all.
//! Source: Grishchenko et al. 2020, "Attention Mesh"; MediaPipe's face_landmark_with_attention.
//!
//! A trunk gives a coarse mesh of 468 points. Around its lips and eyes windows are cut out of an early feature map, and a head for
//! each part finds its points again, those of an eye and of its iris from one stem. What belongs beside each other is batched: the
//! stems of the three parts, then the five heads.
//!
//! Traps: heads' points are in their windows' pixels and go back through the map that cut the window; "left" is as seen in the
//! picture; depth is the coarse mesh's.

use super::numbered;
use crate::nn::{Loader, Slope, SmallConv, SmallForm, SmallNames};
use crate::ops::{LandmarkPart, LandmarkParts, Padding, Shortcut, Window};
use crate::tensor::Tensor;
use crate::{Problem, Result};

/// Side of the input in pixels.
pub const SIDE: usize = 192;
/// Points of the coarse mesh.
pub const COARSE_POINTS: usize = 468;
/// Points with those of the irises.
pub const POINTS: usize = COARSE_POINTS + 2 * IRIS_POINTS;
const IRIS_POINTS: usize = 5;

#[rustfmt::skip]
const LIPS: [u32; 80] = [
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88, 178, 87,
    14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415, 76, 77, 90, 180, 85, 16, 315, 404, 320, 307,
    306, 184, 74, 73, 72, 11, 302, 303, 304, 408, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38,
    12, 268, 271, 272, 407,
];
#[rustfmt::skip]
const LEFT_EYE: [u32; 71] = [
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26, 112,
    243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189,
    35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
];
#[rustfmt::skip]
const RIGHT_EYE: [u32; 71] = [
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253, 252, 256,
    341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442,
    441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293, 334, 296, 336,
    285, 417,
];

/// Blocks of the trunk with a stride of 2; behind the first of them lies the feature map that the parts are cut from.
const STRIDED: [usize; 5] = [2, 5, 8, 11, 14];
const TRUNK_BLOCKS: usize = 17;
/// Strides of a part's stem and of a head.
const STEM_STRIDES: [usize; 6] = [1, 1, 2, 1, 1, 2];
const HEAD_STRIDES: [usize; 5] = [1, 1, 2, 1, 1];
/// A part's window, and its size over that of the part's box.
const WINDOW: usize = 16;
const GROWTH: f32 = 1.5;

/// Numbers in the names of a run of blocks: of its first depthwise convolution and of its first other one, which its PReLU shares.
#[derive(Clone, Copy)]
struct Numbers {
    depthwise: usize,
    conv: usize,
}

const STEMS: [Numbers; 3] =
    [Numbers { depthwise: 18, conv: 20 }, Numbers { depthwise: 30, conv: 33 }, Numbers { depthwise: 48, conv: 53 }];

/// A head: what it finds, which part's stem it stands on, and the numbers of its names.
struct HeadNames {
    conv: &'static str,
    part: usize,
    numbers: Numbers,
}

const HEADS: [HeadNames; 5] = [
    HeadNames { conv: "conv_lips", part: 0, numbers: Numbers { depthwise: 24, conv: 26 } },
    HeadNames { conv: "conv_left_eye", part: 1, numbers: Numbers { depthwise: 36, conv: 39 } },
    HeadNames { conv: "conv_left_iris", part: 1, numbers: Numbers { depthwise: 42, conv: 46 } },
    HeadNames { conv: "conv_right_eye", part: 2, numbers: Numbers { depthwise: 54, conv: 59 } },
    HeadNames { conv: "conv_right_iris", part: 2, numbers: Numbers { depthwise: 60, conv: 66 } },
];

pub struct AttentionMesh {
    stem: SmallConv,
    /// To the feature map that the parts are cut from, then on.
    early: Vec<SmallConv>,
    late: Vec<SmallConv>,
    mesh: SmallConv,
    parts: LandmarkParts,
    /// Pixels of the feature map to one of the input.
    unit: f32,
    /// `[4, 4]` for each part, which the window's matrix is multiplied with element by element to bring points back.
    back: [Vec<f32>; 3],
    part_stem: Vec<SmallConv>,
    heads: Vec<SmallConv>,
}

/// What the network says about one picture, in pixels of its input.
pub struct RawMesh {
    pub mesh: Vec<[f32; 3]>,
    pub lips: Vec<[f32; 2]>,
    pub left_eye: Vec<[f32; 2]>,
    pub left_iris: Vec<[f32; 2]>,
    pub right_eye: Vec<[f32; 2]>,
    pub right_iris: Vec<[f32; 2]>,
    /// Logit of there being a face.
    pub flag: f32,
}

impl AttentionMesh {
    pub fn load(l: &Loader) -> Result<Self> {
        let direct = |sets: Vec<(Vec<String>, Slope)>, channels, stride, padding| {
            let names = |(convs, slope)| SmallNames { depthwise: None, convs, slope };
            let sets: Vec<_> = sets.into_iter().map(names).collect();
            SmallConv::load(l, &sets, SmallForm { channels, stride, padding, shortcut: Shortcut::None })
        };
        let conv = |index: usize| (vec![numbered("conv2d", index)], Slope::Prelu(numbered("p_re_lu", index)));

        let stem = direct(vec![conv(0)], 3, 2, Padding::Same)?;
        let mut channels = stem.columns();
        let (mut early, mut late) = (Vec::new(), Vec::new());
        let mut map_channels = 0;
        for index in 0..TRUNK_BLOCKS {
            let stride = if STRIDED.contains(&index) { 2 } else { 1 };
            let block = block(l, &[Numbers { depthwise: index, conv: index + 1 }], channels, stride)?;
            channels = block.columns();
            if index <= STRIDED[0] {
                map_channels = channels;
                early.push(block);
            } else {
                late.push(block);
            }
        }
        late.push(direct(vec![conv(TRUNK_BLOCKS + 1)], channels, 1, Padding::Valid)?);
        channels = late.last().map_or(0, SmallConv::columns);
        late.push(block(l, &[Numbers { depthwise: TRUNK_BLOCKS, conv: TRUNK_BLOCKS + 2 }], channels, 1)?);
        // Side by side, since both see all of the last map.
        let outputs = vec!["output_mesh".to_owned(), "conv_faceflag".to_owned()];
        let mesh = direct(vec![(outputs, Slope::None)], channels, 1, Padding::Valid)?;

        channels = map_channels;
        let mut part_stem = Vec::new();
        for (index, stride) in STEM_STRIDES.into_iter().enumerate() {
            part_stem.push(block(l, &STEMS.map(|first| first.after(index)), channels, stride)?);
            channels = part_stem.last().map_or(0, SmallConv::columns);
        }
        let mut heads = Vec::new();
        for (index, stride) in HEAD_STRIDES.into_iter().enumerate() {
            heads.push(block(l, &HEADS.map(|head| head.numbers.after(index)), channels, stride)?);
        }
        let narrowing = HEADS.iter().map(|head| conv(head.numbers.conv + HEAD_STRIDES.len())).collect();
        heads.push(direct(narrowing, channels, 1, Padding::Valid)?);
        channels = heads.last().map_or(0, SmallConv::columns);
        let last = |head: HeadNames| Numbers {
            depthwise: head.numbers.depthwise + HEAD_STRIDES.len(),
            conv: head.numbers.conv + HEAD_STRIDES.len() + 1,
        };
        heads.push(block(l, &HEADS.map(last), channels, 1)?);
        let points = HEADS.iter().map(|head| (vec![head.conv.to_owned()], Slope::None)).collect();
        heads.push(direct(points, channels, 2, Padding::Valid)?);

        let constant = |index: usize| numbered("multiply_by_constant", index) + "/Constant";
        let matrix = |part: usize| l.weights().get(&constant(2 * part + 1), &[1, 4, 4])?.to_f32();
        let unit = l.scalar(&constant(0))?;
        for part in [1, 2] {
            if l.scalar(&constant(2 * part))? != unit {
                let found = "another one for another part";
                return Err(Problem::new(constant(2 * part), "one unit for all parts", found).weights());
            }
        }
        let part = |corners, landmarks| LandmarkPart { corners, landmarks };
        let parts = [part([61, 291], &LIPS[..]), part([33, 133], &LEFT_EYE), part([362, 263], &RIGHT_EYE)];
        let parts = LandmarkParts::new(l.gpu(), &parts)?;
        let back = [matrix(0)?, matrix(1)?, matrix(2)?];
        Ok(Self { stem, early, late, mesh, parts, unit, back, part_stem, heads })
    }

    /// `x` `[images, 192, 192, 3]`, 0 black and 1 white → what there is in each. Waits for the device, once.
    pub fn forward(&self, x: &Tensor) -> Result<Vec<RawMesh>> {
        let [images, ..] = x.dims::<4>("attention mesh input")?;
        x.expect("attention mesh input", &[images, SIDE, SIDE, 3])?;
        let mut map = self.stem.forward(x)?;
        for block in &self.early {
            map = block.forward(&map)?;
        }
        let mut h = map.clone();
        for block in &self.late {
            h = block.forward(&h)?;
        }
        let mesh = self.mesh.forward(&h)?;
        let mesh = mesh.reshape(&[images, mesh.last_dim()])?;

        let windows = mesh.landmark_windows(&self.parts, Window { side: WINDOW, growth: GROWTH, unit: self.unit })?;
        let mut h = map.sample_affine(&windows, [WINDOW; 2])?;
        for block in &self.part_stem {
            h = block.forward(&h)?;
        }

        let stems = HEADS.iter().map(|head| h.narrow_rows(head.part * images, images)).collect::<Result<Vec<_>>>()?;
        let mut h = Tensor::stack_rows(&stems.iter().collect::<Vec<_>>())?;
        for block in &self.heads {
            h = block.forward(&h)?;
        }

        let flat = |t: &Tensor| t.reshape(&[t.len()]);
        let values = Tensor::stack_rows(&[&flat(&mesh)?, &flat(&h)?, &flat(&windows)?])?.to_f32()?;
        let (mesh_values, rest) = values.split_at(mesh.len());
        let (head_values, windows) = rest.split_at(h.len());
        (0..images)
            .map(|image| {
                let row = &mesh_values[image * mesh.last_dim()..][..mesh.last_dim()];
                let points = |head: usize, count: usize| {
                    let part = HEADS[head].part;
                    let values = &head_values[(head * images + image) * h.last_dim()..][..2 * count];
                    let window = &windows[(part * images + image) * 8..][..8];
                    values.as_chunks().0.iter().map(|&point| self.bring_back(part, window, point)).collect()
                };
                Ok(RawMesh {
                    mesh: row[..3 * COARSE_POINTS].as_chunks().0.to_vec(),
                    lips: points(0, LIPS.len()),
                    left_eye: points(1, LEFT_EYE.len()),
                    left_iris: points(2, IRIS_POINTS),
                    right_eye: points(3, RIGHT_EYE.len()),
                    right_iris: points(4, IRIS_POINTS),
                    flag: row[3 * COARSE_POINTS],
                })
            })
            .collect()
    }

    /// A point of a head in pixels of the input.
    fn bring_back(&self, part: usize, window: &[f32], [x, y]: [f32; 2]) -> [f32; 2] {
        let back = &self.back[part];
        let row = |w: [f32; 3], b: &[f32]| x * w[0] * b[0] + y * w[1] * b[1] + w[2] * b[3];
        [row([window[0], window[1], window[2]], &back[..4]), row([window[3], window[4], window[5]], &back[4..8])]
    }
}

impl Numbers {
    fn after(self, blocks: usize) -> Self {
        Self { depthwise: self.depthwise + blocks, conv: self.conv + blocks }
    }
}

impl RawMesh {
    /// All 478 points `[x, y]`: the coarse mesh with what the heads found in its place, then the left and the right iris.
    pub fn points(&self) -> Vec<[f32; 2]> {
        let mut points: Vec<[f32; 2]> = self.mesh.iter().map(|&[x, y, _]| [x, y]).collect();
        for (indices, refined) in
            [(&LIPS[..], &self.lips), (&LEFT_EYE[..], &self.left_eye), (&RIGHT_EYE[..], &self.right_eye)]
        {
            for (&index, &point) in indices.iter().zip(refined) {
                points[index as usize] = point;
            }
        }
        points.extend(self.left_iris.iter().chain(&self.right_iris));
        points
    }
}

/// A block of each of `sets`, side by side.
fn block(l: &Loader, sets: &[Numbers], channels: usize, stride: usize) -> Result<SmallConv> {
    let names = |numbers: &Numbers| SmallNames {
        depthwise: Some(numbered("depthwise_conv2d", numbers.depthwise)),
        convs: vec![numbered("conv2d", numbers.conv)],
        slope: Slope::Prelu(numbered("p_re_lu", numbers.conv)),
    };
    let sets: Vec<_> = sets.iter().map(names).collect();
    SmallConv::load(l, &sets, SmallForm { channels, stride, padding: Padding::Same, shortcut: Shortcut::Input })
}

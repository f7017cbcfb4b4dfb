//! Golden cases masks and resize_u8: whole pixels, of any sizes.

use super::checker::{Checker, channels_first, channels_last};
use super::golden::{Array, Comparison, Worst, compare};
use crate::face::landmarks::{Face, Landmarks, POINTS};
use crate::face::mask::{MaskKind, MaskRule};
use crate::ops::{Filter, Rgb};
use crate::tensor::Tensor;
use crate::{Problem, Result};

/// The share of its pixels in which a polygon may differ, all of them along its edge.
const POLYGON_SHARE: f64 = 0.005;
/// Of a float made of a whole level.
const LEVEL_BAR: f64 = 1e-6;
const LAST_CASE: &str = "output.process_image.last_case_cthw_f32";

pub fn check_masks(checker: &mut Checker<'_>) -> Result<()> {
    let faces = faces(&checker.golden.input("landmarks")?)?;
    let nose_index = checker.setting("nose_index")?;
    for (name, kind) in MaskKind::ALL {
        let rule = MaskRule { kind, nose_index };
        for (output, side) in sized(checker, &format!("{name}.mask"), "_packbits") {
            let got = rule.draw(checker.gpu, &faces, side)?.to_f32()?;
            let packed = checker.golden.tensor(&output)?;
            let bits = packed.to_u8()?.iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1));
            let want: Vec<f32> = bits.map(f32::from).collect();
            // Of some masks the first frames are stored only.
            let some = Some(want.len()).filter(|&wanted| wanted > 0);
            let got = some.and_then(|wanted| got.get(..wanted)).ok_or_else(|| wrong_size(&output, &packed))?;
            match kind {
                MaskKind::Face => {
                    share(checker, &output, got, &want, side);
                    edges(checker, &output, got, &want, side);
                }
                _ => exact(checker, &output, got, &want),
            }
        }
    }
    let Some((_, side)) = sized(checker, "box.mask", "_packbits").pop() else {
        let path = checker.golden.path.display().to_string();
        return Err(Problem::new(path, "a tensor output.box.maskSIDE_packbits", "none").input());
    };
    for (name, kind) in MaskKind::ALL {
        for (output, small) in sized(checker, &format!("{name}.mask"), "") {
            let mask = MaskRule { kind, nose_index }.draw(checker.gpu, &faces, side)?;
            let got = mask.downsample_mask(side / small.max(1), None)?.to_f32()?;
            let want = checker.golden.tensor(&output)?.to_f32();
            // A pixel of the polygon's edge may be one of those that are picked.
            match kind {
                MaskKind::Face => share(checker, &output, &got, &want, small),
                _ => exact(checker, &output, &got, &want),
            }
        }
    }
    for (output, small) in sized(checker, "box_minus_arms.mask", "") {
        let arms = checker.golden.input("mask_arms")?;
        let arms = Tensor::from_f32(checker.gpu, &[faces.len(), small, small, 1], &arms.to_f32())?;
        let mask = MaskRule { kind: MaskKind::Box, nose_index }.draw(checker.gpu, &faces, side)?;
        let got = mask.downsample_mask(side / small.max(1), Some(&arms))?.to_f32()?;
        exact(checker, &output, &got, &checker.golden.tensor(&output)?.to_f32());
    }
    check_scaling(checker)
}

/// `input.scale.landmarks_AxB` to `output.scale.landmarks_SIDE`; the config says which of A and B is the width.
fn check_scaling(checker: &mut Checker<'_>) -> Result<()> {
    let inputs = checker.golden.names_under("input.scale.landmarks_");
    for (output, side) in sized(checker, "scale.landmarks_", "") {
        for size in &inputs {
            let sides: Vec<u32> = size.split('x').filter_map(|side| side.parse().ok()).collect();
            let [width, height] = sides[..] else {
                return Err(Problem::new(format!("scale.landmarks_{size}"), "WIDTHxHEIGHT", size.clone()).input());
            };
            let from = faces(&checker.golden.input(&format!("scale.landmarks_{size}"))?)?;
            let scaled = Landmarks::new(size, from, None)?.scaled([width, height], [side as u32; 2]);
            let got: Vec<f32> = scaled.faces().iter().flatten().flat_map(|face| face.as_flattened().to_vec()).collect();
            exact(checker, &output, &got, &checker.golden.tensor(&output)?.to_f32());
        }
    }
    Ok(())
}

/// Outputs called `PREFIX`, a whole number above 0, `SUFFIX`: full names and numbers.
fn sized(checker: &Checker<'_>, prefix: &str, suffix: &str) -> Vec<(String, usize)> {
    let names = checker.golden.names_under(&format!("output.{prefix}"));
    let number = |rest: &String| rest.strip_suffix(suffix)?.parse().ok().filter(|&number: &usize| number > 0);
    let sized = names.iter().filter_map(|rest| Some((format!("output.{prefix}{rest}"), number(rest)?)));
    sized.collect()
}

fn faces(landmarks: &Array) -> Result<Vec<Face>> {
    let [_, POINTS, 2] = landmarks.shape[..] else {
        return Err(
            Problem::new("landmarks", format!("[frames, {POINTS}, 2]"), format!("{:?}", landmarks.shape)).input()
        );
    };
    let values = landmarks.to_f32();
    let points = values.as_chunks::<2>().0;
    Ok(points.as_chunks::<POINTS>().0.to_vec())
}

fn wrong_size(name: &str, found: &Array) -> crate::Error {
    Problem::new(name, "masks of the landmarks' frames", format!("{:?}", found.shape)).input()
}

/// A row of how many values differ, where none may.
fn exact(checker: &mut Checker<'_>, name: &str, got: &[f32], want: &[f32]) {
    let missing = want.len().abs_diff(got.len());
    let wrong: Vec<usize> = (0..got.len().min(want.len())).filter(|&i| got[i] != want[i]).collect();
    let worst = wrong.first().map_or(NONE, |&i| worst(i, got[i], want[i]));
    let differing = (wrong.len() + missing) as f64;
    checker.push_exact(&format!("{name} (values off)"), Comparison { relative_l2: differing, cosine: None, worst });
}

const NONE: Worst = Worst { index: 0, got: 0.0, want: 0.0 };

fn worst(index: usize, got: f32, want: f32) -> Worst {
    Worst { index, got: f64::from(got), want: f64::from(want) }
}

/// A row of the largest share of a mask's pixels that differ, over pictures of `side` pixels.
fn share(checker: &mut Checker<'_>, name: &str, got: &[f32], want: &[f32], side: usize) {
    let mut largest = (0.0, NONE);
    let pictures = got.chunks_exact(side * side).zip(want.chunks_exact(side * side));
    for (picture, (got, want)) in pictures.enumerate() {
        let wrong: Vec<usize> = (0..got.len()).filter(|&i| got[i] != want[i]).collect();
        let inside = want.iter().sum::<f32>().max(1.0);
        let share = wrong.len() as f64 / f64::from(inside);
        if let (Some(&i), true) = (wrong.first(), share > largest.0) {
            largest = (share, worst(picture * side * side + i, got[i], want[i]));
        }
    }
    let (relative_l2, worst) = largest;
    let name = format!("{name} (share of pixels off)");
    checker.push(&name, Comparison { relative_l2, cosine: None, worst }, Some(POLYGON_SHARE));
}

/// A row of how many wrong pixels do not touch one of the other kind, where none may.
fn edges(checker: &mut Checker<'_>, name: &str, got: &[f32], want: &[f32], side: usize) {
    let mut apart = Vec::new();
    let pictures = got.chunks_exact(side * side).zip(want.chunks_exact(side * side));
    for (picture, (got, want)) in pictures.enumerate() {
        for i in (0..got.len()).filter(|&i| got[i] != want[i]) {
            let near = |at: usize| at.saturating_sub(1)..(at + 2).min(side);
            let touches = near(i / side).any(|row| near(i % side).any(|column| want[row * side + column] != want[i]));
            if !touches {
                apart.push(worst(picture * side * side + i, got[i], want[i]));
            }
        }
    }
    let worst = apart.first().copied().unwrap_or(NONE);
    let comparison = Comparison { relative_l2: apart.len() as f64, cosine: None, worst };
    checker.push_exact(&format!("{name} (pixels off and not at the edge)"), comparison);
}

pub fn check_resize(checker: &mut Checker<'_>) -> Result<()> {
    let cases = checker.golden.names_under("input.");
    for case in cases.iter().filter_map(|name| name.strip_suffix(".thwc_u8")) {
        let input = checker.golden.input(&format!("{case}.thwc_u8"))?;
        let name = format!("output.{case}.tchw_u8");
        let output = checker.golden.tensor(&name)?;
        let ([_, from_height, from_width, 3], [frames, 3, height, width]) = (&input.shape[..], &output.shape[..])
        else {
            let found = format!("{:?} to {:?}", input.shape, output.shape);
            return Err(Problem::new(name, "[frames, height, width, 3] to [frames, 3, height, width]", found).input());
        };
        let from = Rgb::upload(checker.gpu, *from_height, *from_width, input.to_u8()?)?;
        let resized = from.resize(*height, *width, Filter::Bilinear)?;
        let got: Vec<f32> = resized.to_bytes()?.into_iter().map(f32::from).collect();
        exact(checker, &name, &got, &channels_last(&output.shape, &output.to_f32())?.1);

        // Of the last case the file has the tensor too, [channels, frames, height, width]; which that is its levels tell.
        if checker.golden.has(LAST_CASE) {
            let levels = checker.golden.tensor(LAST_CASE)?;
            let want = frames_first(&levels.to_f32(), 3, *frames);
            let rounded: Vec<f32> = want.iter().map(|value| ((value + 1.0) * 127.5).round()).collect();
            if rounded == output.to_f32() {
                let got = resized.to_tensor()?.to_f32()?;
                let got = channels_first([*frames, *height, *width, 3], &got);
                checker.push(LAST_CASE, compare(LAST_CASE, &got, &want)?, Some(LEVEL_BAR));
            }
        }
    }
    Ok(())
}

/// `[channels, frames, pixels]` → `[frames, channels, pixels]`.
fn frames_first(values: &[f32], channels: usize, frames: usize) -> Vec<f32> {
    let pixels = values.len() / (channels * frames).max(1);
    let row = |frame: usize, channel: usize| &values[(channel * frames + frame) * pixels..][..pixels];
    (0..frames).flat_map(|frame| (0..channels).flat_map(move |channel| row(frame, channel).iter().copied())).collect()
}

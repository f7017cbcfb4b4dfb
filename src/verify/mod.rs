//! Golden files: reading them, the weights that they ask for, running the case that each holds and comparing.

mod blocks;
mod checker;
mod faces;
pub mod golden;
mod keyface_audio;
mod pixels;
mod plans;
mod sampling;
mod speech;
mod unet;
mod vae;

pub use checker::{Checker, Row, Stored};

use crate::gpu::Gpu;
use crate::{Problem, Result};
use golden::Golden;
use std::path::Path;

/// What a golden file can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    UnetKeyframe,
    UnetInterpolation,
    Blocks,
    SamplingKeyframes,
    SamplingInterpolation,
    VaeHub,
    VaeSgm,
    Hubert,
    WavLm,
    PipelineIndices,
    Masks,
    ResizeU8,
    KeyfaceUnetKeyframe,
    KeyfaceUnetInterpolation,
    KeyfaceSamplingKeyframes,
    KeyfaceSamplingInterpolation,
    KeyfaceIndices,
    Wav2Vec2,
    Beats,
    Sinusoidal,
    KeyfaceAudio,
    BlazeFace,
    AttentionMesh,
    FacePoints,
}

impl Case {
    const ALL: [(&'static str, Case); 24] = [
        ("unet_keyframe", Case::UnetKeyframe),
        ("unet_interpolation", Case::UnetInterpolation),
        ("blocks", Case::Blocks),
        ("sampling_keyframes", Case::SamplingKeyframes),
        ("sampling_interpolation", Case::SamplingInterpolation),
        ("vae_hub", Case::VaeHub),
        ("vae_sgm", Case::VaeSgm),
        ("hubert", Case::Hubert),
        ("wavlm", Case::WavLm),
        ("pipeline_indices", Case::PipelineIndices),
        ("masks", Case::Masks),
        ("resize_u8", Case::ResizeU8),
        ("keyface_unet_keyframe", Case::KeyfaceUnetKeyframe),
        ("keyface_unet_interpolation", Case::KeyfaceUnetInterpolation),
        ("keyface_sampling_keyframes", Case::KeyfaceSamplingKeyframes),
        ("keyface_sampling_interpolation", Case::KeyfaceSamplingInterpolation),
        ("keyface_indices", Case::KeyfaceIndices),
        ("wav2vec2", Case::Wav2Vec2),
        ("beats", Case::Beats),
        ("sinusoidal", Case::Sinusoidal),
        ("keyface_audio", Case::KeyfaceAudio),
        ("blazeface", Case::BlazeFace),
        ("attention_mesh", Case::AttentionMesh),
        ("face_points", Case::FacePoints),
    ];

    /// The case of this name; None for one that this version does not know.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, case)| *case)
    }
}

/// Runs the case in the golden file at `path`, activations and weights stored as `stored` says; `row` sees each comparison.
/// Errors: an unreadable file or an unknown case; rows past their bars are no error here but say so themselves.
pub fn verify(gpu: &Gpu, path: &Path, stored: Stored, row: &mut dyn FnMut(&Row)) -> Result<Vec<Row>> {
    let golden = Golden::open(path)?;
    let case = case_of(&golden)?;
    if let Some(rows) = check_on_host(&golden, case)? {
        rows.iter().for_each(row);
        return Ok(rows);
    }
    let mut checker = Checker::new(gpu, &golden, stored, row);
    match case {
        Case::UnetKeyframe | Case::UnetInterpolation | Case::KeyfaceUnetKeyframe | Case::KeyfaceUnetInterpolation => {
            unet::check(&mut checker)?
        }
        Case::Blocks => blocks::check(&mut checker)?,
        Case::SamplingKeyframes => sampling::check_keyframes(&mut checker)?,
        Case::SamplingInterpolation => sampling::check_interpolation(&mut checker)?,
        Case::KeyfaceSamplingKeyframes => sampling::check_keyface_keyframes(&mut checker)?,
        Case::KeyfaceSamplingInterpolation => sampling::check_keyface_interpolation(&mut checker)?,
        Case::VaeHub | Case::VaeSgm => vae::check(&mut checker)?,
        Case::Hubert => speech::check_hubert(&mut checker)?,
        Case::WavLm => speech::check_wavlm(&mut checker)?,
        Case::Masks => pixels::check_masks(&mut checker)?,
        Case::ResizeU8 => pixels::check_resize(&mut checker)?,
        Case::PipelineIndices | Case::KeyfaceIndices => {}
        Case::Wav2Vec2 => speech::check_wav2vec2(&mut checker)?,
        Case::Beats => speech::check_beats(&mut checker)?,
        Case::Sinusoidal => blocks::check_sinusoidal(&mut checker)?,
        Case::KeyfaceAudio => keyface_audio::check(&mut checker)?,
        Case::BlazeFace => faces::check_blazeface(&mut checker)?,
        Case::AttentionMesh => faces::check_attention_mesh(&mut checker)?,
        Case::FacePoints => faces::check_face_points(&mut checker)?,
    }
    Ok(checker.into_rows())
}

/// The same for cases that need no device; None for others.
pub fn verify_on_host(path: &Path) -> Result<Option<Vec<Row>>> {
    let golden = Golden::open(path)?;
    check_on_host(&golden, case_of(&golden)?)
}

fn check_on_host(golden: &Golden, case: Case) -> Result<Option<Vec<Row>>> {
    match case {
        Case::PipelineIndices => plans::check_pipeline_indices(golden).map(Some),
        Case::KeyfaceIndices => plans::check_keyface_indices(golden).map(Some),
        _ => Ok(None),
    }
}

fn case_of(golden: &Golden) -> Result<Case> {
    Case::named(&golden.case).ok_or_else(|| {
        let known: Vec<&str> = Case::ALL.iter().map(|(name, _)| *name).collect();
        let path = golden.path.display().to_string();
        Problem::new(path, format!("one of the cases {}", known.join(", ")), golden.case.clone()).input()
    })
}

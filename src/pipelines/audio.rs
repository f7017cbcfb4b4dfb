//! Speech to embeddings: two 50 Hz vectors for each 25 fps frame. In KeySync keyframes hear HuBERT and the frames between
//! them WavLM; in KeyFace keyframes hear WavLM and BEATs side by side, the frames between them wav2vec2 and BEATs.
//! Source: training code `compute_hubert_embeddings`, `compute_wavlm_embeddings`; KeyFace's `get_audio_embeddings`.

use super::segments::{
    AudioPiece, FRAME_SAMPLES, Parity, Steps, audio_pieces, step_pieces, stretched_vector, upstream_hubert_pieces,
    upstream_wav2vec2_pieces, upstream_wavlm_pieces,
};
use crate::gpu::Gpu;
use crate::models::beats::Beats;
use crate::models::hubert::Hubert;
use crate::models::wavlm::WavLm;
use crate::nn::Trace;
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::ops::Range;

/// 16 kHz mono samples in [-1, 1] by position; whoever reads past the end gets zeros.
pub trait Samples {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<f32>>;

    /// Mean and unbiased variance of the first `len` samples, zeros past the end counted, in f64.
    fn moments(&self, len: usize) -> Result<(f64, f64)> {
        const BLOCK: usize = 1 << 20;
        let blocks = || (0..len).step_by(BLOCK).map(|start| start..len.min(start + BLOCK));
        let mut sum = 0.0;
        for block in blocks() {
            sum += self.read(block)?.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        let mean = sum / len.max(1) as f64;
        let mut squares = 0.0;
        for block in blocks() {
            squares += self.read(block)?.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
        }
        Ok((mean, squares / len.saturating_sub(1).max(1) as f64))
    }
}

impl Samples for Vec<f32> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<f32>> {
        Ok(range.map(|i| self.get(i).copied().unwrap_or(0.0)).collect())
    }
}

/// Frames that `samples` fill, the last one padded with zeros.
pub fn frames_of(samples: usize) -> usize {
    samples.div_ceil(FRAME_SAMPLES)
}

/// Who gets one vector after another, two per frame.
pub type Emit<'a> = &'a mut dyn FnMut(&[f32]) -> Result<()>;

/// The first `len` of some samples, as they are or with mean 0 and variance 1, and zeros behind.
pub struct Clip<'a> {
    samples: &'a dyn Samples,
    len: usize,
    mean: f64,
    scale: f64,
}

impl<'a> Clip<'a> {
    pub fn raw(samples: &'a dyn Samples, len: usize) -> Self {
        Self { samples, len, mean: 0.0, scale: 1.0 }
    }

    /// By the unbiased variance.
    pub fn standardised(samples: &'a dyn Samples, len: usize) -> Result<Self> {
        let (mean, variance) = samples.moments(len)?;
        Ok(Self { samples, len, mean, scale: 1.0 / (variance + 1e-7).sqrt() })
    }
}

impl Samples for Clip<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<f32>> {
        let (start, wanted) = (range.start, range.len());
        let mut values = self.samples.read(start..range.end.min(self.len).max(start))?;
        values.iter_mut().for_each(|v| *v = ((f64::from(*v) - self.mean) * self.scale) as f32);
        values.resize(wanted, 0.0);
        Ok(values)
    }
}

/// Embeddings of `frames` frames by HuBERT: the waveform, zeros that fill the last frame included, is standardised first; a
/// zero vector ends an odd number of them.
pub fn hubert_embeddings(
    gpu: &Gpu,
    model: &Hubert,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: Emit<'_>,
) -> Result<()> {
    let standard = Clip::standardised(samples, frames * FRAME_SAMPLES)?;
    let pieces = match parity {
        Parity::Upstream => upstream_hubert_pieces(frames),
        Parity::Corrected => audio_pieces(frames).collect(),
    };
    paired_embeddings(gpu, model, &standard, &pieces, emit)
}

/// The same by wav2vec2, but that the waveform is standardised before zeros fill its last frame. At most
/// `frames` frames are heard.
pub fn wav2vec2_embeddings(
    gpu: &Gpu,
    model: &Hubert,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: Emit<'_>,
) -> Result<()> {
    let standard = Clip::standardised(samples, samples.len().min(frames * FRAME_SAMPLES))?;
    let pieces = match parity {
        Parity::Upstream => upstream_wav2vec2_pieces(frames),
        Parity::Corrected => audio_pieces(frames).collect(),
    };
    paired_embeddings(gpu, model, &standard, &pieces, emit)
}

/// The vectors of HuBERT or wav2vec2 on standardised `samples` that `pieces` keep, and a zero vector behind an odd number of them.
pub fn paired_embeddings(
    gpu: &Gpu,
    model: &Hubert,
    samples: &dyn Samples,
    pieces: &[AudioPiece],
    emit: Emit<'_>,
) -> Result<()> {
    let (mut emitted, mut width) = (0, 0);
    for piece in pieces {
        heard(gpu, samples, piece, &|samples| model.forward(samples, &mut Trace::off()), &mut |vector| {
            (emitted, width) = (emitted + 1, vector.len());
            emit(vector)
        })?;
    }
    if emitted % 2 == 1 {
        emit(&vec![0.0; width])?;
    }
    Ok(())
}

/// Embeddings by WavLM on the raw waveform, padded to an even number of frames, its vectors stretched to two per frame by
/// nearest neighbour: over the whole clip, or, in parity, piece by piece. May emit one frame more than `frames`.
/// Parity is KeySync's.
pub fn wavlm_embeddings(
    gpu: &Gpu,
    model: &WavLm,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: Emit<'_>,
) -> Result<()> {
    let pieces = match parity {
        Parity::Corrected => return whole_wavlm_embeddings(gpu, model, samples, frames, parity, emit),
        Parity::Upstream => upstream_wavlm_pieces(frames),
    };
    let clip = Clip::raw(samples, frames * FRAME_SAMPLES);
    for piece in pieces {
        let slots = 2 * piece.samples.len() / FRAME_SAMPLES;
        let encode = |samples: &Tensor| model.forward(samples, &mut Trace::off());
        stretched(gpu, &clip, &[piece], slots, slots, &encode, emit)?;
    }
    Ok(())
}

/// The same with KeyFace's parity: the clip is heard in one piece whatever its length.
pub fn whole_wavlm_embeddings(
    gpu: &Gpu,
    model: &WavLm,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: Emit<'_>,
) -> Result<()> {
    let even = frames.next_multiple_of(2);
    let pieces: Vec<AudioPiece> = match parity {
        Parity::Upstream => vec![AudioPiece::whole(0..even * FRAME_SAMPLES)],
        Parity::Corrected => audio_pieces(even).collect(),
    };
    let clip = Clip::raw(samples, frames * FRAME_SAMPLES);
    let encode = |samples: &Tensor| model.forward(samples, &mut Trace::off());
    stretched(gpu, &clip, &pieces, 2 * even, 2 * even, &encode, emit)
}

/// Embeddings by BEATs on the raw waveform, padded to an even number of frames, its vectors, eight for each 160 ms, taken for
/// a row in time and stretched to two per frame by nearest neighbour over the whole clip, as published: the eight bands of
/// a step are never told apart. May emit one frame more than `frames`.
///
/// In parity the clip is heard in one piece, and one of less than a step, 0.175 s, is an error; else zeros fill the step.
pub fn beats_embeddings(
    gpu: &Gpu,
    model: &Beats,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: Emit<'_>,
) -> Result<()> {
    let even = frames.next_multiple_of(2);
    let steps =
        Steps { samples: model.step_samples(), overlap: model.overlap_samples(), vectors: model.step_vectors() };
    let shortest = frames_of(steps.samples + steps.overlap).next_multiple_of(2);
    let (heard, pieces) = match parity {
        Parity::Upstream => {
            let samples = 0..even * FRAME_SAMPLES;
            let kept = 0..steps.within(samples.len()) * steps.vectors;
            (even, vec![AudioPiece { samples, kept }])
        }
        Parity::Corrected => {
            let heard = even.max(shortest);
            (heard, step_pieces(heard * FRAME_SAMPLES, steps).collect())
        }
    };
    let clip = Clip::raw(samples, frames * FRAME_SAMPLES);
    let encode = |samples: &Tensor| model.forward(samples, &mut Trace::off());
    stretched(gpu, &clip, &pieces, 2 * heard, 2 * even, &encode, emit)
}

/// What KeyFace's keyframes hear: WavLM's vectors with those of BEATs behind each, for exactly `frames` frames. `beats` are the
/// vectors that [`beats_embeddings`] emitted for the same frames, one behind the other.
pub fn keyframe_embeddings(
    gpu: &Gpu,
    wavlm: &WavLm,
    beats: &dyn Samples,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: Emit<'_>,
) -> Result<()> {
    beside(beats, frames, emit, |emit| whole_wavlm_embeddings(gpu, wavlm, samples, frames, parity, emit))
}

/// What the frames between KeyFace's keyframes hear: the same with wav2vec2 in WavLM's place.
pub fn interpolation_embeddings(
    gpu: &Gpu,
    wav2vec2: &Hubert,
    beats: &dyn Samples,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: Emit<'_>,
) -> Result<()> {
    beside(beats, frames, emit, |emit| wav2vec2_embeddings(gpu, wav2vec2, samples, frames, parity, emit))
}

/// The first two vectors per frame that `encode` emits, with the same ones of `second` behind each; where `encode` emits
/// fewer, fewer.
fn beside(
    second: &dyn Samples,
    frames: usize,
    emit: Emit<'_>,
    encode: impl FnOnce(Emit<'_>) -> Result<()>,
) -> Result<()> {
    // BEATs hears an even number of frames.
    let held = 2 * frames.next_multiple_of(2);
    let width = second.len() / held.max(1);
    if second.len() != width * held || (width == 0 && frames > 0) {
        let expected = format!("the BEATs vectors of {frames} frames");
        return Err(Problem::new("audio embeddings", expected, format!("{} values", second.len())).input());
    }
    let mut at = 0;
    encode(&mut |vector| {
        if at < 2 * frames {
            let mut joined = vector.to_vec();
            joined.extend(second.read(at * width..(at + 1) * width)?);
            emit(&joined)?;
        }
        at += 1;
        Ok(())
    })
}

/// The vectors that `piece` keeps of those that `encode` makes of its samples `[n]`.
fn heard(
    gpu: &Gpu,
    samples: &dyn Samples,
    piece: &AudioPiece,
    encode: &dyn Fn(&Tensor) -> Result<Tensor>,
    emit: Emit<'_>,
) -> Result<()> {
    let raw = samples.read(piece.samples.clone())?;
    let vectors = encode(&Tensor::from_f32(gpu, &[raw.len()], &raw)?)?;
    let values = vectors.to_f32()?;
    let kept = values.chunks_exact(vectors.last_dim()).skip(piece.kept.start).take(piece.kept.len());
    for vector in kept {
        emit(vector)?;
    }
    Ok(())
}

/// The vectors of all `pieces` stretched to `slots`, the first `wanted` of which are emitted.
fn stretched(
    gpu: &Gpu,
    samples: &dyn Samples,
    pieces: &[AudioPiece],
    slots: usize,
    wanted: usize,
    encode: &dyn Fn(&Tensor) -> Result<Tensor>,
    emit: Emit<'_>,
) -> Result<()> {
    let vectors = pieces.iter().map(|piece| piece.kept.len()).sum();
    let (mut slot, mut at) = (0, 0);
    for piece in pieces {
        heard(gpu, samples, piece, encode, &mut |vector| {
            while slot < wanted && stretched_vector(slot, slots, vectors) == at {
                emit(vector)?;
                slot += 1;
            }
            at += 1;
            Ok(())
        })?;
    }
    Ok(())
}

//! Speech to embeddings: two 50 Hz vectors for each 25 fps frame, from HuBERT for keyframes and WavLM for interpolation.
//! Source: training code `compute_hubert_embeddings`, `compute_wavlm_embeddings`.

use super::segments::{
    AudioPiece, FRAME_SAMPLES, Parity, audio_pieces, stretched_vector, upstream_hubert_pieces, upstream_wavlm_pieces,
};
use crate::Result;
use crate::gpu::Gpu;
use crate::models::hubert::Hubert;
use crate::models::wavlm::WavLm;
use crate::nn::Trace;
use crate::tensor::Tensor;
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

/// Embeddings of `frames` frames by HuBERT: `emit` gets one vector after another, two per frame.
///
/// The whole waveform is standardised first; a zero vector ends an odd number of them.
pub fn hubert_embeddings(
    gpu: &Gpu,
    model: &Hubert,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let (mean, variance) = samples.moments(frames * FRAME_SAMPLES)?;
    let scale = 1.0 / (variance + 1e-7).sqrt();
    let pieces: Vec<AudioPiece> = match parity {
        Parity::Upstream => upstream_hubert_pieces(frames),
        Parity::Corrected => audio_pieces(frames).collect(),
    };
    let mut emitted = 0;
    let mut width = 0;
    for piece in pieces {
        let raw = samples.read(piece.samples.clone())?;
        let standard: Vec<f32> = raw.iter().map(|&v| ((f64::from(v) - mean) * scale) as f32).collect();
        let vectors = model.forward(&Tensor::from_f32(gpu, &[standard.len()], &standard)?, &mut Trace::off())?;
        width = vectors.last_dim();
        let values = vectors.to_f32()?;
        for vector in values.chunks_exact(width).skip(piece.kept.start).take(piece.kept.len()) {
            emit(vector)?;
            emitted += 1;
        }
    }
    if emitted % 2 == 1 {
        emit(&vec![0.0; width])?;
    }
    Ok(())
}

/// The same by WavLM on the raw waveform, padded to an even number of frames, its vectors stretched to two per frame by
/// nearest neighbour: over the whole clip, or, in parity, piece by piece. May emit one frame more than `frames`.
pub fn wavlm_embeddings(
    gpu: &Gpu,
    model: &WavLm,
    samples: &dyn Samples,
    frames: usize,
    parity: Parity,
    emit: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let even = frames.next_multiple_of(2);
    let pieces: Vec<AudioPiece> = match parity {
        Parity::Upstream => upstream_wavlm_pieces(frames),
        Parity::Corrected => audio_pieces(even).collect(),
    };
    // Slots and vectors of the stretch that is under way, and where in it we are.
    let whole = pieces.iter().map(|piece| piece.kept.len()).sum();
    let mut stretch = Stretch { slots: 2 * even, vectors: whole, slot: 0, vector: 0 };
    for piece in pieces {
        if parity == Parity::Upstream {
            let slots = 2 * piece.samples.len() / FRAME_SAMPLES;
            stretch = Stretch { slots, vectors: piece.kept.len(), slot: 0, vector: 0 };
        }
        let raw = samples.read(piece.samples.clone())?;
        let vectors = model.forward(&Tensor::from_f32(gpu, &[raw.len()], &raw)?, &mut Trace::off())?;
        let width = vectors.last_dim();
        let values = vectors.to_f32()?;
        for vector in values.chunks_exact(width).skip(piece.kept.start).take(piece.kept.len()) {
            for _ in 0..stretch.times() {
                emit(vector)?;
            }
        }
    }
    Ok(())
}

/// A row of vectors being stretched to a row of slots.
struct Stretch {
    slots: usize,
    vectors: usize,
    slot: usize,
    vector: usize,
}

impl Stretch {
    /// How many slots the next vector fills.
    fn times(&mut self) -> usize {
        let first = self.slot;
        while self.slot < self.slots && stretched_vector(self.slot, self.slots, self.vectors) == self.vector {
            self.slot += 1;
        }
        self.vector += 1;
        self.slot - first
    }
}

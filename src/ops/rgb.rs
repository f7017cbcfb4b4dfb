//! 8-bit pictures on the device, and their way to and from tensors.

use super::{Call, FLAT, piece, quad_ranges};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const TO_TENSOR: Kernel = super::kernel!("rgb_to_tensor");
pub(super) const FROM_TENSOR: Kernel = super::kernel!("tensor_to_rgb");

/// Frames start at multiples of this many bytes, so that every one can be bound by itself on every device.
const FRAME_BORDER: usize = 256;

/// Frames of packed 8-bit RGB, rows without gaps as ffmpeg's rgb24 has them.
#[derive(Clone)]
pub struct Rgb8 {
    /// u32 `[frames, stride]`: four bytes to a word, least significant first; zeros behind a frame's last byte.
    words: Tensor,
    height: usize,
    width: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ToTensorParams {
    count: u32,
    first: u32,
    elements: u32,
    per_frame: u32,
    stride: u32,
    base: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct FromTensorParams {
    count: u32,
    first: u32,
    per_frame: u32,
    stride: u32,
    base: u32,
}

impl Rgb8 {
    /// `bytes`: one or more whole frames of `height` rows of `width` pixels.
    pub fn upload(gpu: &Gpu, height: usize, width: usize, bytes: &[u8]) -> Result<Self> {
        let per_frame = height * width * 3;
        if per_frame == 0 || bytes.is_empty() || !bytes.len().is_multiple_of(per_frame) {
            let expected = format!("frames of {width}x{height} in {per_frame} bytes each");
            return Err(Problem::new("RGB frames", expected, format!("{} bytes", bytes.len())).input());
        }
        let (frames, stride) = (bytes.len() / per_frame, per_frame.next_multiple_of(FRAME_BORDER));
        let shape = [frames, stride / 4];
        let words = if stride == per_frame {
            Tensor::from_bytes(gpu, &shape, Elem::U32, bytes)?
        } else {
            let mut padded = vec![0; frames * stride];
            for (to, from) in padded.chunks_exact_mut(stride).zip(bytes.chunks_exact(per_frame)) {
                to[..per_frame].copy_from_slice(from);
            }
            Tensor::from_bytes(gpu, &shape, Elem::U32, &padded)?
        };
        Ok(Self { words, height, width })
    }

    /// Frames with undefined contents.
    pub(super) fn empty(gpu: &Gpu, frames: usize, height: usize, width: usize) -> Result<Self> {
        let stride = (height * width * 3).next_multiple_of(FRAME_BORDER);
        Ok(Self { words: Tensor::empty(gpu, &[frames, stride / 4], Elem::U32)?, height, width })
    }

    /// All frames, behind each other without gaps.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = self.words.to_bytes()?;
        let frames = bytes.chunks_exact(4 * self.stride()).map(|frame| &frame[..self.frame_bytes()]);
        Ok(frames.collect::<Vec<_>>().concat())
    }

    pub fn gpu(&self) -> &Gpu {
        self.words.gpu()
    }

    pub fn frames(&self) -> usize {
        self.words.shape()[0]
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// The memory: u32 `[frames, stride]`, four bytes to a word.
    pub fn words(&self) -> &Tensor {
        &self.words
    }

    /// Words from one frame to the next.
    pub(super) fn stride(&self) -> usize {
        self.words.shape()[1]
    }

    pub(super) fn frame_bytes(&self) -> usize {
        self.height * self.width * 3
    }

    /// One frame, in the same memory.
    pub fn frame(&self, index: usize) -> Result<Self> {
        let words = self.words.view(index * self.stride(), &[1, self.stride()]);
        let words = words.ok_or_else(|| {
            Problem::new("frame", format!("0 to {}", self.frames().saturating_sub(1)), index.to_string()).shape()
        })?;
        Ok(Self { words, ..*self })
    }

    /// `x / 127.5 - 1` in f32, `[frames, height, width, 3]`.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let y = Tensor::empty(self.gpu(), &[self.frames(), self.height, self.width, 3], Elem::F32)?;
        let (per_frame, stride) = (self.frame_bytes(), self.stride());
        let word_of = |element: usize| element / per_frame * stride + element % per_frame / 4;
        for range in quad_ranges(&[&y])? {
            let y_part = y.quads(&range)?;
            let start = 4 * range.start;
            // 64 words are a binding's border on every device.
            let base = word_of(start) / 64 * 64;
            let end = word_of(start + y_part.len() - 1) + 1;
            Call {
                kernel: &TO_TENSOR,
                constants: &[FLAT],
                params: ToTensorParams {
                    count: range.len() as u32,
                    first: range.start as u32,
                    elements: y.len() as u32,
                    per_frame: per_frame as u32,
                    stride: stride as u32,
                    base: base as u32,
                },
                tensors: &[&piece(&self.words, base, &[end - base])?, &y_part],
                groups: range.len().div_ceil(FLAT.1 as usize),
                flops: 8.0 * range.len() as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }

    /// `x` `[frames, height, width, 3]` in f32, -1 black and 1 white; what lies beyond is cut off, fractions of a level too.
    pub fn from_tensor(x: &Tensor) -> Result<Self> {
        let [frames, height, width, channels] = x.dims("RGB frames")?;
        x.expect_elem("RGB frames", Elem::F32)?;
        if channels != 3 || x.is_empty() {
            return Err(Problem::new("RGB frames", "[frames, height, width, 3]", format!("{x:?}")).shape());
        }
        let y = Self::empty(x.gpu(), frames, height, width)?;
        let (per_frame, stride) = (y.frame_bytes(), y.stride());
        let element_of = |word: usize| word / stride * per_frame + (4 * (word % stride)).min(per_frame);
        let limit = x.gpu().capabilities().max_binding_bytes as usize;
        // A word takes four elements of 4 bytes each; 64 of either are a binding's border on every device.
        let step = (limit / 16).saturating_sub(64) / 64 * 64;
        if step == 0 {
            return Err(Problem::new("binding", "2 KiB or more", format!("{limit} bytes")).gpu());
        }
        for first in (0..frames * stride).step_by(step) {
            let last = (frames * stride).min(first + step);
            let base = element_of(first) / 64 * 64;
            let base = base.min((x.len() - 1) / 64 * 64);
            let end = element_of(last - 1) + 4;
            Call {
                kernel: &FROM_TENSOR,
                constants: &[FLAT],
                params: FromTensorParams {
                    count: (last - first) as u32,
                    first: first as u32,
                    per_frame: per_frame as u32,
                    stride: stride as u32,
                    base: base as u32,
                },
                tensors: &[
                    &piece(x, base, &[end.min(x.len()) - base])?,
                    &y.words.rows(frames * stride, &(first..last))?,
                ],
                groups: (last - first).div_ceil(FLAT.1 as usize),
                flops: 16.0 * (last - first) as f64,
                site: None,
            }
            .record()?;
        }
        Ok(y)
    }
}

impl std::fmt::Debug for Rgb8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rgb8 {} frames of {}x{}", self.frames(), self.width, self.height)
    }
}

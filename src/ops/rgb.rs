//! Pictures of 8 or 16 bits on the device, and their way to and from tensors.

use super::{Call, FLAT, piece, quad_ranges};
use crate::gpu::{Elem, Gpu, Kernel};
use crate::tensor::Tensor;
use crate::{Problem, Result};

pub(super) const TO_TENSOR: Kernel = super::kernel!("rgb_to_tensor");
pub(super) const FROM_TENSOR: Kernel = super::kernel!("tensor_to_rgb");

/// Frames start at multiples of this many bytes, so that every one can be bound by itself on every device.
const FRAME_BORDER: usize = 256;

/// Bits of a colour value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    #[default]
    Eight,
    Sixteen,
}

impl Depth {
    /// Bytes of a colour value; of two the lower one is first.
    pub fn bytes(self) -> usize {
        match self {
            Self::Eight => 1,
            Self::Sixteen => 2,
        }
    }

    fn per_word(self) -> usize {
        4 / self.bytes()
    }

    /// How the kernels are told.
    pub(super) fn constant(self) -> (&'static str, u32) {
        ("PER_WORD", self.per_word() as u32)
    }
}

/// Frames of packed RGB, rows without gaps as ffmpeg's rgb24 and rgb48le have them.
#[derive(Clone)]
pub struct Rgb {
    /// u32 `[frames, stride]`: four values of 8 bits or two of 16 to a word, least significant first; zeros behind a frame's last.
    words: Tensor,
    height: usize,
    width: usize,
    depth: Depth,
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

impl Rgb {
    /// `bytes`: one or more whole frames of `height` rows of `width` pixels, of 8 bits a colour.
    pub fn upload(gpu: &Gpu, height: usize, width: usize, bytes: &[u8]) -> Result<Self> {
        Self::upload_at(gpu, height, width, Depth::Eight, bytes)
    }

    /// The same of `depth`.
    pub fn upload_at(gpu: &Gpu, height: usize, width: usize, depth: Depth, bytes: &[u8]) -> Result<Self> {
        let per_frame = height * width * 3 * depth.bytes();
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
        Ok(Self { words, height, width, depth })
    }

    /// Frames with undefined contents.
    pub(super) fn empty(gpu: &Gpu, frames: usize, [height, width]: [usize; 2], depth: Depth) -> Result<Self> {
        let stride = (height * width * 3 * depth.bytes()).next_multiple_of(FRAME_BORDER);
        Ok(Self { words: Tensor::empty(gpu, &[frames, stride / 4], Elem::U32)?, height, width, depth })
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

    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// The memory: u32 `[frames, stride]`, four bytes to a word.
    pub fn words(&self) -> &Tensor {
        &self.words
    }

    /// Words from one frame to the next.
    pub(super) fn stride(&self) -> usize {
        self.words.shape()[1]
    }

    /// Colour values of a frame.
    pub(super) fn frame_values(&self) -> usize {
        self.height * self.width * 3
    }

    fn frame_bytes(&self) -> usize {
        self.frame_values() * self.depth.bytes()
    }

    /// Errors: 16 bits, where `what` counts in levels of 8.
    pub(super) fn expect_eight_bits(&self, what: &str) -> Result<()> {
        match self.depth {
            Depth::Eight => Ok(()),
            Depth::Sixteen => Err(Problem::new(what, "pictures of 8 bits a colour", format!("{self:?}")).input()),
        }
    }

    /// One frame, in the same memory.
    pub fn frame(&self, index: usize) -> Result<Self> {
        let words = self.words.view(index * self.stride(), &[1, self.stride()]);
        let words = words.ok_or_else(|| {
            Problem::new("frame", format!("0 to {}", self.frames().saturating_sub(1)), index.to_string()).shape()
        })?;
        Ok(Self { words, ..*self })
    }

    /// -1 for black to 1 for white in f32, `[frames, height, width, 3]`.
    pub fn to_tensor(&self) -> Result<Tensor> {
        let y = Tensor::empty(self.gpu(), &[self.frames(), self.height, self.width, 3], Elem::F32)?;
        let (per_frame, stride) = (self.frame_values(), self.stride());
        let word_of = |element: usize| element / per_frame * stride + element % per_frame / self.depth.per_word();
        for range in quad_ranges(&[&y])? {
            let y_part = y.quads(&range)?;
            let start = 4 * range.start;
            // 64 words are a binding's border on every device.
            let base = word_of(start) / 64 * 64;
            let end = word_of(start + y_part.len() - 1) + 1;
            Call {
                kernel: &TO_TENSOR,
                constants: &[FLAT, self.depth.constant()],
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

    /// `x` `[frames, height, width, 3]` in f32, -1 black and 1 white, as 8 bits a colour; what lies beyond is cut off, fractions of a
    /// level too.
    pub fn from_tensor(x: &Tensor) -> Result<Self> {
        Self::from_tensor_at(x, Depth::Eight)
    }

    /// The same of `depth`.
    pub fn from_tensor_at(x: &Tensor, depth: Depth) -> Result<Self> {
        let [frames, height, width, channels] = x.dims("RGB frames")?;
        x.expect_elem("RGB frames", Elem::F32)?;
        if channels != 3 || x.is_empty() {
            return Err(Problem::new("RGB frames", "[frames, height, width, 3]", format!("{x:?}")).shape());
        }
        let y = Self::empty(x.gpu(), frames, [height, width], depth)?;
        let (per_frame, per_word, stride) = (y.frame_values(), depth.per_word(), y.stride());
        let element_of = |word: usize| word / stride * per_frame + (per_word * (word % stride)).min(per_frame);
        let limit = x.gpu().capabilities().max_binding_bytes as usize;
        // A word takes up to four elements of 4 bytes each; 64 of either are a binding's border on every device.
        let step = (limit / 16).saturating_sub(64) / 64 * 64;
        if step == 0 {
            return Err(Problem::new("binding", "2 KiB or more", format!("{limit} bytes")).gpu());
        }
        for first in (0..frames * stride).step_by(step) {
            let last = (frames * stride).min(first + step);
            let base = element_of(first) / 64 * 64;
            let base = base.min((x.len() - 1) / 64 * 64);
            let end = element_of(last - 1) + per_word;
            Call {
                kernel: &FROM_TENSOR,
                constants: &[FLAT, depth.constant()],
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

impl std::fmt::Debug for Rgb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rgb {} frames of {}x{}, {} bits", self.frames(), self.width, self.height, 8 * self.depth.bytes())
    }
}

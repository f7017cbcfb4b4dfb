//! Sound and pictures in and out: wav and everything that ffmpeg decodes, folders of pictures, videos through ffmpeg.

pub mod audio;
pub mod ffmpeg;
pub(crate) mod file;
pub(crate) mod filters;
pub mod frames;
pub mod pixels;
pub mod probe;
pub mod reader;
pub mod times;
pub mod writer;

pub use audio::{Audio, Blocks};
pub use ffmpeg::Ffmpeg;
pub use frames::{Fps, Frame, FrameSink, FrameSource};
pub use pixels::PixelFormat;
pub use times::FrameTimes;

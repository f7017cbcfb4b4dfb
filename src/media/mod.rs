//! Sound and pictures in and out: wav and everything that ffmpeg decodes, folders of pictures, videos through ffmpeg.

pub mod audio;
mod container;
pub mod disk;
mod downmix;
mod encoder;
pub mod ffmpeg;
pub(crate) mod file;
pub(crate) mod filters;
pub mod frames;
pub mod labels;
mod mux;
pub mod picture;
pub mod pixels;
pub mod probe;
pub mod reader;
mod resampler;
mod soundtrack;
mod stamps;
mod streams;
pub mod times;
mod wav;
pub mod writer;

pub use audio::{Audio, Blocks, PublishedChannels};
pub use ffmpeg::Ffmpeg;
pub use frames::{Fps, Frame, FrameSink, FrameSource};
pub use pixels::PixelFormat;
pub use times::FrameTimes;

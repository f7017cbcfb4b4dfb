//! Sound and pictures in and out: wav and everything that ffmpeg decodes, folders of pictures, videos through ffmpeg.

pub mod audio;
mod container;
pub mod disk;
mod encoder;
pub mod ffmpeg;
pub(crate) mod file;
pub mod frames;
mod mux;
pub mod probe;
pub mod reader;
mod stamps;
mod streams;
pub mod times;
pub mod writer;

pub use audio::{Audio, Blocks};
pub use ffmpeg::Ffmpeg;
pub use frames::{Fps, Frame, FrameSink, FrameSource};
pub use times::FrameTimes;

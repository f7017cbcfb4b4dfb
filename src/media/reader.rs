//! Videos in through ffmpeg: raw RGB over a pipe, with the matrix and the range named to its scaler.

use std::io::{BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};

use super::ffmpeg::{self, Ffmpeg, Process};
use super::filters::picture_filters;
use super::frames::{Fps, Frame, FrameSource};
use super::probe::VideoInfo;
use super::times::FrameTimes;
use crate::ops::Depth;
use crate::{Error, Problem, Result};

/// Without these swscale drops chroma samples and rounds down: a picture would lose quality on the way through RGB.
pub(super) const SCALE_FLAGS: &str = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp";

/// The frames of a video, each of them once, upright, decoded as they are asked for.
pub struct VideoReader {
    ffmpeg: Ffmpeg,
    info: VideoInfo,
    running: Option<Running>,
    next: u64,
    ended: bool,
}

struct Running {
    process: Process,
    pipe: BufReader<ChildStdout>,
}

impl VideoReader {
    pub fn new(ffmpeg: &Ffmpeg, info: VideoInfo) -> Self {
        Self { ffmpeg: ffmpeg.clone(), info, running: None, next: 0, ended: false }
    }

    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    fn start(&self) -> Result<Running> {
        let mut command = decode(&self.ffmpeg, &self.info, self.next);
        let mut process = Process::spawn(&mut command)?;
        let pipe = process.stdout().ok_or_else(|| self.undecodable("no pipe"))?;
        Ok(Running { process, pipe: BufReader::new(pipe) })
    }

    fn undecodable(&self, found: &str) -> Error {
        let subject = format!("{}, frame {}", self.info.path.display(), self.next);
        Problem::new(subject, "a frame that ffmpeg can decode", found).input()
    }
}

impl FrameSource for VideoReader {
    fn size(&self) -> [u32; 2] {
        self.info.size
    }

    fn fps(&self) -> Fps {
        self.info.fps
    }

    fn times(&self) -> Option<FrameTimes> {
        Some(self.info.times.clone())
    }

    fn depth(&self) -> Depth {
        self.info.look.pixels.depth()
    }

    fn pixel_aspect(&self) -> f64 {
        self.info.look.pixel_aspect.map_or(1.0, |[x, y]| f64::from(x) / f64::from(y))
    }

    fn next_frame(&mut self) -> Result<Option<Frame>> {
        if self.ended {
            return Ok(None);
        }
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let [width, height] = self.info.size;
        let depth = self.depth();
        let bytes = width as usize * height as usize * 3 * depth.bytes();
        let mut rgb = Vec::with_capacity(bytes);
        let read = (&mut running.pipe).take(bytes as u64).read_to_end(&mut rgb);
        read.map_err(|e| self.undecodable(&e.to_string()))?;
        if rgb.len() == bytes {
            self.running = Some(running);
            self.next += 1;
            return Ok(Some(Frame { width, height, depth, rgb }));
        }

        self.ended = true;
        let (status, said) = running.process.wait()?;
        if ffmpeg::changed_size(&said) {
            let path = self.info.path.display();
            tracing::warn!(
                "{path}: its pictures change their size midway; all are made {width}x{height}, the first one's"
            );
        }
        let said = ffmpeg::errors(&said);
        let is_cut = !rgb.is_empty();
        if !status.success() || is_cut {
            return Err(self.undecodable(&ffmpeg::ending(status, &said)));
        }
        if self.next == 0 {
            let found = if said.is_empty() { "none".to_string() } else { ffmpeg::ending(status, &said) };
            let subject = self.info.path.display().to_string();
            return Err(Problem::new(subject, "a video with a frame or more", found).input());
        }
        if !said.is_empty() {
            tracing::warn!("{}: ffmpeg says: {}", self.info.path.display(), ffmpeg::ending(status, &said));
        }
        Ok(None)
    }

    fn seek(&mut self, index: u64) -> Result<()> {
        if self.next != index {
            self.running = None;
            self.next = index;
        }
        self.ended = false;
        Ok(())
    }
}

/// ffmpeg writing frames from number `first` on to its stdout, each once.
fn decode(ffmpeg: &Ffmpeg, info: &VideoInfo, first: u64) -> Command {
    let mut command = ffmpeg.command();
    command.args(ffmpeg::WARNINGS);
    let mut trim = None;
    if first > 0 && info.seeks_exactly {
        // Between the frame and the one before it, by the file's own time stamps, from the last key frame before on.
        let start_s = info.first_s + (info.times.start_s(first - 1) + info.times.start_s(first)) / 2.0;
        let seek_s = (start_s - info.file_s).max(0.0);
        command.args(["-copyts", "-noaccurate_seek", "-ss", &format!("{seek_s:.6}")]);
        trim = Some(format!("trim=start={start_s:.6}"));
    } else if first > 0 {
        trim = Some(format!("trim=start_frame={first}"));
    }
    if info.rotation == 0 {
        // One graph of filters from the first frame to the last: a new one at a change of size would forget the frames in it and
        // its clock. What turns a picture, which ffmpeg puts in front, takes frames of one size only.
        command.args(["-reinit_filter", "0"]);
    }
    command.arg("-i").arg(ffmpeg::file(&info.path));
    command
        .args(["-map", &format!("0:{}", info.stream), "-vf", &picture_filters(info, trim)])
        .args(ffmpeg.passthrough());
    command.args(["-f", "rawvideo", "pipe:1"]).stdout(Stdio::piped());
    command
}

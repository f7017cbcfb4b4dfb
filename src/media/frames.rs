//! Pictures in order: a source and a sink that stream, frame rates as fractions, and folders of pictures as both.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::file::beside;
use super::picture::{self, is_picture};
use super::pixels::{Chroma, PixelFormat};
use super::probe::Look;
use super::times::FrameTimes;
use crate::ops::Depth;
use crate::{Error, Problem, Result};

/// One picture: `rgb` holds `height` rows of `width` pixels of 3 values, top left first, a value being a byte or, of 16 bits, two,
/// the lower one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub width: u32,
    pub height: u32,
    pub depth: Depth,
    pub rgb: Vec<u8>,
}

impl Frame {
    /// Of 8 bits a colour.
    pub fn rgb8(width: u32, height: u32, rgb: Vec<u8>) -> Self {
        Self { width, height, depth: Depth::Eight, rgb }
    }

    /// The same picture with values of `depth`, rounded where that is less.
    pub fn at_depth(self, depth: Depth) -> Self {
        let rgb = match (self.depth, depth) {
            (Depth::Eight, Depth::Sixteen) => self.rgb.iter().flat_map(|&value| [value; 2]).collect(),
            (Depth::Sixteen, Depth::Eight) => {
                let (values, _) = self.rgb.as_chunks();
                values.iter().map(|&value| ((u32::from(u16::from_le_bytes(value)) + 128) / 257) as u8).collect()
            }
            _ => self.rgb,
        };
        Self { depth, rgb, ..self }
    }
}

/// Frames per second as a fraction: 30000/1001 has no exact decimal. Neither number is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fps {
    pub(super) num: u32,
    pub(super) den: u32,
}

impl Fps {
    /// What the networks work at.
    pub const INSIDE: Self = Self { num: 25, den: 1 };

    /// Rates that cameras and editors use, in rising order; where a short clip fits both of a pair, the whole number.
    pub(super) const USUAL: [Self; 10] = {
        const fn ntsc(num: u32) -> Fps {
            Fps { num, den: 1001 }
        }
        const fn whole(num: u32) -> Fps {
            Fps { num, den: 1 }
        }
        [
            whole(15),
            whole(24),
            ntsc(24_000),
            whole(25),
            whole(30),
            ntsc(30_000),
            whole(50),
            whole(60),
            ntsc(60_000),
            whole(120),
        ]
    };

    /// Errors: zero or less than one frame in 1000 s, or more than 1000 a second.
    pub fn new(num: u32, den: u32) -> Result<Self> {
        let rate = f64::from(num) / f64::from(den);
        if !(0.001..=1000.0).contains(&rate) {
            return Err(Problem::new("frame rate", "0.001 to 1000 frames per second", format!("{num}/{den}")).input());
        }
        Ok(Self { num, den })
    }

    pub const fn num(self) -> u32 {
        self.num
    }

    pub const fn den(self) -> u32 {
        self.den
    }

    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// The frame at this rate that is on screen in the middle of frame `index` at `other`'s rate.
    pub fn frame_of(self, index: u64, other: Fps) -> u64 {
        let middle = (2 * u128::from(index) + 1) * u128::from(other.den) * u128::from(self.num);
        (middle / (2 * u128::from(other.num) * u128::from(self.den))) as u64
    }

    /// How many frames at this rate last as long as `count` frames at `other`'s: those whose middle lies within, at least one
    /// if there is any. [`Fps::frame_of`] the last of them stays below `count`, unless it is that one and lasts longer.
    pub fn frames_in(self, count: u64, other: Fps) -> u64 {
        // The largest k with (2k - 1) / (2 self) < count / other.
        let twice = 2 * u128::from(count) * u128::from(other.den) * u128::from(self.num);
        let unit = u128::from(other.num) * u128::from(self.den);
        let frames = (twice + unit).div_ceil(2 * unit).saturating_sub(1) as u64;
        frames.max(u64::from(count > 0))
    }
}

impl fmt::Display for Fps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}

/// Frames one after another, all of one size.
pub trait FrameSource: Send {
    /// Width and height of every frame.
    fn size(&self) -> [u32; 2];
    /// The rate of what is made from it.
    fn fps(&self) -> Fps;
    /// Of every frame's values.
    fn depth(&self) -> Depth {
        Depth::Eight
    }
    /// Width of a pixel over its height, as it is shown.
    fn pixel_aspect(&self) -> f64 {
        1.0
    }
    /// When its frames are on screen, where that is known without reading them all; else they follow [`FrameSource::fps`].
    fn times(&self) -> Option<FrameTimes> {
        None
    }
    /// None after the last one.
    fn next_frame(&mut self) -> Result<Option<Frame>>;
    /// Makes frame `index` the next one; past the end there is none.
    fn seek(&mut self, index: u64) -> Result<()>;
}

/// Takes finished frames in order. Nothing stands under the final name before [`FrameSink::finish`].
pub trait FrameSink: Send {
    fn write(&mut self, frame: &Frame) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A sink that writes on a thread of its own, so that pictures are encoded while the next ones are made. What goes wrong there
/// is the answer to the next [`FrameSink::write`], to [`FrameSink::finish`] at the latest. Dropped unfinished, it drops the sink
/// inside before it returns.
pub struct BackgroundSink {
    frames: Option<SyncSender<Frame>>,
    /// Gives the sink back once `frames` is closed.
    writer: Option<JoinHandle<Result<Box<dyn FrameSink>>>>,
}

impl BackgroundSink {
    /// Frames that may wait; past it writing waits.
    const WAITING: usize = 4;

    pub fn new(sink: Box<dyn FrameSink>) -> Self {
        let (frames, waiting) = sync_channel(Self::WAITING);
        Self { frames: Some(frames), writer: Some(std::thread::spawn(|| write_all(sink, waiting))) }
    }

    /// The sink inside once all frames are written, or what went wrong with one.
    fn close(&mut self) -> Result<Box<dyn FrameSink>> {
        drop(self.frames.take());
        let ended = |found: &str| Problem::new("writing frames", "a writer at work", found).input();
        let writer = self.writer.take().ok_or_else(|| ended("one that failed before"))?;
        writer.join().unwrap_or_else(|_| Err(ended("one that panicked")))
    }
}

fn write_all(mut sink: Box<dyn FrameSink>, frames: Receiver<Frame>) -> Result<Box<dyn FrameSink>> {
    for frame in frames {
        sink.write(&frame)?;
    }
    Ok(sink)
}

impl FrameSink for BackgroundSink {
    fn write(&mut self, frame: &Frame) -> Result<()> {
        match &self.frames {
            Some(frames) if frames.send(frame.clone()).is_ok() => Ok(()),
            _ => self.close().map(drop),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.close()?.finish()
    }
}

impl Drop for BackgroundSink {
    fn drop(&mut self) {
        drop(self.frames.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Any frame of a source by its number. Going forward it reads on; going back it seeks once for `block` frames, so that a
/// video played backwards costs no seek per frame.
pub struct FrameReader {
    source: Box<dyn FrameSource>,
    block: usize,
    next: u64,
    /// The last frames read, the newest of them frame `next - 1`.
    recent: VecDeque<Frame>,
    /// The last frame there is, once it turned out that there are fewer than were promised.
    last: Option<u64>,
}

impl FrameReader {
    const BYTES: usize = 128 << 20;

    pub fn new(source: Box<dyn FrameSource>) -> Self {
        let [width, height] = source.size();
        let frame_bytes = (width as usize * height as usize * 3 * source.depth().bytes()).max(1);
        Self { source, block: (Self::BYTES / frame_bytes).clamp(2, 32), next: 0, recent: VecDeque::new(), last: None }
    }

    pub fn size(&self) -> [u32; 2] {
        self.source.size()
    }

    pub fn fps(&self) -> Fps {
        self.source.fps()
    }

    pub fn depth(&self) -> Depth {
        self.source.depth()
    }

    pub fn pixel_aspect(&self) -> f64 {
        self.source.pixel_aspect()
    }

    /// Frame `index`, or None past the end.
    pub fn frame(&mut self, index: u64) -> Result<Option<&Frame>> {
        let oldest = self.next - self.recent.len() as u64;
        let block = self.block as u64;
        if index < oldest {
            self.seek(index.saturating_sub(block - 1))?;
        } else if index >= self.next + 8 * block {
            self.seek(index)?;
        }
        while self.next <= index {
            let Some(frame) = self.source.next_frame()? else { return Ok(None) };
            if self.recent.len() == self.block {
                self.recent.pop_front();
            }
            self.recent.push_back(frame);
            self.next += 1;
        }
        let back = (self.next - index) as usize;
        Ok(self.recent.get(self.recent.len() - back))
    }

    /// Frame `index`, or the last one where a file holds fewer than its time stamps promise, which is said once. Errors: it holds
    /// none.
    pub fn frame_or_last(&mut self, index: u64) -> Result<&Frame> {
        let mut index = self.last.map_or(index, |last| index.min(last));
        if self.frame(index)?.is_none() {
            while self.recent.is_empty() && self.next > 0 {
                self.seek(self.next.saturating_sub(self.block as u64))?;
                while self.frame(self.next)?.is_some() {}
            }
            if self.recent.is_empty() {
                return Err(Problem::new("video", "a frame or more", "none").input());
            }
            index = self.next - 1;
            tracing::warn!("the video's frames end at number {index} where its time stamps go on; that frame stays");
            self.last = Some(index);
        }
        let back = (self.next - index) as usize;
        Ok(&self.recent[self.recent.len() - back])
    }

    fn seek(&mut self, index: u64) -> Result<()> {
        self.source.seek(index)?;
        self.recent.clear();
        self.next = index;
        Ok(())
    }
}

/// The pictures of a folder, known by the ends of their names, `frame2.png` before `frame10.png`, all with the first one's depth.
pub struct FolderSource {
    files: Vec<PathBuf>,
    size: [u32; 2],
    depth: Depth,
    fps: Fps,
    next: usize,
}

impl FolderSource {
    /// A single picture stands for a folder with nothing else in it. Errors: no such folder, or no pictures in it.
    pub fn open(dir: &Path, fps: Fps) -> Result<Self> {
        let files = if dir.is_file() { vec![dir.to_path_buf()] } else { pictures_of(dir)? };
        let Some(first) = files.first() else {
            return Err(Problem::new(dir.display().to_string(), "a picture or more", "none").input());
        };
        // Of the others their first bytes have to do, before hours of work: the rest is read when its turn comes.
        for file in &files {
            if !picture::holds_picture(file)? {
                return Err(picture::undecodable(file, "another kind of file"));
            }
        }
        let first = read_picture(first)?;
        Ok(Self { size: [first.width, first.height], depth: first.depth, files, fps, next: 0 })
    }

    pub fn count(&self) -> u64 {
        self.files.len() as u64
    }

    /// What a video made of them looks like: new, with their depth.
    pub fn look(&self) -> Look {
        let bits = 8 * self.depth.bytes() as u32;
        let pixels = PixelFormat { bits, chroma: Chroma::Rgb, has_alpha: false };
        Look { pixels, ..Look::standard() }
    }
}

impl FrameSource for FolderSource {
    fn size(&self) -> [u32; 2] {
        self.size
    }

    fn fps(&self) -> Fps {
        self.fps
    }

    fn times(&self) -> Option<FrameTimes> {
        Some(FrameTimes::Constant { fps: self.fps, count: self.count() })
    }

    fn depth(&self) -> Depth {
        self.depth
    }

    fn next_frame(&mut self) -> Result<Option<Frame>> {
        let Some(file) = self.files.get(self.next) else { return Ok(None) };
        let frame = read_picture(file)?.at_depth(self.depth);
        check_size(&file.display().to_string(), self.size, &frame)?;
        self.next += 1;
        Ok(Some(frame))
    }

    fn seek(&mut self, index: u64) -> Result<()> {
        self.next = index.min(self.count()) as usize;
        Ok(())
    }
}

/// In the order of their numbers.
fn pictures_of(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = |source| Error::Read { path: dir.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if is_picture(&path) && path.is_file() {
            files.push(path);
        }
    }
    files.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(files)
}

/// Reads a picture file of any usual kind, by what is in it, turned upright; what is transparent lies on black, and one of
/// 16 bits keeps them. Errors: no such file, no picture, one that is cut off.
pub fn read_picture(path: &Path) -> Result<Frame> {
    read_picture_by(path, None)
}

/// [`read_picture`] with the ffmpeg at `ffmpeg` where AVIF and HEIC need one, which else is the first in PATH.
pub fn read_picture_by(path: &Path, ffmpeg: Option<&Path>) -> Result<Frame> {
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let picture = picture::decode(path, &bytes, ffmpeg)?;
    let (width, height) = (picture.width(), picture.height());
    if picture.color().bytes_per_pixel() / picture.color().channel_count() == 1 {
        return Ok(Frame::rgb8(width, height, picture.into_rgb8().into_raw()));
    }
    let rgb = picture.into_rgb16().into_raw().into_iter().flat_map(u16::to_le_bytes).collect();
    Ok(Frame { width, height, depth: Depth::Sixteen, rgb })
}

pub(super) fn check_size(subject: &str, [width, height]: [u32; 2], frame: &Frame) -> Result<()> {
    let bytes = frame.width as usize * frame.height as usize * 3 * frame.depth.bytes();
    if [frame.width, frame.height] == [width, height] && frame.rgb.len() == bytes {
        return Ok(());
    }
    let found = format!("{}x{} with {} bytes", frame.width, frame.height, frame.rgb.len());
    Err(Problem::new(subject, format!("a frame of {width}x{height}, as the others"), found).input())
}

pub(super) fn nothing_written(out: &Path) -> Error {
    Problem::new(out.display().to_string(), "a frame or more to write", "none").input()
}

/// Runs of digits compare as numbers, everything else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_left, mut b_left) = (a, b);
    loop {
        let (a_run, b_run) = (run(a_left), run(b_left));
        if a_run.is_empty() || b_run.is_empty() {
            return a_run.cmp(b_run).then(a.cmp(b));
        }
        let both_digits = [a_run, b_run].iter().all(|run| run.starts_with(|c: char| c.is_ascii_digit()));
        let order = if both_digits {
            let (a, b) = (a_run.trim_start_matches('0'), b_run.trim_start_matches('0'));
            a.len().cmp(&b.len()).then(a.cmp(b))
        } else {
            a_run.cmp(b_run)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a_left, b_left) = (&a_left[a_run.len()..], &b_left[b_run.len()..]);
    }
}

/// The characters at the front of `text` that are all digits, or all none.
fn run(text: &str) -> &str {
    let is_digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_digits).unwrap_or(text.len());
    &text[..end]
}

/// `frame` as a PNG file.
pub fn write_picture(path: &Path, frame: &Frame) -> Result<()> {
    let (format, [width, height]) = (image::ImageFormat::Png, [frame.width, frame.height]);
    let written = match frame.depth {
        Depth::Eight => image::save_buffer_with_format(path, &frame.rgb, width, height, image::ColorType::Rgb8, format),
        Depth::Sixteen => {
            // The encoder takes values in the machine's order.
            let (values, _) = frame.rgb.as_chunks();
            let values: Vec<u16> = values.iter().map(|&value| u16::from_le_bytes(value)).collect();
            let bytes = bytemuck::cast_slice(&values);
            image::save_buffer_with_format(path, bytes, width, height, image::ColorType::Rgb16, format)
        }
    };
    written.map_err(|e| {
        let source = match e {
            image::ImageError::IoError(source) => source,
            other => std::io::Error::other(other),
        };
        Error::Write { path: path.to_path_buf(), source }
    })
}

/// Frames as `000000.png`, `000001.png`, ... in a folder that has its final name only when it is complete.
pub struct FolderSink {
    dir: PathBuf,
    partial: PathBuf,
    keep: bool,
    size: Option<[u32; 2]>,
    next: u64,
}

impl FolderSink {
    /// Frames go to a hidden folder beside `dir`, which is removed unless [`FrameSink::finish`] is reached. Errors: there is
    /// something at `dir` already, or in that folder something else than frames, or it cannot be written.
    pub fn create(dir: &Path) -> Result<Self> {
        let partial = beside(dir, ".partial")?;
        let frames = unfinished(&partial)?;
        let remove = || frames.iter().try_for_each(fs::remove_file);
        remove().map_err(|source| Error::Write { path: partial.clone(), source })?;
        let mut sink = Self::resume(dir, &partial, 0)?;
        sink.keep = false;
        Ok(sink)
    }

    /// Whether the folder could have its name: nothing stands there, or an empty folder, and what is beside it under the hidden name
    /// is an unfinished run's.
    pub fn check(dir: &Path) -> Result<()> {
        let is_taken = match fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => fs::symlink_metadata(dir).is_ok(),
        };
        if is_taken {
            let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it exists and is not an empty folder");
            return Err(Error::Write { path: dir.to_path_buf(), source });
        }
        unfinished(&beside(dir, ".partial")?).map(drop)
    }

    /// Goes on after frame `done` - 1 in the folder `partial`, on the same disk as `dir`. It stays there until it is finished.
    pub fn resume(dir: &Path, partial: &Path, done: u64) -> Result<Self> {
        Self::check(dir)?;
        fs::create_dir_all(partial).map_err(|source| Error::Write { path: partial.to_path_buf(), source })?;
        let sink = Self { dir: dir.to_path_buf(), partial: partial.to_path_buf(), keep: true, size: None, next: done };
        if let Some(missing) = (0..done).find(|&i| !sink.file(i).is_file()) {
            let found = format!("no {}", sink.file(missing).display());
            return Err(Problem::new(partial.display().to_string(), format!("{done} finished frames"), found).input());
        }
        Ok(sink)
    }

    fn file(&self, index: u64) -> PathBuf {
        self.partial.join(format!("{index:06}.png"))
    }
}

/// The frames that a [`FolderSink`] which was cut off left at `partial`. Errors: there is anything else there, which is nobody's
/// to remove.
fn unfinished(partial: &Path) -> Result<Vec<PathBuf>> {
    let write = |source| Error::Write { path: partial.to_path_buf(), source };
    let foreign = |what: &str| {
        let said = format!("{what} is no frame of an unfinished run: move it away");
        write(std::io::Error::new(std::io::ErrorKind::AlreadyExists, said))
    };
    match fs::symlink_metadata(partial) {
        Err(_) => return Ok(Vec::new()),
        Ok(metadata) if !metadata.is_dir() => return Err(foreign("what is there")),
        Ok(_) => {}
    }
    let is_frame = |name: &str| name.strip_suffix(".png").is_some_and(|n| n.len() >= 6 && n.parse::<u64>().is_ok());
    let mut frames = Vec::new();
    for entry in fs::read_dir(partial).map_err(write)? {
        let entry = entry.map_err(write)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) || !is_frame(&name) {
            return Err(foreign(&name));
        }
        frames.push(entry.path());
    }
    Ok(frames)
}

impl FrameSink for FolderSink {
    fn write(&mut self, frame: &Frame) -> Result<()> {
        let path = self.file(self.next);
        check_size(&path.display().to_string(), *self.size.get_or_insert([frame.width, frame.height]), frame)?;
        write_picture(&path, frame)?;
        self.next += 1;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.next == 0 {
            return Err(nothing_written(&self.dir));
        }
        // Frames of a run that got further before it was cut off.
        for stale in (self.next..).map(|i| self.file(i)).take_while(|path| path.is_file()) {
            fs::remove_file(&stale).map_err(|source| Error::Write { path: stale, source })?;
        }
        if self.dir.is_dir() {
            fs::remove_dir(&self.dir).map_err(|source| Error::Write { path: self.dir.clone(), source })?;
        }
        fs::rename(&self.partial, &self.dir).map_err(|source| Error::Write { path: self.dir.clone(), source })?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for FolderSink {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

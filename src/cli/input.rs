use std::path::Path;

use viseme::media::frames::FolderSource;
use viseme::media::picture::is_still;
use viseme::media::probe::{Look, VideoInfo, probe};
use viseme::media::reader::VideoReader;
use viseme::media::{Ffmpeg, Fps, FrameSource};
use viseme::{Error, Problem, Result};

/// A video, or a folder of pictures or a single one, opened as often as asked.
pub enum Input {
    Video { ffmpeg: Ffmpeg, info: VideoInfo },
    Folder { path: std::path::PathBuf, fps: Fps },
}

impl Input {
    /// `fps` is that of pictures; `ffmpeg` is asked for only where needed.
    pub fn open(path: &Path, fps: Fps, ffmpeg: Option<&Path>) -> Result<Self> {
        let kind = std::fs::metadata(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        if kind.is_dir() || is_still(path)? {
            return Ok(Input::Folder { path: path.to_path_buf(), fps });
        }
        let ffmpeg = Ffmpeg::find(ffmpeg)?;
        let info = probe(&ffmpeg, path)?;
        Ok(Input::Video { ffmpeg, info })
    }

    pub fn source(&self) -> Result<Box<dyn FrameSource>> {
        Ok(match self {
            Input::Video { ffmpeg, info } => Box::new(VideoReader::new(ffmpeg, info.clone())),
            Input::Folder { path, fps } => Box::new(FolderSource::open(path, *fps)?),
        })
    }

    /// Read with 8 bits a colour whatever it holds, as the published programs read everything.
    pub fn in_eight_bits(mut self) -> Self {
        if let Input::Video { info, .. } = &mut self {
            info.look.pixels.bits = 8;
        }
        self
    }

    /// What a video made of it looks like.
    pub fn look(&self) -> Result<Look> {
        match self {
            Input::Video { info, .. } => Ok(info.shown()),
            Input::Folder { path, fps } => FolderSource::open(path, *fps).map(|pictures| pictures.look()),
        }
    }

    /// The video, where it is one.
    pub fn video(&self) -> Option<&VideoInfo> {
        match self {
            Input::Video { info, .. } => Some(info),
            Input::Folder { .. } => None,
        }
    }

    /// What reading it changes, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.video().map(VideoInfo::notes).unwrap_or_default();
        notes.iter().map(|note| format!("the video: {note}")).collect()
    }

    /// The file, where it has sound.
    pub fn sound(&self) -> Option<&Path> {
        self.video().filter(|info| info.has_audio).map(|info| info.path.as_path())
    }
}

/// A decimal rate as a fraction: a whole number, one of NTSC's, or thousandths.
pub fn frame_rate(fps: f64) -> Result<Fps> {
    let ntsc = [24_000, 30_000, 60_000].into_iter().find(|&n| (f64::from(n) / 1001.0 - fps).abs() < 5e-3);
    let (num, den) = match ntsc {
        Some(num) => (num, 1001),
        None if fps.fract() == 0.0 => (fps as u32, 1),
        None => ((fps * 1000.0).round() as u32, 1000),
    };
    Fps::new(num, den).map_err(|_| Problem::new("--fps", "0.001 to 1000 frames a second", fps.to_string()).usage())
}

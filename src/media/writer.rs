//! Videos out through ffmpeg: raw RGB over a pipe, with the matrix and the range named to its scaler.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use super::ffmpeg::{self, Ffmpeg, Process};
use super::filters::raw_format;
use super::frames::{self, Fps, Frame, FrameSink};
use super::pixels::Choice;
use super::probe::{Look, Range};
use super::reader::SCALE_FLAGS;
use crate::{Error, Problem, Result};

/// What a video is encoded as.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoSpec {
    /// Width and height. Most encoders' usual yuv420p has no odd sizes: such a video becomes yuv444p, which keeps every
    /// pixel but plays in fewer programs.
    pub size: [u32; 2],
    pub fps: Fps,
    /// The source's, so that its tags, depth and chroma are kept; [`Look::standard`] for a new video.
    pub look: Look,
    /// An encoder of ffmpeg's.
    pub codec: String,
    /// Constant rate factor: None leaves the quality to the encoder, as those without the option need.
    pub crf: Option<u8>,
}

impl VideoSpec {
    pub const CODEC: &str = "libx264";
    pub const CRF: u8 = 18;

    pub fn new(size: [u32; 2], fps: Fps, look: Look) -> Self {
        Self { size, fps, look, codec: Self::CODEC.to_string(), crf: Some(Self::CRF) }
    }

    /// ffmpeg encoding raw frames from its stdin to an output that is still to be named.
    fn encode(&self, ffmpeg: &Ffmpeg) -> Command {
        let [width, height] = self.size;
        let (size, fps) = (format!("{width}x{height}"), self.fps.to_string());
        let mut command = ffmpeg.command();
        let raw = raw_format(self.look.pixels.depth());
        command.args(["-f", "rawvideo", "-pix_fmt", raw, "-video_size", &size, "-framerate", &fps, "-i", "pipe:0"]);
        command.args(self.encode_args(&self.choice(ffmpeg))).stdin(Stdio::piped());
        command
    }

    /// Encodes one frame into nothing: an encoder that is missing or refuses the size is better known before hours of work.
    fn try_encoder(&self, ffmpeg: &Ffmpeg) -> Result<()> {
        let mut process = Process::spawn(self.encode(ffmpeg).args(["-f", "null", "-"]))?;
        let [width, height] = self.size;
        if let Some(mut pipe) = process.stdin() {
            // If this fails, ffmpeg has ended and its status says why.
            let bytes = width as usize * height as usize * 3 * self.look.pixels.depth().bytes();
            let _ = pipe.write_all(&vec![0; bytes]);
        }
        let (status, said) = process.wait()?;
        if status.success() {
            return Ok(());
        }
        let expected = format!("to encode {width}x{height} with {}", self.codec);
        let problem = Problem::new("ffmpeg", expected, ffmpeg::ending(status, &said));
        Err(Error::Ffmpeg(problem.remedy("`ffmpeg -encoders` lists what --codec can name")))
    }

    /// The encoder's pixel format.
    fn choice(&self, ffmpeg: &Ffmpeg) -> Choice {
        Choice::new(self.look.pixels, &self.codec, &ffmpeg.pixel_formats(&self.codec), self.size)
    }

    /// What the encoder cannot keep of the source's depth and chroma, for a line before the work begins.
    pub fn loss(&self, ffmpeg: &Ffmpeg) -> Option<String> {
        let lost = self.choice(ffmpeg).loss(self.look.pixels)?;
        Some(format!("{} keeps {lost}", self.codec))
    }

    fn encode_args(&self, choice: &Choice) -> Vec<String> {
        let Self { size: [width, height], look, .. } = self;
        let name = |tag: &Option<String>| tag.clone().unwrap_or("unknown".to_string());
        let is_rgb = choice.format.is_rgb();
        let matrix = look.matrix.filter(|_| !is_rgb).map(|m| m.name().to_string());
        let range = if is_rgb { Some(Range::Full) } else { look.range };
        let range = range.map(|r| r.name().to_string());
        let [sar_x, sar_y] = look.pixel_aspect.unwrap_or([1, 1]);
        let convert = match is_rgb {
            true => String::new(),
            false => format!(
                "scale={width}:{height}:in_range=pc:out_color_matrix={}:out_range={}:flags={SCALE_FLAGS},",
                look.matrix_of(self.size).scale_name(),
                look.range_or_limited().name(),
            ),
        };
        let filters = format!(
            "{convert}format={},setparams=range={}:colorspace={}:color_primaries={}:color_trc={},setsar={sar_x}/{sar_y}",
            choice.name,
            name(&range),
            if is_rgb { "gbr".to_string() } else { name(&matrix) },
            name(&look.primaries),
            name(&look.transfer),
        );
        let mut args = vec!["-vf".to_string(), filters, "-c:v".to_string(), self.codec.clone()];
        // Newer ffmpegs take the tags from the frames, older ones from these options.
        let options = [
            ("-colorspace", matrix),
            ("-color_range", range),
            ("-color_primaries", look.primaries.clone()),
            ("-color_trc", look.transfer.clone()),
            ("-crf", self.crf.map(|crf| crf.to_string())),
        ];
        for (option, value) in options {
            args.extend(value.into_iter().flat_map(|value| [option.to_string(), value]));
        }
        args
    }
}

/// The sound that a written video gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// Any file with sound; its default sound track is taken.
    pub path: PathBuf,
    /// Where in the video the start of the file's time lies: behind silence, or, below 0, with its beginning cut off.
    pub start_s: f64,
    /// Where it is heard, and what is heard outside of that; None: everywhere.
    pub part: Option<SoundPart>,
}

/// A stretch of a video, in seconds, with new sound; around it the sound of `around`, placed as in [`Sound`], or silence.
#[derive(Debug, Clone, PartialEq)]
pub struct SoundPart {
    pub from_s: f64,
    pub to_s: f64,
    pub around: Option<(PathBuf, f64)>,
}

/// Encodes frames as they come. The file has its name only once it is complete; until then it is hidden beside it, and it
/// is removed if this is dropped unfinished.
pub struct VideoWriter {
    ffmpeg: Ffmpeg,
    out: PathBuf,
    video: Temporary,
    spec: VideoSpec,
    audio: Option<PathBuf>,
    process: Process,
    pipe: Option<ChildStdin>,
    frames: u64,
}

impl VideoWriter {
    /// `audio` is any file with sound; it is cut, or filled up with silence, to the video's length. Errors: `out` cannot be
    /// written or is of a kind not known here.
    pub fn create(ffmpeg: &Ffmpeg, out: &Path, spec: VideoSpec, audio: Option<&Path>) -> Result<Self> {
        Self::check(out)?;
        let container = Container::of(out)?;
        let video = Temporary::create(frames::beside(out, ".video")?)?;
        spec.try_encoder(ffmpeg)?;
        let mut command = spec.encode(ffmpeg);
        command.args(container.args()).arg("-y").arg(ffmpeg::file(&video.path));
        let mut process = Process::spawn(&mut command)?;
        let pipe = process.stdin();
        Ok(Self {
            ffmpeg: ffmpeg.clone(),
            out: out.to_path_buf(),
            video,
            spec,
            audio: audio.map(Path::to_path_buf),
            process,
            pipe,
            frames: 0,
        })
    }

    /// Whether `out` could name a video: it ends as a known kind does, and no folder has the name.
    pub fn check(out: &Path) -> Result<()> {
        Container::of(out)?;
        if out.is_dir() {
            let source = std::io::Error::new(std::io::ErrorKind::IsADirectory, "a folder of this name is there");
            return Err(Error::Write { path: out.to_path_buf(), source });
        }
        Ok(())
    }

    /// Ends ffmpeg's input and says what went wrong, if anything did.
    fn close(&mut self) -> Result<()> {
        drop(self.pipe.take());
        let (status, said) = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(ffmpeg::write_failed(&self.out, status, &said)) }
    }
}

impl FrameSink for VideoWriter {
    fn write(&mut self, frame: &Frame) -> Result<()> {
        let subject = || format!("{}, frame {}", self.out.display(), self.frames);
        frames::check_size(&subject(), self.spec.size, frame)?;
        let depth = self.spec.look.pixels.depth();
        if frame.depth != depth {
            let expected = format!("{depth:?} bits a colour, as its look has");
            return Err(Problem::new(subject(), expected, format!("{:?}", frame.depth)).input());
        }
        let written = match &mut self.pipe {
            Some(pipe) => pipe.write_all(&frame.rgb),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        if let Err(e) = written {
            // A pipe breaks because ffmpeg ended; why it did is the better message.
            self.close()?;
            return Err(Error::Ffmpeg(Problem::new("ffmpeg", "to read all frames", e.to_string())));
        }
        self.frames += 1;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.frames == 0 {
            return Err(frames::nothing_written(&self.out));
        }
        self.close()?;
        match &self.audio {
            None => self.video.publish(&self.out),
            Some(audio) => {
                let piece = std::slice::from_ref(&self.video.path);
                join(&self.ffmpeg, piece, Some(audio), self.spec.fps, self.frames, &self.out)
            }
        }
    }
}

/// Puts videos of one [`VideoSpec`] one after another, `frames` in all, with the sound of `audio`, into `out`; no picture
/// is encoded again.
pub fn join(
    ffmpeg: &Ffmpeg,
    pieces: &[PathBuf],
    audio: Option<&Path>,
    fps: Fps,
    frames: u64,
    out: &Path,
) -> Result<()> {
    let container = Container::of(out)?;
    let joined = Temporary::create(frames::beside(out, ".partial")?)?;
    let mut command = ffmpeg.command();
    command.args(["-f", "concat", "-safe", "0", "-protocol_whitelist", "file,pipe", "-i", "pipe:0"]);
    if let Some(audio) = audio {
        if !audio.is_file() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(Error::Read { path: audio.to_path_buf(), source });
        }
        let seconds = frames as f64 * f64::from(fps.den) / f64::from(fps.num);
        command.arg("-i").arg(ffmpeg::file(audio)).args(["-map", "0:v:0", "-map", "1:a:0"]);
        command.args(["-af", &format!("asetpts=PTS-STARTPTS,apad,atrim=end={seconds:.6}")]);
        command.args(["-c:a", container.audio_codec(), "-b:a", "192k"]);
    }
    command.args(["-c:v", "copy"]).args(container.args()).arg("-y").arg(ffmpeg::file(&joined.path));
    let mut process = Process::spawn(command.stdin(Stdio::piped()))?;
    let mut list = Vec::new();
    for piece in pieces {
        let path = std::path::absolute(piece).map_err(|source| Error::Read { path: piece.clone(), source })?;
        list.extend(b"file '");
        list.extend(ffmpeg::file(&path).to_string_lossy().replace('\'', r"'\''").bytes());
        list.extend(b"'\n");
    }
    if let Some(mut pipe) = process.stdin() {
        // If this fails, ffmpeg has ended and its status says why.
        let _ = pipe.write_all(&list);
    }
    let (status, said) = process.wait()?;
    if !status.success() {
        if let Some(audio) = audio.filter(|_| said.contains("matches no streams")) {
            let found = "a file without an audio stream";
            return Err(Problem::new(audio.display().to_string(), "sound that ffmpeg can decode", found).input());
        }
        return Err(ffmpeg::write_failed(out, status, &said));
    }
    joined.publish(out)
}

/// The kinds of file that a video is written to, by the end of the name.
#[derive(Clone, Copy)]
enum Container {
    Mp4,
    Matroska,
    WebM,
}

impl Container {
    fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "mp4" | "m4v" | "mov" => Ok(Self::Mp4),
            "mkv" => Ok(Self::Matroska),
            "webm" => Ok(Self::WebM),
            _ => Err(Problem::new(
                path.display().to_string(),
                "a name ending in .mp4, .m4v, .mov, .mkv or .webm",
                "another",
            )
            .usage()),
        }
    }

    fn args(self) -> &'static [&'static str] {
        match self {
            // The index in front, so that a player or a browser starts before it has the whole file.
            Self::Mp4 => &["-movflags", "+faststart"],
            Self::Matroska | Self::WebM => &[],
        }
    }

    fn audio_codec(self) -> &'static str {
        match self {
            Self::Mp4 | Self::Matroska => "aac",
            Self::WebM => "libopus",
        }
    }
}

/// A file that is removed when dropped, unless it got its final name.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Errors: the file cannot be made, which is better known before hours of work.
    fn create(path: PathBuf) -> Result<Self> {
        match File::create(&path) {
            Ok(_) => Ok(Self { path }),
            Err(source) => Err(Error::Write { path, source }),
        }
    }

    fn publish(&self, out: &Path) -> Result<()> {
        fs::rename(&self.path, out).map_err(|source| Error::Write { path: out.to_path_buf(), source })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

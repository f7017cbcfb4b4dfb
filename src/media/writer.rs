//! Videos out through ffmpeg: raw RGB over a pipe, with the matrix and the range named to its scaler.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use super::container::Container;
use super::encoder::Encoder;
use super::ffmpeg::{self, Ffmpeg, Process};
use super::file::beside;
use super::filters::raw_format;
use super::frames::{self, Fps, Frame, FrameSink};
use super::mux::Mux;
use super::pixels::Choice;
use super::probe::{Look, Range, probe};
use super::reader::SCALE_FLAGS;
use crate::{Error, Problem, Result};

/// What a video is encoded as.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoSpec {
    /// Width and height of the frames. Where an encoder has no odd sizes, the last column and row are written twice.
    pub size: [u32; 2],
    pub fps: Fps,
    /// The source's, so that its tags, depth and chroma are kept; [`Look::standard`] for a new video.
    pub look: Look,
    /// An encoder of ffmpeg's; None: what such files are usually encoded with.
    pub codec: Option<String>,
    /// Quality on the encoder's own scale, lower is better; None: such that a difference to the frames is hard to see.
    pub crf: Option<u8>,
    /// Bits a second of the source's picture, for encoders that know no constant quality.
    pub source_rate: Option<u64>,
}

impl VideoSpec {
    pub fn new(size: [u32; 2], fps: Fps, look: Look) -> Self {
        Self { size, fps, look, codec: None, crf: None, source_rate: None }
    }

    /// The filters between raw frames and the encoder.
    fn filters(&self, coded: [u32; 2], choice: &Choice) -> String {
        let Self { size: [width, height], look, .. } = self;
        let name = |tag: &Option<String>| tag.clone().unwrap_or("unknown".to_string());
        let is_rgb = choice.format.is_rgb();
        let (matrix, range) = self.matrix_and_range(choice);
        let [sar_x, sar_y] = look.pixel_aspect.unwrap_or([1, 1]);
        let convert = match is_rgb {
            true => String::new(),
            false => format!(
                "scale={width}:{height}:in_range=pc:out_color_matrix={}:out_range={}:flags={SCALE_FLAGS},",
                look.matrix_of(self.size).scale_name(),
                look.range_or_limited().name(),
            ),
        };
        let mut filters = format!(
            "{convert}format={},setparams=range={}:colorspace={}:color_primaries={}:color_trc={},setsar={sar_x}/{sar_y}",
            choice.name,
            name(&range),
            if is_rgb { "gbr".to_string() } else { name(&matrix) },
            name(&look.primaries),
            name(&look.transfer),
        );
        let [right, bottom] = [coded[0] - width, coded[1] - height];
        if right + bottom > 0 {
            // Of subsampled chroma the last sample covers them as it is.
            filters += &format!(",pad={}:{}:0:0,fillborders=0:{right}:0:{bottom}:mode=smear", coded[0], coded[1]);
        }
        filters
    }

    /// The tags of what `choice` stores: RGB has neither matrix nor a limited range.
    fn matrix_and_range(&self, choice: &Choice) -> (Option<String>, Option<String>) {
        let is_rgb = choice.format.is_rgb();
        let matrix = self.look.matrix.filter(|_| !is_rgb).map(|m| m.name().to_string());
        let range = if is_rgb { Some(Range::Full) } else { self.look.range };
        (matrix, range.map(|r| r.name().to_string()))
    }

    /// Newer ffmpegs take the tags from the frames, older ones from these options.
    fn tags(&self, choice: &Choice) -> Vec<String> {
        let (matrix, range) = self.matrix_and_range(choice);
        let options = [
            ("-colorspace", matrix),
            ("-color_range", range),
            ("-color_primaries", self.look.primaries.clone()),
            ("-color_trc", self.look.transfer.clone()),
        ];
        options.into_iter().filter_map(|(option, value)| Some([option.to_string(), value?])).flatten().collect()
    }
}

/// A [`VideoSpec`] with the choices made that it leaves open.
struct Encoding {
    spec: VideoSpec,
    codec: String,
    quality: Vec<String>,
    choice: Choice,
    /// What the encoder does, in a few words.
    summary: String,
    /// Width and height of the pictures in the file.
    coded: [u32; 2],
}

impl Encoding {
    /// Errors: a quality that `codec` has not.
    fn new(ffmpeg: &Ffmpeg, spec: &VideoSpec, codec: &str, coded: [u32; 2]) -> Result<Self> {
        let (quality, summary) =
            Encoder::named(codec).quality(codec, spec.crf, spec.size, spec.fps, spec.source_rate)?;
        let choice = Choice::new(spec.look.pixels, codec, &ffmpeg.pixel_formats(codec));
        Ok(Self { spec: spec.clone(), codec: codec.to_string(), quality, choice, summary, coded })
    }

    /// ffmpeg encoding raw frames from its stdin to an output that is still to be named.
    fn command(&self, ffmpeg: &Ffmpeg, container: Container) -> Command {
        let [width, height] = self.spec.size;
        let (size, fps) = (format!("{width}x{height}"), self.spec.fps.to_string());
        let mut command = ffmpeg.command();
        let raw = raw_format(self.spec.look.pixels.depth());
        command.args(["-f", "rawvideo", "-pix_fmt", raw, "-video_size", &size, "-framerate", &fps, "-i", "pipe:0"]);
        command.args(["-vf", &self.spec.filters(self.coded, &self.choice), "-c:v", &self.codec]);
        command.args(&self.quality).args(self.spec.tags(&self.choice)).stdin(Stdio::piped());
        if let Some(tag) = container.tag(&self.codec) {
            command.args(["-tag:v", tag]);
        }
        command
    }

    /// Encodes [`TRIAL_FRAMES`] into the file `out`. What went wrong, if anything did.
    fn attempt(&self, ffmpeg: &Ffmpeg, container: Container, out: &Path) -> Result<Option<String>> {
        let mut command = self.command(ffmpeg, container);
        let mut process = Process::spawn(command.args(container.args()).arg("-y").arg(ffmpeg::file(out)))?;
        let [width, height] = self.spec.size;
        if let Some(mut pipe) = process.stdin() {
            // Busy enough for a file in which ffmpeg knows its own format again.
            let busy = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
            let bytes = width * height * 3 * self.spec.look.pixels.depth().bytes() as u32;
            let frame: Vec<u8> = (0..bytes).map(busy).collect();
            for _ in 0..TRIAL_FRAMES {
                // If this fails, ffmpeg has ended and its status says why.
                let _ = pipe.write_all(&frame);
            }
        }
        let (status, said) = process.wait()?;
        if !status.success() {
            return Ok(Some(ffmpeg::ending(status, &said)));
        }
        let made = probe(ffmpeg, out).map(|info| info.size);
        Ok(match made {
            Ok(size) if size == self.coded => None,
            Ok([width, height]) => Some(format!("pictures of {width}x{height} came out")),
            Err(error) => Some(error.to_string()),
        })
    }
}

/// Frames of a trial: encoders hold back one or two.
const TRIAL_FRAMES: u64 = 3;

/// How a video will be written: tried on a few frames before there are any.
pub struct Trial {
    encoding: Encoding,
    mux: Mux,
    /// What is written, in a few words: encoders and their quality.
    pub summary: String,
    /// What of the source is changed or left out, a sentence each.
    pub notes: Vec<String>,
}

impl Trial {
    /// Encodes a few frames into the folder of `out`, under a hidden name, and puts sound and the source's streams beside them.
    /// Errors: `out` cannot be written or is of a kind not known here (usage), its kind does not hold what the encoder makes (usage,
    /// with what would do), the encoder is not there or refuses (ffmpeg), a file without sound (input).
    pub fn new(ffmpeg: &Ffmpeg, out: &Path, spec: &VideoSpec, tracks: Tracks<'_>) -> Result<Self> {
        VideoWriter::check(out)?;
        let container = Container::of(out)?;
        let picture = Temporary::create(beside(out, ".trial")?)?;
        let encoding = choose(ffmpeg, container, out, spec, &picture.path)?;
        let mut mux = Mux::new(ffmpeg, container, tracks)?;
        if !mux.is_empty() {
            let joined = Temporary::create(beside(out, ".partial")?)?;
            let input = || {
                let mut command = ffmpeg.command();
                command.arg("-i").arg(ffmpeg::file(&picture.path));
                command
            };
            mux.settle(input, spec.fps, TRIAL_FRAMES, &joined.path)?;
        }
        let mut notes = Vec::new();
        if encoding.coded != spec.size {
            let ([width, height], [wide, high]) = (spec.size, encoding.coded);
            notes.push(format!(
                "{}: {width}x{height} becomes {wide}x{high}, as {} has no odd sizes: the last column or row is there twice",
                out.display(),
                encoding.codec
            ));
        }
        if let Some(lost) = encoding.choice.loss(spec.look.pixels) {
            notes.push(format!("{}: {} keeps {lost}", out.display(), encoding.codec));
        }
        notes.append(&mut mux.notes);
        let sound = mux.sound_codec().map(|codec| format!(", sound {codec}")).unwrap_or_default();
        Ok(Self { summary: format!("{}{sound}", encoding.summary), encoding, mux, notes })
    }

    /// About how many bytes a video of `frames` takes on the disk while it is written.
    pub fn bytes(&self, frames: u64) -> u64 {
        let [width, height] = self.encoding.coded.map(f64::from);
        let bits = Encoder::named(&self.encoding.codec).bits_per_pixel() * width * height * frames as f64;
        // Once alone and once with all that goes beside it.
        let copies = if self.mux.is_empty() { 1.0 } else { 2.0 };
        (copies * bits / 8.0) as u64
    }
}

/// What `spec` is encoded with in such a file; `trial` is a file to try it on.
fn choose(ffmpeg: &Ffmpeg, container: Container, out: &Path, spec: &VideoSpec, trial: &Path) -> Result<Encoding> {
    let usual = || {
        let had = ffmpeg.encoders()?;
        Ok::<_, Error>(container.encoders().iter().copied().find(|&name| had.contains(name)))
    };
    let ending = container.endings()[0];
    let codec = match &spec.codec {
        Some(codec) => codec.clone(),
        None => usual()?.map(str::to_string).ok_or_else(|| {
            let expected = format!("an encoder for .{ending} files");
            let problem = Problem::new("ffmpeg", expected, format!("none of {}", container.encoders().join(", ")));
            Error::Ffmpeg(problem.remedy("--ffmpeg names another ffmpeg, --codec another encoder"))
        })?,
    };
    let attempt = |codec: &str, container: Container, path: &Path| {
        let encoding = Encoding::new(ffmpeg, spec, codec, spec.size)?;
        let Some(refused) = encoding.attempt(ffmpeg, container, path)? else { return Ok(Ok(encoding)) };
        let even = spec.size.map(|side| side.next_multiple_of(2));
        if even != spec.size {
            let encoding = Encoding { coded: even, ..encoding };
            if encoding.attempt(ffmpeg, container, path)?.is_none() {
                return Ok(Ok(encoding));
            }
        }
        Ok::<_, Error>(Err(refused))
    };
    let refused = match attempt(&codec, container, trial)? {
        Ok(encoding) => return Ok(encoding),
        Err(refused) => refused,
    };

    let mut remedies = Vec::new();
    let with_usual = VideoSpec { crf: None, ..spec.clone() };
    if let Some(usual) = usual()?.filter(|usual| *usual != codec)
        && Encoding::new(ffmpeg, &with_usual, usual, spec.size.map(|side| side.next_multiple_of(2)))?
            .attempt(ffmpeg, container, trial)?
            .is_none()
    {
        remedies.push(format!("--codec {usual}"));
    }
    let mut is_held = false;
    for other in Container::ALL.into_iter().filter(|other| *other != container) {
        let path = trial.with_extension(other.endings()[0]);
        let file = Temporary::create(path)?;
        if attempt(&codec, other, &file.path)?.is_ok() {
            remedies.push(format!("--out {}", out.with_extension(other.endings()[0]).display()));
            is_held = true;
            break;
        }
    }
    let [width, height] = spec.size;
    let expected = match is_held {
        true => format!("pictures that .{ending} files hold, from {codec}"),
        false => format!("to encode {width}x{height} with {codec}"),
    };
    let (subject, would) =
        (if is_held { out.display().to_string() } else { "ffmpeg".to_string() }, remedies.join(" or "));
    let list = if is_held { "" } else { "`ffmpeg -encoders` lists what --codec can name" };
    let works = if would.is_empty() { String::new() } else { format!("{would} would work") };
    let remedy: Vec<&str> = [works.as_str(), list].into_iter().filter(|text| !text.is_empty()).collect();
    let problem = Problem::new(subject, expected, refused).remedy(remedy.join("; "));
    Err(if is_held { problem.usage() } else { Error::Ffmpeg(problem) })
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

/// What a written video has beside its picture.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracks<'a> {
    /// The new sound, which players take by default; cut, or filled up with silence, to the video's length.
    pub sound: Option<&'a Sound>,
    /// The video that the picture was made from. Its other sound tracks, subtitles, chapters, tags, attachments and time code are
    /// kept as far as the file holds them; the track that new sound stands for is not.
    pub source: Option<&'a Path>,
}

/// Encodes frames as they come. The file has its name only once it is complete; until then it is hidden beside it, and it
/// is removed if this is dropped unfinished.
pub struct VideoWriter {
    ffmpeg: Ffmpeg,
    out: PathBuf,
    video: Temporary,
    trial: Trial,
    process: Process,
    pipe: Option<ChildStdin>,
    frames: u64,
}

impl VideoWriter {
    /// Begins to write `out`. Errors: those of [`Trial::new`].
    pub fn create(ffmpeg: &Ffmpeg, out: &Path, spec: &VideoSpec, tracks: Tracks<'_>) -> Result<Self> {
        let trial = Trial::new(ffmpeg, out, spec, tracks)?;
        let container = Container::of(out)?;
        let video = Temporary::create(beside(out, ".video")?)?;
        let mut command = trial.encoding.command(ffmpeg, container);
        command.args(container.args()).arg("-y").arg(ffmpeg::file(&video.path));
        let mut process = Process::spawn(&mut command)?;
        let pipe = process.stdin();
        Ok(Self { ffmpeg: ffmpeg.clone(), out: out.to_path_buf(), video, trial, process, pipe, frames: 0 })
    }

    /// How it is written, and what of the source is changed or left out.
    pub fn trial(&self) -> &Trial {
        &self.trial
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
        let spec = &self.trial.encoding.spec;
        frames::check_size(&subject(), spec.size, frame)?;
        let depth = spec.look.pixels.depth();
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
        if self.trial.mux.is_empty() {
            return self.video.publish(&self.out);
        }
        let mut command = self.ffmpeg.command();
        command.arg("-i").arg(ffmpeg::file(&self.video.path));
        finish(&self.trial.mux, command, Vec::new(), self.trial.encoding.spec.fps, self.frames, &self.out)
    }
}

/// Puts videos of one [`VideoSpec`] one after another, `frames` in all, with `tracks`, into `out`; no picture is encoded again.
/// What of the source goes in where ffmpeg takes it.
pub fn join(ffmpeg: &Ffmpeg, pieces: &[PathBuf], tracks: Tracks<'_>, fps: Fps, frames: u64, out: &Path) -> Result<()> {
    let mux = Mux::new(ffmpeg, Container::of(out)?, tracks)?;
    let mut list = Vec::new();
    for piece in pieces {
        let path = std::path::absolute(piece).map_err(|source| Error::Read { path: piece.clone(), source })?;
        let bytes = path.as_os_str().as_encoded_bytes();
        if bytes.contains(&b'\n') {
            let problem = Problem::new(format!("{:?}", path), "a path of one line, as ffmpeg lists files", "more");
            return Err(problem.input());
        }
        list.extend(b"file 'file:");
        list.extend(bytes.iter().flat_map(|&byte| if byte == b'\'' { b"'\\''".to_vec() } else { vec![byte] }));
        list.extend(b"'\n");
    }
    let mut command = ffmpeg.command();
    command.args(["-f", "concat", "-safe", "0", "-protocol_whitelist", "file,pipe", "-i", "pipe:0"]);
    command.stdin(Stdio::piped());
    finish(&mux, command, list, fps, frames, out)
}

/// Makes `out` of the picture that `picture` reads, from `input` where that is its stdin, and what goes beside it.
fn finish(mux: &Mux, picture: Command, input: Vec<u8>, fps: Fps, frames: u64, out: &Path) -> Result<()> {
    let joined = Temporary::create(beside(out, ".partial")?)?;
    let mut process = mux.run(picture, fps, frames, &joined.path)?;
    if let Some(mut pipe) = process.stdin() {
        // If this fails, ffmpeg has ended and its status says why.
        let _ = pipe.write_all(&input);
    }
    let (status, said) = process.wait()?;
    if !status.success() {
        return Err(ffmpeg::write_failed(out, status, &said));
    }
    joined.publish(out)
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

//! What a written video holds beside its picture: new sound, and what of the source is kept.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use super::container::{Container, Subtitles};
use super::encoder::SoundEncoder;
use super::ffmpeg::{self, Ffmpeg, Process};
use super::frames::Fps;
use super::streams::{Contents, Stream, StreamKind};
use super::writer::{Sound, SoundPart, Tracks};
use crate::{Error, Problem, Result};

/// How long one sound fades into another.
const FADE_S: f64 = 0.01;
/// What sounds are mixed at: most sound of videos has it.
const MIXED_RATE_HZ: u32 = 48_000;

/// How sound and kept streams get into one kind of file.
pub(super) struct Mux {
    ffmpeg: Ffmpeg,
    container: Container,
    sound: Option<NewSound>,
    source: Option<Source>,
    /// What is changed or left out, a sentence each.
    pub notes: Vec<String>,
}

/// A sound track in a file, and where it is placed.
struct Placed {
    path: PathBuf,
    /// Filters from the file's time to that of the video.
    in_time: String,
    stream: u32,
    channels: u32,
    layout: Option<String>,
}

struct NewSound {
    sound: Placed,
    part: Option<(f64, f64, Option<Placed>)>,
    encoder: SoundEncoder,
    layout: &'static str,
}

/// The video that the picture was made from.
struct Source {
    path: PathBuf,
    /// From the start of the file to its first picture, where the written video begins.
    skip_s: f64,
    language: Option<String>,
    title: Option<String>,
    kept: Vec<Kept>,
}

/// Something of the source that is kept; streams by their number in it.
struct Kept {
    what: Item,
    /// How a note calls it.
    name: String,
}

enum Item {
    Sound { stream: u32, again: Option<(SoundEncoder, &'static str)> },
    Subtitles { stream: u32, how: Subtitles },
    Attachment { stream: u32 },
    Cover { stream: u32 },
    Chapters,
    Timecode(String),
}

impl Mux {
    /// Errors: a file that cannot be read, or that has no sound where it should.
    pub fn new(ffmpeg: &Ffmpeg, container: Container, tracks: Tracks<'_>) -> Result<Self> {
        let mut mux = Self { ffmpeg: ffmpeg.clone(), container, sound: None, source: None, notes: Vec::new() };
        if tracks.sound.is_none() && tracks.source.is_none() {
            return Ok(mux);
        }
        let encoder = mux.sound_encoder()?;
        if let Some(sound) = tracks.sound {
            mux.sound = Some(mux.new_sound(sound, encoder)?);
        }
        if let Some(path) = tracks.source {
            mux.source = Some(mux.keep(path, encoder)?);
        }
        Ok(mux)
    }

    /// Whether there is anything to put beside the picture.
    pub fn is_empty(&self) -> bool {
        self.sound.is_none() && self.source.is_none()
    }

    /// ffmpeg's name of what new sound is encoded with.
    pub fn sound_codec(&self) -> Option<&'static str> {
        self.sound.as_ref().map(|sound| sound.encoder.name())
    }

    /// The first encoder for this kind of file that this ffmpeg has.
    fn sound_encoder(&self) -> Result<SoundEncoder> {
        let (known, had) = (self.container.sound_encoders(), self.ffmpeg.encoders()?);
        known.iter().copied().find(|encoder| had.contains(encoder.name())).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|encoder| encoder.name()).collect();
            let expected = format!("an encoder of sound for .{} files", self.container.endings()[0]);
            let problem = Problem::new("ffmpeg", expected, format!("none of {}", names.join(", ")));
            Error::Ffmpeg(problem.remedy("another ffmpeg has them; --ffmpeg names it"))
        })
    }

    fn new_sound(&mut self, sound: &Sound, encoder: SoundEncoder) -> Result<NewSound> {
        let placed = place(&self.ffmpeg, &sound.path, sound.start_s)?;
        let part = match &sound.part {
            None => None,
            Some(SoundPart { from_s, to_s, around }) => {
                let around = around.as_ref().map(|(path, start_s)| place(&self.ffmpeg, path, *start_s));
                Some((*from_s, *to_s, around.transpose()?))
            }
        };
        let around = part.as_ref().and_then(|(_, _, around)| around.as_ref());
        let mut layout = "mono";
        for track in std::iter::once(&placed).chain(around) {
            let target = encoder.layout_for(track.channels, track.layout.as_deref());
            if speakers(target) < track.channels {
                let (path, channels) = (track.path.display(), track.channels);
                self.notes.push(format!(
                    "{path}: its {channels} channels are mixed down to {target}, as {} needs",
                    encoder.name()
                ));
            }
            if speakers(target) > speakers(layout) {
                layout = target;
            }
        }
        Ok(NewSound { sound: placed, part, encoder, layout })
    }

    /// What of the video at `path` this kind of file can hold; what it cannot is noted.
    fn keep(&mut self, path: &Path, encoder: SoundEncoder) -> Result<Source> {
        let contents = Contents::of(&self.ffmpeg, path)?;
        let picture = contents.picture();
        let replaced = self.sound.as_ref().and_then(|_| contents.default_sound()).map(|stream| stream.index);
        let first_s = picture.and_then(|picture| picture.start_s).unwrap_or(contents.start_s);
        let others = contents.streams.iter().filter(|stream| {
            let is_chapters = contents.chapters > 0 && stream.codec == "bin_data";
            let is_timecode = stream.kind == StreamKind::Other && stream.timecode.is_some();
            let is_done = Some(stream.index) == picture.map(|picture| picture.index) || Some(stream.index) == replaced;
            !is_done && !is_chapters && !is_timecode
        });
        let mut kept = Vec::new();
        for stream in others {
            let name = name(stream);
            match self.hold(stream, encoder) {
                Some(what) => {
                    if let Item::Sound { again: Some((encoder, layout)), .. } = what {
                        let how = format!("encoded again as {} {layout}", encoder.name());
                        self.notes.push(format!("{}: {name} is {how}", path.display()));
                    }
                    kept.push(Kept { what, name });
                }
                None => self.leave_out(path, &name, "such files do not hold it"),
            }
        }
        if contents.streams.iter().any(|stream| stream.language.is_some()) && !self.container.holds_languages() {
            self.leave_out(path, "the languages of its tracks", "such files do not say them");
        }
        if contents.chapters > 0 {
            let name = format!("{} chapters", contents.chapters);
            match self.container.holds_chapters() {
                true => kept.push(Kept { what: Item::Chapters, name }),
                false => self.leave_out(path, &name, "such files have none"),
            }
        }
        if let Some(timecode) = contents.timecode() {
            let name = format!("time code {timecode}");
            match self.container.holds_timecode() {
                true => kept.push(Kept { what: Item::Timecode(timecode.to_string()), name }),
                false => self.leave_out(path, &name, "such files have none"),
            }
        }
        Ok(Source {
            path: path.to_path_buf(),
            skip_s: (first_s - contents.start_s).max(0.0),
            language: picture.and_then(|picture| picture.language.clone()),
            title: picture.and_then(|picture| picture.title.clone()),
            kept,
        })
    }

    fn leave_out(&mut self, path: &Path, name: &str, why: &str) {
        let ending = self.container.endings()[0];
        self.notes.push(format!("{}: left out of the .{ending} file: {name}: {why}", path.display()));
    }

    fn hold(&self, stream: &Stream, encoder: SoundEncoder) -> Option<Item> {
        let container = self.container;
        let index = stream.index;
        match stream.kind {
            StreamKind::Sound => {
                let again = || (encoder, encoder.layout_for(stream.channels, stream.layout.as_deref()));
                let again = (!container.holds_sound(&stream.codec)).then(again);
                Some(Item::Sound { stream: index, again })
            }
            StreamKind::Subtitles => {
                container.subtitles(&stream.codec).map(|how| Item::Subtitles { stream: index, how })
            }
            StreamKind::Attachment => container.holds_attachments().then_some(Item::Attachment { stream: index }),
            StreamKind::Cover => container.holds_cover().then_some(Item::Cover { stream: index }),
            StreamKind::Video | StreamKind::Other => None,
        }
    }

    /// ffmpeg writing `out`: a picture of `frames`, which `picture` has it read as its only input, and all the rest.
    pub fn run(&self, picture: Command, fps: Fps, frames: u64, out: &Path) -> Result<Process> {
        self.start(picture, fps, frames, out, |_| true)
    }

    /// Tries [`Mux::run`]; what of the source ffmpeg refuses is left out from then on, and noted. Errors: not even the rest goes in.
    pub fn settle(&mut self, picture: impl Fn() -> Command, fps: Fps, frames: u64, out: &Path) -> Result<()> {
        let attempt = |mux: &Self, keeps: &dyn Fn(usize) -> bool| mux.start(picture(), fps, frames, out, keeps)?.wait();
        let failed = |(status, said): (ExitStatus, String)| Err(ffmpeg::write_failed(out, status, &said));
        let is_code = |kept: &Kept| matches!(kept.what, Item::Timecode(_));
        let codes: Vec<bool> = self.source.iter().flat_map(|source| source.kept.iter().map(is_code)).collect();

        let first = attempt(self, &|_| true)?;
        // ffmpeg says that it cannot write a time code, and goes on without.
        if first.0.success() && (first.1.is_empty() || !codes.contains(&true)) {
            return Ok(());
        }
        if codes.is_empty() {
            return failed(first);
        }
        let bare = attempt(self, &|_| false)?;
        if !bare.0.success() {
            return failed(bare);
        }
        let mut refused = Vec::new();
        for (item, is_code) in codes.into_iter().enumerate() {
            let (status, said) = attempt(self, &|other| other == item)?;
            if !status.success() || is_code && said != bare.1 {
                refused.push((item, ffmpeg::ending(status, &said)));
            }
        }
        for (item, why) in refused.into_iter().rev() {
            if let Some(source) = &mut self.source {
                let (path, kept) = (source.path.clone(), source.kept.remove(item));
                self.leave_out(&path, &kept.name, &why);
            }
        }
        let last = attempt(self, &|_| true)?;
        if last.0.success() { Ok(()) } else { failed(last) }
    }

    /// ffmpeg at work on `out`, with those things of the source that `keeps` says.
    fn start(
        &self,
        mut command: Command,
        fps: Fps,
        frames: u64,
        out: &Path,
        keeps: impl Fn(usize) -> bool,
    ) -> Result<Process> {
        let seconds = frames as f64 / fps.as_f64();
        let mut args: Vec<String> = vec!["-map".into(), "0:v:0".into(), "-c:v:0".into(), "copy".into()];
        let mut add = |texts: &[&str]| args.extend(texts.iter().map(|text| text.to_string()));
        let mut input = 1;
        let mut sounds = 0;
        if let Some(sound) = &self.sound {
            for track in sound.tracks() {
                command.arg("-i").arg(ffmpeg::file(&track.path));
                input += 1;
            }
            add(&["-filter_complex", &sound.graph(seconds), "-map", "[sound]", "-c:a:0", sound.encoder.name()]);
            add(&[
                "-b:a:0",
                &sound.encoder.bit_rate(speakers(sound.layout)).to_string(),
                "-disposition:a:0",
                "default",
            ]);
            sounds = 1;
        }
        match &self.source {
            None => add(&["-map_chapters", "-1"]),
            Some(source) => {
                if source.skip_s > 0.0 {
                    command.args(["-ss", &format!("{:.6}", source.skip_s)]);
                }
                command.arg("-i").arg(ffmpeg::file(&source.path));
                let kept =
                    source.kept.iter().enumerate().filter(|(index, _)| keeps(*index)).map(|(_, kept)| &kept.what);
                add_source(&mut add, self.container, source, kept, input, sounds);
            }
        }
        // Half a frame more, or rounding might cut off the last one.
        add(&["-t", &format!("{:.6}", seconds + 0.5 / fps.as_f64())]);
        command.args(args).args(self.container.args()).arg("-y").arg(ffmpeg::file(out));
        Process::spawn(&mut command)
    }
}

/// The options that keep `kept` and the tags of `source`, which is ffmpeg's input number `input`, behind `sounds` new sounds.
fn add_source<'a>(
    add: &mut impl FnMut(&[&str]),
    container: Container,
    source: &Source,
    kept: impl Iterator<Item = &'a Item>,
    input: usize,
    mut sounds: usize,
) {
    let (mut subtitles, mut pictures, mut has_chapters) = (0, 1, false);
    let map = |stream: u32| format!("{input}:{stream}");
    for item in kept {
        match item {
            Item::Sound { stream, again } => {
                add(&["-map", &map(*stream)]);
                match again {
                    None => add(&[&format!("-c:a:{sounds}"), "copy"]),
                    Some((encoder, layout)) => {
                        let rate = encoder.bit_rate(speakers(layout)).to_string();
                        add(&[&format!("-c:a:{sounds}"), encoder.name(), &format!("-b:a:{sounds}"), &rate]);
                        add(&[&format!("-filter:a:{sounds}"), &format!("aformat=channel_layouts={layout}")]);
                    }
                }
                if sounds > 0 {
                    add(&[&format!("-disposition:a:{sounds}"), "-default"]);
                }
                sounds += 1;
            }
            Item::Subtitles { stream, how } => {
                let codec = match how {
                    Subtitles::Copied => "copy",
                    Subtitles::Rewritten(codec) => codec,
                };
                add(&["-map", &map(*stream), &format!("-c:s:{subtitles}"), codec]);
                subtitles += 1;
            }
            Item::Attachment { stream } => add(&["-map", &map(*stream), "-c:t", "copy"]),
            Item::Cover { stream } => {
                add(&["-map", &map(*stream), &format!("-c:v:{pictures}"), "copy"]);
                add(&[&format!("-disposition:v:{pictures}"), "attached_pic"]);
                pictures += 1;
            }
            Item::Chapters => has_chapters = true,
            Item::Timecode(timecode) => {
                add(&["-metadata:s:v:0", &format!("timecode={timecode}")]);
                add(container.timecode_args());
            }
        }
    }
    let input = input.to_string();
    add(&["-map_chapters", if has_chapters { &input } else { "-1" }, "-map_metadata", &input]);
    // What a container says about itself is no longer true in another; the time code goes with the picture.
    for tag in ["major_brand=", "minor_version=", "compatible_brands=", "encoder=", "timecode="] {
        add(&["-metadata", tag]);
    }
    for (tag, value) in [("language", &source.language), ("title", &source.title)] {
        if let Some(value) = value {
            add(&["-metadata:s:v:0", &format!("{tag}={value}")]);
        }
    }
}

impl NewSound {
    fn tracks(&self) -> impl Iterator<Item = &Placed> {
        let around = self.part.as_ref().and_then(|(_, _, around)| around.as_ref());
        std::iter::once(&self.sound).chain(around)
    }

    /// The filter graph from inputs 1 and, for what is around a part, 2 to `[sound]` of this length.
    fn graph(&self, seconds: f64) -> String {
        let layout = self.layout;
        let sound = self.sound.filters(1, layout);
        let end = format!("apad,atrim=end={seconds:.6}[sound]");
        let Some((from_s, to_s, around)) = &self.part else { return format!("{sound},{end}") };
        let fade_out = (to_s - FADE_S).max(*from_s);
        let mixed = format!("aresample={MIXED_RATE_HZ}");
        let part =
            format!("{sound},{mixed},afade=t=in:st={from_s:.6}:d={FADE_S},afade=t=out:st={fade_out:.6}:d={FADE_S}");
        match around {
            None => format!("{part},{end}"),
            Some(around) => format!(
                "{part}[part];{},{mixed},asplit[a][b];[a]afade=t=out:st={from_s:.6}:d={FADE_S}[before];\
                 [b]afade=t=in:st={fade_out:.6}:d={FADE_S}[after];[before][part][after]amix=inputs=3:normalize=0,{end}",
                around.filters(2, layout)
            ),
        }
    }
}

impl Placed {
    /// From a stream of input `input` to sound that begins at 0 with no gap: where the file has none, there is silence.
    fn filters(&self, input: usize, layout: &str) -> String {
        let mut mix = String::new();
        // ffmpeg mixes no speakers whose places it does not know; up to 8 it takes the usual ones.
        if self.layout.is_none() && self.channels > 8 && layout == "stereo" {
            let side =
                |first: u32| (first..self.channels).step_by(2).map(|c| format!("c{c}")).collect::<Vec<_>>().join("+");
            mix = format!("pan=stereo|FL<{}|FR<{},", side(0), side(1));
        }
        format!("[{input}:{}]{mix}{},aformat=channel_layouts={layout}", self.stream, self.in_time)
    }
}

/// The default sound track of the file at `path`.
fn place(ffmpeg: &Ffmpeg, path: &Path, start_s: f64) -> Result<Placed> {
    if !path.is_file() {
        return Err(Error::Read { path: path.to_path_buf(), source: std::io::ErrorKind::NotFound.into() });
    }
    let contents = Contents::of(ffmpeg, path)?;
    let stream = contents.default_sound().ok_or_else(|| {
        let found = "a file without an audio stream";
        Problem::new(path.display().to_string(), "sound that ffmpeg can decode", found).input()
    })?;
    let (stream, channels, layout) = (stream.index, stream.channels, stream.layout.clone());
    Ok(Placed { path: path.to_path_buf(), in_time: contents.in_time(start_s), stream, channels, layout })
}

/// `subtitles 3 (fra, mov_text)`.
fn name(stream: &Stream) -> String {
    let kind = match stream.kind {
        StreamKind::Video => "video track",
        StreamKind::Cover => "cover picture",
        StreamKind::Sound => "sound track",
        StreamKind::Subtitles => "subtitle track",
        StreamKind::Attachment => "attachment",
        StreamKind::Other => "data track",
    };
    let known = [stream.title.as_deref(), stream.language.as_deref(), Some(stream.codec.as_str())];
    let known: Vec<&str> = known.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    format!("{kind} {} ({})", stream.index, known.join(", "))
}

/// How many speakers there are in a layout of [`SoundEncoder::layout_for`].
fn speakers(layout: &str) -> u32 {
    match layout {
        "mono" => 1,
        "stereo" => 2,
        "quad" => 4,
        numbers => numbers.split('.').filter_map(|number| number.parse::<u32>().ok()).sum(),
    }
}

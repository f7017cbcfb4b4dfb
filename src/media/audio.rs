//! Speech as the audio encoders take it: one channel at 16 kHz, in blocks, so that a long file is never held whole.
//! wav is read here, everything else through ffmpeg at its own rate; one resampler serves both, so that the same sound gives
//! the same samples from either.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use super::downmix::{Downmix, Layout, Levels};
use super::ffmpeg::Ffmpeg;
use super::resampler::Resampler;
use super::soundtrack::Decoding;
use super::wav::Wav;
use crate::{Error, Problem, Result};

pub const RATE_HZ: u32 = 16_000;
const RATES_HZ: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Samples per channel that are read at a time.
const BLOCK: usize = 16_384;
/// How much of a sound decides which of its channels are heard.
const DECIDING_S: u64 = 300;
/// Longest time that a sound can be moved by, or made to last.
const LONGEST_S: f64 = 1e6;

/// Where speech comes from. Cheap to clone; every pass over it opens it anew with [`Audio::blocks`].
///
/// Sample n is heard n / 16000 seconds after the start of the file's time: where its time stamps leave a hole, or start late,
/// there is silence. Of several sound tracks the one marked default is heard; of several channels the centre where it has
/// sound, else the mean of the front pair, or the louder one of the two where their phases are opposite (correlation below
/// -0.5 over the first five minutes), else the mean of the channels at most 20 dB below the loudest.
#[derive(Debug, Clone)]
pub struct Audio {
    source: Source,
    published: Option<PublishedChannels>,
    offset_s: f64,
    length_s: Option<f64>,
}

#[derive(Debug, Clone)]
enum Source {
    File {
        path: PathBuf,
        ffmpeg: Option<PathBuf>,
        /// Decided by the first pass.
        downmix: Arc<OnceLock<Downmix>>,
        /// Whether damage was told of.
        told: Arc<AtomicBool>,
    },
    Samples {
        samples: Arc<[f32]>,
        rate_hz: u32,
    },
}

/// What the published programs hear of several channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishedChannels {
    /// The mean of them all: KeySync.
    Mean,
    /// The same at 16 kHz, but the first one alone of what is resampled: KeyFace.
    FirstIfResampled,
}

impl Audio {
    /// A wav file, or any file with sound that ffmpeg reads. `ffmpeg` is asked for only where needed (see [`Ffmpeg::find`]).
    pub fn file(path: impl Into<PathBuf>, ffmpeg: Option<&Path>) -> Self {
        Self::new(Source::File {
            path: path.into(),
            ffmpeg: ffmpeg.map(Path::to_path_buf),
            downmix: Arc::default(),
            told: Arc::default(),
        })
    }

    /// Samples in [-1, 1] of one channel.
    pub fn samples(samples: impl Into<Arc<[f32]>>, rate_hz: u32) -> Self {
        Self::new(Source::Samples { samples: samples.into(), rate_hz })
    }

    fn new(source: Source) -> Self {
        Self { source, published: None, offset_s: 0.0, length_s: None }
    }

    /// As the published programs hear it: these channels, resampled by torchaudio's windowed sinc.
    pub fn as_published(self, channels: PublishedChannels) -> Self {
        Self { published: Some(channels), ..self }
    }

    /// Moved later by `seconds`, with silence in front, or, below 0, with its beginning cut off.
    pub fn offset(self, seconds: f64) -> Self {
        Self { offset_s: self.offset_s + seconds, ..self }
    }

    pub fn offset_s(&self) -> f64 {
        self.offset_s
    }

    /// Cut to exactly this length, or filled up with silence at its end, after any [`Audio::offset`].
    pub fn lasting(self, seconds: f64) -> Self {
        Self { length_s: Some(seconds), ..self }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File { path, .. } => Some(path),
            Source::Samples { .. } => None,
        }
    }

    /// How many samples [`Audio::blocks`] gives, where that is known without reading them: for [`Audio::lasting`], a wav file,
    /// samples. Errors as there.
    pub fn known_len(&self) -> Result<Option<u64>> {
        let place = Place::of(self)?;
        if place.length.is_some() {
            return Ok(place.length);
        }
        let (subject, input) = match &self.source {
            Source::Samples { .. } => self.open()?,
            Source::File { path, .. } => {
                let file = Input::file(path)?;
                let Some(input) = file else { return Ok(None) };
                (path.display().to_string(), input)
            }
        };
        let (Some(len), rate_hz) = (input.len(), input.rate_hz()) else { return Ok(None) };
        let total = self.resampler(&input, &subject)?.total(len, rate_hz);
        // Where nothing is left, reading says why.
        Ok(Some((total + place.silence).saturating_sub(place.cut)).filter(|&len| len > 0))
    }

    /// The samples from the start: ceil(n * 16000 / rate) of them in all, moved and cut as was asked. Errors, here or while
    /// reading: no such file, no sound in it, cut off, not finite, a cut that leaves nothing.
    pub fn blocks(&self) -> Result<Blocks> {
        let place = Place::of(self)?;
        let (subject, input) = self.open()?;
        let resampler = self.resampler(&input, &subject)?;
        let downmix = self.downmix(&input, &subject)?;
        Ok(Blocks {
            subject,
            input,
            downmix,
            resampler,
            place,
            samples_read: 0,
            given: 0,
            has_ended: false,
            done: false,
        })
    }

    /// All samples at once, for clips known to be short.
    pub fn read_all(&self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for block in self.blocks()? {
            all.extend(block?);
        }
        Ok(all)
    }

    /// What it is called in errors, and its samples from the start.
    fn open(&self) -> Result<(String, Input)> {
        match &self.source {
            Source::Samples { samples, rate_hz } => {
                Ok(("samples".to_string(), Input::Samples { samples: samples.clone(), rate_hz: *rate_hz, at: 0 }))
            }
            Source::File { path, ffmpeg, told, .. } => {
                let input = match Input::file(path)? {
                    Some(wav) => wav,
                    None => {
                        let ffmpeg = Ffmpeg::find(ffmpeg.as_deref())?;
                        Input::Track(Box::new(Decoding::start(&ffmpeg, path, told.clone())?))
                    }
                };
                Ok((path.display().to_string(), input))
            }
        }
    }

    fn resampler(&self, input: &Input, subject: &str) -> Result<Resampler> {
        let rate_hz = input.rate_hz();
        if !RATES_HZ.contains(&rate_hz) {
            let expected = format!("a sample rate of {} to {} Hz", RATES_HZ.start(), RATES_HZ.end());
            return Err(Problem::new(subject, expected, rate_hz.to_string()).input());
        }
        match self.published {
            Some(_) => Ok(Resampler::published(rate_hz)),
            None => Resampler::new(rate_hz, subject),
        }
    }

    fn downmix(&self, input: &Input, subject: &str) -> Result<Downmix> {
        let layout = input.layout();
        let channels = layout.channels;
        match (self.published, &self.source) {
            (Some(PublishedChannels::FirstIfResampled), _) if input.rate_hz() != RATE_HZ => {
                Ok(Downmix::one(channels, 0))
            }
            (Some(_), _) | (None, Source::Samples { .. }) => Ok(Downmix::mean(channels)),
            (None, Source::File { .. }) if channels == 1 => Ok(Downmix::mean(1)),
            (None, Source::File { downmix, .. }) => match downmix.get() {
                Some(decided) => Ok(decided.clone()),
                None => {
                    let decided = Downmix::choose(layout, &self.levels(subject)?);
                    Ok(downmix.get_or_init(|| decided).clone())
                }
            },
        }
    }

    /// Of the first minutes, from a pass of its own: what decides must be known before the first sample is heard.
    fn levels(&self, subject: &str) -> Result<Levels> {
        let (_, mut input) = self.open()?;
        let channels = input.layout().channels;
        let mut levels = Levels::new(channels);
        let mut left = DECIDING_S * u64::from(input.rate_hz());
        while left > 0 {
            let samples = input.read(subject)?;
            if samples.is_empty() {
                break;
            }
            levels.add(&samples);
            left = left.saturating_sub((samples.len() / channels) as u64);
        }
        Ok(levels)
    }
}

/// Where a sound lies, in samples at 16 kHz.
struct Place {
    /// Silence in front of it.
    silence: u64,
    /// What is left out of its beginning.
    cut: u64,
    /// How long it lasts, if that was asked for.
    length: Option<u64>,
}

impl Place {
    fn of(audio: &Audio) -> Result<Self> {
        let samples = |seconds: f64| (seconds * f64::from(RATE_HZ)).round() as u64;
        let Audio { offset_s, length_s, .. } = *audio;
        if !(-LONGEST_S..=LONGEST_S).contains(&offset_s) {
            let expected = format!("seconds from -{LONGEST_S} to {LONGEST_S}");
            return Err(Problem::new("audio offset", expected, offset_s.to_string()).usage());
        }
        if let Some(length_s) = length_s
            && !(length_s > 0.0 && length_s <= LONGEST_S)
        {
            let expected = format!("seconds above 0, up to {LONGEST_S}");
            return Err(Problem::new("audio length", expected, length_s.to_string()).usage());
        }
        Ok(Self {
            silence: samples(offset_s.max(0.0)),
            cut: samples(-offset_s.min(0.0)),
            length: length_s.map(samples),
        })
    }
}

/// Blocks of mono samples in [-1, 1] at 16 kHz, none of them empty.
pub struct Blocks {
    subject: String,
    input: Input,
    downmix: Downmix,
    resampler: Resampler,
    /// Silence and what is to be cut, as far as it is still to come.
    place: Place,
    samples_read: u64,
    given: u64,
    /// Whether the input has.
    has_ended: bool,
    done: bool,
}

impl Iterator for Blocks {
    type Item = Result<Vec<f32>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let block = self.block();
            self.done |= block.is_err();
            match block {
                Ok(block) if block.is_empty() => {}
                other => return Some(other),
            }
        }
        None
    }
}

impl Blocks {
    fn block(&mut self) -> Result<Vec<f32>> {
        let left = self.place.length.map_or(u64::MAX, |length| length - self.given);
        let mut block = if self.place.silence > 0 {
            let silence = self.place.silence.min(BLOCK as u64);
            self.place.silence -= silence;
            vec![0.0; silence as usize]
        } else if !self.has_ended {
            self.heard()?
        } else if self.place.length.is_some() {
            vec![0.0; left.min(BLOCK as u64) as usize]
        } else {
            Vec::new()
        };
        block.truncate(left.min(usize::MAX as u64) as usize);
        self.given += block.len() as u64;
        self.done = match self.place.length {
            Some(length) => self.given == length,
            None => self.has_ended,
        };
        if self.done && self.given == 0 {
            let expected = "an offset that leaves some of the speech";
            return Err(Problem::new(&self.subject, expected, "one that cuts off all of it").usage());
        }
        Ok(block)
    }

    /// The next samples of the input, without what is cut from its beginning.
    fn heard(&mut self) -> Result<Vec<f32>> {
        let mono = self.downmix.mix(self.input.read(&self.subject)?);
        if let Some(bad) = mono.iter().position(|v| !v.is_finite()) {
            let sample = self.samples_read + bad as u64;
            let subject = format!("{}, sample {sample}", self.subject);
            return Err(Problem::new(subject, "a finite number", mono[bad].to_string()).input());
        }
        self.samples_read += mono.len() as u64;
        self.has_ended = mono.is_empty();
        if self.samples_read == 0 {
            return Err(Problem::new(&self.subject, "sound", "no samples").remedy("give a file with speech").input());
        }
        let mut heard = if self.has_ended {
            self.resampler.finish(self.samples_read, &self.subject)?
        } else {
            self.resampler.push(mono, &self.subject)?
        };
        let cut = self.place.cut.min(heard.len() as u64);
        self.place.cut -= cut;
        heard.drain(..cut as usize);
        Ok(heard)
    }
}

enum Input {
    Samples { samples: Arc<[f32]>, rate_hz: u32, at: usize },
    Wav(Wav),
    Track(Box<Decoding>),
}

impl Input {
    /// A wav file that is read here; None for what is left to ffmpeg.
    fn file(path: &Path) -> Result<Option<Self>> {
        let read = |source| Error::Read { path: path.to_path_buf(), source };
        let mut start = Vec::new();
        File::open(path).map_err(read)?.take(12).read_to_end(&mut start).map_err(read)?;
        if start.is_empty() {
            return Err(Problem::new(path.display().to_string(), "sound", "an empty file").input());
        }
        let is_wav = start.starts_with(b"RIFF") && (start.len() < 12 || &start[8..] == b"WAVE");
        if is_wav { Ok(Wav::open(path)?.map(Self::Wav)) } else { Ok(None) }
    }

    fn rate_hz(&self) -> u32 {
        match self {
            Self::Samples { rate_hz, .. } => *rate_hz,
            Self::Wav(wav) => wav.rate_hz(),
            Self::Track(track) => track.rate_hz,
        }
    }

    fn layout(&self) -> Layout {
        match self {
            Self::Samples { .. } => Layout { channels: 1, speakers: 0 },
            Self::Wav(wav) => wav.layout,
            Self::Track(track) => track.layout,
        }
    }

    /// Samples of each channel, where that is known.
    fn len(&self) -> Option<u64> {
        match self {
            Self::Samples { samples, .. } => Some(samples.len() as u64),
            Self::Wav(wav) => Some(wav.len()),
            Self::Track(_) => None,
        }
    }

    /// The next samples, the channels of a moment together; none at the end.
    fn read(&mut self, subject: &str) -> Result<Vec<f32>> {
        match self {
            Self::Samples { samples, at, .. } => {
                let block = samples[*at..(*at + BLOCK).min(samples.len())].to_vec();
                *at += block.len();
                Ok(block)
            }
            Self::Wav(wav) => wav.read(BLOCK, subject),
            Self::Track(track) => track.read(BLOCK),
        }
    }
}

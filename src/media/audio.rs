//! Speech as the audio encoders take it: one channel at 16 kHz, in blocks, so that a long file is never held whole.
//! wav is read here, everything else through ffmpeg at its own rate; one resampler serves both, so that the same sound gives
//! the same samples from either. Upstream resamples with torchaudio's windowed sinc; equality with that is not promised.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::sync::Arc;

use hound::{SampleFormat, WavReader};
use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::ffmpeg::{self, Ffmpeg, Process};
use crate::{Error, Problem, Result};

pub const RATE_HZ: u32 = 16_000;
const RATES_HZ: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Samples per channel that are read at a time.
const BLOCK: usize = 16_384;

/// Where speech comes from. Cheap to clone; every pass over it opens it anew with [`Audio::blocks`].
#[derive(Debug, Clone)]
pub struct Audio {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    File { path: PathBuf, ffmpeg: Option<PathBuf> },
    Samples { samples: Arc<[f32]>, rate_hz: u32 },
}

impl Audio {
    /// A wav file, or any file with sound that ffmpeg reads. `ffmpeg` is asked for only where needed (see [`Ffmpeg::find`]).
    pub fn file(path: impl Into<PathBuf>, ffmpeg: Option<&Path>) -> Self {
        Self { source: Source::File { path: path.into(), ffmpeg: ffmpeg.map(Path::to_path_buf) } }
    }

    /// Samples in [-1, 1] of one channel.
    pub fn samples(samples: impl Into<Arc<[f32]>>, rate_hz: u32) -> Self {
        Self { source: Source::Samples { samples: samples.into(), rate_hz } }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File { path, .. } => Some(path),
            Source::Samples { .. } => None,
        }
    }

    /// The samples from the start: ceil(n * 16000 / rate) of them in all. Errors, here or while reading: no such file, no
    /// sound in it, cut off, not finite.
    pub fn blocks(&self) -> Result<Blocks> {
        let (subject, input) = match &self.source {
            Source::Samples { samples, rate_hz } => {
                ("samples".to_string(), Input::Samples { samples: samples.clone(), rate_hz: *rate_hz, at: 0 })
            }
            Source::File { path, ffmpeg } => (path.display().to_string(), Input::open(path, ffmpeg.as_deref())?),
        };
        let rate_hz = input.rate_hz();
        if !RATES_HZ.contains(&rate_hz) {
            let expected = format!("a sample rate of {} to {} Hz", RATES_HZ.start(), RATES_HZ.end());
            return Err(Problem::new(subject, expected, rate_hz.to_string()).input());
        }
        let resampler = if rate_hz == RATE_HZ { None } else { Some(Resampler::new(rate_hz, &subject)?) };
        Ok(Blocks { subject, input, resampler, samples_read: 0, done: false })
    }

    /// All samples at once, for clips known to be short.
    pub fn read_all(&self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for block in self.blocks()? {
            all.extend(block?);
        }
        Ok(all)
    }
}

/// Blocks of mono samples in [-1, 1] at 16 kHz, none of them empty.
pub struct Blocks {
    subject: String,
    input: Input,
    resampler: Option<Resampler>,
    samples_read: u64,
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
        let mono = self.input.read(&self.subject)?;
        if let Some(bad) = mono.iter().position(|v| !v.is_finite()) {
            let sample = self.samples_read + bad as u64;
            let subject = format!("{}, sample {sample}", self.subject);
            return Err(Problem::new(subject, "a finite number", mono[bad].to_string()).input());
        }
        self.samples_read += mono.len() as u64;
        self.done = mono.is_empty();
        if self.samples_read == 0 {
            return Err(Problem::new(&self.subject, "sound", "no samples").remedy("give a file with speech").input());
        }
        match &mut self.resampler {
            None => Ok(mono),
            Some(resampler) if self.done => resampler.finish(self.samples_read, &self.subject),
            Some(resampler) => resampler.push(&mono, &self.subject),
        }
    }
}

enum Input {
    Samples { samples: Arc<[f32]>, rate_hz: u32, at: usize },
    Wav(WavReader<BufReader<File>>),
    Ffmpeg { process: Process, pipe: BufReader<ChildStdout>, channels: usize, rate_hz: u32 },
}

impl Input {
    fn open(path: &Path, ffmpeg: Option<&Path>) -> Result<Self> {
        let read = |source| Error::Read { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(read)?;
        let mut start = Vec::new();
        (&mut file).take(12).read_to_end(&mut start).map_err(read)?;
        if start.is_empty() {
            return Err(Problem::new(path.display().to_string(), "sound", "an empty file").input());
        }
        let is_wav = start.starts_with(b"RIFF") && (start.len() < 12 || &start[8..] == b"WAVE");
        if is_wav && let Some(wav) = open_wav(path)? {
            return Ok(wav);
        }
        Self::decode(path, &Ffmpeg::find(ffmpeg)?)
    }

    /// The first audio stream of any file, at its own rate and channels: Sun's AU format says both in front of the samples.
    /// ffmpeg's own mixing to mono is not used since it is no mean (stereo comes out 3 dB too loud as float).
    fn decode(path: &Path, ffmpeg: &Ffmpeg) -> Result<Self> {
        let mut command = ffmpeg.command();
        command.arg("-i").arg(ffmpeg::file(path));
        command.args(["-vn", "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let pipe = process.stdout().ok_or_else(|| undecodable(path, "no pipe"))?;
        let mut pipe = BufReader::with_capacity(1 << 16, pipe);
        let mut header = [0; 24];
        if pipe.read_exact(&mut header).is_err() {
            let (status, said) = process.wait()?;
            return Err(undecodable(path, &ffmpeg::ending(status, &said)));
        }
        let word = |i: usize| u32::from_be_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
        let (data_offset, rate_hz, channels) = (word(4), word(16), word(20));
        if &header[..4] != b".snd" || channels == 0 {
            return Err(undecodable(path, "a broken header from ffmpeg"));
        }
        let annotation = u64::from(data_offset.saturating_sub(24));
        std::io::copy(&mut (&mut pipe).take(annotation), &mut std::io::sink())
            .map_err(|e| undecodable(path, &e.to_string()))?;
        Ok(Self::Ffmpeg { process, pipe, channels: channels as usize, rate_hz })
    }

    fn rate_hz(&self) -> u32 {
        match self {
            Self::Samples { rate_hz, .. } | Self::Ffmpeg { rate_hz, .. } => *rate_hz,
            Self::Wav(wav) => wav.spec().sample_rate,
        }
    }

    /// The next samples, mixed to one channel; none at the end.
    fn read(&mut self, subject: &str) -> Result<Vec<f32>> {
        match self {
            Self::Samples { samples, at, .. } => {
                let block = samples[*at..(*at + BLOCK).min(samples.len())].to_vec();
                *at += block.len();
                Ok(block)
            }
            Self::Wav(wav) => read_wav(wav, subject),
            Self::Ffmpeg { process, pipe, channels, .. } => {
                let mut bytes = Vec::with_capacity(BLOCK * *channels * 4);
                pipe.take((BLOCK * *channels * 4) as u64)
                    .read_to_end(&mut bytes)
                    .map_err(|e| undecodable(Path::new(subject), &e.to_string()))?;
                if bytes.is_empty() {
                    let (status, said) = process.wait()?;
                    if !status.success() {
                        return Err(undecodable(Path::new(subject), &ffmpeg::ending(status, &said)));
                    }
                }
                let samples = bytes.chunks_exact(4).map(|b| f32::from_be_bytes([b[0], b[1], b[2], b[3]]));
                Ok(mono(&samples.collect::<Vec<_>>(), *channels))
            }
        }
    }
}

fn undecodable(path: &Path, found: &str) -> Error {
    let no_sound = found.contains("matches no streams") || found.contains("does not contain any stream");
    let found = if no_sound { "a file without an audio stream" } else { found };
    Problem::new(path.display().to_string(), "sound that ffmpeg can decode", found).input()
}

/// The wav file at `path`, or None for a rare encoding, or one written to a pipe, that is left to ffmpeg.
fn open_wav(path: &Path) -> Result<Option<Input>> {
    if is_for_ffmpeg(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })? {
        return Ok(None);
    }
    let wav = match WavReader::open(path) {
        Ok(wav) => wav,
        Err(hound::Error::Unsupported) => return Ok(None),
        Err(e) => return Err(bad_wav(&path.display().to_string(), &e)),
    };
    let spec = wav.spec();
    let is_read = match spec.sample_format {
        SampleFormat::Float => spec.bits_per_sample == 32,
        SampleFormat::Int => [8, 16, 24, 32].contains(&spec.bits_per_sample),
    };
    Ok(is_read.then_some(Input::Wav(wav)))
}

/// Whether a wav file says that its samples are neither PCM nor float, or, as programs do that write to a pipe, leaves their
/// length open: 0, or a number near 2^31 or 2^32, with less than that behind it.
fn is_for_ffmpeg(path: &Path) -> std::io::Result<bool> {
    const READ_HERE: [u16; 3] = [1, 3, 0xfffe];
    const OPEN_LENGTH: u32 = 0x7fff_0000;
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    let mut at = file.seek(SeekFrom::Start(12))?;
    let mut chunk = [0; 10];
    while at + 10 <= length {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut chunk)?;
        let size = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        match &chunk[..4] {
            b"fmt " if !READ_HERE.contains(&u16::from_le_bytes([chunk[8], chunk[9]])) => return Ok(true),
            b"data" => return Ok(size == 0 || (size >= OPEN_LENGTH && at + 8 + u64::from(size) > length)),
            _ => at += 8 + u64::from(size) + u64::from(size % 2),
        }
    }
    Ok(false)
}

fn read_wav(wav: &mut WavReader<BufReader<File>>, subject: &str) -> Result<Vec<f32>> {
    let spec = wav.spec();
    let count = BLOCK * usize::from(spec.channels);
    let samples: hound::Result<Vec<f32>> = match spec.sample_format {
        SampleFormat::Float => wav.samples::<f32>().take(count).collect(),
        SampleFormat::Int => {
            let scale = 1.0 / (1u64 << (spec.bits_per_sample - 1)) as f32;
            wav.samples::<i32>().take(count).map(|v| Ok(v? as f32 * scale)).collect()
        }
    };
    let samples = samples.map_err(|e| bad_wav(subject, &e))?;
    Ok(mono(&samples, usize::from(spec.channels)))
}

fn bad_wav(subject: &str, error: &hound::Error) -> Error {
    let found = match error {
        // hound's way of saying that the file ends before its header or samples do.
        hound::Error::IoError(e)
            if matches!(e.kind(), std::io::ErrorKind::Other | std::io::ErrorKind::UnexpectedEof) =>
        {
            "one that is cut off".to_string()
        }
        other => other.to_string(),
    };
    Problem::new(subject, "a whole wav file", found)
        .remedy("get it anew, or rewrite what is there with `ffmpeg -i IN.wav OUT.wav`")
        .input()
}

/// The mean over the channels, as upstream mixes.
fn mono(samples: &[f32], channels: usize) -> Vec<f32> {
    match channels {
        1 => samples.to_vec(),
        _ => samples.chunks_exact(channels).map(|all| all.iter().sum::<f32>() / channels as f32).collect(),
    }
}

/// From any rate to 16 kHz, block by block, without the filter's delay.
struct Resampler {
    fft: Fft<f32>,
    rate_hz: u32,
    pending: Vec<f32>,
    delay_left: usize,
    samples_made: u64,
}

impl Resampler {
    fn new(rate_hz: u32, subject: &str) -> Result<Self> {
        // An even number of the smallest blocks makes the delay a whole number of samples.
        let smallest = rate_hz / gcd(rate_hz, RATE_HZ);
        let block = 2 * smallest * 1024u32.div_ceil(2 * smallest);
        let window = WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(rate_hz as usize, RATE_HZ as usize, block as usize, 1, 1, window, FixedSync::Input)
            .map_err(|e| Problem::new(subject, "a sample rate that resamples", e.to_string()).input())?;
        Ok(Self { rate_hz, pending: Vec::new(), delay_left: fft.output_delay(), samples_made: 0, fft })
    }

    fn push(&mut self, samples: &[f32], subject: &str) -> Result<Vec<f32>> {
        self.pending.extend_from_slice(samples);
        let mut made = Vec::new();
        let mut used = 0;
        while self.pending.len() - used >= self.fft.input_frames_next() {
            let count = self.fft.input_frames_next();
            let mut block = vec![0.0; self.fft.output_frames_next()];
            let (taken, given) = resample(&mut self.fft, &self.pending[used..used + count], &mut block)
                .map_err(|e| Problem::new(subject, "samples that resample", e).input())?;
            used += taken;
            let skipped = self.delay_left.min(given);
            self.delay_left -= skipped;
            made.extend_from_slice(&block[skipped..given]);
        }
        self.pending.drain(..used);
        self.samples_made += made.len() as u64;
        Ok(made)
    }

    /// The rest: silence pushes it out of the filter, and the total is cut to the length of `samples_read`.
    fn finish(&mut self, samples_read: u64, subject: &str) -> Result<Vec<f32>> {
        let total = (samples_read * u64::from(RATE_HZ)).div_ceil(u64::from(self.rate_hz));
        let mut rest = Vec::new();
        let before = self.samples_made;
        while self.samples_made < total {
            let silence = vec![0.0; self.fft.input_frames_next()];
            rest.extend(self.push(&silence, subject)?);
        }
        rest.truncate(total.saturating_sub(before) as usize);
        Ok(rest)
    }
}

fn resample(fft: &mut Fft<f32>, input: &[f32], output: &mut [f32]) -> Result<(usize, usize), String> {
    let (inputs, outputs) = (input.len(), output.len());
    let input = SequentialSlice::new(input, 1, inputs).map_err(|e| e.to_string())?;
    let mut output = SequentialSlice::new_mut(output, 1, outputs).map_err(|e| e.to_string())?;
    fft.process_into_buffer(&input, &mut output, None).map_err(|e| e.to_string())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

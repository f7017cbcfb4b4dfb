//! wav files: what their header says, and the encodings that are read without ffmpeg.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use hound::{SampleFormat, WavReader};

use super::downmix::Layout;
use crate::{Error, Problem, Result};

const EXTENSIBLE: u16 = 0xfffe;

/// The header of a wav stream. Source: WAVEFORMATEXTENSIBLE.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub format: u16,
    pub layout: Layout,
    pub rate_hz: u32,
    /// What the header says of the samples' length, and where they begin.
    data_bytes: u32,
    data_at: u64,
}

impl Header {
    /// Reads up to the first sample; None where that is no wav stream, or one that ends before.
    pub fn read(stream: &mut impl Read) -> std::io::Result<Option<Self>> {
        match Self::parse(stream) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            parsed => parsed,
        }
    }

    fn parse(stream: &mut impl Read) -> std::io::Result<Option<Self>> {
        let mut riff = [0; 12];
        stream.read_exact(&mut riff)?;
        if &riff[..4] != b"RIFF" || &riff[8..] != b"WAVE" {
            return Ok(None);
        }
        let (mut fields, mut at) = (None, 12u64);
        loop {
            let mut chunk = [0; 8];
            stream.read_exact(&mut chunk)?;
            let size = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
            at += 8;
            if &chunk[..4] == b"data" {
                return Ok(fields.map(|(format, layout, rate_hz)| Self {
                    format,
                    layout,
                    rate_hz,
                    data_bytes: size,
                    data_at: at,
                }));
            }
            let padded = u64::from(size) + u64::from(size % 2);
            let mut body = [0; 24];
            let kept = u64::from(size).min(24) as usize;
            stream.read_exact(&mut body[..kept])?;
            let skipped = std::io::copy(&mut stream.take(padded - kept as u64), &mut std::io::sink())?;
            if skipped < padded - kept as u64 {
                return Ok(None);
            }
            at += padded;
            if &chunk[..4] == b"fmt " && kept >= 16 {
                let half = |i: usize| u16::from_le_bytes([body[i], body[i + 1]]);
                let word = |i: usize| u32::from_le_bytes([body[i], body[i + 1], body[i + 2], body[i + 3]]);
                let speakers = if half(0) == EXTENSIBLE && kept == 24 { word(20) } else { 0 };
                let layout = Layout { channels: usize::from(half(2)), speakers };
                fields = Some((half(0), layout, word(4)));
            }
        }
    }

    /// Whether the samples are neither PCM nor float, or their length was left open by a program that writes to a pipe: 0, or a
    /// number near 2^31 or 2^32, with less than that behind it.
    fn is_for_ffmpeg(&self, file_bytes: u64) -> bool {
        const READ_HERE: [u16; 3] = [1, 3, EXTENSIBLE];
        const OPEN_LENGTH: u32 = 0x7fff_0000;
        let is_open = self.data_bytes == 0 || (self.data_bytes >= OPEN_LENGTH && self.is_cut(file_bytes));
        !READ_HERE.contains(&self.format) || is_open
    }

    fn is_cut(&self, file_bytes: u64) -> bool {
        self.data_at + u64::from(self.data_bytes) > file_bytes
    }
}

/// A wav file that is read here.
pub(super) struct Wav {
    reader: WavReader<BufReader<File>>,
    pub layout: Layout,
}

impl Wav {
    /// The wav file at `path`, or None for a rare encoding, or one written to a pipe, that is left to ffmpeg. Errors: it is cut
    /// off.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let read = |source| Error::Read { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(read)?;
        let file_bytes = file.metadata().map_err(read)?.len();
        let header = Header::read(&mut BufReader::new(file)).map_err(read)?;
        if header.is_some_and(|header| header.is_for_ffmpeg(file_bytes)) {
            return Ok(None);
        }
        let subject = path.display().to_string();
        let reader = match WavReader::open(path) {
            Ok(reader) => reader,
            Err(hound::Error::Unsupported) => return Ok(None),
            Err(e) => return Err(bad_wav(&subject, &e)),
        };
        let spec = reader.spec();
        let is_read = match spec.sample_format {
            SampleFormat::Float => spec.bits_per_sample == 32,
            SampleFormat::Int => [8, 16, 24, 32].contains(&spec.bits_per_sample),
        };
        if !is_read {
            return Ok(None);
        }
        if header.is_some_and(|header| header.is_cut(file_bytes)) {
            return Err(cut_off(&subject));
        }
        let channels = usize::from(spec.channels);
        let speakers = header.map_or(0, |header| header.layout.speakers);
        Ok(Some(Self { reader, layout: Layout { channels, speakers } }))
    }

    pub fn rate_hz(&self) -> u32 {
        self.reader.spec().sample_rate
    }

    /// Samples of each channel, as the header says.
    pub fn len(&self) -> u64 {
        u64::from(self.reader.duration())
    }

    /// The next `moments` samples of each channel, the channels of a moment together; none at the end.
    pub fn read(&mut self, moments: usize, subject: &str) -> Result<Vec<f32>> {
        let spec = self.reader.spec();
        let count = moments * self.layout.channels;
        let samples: hound::Result<Vec<f32>> = match spec.sample_format {
            SampleFormat::Float => self.reader.samples::<f32>().take(count).collect(),
            SampleFormat::Int => {
                let scale = 1.0 / (1u64 << (spec.bits_per_sample - 1)) as f32;
                self.reader.samples::<i32>().take(count).map(|v| Ok(v? as f32 * scale)).collect()
            }
        };
        samples.map_err(|e| bad_wav(subject, &e))
    }
}

fn bad_wav(subject: &str, error: &hound::Error) -> Error {
    match error {
        // hound's way of saying that the file ends before its header or samples do.
        hound::Error::IoError(e)
            if matches!(e.kind(), std::io::ErrorKind::Other | std::io::ErrorKind::UnexpectedEof) =>
        {
            cut_off(subject)
        }
        other => not_whole(subject, &other.to_string()),
    }
}

fn cut_off(subject: &str) -> Error {
    not_whole(subject, "one that is cut off")
}

fn not_whole(subject: &str, found: &str) -> Error {
    Problem::new(subject, "a whole wav file", found)
        .remedy("get it anew, or rewrite what is there with `ffmpeg -i IN.wav OUT.wav`")
        .input()
}

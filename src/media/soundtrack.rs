//! The sound of any file, decoded by ffmpeg and laid out by its time stamps: sample n is heard n / rate seconds after the start of
//! the file's time, and silence fills what is missing (a late start, pauses that were not recorded, damaged packets).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;

use super::downmix::Layout;
use super::ffmpeg::{self, Ffmpeg, Process};
use super::wav::Header;
use crate::{Error, Problem, Result};

/// A sound track of a file: the one marked as default, else the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SoundTrack {
    /// ffmpeg's number of the stream.
    pub stream: u32,
    /// Where it ends in the file's time, where the container says so for each stream.
    pub end_s: Option<f64>,
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    streams: Vec<JsonStream>,
    #[serde(default)]
    format: JsonFormat,
}

#[derive(Deserialize, Default)]
struct JsonFormat {
    start_time: Option<String>,
}

#[derive(Deserialize)]
struct JsonStream {
    index: u32,
    start_time: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    disposition: Disposition,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    default: u8,
}

impl SoundTrack {
    /// Errors: no such file, or no sound in it.
    pub fn of(ffmpeg: &Ffmpeg, path: &Path) -> Result<Self> {
        let track = match ffmpeg.probe_command() {
            Some(mut command) => {
                let entries = "stream=index,start_time,duration:stream_disposition=default:format=start_time";
                command.args(["-select_streams", "a", "-show_entries", entries, "-of", "json"]).arg(ffmpeg::file(path));
                let json = ffmpeg::output(&mut command, |found| undecodable(path, found))?;
                Self::from_json(&json).map_err(|e| undecodable(path, &e.to_string()))?
            }
            None => {
                // Without an output ffmpeg always ends in an error; what it says before that is the description.
                let mut process = Process::spawn(ffmpeg.describe().args(["-nostdin", "-i"]).arg(ffmpeg::file(path)))?;
                let (status, said) = process.wait()?;
                if !said.contains("Input #0") && !said.contains("Stream #0:") {
                    return Err(undecodable(path, &ffmpeg::ending(status, &said)));
                }
                Self::from_description(&said)
            }
        };
        track.ok_or_else(|| undecodable(path, "a file without an audio stream"))
    }

    fn from_json(json: &[u8]) -> serde_json::Result<Option<Self>> {
        let json: Json = serde_json::from_slice(json)?;
        let default = json.streams.iter().find(|stream| stream.disposition.default == 1);
        let seconds = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<f64>().ok());
        let file_s = seconds(&json.format.start_time).unwrap_or(0.0);
        Ok(default.or(json.streams.first()).map(|stream| Self {
            stream: stream.index,
            end_s: seconds(&stream.duration).map(|long_s| seconds(&stream.start_time).unwrap_or(0.0) + long_s - file_s),
        }))
    }

    /// `Stream #0:2[0x3](eng): Audio: aac (LC) (mp4a / 0x6134706D), 48000 Hz, stereo, fltp, 128 kb/s (default)`
    fn from_description(text: &str) -> Option<Self> {
        let is_sound = |line: &&str| line.starts_with("Stream #0:") && line.contains("Audio: ");
        let sounds: Vec<&str> = text.lines().map(str::trim).filter(is_sound).collect();
        let line = sounds.iter().find(|line| line.contains("(default)")).or(sounds.first())?;
        let number = line["Stream #0:".len()..].split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self { stream: number.parse().ok()?, end_s: None })
    }
}

/// A sound track as it is decoded.
pub(super) struct Decoding {
    ffmpeg: Ffmpeg,
    path: PathBuf,
    track: SoundTrack,
    process: Process,
    pipe: BufReader<ChildStdout>,
    pub layout: Layout,
    pub rate_hz: u32,
    /// Samples of each channel read so far.
    read: u64,
    /// Silence that is still to come after damage at the end.
    missing: u64,
    has_ended: bool,
    /// Whether damage was told of.
    told: Arc<AtomicBool>,
}

impl Decoding {
    /// At the track's own rate and channels, as wav, which says both and the channels' places before the samples.
    pub fn start(ffmpeg: &Ffmpeg, path: &Path, told: Arc<AtomicBool>) -> Result<Self> {
        // Time stamps are to a millisecond in some containers; a longer hole, or one of many short ones, is filled.
        const BY_TIME_STAMPS: &str = "aresample=async=1:first_pts=0:min_hard_comp=0.02";
        let track = SoundTrack::of(ffmpeg, path)?;
        let mut command = ffmpeg.command();
        // A packet that cannot be decoded is a hole; how many of them there are is no reason to give up.
        command.args(["-max_error_rate", "1", "-i"]).arg(ffmpeg::file(path));
        command.args(["-vn", "-map", &format!("0:{}", track.stream), "-af", BY_TIME_STAMPS]);
        command.args(["-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let pipe = process.stdout().ok_or_else(|| undecodable(path, "no pipe"))?;
        let mut pipe = BufReader::with_capacity(1 << 16, pipe);
        let header = Header::read(&mut pipe).map_err(|e| undecodable(path, &e.to_string()))?;
        let Some(header) = header.filter(|header| header.layout.channels > 0) else {
            let (status, said) = process.wait()?;
            return Err(undecodable(path, &ffmpeg::ending(status, &said)));
        };
        Ok(Self {
            ffmpeg: ffmpeg.clone(),
            path: path.to_path_buf(),
            track,
            process,
            pipe,
            layout: header.layout,
            rate_hz: header.rate_hz,
            read: 0,
            missing: 0,
            has_ended: false,
            told,
        })
    }

    /// The next `moments` samples of each channel, the channels of a moment together; none at the end.
    pub fn read(&mut self, moments: usize) -> Result<Vec<f32>> {
        let channels = self.layout.channels;
        if !self.has_ended {
            let mut bytes = Vec::with_capacity(moments * channels * 4);
            (&mut self.pipe)
                .take((moments * channels * 4) as u64)
                .read_to_end(&mut bytes)
                .map_err(|e| undecodable(&self.path, &e.to_string()))?;
            self.read += (bytes.len() / (channels * 4)) as u64;
            if !bytes.is_empty() {
                return Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect());
            }
            self.end()?;
        }
        let silence = self.missing.min(moments as u64);
        self.missing -= silence;
        Ok(vec![0.0; silence as usize * channels])
    }

    /// What ffmpeg says once it is through. Errors: nothing could be decoded, or something ended ffmpeg.
    fn end(&mut self) -> Result<()> {
        self.has_ended = true;
        let (status, said) = self.process.wait()?;
        if self.read == 0 || status.code().is_none() {
            let found = if said.is_empty() { "no samples".to_string() } else { ffmpeg::ending(status, &said) };
            return Err(undecodable(&self.path, &found));
        }
        if status.success() && said.is_empty() {
            return Ok(());
        }
        let wanted = self.track.end_s.map_or(0, |end_s| (end_s * f64::from(self.rate_hz)).round().max(0.0) as u64);
        self.missing = wanted.saturating_sub(self.read);
        if !self.told.swap(true, Ordering::Relaxed) {
            let holes = self.holes()?.with_end(self.missing as f64 / f64::from(self.rate_hz), wanted, self.rate_hz);
            let (path, said) = (self.path.display(), ffmpeg::ending(status, &said));
            match holes {
                Holes { count: 0, .. } => tracing::warn!("{path}: its sound is damaged; ffmpeg says: {said}"),
                Holes { count, seconds, first_s } => tracing::warn!(
                    "{path}: its sound is damaged, and silent in {count} places, {seconds:.2} s in all, the first at \
                     {first_s:.2} s; ffmpeg says: {said}"
                ),
            }
        }
        Ok(())
    }

    /// What is missing between the decoded pieces: each has its time and its duration.
    fn holes(&self) -> Result<Holes> {
        let mut command = self.ffmpeg.command();
        command.args(["-max_error_rate", "1", "-i"]).arg(ffmpeg::file(&self.path));
        command.args(["-vn", "-map", &format!("0:{}", self.track.stream), "-f", "framecrc", "pipe:1"]);
        let mut process = Process::spawn(command.stdout(Stdio::piped()))?;
        let (mut unit_s, mut end, mut holes) = (1.0, None, Holes::default());
        for line in process.stdout().map(BufReader::new).into_iter().flat_map(|pipe| pipe.lines().map_while(|l| l.ok()))
        {
            // `#tb 0: 1/48000`, then `0, dts, pts, duration, bytes, checksum`.
            if let Some((num, den)) = line.strip_prefix("#tb 0: ").and_then(|base| base.split_once('/')) {
                unit_s = num.trim().parse().unwrap_or(1.0) / den.trim().parse().unwrap_or(1.0);
            } else if let [_, _, pts, duration, ..] =
                line.split(',').filter_map(|field| field.trim().parse().ok()).collect::<Vec<i64>>()[..]
            {
                let (start_s, end_s) = (pts as f64 * unit_s, (pts + duration) as f64 * unit_s);
                holes.add(end.unwrap_or(start_s), start_s);
                end = Some(end_s);
            }
        }
        process.wait()?;
        Ok(holes)
    }
}

/// Where sound is missing.
#[derive(Default)]
struct Holes {
    count: usize,
    seconds: f64,
    first_s: f64,
}

impl Holes {
    /// Shorter than this, time stamps may be rounded.
    const SHORTEST_S: f64 = 0.005;

    fn add(&mut self, from_s: f64, to_s: f64) {
        if to_s - from_s < Self::SHORTEST_S {
            return;
        }
        if self.count == 0 {
            self.first_s = from_s;
        }
        self.count += 1;
        self.seconds += to_s - from_s;
    }

    /// With what is missing before the end, `wanted` samples from the start.
    fn with_end(mut self, missing_s: f64, wanted: u64, rate_hz: u32) -> Self {
        let end_s = wanted as f64 / f64::from(rate_hz);
        self.add(end_s - missing_s, end_s);
        self
    }
}

fn undecodable(path: &Path, found: &str) -> Error {
    let no_sound = found.contains("matches no streams") || found.contains("does not contain any stream");
    let found = if no_sound { "a file without an audio stream" } else { found };
    Problem::new(path.display().to_string(), "sound that ffmpeg can decode", found).input()
}

//! The sound of any file, decoded by ffmpeg and laid out by its time stamps: sample n is heard n / rate seconds after the start of
//! the file's time, and silence fills what is missing (a late start, pauses that were not recorded, damaged packets).

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::downmix::Layout;
use super::ffmpeg::{self, Ffmpeg, Process};
use super::streams::{Contents, Stream, StreamKind};
use super::wav::Header;
use crate::{Error, Problem, Result};

/// A sound track as it is decoded.
pub(super) struct Decoding {
    ffmpeg: Ffmpeg,
    path: PathBuf,
    /// ffmpeg's number of the track, and of one that begins before it.
    stream: u32,
    earlier: Option<u32>,
    /// Where it ends in the file's time, where the file says so.
    end_s: Option<f64>,
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
    /// The default track at its own rate and channels, as wav, which says both and the channels' places before the samples.
    pub fn start(ffmpeg: &Ffmpeg, path: &Path, told: Arc<AtomicBool>) -> Result<Self> {
        let contents = Contents::of(ffmpeg, path)?;
        let track = contents.default_sound().ok_or_else(|| undecodable(path, "a file without an audio stream"))?;
        let end_s =
            track.duration_s.map(|long_s| track.start_s.unwrap_or(contents.start_s) + long_s - contents.start_s);
        let is_earlier = |stream: &&Stream| {
            let is_kept = matches!(stream.kind, StreamKind::Video | StreamKind::Sound);
            is_kept && stream.start_s.zip(track.start_s).is_some_and(|(other_s, own_s)| other_s < own_s)
        };
        let earlier = contents.streams.iter().find(is_earlier).map(|stream| stream.index);
        let mut command = decode(ffmpeg, path, track.index, earlier);
        command
            .args(["-af", &contents.in_time(0.0), "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"])
            .stdout(Stdio::piped());
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
            stream: track.index,
            earlier,
            end_s,
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
        let wanted = self.end_s.map_or(0, |end_s| (end_s * f64::from(self.rate_hz)).round().max(0.0) as u64);
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
        let mut command = decode(&self.ffmpeg, &self.path, self.stream, self.earlier);
        command.args(["-f", "framecrc", "pipe:1"]);
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

/// ffmpeg decoding one track to an output that is still to be named. Of some kinds of file (MPEG's transport streams) it counts the
/// time from the first of the streams that it is asked for: so it is asked for one that begins `earlier`, too.
fn decode(ffmpeg: &Ffmpeg, path: &Path, stream: u32, earlier: Option<u32>) -> Command {
    let mut command = ffmpeg.command();
    // A packet that cannot be decoded is a hole; how many of them there are is no reason to give up.
    command.args(["-max_error_rate", "1", "-i"]).arg(ffmpeg::file(path));
    if let Some(earlier) = earlier {
        command.args(["-map", &format!("0:{earlier}"), "-c", "copy", "-f", "null", "-"]);
    }
    command.args(["-map", &format!("0:{stream}")]);
    command
}

fn undecodable(path: &Path, found: &str) -> Error {
    Problem::new(path.display().to_string(), "sound that ffmpeg can decode", found).input()
}

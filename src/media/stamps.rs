//! The time stamps of a video's frames, as its file has them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::ffmpeg::{self, Ffmpeg, Process};
use super::probe::VideoInfo;
use crate::{Problem, Result};

/// In seconds of the file's own time, in the order of display.
pub(super) struct Stamps {
    pub starts_s: Vec<f64>,
    /// How long the last frame lasts; 0 where the file does not say.
    pub last_s: f64,
}

/// From the packets, without decoding; None where not each of them has a time of its own.
pub(super) fn of_packets(ffmpeg: &Ffmpeg, info: &VideoInfo) -> Result<Option<Stamps>> {
    let Some(mut command) = ffmpeg.probe_command() else { return Ok(None) };
    command.args(["-select_streams", &info.stream.to_string(), "-of", "compact=p=0"]);
    command.args(["-show_entries", "packet=pts_time,duration_time,flags"]).arg(ffmpeg::file(&info.path));
    let mut shown = Vec::new();
    let mut all_timed = true;
    lines(&mut command, info, |line| {
        let mut fields = line.split('|').filter_map(|field| field.split_once('='));
        let field = |name: &str| fields.clone().find(|(key, _)| *key == name).map(|(_, value)| value);
        // An edit list leaves such a packet out.
        if field("flags").is_some_and(|flags| flags.contains('D')) {
            return;
        }
        let number = |name: &str| field(name).and_then(|value| value.parse::<f64>().ok());
        match number("pts_time") {
            Some(start_s) => shown.push((start_s, number("duration_time").unwrap_or(0.0))),
            None => all_timed &= fields.next().is_none(),
        }
    })?;
    shown.sort_by(|a, b| a.0.total_cmp(&b.0));
    all_timed &= shown.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let last_s = shown.last().map_or(0.0, |(_, duration_s)| *duration_s);
    let starts_s: Vec<f64> = shown.into_iter().map(|(start_s, _)| start_s).collect();
    Ok((all_timed && !starts_s.is_empty()).then_some(Stamps { starts_s, last_s }))
}

/// From the decoded frames. Errors: nothing decodes.
pub(super) fn of_decoding(ffmpeg: &Ffmpeg, info: &VideoInfo) -> Result<Stamps> {
    let mut command = ffmpeg.command();
    command.arg("-i").arg(ffmpeg::file(&info.path)).args(["-map", &format!("0:{}", info.stream)]);
    command.args(["-vf", "scale=4:4,format=gray"]).args(ffmpeg.passthrough()).args(ffmpeg.source_time_base());
    command.args(["-f", "framecrc", "pipe:1"]);
    let (mut unit_s, mut stamps) = (1.0, Stamps { starts_s: Vec::new(), last_s: 0.0 });
    // `#tb 0: 1/12800`, then `0, dts, pts, duration, bytes, checksum`.
    lines(&mut command, info, |line| {
        if let Some(base) = line.strip_prefix("#tb 0: ") {
            let number = |text: &str| text.trim().parse::<f64>().ok();
            unit_s = base.split_once('/').and_then(|(num, den)| Some(number(num)? / number(den)?)).unwrap_or(unit_s);
        } else if !line.starts_with('#') {
            let fields: Vec<f64> = line.split(',').filter_map(|field| field.trim().parse().ok()).collect();
            if let [_, _, pts, duration, ..] = fields[..] {
                stamps.starts_s.push(pts * unit_s + info.file_s);
                stamps.last_s = duration * unit_s;
            }
        }
    })?;
    Ok(stamps)
}

/// Gives each line that `command` prints to `each`. Errors: it fails before it prints one; what fails later is a file that ends
/// early.
fn lines(command: &mut Command, info: &VideoInfo, mut each: impl FnMut(&str)) -> Result<()> {
    let mut process = Process::spawn(command.stdout(Stdio::piped()))?;
    let refused = |found: String| Problem::new(info.path.display().to_string(), "a video that decodes", found).input();
    let mut any = false;
    if let Some(pipe) = process.stdout() {
        for line in BufReader::new(pipe).lines() {
            each(&line.map_err(|e| refused(e.to_string()))?);
            any = true;
        }
    }
    let (status, said) = process.wait()?;
    if any || status.success() { Ok(()) } else { Err(refused(ffmpeg::ending(status, &said))) }
}

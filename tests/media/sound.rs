//! Where sound lies in time, which channels and tracks of it are heard, and what the published programs hear.

use super::{at, ffmpeg, folder, make, refused};
use hound::{SampleFormat, WavSpec, WavWriter};
use std::f64::consts::TAU;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use viseme::media::{Audio, PublishedChannels};
use viseme::weights::{Safetensors, Source};

/// A second that holds `value(t)` in each channel, 16 bits at `rate_hz`.
fn wav(folder: &TempDir, rate_hz: u32, channels: u16, value: impl Fn(f64, u16) -> f64) -> PathBuf {
    let path = at(folder, "channels.wav");
    let spec = WavSpec { channels, sample_rate: rate_hz, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut wav = WavWriter::create(&path, spec).expect("a wav file");
    for i in 0..rate_hz {
        for channel in 0..channels {
            let value = value(f64::from(i) / f64::from(rate_hz), channel);
            wav.write_sample((value * 32_767.0).round() as i16).expect("sample");
        }
    }
    wav.finalize().expect("a wav file");
    path
}

fn sine(t: f64, hz: f64) -> f64 {
    0.5 * (TAU * hz * t).sin()
}

fn heard(path: &Path) -> Vec<f32> {
    Audio::file(path, None).read_all().expect("readable")
}

/// Root mean square from `from_s` to `to_s`.
fn level(samples: &[f32], from_s: f64, to_s: f64) -> f64 {
    let part = &samples[(from_s * 16_000.0) as usize..(to_s * 16_000.0) as usize];
    (part.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / part.len() as f64).sqrt()
}

/// Fails unless `samples` are `gain` times a sine of `hz`, the ends left out.
fn expect_sine(case: &str, samples: &[f32], hz: f64, gain: f64) {
    let inner = 500..samples.len() - 500;
    let error = |i: usize| (f64::from(samples[i]) - gain * sine(i as f64 / 16_000.0, hz)).abs();
    let worst = inner.map(error).fold(0.0, f64::max);
    assert!(worst < 2e-3, "{case}: off by {worst:.2e}");
}

#[test]
fn a_hole_in_the_time_stamps_is_silence() {
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let tone = ["-f", "lavfi", "-i", "sine=440:duration=4:sample_rate=48000"];
    for (name, codec) in [("hole.mka", "flac"), ("hole.webm", "libopus"), ("hole.mp4", "aac")] {
        let path = at(&folder, name);
        // Packets that a recorder never wrote: the samples from 1 to 2 s, their time with them.
        make(&path, &[&tone[..], &["-af", "aselect='not(between(t,1,2))'", "-c:a", codec, "-vn"]].concat());
        let samples = heard(&path);
        assert!(samples.len().abs_diff(64_000) < 800, "{name}: {} samples of 4 s", samples.len());
        let levels = [(0.1, 0.9), (1.1, 1.9), (2.1, 3.9)].map(|(from, to)| level(&samples, from, to));
        assert!(levels[0] > 0.08 && levels[2] > 0.08 && levels[1] < 1e-4, "{name}: {levels:?}");
    }
}

#[test]
fn sound_that_starts_late_has_silence_in_front() {
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=3"];
    let late = [
        "-itsoffset",
        "0.5",
        "-f",
        "lavfi",
        "-i",
        "sine=440:duration=2:sample_rate=48000",
        "-map",
        "0:v",
        "-map",
        "1:a",
    ];
    for (name, codec) in [("late.mkv", "flac"), ("late.mp4", "aac"), ("late.ts", "mp2")] {
        let path = at(&folder, name);
        make(&path, &[&picture[..], &late, &["-c:v", "mpeg4", "-c:a", codec]].concat());
        let samples = heard(&path);
        assert!(samples.len().abs_diff(40_000) < 800, "{name}: {} samples of 2.5 s", samples.len());
        let start = samples.iter().position(|v| v.abs() > 0.02).expect("a tone");
        assert!(start.abs_diff(8_000) < 160, "{name}: sound from sample {start} on");
    }
}

#[test]
fn a_centre_is_heard_alone_and_whole() {
    let folder = folder();
    // Front left, front right, centre, low frequencies, and two at the back.
    let film = wav(&folder, 48_000, 6, |t, channel| match channel {
        2 => sine(t, 440.0),
        other => sine(t, 1_000.0 + 100.0 * f64::from(other)),
    });
    expect_sine("5.1", &heard(&film), 440.0, 1.0);
    let upmixed = wav(&folder, 48_000, 6, |t, channel| if channel < 2 { sine(t, 440.0) } else { 0.0 });
    expect_sine("5.1 with an empty centre", &heard(&upmixed), 440.0, 1.0);
    let single = wav(&folder, 16_000, 1, |t, _| sine(t, 440.0));
    expect_sine("mono", &heard(&single), 440.0, 1.0);
    if ffmpeg().is_none() {
        return;
    }
    let film = wav(&folder, 48_000, 6, |t, channel| sine(t, if channel == 2 { 440.0 } else { 1_000.0 }));
    let side = "5.1(side)|FL=c0|FR=c1|FC=c2|LFE=c3|SL=c4|SR=c5";
    let seven = "7.1|FL=c0|FR=c1|FC=c2|LFE=c3|BL=c4|BR=c5|SL=c4|SR=c5";
    for (name, places, codec) in
        [("side.mkv", side, "flac"), ("side.mov", side, "pcm_s16le"), ("7.1.mka", seven, "flac")]
    {
        let path = at(&folder, name);
        let pan = format!("pan={places}");
        make(&path, &["-i", &film.display().to_string(), "-af", &pan, "-c:a", codec]);
        expect_sine(name, &heard(&path), 440.0, 1.0);
    }
    // Four channels without a centre.
    let path = at(&folder, "quad.mka");
    let [front, back] = [440, 1000].map(|hz| format!("0.5*sin(2*PI*{hz}*t)"));
    let quad = format!("aevalsrc={front}|{front}|{back}|{back}:c=quad:s=48000:d=1");
    make(&path, &["-f", "lavfi", "-i", &quad, "-c:a", "flac"]);
    expect_sine("quad", &heard(&path), 440.0, 1.0);
}

#[test]
fn of_opposite_phases_the_louder_channel_is_heard() {
    let folder = folder();
    for (left, right, gain) in [(1.0, -1.0, 1.0), (0.4, -0.8, -0.8), (1.0, 1.0, 1.0), (1.0, 0.0, 0.5), (0.2, 0.8, 0.5)]
    {
        let pair = wav(&folder, 44_100, 2, |t, channel| sine(t, 440.0) * if channel == 0 { left } else { right });
        expect_sine(&format!("{left}, {right}"), &heard(&pair), 440.0, gain);
    }
    // Two voices, one in each channel, are both heard.
    let voices = wav(&folder, 16_000, 2, |t, channel| sine(t, if channel == 0 { 300.0 } else { 700.0 }));
    let both = heard(&voices);
    let error = |i: usize| {
        let t = i as f64 / 16_000.0;
        (f64::from(both[i]) - 0.5 * (sine(t, 300.0) + sine(t, 700.0))).abs()
    };
    assert!((0..16_000).map(error).fold(0.0, f64::max) < 1e-3);
}

#[test]
fn of_many_channels_those_spoken_into_are_heard() {
    let folder = folder();
    let field = wav(&folder, 48_000, 16, |t, channel| match channel {
        5 => sine(t, 440.0),
        9 => 0.5 * sine(t, 440.0),
        other => 0.01 * sine(t, 2_000.0 + f64::from(other)),
    });
    expect_sine("16 channels", &heard(&field), 440.0, 0.75);
}

#[test]
fn the_track_marked_default_is_heard() {
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let tracks = [
        "-f",
        "lavfi",
        "-i",
        "sine=300:duration=1:sample_rate=16000",
        "-f",
        "lavfi",
        "-i",
        "sine=700:duration=1:sample_rate=16000",
    ];
    let path = at(&folder, "tracks.mka");
    for (default, hz) in [(0, 300.0), (1, 700.0)] {
        let [first, second] = if default == 0 { ["default", "0"] } else { ["0", "default"] };
        let marks =
            ["-map", "0", "-map", "1", "-c:a", "pcm_s16le", "-disposition:a:0", first, "-disposition:a:1", second];
        make(&path, &[&tracks[..], &marks].concat());
        let samples = heard(&path);
        let crossings = samples.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!((crossings as f64 - hz).abs() < 3.0, "track {default}: {crossings} Hz");
    }
}

#[test]
fn damaged_sound_keeps_its_length_and_is_told_of_once() {
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let (whole, broken) = (at(&folder, "whole.mka"), at(&folder, "broken.mka"));
    make(&whole, &["-f", "lavfi", "-i", "sine=440:duration=4:sample_rate=44100", "-c:a", "flac"]);
    let mut bytes = std::fs::read(&whole).expect("bytes");
    // The heads of FLAC's frames, of 4608 samples each: those from 1.04 to 1.67 s lose their sync code.
    let heads: Vec<usize> = (0..bytes.len() - 1).filter(|&i| bytes[i..i + 2] == [0xff, 0xf8]).collect();
    assert!(heads.len() >= 38, "{} frames", heads.len());
    for &head in &heads[10..16] {
        bytes[head..head + 2].fill(0);
    }
    std::fs::write(&broken, bytes).expect("written");

    let audio = Audio::file(&broken, None);
    let log = Arc::new(Mutex::new(Vec::new()));
    let passes = said(&log, || [audio.read_all().expect("readable"), audio.read_all().expect("again")]);
    assert!(passes[0] == passes[1]);
    assert!(passes[0].len().abs_diff(64_000) < 32, "{} samples of 4 s", passes[0].len());
    let levels = [(0.1, 1.0), (1.1, 1.6), (1.7, 3.9)].map(|(from, to)| level(&passes[0], from, to));
    assert!(levels[0] > 0.08 && levels[2] > 0.08 && levels[1] < 1e-4, "{levels:?}");
    let log = String::from_utf8(log.lock().expect("log").clone()).expect("text");
    assert_eq!(log.matches("damaged").count(), 1, "{log}");
    for word in ["broken.mka", "in 1 places", "0.63 s in all", "first at 1.04 s"] {
        assert!(log.contains(word), "'{log}' does not say '{word}'");
    }

    std::fs::write(&broken, [&b"\x1aE\xdf\xa3"[..], &[7; 4000]].concat()).expect("written");
    refused(Audio::file(&broken, None).read_all(), 3, &["broken.mka"]);
}

/// What `run` logs goes to `log`.
fn said<T>(log: &Arc<Mutex<Vec<u8>>>, run: impl FnOnce() -> T) -> T {
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("log").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_writer(move || Lines(log.clone())).with_ansi(false).without_time().finish();
    tracing::subscriber::with_default(subscriber, run)
}

#[test]
fn an_offset_moves_and_a_length_cuts_or_fills() {
    let folder = folder();
    let file = wav(&folder, 44_100, 1, |t, _| sine(t, 440.0));
    let samples: Vec<f32> = heard(&file);
    let plain = samples.clone();
    for audio in [Audio::file(&file, None), Audio::samples(samples, 16_000)] {
        let read = |audio: Audio| {
            let known = audio.known_len().expect("known").expect("a length");
            let all = audio.read_all().expect("readable");
            assert_eq!(all.len() as u64, known);
            assert!(audio.blocks().expect("blocks").all(|block| !block.expect("block").is_empty()));
            all
        };
        assert!(read(audio.clone()) == plain);
        let later = audio.clone().offset(1.5);
        assert_eq!(later.offset_s(), 1.5);
        let later = read(later);
        assert!(later[..24_000].iter().all(|&v| v == 0.0) && later[24_000..] == plain);
        assert!(read(audio.clone().offset(-0.3)) == plain[4_800..]);
        assert!(read(audio.clone().offset(2.0).offset(-2.0)) == plain);
        assert!(read(audio.clone().lasting(0.25)) == plain[..4_000]);
        let filled = read(audio.clone().lasting(2.75));
        assert!(filled.len() == 44_000 && filled[..16_000] == plain && filled[16_000..].iter().all(|&v| v == 0.0));
        let both = read(audio.clone().lasting(1.0).offset(-0.5));
        assert!(both.len() == 16_000 && both[..8_000] == plain[8_000..] && both[8_000..].iter().all(|&v| v == 0.0));
        assert!(read(audio.clone().offset(3.0).lasting(2.0)) == vec![0.0; 32_000]);

        refused(audio.clone().offset(-1.5).read_all(), 2, &["an offset that leaves some", "cuts off all"]);
        assert_eq!(audio.clone().offset(-1.5).known_len().expect("read for the reason"), None);
        for bad in [f64::NAN, f64::INFINITY, -1e9] {
            refused(audio.clone().offset(bad).read_all(), 2, &["audio offset", "seconds"]);
        }
        for bad in [f64::NAN, 0.0, -1.0, 1e12] {
            refused(audio.clone().lasting(bad).known_len(), 2, &["audio length", "seconds"]);
        }
    }
}

#[test]
fn a_length_is_known_where_it_is_exact() {
    let folder = folder();
    for rate_hz in [8_000, 11_025, 16_000, 44_100, 48_000] {
        let audio = Audio::file(wav(&folder, rate_hz, 2, |t, _| sine(t, 100.0)), None);
        for audio in [audio.clone(), audio.as_published(PublishedChannels::Mean)] {
            let known = audio.known_len().expect("known");
            assert_eq!(known, Some(audio.read_all().expect("readable").len() as u64), "{rate_hz} Hz");
        }
    }
    assert_eq!(Audio::samples(Vec::new(), 16_000).known_len().expect("read for the reason"), None);
    refused(Audio::file(at(&folder, "absent.wav"), None).known_len(), 3, &["absent.wav"]);
    if ffmpeg().is_none() {
        return;
    }
    let copy = at(&folder, "copy.flac");
    make(&copy, &["-i", &at(&folder, "channels.wav").display().to_string()]);
    assert_eq!(Audio::file(&copy, None).known_len().expect("unknown"), None);
}

#[test]
fn published_resampling_is_torchaudios() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/resampling.safetensors");
    let fixture = Safetensors::open(&file).expect("a fixture");
    let floats = |name: &str| -> Vec<f32> { bytemuck::pod_collect_to_vec(&fixture.read(name).expect(name)) };
    let samples = floats("input.samples");
    for rate_hz in [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000] {
        let want = floats(&format!("output.{rate_hz}"));
        let audio = Audio::samples(samples.clone(), rate_hz).as_published(PublishedChannels::Mean);
        let got = audio.read_all().expect("samples");
        assert_eq!(got.len(), want.len(), "{rate_hz} Hz");
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-6, "{rate_hz} Hz: off by {worst:.2e}");
        // The filter is another than the default's by far more than the bar.
        let default = Audio::samples(samples.clone(), rate_hz).read_all().expect("samples");
        assert!(default.iter().zip(&want).any(|(a, b)| (a - b).abs() > 1e-3), "{rate_hz} Hz");
    }
    // Blocks do not show: many of them, and one sample.
    let long: Vec<f32> = samples.iter().cycle().take(40_000).copied().collect();
    let got = Audio::samples(long, 48_000).as_published(PublishedChannels::Mean).read_all().expect("samples");
    let head = floats("output.48000");
    assert!(got[..980].iter().zip(&head).all(|(a, b)| (a - b).abs() <= 1e-6) && got.len() == 13_334);
    for rate_hz in [1_000, 44_100, 768_000] {
        let one = Audio::samples(vec![0.5], rate_hz).as_published(PublishedChannels::Mean);
        assert_eq!(one.read_all().expect("samples").len(), 16_000usize.div_ceil(rate_hz as usize));
    }
}

#[test]
fn the_published_programs_hear_their_channels() {
    use PublishedChannels::{FirstIfResampled, Mean};
    let folder = folder();
    let hears = |rate_hz, channels, gain: f64| {
        let pair = wav(&folder, rate_hz, 2, |t, channel| sine(t, 440.0) * if channel == 0 { 0.2 } else { -0.8 });
        let samples = Audio::file(&pair, None).as_published(channels).read_all().expect("samples");
        expect_sine(&format!("{rate_hz} Hz, {channels:?}"), &samples, 440.0, gain);
    };
    hears(16_000, Mean, -0.3);
    hears(48_000, Mean, -0.3);
    hears(16_000, FirstIfResampled, -0.3);
    hears(48_000, FirstIfResampled, 0.2);
}

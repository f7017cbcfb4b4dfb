use super::{at, ffmpeg, folder, make, refused};
use hound::{SampleFormat, WavSpec, WavWriter};
use std::f64::consts::TAU;
use std::path::Path;
use viseme::media::Audio;

const TONE_HZ: f64 = 440.0;
const AMPLITUDE: f64 = 0.8;
/// Around either end the filter sees silence beside the tone; that is not compared.
const EDGE: usize = 400;
/// What resampling may change a tone by, of full scale.
const RESAMPLING: f64 = 5e-4;

fn tone(index: usize, rate_hz: u32) -> f64 {
    AMPLITUDE * (TAU * TONE_HZ * index as f64 / f64::from(rate_hz)).sin()
}

#[derive(Clone, Copy, Debug)]
struct Encoding {
    format: SampleFormat,
    bits: u16,
    channels: u16,
    rate_hz: u32,
}

/// The tone; a second channel holds a half of it, so that their mean is three quarters.
fn write_wav(path: &Path, Encoding { format, bits, channels, rate_hz }: Encoding, samples: usize) {
    let spec = WavSpec { channels, sample_rate: rate_hz, bits_per_sample: bits, sample_format: format };
    let mut wav = WavWriter::create(path, spec).expect("a wav file");
    for i in 0..samples {
        for channel in 0..channels {
            let value = tone(i, rate_hz) * if channel == 0 { 1.0 } else { 0.5 };
            match format {
                SampleFormat::Float => wav.write_sample(value as f32).expect("sample"),
                SampleFormat::Int => {
                    let scale = (1u64 << (bits - 1)) as f64;
                    wav.write_sample((value * scale).round() as i32).expect("sample");
                }
            }
        }
    }
    wav.finalize().expect("a wav file");
}

fn pcm(bits: u16, channels: u16, rate_hz: u32) -> Encoding {
    Encoding { format: SampleFormat::Int, bits, channels, rate_hz }
}

/// Fails unless `samples` at 16 kHz are `gain` times the tone, `seconds` long, within `bar`.
fn expect_tone(case: &str, samples: &[f32], seconds: f64, gain: f64, bar: f64) {
    assert_eq!(samples.len(), (seconds * 16_000.0).round() as usize, "{case}: length");
    let edge = if bar < RESAMPLING { 0 } else { EDGE };
    let inner = edge..samples.len() - edge;
    let error = inner.map(|i| (f64::from(samples[i]) - gain * tone(i, 16_000)).abs()).fold(0.0, f64::max);
    assert!(error <= bar, "{case}: off by {error:.2e} > {bar:.2e}");
}

#[test]
fn wav_of_every_depth_rate_and_channel_count_is_the_tone() {
    let folder = folder();
    let float = |channels, rate_hz| Encoding { format: SampleFormat::Float, bits: 32, channels, rate_hz };
    let mut cases: Vec<Encoding> = Vec::new();
    for rate_hz in [8_000, 16_000, 22_050, 44_100, 48_000, 96_000] {
        for channels in [1, 2] {
            cases.extend([8, 16, 24, 32].map(|bits| pcm(bits, channels, rate_hz)));
            cases.push(float(channels, rate_hz));
        }
    }
    for case in cases {
        let path = at(&folder, "tone.wav");
        let seconds = 0.4;
        write_wav(&path, case, (seconds * f64::from(case.rate_hz)) as usize);
        let samples = Audio::file(&path, None).read_all().expect("readable");
        let rounding =
            if case.format == SampleFormat::Float { 1e-7 } else { 0.5f64.powi(i32::from(case.bits)).max(1e-7) };
        // Rounding errors of many samples add up in the filter.
        let bar = if case.rate_hz == 16_000 { rounding } else { 2.0 * rounding + RESAMPLING };
        expect_tone(&format!("{case:?}"), &samples, seconds, if case.channels == 2 { 0.75 } else { 1.0 }, bar);
    }
}

#[test]
fn every_rate_and_length_gives_the_ceiling_of_its_share() {
    for rate_hz in [1_000, 8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 768_000] {
        for count in [1usize, 2, 3, 159, 160, 161, 441, 4_096, 16_383, 16_384, 16_385, 50_000] {
            let audio = Audio::samples(vec![0.25; count], rate_hz);
            let blocks: Vec<Vec<f32>> = audio.blocks().expect("blocks").map(|b| b.expect("block")).collect();
            assert!(blocks.iter().all(|block| !block.is_empty()), "{count} at {rate_hz} Hz: an empty block");
            let total: usize = blocks.iter().map(Vec::len).sum();
            assert_eq!(total, (count * 16_000).div_ceil(rate_hz as usize), "{count} samples at {rate_hz} Hz");
        }
    }
}

#[test]
fn resampling_moves_nothing_in_time() {
    for (rate_hz, from, to) in
        [(48_000, 9_000, 3_000), (44_100, 13_230, 4_800), (8_000, 2_000, 4_000), (22_050, 4_410, 3_200)]
    {
        let mut click = vec![0.0; 3 * from];
        click[from] = 1.0;
        let samples = Audio::samples(click, rate_hz).read_all().expect("samples");
        let peak = (0..samples.len()).max_by(|&a, &b| samples[a].total_cmp(&samples[b]));
        assert_eq!(peak, Some(to), "a click at {from} of {rate_hz} Hz");
    }
}

#[test]
fn the_same_sound_is_the_same_through_ffmpeg() {
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let wav = at(&folder, "tone.wav");
    for (bits, copy) in [(8, "tone.mka"), (16, "tone.flac"), (24, "tone.mka"), (32, "tone.au")] {
        for rate_hz in [16_000, 44_100] {
            let encoding = pcm(bits, 2, rate_hz);
            write_wav(&wav, encoding, 20_000);
            let copy = at(&folder, copy);
            let codec = match bits {
                8 => "pcm_u8",
                16 => "flac",
                24 => "pcm_s24le",
                _ => "pcm_s32be",
            };
            make(&copy, &["-i", &wav.display().to_string(), "-c:a", codec]);
            let direct = Audio::file(&wav, Some(Path::new("/nonexistent/ffmpeg"))).read_all().expect("wav");
            let through = Audio::file(&copy, None).read_all().expect("through ffmpeg");
            assert_eq!(direct.len(), through.len(), "{encoding:?}");
            let error = direct.iter().zip(&through).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error <= 2e-7, "{encoding:?}: {error:.2e} between wav and {}", copy.display());
        }
    }
}

#[test]
fn rare_wav_encodings_are_left_to_ffmpeg() {
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let (wav, rare) = (at(&folder, "tone.wav"), at(&folder, "rare.wav"));
    write_wav(&wav, pcm(16, 1, 16_000), 8_000);
    // A-law has steps of a 32nd near full scale.
    for (codec, bar) in [("pcm_f64le", 3e-5), ("pcm_alaw", 0.02), ("adpcm_ms", 0.05)] {
        make(&rare, &["-i", &wav.display().to_string(), "-c:a", codec]);
        let samples = Audio::file(&rare, None).read_all().expect(codec);
        expect_tone(codec, &samples[..8_000], 0.5, 1.0, bar);
        refused(
            Audio::file(&rare, Some(Path::new("/nonexistent/ffmpeg"))).read_all(),
            8,
            &["/nonexistent/ffmpeg", "install"],
        );
    }
}

#[test]
fn a_wav_written_to_a_pipe_has_no_length_and_is_read_to_its_end() {
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let (wav, piped) = (at(&folder, "tone.wav"), at(&folder, "piped.wav"));
    write_wav(&wav, pcm(16, 1, 16_000), 8_000);
    let whole = std::fs::read(&wav).expect("wav");
    // What ffmpeg and espeak-ng put where they cannot go back to.
    for length in [u32::MAX, 0x7fff_f000] {
        let mut bytes = whole.clone();
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        let data = bytes.windows(4).position(|w| w == b"data").expect("data") + 4;
        bytes[data..data + 4].copy_from_slice(&length.to_le_bytes());
        std::fs::write(&piped, bytes).expect("written");
        let samples = Audio::file(&piped, None).read_all().expect("readable");
        expect_tone("piped", &samples, 0.5, 1.0, 2e-5);
    }
}

#[test]
fn broken_sound_is_refused_by_name() {
    let folder = folder();
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(at(&folder, name), bytes).expect("written");
        Audio::file(at(&folder, name), None)
    };
    write_wav(&at(&folder, "whole.wav"), pcm(16, 1, 16_000), 40_000);
    let whole = std::fs::read(at(&folder, "whole.wav")).expect("wav");

    refused(Audio::file(at(&folder, "absent.wav"), None).read_all(), 3, &["absent.wav", "cannot read"]);
    refused(Audio::file(folder.path(), None).read_all(), 3, &["cannot read"]);
    refused(file("empty.wav", b"").read_all(), 3, &["empty.wav", "an empty file"]);
    for cut in [6, 12, 20, 43] {
        refused(file("header.wav", &whole[..cut]).read_all(), 3, &["header.wav", "cut off"]);
    }
    refused(file("cut.wav", &whole[..whole.len() / 2]).read_all(), 3, &["cut.wav", "cut off"]);
    refused(file("cut.wav", &whole[..whole.len() - 1]).read_all(), 3, &["cut.wav", "cut off"]);

    write_wav(&at(&folder, "silent.wav"), pcm(16, 1, 16_000), 0);
    refused(Audio::file(at(&folder, "silent.wav"), None).read_all(), 3, &["silent.wav", "no samples"]);
    if ffmpeg().is_some() {
        refused(file("text.wav", b"this is no sound at all").read_all(), 3, &["text.wav"]);
    }
}

#[test]
fn values_that_are_no_numbers_are_refused_by_sample() {
    let folder = folder();
    let path = at(&folder, "float.wav");
    let spec = WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 32, sample_format: SampleFormat::Float };
    for bad in [f32::NAN, f32::INFINITY] {
        let mut wav = WavWriter::create(&path, spec).expect("a wav file");
        for i in 0..40_000 {
            wav.write_sample(if i == 20_001 { bad } else { 0.1 }).expect("sample");
        }
        wav.finalize().expect("a wav file");
        refused(Audio::file(&path, None).read_all(), 3, &["float.wav, sample 20001", "a finite number"]);
    }
    refused(Audio::samples(vec![0.0, f32::NAN], 16_000).read_all(), 3, &["samples, sample 1"]);
    refused(Audio::samples(vec![0.0; 10], 0).read_all(), 3, &["a sample rate of 1000 to 768000 Hz"]);
    refused(Audio::samples(Vec::new(), 16_000).read_all(), 3, &["no samples"]);
}

#[test]
fn the_sound_of_a_video_is_read_and_its_absence_named() {
    if ffmpeg().is_none() {
        return;
    }
    let folder = folder();
    let (wav, video, mute) = (at(&folder, "tone.wav"), at(&folder, "video.mkv"), at(&folder, "mute.mkv"));
    write_wav(&wav, pcm(16, 1, 16_000), 16_000);
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1"];
    make(&video, &[&picture[..], &["-i", &wav.display().to_string(), "-c:a", "flac"]].concat());
    make(&mute, &picture);
    expect_tone("video", &Audio::file(&video, None).read_all().expect("sound"), 1.0, 1.0, 2e-5);
    refused(Audio::file(&mute, None).read_all(), 3, &["mute.mkv", "without an audio stream"]);
}

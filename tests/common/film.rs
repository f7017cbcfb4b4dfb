//! Films with known truth: portraits moved by known similarities over drawn backgrounds, shot by shot, at any size and rate.

#![allow(dead_code)] // Each test uses a part of it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use viseme::media::frames::read_picture;
use viseme::media::{Fps, Frame};
use viseme::ops::Affine;

/// A picture of a face. Points are in its pixels, 0 being its edge.
pub struct Portrait {
    pub picture: Frame,
    /// The middle between forehead and chin, and the distance between them.
    pub middle: [f64; 2],
    pub height: f64,
    /// Of the oval about the middle that is seen, half its width and half its height; its edge is soft.
    pub oval: [f64; 2],
}

impl Portrait {
    pub fn grace_hopper() -> &'static Self {
        static PORTRAIT: OnceLock<Portrait> = OnceLock::new();
        PORTRAIT.get_or_init(|| Self::read("grace_hopper.jpg", [266.0, 233.0], 201.0, [160.0, 215.0]))
    }

    pub fn astronaut() -> &'static Self {
        static PORTRAIT: OnceLock<Portrait> = OnceLock::new();
        PORTRAIT.get_or_init(|| Self::read("astronaut.jpg", [224.0, 124.0], 106.0, [88.0, 116.0]))
    }

    fn read(file: &str, middle: [f64; 2], height: f64, oval: [f64; 2]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/portraits").join(file);
        Self { picture: read_picture(&path).expect("a portrait"), middle, height, oval }
    }

    /// How much of the picture is seen at a point, from 0 to 1: all of it within nine tenths of the oval.
    fn cover(&self, [x, y]: [f64; 2]) -> f32 {
        let from_middle = ((x - self.middle[0]) / self.oval[0]).hypot((y - self.middle[1]) / self.oval[1]);
        let part = ((1.0 - from_middle) / 0.1).clamp(0.0, 1.0) as f32;
        part * part * (3.0 - 2.0 * part)
    }

    /// The colour at a point, between its four pixels' middles.
    fn colour(&self, [x, y]: [f64; 2]) -> [f32; 3] {
        let Frame { width, height, rgb, .. } = &self.picture;
        let along = |v: f64, size: u32| {
            let v = (v - 0.5).clamp(0.0, f64::from(size - 1));
            let first = (v as usize).min(size as usize - 2);
            (first, (v - first as f64) as f32)
        };
        let ((x, u), (y, v)) = (along(x, *width), along(y, *height));
        let at = |x: usize, y: usize, c: usize| f32::from(rgb[3 * (y * *width as usize + x) + c]);
        std::array::from_fn(|c| {
            let row = |y: usize| at(x, y, c) + u * (at(x + 1, y, c) - at(x, y, c));
            row(y) + v * (row(y + 1) - row(y))
        })
    }
}

/// Where a portrait is.
#[derive(Debug, Clone, Copy)]
pub struct Pose {
    /// Its middle, in parts of the film's width and height.
    pub at: [f64; 2],
    /// From forehead to chin, in parts of the film's height.
    pub height: f64,
    /// Clockwise, in degrees.
    pub turn: f64,
}

/// Where a portrait is, by seconds since its shot began; None while it is not there.
pub type PosePath = fn(f64) -> Option<Pose>;

pub struct Actor {
    pub portrait: &'static Portrait,
    pub path: PosePath,
}

/// Actors before a background of their own, for a time.
pub struct Shot {
    pub duration_s: f64,
    /// Each number is another background.
    pub background: u32,
    pub actors: Vec<Actor>,
}

impl Shot {
    fn of(duration_s: f64, background: u32, paths: &[(&'static Portrait, PosePath)]) -> Self {
        let actors = paths.iter().map(|&(portrait, path)| Actor { portrait, path }).collect();
        Self { duration_s, background, actors }
    }

    /// Somebody small, an eighth of the height, who sways.
    pub fn wide() -> Self {
        let path = |t: f64| {
            let at = [0.45 + 0.06 * wave(t, 0.3, 0.0), 0.4 + 0.02 * wave(t, 0.7, 0.2)];
            Some(Pose { at, height: 0.12, turn: 8.0 * wave(t, 0.4, 0.1) })
        };
        Self::of(2.0, 1, &[(Portrait::grace_hopper(), path)])
    }

    /// The same face, large.
    pub fn close_up() -> Self {
        let path = |t: f64| {
            let at = [0.5 + 0.03 * wave(t, 0.5, 0.0), 0.5 + 0.02 * wave(t, 0.8, 0.3)];
            Some(Pose { at, height: 0.42, turn: 6.0 * wave(t, 0.5, 0.6) })
        };
        Self::of(2.0, 2, &[(Portrait::grace_hopper(), path)])
    }

    /// A face that comes near: from 0.15 of the height to 0.4 in two seconds.
    pub fn zoom_in() -> Self {
        let path = |t: f64| {
            let at = [0.5 + 0.02 * wave(t, 0.4, 0.0), 0.48];
            Some(Pose { at, height: 0.15 * (0.4f64 / 0.15).powf(t / 2.0), turn: 4.0 * wave(t, 0.5, 0.0) })
        };
        Self::of(2.0, 3, &[(Portrait::grace_hopper(), path)])
    }

    /// The first actor stays; below, from left to right, the second one passes without touching.
    pub fn passing() -> Self {
        let stays = |t: f64| {
            Some(Pose { at: [0.5 + 0.02 * wave(t, 0.5, 0.0), 0.34], height: 0.22, turn: 5.0 * wave(t, 0.6, 0.3) })
        };
        let passes = |t: f64| {
            Some(Pose {
                at: [-0.2 + 0.7 * t, 0.78 + 0.01 * wave(t, 1.0, 0.0)],
                height: 0.14,
                turn: 5.0 * wave(t, 0.8, 0.0),
            })
        };
        Self::of(2.0, 4, &[(Portrait::grace_hopper(), stays), (Portrait::astronaut(), passes)])
    }

    /// A face that goes out on the left, is gone for one to two seconds (the narrower the film, the less) and comes back.
    pub fn leaving() -> Self {
        let path = |t: f64| {
            let x = 0.5 - 1.1 * (std::f64::consts::PI * t / 3.0).sin().max(0.0);
            Some(Pose { at: [x, 0.45], height: 0.25, turn: 5.0 * wave(t, 0.5, 0.0) })
        };
        Self::of(3.0, 5, &[(Portrait::grace_hopper(), path)])
    }

    /// A head that is held askew by 25 degrees.
    pub fn tilted() -> Self {
        let path = |t: f64| {
            let at = [0.5 + 0.02 * wave(t, 0.4, 0.0), 0.5 + 0.01 * wave(t, 0.9, 0.0)];
            Some(Pose { at, height: 0.3, turn: 25.0 + 1.5 * wave(t, 0.5, 0.0) })
        };
        Self::of(2.0, 6, &[(Portrait::grace_hopper(), path)])
    }
}

/// A sine of time: `rate_hz`, and how many periods it is ahead.
fn wave(t: f64, rate_hz: f64, ahead: f64) -> f64 {
    (std::f64::consts::TAU * (rate_hz * t + ahead)).sin()
}

pub struct Film {
    pub size: [u32; 2],
    pub fps: Fps,
    pub shots: Vec<Shot>,
}

/// A shot's number and the time since it began.
struct Moment {
    shot: usize,
    time_s: f64,
}

impl Film {
    pub fn new(size: [u32; 2], fps: Fps, shots: Vec<Shot>) -> Self {
        Self { size, fps, shots }
    }

    /// Every kind of shot there is, one after another.
    pub fn edited(size: [u32; 2], fps: Fps) -> Self {
        let shots = [Shot::wide, Shot::close_up, Shot::zoom_in, Shot::passing, Shot::leaving, Shot::tilted];
        Self::new(size, fps, shots.map(|shot| shot()).into())
    }

    /// The first frame that begins at `time_s` or later.
    fn frame_from(&self, time_s: f64) -> u64 {
        (time_s * self.fps.as_f64() - 1e-6).ceil().max(0.0) as u64
    }

    fn ends_s(&self) -> impl Iterator<Item = f64> {
        self.shots.iter().scan(0.0, |end, shot| {
            *end += shot.duration_s;
            Some(*end)
        })
    }

    pub fn count(&self) -> u64 {
        self.ends_s().last().map_or(0, |end| self.frame_from(end))
    }

    /// The frames that begin a shot, the first one excepted.
    pub fn cuts(&self) -> Vec<u64> {
        let ends: Vec<u64> = self.ends_s().map(|end| self.frame_from(end)).collect();
        ends[..ends.len() - 1].to_vec()
    }

    fn moment(&self, frame: u64) -> Moment {
        let ends: Vec<f64> = self.ends_s().collect();
        let shot = ends.iter().position(|&end| frame < self.frame_from(end)).expect("a frame of the film");
        let began_s = if shot == 0 { 0.0 } else { ends[shot - 1] };
        Moment { shot, time_s: frame as f64 / self.fps.as_f64() - began_s }
    }

    /// For each actor of the frame's shot the map from the portrait's pixels to the frame's; None while it is not there.
    pub fn truth(&self, frame: u64) -> Vec<Option<Affine>> {
        let Moment { shot, time_s } = self.moment(frame);
        let [width, height] = self.size.map(f64::from);
        let map = |actor: &Actor| {
            let (portrait, pose) = (actor.portrait, (actor.path)(time_s)?);
            let scale = pose.height * height / portrait.height;
            Some(
                Affine::translation(-portrait.middle[0], -portrait.middle[1])
                    .then(&Affine::scaling(scale, scale))
                    .then(&Affine::rotation(pose.turn.to_radians()))
                    .then(&Affine::translation(pose.at[0] * width, pose.at[1] * height)),
            )
        };
        self.shots[shot].actors.iter().map(map).collect()
    }

    /// All frames in their order.
    pub fn frames(&self) -> impl Iterator<Item = Frame> {
        let mut background: Option<(usize, Frame)> = None;
        (0..self.count()).map(move |frame| {
            let Moment { shot, .. } = self.moment(frame);
            if background.as_ref().is_none_or(|(of, _)| *of != shot) {
                background = Some((shot, draw_background(self.shots[shot].background, self.size)));
            }
            let mut picture = background.as_ref().map(|(_, picture)| picture.clone()).expect("a background");
            for (actor, map) in self.shots[shot].actors.iter().zip(self.truth(frame)) {
                if let Some(map) = map {
                    place(&mut picture, actor.portrait, &map);
                }
            }
            picture
        })
    }

    /// Writes the film by ffmpeg, H.264 that hides little; with clicks of 2 ms at these seconds as its sound, where there are any.
    pub fn encode(&self, path: &Path, clicks_s: Option<&[f64]>) {
        let [width, height] = self.size;
        let (size, rate) = (format!("{width}x{height}"), self.fps.to_string());
        let sound = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error", "-y"]);
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size, "-r", &rate, "-i", "pipe:0"]);
        if let Some(clicks_s) = clicks_s {
            let length_s = self.count() as f64 / self.fps.as_f64();
            std::fs::write(sound.path(), clicks(length_s, clicks_s)).expect("clicks are written");
            let rate = SOUND_HZ.to_string();
            command.args(["-f", "s16le", "-ar", &rate, "-ac", "1", "-i"]).arg(sound.path());
            command.args(["-c:a", "aac", "-b:a", "192k"]);
        }
        command.args(["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"]);
        command.args([
            "-colorspace",
            "bt709",
            "-color_primaries",
            "bt709",
            "-color_trc",
            "bt709",
            "-color_range",
            "tv",
        ]);
        command.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "10"]).arg(path);
        let mut process = command.stdin(Stdio::piped()).spawn().expect("ffmpeg starts");
        let mut pipe = process.stdin.take().expect("a pipe");
        for frame in self.frames() {
            pipe.write_all(&frame.rgb).expect("ffmpeg takes a frame");
        }
        drop(pipe);
        assert!(process.wait().expect("ffmpeg ends").success(), "ffmpeg failed at {}", path.display());
    }
}

const SOUND_HZ: u32 = 48_000;

/// Samples of 16 bits: silence but for bursts of 4 kHz.
fn clicks(length_s: f64, clicks_s: &[f64]) -> Vec<u8> {
    let rate = f64::from(SOUND_HZ);
    let mut samples = vec![0i16; (length_s * rate) as usize];
    for click_s in clicks_s {
        let first = (click_s * rate).round() as usize;
        for (i, sample) in samples.iter_mut().skip(first).take(SOUND_HZ as usize / 500).enumerate() {
            *sample = (24_000.0 * wave(i as f64 / rate, 4_000.0, 0.0)) as i16;
        }
    }
    samples.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Draws a portrait where `map` puts it. A pixel is the mean of as many points as it takes portrait pixels to make one.
fn place(picture: &mut Frame, portrait: &Portrait, map: &Affine) {
    let back = map.inverse().expect("a similarity");
    let [oval_x, oval_y] = portrait.oval;
    let corners = [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]
        .map(|[x, y]| map.at([portrait.middle[0] + x * oval_x, portrait.middle[1] + y * oval_y]));
    let range = |axis: usize, size: u32| {
        let values = corners.map(|corner| corner[axis]);
        let (least, most) =
            (values.iter().copied().fold(f64::MAX, f64::min), values.into_iter().fold(f64::MIN, f64::max));
        let inside = |v: f64| v.clamp(0.0, f64::from(size)) as u32;
        inside(least.floor())..inside(most.ceil())
    };
    let points = (back.scales()[0].ceil() as usize).max(1);
    let part = 1.0 / points as f64;
    for y in range(1, picture.height) {
        for x in range(0, picture.width) {
            let mut colour = [0.0f32; 3];
            let mut cover = 0.0f32;
            for i in 0..points * points {
                let [u, v] = [i % points, i / points].map(|step| (step as f64 + 0.5) * part);
                let point = back.at([f64::from(x) + u, f64::from(y) + v]);
                let seen = portrait.cover(point);
                if seen > 0.0 {
                    let here = portrait.colour(point);
                    (0..3).for_each(|c| colour[c] += seen * here[c]);
                    cover += seen;
                }
            }
            if cover > 0.0 {
                let count = (points * points) as f32;
                let pixel = &mut picture.rgb[3 * (y * picture.width + x) as usize..][..3];
                for (value, colour) in pixel.iter_mut().zip(colour) {
                    *value = (f32::from(*value) * (1.0 - cover / count) + colour / count).round() as u8;
                }
            }
        }
    }
}

/// Soft clouds of two colours with a darker floor: nothing that looks like a face, and another picture for each number.
fn draw_background(number: u32, [width, height]: [u32; 2]) -> Frame {
    let colours = [
        [[60.0, 84.0, 110.0], [150.0, 170.0, 180.0]],
        [[70.0, 96.0, 78.0], [176.0, 190.0, 160.0]],
        [[92.0, 80.0, 112.0], [186.0, 178.0, 200.0]],
    ];
    let [dark, light] = colours[number as usize % colours.len()];
    let floor = 0.75 + 0.05 * f64::from(number % 4);
    let mut rgb = Vec::with_capacity(3 * (width * height) as usize);
    for y in 0..height {
        for x in 0..width {
            let [u, v] = [x, y].map(|v| (f64::from(v) + 0.5) / f64::from(height));
            let mut part = 0.6 * cloud(number, 3.0 * u, 3.0 * v) + 0.4 * cloud(number + 1000, 13.0 * u, 13.0 * v);
            if v > floor {
                part *= 0.5;
            }
            rgb.extend((0..3).map(|c| (dark[c] + part * (light[c] - dark[c])) as u8));
        }
    }
    Frame::rgb8(width, height, rgb)
}

/// From 0 to 1: random numbers on whole coordinates, and what lies between them.
fn cloud(seed: u32, x: f64, y: f64) -> f64 {
    let corner = |x: u32, y: u32| {
        let mixed = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77) ^ seed.wrapping_mul(0xc2b2_ae3d);
        let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x2c1b_3c6d);
        f64::from((mixed ^ mixed >> 12).wrapping_mul(0x297a_2d39) >> 16) / 65_535.0
    };
    let (left, top) = (x as u32, y as u32);
    let (u, v) = (x - f64::from(left), y - f64::from(top));
    let row = |y: u32| corner(left, y) * (1.0 - u) + corner(left + 1, y) * u;
    row(top) * (1.0 - v) + row(top + 1) * v
}

//! Faces followed through films with known truth: portraits moved by known similarities, shot by shot.
//!
//! `VISEME_FILMS=1` adds the films at full size and more rates, which take minutes.

#[path = "common/device.rs"]
mod device;
#[path = "common/film.rs"]
mod film;

use device::gpu;
use film::{Film, Portrait, Shot};
use std::sync::Arc;
use viseme::face::finder::FaceFinder;
use viseme::face::landmarks::Face;
use viseme::face::shots::CutFinder;
use viseme::face::smoothing::OneEuro;
use viseme::face::tracking::{FaceChoice, Look, TrackedFace, Tracks, track};
use viseme::gpu::{Cancel, Gpu};
use viseme::media::{Fps, Frame, FrameSource, FrameTimes};
use viseme::ops::{Affine, Layer, Rgb};
use viseme::pipelines::region::{Filmed, Regions};
use viseme::pipelines::segments::Parity;
use viseme::pipelines::stretches::Stretches;
use viseme::pipelines::timeline::{Extend, Timeline};
use viseme::tensor::Tensor;

/// A film's frames as they are drawn.
struct Screening<'a> {
    film: &'a Film,
    frames: Box<dyn Iterator<Item = Frame> + Send + 'a>,
}

impl<'a> Screening<'a> {
    fn of(film: &'a Film) -> Self {
        Self { film, frames: Box::new(film.frames()) }
    }
}

impl FrameSource for Screening<'_> {
    fn size(&self) -> [u32; 2] {
        self.film.size
    }

    fn fps(&self) -> Fps {
        self.film.fps
    }

    fn times(&self) -> Option<FrameTimes> {
        Some(FrameTimes::Constant { fps: self.film.fps, count: self.film.count() })
    }

    fn next_frame(&mut self) -> viseme::Result<Option<Frame>> {
        Ok(self.frames.next())
    }

    fn seek(&mut self, index: u64) -> viseme::Result<()> {
        self.frames = Box::new(self.film.frames().skip(index as usize));
        Ok(())
    }
}

fn tracked(gpu: &Gpu, film: &Film) -> Tracks {
    let (cut_threshold, cancel) = (CutFinder::THRESHOLD, &Cancel::default());
    let look = Look { cut_threshold, frames: u64::MAX, cancel, seen: &|_| {} };
    track(gpu, &mut Screening::of(film), &look).unwrap()
}

/// The still portrait's own points.
fn still(gpu: &Gpu, portrait: &Portrait) -> Face {
    let Frame { width, height, rgb, .. } = &portrait.picture;
    let picture = Rgb::upload(gpu, *height as usize, *width as usize, rgb).unwrap();
    let found = FaceFinder::load(gpu).unwrap().find(&picture).unwrap();
    found.first().expect("a face in the portrait").face()
}

fn moved(face: &Face, map: &Affine) -> Face {
    face.map(|point| map.at(point.map(f64::from)).map(|v| v as f32))
}

fn middle(face: &Face) -> [f64; 2] {
    [0, 1].map(|axis| face.iter().map(|p| f64::from(p[axis])).sum::<f64>() / face.len() as f64)
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Where each actor's face is in a frame; None while a point of it is outside.
fn truth(gpu: &Gpu, film: &Film, frame: u64) -> Vec<Option<Face>> {
    let shot = film.cuts().iter().filter(|&&cut| cut <= frame).count();
    let [width, height] = film.size.map(|v| v as f32);
    let is_inside = |[x, y]: &[f32; 2]| (0.0..width).contains(x) && (0.0..height).contains(y);
    let actors = film.shots[shot].actors.iter().zip(film.truth(frame));
    actors
        .map(|(actor, map)| {
            let face = moved(&still_of(gpu, actor.portrait), &map?);
            face.iter().all(is_inside).then_some(face)
        })
        .collect()
}

fn still_of(gpu: &Gpu, portrait: &'static Portrait) -> Face {
    use std::sync::OnceLock;
    static STILLS: [OnceLock<Face>; 2] = [OnceLock::new(), OnceLock::new()];
    let index = usize::from(std::ptr::eq(portrait, Portrait::astronaut()));
    *STILLS[index].get_or_init(|| still(gpu, portrait))
}

/// The actor of the shot that a face is at, in a frame; None where none is near.
fn actor_at(gpu: &Gpu, film: &Film, frame: u64, face: &Face) -> Option<usize> {
    let side = f64::from(face[8][1] - face[27][1]).abs().max(1.0);
    let near = |truth: &Option<Face>| truth.is_some_and(|truth| distance(middle(&truth), middle(face)) < side);
    truth(gpu, film, frame).iter().position(near)
}

#[derive(Default)]
struct Errors {
    sum: f64,
    count: f64,
}

impl Errors {
    fn add(&mut self, found: &[[f32; 2]], truth: &[[f32; 2]], scale: f64) {
        for (a, b) in found.iter().zip(truth) {
            self.sum += (distance(a.map(f64::from), b.map(f64::from)) * scale).powi(2);
            self.count += 1.0;
        }
    }

    fn rms(&self) -> f64 {
        (self.sum / self.count.max(1.0)).sqrt()
    }
}

fn regions(tracks: &Tracks, faces: Arc<[Option<Face>]>) -> Regions {
    let (size, times, shots) = (tracks.size, tracks.times.clone(), tracks.shots.clone());
    Regions::new(Filmed { size, pixel_aspect: 1.0, times, faces, shots }, None, Parity::Corrected, 512).unwrap()
}

/// Cuts, identities, coverage and places of an edited film.
fn check(gpu: &Gpu, film: &Film) {
    let name = format!("{}x{} at {}", film.size[0], film.size[1], film.fps);
    let tracks = tracked(gpu, film);
    let starts: Vec<u64> = tracks.shots.iter().skip(1).map(|shot| shot.start as u64).collect();
    assert_eq!(starts, film.cuts(), "{name}: cuts");

    // A face is one actor's from its first frame to its last, and no actor has two at once.
    let mut seen = vec![Vec::new(); film.count() as usize];
    for TrackedFace { number, first, faces, .. } in &tracks.faces {
        let mut actors: Vec<usize> = Vec::new();
        for (frame, face) in (*first..).zip(faces) {
            let Some(face) = face else { continue };
            let Some(actor) = actor_at(gpu, film, frame as u64, face) else { continue };
            assert!(!seen[frame].contains(&actor), "{name}: frame {frame}: actor {actor} is two faces");
            seen[frame].push(actor);
            actors.push(actor);
        }
        actors.dedup();
        assert!(actors.len() <= 1, "{name}: face {number} is actors {actors:?}");
    }
    // Whoever is wholly in the picture is seen, half a second after coming in at the latest.
    let late = (0.5 * film.fps.as_f64()).ceil() as usize + 1;
    let mut there: Vec<usize> = Vec::new();
    for frame in 0..film.count() {
        let actors = truth(gpu, film, frame);
        if film.cuts().contains(&frame) || there.len() != actors.len() {
            // What is there when a shot begins is found at once.
            there = vec![late; actors.len()];
        }
        for (actor, face) in actors.iter().enumerate() {
            there[actor] = if face.is_some() { there[actor] + 1 } else { 0 };
            let is_seen = seen[frame as usize].contains(&actor);
            assert!(is_seen || there[actor] <= late, "{name}: frame {frame}: actor {actor} is not seen");
        }
    }

    // Places, as pixels of a crop of 512.
    let followed = tracks.follow(&FaceChoice::Largest, Some(OneEuro::default())).unwrap();
    let regions = regions(&tracks, followed.faces.clone());
    let (mut all, mut mouth) = (Errors::default(), Errors::default());
    for (shot, frames) in tracks.shots.iter().enumerate() {
        let mut own = [Errors::default(), Errors::default()];
        for frame in frames.clone() {
            let Some(truth) = truth(gpu, film, frame as u64).first().copied().flatten() else { continue };
            let Some(face) = &followed.faces[frame] else { continue };
            let scale = 512.0 / regions.at(frame).region.height;
            let [own_all, own_mouth] = &mut own;
            for (errors, from) in [(&mut all, 17), (own_all, 17), (&mut mouth, 48), (own_mouth, 48)] {
                errors.add(&face[from..], &truth[from..], scale);
            }
        }
        println!("{name}: shot {shot}: {:.2} px, mouth {:.2}", own[0].rms(), own[1].rms());
        // One that is an eighth of the height has its points half a pixel off.
        assert!(own.iter().all(|errors| errors.rms() < 2.0), "{name}: shot {shot}");
    }
    println!("{name}: {:.2} px, mouth {:.2}", all.rms(), mouth.rms());
    assert!(all.rms() < 2.0 && mouth.rms() < 1.5, "{name}: {:.2} px, mouth {:.2}", all.rms(), mouth.rms());

    // The last shot's head is askew.
    let last = regions.of_shot(tracks.shots.len() - 1);
    assert!((last.tilt.to_degrees() - 25.0).abs() < 4.0, "{name}: {:.1} degrees", last.tilt.to_degrees());
}

/// Points of MediaPipe 0.10.14 on the same picture: corners of the eyes, tip of the nose, corners of the mouth, upper lip.
#[test]
fn the_points_of_a_portrait_are_mediapipes() {
    let Some(gpu) = gpu() else { return };
    let face = still(gpu, Portrait::grace_hopper());
    let mut apart = 0.0;
    let theirs: [(usize, [f64; 2]); 8] = [
        (36, [205.0, 193.4]),
        (39, [243.6, 193.1]),
        (42, [288.1, 192.1]),
        (45, [323.6, 188.1]),
        (30, [267.5, 237.8]),
        (48, [232.4, 280.6]),
        (54, [302.5, 277.1]),
        (62, [267.7, 279.1]),
    ];
    for (point, place) in theirs {
        let far = distance(face[point].map(f64::from), place);
        assert!(far < 2.5, "point {point}: {:?}, theirs {place:?}", face[point]);
        apart += far / theirs.len() as f64;
    }
    assert!(apart < 1.5, "{apart:.2} px in the mean, the eyes are 100 apart");
}

#[test]
fn faces_are_followed_shot_by_shot() {
    let Some(gpu) = gpu() else { return };
    check(gpu, &Film::edited([720, 1280], Fps::new(24_000, 1001).unwrap()));
}

#[test]
fn faces_are_followed_at_full_size() {
    if std::env::var_os("VISEME_FILMS").is_none() {
        eprintln!("skipped: films at full size: VISEME_FILMS is not set");
        return;
    }
    let Some(gpu) = gpu() else { return };
    for (size, (num, den)) in [
        ([1920, 1080], (24_000, 1001)),
        ([1920, 1080], (30_000, 1001)),
        ([1920, 1080], (60, 1)),
        ([720, 1280], (24_000, 1001)),
        ([720, 1280], (30_000, 1001)),
        ([720, 1280], (60, 1)),
    ] {
        check(gpu, &Film::edited(size, Fps::new(num, den).unwrap()));
    }
}

/// What a network that changes nothing would give, put back at 60 frames a second: each frame's face from the crops of the frames
/// that its pictures at 25 a second were made from. Its points must be where the frame's own are.
#[test]
fn a_pasted_face_goes_where_the_head_goes() {
    let Some(gpu) = gpu() else { return };
    const SIDE: usize = 256;
    let mut film = Film::new([640, 360], Fps::new(60, 1).unwrap(), vec![Shot::close_up(), Shot::tilted()]);
    film.shots.iter_mut().for_each(|shot| shot.duration_s = 0.5);
    let tracks = tracked(gpu, &film);
    let followed = tracks.follow(&FaceChoice::Largest, Some(OneEuro::default())).unwrap();
    let regions = regions(&tracks, followed.faces.clone());
    let timeline = Timeline::new(tracks.times.clone(), film.fps, Extend::Hold, 25);
    let stretches = Stretches::new(&timeline, film.count(), 25, |frame| followed.shot_of(frame as usize)).unwrap();
    assert_eq!(stretches.iter().count(), 2);

    let pictures: Vec<Rgb> = film
        .frames()
        .map(|frame| Rgb::upload(gpu, frame.height as usize, frame.width as usize, &frame.rgb).unwrap())
        .collect();
    // All of the crop: what is tracked is pasted whole.
    let alpha = Tensor::from_f32(gpu, &[1, SIDE, SIDE, 1], &vec![1.0; SIDE * SIDE]).unwrap();
    let finder = FaceFinder::load(gpu).unwrap();
    let (mut still, mut apart) = (Errors::default(), Errors::default());
    for output in (0..film.count()).step_by(3) {
        let stretch = stretches.get(stretches.at(output).unwrap()).unwrap();
        let at = output as usize;
        let shown = stretch.shown(&timeline, output);
        let made_for: Vec<usize> =
            shown.iter().map(|(inside, _)| stretch.source_of(&timeline, *inside) as usize).collect();
        let crop = |&from: &usize| pictures[from].crop(&[regions.at(from).map(SIDE)], SIDE).unwrap();
        let crops: Vec<Rgb> = made_for.iter().map(crop).collect();
        let layers: Vec<Layer<'_>> = shown
            .iter()
            .zip(&made_for)
            .zip(&crops)
            .map(|((&(_, share), &from), crop)| {
                let map = regions.at(from).map(SIDE).then(&regions.motion(from, at).unwrap());
                Layer { crop, map, share, colour: None }
            })
            .collect();
        let pasted = pictures[at].composite(&layers, &alpha, regions.at(at).map(SIDE), 4.0).unwrap();

        let points = |picture: &Rgb| {
            let found = finder.find(picture).unwrap();
            found.first().expect("a face").face()
        };
        let (own, theirs) = (points(&pictures[at]), points(&pasted));
        apart.add(&theirs[48..], &own[48..], 1.0);
        // The frames' own jitter, for comparison.
        still.add(&own[48..], &regions.face(at).unwrap()[48..], 1.0);
    }
    println!("mouth {:.2} px from the frame's own, which is {:.2} px from the smoothed", apart.rms(), still.rms());
    assert!(apart.rms() < 1.0, "{:.2} px", apart.rms());
}

#[test]
fn a_choice_of_face_is_read_and_made() {
    let read = |text: &str| text.parse::<FaceChoice>();
    assert_eq!(read("largest").unwrap(), FaceChoice::Largest);
    assert_eq!(read("2").unwrap(), FaceChoice::Numbers(vec![2]));
    assert_eq!(read("1+4").unwrap(), FaceChoice::Numbers(vec![1, 4]));
    assert_eq!(read("300,200.5").unwrap(), FaceChoice::At { point: [300.0, 200.5], time_s: None });
    assert_eq!(read("300,200@1.5").unwrap(), FaceChoice::At { point: [300.0, 200.0], time_s: Some(1.5) });
    for wrong in ["", "0", "-1", "first", "1,", "1,2@", "1,2@-1", "1+", "nan,1", "1,2,3"] {
        let error = read(wrong).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("--face"), "{wrong}: {error}");
    }
    assert!(read("1,2,3").unwrap_err().to_string().contains("--crop"), "what --face once was");

    // Two shots; in the first a large face on the right and a small one on the left, and somebody who passes further left.
    let face =
        |side: f32, x: f32| -> Face { std::array::from_fn(|i| [x + side * (i % 2) as f32, side * (i / 34) as f32]) };
    let track = |number, shot, first, count: usize, side, x| TrackedFace {
        number,
        shot,
        first,
        faces: vec![Some(face(side, x)); count],
    };
    let tracks = Tracks {
        size: [800, 600],
        times: FrameTimes::Constant { fps: Fps::INSIDE, count: 100 },
        shots: vec![0..60, 60..100],
        faces: vec![
            track(1, 0, 0, 60, 100.0, 500.0),
            track(2, 0, 0, 60, 60.0, 200.0),
            track(3, 0, 5, 6, 40.0, 0.0),
            track(4, 1, 60, 40, 80.0, 300.0),
        ],
    };
    let chosen = |text: &str| -> Vec<usize> {
        let chosen = tracks.choose(&text.parse().unwrap()).unwrap();
        chosen.iter().map(|face| face.map_or(0, |face| face.number)).collect()
    };
    for (text, numbers) in [
        ("largest", [1, 4]),
        ("left", [2, 4]),
        ("right", [1, 4]),
        ("2", [2, 0]),
        ("4", [0, 4]),
        ("2+4", [2, 4]),
        ("230,30", [2, 0]),
        ("340,40", [0, 4]),
        ("550,50@1", [1, 0]),
        ("340,40@3", [0, 4]),
    ] {
        assert_eq!(chosen(text), numbers, "--face {text}");
    }
    let refused = |text: &str, needle: &str, code: u8| {
        let error = tracks.choose(&text.parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains(needle) && error.exit_code() == code, "--face {text}: {error}");
    };
    refused("9", "a face with the number 9", 3);
    refused("1+2", "one face in a shot", 2);
    refused("700,500", "a face at 700,500", 3);
    refused("550,50@3", "a face at 550,50 at 3 s", 3);
    let nobody = Tracks { faces: Vec::new(), ..tracks };
    let error = nobody.choose(&FaceChoice::Largest).unwrap_err().to_string();
    assert!(error.contains("a face in a frame or more") && error.contains("--landmarks"), "{error}");
}

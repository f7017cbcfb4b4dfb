//! The films that other tests measure by: do their faces lie where they say?

#[path = "common/device.rs"]
mod device;
#[path = "common/film.rs"]
mod film;

use film::{Actor, Film, Portrait, Pose, Shot};
use std::sync::OnceLock;
use viseme::face::shots::CutFinder;
use viseme::media::probe::probe;
use viseme::media::reader::VideoReader;
use viseme::media::{Audio, Ffmpeg, Fps, Frame, FrameSource};

fn rate(num: u32, den: u32) -> Fps {
    Fps::new(num, den).unwrap()
}

/// A grey picture, with a white square of 12 pixels about [70, 40] if asked.
fn marked(has_mark: bool) -> Portrait {
    let value = |i: u32| {
        let is_mark = (64..76).contains(&(i % 120)) && (34..46).contains(&(i / 120));
        if has_mark && is_mark { 255 } else { 90 }
    };
    let picture = Frame::rgb8(120, 120, (0..120 * 120).flat_map(|i| [value(i); 3]).collect());
    Portrait { picture, middle: [60.0, 60.0], height: 80.0, oval: [60.0, 60.0] }
}

fn path(t: f64) -> Option<Pose> {
    (t < 0.9).then_some(Pose { at: [0.3 + 0.4 * t, 0.6 - 0.2 * t], height: 0.15 + 0.3 * t, turn: -30.0 + 70.0 * t })
}

#[test]
fn a_mark_lies_where_the_truth_puts_it() {
    static PORTRAITS: OnceLock<[Portrait; 2]> = OnceLock::new();
    let [plain, marked] = PORTRAITS.get_or_init(|| [false, true].map(marked));
    for (size, fps) in [([320, 180], rate(24_000, 1001)), ([144, 256], rate(30, 1)), ([96, 54], rate(25, 1))] {
        let film = |portrait: &'static Portrait| {
            let shot = Shot { duration_s: 1.0, background: 3, actors: vec![Actor { portrait, path }] };
            Film::new(size, fps, vec![shot])
        };
        let (with, without) = (film(marked), film(plain));
        for (frame, (a, b)) in with.frames().zip(without.frames()).enumerate() {
            let (mut sum, mut centre) = (0.0, [0.0; 2]);
            for (i, (a, b)) in a.rgb.chunks(3).zip(b.rgb.chunks(3)).enumerate() {
                let weight = f64::from(a[1]) - f64::from(b[1]);
                let place = [i % size[0] as usize, i / size[0] as usize].map(|v| v as f64 + 0.5);
                sum += weight;
                (0..2).for_each(|axis| centre[axis] += weight * place[axis]);
            }
            let Some(map) = with.truth(frame as u64)[0] else {
                assert_eq!(sum, 0.0, "frame {frame} shows what is not there");
                continue;
            };
            let (want, found) = (map.at([70.0, 40.0]), centre.map(|v| v / sum));
            let off = (found[0] - want[0]).hypot(found[1] - want[1]);
            assert!(off < 0.1, "frame {frame} of {size:?}: {found:?}, want {want:?}");
        }
    }
}

#[test]
fn shots_begin_and_end_with_their_frames() {
    for (fps, count, cuts) in [
        (rate(24_000, 1001), 312, [48, 96, 144, 192, 264]),
        (rate(30_000, 1001), 390, [60, 120, 180, 240, 330]),
        (rate(60, 1), 780, [120, 240, 360, 480, 660]),
    ] {
        let film = Film::edited([320, 180], fps);
        assert_eq!((film.count(), film.cuts()), (count, cuts.to_vec()), "{fps}");
    }
}

#[test]
fn its_cuts_are_found_and_nothing_else_is_one() {
    for (size, fps) in [([320, 180], rate(24_000, 1001)), ([180, 320], rate(30_000, 1001))] {
        let film = Film::edited(size, fps);
        let mut finder = CutFinder::new(CutFinder::THRESHOLD);
        let found: Vec<u64> = (0..).zip(film.frames()).filter_map(|(i, f)| finder.next(&f).then_some(i)).collect();
        assert_eq!(found, film.cuts(), "{size:?}");
    }
}

/// Squares of one pixel that are shrunk by 2.5 are grey, not another pattern.
#[test]
fn what_is_shrunk_has_no_patterns_of_its_own() {
    static PORTRAIT: OnceLock<Portrait> = OnceLock::new();
    let portrait = PORTRAIT.get_or_init(|| {
        let value = |i: u32| if (i % 120 + i / 120).is_multiple_of(2) { 220 } else { 40 };
        let picture = Frame::rgb8(120, 120, (0..120 * 120).flat_map(|i| [value(i); 3]).collect());
        Portrait { picture, middle: [60.0, 60.0], height: 100.0, oval: [60.0, 60.0] }
    });
    let path = |_| Some(Pose { at: [0.5, 0.5], height: 0.4, turn: 7.0 });
    let shot = Shot { duration_s: 0.04, background: 0, actors: vec![Actor { portrait, path }] };
    let frame = Film::new([100, 100], rate(25, 1), vec![shot]).frames().next().unwrap();
    for y in 35..65 {
        for x in 35..65 {
            let value = frame.rgb[3 * (y * 100 + x)];
            assert!(value.abs_diff(130) < 25, "{value} at {x}, {y}");
        }
    }
}

#[test]
fn a_film_is_encoded_at_its_rate_with_its_sound() {
    let Some(ffmpeg) = device::there(Ffmpeg::find(None)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mp4");
    let film = Film::new([192, 108], rate(30_000, 1001), vec![Shot::wide(), Shot::close_up()]);
    film.encode(&path, Some(&[0.5, 1.25]));

    let info = probe(&ffmpeg, &path).unwrap();
    assert_eq!((info.size, info.fps, info.times.count()), (film.size, film.fps, film.count()));
    let mut reader = VideoReader::new(&ffmpeg, info);
    for (i, frame) in film.frames().enumerate() {
        let read = reader.next_frame().unwrap().expect("a frame");
        let off = frame.rgb.iter().zip(&read.rgb).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
        let off = off / frame.rgb.len() as f64;
        assert!(off < 2.0, "frame {i} is {off:.1} levels off");
    }

    let sound = Audio::file(&path, None).read_all().unwrap();
    let loud =
        |sample: f64| sound[sample as usize..].iter().position(|v| v.abs() > 0.2).expect("a click") as f64 + sample;
    for (from_s, click_s) in [(0.0, 0.5), (0.8, 1.25)] {
        let found_s = loud(from_s * 16_000.0) / 16_000.0;
        assert!((found_s - click_s).abs() < 0.005, "a click is at {found_s} s, not at {click_s} s");
    }
}

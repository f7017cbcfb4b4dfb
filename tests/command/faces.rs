//! Faces on the command line: listed, written, worked on without a landmark file.

use super::film::{Actor, Film, Portrait, Pose, PosePath, Shot};
use super::scene::{Scene, ended_well, gpu, refused, viseme};
use serde_json::Value;
use std::process::Command;
use viseme::face::landmarks::Landmarks;
use viseme::media::frames::write_picture;
use viseme::media::{Fps, Frame};

fn at(x: f64, height: f64) -> Option<Pose> {
    Some(Pose { at: [x, 0.45], height, turn: 0.0 })
}

/// Two people side by side, who do not move.
fn two() -> Shot {
    let (left, right): (PosePath, PosePath) = (|_| at(0.27, 0.4), |_| at(0.73, 0.36));
    let actors = [(Portrait::grace_hopper(), left), (Portrait::astronaut(), right)];
    Shot { duration_s: 0.12, background: 3, actors: actors.map(|(portrait, path)| Actor { portrait, path }).into() }
}

/// A shot without anybody.
fn nobody() -> Shot {
    Shot { duration_s: 0.12, background: 7, actors: Vec::new() }
}

/// Pictures of a film in `film`.
fn drawn(scene: &Scene, shots: Vec<Shot>) -> Vec<Frame> {
    let film = Film::new([384, 256], Fps::INSIDE, shots);
    std::fs::create_dir(scene.path("film")).expect("a folder");
    let frames: Vec<Frame> = film.frames().collect();
    for (index, frame) in frames.iter().enumerate() {
        write_picture(&scene.path(&format!("film/{index:04}.png")), frame).expect("a picture");
    }
    frames
}

fn faces(scene: &Scene, args: &[&str]) -> Command {
    let mut command = viseme();
    command.current_dir(scene.path("")).args(["faces", "--ffmpeg", "/nonexistent/ffmpeg"]).args(args);
    command
}

/// A job on the film that looks for the face itself.
const OWN: [(&str, &str); 3] = [("--video", "film"), ("--landmarks", ""), ("--cut-threshold", "0.22")];

/// The columns in which two pictures differ.
fn changed_columns(a: &Frame, b: &Frame) -> Option<std::ops::RangeInclusive<usize>> {
    let width = a.width as usize;
    let differs =
        (0..a.rgb.len() / 3).filter(|&i| a.rgb[3 * i..3 * i + 3] != b.rgb[3 * i..3 * i + 3]).map(|i| i % width);
    Some(differs.clone().min()?..=differs.max()?)
}

#[test]
fn faces_are_listed_and_written_as_lipsync_takes_them() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(1, 0.24);
    drawn(&scene, vec![two(), nobody()]);
    let text = ended_well(&mut faces(&scene, &["--video", "film"])).stdout;
    for words in
        ["2 shots, 2 faces", "shot 1    0.00 to 0.12 s, 3 frames", "in 3 of 3 frames: chosen, crop of", "shot 2"]
    {
        assert!(text.contains(words), "'{words}' is not in: {text}");
    }
    let args =
        ["--video", "film", "--face", "right", "--landmarks-out", "points.npy", "--sheet", "sheet.png", "--json"];
    let json = ended_well(&mut faces(&scene, &args)).stdout;
    let last: Value = serde_json::from_str(json.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["shots"], serde_json::json!([[0, 3], [3, 6]]), "{last}");
    let middles: Vec<f64> =
        last["faces"].as_array().expect("faces").iter().map(|f| f["middle"][0].as_f64().unwrap()).collect();
    assert_eq!(middles.len(), 2);
    assert!(middles.iter().any(|x| (80.0..130.0).contains(x)) && middles.iter().any(|x| (250.0..310.0).contains(x)));

    let landmarks = Landmarks::read(&scene.path("points.npy")).expect("landmarks");
    let found: Vec<bool> = landmarks.faces().iter().map(Option::is_some).collect();
    assert_eq!(found, [true, true, true, false, false, false]);
    assert!(landmarks.faces().iter().flatten().flatten().all(|point| point[0] > 192.0), "the one on the right");
    assert!(image::open(scene.path("sheet.png")).expect("a picture").width() > 300);

    // With them lipsync does what it does with its own.
    ended_well(&mut scene.lipsync(&[&OWN[..], &[("--face", "right")]].concat()));
    let given = [("--video", "film"), ("--landmarks", "points.npy"), ("--cut-threshold", "0.22"), ("--out", "given")];
    ended_well(&mut scene.lipsync(&given));
    assert!(scene.frames("out") == scene.frames("given"), "other frames than with landmarks");

    let quiet = ended_well(&mut faces(&scene, &["--video", "film", "--quiet"]));
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn two_runs_dub_two_speakers() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(1, 0.24);
    let source = drawn(&scene, vec![two(), nobody()]);
    Scene::speech(&scene.path("other.wav"), 0.24);
    ended_well(&mut scene.lipsync(&[&OWN[..], &[("--face", "left"), ("--out", "left")]].concat()));
    let second = [("--video", "left"), ("--face", "right"), ("--audio", "other.wav"), ("--out", "both")];
    ended_well(&mut scene.lipsync(&[&OWN[1..], &second].concat()));
    let (left, both) = (scene.frames("left"), scene.frames("both"));
    assert_eq!((left.len(), both.len()), (6, 6));
    for frame in 0..3 {
        let first = changed_columns(&source[frame], &left[frame]).expect("the first run changes something");
        let second = changed_columns(&left[frame], &both[frame]).expect("the second run changes something");
        assert!(*first.end() < 192 && *second.start() > 192, "frame {frame}: {first:?}, then {second:?}");
    }
    for frame in 3..6 {
        assert!(source[frame] == left[frame] && left[frame] == both[frame], "frame {frame} shows nobody");
    }
}

#[test]
fn the_plan_says_who_is_worked_on_and_what_stays() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(1, 0.24);
    drawn(&scene, vec![two(), nobody()]);
    let dry_run = [&OWN[..], &[("--dry-run", "")]].concat();
    let text = ended_well(&mut scene.lipsync(&dry_run)).stdout;
    for words in [
        "face      0.00 to 0.12 s: number",
        "in 3 of 3 frames, crop of",
        "0.12 to 0.24 s: none",
        "no face from 0.12 to 0.24 s: these frames stay as they are",
    ] {
        assert!(text.contains(words), "'{words}' is not in: {text}");
    }
    let text = ended_well(&mut scene.lipsync(&[&dry_run[..], &[("--json", "")]].concat())).stdout;
    let plan: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&plan["shots"][0]["seen"], &plan["shots"][1]["seen"]), (&3.into(), &0.into()), "{plan}");
    assert_eq!((&plan["windows"], &plan["keyframe_batches"]), (&1.into(), &1.into()), "{plan}");

    // A portrait is the square around its face.
    let portrait = [("--image", "film/0000.png"), ("--face", "left"), ("--dry-run", ""), ("--json", "")];
    let text = ended_well(&mut scene.animate(&portrait)).stdout;
    let plan: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let [left, _, width, height] = [0, 1, 2, 3].map(|i| plan["crop"][i].as_f64().expect("a number"));
    assert!(plan["face_found"] == true && left + width < 230.0 && (width - height).abs() < 1e-9, "{plan}");
    ended_well(&mut scene.animate(&[("--image", "film/0000.png"), ("--face", "left"), ("--paste", "mask")]));
    let whole = scene.frames("out");
    assert_eq!([whole[0].width, whole[0].height], [384, 256]);
    let changed = changed_columns(&scene.frames("film")[0], &whole[0]).expect("something moves");
    assert!(*changed.end() < 230, "{changed:?}");
}

#[test]
fn what_is_no_face_is_said_before_any_work() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(1, 0.24);
    drawn(&scene, vec![nobody()]);
    let words = ["a face in a frame or more", "none", "--landmarks"];
    refused(&mut scene.lipsync(&OWN), 3, &words);
    refused(&mut faces(&scene, &["--video", "film"]), 3, &words);
    refused(&mut faces(&scene, &["--video", "film", "--face", "someone"]), 2, &["--face", "someone", "largest"]);
    refused(&mut faces(&scene, &["--video", "film", "--sheet", "a.gif"]), 2, &["a.gif", ".png"]);
    refused(&mut faces(&scene, &["--video", "film", "--landmarks-out", "a.txt"]), 2, &["a.txt", ".npy or .json"]);
    let given = [("--video", "film"), ("--face", "left")];
    refused(&mut scene.lipsync(&given), 2, &["--landmarks", "--face"]);
    // A drawing, say: it is animated all the same.
    let plan = ended_well(&mut scene.animate(&[("--image", "film/0000.png"), ("--dry-run", "")])).stdout;
    assert!(plan.contains("no face found: of it the square 64,0,256 in the middle"), "{plan}");
}

//! `viseme animate` as a user runs it.

use super::scene::{Scene, ended_well, gpu, refused};
use serde_json::Value;

#[test]
fn a_portrait_comes_out_as_long_as_the_speech() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(1, 0.59);
    let said = ended_well(&mut scene.animate(&[("--json", "")]));
    scene.holds(&["out"]);
    let frames = scene.frames("out");
    assert_eq!((frames.len(), frames[0].width, frames[0].height), (15, 64, 64));
    let last: Value = serde_json::from_str(said.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["event"], &last["frames"]), (&"done".into(), &15.into()));

    std::fs::write(scene.path("feelings.csv"), "time_s,valence,arousal\n0,-0.5,0\n0.5,0.9,0.4\n").expect("written");
    for changes in [[("--emotion", "sad,happy")], [("--emotion-track", "feelings.csv")], [("--weaker-weights", "gone")]]
    {
        let changes = [("--out", "other"), changes[0]];
        if changes[1].1 == "gone" {
            refused(&mut scene.animate(&changes), 4, &["keyface-weaker", "gone", "no such file"]);
            continue;
        }
        ended_well(&mut scene.animate(&changes));
        assert!(scene.frames("other") != frames, "{changes:?} changes nothing");
        std::fs::remove_dir_all(scene.path("other")).expect("removed");
    }
}

#[test]
fn what_cannot_be_animated_is_named() {
    let scene = Scene::new(1, 0.1);
    refused(&mut scene.animate(&[("--emotion", "merry")]), 2, &["merry", "happy", "VALENCE,AROUSAL"]);
    refused(&mut scene.animate(&[("--emotion", "2,0")]), 2, &["-1 to 1", "2,0"]);
    refused(&mut scene.animate(&[("--emotion", "happy"), ("--emotion-track", "x.csv")]), 2, &["--emotion-track"]);
    refused(&mut scene.animate(&[("--emotion-track", "gone.csv")]), 3, &["gone.csv"]);
    std::fs::write(scene.path("bad.csv"), "0,0,0\n1,high,0\n").expect("written");
    refused(&mut scene.animate(&[("--emotion-track", "bad.csv")]), 3, &["bad.csv, line 2", "-1 to 1"]);
    std::fs::remove_file(scene.path("bad.csv")).expect("removed");
    refused(&mut scene.animate(&[("--image", "gone.png")]), 3, &["gone.png"]);
    refused(&mut scene.animate(&[("--image", "points.json")]), 8, &["ffmpeg"]);
    refused(&mut scene.animate(&[("--interpolation-guidance", "lots")]), 2, &["--interpolation-guidance", "lots"]);
    refused(&mut scene.animate(&[("--crop", "1,1,0")]), 2, &["--crop"]);
    scene.holds(&[]);
}

#[test]
fn a_dry_run_says_what_would_be_done() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(1, 1.2);
    let text = ended_well(&mut scene.animate(&[("--dry-run", "")])).stdout;
    for word in ["portrait  64x64", "1.20 s", "30 frames", "1 chunks", "GiB", "TFLOP"] {
        assert!(text.contains(word), "'{word}' is not in {text}");
    }
    scene.holds(&[]);
}

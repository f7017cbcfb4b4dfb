//! What the command writes and where: what would fail at the end fails at the start, whatever the names.

use super::scene::{Scene, ended_well, ffmpeg, gpu, refused};
use serde_json::Value;

/// A scene of `in.mp4`, and a job from it with these changes.
fn filmed() -> Scene {
    let scene = Scene::new(4, 0.16);
    scene
        .make("in.mp4", &["-framerate", "25", "-i", "in/%04d.png", "-pix_fmt", "yuv420p", "-metadata", "title=A film"]);
    scene
}

const VIDEO: [(&str, &str); 2] = [("--video", "in.mp4"), ("--ffmpeg", "ffmpeg")];

#[test]
fn an_output_that_cannot_be_encoded_is_refused_before_any_work() {
    if !gpu() || !ffmpeg() {
        return;
    }
    let scene = filmed();
    for dry_run in [&[][..], &[("--dry-run", "")]] {
        let refused_with = |out: &str, codec: &str, more: &[(&str, &str)], code: u8, words: &[&str]| {
            let changes = [&VIDEO[..], &[("--out", out), ("--codec", codec)], more, dry_run].concat();
            let said = refused(&mut scene.lipsync(&changes), code, words);
            assert!(!said.stderr.contains('%'), "work began: {}", said.stderr);
        };
        refused_with("a.mp4", "nosuchcodec", &[], 8, &["nosuchcodec", "--codec libx264 would work"]);
        refused_with("a.webm", "libx264", &[], 2, &["a.webm", "--codec libvpx-vp9", "a.mp4"]);
        refused_with("a.mp4", "prores_ks", &[], 2, &["a.mp4", "prores_ks", "--codec libx264", "a.mkv"]);
        refused_with("a.mkv", "ffv1", &[("--crf", "18")], 2, &["--crf", "ffv1 has no such number"]);
    }
    scene.holds(&["in.mp4"]);
}

#[test]
fn a_webm_needs_no_option_and_the_plan_says_what_is_written() {
    if !gpu() || !ffmpeg() {
        return;
    }
    let scene = filmed();
    let changes = [&VIDEO[..], &[("--out", "out.webm")]].concat();
    let plan = ended_well(&mut scene.lipsync(&[&changes[..], &[("--dry-run", ""), ("--json", "")]].concat())).stdout;
    let plan: Value = serde_json::from_str(&plan).expect("one line of JSON");
    assert_eq!(
        (&plan["output_format"], &plan["notes"]),
        (&"libvpx-vp9 -crf 20, sound libopus".into(), &Value::Array(vec![]))
    );
    ended_well(&mut scene.lipsync(&changes));
    assert_eq!(scene.probe("out.webm").size, [64, 64]);
    scene.holds(&["in.mp4", "out.webm"]);
}

#[test]
fn names_may_be_as_long_as_the_disk_takes_them() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(2, 0.08);
    let names = [247, 248, 255].map(|bytes| "n".repeat(bytes));
    for name in &names {
        ended_well(&mut scene.lipsync(&[("--out", name)]));
        assert_eq!(scene.frames(name).len(), 2);
    }
    scene.holds(&names.each_ref().map(String::as_str));
}

#[test]
#[cfg(target_os = "linux")]
fn a_name_that_is_no_text_is_said_in_json_byte_by_byte() {
    use std::os::unix::ffi::OsStrExt;
    if !gpu() {
        return;
    }
    let scene = Scene::new(2, 0.08);
    let mut command = scene.lipsync(&[("--json", ""), ("--out", "")]);
    let said = ended_well(command.arg("--out").arg(std::ffi::OsStr::from_bytes(b"out\xff")));
    let done: Value = serde_json::from_str(said.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&done["out"], &done["out_bytes"]), (&"out\u{fffd}".into(), &serde_json::json!(b"out\xff")));
}

#[test]
fn what_a_job_keeps_meanwhile_lies_in_its_work_folder() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(2, 0.08);
    ended_well(scene.lipsync(&[]).env("TMPDIR", "/nonexistent").env("TMP", "/nonexistent"));
    scene.holds(&["out"]);
}

#[test]
fn an_unfinished_folder_of_somebody_else_stays() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(2, 0.08);
    std::fs::create_dir(scene.path(".out.partial")).expect("a folder");
    std::fs::write(scene.path(".out.partial/mine"), "mine").expect("written");
    let said = refused(&mut scene.lipsync(&[]), 7, &[".out.partial", "mine is no frame"]);
    assert!(!said.stderr.contains('%'), "work began: {}", said.stderr);
    assert_eq!(std::fs::read(scene.path(".out.partial/mine")).expect("there"), b"mine");
}

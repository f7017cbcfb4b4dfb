//! `viseme metrics` on the demo's inputs.
#![cfg(feature = "cli")]

use crate::gpu;
use serde_json::Value;
use std::process::{Command, Output};

fn metrics(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viseme"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("metrics").args(arguments).output().unwrap()
}

const LANDMARKS: [&str; 2] = ["--landmarks", "examples/demo/landmarks.json"];

#[test]
fn landmarks_need_no_device() {
    let output = metrics(&[&LANDMARKS[..], &["--adapter", "no such device", "--json", "--threshold", "0.5"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["lipleak"]["threshold"], 0.5);
    assert_eq!(json["lipleak"]["frames"], json["frames"]);
}

#[test]
fn a_video_is_measured_against_itself() {
    let Some(_) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [csv, svg] = ["frames.csv", "plot.svg"].map(|name| folder.path().join(name).display().to_string());
    let video = "examples/demo/face.mp4";
    let files = ["--video", video, "--reference", video, "--audio", "examples/demo/speech.wav"];
    let output = metrics(&[&LANDMARKS[..], &files, &["--csv", &csv, "--plot", &svg, "--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["psnr"]["identical"], true);
    assert!((json["ssim"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert!(json["laplacian_variance"].as_f64().unwrap() > 0.0);
    assert!(json["sync"]["best_correlation"].is_number());
    assert_eq!(json["left_out"].as_object().unwrap().keys().collect::<Vec<_>>(), ["lpips"]);
    let csv = std::fs::read_to_string(csv).unwrap();
    assert_eq!(csv.lines().count() as u64, 1 + json["frames"].as_u64().unwrap());
    assert!(std::fs::read_to_string(svg).unwrap().contains("LipLeak"));
}

#[test]
fn the_face_is_found_where_no_landmarks_are_given() {
    let Some(_) = gpu() else { return };
    let video = "examples/demo/face.mp4";
    let output = metrics(&["--video", video, "--reference", video, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mouth = &json["mouth"];
    assert_eq!((&mouth["against"], &mouth["lag_frames"]), (&"reference".into(), &0.into()));
    assert!(mouth["correlation"].as_f64().unwrap() > 0.999_999, "{mouth}");
    assert_eq!((&mouth["frames"], &mouth["frames_without_face"]), (&json["frames"], &0.into()));
}

#[test]
fn mistakes_have_their_exit_codes() {
    let refused = |arguments: &[&str], code: i32, named: &str| {
        let output = metrics(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(named), "{arguments:?}: {said}");
    };
    refused(&[], 2, "a video or landmarks");
    refused(&[&LANDMARKS[..], &["--plot", "out.png"]].concat(), 2, ".svg");
    refused(&[&LANDMARKS[..], &["--threshold", "0"]].concat(), 2, "--threshold");
    refused(&[&LANDMARKS[..], &["--max-lag", "1000000000"]].concat(), 2, "0 to 1000 frames");
    refused(&["--landmarks", "no/such.json"], 3, "no/such.json");
    refused(&[&LANDMARKS[..], &["--reference", "examples/demo/face.mp4"]].concat(), 2, "--video");
    refused(&[&LANDMARKS[..], &["--csv", "no/such/folder/out.csv"]].concat(), 7, "no/such/folder");
}

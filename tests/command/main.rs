//! The `viseme` command as a script sees it: exit codes, what it says, and what it leaves behind, for good and bad inputs.
//! Networks of the published structure, as small as it allows, come from the weights' formula.
#![cfg(feature = "cli")]

mod animate;
#[path = "../common/device.rs"]
mod device;
mod faces;
#[path = "../common/film.rs"]
mod film;
mod gallery;
#[path = "../common/numbered.rs"]
mod numbered;
mod output;
mod scene;
mod sheet;
#[path = "../common/small.rs"]
mod small;

use scene::{Scene, Tensors, ended_well, gpu, refused, run, small_networks, viseme};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use viseme::media::Frame;
use viseme::media::pixels::Chroma;
use viseme::ops::Depth;
use viseme::pipelines::weights::Role;
use zip::write::{SimpleFileOptions, ZipWriter};

const LAYER: &str = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight";

#[test]
fn every_command_explains_itself() {
    for command in [
        &[][..],
        &["lipsync"],
        &["animate"],
        &["metrics"],
        &["faces"],
        &["verify"],
        &["convert"],
        &["bench"],
        &["devices"],
    ] {
        let said = ended_well(viseme().args(command).arg("--help"));
        assert!(said.stdout.contains("Usage: viseme"), "{command:?}: {}", said.stdout);
        assert!(command.is_empty() || said.stdout.contains("Options:"), "{command:?}");
    }
    for command in ["lipsync", "animate"] {
        let help = ended_well(viseme().args([command, "--help"])).stdout;
        let words: Vec<&str> = help.split_whitespace().collect();
        for part in ["int8: The UNets' matrices in one byte a weight", "half of f16's memory", "benches/RESULTS.md"] {
            assert!(words.join(" ").contains(part), "{command}: '{part}' is not explained: {help}");
        }
    }
    let convert = ended_well(viseme().args(["convert", "--help"])).stdout;
    let words: Vec<&str> = convert.split_whitespace().collect();
    assert!(words.join(" ").contains("int8 is not stored"), "{convert}");
    for command in ["lipsync", "animate", "verify", "bench"] {
        let said = ended_well(viseme().args([command, "--help"]));
        assert!(said.stdout.contains("--no-autotune"), "{command}: {}", said.stdout);
    }
    let whole = ended_well(viseme().arg("--help")).stdout;
    for code in ["2 usage", "3 bad input", "4 weights", "5 GPU", "6 out of memory", "8 ffmpeg", "130 interrupted"] {
        assert!(whole.contains(code), "exit code '{code}' is not listed");
    }
    assert!(ended_well(viseme().arg("--version")).stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_are_usage() {
    let scene = Scene::new(4, 0.1);
    let common = |changes: &[(&str, &str)]| scene.lipsync(changes);
    refused(viseme().arg("--nosuch"), 2, &["--nosuch"]);
    refused(viseme().arg("nosuch"), 2, &["nosuch"]);
    refused(&mut viseme(), 2, &["Usage"]);
    refused(viseme().args(["lipsync", "--video", "in"]), 2, &["--audio"]);
    refused(&mut common(&[("--nosuch", "")]), 2, &["--nosuch"]);
    for steps in ["0", "1001", "100000000000", "18446744073709551615"] {
        refused(&mut common(&[("--steps", steps)]), 2, &["--steps", "1 to 1000", steps]);
        refused(&mut common(&[("--steps", steps), ("--dry-run", "")]), 2, &["--steps", steps]);
    }
    refused(&mut common(&[("--steps", "many")]), 2, &["--steps", "many"]);
    refused(&mut common(&[("--fast", "magic")]), 2, &["--fast", "magic", "guidance, reuse, steps"]);
    refused(&mut common(&[("--fast", "reuse,magic")]), 2, &["--fast", "magic"]);
    refused(&mut common(&[("--fast", ""), ("--upstream-parity", "")]), 2, &["--fast", "--upstream-parity"]);
    refused(&mut common(&[("--guidance", "5")]), 2, &["--guidance", "such as 5,2", "'5'"]);
    refused(&mut common(&[("--crop", "1,2")]), 2, &["--crop", "LEFT,TOP,SIDE", "'1,2'"]);
    refused(&mut common(&[("--crop", "1,2,0")]), 2, &["--crop", "1,2,0"]);
    refused(&mut common(&[("--mask", "nose")]), 2, &["nose", "box"]);
    refused(&mut common(&[("--nose-index", "68")]), 2, &["--nose-index", "68"]);
    refused(&mut common(&[("--feather", "-1")]), 2, &["--feather", "-1"]);
    refused(&mut common(&[("--feather", "5000")]), 2, &["--feather", "0 to 4096", "5000"]);
    refused(&mut common(&[("--fps", "0")]), 2, &["--fps", "0"]);
    refused(&mut common(&[("--length", "long")]), 2, &["--length", "long", "shortest"]);
    refused(&mut common(&[("--vram", "lots")]), 2, &["--vram", "lots", "4G"]);
    refused(&mut common(&[("--out", "out.gif")]), 2, &["out.gif", ".mp4"]);
    refused(&mut common(&[("--weight-type", "int4")]), 2, &["--weight-type", "int4", "f16", "f32", "int8"]);
    refused(viseme().args(["convert", "a.pt", "b.safetensors", "--weight-type", "int8"]), 2, &["--weight-type"]);
    refused(&mut common(&[("--guidance", "1e300,2")]), 2, &["--guidance", "1e300"]);
    refused(&mut common(&[("--demo", "")]), 2, &["--demo", "--weights"]);
    let demo = [("--weights", ""), ("--demo", ""), ("--vae-weights", "vae.safetensors")];
    refused(&mut common(&demo), 2, &["--demo", "vae.safetensors", "leave out"]);
    refused(&mut scene.animate(&demo), 2, &["--demo", "vae.safetensors"]);
    for (option, value) in [("--runs", "0"), ("--runs", "99999999999"), ("--latent", "0"), ("--latent", "99999999999")]
    {
        refused(viseme().args(["bench", "--networks", option, value]), 2, &[option, "1 to 10"]);
    }
    if gpu() {
        refused(&mut common(&[("--crop", "0,0,8")]), 2, &["--crop", "around the face", "0,0,8"]);
        for face in ["900,900,50", "-160,-160,384"] {
            for dry_run in [("--json", ""), ("--dry-run", "")] {
                refused(&mut common(&[("--crop", face), dry_run]), 2, &["--crop", "picture of 64x64", face]);
                refused(&mut scene.animate(&[("--crop", face), dry_run]), 2, &["--crop", "picture of 64x64", face]);
            }
        }
    }
    scene.holds(&[]);
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let scene = Scene::new(4, 0.1);
    if gpu() {
        refused(scene.lipsync(&[]).env("VISEME_ADAPTER", "nosuchgpu"), 5, &["nosuchgpu", "viseme devices"]);
        refused(&mut scene.lipsync(&[("--adapter", "99")]), 5, &["99", "viseme devices"]);
        refused(viseme().args(["bench", "--adapter", "nosuchgpu"]), 5, &["nosuchgpu"]);
    }
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        if cfg!(target_os = "linux") {
            refused(scene.lipsync(&[]).env(variable, "/nonexistent.json"), 5, &["GPU", "mesa-vulkan-drivers"]);
            let listed = ended_well(viseme().arg("devices").env(variable, "/nonexistent.json"));
            assert!(listed.stdout.contains("mesa-vulkan-drivers"), "{}", listed.stdout);
        }
    }
    scene.holds(&[]);
}

#[test]
fn devices_are_listed() {
    if !gpu() {
        return;
    }
    let text = ended_well(viseme().arg("devices")).stdout;
    assert!(text.starts_with("0: ") && text.contains("workgroup memory"), "{text}");
    let list: Value = serde_json::from_str(&ended_well(viseme().args(["devices", "--json"])).stdout).expect("JSON");
    assert!(list[0]["name"].as_str().is_some_and(|name| text.contains(name)), "{list}");
}

#[test]
#[cfg(target_os = "linux")]
fn results_that_cannot_be_said_are_an_error() {
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    for arguments in [&["devices"][..], &["devices", "--json"]] {
        let ended = viseme().args(arguments).stdout(full()).output().expect("viseme");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(7), "{said}");
        assert!(said.contains("standard output: cannot write: No space left"), "{said}");
    }
    // A pipe that nobody reads any more.
    let landmarks = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo/landmarks.json");
    for arguments in
        [&["devices"][..], &["metrics", "--landmarks", landmarks], &["metrics", "--landmarks", landmarks, "--json"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = viseme().args(arguments).stdout(writer).output().expect("viseme");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            ended.status.code() == Some(7) && said.contains("standard output: cannot write"),
            "{arguments:?}: {said}"
        );
    }
    let ended = viseme().args(["convert", "absent.pt", "out"]).stderr(full()).status().expect("viseme");
    assert_eq!(ended.code(), Some(3), "that nothing can be said changes no code");
}

#[test]
fn depth_chroma_and_shape_go_from_file_to_file() {
    if !gpu() || !scene::ffmpeg() {
        return;
    }
    let scene = Scene::new(3, 0.12);
    let pictures = ["-framerate", "25", "-i", "in/%04d.png"];
    let deep = ["-vf", "scale=out_color_matrix=bt709,format=yuv422p10le,setsar=16/15", "-c:v", "ffv1"];
    scene.make("deep.mkv", &[&pictures[..], &deep].concat());
    ended_well(&mut scene.lipsync(&[("--video", "deep.mkv"), ("--out", "out.mp4"), ("--ffmpeg", "")]));
    let (source, made) = (scene.probe("deep.mkv"), scene.probe("out.mp4"));
    assert_eq!((made.look.pixels, made.look.pixel_aspect), (source.look.pixels, Some([16, 15])));
    assert_eq!((made.look.pixels.bits, made.look.pixels.chroma), (10, Chroma::Yuv422));

    scene.make("deep/%04d.png", &[&pictures[..], &["-pix_fmt", "rgb48be"]].concat());
    ended_well(&mut scene.lipsync(&[("--video", "deep"), ("--out", "out")]));
    let (sources, frames) = (scene.frames("deep"), scene.frames("out"));
    assert_eq!(frames.len(), 3);
    for (made, source) in frames.iter().zip(&sources) {
        assert_eq!(made.depth, Depth::Sixteen);
        let third = made.rgb.len() / 3;
        assert!(made.rgb[..third] == source.rgb[..third] && made.rgb != source.rgb);
    }
}

#[test]
fn frames_come_out_of_a_folder_without_ffmpeg() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(8, 0.32);
    let said = ended_well(&mut scene.lipsync(&[]));
    assert!(said.stdout.contains("out (8 frames, "), "{}", said.stdout);
    assert!(said.stderr.contains('%'), "progress: {}", said.stderr);
    scene.holds(&["out"]);
    let frames = scene.frames("out");
    assert_eq!(frames.len(), 8);
    let sources = scene.frames("in");
    for (index, (made, source)) in frames.iter().zip(&sources).enumerate() {
        assert_eq!((made.width, made.height), (source.width, source.height));
        // The mask begins below the eyes: the upper rows are the source's, the mouth is not.
        let half = made.rgb.len() / 3;
        assert!(made.rgb[..half] == source.rgb[..half], "frame {index}: changed outside the mask");
        assert!(made.rgb != source.rgb, "frame {index}: nothing was generated");
    }

    // The same seed gives the same frames, another one others; nothing is said when told to be quiet.
    let said = ended_well(&mut scene.lipsync(&[("--out", "again"), ("--quiet", "")]));
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    assert!(scene.frames("again") == frames, "the same seed gave other frames");
    ended_well(&mut scene.lipsync(&[("--out", "other"), ("--seed", "24")]));
    assert!(scene.frames("other") != frames, "the seed does not matter");
}

#[test]
fn what_is_in_front_of_the_face_stays() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    let masks = |folder: &str, side: u32, level: u8| {
        std::fs::create_dir(scene.path(folder)).expect("a folder");
        for index in 0..4 {
            let path = scene.path(&format!("{folder}/{index}.png"));
            let pixels = vec![level; (side * side) as usize];
            image::save_buffer(path, &pixels, side, side, image::ColorType::L8).expect("a picture");
        }
    };
    masks("white", 64, 255);
    masks("black", 64, 0);
    masks("small", 32, 255);
    let with =
        |masks: &'static str, out: &str| ended_well(&mut scene.lipsync(&[("--occluder-mask", masks), ("--out", out)]));
    ended_well(&mut scene.lipsync(&[]));
    with("black", "none/");
    with("white", "all");
    assert!(scene.frames("none") == scene.frames("out"), "nothing in front changes nothing");
    assert!(scene.frames("all") == scene.frames("in"), "behind what covers everything nothing is generated");
    refused(&mut scene.lipsync(&[("--occluder-mask", "small"), ("--out", "bad")]), 3, &["64x64", "32x32"]);
    refused(&mut scene.lipsync(&[("--occluder-mask", "absent"), ("--out", "bad")]), 3, &["absent", "cannot read"]);
    scene.holds(&["all", "black", "none", "out", "small", "white"]);
}

#[test]
fn progress_and_result_come_as_json_lines() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(6, 0.24);
    let said = ended_well(&mut scene.lipsync(&[("--json", ""), ("--steps", "2")]));
    let lines: Vec<Value> =
        said.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect();
    // The look through the video comes before the job, and is counted by itself.
    let is_work = |line: &&Value| line["event"] == "progress" && line["phase"] != "finding faces";
    let progress: Vec<&Value> = lines.iter().filter(is_work).collect();
    let shares: Vec<f64> = progress.iter().map(|line| line["share"].as_f64().expect("a share")).collect();
    assert!(shares.is_sorted() && shares.iter().all(|s| (0.0..=1.0).contains(s)), "{shares:?}");
    assert!(shares.last() > Some(&0.9), "{shares:?}");
    for phase in ["listening", "encoding", "keyframes", "interpolation", "decoding"] {
        assert!(progress.iter().any(|line| line["phase"] == phase), "no {phase} in {:?}", said.stdout);
    }
    let last = lines.last().expect("a line");
    assert_eq!((&last["event"], &last["frames"], &last["demo_weights"]), (&"done".into(), &6.into(), &false.into()));
    let bytes = |name: &str| last[name].as_u64().unwrap_or_else(|| panic!("no {name} in {last}"));
    assert!(bytes("gpu_resident_peak_bytes") >= bytes("gpu_peak_bytes") && bytes("gpu_peak_bytes") > 1 << 20, "{last}");
    assert!(!cfg!(target_os = "linux") || bytes("process_peak_bytes") > 10 << 20, "{last}");
    assert_eq!(last["out"], "out");
}

#[test]
fn a_run_begins_with_what_it_will_do() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(2, 0.08);
    let said = ended_well(&mut scene.lipsync(&[])).stderr;
    for word in ["device", "64x64, 2 frames at 25", "crop", "memory", "TFLOP", "file"] {
        assert!(said.contains(word), "'{word}' is not in {said}");
    }
    assert!(!said.contains("llvmpipe") || said.contains("this is the CPU, no GPU was found"), "{said}");
    assert!(!said.contains('\u{1b}'), "colour codes where there is no terminal: {said}");
    let quiet = ended_well(&mut scene.lipsync(&[("--out", "quiet"), ("--quiet", "")])).stderr;
    assert!(!quiet.contains("memory"), "{quiet}");
    let json = ended_well(&mut scene.lipsync(&[("--out", "told"), ("--json", "")])).stdout;
    let told: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let plan = told.iter().position(|line| line["event"] == "plan").expect("a plan");
    assert!(told[..plan].iter().all(|line| line["phase"] == "finding faces"), "{json}");
}

#[test]
fn a_long_job_is_worth_a_trial() {
    if !gpu() {
        return;
    }
    // Many steps of the demo's networks: more than ten minutes on any device that tests run on.
    let scene = Scene::new(2, 300.0);
    let text =
        ended_well(&mut scene.lipsync(&[("--dry-run", ""), ("--weights", ""), ("--demo", ""), ("--steps", "500")]))
            .stdout;
    assert!(text.contains("ffmpeg -i speech.wav -t 3 trial.wav") && text.contains("--out trial"), "{text}");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(30, 1.2);
    let text = ended_well(&mut scene.lipsync(&[("--dry-run", "")])).stdout;
    for word in ["device", "64x64, 30 frames at 25", "1.20 s", "30 frames", "1 chunks", "GiB", "TFLOP"] {
        assert!(text.contains(word), "'{word}' is not in {text}");
    }
    for word in ["crop", "pixels a side", "file", "PNG"] {
        assert!(text.contains(word), "'{word}' is not in {text}");
    }
    assert!(!text.contains("trial"), "a short job needs none: {text}");
    let plan = ended_well(&mut scene.lipsync(&[("--dry-run", ""), ("--json", "")])).stdout;
    let plan: Value = serde_json::from_str(&plan).expect("one line of JSON");
    assert_eq!((&plan["event"], &plan["output_frames"], &plan["windows"]), (&"plan".into(), &30.into(), &3.into()));
    assert!(plan["seconds"].as_f64().is_some_and(|s| s > 0.0) && plan["work_bytes"].as_f64() > Some(0.0), "{plan}");
    let weights = |kind: &'static str| {
        let said = ended_well(&mut scene.lipsync(&[("--dry-run", ""), ("--json", ""), ("--weight-type", kind)])).stdout;
        let plan: Value = serde_json::from_str(&said).expect("one line of JSON");
        // Those for Winograd's convolutions come on top, and not for f32.
        plan["weight_bytes"].as_f64().expect("bytes") - plan["winograd_bytes"].as_f64().expect("bytes")
    };
    let [f32, f16, int8] = [weights("f32"), weights("f16"), weights("int8")];
    assert!(f32 == 2.0 * f16 && int8 < f16 && int8 > 0.5 * f16, "{f32} {f16} {int8}");
    // 3 windows and a batch: 33 evaluations in each as published; of 6 steps three have one branch alone.
    for (fast, evaluations) in [(None, 132), (Some(""), 48), (Some("reuse"), 132), (Some("steps"), 72)] {
        let mut changes = vec![("--dry-run", ""), ("--json", ""), ("--steps", "")];
        changes.extend(fast.map(|ways| ("--fast", ways)));
        let plan: Value = serde_json::from_str(&ended_well(&mut scene.lipsync(&changes)).stdout).expect("JSON");
        assert_eq!(plan["unet_evaluations"], evaluations, "{fast:?}");
    }
    // The networks that come with viseme are said to be a demo.
    let mut demo = scene.lipsync(&[("--dry-run", ""), ("--json", ""), ("--weights", "")]);
    let said = ended_well(demo.env("HOME", scene.path("")).env("XDG_DATA_HOME", scene.path("")));
    assert!(said.stderr.contains("warning: no weights named or found"), "{}", said.stderr);
    let plan: Value = serde_json::from_str(&said.stdout).expect("one line of JSON");
    assert_eq!(plan["demo_weights"], true);
    // Trained ones from the user's data folder, where all of them are there.
    let data = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(data.path().join("viseme/demo")).expect("a folder");
    for role in Role::LIPSYNC {
        let file = role.file_names()[0];
        std::fs::copy(small_networks().join(file), data.path().join("viseme/demo").join(file)).expect("copied");
    }
    let mut demo = scene.lipsync(&[("--dry-run", ""), ("--json", ""), ("--weights", "")]);
    let said = ended_well(demo.env("HOME", scene.path("")).env("XDG_DATA_HOME", data.path()));
    assert!(said.stderr.contains("small demo models trained on faces made by script run instead"), "{}", said.stderr);
    let plan: Value = serde_json::from_str(&said.stdout).expect("one line of JSON");
    assert_eq!((&plan["demo_weights"], &plan["weights"]), (&true.into(), &"trained demo".into()));
    scene.holds(&[]);
}

#[test]
fn bad_weights_are_named_before_any_work() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    let refused_with = |changes: &[(&str, &str)], words: &[&str]| {
        let said = refused(&mut scene.lipsync(changes), 4, words);
        assert!(!said.stderr.contains('%'), "work began: {}", said.stderr);
    };
    let good = Tensors::read("keyframe_dub.safetensors");
    let keyframe = |tensors: &Tensors| {
        tensors.write(&scene.path("k.safetensors"));
        [("--keyframe-weights", "k.safetensors")]
    };

    refused_with(&[("--weights", "absent")], &["keyframe", "wavlm", "absent", "no such file"]);
    refused_with(&[("--vae-weights", "absent.safetensors")], &["absent.safetensors", "no such file"]);

    let mut tensors = good.clone();
    tensors.0.remove(LAYER);
    tensors.0.remove("model.diffusion_model.out.2.bias");
    refused_with(&keyframe(&tensors), &["2 problems", LAYER, "[32, 32, 3, 3]", "out.2.bias", "no such tensor"]);

    let mut tensors = good.clone();
    tensors.0.insert(LAYER.to_string(), (vec![32, 32, 3, 1], vec![0.0; 32 * 32 * 3]));
    refused_with(&keyframe(&tensors), &[LAYER, "[32, 32, 3, 3]", "[32, 32, 3, 1]"]);

    good.write(&scene.path("k.safetensors"));
    let whole = std::fs::read(scene.path("k.safetensors")).expect("bytes");
    for (bytes, word) in [
        (&whole[..whole.len() / 2], "damaged"),
        (&whole[..100], "damaged"),
        (&whole[..4], "damaged"),
        (&b"<html>not found</html>, says the server instead of sending the file"[..], "safetensors"),
    ] {
        std::fs::write(scene.path("k.safetensors"), bytes).expect("written");
        refused_with(&[("--keyframe-weights", "k.safetensors")], &["k.safetensors", word]);
    }
    let mut corrupt = whole.clone();
    corrupt[8..40].fill(b'#');
    std::fs::write(scene.path("k.safetensors"), corrupt).expect("written");
    refused_with(&[("--keyframe-weights", "k.safetensors")], &["k.safetensors"]);
    scene.holds(&["k.safetensors"]);
}

#[test]
fn tensors_without_a_use_are_a_warning_or_when_strict_an_error() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    let mut tensors = Tensors::read("keyframe_dub.safetensors");
    tensors.0.insert("model_ema.decay".to_string(), (vec![1], vec![0.0]));
    tensors.write(&scene.path("k.safetensors"));
    let weights = ("--keyframe-weights", "k.safetensors");
    ended_well(&mut scene.lipsync(&[weights, ("--strict", ""), ("--out", "known")]));
    tensors.0.insert("surplus".to_string(), (vec![2], vec![0.0; 2]));
    tensors.write(&scene.path("k.safetensors"));
    let said = ended_well(&mut scene.lipsync(&[weights]));
    assert!(said.stderr.contains("k.safetensors: 1 tensors are not used by this network: surplus"), "{}", said.stderr);
    assert!(!said.stderr.contains('\x1b'), "colour codes in a file: {:?}", said.stderr);
    refused(&mut scene.lipsync(&[weights, ("--strict", ""), ("--out", "strict")]), 4, &["surplus", "--strict"]);
    scene.holds(&["k.safetensors", "known", "out"]);
}

#[test]
fn numbers_that_are_none_or_too_large_are_named() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    let good = Tensors::read("keyframe_dub.safetensors");
    let weights = [("--keyframe-weights", "k.safetensors")];
    let changed = |change: &dyn Fn(&mut Vec<f32>)| {
        let mut tensors = good.clone();
        change(&mut tensors.0.get_mut(LAYER).expect("the layer").1);
        tensors.write(&scene.path("k.safetensors"));
    };
    changed(&|values| values[77] = f32::NAN);
    refused(&mut scene.lipsync(&weights), 4, &[LAYER, "finite", "element 77"]);
    changed(&|values| values[3] = 1e6);
    refused(&mut scene.lipsync(&weights), 4, &[LAYER, "f16's range", "--weight-type f32"]);
    // Each weight fits; what they sum up to does not.
    changed(&|values| values.iter_mut().for_each(|v| *v *= 1e5));
    refused(&mut scene.lipsync(&weights), 5, &["input_blocks.1.0.in_layers.2", "f16's range", "--precision f32"]);
    let f32 = [&weights[..], &[("--precision", "f32"), ("--weight-type", "f32")]].concat();
    ended_well(&mut scene.lipsync(&f32));
}

/// int8 is rounded to at load from the same files: other pictures than f16's, but not very other ones.
#[test]
fn int8_weights_make_nearly_the_same_pictures() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    for kind in ["f32", "f16", "int8"] {
        ended_well(&mut scene.lipsync(&[("--weight-type", kind), ("--out", kind)]));
    }
    scene.holds(&["f16", "f32", "int8"]);
    let [f32, f16, int8] = ["f32", "f16", "int8"].map(|kind| scene.frames(kind));
    assert!(int8 != f16 && int8.len() == f16.len());
    let mean = |a: &[Frame], b: &[Frame]| {
        let pairs = a.iter().zip(b).flat_map(|(a, b)| a.rgb.iter().zip(&b.rgb));
        let squares: Vec<f64> = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).collect();
        squares.iter().sum::<f64>() / squares.len() as f64
    };
    let (by_f16, by_int8) = (mean(&f32, &f16), mean(&f32, &int8));
    println!("mean squared difference from f32: f16 {by_f16:.4}, int8 {by_int8:.4}");
    // A step of int8 is at least 8 of f16's. Pictures that have nothing in common are some 5000 apart.
    assert!(by_int8 > by_f16 && by_int8 < 50.0, "{by_f16} {by_int8}");
}

#[test]
fn bad_sound_is_named() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    let whole = std::fs::read(scene.path("speech.wav")).expect("wav");
    std::fs::write(scene.path("bad.wav"), b"").expect("written");
    refused(&mut scene.lipsync(&[("--audio", "bad.wav")]), 3, &["bad.wav", "an empty file"]);
    std::fs::write(scene.path("bad.wav"), &whole[..whole.len() / 2]).expect("written");
    refused(&mut scene.lipsync(&[("--audio", "bad.wav")]), 3, &["bad.wav", "cut off"]);
    std::fs::write(scene.path("bad.wav"), &whole[..44]).expect("written");
    refused(&mut scene.lipsync(&[("--audio", "bad.wav")]), 3, &["bad.wav"]);
    refused(&mut scene.lipsync(&[("--audio", "absent.wav")]), 3, &["absent.wav", "cannot read"]);
    std::fs::write(scene.path("speech.mp3"), b"no wav").expect("written");
    refused(&mut scene.lipsync(&[("--audio", "speech.mp3")]), 8, &["/nonexistent/ffmpeg", "install", "--ffmpeg"]);
    scene.holds(&["bad.wav", "speech.mp3"]);
}

#[test]
fn bad_pictures_are_named() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    refused(&mut scene.lipsync(&[("--video", "absent")]), 3, &["absent", "cannot read"]);
    std::fs::create_dir(scene.path("none")).expect("a folder");
    refused(&mut scene.lipsync(&[("--video", "none")]), 3, &["none", "a picture or more"]);
    std::fs::write(scene.path("in/0002.png"), b"no picture").expect("written");
    let said = refused(&mut scene.lipsync(&[]), 3, &["0002.png", "a whole picture", "another kind of file"]);
    assert!(!said.stderr.contains('%') && !said.stderr.contains("memory"), "work began: {}", said.stderr);
    scene.holds(&["none"]);
}

#[test]
fn bad_landmarks_are_named() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(8, 0.16);
    let face = scene.landmarks();
    let refused_with = |faces: &Value, words: &[&str]| {
        std::fs::write(scene.path("bad.json"), faces.to_string()).expect("written");
        refused(&mut scene.lipsync(&[("--landmarks", "bad.json")]), 3, words);
    };
    let changed = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut faces = face.as_array().expect("faces").clone();
        change(&mut faces);
        Value::from(faces)
    };
    refused_with(
        &changed(&|faces| drop(faces[2].as_array_mut().expect("points").pop())),
        &["bad.json, frame 2", "68", "67"],
    );
    refused_with(
        &changed(&|faces| faces[3][7] = serde_json::json!([500.0, 20.0])),
        &["bad.json, frame 3, point 7", "64x64", "500"],
    );
    refused_with(&changed(&|faces| faces.truncate(3)), &["bad.json", "8 sets of points", "found 3"]);
    refused_with(&changed(&|faces| faces.clear()), &["bad.json", "none"]);
    refused_with(&serde_json::json!({"faces": []}), &["bad.json", "frames"]);
    std::fs::write(scene.path("bad.npy"), b"\x93NUMPY\x01\x00").expect("written");
    refused(&mut scene.lipsync(&[("--landmarks", "bad.npy")]), 3, &["bad.npy", "cut off"]);
    refused(&mut scene.lipsync(&[("--landmarks", "absent.json")]), 3, &["absent.json", "cannot read"]);
    scene.holds(&["bad.json", "bad.npy"]);
}

#[test]
fn output_that_cannot_be_written_is_named_before_any_work() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    std::fs::write(scene.path("file"), "mine").expect("written");
    std::fs::create_dir(scene.path("full")).expect("a folder");
    std::fs::write(scene.path("full/mine"), "mine").expect("written");
    let refused_with = |out: &str, code: u8, words: &[&str]| {
        let said = refused(&mut scene.lipsync(&[("--out", out)]), code, words);
        assert!(!said.stderr.contains('%'), "work began: {}", said.stderr);
    };
    refused_with("file", 7, &["file", "cannot write"]);
    refused_with("full", 7, &["full", "not an empty folder"]);
    refused_with("file/out", 7, &["file/out", "cannot write"]);
    refused_with("absent/out", 7, &["absent", "cannot write"]);
    refused_with("points.json", 2, &["points.json", ".mp4"]);
    refused_with("in", 2, &["--out", "another file than the inputs"]);
    refused_with("out.mp4", 8, &["/nonexistent/ffmpeg", "--ffmpeg"]);
    if cfg!(target_os = "linux") {
        refused_with("/proc/viseme", 7, &["/proc", "cannot write"]);
        refused_with("/dev/full", 7, &["/dev/full", "not an empty folder"]);
    }
    scene.holds(&["file", "full"]);
    assert_eq!(std::fs::read(scene.path("file")).expect("there"), b"mine");

    std::fs::create_dir(scene.path("work")).expect("a folder");
    std::fs::write(scene.path("work/mine"), "mine").expect("written");
    refused(&mut scene.lipsync(&[("--work", "work")]), 2, &["work", "mine in it", "--work"]);
    assert_eq!(std::fs::read(scene.path("work/mine")).expect("there"), b"mine");
}

#[test]
fn sound_and_picture_of_different_lengths_give_the_length_asked_for() {
    if !gpu() {
        return;
    }
    // 10 frames are 0.4 s: less than a segment of 14 frames, which works as well.
    let scene = Scene::new(10, 0.8);
    for (index, (length, extend, frames)) in [
        ("audio", "bounce", 20),
        ("audio", "loop", 20),
        ("audio", "hold", 20),
        ("video", "bounce", 10),
        ("shortest", "bounce", 10),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out{index}");
        ended_well(&mut scene.lipsync(&[("--length", length), ("--extend", extend), ("--out", &out)]));
        let made = scene.frames(&out);
        assert_eq!(made.len(), frames, "--length {length} --extend {extend}");
        // The top row is the source's: it says which source frame each output frame shows.
        let sources = scene.frames("in");
        for (at, frame) in made.iter().enumerate() {
            let source = match extend {
                "hold" => at.min(9),
                "loop" => at % 10,
                _ => {
                    if at < 10 {
                        at
                    } else {
                        18 - at.min(18)
                    }
                }
            };
            let shown = sources.iter().position(|source| source.rgb[..192] == frame.rgb[..192]);
            if extend != "bounce" || at < 18 {
                assert_eq!(shown, Some(source), "--extend {extend}, frame {at}");
            }
        }
    }
    let short = Scene::new(10, 0.08);
    ended_well(&mut short.lipsync(&[]));
    assert_eq!(short.frames("out").len(), 2);
    ended_well(&mut short.lipsync(&[("--length", "video"), ("--out", "long")]));
    assert_eq!(short.frames("long").len(), 10);
}

#[test]
fn too_little_memory_is_said() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(4, 0.16);
    refused(&mut scene.lipsync(&[("--vram", "64K")]), 6, &["out of GPU memory", "--vram"]);
    assert!(!scene.path("out").exists());
}

#[test]
fn hostile_checkpoints_are_refused_by_what_they_would_run() {
    let scene = Scene::new(1, 0.1);
    let mut archive = ZipWriter::new(std::fs::File::create(scene.path("bad.pt")).expect("a file"));
    archive.start_file("archive/data.pkl", SimpleFileOptions::default()).expect("an entry");
    // os.system("touch owned")
    archive.write_all(b"\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch owned\x85R.").expect("its bytes");
    archive.finish().expect("a zip");
    let convert = |input: &str| {
        let mut command = viseme();
        command.current_dir(scene.path("")).args(["convert", input, "out.safetensors"]);
        command
    };
    refused(&mut convert("bad.pt"), 4, &["bad.pt", "os.system"]);
    std::fs::write(scene.path("text.pt"), "no checkpoint").expect("written");
    refused(&mut convert("text.pt"), 4, &["text.pt"]);
    refused(&mut convert("absent.pt"), 3, &["absent.pt", "cannot read"]);
    scene.holds(&["bad.pt", "text.pt"]);
}

#[test]
fn golden_files_that_are_none_are_named() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(1, 0.1);
    std::fs::write(scene.path("bad.safetensors"), "no golden file").expect("written");
    let verify = |file: &str| {
        let mut command = viseme();
        command.current_dir(scene.path("")).args(["verify", file]);
        command
    };
    refused(&mut verify("absent.safetensors"), 3, &["absent.safetensors", "cannot read"]);
    let said = run(&mut verify("bad.safetensors"));
    assert!(matches!(said.code, Some(3 | 4)) && said.stderr.contains("bad.safetensors"), "{said:?}");
}

#[cfg(unix)]
mod cut_off {
    use super::scene::{Scene, ended_well, ffmpeg, gpu, refused, run};
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    fn signal(child: &Child, name: &str) {
        let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits until `ready`, for minutes at most.
    fn wait_until(child: &mut Child, ready: impl Fn() -> bool) {
        let start = Instant::now();
        while !ready() {
            assert!(child.try_wait().expect("a child").is_none(), "it ended too early");
            assert!(start.elapsed() < Duration::from_secs(300), "it never got there");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn ctrl_c_ends_a_run_between_two_steps() {
        if !gpu() {
            return;
        }
        let scene = Scene::new(8, 0.32);
        let mut command = scene.lipsync(&[("--json", ""), ("--steps", "1000")]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("viseme");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut lines = lines.map(|line| line.expect("a line"));
        assert!(lines.any(|line| line.contains("keyframes")), "no step was reported");
        signal(&child, "-INT");
        lines.for_each(drop);
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(130), "{said}");
        assert!(said.contains("interrupted") && said.contains("out.viseme"), "{said}");
        scene.holds(&["out.viseme"]);

        // Nothing is finished in there, so another job may have it.
        ended_well(&mut scene.lipsync(&[]));
        scene.holds(&["out"]);
    }

    /// A run that cannot be asked to end, since it waits for a program that says nothing, ends at the second Ctrl-C, and what an
    /// earlier one finished is still there.
    #[test]
    fn a_second_ctrl_c_ends_the_process_at_once() {
        use std::os::unix::fs::PermissionsExt;
        if !gpu() || !ffmpeg() {
            return;
        }
        let scene = Scene::new(20, 4.0);
        // What only ffmpeg reads.
        let mut convert = Command::new("ffmpeg");
        convert.args(["-v", "error", "-i", "speech.wav", "speech.flac"]).current_dir(scene.path(""));
        assert!(convert.status().expect("ffmpeg").success());
        let command = || scene.lipsync(&[("--fps", "5"), ("--audio", "speech.flac"), ("--ffmpeg", "")]);
        let mut child = command().stderr(Stdio::null()).spawn().expect("viseme");
        wait_until(&mut child, || scene.path("out.viseme/window0.latents").exists());
        signal(&child, "-INT");
        assert_eq!(child.wait().expect("it ends").code(), Some(130));
        let kept = || {
            let mut files: Vec<_> = std::fs::read_dir(scene.path("out.viseme")).expect("a folder").flatten().collect();
            files.sort_by_key(std::fs::DirEntry::path);
            files.iter().map(|file| (file.path(), std::fs::read(file.path()).expect("a file"))).collect::<Vec<_>>()
        };
        let before = kept();

        let silent = scene.path("silent-ffmpeg");
        std::fs::write(&silent, "#!/bin/sh\ntouch started\nexec sleep 60\n").expect("a script");
        std::fs::set_permissions(&silent, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let mut hung = scene.lipsync(&[("--fps", "5"), ("--audio", "speech.flac"), ("--ffmpeg", "./silent-ffmpeg")]);
        let mut child = hung.stderr(Stdio::null()).spawn().expect("viseme");
        wait_until(&mut child, || scene.path("started").exists());
        signal(&child, "-INT");
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().expect("a child").is_none(), "it waits for the program");
        signal(&child, "-INT");
        let told = Instant::now();
        assert_eq!(child.wait().expect("it ends").code(), Some(130));
        assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
        assert!(kept() == before, "the work folder is not what it was");
        ended_well(&mut command());
    }

    #[test]
    fn a_run_that_was_cut_off_goes_on_to_the_same_frames() {
        if !gpu() {
            return;
        }
        // 13.2 s are two chunks; at 5 frames a second few pictures have to be written.
        let scene = Scene::new(66, 13.2);
        let command = |out: &str| scene.lipsync(&[("--fps", "5"), ("--out", out)]);
        ended_well(&mut command("whole"));

        let mut child = command("out").stderr(Stdio::piped()).spawn().expect("viseme");
        wait_until(&mut child, || scene.path("out.viseme/window3.latents").exists());
        signal(&child, "-INT");
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
        scene.holds(&["out.viseme", "whole"]);
        let mut other = scene.lipsync(&[("--fps", "5"), ("--seed", "24")]);
        refused(&mut other, 2, &["out.viseme", "--seed changed from 23 to 24", "--work"]);
        let mut other = scene.lipsync(&[("--fps", "5"), ("--weight-type", "int8")]);
        refused(&mut other, 2, &["out.viseme", "--weight-type changed from f16 to int8", "--work"]);
        for (ways, said) in [("steps,guidance", "guidance,steps"), ("", "guidance,reuse,steps")] {
            let mut fast = scene.lipsync(&[("--fps", "5"), ("--fast", ways)]);
            refused(&mut fast, 2, &["out.viseme", &format!("--fast changed from nothing to {said}")]);
        }

        // The second run takes what is finished from the disk, and is killed while it writes frames.
        let finished = || {
            std::fs::metadata(scene.path("out.viseme/window3.latents")).and_then(|m| m.modified()).expect("a window")
        };
        let before = finished();
        let mut child = command("out").stderr(Stdio::null()).spawn().expect("viseme");
        let partial = scene.path(".out.partial");
        wait_until(&mut child, || std::fs::read_dir(&partial).is_ok_and(|entries| entries.count() > 3));
        refused(&mut command("out"), 2, &["out.viseme", "a run at work in it"]);
        signal(&child, "-KILL");
        assert_eq!(child.wait().expect("it ends").signal(), Some(9));
        scene.holds(&[".out.partial", "out.viseme", "whole"]);
        assert_eq!(finished(), before, "the finished window was made again");

        ended_well(&mut command("out"));
        scene.holds(&["out", "whole"]);
        assert!(scene.frames("out") == scene.frames("whole"), "the frames differ from those of a whole run");
    }

    #[test]
    fn a_full_disk_is_said_and_leaves_nothing_under_the_final_name() {
        if !gpu() {
            return;
        }
        // A limit on the size of any file, 12 KiB, stands for a full disk where nothing may be mounted.
        let scene = Scene::new(4, 0.16);
        let viseme = scene.lipsync(&[]);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -f 24; exec \"$0\" \"$@\""]).arg(viseme.get_program()).args(viseme.get_args());
        limited.current_dir(scene.path(""));
        limited.envs(viseme.get_envs().filter_map(|(key, value)| Some((key, value?))));
        refused(&mut limited, 7, &["cannot write", "too large"]);
        assert!(!scene.path("out").exists() && !scene.path(".out.partial").exists());
    }

    #[test]
    fn a_small_file_system_that_is_full_is_said() {
        if !gpu() {
            return;
        }
        let scene = Scene::new(60, 2.4);
        let small = scene.path("small");
        std::fs::create_dir(&small).expect("a folder");
        let mount = ["-t", "tmpfs", "-o", "size=500k", "tmpfs"];
        if !Command::new("mount").args(mount).arg(&small).output().is_ok_and(|ended| ended.status.success()) {
            eprintln!("skipped: mounting is not allowed here");
            return;
        }
        let said = run(&mut scene.lipsync(&[("--out", "small/out")]));
        let left: Vec<_> = std::fs::read_dir(&small).expect("entries").map(|e| e.expect("entry").file_name()).collect();
        let unmounted = Command::new("umount").arg(&small).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "not unmounted");
        assert_eq!(said.code, Some(7), "{said:?}");
        assert!(said.stderr.contains("small/") && said.stderr.contains("No space left"), "{said:?}");
        assert_eq!(left, ["out.viseme"], "left on the full disk");
    }
}

/// With ffmpeg: videos in and out.
mod with_ffmpeg {
    use super::Path;
    use super::scene::{Scene, ended_well, ffmpeg, gpu, refused};

    #[test]
    fn a_video_becomes_a_video_of_its_rate_and_size() {
        if !gpu() || !ffmpeg() {
            return;
        }
        let scene = Scene::new(12, 0.4);
        scene.make("in.mp4", &["-framerate", "30", "-i", "in/%04d.png", "-pix_fmt", "yuv420p"]);
        let with = |changes: &[(&'static str, &'static str)]| {
            scene.lipsync(&[&[("--video", "in.mp4"), ("--ffmpeg", "ffmpeg")], changes].concat())
        };
        ended_well(&mut with(&[("--out", "out.mp4")]));
        ended_well(&mut with(&[("--out", "out.mkv"), ("--crf", "30"), ("--codec", "libx264")]));
        for name in ["out.mp4", "out.mkv"] {
            let info = scene.probe(name);
            assert_eq!((info.size, info.fps.to_string().as_str(), info.has_audio), ([64, 64], "30", true), "{name}");
            scene.make("frames/%04d.png", &["-i", name, "-vf", "setpts=PTS-STARTPTS"]);
            assert_eq!(scene.frames("frames").len(), 12, "{name}");
        }
        scene.holds(&["frames", "in.mp4", "out.mkv", "out.mp4"]);

        refused(&mut with(&[("--out", "bad.mp4"), ("--codec", "nosuchcodec")]), 8, &["nosuchcodec"]);
        assert!(!scene.path("bad.mp4").exists() && !scene.path(".bad.video.mp4").exists());
    }

    #[test]
    fn a_video_without_frames_is_named() {
        if !gpu() || !ffmpeg() {
            return;
        }
        let scene = Scene::new(4, 0.16);
        scene.make("whole.mkv", &["-framerate", "25", "-i", "in/%04d.png", "-pix_fmt", "yuv420p"]);
        let bytes = std::fs::read(scene.path("whole.mkv")).expect("mkv");
        let cluster = bytes.windows(4).position(|w| w == [0x1f, 0x43, 0xb6, 0x75]).expect("a cluster");
        std::fs::write(scene.path("none.mkv"), &bytes[..cluster]).expect("written");
        std::fs::write(scene.path("empty.mp4"), b"").expect("written");
        scene.make("sound.m4a", &["-i", "speech.wav"]);
        for (video, word) in [("none.mkv", ""), ("empty.mp4", "an empty file"), ("sound.m4a", "without a video stream")]
        {
            assert!(Path::new(&scene.path(video)).exists());
            refused(&mut scene.lipsync(&[("--video", video), ("--ffmpeg", "ffmpeg")]), 3, &[video, word]);
        }
        refused(&mut scene.lipsync(&[("--video", "whole.mkv")]), 8, &["/nonexistent/ffmpeg", "install"]);
        scene.holds(&["empty.mp4", "none.mkv", "sound.m4a", "whole.mkv"]);
    }
}

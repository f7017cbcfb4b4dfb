//! The demo's networks from files, in the shapes that the trained ones have.

use super::{device::gpu, trained};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use tempfile::TempDir;
use viseme::face::landmarks::Landmarks;
use viseme::media::frames::FolderSource;
use viseme::media::{Audio, Fps, Frame, FrameSource};
use viseme::pipelines::animate::Animate;
use viseme::pipelines::lipsync::LipSync;
use viseme::pipelines::weights::{Kind, Role, Storage, WeightSet};
use viseme::pipelines::{Paste, Sampling, animate, lipsync};
use viseme::weights::formula::FormulaSource;
use viseme::weights::{Dtype, Source};
use viseme::{Error, Result};

/// Side of the crop.
const SIDE: u32 = 128;

/// A folder with all networks but the weaker one in f16, their configurations, changed by `edit`, in the metadata.
fn folder(edit: impl Fn(&mut Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shapes = trained::shapes();
    for (seed, role) in Role::ALL.into_iter().enumerate().filter(|(_, role)| *role != Role::KeyfaceWeaker) {
        let tensors = serde_json::from_value(shapes[role.name()].clone()).unwrap();
        let source = FormulaSource::new(tensors, seed as u64, true, 1.0);
        let read = |name: String| {
            let (shape, bytes) = (source.entry(&name).unwrap().1, source.read(&name).unwrap().into_owned());
            (name, shape, bytes)
        };
        let tensors: Vec<_> = source.names().into_iter().map(read).collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (name, safetensors::tensor::TensorView::new(Dtype::F16, shape.clone(), bytes).unwrap())
        });
        let mut config = shapes["config"][role.name()].clone();
        edit(&mut config);
        let metadata = HashMap::from([("config".to_string(), config.to_string())]);
        let path = folder.path().join(role.file_names()[0]);
        safetensors::serialize_to_file(views, Some(metadata), &path).unwrap();
    }
    folder
}

fn speech(frames: usize) -> Audio {
    let value = |i: usize| 0.3 * (i as f32 * 0.05).sin() * (i as f32 * 0.0007).cos();
    Audio::samples((0..frames * 640).map(value).collect::<Vec<f32>>(), 16_000)
}

fn sampling() -> Sampling {
    Sampling { steps: 1, ..Sampling::default() }
}

fn lipsynced(weights: &WeightSet) -> Vec<Frame> {
    const FRAMES: usize = 3;
    let folder = tempfile::tempdir().unwrap();
    for index in 0..FRAMES as u32 {
        let level = |i: u32| (i % 3 * 60 + i / 3 % SIDE + i / 3 / SIDE / 2 + 5 * index) as u8;
        let pixels: Vec<u8> = (0..SIDE * SIDE * 3).map(level).collect();
        let path = folder.path().join(format!("{index}.png"));
        image::save_buffer(path, &pixels, SIDE, SIDE, image::ColorType::Rgb8).unwrap();
    }
    let video = || Ok(Box::new(FolderSource::open(folder.path(), Fps::INSIDE)?) as Box<dyn FrameSource>);
    let points = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo/landmarks.json");
    let demo = Landmarks::read(&points).unwrap().scaled([320, 320], [SIDE; 2]);
    let landmarks = Landmarks::new("landmarks", vec![*demo.face(0).unwrap(); FRAMES], Some([SIDE; 2])).unwrap();
    let options =
        lipsync::Options { sampling: sampling(), paste: Paste::None, cut_threshold: 2.0, ..Default::default() };
    let job = LipSync::new(gpu().unwrap(), weights, video, speech(FRAMES)).landmarks(landmarks).options(options);
    job.frames().unwrap().collect::<Result<_>>().unwrap()
}

fn animated(weights: &WeightSet) -> Vec<Frame> {
    let portrait = Frame::rgb8(SIDE, SIDE, (0..SIDE * SIDE * 3).map(|i| (i / 5 % 251) as u8).collect());
    let options = animate::Options { sampling: sampling(), ..Default::default() };
    let job = Animate::new(gpu().unwrap(), weights, portrait, speech(3)).options(options);
    job.frames().unwrap().collect::<Result<_>>().unwrap()
}

#[test]
fn trained_networks_run_where_all_of_a_job_are_there() {
    let folder = folder(|_| ());
    let set = |roles: &[Role]| WeightSet::demo(roles, Some(folder.path())).unwrap();
    let (lipsync, animate) = (set(Role::LIPSYNC), set(Role::ANIMATE));
    assert_eq!((lipsync.kind, animate.kind), (Kind::TrainedDemo, Kind::TrainedDemo));
    assert!(!animate.has(Role::KeyfaceWeaker));
    assert_eq!(lipsync.origins.len(), Role::LIPSYNC.len());
    assert!(lipsync.origins.values().all(|origin| origin.contains("bytes")), "{:?}", lipsync.origins);
    assert_eq!(lipsync.crop_side(Role::Interpolation).unwrap(), SIDE as usize);
    if gpu().is_some() {
        for (job, frames) in [("lipsync", lipsynced(&lipsync)), ("animate", animated(&animate))] {
            assert_eq!(frames.len(), 3, "{job}");
            assert!(frames.iter().all(|frame| [frame.width, frame.height] == [SIDE; 2]), "{job}");
            assert!(frames[0].rgb.iter().any(|&level| level != frames[0].rgb[0]), "{job}");
        }
    }

    std::fs::remove_file(folder.path().join(Role::WavLm.file_names()[0])).unwrap();
    let without = set(Role::LIPSYNC);
    assert_ne!(without.origins, lipsync.origins);
}

#[test]
fn the_metadata_says_how_wide_heads_are() {
    if gpu().is_none() {
        return;
    }
    let of = |head: u64| {
        let folder = folder(|config| {
            if config["num_head_channels"].is_number() {
                config["num_head_channels"] = head.into();
            }
        });
        let set = WeightSet::demo(Role::LIPSYNC, Some(folder.path())).unwrap();
        set.check(gpu().unwrap(), Storage::default()).map(|()| lipsynced(&set))
    };
    assert_ne!(of(32).unwrap(), of(16).unwrap());
    // The published 64 is wider than the first level.
    assert!(matches!(of(64), Err(Error::Weights(_))));
}

use crate::gpu;
use crate::mouth::{eyed_face, face};
use viseme::Result;
use viseme::face::landmarks::Landmarks;
use viseme::media::{Audio, Fps, Frame, FrameSource};
use viseme::metrics::{Inputs, Options, Pictures, Report, measure};

/// Frames of one grey level each.
struct Greys {
    levels: Vec<u8>,
    size: [u32; 2],
    next: usize,
}

impl FrameSource for Greys {
    fn size(&self) -> [u32; 2] {
        self.size
    }

    fn fps(&self) -> Fps {
        Fps::INSIDE
    }

    fn next_frame(&mut self) -> Result<Option<Frame>> {
        let [width, height] = self.size;
        let level = self.levels.get(self.next);
        self.next += 1;
        Ok(level.map(|&level| Frame::rgb8(width, height, vec![level; (width * height * 3) as usize])))
    }

    fn seek(&mut self, index: u64) -> Result<()> {
        self.next = index as usize;
        Ok(())
    }
}

fn greys(levels: &[u8], size: [u32; 2]) -> Box<dyn FrameSource> {
    Box::new(Greys { levels: levels.to_vec(), size, next: 0 })
}

fn landmarks(heights: &[Option<f32>]) -> Landmarks {
    Landmarks::of_frames("track", heights.iter().map(|height| height.map(|h| face([h; 3]))).collect(), None).unwrap()
}

/// Ten frames: ratios 0.0375 h, two without a face, with a tone that is loud where the mouth is open.
fn spoken() -> Report {
    let heights = [0.0, 2.0, 8.0, 12.0, 0.0, 4.0, 16.0, 8.0, 1.0, 0.0, 8.0, 3.0].map(Some);
    let samples: Vec<f32> = heights.iter().flat_map(|h| vec![0.01 + h.unwrap() / 20.0; 640]).collect();
    let mut heights = heights.to_vec();
    (heights[4], heights[5]) = (None, None);
    let (landmarks, audio) = (Some(landmarks(&heights)), Some(Audio::samples(samples, 16_000)));
    measure(Inputs { landmarks, audio, fps: Some(Fps::INSIDE), ..Inputs::default() }, Options::default()).unwrap()
}

#[test]
fn landmarks_alone_give_lipleak_and_say_what_is_left_out() {
    let landmarks = Some(landmarks(&[Some(0.0), None, Some(8.0), Some(4.0)]));
    let report = measure(Inputs { landmarks, ..Inputs::default() }, Options::default()).unwrap();
    let json = report.to_json();
    assert_eq!(json["frames"], 4);
    assert_eq!(json["lipleak"]["value"], 1.0 / 3.0);
    assert_eq!(json["lipleak"]["frames_without_face"], 1);
    assert_eq!((&json["lipleak"]["least"], &json["lipleak"]["most"]), (&0.25.into(), &0.5.into()));
    for name in ["sync", "mouth", "psnr", "ssim", "lpips", "laplacian_variance"] {
        assert!(json[name].is_null() && json["left_out"][name].is_string(), "{name}: {json}");
    }
    let table = report.to_table();
    assert!(table.contains("0.333") && table.contains("frames without a face"), "{table}");
    assert!(table.contains("left out: psnr: no reference (--reference)"), "{table}");
    assert_eq!(report.to_csv().lines().nth(1), Some("0,,0.000000,0,,,,,,,"));
    assert_eq!(report.to_csv().lines().nth(2), Some("1,,,,,,,,,,"));
    assert_eq!(report.to_csv().lines().nth(3), Some("2,,0.300000,1,,,,,,,"));
    let nothing = measure(Inputs::default(), Options::default()).unwrap_err();
    assert_eq!(nothing.exit_code(), 2);
}

#[test]
fn mouth_and_sound_are_correlated_around_gaps() {
    let report = spoken();
    let sync = report.sync.as_ref().unwrap();
    assert!(sync.lag_frames == 0 && sync.best > 0.8, "{sync:?}");
    assert_eq!(sync.correlation, Some(sync.best));
    assert_eq!(report.rows.iter().filter(|row| row.loudness_db.is_some()).count(), 12);
    assert_eq!(report.to_json()["sync"]["lag_ms"], 0.0);
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn a_mouth_is_held_against_the_true_one_before_the_sound() {
    let heights = [0.0, 2.0, 8.0, 12.0, 0.0, 4.0, 16.0, 8.0, 1.0, 0.0, 8.0, 3.0];
    let track = |heights: Vec<Option<f32>>| {
        let faces = heights.into_iter().map(|height| height.map(|h| eyed_face([h; 3]))).collect();
        Landmarks::of_frames("track", faces, None).unwrap()
    };
    let all = || track(heights.map(Some).to_vec());
    let sound =
        || Some(Audio::samples(heights.iter().flat_map(|h| vec![0.01 + h / 20.0; 640]).collect::<Vec<_>>(), 16_000));
    let report = |reference_landmarks, audio| {
        let inputs =
            Inputs { landmarks: Some(all()), reference_landmarks, audio, fps: Some(Fps::INSIDE), ..Inputs::default() };
        measure(inputs, Options::default()).unwrap()
    };
    // The true mouth comes a frame earlier, and is not found in its last frame.
    let truth = track(heights[1..].iter().map(|&h| Some(h)).chain([None]).collect());
    let held = report(Some(truth), sound());
    let mouth = held.to_json()["mouth"].clone();
    assert_eq!((&mouth["against"], &mouth["lag_frames"]), (&"reference".into(), &1.into()));
    assert_eq!(mouth["reference_frames_without_face"], 1);
    assert!(held.to_table().starts_with("mouth correlation 0."), "{}", held.to_table());
    assert!(held.to_csv().lines().nth(2).unwrap().ends_with(",0.020000,0.080000"), "{}", held.to_csv());

    // Frames behind the reference's end have nothing to be held against.
    let shorter = report(Some(track(heights[..10].iter().map(|&h| Some(h)).collect())), None).to_json();
    assert_eq!(shorter["mouth"]["reference_frames_without_face"], 0);
    assert!(shorter["mouth"]["correlation"].as_f64().unwrap() > 0.999_999, "{shorter}");

    let heard = report(None, sound()).to_json()["mouth"].clone();
    assert_eq!((&heard["against"], &heard["lag_frames"]), (&"sound".into(), &0.into()));
    assert!(heard["correlation"].as_f64().unwrap() > 0.8, "{heard}");
    assert!(report(None, None).to_json()["left_out"]["mouth"].as_str().unwrap().contains("--reference"));
}

#[test]
fn pictures_are_compared_as_far_as_both_go() {
    let Some(gpu) = gpu() else { return };
    let run = |levels: &[u8], reference: &[u8], size| {
        let (video, reference) = (greys(levels, [16, 12]), Some(greys(reference, size)));
        let pictures = Some(Pictures { gpu: gpu.clone(), video, reference, lpips: None });
        let landmarks = Some(landmarks(&[Some(0.0), Some(16.0)]));
        measure(Inputs { landmarks, pictures, ..Inputs::default() }, Options::default())
    };
    let report = run(&[10, 20, 30], &[10, 30], [16, 12]).unwrap();
    assert_eq!((report.rows.len(), report.compared), (3, 2));
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
    // Errors 0 and 100: their mean 50.
    let want = 10.0 * (65025.0f64 / 50.0).log10();
    assert!((report.psnr_db.unwrap() - want).abs() < 1e-12);
    assert_eq!(report.laplacian_variance, Ok(0.0));
    // The frame behind the last landmarks has no face.
    assert_eq!((report.lipleak.unwrap().missing, report.lipleak.unwrap().open), (1, 1));
    assert_eq!(report.to_json()["left_out"]["lpips"], "no weights (--lpips-weights)");
    assert!(report.to_csv().lines().nth(1).unwrap().starts_with("0,0.000000,0.000000,0,,inf,1.000000,,0.000000"));

    let equal = run(&[9, 9], &[9, 9, 9], [16, 12]).unwrap().to_json();
    assert_eq!(equal["psnr"], serde_json::json!({"db": null, "identical": true, "frames": 2}));
    assert!(equal["notes"][0].as_str().unwrap().contains("the reference more"));
    let error = run(&[1], &[1], [12, 16]).unwrap_err();
    assert!(error.exit_code() == 3 && error.to_string().contains("12x16"), "{error}");
}

#[test]
fn the_plot_breaks_where_there_is_no_face() {
    let report = spoken();
    let svg = report.to_svg();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("LipLeak 0.500 (5 of 10 frames open), 2 without a face (grey)"), "{svg}");
    // White paper, one grey band, and the three clipped curves.
    assert_eq!(svg.matches("<rect").count(), 5, "{svg}");
    let paths: Vec<&str> = svg.split(" d=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(paths.iter().map(|path| path.matches('M').count()).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(paths.iter().map(|path| path.matches('L').count()).collect::<Vec<_>>(), [8, 8, 11]);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));

    // One frame, nothing heard, nothing found: still a drawing.
    let lone =
        measure(Inputs { landmarks: Some(landmarks(&[None])), ..Inputs::default() }, Options::default()).unwrap();
    assert_eq!(lone.to_json()["left_out"]["mouth"], "no face in any frame");
    let svg = lone.to_svg();
    assert!(svg.contains("no sound was given") && svg.contains("no landmarks were given or found"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn files_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let report = spoken();
    report.write_csv(&folder.path().join("frames.csv")).unwrap();
    report.write_svg(&folder.path().join("frames.svg")).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["frames.csv", "frames.svg"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("frames.csv")).unwrap(), report.to_csv());
    assert_eq!(report.write_csv(&folder.path().join("none/frames.csv")).unwrap_err().exit_code(), 7);
}

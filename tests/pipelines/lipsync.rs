use super::{SIDE, gpu, open, weights};
use std::path::Path;
use viseme::face::landmarks::Landmarks;
use viseme::gpu::Gpu;
use viseme::media::{Audio, Fps, Frame, FrameSource};
use viseme::nn::Trace;
use viseme::ops::{ConvBudget, ConvClass, Depth, Region, Rgb, Scratch, Tuning};
use viseme::pipelines::lipsync::{LipSync, Options};
use viseme::pipelines::segments::{Length, Parity};
use viseme::pipelines::timeline::Extend;
use viseme::pipelines::weights::{Storage, WeightSet};
use viseme::pipelines::{Cancel, Frames, Paste, Phase, Progress, Sampling};
use viseme::{Error, Result};

/// Moving gradients of any size and rate.
struct Gradients {
    size: [u32; 2],
    fps: Fps,
    frames: u64,
    next: u64,
}

impl Gradients {
    fn frame(&self, index: u64) -> Frame {
        let [width, height] = self.size;
        let mut rgb = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let t = index as u32;
                rgb.extend([(x * 2 + 3 * t) as u8, (y * 2 + t) as u8, ((x * y) / 32 + 5 * t) as u8]);
            }
        }
        Frame::rgb8(width, height, rgb)
    }
}

impl FrameSource for Gradients {
    fn size(&self) -> [u32; 2] {
        self.size
    }

    fn fps(&self) -> Fps {
        self.fps
    }

    fn next_frame(&mut self) -> Result<Option<Frame>> {
        let frame = (self.next < self.frames).then(|| self.frame(self.next));
        self.next += 1;
        Ok(frame)
    }

    fn seek(&mut self, index: u64) -> Result<()> {
        self.next = index;
        Ok(())
    }
}

/// The same with 16 bits a colour, all of them in use.
struct Deep(Gradients);

impl Deep {
    fn deepen(frame: Frame) -> Frame {
        let low = |i: usize| (i * 37 + i / 3 * 11) as u8;
        let rgb = frame.rgb.iter().enumerate().flat_map(|(i, &high)| [low(i), high]).collect();
        Frame { depth: Depth::Sixteen, rgb, ..frame }
    }
}

impl FrameSource for Deep {
    fn size(&self) -> [u32; 2] {
        self.0.size()
    }

    fn fps(&self) -> Fps {
        self.0.fps()
    }

    fn depth(&self) -> Depth {
        Depth::Sixteen
    }

    fn next_frame(&mut self) -> Result<Option<Frame>> {
        Ok(self.0.next_frame()?.map(Self::deepen))
    }

    fn seek(&mut self, index: u64) -> Result<()> {
        self.0.seek(index)
    }
}

#[derive(Clone, Copy)]
struct Job {
    size: [u32; 2],
    fps: [u32; 2],
    video_frames: u64,
    audio_frames: usize,
}

impl Job {
    /// A video that is the crop already.
    fn crop(frames: usize) -> Self {
        Self { size: [SIDE; 2], fps: [25, 1], video_frames: frames as u64, audio_frames: frames }
    }

    fn source(&self) -> Gradients {
        let fps = Fps::new(self.fps[0], self.fps[1]).unwrap();
        Gradients { size: self.size, fps, frames: self.video_frames, next: 0 }
    }

    fn landmarks(&self) -> Landmarks {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo/landmarks.json");
        let demo = Landmarks::read(&path).unwrap().scaled([320, 320], self.size);
        let faces = (0..self.video_frames as usize).map(|frame| *demo.face(frame).unwrap()).collect();
        Landmarks::new("landmarks", faces, Some(self.size)).unwrap()
    }

    fn audio(&self) -> Audio {
        let tone = |i: usize| 0.3 * (i as f32 * 0.05).sin() * (i as f32 * 0.0007).cos();
        Audio::samples((0..self.audio_frames * 640).map(tone).collect::<Vec<f32>>(), 16_000)
    }

    fn lipsync(self, options: Options) -> LipSync<'static> {
        let video = move || Ok(Box::new(self.source()) as Box<dyn FrameSource>);
        LipSync::new(gpu().unwrap(), weights(), video, self.audio()).landmarks(self.landmarks()).options(options)
    }

    fn run(self, options: Options) -> Vec<Frame> {
        self.lipsync(options).frames().unwrap().collect::<Result<_>>().unwrap()
    }
}

/// One step, the whole picture as the crop.
fn quick() -> Options {
    Options {
        sampling: Sampling { steps: 1, ..Sampling::default() },
        crop: Some(Region { left: 0.0, top: 0.0, width: f64::from(SIDE), height: f64::from(SIDE) }),
        ..Options::default()
    }
}

/// 15 frames: a keyframe batch and two windows, as approximations are tried on them.
pub fn start(sampling: Sampling, dir: &Path, observer: Box<dyn FnMut(Progress)>) -> Frames<'static> {
    let lipsync = Job::crop(15).lipsync(Options { sampling, ..quick() });
    lipsync.resume(open(dir)).on_progress(observer).frames().unwrap()
}

/// How many frames come of a job of one with these networks.
pub fn frames_of_one(set: &WeightSet) -> usize {
    let job = Job::crop(1);
    let video = move || Ok(Box::new(job.source()) as Box<dyn FrameSource>);
    let lipsync = LipSync::new(gpu().unwrap(), set, video, job.audio()).landmarks(job.landmarks()).options(quick());
    lipsync.frames().unwrap().map(Result::unwrap).count()
}

#[test]
fn latents_outside_the_mask_are_the_sources() {
    let Some(gpu) = gpu() else { return };
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    let job = Job::crop(14);
    // The last of one step from 700 would round at the size of its noise.
    let options = Options { sampling: Sampling { steps: 2, ..Sampling::default() }, ..quick() };
    let frames: Result<Vec<Frame>> = job.lipsync(options.clone()).resume(open(&dir)).frames().unwrap().collect();
    assert_eq!(frames.unwrap().len(), 14);
    let bytes = std::fs::read(dir.join("window0.latents")).unwrap();
    let made: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();

    let encoder = weights().encoder(gpu, Storage::default()).unwrap();
    let landmarks = job.landmarks();
    let per_frame = 8 * 8 * 4;
    assert_eq!(made.len(), 14 * per_frame);
    for (index, made) in made.chunks_exact(per_frame).enumerate() {
        let frame = job.source().frame(index as u64);
        let picture = Rgb::upload(gpu, SIDE as usize, SIDE as usize, &frame.rgb).unwrap();
        let moments = encoder.forward(&picture.to_tensor().unwrap(), &mut Trace::off()).unwrap();
        let clean = moments.mean.affine(0.18215, 0.0).unwrap().to_f32().unwrap();
        let mask = options.mask.draw(gpu, &[*landmarks.face(index).unwrap()], SIDE as usize).unwrap();
        let mask = mask.downsample_mask(8, None).unwrap().to_f32().unwrap();
        assert!(mask.contains(&0.0) && mask.contains(&1.0), "frame {index}");
        let mut changed = 0;
        for (i, (made, clean)) in made.iter().zip(&clean).enumerate() {
            if mask[i / 4] == 0.0 {
                assert!((made - clean).abs() <= 1e-5, "frame {index}, element {i}: {made} for {clean}");
            } else {
                changed += usize::from((made - clean).abs() > 1e-2);
            }
        }
        assert!(changed > 30, "frame {index}: {changed} elements changed inside the mask");
    }
}

#[test]
fn pixels_outside_the_feathered_mask_are_the_sources_bit_for_bit() {
    if gpu().is_none() {
        return;
    }
    // A frame larger than the crop, at another rate, and a face box of its own.
    let job = Job { size: [200, 150], fps: [30, 1], video_frames: 9, audio_frames: 7 };
    let region = Region { left: 40.0, top: 10.0, width: 120.0, height: 120.0 };
    let options = Options { crop: Some(region), feather: Some(4.0), ..quick() };
    let frames = job.run(options.clone());
    // 7 frames at 25 a second last 0.28 s, 8.4 frames at 30.
    assert_eq!(frames.len(), 8);
    let landmarks = job.landmarks();
    for (index, frame) in frames.iter().enumerate() {
        let source = job.source().frame(index as u64);
        let face = landmarks.face(index).unwrap();
        let (mut kept, mut made) = (0, 0);
        for y in 0..150usize {
            for x in 0..200usize {
                let at = 3 * (y * 200 + x);
                let is_equal = frame.rgb[at..at + 3] == source.rgb[at..at + 3];
                // The box reaches from the nose bridge down, as wide as the landmarks, and stays inside the region; its edge fades over 4 of its pixels, 7.5 of these.
                let columns = face.iter().map(|p| p[0]);
                let (left, right) = (columns.clone().fold(f32::MAX, f32::min), columns.fold(f32::MIN, f32::max));
                let (x_f, y_f) = (x as f32, y as f32);
                let inside_region = (40..160).contains(&x) && (10..130).contains(&y);
                if !inside_region || x_f < left - 10.0 || x_f > right + 10.0 || y_f < face[28][1] - 10.0 {
                    assert!(is_equal, "frame {index}, pixel {x}, {y}");
                    kept += 1;
                } else {
                    made += usize::from(!is_equal);
                }
            }
        }
        assert!(kept > 15_000 && made > 1000, "frame {index}: {kept} kept, {made} made");
    }
}

#[test]
fn sixteen_bits_stay_bit_for_bit_outside_the_mask_and_are_used_inside() {
    let Some(gpu) = gpu() else { return };
    let job = Job { size: [200, 150], fps: [25, 1], video_frames: 3, audio_frames: 3 };
    let region = Region { left: 40.0, top: 10.0, width: 120.0, height: 120.0 };
    let options = Options { crop: Some(region), feather: Some(4.0), ..quick() };
    let video = move || Ok(Box::new(Deep(job.source())) as Box<dyn FrameSource>);
    let lipsync = LipSync::new(gpu, weights(), video, job.audio()).landmarks(job.landmarks()).options(options);
    let frames: Vec<Frame> = lipsync.frames().unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(frames.len(), 3);
    for (index, frame) in frames.iter().enumerate() {
        let source = Deep::deepen(job.source().frame(index as u64));
        assert_eq!((frame.depth, frame.rgb.len()), (Depth::Sixteen, source.rgb.len()));
        let (mut kept, mut low_bytes) = (0, std::collections::BTreeSet::new());
        for (i, (made, source)) in frame.rgb.chunks_exact(6).zip(source.rgb.chunks_exact(6)).enumerate() {
            let (x, y) = (i % 200, i / 200);
            // Outside the crop, and in its upper part, which no mask reaches.
            if !(40..160).contains(&x) || !(10..130).contains(&y) || y < 30 {
                assert!(made == source, "frame {index}, pixel {x}, {y}");
                kept += 1;
            } else if made != source {
                low_bytes.insert(made[0]);
            }
        }
        assert!(kept > 14_000 && low_bytes.len() > 200, "frame {index}: {kept} kept, {} low bytes", low_bytes.len());
    }
}

#[test]
fn one_seed_gives_one_video_and_memory_changes_nothing() {
    if gpu().is_none() {
        return;
    }
    let job = Job::crop(15);
    let options = Options { paste: Paste::None, ..quick() };
    let frames = job.run(options.clone());
    assert_eq!((frames.len(), frames[0].width, frames[0].height), (15, SIDE, SIDE));
    assert_eq!(frames, job.run(options.clone()), "the same seed again");

    let slow = Sampling { low_memory: true, ..options.sampling };
    assert_eq!(frames, job.run(Options { sampling: slow, ..options.clone() }), "one branch and clip at a time");

    // A budget between what the two ways take: the run begins with the one and goes on with the other.
    let run_on = |gpu: &Gpu, sampling: Sampling| -> Vec<Frame> {
        let video = move || Ok(Box::new(job.source()) as Box<dyn FrameSource>);
        let options = Options { sampling, ..options.clone() };
        let lipsync = LipSync::new(gpu, weights(), video, job.audio()).landmarks(job.landmarks()).options(options);
        lipsync.frames().unwrap().collect::<Result<_>>().unwrap()
    };
    let peak = |sampling: Sampling| {
        let own = Gpu::new(None).unwrap();
        // Measured once for a device, with buffers of its own.
        viseme::ops::rate(&own).unwrap();
        own.trim().unwrap();
        own.reset_peak();
        run_on(&own, sampling);
        own.memory().resident_peak
    };
    let (least, most) = (peak(slow), peak(options.sampling));
    assert!(most > least + (1 << 16), "{least} to {most} bytes");
    let own = Gpu::new(None).unwrap();
    own.set_budget(Some((least + most) / 2));
    assert!(frames == run_on(&own, options.sampling), "within a budget: other frames");
    assert!(own.memory().resident_peak <= (least + most) / 2);

    let other = Sampling { seed: 24, ..options.sampling };
    assert_ne!(frames, job.run(Options { sampling: other, ..options }), "another seed");
}

#[test]
fn a_cancelled_run_stops_between_steps_and_goes_on_where_it_was() {
    if gpu().is_none() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    let job = Job::crop(28);
    let whole = job.run(quick());

    let cancel = Cancel::default();
    let in_flight = cancel.clone();
    let mut last = None;
    let lipsync = job.lipsync(quick()).resume(open(&dir)).cancel_with(&cancel).on_progress(|progress| {
        assert!(progress.done <= progress.total, "{progress:?}");
        if progress.phase == Phase::Decoding {
            in_flight.cancel();
        }
        last = Some(progress);
    });
    let results: Vec<Result<Frame>> = lipsync.frames().unwrap().collect();
    assert!(matches!(results.last(), Some(Err(Error::Cancelled))), "{} results", results.len());
    assert!(results.len() < 28);
    assert!(last.is_some());
    std::fs::remove_file(dir.join("window1.latents")).unwrap();

    let mut evaluated = 0;
    let lipsync = job.lipsync(quick()).resume(open(&dir)).on_progress(|progress| {
        assert!(progress.phase != Phase::Keyframes || progress.step[0] == 0, "keyframes were there already");
        evaluated += usize::from(progress.phase == Phase::Interpolation && progress.step[0] > 0);
    });
    let mut frames = lipsync.frames().unwrap();
    let again: Vec<Frame> = frames.by_ref().collect::<Result<_>>().unwrap();
    assert_eq!(whole, again);
    frames.finish().unwrap();
    assert!(!dir.exists());
    assert_eq!(evaluated, 2, "the window taken away and the one that was not made yet, no other");
}

/// A run that goes on keeps to what the first one chose: the kernels, and which convolutions are Winograd's, whatever its own
/// budget or table would make of them.
#[test]
fn a_run_goes_on_with_the_choices_that_it_began_with() {
    if gpu().is_none() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    let job = Job::crop(28);
    let start = |own: &Gpu, cancel: &Cancel, folder: Option<&Path>| -> Vec<Result<Frame>> {
        let video = move || Ok(Box::new(job.source()) as Box<dyn FrameSource>);
        let in_flight = cancel.clone();
        let lipsync = LipSync::new(own, weights(), video, job.audio()).landmarks(job.landmarks()).options(quick());
        let lipsync = lipsync.cancel_with(cancel).on_progress(|progress| {
            if folder.is_some() && progress.phase == Phase::Decoding {
                in_flight.cancel();
            }
        });
        let lipsync = if let Some(dir) = folder { lipsync.resume(open(dir)) } else { lipsync };
        lipsync.frames().unwrap().collect()
    };
    // Classes are forced, since only the convolutions of larger networks are worth it; small budgets leave them direct.
    let device = |convolutions: u64, tuning: Tuning| {
        let own = Gpu::new(None).unwrap();
        own.set(ConvClass::F43);
        own.set(ConvBudget(convolutions));
        own.set(tuning);
        own
    };
    let frames = |results: Vec<Result<Frame>>| results.into_iter().collect::<Result<Vec<Frame>>>().unwrap();
    let (roomy, tight) = (1 << 33, 1 << 10);
    let table = Tuning { winograd_scratch: Some(Scratch::Mib8), ..Tuning::default() };
    let whole = frames(start(&device(roomy, Tuning::default()), &Cancel::default(), None));
    let direct = frames(start(&device(tight, Tuning::default()), &Cancel::default(), None));
    assert_ne!(whole, direct, "the class of its convolutions shows in a result");

    let results = start(&device(roomy, table.clone()), &Cancel::default(), Some(&dir));
    assert!(matches!(results.last(), Some(Err(Error::Cancelled))), "{} results", results.len());
    std::fs::remove_file(dir.join("window1.latents")).unwrap();

    let own = device(tight, Tuning::default());
    let video = || Ok(Box::new(job.source()) as Box<dyn FrameSource>);
    let lipsync = LipSync::new(&own, weights(), video, job.audio()).landmarks(job.landmarks()).options(quick());
    let again = frames(lipsync.resume(open(&dir)).frames().unwrap().collect());
    assert_eq!(*Tuning::of(&own), table);
    assert_eq!(ConvBudget::of(&own), ConvBudget(roomy));
    assert_eq!(whole, again);
}

#[test]
fn a_broken_work_file_is_named() {
    if gpu().is_none() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("work");
    let work = open(&dir);
    work.store("keyframes0.latents", b"short").unwrap();
    let error = Job::crop(2).lipsync(quick()).resume(work).frames().unwrap().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("keyframes0.latents"), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn every_length_comes_out_whole() {
    if gpu().is_none() {
        return;
    }
    for (audio_frames, video_frames, length, expected) in [
        (1, 1, Length::Audio, 1),
        (13, 4, Length::Audio, 13),
        (3, 13, Length::Audio, 3),
        (3, 13, Length::Video, 13),
        (13, 3, Length::Shortest, 3),
    ] {
        let job = Job { audio_frames, video_frames, ..Job::crop(1) };
        let frames = job.run(Options { length, extend: Extend::Loop, ..quick() });
        assert_eq!(frames.len(), expected, "{audio_frames} of audio, {video_frames} of video, {length:?}");
    }
}

#[test]
fn parity_drops_the_tail_and_refuses_short_clips() {
    if gpu().is_none() {
        return;
    }
    let parity = Options { parity: Parity::Upstream, ..quick() };
    assert_eq!(Job::crop(16).run(parity.clone()).len(), 14);
    let error = Job::crop(13).lipsync(parity.clone()).survey().unwrap_err();
    assert_eq!(error.exit_code(), 3);
    // 45 s, raised to whole windows: 1125 frames to 1132.
    let survey = Job::crop(1300).lipsync(parity).survey().unwrap();
    assert_eq!((survey.inside_frames, survey.output_frames), (1132, 1132));
}

#[test]
fn audio_and_occluder_reach_the_picture() {
    if gpu().is_none() {
        return;
    }
    let job = Job::crop(3);
    let frames = job.run(quick());
    let silent = {
        let video = move || Ok(Box::new(job.source()) as Box<dyn FrameSource>);
        let audio = Audio::samples(vec![0.0; 3 * 640], 16_000);
        let lipsync = LipSync::new(gpu().unwrap(), weights(), video, audio).landmarks(job.landmarks()).options(quick());
        lipsync.frames().unwrap().collect::<Result<Vec<Frame>>>().unwrap()
    };
    assert_ne!(frames, silent, "other audio");

    /// White everywhere: all of the face is behind it.
    struct White;
    impl FrameSource for White {
        fn size(&self) -> [u32; 2] {
            [SIDE; 2]
        }
        fn fps(&self) -> Fps {
            Fps::INSIDE
        }
        fn next_frame(&mut self) -> Result<Option<Frame>> {
            Ok(Some(Frame::rgb8(SIDE, SIDE, vec![255; (SIDE * SIDE * 3) as usize])))
        }
        fn seek(&mut self, _: u64) -> Result<()> {
            Ok(())
        }
    }
    let hidden = job.lipsync(quick()).occluder(Box::new(White)).frames().unwrap();
    for (index, frame) in hidden.enumerate() {
        assert_eq!(frame.unwrap(), job.source().frame(index as u64), "frame {index}: nothing may be generated");
    }
}

#[test]
fn frames_come_before_later_windows_are_made() {
    if gpu().is_none() {
        return;
    }
    // Three windows of one chunk, made two at a time.
    let windows = std::cell::Cell::new(0);
    let lipsync = Job::crop(40).lipsync(quick()).on_progress(|progress| {
        windows.set(windows.get() + usize::from(progress.phase == Phase::Interpolation && progress.step[0] > 0));
    });
    let mut frames = lipsync.frames().unwrap();
    frames.next().unwrap().unwrap();
    assert_eq!(windows.get(), 1, "one evaluation of two windows before the first frame");
    assert_eq!(frames.count(), 39);
    assert_eq!(windows.get(), 2);
}

/// Upstream squeezes the picture by plain bilinear interpolation: five to one it takes every fifth pixel and sees no other.
#[test]
fn parity_shrinks_without_antialiasing() {
    if gpu().is_none() {
        return;
    }
    let job = Job { size: [5 * SIDE; 2], ..Job::crop(14) };
    struct Overpainted(Gradients);
    impl FrameSource for Overpainted {
        fn size(&self) -> [u32; 2] {
            self.0.size()
        }
        fn fps(&self) -> Fps {
            self.0.fps()
        }
        fn next_frame(&mut self) -> Result<Option<Frame>> {
            Ok(self.0.next_frame()?.map(|mut frame| {
                for (i, pixel) in frame.rgb.chunks_exact_mut(3).enumerate() {
                    let (x, y) = (i % frame.width as usize, i / frame.width as usize);
                    if x % 5 != 2 || y % 5 != 2 {
                        pixel.fill(255);
                    }
                }
                frame
            }))
        }
        fn seek(&mut self, index: u64) -> Result<()> {
            self.0.seek(index)
        }
    }
    let first = |parity: Parity, is_overpainted: bool| -> Frame {
        let video = move || -> Result<Box<dyn FrameSource>> {
            Ok(if is_overpainted { Box::new(Overpainted(job.source())) } else { Box::new(job.source()) })
        };
        let options = Options { parity, crop: None, paste: Paste::None, ..quick() };
        let lipsync =
            LipSync::new(gpu().unwrap(), weights(), video, job.audio()).landmarks(job.landmarks()).options(options);
        lipsync.frames().unwrap().next().unwrap().unwrap()
    };
    assert_eq!(first(Parity::Upstream, false), first(Parity::Upstream, true));
    assert_ne!(first(Parity::Corrected, false), first(Parity::Corrected, true));
}

/// Upstream embeds all of the sound, then cuts: what comes after the last frame shows in it.
#[test]
fn parity_hears_what_comes_after_the_end() {
    if gpu().is_none() {
        return;
    }
    let job = Job { audio_frames: 20, ..Job::crop(14) };
    let first = |parity: Parity, loudness_behind: f32| -> Frame {
        let tone = |i: usize| (if i < 14 * 640 { 0.3 } else { loudness_behind }) * (i as f32 * 0.05).sin();
        let audio = Audio::samples((0..20 * 640).map(tone).collect::<Vec<f32>>(), 16_000);
        let video = move || Ok(Box::new(job.source()) as Box<dyn FrameSource>);
        let options = Options { parity, length: Length::Video, paste: Paste::None, ..quick() };
        let lipsync = LipSync::new(gpu().unwrap(), weights(), video, audio).landmarks(job.landmarks()).options(options);
        lipsync.frames().unwrap().next().unwrap().unwrap()
    };
    assert_ne!(first(Parity::Upstream, 0.3), first(Parity::Upstream, 0.9));
    assert_eq!(first(Parity::Corrected, 0.3), first(Parity::Corrected, 0.9));
}

/// Golden: 1002 frames of sound are 1001 to upstream, and 989 come out.
#[test]
fn parity_counts_the_frames_that_hubert_leaves() {
    if gpu().is_none() {
        return;
    }
    let length = |parity: Parity| {
        let job = Job { audio_frames: 1002, ..Job::crop(1010) };
        let survey = job.lipsync(Options { parity, ..quick() }).survey().unwrap();
        (survey.inside_frames, survey.output_frames)
    };
    assert_eq!(length(Parity::Upstream), (1001, 989));
    assert_eq!(length(Parity::Corrected), (1002, 1002));
}

#[test]
fn a_crop_outside_the_picture_is_refused_before_any_work() {
    if gpu().is_none() {
        return;
    }
    let side = f64::from(SIDE);
    for (left, size, is_fine) in [
        (0.0, side, true),
        (-10.0, side + 20.0, true),
        (side, side, false),
        (-side * 0.8, side, false),
        (-2.5 * side, 6.0 * side, false),
        (0.0, 0.0, false),
        (f64::NAN, 10.0, false),
        (0.0, f64::INFINITY, false),
    ] {
        let face = Region { left, top: 0.0, width: size, height: size };
        let surveyed = Job::crop(2).lipsync(Options { crop: Some(face), ..quick() }).survey();
        match surveyed {
            Ok(_) => assert!(is_fine, "{face:?} is taken"),
            Err(error) => {
                assert!(!is_fine && error.to_string().contains("picture of 64x64"), "{face:?}: {error}");
                assert_eq!(error.exit_code(), 2);
            }
        }
    }
}

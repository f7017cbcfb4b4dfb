//! Memory over the length of a job: what is resident on the device and in the process stays what it was at frame 100. One test,
//! since the process's memory is that of all tests in it.
#![cfg(target_os = "linux")]

#[path = "common/device.rs"]
mod device;
#[path = "common/small.rs"]
mod small;

use device::there;
use std::path::Path;
use std::sync::{Arc, Mutex};
use viseme::Result;
use viseme::diffusion::Guidance;
use viseme::face::landmarks::Landmarks;
use viseme::gpu::Gpu;
use viseme::media::{Audio, Fps, Frame, FrameSource};
use viseme::metrics::{self, Inputs, Pictures};
use viseme::ops::Region;
use viseme::pipelines::animate::{self, Animate};
use viseme::pipelines::lipsync::{self, LipSync};
use viseme::pipelines::weights::WeightSet;
use viseme::pipelines::{Frames, Sampling};

const FRAMES: u64 = 1000;
const SETTLED: u64 = 100;
const SIZE: [u32; 2] = [640, 360];
/// Side of the crop.
const SIDE: f64 = 64.0;

/// A few pictures, again and again.
struct Pictured {
    pictures: Arc<Vec<Frame>>,
    next: u64,
    watch: Option<Watch>,
}

impl Pictured {
    fn new(watch: Option<Watch>) -> Self {
        let [width, height] = SIZE;
        let picture = |n: u32| {
            Frame::rgb8(width, height, (0..width * height * 3).map(|i| (i.wrapping_mul(7919 + n) >> 5) as u8).collect())
        };
        Self { pictures: Arc::new((0..5).map(picture).collect()), next: 0, watch }
    }
}

impl FrameSource for Pictured {
    fn size(&self) -> [u32; 2] {
        SIZE
    }

    /// Four frames for each that the networks make.
    fn fps(&self) -> Fps {
        Fps::new(100, 1).unwrap()
    }

    fn next_frame(&mut self) -> Result<Option<Frame>> {
        if let Some(watch) = &self.watch {
            watch.look(self.next);
        }
        let frame = &self.pictures[self.next as usize % self.pictures.len()];
        let frame = (self.next < FRAMES).then(|| frame.clone());
        self.next += 1;
        Ok(frame)
    }

    fn seek(&mut self, index: u64) -> Result<()> {
        self.next = index;
        Ok(())
    }
}

/// Bytes on the device and in the process, and how many buffers were allocated.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    device: u64,
    process: u64,
    allocations: u64,
}

impl Held {
    fn most(self, other: Self) -> Self {
        Self {
            device: self.device.max(other.device),
            process: self.process.max(other.process),
            allocations: self.allocations.max(other.allocations),
        }
    }
}

/// The most that is held up to the frame where a job has settled, and after it.
#[derive(Clone)]
struct Watch {
    gpu: Gpu,
    most: Arc<Mutex<[Held; 2]>>,
}

impl Watch {
    fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), most: Arc::default() }
    }

    fn look(&self, frame: u64) {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let memory = self.gpu.memory();
        let now =
            Held { device: memory.resident + memory.staging, process: pages * 4096, allocations: memory.allocations };
        let most = &mut self.most.lock().unwrap()[usize::from(frame > SETTLED)];
        *most = most.most(now);
    }

    /// Fails unless what is held after the job has settled is what it held then.
    fn is_flat(&self, job: &str) {
        let [before, after] = *self.most.lock().unwrap();
        println!("{job}: {before:?}, then {after:?}");
        assert!(before.device > 0 && after.device > 0, "{job}: nothing was seen");
        // A small buffer of a size that was not needed before may come late; 900 frames of 691 KB would be 590 MiB.
        let few = before.device / 100;
        assert!(
            after.device <= before.device + few,
            "{job}: on the device {} bytes, then {}",
            before.device,
            after.device
        );
        let spare = 16 << 20;
        assert!(after.process <= before.process + spare, "{job}: {} bytes, then {}", before.process, after.process);
        assert!(
            after.allocations <= before.allocations + FRAMES / 10,
            "{job}: {} buffers, then {}",
            before.allocations,
            after.allocations
        );
    }
}

/// A sound as long as all frames at `fps` a second.
fn tone(fps: usize) -> Audio {
    let value = |i: usize| 0.3 * (i as f32 * 0.05).sin() * (i as f32 * 0.0007).cos();
    Audio::samples((0..FRAMES as usize * 16_000 / fps).map(value).collect::<Vec<f32>>(), 16_000)
}

fn sampling() -> Sampling {
    Sampling { steps: 1, ..Sampling::default() }
}

fn made(watch: &Watch, frames: Frames<'_>) {
    let mut count = 0;
    for frame in frames {
        frame.unwrap();
        watch.look(count);
        count += 1;
    }
    assert_eq!(count, FRAMES);
}

fn lipsync(watch: &Watch, weights: &WeightSet) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo/landmarks.json");
    let demo = Landmarks::read(&path).unwrap().scaled([320, 320], SIZE);
    let faces = (0..FRAMES as usize).map(|frame| *demo.face(frame % demo.len()).unwrap()).collect();
    let landmarks = Landmarks::new("landmarks", faces, Some(SIZE)).unwrap();
    let video = || Ok(Box::new(Pictured::new(None)) as Box<dyn FrameSource>);
    let crop = Some(Region { left: 200.0, top: 80.0, width: 3.0 * SIDE, height: 3.0 * SIDE });
    let options =
        lipsync::Options { sampling: sampling(), guidance: Guidance::None, crop, ..lipsync::Options::default() };
    let job = LipSync::new(&watch.gpu, weights, video, tone(100)).landmarks(landmarks).options(options);
    made(watch, job.frames().unwrap());
}

fn animate(watch: &Watch, weights: &WeightSet) {
    let portrait = Pictured::new(None).pictures[0].clone();
    let options = animate::Options {
        sampling: sampling(),
        guidance: Guidance::None,
        interpolation_guidance: Some(Guidance::None),
        ..animate::Options::default()
    };
    let job = Animate::new(&watch.gpu, weights, portrait, tone(25)).options(options);
    made(watch, job.frames().unwrap());
}

fn measure(watch: &Watch, _: &WeightSet) {
    // Without a reference, whose measures are much work and read what is there already.
    let video = Box::new(Pictured::new(Some(watch.clone())));
    let pictures = Pictures { gpu: watch.gpu.clone(), video, reference: None, lpips: None };
    let inputs = Inputs { pictures: Some(pictures), ..Inputs::default() };
    metrics::measure(inputs, metrics::Options::default()).unwrap();
}

#[test]
fn memory_does_not_follow_the_length_of_a_job() {
    let weights = WeightSet::by_formula("small networks", &small::shapes().to_string()).unwrap();
    let tight = Some(128 << 20);
    let jobs = [
        ("metrics", measure as fn(&Watch, &WeightSet), &[None, tight][..]),
        ("lipsync", lipsync, &[None, tight]),
        // Its frames are all the networks', so that once has to do; 40 s of sound in one piece take 193 MB of attention.
        ("animate", animate, &[Some(512 << 20)]),
    ];
    for (name, job, budgets) in jobs {
        for &budget in budgets {
            let Some(gpu) = there(Gpu::new(None)) else { return };
            gpu.set_budget(budget);
            let watch = Watch::new(&gpu);
            let start = std::time::Instant::now();
            job(&watch, &weights);
            watch.is_flat(&format!("{name} in {:?} s, budget {budget:?}", start.elapsed().as_secs()));
        }
    }
}

//! What a forward of the UNet holds at once, against the least that its operations need.

use super::device::{gpu, there};
use viseme::gpu::{Elem, Gpu};
use viseme::models::clip_unet::Prompt;
use viseme::models::unet::Deep;
use viseme::nn::Trace;
use viseme::pipelines::weights::{Demand, Role, Storage, WeightSet};
use viseme::tensor::Tensor;

const FRAMES: usize = 14;
const BRANCHES: usize = 3;
/// Guidance branches without audio.
const UNHEARD: usize = 2;

/// Bytes that live at once in a walk over shapes: each operation adds its output, and frees inputs that nothing reads later.
struct Walk {
    /// Places of all clips and frames at the level where the walk is, times bytes of an element.
    bytes_per_channel: usize,
    live: usize,
    peak: usize,
}

impl Walk {
    fn adds(&mut self, channels: usize) {
        self.live += channels * self.bytes_per_channel;
        self.peak = self.peak.max(self.live);
    }

    fn frees(&mut self, channels: usize) {
        self.live -= channels * self.bytes_per_channel;
    }

    /// A residual block and the temporal one behind it; the input goes unless it is `kept` for a skip, the output stays.
    fn residual(&mut self, inputs: usize, c: usize, kept: bool) {
        self.adds(inputs); // norm
        self.adds(c); // conv
        self.frees(inputs);
        if inputs != c {
            self.adds(c); // skip connection
            self.frees(if kept { 0 } else { inputs });
        }
        self.adds(c); // norm
        self.frees(c);
        self.adds(c); // conv
        self.frees(c);
        self.frees(if kept && inputs == c { 0 } else { c });
        self.adds(c); // temporal norm
        self.adds(c); // conv
        self.frees(c);
        self.adds(c); // norm
        self.frees(c);
        self.adds(c); // conv
        self.frees(c);
        self.adds(c); // blend
        self.frees(2 * c);
    }

    fn feed_forward(&mut self, c: usize) {
        self.adds(c); // norm
        self.adds(4 * c); // values and gates, which meet before they are stored
        self.frees(c);
        self.adds(c);
        self.frees(5 * c);
    }

    fn attention(&mut self, c: usize) {
        self.adds(c); // norm
        self.adds(3 * c); // q, k, v
        self.frees(c);
        self.adds(c);
        self.frees(3 * c);
        self.adds(c);
        self.frees(2 * c);
        // Cross-attention of the clips that hear; the others' output is written beside it.
        let hearing = c * (BRANCHES - UNHEARD) / BRANCHES;
        self.adds(c - hearing);
        self.adds(hearing); // norm
        self.adds(hearing); // q
        self.frees(hearing);
        self.adds(hearing);
        self.frees(hearing);
        self.adds(hearing);
        self.frees(hearing);
        self.frees(c);
    }

    fn transformer(&mut self, c: usize) {
        self.adds(c); // norm
        self.adds(c); // proj_in
        self.frees(c);
        self.attention(c);
        self.feed_forward(c);
        self.adds(c); // plus the frame embedding
        self.feed_forward(c);
        self.attention(c);
        self.feed_forward(c);
        self.adds(c); // blend
        self.frees(2 * c);
        self.adds(c); // proj_out
        self.frees(2 * c);
    }
}

/// The most bytes that must live at once in one forward of all branches, for a network of `base` channels: two blocks a level,
/// channels 1, 2, 4, 4 times `base`, attention on the first three levels and in the middle.
fn largest_live_set(base: usize, side: usize, elem_bytes: usize) -> usize {
    let levels = [base, 2 * base, 4 * base, 4 * base];
    let per_channel = |level: usize| BRANCHES * FRAMES * (side >> level) * (side >> level) * elem_bytes;
    let mut walk = Walk { bytes_per_channel: per_channel(0), live: 0, peak: 0 };
    walk.adds(8);
    walk.adds(base);
    walk.frees(8);
    // What is on the way is the newest skip as well.
    let mut skips = vec![(0, base)];
    let mut channels = base;
    for (level, &c) in levels.iter().enumerate() {
        for _ in 0..2 {
            walk.residual(channels, c, true);
            if level < 3 {
                walk.transformer(c);
            }
            channels = c;
            skips.push((level, c));
        }
        if level < 3 {
            walk.bytes_per_channel = per_channel(level + 1);
            walk.adds(c); // downsampled
            skips.push((level + 1, c));
        }
    }
    walk.residual(channels, channels, true);
    walk.transformer(channels);
    walk.residual(channels, channels, false);
    for (index, (level, skip)) in skips.into_iter().rev().enumerate() {
        walk.bytes_per_channel = per_channel(level);
        walk.adds(channels + skip); // side by side
        walk.frees(channels + skip);
        let c = levels[3 - index / 3];
        walk.residual(channels + skip, c, false);
        channels = c;
        if index >= 3 {
            walk.transformer(c);
        }
        if index % 3 == 2 && index < 9 {
            let small = walk.bytes_per_channel;
            walk.bytes_per_channel = per_channel(level - 1);
            walk.adds(c); // upsampled
            walk.live -= c * small;
        }
    }
    walk.adds(base); // norm
    walk.frees(base);
    walk.adds(4);
    walk.frees(base + 4);
    assert_eq!(walk.live, 0, "the walk frees what it adds");
    walk.peak
}

/// The most bytes that Winograd's transformed tiles and products take beside everything else, unless a line of tiles takes more.
const WINOGRAD_SCRATCH: u64 = 2 * (24 << 20);

/// The demo's network has the published one's structure at a tenth of its channels. Winograd's scratch, which is bounded, is
/// looked at apart: it counts for much here and for nothing at the published size.
#[test]
fn a_forward_holds_little_more_than_it_must() {
    // Devices that are not software convolve directly.
    let Some(direct) = there(Gpu::restricted(None, |capabilities| capabilities.software = false)) else { return };
    let (held, least) = (held_by_a_forward(&direct), largest_live_set(32, 16, 2));
    println!("{held} bytes held, {least} live: {:.3}", held as f64 / least as f64);
    assert!(held as f64 <= 1.3 * least as f64, "{held} bytes at once for {least}");
    // Less would mean that the walk misses something.
    assert!(held as f64 >= 0.95 * least as f64, "{held} bytes at once for {least}");

    let Some(any) = there(Gpu::new(None)) else { return };
    let with_scratch = held_by_a_forward(&any);
    assert!(with_scratch <= held + WINOGRAD_SCRATCH, "{with_scratch} bytes at once, {held} without scratch");
}

/// Bytes beside weights and inputs at the widest point of one forward, three branches of 14 frames at 16x16 latents in f16.
fn held_by_a_forward(gpu: &Gpu) -> u64 {
    let side = 16;
    let weights = WeightSet::random(&[Role::Keyframe]).unwrap();
    let (unet, projection) = weights.stage(gpu, Role::Keyframe, Storage::default()).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape, Elem::F32).unwrap();
    let concat = unet.condition(&zeros(&[BRANCHES, side, side, 4]), FRAMES).unwrap();
    let audio = projection.forward(&zeros(&[BRANCHES * FRAMES, 2, projection.inputs()])).unwrap();
    let audio = audio.reshape(&[BRANCHES, FRAMES, audio.last_dim()]).unwrap();
    let x = zeros(&[BRANCHES, FRAMES, side, side, 4]);
    let prompt = Prompt { concat: &concat, audio: &audio, unheard: UNHEARD, emotion: None };
    let prepared = unet.prepare(prompt, &mut Trace::off()).unwrap();

    // Measured once for a device, with buffers of its own.
    viseme::ops::rate(gpu).unwrap();
    gpu.reset_peak();
    let before = gpu.memory().current;
    let y = unet.forward(&x, &prepared, &[0.5; BRANCHES * FRAMES], None, Deep::Run, &mut Trace::off()).unwrap();
    assert_eq!(y.shape(), x.shape());
    let held = gpu.memory().peak - before;
    assert_eq!(gpu.memory().current - before, y.size_bytes().next_multiple_of(256), "nothing but the output is left");
    held
}

/// Weights of the demo UNet on a device that convolves directly: its matrices take half of f16's memory, and a job announces
/// what they take.
#[test]
fn int8_halves_the_weights() {
    let Some(gpu) = there(Gpu::restricted(None, |capabilities| capabilities.software = false)) else { return };
    let set = WeightSet::random(&[Role::Keyframe, Role::Interpolation]).unwrap();
    let taken = |weights: Elem| {
        let before = gpu.memory().current;
        let storage = Storage { weights, ..Storage::default() };
        let stage = set.stage(&gpu, Role::Interpolation, storage).unwrap();
        let held = (gpu.memory().current - before) as f64;
        drop(stage);
        let demand = Demand {
            roles: &[Role::Interpolation],
            interpolation: Role::Interpolation,
            clip_evaluations: 1,
            clip_work: 1.0,
            frames: 1,
            clips_at_once: 1,
            clips_kept: 0,
            storage,
        };
        let announced = set.estimate(&gpu, &demand).unwrap().weight_bytes;
        println!("{weights:?}: {held} bytes held, {announced} announced");
        (held, announced)
    };
    let (f16, int8) = (taken(Elem::F16), taken(Elem::I8));
    assert!(int8.0 < 0.62 * f16.0 && int8.0 > 0.5 * f16.0, "{int8:?} after {f16:?}");
    assert!((int8.1 / int8.0 - 1.0).abs() < 0.25, "announced and held: {int8:?}");
}

/// At the published size the walk and what a job announces agree.
#[test]
fn the_estimate_covers_the_published_network() {
    let Some(gpu) = gpu() else { return };
    let least = largest_live_set(320, 64, 2) as f64;
    let weights = WeightSet::random(Role::LIPSYNC).unwrap();
    let demand = Demand {
        roles: Role::LIPSYNC,
        interpolation: Role::Interpolation,
        clip_evaluations: 1,
        clip_work: 1.0,
        frames: FRAMES,
        clips_at_once: BRANCHES,
        clips_kept: 0,
        storage: Storage::default(),
    };
    // The demo's estimate at its own size, in units of its own walk.
    let announced = weights.estimate(gpu, &demand).unwrap().work_bytes / largest_live_set(32, 16, 2) as f64;
    println!("published: {:.2} GiB live; announced over live: {announced:.3}", least / f64::from(1 << 30));
    assert!((1.0..1.3).contains(&announced), "{announced}");
    assert!((1.0e9..1.2e9).contains(&least), "{least}");
}

//! The device layer: memory and its budget, a host program's device, loss, profiles, handles across threads.

#[path = "common/device.rs"]
mod device;

use device::there;
use std::time::{Duration, Instant};
use viseme::gpu::{Cancel, Elem, Gpu};
use viseme::ops::{Epilogue, PackedWeight, Raw, WeightShape};
use viseme::tensor::Tensor;
use viseme::{Error, wgpu};

fn gpu() -> Option<Gpu> {
    there(Gpu::new(None))
}

#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Gpu>();
    check::<Tensor>();
}

#[test]
fn memory_is_counted_reused_and_given_back() {
    let Some(gpu) = gpu() else { return };
    let before = gpu.memory();
    let tensor = Tensor::zeros(&gpu, &[1 << 18], Elem::F32).unwrap();
    let held = gpu.memory();
    assert!(held.current >= before.current + (1 << 20) && held.peak >= held.current);
    drop(tensor);
    let freed = gpu.memory();
    assert_eq!((freed.current, freed.resident), (before.current, held.resident), "kept for the next one");
    let again = Tensor::zeros(&gpu, &[1 << 18], Elem::F32).unwrap();
    assert_eq!(gpu.memory().resident, held.resident, "reused");
    drop(again);
    gpu.trim().unwrap();
    assert!(gpu.memory().resident < held.resident, "given back");
    gpu.reset_peak();
    assert_eq!(gpu.memory().peak, gpu.memory().current);
}

#[test]
fn past_the_budget_an_operation_says_what_asked_for_how_much() {
    let Some(gpu) = gpu() else { return };
    gpu.set_budget(Some(4 << 20));
    let small = Tensor::zeros(&gpu, &[1 << 18], Elem::F32).unwrap();
    let error = Tensor::zeros(&gpu, &[1 << 20], Elem::F32).unwrap_err();
    assert!(
        matches!(error, Error::OutOfMemory { wanted_bytes, budget_bytes: Some(b), .. } if wanted_bytes >= 4 << 20 && b == 4 << 20)
    );
    assert_eq!(error.exit_code(), 6);
    // The device goes on after it.
    assert_eq!(small.add(&small).unwrap().to_f32().unwrap()[0], 0.0);
    gpu.set_budget(None);
    Tensor::zeros(&gpu, &[1 << 20], Elem::F32).unwrap();
}

/// What the device itself refuses is asked for again once freed buffers went back to it.
#[test]
fn a_refused_allocation_is_tried_again_without_the_free_buffers() {
    let Some(gpu) = gpu() else { return };
    let kept = Tensor::from_f32(&gpu, &[4], &[1.0, 2.0, 3.0, 4.0]).unwrap();
    let free = gpu.allocate(8 << 20, "a test").unwrap();
    drop(free);
    gpu.refuse_beyond(Some(gpu.memory().resident + (4 << 20)));
    let held = gpu.allocate(6 << 20, "a test").expect("the free buffer's bytes suffice");
    let error = gpu.allocate(16 << 20, "too much").err().expect("more than there is");
    assert!(matches!(&error, Error::OutOfMemory { what, budget_bytes: None, .. } if what == "too much"), "{error}");
    drop(held);
    gpu.refuse_beyond(None);
    gpu.allocate(16 << 20, "a test").unwrap();
    assert_eq!(kept.to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0]);
}

/// Buffers of ever new sizes, each freed before the next: none finds a user, and the longest free go.
#[test]
fn freed_buffers_are_kept_within_bounds() {
    let Some(gpu) = gpu() else { return };
    let largest = 48 << 20;
    for size in (1..=48).map(|n| n << 20) {
        drop(gpu.allocate(size, "a test").unwrap());
    }
    let memory = gpu.memory();
    assert!(memory.resident <= largest + largest / 4 + (64 << 20), "{memory:?}");
    assert!(memory.resident_peak <= 2 * largest + largest / 4 + (64 << 20), "{memory:?}");
    // The last freed are still there.
    let before = gpu.memory().allocations;
    drop(gpu.allocate(largest, "a test").unwrap());
    assert_eq!(gpu.memory().allocations, before);
}

/// Resident bytes of this process.
#[cfg(target_os = "linux")]
fn process_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[cfg(target_os = "linux")]
#[test]
fn uploads_and_read_backs_go_through_the_same_buffers_again() {
    let Some(gpu) = gpu() else { return };
    let values = vec![0.5_f32; 1 << 20];
    let once = || {
        let x = Tensor::from_f32(&gpu, &[values.len()], &values).unwrap();
        assert_eq!(x.affine(2.0, 0.0).unwrap().to_f32().unwrap()[values.len() - 1], 1.0);
    };
    (0..20).for_each(|_| once());
    let (before, process) = (gpu.memory(), process_bytes());
    (0..150).for_each(|_| once());
    let after = gpu.memory();
    assert_eq!(
        (after.resident, after.allocations, after.staging),
        (before.resident, before.allocations, before.staging)
    );
    // 150 of them would be 600 MiB.
    assert!(process_bytes() < process + (48 << 20), "{process} to {} bytes", process_bytes());
}

/// An upload into the memory of a freed tensor comes after what was recorded of that tensor.
#[test]
fn an_upload_keeps_its_place_in_the_recording() {
    let Some(gpu) = gpu() else { return };
    let first = Tensor::from_f32(&gpu, &[1000], &[1.0; 1000]).unwrap();
    let sum = first.add(&first).unwrap();
    drop(first);
    let allocations = gpu.memory().allocations;
    let second = Tensor::from_f32(&gpu, &[1000], &[5.0; 1000]).unwrap();
    assert_eq!(gpu.memory().allocations, allocations, "it takes the place of the first");
    assert_eq!(sum.to_f32().unwrap(), [2.0; 1000]);
    assert_eq!(second.to_f32().unwrap(), [5.0; 1000]);
}

/// More than all buffers on the way hold, and of an odd length.
#[test]
fn what_is_larger_than_the_ring_comes_through_whole() {
    let Some(gpu) = gpu() else { return };
    let bytes: Vec<u8> = (0..(72 << 20) + 4 * 37).map(|i: usize| (i % 251) as u8 ^ (i >> 16) as u8).collect();
    let x = Tensor::from_bytes(&gpu, &[bytes.len() / 4], Elem::U32, &bytes).unwrap();
    assert!(x.to_bytes().unwrap() == bytes);
    assert!(gpu.memory().staging <= 128 << 20, "{:?}", gpu.memory());
}

#[test]
fn a_cancelled_handle_stops_its_own_work_alone() {
    let Some(gpu) = gpu() else { return };
    let cancel = Cancel::default();
    let own = gpu.cancelled_by(&cancel);
    let x = Tensor::from_f32(&own, &[4], &[1.0; 4]).unwrap();
    let other = Tensor::from_f32(&gpu, &[4], &[2.0; 4]).unwrap();
    let y = x.add(&x).unwrap();
    cancel.cancel();
    for result in
        [y.to_f32().map(drop), x.add(&x).map(drop), own.wait(), Tensor::zeros(&own, &[4], Elem::F32).map(drop)]
    {
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    }
    assert_eq!(other.add(&other).unwrap().to_f32().unwrap(), [4.0; 4]);
}

/// Ten seconds of work at the device's rate, cancelled from another thread, ends with what one or two of them take at what the
/// machine has to spare.
#[test]
fn long_work_ends_soon_after_it_is_cancelled() {
    let Some(gpu) = gpu() else { return };
    let rate = viseme::ops::rate(&gpu).unwrap();
    let cancel = Cancel::default();
    let own = gpu.cancelled_by(&cancel);
    let side = 512;
    let values = vec![0.01_f32; side * side];
    let raw = Raw::F32(bytemuck::cast_slice(&values));
    let weight = PackedWeight::pack(&own, WeightShape::linear(side, side), Elem::F16, raw, "a test").unwrap();
    let x = Tensor::zeros(&own, &[side, side], Elem::F16).unwrap();
    let a_second = (rate.flops / (2.0 * (side * side * side) as f64)).ceil() as usize;
    let products = move |count: usize| {
        let made = (0..count).try_for_each(|_| x.linear(&weight, Epilogue::default()).map(drop));
        made.and_then(|()| x.gpu().wait()).err()
    };
    let start = Instant::now();
    assert!(products(a_second).is_none());
    let second = start.elapsed();
    let work = std::thread::spawn(move || (products(10 * a_second), Instant::now()));
    std::thread::sleep(second);
    let told = Instant::now();
    cancel.cancel();
    let (error, ended) = work.join().unwrap();
    assert!(matches!(error, Some(Error::Cancelled)), "{error:?}");
    let after = ended.saturating_duration_since(told);
    assert!(
        after < 3 * second + Duration::from_secs(1),
        "{after:?} after it was cancelled, a second's work in {second:?}"
    );
}

#[test]
fn compilation_is_told_from_other_work() {
    let Some(gpu) = gpu() else { return };
    let compilation = gpu.compilation();
    assert!(compilation.is_going_on() && compilation.spent().is_zero());
    let x = Tensor::from_f32(&gpu, &[4], &[1.0; 4]).unwrap();
    let y = x.silu().unwrap();
    let once = compilation.spent();
    assert!(!once.is_zero());
    y.silu().unwrap();
    assert_eq!(compilation.spent(), once, "it was there already");
    drop((gpu, x, y));
    assert!(!compilation.is_going_on(), "it does not keep the device");
}

#[test]
fn shapes_and_types_that_cannot_be_are_errors() {
    let Some(gpu) = gpu() else { return };
    let large = 1 << (usize::BITS / 2);
    for shape in [vec![large, large], vec![usize::MAX, 2], vec![usize::MAX / 2, 1], vec![usize::MAX - 3]] {
        for elem in [Elem::F32, Elem::F16] {
            let error = Tensor::empty(&gpu, &shape, elem).unwrap_err();
            assert!(matches!(error, Error::Shape(_) | Error::OutOfMemory { .. }), "{shape:?}: {error}");
        }
    }
    assert!(matches!(Tensor::placeholder(&gpu, &[large, large], Elem::F32), Err(Error::Shape(_))));
    assert_eq!(Tensor::empty(&gpu, &[large, 0, large], Elem::F32).unwrap().len(), 0, "none is none");
    let x = Tensor::zeros(&gpu, &[8], Elem::F32).unwrap();
    assert!(matches!(x.reshape(&[large, large]), Err(Error::Shape(_))), "which wraps to 0");
    assert!(x.view(usize::MAX, &[2]).is_none() && x.view(0, &[large, large]).is_none());
    for elem in [Elem::U32, Elem::I8] {
        let error = Tensor::from_values(&gpu, &[2], elem, &[1.0, 2.0]).unwrap_err();
        assert!(matches!(error, Error::Shape(_)) && error.to_string().contains("from_u32"), "{error}");
    }
}

#[test]
fn more_than_the_device_allocates_at_once_is_an_error() {
    let Some(gpu) = gpu() else { return };
    let bytes = gpu.capabilities().max_buffer_bytes;
    assert_eq!(gpu.allocate(bytes + 16, "a test").err().map(|e| e.exit_code()), Some(6));
    // Of what it may allocate, too much of it in all.
    let mut held = Vec::new();
    let refused = (0..64).find_map(|_| match gpu.allocate((bytes - 4096).min(1 << 40), "a test") {
        Ok(buffer) => {
            held.push(buffer);
            None
        }
        Err(error) => Some(error),
    });
    if let Some(error) = refused {
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    }
}

#[test]
fn a_host_programs_device_is_shared() {
    if gpu().is_none() {
        return;
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let wanted = std::env::var("VISEME_ADAPTER").unwrap_or_default().to_lowercase();
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let adapter =
        adapters.into_iter().find(|a| a.get_info().name.to_lowercase().contains(&wanted)).expect("an adapter");
    // As a plain host program asks for it: no optional feature, WebGPU's default limits.
    let (device, queue) =
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).expect("a device");
    let gpu = Gpu::from_device(device.clone(), queue).unwrap();
    assert!(!gpu.capabilities().immediates && gpu.capabilities().subgroup_size.is_none());
    let x = Tensor::from_f32(&gpu, &[4], &[1.0, -2.0, 3.0, 0.5]).unwrap();
    assert_eq!(x.affine(2.0, 1.0).unwrap().to_f32().unwrap(), [3.0, -3.0, 7.0, 2.0]);
    assert_eq!(gpu.device(), &device);
    // The default WebGPU device has no f16: halves travel as pairs in u32.
    let half = x.cast(Elem::F16).unwrap().cast(Elem::F32).unwrap();
    assert_eq!(half.to_f32().unwrap(), [1.0, -2.0, 3.0, 0.5]);
}

#[test]
fn a_lost_device_is_an_error_and_no_abort() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::from_f32(&gpu, &[4], &[1.0; 4]).unwrap();
    gpu.device().destroy();
    let error = x.add(&x).and_then(|y| y.to_f32()).unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    let error = Tensor::zeros(&gpu, &[1 << 10], Elem::F32).and_then(|t| t.to_f32()).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. } | Error::Gpu(_)), "{error}");
    assert!(gpu.wait().is_err());
}

#[test]
fn a_profile_names_the_kernels() {
    let Some(gpu) = gpu() else { return };
    if !gpu.capabilities().timestamps {
        eprintln!("skipped: {} has no timestamps", gpu.capabilities().name);
        assert_eq!(gpu.start_profile().unwrap_err().exit_code(), 5);
        return;
    }
    let x = Tensor::from_f32(&gpu, &[1 << 16], &vec![0.5; 1 << 16]).unwrap();
    x.silu().unwrap().to_f32().unwrap();
    gpu.start_profile().unwrap();
    for _ in 0..3 {
        x.silu().unwrap();
    }
    let viseme::gpu::Profile { rows, wall } = gpu.stop_profile().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].kernel.as_str(), rows[0].calls), ("pointwise", 3));
    assert!(rows[0].time.as_nanos() > 0 && rows[0].bytes > 0.0);
    // Operations run one after another, so that what they take adds up to no more than all of it.
    assert!(rows[0].time <= wall, "{:?} of {wall:?}", rows[0].time);
    x.silu().unwrap();
    assert!(gpu.stop_profile().unwrap().rows.is_empty(), "it ended");
}

#[test]
fn many_small_submissions_on_several_threads_agree() {
    let Some(gpu) = gpu() else { return };
    let threads: Vec<_> = (0..4)
        .map(|t| {
            let gpu = gpu.clone();
            std::thread::spawn(move || {
                let mut x = Tensor::from_f32(&gpu, &[64], &[t as f32; 64]).unwrap();
                for _ in 0..200 {
                    x = x.affine(1.0, 1.0).unwrap();
                }
                x.to_f32().unwrap()
            })
        })
        .collect();
    for (t, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), vec![t as f32 + 200.0; 64]);
    }
}

/// Files of `folder` and of the folders in it, with their bytes.
fn contents(folder: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn kernels_are_kept_for_the_next_run_and_a_damaged_file_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let run = |value: f32, with_second_kernel: bool| {
        let gpu = gpu()?;
        gpu.keep_kernels(Some(folder.path()));
        gpu.prepare(viseme::ops::KERNELS, "test");
        let x = Tensor::from_values(&gpu, &[4], Elem::F32, &[value; 4]).unwrap();
        let y = x.add(&x).unwrap();
        let y = if with_second_kernel { Tensor::concat_channels(&[&y, &y]).unwrap() } else { y };
        Some(y.to_f32().unwrap()[3])
    };
    let Some(sum) = run(1.5, false) else { return };
    assert_eq!(sum, 3.0);
    let first = contents(folder.path());
    let list = first.keys().find(|path| path.ends_with("test.variants")).expect("a list of variants").clone();
    assert!(first.keys().all(|path| !path.to_string_lossy().contains("partial")), "{first:?}");

    assert_eq!(run(2.5, false), Some(5.0));
    assert_eq!(contents(folder.path()), first, "nothing new, nothing written");
    assert_eq!(run(2.5, true), Some(5.0));
    assert!(contents(folder.path())[&list].len() > first[&list].len(), "the second kernel is new");

    for path in contents(folder.path()).keys() {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(run(3.5, false), Some(7.0));
    assert_eq!(contents(folder.path())[&list], first[&list], "written anew");
}

//! The device layer: memory and its budget, a host program's device, loss, profiles, handles across threads.

#[path = "common/device.rs"]
mod device;

use device::there;
use viseme::gpu::{Elem, Gpu};
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

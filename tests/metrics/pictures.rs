use crate::{Fixture, close, gpu};
use std::collections::BTreeMap;
use viseme::metrics::image::{laplacian_variance, mean_squared_error, psnr_db, ssim};
use viseme::metrics::lpips::{Lpips, MIN_SIDE};
use viseme::ops::Rgb;
use viseme::weights::formula::FormulaSource;
use viseme::weights::{Layers, Source, Weights};

fn grey(height: usize, width: usize, levels: &[u8]) -> Rgb {
    let bytes: Vec<u8> = levels.iter().flat_map(|&v| [v; 3]).collect();
    Rgb::upload(gpu().expect("a device"), height, width, &bytes).unwrap()
}

#[test]
fn psnr_by_hand() {
    let Some(_) = gpu() else { return };
    // Differences 0, 3, 4 and 0 of grey: (9 + 16) / 4.
    let (a, b) = (grey(1, 4, &[0, 10, 20, 255]), grey(1, 4, &[0, 13, 16, 255]));
    assert_eq!(mean_squared_error(&a, &b).unwrap(), [6.25]);
    // 10 log10(65025 / 6.25) = 10 log10(10404).
    close("psnr", psnr_db(6.25), 40.172_003_435_238_34, 1e-12);
    close("black against white", psnr_db(65025.0), 0.0, 0.0);
    assert_eq!(psnr_db(mean_squared_error(&a, &a).unwrap()[0]), f64::INFINITY);
}

#[test]
fn ssim_by_hand() {
    let Some(_) = gpu() else { return };
    let flat = |level: u8| grey(13, 12, &[level; 13 * 12]);
    close("equal", ssim(&flat(77), &flat(77)).unwrap()[0], 1.0, 1e-6);
    // Without variance only the means are left: (2 * 100 * 200 + C1) / (100^2 + 200^2 + C1), C1 = 6.5025.
    let want = (40_000.0 + 6.5025) / (50_000.0 + 6.5025);
    close("flat", ssim(&flat(100), &flat(200)).unwrap()[0], want, 1e-6);
    // Only one pixel differs, in the middle of the single window, by d; its weight is w = g(0)^2. Means 100 and 100 + w d,
    // variances 0 and w (1 - w) d^2.
    let (mut one, d) = (vec![100; 121], 50.0);
    one[60] += 50;
    let sum: f64 = (-5..=5).map(|k| (-f64::from(k * k) / 4.5).exp()).sum();
    let w = 1.0 / (sum * sum);
    let (m, s) = (100.0 + w * d, w * (1.0 - w) * d * d);
    let want = (2.0 * 100.0 * m + 6.5025) * 58.5225 / ((1e4 + m * m + 6.5025) * (s + 58.5225));
    close("one pixel", ssim(&grey(11, 11, &[100; 121]), &grey(11, 11, &one)).unwrap()[0], want, 1e-6);
}

#[test]
fn sharpness_by_hand() {
    let Some(_) = gpu() else { return };
    assert_eq!(laplacian_variance(&grey(5, 7, &[200; 35])).unwrap(), [0.0]);
    // One bright pixel of 10 within 5x5 of black: L is -40 on it, 10 on its four neighbours.
    let mut dot = [0; 25];
    dot[12] = 10;
    let want = (40.0f64.powi(2) + 4.0 * 100.0) / 25.0;
    close("dot", laplacian_variance(&grey(5, 5, &dot)).unwrap()[0], want, 1e-12);
    // In the corner: -40 on it, 10 on its two neighbours; it lies beyond no border, since the mirror's axis runs through it.
    let mut corner = [0; 25];
    corner[0] = 10;
    let mean = (-40.0 + 10.0 + 10.0) / 25.0f64;
    let want = (1600.0 + 200.0) / 25.0 - mean * mean;
    close("corner", laplacian_variance(&grey(5, 5, &corner)).unwrap()[0], want, 1e-12);
}

#[test]
fn pictures_agree_with_python() {
    let Some(gpu) = gpu() else { return };
    let fixture = Fixture::read();
    for (size, height, width) in fixture.sizes() {
        let picture =
            |kind: &str| Rgb::upload(gpu, height, width, &fixture.bytes(&format!("input.{size}.{kind}"))).unwrap();
        let a = picture("a");
        let want = f64::from(fixture.floats(&format!("output.{size}.laplacian_variance"))[0]);
        close(&size, laplacian_variance(&a).unwrap()[0], want, 1e-7);
        for kind in fixture.kinds() {
            let (case, b) = (format!("{size}.{kind}"), picture(&kind));
            let want = fixture.floats(&format!("output.{case}"));
            close(&case, psnr_db(mean_squared_error(&a, &b).unwrap()[0]), f64::from(want[0]), 1e-7);
            close(&case, ssim(&a, &b).unwrap()[0], f64::from(want[1]), 2e-6);
        }
    }
}

#[test]
fn frames_are_measured_one_by_one() {
    let Some(gpu) = gpu() else { return };
    let fixture = Fixture::read();
    let [a, noisy, blurred] = ["a", "noisy", "blurred"].map(|kind| fixture.bytes(&format!("input.wide.{kind}")));
    let [first, second] = [[a.clone(), a.clone()].concat(), [noisy.clone(), blurred.clone()].concat()]
        .map(|bytes| Rgb::upload(gpu, 45, 71, &bytes).unwrap());
    let both = ssim(&first, &second).unwrap();
    for (value, b) in both.iter().zip([noisy, blurred]) {
        let [a, b] = [&a, &b].map(|bytes| Rgb::upload(gpu, 45, 71, bytes).unwrap());
        assert_eq!([*value], ssim(&a, &b).unwrap()[..]);
    }
    assert_eq!(laplacian_variance(&first).unwrap().len(), 2);
}

fn weights(fixture: &Fixture, net: &str) -> FormulaSource {
    FormulaSource::from_config(&fixture.config["lpips"][net], &[]).unwrap()
}

#[test]
fn lpips_agrees_with_python() {
    let Some(gpu) = gpu() else { return };
    let fixture = Fixture::read();
    for net in ["alexnet", "vgg16"] {
        let lpips = Lpips::load(gpu, &Weights::from_source(weights(&fixture, net))).unwrap();
        for (size, height, width) in fixture.sizes().into_iter().filter(|(_, h, w)| h.min(w) >= &MIN_SIDE) {
            let want = fixture.floats(&format!("output.{size}.{net}"));
            let picture =
                |kind: &str| Rgb::upload(gpu, height, width, &fixture.bytes(&format!("input.{size}.{kind}"))).unwrap();
            for (kind, want) in fixture.kinds().iter().zip(want.chunks_exact(5)) {
                let stages = lpips.by_stage(&picture("a"), &picture(kind)).unwrap();
                // An error of the features enters a squared difference times its root. PyTorch's own f32 is at 1.8e-7.
                let bar = 1e-6 * want.iter().fold(0.0f64, |most, &v| most.max(f64::from(v.abs()))).sqrt();
                for (stage, (got, want)) in stages.iter().zip(want).enumerate() {
                    let distance = (got - f64::from(*want)).abs();
                    assert!(distance <= bar, "{net} {size} {kind} stage {stage}: got {got}, want {want}");
                }
                assert_eq!(lpips.distance(&picture("a"), &picture(kind)).unwrap(), [stages.iter().sum::<f64>()]);
            }
            assert_eq!(lpips.distance(&picture("a"), &picture("a")).unwrap(), [0.0]);
        }
        let small = grey(MIN_SIDE - 1, 64, &[0; (MIN_SIDE - 1) * 64]);
        assert!(lpips.distance(&small, &small).unwrap_err().to_string().contains("32x32"));
        let least = grey(MIN_SIDE, MIN_SIDE, &[0; MIN_SIDE * MIN_SIDE]);
        assert_eq!(lpips.distance(&least, &least).unwrap(), [0.0]);
    }
}

/// Formula weights of `shapes`.
fn named(shapes: &BTreeMap<String, Vec<usize>>) -> FormulaSource {
    FormulaSource::new(shapes.clone(), 1, false, 1.0)
}

#[test]
fn lpips_weights_may_lie_in_two_files_and_are_missed_by_name() {
    let Some(gpu) = gpu() else { return };
    let fixture = Fixture::read();
    let listed = fixture.config["lpips"]["alexnet"]["tensors"].as_object().unwrap();
    let shapes: BTreeMap<String, Vec<usize>> =
        listed.iter().map(|(name, shape)| (name.clone(), serde_json::from_value(shape.clone()).unwrap())).collect();
    let split = |linear: bool| -> BTreeMap<String, Vec<usize>> {
        shapes.clone().into_iter().filter(|(name, _)| name.starts_with("lin") == linear).collect()
    };

    let layers = [split(false), split(true)]
        .map(|part| (std::sync::Arc::new(named(&part)) as std::sync::Arc<dyn Source>, String::new()));
    assert!(Lpips::load(gpu, &Weights::from_source(Layers::new(layers.to_vec()))).is_ok());

    let mut broken = split(false);
    broken.remove("features.6.bias");
    broken.insert("lin0.model.1.weight".into(), vec![1, 63, 1, 1]);
    let error = Lpips::load(gpu, &Weights::from_source(named(&broken))).err().unwrap();
    assert_eq!(error.exit_code(), 4);
    for name in ["features.6.bias", "lin0.model.1.weight", "lin4.model.1.weight"] {
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = Lpips::load(gpu, &Weights::from_source(named(&split(true)))).err().unwrap();
    assert!(error.to_string().contains("features.0.weight") && error.to_string().contains("twice"), "{error}");
}

//! How far two pictures differ, and how sharp one is. The numbers are those that people compare with:
//! scikit-image's for PSNR and SSIM, OpenCV's for the Laplacian.

use crate::ops::Rgb;
use crate::tensor::Tensor;
use crate::{Problem, Result};

/// Smallest side of pictures that have an SSIM: one window.
pub const SSIM_MIN_SIDE: usize = 11;

/// Mean of `(a - b)^2` over pixels and colours, one per frame; exact.
pub fn mean_squared_error(a: &Rgb, b: &Rgb) -> Result<Vec<f64>> {
    let values = (a.height() * a.width() * 3) as f64;
    let mean = |parts: &Tensor| Ok(parts.to_u32()?.iter().map(|&part| u64::from(part)).sum::<u64>() as f64 / values);
    a.squared_error(b)?.iter().map(mean).collect()
}

/// 10 log10(255^2 / mse) in decibels; infinite for equal pictures.
pub fn psnr_db(mean_squared_error: f64) -> f64 {
    10.0 * (255.0 * 255.0 / mean_squared_error).log10()
}

/// Structural similarity, 1 for equal pictures, one per frame: the mean over all 11x11 windows and the three colours (Wang et
/// al. 2004, K1 = 0.01, K2 = 0.03). Equal to scikit-image's `structural_similarity(a, b, data_range=255, channel_axis=2,
/// gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`.
pub fn ssim(a: &Rgb, b: &Rgb) -> Result<Vec<f64>> {
    let windows = |size: usize| (size + 1).saturating_sub(SSIM_MIN_SIDE);
    let count = (3 * windows(a.height()) * windows(a.width())) as f64;
    let mean = |sums: &Tensor| Ok(sums.to_f32()?.iter().map(|&sum| f64::from(sum)).sum::<f64>() / count);
    a.ssim(b)?.iter().map(mean).collect()
}

/// Variance of the grey picture's Laplacian, one per frame: 0 for a plain or evenly shaded picture, larger the sharper (or the
/// noisier) it is. Equal to OpenCV's `Laplacian(cvtColor(x, COLOR_RGB2GRAY), CV_64F).var()`.
pub fn laplacian_variance(frames: &Rgb) -> Result<Vec<f64>> {
    let pixels = (frames.height() * frames.width()) as f64;
    let variance = |parts: &Tensor| {
        let (mut total, mut squares) = (0i64, 0u64);
        for part in parts.to_u32()?.chunks_exact(2) {
            total += i64::from(part[0].cast_signed());
            squares += u64::from(part[1]);
        }
        let mean = total as f64 / pixels;
        Ok(squares as f64 / pixels - mean * mean)
    };
    frames.laplacian()?.iter().map(variance).collect()
}

/// An error unless both are of one size.
pub(super) fn expect_one_size(size: [u32; 2], reference: [u32; 2]) -> Result<()> {
    if size == reference {
        return Ok(());
    }
    let [expected, found] = [size, reference].map(|[width, height]| format!("{width}x{height}, as the video"));
    let found = found.trim_end_matches(", as the video").to_string();
    Err(Problem::new("the reference", expected, found)
        .remedy("scale one of them, such as with `ffmpeg -i IN -vf scale=WIDTH:HEIGHT OUT`")
        .input())
}

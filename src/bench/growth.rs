//! How the cost of the demo UNet grows with the number of frames and with the size of the latents.

use super::{Case, Row, unet_case};
use crate::Result;
use crate::gpu::Gpu;
use crate::pipelines::weights::{Role, WeightSet};
use std::sync::Arc;

/// Clips of 14 frames each, at latents of [`SIDE`].
const CLIPS: [usize; 5] = [1, 2, 4, 8, 10];
const SIDE: usize = 16;
/// Height and width of the latents of one clip.
const SIDES: [usize; 4] = [8, 16, 32, 64];

/// A cost at one size.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub size: f64,
    pub row: Row,
}

impl Point {
    /// CPU time where the system tells it: on a software device that is the work, whatever else the machine does.
    pub fn seconds(&self) -> f64 {
        self.row.cpu_seconds.unwrap_or(self.row.seconds)
    }
}

/// Costs along one axis.
#[derive(Debug, Clone, Default)]
pub struct Series {
    pub points: Vec<Point>,
}

impl Series {
    /// p of the best fit time ~ size^p.
    pub fn power(&self) -> f64 {
        power(self.points.iter().map(|point| [point.size, point.seconds()]))
    }

    /// The same of the operations that the network performs: what `power` would be if each took as long.
    pub fn expected_power(&self) -> f64 {
        power(self.points.iter().map(|point| [point.size, point.row.flops]))
    }
}

/// Slope of the least-squares line through the logarithms.
fn power(points: impl Iterator<Item = [f64; 2]>) -> f64 {
    let logs: Vec<[f64; 2]> = points.map(|[x, y]| [x.ln(), y.ln()]).collect();
    let mean = |axis: usize| logs.iter().map(|point| point[axis]).sum::<f64>() / logs.len() as f64;
    let centre = [mean(0), mean(1)];
    let moment =
        |axis: usize| -> f64 { logs.iter().map(|point| (point[0] - centre[0]) * (point[axis] - centre[axis])).sum() };
    moment(1) / moment(0)
}

/// Both series; `each` hears of every case once it is measured.
pub struct Growth {
    /// 14 to 140 frames, as clips of 14.
    pub frames: Series,
    /// Latents of 8x8 to 64x64, 14 frames.
    pub sides: Series,
}

impl Growth {
    pub fn measure(gpu: &Gpu, runs: usize, mut each: impl FnMut(&Case, &Row) -> Result<()>) -> Result<Self> {
        let weights = Arc::new(WeightSet::random(&[Role::Keyframe])?);
        let mut series = |sizes: &[usize], case: &dyn Fn(usize) -> (f64, Case)| -> Result<Series> {
            let mut series = Series::default();
            for &n in sizes {
                let (size, case) = case(n);
                let row = case.measure(gpu, runs)?;
                each(&case, &row)?;
                series.points.push(Point { size, row });
                gpu.trim()?;
            }
            Ok(series)
        };
        let frames = series(&CLIPS, &|clips| ((14 * clips) as f64, unet_case(&weights, clips, SIDE)))?;
        let sides = series(&SIDES, &|side| (side as f64, unet_case(&weights, 1, side)))?;
        Ok(Self { frames, sides })
    }
}

#[cfg(test)]
mod tests {
    use super::power;

    #[test]
    fn a_power_is_found() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(power([1.0, 2.0, 8.0].map(|x: f64| [x, 3.0 * x.powf(1.5)]).into_iter()), 1.5);
        near(power([[2.0, 5.0], [7.0, 5.0]].into_iter()), 0.0);
    }
}

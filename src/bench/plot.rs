//! Drawings of measurements: the roofline with every case, and how cost grows.

use super::ceiling::{Ceilings, Counted};
use super::growth::{Growth, Series};
use super::{Case, Row};
use crate::Result;
use crate::media::file::write_whole;
use crate::svg::{BLUE, GREEN, INK, Panel, RED, Scale, Svg};
use std::path::Path;

const TOP: f64 = 48.0;
const LINE: f64 = 14.0;

impl Ceilings {
    /// GFLOP/s of each case over its FLOP per byte, under the roof of the device. Dots are numbered as in the list beside.
    pub fn roofline_svg(&self, device: &str, rows: &[(Case, Row)]) -> String {
        let drawn: Vec<&(Case, Row)> = rows.iter().filter(|(_, row)| row.flops > 0.0 && row.bytes > 0.0).collect();
        let height = (TOP + LINE * (rows.len() + 3) as f64).max(520.0) + 20.0;
        let (left, right, bottom) = (74.0, 640.0, height - 60.0);
        let (bytes, flops) = (self.best(Counted::Bytes), self.best(Counted::Flops));
        let halves = self.best(Counted::HalfFlops);
        let intensity = |row: &Row| row.flops / row.bytes;
        let rate = |row: &Row| row.flops / row.seconds / 1e9;

        let ridge = flops / bytes;
        let spread = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, 0.0f64], |[low, high], v| [low.min(v), high.max(v)])
        };
        let decades = |[low, high]: [f64; 2]| [10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil())];
        let across = spread(&mut drawn.iter().map(|(_, row)| intensity(row)).chain([ridge / 4.0, ridge * 4.0]));
        let up = spread(&mut drawn.iter().map(|(_, row)| rate(row)).chain([flops.max(halves) / 1e9]));
        let across = Scale::logarithmic(decades(across), [left, right]);
        let up = Scale::logarithmic(decades(up), [bottom, TOP]);
        let panel = Panel { across: &across, up: &up };

        let mut svg = Svg::new(1060.0, height);
        svg.text([left, 26.0], "start", 15, &format!("Roofline of {device}"));
        svg.panel(&panel, "GFLOP/s");
        svg.axis_across(&panel, "FLOP per byte, each operand counted once");
        let [low, high] = across.values();
        let roof = |x: f64| [x, (x * bytes).min(flops) / 1e9];
        let floor = up.values()[0] / bytes * 1e9;
        svg.curve(&[low.max(floor), ridge, high].map(|x| Some(roof(x))), &panel, INK, [TOP, bottom]);
        let [ridge_x, flat] = panel.place(roof(ridge));
        svg.text([right, flat - 6.0], "end", 11, &format!("{:.0} GFLOP/s into f32 sums", flops / 1e9));
        svg.text([ridge_x - 12.0, flat + 4.0], "end", 11, &format!("{:.1} GB/s copied", bytes / 1e9));
        if halves > 0.0 {
            let y = up.at(halves / 1e9);
            svg.line([ridge_x, y], [right, y], GREEN, "6 4");
            let below = if y < flat { -6.0 } else { 14.0 };
            svg.coloured([right, y + below], "end", 11, GREEN, &format!("{:.0} GFLOP/s in f16", halves / 1e9));
        }

        let mut line = TOP;
        svg.text([right + 20.0, line], "start", 12, "case, and share of the ceiling that binds it");
        let mut number = 0;
        for (case, row) in rows {
            let Some(share) = self.share(row) else { continue };
            line += LINE;
            let memory = share.bound_by == Counted::Bytes;
            let share = format!("{:.0} %", 100.0 * share.of_limit);
            let name = format!("{} {}", case.name, case.shape);
            if !(row.flops > 0.0 && row.bytes > 0.0) {
                svg.text([right + 40.0, line], "start", 10, &format!("{name}: {share} (no arithmetic: not drawn)"));
                continue;
            }
            number += 1;
            let colour = if memory { BLUE } else { RED };
            let [x, y] = panel.place([intensity(row), rate(row)]);
            svg.dot([x, y], colour, &format!("{name}: {:.1} GFLOP/s, {share}", rate(row)));
            svg.coloured([x + 6.0, y + 3.0], "start", 9, colour, &number.to_string());
            svg.coloured([right + 36.0, line], "end", 10, colour, &number.to_string());
            svg.coloured([right + 40.0, line], "start", 10, colour, &format!("{name}: {share}"));
        }
        svg.coloured([right + 20.0, line + 1.5 * LINE], "start", 10, BLUE, "blue: bound by memory");
        svg.coloured([right + 20.0, line + 2.5 * LINE], "start", 10, RED, "red: bound by arithmetic");
        svg.finish()
    }

    /// [`Ceilings::roofline_svg`] as a file that is complete or not there.
    pub fn write_roofline(&self, path: &Path, device: &str, rows: &[(Case, Row)]) -> Result<()> {
        write_whole(path, self.roofline_svg(device, rows).as_bytes())
    }
}

impl Growth {
    /// Seconds of the demo UNet over frames and over the latents' side, with the fitted powers.
    pub fn to_svg(&self, device: &str) -> String {
        let (width, bottom) = (960.0, 380.0);
        let mut svg = Svg::new(width, 450.0);
        svg.text([64.0, 26.0], "start", 15, &format!("One forward of the demo UNet, {device}"));
        let all = || self.frames.points.iter().chain(&self.sides.points);
        let most = all().map(|p| p.seconds()).fold(0.0, f64::max);
        let least = all().map(|p| p.seconds()).fold(f64::INFINITY, f64::min);
        let seconds = [10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil())];
        let timed = if all().all(|p| p.row.cpu_seconds.is_some()) { "CPU seconds" } else { "seconds" };
        for (series, [left, right], label) in [
            (&self.frames, [74.0, 460.0], "frames, as clips of 14 (latents 16x16)"),
            (&self.sides, [554.0, 940.0], "height and width of the latents (14 frames)"),
        ] {
            let sizes: Vec<f64> = series.points.iter().map(|p| p.size).collect();
            let (Some(&first), Some(&last)) = (sizes.first(), sizes.last()) else { continue };
            let across = Scale::logarithmic([first / 1.1, last * 1.1], [left, right]).with_ticks(sizes);
            let up = Scale::logarithmic(seconds, [bottom, TOP]);
            let panel = Panel { across: &across, up: &up };
            svg.panel(&panel, timed);
            svg.axis_across(&panel, label);
            curves(&mut svg, &panel, series, [first, last]);
            let fit = format!("time ~ size^{:.2}", series.power());
            svg.coloured([left + 16.0, TOP + 18.0], "start", 12, BLUE, &fit);
            let expected = format!("operations ~ size^{:.2} (dashed, from the largest)", series.expected_power());
            svg.coloured([left + 16.0, TOP + 36.0], "start", 12, GREEN, &expected);
        }
        svg.finish()
    }

    /// [`Growth::to_svg`] as a file that is complete or not there.
    pub fn write_svg(&self, path: &Path, device: &str) -> Result<()> {
        write_whole(path, self.to_svg(device).as_bytes())
    }
}

fn curves(svg: &mut Svg, panel: &Panel<'_>, series: &Series, [first, last]: [f64; 2]) {
    let whole = [panel.up.at(f64::INFINITY), panel.up.at(0.0)];
    let points: Vec<_> = series.points.iter().map(|p| Some([p.size, p.seconds()])).collect();
    svg.curve(&points, panel, BLUE, whole);
    for point in &series.points {
        let title = format!("{}: {:.3} s", point.size, point.seconds());
        svg.dot(panel.place([point.size, point.seconds()]), BLUE, &title);
    }
    let end = series.points.last().map_or(0.0, |p| p.seconds());
    let expected = |size: f64| [size, end * (size / last).powf(series.expected_power())];
    svg.line(panel.place(expected(first)), panel.place(expected(last)), GREEN, "6 4");
}

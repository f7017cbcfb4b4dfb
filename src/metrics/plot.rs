//! Mouth opening and loudness over time, as a drawing: two panels over one time axis, the threshold a dashed line, what lies above
//! it in another colour, frames without a face as grey bands.

use super::report::Report;
use super::sync::FLOOR_DB;
use crate::svg::{BLUE, GREEN, INK, Panel, RED, Scale, Svg};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 20.0;
/// Top and bottom of the two panels.
const MOUTH: [f64; 2] = [48.0, 238.0];
const LOUDNESS: [f64; 2] = [262.0, 372.0];

impl Report {
    /// The drawing; a panel without values says so.
    pub fn to_svg(&self) -> String {
        let frames = self.rows.len().max(2);
        let seconds = self.fps.map(|fps| 1.0 / fps.as_f64());
        let time = Scale::linear([0.0, (frames - 1) as f64 * seconds.unwrap_or(1.0)], [LEFT, RIGHT]);
        let mouth: Vec<Option<f64>> = self.rows.iter().map(|row| row.mouth_aspect_ratio).collect();
        let loudness: Vec<Option<f64>> = self.rows.iter().map(|row| row.loudness_db).collect();
        let largest = mouth.iter().copied().flatten().fold(self.options.threshold, f64::max);
        let ratio = Scale::linear([0.0, 1.1 * largest.max(0.1)], [MOUTH[1], MOUTH[0]]);
        let level = Scale::linear([FLOOR_DB, 0.0], [LOUDNESS[1], LOUDNESS[0]]);
        let (ratios, levels) = (Panel { across: &time, up: &ratio }, Panel { across: &time, up: &level });
        let at = |frame: usize| frame as f64 * seconds.unwrap_or(1.0);
        let x = |frame: usize| time.at(at(frame));
        let points = |values: &[Option<f64>]| -> Vec<_> {
            values.iter().enumerate().map(|(frame, value)| value.map(|value| [at(frame), value])).collect()
        };

        let mut svg = Svg::new(WIDTH, HEIGHT);
        svg.text([LEFT, 26.0], "start", 15, &self.heading());
        if mouth.iter().any(Option::is_some) {
            let half = (x(1) - x(0)) / 2.0;
            for frames in gaps(&mouth) {
                let (from, to) = ((x(frames.start) - half).max(LEFT), (x(frames.end - 1) + half).min(RIGHT));
                svg.rectangle([from, MOUTH[0]], [to, MOUTH[1]], "#d0d0d0");
            }
        }
        svg.panel(&ratios, "mouth aspect ratio");
        svg.panel(&levels, "loudness (dB)");
        let unit = if seconds.is_some() { "time (s)" } else { "frame" };
        svg.axis_across(&levels, unit);

        let limit = ratio.at(self.options.threshold);
        svg.curve(&points(&mouth), &ratios, BLUE, [limit, MOUTH[1]]);
        svg.curve(&points(&mouth), &ratios, RED, [MOUTH[0], limit]);
        svg.line([LEFT, limit], [RIGHT, limit], INK, "6 4");
        let threshold = format!("open: above {}", self.options.threshold);
        svg.coloured([RIGHT, MOUTH[0] - 8.0], "end", 12, RED, &threshold);
        svg.curve(&points(&loudness), &levels, GREEN, LOUDNESS);
        if loudness.iter().all(Option::is_none) {
            svg.text([(LEFT + RIGHT) / 2.0, (LOUDNESS[0] + LOUDNESS[1]) / 2.0], "middle", 12, "no sound was given");
        }
        if mouth.iter().all(Option::is_none) {
            svg.text(
                [(LEFT + RIGHT) / 2.0, (MOUTH[0] + MOUTH[1]) / 2.0],
                "middle",
                12,
                "no landmarks were given or found",
            );
        }
        svg.finish()
    }

    fn heading(&self) -> String {
        let mut parts = Vec::new();
        if let Ok(l) = &self.lipleak {
            parts.push(format!("LipLeak {:.3} ({} of {} frames open)", l.share(), l.open, l.frames - l.missing));
            if l.missing > 0 {
                parts.push(format!("{} without a face (grey)", l.missing));
            }
        }
        if let Ok(s) = &self.sync {
            parts.push(format!("sync {:.2} at {:+} frames", s.best, s.lag_frames));
        }
        parts.join(", ")
    }
}

/// Runs of frames without a value.
fn gaps(values: &[Option<f64>]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (frame, _) in values.iter().enumerate().filter(|(_, value)| value.is_none()) {
        match runs.last_mut() {
            Some(run) if run.end == frame => run.end += 1,
            _ => runs.push(frame..frame + 1),
        }
    }
    runs
}

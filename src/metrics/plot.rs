//! Mouth opening and loudness over time, as a drawing: two panels over one time axis, the threshold a dashed line, what lies above
//! it in another colour, frames without a face as grey bands. Written as SVG by hand: it is two lines and their axes.

use std::fmt::Write as _;

use super::report::Report;
use super::sync::FLOOR_DB;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 20.0;
/// Top and bottom of the two panels.
const MOUTH: [f64; 2] = [48.0, 238.0];
const LOUDNESS: [f64; 2] = [262.0, 372.0];
/// Of a palette that colour-blind readers can tell apart (Okabe and Ito).
const CLOSED_COLOUR: &str = "#0072b2";
const OPEN_COLOUR: &str = "#d55e00";
const LOUD_COLOUR: &str = "#009e73";

/// A span of values on a span of the drawing.
struct Scale {
    values: [f64; 2],
    drawn: [f64; 2],
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let [low, high] = self.values;
        let part = (value.clamp(low, high) - low) / (high - low);
        self.drawn[0] + part * (self.drawn[1] - self.drawn[0])
    }

    /// About `count` round values, and their number of decimals.
    fn ticks(&self, count: f64) -> (Vec<f64>, usize) {
        let [low, high] = self.values;
        let rough = (high - low) / count;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&step| step >= rough).unwrap_or(rough);
        let first = (low / step).ceil() as i64;
        let ticks = (first..).map(|i| i as f64 * step).take_while(|&v| v <= high + step * 1e-9).collect();
        (ticks, (-step.log10().floor()).max(0.0) as usize)
    }
}

impl Report {
    /// The drawing; a panel without values says so.
    pub fn to_svg(&self) -> String {
        let frames = self.rows.len().max(2);
        let seconds = self.fps.map(|fps| 1.0 / fps.as_f64());
        let time = Scale { values: [0.0, (frames - 1) as f64 * seconds.unwrap_or(1.0)], drawn: [LEFT, RIGHT] };
        let mouth: Vec<Option<f64>> = self.rows.iter().map(|row| row.mouth_aspect_ratio).collect();
        let loudness: Vec<Option<f64>> = self.rows.iter().map(|row| row.loudness_db).collect();
        let largest = mouth.iter().copied().flatten().fold(self.options.threshold, f64::max);
        let ratio = Scale { values: [0.0, 1.1 * largest.max(0.1)], drawn: [MOUTH[1], MOUTH[0]] };
        let level = Scale { values: [FLOOR_DB, 0.0], drawn: [LOUDNESS[1], LOUDNESS[0]] };
        let x = |frame: usize| time.at(frame as f64 * seconds.unwrap_or(1.0));

        let mut svg = Svg::new();
        svg.text([LEFT, 26.0], "start", 15, &self.heading());
        if mouth.iter().any(Option::is_some) {
            let half = (x(1) - x(0)) / 2.0;
            for frames in gaps(&mouth) {
                let (from, to) = ((x(frames.start) - half).max(LEFT), (x(frames.end - 1) + half).min(RIGHT));
                svg.rectangle([from, MOUTH[0]], [to, MOUTH[1]], "#d0d0d0");
            }
        }
        svg.panel(&time, &ratio, MOUTH, "mouth aspect ratio");
        svg.panel(&time, &level, LOUDNESS, "loudness (dB)");
        let unit = if seconds.is_some() { "time (s)" } else { "frame" };
        svg.time_axis(&time, unit);

        let limit = ratio.at(self.options.threshold);
        svg.curve(&mouth, &x, &ratio, CLOSED_COLOUR, [limit, MOUTH[1]]);
        svg.curve(&mouth, &x, &ratio, OPEN_COLOUR, [MOUTH[0], limit]);
        svg.line([LEFT, limit], [RIGHT, limit], "#333333", "6 4");
        let threshold = format!("open: above {}", self.options.threshold);
        svg.coloured([RIGHT, MOUTH[0] - 8.0], "end", 12, OPEN_COLOUR, &threshold);
        svg.curve(&loudness, &x, &level, LOUD_COLOUR, LOUDNESS);
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

struct Svg {
    text: String,
    clips: usize,
}

impl Svg {
    fn new() -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        Self { text, clips: 0 }
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    /// `text` is ours or a number: nothing in it needs escaping.
    fn coloured(&mut self, [x, y]: [f64; 2], anchor: &str, size: u32, colour: &str, text: &str) {
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
        );
    }

    fn text(&mut self, at: [f64; 2], anchor: &str, size: u32, text: &str) {
        self.coloured(at, anchor, size, "#333333", text);
    }

    fn line(&mut self, [x0, y0]: [f64; 2], [x1, y1]: [f64; 2], colour: &str, dashes: &str) {
        let _ = writeln!(
            self.text,
            "<line x1=\"{x0:.1}\" y1=\"{y0:.1}\" x2=\"{x1:.1}\" y2=\"{y1:.1}\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"/>"
        );
    }

    fn rectangle(&mut self, [left, top]: [f64; 2], [right, bottom]: [f64; 2], fill: &str) {
        let (width, height) = (right - left, bottom - top);
        let _ = writeln!(
            self.text,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
        );
    }

    /// Frame, grid and labels of a panel.
    fn panel(&mut self, time: &Scale, scale: &Scale, [top, bottom]: [f64; 2], label: &str) {
        for at in time.ticks(10.0).0 {
            self.line([time.at(at), top], [time.at(at), bottom], "#eeeeee", "none");
        }
        let (ticks, decimals) = scale.ticks(5.0);
        for value in ticks {
            let y = scale.at(value);
            self.line([LEFT, y], [RIGHT, y], "#e0e0e0", "none");
            self.text([LEFT - 6.0, y + 4.0], "end", 11, &format!("{value:.decimals$}"));
        }
        for (from, to) in [([LEFT, top], [LEFT, bottom]), ([LEFT, bottom], [RIGHT, bottom])] {
            self.line(from, to, "#333333", "none");
        }
        let middle = (top + bottom) / 2.0;
        let _ = writeln!(
            self.text,
            "<text transform=\"translate(16 {middle:.1}) rotate(-90)\" font-size=\"12\" text-anchor=\"middle\" \
             fill=\"#333333\">{label}</text>"
        );
    }

    fn time_axis(&mut self, time: &Scale, label: &str) {
        let (ticks, decimals) = time.ticks(10.0);
        for value in ticks {
            let x = time.at(value);
            self.line([x, LOUDNESS[1]], [x, LOUDNESS[1] + 4.0], "#333333", "none");
            self.text([x, LOUDNESS[1] + 18.0], "middle", 11, &format!("{value:.decimals$}"));
        }
        self.text([(LEFT + RIGHT) / 2.0, LOUDNESS[1] + 38.0], "middle", 12, label);
    }

    /// Straight lines between the values of neighbouring frames, seen between two heights; a value alone is a dot.
    fn curve(
        &mut self,
        values: &[Option<f64>],
        x: &impl Fn(usize) -> f64,
        scale: &Scale,
        colour: &str,
        [top, bottom]: [f64; 2],
    ) {
        self.clips += 1;
        let (clip, width, height) = (self.clips, RIGHT - LEFT + 4.0, bottom - top);
        let _ = writeln!(
            self.text,
            "<clipPath id=\"c{clip}\"><rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/></clipPath>\n\
             <path clip-path=\"url(#c{clip})\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" stroke-linejoin=\"round\" \
             stroke-linecap=\"round\" d=\"{}\"/>",
            LEFT - 2.0,
            path(values, x, scale)
        );
    }
}

fn path(values: &[Option<f64>], x: &impl Fn(usize) -> f64, scale: &Scale) -> String {
    let mut path = String::new();
    let mut previous = false;
    for (frame, value) in values.iter().enumerate() {
        if let Some(value) = value {
            let (x, y) = (x(frame), scale.at(*value));
            // A line of no length is drawn as a dot by its round ends.
            let _ = if previous { write!(path, "L{x:.1} {y:.1}") } else { write!(path, "M{x:.1} {y:.1}h0") };
        }
        previous = value.is_some();
    }
    path
}

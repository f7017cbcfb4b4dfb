//! Drawings as SVG, written by hand: text, lines, areas, and scales that turn values into places.

use std::fmt::Write as _;

/// Of a palette that colour-blind readers can tell apart (Okabe and Ito).
pub(crate) const BLUE: &str = "#0072b2";
pub(crate) const RED: &str = "#d55e00";
pub(crate) const GREEN: &str = "#009e73";
pub(crate) const INK: &str = "#333333";

/// A span of values on a span of the drawing, even or logarithmic.
pub(crate) struct Scale {
    values: [f64; 2],
    drawn: [f64; 2],
    logarithmic: bool,
    /// Values to label; without any, round ones.
    marked: Vec<f64>,
}

impl Scale {
    pub fn linear(values: [f64; 2], drawn: [f64; 2]) -> Self {
        Self { values, drawn, logarithmic: false, marked: Vec::new() }
    }

    /// Of values above 0.
    pub fn logarithmic(values: [f64; 2], drawn: [f64; 2]) -> Self {
        Self { values, drawn, logarithmic: true, marked: Vec::new() }
    }

    pub fn with_ticks(self, marked: Vec<f64>) -> Self {
        Self { marked, ..self }
    }

    /// The lowest and the highest value.
    pub fn values(&self) -> [f64; 2] {
        self.values
    }

    pub fn at(&self, value: f64) -> f64 {
        let [low, high] = self.values;
        let value = value.clamp(low, high);
        let part = if self.logarithmic { (value / low).ln() / (high / low).ln() } else { (value - low) / (high - low) };
        self.drawn[0] + part * (self.drawn[1] - self.drawn[0])
    }

    /// Values to label and their texts: as asked for, or about `count` round ones, or the powers of ten.
    pub fn ticks(&self, count: f64) -> Vec<(f64, String)> {
        let [low, high] = self.values;
        if !self.marked.is_empty() {
            return self.marked.iter().map(|&value| (value, value.to_string())).collect();
        }
        if self.logarithmic {
            let powers = (low.log10() - 1e-9).ceil() as i32..=(high.log10() + 1e-9).floor() as i32;
            let text = |power: i32| format!("{:.*}", power.min(0).unsigned_abs() as usize, 10f64.powi(power));
            return powers.map(|power| (10f64.powi(power), text(power))).collect();
        }
        let rough = (high - low) / count;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&step| step >= rough).unwrap_or(rough);
        let first = (low / step).ceil() as i64;
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let values = (first..).map(|i| i as f64 * step).take_while(|&v| v <= high + step * 1e-9);
        values.map(|value| (value, format!("{value:.decimals$}"))).collect()
    }
}

/// A rectangle of the drawing with a scale along each side.
pub(crate) struct Panel<'a> {
    pub across: &'a Scale,
    pub up: &'a Scale,
}

impl Panel<'_> {
    pub fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [self.across.at(x), self.up.at(y)]
    }
}

/// A drawing under way.
pub(crate) struct Svg {
    text: String,
    clips: usize,
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        Self { text, clips: 0 }
    }

    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    pub fn coloured(&mut self, [x, y]: [f64; 2], anchor: &str, size: u32, colour: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
        );
    }

    pub fn text(&mut self, at: [f64; 2], anchor: &str, size: u32, text: &str) {
        self.coloured(at, anchor, size, INK, text);
    }

    pub fn line(&mut self, [x0, y0]: [f64; 2], [x1, y1]: [f64; 2], colour: &str, dashes: &str) {
        let _ = writeln!(
            self.text,
            "<line x1=\"{x0:.1}\" y1=\"{y0:.1}\" x2=\"{x1:.1}\" y2=\"{y1:.1}\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"/>"
        );
    }

    pub fn rectangle(&mut self, [left, top]: [f64; 2], [right, bottom]: [f64; 2], fill: &str) {
        let (width, height) = (right - left, bottom - top);
        let _ = writeln!(
            self.text,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
        );
    }

    /// A dot that says `title` under the pointer.
    pub fn dot(&mut self, [x, y]: [f64; 2], colour: &str, title: &str) {
        let title = title.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{title}</title></circle>"
        );
    }

    /// Frame, grid and labels of the values upwards; the grid of those across.
    pub fn panel(&mut self, panel: &Panel<'_>, label: &str) {
        let ([left, right], [bottom, top]) = (panel.across.drawn, panel.up.drawn);
        for (value, _) in panel.across.ticks(10.0) {
            let x = panel.across.at(value);
            self.line([x, top], [x, bottom], "#eeeeee", "none");
        }
        for (value, text) in panel.up.ticks(5.0) {
            let y = panel.up.at(value);
            self.line([left, y], [right, y], "#e0e0e0", "none");
            self.text([left - 6.0, y + 4.0], "end", 11, &text);
        }
        for (from, to) in [([left, top], [left, bottom]), ([left, bottom], [right, bottom])] {
            self.line(from, to, INK, "none");
        }
        let middle = (top + bottom) / 2.0;
        let _ = writeln!(
            self.text,
            "<text transform=\"translate({:.0} {middle:.1}) rotate(-90)\" font-size=\"12\" text-anchor=\"middle\" \
             fill=\"{INK}\">{label}</text>",
            left - 48.0
        );
    }

    /// Labels of the values across, below a panel.
    pub fn axis_across(&mut self, panel: &Panel<'_>, label: &str) {
        let ([left, right], bottom) = (panel.across.drawn, panel.up.drawn[0]);
        for (value, text) in panel.across.ticks(10.0) {
            let x = panel.across.at(value);
            self.line([x, bottom], [x, bottom + 4.0], INK, "none");
            self.text([x, bottom + 18.0], "middle", 11, &text);
        }
        self.text([(left + right) / 2.0, bottom + 38.0], "middle", 12, label);
    }

    /// Straight lines between neighbouring points of `panel`, seen between two heights of the drawing; a point alone is a dot.
    pub fn curve(&mut self, points: &[Option<[f64; 2]>], panel: &Panel<'_>, colour: &str, [top, bottom]: [f64; 2]) {
        self.clips += 1;
        let [left, right] = panel.across.drawn;
        let (clip, width, height) = (self.clips, right - left + 4.0, bottom - top);
        let mut path = String::new();
        let mut previous = false;
        for point in points {
            if let Some(point) = point {
                let [x, y] = panel.place(*point);
                // A line of no length is drawn as a dot by its round ends.
                let _ = if previous { write!(path, "L{x:.1} {y:.1}") } else { write!(path, "M{x:.1} {y:.1}h0") };
            }
            previous = point.is_some();
        }
        let _ = writeln!(
            self.text,
            "<clipPath id=\"c{clip}\"><rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/></clipPath>\n\
             <path clip-path=\"url(#c{clip})\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" stroke-linejoin=\"round\" \
             stroke-linecap=\"round\" d=\"{path}\"/>",
            left - 2.0
        );
    }
}

//! Labels over time, such as the phones of speech: lines of start, end and text with tabs between them, as Audacity's label tracks.

use std::path::Path;

use crate::{Error, Problem, Result};

#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    pub start_s: f64,
    pub end_s: f64,
    pub text: String,
}

/// The labels of a file, in its order. Errors: a line that is none, with its number.
pub fn read(path: &Path) -> Result<Vec<Label>> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    parse(&path.display().to_string(), &String::from_utf8_lossy(&bytes))
}

/// `subject` names the text in errors. Empty lines are passed over, and those that begin with a backslash, by which Audacity adds
/// frequencies to the label before.
fn parse(subject: &str, text: &str) -> Result<Vec<Label>> {
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let filled = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('\\'));
    filled
        .map(|(index, line)| {
            let seconds = |text: &str| text.trim().parse().ok().filter(|value: &f64| value.is_finite());
            let mut fields = line.splitn(3, '\t');
            let times = fields.next().and_then(seconds).zip(fields.next().and_then(seconds));
            match times.filter(|(start_s, end_s)| start_s <= end_s) {
                Some((start_s, end_s)) => {
                    Ok(Label { start_s, end_s, text: fields.next().unwrap_or_default().trim().to_string() })
                }
                None => {
                    let expected = "start and end in seconds and a label, with tabs between them";
                    Err(Problem::new(format!("{subject}, line {}", index + 1), expected, format!("'{line}'")).input())
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audacitys_tracks_are_read() {
        let label = |start_s, end_s, text: &str| Label { start_s, end_s, text: text.to_string() };
        let text =
            "\u{feff}0.0\t0.12\tsil\r\n0.12\t0.2\t\u{259}\n\\\t300\t4000\n\n0.2\t0.2\n0.25\t0.3\ttwo words\there\n";
        let expected = [
            label(0.0, 0.12, "sil"),
            label(0.12, 0.2, "\u{259}"),
            label(0.2, 0.2, ""),
            label(0.25, 0.3, "two words\there"),
        ];
        assert_eq!(parse("t", text).unwrap(), expected);
        for broken in ["0.1 0.2 a", "0.2\t0.1\ta", "a\t1\tb", "nan\t1\tb", "1"] {
            let error = parse("t.txt", &format!("0\t1\ta\n{broken}")).unwrap_err();
            assert!(error.to_string().contains("t.txt, line 2") && error.exit_code() == 3, "{error}");
        }
    }
}

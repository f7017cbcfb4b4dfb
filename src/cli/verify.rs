use super::{DeviceOptions, Precision, WeightType, say};
use clap::Args;
use std::path::PathBuf;
use std::time::Instant;
use viseme::verify::{Row, Stored, verify};
use viseme::{Error, Problem};

/// A golden file holds inputs and outputs of a reference run; the network is built from the weights in it.
#[derive(Args)]
pub struct Options {
    /// Golden files (.safetensors, .json)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Storage of weights and activations; f16 has wider bars
    #[arg(long, value_enum, default_value = "f32")]
    precision: Precision,
    /// Storage of weights, where it is not the activations'; what the rounding to int8 costs is shown and held to no bar
    #[arg(long, value_enum)]
    weight_type: Option<WeightType>,
    #[command(flatten)]
    device: DeviceOptions,
    /// One JSON object a row instead of text
    #[arg(long)]
    json: bool,
    /// Failures and the summary only
    #[arg(long)]
    quiet: bool,
}

pub fn run(options: &Options) -> viseme::Result<()> {
    let gpu = options.device.open(options.json || options.quiet)?;
    if !options.json && !options.quiet {
        say(format_args!("{} ({})", gpu.capabilities().name, gpu.capabilities().driver))?;
    }
    let activations = options.precision.elem();
    let stored = Stored { activations, weights: options.weight_type.map_or(activations, WeightType::elem) };
    let (mut rows, mut failed) = (0, Vec::new());
    for file in &options.files {
        let start = Instant::now();
        if !options.json && !options.quiet {
            say(file.display())?;
        }
        let mut said = Ok(());
        let done = verify(&gpu, file, stored, &mut |row| {
            let printed = print(options, &file.display().to_string(), row);
            said = std::mem::replace(&mut said, Ok(())).and(printed);
        })?;
        said?;
        rows += done.len();
        failed.extend(done.iter().filter(|row| !row.passed()).map(|row| format!("{}: {}", file.display(), row.name)));
        gpu.trim()?;
        if !options.json && !options.quiet {
            say(format_args!("  {} results in {:.1} s", done.len(), start.elapsed().as_secs_f64()))?;
        }
    }
    if !options.json {
        say(format_args!("{} passed, {} failed", rows - failed.len(), failed.len()))?;
    }
    match failed.first() {
        None => Ok(()),
        Some(first) => {
            let found = format!("{} past it, first {first}", failed.len());
            Err(Error::Check(Problem::new("verify", "every result within its bar", found)))
        }
    }
}

fn print(options: &Options, file: &str, row: &Row) -> viseme::Result<()> {
    let error = row.comparison.relative_l2;
    if options.json {
        let worst = row.comparison.worst;
        let line = serde_json::json!({
            "file": file, "name": row.name, "relative_l2": error, "cosine": row.comparison.cosine, "bar": row.bar,
            "passed": row.passed(),
            "worst": {"index": worst.index, "got": worst.got, "want": worst.want},
        });
        say(line)?;
    } else if !row.passed() {
        let worst = row.comparison.worst;
        say(format_args!(
            "  FAILED {:<48} {error:.2e} > {:.0e}; worst at {}: got {} want {}",
            row.name,
            row.bar.unwrap_or(0.0),
            worst.index,
            worst.got,
            worst.want
        ))?;
    } else if !options.quiet {
        match row.bar {
            Some(bar) => say(format_args!("  {:<55} {error:.2e}  (bar {bar:.0e})", row.name))?,
            None => {
                let cosine = row.comparison.cosine.map_or(String::new(), |cosine| format!("  (cosine {cosine:.6})"));
                say(format_args!("  {:<55} {error:.2e}{cosine}", row.name))?;
            }
        }
    }
    Ok(())
}

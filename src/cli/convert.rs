use super::say;
use clap::Args;
use std::path::PathBuf;
use viseme::weights::{ConvertOptions, convert};

/// Makes a PyTorch checkpoint (.pt, .pth, .bin, .ckpt) loadable, without executing anything in it.
#[derive(Args)]
pub struct Options {
    /// The checkpoint
    input: PathBuf,
    /// The .safetensors file to write
    output: PathBuf,
    /// Store f32 tensors as f16
    ///
    /// int8 is not stored: `--weight-type int8` of lipsync and animate rounds to it at load, from f32 or f16 files alike, so
    /// that one file serves every storage.
    #[arg(long)]
    half: bool,
    /// Only errors
    #[arg(long)]
    quiet: bool,
}

pub fn run(options: &Options) -> viseme::Result<()> {
    let report = convert(&options.input, &options.output, ConvertOptions { half: options.half })?;
    if !options.quiet {
        say(format_args!(
            "{}: {} tensors, {} values, {} bytes",
            options.output.display(),
            report.tensors,
            report.elements,
            report.bytes
        ))?;
        if !report.skipped.is_empty() {
            say(format_args!("left out, no tensors: {}", report.skipped.join(", ")))?;
        }
    }
    Ok(())
}

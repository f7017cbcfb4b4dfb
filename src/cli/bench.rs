use super::{DeviceOptions, say};
use clap::Args;
use viseme::Result;
use viseme::bench::{Case, cases};
use viseme::gpu::Gpu;

/// Times single kernels at shapes of the published networks.
#[derive(Args)]
pub struct Options {
    /// Only cases with this in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Runs of each case; the median counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
    #[command(flatten)]
    device: DeviceOptions,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let gpu = options.device.open()?;
    if !options.json {
        say(format_args!("{} ({})", gpu.capabilities().name, gpu.capabilities().driver))?;
        say(format_args!("{:<22} {:<34} {:>9} {:>9} {:>8}", "kernel", "shape", "ms", "GFLOP/s", "GB/s"))?;
    }
    for case in cases().into_iter().filter(|case| case.name.contains(&options.filter)) {
        let row = case.measure(&gpu, options.runs)?;
        let (ms, gflops, gbytes) = (row.seconds * 1e3, row.flops / row.seconds / 1e9, row.bytes / row.seconds / 1e9);
        if options.json {
            say(
                serde_json::json!({"kernel": case.name, "shape": case.shape, "ms": ms, "gflops": gflops, "gbytes": gbytes}),
            )?;
        } else {
            say(format_args!("{:<22} {:<34} {ms:>9.2} {gflops:>9.1} {gbytes:>8.2}", case.name, case.shape))?;
        }
        gpu.trim()?;
    }
    Ok(())
}

/// FLOP per second of a middling matmul: what estimates of time rest on.
pub fn measured_rate(gpu: &Gpu) -> Result<f64> {
    let row = Case::matmul(512, 512, 512).measure(gpu, 3)?;
    Ok(row.flops / row.seconds)
}

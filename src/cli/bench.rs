use super::DeviceOptions;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use viseme::bench::{Case, cases, network_cases};
use viseme::gpu::Gpu;
use viseme::pipelines::weights::WeightSet;
use viseme::{Error, Result};

/// Times single kernels at shapes of the published networks, or whole networks.
#[derive(Args)]
pub struct Options {
    /// Only cases with this in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Runs of each case; the median counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Networks instead of kernels, with random weights: one forward each
    #[arg(long)]
    networks: bool,
    /// Shapes of the networks, as scripts/demo-shapes.py writes them [default: the small demo networks]
    #[arg(long, value_name = "FILE", requires = "networks")]
    shapes: Option<PathBuf>,
    /// Height and width of the networks' latents: an eighth of the crop's
    #[arg(long, default_value_t = 16, value_name = "N", requires = "networks")]
    latent: usize,
    #[command(flatten)]
    device: DeviceOptions,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
}

impl Options {
    fn cases(&self) -> Result<Vec<Case>> {
        if !self.networks {
            return Ok(cases());
        }
        let weights = match &self.shapes {
            None => WeightSet::demo()?,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|source| Error::Read { path: path.clone(), source })?;
                WeightSet::by_formula(&path.display().to_string(), &text)?
            }
        };
        Ok(network_cases(&Arc::new(weights), self.latent))
    }
}

pub fn run(options: &Options) -> Result<()> {
    let gpu = options.device.open()?;
    if !options.json {
        println!("{} ({})", gpu.capabilities().name, gpu.capabilities().driver);
        println!("{:<22} {:<34} {:>9} {:>9} {:>8} {:>9}", "kernel", "shape", "ms", "GFLOP/s", "GB/s", "peak MiB");
    }
    for case in options.cases()?.into_iter().filter(|case| case.name.contains(&options.filter)) {
        let row = case.measure(&gpu, options.runs)?;
        let (ms, gflops, gbytes) = (row.seconds * 1e3, row.flops / row.seconds / 1e9, row.bytes / row.seconds / 1e9);
        let peak_mib = row.peak_bytes as f64 / f64::from(1 << 20);
        if options.json {
            println!(
                "{}",
                serde_json::json!({"kernel": case.name, "shape": case.shape, "ms": ms, "flops": row.flops,
                    "gflops": gflops, "gbytes": gbytes, "peak_bytes": row.peak_bytes})
            );
        } else {
            println!("{:<22} {:<34} {ms:>9.2} {gflops:>9.1} {gbytes:>8.2} {peak_mib:>9.1}", case.name, case.shape);
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

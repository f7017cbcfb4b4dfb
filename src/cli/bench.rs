use super::{DeviceOptions, check_svg, note_profile, say};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use viseme::bench::{Case, Ceilings, Counted, Growth, Row, cases, large_cases, network_cases};
use viseme::gpu::Gpu;
use viseme::pipelines::weights::{Role, WeightSet};
use viseme::{Error, Problem, Result};

/// Times single kernels at shapes of the published networks, or whole networks.
#[derive(Args)]
pub struct Options {
    /// Only cases with this in their name and shape
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Runs of each case, 1 to 1000; the median counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Networks instead of kernels, with random weights: one forward each
    #[arg(long)]
    networks: bool,
    /// Shapes of the networks, as scripts/demo-shapes.py writes them [default: the small demo networks]
    #[arg(long, value_name = "FILE", requires = "networks")]
    shapes: Option<PathBuf>,
    /// Height and width of the networks' latents, up to 1024: an eighth of the crop's
    #[arg(long, default_value_t = 16, value_name = "N", requires = "networks")]
    latent: usize,
    /// Measure the device's limits first; each case then shows its share of the one that binds it
    #[arg(long)]
    ceiling: bool,
    /// The demo UNet from 14 to 140 frames and from 8x8 to 64x64 latents instead of kernels, with the powers of its growth
    #[arg(long, conflicts_with_all = ["networks", "filter", "ceiling"])]
    growth: bool,
    /// Draw the cases under the device's limits, or the growth (.svg)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// After each case one run more, and where its GPU time went, by kernel
    #[arg(long, conflicts_with = "growth")]
    profile: bool,
    #[command(flatten)]
    device: DeviceOptions,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
}

impl Options {
    fn cases(&self) -> Result<Vec<Case>> {
        if !self.networks {
            return Ok(cases().into_iter().chain(large_cases()).collect());
        }
        let weights = match &self.shapes {
            None => WeightSet::random(Role::LIPSYNC)?,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|source| Error::Read { path: path.clone(), source })?;
                WeightSet::by_formula(&path.display().to_string(), &text)?.only(Role::LIPSYNC)
            }
        };
        Ok(network_cases(&Arc::new(weights), self.latent))
    }
}

pub fn run(options: &Options) -> Result<()> {
    for (option, value, most) in [("--runs", options.runs, 1000), ("--latent", options.latent, 1024)] {
        if !(1..=most).contains(&value) {
            return Err(Problem::new(option, format!("1 to {most}"), value.to_string()).usage());
        }
    }
    check_svg(options.plot.as_deref())?;
    let gpu = options.device.open(options.json)?;
    let device = format!("{} ({})", gpu.capabilities().name, gpu.capabilities().driver);
    if !options.json {
        say(&device)?;
    }
    if options.growth {
        return options.growth(&gpu, &device);
    }
    let ceilings = (options.ceiling || options.plot.is_some()).then(|| Ceilings::measure(&gpu)).transpose()?;
    if let Some(ceilings) = &ceilings {
        options.say_ceilings(ceilings)?;
    }
    options.say_head(ceilings.is_some())?;
    let mut rows = Vec::new();
    for case in options.cases()?.into_iter().filter(|case| case.matches(&options.filter)) {
        let prepared = case.prepare(&gpu)?;
        let row = prepared.measure(options.runs)?;
        options.say_row(&case, &row, ceilings.as_ref())?;
        if options.profile {
            note_profile(&prepared.profile()?);
        }
        drop(prepared);
        rows.push((case, row));
        gpu.trim()?;
    }
    match (&options.plot, &ceilings) {
        (Some(path), Some(ceilings)) => ceilings.write_roofline(path, &device, &rows),
        _ => Ok(()),
    }
}

impl Options {
    fn growth(&self, gpu: &Gpu, device: &str) -> Result<()> {
        self.say_head(false)?;
        let growth = Growth::measure(gpu, self.runs, |case, row| self.say_row(case, row, None))?;
        for (name, series) in [("frames", &growth.frames), ("latents", &growth.sides)] {
            let (power, expected) = (series.power(), series.expected_power());
            if self.json {
                say(serde_json::json!({"growth": name, "power": power, "power_of_flops": expected}))?;
            } else {
                say(format_args!("{name}: time ~ size^{power:.2}, operations ~ size^{expected:.2}"))?;
            }
        }
        match &self.plot {
            Some(path) => growth.write_svg(path, device),
            None => Ok(()),
        }
    }

    fn say_ceilings(&self, ceilings: &Ceilings) -> Result<()> {
        for limit in &ceilings.limits {
            let unit = if limit.counted == Counted::Bytes { "GB/s" } else { "GFLOP/s" };
            match (&limit.rate, self.json) {
                (Ok(rate), true) => {
                    say(serde_json::json!({"ceiling": limit.name, "rate": rate / 1e9, "unit": unit}))?;
                }
                (Err(error), true) => {
                    say(serde_json::json!({"ceiling": limit.name, "missing": error.to_string()}))?;
                }
                (Ok(rate), false) => say(format_args!("ceiling: {:<20} {:>9.1} {unit}", limit.name, rate / 1e9))?,
                (Err(error), false) => say(format_args!("ceiling: {:<20} {:>9} {error}", limit.name, "-"))?,
            }
        }
        Ok(())
    }

    fn say_head(&self, shares: bool) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let share = if shares { "  % of limit" } else { "" };
        say(format_args!(
            "{:<22} {:<34} {:>9} {:>9} {:>9} {:>8} {:>9}{share}",
            "kernel", "shape", "ms", "CPU ms", "GFLOP/s", "GB/s", "peak MiB"
        ))
    }

    fn say_row(&self, case: &Case, row: &Row, ceilings: Option<&Ceilings>) -> Result<()> {
        let (ms, gflops, gbytes) = (row.seconds * 1e3, row.flops / row.seconds / 1e9, row.bytes / row.seconds / 1e9);
        let cpu_ms = row.cpu_seconds.map(|seconds| seconds * 1e3);
        let share = ceilings.and_then(|ceilings| ceilings.share(row));
        let bound_by = share.map(|share| if share.bound_by == Counted::Bytes { "memory" } else { "arithmetic" });
        let micros_each = row.dispatches.map(|count| row.seconds * 1e6 / count as f64);
        if self.json {
            return say(serde_json::json!({"kernel": case.name, "shape": case.shape, "ms": ms, "cpu_ms": cpu_ms,
                "flops": row.flops, "gflops": gflops, "gbytes": gbytes, "peak_bytes": row.peak_bytes,
                "share": share.map(|share| share.of_limit), "bound_by": bound_by, "us_per_dispatch": micros_each}));
        }
        let start = format!("{:<22} {:<34} {ms:>9.2} {:>9.2}", case.name, case.shape, cpu_ms.unwrap_or(f64::NAN));
        if let Some(micros) = micros_each {
            return say(format_args!("{start} {micros:>9.2} us of the host each"));
        }
        let percent = share.zip(bound_by).map(|(share, by)| format!(" {:>5.1} {by}", 100.0 * share.of_limit));
        let peak_mib = row.peak_bytes as f64 / f64::from(1 << 20);
        say(format_args!("{start} {gflops:>9.1} {gbytes:>8.2} {peak_mib:>9.1} {}", percent.unwrap_or_default()))
    }
}

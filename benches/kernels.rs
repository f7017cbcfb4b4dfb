//! `cargo bench [-- TEXT]`: every case of `viseme bench` whose name holds TEXT, median of seven runs.

use viseme::bench::cases;
use viseme::gpu::Gpu;

fn main() -> viseme::Result<()> {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let gpu = Gpu::new(None)?;
    println!("{} ({})", gpu.capabilities().name, gpu.capabilities().driver);
    for case in cases().into_iter().filter(|case| case.name.contains(&filter)) {
        let row = case.measure(&gpu, 7)?;
        let (ms, gflops, gbytes) = (row.seconds * 1e3, row.flops / row.seconds / 1e9, row.bytes / row.seconds / 1e9);
        println!("{:<22} {:<34} {ms:>9.2} ms {gflops:>9.1} GFLOP/s {gbytes:>8.2} GB/s", case.name, case.shape);
        gpu.trim()?;
    }
    Ok(())
}

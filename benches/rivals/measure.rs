//! What the Rust rivals share: one line of JSON with the median wall and CPU milliseconds of some runs, after one that is not
//! counted.

use std::time::Instant;

/// CPU time of all threads of this process so far, in milliseconds (Linux: `/proc/self/task/*/schedstat`, nanoseconds).
fn cpu_ms() -> f64 {
    let nanoseconds = |entry: std::fs::DirEntry| -> Option<f64> {
        let text = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(nanoseconds).sum::<f64>() / 1e6
}

/// CASE and RUNS from the command line.
pub fn arguments() -> (String, usize) {
    let mut args = std::env::args().skip(1);
    let case = args.next().unwrap_or_default();
    (case, args.next().and_then(|text| text.parse().ok()).unwrap_or(1))
}

/// Measures `run`, which returns when all work is done, with the number of elements it made.
pub fn report<E>(runs: usize, run: impl Fn() -> Result<usize, E>) -> Result<(), E> {
    let elements = run()?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..runs.max(1) {
        let (cpu, start) = (cpu_ms(), Instant::now());
        run()?;
        times[0].push(cpu_ms() - cpu);
        times[1].push(start.elapsed().as_secs_f64() * 1e3);
    }
    let [cpu, wall] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("{{\"cpu_ms\": {cpu}, \"ms\": {wall}, \"elements\": {elements}}}");
    Ok(())
}

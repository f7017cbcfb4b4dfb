//! What programs that are timed beside rivals share: median wall and CPU milliseconds of some runs, as one line of JSON.

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

/// When something began, by CPU time and by the clock.
pub struct Moment(f64, Instant);

impl Moment {
    pub fn now() -> Self {
        Self(cpu_ms(), Instant::now())
    }
}

/// CPU and wall milliseconds of runs.
#[derive(Default)]
pub struct Timer([Vec<f64>; 2]);

impl Timer {
    /// A run that began at `start` and has ended.
    pub fn add(&mut self, start: Moment) {
        self.0[0].push(cpu_ms() - start.0);
        self.0[1].push(start.1.elapsed().as_secs_f64() * 1e3);
    }

    pub fn medians(self) -> [f64; 2] {
        self.0.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
        })
    }
}

/// CASE and RUNS from the command line.
#[allow(dead_code)] // Not every program has cases.
pub fn arguments() -> (String, usize) {
    let mut args = std::env::args().skip(1);
    let case = args.next().unwrap_or_default();
    (case, args.next().and_then(|text| text.parse().ok()).unwrap_or(1))
}

/// Measures `run`, which returns when all work is done, with the number of elements it made, after one run that is not counted.
#[allow(dead_code)]
pub fn report<E>(runs: usize, run: impl Fn() -> Result<usize, E>) -> Result<(), E> {
    let elements = run()?;
    let mut timer = Timer::default();
    for _ in 0..runs.max(1) {
        let start = Moment::now();
        run()?;
        timer.add(start);
    }
    let [cpu, wall] = timer.medians();
    println!("{{\"cpu_ms\": {cpu}, \"ms\": {wall}, \"elements\": {elements}}}");
    Ok(())
}

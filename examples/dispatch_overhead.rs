//! What one dispatch costs the host: record, finish and submit 10,000 dispatches of a kernel that does nothing, each with
//! its bind group and parameters. Waiting for the device is not counted.
//!
//! $ cargo run --release --example dispatch_overhead

use std::time::{Duration, Instant};
use viseme::Result;
use viseme::gpu::{Binding, Buffer, Elem, Gpu, Kernel, Run, Work};

static NOTHING: Kernel = Kernel {
    name: "nothing",
    source: "#params
    count: u32
#end
#read a
#read b
#write y
@compute @workgroup_size(64)
fn main() {}
",
};

const DISPATCHES: usize = 10_000;
/// Below what the recorder submits by itself.
const BATCH: usize = 250;
/// Buffers that take turns, as a network's activations do.
const BUFFERS: usize = 40;

fn main() -> Result<()> {
    let gpu = Gpu::new(None)?;
    let buffers = (0..BUFFERS).map(|_| gpu.upload(&[0; 256], "operand")).collect::<Result<Vec<Buffer>>>()?;
    let operand = |i: usize| Binding { buffer: &buffers[i % BUFFERS], offset: 0, size: 256, elem: Elem::F32 };
    let dispatch = |i: usize| {
        gpu.run(Run {
            kernel: &NOTHING,
            constants: &[("WORKGROUP", 64)],
            params: bytemuck::bytes_of(&(i as u32)),
            bindings: &[operand(i), operand(i + 1), operand(i + 2)],
            groups: [1, 1, 1],
            work: Work::default(),
            site: None,
        })
    };
    dispatch(0)?;
    gpu.wait()?;
    for _ in 0..5 {
        let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
        for batch in 0..DISPATCHES / BATCH {
            let (start, started) = (Instant::now(), thread_time());
            for i in 0..BATCH {
                dispatch(batch * BATCH + i)?;
            }
            gpu.submit()?;
            wall += start.elapsed();
            cpu += thread_time() - started;
            gpu.wait()?;
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / DISPATCHES as f64;
        println!("{:.2} us of wall time, {:.2} us of this thread's CPU time a dispatch", each(wall), each(cpu));
    }
    Ok(())
}

/// CPU time of this thread, as Linux tells it; zero elsewhere.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

//! A checkpoint of the published size, where `VISEME_BIG_CHECKPOINT` names one; scripts/make-big-checkpoint.py makes it.

use std::path::PathBuf;
use std::time::Instant;
use viseme::weights::Weights;

#[test]
fn a_big_checkpoint_opens_and_every_tensor_reads() {
    let Some(path) = std::env::var_os("VISEME_BIG_CHECKPOINT").map(PathBuf::from) else {
        eprintln!("skipped: VISEME_BIG_CHECKPOINT is not set");
        return;
    };
    let start = Instant::now();
    let w = Weights::open(&path).expect("opens");
    let opened = start.elapsed();
    let names = w.names();
    let elements = |w: &Weights| -> viseme::Result<u64> {
        let mut elements = 0;
        for name in &names {
            let tensor = w.get(name, &w.shape(name).unwrap_or_default())?;
            elements += tensor.len() as u64;
        }
        Ok(elements)
    };
    let plan = w.plan(elements).expect("a plan");
    assert_eq!(plan.requests.len(), names.len());
    assert_eq!(w.checked(&[], true, elements).expect("every tensor reads"), plan.elements());
    println!(
        "{} tensors, {} parameters, {} bytes: opened in {opened:.2?}, read and checked in {:.2?}",
        names.len(),
        plan.elements(),
        plan.stored_bytes(),
        start.elapsed() - opened
    );
    // Of the resident pages, those of the map belong to the page cache and can go at any time; RssAnon is our own.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| ["VmHWM", "RssAnon", "RssFile"].iter().any(|key| line.starts_with(key))) {
        println!("{line}");
    }
}

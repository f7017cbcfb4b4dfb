//! Follows the largest face through raw frames and says how long a frame takes: `follow_faces FRAMES WIDTH HEIGHT [POINTS]`.
//!
//! FRAMES holds frames of packed RGB, 8 bits a colour (`ffmpeg -i VIDEO -pix_fmt rgb24 -f rawvideo FRAMES`); all are in memory before the
//! clock starts. Prints one line of JSON; POINTS receives f32 `[frames, 478, 2]`, NaN where there is no face.

#[path = "../benches/rivals/measure.rs"]
mod measure;

use std::error::Error;
use std::time::Instant;
use viseme::face::finder::{FaceFinder, Mesh};
use viseme::gpu::Gpu;
use viseme::media::Frame;
use viseme::ops::Rgb;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, width, height, points @ ..] = &args[..] else {
        return Err("follow_faces FRAMES WIDTH HEIGHT [POINTS]".into());
    };
    let (width, height): (u32, u32) = (width.parse()?, height.parse()?);
    let bytes = std::fs::read(path)?;
    let frames: Vec<Frame> = bytes
        .chunks_exact(width as usize * height as usize * 3)
        .map(|frame| Frame::rgb8(width, height, frame.to_vec()))
        .collect();
    let gpu = Gpu::new(None)?;
    let finder = FaceFinder::load(&gpu)?;

    let find = |frame: &Frame| -> viseme::Result<Option<Mesh>> {
        let picture = Rgb::upload(&gpu, height as usize, width as usize, &frame.rgb)?;
        Ok(finder.find(&picture)?.into_iter().next())
    };
    let Some(first) = frames.first() else { return Err("no whole frame".into()) };
    // Kernels are compiled at their first use.
    let mut face = find(first)?;
    let found = Instant::now();
    find(first)?;
    let find_ms = found.elapsed().as_secs_f64() * 1e3;

    let mut timer = measure::Timer::default();
    let mut all = Vec::with_capacity(frames.len());
    for frame in &frames {
        let start = measure::Moment::now();
        face = match &face {
            Some(before) => finder.follow_frame(frame, before)?,
            None => find(frame)?,
        };
        timer.add(start);
        let missing = || vec![[f32::NAN; 2]; 478];
        all.extend(face.as_ref().map_or_else(missing, |mesh| mesh.points.clone()));
    }
    if let [points] = points {
        let values: Vec<u8> = all.as_flattened().iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(points, values)?;
    }
    let found = all.as_chunks::<478>().0.iter().filter(|points| points[0][0].is_finite()).count();
    let [cpu, wall] = timer.medians();
    println!(
        "{{\"cpu_ms\": {cpu}, \"ms\": {wall}, \"find_ms\": {find_ms}, \"frames\": {}, \"found\": {found}}}",
        frames.len()
    );
    Ok(())
}

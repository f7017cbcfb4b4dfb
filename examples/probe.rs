use std::path::Path;
use viseme::gpu::{Elem, Gpu};
use viseme::models::{keysync::ClipUnet, unet::Config};
use viseme::nn::{Loader, Trace};
use viseme::tensor::Tensor;
use viseme::weights::Weights;
fn last(v: &[f32], s: &[usize]) -> Vec<f32> {
    // [n,c,h,w] -> [n,h,w,c]
    let (n, c, hw) = (s[0], s[1], s[2..].iter().product::<usize>());
    let mut o = vec![0.0; v.len()];
    for i in 0..n {
        for k in 0..c {
            for p in 0..hw {
                o[(i * hw + p) * c + k] = v[(i * c + k) * hw + p];
            }
        }
    }
    o
}
fn main() -> viseme::Result<()> {
    let gpu = Gpu::new(None)?;
    let f = std::env::args().nth(1).unwrap();
    let set = std::env::args().nth(2).unwrap();
    let elem = if std::env::args().nth(3).as_deref() == Some("f16") { Elem::F16 } else { Elem::F32 };
    let w = Weights::open(Path::new(&f))?;
    let get = |n: &str| -> viseme::Result<(Vec<f32>, Vec<usize>)> {
        let s = w.shape(n).unwrap();
        Ok((w.get(n, &s)?.to_f32()?, s))
    };
    let t = std::time::Instant::now();
    let l = Loader::new(&gpu, &w.at("weights.model"), elem);
    let net = ClipUnet::load(&l, Config { head_dim: 16 }, elem)?;
    println!("load {:?}", t.elapsed());
    let (x, xs) = get(&format!("input.{set}.x"))?;
    let (c, cs) = get(&format!("input.{set}.concat"))?;
    let (a, as_) = get(&format!("input.{set}.crossattn"))?;
    let (n, _) = get(&format!("input.{set}.c_noise"))?;
    let (io, _) = get(&format!("input.{set}.image_only_indicator"))?;
    let (clips, frames) = (as_[0], as_[1]);
    let x = Tensor::from_f32(&gpu, &[clips, frames, xs[2], xs[3], xs[1]], &last(&x, &xs))?;
    let c = Tensor::from_f32(&gpu, &[clips, cs[2], cs[3], cs[1]], &last(&c, &cs))?;
    let a = Tensor::from_f32(&gpu, &as_, &a)?;
    let io: Vec<bool> = io.iter().map(|&v| v != 0.0).collect();
    let cond = net.condition(&c, frames)?;
    let mut trace = Trace::on();
    let t = std::time::Instant::now();
    let y = net.forward(&x, &cond, &n, &a, Some(&io), &mut trace)?;
    let mut rows = trace.into_notes();
    rows.push(("y".into(), y));
    gpu.wait()?;
    println!("forward {:?}", t.elapsed());
    for (name, got) in rows {
        let key = if name == "y" { format!("output.{set}.y") } else { format!("intermediate.{set}.{name}") };
        let Some(_) = w.shape(&key) else { continue };
        let (want, ws) = get(&key)?;
        let want = if ws.len() == 4 { last(&want, &ws) } else { want };
        let got = got.to_f32()?;
        let e: f64 = got.iter().zip(&want).map(|(g, w)| ((g - w) as f64).powi(2)).sum();
        let n: f64 = want.iter().map(|w| (*w as f64).powi(2)).sum();
        println!("{name}: {:.2e}", (e / n).sqrt());
    }
    println!("{:?}", gpu.memory());
    Ok(())
}

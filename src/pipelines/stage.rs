//! One stage of either pipeline: what its network is told in each branch of the guidance, and what happens to its latents.

use crate::diffusion::Branch;
use crate::gpu::Elem;
use crate::models::keysync::ClipUnet;
use crate::models::vae::LATENT_SCALE;
use crate::nn::Trace;
use crate::tensor::Tensor;
use crate::{Problem, Result};

/// What the branches of the guidance tell the network, the same in every step. Source: KeySync sec. 3;
/// `AudioRefMultiCondGuider`.
pub struct Conditions {
    /// To concatenate, by branch.
    concat: Vec<Tensor>,
    /// Audio rows, by branch.
    audio: Vec<Tensor>,
    branches: Vec<Branch>,
    /// All branches one after another.
    batched: (Tensor, Tensor),
}

impl Conditions {
    /// `reference` scaled latents `[clips, height, width, 4 or 8]`; `audio` `[clips, frames, channels]`, projected.
    pub fn new(unet: &ClipUnet, reference: &Tensor, audio: &Tensor, branches: &[Branch]) -> Result<Self> {
        let frames = audio.dims::<3>("audio")?[1];
        let with_reference = unet.condition(&reference.affine(1.0 / LATENT_SCALE, 0.0)?, frames)?;
        let without = unet.condition(&Tensor::zeros(reference.gpu(), reference.shape(), Elem::F32)?, frames)?;
        let silence = Tensor::zeros(audio.gpu(), audio.shape(), Elem::F32)?;
        let pick = |branch: &Branch| match branch {
            Branch::Unconditional => (without.clone(), silence.clone()),
            Branch::Reference => (with_reference.clone(), silence.clone()),
            Branch::Conditional => (with_reference.clone(), audio.clone()),
        };
        let (concat, audio): (Vec<_>, Vec<_>) = branches.iter().map(pick).unzip();
        let batched = (
            Tensor::stack_rows(&concat.iter().collect::<Vec<_>>())?,
            Tensor::stack_rows(&audio.iter().collect::<Vec<_>>())?,
        );
        Ok(Self { concat, audio, branches: branches.to_vec(), batched })
    }

    /// The audio rows of all branches, `[branches * clips, frames, channels]`.
    pub fn audio(&self) -> &Tensor {
        &self.batched.1
    }

    /// The network's output for `x` `[branches * clips, frames, height, width, 4]`, all branches or one.
    pub fn forward(&self, unet: &ClipUnet, x: &Tensor, branches: &[Branch], c_noise: &[f32]) -> Result<Tensor> {
        let one = match branches {
            [branch] if self.branches.len() > 1 => self.branches.iter().position(|b| b == branch),
            _ => None,
        };
        let (concat, audio) = match one {
            Some(index) => (&self.concat[index], &self.audio[index]),
            None => (&self.batched.0, &self.batched.1),
        };
        unet.forward(x, concat, c_noise, audio, None, &mut Trace::off())
    }
}

/// `latents` `[clips, frames, height, width, 4]` with the first and last of each clip replaced by `keyframes`, one more
/// than there are clips, each `[1, height, width, 4]`.
pub fn with_keyframes(latents: &Tensor, keyframes: &[Tensor]) -> Result<Tensor> {
    let [clips, frames, height, width, channels] = latents.dims("interpolated latents")?;
    if keyframes.len() != clips + 1 || frames < 2 {
        let found = format!("{} for {clips} clips of {frames} frames", keyframes.len());
        return Err(Problem::new("keyframes", "one more than clips", found).shape());
    }
    let flat = latents.reshape(&[clips * frames, height, width, channels])?;
    let mut rows = Vec::with_capacity(3 * clips);
    for clip in 0..clips {
        rows.push(keyframes[clip].clone());
        rows.push(flat.narrow_rows(clip * frames + 1, frames - 2)?);
        rows.push(keyframes[clip + 1].clone());
    }
    Tensor::stack_rows(&rows.iter().collect::<Vec<_>>())?.reshape(latents.shape())
}

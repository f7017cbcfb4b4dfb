use super::schedule::Scalings;
use super::{Branch, Guidance};
use crate::Result;
use crate::ops::Inpaint;
use crate::tensor::Tensor;

/// Turns a network into denoised latents: scaling around it, branches through it, guidance and inpainting after it.
/// Source: sgm `Denoiser`; KeySync `DenoiserDub`.
#[derive(Clone, Copy)]
pub struct Denoiser<'a> {
    pub guidance: Guidance,
    /// None where nothing is kept (KeyFace).
    pub inpaint: Option<Inpaint<'a>>,
    /// All branches in one evaluation of the network; else one after another, which takes less memory. Branches of two
    /// networks are evaluated one after another in any case.
    pub batched: bool,
}

impl Denoiser<'_> {
    /// Guided denoised latents for `x` `[clips, frames, height, width, channels]` at `sigma`.
    ///
    /// `network(x, branches, c_noise)` gives F for `x` = the scaled input once per branch, `[branches * clips, frames, ..]`.
    pub fn denoise(
        &self,
        x: &Tensor,
        sigma: f64,
        network: impl FnMut(&Tensor, &[Branch], f64) -> Result<Tensor>,
    ) -> Result<Tensor> {
        self.guidance.guide(&self.denoise_branches(x, sigma, network)?)
    }

    /// The denoised latents of every branch, as [`Guidance::guide`] takes them.
    pub fn denoise_branches(
        &self,
        x: &Tensor,
        sigma: f64,
        mut network: impl FnMut(&Tensor, &[Branch], f64) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let scalings = Scalings::at(sigma);
        // KeySync blends before the network too: the kept part is clean at every noise level.
        let input = match self.inpaint {
            Some(inpaint) => x.inpaint(inpaint)?,
            None => x.clone(),
        };
        let scaled = input.affine(scalings.c_in as f32, 0.0)?;
        let branches = self.guidance.branches();
        let out = if self.batched && branches.iter().all(|branch| branch.is_main()) {
            let copies = vec![&scaled; branches.len()];
            network(&Tensor::stack_rows(&copies)?, branches, scalings.c_noise)?
        } else {
            let parts = branches.iter().map(|branch| network(&scaled, &[*branch], scalings.c_noise));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            Tensor::stack_rows(&parts.iter().collect::<Vec<_>>())?
        };
        let denoised = out.denoised(&input, [scalings.c_out as f32, scalings.c_skip as f32], self.inpaint)?;
        let clips = x.shape()[0];
        (0..branches.len()).map(|branch| denoised.narrow_rows(branch * clips, clips)).collect()
    }
}

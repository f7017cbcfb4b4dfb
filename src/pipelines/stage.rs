//! One stage of either pipeline: what its network is told in each branch of the guidance, and what happens to its latents.

use super::sampling::Levels;
use crate::diffusion::Branch;
use crate::gpu::Elem;
use crate::models::clip_unet::{ClipUnet, Prepared, Prompt};
use crate::models::unet::Deep;
use crate::models::vae::LATENT_SCALE;
use crate::nn::Trace;
use crate::tensor::Tensor;
use crate::{Problem, Result};
use std::cell::{OnceCell, RefCell};

/// The network of a stage, and the weaker one that KeyFace's autoguidance steers away from.
#[derive(Clone, Copy)]
pub struct StageNetworks<'a> {
    pub main: &'a ClipUnet,
    pub weaker: Option<&'a ClipUnet>,
}

impl<'a> StageNetworks<'a> {
    pub fn one(main: &'a ClipUnet) -> Self {
        Self { main, weaker: None }
    }

    fn of(&self, branch: Branch) -> Result<&'a ClipUnet> {
        if branch.is_main() {
            return Ok(self.main);
        }
        self.weaker.ok_or_else(|| Problem::new("autoguidance", "a second, weaker network", "none").usage())
    }
}

/// What the branches of the guidance tell the network, the same in every step, and what the network makes of it before the
/// first; freed with the run. Source: KeySync sec. 3; `AudioRefMultiCondGuider`, `KarrasGuider`.
pub struct Conditions<'a> {
    networks: StageNetworks<'a>,
    branches: Vec<(Branch, Told)>,
    /// All branches one after another, where one network serves them all.
    batched: Option<Told>,
    features: RefCell<Features>,
}

/// What the deep levels made in the last step that kept it, for the branches of each evaluation one after another.
#[derive(Default)]
struct Features(Vec<(Vec<Branch>, Tensor)>);

impl Features {
    /// Frees what is there of `branches`.
    fn free(&mut self, branches: &[Branch]) {
        self.0.retain(|(kept, _)| !kept.iter().any(|branch| branches.contains(branch)));
    }

    /// Those of `branches`, which were evaluated as they are asked for, or one of them with others.
    fn of(&self, branches: &[Branch]) -> Result<Tensor> {
        for (kept, features) in &self.0 {
            let clips = features.shape()[0] / kept.len();
            if kept == branches {
                return Ok(features.clone());
            }
            if let ([branch], Some(place)) = (branches, kept.iter().position(|kept| branches.contains(kept))) {
                debug_assert_eq!(kept[place], *branch);
                return features.narrow_rows(place * clips, clips);
            }
        }
        let kept: Vec<_> = self.0.iter().map(|(kept, _)| kept).collect();
        Err(Problem::new("deep features", format!("those of {branches:?}"), format!("{kept:?}")).usage())
    }
}

/// One branch's [`Prompt`], or all one after another.
struct Told {
    concat: Tensor,
    audio: Tensor,
    /// Leading clips without audio.
    unheard: usize,
    emotion: Option<Tensor>,
    /// What the steps have in common, worked out in the first.
    prepared: OnceCell<Prepared>,
}

impl Told {
    fn new(concat: Tensor, audio: Tensor, unheard: usize, emotion: Option<Tensor>) -> Self {
        Self { concat, audio, unheard, emotion, prepared: OnceCell::new() }
    }

    fn stack(all: &[&Told]) -> Result<Self> {
        let emotions: Vec<&Tensor> = all.iter().filter_map(|told| told.emotion.as_ref()).collect();
        let is_unheard = |told: &&&Told| told.unheard == told.audio.shape()[0];
        Ok(Self::new(
            Tensor::stack_rows(&all.iter().map(|told| &told.concat).collect::<Vec<_>>())?,
            Tensor::stack_rows(&all.iter().map(|told| &told.audio).collect::<Vec<_>>())?,
            all.iter().take_while(is_unheard).map(|told| told.unheard).sum(),
            if emotions.is_empty() { None } else { Some(Tensor::stack_rows(&emotions)?) },
        ))
    }

    fn prompt(&self) -> Prompt<'_> {
        Prompt { concat: &self.concat, audio: &self.audio, unheard: self.unheard, emotion: self.emotion.as_ref() }
    }

    fn prepared(&self, network: &ClipUnet) -> Result<&Prepared> {
        if let Some(prepared) = self.prepared.get() {
            return Ok(prepared);
        }
        let prepared = network.prepare(self.prompt(), &mut Trace::off())?;
        Ok(self.prepared.get_or_init(|| prepared))
    }
}

impl<'a> Conditions<'a> {
    /// `reference` scaled latents `[clips, height, width, 4 or 8]`; `audio` `[clips, frames, channels]`, projected; `emotion`
    /// `[clips * frames, channels]` from [`ClipUnet::emotion`], which no branch leaves out. Errors: a branch of the weaker
    /// network without one.
    pub fn new(
        networks: StageNetworks<'a>,
        reference: &Tensor,
        audio: &Tensor,
        emotion: Option<&Tensor>,
        branches: &[Branch],
    ) -> Result<Self> {
        let frames = audio.dims::<3>("audio")?[1];
        let unscaled = reference.affine(1.0 / LATENT_SCALE, 0.0)?;
        let tell = |branch: &Branch| {
            // Each network places its own learned latent between the ends.
            let network = networks.of(*branch)?;
            let concat = match branch {
                Branch::Unconditional => {
                    network.condition(&Tensor::zeros(reference.gpu(), reference.shape(), Elem::F32)?, frames)?
                }
                Branch::Reference | Branch::Conditional | Branch::Weaker => network.condition(&unscaled, frames)?,
            };
            let (audio, unheard) = match branch {
                Branch::Unconditional | Branch::Reference => {
                    (Tensor::zeros(audio.gpu(), audio.shape(), Elem::F32)?, audio.shape()[0])
                }
                Branch::Conditional | Branch::Weaker => (audio.clone(), 0),
            };
            Ok((*branch, Told::new(concat, audio, unheard, emotion.cloned())))
        };
        let branches: Vec<(Branch, Told)> = branches.iter().map(tell).collect::<Result<_>>()?;
        let told: Vec<&Told> = branches.iter().map(|(_, told)| told).collect();
        let is_batch = branches.iter().all(|(branch, _)| branch.is_main());
        let batched = if is_batch { Some(Told::stack(&told)?) } else { None };
        Ok(Self { networks, branches, batched, features: RefCell::default() })
    }

    /// What all branches are told in one evaluation; None where they are two networks'.
    pub fn batched(&self) -> Option<Prompt<'_>> {
        self.batched.as_ref().map(Told::prompt)
    }

    /// The network's output for `x` `[branches * clips, frames, height, width, 4]`, all branches or one. Errors: the first level
    /// alone where nothing was kept of these branches.
    pub fn forward(&self, x: &Tensor, branches: &[Branch], c_noise: &[f32], levels: Levels) -> Result<Tensor> {
        let (network, told) = match (branches, &self.batched) {
            ([asked], _) => {
                let told = self.branches.iter().find(|(branch, _)| branch == asked).map(|(_, told)| told);
                (self.networks.of(*asked)?, told)
            }
            (_, told) => (self.networks.main, told.as_ref()),
        };
        let told = told.ok_or_else(|| {
            let known = self.branches.iter().map(|(branch, _)| *branch).collect::<Vec<_>>();
            Problem::new("guidance", format!("one of {known:?} or all of one network"), format!("{branches:?}")).usage()
        })?;
        let evaluate =
            |deep: Deep<'_>| network.forward(x, told.prepared(network)?, c_noise, None, deep, &mut Trace::off());
        let mut features = self.features.borrow_mut();
        if levels == Levels::First {
            return evaluate(Deep::Reuse(&features.of(branches)?));
        }
        features.free(branches);
        if levels == Levels::All {
            return evaluate(Deep::Run);
        }
        let mut kept = None;
        let out = evaluate(Deep::Keep(&mut kept))?;
        features.0.extend(kept.map(|kept| (branches.to_vec(), kept)));
        Ok(out)
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

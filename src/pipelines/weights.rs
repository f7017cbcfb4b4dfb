//! Which file holds which network: a folder of published names, single files, or the small demo networks.

use super::lipsync::{Options, Survey};
use crate::gpu::{Elem, Gpu};
use crate::models::clip_unet::{self, AudioProjection, ClipUnet};
use crate::models::hubert::{self, Hubert};
use crate::models::unet;
use crate::models::vae::{Decoder, Encoder};
use crate::models::wavlm::{self, WavLm};
use crate::nn::Loader;
use crate::weights::Weights;
use crate::weights::formula::FormulaSource;
use crate::{Error, Problem, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The networks that lip sync is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Keyframe,
    Interpolation,
    Vae,
    Hubert,
    WavLm,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Keyframe, Role::Interpolation, Role::Vae, Role::Hubert, Role::WavLm];

    pub fn name(self) -> &'static str {
        match self {
            Role::Keyframe => "keyframe",
            Role::Interpolation => "interpolation",
            Role::Vae => "vae",
            Role::Hubert => "hubert",
            Role::WavLm => "wavlm",
        }
    }

    /// Names under which the file may lie in a folder, the published one first.
    pub fn file_names(self) -> &'static [&'static str] {
        match self {
            Role::Keyframe => &["keyframe_dub.safetensors"],
            Role::Interpolation => &["interpolation_dub.safetensors"],
            Role::Vae => &[
                "svd_vae.safetensors",
                "vae/diffusion_pytorch_model.safetensors",
                "vae/diffusion_pytorch_model.fp16.safetensors",
                "stable-video-diffusion-img2vid/vae/diffusion_pytorch_model.safetensors",
                "stable-video-diffusion-img2vid/vae/diffusion_pytorch_model.fp16.safetensors",
            ],
            Role::Hubert => &["hubert-base-ls960.safetensors", "hubert-base-ls960/model.safetensors"],
            Role::WavLm => &["WavLM-Base+.safetensors"],
        }
    }
}

/// Weights by role, found but not yet read.
pub struct WeightSet {
    weights: BTreeMap<Role, Weights>,
    /// What identifies each file, for a job's identity.
    pub origins: BTreeMap<&'static str, String>,
    pub is_demo: bool,
}

impl WeightSet {
    /// A file per role: `single` where it names one, else the published name in `folder`. Errors: any role without a file,
    /// all listed at once.
    pub fn open(folder: Option<&Path>, single: &BTreeMap<Role, PathBuf>) -> Result<Self> {
        let mut problems = Vec::new();
        let mut paths = BTreeMap::new();
        for role in Role::ALL {
            let found = match (single.get(&role), folder) {
                (Some(path), _) => path.exists().then(|| path.clone()),
                (None, Some(folder)) => {
                    role.file_names().iter().map(|name| folder.join(name)).find(|path| path.exists())
                }
                (None, None) => None,
            };
            match found {
                Some(path) => {
                    paths.insert(role, path);
                }
                None => {
                    let expected = match (single.get(&role), folder) {
                        (Some(path), _) => path.display().to_string(),
                        (None, Some(folder)) => format!("{} in {}", role.file_names()[0], folder.display()),
                        (None, None) => format!("--weights or --{}-weights", role.name()),
                    };
                    let advice =
                        "README.md says where the published files come from; `viseme convert` makes .pt files loadable";
                    problems.push(
                        Problem::new(format!("{} weights", role.name()), expected, "no such file").remedy(advice),
                    );
                }
            }
        }
        if !problems.is_empty() {
            return Err(Error::Weights(problems));
        }
        let mut set = Self { weights: BTreeMap::new(), origins: BTreeMap::new(), is_demo: false };
        for (role, path) in paths {
            set.origins.insert(role.name(), super::resume::file_identity(&path)?);
            set.weights.insert(role, Weights::open(&path)?);
        }
        Ok(set)
    }

    /// Small networks of the published structure, a tenth as wide, with random weights by formula: they show that everything
    /// runs, not what the published weights would do.
    pub fn demo() -> Result<Self> {
        let set = Self::by_formula("weights/demo/shapes.json", include_str!("../../weights/demo/shapes.json"))?;
        Ok(Self { is_demo: true, ..set })
    }

    /// Random weights by formula for the shapes in the JSON `text`: `{ROLE: {TENSOR: SHAPE}}`, beside it `{"config": {ROLE:
    /// CONFIG}}` for what shapes do not tell. `subject` names it in errors.
    pub fn by_formula(subject: &str, text: &str) -> Result<Self> {
        let wrong = |what: String| Problem::new(subject, "shapes by role and name", what).weights();
        let document: Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let mut set = Self { weights: BTreeMap::new(), origins: BTreeMap::new(), is_demo: false };
        for (number, role) in Role::ALL.into_iter().enumerate() {
            let tensors: BTreeMap<String, Vec<usize>> = serde_json::from_value(document[role.name()].clone())
                .map_err(|e| wrong(format!("{}: {e}", role.name())))?;
            let source = FormulaSource::new(tensors, number as u64, false, 1.0);
            let source = source.with_config(&document["config"][role.name()]);
            set.weights.insert(role, Weights::from_source(source));
            set.origins.insert(role.name(), format!("by formula, shapes of {subject}"));
        }
        Ok(set)
    }

    /// What a job costs, from the shapes of the weights alone.
    pub fn estimate(&self, survey: &Survey, options: &Options) -> Result<Estimate> {
        let mut elements = 0.0;
        let mut stage = 0.0;
        for role in Role::ALL {
            let weights = self.of(role)?;
            let count = |prefix: &str| -> f64 {
                let at =
                    |name: &String| weights.shape(name).map_or(0.0, |shape| shape.iter().product::<usize>() as f64);
                weights.names().iter().filter(|name| name.starts_with(prefix)).map(at).sum()
            };
            elements += count("");
            if role == Role::Interpolation {
                stage = count("model.diffusion_model");
            }
        }
        // Of the published UNet a clip of 14 frames at 64x64 takes 18.4 TFLOP with 1525 M parameters, a decoded and an encoded
        // frame 4.2 TFLOP; the work goes with the parameters and the places (notes: cost at full size).
        let side = self.of(Role::Interpolation)?.shape("model.learned_mask").map_or(64, |shape| shape[1]) as f64;
        let share = stage / 1.525e9 * (side / 64.0).powi(2);
        let evaluations = survey.clip_evaluations(options) as f64;
        let flops = share * (18.4e12 * evaluations + 4.2e12 * survey.inside_frames as f64);
        let bytes = |elem: Elem| elem.size() as f64;
        let clips = if options.sampling.low_memory { 1 } else { 2 * options.guidance.branches().len() };
        // The widest tensors of a clip at 64x64: GEGLU's input and output, skips, and what is being worked on.
        let widest = 14.0 * side * side * (stage / 1.525e9).sqrt() * 320.0 * (8.0 + 4.0 + 6.0);
        Ok(Estimate {
            weight_bytes: elements * bytes(options.storage.weights),
            work_bytes: clips as f64 * widest * bytes(options.storage.activations),
            flops,
        })
    }

    fn of(&self, role: Role) -> Result<&Weights> {
        self.weights.get(&role).ok_or_else(|| Problem::new(role.name(), "weights", "none").weights())
    }

    /// An integer of the configuration that a file carries.
    fn setting(&self, role: Role, key: &str) -> Result<Option<usize>> {
        let config: Option<Value> = self.of(role)?.metadata("config").and_then(|text| serde_json::from_str(text).ok());
        Ok(config.and_then(|config| config[key].as_u64()).map(|v| v as usize))
    }

    /// The UNet and audio projection of a stage.
    pub fn stage(&self, gpu: &Gpu, role: Role, storage: Storage) -> Result<(ClipUnet, AudioProjection)> {
        let default = unet::Config::default();
        let head_dim = self.setting(role, "num_head_channels")?.unwrap_or(default.head_dim);
        self.of(role)?.checked(clip_unet::UNUSED, storage.strict, |w| {
            let unet = ClipUnet::load(
                &Loader::new(gpu, &w.at("model"), storage.weights),
                unet::Config { head_dim },
                storage.activations,
            )?;
            Ok((unet, AudioProjection::load(&Loader::new(gpu, &w.at("conditioner"), Elem::F32))?))
        })
    }

    pub fn encoder(&self, gpu: &Gpu, storage: Storage) -> Result<Encoder> {
        self.of(Role::Vae)?.checked(&["decoder", "post_quant_conv"], storage.strict, |w| {
            Encoder::load(&Loader::new(gpu, w, storage.vae_weights()))
        })
    }

    /// From the keyframe checkpoint, as published; its decoder is the one that was trained with.
    pub fn decoder(&self, gpu: &Gpu, storage: Storage) -> Result<Decoder> {
        let weights = self.of(Role::Keyframe)?;
        let (weights, rest) = match weights.has("first_stage_model.decoder") {
            true => (weights.at("first_stage_model"), ["encoder", "quant_conv"]),
            false => (self.of(Role::Vae)?.clone(), ["encoder", "quant_conv"]),
        };
        weights.checked(&rest, false, |w| Decoder::load(&Loader::new(gpu, w, storage.vae_weights())))
    }

    pub fn hubert(&self, gpu: &Gpu, storage: Storage) -> Result<Hubert> {
        let default = hubert::Config::default();
        let heads = self.setting(Role::Hubert, "num_attention_heads")?.unwrap_or(default.heads);
        self.of(Role::Hubert)?.checked(hubert::UNUSED, storage.strict, |w| {
            Hubert::load(&Loader::new(gpu, w, storage.vae_weights()), hubert::Config { heads })
        })
    }

    pub fn wavlm(&self, gpu: &Gpu, storage: Storage) -> Result<WavLm> {
        let default = wavlm::Config::default();
        let max_distance = self.setting(Role::WavLm, "max_distance")?.unwrap_or(default.max_distance);
        self.of(Role::WavLm)?.checked(wavlm::UNUSED, storage.strict, |w| {
            WavLm::load(&Loader::new(gpu, w, storage.vae_weights()), wavlm::Config { max_distance })
        })
    }
}

/// What a job costs, roughly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub weight_bytes: f64,
    /// Activations at the widest point.
    pub work_bytes: f64,
    pub flops: f64,
}

/// How numbers are stored on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Of the UNets' activations; everything else is f32.
    pub activations: Elem,
    pub weights: Elem,
    /// Tensors in a file that no network reads are an error.
    pub strict: bool,
}

impl Default for Storage {
    fn default() -> Self {
        Self { activations: Elem::F16, weights: Elem::F16, strict: false }
    }
}

impl Storage {
    /// Weights of networks whose activations are f32 may stay f16.
    fn vae_weights(&self) -> Elem {
        self.weights
    }
}

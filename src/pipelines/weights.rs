//! Which file holds which network: a folder of published names, single files, or the small demo networks.
//! Where the latter are found: see [`super::demo`].

use crate::face::mask::LATENT_STEP;
use crate::gpu::{Elem, Gpu};
use crate::models::beats::{self, Beats};
use crate::models::clip_unet::{self, AudioProjection, ClipUnet};
use crate::models::hubert::{self, Hubert};
use crate::models::unet;
use crate::models::vae::{Decoder, Encoder};
use crate::models::wavlm::{self, WavLm};
use crate::nn::{Loader, transformed_within_budget};
use crate::ops::{ConvBudget, ConvClass, WeightShape};
use crate::weights::formula::FormulaSource;
use crate::weights::{MOST_IN_CONFIG, Weights, elements};
use crate::{Error, Problem, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The networks that lip sync (KeySync) and animation (KeyFace) are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Keyframe,
    Interpolation,
    Vae,
    Hubert,
    WavLm,
    KeyfaceKeyframe,
    KeyfaceInterpolation,
    /// The under-trained copy that autoguidance steers away from.
    KeyfaceWeaker,
    Beats,
    Wav2Vec2,
}

impl Role {
    pub const LIPSYNC: &[Role] = &[Role::Keyframe, Role::Interpolation, Role::Vae, Role::Hubert, Role::WavLm];
    pub const ANIMATE: &[Role] = &[
        Role::KeyfaceKeyframe,
        Role::KeyfaceInterpolation,
        Role::KeyfaceWeaker,
        Role::Vae,
        Role::WavLm,
        Role::Beats,
        Role::Wav2Vec2,
    ];
    pub const ALL: [Role; 10] = [
        Role::Keyframe,
        Role::Interpolation,
        Role::Vae,
        Role::Hubert,
        Role::WavLm,
        Role::KeyfaceKeyframe,
        Role::KeyfaceInterpolation,
        Role::KeyfaceWeaker,
        Role::Beats,
        Role::Wav2Vec2,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Role::Keyframe => "keyframe",
            Role::Interpolation => "interpolation",
            Role::Vae => "vae",
            Role::Hubert => "hubert",
            Role::WavLm => "wavlm",
            Role::KeyfaceKeyframe => "keyface-keyframe",
            Role::KeyfaceInterpolation => "keyface-interpolation",
            Role::KeyfaceWeaker => "keyface-weaker",
            Role::Beats => "beats",
            Role::Wav2Vec2 => "wav2vec2",
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
            Role::KeyfaceKeyframe => &["keyframe.safetensors"],
            Role::KeyfaceInterpolation => &["interpolation.safetensors"],
            Role::KeyfaceWeaker => &["interpolation_bad.safetensors"],
            Role::Beats => &["BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.safetensors"],
            Role::Wav2Vec2 => &["wav2vec2-base-960h.safetensors", "wav2vec2-base-960h/model.safetensors"],
        }
    }

    /// Whether a job runs without it.
    pub(super) fn is_optional(self) -> bool {
        self == Role::KeyfaceWeaker
    }
}

/// What the weights of a set are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Files that somebody named or put where they are looked for.
    Given,
    /// The small demo models, trained on faces made by script.
    TrainedDemo,
    /// Small networks with random weights by formula.
    RandomDemo,
}

impl Kind {
    pub fn is_demo(self) -> bool {
        self != Kind::Given
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Given => "given",
            Kind::TrainedDemo => "trained demo",
            Kind::RandomDemo => "random demo",
        }
    }
}

/// Weights by role, found but not yet read.
#[derive(Clone)]
pub struct WeightSet {
    weights: BTreeMap<Role, Weights>,
    /// What identifies each file, for a job's identity.
    pub origins: BTreeMap<&'static str, String>,
    pub kind: Kind,
}

impl WeightSet {
    /// A file for each of `roles`, such as [`Role::LIPSYNC`]: `single` where it names one, else the published name in `folder`.
    /// Errors: any role without a file that a job does not run without, all listed at once.
    pub fn open(roles: &[Role], folder: Option<&Path>, single: &BTreeMap<Role, PathBuf>) -> Result<Self> {
        let mut problems = Vec::new();
        let mut paths = BTreeMap::new();
        for &role in roles {
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
                None if role.is_optional() && !single.contains_key(&role) => {}
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
        let mut set = Self { weights: BTreeMap::new(), origins: BTreeMap::new(), kind: Kind::Given };
        for (role, path) in paths {
            set.origins.insert(role.name(), super::resume::file_identity(&path)?);
            set.weights.insert(role, Weights::open(&path)?);
        }
        Ok(set)
    }

    /// Small networks of the published structure, a tenth as wide, with random weights by formula: they show that everything
    /// runs, not what the published weights would do.
    pub fn random(roles: &[Role]) -> Result<Self> {
        let set = Self::by_formula("weights/demo/shapes.json", include_str!("../../weights/demo/shapes.json"))?;
        Ok(Self { kind: Kind::RandomDemo, ..set.only(roles) })
    }

    /// Those of `roles` alone, such as [`Role::LIPSYNC`]: networks share the memory for weights with all that are there.
    pub fn only(mut self, roles: &[Role]) -> Self {
        self.weights.retain(|role, _| roles.contains(role));
        self.origins.retain(|name, _| roles.iter().any(|role| role.name() == *name));
        self
    }

    /// Random weights by formula for the shapes in the JSON `text`: `{ROLE: {TENSOR: SHAPE}}`, a role also `{"like": ROLE,
    /// "but": {TENSOR: SHAPE or null}}`, beside it `{"config": {ROLE: CONFIG}}` for what shapes do not tell. `subject` names it
    /// in errors.
    pub fn by_formula(subject: &str, text: &str) -> Result<Self> {
        let wrong = |what: String| Problem::new(subject, "shapes by role and name", what).weights();
        let document: Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let mut set = Self { weights: BTreeMap::new(), origins: BTreeMap::new(), kind: Kind::Given };
        for (number, role) in Role::ALL.into_iter().enumerate() {
            let shapes = &document[role.name()];
            if shapes.is_null() {
                continue;
            }
            let read = |shapes: &Value| -> Result<BTreeMap<String, Option<Vec<usize>>>> {
                serde_json::from_value(shapes.clone()).map_err(|e| wrong(format!("{}: {e}", role.name())))
            };
            let mut tensors = match shapes["like"].as_str() {
                None => read(shapes)?,
                Some(model) => read(&document[model])?,
            };
            if shapes["like"].is_string() {
                tensors.extend(read(&shapes["but"])?);
            }
            let tensors: BTreeMap<_, _> =
                tensors.into_iter().filter_map(|(name, shape)| Some((name, shape?))).collect();
            if let Some((name, shape)) = tensors.iter().find(|(_, shape)| elements(shape).is_none()) {
                return Err(wrong(format!("{}: {name} {shape:?}, more than memory holds", role.name())));
            }
            let source = FormulaSource::new(tensors, number as u64, false, 1.0);
            let source = source.with_config(&document["config"][role.name()]);
            set.weights.insert(role, Weights::from_source(source));
            set.origins.insert(role.name(), format!("by formula, shapes of {subject}"));
        }
        Ok(set)
    }

    pub fn has(&self, role: Role) -> bool {
        self.weights.contains_key(&role)
    }

    /// Pixels of a side of the pictures that a stage makes, by its learned mask; 512 where it has none.
    pub fn crop_side(&self, stage: Role) -> Result<usize> {
        let mask = self.of(stage)?.shape("model.learned_mask");
        Ok(LATENT_STEP * mask.and_then(|shape| shape.get(1).copied()).unwrap_or(64))
    }

    /// What a job costs on `gpu`, from the shapes of the weights alone.
    pub fn estimate(&self, gpu: &Gpu, demand: &Demand) -> Result<Estimate> {
        let count = |role: Role, prefix: &str| -> Result<f64> {
            let weights = self.of(role)?;
            let at = |name: &String| weights.shape(name).map_or(0.0, |shape| shape.iter().product::<usize>() as f64);
            Ok(weights.names().iter().filter(|name| name.starts_with(prefix)).map(at).sum())
        };
        let (mut weight_bytes, mut transformed) = (0.0, 0.0);
        for &role in demand.roles.iter().filter(|role| self.has(**role)) {
            // A checkpoint of a stage holds more than its UNet.
            let unet =
                if role == Role::KeyfaceWeaker { count(role, "")? } else { count(role, "model.diffusion_model")? };
            let other = count(role, "")? - unet;
            let Storage { weights, .. } = demand.storage;
            weight_bytes += unet * weights.size() as f64 + other * demand.storage.other_weights().size() as f64;
            transformed += self.transformed(gpu, role, weights)?;
        }
        // Layers are transformed as long as there is room.
        let room = (ConvBudget::of(gpu).for_weights() as f64 - weight_bytes).max(0.0);
        let winograd_bytes = room.min(transformed);
        // Of the published UNet a clip of 14 frames at 64x64 takes 18.4 TFLOP with 1525 M parameters, a decoded and an encoded
        // frame 4.2 TFLOP; the work goes with the parameters and the places (notes: cost at full size).
        let stage = count(demand.interpolation, "model.diffusion_model")?;
        let side = (self.crop_side(demand.interpolation)? / LATENT_STEP) as f64;
        let share = stage / 1.525e9 * (side / 64.0).powi(2);
        let flops = share * (18.4e12 * demand.clip_work + 4.2e12 * demand.frames as f64);
        // At its widest a clip holds ten tensors of the first level's size: skips, two of them side by side, their norm, and what
        // is being worked on; the rest is for what the pool rounds up.
        let level = 14.0 * side * side * (stage / 1.525e9).sqrt() * 320.0;
        let widest = level * 11.0;
        // Deep features are as wide as the second level.
        let kept = demand.clips_kept as f64 * level * 2.0;
        Ok(Estimate {
            weight_bytes: weight_bytes + winograd_bytes,
            winograd_bytes,
            work_bytes: (demand.clips_at_once as f64 * widest + kept) * demand.storage.activations.size() as f64,
            flops,
        })
    }

    /// Bytes of the transformed weights that the convolutions of a role's network would have with room for all.
    fn transformed(&self, gpu: &Gpu, role: Role, elem: Elem) -> Result<f64> {
        let mut bytes = 0;
        for (_, published) in self.of(role)?.shapes() {
            if let Some(shape) = WeightShape::conv(&published) {
                bytes += ConvClass::of_layer(gpu, shape, elem)?.transformed_bytes(shape, elem);
            }
        }
        Ok(bytes as f64)
    }

    fn of(&self, role: Role) -> Result<&Weights> {
        self.weights.get(&role).ok_or_else(|| Problem::new(role.name(), "weights", "none").weights())
    }

    /// A count of the configuration that a file carries, `published` where it carries none. Errors: a configuration that is no
    /// JSON, or something else than a number from 1 to [`MOST_IN_CONFIG`].
    fn setting(&self, role: Role, key: &str, published: usize) -> Result<usize> {
        let weights = self.of(role)?;
        let Some(text) = weights.metadata("config") else { return Ok(published) };
        let subject = || format!("{}: config", weights.origin());
        let config: Value =
            serde_json::from_str(text).map_err(|error| Problem::new(subject(), "JSON", error.to_string()).weights())?;
        match &config[key] {
            Value::Null => Ok(published),
            value => {
                let count = value.as_u64().filter(|count| (1..=MOST_IN_CONFIG).contains(count));
                count.map(|count| count as usize).ok_or_else(|| {
                    let expected = format!("a number from 1 to {MOST_IN_CONFIG}");
                    Problem::new(format!("{}.{key}", subject()), expected, value.to_string()).weights()
                })
            }
        }
    }

    /// The loader of a role's network, which shares the memory for weights with those of all others.
    fn loader(&self, gpu: &Gpu, role: Role, weights: &Weights, storage: Storage) -> Result<Loader> {
        // Interpolation evaluates a dozen clips for each of the keyframes'.
        let mut roles: Vec<Role> = self.weights.keys().copied().collect();
        roles.sort_by_key(|role| !matches!(role, Role::Interpolation | Role::KeyfaceInterpolation));
        let mut networks = Vec::new();
        for &role in &roles {
            networks.push(match role {
                Role::KeyfaceWeaker => clip_unet::weaker_weights(self.of(role)?)?,
                _ => self.of(role)?.clone(),
            });
        }
        let networks: Vec<_> = networks.iter().map(|weights| (weights, storage.weights)).collect();
        let chosen = roles.iter().zip(transformed_within_budget(gpu, &networks, 0)).find(|(other, _)| **other == role);
        let transformed = chosen.map(|(_, transformed)| transformed).unwrap_or_default();
        Ok(Loader::transforming(gpu, weights, storage.weights, transformed))
    }

    /// The UNet and audio projection of a stage.
    pub fn stage(&self, gpu: &Gpu, role: Role, storage: Storage) -> Result<(ClipUnet, AudioProjection)> {
        let head_dim = self.setting(role, "num_head_channels", unet::Config::default().head_dim)?;
        self.of(role)?.checked(clip_unet::UNUSED, storage.strict, |w| {
            let unet = ClipUnet::load(
                &self.loader(gpu, role, w, storage)?.at("model"),
                unet::Config { head_dim },
                storage.activations,
            )?;
            self.expect_role(role, &unet)?;
            Ok((unet, AudioProjection::load(&Loader::new(gpu, &w.at("conditioner"), Elem::F32))?))
        })
    }

    /// An error where a file holds the network of another role: interpolation has a latent of its own for the frames between
    /// keyframes, KeyFace's keyframes alone take an emotion.
    fn expect_role(&self, role: Role, unet: &ClipUnet) -> Result<()> {
        let is_between = matches!(role, Role::Interpolation | Role::KeyfaceInterpolation | Role::KeyfaceWeaker);
        let (has_mask, feels) = (unet.latent_size().is_some(), unet.feels());
        if has_mask == is_between && feels == (role == Role::KeyfaceKeyframe) {
            return Ok(());
        }
        let yes = |is: bool| if is { "with" } else { "without" };
        let found = format!("one {} a learned mask and {} an emotion", yes(has_mask), yes(feels));
        Err(Problem::new(self.of(role)?.origin(), format!("the {} network", role.name()), found)
            .remedy("the file of another role was named")
            .weights())
    }

    /// Everything that is missing or misshapen in any of the files, in one error, before a value is read.
    pub fn check(&self, gpu: &Gpu, storage: Storage) -> Result<()> {
        // All of them at once: a network may come out of another role's file.
        let weights = self.weights.iter().map(|(&role, weights)| (role, weights.planned())).collect();
        let set = Self { weights, ..self.clone() };
        let mut problems = Vec::new();
        let mut failed = None;
        for &role in set.weights.keys() {
            let planned = match role {
                Role::Interpolation | Role::KeyfaceInterpolation => {
                    set.stage(gpu, role, storage).map(drop).and_then(|()| set.decoder(gpu, role, storage).map(drop))
                }
                Role::Keyframe | Role::KeyfaceKeyframe => set.stage(gpu, role, storage).map(drop),
                Role::KeyfaceWeaker => set.weaker(gpu, storage).map(drop),
                Role::Vae => set.encoder(gpu, storage).map(drop),
                Role::Hubert | Role::Wav2Vec2 => set.speech(gpu, role, storage).map(drop),
                Role::WavLm => set.wavlm(gpu, storage).map(drop),
                Role::Beats => set.beats(gpu, storage).map(drop),
            };
            match planned {
                Ok(()) => {}
                Err(Error::Weights(more)) => problems.extend(more),
                Err(other) => failed = failed.or(Some(other)),
            }
        }
        problems.splice(0..0, set.weights.values().flat_map(Weights::problems));
        match failed {
            // With tensors missing, any other failure of a planned run is their consequence.
            _ if !problems.is_empty() => Err(Error::Weights(problems)),
            Some(other) => Err(other),
            None => Ok(()),
        }
    }

    /// The network that autoguidance steers away from, where there is one.
    pub fn weaker(&self, gpu: &Gpu, storage: Storage) -> Result<Option<ClipUnet>> {
        if !self.has(Role::KeyfaceWeaker) {
            return Ok(None);
        }
        let published = unet::Config::default().head_dim;
        let config = unet::Config { head_dim: self.setting(Role::KeyfaceWeaker, "num_head_channels", published)? };
        let weights = clip_unet::weaker_weights(self.of(Role::KeyfaceWeaker)?)?;
        let load = |w: &Weights| {
            let loader = self.loader(gpu, Role::KeyfaceWeaker, w, storage)?;
            let unet = ClipUnet::load(&loader, config, storage.activations)?;
            self.expect_role(Role::KeyfaceWeaker, &unet).map(|()| unet)
        };
        weights.checked(clip_unet::UNUSED, storage.strict, load).map(Some)
    }

    pub fn encoder(&self, gpu: &Gpu, storage: Storage) -> Result<Encoder> {
        self.of(Role::Vae)?.checked(&["decoder", "post_quant_conv"], storage.strict, |w| {
            Encoder::load(&self.loader(gpu, Role::Vae, w, storage)?.finer())
        })
    }

    /// From the checkpoint of `interpolation`, as published, else, where it holds none, the VAE's.
    pub fn decoder(&self, gpu: &Gpu, interpolation: Role, storage: Storage) -> Result<Decoder> {
        let (role, place) = match self.of(interpolation)?.has("first_stage_model.decoder") {
            true => (interpolation, "first_stage_model"),
            false => (Role::Vae, ""),
        };
        let weights = self.of(role)?.at(place);
        weights
            .checked(Decoder::unused(&weights), false, |w| Decoder::load(&self.loader(gpu, role, w, storage)?.finer()))
    }

    pub fn hubert(&self, gpu: &Gpu, storage: Storage) -> Result<Hubert> {
        self.speech(gpu, Role::Hubert, storage)
    }

    fn speech(&self, gpu: &Gpu, role: Role, storage: Storage) -> Result<Hubert> {
        let heads = self.setting(role, "num_attention_heads", hubert::Config::default().heads)?;
        self.of(role)?.checked(hubert::UNUSED, storage.strict, |w| {
            Hubert::load(&Loader::new(gpu, w, storage.other_weights()), hubert::Config { heads })
        })
    }

    pub fn wav2vec2(&self, gpu: &Gpu, storage: Storage) -> Result<Hubert> {
        self.speech(gpu, Role::Wav2Vec2, storage)
    }

    pub fn beats(&self, gpu: &Gpu, storage: Storage) -> Result<Beats> {
        let weights = self.of(Role::Beats)?;
        let config = beats::Config::of(weights)?;
        weights.checked(beats::UNUSED, storage.strict, |w| {
            Beats::load(&Loader::new(gpu, w, storage.other_weights()), config)
        })
    }

    pub fn wavlm(&self, gpu: &Gpu, storage: Storage) -> Result<WavLm> {
        let max_distance = self.setting(Role::WavLm, "max_distance", wavlm::Config::default().max_distance)?;
        self.of(Role::WavLm)?.checked(wavlm::UNUSED, storage.strict, |w| {
            WavLm::load(&Loader::new(gpu, w, storage.other_weights()), wavlm::Config { max_distance })
        })
    }
}

/// What a job asks of its networks.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    pub roles: &'static [Role],
    /// Of `roles` the one whose size stands for both stages.
    pub interpolation: Role,
    /// Evaluations of a UNet on one clip, all steps and branches.
    pub clip_evaluations: usize,
    /// The same in whole evaluations, where some spare the deep levels.
    pub clip_work: f64,
    /// Frames that are encoded and decoded.
    pub frames: usize,
    pub clips_at_once: usize,
    /// Clips whose deep features stay between two steps.
    pub clips_kept: usize,
    pub storage: Storage,
}

/// What a job costs, roughly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Of all networks, whose weights are there together; transformed ones included.
    pub weight_bytes: f64,
    /// Of them those that Winograd's convolutions keep beside the direct ones.
    pub winograd_bytes: f64,
    /// Activations at the widest point.
    pub work_bytes: f64,
    pub flops: f64,
}

/// How numbers are stored on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Of the UNets' activations; what is not named here is f32.
    pub activations: Elem,
    /// Of the VAE's activations.
    pub coding: Elem,
    /// Of weights; [`Elem::I8`] takes the matrices of the UNets alone.
    pub weights: Elem,
    /// Tensors in a file that no network reads are an error.
    pub strict: bool,
}

impl Default for Storage {
    fn default() -> Self {
        Self { activations: Elem::F16, coding: Elem::F32, weights: Elem::F16, strict: false }
    }
}

impl Storage {
    /// Of networks other than the UNets. Their activations are f32, their weights may stay f16; int8 would save little there
    /// and show in every frame.
    fn other_weights(&self) -> Elem {
        if self.weights == Elem::I8 { Elem::F16 } else { self.weights }
    }
}

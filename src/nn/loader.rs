use crate::Result;
use crate::gpu::{Elem, Gpu};
use crate::ops::{ConvBudget, ConvClass, PackedWeight, Raw, WeightShape};
use crate::tensor::Tensor;
use crate::weights::{HostTensor, Values, Weights};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where a layer's weights come from and go to: a place among names, a device, and how matrices are stored there.
#[derive(Clone)]
pub struct Loader {
    gpu: Gpu,
    weights: Weights,
    weight_elem: Elem,
    /// Full names of the convolutions that the budget lets keep transformed weights.
    transformed: Arc<BTreeSet<String>>,
}

/// Fewer channels than this, and as few or fewer columns of a group, are left out of int8: they weigh little, and a network's
/// first and last layers, which its result shows most, are among them.
const INT8_WORTHWHILE: usize = 32;

impl Loader {
    /// Of a network that has the memory to itself.
    pub fn new(gpu: &Gpu, weights: &Weights, weight_elem: Elem) -> Self {
        let taken = gpu.memory().current;
        let mut alone = transformed_within_budget(gpu, &[(weights, weight_elem)], taken);
        Self::transforming(gpu, weights, weight_elem, alone.pop().unwrap_or_default())
    }

    /// Of one of several networks that share the memory: the convolutions named in `transformed` keep transformed weights.
    pub fn transforming(gpu: &Gpu, weights: &Weights, weight_elem: Elem, transformed: BTreeSet<String>) -> Self {
        Self { gpu: gpu.clone(), weights: weights.clone(), weight_elem, transformed: Arc::new(transformed) }
    }

    /// The same place for what must not lose more than f16 does.
    pub fn finer(&self) -> Self {
        let weight_elem = if self.weight_elem == Elem::I8 { Elem::F16 } else { self.weight_elem };
        self.with_weight_elem(weight_elem)
    }

    /// The loader one name further down.
    pub fn at(&self, name: &str) -> Self {
        Self { weights: self.weights.at(name), ..self.clone() }
    }

    /// The same place, with matrices stored as `weight_elem`.
    pub fn with_weight_elem(&self, weight_elem: Elem) -> Self {
        Self { weight_elem, ..self.clone() }
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The published shape of `leaf`, where it is there and has values.
    pub fn shape(&self, leaf: &str) -> Option<Vec<usize>> {
        self.weights.shape(leaf)
    }

    /// Dimension `axis` of `leaf`, never 0; `published` where it is missing or 0 (which loading then reports).
    pub fn dim(&self, leaf: &str, axis: usize, published: usize) -> usize {
        self.shape(leaf).and_then(|shape| shape.get(axis).copied()).unwrap_or(published)
    }

    pub fn has(&self, prefix: &str) -> bool {
        self.weights.has(prefix)
    }

    /// A vector such as a bias or a norm's gain, in f32.
    pub fn vector(&self, leaf: &str, len: usize) -> Result<Tensor> {
        self.tensor(leaf, &[len])
    }

    /// The same with its values rearranged.
    pub fn vector_with(&self, leaf: &str, len: usize, arrange: impl Fn(&[f32]) -> Vec<f32>) -> Result<Tensor> {
        let host = self.weights.get(leaf, &[len])?;
        if host.planned() {
            return Tensor::placeholder(&self.gpu, &[len], Elem::F32);
        }
        Tensor::from_f32(&self.gpu, &[len], &arrange(&host.to_f32()?))
    }

    /// A small parameter of any shape, in f32 and published order.
    pub fn tensor(&self, leaf: &str, shape: &[usize]) -> Result<Tensor> {
        let host = self.weights.get(leaf, shape)?;
        if host.planned() {
            return Tensor::placeholder(&self.gpu, shape, Elem::F32);
        }
        Tensor::from_f32(&self.gpu, shape, &host.to_f32()?)
    }

    /// The one value of `leaf`.
    pub fn scalar(&self, leaf: &str) -> Result<f32> {
        Ok(self.weights.get(leaf, &[1])?.to_f32()?.first().copied().unwrap_or(0.0))
    }

    /// `leaf`, published with shape `published`, packed as the weight that `shape` describes.
    pub fn packed(&self, leaf: &str, published: &[usize], shape: WeightShape) -> Result<PackedWeight> {
        let host = self.weights.get(leaf, published)?;
        self.pack(&host, shape)
    }

    /// The same for a convolution, transformed for the class of the layer where the budget leaves room for it.
    pub fn packed_conv(&self, leaf: &str, published: &[usize], shape: WeightShape) -> Result<PackedWeight> {
        let host = self.weights.get(leaf, published)?;
        let has_room = self.transformed.contains(&self.weights.name(leaf));
        let class = ConvClass::of_layer(&self.gpu, shape, stored(shape, self.weight_elem))?;
        let class = if has_room { class } else { ConvClass::Direct };
        self.pack(&host, shape)?.with_class(class, raw(&host.values))
    }

    /// `leaf` `[2 outputs, channels]` of a linear layer whose outputs are gated.
    pub fn packed_gated(&self, leaf: &str, outputs: usize, channels: usize) -> Result<PackedWeight> {
        let host = self.weights.get(leaf, &[2 * outputs, channels])?;
        let elem = stored(WeightShape::linear(2 * outputs, channels), self.weight_elem);
        PackedWeight::pack_gated(&self.gpu, [outputs, channels], elem, raw(&host.values), &host.name)
    }

    pub fn pack(&self, host: &HostTensor<'_>, shape: WeightShape) -> Result<PackedWeight> {
        PackedWeight::pack(&self.gpu, shape, stored(shape, self.weight_elem), raw(&host.values), &host.name)
    }

    /// Linear weights `[columns, channels]` stacked on their columns, so that one matmul serves them all.
    pub fn packed_stack(&self, leaves: &[&str], columns: usize, channels: usize) -> Result<PackedWeight> {
        let shape = WeightShape::linear(columns * leaves.len(), channels);
        let mut values = Vec::with_capacity(columns * leaves.len() * channels);
        let mut planned = false;
        for leaf in leaves {
            let host = self.weights.get(leaf, &[columns, channels])?;
            planned |= host.planned();
            values.extend(host.to_f32()?);
        }
        let raw = if planned { Raw::Planned } else { Raw::F32(bytemuck::cast_slice(&values)) };
        PackedWeight::pack(
            &self.gpu,
            shape,
            stored(shape, self.weight_elem),
            raw,
            &self.weights.name(&leaves.join("+")),
        )
    }
}

/// How a weight of this shape is stored where `weight_elem` is asked for: small ones of an int8 network in f16.
fn stored(shape: WeightShape, weight_elem: Elem) -> Elem {
    let is_small = shape.group_channels < INT8_WORTHWHILE || shape.columns <= INT8_WORTHWHILE * shape.groups;
    if weight_elem == Elem::I8 && is_small { Elem::F16 } else { weight_elem }
}

/// Of each of `networks`, the names of the convolutions whose transformed weights fit the budget for weights beside the direct
/// weights of all and `taken` other bytes: those of few channels first, which see the most pixels and so save the most time a
/// byte, and among equals those of the network that is named first.
pub fn transformed_within_budget(gpu: &Gpu, networks: &[(&Weights, Elem)], taken: u64) -> Vec<BTreeSet<String>> {
    let direct: usize = networks.iter().map(|(weights, elem)| weights.total_values() * elem.size()).sum();
    let mut room = ConvBudget::of(gpu).for_weights().saturating_sub(taken + direct as u64);

    let mut convolutions = Vec::new();
    for (network, (weights, elem)) in networks.iter().enumerate() {
        for (name, shape) in weights.shapes() {
            let Some(shape) = WeightShape::conv(&shape) else { continue };
            // Loading reports what is wrong with the class.
            let elem = stored(shape, *elem);
            let class = ConvClass::of_layer(gpu, shape, elem).unwrap_or(ConvClass::Direct);
            if class != ConvClass::Direct {
                let bytes = class.transformed_bytes(shape, elem) as u64;
                convolutions.push((shape.columns * shape.group_channels, network, name, bytes));
            }
        }
    }
    convolutions.sort();
    let mut chosen = vec![BTreeSet::new(); networks.len()];
    for (_, network, name, bytes) in convolutions {
        let Some(left) = room.checked_sub(bytes) else { break };
        room = left;
        chosen[network].insert(name);
    }
    chosen
}

fn raw<'a>(values: &'a Values<'_>) -> Raw<'a> {
    match values {
        Values::F32(bytes) => Raw::F32(bytes),
        Values::F16(bytes) => Raw::F16(bytes),
        Values::BF16(bytes) => Raw::BF16(bytes),
        Values::Planned => Raw::Planned,
    }
}

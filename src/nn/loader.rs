use crate::Result;
use crate::gpu::{Elem, Gpu};
use crate::ops::{ConvBudget, ConvClass, PackedWeight, Raw, WeightShape};
use crate::tensor::Tensor;
use crate::weights::{HostTensor, Values, Weights};

/// Where a layer's weights come from and go to: a place among names, a device, and how matrices are stored there.
#[derive(Clone)]
pub struct Loader {
    gpu: Gpu,
    weights: Weights,
    weight_elem: Elem,
    /// Values of the whole network.
    values: usize,
}

impl Loader {
    pub fn new(gpu: &Gpu, weights: &Weights, weight_elem: Elem) -> Self {
        let values = weights.total_values();
        Self { gpu: gpu.clone(), weights: weights.clone(), weight_elem, values }
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

    /// The published shape of `leaf`, where it is there.
    pub fn shape(&self, leaf: &str) -> Option<Vec<usize>> {
        self.weights.shape(leaf)
    }

    /// Dimension `axis` of `leaf`, or `published` where it is missing (which loading then reports).
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
        let class = ConvClass::of_layer(&self.gpu, shape, self.weight_elem)?;
        let class = if self.has_room(class.transformed_len(shape)) { class } else { ConvClass::Direct };
        self.pack(&host, shape)?.with_class(class, raw(&host.values))
    }

    /// Whether `len` more values leave a quarter of the budget free once all of this network's weights are here.
    fn has_room(&self, len: usize) -> bool {
        let bytes = (len + self.values) as u64 * self.weight_elem.size() as u64;
        self.gpu.memory().current + bytes <= ConvBudget::of(&self.gpu).for_weights()
    }

    pub fn pack(&self, host: &HostTensor<'_>, shape: WeightShape) -> Result<PackedWeight> {
        PackedWeight::pack(&self.gpu, shape, self.weight_elem, raw(&host.values), &host.name)
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
        PackedWeight::pack(&self.gpu, shape, self.weight_elem, raw, &self.weights.name(&leaves.join("+")))
    }
}

fn raw<'a>(values: &'a Values<'_>) -> Raw<'a> {
    match values {
        Values::F32(bytes) => Raw::F32(bytes),
        Values::F16(bytes) => Raw::F16(bytes),
        Values::BF16(bytes) => Raw::BF16(bytes),
        Values::Planned => Raw::Planned,
    }
}

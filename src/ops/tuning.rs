//! Which of an operation's bit-equal variants runs. Classes of numerics (direct or Winograd, element types) are decided elsewhere,
//! by precision and shape; what is chosen here changes how long an operation takes and no bit of its result.

use crate::gpu::{Capabilities, Gpu};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A choice for each class of shapes that was measured; where there is none, or one that the device cannot run, the default for
/// its capabilities stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    pub products: BTreeMap<ProductClass, ProductKernel>,
    /// Where products run on cooperative matrices.
    pub matrices: BTreeMap<ProductClass, MatrixTile>,
    pub attention: BTreeMap<AttentionClass, QueryTile>,
    pub elementwise: Option<Workgroup>,
    pub transforms: Option<Workgroup>,
    pub winograd_scratch: Option<Scratch>,
}

/// Products by the number of 64 x 64 tiles of their output, which have to fill a device, and whether a row is gathered under
/// several taps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProductClass {
    /// At most 32 columns.
    Narrow,
    SmallMatmul,
    MiddleMatmul,
    LargeMatmul,
    SmallConv,
    MiddleConv,
    LargeConv,
}

/// gemm_subgroup or gemm_tiled, by rows and columns of a tile. An invocation of the latter has 4 x 4 of them, unless the name tells
/// more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProductKernel {
    Subgroup16x64,
    Subgroup24x64,
    Subgroup32x64,
    Tile32x64,
    Tile64x64,
    Tile64x64Each8x4,
    Tile128x64Each8x4,
    Tile128x128Each8x8,
    /// Stages 16 depths at a time, not 8.
    Tile128x128Each8x8Deep,
}

/// gemm_cooperative by rows and columns of its tile. Without a choice the larger runs where it makes workgroups enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MatrixTile {
    Tile64x64,
    Tile128x128,
}

/// Sizes of gemm_tiled, as its file explains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    pub rows: u32,
    pub panels: u32,
    pub each_rows: u32,
    pub each_vectors: u32,
    pub step: u32,
}

impl Tile {
    /// The same tile in invocations that have eight columns side by side.
    pub(super) fn gated(self) -> Self {
        match self.each_vectors {
            1 => Self { each_rows: self.each_rows / 2, each_vectors: 2, ..self },
            _ => self,
        }
    }
}

/// Attention by what its kernels differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AttentionClass {
    /// At most 32 keys and heads of at most 64.
    Few,
    /// Heads of at most 64.
    Narrow,
    Wide,
}

/// Queries that a workgroup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QueryTile {
    Small,
    Middle,
    Large,
}

/// Invocations of a workgroup that do not cooperate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Workgroup {
    Lanes8,
    Lanes64,
    Lanes256,
}

/// The most bytes that transformed tiles, and the most that their products, take at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scratch {
    Mib8,
    Mib16,
    Mib24,
}

/// Whether this is a software device with subgroups of 8: loads are dear there, barriers dearer, and registers plenty.
pub(super) fn is_narrow_software(capabilities: &Capabilities) -> bool {
    capabilities.software && capabilities.subgroup_size == Some(8)
}

impl ProductClass {
    pub const ALL: [Self; 7] = [
        Self::Narrow,
        Self::SmallMatmul,
        Self::MiddleMatmul,
        Self::LargeMatmul,
        Self::SmallConv,
        Self::MiddleConv,
        Self::LargeConv,
    ];

    /// Of `rows` under `panels` panels of `panel` columns, each element gathered under `taps` taps.
    pub(super) fn of(rows: usize, panels: usize, panel: usize, taps: usize) -> Self {
        if panel < 64 {
            return Self::Narrow;
        }
        match (rows.div_ceil(64) * panels, taps) {
            (..=64, 1) => Self::SmallMatmul,
            (..=1024, 1) => Self::MiddleMatmul,
            (_, 1) => Self::LargeMatmul,
            (..=64, _) => Self::SmallConv,
            (..=1024, _) => Self::MiddleConv,
            _ => Self::LargeConv,
        }
    }
}

impl ProductKernel {
    pub const ALL: [Self; 9] = [
        Self::Subgroup16x64,
        Self::Subgroup24x64,
        Self::Subgroup32x64,
        Self::Tile32x64,
        Self::Tile64x64,
        Self::Tile64x64Each8x4,
        Self::Tile128x64Each8x4,
        Self::Tile128x128Each8x8,
        Self::Tile128x128Each8x8Deep,
    ];

    /// None for the kernel without tiles in workgroup memory.
    pub fn tile(self) -> Option<Tile> {
        let tile =
            |rows, panels, each_rows, each_vectors, step| Some(Tile { rows, panels, each_rows, each_vectors, step });
        match self {
            Self::Subgroup16x64 | Self::Subgroup24x64 | Self::Subgroup32x64 => None,
            Self::Tile32x64 => tile(32, 1, 4, 1, 16),
            Self::Tile64x64 => tile(64, 1, 4, 1, 16),
            Self::Tile64x64Each8x4 => tile(64, 1, 8, 1, 16),
            Self::Tile128x64Each8x4 => tile(128, 1, 8, 1, 16),
            Self::Tile128x128Each8x8 => tile(128, 2, 8, 2, 8),
            Self::Tile128x128Each8x8Deep => tile(128, 2, 8, 2, 16),
        }
    }

    /// Rows of gemm_subgroup's tile over 8.
    pub(super) fn eights(self) -> u32 {
        match self {
            Self::Subgroup16x64 => 2,
            Self::Subgroup24x64 => 3,
            _ => 4,
        }
    }

    fn default_for(capabilities: &Capabilities) -> Self {
        if is_narrow_software(capabilities) { Self::Subgroup32x64 } else { Self::Tile64x64 }
    }

    /// Whether a device can run it.
    pub fn runs_on(self, capabilities: &Capabilities) -> bool {
        match self.tile() {
            None => capabilities.subgroup_size == Some(8),
            Some(tile) => {
                let columns = 64 * tile.panels;
                let invocations = tile.rows / tile.each_rows * columns / (4 * tile.each_vectors);
                let bytes = 4 * tile.rows * (tile.step + 1) + 4 * tile.step * columns;
                invocations <= capabilities.max_invocations && bytes <= capabilities.max_workgroup_bytes
            }
        }
    }

    /// What is worth measuring for a class, the default first. Where the subgroup's kernel is the default, tiles in workgroup
    /// memory are many times slower, and every tile takes the driver's compiler seconds, which small products would not earn.
    pub(super) fn candidates(class: ProductClass, capabilities: &Capabilities) -> Vec<Self> {
        use ProductClass::{Narrow, SmallConv, SmallMatmul};
        let default = Self::default_for(capabilities);
        let is_worthwhile = |kernel: &Self| match default.tile() {
            Some(_) => true,
            None => kernel.tile().is_none() && !matches!(class, Narrow | SmallConv | SmallMatmul),
        };
        let others = Self::ALL.into_iter().filter(|kernel| *kernel != default && kernel.runs_on(capabilities));
        std::iter::once(default).chain(others.filter(is_worthwhile)).collect()
    }
}

impl MatrixTile {
    pub const ALL: [Self; 2] = [Self::Tile64x64, Self::Tile128x128];

    pub fn rows(self) -> usize {
        match self {
            Self::Tile64x64 => 64,
            Self::Tile128x128 => 128,
        }
    }

    /// What is worth measuring for a class, the default of most of its shapes first.
    pub(super) fn candidates(class: ProductClass) -> Vec<Self> {
        use ProductClass::{LargeConv, LargeMatmul, Narrow};
        match class {
            Narrow => vec![Self::Tile64x64],
            LargeConv | LargeMatmul => vec![Self::Tile128x128, Self::Tile64x64],
            _ => Self::ALL.to_vec(),
        }
    }
}

impl AttentionClass {
    pub const ALL: [Self; 3] = [Self::Few, Self::Narrow, Self::Wide];

    /// Of heads of `dim` and a number of keys.
    pub(super) fn of(dim: usize, keys: usize) -> Self {
        match (dim.div_ceil(4), keys) {
            (..=16, ..=32) => Self::Few,
            (..=16, _) => Self::Narrow,
            _ => Self::Wide,
        }
    }
}

impl QueryTile {
    pub const ALL: [Self; 3] = [Self::Small, Self::Middle, Self::Large];

    pub(super) fn of(self, sizes: [usize; 3]) -> usize {
        sizes[self as usize]
    }

    fn default_for(capabilities: &Capabilities) -> Self {
        if is_narrow_software(capabilities) { Self::Large } else { Self::Middle }
    }

    /// Whether a device can run it: the largest tile of attention_tiled has 256 invocations and up to 22 KiB.
    pub fn runs_on(self, class: AttentionClass, capabilities: &Capabilities) -> bool {
        self != Self::Large
            || class == AttentionClass::Few
            || is_narrow_software(capabilities)
            || (capabilities.max_invocations >= 256 && capabilities.max_workgroup_bytes >= 22 << 10)
    }

    /// What is worth measuring, the default first. attention_subgroup takes its device's compiler seconds a tile, and the largest
    /// is the fastest by design: the keys it loads serve more queries.
    pub(super) fn candidates(class: AttentionClass, capabilities: &Capabilities) -> Vec<Self> {
        let default = Self::default_for(capabilities);
        let others = Self::ALL.into_iter().filter(|tile| *tile != default && tile.runs_on(class, capabilities));
        let others = others.filter(|_| !is_narrow_software(capabilities));
        std::iter::once(default).chain(others).collect()
    }
}

impl Workgroup {
    pub const ALL: [Self; 3] = [Self::Lanes8, Self::Lanes64, Self::Lanes256];

    pub(super) fn lanes(self) -> u32 {
        match self {
            Self::Lanes8 => 8,
            Self::Lanes64 => 64,
            Self::Lanes256 => 256,
        }
    }

    pub fn runs_on(self, capabilities: &Capabilities) -> bool {
        self.lanes() <= capabilities.max_invocations
    }

    fn transforms_default(capabilities: &Capabilities) -> Self {
        if capabilities.software { Self::Lanes8 } else { Self::Lanes64 }
    }

    /// `default` first; 8 invocations leave most of a GPU's lanes idle.
    fn candidates(default: Self, capabilities: &Capabilities) -> Vec<Self> {
        let worthwhile = |workgroup: &Self| {
            *workgroup != default
                && workgroup.runs_on(capabilities)
                && (capabilities.software || *workgroup != Self::Lanes8)
        };
        std::iter::once(default).chain(Self::ALL.into_iter().filter(worthwhile)).collect()
    }

    pub(super) fn elementwise_candidates(capabilities: &Capabilities) -> Vec<Self> {
        Self::candidates(Self::Lanes64, capabilities)
    }

    pub(super) fn transforms_candidates(capabilities: &Capabilities) -> Vec<Self> {
        Self::candidates(Self::transforms_default(capabilities), capabilities)
    }
}

impl Scratch {
    /// The default first.
    pub const ALL: [Self; 3] = [Self::Mib24, Self::Mib16, Self::Mib8];

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Mib8 => 8 << 20,
            Self::Mib16 => 16 << 20,
            Self::Mib24 => 24 << 20,
        }
    }
}

impl Tuning {
    /// That of a device: what [`Gpu::set`] or [`autotune`](super::autotune) decided, else the defaults.
    pub fn of(gpu: &Gpu) -> Arc<Self> {
        gpu.setting().unwrap_or_default()
    }

    /// The same kernel for products of all shapes.
    pub fn with_products(self, kernel: ProductKernel) -> Self {
        Self { products: ProductClass::ALL.into_iter().map(|class| (class, kernel)).collect(), ..self }
    }

    /// The same tile for products of all shapes on cooperative matrices.
    pub fn with_matrices(self, tile: MatrixTile) -> Self {
        Self { matrices: ProductClass::ALL.into_iter().map(|class| (class, tile)).collect(), ..self }
    }

    /// The same tile for attention of all shapes.
    pub fn with_queries(self, tile: QueryTile) -> Self {
        Self { attention: AttentionClass::ALL.into_iter().map(|class| (class, tile)).collect(), ..self }
    }

    pub(super) fn product(&self, class: ProductClass, capabilities: &Capabilities) -> ProductKernel {
        let chosen = self.products.get(&class).copied().filter(|kernel| kernel.runs_on(capabilities));
        chosen.unwrap_or_else(|| ProductKernel::default_for(capabilities))
    }

    pub(super) fn queries(&self, class: AttentionClass, capabilities: &Capabilities) -> QueryTile {
        let chosen = self.attention.get(&class).copied().filter(|tile| tile.runs_on(class, capabilities));
        chosen.unwrap_or_else(|| QueryTile::default_for(capabilities))
    }

    /// Invocations of a workgroup of the element-wise kernels.
    pub(super) fn elementwise_lanes(&self, capabilities: &Capabilities) -> u32 {
        let chosen = self.elementwise.filter(|workgroup| workgroup.runs_on(capabilities));
        chosen.unwrap_or(Workgroup::Lanes64).lanes()
    }

    /// Invocations of a workgroup of Winograd's transforms.
    pub(super) fn transform_lanes(&self, capabilities: &Capabilities) -> u32 {
        let chosen = self.transforms.filter(|workgroup| workgroup.runs_on(capabilities));
        chosen.unwrap_or_else(|| Workgroup::transforms_default(capabilities)).lanes()
    }

    pub(super) fn scratch_bytes(&self) -> usize {
        self.winograd_scratch.unwrap_or(Scratch::Mib24).bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_its_file() {
        let mut table = Tuning::default().with_products(ProductKernel::Tile128x128Each8x8);
        table.attention.insert(AttentionClass::Wide, QueryTile::Small);
        table.winograd_scratch = Some(Scratch::Mib8);
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Tuning>(&text).unwrap(), table);
        assert_eq!(serde_json::from_str::<Tuning>("{}").unwrap(), Tuning::default());
        for wrong in [r#"{"scratch": 8}"#, r#"{"products": {"Narrow": "Tile7x7"}}"#, "[]x"] {
            assert!(serde_json::from_str::<Tuning>(wrong).is_err(), "{wrong}");
        }
    }
}

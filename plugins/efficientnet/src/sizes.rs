use injerto_plugin_sdk::choice;

choice! {
    /// How large the network is: the first generation scaled by the paper's rule, or the second generation.
    pub(crate) enum Size {
        B0 = "b0", B1 = "b1", B2 = "b2", B3 = "b3", B4 = "b4", B5 = "b5", B6 = "b6", B7 = "b7", V2S = "v2-s",
    }
}

/// Blocks of one kind in a row.
pub(crate) struct Stage {
    pub(crate) kernel: usize,
    pub(crate) blocks: usize,
    pub(crate) filters: usize,
    pub(crate) expansion: usize,
    pub(crate) stride: usize,
    /// Whether the expansion is a whole convolution, and there is neither a depthwise one nor squeeze-and-excitation.
    pub(crate) fused: bool,
}

const fn stage(kernel: usize, blocks: usize, filters: usize, expansion: usize, stride: usize) -> Stage {
    Stage { kernel, blocks, filters, expansion, stride, fused: false }
}

const fn fused(stage: Stage) -> Stage {
    Stage { fused: true, ..stage }
}

/// Table 1 of Tan and Le, 2019: B0.
const FIRST: [Stage; 7] = [
    stage(3, 1, 16, 1, 1),
    stage(3, 2, 24, 6, 2),
    stage(5, 2, 40, 6, 2),
    stage(3, 3, 80, 6, 2),
    stage(5, 3, 112, 6, 1),
    stage(5, 4, 192, 6, 2),
    stage(3, 1, 320, 6, 1),
];

/// Table 4 of Tan and Le, 2021: V2-S.
const SECOND: [Stage; 6] = [
    fused(stage(3, 2, 24, 1, 1)),
    fused(stage(3, 4, 48, 4, 2)),
    fused(stage(3, 4, 64, 4, 2)),
    stage(3, 6, 128, 4, 2),
    stage(3, 9, 160, 6, 1),
    stage(3, 15, 256, 6, 2),
];

/// The properties that depend on the size.
pub(crate) struct Architecture {
    pub(crate) stages: Vec<Stage>,
    /// Filters of the first convolution, and of the last.
    pub(crate) stem: usize,
    pub(crate) top: usize,
    /// Rate of the dropout before the classifier.
    pub(crate) dropout: f64,
    /// Height and width of the images that the network was published for.
    pub(crate) image: usize,
    /// Share of each side that the evaluation of torchvision's weights keeps of a photo.
    pub(crate) crop: f64,
    /// Whether it is of the second generation.
    pub(crate) second: bool,
    /// Epsilon and momentum of torchvision's normalisations.
    pub(crate) torch_norm: [f64; 2],
}

impl Architecture {
    /// The last word of Keras's name of a depthwise convolution.
    pub(crate) fn depthwise(&self) -> &'static str {
        if self.second { "dwconv2" } else { "dwconv" }
    }
}

impl Size {
    /// Stages, filters and rates, as in `keras.applications`.
    pub(crate) fn architecture(self) -> Architecture {
        // The multipliers of width and depth, the side of the images, the dropout, and torchvision's crop.
        let (width, depth, image, dropout, crop) = match self {
            Self::B0 => (1.0, 1.0, 224, 0.2, 224.0 / 256.0),
            Self::B1 => (1.0, 1.1, 240, 0.2, 240.0 / 256.0),
            Self::B2 => (1.1, 1.2, 260, 0.3, 1.0),
            Self::B3 => (1.2, 1.4, 300, 0.3, 300.0 / 320.0),
            Self::B4 => (1.4, 1.8, 380, 0.4, 380.0 / 384.0),
            Self::B5 => (1.6, 2.2, 456, 0.4, 1.0),
            Self::B6 => (1.8, 2.6, 528, 0.5, 1.0),
            Self::B7 => (2.0, 3.1, 600, 0.5, 1.0),
            Self::V2S => (1.0, 1.0, 384, 0.2, 1.0),
        };
        let second = self == Self::V2S;
        let scaled = |stage: Stage| Stage {
            blocks: (depth * stage.blocks as f64).ceil() as usize,
            filters: filters(width, stage.filters),
            ..stage
        };
        let stages = match second {
            true => SECOND.into_iter().map(scaled).collect(),
            false => FIRST.into_iter().map(scaled).collect(),
        };
        let torch_norm = match self {
            Self::B5 | Self::B6 | Self::B7 => [1e-3, 0.99],
            Self::V2S => [1e-3, 0.9],
            _ => [1e-5, 0.9],
        };
        let stem = if second { 24 } else { filters(width, 32) };
        Architecture { stages, stem, top: filters(width, 1280), dropout, image, crop, second, torch_norm }
    }
}

/// A number of filters that 8 divides, not below nine tenths of the product (Keras's `round_filters`).
fn filters(width: f64, filters: usize) -> usize {
    let wanted = width * filters as f64;
    let near = ((wanted + 4.0) as usize / 8 * 8).max(8);
    if (near as f64) < 0.9 * wanted { near + 8 } else { near }
}

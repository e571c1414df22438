use super::{Augmentation, Factor, FlipMode, Sampling};

/// Augmentations that go together, by how much they change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Mirrored, and cut to at least four fifths of the area: safe for nearly all photos.
    Light,
    /// Mirrored, cut to at least half of the area, and with other brightness and colours.
    Medium,
    /// Mirrored, cut to at least a quarter of the area, changed by TrivialAugmentWide, and with a box painted over in every
    /// fourth image: for long training of many layers.
    Strong,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Light, Self::Medium, Self::Strong];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Medium => "medium",
            Self::Strong => "strong",
        }
    }

    /// The augmentations, in their order.
    pub fn augmentations(self) -> Vec<Augmentation> {
        let flip = Augmentation::RandomFlip { mode: FlipMode::Horizontal };
        let crop = |least| Augmentation::RandomResizedCrop { scale: [least, 1.0], ratio: Augmentation::CROP_RATIO };
        let part = |part| Some(Factor::Symmetric(part));
        match self {
            Self::Light => vec![flip, crop(0.8)],
            Self::Medium => {
                let [brightness, contrast, saturation, hue] = [part(0.2), part(0.2), part(0.2), part(0.02)];
                vec![flip, crop(0.5), Augmentation::ColorJitter { brightness, contrast, saturation, hue }]
            }
            Self::Strong => vec![
                flip,
                crop(0.25),
                Augmentation::TrivialAugmentWide {
                    num_magnitude_bins: Augmentation::BINS,
                    interpolation: Sampling::Bilinear,
                    fill_value: 0.0,
                },
                Augmentation::RandomErasing {
                    p: 0.25,
                    scale: Augmentation::ERASED_SCALE,
                    ratio: Augmentation::ERASED_RATIO,
                    value: super::ErasedWith::Random,
                },
            ],
        }
    }
}

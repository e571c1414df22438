use rand_chacha::ChaCha8Rng;

use super::{Affine, Change, Fill, Tone, below, uniform};

/// A set of operations of which some are drawn for each image, and how strong each of them is. The numbers are torchvision's
/// (`torchvision/transforms/autoaugment.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// RandAugment (Cubuk et al. 2020).
    RandAugment,
    /// TrivialAugment with its wide ranges (Müller and Hutter 2021).
    TrivialAugmentWide,
}

/// An operation of a [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Nothing is changed.
    Identity,
    /// Rows are shifted, the lower ones more.
    ShearX,
    /// Columns are shifted, the right ones more.
    ShearY,
    /// A shift to the side.
    TranslateX,
    /// A shift up or down.
    TranslateY,
    /// A turn about the centre.
    Rotate,
    /// [`Tone::Brightness`].
    Brightness,
    /// [`Tone::Saturation`].
    Color,
    /// [`Tone::Contrast`].
    Contrast,
    /// [`Tone::Sharpness`].
    Sharpness,
    /// [`Tone::Posterize`].
    Posterize,
    /// [`Tone::Solarize`].
    Solarize,
    /// [`Tone::AutoContrast`].
    AutoContrast,
    /// [`Tone::Equalize`].
    Equalize,
}

impl Operation {
    /// All of them, in torchvision's order.
    pub const ALL: [Self; 14] = [
        Self::Identity,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
        Self::Rotate,
        Self::Brightness,
        Self::Color,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterize,
        Self::Solarize,
        Self::AutoContrast,
        Self::Equalize,
    ];
}

impl Policy {
    /// What an operation does to an image of `[height, width]` at a strength from 0 to 1; `backwards` turns operations that have two
    /// directions round. Nothing for [`Operation::Identity`].
    pub fn change(
        self,
        operation: Operation,
        strength: f64,
        backwards: bool,
        [height, width]: [usize; 2],
        fill: Fill,
    ) -> Option<Change> {
        let wide = self == Self::TrivialAugmentWide;
        let strength = strength.clamp(0.0, 1.0);
        let most = |narrow: f64, far: f64| strength * if wide { far } else { narrow };
        let directed = |size: f64| if backwards { -size } else { size };
        let shear = || directed(most(0.3, 0.99)) as f32;
        let shift = |length: usize| directed(most(150.0 / 331.0 * length as f64, 32.0)).trunc() as f32;
        let factor = || (1.0 + directed(most(0.9, 0.99))) as f32;
        let affine = |affine: Affine| Change::Affine(affine, fill);
        Some(match operation {
            Operation::Identity => return None,
            Operation::ShearX => affine(Affine::shear([0.0, shear()])),
            Operation::ShearY => affine(Affine::shear([shear(), 0.0])),
            Operation::TranslateX => affine(Affine::translation([0.0, shift(width)])),
            Operation::TranslateY => affine(Affine::translation([shift(height), 0.0])),
            Operation::Rotate => {
                affine(Affine::rotation(directed(most(30.0, 135.0)).to_radians() as f32, [height, width]))
            }
            Operation::Brightness => Change::Tone(Tone::Brightness(factor())),
            Operation::Color => Change::Tone(Tone::Saturation(factor())),
            Operation::Contrast => Change::Tone(Tone::Contrast(factor())),
            Operation::Sharpness => Change::Tone(Tone::Sharpness(factor())),
            Operation::Posterize => Change::Tone(Tone::Posterize(8 - most(4.0, 6.0).round_ties_even() as u32)),
            Operation::Solarize => Change::Tone(Tone::Solarize((255.0 * (1.0 - strength)) as f32)),
            Operation::AutoContrast => Change::Tone(Tone::AutoContrast),
            Operation::Equalize => Change::Tone(Tone::Equalize),
        })
    }

    /// Draws an operation with its direction. `magnitude` is one of `bins` equally spaced strengths, or `None` draws that too.
    pub(super) fn draw(
        self,
        magnitude: Option<usize>,
        bins: usize,
        size: [usize; 2],
        fill: Fill,
        random: &mut ChaCha8Rng,
    ) -> Option<Change> {
        let operation = Operation::ALL[below(Operation::ALL.len(), random)];
        let bin = magnitude.unwrap_or_else(|| below(bins.max(1), random));
        let strength = bin as f64 / bins.saturating_sub(1).max(1) as f64;
        self.change(operation, strength, uniform(random) < 0.5, size, fill)
    }
}

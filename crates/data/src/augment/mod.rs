//! Random changes of training images, as Keras's preprocessing layers and torchvision's transforms define them.
//!
//! An [`Augmentation`] is plain data with the options of the layer or transform of the same name. [`Augmentation::draw`] turns
//! it into [`Change`]s, in which nothing is random any more, and [`Change::apply`] changes an image.
//!
//! What is drawn depends on seed, epoch and the image's place in the dataset alone ([`generator`]): not on the order of
//! the images, the size of a batch or the number of threads.

mod affine;
mod change;
mod mix;
mod policy;
mod preset;
mod tone;
mod views;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

pub use affine::{Affine, FillMode, Sampling};
pub use change::Change;
pub use mix::{Mix, MixOptions};
pub use policy::{Operation, Policy};
pub use preset::Preset;
pub use tone::Tone;
pub use views::{MOST_VIEWS, test_views};

/// Weights of red, green and blue in the grey of a pixel (ITU-R BT.601, as torchvision rounds them).
const GREY: [f32; 3] = [0.2989, 0.587, 0.114];

/// Number of boxes that are drawn before a transform gives up, as in torchvision.
const TRIES: usize = 10;

/// A random change, with the names and defaults of Keras's layers, or of torchvision's transforms where Keras has no such layer
/// or has other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Augmentation {
    /// Mirrors half of the images. With both axes, an image is mirrored along both or not at all.
    RandomFlip {
        /// Along which axes.
        #[serde(default)]
        mode: FlipMode,
    },
    /// Turns about the centre.
    RandomRotation {
        /// Angles, in whole turns: 0.2 means up to 72 degrees either way.
        factor: Factor,
        /// What is put where the image does not reach.
        #[serde(default, flatten)]
        fill: Fill,
    },
    /// Zooms about the centre: -0.2 shows the middle 80 % of the image, 0.2 shows 20 % more than there is.
    RandomZoom {
        /// Share of the height.
        height_factor: Factor,
        /// Share of the width; `None` zooms both axes alike.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        width_factor: Option<Factor>,
        /// What is put where the image does not reach.
        #[serde(default, flatten)]
        fill: Fill,
    },
    /// Shifts the image.
    RandomTranslation {
        /// How far down, as a share of the height.
        height_factor: Factor,
        /// How far to the right, as a share of the width.
        width_factor: Factor,
        /// What is put where the image does not reach.
        #[serde(default, flatten)]
        fill: Fill,
    },
    /// Scales the distance of every value from its channel's mean, then clips them to 0 to 255.
    ///
    /// `[lower, upper]` draws the scale from `1 - lower` to `1 + upper`, and one number stands for both, as Keras's
    /// documentation has it. (The code of Keras 3.15 takes a lone number for `[0, number]`: write that to have it.)
    RandomContrast {
        /// Range of the change, from 0 to 1.
        factor: Factor,
    },
    /// Adds a share of 255 to all values, then clips them to 0 to 255.
    RandomBrightness {
        /// The share, from -1 to 1.
        factor: Factor,
    },
    /// Cuts out a piece at random. The network's input has one size, so that a smaller piece is enlarged to it again.
    RandomCrop {
        /// Rows of the piece.
        height: usize,
        /// Columns of the piece.
        width: usize,
    },
    /// torchvision's `RandomResizedCrop`: cuts out a piece of random size and aspect ratio, and enlarges it to the image's size. The
    /// piece is cut from the image in the size of the network's input.
    RandomResizedCrop {
        /// Range of the piece's share of the image's area.
        #[serde(default = "crop_scale")]
        scale: [f64; 2],
        /// Range of the piece's width divided by its height, drawn evenly on a logarithmic scale.
        #[serde(default = "crop_ratio")]
        ratio: [f64; 2],
    },
    /// torchvision's `ColorJitter`: its changes happen in random order. One number `x` draws the factor from `1 - x` (at least 0)
    /// to `1 + x`, and of the hue the shift from `-x` to `x`; a pair is the range itself.
    ColorJitter {
        /// Factor of [`Tone::Brightness`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        brightness: Option<Factor>,
        /// Factor of [`Tone::Contrast`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contrast: Option<Factor>,
        /// Factor of [`Tone::Saturation`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saturation: Option<Factor>,
        /// Shift of [`Tone::Hue`], from -0.5 to 0.5.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hue: Option<Factor>,
    },
    /// Paints a box over (Zhong et al. 2020, "Random Erasing Data Augmentation"), with the sizes of torchvision's `RandomErasing`.
    RandomErasing {
        /// Share of the images in which a box is painted over.
        #[serde(default = "half")]
        p: f64,
        /// Range of the box's share of the image's area.
        #[serde(default = "erased_scale")]
        scale: [f64; 2],
        /// Range of the box's height divided by its width, drawn evenly on a logarithmic scale.
        #[serde(default = "erased_ratio")]
        ratio: [f64; 2],
        /// What is painted.
        #[serde(default)]
        value: ErasedWith,
    },
    /// RandAugment (Cubuk et al. 2020) as in torchvision: operations of [`Operation::ALL`], all of one strength.
    RandAugment {
        /// Number of operations per image.
        #[serde(default = "two")]
        num_ops: usize,
        /// Strength, from 0 to below `num_magnitude_bins`.
        #[serde(default = "nine")]
        magnitude: usize,
        /// Number of strengths.
        #[serde(default = "bins")]
        num_magnitude_bins: usize,
        /// How values between pixels are found.
        #[serde(default = "nearest")]
        interpolation: Sampling,
        /// Value where the image does not reach.
        #[serde(default)]
        fill_value: f64,
    },
    /// TrivialAugmentWide (Müller and Hutter 2021) as in torchvision: one operation of [`Operation::ALL`] per image, of random
    /// strength.
    TrivialAugmentWide {
        /// Number of strengths.
        #[serde(default = "bins")]
        num_magnitude_bins: usize,
        /// How values between pixels are found.
        #[serde(default = "nearest")]
        interpolation: Sampling,
        /// Value where the image does not reach.
        #[serde(default)]
        fill_value: f64,
    },
}

fn crop_scale() -> [f64; 2] {
    Augmentation::CROP_SCALE
}

fn crop_ratio() -> [f64; 2] {
    Augmentation::CROP_RATIO
}

fn erased_scale() -> [f64; 2] {
    Augmentation::ERASED_SCALE
}

fn erased_ratio() -> [f64; 2] {
    Augmentation::ERASED_RATIO
}

fn half() -> f64 {
    Augmentation::ERASED_SHARE
}

fn two() -> usize {
    Augmentation::OPERATIONS
}

fn nine() -> usize {
    Augmentation::MAGNITUDE
}

fn bins() -> usize {
    Augmentation::BINS
}

fn nearest() -> Sampling {
    Sampling::Nearest
}

/// What [`Augmentation::RandomErasing`] paints.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "Painted", into = "Painted")]
pub enum ErasedWith {
    /// A random value from 0 to 255 for each value, which Zhong et al. found best.
    #[default]
    Random,
    /// This value, from 0 to 255.
    Value(f64),
}

/// [`ErasedWith`] as it is written.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Painted {
    Word(Word),
    Value(f64),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Random,
}

impl From<Painted> for ErasedWith {
    fn from(painted: Painted) -> Self {
        match painted {
            Painted::Word(Word::Random) => Self::Random,
            Painted::Value(value) => Self::Value(value),
        }
    }
}

impl From<ErasedWith> for Painted {
    fn from(value: ErasedWith) -> Self {
        match value {
            ErasedWith::Random => Self::Word(Word::Random),
            ErasedWith::Value(value) => Self::Value(value),
        }
    }
}

/// A range to draw from: a number for both directions, or the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Factor {
    /// From minus this to this.
    Symmetric(f64),
    /// From one to the other.
    Range([f64; 2]),
}

impl Factor {
    /// The lower and the upper end.
    pub fn ends(self) -> [f64; 2] {
        match self {
            Self::Symmetric(factor) => [-factor.abs(), factor.abs()],
            Self::Range([a, b]) => [a.min(b), a.max(b)],
        }
    }

    fn draw(self, random: &mut ChaCha8Rng) -> f64 {
        let [lower, upper] = self.ends();
        lower + (upper - lower) * uniform(random)
    }

    /// A factor about 1: one number holds for both directions.
    fn about_one(self) -> Self {
        match self {
            Self::Symmetric(part) => Self::Range([(1.0 - part.abs()).max(0.0), 1.0 + part.abs()]),
            Self::Range(_) => self,
        }
    }
}

/// Axes of [`Augmentation::RandomFlip`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlipMode {
    /// Left and right.
    Horizontal,
    /// Top and bottom.
    Vertical,
    /// Both together.
    #[default]
    HorizontalAndVertical,
}

/// How values are found between the pixels of an image and beyond its edges.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Fill {
    /// What lies beyond the edges.
    pub fill_mode: FillMode,
    /// How values between pixels are found.
    pub interpolation: Sampling,
    /// Value that [`FillMode::Constant`] fills with.
    pub fill_value: f64,
}

impl Augmentation {
    /// Default of [`Augmentation::RandomResizedCrop`]'s `scale`.
    pub const CROP_SCALE: [f64; 2] = [0.08, 1.0];
    /// Default of [`Augmentation::RandomResizedCrop`]'s `ratio`.
    pub const CROP_RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
    /// Default of [`Augmentation::RandomErasing`]'s `p`.
    pub const ERASED_SHARE: f64 = 0.5;
    /// Default of [`Augmentation::RandomErasing`]'s `scale`.
    pub const ERASED_SCALE: [f64; 2] = [0.02, 0.33];
    /// Default of [`Augmentation::RandomErasing`]'s `ratio`.
    pub const ERASED_RATIO: [f64; 2] = [0.3, 3.3];
    /// Default of [`Augmentation::RandAugment`]'s `num_ops`.
    pub const OPERATIONS: usize = 2;
    /// Default of [`Augmentation::RandAugment`]'s `magnitude`.
    pub const MAGNITUDE: usize = 9;
    /// Default of `num_magnitude_bins`.
    pub const BINS: usize = 31;

    /// Draws what this does to one image of `[height, width]`: changes that happen one after the other.
    pub fn draw(&self, size: [usize; 2], random: &mut ChaCha8Rng) -> Vec<Change> {
        let [height, width] = size;
        let policy_fill = |interpolation, fill_value| Fill { fill_mode: FillMode::Constant, interpolation, fill_value };
        let change = match *self {
            Self::RandomResizedCrop { scale, ratio } => resized_crop(size, scale, ratio, random),
            Self::ColorJitter { brightness, contrast, saturation, hue } => {
                return jitter([brightness, contrast, saturation], hue, random);
            }
            Self::RandomErasing { p, scale, ratio, value } => return erasing(size, p, scale, ratio, value, random),
            Self::RandAugment { num_ops, magnitude, num_magnitude_bins: bins, interpolation, fill_value } => {
                let fill = policy_fill(interpolation, fill_value);
                let one = |_| Policy::RandAugment.draw(Some(magnitude), bins, size, fill, random);
                return (0..num_ops).filter_map(one).collect();
            }
            Self::TrivialAugmentWide { num_magnitude_bins: bins, interpolation, fill_value } => {
                let fill = policy_fill(interpolation, fill_value);
                return Policy::TrivialAugmentWide.draw(None, bins, size, fill, random).into_iter().collect();
            }
            Self::RandomFlip { mode } => {
                let flip = uniform(random) <= 0.5;
                let (horizontal, vertical) = (mode != FlipMode::Vertical, mode != FlipMode::Horizontal);
                Change::Flip { horizontal: flip && horizontal, vertical: flip && vertical }
            }
            Self::RandomRotation { factor, fill } => {
                let angle = factor.draw(random) * std::f64::consts::TAU;
                Change::Affine(Affine::rotation(angle as f32, [height, width]), fill)
            }
            Self::RandomZoom { height_factor, width_factor, fill } => {
                let vertical = 1.0 + height_factor.draw(random);
                let horizontal = width_factor.map_or(vertical, |factor| 1.0 + factor.draw(random));
                Change::Affine(Affine::zoom([vertical as f32, horizontal as f32], [height, width]), fill)
            }
            Self::RandomTranslation { height_factor, width_factor, fill } => {
                let down = height_factor.draw(random) * height as f64;
                let right = width_factor.draw(random) * width as f64;
                Change::Affine(Affine::translation([down as f32, right as f32]), fill)
            }
            Self::RandomContrast { factor } => {
                let [lower, upper] = match factor {
                    Factor::Symmetric(_) => factor.ends(),
                    Factor::Range([lower, upper]) => [-lower, upper],
                };
                Change::Contrast((1.0 + Factor::Range([lower, upper]).draw(random)) as f32)
            }
            Self::RandomBrightness { factor } => Change::Brightness((factor.draw(random) * 255.0) as f32),
            Self::RandomCrop { height: rows, width: columns } => {
                let mut place = |whole: usize, piece: usize| (uniform(random) * (whole - piece + 1) as f64) as usize;
                if height > rows && width > columns {
                    return vec![Change::Crop { top: place(height, rows), left: place(width, columns), rows, columns }];
                }
                // A piece that is not smaller both ways: the middle with its aspect ratio, as in Keras.
                let middle = |whole: usize, other: usize, [along, across]: [usize; 2]| {
                    (whole - (other * along / across.max(1)).max(1).min(whole)) / 2
                };
                let (top, left) = (middle(height, width, [rows, columns]), middle(width, height, [columns, rows]));
                Change::Crop { top, left, rows, columns }
            }
        };
        vec![change]
    }
}

/// Sides of a box whose area has a share of the image's in the range `scale` and whose sides have a quotient in the range `ratio`:
/// the side that is divided, then the other.
fn sides([height, width]: [usize; 2], scale: [f64; 2], ratio: [f64; 2], random: &mut ChaCha8Rng) -> [usize; 2] {
    let area = (height * width) as f64 * Factor::Range(scale).draw(random);
    let ratio = Factor::Range(ratio.map(f64::ln)).draw(random).exp();
    [(area * ratio).sqrt(), (area / ratio).sqrt()].map(|side| side.round_ties_even() as usize)
}

/// torchvision's `RandomResizedCrop.get_params`.
fn resized_crop(size: [usize; 2], scale: [f64; 2], ratio: [f64; 2], random: &mut ChaCha8Rng) -> Change {
    let [height, width] = size;
    for _ in 0..TRIES {
        let [columns, rows] = sides(size, scale, ratio, random);
        if (1..=height).contains(&rows) && (1..=width).contains(&columns) {
            let (top, left) = (below(height - rows + 1, random), below(width - columns + 1, random));
            return Change::Crop { top, left, rows, columns };
        }
    }
    // The largest piece in the middle with an aspect ratio of the range.
    let [least, most] = Factor::Range(ratio).ends();
    let own = width as f64 / height.max(1) as f64;
    let (rows, columns) = match () {
        () if own < least => ((width as f64 / least).round_ties_even() as usize, width),
        () if own > most => (height, (height as f64 * most).round_ties_even() as usize),
        () => (height, width),
    };
    let (rows, columns) = (rows.min(height), columns.min(width));
    Change::Crop { top: (height - rows) / 2, left: (width - columns) / 2, rows, columns }
}

/// torchvision's `ColorJitter.get_params`. `factors` are those of brightness, contrast and saturation.
fn jitter(factors: [Option<Factor>; 3], hue: Option<Factor>, random: &mut ChaCha8Rng) -> Vec<Change> {
    let mut order = [0, 1, 2, 3];
    (1..order.len()).rev().for_each(|last| order.swap(last, below(last + 1, random)));
    let makes: [fn(f32) -> Tone; 3] = [Tone::Brightness, Tone::Contrast, Tone::Saturation];
    let mut drawn = [None; 4];
    for ((tone, factor), make) in drawn.iter_mut().zip(factors).zip(makes) {
        *tone = factor.map(|factor| make(factor.about_one().draw(random) as f32));
    }
    drawn[3] = hue.map(|hue| Tone::Hue(hue.draw(random) as f32));
    order.into_iter().filter_map(|at| drawn[at].map(Change::Tone)).collect()
}

/// torchvision's `RandomErasing.get_params`; nothing for the images that are left alone.
fn erasing(
    size: [usize; 2],
    p: f64,
    scale: [f64; 2],
    ratio: [f64; 2],
    value: ErasedWith,
    random: &mut ChaCha8Rng,
) -> Vec<Change> {
    let [height, width] = size;
    if uniform(random) >= p {
        return Vec::new();
    }
    for _ in 0..TRIES {
        let [rows, columns] = sides(size, scale, ratio, random);
        if rows < height && columns < width {
            let (top, left) = (below(height - rows + 1, random), below(width - columns + 1, random));
            return vec![Change::Erase { top, left, rows, columns, value, seed: random.next_u64() }];
        }
    }
    Vec::new()
}

/// Changes an image of `[height, width]` by all of `augmentations`, one after the other.
pub fn augment(augmentations: &[Augmentation], pixels: &mut [f32], size: [usize; 2], random: &mut ChaCha8Rng) {
    let mut scratch = Vec::new();
    for augmentation in augmentations {
        augmentation.draw(size, random).iter().for_each(|change| change.apply(pixels, size, &mut scratch));
    }
}

/// The generator of an image's random numbers in an epoch.
pub fn generator(seed: u64, epoch: u64, image: u64) -> ChaCha8Rng {
    generator_of(seed, epoch, image, 0)
}

/// [`generator`] for an image that has come so often in the epoch before.
pub(crate) fn generator_of(seed: u64, epoch: u64, image: u64, repeat: u64) -> ChaCha8Rng {
    keyed([seed, epoch, image, repeat << 32])
}

fn keyed(words: [u64; 4]) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number from 0 up to, but not including, 1.
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A whole number below `end`, which is at least 1.
fn below(end: usize, random: &mut ChaCha8Rng) -> usize {
    ((uniform(random) * end as f64) as usize).min(end - 1)
}

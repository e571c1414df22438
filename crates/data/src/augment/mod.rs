//! Random changes of training images, as Keras's preprocessing layers define them.
//!
//! An [`Augmentation`] is plain data with the options of the Keras layer of the same name. [`Augmentation::draw`] turns
//! it into a [`Change`], in which nothing is random any more, and [`Change::apply`] changes an image.
//!
//! What is drawn depends on seed, epoch and the image's place in the dataset alone ([`generator`]): not on the order of
//! the images, the size of a batch or the number of threads.

mod affine;
mod change;
mod mix;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

pub use affine::{Affine, FillMode, Sampling};
pub use change::Change;
pub use mix::{Mix, MixOptions};

/// A random change, by Keras's names and defaults.
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
    /// Draws what this does to one image of `[height, width]`.
    pub fn draw(&self, [height, width]: [usize; 2], random: &mut ChaCha8Rng) -> Change {
        match *self {
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
                    return Change::Crop { top: place(height, rows), left: place(width, columns), rows, columns };
                }
                // A piece that is not smaller both ways: the middle with its aspect ratio, as in Keras.
                let middle = |whole: usize, other: usize, [along, across]: [usize; 2]| {
                    (whole - (other * along / across.max(1)).max(1).min(whole)) / 2
                };
                let (top, left) = (middle(height, width, [rows, columns]), middle(width, height, [columns, rows]));
                Change::Crop { top, left, rows, columns }
            }
        }
    }
}

/// Changes an image of `[height, width]` by all of `augmentations`, one after the other.
pub fn augment(augmentations: &[Augmentation], pixels: &mut [f32], size: [usize; 2], random: &mut ChaCha8Rng) {
    let mut scratch = Vec::new();
    for augmentation in augmentations {
        augmentation.draw(size, random).apply(pixels, size, &mut scratch);
    }
}

/// The generator of an image's random numbers in an epoch.
pub fn generator(seed: u64, epoch: u64, image: u64) -> ChaCha8Rng {
    keyed([seed, epoch, image, 0])
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

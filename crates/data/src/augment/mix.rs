//! Mixup and cutmix: two images and their labels become one.

use rand_chacha::ChaCha8Rng;

use super::{keyed, uniform};
use crate::Label;

/// How images of a batch are mixed; 0 switches a method off. With both methods on, a coin decides for each batch, as in timm.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MixOptions {
    /// Mixup: the image's part is drawn from Beta(alpha, alpha).
    pub mixup: f64,
    /// Cutmix: one minus the box's part of the image is drawn from Beta(alpha, alpha).
    pub cutmix: f64,
}

/// What was mixed into the images of a batch. The target of an image is `part` of its own label and the rest of the
/// other.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// Label of the image that is mixed in, for each image.
    pub labels: Vec<Label>,
    /// The part of each image's own label, 0 to 1.
    pub parts: Vec<f32>,
}

impl Mix {
    /// Targets `[batch, classes]` for images of these labels. Where images have one class each, rows sum to one.
    pub fn targets(&self, labels: &[Label], classes: usize) -> Vec<f32> {
        let mut targets = vec![0.0; labels.len() * classes];
        let parts = labels.iter().zip(&self.labels).zip(&self.parts);
        for (row, ((own, other), &part)) in targets.chunks_exact_mut(classes.max(1)).zip(parts) {
            own.classes().iter().for_each(|&class| row[class as usize] += part);
            other.classes().iter().for_each(|&class| row[class as usize] += 1.0 - part);
        }
        targets
    }
}

impl MixOptions {
    /// Whether anything is mixed.
    pub fn is_on(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// Mixes a batch of images of `[height, width]` in place: the first with the last, the second with the last but
    /// one, each with a part of its own. `None` if it is off.
    ///
    /// As in torchvision and timm the box of cutmix lies about a point drawn from the whole image and is cut off at the
    /// edges, and the part is corrected to what is left of it.
    pub fn mix(&self, pixels: &mut [f32], labels: &[Label], size: [usize; 2], key: (u64, u64, u64)) -> Option<Mix> {
        if !self.is_on() {
            return None;
        }
        let (seed, epoch, batch) = key;
        let mut random = keyed([seed, epoch, batch, 1]);
        let cut = self.mixup <= 0.0 || (self.cutmix > 0.0 && uniform(&mut random) < 0.5);
        let count = labels.len();
        let mut parts: Vec<f32> = vec![1.0; count];
        let (first, second) = pixels.split_at_mut(count / 2 * size[0] * size[1] * 3);
        let length = (size[0] * size[1] * 3).max(1);
        let pairs = first.chunks_exact_mut(length).zip(second.rchunks_exact_mut(length));
        for (at, (a, b)) in pairs.enumerate() {
            let mut draw = || {
                if cut { Blend::cut(self.cutmix, size, &mut random) } else { Blend::whole(self.mixup, &mut random) }
            };
            let blends = [draw(), draw()];
            blend(a, b, blends, size[1]);
            (parts[at], parts[count - 1 - at]) = (blends[0].part(size), blends[1].part(size));
        }
        Some(Mix { labels: labels.iter().rev().cloned().collect(), parts })
    }
}

/// How much of the other image comes in, and where.
#[derive(Debug, Clone, Copy)]
enum Blend {
    /// Everywhere.
    Whole { part: f32 },
    /// In a box, entirely.
    Box { rows: [usize; 2], columns: [usize; 2] },
}

impl Blend {
    fn whole(alpha: f64, random: &mut ChaCha8Rng) -> Self {
        Self::Whole { part: beta(alpha, random) as f32 }
    }

    fn cut(alpha: f64, [height, width]: [usize; 2], random: &mut ChaCha8Rng) -> Self {
        let ratio = (1.0 - beta(alpha, random)).sqrt();
        let mut range = |length: usize| {
            let half = (ratio * length as f64) as usize / 2;
            let center = (uniform(random) * length as f64) as usize;
            [center.saturating_sub(half), (center + half).min(length)]
        };
        Self::Box { rows: range(height), columns: range(width) }
    }

    /// The part of the image's own that is left.
    fn part(&self, [height, width]: [usize; 2]) -> f32 {
        match self {
            Self::Whole { part } => *part,
            Self::Box { rows, columns } => {
                1.0 - ((rows[1] - rows[0]) * (columns[1] - columns[0])) as f32 / (height * width) as f32
            }
        }
    }
}

/// Mixes each of two images into the other. No copy is made: every pair of values is read before it is written.
fn blend(a: &mut [f32], b: &mut [f32], blends: [Blend; 2], width: usize) {
    match blends {
        [Blend::Whole { part: p }, Blend::Whole { part: q }] => {
            for (x, y) in a.iter_mut().zip(b) {
                (*x, *y) = (p * *x + (1.0 - p) * *y, q * *y + (1.0 - q) * *x);
            }
        }
        [Blend::Box { rows: p, columns: i }, Blend::Box { rows: q, columns: j }] => {
            let inside = |at: usize, range: [usize; 2]| (range[0]..range[1]).contains(&at);
            let rows = a.chunks_exact_mut(width * 3).zip(b.chunks_exact_mut(width * 3));
            for (y, (a, b)) in rows.enumerate() {
                let pixels = a.as_chunks_mut::<3>().0.iter_mut().zip(b.as_chunks_mut::<3>().0);
                for (x, (a, b)) in pixels.enumerate() {
                    let (into_a, into_b) = (inside(y, p) && inside(x, i), inside(y, q) && inside(x, j));
                    (*a, *b) = (if into_a { *b } else { *a }, if into_b { *a } else { *b });
                }
            }
        }
        _ => unreachable!("one coin for both"),
    }
}

/// Beta(alpha, alpha), as a quotient of two gammas. In logarithms, or small alphas would end in 0 / 0.
fn beta(alpha: f64, random: &mut ChaCha8Rng) -> f64 {
    let (a, b) = (log_gamma_draw(alpha, random), log_gamma_draw(alpha, random));
    1.0 / (1.0 + (b - a).exp())
}

/// The logarithm of a draw from Gamma(shape, 1), after Marsaglia and Tsang (2000). A shape below 1 is drawn as shape + 1
/// and brought down by a power of a uniform number.
fn log_gamma_draw(shape: f64, random: &mut ChaCha8Rng) -> f64 {
    let d = shape.max(0.0) + 1.0 - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let log_uniform = |random: &mut ChaCha8Rng| (1.0 - uniform(random)).ln();
    let log_above = loop {
        let normal = (-2.0 * log_uniform(random)).sqrt() * (std::f64::consts::TAU * uniform(random)).cos();
        let v = (1.0 + c * normal).powi(3);
        if v > 0.0 && log_uniform(random) < 0.5 * normal * normal + d - d * v + d * v.ln() {
            break (d * v).ln();
        }
    };
    // Gamma(shape) is Gamma(shape + 1) times a uniform number to the power of 1 / shape, for every shape.
    log_above + log_uniform(random) / shape
}

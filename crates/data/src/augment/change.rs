use rand_chacha::rand_core::Rng as _;

use super::{Affine, ErasedWith, Fill, Tone, keyed};
use crate::resize::resize_floats;

/// What happens to one image, after everything random has been drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Mirrored.
    Flip {
        /// Left and right.
        horizontal: bool,
        /// Top and bottom.
        vertical: bool,
    },
    /// Mapped.
    Affine(Affine, Fill),
    /// Distances from the channel's mean times this.
    Contrast(f32),
    /// Values plus this.
    Brightness(f32),
    /// A piece, as far as the image reaches, enlarged to the image's size.
    Crop {
        /// First row.
        top: usize,
        /// First column.
        left: usize,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// Brightness and colours as torchvision changes them.
    Tone(Tone),
    /// A box is painted over.
    Erase {
        /// First row.
        top: usize,
        /// First column.
        left: usize,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
        /// What is painted.
        value: ErasedWith,
        /// Seed of random values.
        seed: u64,
    },
}

impl Change {
    /// Changes an image of `[height, width]`, which keeps its size. `scratch` is for the function's own use; handing the
    /// same one in again saves allocations.
    pub fn apply(&self, pixels: &mut [f32], size: [usize; 2], scratch: &mut Vec<f32>) {
        let [height, width] = size;
        if height == 0 || width == 0 {
            return;
        }
        match *self {
            Self::Flip { horizontal, vertical } => {
                if horizontal {
                    pixels.chunks_exact_mut(width * 3).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
                }
                if vertical {
                    let (above, below) = pixels.split_at_mut(height / 2 * width * 3);
                    let rows = above.chunks_exact_mut(width * 3).zip(below.rchunks_exact_mut(width * 3));
                    rows.for_each(|(a, b)| a.swap_with_slice(b));
                }
            }
            Self::Affine(affine, fill) => {
                scratch.clear();
                scratch.extend_from_slice(pixels);
                affine.apply(scratch, pixels, size, &fill);
            }
            Self::Contrast(factor) => {
                let (pixels, _) = pixels.as_chunks_mut::<3>();
                let mut sums = [0.0_f64; 3];
                for row in pixels.chunks_exact(width) {
                    // A row at a time in single precision, which is quick and exact enough.
                    let mut sum = [0.0_f32; 3];
                    row.iter().for_each(|pixel| sum.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x));
                    sums.iter_mut().zip(sum).for_each(|(sums, sum)| *sums += f64::from(sum));
                }
                let means = sums.map(|sum| (sum / (height * width) as f64) as f32);
                for pixel in pixels {
                    for (x, mean) in pixel.iter_mut().zip(means) {
                        *x = ((*x - mean) * factor + mean).clamp(0.0, 255.0);
                    }
                }
            }
            Self::Brightness(delta) => pixels.iter_mut().for_each(|x| *x = (*x + delta).clamp(0.0, 255.0)),
            Self::Crop { top, left, rows, columns } => {
                let (top, left) = (top.min(height - 1), left.min(width - 1));
                let (rows, columns) = (rows.clamp(1, height - top), columns.clamp(1, width - left));
                if [rows, columns] == size {
                    return;
                }
                scratch.clear();
                for row in pixels.chunks_exact(width * 3).skip(top).take(rows) {
                    scratch.extend_from_slice(&row[left * 3..(left + columns) * 3]);
                }
                pixels.copy_from_slice(&resize_floats(scratch, [rows, columns], size));
            }
            Self::Tone(tone) => tone.apply(pixels, width, scratch),
            Self::Erase { top, left, rows, columns, value, seed } => {
                let mut random = keyed([seed, 0, 0, 2]);
                let (left, end) = (left.min(width), (left + columns).min(width));
                for row in pixels.chunks_exact_mut(width * 3).skip(top).take(rows) {
                    let inside = &mut row[left * 3..end * 3];
                    match value {
                        ErasedWith::Value(value) => inside.fill(value as f32),
                        ErasedWith::Random => inside.iter_mut().for_each(|x| *x = (random.next_u32() >> 24) as f32),
                    }
                }
            }
        }
    }
}

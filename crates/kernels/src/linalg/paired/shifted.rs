//! The gradient of a convolution's kernel by a unit: a product of a transposed matrix with another one at several shifts.
//!
//! Each tap of the kernel sees the same image, shifted. So the image is packed once, as a right side, and all taps read it at their shifts; the
//! outputs' gradients are transposed to the left side. A slot of the right side holds a pair of pixels, so an odd shift would need the halves
//! of two slots. Therefore the image is packed twice, for even shifts and for odd ones.

use super::halves::{Finish, Work};
use super::rounding::{Places, later_by_one, transpose_strip, zip_strip};
use super::{COLUMNS, DEPTH, PresentUnit};
use crate::bf16::Bf16;
use crate::linalg::transpose::transpose;
use crate::memory::workspace;
use crate::parallel::{self, Disjoint, Divide as _, Parts as _};

/// Columns that are transposed together: those of a whole tile.
const TALL: usize = 32;

/// Values that are packed at a time (4 MiB), unless one strip alone or the result has more.
const PACKED: usize = 1 << 20;

/// Approximate number of pixels in a strip: 40 steps, for which both sides of a tile stay in the second-level cache for all taps.
const PIXELS: usize = 1280;

/// The sizes of images and of the outputs of a convolution with stride 1 over them, with zeros around the images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) images: usize,
    /// Numbers of rows.
    pub(crate) height: Side,
    /// Numbers of columns.
    pub(crate) width: Side,
    /// Channels of the image.
    pub(crate) channels: usize,
}

/// The lengths of a [`Frame`] along one axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) image: usize,
    /// Zeros before the image.
    pub(crate) before: usize,
    /// The image and the zeros on both sides.
    pub(crate) framed: usize,
    pub(crate) output: usize,
}

/// How outputs are divided into strips of rows, and how a strip is packed: first the transposed columns, in blocks of [`TALL`], then the panels
/// of channels, each once for even shifts and once for odd ones.
#[derive(Clone, Copy)]
struct Strips {
    frame: Frame,
    columns: usize,
    /// Rows of the output in a strip.
    rows: usize,
    /// Numbers of one transposed column.
    long: usize,
    /// Pairs of pixels of a panel.
    pairs: usize,
}

impl Strips {
    fn new(frame: Frame, reach: usize, columns: usize) -> Self {
        let rows = (PIXELS / frame.width.framed).clamp(1, frame.height.output);
        let pixels = (rows * frame.width.framed).next_multiple_of(DEPTH);
        // The distance of columns is an odd number of cache lines, because columns that are a power of two apart would share few sets of
        // the cache.
        let long = ((pixels / DEPTH) | 1) * DEPTH;
        Self { frame, columns, rows, long, pairs: (pixels + reach).div_ceil(2) }
    }

    /// Strips of one image.
    fn per_image(&self) -> usize {
        self.frame.height.output.div_ceil(self.rows)
    }

    /// The image of a strip, and its first row of the output.
    fn place(&self, strip: usize) -> (usize, usize) {
        (strip / self.per_image(), strip % self.per_image() * self.rows)
    }

    /// Pixels of a strip, with the zeros.
    fn pixels(&self, strip: usize) -> usize {
        self.rows.min(self.frame.height.output - self.place(strip).1) * self.frame.width.framed
    }

    /// Values of [`TALL`] transposed columns.
    fn left(&self) -> usize {
        TALL * self.long / 2
    }

    /// Values of all transposed columns.
    fn lefts(&self) -> usize {
        self.columns.div_ceil(TALL) * self.left()
    }

    /// Values of a panel, for even or for odd shifts.
    fn panel(&self) -> usize {
        self.pairs * COLUMNS
    }

    /// Values of a strip.
    fn values(&self) -> usize {
        self.lefts() + self.frame.channels / COLUMNS * 2 * self.panel()
    }

    /// Packs a strip.
    fn pack(&self, unit: PresentUnit, strip: usize, images: &[f32], outputs: &[f32], packed: &mut [f32]) {
        let Frame { height, width, channels, .. } = self.frame;
        let (isa, (image, row), columns) = (unit.vectors().for_loops(), self.place(strip), self.columns);
        let (for_left, for_right) = packed.split_at_mut(self.lefts());
        let outputs = &outputs[(image * height.output + row) * width.output * columns..];
        for_left.par_chunks_mut(self.left()).enumerate().for_each(|(block, out)| {
            let wide = TALL.min(columns - block * TALL);
            let lines = self.rows.min(height.output - row);
            let places = Places { pitch: width.framed, columns: [0, width.output], lines: [0, lines] };
            transpose_strip(isa, &outputs[block * TALL..], columns, [wide, TALL], places, self.pixels(strip), out);
        });
        // The first row of the image that the strip sees, and the lines of the strip at which the image begins and ends.
        let seen = row.saturating_sub(height.before).min(height.image);
        let lines = [height.before.saturating_sub(row), (height.before + height.image).saturating_sub(row)];
        let images = &images[(image * height.image + seen) * width.image * channels..];
        for_right.par_chunks_mut(2 * self.panel()).enumerate().for_each(|(panel, out)| {
            let columns = [width.before, width.before + width.image];
            let (even, odd) = out.split_at_mut(self.panel());
            let values = &images[(panel * COLUMNS).min(images.len())..];
            zip_strip(isa, values, channels, COLUMNS, Places { pitch: width.framed, columns, lines }, even);
            later_by_one(even, odd);
        });
    }
}

/// Computes `result[shift, channel, column] = Σ framed[pixel + shift, channel] · outputs[pixel, column]`, a sum over the pixels of all outputs.
/// `framed` are the images with their zeros, and pixels are counted in rows as long as theirs. `images` are
/// `[images, height, width, channels]` without the zeros, `outputs` are `[images, height, width, columns]`, and both are rounded.
///
/// Each task computes a part of the result, so that each sum is added up in the same order with any number of threads.
///
/// # Panics
/// If the number of channels is not a multiple of 32, or the length of a slice is not the one that follows from the frame.
pub(crate) fn shifted_products(
    unit: PresentUnit,
    frame: Frame,
    images: &[f32],
    shifts: &[usize],
    (outputs, columns): (&[f32], usize),
    result: &mut [f32],
) {
    let channels = frame.channels;
    assert!(channels > 0 && channels.is_multiple_of(COLUMNS) && columns > 0, "channels fill panels");
    assert_eq!(images.len(), frame.images * frame.height.image * frame.width.image * channels);
    assert_eq!(outputs.len(), frame.images * frame.height.output * frame.width.output * columns);
    assert_eq!(result.len(), shifts.len() * channels * columns);
    let strips = Strips::new(frame, shifts.iter().max().map_or(0, |most| *most), columns);
    let all = frame.images * strips.per_image();
    if all == 0 {
        return result.fill(0.0);
    }
    // The result is read and written once for each group of strips that are packed together.
    let (each, together) = (strips.values(), (PACKED.max(result.len()) / strips.values()).clamp(1, all));
    // `transposed` is `[shifts, columns, channels]`.
    workspace(together * each + result.len(), |buffer| {
        let (transposed, buffer) = buffer.split_at_mut(result.len());
        for first in (0..all).step_by(together) {
            let buffer = &mut buffer[..together.min(all - first) * each];
            buffer.par_chunks_mut(each).enumerate().for_each(|(strip, packed)| {
                strips.pack(unit, first + strip, images, outputs, packed);
            });
            multiply(unit, &strips, first, buffer, shifts, transposed);
        }
        result.par_chunks_mut(channels * columns).zip(transposed.par_chunks(channels * columns)).for_each(
            |(to, from)| {
                transpose(unit.vectors().for_loops(), from, channels, to);
            },
        );
    });
}

/// Adds the products of some packed strips, the first of which has the number `first`, to `result`, `[shifts, columns, channels]`.
fn multiply(unit: PresentUnit, strips: &Strips, first: usize, packed: &[f32], shifts: &[usize], result: &mut [f32]) {
    let (channels, columns) = (strips.frame.channels, strips.columns);
    let (blocks, panels) = (columns.div_ceil(TALL), channels / COLUMNS);
    // A task takes several blocks and panels, so that the second-level cache loads each side less often; but every thread needs some tasks, and
    // taps are divided too where there are few.
    let taps = if blocks * panels < 8 { 1 } else { shifts.len() };
    let groups = shifts.len().div_ceil(taps);
    let [mut tall, mut wide] = [4, 2];
    let tasks = |tall: usize, wide: usize| blocks.div_ceil(tall) * panels.div_ceil(wide) * groups;
    while tall * wide > 1 && tasks(tall, wide) < 4 * rayon::current_num_threads() {
        *(if tall > wide { &mut tall } else { &mut wide }) /= 2;
    }
    let (tall, wide) = (tall, wide);
    let across = panels.div_ceil(wide);
    let shared = Disjoint::new(result);
    parallel::each(tasks(tall, wide), &|task| {
        let (down, right, group) = (task / groups / across, task / groups % across, task % groups);
        let mut work = Work::new(unit);
        for (strip, packed) in packed.chunks_exact(strips.values()).enumerate() {
            let steps = strips.pixels(first + strip).next_multiple_of(DEPTH);
            let tiles = (down * tall..blocks.min((down + 1) * tall))
                .flat_map(|block| (right * wide..panels.min((right + 1) * wide)).map(move |panel| (block, panel)));
            for (tap, shift) in shifts.iter().enumerate().skip(group * taps).take(taps) {
                for (block, panel) in tiles.clone() {
                    let left = &packed[block * strips.left()..][..strips.left()];
                    let (half, odd) = (shift / 2, shift % 2);
                    let right = &packed[strips.lefts() + (2 * panel + odd) * strips.panel()..][..strips.panel()];
                    let right = &right[half * COLUMNS..][..steps / 2 * COLUMNS];
                    for row in (0..TALL.min(columns - block * TALL)).step_by(work.rows()) {
                        let column = block * TALL + row;
                        let finish = Finish {
                            rows: work.rows().min(TALL - row).min(columns - column),
                            width: COLUMNS,
                            result: shared.at((tap * columns + column) * channels + panel * COLUMNS),
                            result_row: channels,
                            accumulate: first + strip > 0,
                            bias: None,
                            clip: (f32::NEG_INFINITY, f32::INFINITY),
                        };
                        let left = left.as_ptr().cast::<Bf16>().wrapping_add(row * strips.long);
                        // SAFETY: the transposed columns are whole tiles, which have all steps; no other task accesses these rows and columns of
                        // the result, which has room for all shifts.
                        unsafe { work.lying((left, strips.long), right, steps, &finish) };
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Unit;

    /// Tests few pixels and many, outputs that fill no panel, an odd number of columns, two images, and zeros on any side or none.
    #[test]
    fn every_unit_computes_the_sums_at_all_shifts() {
        let value = |seed: usize| ((seed * 7919 + 13) % 127) as f32 / 64.0 - 1.0;
        for unit in Unit::available().into_iter().filter_map(Unit::present) {
            let shapes = [
                (1, [3, 4], [[1, 1], [1, 1]], 32, 5),
                (2, [5, 7], [[0, 2], [2, 0]], 64, 40),
                (2, [6, 9], [[0, 0], [0, 0]], 32, 33),
                (1, [40, 37], [[2, 2], [1, 2]], 32, 32),
            ];
            // Miri would take hours for the other shapes.
            let shapes = if cfg!(miri) { &shapes[..1] } else { &shapes[..] };
            for &(images, [height, width], zeros, channels, columns) in shapes {
                let side = |image: usize, [before, after]: [usize; 2]| {
                    let framed = before + image + after;
                    Side { image, before, framed, output: framed - 2 }
                };
                let (high, wide) = (side(height, zeros[0]), side(width, zeros[1]));
                let frame = Frame { images, height: high, width: wide, channels };
                let x: Vec<f32> = (0..images * height * width * channels).map(value).collect();
                let dy: Vec<f32> = (0..images * high.output * wide.output * columns).map(|at| value(at + 5)).collect();
                let shifts: Vec<usize> = (0..9).map(|tap| tap / 3 * wide.framed + tap % 3).collect();
                let mut result = vec![f32::NAN; 9 * channels * columns];
                shifted_products(unit, frame, &x, &shifts, (&dy, columns), &mut result);
                for (at, found) in result.iter().enumerate() {
                    let (tap, channel, column) = (at / columns / channels, at / columns % channels, at % columns);
                    let mut expected = 0.0;
                    for pixel in 0..images * high.output * wide.output {
                        let (image, y, x_at) = (
                            pixel / (high.output * wide.output),
                            pixel / wide.output % high.output,
                            pixel % wide.output,
                        );
                        let y = (y + tap / 3).checked_sub(high.before).filter(|y| *y < height);
                        let x_at = (x_at + tap % 3).checked_sub(wide.before).filter(|x| *x < width);
                        if let (Some(y), Some(x_at)) = (y, x_at) {
                            let place = (image * height + y) * width + x_at;
                            expected += f64::from(Bf16::round(x[place * channels + channel]).value())
                                * f64::from(Bf16::round(dy[pixel * columns + column]).value());
                        }
                    }
                    assert!((f64::from(*found) - expected).abs() < 1e-3, "{unit:?}, {at}: {found} for {expected}");
                }
            }
        }
    }
}

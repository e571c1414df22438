//! The gradient of a convolution's kernel by a unit: a product of a transposed matrix with another at several shifts.
//!
//! What a tap of the kernel sees is the image, shifted. So the image is packed once, as a right side, and all taps read it where it lies; the
//! outputs' gradients are transposed to the left side. A shift by one pixel would put rows of the left side, or halves of the slots of the right
//! side, across lines of the cache, so there is a packed image for odd shifts beside that for even ones.

use super::halves::{Finish, Work, turn_strip, zip_numbers};
use super::{COLUMNS, DEPTH, PresentUnit};
use crate::element::Bf16;
use crate::linalg::product::Shared;
use crate::memory::workspace;
use crate::parallel::{self, Divide as _, Parts as _};

/// Columns that are transposed together: whole tiles.
const TALL: usize = 32;

/// Pixels of a strip, about: tiles of 40 steps, whose two sides stay in the second cache for all taps.
const PIXELS: usize = 1280;

/// Values that are packed together, unless one strip alone has more: 16 MiB.
const PACKED: usize = 1 << 22;

/// Images with zeros around them, and the outputs of a convolution that moves by single pixels over them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) images: usize,
    /// Rows of the output, and of the image with its zeros.
    pub(crate) height: [usize; 2],
    /// Columns of the output, and of the image with its zeros.
    pub(crate) width: [usize; 2],
    /// Channels of the image.
    pub(crate) channels: usize,
}

/// Rows of an output that are packed together, and what lies where in a packed strip: transposed columns, [`TALL`] together, then panels of
/// channels for even shifts, then those for odd ones.
#[derive(Clone, Copy)]
struct Strips {
    frame: Frame,
    columns: usize,
    /// Rows of the output.
    rows: usize,
    /// Numbers of one transposed column.
    long: usize,
    /// Pairs of pixels of a panel.
    pairs: usize,
}

impl Strips {
    fn new(frame: Frame, reach: usize, columns: usize) -> Self {
        let rows = (PIXELS / frame.width[1]).clamp(1, frame.height[0]);
        let pixels = (rows * frame.width[1]).next_multiple_of(DEPTH);
        // An odd number of lines of the cache, because columns that are a power of two apart would share few places of it.
        let long = (pixels / DEPTH | 1) * DEPTH;
        Self { frame, columns, rows, long, pairs: (pixels + reach).div_ceil(2) }
    }

    /// Strips of one image.
    fn per_image(&self) -> usize {
        self.frame.height[0].div_ceil(self.rows)
    }

    /// Pixels of the strip with this number, with the zeros.
    fn pixels(&self, strip: usize) -> usize {
        let row = strip % self.per_image() * self.rows;
        self.rows.min(self.frame.height[0] - row) * self.frame.width[1]
    }

    /// Values of [`TALL`] transposed columns.
    fn left(&self) -> usize {
        TALL * self.long / 2
    }

    /// Values of a panel.
    fn panel(&self) -> usize {
        self.pairs * COLUMNS
    }

    /// Values of all transposed columns, and of all panels for even shifts.
    fn sides(&self) -> [usize; 2] {
        [self.columns.div_ceil(TALL) * self.left(), self.frame.channels / COLUMNS * self.panel()]
    }

    /// Values of a strip.
    fn values(&self) -> usize {
        let [lefts, panels] = self.sides();
        lefts + 2 * panels
    }

    /// Packs the strip with this number.
    fn pack(&self, unit: PresentUnit, strip: usize, images: &[Bf16], outputs: &[f32], packed: &mut [f32]) {
        let Frame { height, width, channels, .. } = self.frame;
        let (isa, [lefts, panels]) = (unit.vectors().for_loops(), self.sides());
        let (image, row) = (strip / self.per_image(), strip % self.per_image() * self.rows);
        let (for_left, for_right) = packed.split_at_mut(lefts);
        let outputs = &outputs[(image * height[0] + row) * width[0] * self.columns..];
        for (block, out) in for_left.chunks_exact_mut(self.left()).enumerate() {
            let wide = TALL.min(self.columns - block * TALL);
            turn_strip(isa, &outputs[block * TALL..], self.columns, [wide, TALL], width, self.pixels(strip), out);
        }
        for (odd, out) in for_right.chunks_exact_mut(panels).enumerate() {
            let images = &images[((image * height[1] + row) * width[1] + odd) * channels..];
            for (panel, out) in out.chunks_exact_mut(self.panel()).enumerate() {
                zip_numbers(isa, &images[panel * COLUMNS..], channels, images.len() / channels, out);
            }
        }
    }
}

/// `result[shift, channel, column] = Σ images[pixel + shift, channel] · outputs[pixel, column]` over the pixels of all outputs, in which a row
/// has as many places as one of the image with its zeros. `images` are `[images, height, width, channels]` with the zeros, `outputs`
/// `[images, height, width, columns]` without.
///
/// Tasks own parts of the result, so that each sum is taken in one order whatever the number of threads.
///
/// # Panics
/// The channels are no multiple of 32, or one of the three has not the values that the frame says.
pub(crate) fn shifted_products(
    unit: PresentUnit,
    frame: Frame,
    images: &[Bf16],
    shifts: &[usize],
    (outputs, columns): (&[f32], usize),
    result: &mut [f32],
) {
    let channels = frame.channels;
    assert!(channels > 0 && channels.is_multiple_of(COLUMNS) && columns > 0, "channels fill panels");
    assert_eq!(images.len(), frame.images * frame.height[1] * frame.width[1] * channels);
    assert_eq!(outputs.len(), frame.images * frame.height[0] * frame.width[0] * columns);
    assert_eq!(result.len(), shifts.len() * channels * columns);
    let strips = Strips::new(frame, shifts.iter().max().map_or(0, |most| *most), columns);
    let all = frame.images * strips.per_image();
    if all == 0 {
        return result.fill(0.0);
    }
    let (each, together) = (strips.values(), (PACKED / strips.values()).clamp(1, all));
    // `[shifts, columns, channels]`.
    workspace(together * each + result.len(), |buffer| {
        let (turned, buffer) = buffer.split_at_mut(result.len());
        for first in (0..all).step_by(together) {
            let buffer = &mut buffer[..together.min(all - first) * each];
            buffer.par_chunks_mut(each).enumerate().for_each(|(strip, packed)| {
                strips.pack(unit, first + strip, images, outputs, packed);
            });
            multiply(unit, &strips, first, buffer, shifts, turned);
        }
        result.par_chunks_mut(channels * columns).zip(turned.par_chunks(channels * columns)).for_each(|(to, from)| {
            turn_tap(columns, from, to);
        });
    });
}

/// Adds the products of some packed strips, the first of which has the number `first`, to `[shifts, columns, channels]`.
fn multiply(unit: PresentUnit, strips: &Strips, first: usize, packed: &[f32], shifts: &[usize], result: &mut [f32]) {
    let (channels, columns) = (strips.frame.channels, strips.columns);
    let (blocks, panels) = (columns.div_ceil(TALL), channels / COLUMNS);
    // Tasks that share a part of both sides follow one another.
    let taps = if blocks * panels < 8 { 1 } else { shifts.len() };
    let groups = shifts.len().div_ceil(taps);
    let ([lefts, all_panels], shared) = (strips.sides(), Shared::new(result));
    parallel::each(blocks * panels * groups, &|task| {
        let (block, panel, group) = (task / groups / panels, task / groups % panels, task % groups);
        let mut work = Work::new(unit);
        for (strip, packed) in packed.chunks_exact(strips.values()).enumerate() {
            let steps = strips.pixels(first + strip).next_multiple_of(DEPTH);
            let left = &packed[block * strips.left()..][..strips.left()];
            for tap in group * taps..shifts.len().min((group + 1) * taps) {
                let (half, odd) = (shifts[tap] / 2, shifts[tap] % 2);
                let right = &packed[lefts + odd * all_panels + panel * strips.panel()..][..strips.panel()];
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
                    // SAFETY: the transposed columns are whole tiles, which have all steps; these rows and columns of the result are this task's
                    // alone, and it has room for all shifts.
                    unsafe { work.lying((left, strips.long), right, steps, &finish) };
                }
            }
        }
    });
}

/// Transposes `[columns, channels]`.
fn turn_tap(columns: usize, from: &[f32], to: &mut [f32]) {
    /// Lines that stay in the first cache on both sides.
    const TOGETHER: usize = 16;
    let channels = from.len() / columns;
    for first in (0..channels).step_by(TOGETHER) {
        for (column, from) in from.chunks_exact(channels).enumerate() {
            for (at, value) in from[first..channels.min(first + TOGETHER)].iter().enumerate() {
                to[(first + at) * columns + column] = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Unit;

    /// Few pixels and many, outputs that fill no panel, rows whose number is odd, and two images.
    #[test]
    fn every_unit_computes_the_sums_at_all_shifts() {
        let value = |seed: usize| ((seed * 7919 + 13) % 127) as f32 / 64.0 - 1.0;
        for unit in Unit::available().into_iter().filter_map(Unit::present) {
            for (images, [height, width], channels, columns) in
                [(1, [3, 4], 32, 5), (2, [5, 7], 64, 40), (1, [40, 37], 32, 32)]
            {
                let frame = Frame { images, height: [height, height + 2], width: [width, width + 2], channels };
                let [high, wide] = [height + 2, width + 2];
                let left: Vec<Bf16> = (0..images * high * wide * channels).map(|at| Bf16::round(value(at))).collect();
                let right: Vec<f32> = (0..images * height * width * columns).map(|at| value(at + 5)).collect();
                let shifts: Vec<usize> = (0..9).map(|tap| tap / 3 * wide + tap % 3).collect();
                let mut result = vec![f32::NAN; 9 * channels * columns];
                shifted_products(unit, frame, &left, &shifts, (&right, columns), &mut result);
                for (at, found) in result.iter().enumerate() {
                    let (tap, channel, column) = (at / columns / channels, at / columns % channels, at % columns);
                    let product = |pixel: usize| {
                        let (image, y, x) = (pixel / (height * width), pixel / width % height, pixel % width);
                        let place = (image * high + y + tap / 3) * wide + x + tap % 3;
                        f64::from(left[place * channels + channel].value())
                            * f64::from(Bf16::round(right[pixel * columns + column]).value())
                    };
                    let expected: f64 = (0..images * height * width).map(product).sum();
                    assert!((f64::from(*found) - expected).abs() < 1e-3, "{unit:?}, {at}: {found} for {expected}");
                }
            }
        }
    }
}

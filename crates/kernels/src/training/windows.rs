//! The values under windows as rows of a matrix, and the convolution that computes an input's gradient from the output's.

use std::ops::Range;

use super::elementwise::BLOCK;
use crate::bf16::{Bf16, as_halves};
use crate::geometry::Geometry;
use crate::isa::ForLoops;
use crate::linalg::{
    DEPTH, Epilogue, Frame, Lying, Multiplier, PresentUnit, Right, Side, round, round_rows, shifted_products, transpose,
};
use crate::memory::{scratch, workspace};
use crate::parallel::{Divide as _, Parts as _};

impl Geometry {
    /// Writes the values under the windows of output pixels `rows` (counted through the whole batch) to the rows of a matrix. Of each window,
    /// the values `part` are written, and zeros after them up to `distance`, the length of a row; `channels` are those of one group.
    pub(super) fn gather<T: Copy + Default>(
        &self,
        x: &[T],
        rows: Range<usize>,
        part: &Range<usize>,
        channels: &Range<usize>,
        out: &mut [T],
        distance: usize,
    ) {
        let (pixels, width, count) = (self.pixels(), self.input[2], channels.len());
        for (row, out) in rows.zip(out.chunks_exact_mut(distance.max(1))) {
            let (image, pixel) = (row / pixels, row % pixels);
            let x = &x[image * self.input_values()..][..self.input_values()];
            let (oy, ox) = (pixel / self.output[1], pixel % self.output[1]);
            let mut at = part.start;
            while at < part.end {
                let (tap, c) = (at / count, at % count);
                let length = (count - c).min(part.end - at);
                let out = &mut out[at - part.start..][..length];
                let (y, x_at) = (self.source(0, oy, tap / self.window[1]), self.source(1, ox, tap % self.window[1]));
                match (y, x_at) {
                    (Some(y), Some(x_at)) => {
                        let from = (y * self.input[1] + x_at) * width + channels.start + c;
                        out.copy_from_slice(&x[from..from + length]);
                    }
                    _ => out.fill(T::default()),
                }
                at += length;
            }
            out[part.len()..].fill(T::default());
        }
    }

    /// Adds the rows of a matrix to the gradient of one image, at the places from which [`Geometry::gather`] would read them.
    pub(super) fn scatter(&self, dx: &mut [f32], rows: Range<usize>, channels: &Range<usize>, values: &[f32]) {
        let (width, count) = (self.input[2], channels.len());
        let inner = count * self.window[0] * self.window[1];
        for (pixel, values) in rows.zip(values.chunks_exact(inner)) {
            let (oy, ox) = (pixel / self.output[1], pixel % self.output[1]);
            for (tap, values) in values.chunks_exact(count).enumerate() {
                let y = self.source(0, oy, tap / self.window[1]);
                let x_at = self.source(1, ox, tap % self.window[1]);
                if let (Some(y), Some(x_at)) = (y, x_at) {
                    let from = (y * self.input[1] + x_at) * width + channels.start;
                    dx[from..from + count].iter_mut().zip(values).for_each(|(dx, value)| *dx += value);
                }
            }
        }
    }

    /// The geometry of the convolution with the rotated kernel ([`rotate`]) that computes the gradient of this one's input from that of its
    /// output, which has `filters` channels. `None` if this convolution has strides, or more padding than its window covers.
    pub(super) fn rotated(&self, filters: usize) -> Option<Self> {
        let [height, width, _] = self.input;
        let beyond = |axis: usize| (self.window[axis] - 1) * self.dilation[axis];
        let before = [0, 1].map(|axis| beyond(axis).checked_sub(self.before[axis]));
        let after = [0, 1].map(|axis| beyond(axis).checked_sub(self.after[axis]));
        let ([Some(above), Some(left)], [Some(below), Some(right)], [1, 1]) = (before, after, self.strides) else {
            return None;
        };
        Some(Self {
            input: [self.output[0], self.output[1], filters],
            output: [height, width],
            before: [above, left],
            after: [below, right],
            ..*self
        })
    }
}

/// Rotates a kernel `[taps, inner, columns]` by 180 degrees and exchanges its channels and filters, which gives `[taps, columns, inner]`.
pub(super) fn rotate(isa: ForLoops, kernel: &[f32], [inner, columns]: [usize; 2], out: &mut [f32]) {
    let size = inner * columns;
    let taps = kernel.len() / size;
    out.par_chunks_mut(size).enumerate().for_each(|(tap, out)| {
        transpose(isa, &kernel[(taps - 1 - tap) * size..][..size], columns, out);
    });
}

/// Numbers from one pixel of an image with its padding to the next: an odd number of cache lines, because pixels that are a power of two apart
/// would share few sets of the cache.
fn pitch(channels: usize) -> usize {
    ((channels / DEPTH) | 1) * DEPTH
}

/// Number of rows after the last one that a unit may read.
const BEYOND: usize = 16;

impl Geometry {
    /// The unit that reads the windows of a layer with `groups` groups where they lie, in a rounded copy of the image with its padding. `None`
    /// unless the stride is 1 and the steps of a product never cross from one pixel to the next.
    pub(super) fn read_in_place(&self, multiplier: Multiplier, groups: usize) -> Option<PresentUnit> {
        let lies = groups == 1 && self.strides == [1, 1] && !self.is_pointwise() && self.input[2].is_multiple_of(DEPTH);
        match multiplier {
            Multiplier::Half(unit) if lies => Some(unit),
            _ => None,
        }
    }

    /// The sizes of images with their padding, and of the outputs.
    fn frame(&self, images: usize) -> Frame {
        let side = |axis: usize| Side {
            image: self.input[axis],
            before: self.before[axis],
            framed: self.output[axis] + self.extent(axis) - 1,
            output: self.output[axis],
        };
        Frame { images, height: side(0), width: side(1), channels: self.input[2] }
    }

    /// For each tap, the distance of its pixel from that of the first tap, in pixels of the image with its padding.
    fn shifts(&self) -> Vec<usize> {
        let wide = self.frame(0).width.framed;
        let shift =
            |tap: usize| tap / self.window[1] * self.dilation[0] * wide + tap % self.window[1] * self.dilation[1];
        (0..self.window[0] * self.window[1]).map(shift).collect()
    }

    /// Lends a rounded copy of images with their padding, followed by arbitrary numbers for the rows after the last one that a unit may read.
    fn lend_framed<R>(&self, isa: ForLoops, x: &[f32], work: impl FnOnce(&[Bf16], Frame) -> R) -> R {
        let frame = self.frame(x.len() / self.input_values());
        let Frame { height, width, channels, .. } = frame;
        let pitch = pitch(channels);
        let all = frame.images * height.framed * width.framed * pitch;
        workspace((all + BEYOND * pitch).div_ceil(2), |copy| {
            let copy = as_halves(copy);
            copy[..all].par_chunks_mut(width.framed * pitch).enumerate().for_each(|(row, out)| {
                let (image, y) = (row / height.framed, row % height.framed);
                let Some(y) = y.checked_sub(height.before).filter(|y| *y < height.image) else {
                    return out.fill(Bf16::ZERO);
                };
                let x = &x[(image * height.image + y) * width.image * channels..][..width.image * channels];
                let (before, out) = out.split_at_mut(width.before * pitch);
                let (out, after) = out.split_at_mut(width.image * pitch);
                before.fill(Bf16::ZERO);
                round_rows(isa, x, channels, channels, out, pitch);
                after.fill(Bf16::ZERO);
            });
            work(copy, frame)
        })
    }

    /// Computes the gradient of a kernel, `[taps, channels, filters]`, by a unit that reads windows where they lie
    /// ([`Geometry::read_in_place`]).
    pub(super) fn kernel_gradient(
        &self,
        unit: PresentUnit,
        x: &[f32],
        (dy, filters): (&[f32], usize),
        gradient: &mut [f32],
    ) {
        let frame = self.frame(x.len() / self.input_values());
        shifted_products(unit, frame, x, &self.shifts(), (dy, filters), gradient);
    }
}

/// The values over which windows slide, in the form that the multiplier reads. For a unit, each value is rounded once, and not once per
/// window in which it lies.
pub(super) enum Values<'a> {
    /// Values in `f32`.
    Single(&'a [f32]),
    /// Values rounded for a unit.
    Half(&'a [Bf16]),
    /// Images with their padding, rounded for a unit, and where each step of a window begins.
    Framed(&'a [Bf16], Frame, &'a [usize]),
}

impl Values<'_> {
    /// Lends `x` in the form that the multiplier reads, for the windows of a convolution with this geometry and number of groups.
    pub(super) fn lend<R>(
        multiplier: Multiplier,
        isa: ForLoops,
        (geometry, groups): (&Geometry, usize),
        x: &[f32],
        work: impl FnOnce(Values<'_>) -> R,
    ) -> R {
        match multiplier {
            Multiplier::Half(_) if geometry.read_in_place(multiplier, groups).is_some() => {
                geometry.lend_framed(isa, x, |copy, frame| {
                    let (channels, pitch) = (frame.channels, pitch(frame.channels));
                    let steps = |shift: usize| (0..channels).step_by(DEPTH).map(move |c| shift * pitch + c);
                    let steps: Vec<usize> = geometry.shifts().into_iter().flat_map(steps).collect();
                    work(Values::Framed(copy, frame, &steps))
                })
            }
            Multiplier::Half(_) if !geometry.is_pointwise() => workspace(x.len().div_ceil(2), |copy| {
                let copy = &mut as_halves(copy)[..x.len()];
                copy.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(copy, x)| round(isa, x, copy));
                work(Values::Half(copy))
            }),
            _ => work(Values::Single(x)),
        }
    }

    /// `result (+)= windows · right` for output pixels `pixels` (counted through the whole batch) and the channels of one group. For
    /// [`Values::Framed`], the pixels must be whole rows of one image.
    #[expect(clippy::too_many_arguments, reason = "they are the three matrices, and which of their rows are meant")]
    pub(super) fn multiply(
        &self,
        geometry: &Geometry,
        pixels: Range<usize>,
        channels: &Range<usize>,
        right: &Right,
        result: &mut [f32],
        result_row: usize,
        epilogue: Epilogue<'_>,
    ) {
        let (rows, inner) = (pixels.len(), geometry.window[0] * geometry.window[1] * channels.len());
        match (self, right) {
            (Self::Single(x), _) if geometry.is_pointwise() => {
                let (width, first) = (geometry.input[2], pixels.start);
                right.multiply(rows, &x[first * width + channels.start..], width, result, result_row, epilogue);
            }
            (Self::Single(x), _) => scratch(rows * inner, |values| {
                geometry.gather(x, pixels, &(0..inner), channels, values, inner);
                right.multiply(rows, values, inner, result, result_row, epilogue);
            }),
            (Self::Half(x), Right::Half(right)) => {
                right.multiply_parts(rows, result, result_row, epilogue, |part, copy, long| {
                    geometry.gather(x, pixels.clone(), &part, channels, copy, long);
                });
            }
            (Self::Framed(copy, frame, steps), Right::Half(right)) => {
                let (height, width, line) =
                    (frame.height.output, frame.width.output, pixels.start / frame.width.output);
                assert!(pixels.start.is_multiple_of(width) && rows.is_multiple_of(width), "lines are whole");
                assert!(line % height + rows / width <= height, "the lines are those of one image");
                let wide = frame.width.framed;
                let row = pitch(frame.channels);
                let values = &copy[(line / height * frame.height.framed + line % height) * wide * row..];
                let left = Lying { values, row, steps, run: width, line: wide };
                right.multiply_lying(rows, &left, result, result_row, epilogue);
            }
            (Self::Half(_) | Self::Framed(..), Right::Single(_)) => unreachable!("values are rounded only for a unit"),
        }
    }
}

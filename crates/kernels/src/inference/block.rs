//! Addresses of the pixels that a convolution computes together.

use super::view::{Region, View};
use crate::geometry::Geometry;

/// Number of pixels whose addresses are computed at once. Their windows stay in the cache while all panels of weights are multiplied.
pub(crate) const BLOCK: usize = 128;

/// Addresses of up to [`BLOCK`] pixels.
pub(crate) struct Block<T> {
    /// The first value of each pixel's window.
    pub input: [*const T; BLOCK],
    pub output: [*mut T; BLOCK],
    /// The values that are added; null if there are none.
    pub residual: [*const T; BLOCK],
    /// Values from the window of a pixel to that of the next pixel, unless there is a break between them.
    distance: usize,
    /// The pixels, in order, whose windows are not at this distance from that of the pixel before.
    breaks: Vec<usize>,
}

impl<T> Block<T> {
    /// The distance between the windows of these pixels; `None` if it is not the same for all.
    #[inline(always)]
    pub(crate) fn distance(&self, pixels: std::ops::Range<usize>) -> Option<usize> {
        let inside = |at: &usize| pixels.start < *at && *at < pixels.end;
        (!self.breaks.iter().any(inside)).then_some(self.distance)
    }
}

/// Goes through the pixels of a region, image by image and row by row.
pub(crate) struct Walk<'a, T> {
    geometry: &'a Geometry,
    /// Pixels from one row to the next. Those after the output's width are only placeholders: their output is null.
    pitch: usize,
    input: View<T>,
    output: View<T>,
    residual: Option<View<T>>,
    region: &'a Region,
    image: usize,
    y: usize,
    x: usize,
}

impl<'a, T> Walk<'a, T> {
    /// A walk over a region of `output`, whose windows lie in `input`; `views` is `[input, output]`.
    pub(crate) fn new(
        geometry: &'a Geometry,
        views: [View<T>; 2],
        residual: Option<View<T>>,
        region: &'a Region,
    ) -> Self {
        Self::stretched(geometry, geometry.output[1], views, residual, region)
    }

    /// A walk with rows of `pitch` pixels, at least the output's width. A suitable `pitch` makes the windows of several rows equally far apart,
    /// from the last pixel of a row to the first one of the next too. The results of the additional pixels are dropped; their windows lie
    /// between those of the output's pixels.
    pub(crate) fn stretched(
        geometry: &'a Geometry,
        pitch: usize,
        [input, output]: [View<T>; 2],
        residual: Option<View<T>>,
        region: &'a Region,
    ) -> Self {
        let (image, y) = (region.images.start, region.rows.start);
        Self { geometry, pitch, input, output, residual, region, image, y, x: 0 }
    }

    /// The number of pixels in the region, the additional ones included.
    pub(crate) fn pixels(&self) -> usize {
        let between = self.region.rows.len().saturating_sub(1) * self.pitch;
        match self.region.rows.is_empty() {
            true => 0,
            false => self.region.images.len() * (between + self.geometry.output[1]),
        }
    }

    /// Writes the addresses of the next `count` pixels to the beginning of `block`.
    #[inline(always)]
    pub(crate) fn next(&mut self, count: usize, block: &mut Block<T>) {
        let mut done = 0;
        block.distance = self.geometry.strides[1] * self.input.pixel;
        block.breaks.clear();
        while done < count {
            let (image, y, x) = (self.image, self.y, self.x);
            let width = self.geometry.output[1];
            // The last row of an image has no additional pixels.
            let end = if y + 1 == self.region.rows.end { width } else { self.pitch };
            // Pixels of a row lie equally far apart.
            let run = done..count.min(done + end - x);
            let first = self.input.at(image, self.geometry.start(0, y), self.geometry.start(1, x));
            let step = block.distance;
            if done > 0 && block.input[done - 1].wrapping_add(step) != first.cast_const() {
                block.breaks.push(done);
            }
            fill(&mut block.input[run.clone()], |i| first.wrapping_add(i * step).cast_const());
            let first = self.output.at(image, y as isize, x as isize);
            fill(&mut block.output[run.clone()], |i| first.wrapping_add(i * self.output.pixel));
            if x + run.len() > width {
                block.output[done + width.saturating_sub(x)..run.end].fill(std::ptr::null_mut());
            }
            if let Some(view) = self.residual {
                let first = view.at(image, y as isize, x as isize);
                fill(&mut block.residual[run.clone()], |i| first.wrapping_add(i * view.pixel).cast_const());
            }
            self.x += run.len();
            done = run.end;
            if self.x == end {
                self.x = 0;
                self.y += 1;
                if self.y == self.region.rows.end {
                    self.y = self.region.rows.start;
                    self.image += 1;
                }
            }
        }
    }
}

#[inline(always)]
fn fill<P>(to: &mut [P], address: impl Fn(usize) -> P) {
    to.iter_mut().enumerate().for_each(|(i, to)| *to = address(i));
}

impl<T> Default for Block<T> {
    fn default() -> Self {
        let nowhere = [std::ptr::null(); BLOCK];
        let (distance, breaks) = (0, Vec::new());
        Self { input: nowhere, output: [std::ptr::null_mut(); BLOCK], residual: nowhere, distance, breaks }
    }
}

//! Addresses of the pixels that a convolution computes together.

use super::view::{Region, View};
use crate::geometry::Geometry;

/// Pixels whose addresses are found at once; their windows stay near while the panels of weights go by.
pub(crate) const BLOCK: usize = 128;

/// Addresses of up to [`BLOCK`] pixels.
pub(crate) struct Block<T> {
    /// First value of each pixel's window.
    pub input: [*const T; BLOCK],
    pub output: [*mut T; BLOCK],
    /// Null where nothing is added.
    pub residual: [*const T; BLOCK],
}

/// Goes through the pixels of a region, image by image and row by row.
pub(crate) struct Walk<'a, T> {
    geometry: &'a Geometry,
    input: View<T>,
    output: View<T>,
    residual: Option<View<T>>,
    region: &'a Region,
    image: usize,
    y: usize,
    x: usize,
}

impl<'a, T> Walk<'a, T> {
    /// A walk from the first pixel of a region of `output`, whose windows lie in `input`.
    pub(crate) fn new(
        geometry: &'a Geometry,
        [input, output]: [View<T>; 2],
        residual: Option<View<T>>,
        region: &'a Region,
    ) -> Self {
        let (image, y) = (region.images.start, region.rows.start);
        Self { geometry, input, output, residual, region, image, y, x: 0 }
    }

    /// How many pixels the region has.
    pub(crate) fn pixels(&self) -> usize {
        self.region.images.len() * self.region.rows.len() * self.geometry.output[1]
    }

    /// The addresses of the next `count` pixels, which `block` has first afterwards.
    #[inline(always)]
    pub(crate) fn next(&mut self, count: usize, block: &mut Block<T>) {
        let mut done = 0;
        while done < count {
            let (image, y, x) = (self.image, self.y, self.x);
            let width = self.geometry.output[1];
            // Pixels of a row lie equally far apart.
            let run = done..count.min(done + width - x);
            let first = self.input.at(image, self.geometry.start(0, y), self.geometry.start(1, x));
            let step = self.geometry.strides[1] * self.input.pixel;
            fill(&mut block.input[run.clone()], |i| first.wrapping_add(i * step).cast_const());
            let first = self.output.at(image, y as isize, x as isize);
            fill(&mut block.output[run.clone()], |i| first.wrapping_add(i * self.output.pixel));
            if let Some(view) = self.residual {
                let first = view.at(image, y as isize, x as isize);
                fill(&mut block.residual[run.clone()], |i| first.wrapping_add(i * view.pixel).cast_const());
            }
            self.x += run.len();
            done = run.end;
            if self.x == width {
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
        Self { input: nowhere, output: [std::ptr::null_mut(); BLOCK], residual: nowhere }
    }
}

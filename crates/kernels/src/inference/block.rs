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
        for i in 0..count {
            let (image, y, x) = (self.image, self.y, self.x);
            block.input[i] = self.input.at(image, self.geometry.start(0, y), self.geometry.start(1, x));
            block.output[i] = self.output.at(image, y as isize, x as isize);
            block.residual[i] = self.residual.map_or(std::ptr::null(), |view| view.at(image, y as isize, x as isize));
            self.x += 1;
            if self.x == self.geometry.output[1] {
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

impl<T> Default for Block<T> {
    fn default() -> Self {
        let nowhere = [std::ptr::null(); BLOCK];
        Self { input: nowhere, output: [std::ptr::null_mut(); BLOCK], residual: nowhere }
    }
}

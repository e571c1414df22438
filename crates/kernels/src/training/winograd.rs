//! 3×3 convolutions by minimal filtering ([`F4`]): tiles of 4×4 outputs take 36 products instead of 144 for each pair of channels.
//! The method computes the output, the input's gradient (a convolution with the rotated kernel), and the kernel's gradient.

use std::ops::Range;

use crate::geometry::Geometry;
use crate::isa::ForLoops;
use crate::linalg::{Epilogue, Multiplier, Packed, Places, Strided, matmul_at_b_whole, multiply};
use crate::memory::{scratch, workspace};
use crate::parallel::{Divide as _, Parts as _};
use crate::simd::{Simd, vectorised};
use crate::transform::{F4, square};

/// Outputs of a tile along one axis.
const OUT: usize = 4;
/// Values under the windows of a tile along one axis.
const IN: usize = 6;
/// Products of a tile.
const POINTS: usize = IN * IN;
/// Numbers of channels and filters must be multiples of this, so that they are whole vectors of any instruction set.
const LANES: usize = 16;
/// Lower limit of the tiles that are multiplied together, if there are as many.
const TILES: usize = 96;

/// Whether the method makes a convolution faster.
pub(super) fn suits(geometry: &Geometry, groups: usize, filters: usize) -> bool {
    let channels = geometry.input[2];
    let tiles = geometry.output[0].div_ceil(OUT) * geometry.output[1].div_ceil(OUT);
    geometry.window == [3, 3]
        && geometry.strides == [1, 1]
        && geometry.dilation == [1, 1]
        && geometry.before.iter().chain(&geometry.after).all(|zeros| *zeros <= 2)
        && groups == 1
        && channels.is_multiple_of(LANES)
        && filters.is_multiple_of(LANES)
        && channels >= 32
        && filters >= 32
        && tiles >= 16
}

/// A kernel transformed and packed, one matrix for each point of a tile.
#[derive(Debug)]
pub(super) struct Kernels {
    isa: ForLoops,
    points: Vec<Packed<Strided>>,
}

impl Kernels {
    /// An empty one, for a kernel that is transformed later.
    pub(super) fn new(isa: ForLoops) -> Self {
        Self { isa, points: (0..POINTS).map(|_| Packed::new(isa.vectors())).collect() }
    }

    /// Transforms a kernel `[3, 3, inner, columns]`.
    pub(super) fn transform(&mut self, kernel: &[f32], [inner, columns]: [usize; 2]) {
        let isa = self.isa;
        self.points.par_chunks_mut(IN).enumerate().for_each(|(line, packed)| {
            let mut rooms: Vec<(Places, &mut [f32])> =
                packed.iter_mut().map(|packed| packed.places([inner, columns])).collect();
            transform_kernel(isa, kernel, line, [inner, columns], &mut rooms);
        });
    }
}

/// How the tiles of an image are divided into tasks.
struct Split {
    /// Rows of tiles in an image, and tiles in a row.
    tiles: [usize; 2],
    /// Rows of tiles in one task.
    rows: usize,
}

impl Split {
    fn new(geometry: &Geometry) -> Self {
        let tiles = [geometry.output[0].div_ceil(OUT), geometry.output[1].div_ceil(OUT)];
        let rows = TILES.div_ceil(tiles[1]).min(tiles[0]);
        // The tasks of an image are about equally large.
        let rows = tiles[0].div_ceil(tiles[0].div_ceil(rows));
        Self { tiles, rows }
    }
}

/// Number of values of `tiles` tiles at one point, with a gap so that points do not compete for the same sets of the cache.
fn plane(tiles: usize, channels: usize) -> usize {
    tiles * channels + LANES
}

/// `y (+)= clip(convolution(x) + bias)`.
pub(super) fn convolve(
    geometry: &Geometry,
    x: &[f32],
    kernels: &Kernels,
    filters: usize,
    y: &mut [f32],
    epilogue: Epilogue<'_>,
) {
    let split = Split::new(geometry);
    let channels = geometry.input[2];
    let size: usize = geometry.input.iter().product();
    let line = geometry.output[1] * filters;
    let per_image = split.tiles[0].div_ceil(split.rows);
    let tasks = y.par_chunks_within_mut(split.rows * OUT * line, geometry.output[0] * line);
    tasks.enumerate().for_each(|(task, y)| {
        let (image, first) = (task / per_image, task % per_image * split.rows);
        let x = &x[image * size..][..size];
        let rows = (y.len() / line).div_ceil(OUT);
        let tiles = rows * split.tiles[1];
        let (inner, outer) = (plane(tiles, channels), plane(tiles, filters));
        scratch(POINTS * (inner + outer), |buffer| {
            let (values, products) = buffer.split_at_mut(POINTS * inner);
            let image = Image::input(geometry, x);
            transform_input(kernels.isa, &image, first..first + rows, split.tiles[1], values, inner);
            let points = values.chunks_exact(inner).zip(products.chunks_exact_mut(outer));
            for ((values, products), packed) in points.zip(&kernels.points) {
                multiply(tiles, values, channels, packed, products, filters, Epilogue::plain(false));
            }
            transform_output(kernels.isa, products, outer, filters, geometry.output[1], y, &epilogue);
        });
    });
}

/// Computes the kernel's gradient, `[3, 3, channels, filters]`.
pub(super) fn kernel_gradient(
    isa: ForLoops,
    geometry: &Geometry,
    x: &[f32],
    dy: &[f32],
    filters: usize,
    gradient: &mut [f32],
) {
    let split = Split::new(geometry);
    let channels = geometry.input[2];
    let size: usize = geometry.input.iter().product();
    let pixels = geometry.output[0] * geometry.output[1] * filters;
    let per_image = split.tiles[0].div_ceil(split.rows);
    let all = x.len() / size * per_image;
    let tiles = split.rows * split.tiles[1];
    let (inner, outer) = (plane(tiles, channels), plane(tiles, filters));
    let task_values = POINTS * (inner + outer);
    // The tasks that are computed at a time: so many that reading and writing the sums once for them costs little.
    let group = ((12 << 20) / task_values).clamp(2, all.max(2));
    let sums = POINTS * channels * filters;
    workspace(sums + group * task_values, |buffer| {
        let (sums, buffer) = buffer.split_at_mut(sums);
        for start in (0..all).step_by(group) {
            let count = group.min(all - start);
            let tasks = &mut buffer[..count * task_values];
            tasks.par_chunks_mut(task_values).enumerate().for_each(|(task, buffer)| {
                let (image, task) = ((start + task) / per_image, (start + task) % per_image);
                let rows = task * split.rows..(task + 1) * split.rows;
                let (values, slopes) = buffer.split_at_mut(POINTS * inner);
                // Rows beyond the image count as zeros, in the input and in the gradient.
                let x = Image::input(geometry, &x[image * size..][..size]);
                let dy = Image::output(geometry, &dy[image * pixels..][..pixels]);
                transform_input(isa, &x, rows.clone(), split.tiles[1], values, inner);
                transform_slopes(isa, &dy, rows, split.tiles[1], slopes, outer);
            });
            sums.par_chunks_mut(channels * filters).enumerate().for_each(|(point, sums)| {
                for (task, buffer) in tasks.chunks_exact(task_values).enumerate() {
                    let (values, slopes) = buffer.split_at(POINTS * inner);
                    let (values, slopes) = (&values[point * inner..], &slopes[point * outer..]);
                    matmul_at_b_whole(
                        Multiplier::Single(isa.vectors()),
                        tiles,
                        (values, channels, channels),
                        (slopes, filters),
                        filters,
                        sums,
                        start + task > 0,
                    );
                }
            });
        }
        gradient.par_chunks_mut(3 * channels * filters).enumerate().for_each(|(row, out)| {
            gather_kernel(isa, sums, row, out);
        });
    });
}

/// An image whose tiles are transformed.
struct Image<'a> {
    values: &'a [f32],
    /// Height, width and channels.
    sides: [usize; 3],
    /// Zeros above and to the left.
    before: [usize; 2],
}

impl<'a> Image<'a> {
    fn input(geometry: &Geometry, values: &'a [f32]) -> Self {
        Self { values, sides: geometry.input, before: geometry.before }
    }

    fn output(geometry: &Geometry, values: &'a [f32]) -> Self {
        let [height, width] = geometry.output;
        Self { values, sides: [height, width, values.len() / (height * width)], before: [0, 0] }
    }

    /// Channels from `c` on of value `[i, j]` of the tile at `[row, column]`; zeros beyond the image.
    ///
    /// # Safety
    /// The instructions of `S` are there.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, tile: [usize; 2], value: [usize; 2], c: usize) -> S::V {
        let [_, width, channels] = self.sides;
        let place = |axis: usize| {
            let place = (tile[axis] * OUT + value[axis]).checked_sub(self.before[axis])?;
            (place < self.sides[axis]).then_some(place)
        };
        // SAFETY: the instructions of `S` are there.
        unsafe {
            match (place(0), place(1)) {
                (Some(top), Some(left)) => S::from_slice(self.values, (top * width + left) * channels + c),
                _ => S::splat(0.0),
            }
        }
    }
}

vectorised! {
    /// Transforms a kernel to one line of points, and writes these to their panels.
    fn transform_kernel(kernel: &[f32], line: usize, shape: [usize; 2], rooms: &mut [(Places, &mut [f32])])
        => transform_kernel_body::<S>
}

/// The product of a row of factors with three vectors.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn dot<S: Simd>(factors: [f64; 3], values: [S::V; 3]) -> S::V {
    // SAFETY: the instructions of `S` are there.
    unsafe {
        let (a, b, c) = (S::splat(factors[0] as f32), S::splat(factors[1] as f32), S::splat(factors[2] as f32));
        S::add(S::add(S::mul(a, values[0]), S::mul(b, values[1])), S::mul(c, values[2]))
    }
}

/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the values would keep them in memory")]
unsafe fn transform_kernel_body<S: Simd>(
    kernel: &[f32],
    line: usize,
    [inner, columns]: [usize; 2],
    rooms: &mut [(Places, &mut [f32])],
) {
    let tap = |tap: usize, p: usize| (tap * inner + p) * columns;
    for p in 0..inner {
        for first in (0..columns).step_by(S::LANES) {
            // SAFETY: the instructions of `S` are there.
            unsafe {
                let mut sums = [S::splat(0.0); 3];
                for column in 0..3 {
                    let mut taps = [S::splat(0.0); 3];
                    for row in 0..3 {
                        taps[row] = S::from_slice(kernel, tap(row * 3 + column, p) + first);
                    }
                    sums[column] = dot::<S>(F4::TAPS[line], taps);
                }
                for ((places, room), factors) in rooms.iter_mut().zip(F4::TAPS) {
                    S::to_slice(room, places.of(p, first), dot::<S>(factors, sums));
                }
            }
        }
        // The last panel is filled up with zeros.
        for (places, room) in rooms.iter_mut().filter(|_| columns > 0) {
            let end = places.of(p, columns - 1) + 1;
            room[end..end.next_multiple_of(places.wide)].fill(0.0);
        }
    }
}

vectorised! {
    /// Computes one row of a kernel's gradient from the sums at all points.
    fn gather_kernel(sums: &[f32], row: usize, out: &mut [f32]) => gather_kernel_body::<S>
}

/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the values would keep them in memory")]
unsafe fn gather_kernel_body<S: Simd>(sums: &[f32], row: usize, out: &mut [f32]) {
    let size = out.len() / 3;
    for at in (0..size).step_by(S::LANES) {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let mut line = [S::splat(0.0); IN];
            for j in 0..IN {
                for i in 0..IN {
                    let value = S::from_slice(sums, (i * IN + j) * size + at);
                    line[j] = S::add(line[j], S::mul(S::splat(F4::TAPS[i][row] as f32), value));
                }
            }
            for tap in 0..3 {
                let mut value = S::splat(0.0);
                for j in 0..IN {
                    value = S::add(value, S::mul(S::splat(F4::TAPS[j][tap] as f32), line[j]));
                }
                S::to_slice(out, tap * size + at, value);
            }
        }
    }
}

vectorised! {
    /// Transforms the rows of tiles `rows` of one image to points, with one plane per point.
    fn transform_input(x: &Image<'_>, rows: Range<usize>, across: usize, out: &mut [f32], plane: usize)
        => transform_input_body::<S>
}

/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn transform_input_body<S: Simd>(
    x: &Image<'_>,
    rows: Range<usize>,
    across: usize,
    out: &mut [f32],
    plane: usize,
) {
    let (channels, first_row) = (x.sides[2], rows.start);
    for (row, tile) in rows.flat_map(|row| (0..across).map(move |tile| (row, tile))) {
        for c in (0..channels).step_by(S::LANES) {
            let to = ((row - first_row) * across + tile) * channels + c;
            // SAFETY: the instructions of `S` are there.
            unsafe {
                square!(
                    S,
                    IN => IN,
                    F4::input::<S>,
                    |i, j| x.load::<S>([row, tile], [i, j], c),
                    |i, j, value| S::to_slice(out, (i * IN + j) * plane + to, value)
                );
            }
        }
    }
}

vectorised! {
    /// Transforms the output's gradient in the rows of tiles `rows` of one image to points.
    fn transform_slopes(dy: &Image<'_>, rows: Range<usize>, across: usize, out: &mut [f32], plane: usize)
        => transform_slopes_body::<S>
}

/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn transform_slopes_body<S: Simd>(
    dy: &Image<'_>,
    rows: Range<usize>,
    across: usize,
    out: &mut [f32],
    plane: usize,
) {
    let (filters, first_row) = (dy.sides[2], rows.start);
    for (row, tile) in rows.flat_map(|row| (0..across).map(move |tile| (row, tile))) {
        for c in (0..filters).step_by(S::LANES) {
            let to = ((row - first_row) * across + tile) * filters + c;
            // SAFETY: the instructions of `S` are there.
            unsafe {
                square!(
                    S,
                    OUT => IN,
                    F4::slopes::<S>,
                    |i, j| dy.load::<S>([row, tile], [i, j], c),
                    |i, j, value| S::to_slice(out, (i * IN + j) * plane + to, value)
                );
            }
        }
    }
}

vectorised! {
    /// Transforms the products at all points to the outputs of rows of tiles.
    fn transform_output(products: &[f32], plane: usize, filters: usize, width: usize, y: &mut [f32],
        epilogue: &Epilogue<'_>) => transform_output_body::<S>
}

/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn transform_output_body<S: Simd>(
    products: &[f32],
    plane: usize,
    filters: usize,
    width: usize,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    let (height, across) = (y.len() / (width * filters), width.div_ceil(OUT));
    let (least, most) = epilogue.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let tiles = (0..height.div_ceil(OUT)).flat_map(|row| (0..across).map(move |tile| (row, tile)));
    for (row, tile) in tiles {
        for c in (0..filters).step_by(S::LANES) {
            let from = (row * across + tile) * filters + c;
            // SAFETY: the instructions of `S` are there.
            unsafe {
                let (least, most) = (S::splat(least), S::splat(most));
                let bias = if let Some(bias) = epilogue.bias { S::from_slice(bias, c) } else { S::splat(0.0) };
                square!(
                    S,
                    IN => OUT,
                    F4::output::<S>,
                    |i, j| S::from_slice(products, (i * IN + j) * plane + from),
                    |i, j, value| {
                        let (top, left) = (row * OUT + i, tile * OUT + j);
                        if top < height && left < width {
                            let to = (top * width + left) * filters + c;
                            let old = if epilogue.accumulate { S::from_slice(y, to) } else { S::splat(0.0) };
                            let sum = S::add(old, S::add(value, bias));
                            // With this order of operands, NaN stays NaN.
                            S::to_slice(y, to, S::min(most, S::max(least, sum)));
                        }
                    }
                );
            }
        }
    }
}

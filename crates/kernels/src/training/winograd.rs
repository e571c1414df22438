//! 3×3 convolutions by Winograd's minimal filtering (Lavin and Gray, 2016): tiles of 4×4 outputs take 36 products instead of
//! 144 for each pair of channels. Forward, for the input's gradient (a convolution with the turned kernel), and for the kernel's.

use std::ops::Range;

use rayon::prelude::*;

use super::matmul::{Epilogue, Packed, matmul_at_b_whole, multiply};
use super::simd::{limit, vectorised};
use super::tile::Blocking;
use super::{scratch, workspace};
use crate::geometry::Geometry;
use crate::isa::Isa;

/// Outputs of a tile along one axis.
const OUT: usize = 4;
/// Inputs of a tile along one axis.
const IN: usize = 6;
/// Products of a tile.
const POINTS: usize = IN * IN;
/// Channels that are transformed together.
const LANES: usize = 16;
/// Tiles that are multiplied together, at least if there are as many.
const TILES: usize = 96;

type Lanes = [f32; LANES];

/// Whether this is a convolution that gains from it.
pub(super) fn suits(geometry: &Geometry, groups: usize, filters: usize) -> bool {
    let channels = geometry.input[2];
    let tiles = geometry.output[0].div_ceil(OUT) * geometry.output[1].div_ceil(OUT);
    geometry.window == [3, 3]
        && geometry.strides == [1, 1]
        && geometry.dilation == [1, 1]
        && geometry.before[0] <= 2
        && geometry.before[1] <= 2
        && groups == 1
        && channels.is_multiple_of(LANES)
        && filters.is_multiple_of(LANES)
        && channels >= 32
        && filters >= 32
        && tiles >= 16
}

/// A kernel transformed and packed, one matrix for each point of a tile.
#[derive(Debug, Clone)]
pub(super) struct Kernels {
    isa: Isa,
    points: Vec<Packed>,
}

impl Kernels {
    /// No kernel yet.
    pub(super) fn new(isa: Isa) -> Self {
        Self { isa, points: vec![Packed::new(isa); POINTS] }
    }

    /// Transforms a kernel `[3, 3, inner, columns]`.
    pub(super) fn transform(&mut self, kernel: &[f32], [inner, columns]: [usize; 2]) {
        let isa = self.isa;
        self.points.par_chunks_mut(IN).enumerate().for_each(|(line, packed)| {
            let mut rooms: Vec<&mut [f32]> = packed.iter_mut().map(|packed| packed.room([inner, columns])).collect();
            let wide = Blocking::of(isa).columns;
            transform_kernel(isa, kernel, line, inner, columns, wide, &mut rooms);
        });
    }
}

/// The kernel of the convolution that takes an output's gradient to its input's: turned by half a turn, `[3, 3, columns, inner]`.
pub(super) fn turn(kernel: &[f32], [inner, columns]: [usize; 2], out: &mut [f32]) {
    out.par_chunks_mut(inner * columns).enumerate().for_each(|(tap, out)| {
        let kernel = &kernel[(8 - tap) * inner * columns..][..inner * columns];
        // Blocks that stay in the first cache on both sides.
        for first in (0..columns).step_by(LANES) {
            for (i, row) in kernel.chunks_exact(columns).enumerate() {
                for (j, value) in row[first..columns.min(first + LANES)].iter().enumerate() {
                    out[(first + j) * inner + i] = *value;
                }
            }
        }
    });
}

/// The geometry of that convolution.
pub(super) fn turned(geometry: &Geometry, filters: usize) -> Geometry {
    let [height, width, _] = geometry.input;
    let [above, left] = geometry.before;
    Geometry {
        input: [geometry.output[0], geometry.output[1], filters],
        output: [height, width],
        before: [2 - above, 2 - left],
        after: geometry.after.map(|after| 2_usize.saturating_sub(after)),
        ..*geometry
    }
}

/// How the rows of tiles of a batch are handed out.
struct Split {
    /// Tiles in a row, and rows of an image.
    tiles: [usize; 2],
    /// Rows of tiles that are one task.
    rows: usize,
}

impl Split {
    fn new(geometry: &Geometry) -> Self {
        let tiles = [geometry.output[0].div_ceil(OUT), geometry.output[1].div_ceil(OUT)];
        let rows = TILES.div_ceil(tiles[1]).min(tiles[0]);
        // Tasks of an image are equally large.
        let rows = tiles[0].div_ceil(tiles[0].div_ceil(rows));
        Self { tiles, rows }
    }
}

/// Values of one point of `tiles` tiles, with a gap so that points do not fall on the same lines of a cache.
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
    let split = &split;
    let images = y.par_chunks_mut(geometry.output[0] * line).zip(x.par_chunks(size));
    let tasks = images
        .flat_map(|(y, x)| y.par_chunks_mut(split.rows * OUT * line).enumerate().map(move |(task, y)| (task, y, x)));
    tasks.for_each(|(task, y, x)| {
        let first = task * split.rows;
        let rows = (y.len() / line).div_ceil(OUT);
        let tiles = rows * split.tiles[1];
        let (inner, outer) = (plane(tiles, channels), plane(tiles, filters));
        scratch(POINTS * (inner + outer), |buffer| {
            let (values, products) = buffer.split_at_mut(POINTS * inner);
            transform_input(kernels.isa, geometry, x, first..first + rows, split.tiles[1], values, inner);
            let points = values.chunks_exact(inner).zip(products.chunks_exact_mut(outer));
            for ((values, products), packed) in points.zip(&kernels.points) {
                multiply(tiles, values, channels, packed, products, filters, Epilogue::plain(false));
            }
            transform_output(kernels.isa, products, outer, filters, geometry.output[1], y, &epilogue);
        });
    });
}

/// The kernel's gradient, `[3, 3, channels, filters]`.
pub(super) fn kernel_gradient(
    isa: Isa,
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
    // Tasks at a time: their tiles should pay for reading and writing the sums once.
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
                // Rows beyond the image are zeros in both.
                transform_input(isa, geometry, &x[image * size..][..size], rows.clone(), split.tiles[1], values, inner);
                transform_slope(
                    isa,
                    geometry,
                    &dy[image * pixels..][..pixels],
                    filters,
                    rows,
                    split.tiles[1],
                    slopes,
                    outer,
                );
            });
            sums.par_chunks_mut(channels * filters).enumerate().for_each(|(point, sums)| {
                for (task, buffer) in tasks.chunks_exact(task_values).enumerate() {
                    let (values, slopes) = buffer.split_at(POINTS * inner);
                    let (values, slopes) = (&values[point * inner..], &slopes[point * outer..]);
                    matmul_at_b_whole(isa, tiles, (values, channels), (slopes, filters), sums, start + task > 0);
                }
            });
        }
        gradient.par_chunks_mut(3 * channels * filters).enumerate().for_each(|(row, out)| {
            gather_kernel(isa, sums, row, out);
        });
    });
}

/// Rows: what the taps contribute to a point.
const KERNEL: [[f32; 3]; IN] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

#[inline(always)]
fn lanes(x: &[f32], at: usize) -> Lanes {
    x[at..at + LANES].try_into().expect("as long as it is cut")
}

#[inline(always)]
fn points_of_input(d: [Lanes; IN]) -> [Lanes; IN] {
    let mut out = [[0.0; LANES]; IN];
    for l in 0..LANES {
        let (a, b) = (d[4][l] - 4.0 * d[2][l], d[3][l] - 4.0 * d[1][l]);
        let (c, e) = (d[4][l] - d[2][l], 2.0 * (d[3][l] - d[1][l]));
        out[0][l] = 4.0 * d[0][l] - 5.0 * d[2][l] + d[4][l];
        out[1][l] = a + b;
        out[2][l] = a - b;
        out[3][l] = c + e;
        out[4][l] = c - e;
        out[5][l] = 4.0 * d[1][l] - 5.0 * d[3][l] + d[5][l];
    }
    out
}

#[inline(always)]
fn outputs_of_points(m: [Lanes; IN]) -> [Lanes; OUT] {
    let mut out = [[0.0; LANES]; OUT];
    for l in 0..LANES {
        let (s, d) = (m[1][l] + m[2][l], m[1][l] - m[2][l]);
        let (t, e) = (m[3][l] + m[4][l], m[3][l] - m[4][l]);
        out[0][l] = m[0][l] + s + t;
        out[1][l] = d + 2.0 * e;
        out[2][l] = s + 4.0 * t;
        out[3][l] = d + 8.0 * e + m[5][l];
    }
    out
}

#[inline(always)]
fn points_of_outputs(y: [Lanes; OUT]) -> [Lanes; IN] {
    let mut out = [[0.0; LANES]; IN];
    for l in 0..LANES {
        let (a, b) = (y[0][l] + y[2][l], y[1][l] + y[3][l]);
        let (c, e) = (y[0][l] + 4.0 * y[2][l], 2.0 * y[1][l] + 8.0 * y[3][l]);
        out[0][l] = y[0][l];
        out[1][l] = a + b;
        out[2][l] = a - b;
        out[3][l] = c + e;
        out[4][l] = c - e;
        out[5][l] = y[3][l];
    }
    out
}

/// A column of a square of lanes.
#[inline(always)]
fn column<const N: usize, const M: usize>(square: &[[Lanes; M]; N], at: usize) -> [Lanes; N] {
    let mut out = [[0.0; LANES]; N];
    for (out, row) in out.iter_mut().zip(square) {
        *out = row[at];
    }
    out
}

vectorised! {
    /// One line of points of a kernel into their panels.
    fn transform_kernel(kernel: &[f32], line: usize, inner: usize, columns: usize, wide: usize,
        rooms: &mut [&mut [f32]])
        => transform_kernel_body
}

#[inline(always)]
fn transform_kernel_body<const FUSED: bool>(
    kernel: &[f32],
    line: usize,
    inner: usize,
    columns: usize,
    wide: usize,
    rooms: &mut [&mut [f32]],
) {
    let factors = KERNEL[line];
    for p in 0..inner {
        for first in (0..columns).step_by(LANES) {
            let tap = |tap: usize| lanes(kernel, (tap * inner + p) * columns + first);
            let mut sums = [[0.0; LANES]; 3];
            for (b, sums) in sums.iter_mut().enumerate() {
                let (low, middle, high) = (tap(b), tap(3 + b), tap(6 + b));
                for l in 0..LANES {
                    sums[l] = factors[0] * low[l] + factors[1] * middle[l] + factors[2] * high[l];
                }
            }
            let to = (first / wide * inner + p) * wide + first % wide;
            for (room, factors) in rooms.iter_mut().zip(KERNEL) {
                let out = &mut room[to..to + LANES];
                for (l, out) in out.iter_mut().enumerate() {
                    *out = factors[0] * sums[0][l] + factors[1] * sums[1][l] + factors[2] * sums[2][l];
                }
                // The last panel may be half full.
                if first + LANES == columns && !columns.is_multiple_of(wide) {
                    room[to + LANES..to + 2 * LANES].fill(0.0);
                }
            }
        }
    }
}

vectorised! {
    /// One row of a kernel's gradient from the sums at all points.
    fn gather_kernel(sums: &[f32], row: usize, out: &mut [f32]) => gather_kernel_body
}

#[inline(always)]
fn gather_kernel_body<const FUSED: bool>(sums: &[f32], row: usize, out: &mut [f32]) {
    let size = out.len() / 3;
    for at in (0..size).step_by(LANES) {
        let mut line = [[0.0; LANES]; IN];
        for (j, line) in line.iter_mut().enumerate() {
            for (i, factors) in KERNEL.iter().enumerate() {
                let values = lanes(sums, (i * IN + j) * size + at);
                for l in 0..LANES {
                    line[l] += factors[row] * values[l];
                }
            }
        }
        for tap in 0..3 {
            let mut value = [0.0; LANES];
            for (line, factors) in line.iter().zip(KERNEL) {
                for l in 0..LANES {
                    value[l] += factors[tap] * line[l];
                }
            }
            out[tap * size + at..][..LANES].copy_from_slice(&value);
        }
    }
}

vectorised! {
    /// Points of the rows of tiles `rows` of one image, a plane a point.
    fn transform_input(geometry: &Geometry, x: &[f32], rows: Range<usize>, across: usize, out: &mut [f32],
        plane: usize) => transform_input_body
}

#[inline(always)]
fn transform_input_body<const FUSED: bool>(
    geometry: &Geometry,
    x: &[f32],
    rows: Range<usize>,
    across: usize,
    out: &mut [f32],
    plane: usize,
) {
    let [height, width, channels] = geometry.input;
    let first_row = rows.start;
    for row in rows {
        for tile in 0..across {
            let place = |axis: usize, at: usize, i: usize, length: usize| {
                (at * OUT + i).checked_sub(geometry.before[axis]).filter(|&place| place < length)
            };
            for c in (0..channels).step_by(LANES) {
                let mut half = [[[0.0; LANES]; IN]; IN];
                for (j, half) in half.iter_mut().enumerate() {
                    let mut values = [[0.0; LANES]; IN];
                    if let Some(left) = place(1, tile, j, width) {
                        for (i, values) in values.iter_mut().enumerate() {
                            if let Some(top) = place(0, row, i, height) {
                                *values = lanes(x, (top * width + left) * channels + c);
                            }
                        }
                    }
                    *half = points_of_input(values);
                }
                let to = ((row - first_row) * across + tile) * channels + c;
                for i in 0..IN {
                    let line = points_of_input(column(&half, i));
                    for (j, values) in line.iter().enumerate() {
                        out[(i * IN + j) * plane + to..][..LANES].copy_from_slice(values);
                    }
                }
            }
        }
    }
}

vectorised! {
    /// Points of the gradient of the output in the rows of tiles `rows` of one image.
    fn transform_slope(geometry: &Geometry, dy: &[f32], filters: usize, rows: Range<usize>, across: usize,
        out: &mut [f32], plane: usize) => transform_slope_body
}

#[inline(always)]
fn transform_slope_body<const FUSED: bool>(
    geometry: &Geometry,
    dy: &[f32],
    filters: usize,
    rows: Range<usize>,
    across: usize,
    out: &mut [f32],
    plane: usize,
) {
    let [height, width] = geometry.output;
    let first_row = rows.start;
    for row in rows {
        for tile in 0..across {
            for c in (0..filters).step_by(LANES) {
                let mut half = [[[0.0; LANES]; IN]; OUT];
                for (j, half) in half.iter_mut().enumerate() {
                    let mut values = [[0.0; LANES]; OUT];
                    for (i, values) in values.iter_mut().enumerate() {
                        let (top, left) = (row * OUT + i, tile * OUT + j);
                        if top < height && left < width {
                            *values = lanes(dy, (top * width + left) * filters + c);
                        }
                    }
                    *half = points_of_outputs(values);
                }
                let to = ((row - first_row) * across + tile) * filters + c;
                for i in 0..IN {
                    let line = points_of_outputs(column(&half, i));
                    for (j, values) in line.iter().enumerate() {
                        out[(i * IN + j) * plane + to..][..LANES].copy_from_slice(values);
                    }
                }
            }
        }
    }
}

vectorised! {
    /// Outputs of rows of tiles from the products at their points.
    fn transform_output(products: &[f32], plane: usize, filters: usize, width: usize, y: &mut [f32],
        epilogue: &Epilogue<'_>) => transform_output_body
}

#[inline(always)]
fn transform_output_body<const FUSED: bool>(
    products: &[f32],
    plane: usize,
    filters: usize,
    width: usize,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    let height = y.len() / (width * filters);
    let across = width.div_ceil(OUT);
    let clip = epilogue.clip.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    for row in 0..height.div_ceil(OUT) {
        for tile in 0..across {
            for c in (0..filters).step_by(LANES) {
                let from = (row * across + tile) * filters + c;
                let mut half = [[[0.0; LANES]; OUT]; IN];
                for (j, half) in half.iter_mut().enumerate() {
                    let mut values = [[0.0; LANES]; IN];
                    for (i, values) in values.iter_mut().enumerate() {
                        *values = lanes(products, (i * IN + j) * plane + from);
                    }
                    *half = outputs_of_points(values);
                }
                let bias = epilogue.bias.map_or([0.0; LANES], |bias| lanes(bias, c));
                for i in 0..OUT.min(height - row * OUT) {
                    let line = outputs_of_points(column(&half, i));
                    for (j, values) in line.iter().enumerate().take(width - tile * OUT) {
                        let out = &mut y[((row * OUT + i) * width + tile * OUT + j) * filters + c..][..LANES];
                        for (l, out) in out.iter_mut().enumerate() {
                            let old = if epilogue.accumulate { *out } else { 0.0 };
                            *out = limit(old + (values[l] + bias[l]), clip);
                        }
                    }
                }
            }
        }
    }
}

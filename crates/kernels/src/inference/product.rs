//! Convolutions and dense layers in bf16: tiles of pixels by panels of 32 filters, with sums in `f32`.
//!
//! A unit reads rows of pixels that lie equally far apart, 32 values at a time. Where the pixels of a tile lie so and a window's runs are
//! whole multiples of that, it reads them where they are; otherwise the windows are gathered into rows first, once for all filters.

use super::block::{BLOCK, Block, Walk};
use super::view::{Epilogue, Region, View};
use crate::element::Bf16;
use crate::geometry::Geometry;
use crate::linalg::{COLUMNS, DEPTH, PackedPairs, PairedTile, PresentUnit, ROWS, Ready, Sums, column};
use crate::memory::{OutOfMemory, filled, scratch};
use crate::simd::{Simd, wide_or_portable};

/// A convolution with its weights in the order in which the unit reads them.
#[derive(Debug)]
pub(crate) struct Product {
    unit: PresentUnit,
    geometry: Geometry,
    /// Where each run of weights starts in the input, from the window's first value.
    taps: Vec<usize>,
    /// Values that follow one another at each tap.
    run: usize,
    /// Where each [`DEPTH`] values begin in a window that is read where it lies; `None` where runs are not whole multiples of it.
    lying: Option<Vec<usize>>,
    /// Where they begin in a window that has been gathered.
    gathered: Vec<usize>,
    groups: Vec<Group>,
    epilogue: Epilogue,
}

/// Filters that see the same channels of the input.
#[derive(Debug)]
struct Group {
    /// First channel of the input.
    from: usize,
    /// First channel of the output.
    to: usize,
    /// `[tap × run, filter]`.
    weights: PackedPairs,
    /// One value per filter at the place that it has in its panel, and zeros up to whole panels.
    bias: Vec<f32>,
}

impl Product {
    /// A convolution with `weight(k, filter)` for the k-th value of a window of the filter's group. `steps` are those from one
    /// row and from one pixel of the input to the next.
    pub(crate) fn new(
        unit: PresentUnit,
        geometry: Geometry,
        groups: usize,
        steps: [usize; 2],
        weight: impl Fn(usize, usize) -> f32,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let (inner, each) = (geometry.input[2] / groups, bias.len() / groups);
        let (taps, run) = geometry.runs(groups, steps);
        let depth = taps.len() * run;
        let lying = run.is_multiple_of(DEPTH).then(|| {
            let steps_of = |tap: &usize| (0..run).step_by(DEPTH).map(move |at| tap + at).collect::<Vec<usize>>();
            taps.iter().flat_map(steps_of).collect()
        });
        let gathered = (0..depth).step_by(DEPTH).collect();
        let group = |at: usize| {
            let (from, to) = (at * inner, at * each);
            let weights = PackedPairs::new(unit, [depth, each], |k, filter| weight(k, to + filter))?;
            let mut own = filled(0.0, each.next_multiple_of(COLUMNS), "weights")?;
            for (place, value) in own.iter_mut().enumerate() {
                *value = bias[to..to + each].get(column(place)).copied().unwrap_or(0.0);
            }
            Ok(Group { from, to, weights, bias: own })
        };
        let groups = (0..groups).map(group).collect::<Result<_, _>>()?;
        Ok(Self { unit, geometry, taps, run, lying, gathered, groups, epilogue })
    }
}

/// Work of one product.
pub(crate) struct Job<'a> {
    pub product: &'a Product,
    pub input: View<Bf16>,
    pub output: View<Bf16>,
    /// Added before the last function.
    pub residual: Option<View<Bf16>>,
    pub region: Region,
}

/// Computes the region of the output.
///
/// # Safety
/// The views hold the region, the windows that it needs, and a vector beyond.
pub(crate) unsafe fn run(job: &Job<'_>) {
    let Product { unit, geometry, groups, .. } = job.product;
    let mut walk = Walk::new(geometry, [job.input, job.output], job.residual, &job.region);
    let (pixels, mut block) = (walk.pixels(), Block::default());
    let ready = unit.ready();
    for first in (0..pixels).step_by(BLOCK) {
        let count = BLOCK.min(pixels - first);
        walk.next(count, &mut block);
        for group in groups {
            // SAFETY: the block's pixels lie in the region that the views hold, with their windows and a vector beyond.
            unsafe { multiply(&ready, job, group, &block, count) };
        }
    }
}

/// The left side of a tile.
#[derive(Clone, Copy)]
struct Left<'a> {
    /// First pixel of the block in it.
    first: usize,
    rows: usize,
    at: *const Bf16,
    row: usize,
    steps: &'a [usize],
}

/// All filters of a group for the first `count` pixels of a block.
///
/// # Safety
/// The views hold these pixels, their windows, and a vector beyond.
unsafe fn multiply(ready: &Ready, job: &Job<'_>, group: &Group, block: &Block<Bf16>, count: usize) {
    let Product { unit, lying, gathered, .. } = job.product;
    let high = group.weights.rows();
    let tiles = count.div_ceil(high);
    let long = group.weights.depth().next_multiple_of(DEPTH);
    let whole = unit.reads_whole_tiles();
    // Each slot of the scratch is two numbers.
    scratch(BLOCK.min(count.next_multiple_of(16)) * long / 2, |windows| {
        let windows = windows.as_mut_ptr().cast::<Bf16>();
        let mut lefts = [Left { first: 0, rows: 0, at: windows, row: long, steps: gathered }; BLOCK];
        for (tile, left) in lefts.iter_mut().enumerate().take(tiles) {
            // Tiles are whole where the unit reads whole ones, and share the pixels evenly otherwise.
            let (first, end) = match whole {
                true => (tile * high, count.min((tile + 1) * high)),
                false => (tile * count / tiles, (tile + 1) * count / tiles),
            };
            let (rows, inputs) = (end - first, &block.input[first..end]);
            let reads = !whole || rows.is_multiple_of(16);
            *left = match (lying, distance(inputs)) {
                (Some(steps), Some(row)) if reads => {
                    Left { first, rows, at: inputs[0].wrapping_add(group.from), row, steps }
                }
                _ => {
                    let to = windows.wrapping_add(first * long);
                    // SAFETY: the scratch has a row for each pixel, and the views hold the windows.
                    unsafe { gather(job.product, group, inputs, to, long) };
                    Left { first, rows, at: to, row: long, steps: gathered }
                }
            };
        }
        let mut sums = Sums([[0.0; COLUMNS]; ROWS]);
        for (first, columns, right) in group.weights.panels() {
            let (to, bias) = (group.to + first, &group.bias[first..][..COLUMNS]);
            for &Left { first, rows, at, row, steps } in &lefts[..tiles] {
                let tile = PairedTile { rows, left: at, left_row: row, steps, right, sums: &raw mut sums };
                let pixels = first..first + rows;
                let residual = job.residual.is_some().then(|| &block.residual[pixels.clone()]);
                let epilogue = job.product.epilogue;
                let finish =
                    Finish { epilogue, bias, sums: &sums.0, pixels: &block.output[pixels], residual, to, columns };
                // SAFETY: the window of each pixel lies in the input's halo or in the scratch, and where the unit reads whole tiles, the rows
                // are whole or the scratch has room for more; each output has all filters, and the residual a vector beyond.
                unsafe {
                    group.weights.multiply(ready, &tile);
                    finish_tile(unit.vectors(), &finish);
                }
            }
        }
    });
}

/// How far the pixels lie from each other, if that is equally far.
fn distance(pixels: &[*const Bf16]) -> Option<usize> {
    let step = |pair: &[*const Bf16]| (pair[1].addr().wrapping_sub(pair[0].addr())) / size_of::<Bf16>();
    let first = pixels.windows(2).next().map_or(DEPTH, step);
    pixels.windows(2).all(|pair| step(pair) == first).then_some(first)
}

/// Copies the windows of pixels to rows of `long` numbers, with zeros after them.
///
/// # Safety
/// The windows lie at the addresses, and there is room for all rows.
unsafe fn gather(product: &Product, group: &Group, inputs: &[*const Bf16], to: *mut Bf16, long: usize) {
    let Product { taps, run, .. } = product;
    let rest = long - taps.len() * run;
    for (at, input) in inputs.iter().enumerate() {
        let row = to.wrapping_add(at * long);
        // SAFETY: each tap's run lies in the window, and the row has room for all of them and the zeros.
        unsafe {
            for (place, tap) in taps.iter().enumerate() {
                std::ptr::copy_nonoverlapping(input.wrapping_add(group.from + tap), row.add(place * run), *run);
            }
            std::ptr::write_bytes(row.add(long - rest), 0, rest);
        }
    }
}

/// What is to be done with the sums of a tile.
struct Finish<'a> {
    epilogue: Epilogue,
    /// Of the panel's filters, at their places.
    bias: &'a [f32],
    sums: &'a [[f32; COLUMNS]; ROWS],
    /// One per row.
    pixels: &'a [*mut Bf16],
    /// One per row.
    residual: Option<&'a [*const Bf16]>,
    /// First channel of the output.
    to: usize,
    columns: usize,
}

wide_or_portable! {
    /// Adds the bias and the residual, applies the function and rounds.
    finish_tile = finish::<S, Bf16>(Finish<'_>)
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "the macro names the format of what is stored")]
unsafe fn finish<S: Simd, T>(job: &Finish<'_>) {
    // SAFETY: the caller's promises are the same; the instructions of `S` are there.
    unsafe {
        match job.epilogue {
            // The two most common ones have loops of their own, without a choice in them.
            Epilogue::None => finish_with::<S>(job, |sum| sum),
            Epilogue::Clamp(low, high) => {
                let [low, high] = [S::splat(low), S::splat(high)];
                finish_with::<S>(job, |sum| S::min(S::max(sum, low), high));
            }
            epilogue => finish_with::<S>(job, |sum| epilogue.apply::<S>(sum)),
        }
    }
}

#[inline(always)]
unsafe fn finish_with<S: Simd>(job: &Finish<'_>, function: impl Fn(S::V) -> S::V) {
    const ODD: usize = COLUMNS / 2;
    let bias = &job.bias[..COLUMNS];
    for (row, (pixel, sums)) in job.pixels.iter().zip(job.sums).enumerate() {
        for c in (0..job.columns.div_ceil(2)).step_by(S::LANES) {
            // SAFETY: bias and sums have a whole panel, of which both halves are read; the residual has two vectors beyond its channels, and the
            // store is cut to the panel's columns, which the pixel has; the instructions of `S` are there.
            unsafe {
                let (sum, bias) = (sums.as_ptr().add(c), bias.as_ptr().add(c));
                let mut both =
                    [S::add(S::load(sum), S::load(bias)), S::add(S::load(sum.add(ODD)), S::load(bias.add(ODD)))];
                if let Some(residual) = job.residual {
                    let more = S::load_two_bf16(residual[row].wrapping_add(job.to + 2 * c));
                    both = [S::add(both[0], more[0]), S::add(both[1], more[1])];
                }
                let to = pixel.add(job.to + 2 * c);
                S::store_two_bf16(to, [function(both[0]), function(both[1])], (job.columns - 2 * c).min(2 * S::LANES));
            }
        }
    }
}

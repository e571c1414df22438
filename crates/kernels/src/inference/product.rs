//! Convolutions and dense layers in bf16: tiles of pixels by panels of 32 filters, with sums in `f32`.
//!
//! A unit reads rows that lie equally far apart, an even number of values at a time. If the windows of a tile lie equally far apart, and such a
//! number divides their runs, the unit reads them where they are. Otherwise, the windows are first gathered into rows, once for all filters.

use super::block::{BLOCK, Block, Walk};
use super::view::{Epilogue, Region, View};
use crate::bf16::Bf16;
use crate::element::Element as _;
use crate::geometry::Geometry;
use crate::linalg::{Bias, COLUMNS, DEPTH, Depth, PackedPairs, PairedTile, PresentUnit, ROWS, Ready, Sums, column};
use crate::memory::{OutOfMemory, filled, scratch};
use crate::simd::{Simd, wide_or_portable};

/// Upper limit of the steps that are computed for all tiles of a block before the next steps: their part of a panel, up to 2 KiB per step, stays
/// in the second-level cache.
const NEAR: usize = 36;

/// Upper limit of the tiles in a block: the smallest tiles of any unit have 12 rows.
const TILES: usize = BLOCK.div_ceil(12);

/// A convolution with its weights in the order in which the unit reads them.
#[derive(Debug)]
pub(crate) struct Product {
    unit: PresentUnit,
    geometry: Geometry,
    /// Where the input of each run of weights starts, in values from the window's first.
    taps: Vec<usize>,
    /// Consecutive values at each tap.
    run: usize,
    /// Values of a step.
    step: Depth,
    /// Where each step begins in a window that is read where it lies; `None` if no step divides the runs.
    lying: Option<Vec<usize>>,
    /// Where each step begins in a window that has been gathered.
    gathered: Vec<usize>,
    /// Pixels from one row to the next, the additional ones included whose results are dropped ([`Walk::stretched`]).
    pitch: usize,
    groups: Vec<Group>,
    epilogue: Epilogue,
}

/// The filters that see the same channels of the input.
#[derive(Debug)]
struct Group {
    /// First channel of the input.
    from: usize,
    /// First channel of the output.
    to: usize,
    /// `[tap × run, filter]`.
    weights: PackedPairs,
    /// One for each panel, filled up with zeros if the panel has fewer filters.
    bias: Vec<Bias>,
}

impl Product {
    /// A convolution with the weights `weight(k, filter)`, where `k` counts the values of a window of the filter's group. `steps` are the
    /// distances in values from one row and from one pixel of the input to the next.
    pub(crate) fn new(
        unit: PresentUnit,
        geometry: Geometry,
        groups: usize,
        steps: [usize; 2],
        weight: impl Fn(usize, usize) -> f32,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let (inner, each, width) = (geometry.input[2] / groups, bias.len() / groups, geometry.output[1]);
        let (taps, run) = geometry.runs(groups, steps);
        let depth = taps.len() * run;
        // Up to half as many more (shorter) steps cost less than copies of all windows.
        let divides = |step: &Depth| 2 * depth.div_ceil(step.numbers()) <= 3 * depth.div_ceil(DEPTH);
        let step = Depth::dividing(run).filter(divides);
        let lying: Option<Vec<usize>> = step.map(|step| {
            let steps_of =
                |tap: &usize| (0..run).step_by(step.numbers()).map(move |at| tap + at).collect::<Vec<usize>>();
            taps.iter().flat_map(steps_of).collect()
        });
        // If windows are read where they lie, a tile may go on from one row to the next: up to a fifth more pixels cost less than copies.
        let (row, pixel) = (geometry.strides[0] * steps[0], geometry.strides[1] * steps[1]);
        let goes_on = |pitch: &usize| (width..=width + width / 5).contains(pitch);
        let pitch = Some(row / pixel).filter(|pitch| lying.is_some() && row.is_multiple_of(pixel) && goes_on(pitch));
        let step = step.unwrap_or(Depth::WHOLE);
        let gathered = (0..depth).step_by(step.numbers()).collect();
        let group = |at: usize| {
            let (from, to) = (at * inner, at * each);
            let weights = PackedPairs::new(unit, step, [depth, each], |k, filter| weight(k, to + filter))?;
            let mut own = filled(Bias([0.0; COLUMNS]), each.div_ceil(COLUMNS), "weights")?;
            for (place, value) in own.iter_mut().flat_map(|panel| &mut panel.0).enumerate() {
                *value = bias[to..to + each].get(column(place)).copied().unwrap_or(0.0);
            }
            Ok(Group { from, to, weights, bias: own })
        };
        let groups = (0..groups).map(group).collect::<Result<_, _>>()?;
        let pitch = pitch.unwrap_or(width);
        Ok(Self { unit, geometry, taps, run, step, lying, gathered, pitch, groups, epilogue })
    }

    /// The number of parts in which the steps of a product are computed.
    fn parts(&self) -> usize {
        self.gathered.len().div_ceil(NEAR).max(1)
    }

    /// The number of tiles whose sums must be kept at the same time.
    fn sums(&self) -> usize {
        if self.parts() > 1 { TILES } else { 1 }
    }

    /// Number of values in a window that has been gathered, with the zeros up to whole steps.
    fn long(&self) -> usize {
        self.gathered.len() * self.step.numbers()
    }
}

/// The arguments of one product.
pub(crate) struct Job<'a> {
    pub product: &'a Product,
    pub input: View<Bf16>,
    pub output: View<Bf16>,
    /// Values that are added before the last function.
    pub residual: Option<View<Bf16>>,
    pub region: Region,
}

/// Computes the region of the output.
///
/// # Safety
/// The views hold the region, the windows that it needs, and a vector beyond.
pub(crate) unsafe fn run(job: &Job<'_>) {
    let Product { unit, geometry, groups, step, pitch, .. } = job.product;
    let mut walk = Walk::stretched(geometry, *pitch, [job.input, job.output], job.residual, &job.region);
    let (pixels, mut block) = (walk.pixels(), Block::default());
    let ready = unit.ready(*step);
    // Each slot of the scratch holds two numbers. Windows are copied in whole vectors, of which the last may go beyond its row.
    let rows = BLOCK.min(pixels.next_multiple_of(16));
    let sums = job.product.sums() * ROWS * COLUMNS;
    scratch(sums + (rows * job.product.long() + DEPTH).div_ceil(2), |memory| {
        let (sums, windows) = memory.split_at_mut(sums);
        let (sums, windows) = (sums.as_mut_ptr().cast::<Sums>(), windows.as_mut_ptr().cast::<Bf16>());
        for first in (0..pixels).step_by(BLOCK) {
            let count = BLOCK.min(pixels - first);
            walk.next(count, &mut block);
            for group in groups {
                // SAFETY: the block's pixels lie in the region that the views hold, with their windows and a vector beyond; the scratch has room
                // for the windows and the sums.
                unsafe { multiply(&ready, job, group, (&block, count), windows, sums) };
            }
        }
    });
}

/// The left side of a tile.
#[derive(Clone, Copy)]
struct Left<'a> {
    /// Its first pixel, by its place in the block.
    first: usize,
    rows: usize,
    at: *const Bf16,
    row: usize,
    steps: &'a [usize],
}

/// Computes all filters of a group for the first `count` pixels of a block.
///
/// # Safety
/// The views hold these pixels, their windows, and a vector beyond. `windows` has room for the windows of whole tiles and a vector beyond, and
/// `sums` for [`Product::sums`] tiles.
unsafe fn multiply(
    ready: &Ready,
    job: &Job<'_>,
    group: &Group,
    (block, count): (&Block<Bf16>, usize),
    windows: *mut Bf16,
    sums: *mut Sums,
) {
    let Product { unit, geometry, lying, gathered, pitch, step, .. } = job.product;
    let high = group.weights.rows();
    let tiles = count.div_ceil(high);
    let long = job.product.long();
    let whole = unit.reads_whole_tiles();
    let gaps = *pitch != geometry.output[1];
    let mut lefts = [Left { first: 0, rows: 0, at: windows, row: long, steps: gathered }; TILES];
    for (tile, left) in lefts.iter_mut().enumerate().take(tiles) {
        // If the unit reads whole tiles, all tiles but the last are whole; otherwise, the pixels are divided evenly.
        let (first, end) = match whole {
            true => (tile * high, count.min((tile + 1) * high)),
            false => (tile * count / tiles, (tile + 1) * count / tiles),
        };
        let (rows, inputs) = (end - first, &block.input[first..end]);
        let reads = !whole || rows.is_multiple_of(16);
        *left = match (lying, block.distance(first..end)) {
            (Some(steps), Some(row)) if reads => {
                Left { first, rows, at: inputs[0].wrapping_add(group.from), row, steps }
            }
            _ => {
                let to = windows.wrapping_add(first * long);
                // SAFETY: the scratch has a row for each pixel and a vector beyond; the views hold the windows and a vector beyond.
                unsafe { gather(unit.vectors(), &Gather { product: job.product, from: group.from, inputs, to, long }) };
                Left { first, rows, at: to, row: long, steps: gathered }
            }
        };
    }
    let (slots, parts) = (step.pairs() * COLUMNS, job.product.parts());
    for ((first, columns, right), bias) in group.weights.panels().zip(&group.bias) {
        let channel = group.to + first;
        for part in 0..parts {
            let these = part * gathered.len() / parts..(part + 1) * gathered.len() / parts;
            let right = &right[these.start * slots..these.end * slots];
            for (tile, &Left { first, rows, at: left, row: left_row, steps }) in lefts[..tiles].iter().enumerate() {
                let sums = sums.wrapping_add(if parts > 1 { tile } else { 0 });
                let (steps, depth, adds) = (&steps[these.clone()], *step, part > 0);
                let (to, sums_row) = (sums.cast::<f32>(), COLUMNS);
                let tile = PairedTile { rows, left, left_row, depth, steps, right, adds, sums: to, sums_row };
                // SAFETY: the window of each pixel lies in the input and its halo, or in the scratch. If the unit reads whole tiles, either the
                // tile has all rows or the scratch has room for them. The sums of the parts before this one are in `sums`.
                unsafe { group.weights.multiply(ready, &tile) };
                if part + 1 < parts {
                    continue;
                }
                let pixels = first..first + rows;
                let residual = job.residual.is_some().then(|| &block.residual[pixels.clone()]);
                // SAFETY: the unit has written these sums.
                let sums = unsafe { &(*sums).0 };
                let (epilogue, pixels) = (job.product.epilogue, &block.output[pixels]);
                let finish = Finish { epilogue, sums, bias, pixels, residual, gaps, to: channel, columns };
                // SAFETY: each output has all filters, and the residual has a vector beyond them.
                unsafe { finish_tile(unit.vectors(), &finish) };
            }
        }
    }
}

/// The arguments of the copy of windows to rows.
struct Gather<'a> {
    product: &'a Product,
    /// First channel of the input.
    from: usize,
    /// First value of each window.
    inputs: &'a [*const Bf16],
    to: *mut Bf16,
    /// Numbers from one copy to the next.
    long: usize,
}

wide_or_portable! {
    /// Copies windows to rows one after the other, with zeros after the values of each.
    gather = gather_kernel::<S, Bf16>(Gather<'_>)
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "the macro names the format of what is copied")]
unsafe fn gather_kernel<S: Simd, T>(job: &Gather<'_>) {
    /// The unit of a copy. It may be longer than what is left of a run; the numbers that are written after the run are overwritten later.
    type Piece = [Bf16; DEPTH];
    let Product { taps, run, .. } = job.product;
    for (at, input) in job.inputs.iter().enumerate() {
        let (row, input) = (job.to.wrapping_add(at * job.long), input.wrapping_add(job.from));
        if job.long == DEPTH {
            let runs = taps.iter().map(|tap| input.wrapping_add(*tap));
            // SAFETY: each tap's run lies in the window, and the row has room for as many numbers; the instructions of `S` are there.
            unsafe { S::join_bf16(runs, *run, row) };
            continue;
        }
        // SAFETY: each tap's run lies in the window, with a vector beyond. The row has room for all runs and the zeros, with a vector
        // beyond: the row that is written next, or the end of the scratch.
        unsafe {
            for (place, tap) in taps.iter().enumerate() {
                for piece in (0..*run).step_by(DEPTH) {
                    let values = input.wrapping_add(tap + piece).cast::<Piece>().read_unaligned();
                    row.add(place * run + piece).cast::<Piece>().write_unaligned(values);
                }
            }
            row.add(taps.len() * run).cast::<Piece>().write_unaligned([Bf16::default(); DEPTH]);
        }
    }
}

/// The arguments of the epilogue of a tile.
struct Finish<'a> {
    epilogue: Epilogue,
    sums: &'a [[f32; COLUMNS]; ROWS],
    bias: &'a Bias,
    /// One address per row; null if the row's results are dropped.
    pixels: &'a [*mut Bf16],
    /// One address per row.
    residual: Option<&'a [*const Bf16]>,
    /// Whether there are rows whose results are dropped.
    gaps: bool,
    /// First channel of the output.
    to: usize,
    columns: usize,
}

wide_or_portable! {
    /// Adds the bias and the residual, applies the function and rounds.
    finish_tile = finish::<S, Bf16>(Finish<'_>)
}

/// The kinds of epilogue. Each of the most common ones has a loop of its own, without a branch in it.
const NOTHING: u8 = 0;
const LIMITS: u8 = 1;
const FUNCTION: u8 = 2;

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "the macro names the format of what is stored")]
unsafe fn finish<S: Simd, T>(job: &Finish<'_>) {
    let whole = job.columns == COLUMNS && !job.gaps && job.residual.is_none();
    // SAFETY: each row has its sums, and null or a pixel with room for the panel's columns; the instructions of `S` are there.
    unsafe {
        match job.epilogue {
            Epilogue::None if whole => finish_rows::<S, NOTHING, true>(job, (0.0, 0.0)),
            Epilogue::None => finish_rows::<S, NOTHING, false>(job, (0.0, 0.0)),
            Epilogue::Clamp(low, high) if Bf16::limits(low, high) => match whole {
                true => finish_rows::<S, LIMITS, true>(job, (low, high)),
                false => finish_rows::<S, LIMITS, false>(job, (low, high)),
            },
            _ => finish_rows::<S, FUNCTION, false>(job, (0.0, 0.0)),
        }
    }
}

/// Stores the rows of a tile. `WHOLE` says that the panel has all columns, that no row's results are dropped, and that there is no residual.
///
/// # Safety
/// The job's addresses are valid, as its fields say, and the instructions of `S` are there.
#[inline(always)]
unsafe fn finish_rows<S: Simd, const END: u8, const WHOLE: bool>(job: &Finish<'_>, limits: (f32, f32)) {
    const ODD: usize = COLUMNS / 2;
    let columns = if WHOLE { COLUMNS } else { job.columns };
    // With vectors of AVX-512, which every processor with a unit has, this loop has one iteration.
    for c in (0..columns.div_ceil(2)).step_by(S::LANES) {
        // SAFETY: the bias has a whole panel, of which both halves are read; the instructions of `S` are there.
        let bias = unsafe { [0, ODD].map(|half| S::load(job.bias.0.as_ptr().add(c + half))) };
        for (row, (pixel, sums)) in job.pixels.iter().zip(job.sums).enumerate() {
            if !WHOLE && pixel.is_null() {
                continue;
            }
            // SAFETY: the sums have a whole panel, of which both halves are read; two vectors may be read beyond the residual's channels; the
            // store is cut to the panel's columns, which the pixel has; the instructions of `S` are there.
            unsafe {
                let sum = sums.as_ptr().add(c);
                let mut both = [S::add(S::load(sum), bias[0]), S::add(S::load(sum.add(ODD)), bias[1])];
                if let Some(residual) = job.residual.filter(|_| !WHOLE) {
                    let more = S::load_two_bf16(residual[row].wrapping_add(job.to + 2 * c));
                    both = [S::add(both[0], more[0]), S::add(both[1], more[1])];
                }
                let (to, n) = (pixel.add(job.to + 2 * c), (columns - 2 * c).min(2 * S::LANES));
                match END {
                    NOTHING => Bf16::store_all::<S, 2>(to, both, n),
                    LIMITS => Bf16::store_limited::<S, 2>(to, both, limits, n),
                    _ => {
                        let both = [job.epilogue.apply::<S>(both[0]), job.epilogue.apply::<S>(both[1])];
                        Bf16::store_all::<S, 2>(to, both, n);
                    }
                }
            }
        }
    }
}

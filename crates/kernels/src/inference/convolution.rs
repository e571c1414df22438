//! Convolutions and dense layers as matrix products for which no matrix of windows is made. The sums of a tile of pixels by a panel of filters
//! stay in registers while the loop goes over taps and channels; pixels are read where they lie, through one address each.

use super::block::{BLOCK, Block, Walk};
use super::view::{Epilogue, Region, View};
use crate::geometry::Geometry;
use crate::isa::Present;
use crate::linalg::{Addressed, AddressedTile, Packed, Shared};
use crate::memory::{OutOfMemory, filled};
use crate::simd::{Simd, per_isa};

/// A convolution with its weights in the order in which they are read.
#[derive(Debug)]
pub(crate) struct Convolution {
    geometry: Geometry,
    /// Where the input of each run of weights starts, in values from the window's first.
    taps: Vec<usize>,
    /// Consecutive values at each tap.
    run: usize,
    groups: Vec<Group>,
    /// One value per filter, followed by a vector of zeros.
    bias: Vec<f32>,
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
    weights: Packed<Addressed>,
}

impl Convolution {
    /// A convolution with the weights `weight(k, filter)`, where `k` counts the values of a window of the filter's group. `steps` are the
    /// distances in values from one row and from one pixel of the input to the next.
    pub(crate) fn new(
        isa: Present,
        geometry: Geometry,
        groups: usize,
        steps: [usize; 2],
        weight: impl Fn(usize, usize) -> f32,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let (inner, each) = (geometry.input[2] / groups, bias.len() / groups);
        let (taps, run) = geometry.runs(groups, steps);
        let group = |at: usize| {
            let (from, to) = (at * inner, at * each);
            let mut weights = Packed::new(isa);
            weights.fill([taps.len() * run, each], |k, filter| weight(k, to + filter))?;
            Ok(Group { from, to, weights })
        };
        let groups = (0..groups).map(group).collect::<Result<_, _>>()?;
        let mut padded = filled(0.0, bias.len() + 16, "weights")?;
        padded[..bias.len()].copy_from_slice(bias);
        Ok(Self { geometry, taps, run, groups, bias: padded, epilogue })
    }

    fn filters(&self) -> usize {
        self.bias.len() - 16
    }
}

/// The arguments of one convolution.
pub(crate) struct Job<'a> {
    pub convolution: &'a Convolution,
    pub input: View,
    pub output: View,
    /// Values that are added before the last function.
    pub residual: Option<View>,
    pub region: Region,
}

/// Computes the region of the output.
///
/// # Safety
/// The views hold the region, the windows that it needs, and a vector beyond.
pub(crate) unsafe fn run(isa: Present, job: &Job<'_>) {
    let Convolution { geometry, groups, epilogue, .. } = job.convolution;
    let mut walk = Walk::new(geometry, [job.input, job.output], job.residual, &job.region);
    let (pixels, mut block) = (walk.pixels(), Block::default());
    let blocks = pixels.div_ceil(BLOCK);
    for at in 0..blocks {
        let count = (at + 1) * pixels / blocks - at * pixels / blocks;
        walk.next(count, &mut block);
        for group in groups {
            // SAFETY: the block's pixels lie in the region that the views hold, with their windows and a vector beyond.
            unsafe { multiply(job, group, &block, count) };
        }
        if !matches!(epilogue, Epilogue::None | Epilogue::Clamp(..)) {
            let (pixels, filters) = (&block.output[..count], job.convolution.filters());
            // SAFETY: the pixels lie in the output's region and have just been written.
            unsafe { apply_epilogue(isa, &Pixels { pixels, filters, epilogue: *epilogue }) };
        }
    }
}

/// Computes all filters of a group for the first `count` pixels of a block.
///
/// # Safety
/// The views hold these pixels, their windows, and a vector beyond.
unsafe fn multiply(job: &Job<'_>, group: &Group, block: &Block<f32>, count: usize) {
    let Convolution { taps, run, bias, epilogue, .. } = job.convolution;
    let kernel = group.weights.kernel();
    let clip = if let Epilogue::Clamp(low, high) = *epilogue { Some((low, high)) } else { None };
    let tiles = count.div_ceil(kernel.rows);
    for (at, right) in group.weights.panels().enumerate() {
        // After the last panel, the next block begins with the first one again.
        let next = group.weights.panel((at + 1) % group.weights.len());
        let to = group.to + right.first;
        let start = &bias[to..];
        let shared = Shared { right, taps, run: *run, start, from: group.from, to, clip, next };
        for tile in 0..tiles {
            let pixels = tile * count / tiles..(tile + 1) * count / tiles;
            let (ahead, after) = (shared.ahead(tile), block.input[(tile + 1) * count / tiles % count]);
            let tile = AddressedTile {
                panel: &shared,
                left: &block.input[pixels.clone()],
                result: &block.output[pixels.clone()],
                residual: job.residual.is_some().then(|| &block.residual[pixels]),
                ahead,
                after,
            };
            // SAFETY: the window of each pixel lies in the input and its halo, each output has all filters, and the residual has a vector beyond
            // them.
            unsafe { kernel.run(&tile) };
        }
    }
}

/// Pixels to whose values a function must still be applied.
pub(crate) struct Pixels<'a> {
    pixels: &'a [*mut f32],
    filters: usize,
    epilogue: Epilogue,
}

per_isa! {
    /// Applies a function that a tile cannot apply, because it would need the registers of the sums.
    apply_epilogue = apply_kernel(Pixels<'_>)
}

#[inline(always)]
unsafe fn apply_kernel<S: Simd>(job: &Pixels<'_>) {
    for &pixel in job.pixels {
        let mut c = 0;
        while c < job.filters {
            let count = job.filters - c;
            // SAFETY: each pixel has `filters` values, and nothing is read or written after them; the instructions of `S` are there.
            unsafe {
                let at = pixel.add(c);
                S::store_up_to(at, job.epilogue.apply::<S>(S::load_up_to(at, count)), count);
            }
            c += S::LANES;
        }
    }
}

//! Convolutions and dense layers as matrix products without the matrix: a tile of pixels by a panel of filters stays in
//! registers while taps and channels go by; pixels are read where they lie, through one address each.

use super::simd::{Simd, per_isa};
use super::view::{Epilogue, Region, View};
use crate::isa::Isa;
use crate::memory::{OutOfMemory, filled};

/// Pixels whose addresses are found at once; their inputs stay near while the panels go by.
const BLOCK: usize = 128;

/// Pixels of the largest tile: with as many filters as [`most_vectors`] hold it fills the registers.
pub(super) fn most_pixels(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 8,
        Isa::Avx2 => 6,
        Isa::Portable => 4,
    }
}

/// Vectors of filters of the widest panel.
fn most_vectors(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 | Isa::Portable => 3,
        Isa::Avx2 => 2,
    }
}

/// A convolution with its weights in the order in which they are read.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    /// `[vertical, horizontal]`.
    pub strides: [usize; 2],
    /// Zeros in front, `[top, left]`; the input's halo has them.
    pub front: [usize; 2],
    /// Columns of the output.
    pub width: usize,
    /// Where each run of weights starts in the input, from the window's first value.
    pub taps: Vec<usize>,
    /// Values that follow one another at each tap.
    pub run: usize,
    /// Panels of filters.
    pub panels: Vec<Panel>,
    /// Applied last.
    pub epilogue: Epilogue,
}

/// Filters that are computed together.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    /// First channel of the input (of the group).
    pub from: usize,
    /// First channel of the output.
    pub to: usize,
    /// Filters.
    pub filters: usize,
    /// Vectors that hold them.
    pub vectors: usize,
    /// One value a filter (and zeros up to whole vectors), then the weights `[tap, run, filter]` likewise.
    pub values: Vec<f32>,
}

/// Widths of panels, in vectors, that make up `vectors`: as wide as may be, and none of one vector beside one of three.
fn panel_widths(vectors: usize, most: usize) -> Vec<usize> {
    let (mut widths, mut left) = (Vec::with_capacity(vectors.div_ceil(most)), vectors);
    while left > most && left != 4 {
        widths.push(most);
        left -= most;
    }
    match left {
        4 if most < 4 => widths.extend([2, 2]),
        _ => widths.push(left),
    }
    widths
}

impl Convolution {
    /// Cuts filters into panels. `weight(k, filter)` is the weight of the k-th value of a window of group `group`.
    pub fn pack(
        isa: Isa,
        [groups, channels, filters, depth]: [usize; 4],
        bias: &[f32],
        weight: impl Fn(usize, usize) -> f32,
    ) -> Result<Vec<Panel>, OutOfMemory> {
        let lanes = isa.lanes();
        let mut panels = Vec::new();
        for group in 0..groups {
            let mut first = 0;
            for vectors in panel_widths((filters / groups).div_ceil(lanes), most_vectors(isa)) {
                let count = (vectors * lanes).min(filters / groups - first);
                let to = group * (filters / groups) + first;
                let mut values = filled(0.0, (depth + 1) * vectors * lanes, "weights")?;
                for (k, row) in values.chunks_exact_mut(vectors * lanes).enumerate() {
                    for (filter, value) in row[..count].iter_mut().enumerate() {
                        *value = if k == 0 { bias[to + filter] } else { weight(k - 1, to + filter) };
                    }
                }
                panels.push(Panel { from: group * (channels / groups), to, filters: count, vectors, values });
                first += count;
            }
        }
        Ok(panels)
    }
}

/// Work of one convolution.
pub(crate) struct Job<'a> {
    pub convolution: &'a Convolution,
    pub input: View,
    pub output: View,
    /// Added before the last function.
    pub residual: Option<View>,
    pub region: Region,
}

/// Addresses of a tile's pixels and what happens to them.
pub(super) struct Tile<'a> {
    pub convolution: &'a Convolution,
    pub panel: &'a Panel,
    pub input: *const *const f32,
    pub output: *const *mut f32,
    /// Null for none.
    pub residual: *const *const f32,
}

/// Computes the region of the output.
///
/// # Safety
/// The views must hold the region, the windows that it needs, and a vector beyond; the instructions must be there.
pub(crate) unsafe fn run(isa: Isa, job: &Job<'_>) {
    let rows = job.region.rows.len() * job.convolution.width;
    let pixels = job.region.images.len() * rows;
    let most = most_pixels(isa);
    let mut input = [std::ptr::null::<f32>(); BLOCK];
    let mut output = [std::ptr::null_mut::<f32>(); BLOCK];
    let mut residual = [std::ptr::null::<f32>(); BLOCK];
    let convolution = job.convolution;
    let [top, left] = convolution.front.map(|n| n as isize);
    let (mut image, mut y, mut x) = (job.region.images.start, job.region.rows.start, 0);
    let blocks = pixels.div_ceil(BLOCK);
    for block in 0..blocks {
        let count = (block + 1) * pixels / blocks - block * pixels / blocks;
        for i in 0..count {
            let in_y = (y * convolution.strides[0]) as isize - top;
            let in_x = (x * convolution.strides[1]) as isize - left;
            input[i] = job.input.at(image, in_y, in_x);
            output[i] = job.output.at(image, y as isize, x as isize);
            residual[i] = job.residual.map_or(std::ptr::null(), |view| view.at(image, y as isize, x as isize));
            x += 1;
            if x == convolution.width {
                x = 0;
                y += 1;
                if y == job.region.rows.end {
                    y = job.region.rows.start;
                    image += 1;
                }
            }
        }
        let tiles = count.div_ceil(most);
        for panel in &convolution.panels {
            for tile in 0..tiles {
                let first = tile * count / tiles;
                let end = (tile + 1) * count / tiles;
                let tile = Tile {
                    convolution,
                    panel,
                    input: input[first..end].as_ptr(),
                    output: output[first..end].as_ptr(),
                    residual: if job.residual.is_some() { residual[first..end].as_ptr() } else { std::ptr::null() },
                };
                // SAFETY: the caller's views hold the region, the windows in its halo and a vector beyond (see `View`), and the caller has the
                // instructions.
                unsafe { run_tile(isa, &tile, end - first) };
            }
        }
        if !matches!(convolution.epilogue, Epilogue::None | Epilogue::Clamp(..)) {
            let filters = convolution.panels.iter().map(|panel| panel.filters).sum();
            // SAFETY: the pixels lie in the output's region and were just written; the caller has the instructions.
            unsafe { finish(isa, &Finish { pixels: &output[..count], filters, epilogue: convolution.epilogue }) };
        }
    }
}

/// Pixels that a function is still to be applied to.
pub(crate) struct Finish<'a> {
    pixels: &'a [*mut f32],
    filters: usize,
    epilogue: Epilogue,
}

per_isa! {
    /// Applies it.
    finish = finish_kernel(Finish<'_>)
}

#[inline(always)]
unsafe fn finish_kernel<S: Simd>(job: &Finish<'_>) {
    for &pixel in job.pixels {
        let mut c = 0;
        while c < job.filters {
            let count = S::LANES.min(job.filters - c);
            // SAFETY: each pixel has `filters` values, and nothing is read or written after them; the caller has the instructions.
            unsafe {
                let at = pixel.add(c);
                let mut values = [0.0; 16];
                std::ptr::copy_nonoverlapping(at, values.as_mut_ptr(), count);
                S::store_up_to(at, job.epilogue.apply::<S>(S::load(values.as_ptr())), count);
            }
            c += S::LANES;
        }
    }
}

/// Writes `match` over the pixels of a tile and the vectors of its panel.
macro_rules! sizes {
    ($kernel:ident, $tile:expr, $pixels:expr; $($n:literal)*) => {
        match ($pixels, $tile.panel.vectors) {
            $(($n, 1) => $kernel::<$n, 1>($tile),
            ($n, 2) => $kernel::<$n, 2>($tile),
            ($n, 3) => $kernel::<$n, 3>($tile),)*
            (pixels, vectors) => unreachable!("tiles of {pixels} by {vectors} are not made"),
        }
    };
}

/// Computes a tile of up to [`most_pixels`] pixels.
///
/// # Safety
/// As [`run`]'s.
pub(super) unsafe fn run_tile(isa: Isa, tile: &Tile<'_>, pixels: usize) {
    // SAFETY: the caller's views hold the region, the windows in its halo and a vector beyond (see `View`), and the caller has the
    // instructions.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => sizes!(tile_avx512, tile, pixels; 1 2 3 4 5 6 7 8),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => sizes!(tile_avx2, tile, pixels; 1 2 3 4 5 6),
            _ => sizes!(tile_portable, tile, pixels; 1 2 3 4),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn tile_avx512<const P: usize, const W: usize>(tile: &Tile<'_>) {
    // SAFETY: this function has the instructions; the caller's tile has as many addresses as pixels, each with its window.
    unsafe { kernel::<super::simd::Avx512, P, W>(tile) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2<const P: usize, const W: usize>(tile: &Tile<'_>) {
    // SAFETY: this function has the instructions; the caller's tile has as many addresses as pixels, each with its window.
    unsafe { kernel::<super::simd::Avx2, P, W>(tile) }
}

unsafe fn tile_portable<const P: usize, const W: usize>(tile: &Tile<'_>) {
    // SAFETY: no instructions are needed; the caller's tile has as many addresses as pixels, each with its window.
    unsafe { kernel::<super::simd::Portable, P, W>(tile) }
}

/// `P` pixels by `W` vectors of filters: every sum is one chain over taps and channels, whatever the tile, so that a
/// result does not depend on where its pixel falls.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn kernel<S: Simd, const P: usize, const W: usize>(tile: &Tile<'_>) {
    let Tile { convolution, panel, .. } = *tile;
    // SAFETY: a tile has P addresses, the panel W vectors for each weight, and stores are cut to its filters.
    unsafe {
        let mut sums = [[S::splat(0.0); W]; P];
        let mut weights = panel.values.as_ptr();
        for w in 0..W {
            let bias = S::load(weights.add(w * S::LANES));
            for p in 0..P {
                sums[p][w] = bias;
            }
        }
        weights = weights.add(W * S::LANES);
        for &tap in &convolution.taps {
            let input: [*const f32; P] = std::array::from_fn(|p| (*tile.input.add(p)).wrapping_add(tap + panel.from));
            for k in 0..convolution.run {
                let row: [S::V; W] = std::array::from_fn(|w| S::load(weights.add(w * S::LANES)));
                for p in 0..P {
                    let x = S::splat(*input[p].add(k));
                    for w in 0..W {
                        sums[p][w] = S::fma(x, row[w], sums[p][w]);
                    }
                }
                weights = weights.add(W * S::LANES);
            }
        }
        if !tile.residual.is_null() {
            for p in 0..P {
                let from = (*tile.residual.add(p)).add(panel.to);
                for w in 0..W {
                    sums[p][w] = S::add(sums[p][w], S::load(from.add(w * S::LANES)));
                }
            }
        }
        // Other functions follow when the block's pixels are whole: here they would push the sums out of the registers.
        if let Epilogue::Clamp(low, high) = convolution.epilogue {
            let (low, high) = (S::splat(low), S::splat(high));
            for p in 0..P {
                for w in 0..W {
                    sums[p][w] = S::min(S::max(sums[p][w], low), high);
                }
            }
        }
        let full = panel.filters == W * S::LANES;
        for p in 0..P {
            let to = (*tile.output.add(p)).add(panel.to);
            for w in 0..W {
                if full {
                    S::store(to.add(w * S::LANES), sums[p][w]);
                } else if panel.filters > w * S::LANES {
                    S::store_up_to(to.add(w * S::LANES), sums[p][w], panel.filters - w * S::LANES);
                }
            }
        }
    }
}

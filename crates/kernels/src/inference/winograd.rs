//! 3×3 convolutions by Winograd's algorithm F(2×2, 3×3): 16 products where the definition takes 36.
//!
//! Four by four pixels of the input become 16 values a channel, each a sum with signs; 16 matrix products follow, one for
//! each value; sums with signs of their results are two by two pixels of the output. The transforms hold no factor but ±1
//! (the filters' have halves and are made once, in double precision), so results stay as near as the definition's.

use std::cell::Cell;

use super::convolution::{Convolution, Panel, Tile, most_pixels, run_tile};
use super::depthwise::pitch;
use super::simd::{Simd, per_isa, prefetch};
use super::view::{Epilogue, Region, View};
use crate::isa::Isa;
use crate::memory::{OutOfMemory, filled};

/// Tiles that are transformed together.
const BLOCK: usize = 32;

/// Channels of the widest panel.
const WIDEST: usize = 48;

/// One vector more between the 16 planes of a block, so that they do not fall on the same lines of the cache.
const SHIFT: usize = 16;

thread_local! {
    /// Transformed values, kept from one convolution to the next.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A 3×3 convolution.
#[derive(Debug)]
pub(crate) struct Winograd {
    /// Columns of the output.
    width: usize,
    /// Zeros in front, `[top, left]`; the input's halo has them.
    front: [usize; 2],
    channels: usize,
    /// The product that all panels share.
    product: Convolution,
    /// For each panel of filters, the 16 panels of the transformed ones.
    panels: Vec<Vec<Panel>>,
    bias: Vec<f32>,
    epilogue: Epilogue,
}

/// Whether the algorithm is to be used, given `[kernel, strides, dilation]`, input channels and the output's shape: there must
/// be enough products to pay for the sums, and filters that stay in the second cache.
pub(crate) fn pays(window: [[usize; 2]; 3], channels: usize, [height, width, filters]: [usize; 3]) -> bool {
    window == [[3, 3], [1, 1], [1, 1]] && (48..=256).contains(&channels) && filters >= 48 && height >= 8 && width >= 8
}

impl Winograd {
    /// With `kernel(tap, channel, filter)`.
    pub fn new(
        isa: Isa,
        [width, channels, filters]: [usize; 3],
        front: [usize; 2],
        kernel: impl Fn(usize, usize, usize) -> f64,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let mut transformed = filled(0.0_f32, 16 * channels * filters, "weights")?;
        for c in 0..channels {
            for filter in 0..filters {
                let rows: [[f64; 4]; 3] = [0, 1, 2].map(|i| spread([0, 1, 2].map(|j| kernel(i * 3 + j, c, filter))));
                for j in 0..4 {
                    for (i, value) in spread([rows[0][j], rows[1][j], rows[2][j]]).into_iter().enumerate() {
                        transformed[((i * 4 + j) * channels + c) * filters + filter] = value as f32;
                    }
                }
            }
        }
        let zeros = vec![0.0; filters];
        let planes: Result<Vec<std::vec::IntoIter<Panel>>, OutOfMemory> = (0..16)
            .map(|plane| {
                let weight = |k: usize, filter: usize| transformed[(plane * channels + k) * filters + filter];
                Ok(Convolution::pack(isa, [1, channels, filters, channels], &zeros, weight)?.into_iter())
            })
            .collect();
        let mut planes = planes?;
        let mut panels = Vec::new();
        loop {
            let mut panel: Vec<Panel> = planes.iter_mut().filter_map(Iterator::next).collect();
            if panel.is_empty() {
                break;
            }
            // Products go to the scratch, whole vectors of them.
            panel.iter_mut().for_each(|panel| panel.to = 0);
            panels.push(panel);
        }
        let product = Convolution {
            strides: [1, 1],
            front: [0, 0],
            width: 0,
            taps: vec![0],
            run: channels,
            panels: Vec::new(),
            epilogue: Epilogue::None,
        };
        let mut padded = vec![0.0; pitch(filters)];
        padded[..filters].copy_from_slice(bias);
        Ok(Self { width, front, channels, product, panels, bias: padded, epilogue })
    }
}

/// Three taps as four: at 0, 1, -1 and infinity.
pub(super) fn spread([a, b, c]: [f64; 3]) -> [f64; 4] {
    [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c]
}

/// Work of one convolution.
pub(crate) struct Job<'a> {
    pub winograd: &'a Winograd,
    pub input: View,
    pub output: View,
    /// Added before the last function.
    pub residual: Option<View>,
    pub region: Region,
}

/// Two by two pixels of the output: image, row and column of the first.
type Place = [usize; 3];

/// Computes the region of the output.
///
/// # Safety
/// As of [`super::convolution::run`]; the input's halo must hold whole tiles.
pub(crate) unsafe fn run(isa: Isa, job: &Job<'_>) {
    let w = job.winograd;
    let most = most_pixels(isa);
    let depth = pitch(w.channels);
    let (plane_in, plane_out) = (BLOCK * depth + SHIFT, BLOCK * WIDEST + SHIFT);
    let mut scratch = SCRATCH.take();
    if scratch.len() < 16 * (plane_in + plane_out) {
        scratch.resize(16 * (plane_in + plane_out), 0.0);
    }
    let (values, products) = scratch.split_at_mut(16 * plane_in);
    let (values, products) = (values.as_mut_ptr(), products.as_mut_ptr());

    // Tiles lie where they would lie in the whole image, so that a region's border changes nothing.
    let rows = job.region.rows.start / 2..job.region.rows.end.div_ceil(2);
    let columns = w.width.div_ceil(2);
    let each = rows.len() * columns;
    let tiles = job.region.images.len() * each;
    let blocks = tiles.div_ceil(BLOCK);
    let mut places: [Place; BLOCK] = [[0; 3]; BLOCK];
    for block in 0..blocks {
        let first = block * tiles / blocks;
        let count = (block + 1) * tiles / blocks - first;
        for (i, place) in places[..count].iter_mut().enumerate() {
            let (image, tile) = ((first + i) / each, (first + i) % each);
            *place = [job.region.images.start + image, 2 * (rows.start + tile / columns), 2 * (tile % columns)];
        }
        let places = &places[..count];
        let mut from = 0;
        // SAFETY: the input's halo holds whole tiles (the caller's promise); the scratch holds a block's values and one panel's products.
        unsafe {
            spread_input(isa, &Values { job, places, values, depth, plane: plane_in });
            for panels in &w.panels {
                // Lines of the output come while the products are made.
                for &[image, y, x] in places {
                    let first = job.output.at(image, y as isize, x as isize).wrapping_add(from);
                    for offset in [0, job.output.pixel, job.output.row, job.output.row + job.output.pixel] {
                        (0..WIDEST).step_by(16).for_each(|c| prefetch(first.wrapping_add(offset + c)));
                    }
                }
                for (plane, panel) in panels.iter().enumerate() {
                    let (values, products) = (values.add(plane * plane_in), products.add(plane * plane_out));
                    let input: [*const f32; BLOCK] = std::array::from_fn(|i| values.add(i * depth).cast_const());
                    let output: [*mut f32; BLOCK] = std::array::from_fn(|i| products.add(i * WIDEST));
                    let parts = count.div_ceil(most);
                    for part in 0..parts {
                        let (start, end) = (part * count / parts, (part + 1) * count / parts);
                        let (input, output) = (input[start..end].as_ptr(), output[start..end].as_ptr());
                        let convolution = &w.product;
                        let tile = Tile { convolution, panel, input, output, residual: std::ptr::null() };
                        run_tile(isa, &tile, end - start);
                    }
                }
                let filters = panels[0].filters;
                gather_output(isa, &Products { job, places, products, plane: plane_out, from, filters });
                from += filters;
            }
        }
    }
    SCRATCH.set(scratch);
}

/// Input of a block, to be transformed.
pub(crate) struct Values<'a> {
    job: &'a Job<'a>,
    places: &'a [Place],
    values: *mut f32,
    depth: usize,
    plane: usize,
}

per_isa! {
    /// Transforms the input.
    spread_input = spread_kernel(Values<'_>)
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the values would keep them in memory")]
unsafe fn spread_kernel<S: Simd>(v: &Values<'_>) {
    let w = v.job.winograd;
    for (i, &[image, y, x]) in v.places.iter().enumerate() {
        let (y, x) = (y as isize - w.front[0] as isize, x as isize - w.front[1] as isize);
        let corner = v.job.input.at(image, y, x);
        let mut c = 0;
        while c < w.channels {
            // SAFETY: the input's halo holds whole tiles and a vector beyond (see `View`), and the caller has the instructions.
            unsafe {
                let mut rows = [[S::splat(0.0); 4]; 4];
                for r in 0..4 {
                    let row = corner.add(r * v.job.input.row + c);
                    let d: [S::V; 4] = std::array::from_fn(|k| S::load(row.add(k * v.job.input.pixel)));
                    rows[r] = [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[1], d[3])];
                }
                let to = v.values.add(i * v.depth + c);
                for k in 0..4 {
                    S::store(to.add(k * v.plane), S::sub(rows[0][k], rows[2][k]));
                    S::store(to.add((4 + k) * v.plane), S::add(rows[1][k], rows[2][k]));
                    S::store(to.add((8 + k) * v.plane), S::sub(rows[2][k], rows[1][k]));
                    S::store(to.add((12 + k) * v.plane), S::sub(rows[1][k], rows[3][k]));
                }
            }
            c += S::LANES;
        }
    }
}

/// Products of a block and a panel, to be gathered.
pub(crate) struct Products<'a> {
    job: &'a Job<'a>,
    places: &'a [Place],
    products: *mut f32,
    plane: usize,
    from: usize,
    filters: usize,
}

per_isa! {
    /// Makes pixels of products.
    gather_output = gather_kernel(Products<'_>)
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the values would keep them in memory")]
unsafe fn gather_kernel<S: Simd>(p: &Products<'_>) {
    let w = p.job.winograd;
    let rows = &p.job.region.rows;
    for (i, &[image, y, x]) in p.places.iter().enumerate() {
        let mut c = 0;
        while c < p.filters {
            // SAFETY: products and bias are whole vectors, the residual has a vector beyond; stores are cut to the region and the filters.
            unsafe {
                let at = p.products.add(i * WIDEST + c);
                let load = |k: usize| S::load(at.add(k * p.plane));
                let mut columns = [[S::splat(0.0); 4]; 2];
                for k in 0..4 {
                    let m = [load(k), load(4 + k), load(8 + k), load(12 + k)];
                    columns[0][k] = S::add(S::add(m[0], m[1]), m[2]);
                    columns[1][k] = S::sub(S::sub(m[1], m[2]), m[3]);
                }
                let bias = S::load(w.bias.as_ptr().add(p.from + c));
                let mut sums = [[S::splat(0.0); 2]; 2];
                for dy in 0..2 {
                    let m = columns[dy];
                    sums[dy][0] = S::add(S::add(S::add(m[0], m[1]), m[2]), bias);
                    sums[dy][1] = S::add(S::sub(S::sub(m[1], m[2]), m[3]), bias);
                }
                for dy in 0..2 {
                    for dx in 0..2 {
                        if !rows.contains(&(y + dy)) || x + dx >= w.width {
                            continue;
                        }
                        let (y, x) = ((y + dy) as isize, (x + dx) as isize);
                        let mut sum = sums[dy][dx];
                        if let Some(residual) = p.job.residual {
                            sum = S::add(sum, S::load(residual.at(image, y, x).add(p.from + c)));
                        }
                        let to = p.job.output.at(image, y, x).add(p.from + c);
                        S::store_up_to(to, w.epilogue.apply::<S>(sum), p.filters - c);
                    }
                }
            }
            c += S::LANES;
        }
    }
}

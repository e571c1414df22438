//! 1×7 and 7×1 convolutions by Winograd's algorithm: 10 products for two pixels where the definition takes 14.
//!
//! Seven taps are 3 + 3 + 1. F(2, 3) makes two pixels of three taps with 4 products; their sums over both threes, and over the
//! seventh tap (the middle of a three whose ends are zero: 2 products), are taken before the transform back.

use std::cell::Cell;

use super::convolution::{Convolution, Panel, Tile, most_pixels, run_tile};
use super::depthwise::pitch;
use super::simd::{Simd, per_isa};
use super::view::{Epilogue, Region, View};
use super::winograd::spread;
use crate::isa::Isa;
use crate::memory::OutOfMemory;

/// Pairs of pixels that are transformed together.
const BLOCK: usize = 48;

/// Channels of the widest panel.
const WIDEST: usize = 48;

/// One vector more between planes, so that they do not fall on the same lines of the cache.
const SHIFT: usize = 16;

thread_local! {
    /// Transformed values, kept from one convolution to the next.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// A convolution along one axis.
#[derive(Debug)]
pub(crate) struct Line {
    /// 7×1, not 1×7.
    vertical: bool,
    /// Columns of the output.
    width: usize,
    /// Zeros in front, `[top, left]`; the input's halo has them.
    front: [usize; 2],
    channels: usize,
    /// The products of the four planes.
    products: [Convolution; 4],
    /// For each panel of filters, the four panels of the transformed ones.
    panels: Vec<Vec<Panel>>,
    bias: Vec<f32>,
    epilogue: Epilogue,
}

/// Whether the algorithm is to be used along an axis, given `[kernel, strides, dilation]`, input channels, and the output's shape.
pub(crate) fn pays(window: [[usize; 2]; 3], channels: usize, [height, width, filters]: [usize; 3]) -> Option<bool> {
    let [kernel, strides, dilation] = window;
    let vertical = match kernel {
        [7, 1] => true,
        [1, 7] => false,
        _ => return None,
    };
    let length = if vertical { height } else { width };
    let plain = strides == [1, 1] && dilation == [1, 1];
    // Whole vectors of channels, and an odd pixel at the end must not cost what is gained.
    let pays = plain && channels.is_multiple_of(16) && (48..=256).contains(&channels) && filters >= 48 && length >= 8;
    pays.then_some(vertical)
}

impl Line {
    /// With `kernel(tap, channel, filter)`.
    pub fn new(
        isa: Isa,
        vertical: bool,
        [width, channels, filters]: [usize; 3],
        front: [usize; 2],
        kernel: impl Fn(usize, usize, usize) -> f64,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let zeros = vec![0.0; filters];
        let planes: Result<Vec<std::vec::IntoIter<Panel>>, OutOfMemory> = (0..4)
            .map(|plane| {
                let weight = |k: usize, filter: usize| {
                    let tap = |tap: usize| kernel(tap, k % channels, filter);
                    let three = match k / channels {
                        0 => [tap(0), tap(1), tap(2)],
                        1 => [tap(3), tap(4), tap(5)],
                        _ => [0.0, tap(6), 0.0],
                    };
                    spread(three)[plane] as f32
                };
                let shape = [1, channels, filters, depth(plane) * channels];
                Ok(Convolution::pack(isa, shape, &zeros, weight)?.into_iter())
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
        let products = [0, 1, 2, 3].map(|plane| Convolution {
            strides: [1, 1],
            front: [0, 0],
            width: 0,
            taps: vec![0],
            run: depth(plane) * channels,
            panels: Vec::new(),
            epilogue: Epilogue::None,
        });
        let mut padded = vec![0.0; pitch(filters)];
        padded[..filters].copy_from_slice(bias);
        Ok(Self { vertical, width, front, channels, products, panels, bias: padded, epilogue })
    }
}

/// Threes of taps that a plane sums over: the seventh tap is in the middle two only.
fn depth(plane: usize) -> usize {
    if plane == 1 || plane == 2 { 3 } else { 2 }
}

/// Work of one convolution.
pub(crate) struct Job<'a> {
    pub line: &'a Line,
    pub input: View,
    pub output: View,
    /// Added before the last function.
    pub residual: Option<View>,
    pub region: Region,
}

/// Two pixels of the output: image, row and column of the first.
type Place = [usize; 3];

/// Computes the region of the output.
///
/// # Safety
/// As of [`super::convolution::run`]; the input's halo must hold whole pairs.
pub(crate) unsafe fn run(isa: Isa, job: &Job<'_>) {
    let line = job.line;
    let most = most_pixels(isa);
    let row = 3 * line.channels;
    let (plane_in, plane_out) = (BLOCK * row + SHIFT, BLOCK * WIDEST + SHIFT);
    let mut scratch = SCRATCH.take();
    if scratch.len() < 4 * (plane_in + plane_out) {
        scratch.resize(4 * (plane_in + plane_out), 0.0);
    }
    let (values, products) = scratch.split_at_mut(4 * plane_in);
    let (values, products) = (values.as_mut_ptr(), products.as_mut_ptr());

    // Pairs lie where they would lie in the whole image, so that a region's border changes nothing.
    let Region { images, rows } = &job.region;
    let ([down, right], rows, columns) = match line.vertical {
        true => ([2, 1], rows.start / 2..rows.end.div_ceil(2), line.width),
        false => ([1, 2], rows.clone(), line.width.div_ceil(2)),
    };
    let each = rows.len() * columns;
    let pairs = images.len() * each;
    let blocks = pairs.div_ceil(BLOCK);
    let mut places: [Place; BLOCK] = [[0; 3]; BLOCK];
    for block in 0..blocks {
        let first = block * pairs / blocks;
        let count = (block + 1) * pairs / blocks - first;
        for (i, place) in places[..count].iter_mut().enumerate() {
            let (image, pair) = ((first + i) / each, (first + i) % each);
            *place = [images.start + image, down * (rows.start + pair / columns), right * (pair % columns)];
        }
        let places = &places[..count];
        let mut from = 0;
        // SAFETY: the input's halo holds whole pairs (the caller's promise); the scratch holds a block's values and one panel's products.
        unsafe {
            spread_input(isa, &Values { job, places, values, row, plane: plane_in });
            for panels in &line.panels {
                for (plane, panel) in panels.iter().enumerate() {
                    let (values, products) = (values.add(plane * plane_in), products.add(plane * plane_out));
                    let input: [*const f32; BLOCK] = std::array::from_fn(|i| values.add(i * row).cast_const());
                    let output: [*mut f32; BLOCK] = std::array::from_fn(|i| products.add(i * WIDEST));
                    let parts = count.div_ceil(most);
                    for part in 0..parts {
                        let (start, end) = (part * count / parts, (part + 1) * count / parts);
                        let (input, output) = (input[start..end].as_ptr(), output[start..end].as_ptr());
                        let convolution = &line.products[plane];
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
    row: usize,
    plane: usize,
}

per_isa! {
    /// Transforms the input.
    spread_input = spread_kernel(Values<'_>)
}

#[inline(always)]
unsafe fn spread_kernel<S: Simd>(v: &Values<'_>) {
    let line = v.job.line;
    let step = if line.vertical { v.job.input.row } else { v.job.input.pixel };
    for (i, &[image, y, x]) in v.places.iter().enumerate() {
        let (y, x) = (y as isize - line.front[0] as isize, x as isize - line.front[1] as isize);
        let corner = v.job.input.at(image, y, x);
        let mut c = 0;
        // Channels are whole vectors.
        while c < line.channels {
            // SAFETY: the input's halo holds whole pairs and a vector beyond (see `View`), and the caller has the instructions.
            unsafe {
                let d: [S::V; 8] = std::array::from_fn(|k| S::load(corner.add(k * step + c)));
                let to = v.values.add(i * v.row + c);
                for (three, at) in [(0, to), (3, to.add(line.channels))] {
                    S::store(at, S::sub(d[three], d[three + 2]));
                    S::store(at.add(v.plane), S::add(d[three + 1], d[three + 2]));
                    S::store(at.add(2 * v.plane), S::sub(d[three + 2], d[three + 1]));
                    S::store(at.add(3 * v.plane), S::sub(d[three + 1], d[three + 3]));
                }
                let last = to.add(2 * line.channels);
                S::store(last.add(v.plane), S::add(d[6], d[7]));
                S::store(last.add(2 * v.plane), S::sub(d[7], d[6]));
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
unsafe fn gather_kernel<S: Simd>(p: &Products<'_>) {
    let line = p.job.line;
    let rows = &p.job.region.rows;
    let [down, right] = if line.vertical { [1, 0] } else { [0, 1] };
    for (i, &[image, y, x]) in p.places.iter().enumerate() {
        let mut c = 0;
        while c < p.filters {
            // SAFETY: products and bias are whole vectors, the residual has a vector beyond; stores are cut to the region and the filters.
            unsafe {
                let at = p.products.add(i * WIDEST + c);
                let m: [S::V; 4] = std::array::from_fn(|k| S::load(at.add(k * p.plane)));
                let bias = S::load(line.bias.as_ptr().add(p.from + c));
                let pair = [S::add(S::add(m[0], m[1]), m[2]), S::sub(S::sub(m[1], m[2]), m[3])];
                for (second, sum) in pair.into_iter().enumerate() {
                    let (y, x) = (y + second * down, x + second * right);
                    if !rows.contains(&y) || x >= line.width {
                        continue;
                    }
                    let (y, x) = (y as isize, x as isize);
                    let mut sum = S::add(sum, bias);
                    if let Some(residual) = p.job.residual {
                        sum = S::add(sum, S::load(residual.at(image, y, x).add(p.from + c)));
                    }
                    let to = p.job.output.at(image, y, x).add(p.from + c);
                    S::store_up_to(to, line.epilogue.apply::<S>(sum), p.filters - c);
                }
            }
            c += S::LANES;
        }
    }
}

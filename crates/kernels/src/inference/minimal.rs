//! Convolutions of 3×3, 1×7 and 7×1 taps by minimal filtering ([`F2`]), with fewer products than the definition takes.
//!
//! Tiles of the input are transformed to planes of values, one matrix product follows for each plane, and the products at all
//! planes are transformed to tiles of the output. Transforms of values have no factor but ±1, and those of filters are made once,
//! in double precision, so results stay as near as the definition's.

use super::view::{Epilogue, Region, View, pitch};
use crate::geometry::Geometry;
use crate::isa::Present;
use crate::linalg::{Addressed, AddressedTile, Packed, Shared, ZEROS};
use crate::memory::{OutOfMemory, filled, scratch};
use crate::simd::{Simd, per_isa, prefetch};
use crate::transform::{F2, Transform, square};

/// Tiles of the larger kind of block.
const MOST: usize = 48;

/// Channels of the widest panel.
const WIDEST: usize = ZEROS.len();

/// One vector more between the planes of a block, so that they do not fall on the same lines of the cache.
const SHIFT: usize = 16;

/// What a tile of the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Two by two pixels of a 3×3 convolution: 16 products where the definition takes 36.
    Square,
    /// Two pixels of a line of seven taps, downwards if `vertical`: 10 products where the definition takes 14.
    ///
    /// Seven taps are 3 + 3 + 1. The points of both threes, and of the seventh tap (the middle of a three whose ends are zero, so
    /// that two of its points are), are summed before the transform to outputs.
    Line { vertical: bool },
}

impl Form {
    /// The form that pays for a convolution: there must be enough products to pay for the sums, and filters that stay in the
    /// second cache.
    pub(crate) fn choose(geometry: &Geometry, filters: usize) -> Option<Self> {
        let ([_, _, channels], [height, width]) = (geometry.input, geometry.output);
        if geometry.strides != [1, 1] || geometry.dilation != [1, 1] || !(48..=256).contains(&channels) || filters < 48
        {
            return None;
        }
        // An odd pixel at the end of a line must not cost what is gained, and a line wants whole vectors of channels.
        let pays = |length: usize| channels.is_multiple_of(16) && length >= 8;
        match geometry.window {
            [3, 3] if height >= 8 && width >= 8 => Some(Self::Square),
            [7, 1] if pays(height) => Some(Self::Line { vertical: true }),
            [1, 7] if pays(width) => Some(Self::Line { vertical: false }),
            _ => None,
        }
    }

    /// Pixels of a tile of the output, down and to the right.
    pub(crate) fn tile(self) -> [usize; 2] {
        match self {
            Self::Square => [2, 2],
            Self::Line { vertical: true } => [2, 1],
            Self::Line { vertical: false } => [1, 2],
        }
    }

    /// Points of a tile, each with a matrix product.
    fn planes(self) -> usize {
        match self {
            Self::Square => 16,
            Self::Line { .. } => 4,
        }
    }

    /// Values per channel that the sums of a plane go over.
    fn depth(self, plane: usize) -> usize {
        match self {
            Self::Square => 1,
            // The seventh tap is in the middle two only.
            Self::Line { .. } => 2 + usize::from(plane == 1 || plane == 2),
        }
    }

    /// The largest [`Form::depth`].
    fn most_depth(self) -> usize {
        match self {
            Self::Square => 1,
            Self::Line { .. } => 3,
        }
    }

    /// Tiles that are transformed together.
    fn block(self) -> usize {
        match self {
            Self::Square => 32,
            Self::Line { .. } => MOST,
        }
    }

    /// Points of the taps of one channel and filter: `put(plane, depth, value)`.
    fn transform(self, tap: impl Fn(usize) -> f64, mut put: impl FnMut(usize, usize, f64)) {
        match self {
            Self::Square => {
                let rows = [0, 1, 2].map(|i| F2::taps([0, 1, 2].map(|j| tap(i * 3 + j))));
                for j in 0..4 {
                    for (i, value) in F2::taps(rows.map(|row| row[j])).into_iter().enumerate() {
                        put(i * 4 + j, 0, value);
                    }
                }
            }
            Self::Line { .. } => {
                for (depth, three) in
                    [[tap(0), tap(1), tap(2)], [tap(3), tap(4), tap(5)], [0.0, tap(6), 0.0]].into_iter().enumerate()
                {
                    for (plane, value) in F2::taps(three).into_iter().enumerate() {
                        if depth < self.depth(plane) {
                            put(plane, depth, value);
                        }
                    }
                }
            }
        }
    }
}

/// A convolution by minimal filtering.
#[derive(Debug)]
pub(crate) struct Minimal {
    form: Form,
    geometry: Geometry,
    /// For each plane the transformed filters, `[depth × channel, filter]`.
    planes: Vec<Packed<Addressed>>,
    bias: Vec<f32>,
    epilogue: Epilogue,
}

impl Minimal {
    /// A convolution with the weights `kernel(tap, channel, filter)`.
    pub(crate) fn new(
        isa: Present,
        form: Form,
        geometry: Geometry,
        kernel: impl Fn(usize, usize, usize) -> f64,
        bias: &[f32],
        epilogue: Epilogue,
    ) -> Result<Self, OutOfMemory> {
        let (channels, filters) = (geometry.input[2], bias.len());
        let plane = form.most_depth() * channels * filters;
        let mut transformed = filled(0.0_f32, form.planes() * plane, "weights")?;
        for channel in 0..channels {
            for filter in 0..filters {
                form.transform(
                    |tap| kernel(tap, channel, filter),
                    |at, depth, value| {
                        transformed[at * plane + (depth * channels + channel) * filters + filter] = value as f32;
                    },
                );
            }
        }
        let planes = transformed.chunks_exact(plane.max(1)).enumerate().map(|(at, transformed)| {
            let mut packed = Packed::new(isa);
            packed.fill([form.depth(at) * channels, filters], |k, filter| transformed[k * filters + filter])?;
            Ok(packed)
        });
        let planes = planes.collect::<Result<_, _>>()?;
        let mut padded = vec![0.0; pitch(filters)];
        padded[..filters].copy_from_slice(bias);
        Ok(Self { form, geometry, planes, bias: padded, epilogue })
    }
}

/// Work of one convolution.
pub(crate) struct Job<'a> {
    pub minimal: &'a Minimal,
    pub input: View,
    pub output: View,
    /// Added before the last function.
    pub residual: Option<View>,
    pub region: Region,
}

/// A tile of the output: image, row and column of its first pixel.
type Place = [usize; 3];

/// Computes the region of the output.
///
/// # Safety
/// The views hold the region and a vector beyond; the input's halo holds whole tiles.
pub(crate) unsafe fn run(isa: Present, job: &Job<'_>) {
    let Minimal { form, geometry, planes, .. } = job.minimal;
    let [down, right] = form.tile();
    let row = form.most_depth() * pitch(geometry.input[2]);
    let (plane_in, plane_out) = (form.block() * row + SHIFT, form.block() * WIDEST + SHIFT);
    // Tiles lie where they would lie in the whole image, so that a region's border changes nothing.
    let Region { images, rows } = &job.region;
    let rows = rows.start / down..rows.end.div_ceil(down);
    let columns = geometry.output[1].div_ceil(right);
    let each = rows.len() * columns;
    let tiles = images.len() * each;
    let blocks = tiles.div_ceil(form.block());
    let mut places: [Place; MOST] = [[0; 3]; MOST];
    scratch(planes.len() * (plane_in + plane_out), |buffer| {
        let (values, products) = buffer.split_at_mut(planes.len() * plane_in);
        let (values, products) = (values.as_mut_ptr(), products.as_mut_ptr());
        for block in 0..blocks {
            let first = block * tiles / blocks;
            let count = (block + 1) * tiles / blocks - first;
            for (i, place) in places[..count].iter_mut().enumerate() {
                let (image, tile) = ((first + i) / each, (first + i) % each);
                *place = [images.start + image, down * (rows.start + tile / columns), right * (tile % columns)];
            }
            let places = &places[..count];
            // SAFETY: the input's halo holds whole tiles, and the scratch the values of a block at all planes.
            unsafe { spread_input(isa, &Values { job, places, values, row, plane: plane_in }) };
            for at in 0..planes[0].len() {
                let panel = planes[0].panel(at);
                ask_for_output(job, places, panel.first);
                for (plane, packed) in planes.iter().enumerate() {
                    let (values, products) =
                        (values.wrapping_add(plane * plane_in), products.wrapping_add(plane * plane_out));
                    // SAFETY: the scratch holds the values of a block and the products of one panel at this plane.
                    unsafe { multiply(packed, at, [values, products], row, count) };
                }
                let (from, filters) = (panel.first, panel.columns);
                // SAFETY: the products of all planes have just been written; the views hold the region.
                unsafe { gather_output(isa, &Products { job, places, products, plane: plane_out, from, filters }) };
            }
        }
    });
}

/// Lines of the output come into the cache while the products are made.
fn ask_for_output(job: &Job<'_>, places: &[Place], from: usize) {
    let [down, right] = job.minimal.form.tile();
    for &[image, y, x] in places {
        let first = job.output.at(image, y as isize, x as isize).wrapping_add(from);
        for (dy, dx) in (0..down).flat_map(|dy| (0..right).map(move |dx| (dy, dx))) {
            let pixel = first.wrapping_add(dy * job.output.row + dx * job.output.pixel);
            (0..WIDEST).step_by(16).for_each(|c| prefetch(pixel.wrapping_add(c)));
        }
    }
}

/// The products of one plane and panel: `count` rows of values, `row` apart, to rows of [`WIDEST`] products.
///
/// # Safety
/// There are as many rows of both.
unsafe fn multiply(
    packed: &Packed<Addressed>,
    panel: usize,
    [values, products]: [*mut f32; 2],
    row: usize,
    count: usize,
) {
    let kernel = packed.kernel();
    let right = packed.panel(panel);
    let shared = Shared { right, taps: &[0], run: packed.depth(), start: &ZEROS, from: 0, to: 0, clip: None };
    let left: [*const f32; MOST] = std::array::from_fn(|i| values.wrapping_add(i * row).cast_const());
    let result: [*mut f32; MOST] = std::array::from_fn(|i| products.wrapping_add(i * WIDEST));
    let parts = count.div_ceil(kernel.rows);
    for part in 0..parts {
        let tile = part * count / parts..(part + 1) * count / parts;
        let tile = AddressedTile { panel: &shared, left: &left[tile.clone()], result: &result[tile], residual: None };
        // SAFETY: each of the addresses is that of a row of values, or of a row of products as wide as any panel.
        unsafe { kernel.run(&tile) };
    }
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
    let Minimal { form, geometry, .. } = v.job.minimal;
    let input = &v.job.input;
    let channels = geometry.input[2];
    for (i, &[image, y, x]) in v.places.iter().enumerate() {
        let corner = input.at(image, geometry.start(0, y), geometry.start(1, x));
        let mut c = 0;
        while c < channels {
            // SAFETY: the input's halo holds whole tiles and a vector beyond (see `View`); the scratch has whole vectors of channels
            // at each plane; the instructions of `S` are there.
            unsafe {
                let (from, to) = (corner.wrapping_add(c), v.values.add(i * v.row + c));
                match *form {
                    Form::Square => square!(
                        S,
                        4 => 4,
                        F2::input::<S>,
                        // Rows first.
                        |j, i| S::load(from.wrapping_add(i * input.row + j * input.pixel)),
                        |j, i, value| S::store(to.add((i * 4 + j) * v.plane), value)
                    ),
                    Form::Line { vertical } => {
                        let step = if vertical { input.row } else { input.pixel };
                        let d: [S::V; 8] = std::array::from_fn(|k| S::load(from.wrapping_add(k * step)));
                        for (first, to) in [(0, to), (3, to.add(channels))] {
                            let points = F2::input::<S>([d[first], d[first + 1], d[first + 2], d[first + 3]]);
                            for (k, point) in points.into_iter().enumerate() {
                                S::store(to.add(k * v.plane), point);
                            }
                        }
                        // Of the three around the seventh tap, the ends are zeros, and so are the outer points.
                        let last = to.add(2 * channels);
                        S::store(last.add(v.plane), S::add(d[6], d[7]));
                        S::store(last.add(2 * v.plane), S::sub(d[7], d[6]));
                    }
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
unsafe fn gather_kernel<S: Simd>(p: &Products<'_>) {
    let minimal = p.job.minimal;
    for (i, place) in p.places.iter().enumerate() {
        let mut c = 0;
        while c < p.filters {
            // SAFETY: products and bias are whole vectors; the instructions of `S` are there.
            unsafe {
                let at = p.products.add(i * WIDEST + c);
                let bias = S::load(minimal.bias.as_ptr().add(p.from + c));
                match minimal.form {
                    Form::Square => square!(
                        S,
                        4 => 2,
                        F2::output::<S>,
                        |i, j| S::load(at.add((i * 4 + j) * p.plane)),
                        |dy, dx, sum| store::<S>(p, place, [dy, dx], c, S::add(sum, bias))
                    ),
                    Form::Line { vertical } => {
                        let pair = F2::output::<S>(std::array::from_fn(|k| S::load(at.add(k * p.plane))));
                        let second = if vertical { [1, 0] } else { [0, 1] };
                        store::<S>(p, place, [0, 0], c, S::add(pair[0], bias));
                        store::<S>(p, place, second, c, S::add(pair[1], bias));
                    }
                }
            }
            c += S::LANES;
        }
    }
}

/// Ends and stores a pixel of a tile, from channel `c` of the panel on, unless it lies outside of the region.
///
/// # Safety
/// The instructions of `S` are there, and the views hold the region.
#[inline(always)]
unsafe fn store<S: Simd>(p: &Products<'_>, &[image, y, x]: &Place, [dy, dx]: [usize; 2], c: usize, mut sum: S::V) {
    let (y, x) = (y + dy, x + dx);
    if !p.job.region.rows.contains(&y) || x >= p.job.minimal.geometry.output[1] {
        return;
    }
    let (y, x) = (y as isize, x as isize);
    // SAFETY: the pixel lies in the region; the residual has a vector beyond it, and the store is cut to the panel's filters.
    unsafe {
        if let Some(residual) = p.job.residual {
            sum = S::add(sum, S::load(residual.at(image, y, x).add(p.from + c)));
        }
        let to = p.job.output.at(image, y, x).add(p.from + c);
        S::store_up_to(to, p.job.minimal.epilogue.apply::<S>(sum), p.filters - c);
    }
}

//! Convolutions of 3×3, 5×5, 1×7 and 7×1 taps by minimal filtering ([`Points`]), with fewer products than the definition takes.
//!
//! Tiles of the input are transformed to points; the values of all tiles at one point are a plane. Each plane has a matrix product, and the
//! products of all planes are transformed to tiles of the output. Filters are transformed once, in double precision.

mod form;

pub(crate) use form::Form;
use form::Part;

use super::view::{Epilogue, Region, View, pitch};
use crate::geometry::Geometry;
use crate::isa::Present;
use crate::linalg::{Addressed, AddressedTile, MicroKernel, Packed, Panel, Shared, ZEROS};
use crate::memory::{OutOfMemory, filled, scratch};
use crate::simd::{FIRST_CACHE, Simd, per_isa, prefetch};
use crate::transform::{One, Outputs, Points, Six, rectangle};

/// Upper and lower limit of the tiles that are transformed together.
const MOST: usize = 48;
const FEWEST: usize = 16;

/// Bytes that the values and products of a block of tiles may take, so that weights also fit in the second-level cache.
const BUDGET: usize = 640 << 10;

/// Channels of the widest panel.
const WIDEST: usize = ZEROS.len();

/// Additional values between the planes of a block, so that the planes do not compete for the same sets of the cache.
const SHIFT: usize = 16;

/// A convolution by minimal filtering.
#[derive(Debug)]
pub(crate) struct Minimal {
    form: Form,
    geometry: Geometry,
    parts: Vec<Part>,
    /// The transformed filters of each plane, `[depth × channel, filter]`.
    planes: Vec<Packed<Addressed>>,
    /// Tiles that are transformed together.
    block: usize,
    /// Number of values of a tile in a plane, with a vector beyond.
    row: usize,
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
        let (parts, planes) = (form.parts(), form.planes());
        let depths: Vec<usize> =
            (0..planes).map(|plane| parts.iter().filter(|part| part.slots[plane].is_some()).count()).collect();
        let deepest = depths.iter().copied().max().unwrap_or(1);
        let size = deepest * channels * filters;
        let mut transformed = filled(0.0_f32, planes * size, "weights")?;
        for part in &parts {
            for channel in 0..channels {
                for filter in 0..filters {
                    let tap = |i: usize, j: usize| kernel(i * geometry.window[1] + j, channel, filter);
                    part.transform(tap, |plane, point| {
                        let slot = part.slots[plane].expect("a part puts values only where it is not zero");
                        transformed[plane * size + (slot * channels + channel) * filters + filter] = point as f32;
                    });
                }
            }
        }
        let planes = transformed.chunks_exact(size.max(1)).zip(depths).map(|(transformed, depth)| {
            let mut packed = Packed::new(isa);
            packed.fill([depth * channels, filters], |k, filter| transformed[k * filters + filter])?;
            Ok(packed)
        });
        let planes: Vec<Packed<Addressed>> = planes.collect::<Result<_, _>>()?;
        let row = pitch(deepest * channels) + pitch(1);
        let each = planes.len() * (row + WIDEST) * size_of::<f32>();
        // Weights that do not fit in the cache are read from memory once per block. Then few large blocks cost less than small ones.
        let weights = form.depths() * channels * filters * size_of::<f32>();
        let block = (BUDGET.max(weights / 4) / each / 8 * 8).clamp(FEWEST, MOST);
        let mut padded = vec![0.0; pitch(filters)];
        padded[..filters].copy_from_slice(bias);
        Ok(Self { form, geometry, parts, planes, block, row, bias: padded, epilogue })
    }
}

/// The arguments of one convolution.
pub(crate) struct Job<'a> {
    pub minimal: &'a Minimal,
    pub input: View,
    pub output: View,
    /// Values that are added before the last function.
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
    let Minimal { form, geometry, planes, block: most, row, .. } = job.minimal;
    let [down, right] = form.tile();
    let (plane_in, plane_out) = (most * row + SHIFT, most * WIDEST + SHIFT);
    // Tiles begin where they would in the whole image, so that results do not depend on the region.
    let Region { images, rows } = &job.region;
    let rows = rows.start / down..rows.end.div_ceil(down);
    let columns = geometry.output[1].div_ceil(right);
    let each = rows.len() * columns;
    let tiles = images.len() * each;
    let blocks = tiles.div_ceil(*most);
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
            // SAFETY: the input's halo holds whole tiles, and the scratch holds the values of a block in all planes.
            unsafe { spread_input(isa, &Values { job, places, values, plane: plane_in }) };
            for at in 0..planes[0].len() {
                let panel = planes[0].panel(at);
                ask_for_output(job, places, panel.first);
                for (plane, packed) in planes.iter().enumerate() {
                    let (values, products) =
                        (values.wrapping_add(plane * plane_in), products.wrapping_add(plane * plane_out));
                    // The next panel is the same one of the next plane; after the last plane, the next one of the first plane.
                    let next = match planes.get(plane + 1) {
                        Some(next) => next.panel(at),
                        None => planes[0].panel((at + 1) % planes[0].len()),
                    };
                    let (panels, depth) = ([packed.panel(at), next], packed.depth());
                    // SAFETY: the scratch holds the values of a block in this plane, and has room for the products of one panel.
                    unsafe { multiply(packed.kernel(), panels, depth, [values, products], *row, count) };
                }
                let (from, filters) = (panel.first, panel.columns);
                // SAFETY: the products of all planes have just been written; the views hold the region.
                unsafe { gather_output(isa, &Products { job, places, products, plane: plane_out, from, filters }) };
            }
        }
    });
}

/// Prefetches the lines of the output while the products are computed.
fn ask_for_output(job: &Job<'_>, places: &[Place], from: usize) {
    let [down, right] = job.minimal.form.tile();
    for &[image, y, x] in places {
        let first = job.output.at(image, y as isize, x as isize).wrapping_add(from);
        for (dy, dx) in (0..down).flat_map(|dy| (0..right).map(move |dx| (dy, dx))) {
            let pixel = first.wrapping_add(dy * job.output.row + dx * job.output.pixel);
            (0..WIDEST).step_by(16).for_each(|c| prefetch::<FIRST_CACHE>(pixel.wrapping_add(c)));
        }
    }
}

/// Multiplies `count` rows of a plane's values, which are `row` values apart, with one panel, to rows of [`WIDEST`] products.
///
/// # Safety
/// There are `count` rows of values, and room for `count` rows of products.
unsafe fn multiply(
    kernel: &MicroKernel<Addressed>,
    [right, next]: [Panel<'_>; 2],
    depth: usize,
    [values, products]: [*mut f32; 2],
    row: usize,
    count: usize,
) {
    let shared = Shared { right, taps: &[0], run: depth, start: &ZEROS, from: 0, to: 0, clip: None, next };
    let left: [*const f32; MOST] = std::array::from_fn(|i| values.wrapping_add(i * row).cast_const());
    let result: [*mut f32; MOST] = std::array::from_fn(|i| products.wrapping_add(i * WIDEST));
    let parts = count.div_ceil(kernel.rows);
    for part in 0..parts {
        let (tile, ahead) = (part * count / parts..(part + 1) * count / parts, shared.ahead(part));
        let after = left[tile.end % count];
        let (left, result) = (&left[tile.clone()], &result[tile]);
        let tile = AddressedTile { panel: &shared, left, result, residual: None, ahead, after };
        // SAFETY: each address is that of a row of values, or of a row of products, which is as wide as the widest panel.
        unsafe { kernel.run(&tile) };
    }
}

/// The arguments of the transform of a block's input.
pub(crate) struct Values<'a> {
    job: &'a Job<'a>,
    places: &'a [Place],
    values: *mut f32,
    plane: usize,
}

per_isa! {
    /// Transforms the input.
    spread_input = spread_kernel(Values<'_>)
}

#[inline(always)]
unsafe fn spread_kernel<S: Simd>(v: &Values<'_>) {
    // SAFETY: the points are those of the form's axes; this function is compiled for the instructions of `S`, and the job has the memory.
    unsafe {
        match v.job.minimal.form {
            Form::Square3 | Form::Square5 => spread::<S, Six, Six, 6, 6>(v),
            Form::Line7 { vertical: true } => spread::<S, Six, One, 6, 1>(v),
            Form::Line7 { vertical: false } => spread::<S, One, Six, 1, 6>(v),
        }
    }
}

/// Transforms the input to the points of `Y` and `X`.
///
/// # Safety
/// The instructions of `S` are there, the input's halo holds whole tiles, and the values have room for a block at all planes.
#[inline(always)]
unsafe fn spread<S: Simd, Y: Points<H>, X: Points<W>, const H: usize, const W: usize>(v: &Values<'_>) {
    let Minimal { geometry, parts, row, .. } = v.job.minimal;
    let input = &v.job.input;
    let channels = geometry.input[2];
    for part in parts {
        // The place to which the value at each point goes; `None` if the part is zero there.
        let mut to = [[None; W]; H];
        for (plane, slot) in part.slots.iter().enumerate() {
            to[plane / W][plane % W] = slot.map(|slot| plane * v.plane + slot * channels);
        }
        let ([top, left], [height, width]) = (part.first, part.values);
        for (i, &[image, y, x]) in v.places.iter().enumerate() {
            let corner = input.at(image, geometry.start(0, y) + top as isize, geometry.start(1, x) + left as isize);
            let values = v.values.wrapping_add(i * row);
            let mut c = 0;
            while c < channels {
                // SAFETY: the input's halo holds whole tiles and a vector beyond (see `View`), and only values of tiles are read; in each
                // plane, the scratch has a vector beyond the channels, which the next part overwrites; the instructions of `S` are there.
                unsafe {
                    let from = corner.wrapping_add(c);
                    rectangle!(
                        S,
                        [H, W] => [H, W],
                        [Y::input::<S>, X::input::<S>],
                        |i, j| match i < height && j < width {
                            true => S::load(from.wrapping_add(i * input.row + j * input.pixel)),
                            false => S::splat(0.0),
                        },
                        |i, j, value| if let Some(to) = to[i][j] {
                            S::store(values.add(to + c), value);
                        }
                    );
                }
                c += S::LANES;
            }
        }
    }
}

/// The arguments of the transform of the products of a block and a panel.
pub(crate) struct Products<'a> {
    job: &'a Job<'a>,
    places: &'a [Place],
    products: *mut f32,
    plane: usize,
    from: usize,
    filters: usize,
}

per_isa! {
    /// Transforms products to pixels of the output.
    gather_output = gather_kernel(Products<'_>)
}

#[inline(always)]
unsafe fn gather_kernel<S: Simd>(p: &Products<'_>) {
    // SAFETY: the points and outputs are those of the form's axes; this function is compiled for the instructions of `S`, and the job has
    // the memory.
    unsafe {
        match p.job.minimal.form {
            Form::Square3 => gather::<S, Six, Six, 6, 4, 6, 4>(p),
            Form::Square5 => gather::<S, Six, Six, 6, 2, 6, 2>(p),
            Form::Line7 { vertical: true } => gather::<S, Six, One, 6, 3, 1, 1>(p),
            Form::Line7 { vertical: false } => gather::<S, One, Six, 1, 1, 6, 3>(p),
        }
    }
}

/// Transforms the products at the points of `Y` and `X` to `DOWN` × `RIGHT` pixels of each tile.
///
/// # Safety
/// The instructions of `S` are there, the products of a panel have been computed in all planes, and the views hold the region.
#[inline(always)]
unsafe fn gather<S: Simd, Y, X, const H: usize, const DOWN: usize, const W: usize, const RIGHT: usize>(p: &Products<'_>)
where
    Y: Outputs<H, DOWN>,
    X: Outputs<W, RIGHT>,
{
    for (i, place) in p.places.iter().enumerate() {
        let mut c = 0;
        while c < p.filters {
            // SAFETY: products and bias are whole vectors; the instructions of `S` are there.
            unsafe {
                let at = p.products.add(i * WIDEST + c);
                let bias = S::load(p.job.minimal.bias.as_ptr().add(p.from + c));
                rectangle!(
                    S,
                    [H, W] => [DOWN, RIGHT],
                    [Y::output::<S>, X::output::<S>],
                    |i, j| S::load(at.add((i * W + j) * p.plane)),
                    |dy, dx, sum| store::<S>(p, place, [dy, dx], c, S::add(sum, bias))
                );
            }
            c += S::LANES;
        }
    }
}

/// Applies the epilogue to a vector of a tile's pixel, from channel `c` of the panel on, and stores it, unless the pixel lies outside of the
/// region.
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

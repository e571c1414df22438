//! Attention in a prefix.

use injerto_graph::Attention;

use super::format::Format;
use super::view::{Region, View};
use crate::attention::{Head, Rows};
use crate::isa::Present;
use crate::linalg::Multiplier;

/// The arguments of one attention.
pub(crate) struct Job<'a, T> {
    pub sizes: Attention,
    /// The views of queries, keys and values; or one view if they are the channels of one value.
    pub inputs: &'a [View<T>],
    pub output: View<T>,
    pub region: Region,
}

/// Computes the region of the output.
///
/// # Safety
/// The views hold all tokens of the images, and no other code accesses the region of the output.
pub(crate) unsafe fn run<T: Format>(isa: Present, job: &Job<'_, T>) {
    let Attention { heads, tokens, others, channels, value_channels } = job.sizes;
    let view = |part: usize| match job.inputs {
        [all] => (*all, part * channels),
        views => (views[part], 0),
    };
    // Arithmetic is in `f32`: if the format is another one, the queries, keys and values of a head are converted to these copies.
    let mut copies: [Vec<f32>; 3] = Default::default();
    for image in job.region.images.clone() {
        for head in 0..heads {
            let [ref mut queries, ref mut keys, ref mut values] = copies;
            let rows = |part: usize, count: usize, width: usize| {
                let (view, first) = view(part);
                let step = view.row;
                let at = view.at(image, 0, 0).wrapping_add(first + head * width).cast_const();
                // SAFETY: the view holds `count` rows that are `step` values apart, with the channels of all heads, and no code writes them
                // while this step runs.
                let values = unsafe { std::slice::from_raw_parts(at, (count - 1) * step + width) };
                (values, [step, count, width])
            };
            let q = single::<T>(rows(0, tokens, channels / heads), queries);
            let k = single::<T>(rows(1, others, channels / heads), keys);
            let width = value_channels / heads;
            let v = single::<T>(rows(2, others, width), values);
            let queries = job.region.rows.clone();
            let step = job.output.row;
            let at = job.output.at(image, queries.start as isize, 0).wrapping_add(head * width);
            let length = (queries.len() - 1) * step + width;
            // SAFETY: the view holds the region's rows, which no other code accesses, from this head's first channel on.
            let out = unsafe { std::slice::from_raw_parts_mut(at, length) };
            T::write_rows(out, width, step, |out, step| {
                let hardware = (isa.for_loops(), Multiplier::Single(isa.for_loops().vectors()));
                Head::lend(hardware, k, v, |head, memory| head.run(q, queries, memory, out, step));
            });
        }
    }
}

/// The rows of a head as `f32`.
fn single<'a, T: Format>((values, [step, count, width]): (&'a [T], [usize; 3]), copy: &'a mut Vec<f32>) -> Rows<'a> {
    Rows { values: T::singles(values, copy), step, count, width }
}

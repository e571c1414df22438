//! Attention on the values of an arena.

use injerto_graph::Attention;

use super::view::{Region, View};
use crate::attention::{Head, Rows};
use crate::isa::Present;

/// Work of one attention.
pub(crate) struct Job<'a> {
    pub sizes: Attention,
    /// Queries, keys and values; one view where all of them lie side by side.
    pub inputs: &'a [View],
    pub output: View,
    pub region: Region,
}

/// Computes the region of the output.
///
/// # Safety
/// The views hold all tokens of the images, and nobody else touches the region of the output.
pub(crate) unsafe fn run(isa: Present, job: &Job<'_>) {
    let Attention { heads, tokens, others, channels, value_channels } = job.sizes;
    let view = |part: usize| match job.inputs {
        [all] => (*all, part * channels),
        views => (views[part], 0),
    };
    for image in job.region.images.clone() {
        for head in 0..heads {
            let rows = |part: usize, count: usize, width: usize| {
                let (view, first) = view(part);
                let step = view.row;
                let at = view.at(image, 0, 0).wrapping_add(first + head * width).cast_const();
                // SAFETY: the view holds `count` rows that are `step` values apart, with as many channels as all heads take, and nobody
                // writes them while this step runs.
                let values = unsafe { std::slice::from_raw_parts(at, (count - 1) * step + width) };
                Rows { values, step, count, width }
            };
            let q = rows(0, tokens, channels / heads);
            let k = rows(1, others, channels / heads);
            let width = value_channels / heads;
            let v = rows(2, others, width);
            let queries = job.region.rows.clone();
            let step = job.output.row;
            let at = job.output.at(image, queries.start as isize, 0).wrapping_add(head * width);
            let length = (queries.len() - 1) * step + width;
            // SAFETY: the view holds the region's rows, which nobody else touches, from this head's first channel on.
            let out = unsafe { std::slice::from_raw_parts_mut(at, length) };
            Head::lend(isa.for_loops(), k, v, |head, memory| head.run(q, queries, memory, out, step));
        }
    }
}

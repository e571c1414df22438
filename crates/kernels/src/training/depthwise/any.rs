//! Depthwise convolutions with windows of any size, and with several output channels per input channel.

use crate::geometry::Geometry;
use crate::simd::{fma, limit, vectorised};

/// Channels that are computed together.
const LANES: usize = 16;

vectorised! {
    /// Computes one row of one image's output.
    pub(super) fn row(geometry: &Geometry, multiplier: usize, x: &[f32], row: usize, kernel: &[f32], shift: &[f32],
        clip: (f32, f32), y: &mut [f32]) => row_body
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn row_body<const FUSED: bool>(
    geometry: &Geometry,
    multiplier: usize,
    x: &[f32],
    row: usize,
    kernel: &[f32],
    shift: &[f32],
    clip: (f32, f32),
    y: &mut [f32],
) {
    let (channels, width) = (shift.len(), geometry.input[2]);
    let mut taps = Vec::with_capacity(geometry.window[0] * geometry.window[1]);
    for (column, y) in y.chunks_exact_mut(channels).enumerate() {
        taps.clear();
        for tap in 0..geometry.window[0] * geometry.window[1] {
            let from = geometry.source(0, row, tap / geometry.window[1]);
            let at = geometry.source(1, column, tap % geometry.window[1]);
            if let (Some(from), Some(at)) = (from, at) {
                taps.push(((from * geometry.input[1] + at) * width, tap * channels));
            }
        }
        if multiplier == 1 {
            gather::<FUSED>(x, kernel, &taps, Some(shift), clip, y);
            continue;
        }
        for (c, y) in y.iter_mut().enumerate() {
            let sum = taps.iter().fold(shift[c], |sum, (x_at, kernel_at)| {
                fma::<FUSED>(x[x_at + c / multiplier], kernel[kernel_at + c], sum)
            });
            *y = limit(sum, clip);
        }
    }
}

/// `out = clip(start + sum of source * kernel over the taps)`, channel by channel; without `start`, the sum is added to `out`.
#[inline(always)]
fn gather<const FUSED: bool>(
    source: &[f32],
    kernel: &[f32],
    taps: &[(usize, usize)],
    start: Option<&[f32]>,
    clip: (f32, f32),
    out: &mut [f32],
) {
    let channels = out.len();
    let wide = channels / (4 * LANES) * (4 * LANES);
    for first in (0..wide).step_by(4 * LANES) {
        gather_block::<FUSED, { 4 * LANES }>(source, kernel, taps, start, clip, first, out);
    }
    let narrow = channels / LANES * LANES;
    for first in (wide..narrow).step_by(LANES) {
        gather_block::<FUSED, LANES>(source, kernel, taps, start, clip, first, out);
    }
    for first in narrow..channels {
        gather_block::<FUSED, 1>(source, kernel, taps, start, clip, first, out);
    }
}

#[inline(always)]
fn gather_block<const FUSED: bool, const WIDTH: usize>(
    source: &[f32],
    kernel: &[f32],
    taps: &[(usize, usize)],
    start: Option<&[f32]>,
    clip: (f32, f32),
    first: usize,
    out: &mut [f32],
) {
    let out: &mut [f32; WIDTH] = (&mut out[first..first + WIDTH]).try_into().expect("the slice has this length");
    let mut sums: [f32; WIDTH] = match start {
        Some(start) => start[first..first + WIDTH].try_into().expect("the slice has this length"),
        None => *out,
    };
    for (source_at, kernel_at) in taps {
        let source: &[f32; WIDTH] = source[source_at + first..][..WIDTH].try_into().expect("the slice has this length");
        let kernel: &[f32; WIDTH] = kernel[kernel_at + first..][..WIDTH].try_into().expect("the slice has this length");
        for ((sum, source), kernel) in sums.iter_mut().zip(source).zip(kernel) {
            *sum = fma::<FUSED>(*source, *kernel, *sum);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = limit(sum, clip);
    }
}

vectorised! {
    /// Adds the contributions of all taps to one row of one image's input gradient.
    pub(super) fn input_gradient_row(geometry: &Geometry, multiplier: usize, dy: &[f32], row: usize, kernel: &[f32],
        dx: &mut [f32]) => input_gradient_row_body
}

#[inline(always)]
fn input_gradient_row_body<const FUSED: bool>(
    geometry: &Geometry,
    multiplier: usize,
    dy: &[f32],
    row: usize,
    kernel: &[f32],
    dx: &mut [f32],
) {
    let width = geometry.input[2];
    let channels = width * multiplier;
    // The output row (or column) to which tap `tap` contributes the input row (or column) `at`.
    let target = |axis: usize, at: usize, tap: usize| {
        let place = (at + geometry.before[axis]).checked_sub(tap * geometry.dilation[axis])?;
        let to = place / geometry.strides[axis];
        (place % geometry.strides[axis] == 0 && to < geometry.output[axis]).then_some(to)
    };
    let mut taps = Vec::with_capacity(geometry.window[0] * geometry.window[1]);
    for (column, dx) in dx.chunks_exact_mut(width).enumerate() {
        taps.clear();
        for tap in 0..geometry.window[0] * geometry.window[1] {
            let to = target(0, row, tap / geometry.window[1]);
            let at = target(1, column, tap % geometry.window[1]);
            if let (Some(to), Some(at)) = (to, at) {
                taps.push(((to * geometry.output[1] + at) * channels, tap * channels));
            }
        }
        if multiplier == 1 {
            gather::<FUSED>(dy, kernel, &taps, None, (f32::NEG_INFINITY, f32::INFINITY), dx);
            continue;
        }
        for (dy_at, kernel_at) in &taps {
            for c in 0..channels {
                dx[c / multiplier] = fma::<FUSED>(dy[dy_at + c], kernel[kernel_at + c], dx[c / multiplier]);
            }
        }
    }
}

vectorised! {
    /// Adds what one image contributes to the kernel's gradient, `[tap, channel]`.
    pub(super) fn add_kernel_gradient(geometry: &Geometry, multiplier: usize, x: &[f32], dy: &[f32], gradient: &mut [f32])
        => add_kernel_gradient_body
}

#[inline(always)]
fn add_kernel_gradient_body<const FUSED: bool>(
    geometry: &Geometry,
    multiplier: usize,
    x: &[f32],
    dy: &[f32],
    gradient: &mut [f32],
) {
    let [_, width, channels] = geometry.input;
    for (pixel, dy) in dy.chunks_exact(channels * multiplier).enumerate() {
        let (row, column) = (pixel / geometry.output[1], pixel % geometry.output[1]);
        for (tap, sums) in gradient.chunks_exact_mut(channels * multiplier).enumerate() {
            let from = geometry.source(0, row, tap / geometry.window[1]);
            let at = geometry.source(1, column, tap % geometry.window[1]);
            let (Some(from), Some(at)) = (from, at) else {
                continue;
            };
            let x = &x[(from * width + at) * channels..][..channels];
            if multiplier == 1 {
                for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                    *sum = fma::<FUSED>(*x, *dy, *sum);
                }
                continue;
            }
            for (c, (sum, dy)) in sums.iter_mut().zip(dy).enumerate() {
                *sum = fma::<FUSED>(x[c / multiplier], *dy, *sum);
            }
        }
    }
}

//! Depthwise convolutions with windows of 3×3, 5×5 and 7×7, compiled for each size. Sums of up to eight columns stay in registers.
//!
//! Values lie without zeros around them, so each column that a window reads is compared with the image's width.

use crate::geometry::Geometry;
use crate::inference::for_each_column;
use crate::simd::{FIRST_CACHE, Simd, prefetch, vectorised};

/// Upper limit of the columns that are computed at once: their sums, a row of weights and an input take less than 32 registers.
const MOST: usize = 8;

/// Upper limit of the bytes of an image and its output's gradient that [`add_kernel_gradient`] goes through at a time, unless one vector of
/// channels has more: two thirds of a first-level cache of 48 KiB. There, the windows of the next row find the rows that they share with this
/// one.
const NEAR: usize = 32 << 10;

/// Calls `$function` for whole vectors, with the number of columns, which is `$columns` (from 1 to [`MOST`]), as a constant.
macro_rules! with_columns {
    ($columns:expr; $function:ident<$($constant:ident),*>($($argument:expr),*)) => {
        match $columns {
            8 => $function::<$($constant,)* 8, true>($($argument),*),
            7 => $function::<$($constant,)* 7, true>($($argument),*),
            6 => $function::<$($constant,)* 6, true>($($argument),*),
            5 => $function::<$($constant,)* 5, true>($($argument),*),
            4 => $function::<$($constant,)* 4, true>($($argument),*),
            3 => $function::<$($constant,)* 3, true>($($argument),*),
            2 => $function::<$($constant,)* 2, true>($($argument),*),
            _ => $function::<$($constant,)* 1, true>($($argument),*),
        }
    };
}

/// Calls `$function` with the window's width and the horizontal stride as constants.
macro_rules! with_window {
    ($geometry:expr; $function:ident($($argument:expr),*)) => {
        match ($geometry.window[1], $geometry.strides[1]) {
            (3, 1) => $function::<S, 3, 1>($($argument),*),
            (3, _) => $function::<S, 3, 2>($($argument),*),
            (5, 1) => $function::<S, 5, 1>($($argument),*),
            (5, _) => $function::<S, 5, 2>($($argument),*),
            _ => $function::<S, 7, 1>($($argument),*),
        }
    };
}

/// Repeats code for each product of a row of the window: with a value of the image, a tap, and which of the `X` columns of the output it
/// belongs to. `$line` is the image's row, and `$left` the column that the first tap of the first column reads. Each value is loaded once.
macro_rules! for_each_product {
    (($line:expr, $left:expr, [$width:expr, $channels:expr, $rest:expr]); |$value:ident, $tap:ident, $o:ident| $body:expr) => {
        for_each_column!(|COLUMN| if COLUMN < (X - 1) * STRIDE + W {
            let at = $left.wrapping_add(COLUMN as isize).cast_unsigned();
            if at < $width {
                let $value = load::<S, WHOLE>($line.wrapping_add(at * $channels), $rest);
                for $tap in 0..W {
                    let Some(start) = COLUMN.checked_sub($tap) else { break };
                    if start.is_multiple_of(STRIDE) && start / STRIDE < X {
                        let $o = start / STRIDE;
                        $body
                    }
                }
            }
        })
    };
}

/// Columns of the output that are computed together: the first of them, and their number.
fn groups(width: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = width.div_ceil(MOST);
    (0..parts).map(move |part| (part * width / parts, (part + 1) * width / parts - part * width / parts))
}

/// Loads a vector, or if it is not `WHOLE`, its first `n` values.
///
/// # Safety
/// The instructions of `S` are there, and the values lie at the pointer.
#[inline(always)]
unsafe fn load<S: Simd, const WHOLE: bool>(p: *const f32, n: usize) -> S::V {
    // SAFETY: the caller guarantees the values and the instructions.
    unsafe { if WHOLE { S::load(p) } else { S::load_first(p, n) } }
}

/// Stores a vector, or if it is not `WHOLE`, its first `n` values.
///
/// # Safety
/// The instructions of `S` are there, and there is room for the values at the pointer.
#[inline(always)]
unsafe fn store<S: Simd, const WHOLE: bool>(p: *mut f32, v: S::V, n: usize) {
    // SAFETY: the caller guarantees the room and the instructions.
    unsafe { if WHOLE { S::store(p, v) } else { S::store_first(p, v, n) } }
}

/// What one row of an image's output is computed from, and where it is written.
struct Row<'a> {
    geometry: &'a Geometry,
    x: *const f32,
    row: usize,
    kernel: *const f32,
    shift: Option<*const f32>,
    clip: (f32, f32),
    y: *mut f32,
}

vectorised! {
    /// Computes one row of one image's output: `y = clip(shift + sum of x * kernel over the taps)`. Without `shift`, the sum begins with `y`.
    pub(super) fn row(geometry: &Geometry, x: &[f32], row: usize, kernel: &[f32], shift: Option<&[f32]>, clip: (f32, f32),
        y: &mut [f32]) => row_body::<S>
}

#[inline(always)]
unsafe fn row_body<S: Simd>(
    geometry: &Geometry,
    x: &[f32],
    row: usize,
    kernel: &[f32],
    shift: Option<&[f32]>,
    clip: (f32, f32),
    y: &mut [f32],
) {
    let channels = geometry.input[2];
    check(geometry, x, kernel);
    assert!(row < geometry.output[0] && y.len() == geometry.output[1] * channels, "the row has another size");
    assert!(shift.is_none_or(|shift| shift.len() == channels), "the shift has another size");
    let shift = shift.map(<[f32]>::as_ptr);
    let row = Row { geometry, x: x.as_ptr(), row, kernel: kernel.as_ptr(), shift, clip, y: y.as_mut_ptr() };
    // SAFETY: image, kernel, shift and output have the sizes that the geometry says (asserted); the instructions of `S` are there.
    unsafe { with_window!(geometry; row_of(&row)) }
}

/// # Panics
/// If the image or the kernel has another size than the geometry says.
fn check(geometry: &Geometry, x: &[f32], kernel: &[f32]) {
    let [height, width, channels] = geometry.input;
    assert_eq!(x.len(), height * width * channels, "the image has another size");
    assert_eq!(kernel.len(), geometry.window[0] * geometry.window[1] * channels, "the kernel has another size");
}

#[inline(always)]
unsafe fn row_of<S: Simd, const W: usize, const STRIDE: usize>(row: &Row<'_>) {
    let channels = row.geometry.input[2];
    let whole = channels - channels % S::LANES;
    for (first, count) in groups(row.geometry.output[1]) {
        // SAFETY: the columns and channels are those of the row; the instructions of `S` are there.
        unsafe {
            for channel in (0..whole).step_by(S::LANES) {
                with_columns!(count; sums<S, W, STRIDE>(row, first, channel));
            }
            if whole < channels {
                (first..first + count).for_each(|column| sums::<S, W, STRIDE, 1, false>(row, column, whole));
            }
        }
    }
}

/// Computes `X` columns for a vector of channels.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn sums<S: Simd, const W: usize, const STRIDE: usize, const X: usize, const WHOLE: bool>(
    job: &Row<'_>,
    first: usize,
    channel: usize,
) {
    const { assert!((X - 1) * STRIDE + W <= 19, "`for_each_column` has no more columns") };
    let [_, width, channels] = job.geometry.input;
    let (rest, left) = (channels - channel, job.geometry.start(1, first));
    let y = job.y.wrapping_add(first * channels + channel);
    // SAFETY: the caller guarantees that columns and channels are those of the row; columns of the image are read only if it has them.
    unsafe {
        let mut sums = [S::splat(0.0); X];
        for o in 0..X {
            let from = job.shift.map_or(y.wrapping_add(o * channels).cast_const(), |shift| shift.wrapping_add(channel));
            sums[o] = load::<S, WHOLE>(from, rest);
        }
        // This thread usually computes the next row of the output next, which lies after this one and reads a row further down.
        for o in 0..X {
            prefetch::<FIRST_CACHE>(y.wrapping_add((job.geometry.output[1] + o) * channels));
        }
        let Geometry { window, strides, dilation, before, .. } = *job.geometry;
        let next = ((job.row + 1) * strides[0] + (window[0] - 1) * dilation[0]).saturating_sub(before[0]);
        for o in 0..X * STRIDE {
            prefetch::<FIRST_CACHE>(job.x.wrapping_add((next * width + first * STRIDE + o) * channels + channel));
        }
        for i in 0..job.geometry.window[0] {
            let Some(from) = job.geometry.source(0, job.row, i) else { continue };
            let line = job.x.wrapping_add(from * width * channels + channel);
            let mut weights = [S::splat(0.0); W];
            for j in 0..W {
                weights[j] = load::<S, WHOLE>(job.kernel.wrapping_add((i * W + j) * channels + channel), rest);
            }
            // Each sum adds up its taps from left to right.
            for_each_product!((line, left, [width, channels, rest]); |value, j, o| {
                sums[o] = S::fma(value, weights[j], sums[o]);
            });
        }
        let (least, most) = (S::splat(job.clip.0), S::splat(job.clip.1));
        for o in 0..X {
            // With this order of operands, NaN stays NaN.
            store::<S, WHOLE>(y.wrapping_add(o * channels), S::min(most, S::max(least, sums[o])), rest);
        }
    }
}

/// An image, the gradient of its output, and the kernel's gradient.
struct Image<'a> {
    geometry: &'a Geometry,
    x: *const f32,
    dy: *const f32,
    gradient: *mut f32,
}

vectorised! {
    /// Adds what one image contributes to the kernel's gradient, `[tap, channel]`.
    pub(super) fn add_kernel_gradient(geometry: &Geometry, x: &[f32], dy: &[f32], gradient: &mut [f32])
        => add_kernel_gradient_body::<S>
}

#[inline(always)]
unsafe fn add_kernel_gradient_body<S: Simd>(geometry: &Geometry, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
    check(geometry, x, gradient);
    assert_eq!(dy.len(), geometry.pixels() * geometry.input[2], "the output's gradient has another size");
    let image = Image { geometry, x: x.as_ptr(), dy: dy.as_ptr(), gradient: gradient.as_mut_ptr() };
    // SAFETY: image and gradients have the sizes that the geometry says (asserted); the instructions of `S` are there.
    unsafe { with_window!(geometry; add_image(&image)) }
}

#[inline(always)]
unsafe fn add_image<S: Simd, const W: usize, const STRIDE: usize>(image: &Image<'_>) {
    let Geometry { input: [height, width, channels], output, .. } = *image.geometry;
    let whole = channels - channels % S::LANES;
    let pixel = (height * width + output[0] * output[1]) * size_of::<f32>();
    let band = (NEAR / pixel / S::LANES).max(1) * S::LANES;
    for start in (0..channels).step_by(band) {
        let end = channels.min(start + band);
        for row in 0..output[0] {
            for (first, count) in groups(output[1]) {
                // SAFETY: row, columns and channels are those of the output; the instructions of `S` are there.
                unsafe {
                    for channel in (start..end.min(whole)).step_by(S::LANES) {
                        with_columns!(count; add_columns<S, W, STRIDE>(image, [row, first, channel], band));
                    }
                    if end > whole {
                        let columns = first..first + count;
                        columns.for_each(|column| {
                            add_columns::<S, W, STRIDE, 1, false>(image, [row, column, whole], band)
                        });
                    }
                }
            }
        }
    }
}

/// Adds what `X` columns of the output contribute, for a vector of channels, of which `band` are gone through at a time.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "iterators over the sums would keep them in memory")]
unsafe fn add_columns<S: Simd, const W: usize, const STRIDE: usize, const X: usize, const WHOLE: bool>(
    image: &Image<'_>,
    [row, first, channel]: [usize; 3],
    band: usize,
) {
    let Geometry { input: [_, width, channels], output, .. } = *image.geometry;
    let (rest, left) = (channels - channel, image.geometry.start(1, first));
    // SAFETY: the caller guarantees that row, columns and channels are those of the output; columns of the image are read only if it has them.
    unsafe {
        let mut slopes = [S::splat(0.0); X];
        for o in 0..X {
            let at = (row * output[1] + first + o) * channels + channel;
            slopes[o] = load::<S, WHOLE>(image.dy.wrapping_add(at), rest);
        }
        // The same pixels are needed again for the next band of channels.
        for down in 0..image.geometry.strides[0] {
            for o in 0..X * STRIDE {
                let at = (row * image.geometry.strides[0] + down) * width + first * STRIDE + o;
                prefetch::<FIRST_CACHE>(image.x.wrapping_add(at * channels + channel + band));
            }
        }
        for i in 0..image.geometry.window[0] {
            let Some(from) = image.geometry.source(0, row, i) else { continue };
            let line = image.x.wrapping_add(from * width * channels + channel);
            let gradient = image.gradient.wrapping_add(i * W * channels + channel);
            let mut sums = [S::splat(0.0); W];
            for j in 0..W {
                sums[j] = load::<S, WHOLE>(gradient.wrapping_add(j * channels), rest);
            }
            for_each_product!((line, left, [width, channels, rest]); |value, j, o| {
                sums[j] = S::fma(value, slopes[o], sums[j]);
            });
            for j in 0..W {
                store::<S, WHOLE>(gradient.wrapping_add(j * channels), sums[j], rest);
            }
        }
    }
}

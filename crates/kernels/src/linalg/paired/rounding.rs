//! Values are brought into the form that a unit reads: rounded, and packed or transposed.

use super::{COLUMNS, DEPTH};
use crate::bf16::{Bf16, as_halves};
use crate::element::Element;
use crate::isa::ForLoops;
use crate::linalg::pack::Scale;
use crate::linalg::transpose::transpose_square;
use crate::simd::{Simd, vectorised};

/// Rounds the values of `from` to `to`, which is as long.
pub(crate) fn round(isa: ForLoops, from: &[f32], to: &mut [Bf16]) {
    round_rows(isa, from, from.len(), from.len(), to, from.len());
}

vectorised! {
    /// Rounds rows of `columns` values that are `from_row` values apart to rows of `to_row` numbers, with zeros after the columns.
    pub(crate) fn round_rows(from: &[f32], from_row: usize, columns: usize, to: &mut [Bf16], to_row: usize) => round_rows_body::<S, Bf16>
}

#[inline(always)]
unsafe fn round_rows_body<S: Simd>(from: &[f32], from_row: usize, columns: usize, to: &mut [Bf16], to_row: usize) {
    if to_row == 0 {
        return;
    }
    for (row, to) in to.chunks_exact_mut(to_row).enumerate() {
        let from = &from[row * from_row..][..columns];
        for at in (0..columns).step_by(S::LANES) {
            let left = columns - at;
            // SAFETY: both rows have `left` values from here on, and no more are touched; the instructions of `S` are there.
            unsafe {
                let values = f32::load_up_to::<S>(from.as_ptr().add(at), left);
                Bf16::store_up_to::<S>(to.as_mut_ptr().add(at), values, left);
            }
        }
        to[columns..].fill(Bf16::default());
    }
}

/// The zeros with which pairs and panels are filled up.
const NOTHING: [f32; COLUMNS] = [0.0; COLUMNS];

/// Rounds two rows, and interleaves their values.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn zip<S: Simd>(even: &[f32], odd: &[f32], to: &mut [Bf16]) {
    let width = even.len().min(odd.len()).min(to.len() / 2);
    for at in (0..width).step_by(S::LANES) {
        let left = width - at;
        // SAFETY: both rows have `left` values from here on, and there is room for as many pairs; the instructions of `S` are there.
        unsafe {
            let both = [S::load_up_to(even.as_ptr().add(at), left), S::load_up_to(odd.as_ptr().add(at), left)];
            S::store_two_bf16(to.as_mut_ptr().add(2 * at), both, (2 * left).min(2 * S::LANES));
        }
    }
}

/// Which places of a strip are rows of values, and which are zeros. The places are the pixels of an image with zeros around it, line by line.
#[derive(Debug, Clone, Copy)]
pub(in crate::linalg) struct Places {
    /// Number of places in a line.
    pub(in crate::linalg) pitch: usize,
    /// First place of a line that is a row of values, and the end of these places.
    pub(in crate::linalg) columns: [usize; 2],
    /// First line with such places, and the end of these lines.
    pub(in crate::linalg) lines: [usize; 2],
}

impl Places {
    /// `steps` rows, and then zeros.
    pub(in crate::linalg) fn all(steps: usize) -> Self {
        Self { pitch: steps.max(1), columns: [0, steps], lines: [0, 1] }
    }
}

/// Goes through the places of a strip, in order.
struct Lines<'a> {
    values: &'a [f32],
    /// Values from one row to the next.
    row: usize,
    /// How many values of each row are read.
    width: usize,
    places: Places,
    /// The line of the next place, and the place in it.
    next: [usize; 2],
    /// The next row of values.
    at: usize,
}

impl<'a> Lines<'a> {
    fn new(values: &'a [f32], row: usize, width: usize, places: Places) -> Self {
        Self { values, row, width, places, next: [0, 0], at: 0 }
    }

    /// The values of the next place's row, or zeros.
    #[inline(always)]
    fn next(&mut self) -> &'a [f32] {
        let ([line, place], Places { pitch, columns, lines, .. }) = (self.next, self.places);
        self.next = if place + 1 == pitch { [line + 1, 0] } else { [line, place + 1] };
        let there = (lines[0]..lines[1]).contains(&line) && (columns[0]..columns[1]).contains(&place);
        if !there {
            return &NOTHING[..self.width];
        }
        self.at += 1;
        &self.values[(self.at - 1) * self.row..][..self.width]
    }
}

vectorised! {
    /// Packs a strip of the right side of a transposed product: pairs of places, as many as `out` has room for. The places' rows have `width`
    /// values and are `row` values apart.
    pub(in crate::linalg) fn zip_strip(values: &[f32], row: usize, width: usize, places: Places, out: &mut [f32])
        => zip_strip_body::<S, Bf16>
}

#[inline(always)]
unsafe fn zip_strip_body<S: Simd>(values: &[f32], row: usize, width: usize, places: Places, out: &mut [f32]) {
    let mut lines = Lines::new(values, row, width, places);
    for out in as_halves(out).chunks_exact_mut(2 * COLUMNS) {
        // SAFETY: the instructions of `S` are there.
        unsafe { zip::<S>(lines.next(), lines.next(), out) };
    }
}

/// Makes of a packed strip the one that begins a place later. Its last place is zero.
pub(super) fn later_by_one(strip: &[f32], out: &mut [f32]) {
    let (lasting, last) = out.split_at_mut(out.len() - COLUMNS);
    let next = strip[COLUMNS..].iter();
    for ((out, pair), next) in lasting.iter_mut().zip(strip).zip(next) {
        *out = f32::from_bits(pair.to_bits() >> 16 | next.to_bits() << 16);
    }
    for (out, pair) in last.iter_mut().zip(&strip[strip.len() - COLUMNS..]) {
        *out = f32::from_bits(pair.to_bits() >> 16);
    }
}

vectorised! {
    /// Packs a strip of the left side of a transposed product: `steps` places, rounded up to whole [`DEPTH`]s, are transposed. The places' rows
    /// have `width` values and are `row` values apart, and `sides` is `[width, high]`: of the `high` rows of `out`, `width` are written.
    pub(in crate::linalg) fn transpose_strip(
        values: &[f32],
        row: usize,
        sides: [usize; 2],
        places: Places,
        steps: usize,
        out: &mut [f32]
    ) => transpose_strip_body::<S, Bf16>
}

#[inline(always)]
unsafe fn transpose_strip_body<S: Simd>(
    values: &[f32],
    row: usize,
    [width, high]: [usize; 2],
    places: Places,
    steps: usize,
    out: &mut [f32],
) {
    const PAIRS: usize = DEPTH / 2;
    let long = out.len() / high;
    let mut lines = Lines::new(values, row, width, places);
    for first in (0..steps).step_by(DEPTH) {
        // One step's pairs are rounded row by row, and then transposed.
        let mut pairs = [[0.0_f32; COLUMNS]; PAIRS];
        for to in &mut pairs {
            // SAFETY: the instructions of `S` are there.
            unsafe { zip::<S>(lines.next(), lines.next(), as_halves(to)) };
        }
        let whole = width - width % S::LANES;
        for column in (0..whole).step_by(S::LANES) {
            for pair in (0..PAIRS).step_by(S::LANES) {
                let from = (pairs.as_flattened(), pair * COLUMNS + column, COLUMNS);
                // SAFETY: the instructions of `S` are there.
                unsafe { transpose_square::<S>(from, (out, column * long + first / 2 + pair, long)) };
            }
        }
        for (column, out) in out.chunks_exact_mut(long).enumerate().take(width).skip(whole) {
            for (to, pairs) in out[first / 2..][..PAIRS].iter_mut().zip(&pairs) {
                *to = pairs[column];
            }
        }
    }
}

vectorised! {
    /// Packs one panel of a right side: `value(step, column) = source[step * row + column * across]`, scaled, rounded, two steps to a pair,
    /// with zeros up to whole steps and columns.
    pub(super) fn pack_panel(shape: [usize; 2], source: &[f32], from: [usize; 2], scale: Scale<'_>, out: &mut [Bf16])
        => pack_panel_body::<S, Bf16>
}

#[inline(always)]
unsafe fn pack_panel_body<S: Simd>(
    [depth, width]: [usize; 2],
    source: &[f32],
    [row, across]: [usize; 2],
    scale: Scale<'_>,
    out: &mut [Bf16],
) {
    let mut columns = [1.0_f32; COLUMNS];
    if let Scale::Columns(scale) = scale {
        columns[..width].copy_from_slice(scale);
    }
    let scaled = |step: usize| {
        let mut line = NOTHING;
        if step < depth {
            let factor = if let Scale::Rows(scale) = scale { scale[step % scale.len()] } else { 1.0 };
            let source = &source[step * row..];
            if across == 1 {
                line[..width].copy_from_slice(&source[..width]);
            } else {
                line.iter_mut().zip(source.iter().step_by(across)).take(width).for_each(|(to, from)| *to = *from);
            }
            line.iter_mut().zip(&columns).for_each(|(value, scale)| *value = *value * scale * factor);
        }
        line
    };
    for (pair, out) in out.chunks_exact_mut(2 * COLUMNS).enumerate() {
        // SAFETY: the instructions of `S` are there.
        unsafe { zip::<S>(&scaled(2 * pair), &scaled(2 * pair + 1), out) };
    }
}

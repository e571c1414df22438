//! Products of whole matrices: `C = A B` or `C += A B`, with a bias and limits.

use super::pack::Packed;
use super::strided::{Strided, Tile, WIDEST};

/// Upper limit of the steps along the inner dimension that a kernel takes in one call: so much of a panel stays in the first-level cache.
pub(super) const DEPTH: usize = 192;

/// What happens to the sums of a product before they are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// Whether they are added to the values that the result has.
    pub(crate) accumulate: bool,
    /// Summands, one per column.
    pub(crate) bias: Option<&'a [f32]>,
    /// Limits, applied last.
    pub(crate) clip: Option<(f32, f32)>,
}

impl Epilogue<'_> {
    /// An epilogue with neither bias nor limits.
    pub(crate) fn plain(accumulate: bool) -> Self {
        Self { accumulate, bias: None, clip: None }
    }
}

/// `result (+)= left · right`: `left` has `rows` rows, `left_row` values apart; `result`'s rows are `result_row` apart.
pub(crate) fn multiply(
    rows: usize,
    left: &[f32],
    left_row: usize,
    right: &Packed<Strided>,
    result: &mut [f32],
    result_row: usize,
    epilogue: Epilogue<'_>,
) {
    let (kernel, inner, columns) = (right.kernel(), right.depth(), right.columns());
    let (high, wide) = (kernel.rows, kernel.packing.columns());
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(left.len() >= (rows - 1) * left_row + inner, "the left side is too short");
    assert!(result.len() >= (rows - 1) * result_row + columns, "the result is too short");
    let parts = inner.div_ceil(DEPTH).max(1);
    let depth = inner.div_ceil(parts).max(1);
    // The parts of a panel follow one another, so that its sums stay in a cache between them.
    for panel in right.panels() {
        let (column, width) = (panel.first, panel.columns);
        let mut bias_line = [0.0; WIDEST];
        if let Some(bias) = epilogue.bias {
            bias_line[..width].copy_from_slice(&bias[column..column + width]);
        }
        for part in 0..parts {
            let first = part * depth;
            let steps = depth.min(inner - first);
            let last = part + 1 == parts;
            let clip = if last { epilogue.clip } else { None }.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            let right = &panel.values[first * wide..][..steps * wide];
            for row in (0..rows).step_by(high) {
                let tile = Tile {
                    rows: high.min(rows - row),
                    width,
                    steps,
                    left: left[row * left_row + first..].as_ptr(),
                    left_row,
                    left_step: 1,
                    right: right.as_ptr(),
                    result: result[row * result_row + column..].as_mut_ptr(),
                    result_row,
                    accumulate: epilogue.accumulate || part > 0,
                    bias: if last { &bias_line } else { &[0.0; WIDEST] },
                    clip,
                };
                // SAFETY: left side and result are long enough for all rows and columns (asserted above), the panel has a line for each of
                // the steps, and the result is borrowed mutably for this call.
                unsafe { kernel.run(&tile) };
            }
        }
    }
}

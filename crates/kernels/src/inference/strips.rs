//! Chains of steps that run a few rows at a time, so that the values between them stay in the cache.
//!
//! In a chain, each step is the only reader of the one before it. All steps run for a strip of the last output before the next strip begins:
//! each value between them keeps the rows that its reader's windows still need, and gets the new ones. No row is computed twice.

use std::ops::Range;

use crate::geometry::Geometry;

/// Bytes that the values inside a chain may take together: half of a second-level cache of one MiB, so that the other half is free for
/// weights, and for the chain's input and output.
const BUDGET: usize = 512 << 10;

/// The rows of its input that a step reads for a row of its output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reach {
    /// Vertical stride.
    pub stride: usize,
    /// Rows of padding before the first row.
    pub front: usize,
    /// Rows of a window.
    pub window: usize,
    /// Rows of the output that are computed together; the first of them is a multiple of this number.
    pub tile: usize,
}

impl Reach {
    /// The reach of a window, if outputs are computed in tiles of `tile` rows.
    pub fn new(geometry: &Geometry, tile: usize) -> Self {
        Self { stride: geometry.strides[0], front: geometry.before[0], window: geometry.extent(0), tile }
    }

    /// The rows of the input that are read for rows of the output. They may lie beyond the input's ends.
    fn rows(self, rows: &Range<isize>) -> Range<isize> {
        let [stride, front, window, tile] = [self.stride, self.front, self.window, self.tile].map(|n| n as isize);
        let (start, end) = (rows.start.div_euclid(tile) * tile, -(-rows.end).div_euclid(tile) * tile);
        start * stride - front..(end - 1) * stride - front + window
    }

    /// Upper limit of the rows of the input that are read for `rows` rows of the output.
    fn most(self, rows: usize) -> usize {
        // Tiles may begin before the rows and end after them.
        let rows = (rows + self.tile - 1).next_multiple_of(self.tile);
        (rows - 1) * self.stride + self.window
    }
}

/// A value inside a chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inner {
    /// Rows of the value.
    pub height: usize,
    /// Rows of zeros above and below.
    pub halo: [usize; 2],
    /// Rows of it that are computed together.
    pub tile: usize,
    /// The rows that its reader reads.
    pub reach: Reach,
    /// Number of values in a row with its halo.
    pub row: usize,
    /// Number of values in the halo on the left of each row.
    pub left: usize,
}

/// Steps that run together, strip by strip.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Their positions.
    pub steps: Range<usize>,
    /// The values between them.
    pub inner: Vec<Inner>,
    /// Rows of the last output that are computed at a time.
    pub strip: usize,
}

impl Chain {
    /// A chain with strips as high as the budget allows, for a last output of `height` rows.
    pub fn new(steps: Range<usize>, inner: Vec<Inner>, height: usize) -> Self {
        let mut chain = Self { steps, inner, strip: height };
        let size = |chain: &Self| -> usize {
            let rows = chain.capacities();
            rows.iter().zip(&chain.inner).map(|(rows, inner)| rows * inner.row * size_of::<f32>()).sum()
        };
        let tile = chain.inner.last().map_or(1, |inner| inner.reach.tile);
        while chain.strip > tile && size(&chain) > BUDGET {
            // Strips have equal heights, and consist of whole tiles.
            let strips = height.div_ceil(chain.strip) + 1;
            chain.strip = height.div_ceil(strips).next_multiple_of(tile).min((chain.strip - 1) / tile * tile);
        }
        chain
    }

    /// Upper limit of the rows that each inner value keeps.
    pub fn capacities(&self) -> Vec<usize> {
        let mut rows = self.strip;
        let mut all: Vec<usize> = self
            .inner
            .iter()
            .rev()
            .map(|inner| {
                rows = (inner.reach.most(rows) + inner.tile - 1).min(inner.height + inner.halo[0] + inner.halo[1]);
                rows
            })
            .collect();
        all.reverse();
        all
    }
}

/// The rows of an inner value that its buffer holds, and those that come next. Rows below 0 and from the height on are zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fill {
    /// The first row that the buffer has held so far.
    pub held: isize,
    /// The first row that is needed, with which the buffer begins from now on.
    pub start: isize,
    /// The rows that are to be computed.
    pub new: Range<isize>,
}

/// The state of a chain that runs.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    chain: &'a Chain,
    /// The rows that each inner value's buffer holds; `None` before the first strip.
    held: Vec<Option<Range<isize>>>,
}

impl<'a> Progress<'a> {
    /// The state before the first strip.
    pub fn new(chain: &'a Chain) -> Self {
        Self { chain, held: vec![None; chain.inner.len()] }
    }

    /// The rows that each inner value needs for the next rows of the last output; `None` for a value that has all of them.
    pub fn next(&mut self, rows: Range<usize>) -> Vec<Option<Fill>> {
        let mut wanted = rows.start as isize..rows.end as isize;
        let mut fills = vec![None; self.held.len()];
        for (at, inner) in self.chain.inner.iter().enumerate().rev() {
            if wanted.is_empty() {
                break;
            }
            let [top, bottom] = inner.halo.map(|n| n as isize);
            let height = inner.height as isize;
            let reach = inner.reach.rows(&wanted);
            let need = reach.start.max(-top)..reach.end.min(height + bottom);
            let held = self.held[at].clone().unwrap_or(need.start..need.start);
            let done = held.end.max(need.start);
            let mut end = done.max(need.end);
            if end > done && end < height {
                // A tile is always computed whole, so that no row is computed twice.
                let tile = inner.tile as isize;
                end = (-(-end).div_euclid(tile) * tile).min(height);
            }
            fills[at] = Some(Fill { held: held.start, start: need.start, new: done..end });
            self.held[at] = Some(need.start..end);
            wanted = done.clamp(0, height)..end.clamp(0, height);
        }
        fills
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_made_once_and_fits() {
        let reach = |stride, front, window, tile| Reach { stride, front, window, tile };
        for (first, second) in [
            (reach(1, 0, 1, 1), reach(1, 1, 3, 1)),
            (reach(1, 1, 3, 2), reach(2, 0, 3, 1)),
            (reach(2, 2, 5, 1), reach(1, 1, 3, 2)),
            (reach(1, 3, 7, 1), reach(2, 0, 1, 1)),
            (reach(1, 1, 3, 4), reach(1, 0, 3, 4)),
            (reach(1, 0, 3, 3), reach(2, 1, 5, 2)),
        ] {
            for height in [7_usize, 16, 33] {
                let out = |n: usize, reach: Reach| (n + 2 * reach.front - reach.window) / reach.stride + 1;
                let middle = out(height, first);
                let last = out(middle, second);
                let inner = |height: usize, tile: usize, reach: Reach| {
                    let below = reach.rows(&(0..out(height, reach) as isize)).end - height as isize;
                    Inner { height, halo: [reach.front, below.max(0) as usize], tile, reach, row: 4, left: 0 }
                };
                for strip in 1..=last {
                    let chain = Chain {
                        steps: 0..3,
                        inner: vec![inner(height, 3, first), inner(middle, first.tile, second)],
                        strip,
                    };
                    let capacities = chain.capacities();
                    let mut progress = Progress::new(&chain);
                    let mut next = [None; 2];
                    for start in (0..last).step_by(strip) {
                        let end = (start + strip).min(last);
                        let mut wanted = start as isize..end as isize;
                        let fills = progress.next(start..end);
                        for at in [1, 0] {
                            let Some(fill) = &fills[at] else { break };
                            let need = chain.inner[at].reach.rows(&wanted);
                            let limit = chain.inner[at].height as isize + chain.inner[at].halo[1] as isize;
                            assert!(fill.start <= need.start && fill.new.end >= need.end.min(limit));
                            assert!((fill.new.end - fill.start) as usize <= capacities[at]);
                            assert!(next[at].is_none_or(|next| fill.new.start == next || fill.new.start == fill.start));
                            next[at] = Some(fill.new.end);
                            let height = chain.inner[at].height as isize;
                            wanted = fill.new.start.clamp(0, height)..fill.new.end.clamp(0, height);
                            if wanted.is_empty() {
                                break;
                            }
                        }
                    }
                }
            }
        }
    }
}

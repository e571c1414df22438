//! Chains of steps that run a few rows at a time, so that what lies between them never leaves the cache.
//!
//! Where each step alone reads the one before it, a strip of the last output is made at once by all: each value between keeps
//! the rows that its reader's windows still reach, and gets the new ones. No row is computed twice.

use std::ops::Range;

use crate::geometry::Geometry;

/// Memory that the values inside a chain may take together: half of a second cache of one MiB, so that weights and what
/// streams by have the other half.
const BUDGET: usize = 512 << 10;

/// How many rows of its input a step reaches for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reach {
    /// Vertical stride.
    pub stride: usize,
    /// Rows in front of the first.
    pub front: usize,
    /// Rows of a window.
    pub window: usize,
    /// Rows are computed in pairs.
    pub pairs: bool,
}

impl Reach {
    /// The reach of a window, where outputs are made in tiles of one row or two.
    pub fn new(geometry: &Geometry, tile: usize) -> Self {
        Self { stride: geometry.strides[0], front: geometry.before[0], window: geometry.extent(0), pairs: tile == 2 }
    }

    /// Rows of the input for rows of the output, perhaps beyond the input's ends.
    fn rows(self, rows: &Range<isize>) -> Range<isize> {
        let (start, end) = if self.pairs { (rows.start & !1, (rows.end + 1) & !1) } else { (rows.start, rows.end) };
        let [stride, front, window] = [self.stride, self.front, self.window].map(|n| n as isize);
        start * stride - front..(end - 1) * stride - front + window
    }

    /// The most rows of the input that `rows` of the output reach.
    fn most(self, rows: usize) -> usize {
        // Pairs may begin one row before and end one after.
        let rows = if self.pairs { (rows + 1).next_multiple_of(2) } else { rows };
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
    /// How its reader reaches for it.
    pub reach: Reach,
    /// Values of one row with its halo.
    pub row: usize,
    /// Values of the halo on the left of each.
    pub left: usize,
}

/// Steps that run together, and how.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Their positions.
    pub steps: Range<usize>,
    /// The values between them.
    pub inner: Vec<Inner>,
    /// Rows of the last output that are made at a time.
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
        while chain.strip > 1 && size(&chain) > BUDGET {
            // Strips of equal height.
            let strips = height.div_ceil(chain.strip) + 1;
            chain.strip = height.div_ceil(strips).min(chain.strip - 1);
        }
        chain
    }

    /// Rows that each inner value keeps at most.
    pub fn capacities(&self) -> Vec<usize> {
        let mut rows = self.strip;
        let mut all: Vec<usize> = self
            .inner
            .iter()
            .rev()
            .map(|inner| {
                rows = inner.reach.most(rows).min(inner.height + inner.halo[0] + inner.halo[1]);
                rows
            })
            .collect();
        all.reverse();
        all
    }
}

/// Rows of an inner value that are held, and those that come next. Rows below 0 and from the height on are zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fill {
    /// First row held before.
    pub held: isize,
    /// First row needed: the buffer begins with it.
    pub start: isize,
    /// New rows.
    pub new: Range<isize>,
}

/// Where a chain is.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    chain: &'a Chain,
    /// Rows held of each inner value; none before the first strip.
    held: Vec<Option<Range<isize>>>,
}

impl<'a> Progress<'a> {
    /// Before the first strip.
    pub fn new(chain: &'a Chain) -> Self {
        Self { chain, held: vec![None; chain.inner.len()] }
    }

    /// What every inner value needs for the next rows of the last output; `None` where nothing is missing.
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
            let end = done.max(need.end);
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
        let reach = |stride, front, window, pairs| Reach { stride, front, window, pairs };
        for (first, second) in [
            (reach(1, 0, 1, false), reach(1, 1, 3, false)),
            (reach(1, 1, 3, true), reach(2, 0, 3, false)),
            (reach(2, 2, 5, false), reach(1, 1, 3, true)),
            (reach(1, 3, 7, false), reach(2, 0, 1, false)),
        ] {
            for height in [7_usize, 16, 33] {
                let out = |n: usize, reach: Reach| (n + 2 * reach.front - reach.window) / reach.stride + 1;
                let middle = out(height, first);
                let last = out(middle, second);
                let inner = |height: usize, reach: Reach| {
                    let below = reach.rows(&(0..out(height, reach) as isize)).end - height as isize;
                    Inner { height, halo: [reach.front, below.max(0) as usize], reach, row: 4, left: 0 }
                };
                for strip in 1..=last {
                    let chain = Chain { steps: 0..3, inner: vec![inner(height, first), inner(middle, second)], strip };
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

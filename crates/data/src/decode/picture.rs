//! Pixels of a JPEG while its data is read: only those that are needed, and no more rows at a time than neighbours need.

use super::avx2::Avx2;
use super::colour;
use super::rgb::Rgb;
use super::transform::{Block, Steps, flat, means, samples};
use crate::sight::Sight;

/// A component of the picture.
#[derive(Debug)]
struct Plane {
    /// Blocks per unit, in a column and in a row.
    blocks: [usize; 2],
    /// Samples that a block becomes.
    size: [usize; 2],
    /// How many pixels a sample stands for.
    spread: [usize; 2],
    /// Samples per row, with those that only fill up the last unit.
    stride: usize,
    /// Number of rows, with those that only fill up the last unit.
    rows: usize,
    /// For each row of blocks, and for each column, whether a block in it is needed.
    seen: [Vec<bool>; 2],
    /// The rows of two units, one after the other.
    samples: Vec<u8>,
}

/// What a picture is made of: sampling factors as `[vertical, horizontal]`, and the picture's size in pixels.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub size: [usize; 2],
    pub sampling: Vec<[usize; 2]>,
}

/// The picture, as far as it is drawn.
#[derive(Debug)]
pub(super) struct Picture {
    planes: Vec<Plane>,
    /// Rows of pixels per unit.
    unit: usize,
    rows: Vec<usize>,
    columns: Vec<usize>,
    /// Number of `rows` that are drawn.
    drawn: usize,
    /// Whether a row of pixels needs the row of samples after its own.
    smooth: bool,
    pixels: Vec<u8>,
    lines: Lines,
    avx2: Option<Avx2>,
}

/// Memory for a row of pixels on its way.
#[derive(Debug, Default)]
struct Lines {
    blend: Vec<u8>,
    planes: [Vec<u8>; 3],
    whole: Vec<[u8; 3]>,
}

impl Frame {
    /// Pixels per unit, in a column and in a row.
    fn unit(&self) -> [usize; 2] {
        [0, 1].map(|side| self.sampling.iter().map(|factors| factors[side]).max().unwrap_or(1) * 8)
    }

    /// Bytes that a picture takes of which so many rows and columns are seen.
    pub fn bytes(&self, rows: usize, columns: usize) -> u64 {
        let [unit, _] = self.unit();
        let bands = 2 * unit * (self.size[1] + 64) * self.sampling.len();
        (bands + rows * columns * 3) as u64
    }
}

impl Picture {
    /// A picture of which nothing is drawn. Each square of `part` by `part` pixels becomes one, the mean, and `sight` says which of those
    /// are wanted.
    pub fn new(frame: &Frame, part: usize, sight: Sight) -> Self {
        let unit = frame.unit();
        let units = [0, 1].map(|side| frame.size[side].div_ceil(unit[side]));
        let plane = |&blocks: &[usize; 2]| {
            // A sample stands for `spread` pixels; where those are taken together anyway, there are fewer samples instead.
            let whole = [0, 1].map(|side| unit[side] / 8 / blocks[side]);
            let spread = [0, 1].map(|side| whole[side].div_ceil(part));
            let size = [0, 1].map(|side| 8 * whole[side] / (part * spread[side]));
            let stride = units[1] * blocks[1] * size[1];
            let looked = [&sight.rows, &sight.columns];
            let seen = [0, 1].map(|side| {
                let count = units[side] * blocks[side];
                let mut seen = vec![false; count];
                for &place in looked[side] {
                    let at = place / spread[side];
                    let beside = if spread[side] == 1 { 0 } else { 1 };
                    seen[at.saturating_sub(beside) / size[side]] = true;
                    seen[((at + beside) / size[side]).min(count - 1)] = true;
                }
                seen
            });
            let rows = 2 * blocks[0] * size[0];
            Plane {
                blocks,
                size,
                spread,
                stride,
                rows: units[0] * blocks[0] * size[0],
                seen,
                samples: vec![0; rows * stride],
            }
        };
        let planes: Vec<Plane> = frame.sampling.iter().map(plane).collect();
        let smooth = planes.iter().any(|plane| plane.spread[0] > 1);
        let Sight { rows, columns } = sight;
        let pixels = vec![0; rows.len() * columns.len() * 3];
        let lines = Lines::default();
        Self { planes, unit: unit[0] / part, rows, columns, drawn: 0, smooth, pixels, lines, avx2: Avx2::detect() }
    }

    /// Whether a block is needed.
    #[inline(always)]
    pub fn is_seen(&self, component: usize, [row, column]: [usize; 2]) -> bool {
        let [rows, columns] = &self.planes[component].seen;
        rows[row] && columns[column]
    }

    /// Whether samples of a component depend on more than the constant coefficients, which are the means of their blocks.
    #[inline(always)]
    pub fn needs_all(&self, component: usize) -> bool {
        self.planes[component].size != [1, 1]
    }

    /// Takes the coefficients of a block, and what they are multiplied by.
    #[inline(always)]
    pub fn block(&mut self, component: usize, [row, column]: [usize; 2], block: &Block, steps: &Steps) {
        let plane = &mut self.planes[component];
        let row = row % (2 * plane.blocks[0]);
        let (out, stride) =
            (&mut plane.samples[row * plane.size[0] * plane.stride + column * plane.size[1]..], plane.stride);
        if plane.size != [8, 8] {
            return means(block, steps, plane.size, out, stride);
        }
        if let Some(value) = flat(block, steps) {
            return (0..8).for_each(|row| out[row * stride..][..8].fill(value));
        }
        if !self.avx2.is_some_and(|avx2| avx2.samples(block, steps, out, stride)) {
            samples(block, steps, out, stride);
        }
    }

    /// Draws what can be drawn when so many rows of units are there; `all` says that there are no more.
    #[inline(always)]
    pub fn draw(&mut self, units: usize, all: bool) {
        let ready = if all { usize::MAX } else { units * self.unit - usize::from(self.smooth) };
        while let Some(&row) = self.rows.get(self.drawn).filter(|&&row| row < ready) {
            self.line(row);
            self.drawn += 1;
        }
    }

    /// Draws the pixels of a row.
    #[inline(always)]
    fn line(&mut self, row: usize) {
        let Self { planes, lines, avx2, .. } = self;
        let columns = &self.columns;
        let Lines { blend, planes: own, whole } = lines;
        let pixels = &mut self.pixels[self.drawn * columns.len() * 3..][..columns.len() * 3];
        let pixels = pixels.as_chunks_mut::<3>().0;
        let [first, second, third] = own;
        let y = planes[0].line(row, blend, first);
        let is_all = columns.len() == columns.last().map_or(0, |last| last + 1);
        if planes.len() == 1 {
            match is_all {
                true => pixels.iter_mut().zip(y).for_each(|(to, &value)| *to = [value; 3]),
                false => pixels.iter_mut().zip(columns).for_each(|(to, &column)| *to = [y[column]; 3]),
            }
            return;
        }
        let (cb, cr) = (planes[1].line(row, blend, second), planes[2].line(row, blend, third));
        if is_all {
            return colour::row(*avx2, y, cb, cr, pixels);
        }
        whole.resize(y.len().min(cb.len()).min(cr.len()), [0; 3]);
        colour::row(*avx2, y, cb, cr, whole);
        pixels.iter_mut().zip(columns).for_each(|(to, &column)| *to = whole[column]);
    }

    /// The rows and columns that are needed.
    pub fn finish(self) -> Rgb {
        Rgb { height: self.rows.len(), width: self.columns.len(), pixels: self.pixels }
    }
}

impl Plane {
    /// The samples of a row of pixels, one per pixel. Between samples, a pixel is three quarters of the nearer and a quarter of the
    /// farther one, in each direction ("fancy upsampling" of the Independent JPEG Group).
    #[inline(always)]
    fn line<'l>(&'l self, row: usize, blend: &mut Vec<u8>, out: &'l mut Vec<u8>) -> &'l [u8] {
        let samples = |row: usize| {
            let row = row % (2 * self.blocks[0] * self.size[0]);
            &self.samples[row * self.stride..][..self.stride]
        };
        let own = samples(row / self.spread[0]);
        let is_wide = self.spread[1] == 2;
        if self.spread[0] == 1 {
            if !is_wide {
                return own;
            }
            widened(own, out);
            return out;
        }
        let near = row / 2;
        let far = if row % 2 == 1 { (near + 1).min(self.rows - 1) } else { near.saturating_sub(1) };
        let target = if is_wide { &mut *blend } else { &mut *out };
        target.resize(own.len(), 0);
        let rows = own.iter().zip(samples(far));
        target.iter_mut().zip(rows).for_each(|(to, (&near, &far))| *to = between(near, far));
        if is_wide {
            widened(blend, out);
        }
        out
    }
}

#[inline(always)]
fn between(near: u8, far: u8) -> u8 {
    ((3 * u16::from(near) + u16::from(far) + 2) >> 2) as u8
}

/// Twice as many samples as there are in a row.
#[inline(always)]
fn widened(row: &[u8], out: &mut Vec<u8>) {
    out.resize(row.len() * 2, 0);
    let (pairs, last) = (out.as_chunks_mut::<2>().0, row.len() - 1);
    pairs[0] = [row[0], between(row[0], row[1.min(last)])];
    for (pair, three) in pairs[1..].iter_mut().zip(row.windows(3)) {
        *pair = [between(three[1], three[0]), between(three[1], three[2])];
    }
    pairs[last] = [between(row[last], row[last.saturating_sub(1)]), row[last]];
}

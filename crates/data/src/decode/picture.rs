//! Pixels of a JPEG while its data is read: only those that somebody looks at, and no more rows at a time than neighbours need.

use super::transform::{means, samples};
use super::{Rgb, Sight};

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
    /// Whether somebody looks at a block of each row of blocks, and of each column.
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
    colours: [Vec<u8>; 3],
}

/// Proof that the processor has AVX2.
#[derive(Debug, Clone, Copy)]
struct Avx2(());

impl Avx2 {
    #[cfg(target_arch = "x86_64")]
    fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Option<Self> {
        None
    }
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
        let pixels = Vec::with_capacity(rows.len() * columns.len() * 3);
        let lines = Lines::default();
        Self { planes, unit: unit[0] / part, rows, columns, drawn: 0, smooth, pixels, lines, avx2: Avx2::detect() }
    }

    /// Whether somebody looks at a block.
    #[inline]
    pub fn is_seen(&self, component: usize, row: usize, column: usize) -> bool {
        let [rows, columns] = &self.planes[component].seen;
        rows[row] && columns[column]
    }

    /// Takes the coefficients of a block, of which those after `last` (in the order of the file) are zero.
    #[inline]
    pub fn block(&mut self, component: usize, row: usize, column: usize, block: &[i32; 64], last: usize) {
        let plane = &mut self.planes[component];
        let row = row % (2 * plane.blocks[0]);
        let out = &mut plane.samples[row * plane.size[0] * plane.stride + column * plane.size[1]..];
        if plane.size != [8, 8] {
            return means(block, last, plane.size, out, plane.stride);
        }
        match self.avx2 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Avx2` is made only where the processor has it.
            Some(Avx2(())) => unsafe { samples_avx2(block, last, out, plane.stride) },
            _ => samples(block, last, out, plane.stride),
        }
    }

    /// Draws what can be drawn when so many rows of units are there; `all` says that there are no more.
    pub fn draw(&mut self, units: usize, all: bool) {
        let ready = if all { usize::MAX } else { units * self.unit - usize::from(self.smooth) };
        while let Some(&row) = self.rows.get(self.drawn).filter(|&&row| row < ready) {
            let Self { planes, columns, pixels, lines, .. } = self;
            match self.avx2 {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an `Avx2` is made only where the processor has it.
                Some(Avx2(())) => unsafe { line_avx2(planes, row, columns, lines, pixels) },
                _ => line(planes, row, columns, lines, pixels),
            }
            self.drawn += 1;
        }
    }

    /// The rows and columns that somebody looks at.
    pub fn finish(self) -> Rgb {
        Rgb { height: self.rows.len(), width: self.columns.len(), pixels: self.pixels }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn samples_avx2(block: &[i32; 64], last: usize, out: &mut [u8], stride: usize) {
    samples(block, last, out, stride);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn line_avx2(planes: &[Plane], row: usize, columns: &[usize], lines: &mut Lines, pixels: &mut Vec<u8>) {
    line(planes, row, columns, lines, pixels);
}

/// Appends the pixels of a row.
#[inline(always)]
fn line(planes: &[Plane], row: usize, columns: &[usize], lines: &mut Lines, pixels: &mut Vec<u8>) {
    let Lines { blend, planes: own, colours } = lines;
    for (plane, own) in planes.iter().zip(own.iter_mut()) {
        plane.line(row, blend, own);
    }
    let all = columns.len() == columns.last().map_or(0, |last| last + 1);
    if planes.len() == 1 {
        let grey = &own[0];
        match all {
            true => pixels.extend(grey[..columns.len()].iter().flat_map(|&value| [value; 3])),
            false => pixels.extend(columns.iter().flat_map(|&column| [grey[column]; 3])),
        }
        return;
    }
    let [y, cb, cr] = own;
    colour(y, cb, cr, colours);
    let [red, green, blue] = colours;
    let from = pixels.len();
    pixels.resize(from + columns.len() * 3, 0);
    let out = pixels[from..].as_chunks_mut::<3>().0;
    match all {
        true => {
            for (((out, &r), &g), &b) in out.iter_mut().zip(&*red).zip(&*green).zip(&*blue) {
                *out = [r, g, b];
            }
        }
        false => {
            let length = red.len().min(green.len()).min(blue.len());
            let (red, green, blue) = (&red[..length], &green[..length], &blue[..length]);
            for (out, &column) in out.iter_mut().zip(columns) {
                *out = [red[column], green[column], blue[column]];
            }
        }
    }
}

impl Plane {
    /// The samples of a row of pixels, one per pixel. Between samples, a pixel is three quarters of the nearer and a quarter of the
    /// farther one, in each direction ("fancy upsampling" of the Independent JPEG Group).
    #[inline(always)]
    fn line(&self, row: usize, blend: &mut Vec<u8>, out: &mut Vec<u8>) {
        let samples = |row: usize| {
            let row = row % (2 * self.blocks[0] * self.size[0]);
            &self.samples[row * self.stride..][..self.stride]
        };
        out.clear();
        let wide = self.spread[1] == 2;
        let own = samples(row / self.spread[0]);
        if self.spread[0] == 1 {
            match wide {
                true => widened(own, out),
                false => out.extend_from_slice(own),
            }
            return;
        }
        let near = row / 2;
        let far = if row % 2 == 1 { (near + 1).min(self.rows - 1) } else { near.saturating_sub(1) };
        let target = if wide { &mut *blend } else { &mut *out };
        target.clear();
        target.extend(own.iter().zip(samples(far)).map(|(&near, &far)| between(near, far)));
        if wide {
            widened(blend, out);
        }
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

/// Fractional bits of the weights of colours.
const BITS: u32 = 14;

/// Red, green and blue of a row of luma and chroma (ITU-T T.871, section 7), in 14 fractional bits.
#[inline(always)]
fn colour(y: &[u8], cb: &[u8], cr: &[u8], colours: &mut [Vec<u8>; 3]) {
    const WEIGHTS: [i32; 4] = [22_970, -11_700, -5_638, 29_032];
    let length = y.len().min(cb.len()).min(cr.len());
    let (y, cb, cr) = (&y[..length], &cb[..length], &cr[..length]);
    colours.iter_mut().for_each(|colour| colour.resize(length, 0));
    let [red, green, blue] = colours;
    let (red, green, blue) = (&mut red[..length], &mut green[..length], &mut blue[..length]);
    let value = |sum: i32| (sum >> BITS).clamp(0, 255) as u8;
    for at in 0..length {
        let luma = (i32::from(y[at]) << BITS) + (1 << (BITS - 1)) - 1;
        let (cb, cr) = (i32::from(cb[at]) - 128, i32::from(cr[at]) - 128);
        red[at] = value(luma + cr * WEIGHTS[0]);
        green[at] = value(luma + cr * WEIGHTS[1] + cb * WEIGHTS[2]);
        blue[at] = value(luma + cb * WEIGHTS[3]);
    }
}

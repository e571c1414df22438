//! Compares the pixels of two photos to decide whether they show the same picture.
//!
//! A perceptual hash consists of a few bits of a small grey picture, and a crop changes it completely. Only pairs whose features are nearly
//! equal are compared here, so there is time for a better method: one picture is placed on the other, as a whole or as a part of it, also
//! mirrored, and in the best placement the edges and textures of both are correlated.

use crate::{InsightError, Result};

/// Number of pixels along a side.
const SIDE: usize = 64;
/// Number of points along a side at which two pictures are compared, first roughly, then more finely.
const ROUGH: usize = 16;
const MIDDLE: usize = 32;
const FINE: usize = 48;
/// The step in which sizes and places of a part are tried, as a fraction of the whole picture's side.
const STEP: f64 = 0.025;
/// The number of steps by which the smallest part is smaller than the whole: it has four fifths of a side.
const SMALLEST: usize = 8;
/// Number of the best rough placements that are refined.
const FINALISTS: usize = 4;
/// Placements with a lower rough correlation are not refined: copies reach at least 0.6.
const HOPELESS: f64 = 0.5;
/// The surroundings of a point are the points up to this distance from it, along each axis.
const AROUND: usize = 3;
/// Upper limit of the moves by one step size when a placement is refined.
const MOST_MOVES: usize = 6;

/// A photo, reduced to a grey picture of 64 by 64 pixels, whatever its aspect ratio.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    grey: Vec<f32>,
}

/// How well two pictures agree in their best placement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Correlation of their edges and textures, -1 to 1: the mean of its surroundings is subtracted from the brightness of each point. Photos
    /// of the same place have similar brightness, but only copies have similar edges and textures, even if brightness, contrast or colours
    /// were changed.
    pub correlation: f64,
    /// Whether one of them is mirrored.
    pub mirrored: bool,
    /// The share of the larger picture that the other one shows.
    pub covered: f64,
}

/// The part of a picture on which another one is placed, in fractions of its sides.
#[derive(Debug, Clone, Copy)]
struct Placement {
    corner: [f64; 2],
    size: [f64; 2],
    mirrored: bool,
}

impl Placement {
    /// The placements with one edge moved in or out by `step`, or with the whole part shifted by it along one axis.
    fn nearby(self, step: f64) -> impl Iterator<Item = Self> {
        let moves = [(step, 0.0), (-step, 0.0), (0.0, step), (0.0, -step), (step, -step), (-step, step)];
        (0..2).flat_map(move |axis| moves.map(move |(corner, size)| (axis, corner, size))).filter_map(move |it| {
            let (axis, corner, size) = it;
            let mut next = self;
            next.corner[axis] += corner;
            next.size[axis] += size;
            let (from, to) = (next.corner[axis], next.corner[axis] + next.size[axis]);
            (from >= -1e-9 && to <= 1.0 + 1e-9 && next.size[axis] >= 1.0 - SMALLEST as f64 * STEP).then_some(next)
        })
    }
}

/// Checks that the number of values is that of a picture with these sides, and not 0.
pub(crate) fn check_pixels(width: usize, height: usize, pixels: &[u8]) -> Result<()> {
    let (found, expected) = (pixels.len(), width * height * 3);
    match found == expected && expected > 0 {
        true => Ok(()),
        false => Err(InsightError::Count { what: "values of pixels", found, expected: expected.max(3) }),
    }
}

impl Picture {
    /// Reduces decoded pixels, `[height, width, 3]`, in the order red, green, blue.
    ///
    /// # Errors
    /// [`InsightError::Count`] if the number of values does not fit the sides, or there are no pixels.
    pub fn new(width: usize, height: usize, pixels: &[u8]) -> Result<Self> {
        check_pixels(width, height, pixels)?;
        // Each pixel is the mean of the brightness (with the weights of ITU-R BT.601) of the pixels that it covers, first along rows and then
        // along columns.
        let brightness =
            |pixel: &[u8]| 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
        let mut narrow = vec![0.0; height * SIDE];
        let columns = shares(width);
        for (row, out) in pixels.chunks_exact(width * 3).zip(narrow.chunks_exact_mut(SIDE)) {
            let row: Vec<f32> = row.chunks_exact(3).map(brightness).collect();
            for (out, (first, weights)) in out.iter_mut().zip(&columns) {
                *out = row[*first..].iter().zip(weights).map(|(value, weight)| value * weight).sum();
            }
        }
        let mut grey = vec![0.0; SIDE * SIDE];
        for (out, (first, weights)) in grey.chunks_exact_mut(SIDE).zip(shares(height)) {
            for (row, weight) in narrow[first * SIDE..].chunks_exact(SIDE).zip(weights) {
                out.iter_mut().zip(row).for_each(|(out, value)| *out += value * weight);
            }
        }
        Ok(Self { grey })
    }

    /// How well the two agree in their best placement: one is placed on the whole of the other, or on a part of it that has at least four fifths
    /// of each side, and may be mirrored.
    pub fn agreement(&self, other: &Self) -> Agreement {
        // In each direction, the first picture is placed on a part of the second one.
        let directions = [(self, other), (other, self)];
        // Details that are smaller than a step would disturb the comparison of rough placements.
        let (soft, soft_other) = (self.softened(), other.softened());
        let mut tried = Vec::new();
        for (direction, (part, whole)) in [(&soft, &soft_other), (&soft_other, &soft)].into_iter().enumerate() {
            let rough = part.points(ROUGH);
            let correlation = |placement| whole.correlation(&rough, ROUGH, placement);
            tried.extend(placements().map(|placement| (correlation(placement), direction, placement)));
        }
        tried.sort_by(|a, b| b.0.total_cmp(&a.0));
        let refined = tried.iter().take(FINALISTS).map(|&(rough, direction, placement)| {
            let (part, whole) = directions[direction];
            let mut placement = placement;
            if rough >= HOPELESS {
                placement = whole.refined(part, MIDDLE, &[STEP, STEP / 2.0], placement);
                placement = whole.refined(part, FINE, &[STEP / 4.0, STEP / 8.0], placement);
            }
            let (ours, theirs) = (part.points(FINE), whole.sample(FINE, placement));
            let correlation = correlation(&detail(&ours, FINE), &detail(&theirs, FINE));
            let covered = placement.size[0] * placement.size[1];
            Agreement { correlation, mirrored: placement.mirrored, covered }
        });
        refined.max_by(|a, b| a.correlation.total_cmp(&b.correlation)).expect("there are placements")
    }

    /// The picture with each pixel replaced by the mean of its surroundings.
    fn softened(&self) -> Self {
        let grey: Vec<f64> = self.grey.iter().map(|&value| f64::from(value)).collect();
        let soft = grey.iter().zip(detail(&grey, SIDE)).map(|(value, detail)| (value - detail) as f32);
        Self { grey: soft.collect() }
    }

    /// Improves a placement of `part`: moves its edges one by one, with each of the step sizes, as long as the agreement improves.
    fn refined(&self, part: &Self, side: usize, steps: &[f64], mut placement: Placement) -> Placement {
        let points = part.points(side);
        let mut best = self.correlation(&points, side, placement);
        for &step in steps {
            for _ in 0..MOST_MOVES {
                let nearby = placement.nearby(step).map(|next| (self.correlation(&points, side, next), next));
                let Some((correlation, next)) = nearby.max_by(|a, b| a.0.total_cmp(&b.0)) else { break };
                if correlation <= best {
                    break;
                }
                (best, placement) = (correlation, next);
            }
        }
        placement
    }

    /// The picture's values at `side` by `side` points.
    fn points(&self, side: usize) -> Vec<f64> {
        self.sample(side, Placement { corner: [0.0; 2], size: [1.0; 2], mirrored: false })
    }

    fn correlation(&self, points: &[f64], side: usize, placement: Placement) -> f64 {
        correlation(points, &self.sample(side, placement))
    }

    /// The values at `side` by `side` points, spread over a part of the picture and interpolated bilinearly.
    fn sample(&self, side: usize, placement: Placement) -> Vec<f64> {
        let along = |axis: usize, at: usize| -> (usize, f32) {
            let at = if axis == 0 && placement.mirrored { side - 1 - at } else { at };
            let inside = placement.corner[axis] + placement.size[axis] * (at as f64 + 0.5) / side as f64;
            let pixel = (inside * SIDE as f64 - 0.5).clamp(0.0, (SIDE - 1) as f64);
            let first = (pixel.floor() as usize).min(SIDE - 2);
            (first, (pixel - first as f64) as f32)
        };
        let columns: Vec<(usize, f32)> = (0..side).map(|at| along(0, at)).collect();
        let mut values = Vec::with_capacity(side * side);
        for (row, down) in (0..side).map(|at| along(1, at)) {
            let (upper, lower) = (&self.grey[row * SIDE..][..SIDE], &self.grey[(row + 1) * SIDE..][..SIDE]);
            let between =
                |row: &[f32], column: usize, right: f32| row[column] + right * (row[column + 1] - row[column]);
            for &(column, right) in &columns {
                let (above, below) = (between(upper, column, right), between(lower, column, right));
                values.push(f64::from(above + down * (below - above)));
            }
        }
        values
    }
}

/// All rough placements: every width and height from the whole to the smallest part, independent of each other because a crop may cut off
/// only one border, at every place. They are two steps apart, because 16 points cannot distinguish less than a twentieth of a side.
fn placements() -> impl Iterator<Item = Placement> {
    let sizes = || (0..=SMALLEST).step_by(2);
    let corners = |steps: usize| (0..=steps).step_by(2);
    let all = sizes().flat_map(move |wide| sizes().map(move |high| (wide, high)));
    let all = all.flat_map(move |(wide, high)| corners(wide).map(move |left| (wide, high, left)));
    let all = all.flat_map(move |(wide, high, left)| corners(high).map(move |top| (wide, high, left, top)));
    all.flat_map(|(wide, high, left, top)| {
        let part = |steps: usize| steps as f64 * STEP;
        [false, true].map(|mirrored| Placement {
            corner: [part(left), part(top)],
            size: [1.0 - part(wide), 1.0 - part(high)],
            mirrored,
        })
    })
}

/// Subtracts the mean of its surroundings ([`AROUND`]) from each of `side` by `side` points.
fn detail(points: &[f64], side: usize) -> Vec<f64> {
    let near = |at: usize| at.saturating_sub(AROUND)..(at + AROUND + 1).min(side);
    let of = |at: usize| {
        let (row, column) = (at / side, at % side);
        let around = near(row).flat_map(|row| points[row * side..][near(column)].iter());
        points[at] - around.sum::<f64>() / (near(row).len() * near(column).len()) as f64
    };
    (0..points.len()).map(of).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    // A picture of one colour (a deviation of less than a tenth of a grey level) has no correlation; two of the same colour are equal.
    let flat = 0.01 * n;
    if aa < flat || bb < flat {
        let same = aa < flat && bb < flat && (mean_a - mean_b).abs() < 2.0;
        return f64::from(u8::from(same));
    }
    ab / (aa * bb).sqrt()
}

/// For each pixel of a reduced side: the first pixel of the original side that it covers, and the weight of each covered pixel.
fn shares(large: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = large as f64 / SIDE as f64;
    let of = |at: usize| {
        let (from, to) = (at as f64 * scale, (at + 1) as f64 * scale);
        let (first, last) = (from.floor() as usize, (to.ceil() as usize).clamp(1, large));
        let first = first.min(last - 1);
        let covered = (first..last).map(|pixel| {
            let overlap = to.min((pixel + 1) as f64) - from.max(pixel as f64);
            (overlap.max(0.0) / scale) as f32
        });
        (first, covered.collect())
    };
    (0..SIDE).map(of).collect()
}

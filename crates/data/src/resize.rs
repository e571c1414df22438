//! Resizing with TensorFlow's numbers (`tf.image.resize`, half-pixel centres, no antialias): values are not rounded.
//!
//! Every method is separable: an output row or column is a weighted sum of a few input ones. The methods differ only in
//! which ones and how much, so one pair of loops does them all.

pub use injerto_graph::Interpolation;

use crate::decode::Rgb;
use crate::sight::Sight;

/// Resizes an image to `[height, width]` and returns `[height, width, 3]`, 0 to 255 (bicubic values may lie a little outside).
///
/// With `crop_to_aspect_ratio`, the largest central part of the image that has the target's aspect ratio is resized, as in
/// Keras's `smart_resize`. Otherwise the whole image is, and its aspect ratio changes.
pub fn resize(image: &Rgb, size: [usize; 2], how: Interpolation, crop_to_aspect_ratio: bool) -> Vec<f32> {
    let mut output = vec![0.0_f32; size[0] * size[1] * 3];
    resize_into(image, size, how, crop_to_aspect_ratio, &mut output);
    output
}

/// [`resize`], into `output`, which holds `height * width * 3` values.
///
/// # Panics
/// If it holds fewer, or the image has no pixels.
pub fn resize_into(
    image: &Rgb,
    [height, width]: [usize; 2],
    how: Interpolation,
    crop_to_aspect_ratio: bool,
    output: &mut [f32],
) {
    let [top, left, rows, columns] = match crop_to_aspect_ratio {
        true => middle([image.height, image.width], [height, width]),
        false => [0, 0, image.height, image.width],
    };
    let vertical = Taps::new(rows, height, how);
    let horizontal = Taps::new(columns, width, how);
    let source = |row: usize| &image.pixels[((top + row) * image.width + left) * 3..][..columns * 3];
    blended([&vertical, &horizontal], source, columns, &mut output[..height * width * 3]);
}

/// Fills `output`, from rows of so many pixels.
fn blended<'a, T: Copy + 'a>(
    [vertical, horizontal]: [&Taps; 2],
    source: impl Fn(usize) -> &'a [T],
    columns: usize,
    output: &mut [f32],
) where
    f32: From<T>,
{
    // Down the columns first: those loops run over whole rows, which the compiler turns into vector instructions.
    let mut blend = vec![0.0_f32; columns * 3];
    for (y, out) in output.chunks_exact_mut(horizontal.first.len() * 3).enumerate() {
        let (first, weights) = vertical.of(y);
        vertically(first, weights, &source, &mut blend);
        horizontal.along(&blend, out);
    }
}

/// The resizing of one image, which knows which rows and columns it reads: if a large image is made small without antialiasing, most of it
/// is not read.
#[derive(Debug)]
pub(crate) struct Resizing {
    /// Height and width of the whole image.
    pub of: [usize; 2],
    sight: Sight,
    taps: [Taps; 2],
}

impl Resizing {
    /// Of a part (top, left, height and width) of an image whose height and width is `of`, to `[height, width]`.
    pub fn new(
        of: [usize; 2],
        [top, left, rows, columns]: [usize; 4],
        [height, width]: [usize; 2],
        how: Interpolation,
    ) -> Self {
        let (mut vertical, mut horizontal) = (Taps::new(rows, height, how), Taps::new(columns, width, how));
        let shifted = |places: Vec<usize>, by: usize| places.into_iter().map(|at| at + by).collect();
        let sight = Sight { rows: shifted(vertical.close(), top), columns: shifted(horizontal.close(), left) };
        Self { of, sight, taps: [vertical, horizontal] }
    }

    /// Resizes what is looked at: `rows * columns * 3` bytes. The values are those of [`resize_into`] on the whole image.
    pub fn run(&self, seen: &[u8], output: &mut [f32]) {
        let [vertical, horizontal] = &self.taps;
        let columns = self.sight.columns.len();
        blended([vertical, horizontal], |row| &seen[row * columns * 3..][..columns * 3], columns, output);
    }
}

impl AsRef<Sight> for Resizing {
    fn as_ref(&self) -> &Sight {
        &self.sight
    }
}

/// The largest central part of an image of `size` with the aspect ratio of `target`, each `[height, width]`: top, left, height and width.
pub(crate) fn middle(size: [usize; 2], target: [usize; 2]) -> [usize; 4] {
    let ([image_height, image_width], [height, width]) = (size, target);
    let rows = image_height.min((image_width * height) / width.max(1)).max(1);
    let columns = image_width.min((image_height * width) / height.max(1)).max(1);
    [(image_height - rows) / 2, (image_width - columns) / 2, rows, columns]
}

/// Resizes pixels that are floats already, bilinearly, as a crop among augmentations needs it.
pub(crate) fn resize_floats(pixels: &[f32], [rows, columns]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let vertical = Taps::new(rows, height, Interpolation::Bilinear);
    let horizontal = Taps::new(columns, width, Interpolation::Bilinear);
    let mut output = vec![0.0_f32; height * width * 3];
    blended([&vertical, &horizontal], |row| &pixels[row * columns * 3..][..columns * 3], columns, &mut output);
    output
}

/// The weighted sum of the rows from `first` on.
fn vertically<'a, T: Copy + 'a>(first: usize, weights: &[f32], row: impl Fn(usize) -> &'a [T], out: &mut [f32])
where
    f32: From<T>,
{
    if let &[a, b] = weights {
        for ((out, &x), &y) in out.iter_mut().zip(row(first)).zip(row(first + 1)) {
            *out = a * f32::from(x) + b * f32::from(y);
        }
        return;
    }
    out.fill(0.0);
    for (at, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
        out.iter_mut().zip(row(first + at)).for_each(|(out, &x)| *out += weight * f32::from(x));
    }
}

/// Cuts the central square of `fraction` of the shorter side out of an image: what ImageNet's evaluation does.
pub fn center_crop(image: &Rgb, fraction: f64) -> Rgb {
    let [top, left, side, _] = central_square([image.height, image.width], fraction);
    let row = |y: usize| &image.pixels[((top + y) * image.width + left) * 3..][..side * 3];
    Rgb { height: side, width: side, pixels: (0..side).flat_map(row).copied().collect() }
}

/// Top, left, height and width of what [`center_crop`] cuts out of an image of this height and width.
pub(crate) fn central_square([height, width]: [usize; 2], fraction: f64) -> [usize; 4] {
    let shorter = height.min(width);
    let side = ((shorter as f64 * fraction).round() as usize).clamp(1, shorter);
    // As torchvision's `CenterCrop`, which rounds an odd rest to the even half.
    let offset = |length: usize| ((length - side) as f64 / 2.0).round_ties_even() as usize;
    [offset(height), offset(width), side, side]
}

/// For each output position along one axis, the input positions that make it up (a run of `count`) and their weights.
#[derive(Debug)]
struct Taps {
    count: usize,
    first: Vec<usize>,
    weights: Vec<f32>,
}

impl Taps {
    fn new(input: usize, output: usize, how: Interpolation) -> Self {
        let scale = input as f32 / output as f32;
        let last = input - 1;
        let most = match how {
            Interpolation::Nearest => 1,
            Interpolation::Bilinear => 2,
            Interpolation::Bicubic => 4,
            Interpolation::Area => scale.ceil() as usize + 1,
        };
        let count = most.min(input);
        let mut taps = Self { count, first: Vec::with_capacity(output), weights: vec![0.0; output * count] };
        for (at, weights) in (0..output).zip(taps.weights.chunks_exact_mut(count)) {
            let center = (at as f32 + 0.5) * scale - 0.5;
            let place = |position: f32| (position.max(0.0) as usize).min(last);
            // Near an edge the run is moved inwards; what is outside counts for the edge, or has no weight.
            let start = |position: f32| place(position).min(input - count);
            let first = match how {
                Interpolation::Nearest => {
                    weights[0] = 1.0;
                    place((at as f32 + 0.5) * scale)
                }
                Interpolation::Bilinear => {
                    let (floor, first) = (center.floor(), start(center.floor()));
                    weights[place(floor) - first] += 1.0 - (center - floor);
                    weights[place(center.ceil()) - first] += center - floor;
                    first
                }
                Interpolation::Bicubic => {
                    let first = start(center.floor() - 1.0);
                    cubic(center, last).for_each(|(place, weight)| weights[place - first] += weight);
                    first
                }
                Interpolation::Area => {
                    let (from, to) = (at as f32 * scale, (at as f32 + 1.0) * scale);
                    let first = start(from);
                    // Rounding must not reach beyond the run.
                    for cell in place(from)..(to.ceil() as usize).min(first + count) {
                        let covered = (to.min(cell as f32 + 1.0) - from.max(cell as f32)) / scale;
                        weights[cell - first] += covered;
                    }
                    first
                }
            };
            taps.first.push(first);
        }
        taps
    }

    /// Leaves out input positions of which no output is made, so that the others close the gaps. Returns these.
    fn close(&mut self) -> Vec<usize> {
        let mut kept: Vec<usize> = Vec::with_capacity(self.first.len() * self.count);
        for first in &mut self.first {
            // Runs come in order, and may overlap.
            let next = kept.last().map_or(0, |last| last + 1).max(*first);
            kept.extend(next..*first + self.count);
            *first = kept.len() - self.count;
        }
        kept
    }

    fn of(&self, at: usize) -> (usize, &[f32]) {
        (self.first[at], &self.weights[at * self.count..(at + 1) * self.count])
    }

    /// Resizes a row of RGB pixels along its length.
    fn along(&self, row: &[f32], out: &mut [f32]) {
        match self.count {
            1 => self.along_by::<1>(row, out),
            2 => self.along_by::<2>(row, out),
            4 => self.along_by::<4>(row, out),
            count => {
                for (out, (&first, weights)) in
                    out.chunks_exact_mut(3).zip(self.first.iter().zip(self.weights.chunks_exact(count)))
                {
                    out.fill(0.0);
                    for (pixel, weight) in row[first * 3..][..count * 3].chunks_exact(3).zip(weights) {
                        out.iter_mut().zip(pixel).for_each(|(out, x)| *out += weight * x);
                    }
                }
            }
        }
    }

    /// The same with a length that the compiler knows.
    fn along_by<const N: usize>(&self, row: &[f32], out: &mut [f32]) {
        let (pixels, _) = row.as_chunks::<3>();
        let ((out, _), (weights, _)) = (out.as_chunks_mut::<3>(), self.weights.as_chunks::<N>());
        for (out, (&first, weights)) in out.iter_mut().zip(self.first.iter().zip(weights)) {
            let mut sum = [0.0_f32; 3];
            for (pixel, weight) in pixels[first..first + N].iter().zip(weights) {
                sum.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += weight * x);
            }
            *out = sum;
        }
    }
}

/// TensorFlow's bicubic weights (`resize_bicubic_op.cc`): coefficients from a table of 1,024 steps, positions outside the
/// image left out and the rest scaled to sum to one.
fn cubic(center: f32, last: usize) -> impl Iterator<Item = (usize, f32)> {
    const STEPS: f32 = 1024.0;
    const A: f32 = -0.5;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let base = center.floor();
    let part = ((center - base) * STEPS).round_ties_even() / STEPS;
    let weights = [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)];
    let places = [-1.0, 0.0, 1.0, 2.0].map(|step| base + step);
    let inside = move |place: f32| place >= 0.0 && place <= last as f32;
    let taps = places.into_iter().zip(weights).filter(move |(place, _)| inside(*place));
    let sum: f32 = taps.clone().map(|(_, weight)| weight).sum();
    taps.map(move |(place, weight)| (place as usize, weight / sum))
}

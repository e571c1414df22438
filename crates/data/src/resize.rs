//! Resizing with TensorFlow's numbers (`tf.image.resize`, half-pixel centres, no antialias): values are not rounded.
//!
//! Every method is separable: an output row or column is a weighted sum of a few input ones. The methods differ only in
//! which ones and how much, so one pair of loops does them all.

use crate::decode::Rgb;

/// How values between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Interpolation {
    /// Between the two nearest.
    #[default]
    Bilinear,
    /// The nearest.
    Nearest,
    /// Keys's cubic with a = -0.5 over the four nearest.
    Bicubic,
    /// The mean of what an output pixel covers.
    Area,
}

/// Resizes to `[height, width]`: `[height, width, 3]`, 0 to 255 (bicubic may go a little beyond).
///
/// With `crop_to_aspect_ratio` the largest central part of the image with the target's aspect ratio is used, as by
/// Keras's `smart_resize`; otherwise the image is squeezed.
pub fn resize(image: &Rgb, [height, width]: [usize; 2], how: Interpolation, crop_to_aspect_ratio: bool) -> Vec<f32> {
    let (mut top, mut left, mut rows, mut columns) = (0, 0, image.height, image.width);
    if crop_to_aspect_ratio {
        rows = image.height.min((image.width * height) / width.max(1)).max(1);
        columns = image.width.min((image.height * width) / height.max(1)).max(1);
        (top, left) = ((image.height - rows) / 2, (image.width - columns) / 2);
    }
    let vertical = Taps::new(rows, height, how);
    let horizontal = Taps::new(columns, width, how);
    // Rows that are needed, first resized along their length.
    let mut place = vec![usize::MAX; rows];
    let mut narrow: Vec<f32> = Vec::with_capacity(rows * width * 3);
    for &row in &vertical.sources {
        if place[row] == usize::MAX {
            place[row] = narrow.len();
            let from = ((top + row) * image.width + left) * 3;
            horizontal.along_row(&image.pixels[from..from + columns * 3], &mut narrow);
        }
    }
    let mut output = vec![0.0_f32; height * width * 3];
    for (y, out) in output.chunks_exact_mut(width * 3).enumerate() {
        for (&row, &weight) in vertical.of(y) {
            let source = &narrow[place[row]..place[row] + width * 3];
            out.iter_mut().zip(source).for_each(|(out, &x)| *out += weight * x);
        }
    }
    output
}

/// Cuts the central square of `fraction` of the shorter side out of an image: what ImageNet's evaluation does.
pub fn center_crop(image: &Rgb, fraction: f64) -> Rgb {
    let side =
        ((image.height.min(image.width) as f64 * fraction).round() as usize).clamp(1, image.height.min(image.width));
    // As torchvision's `CenterCrop`, which rounds an odd rest to the even half.
    let offset = |length: usize| ((length - side) as f64 / 2.0).round_ties_even() as usize;
    let (top, left) = (offset(image.height), offset(image.width));
    let row = |y: usize| &image.pixels[((top + y) * image.width + left) * 3..][..side * 3];
    Rgb { height: side, width: side, pixels: (0..side).flat_map(row).copied().collect() }
}

/// For each output position along one axis, the input positions that make it up and their weights.
struct Taps {
    count: usize,
    sources: Vec<usize>,
    weights: Vec<f32>,
}

impl Taps {
    fn new(input: usize, output: usize, how: Interpolation) -> Self {
        let scale = input as f32 / output as f32;
        let last = input - 1;
        let pairs: Vec<Vec<(usize, f32)>> = (0..output)
            .map(|at| {
                let center = (at as f32 + 0.5) * scale - 0.5;
                match how {
                    Interpolation::Nearest => vec![((((at as f32 + 0.5) * scale) as usize).min(last), 1.0)],
                    Interpolation::Bilinear => {
                        let part = center - center.floor();
                        let low = (center.floor().max(0.0) as usize).min(last);
                        let high = (center.ceil().max(0.0) as usize).min(last);
                        vec![(low, 1.0 - part), (high, part)]
                    }
                    Interpolation::Bicubic => cubic(center, last),
                    Interpolation::Area => {
                        let (from, to) = (at as f32 * scale, (at as f32 + 1.0) * scale);
                        let cells = from.floor() as usize..(to.ceil() as usize).min(input);
                        let covered = |cell: usize| (to.min(cell as f32 + 1.0) - from.max(cell as f32)) / scale;
                        cells.map(|cell| (cell, covered(cell))).collect()
                    }
                }
            })
            .collect();
        // The same number everywhere, filled up with weights of nothing, so that loops have a fixed length.
        let count = pairs.iter().map(Vec::len).max().unwrap_or(1);
        let filled = pairs.iter().flat_map(|taps| {
            let padding = (taps[0].0, 0.0);
            taps.iter().copied().chain(std::iter::repeat_n(padding, count - taps.len()))
        });
        let (sources, weights) = filled.unzip();
        Self { count, sources, weights }
    }

    fn of(&self, at: usize) -> impl Iterator<Item = (&usize, &f32)> {
        let range = at * self.count..(at + 1) * self.count;
        self.sources[range.clone()].iter().zip(&self.weights[range])
    }

    /// Appends a row of RGB pixels, resized.
    fn along_row(&self, row: &[u8], out: &mut Vec<f32>) {
        for (sources, weights) in self.sources.chunks_exact(self.count).zip(self.weights.chunks_exact(self.count)) {
            let mut sum = [0.0_f32; 3];
            for (&source, &weight) in sources.iter().zip(weights) {
                let pixel = &row[source * 3..source * 3 + 3];
                sum.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += weight * f32::from(x));
            }
            out.extend(sum);
        }
    }
}

/// TensorFlow's bicubic weights (`resize_bicubic_op.cc`): coefficients from a table of 1,024 steps, positions outside the
/// image left out and the rest scaled to sum to one.
fn cubic(center: f32, last: usize) -> Vec<(usize, f32)> {
    const STEPS: f32 = 1024.0;
    const A: f32 = -0.5;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let base = center.floor();
    let part = ((center - base) * STEPS).round_ties_even() / STEPS;
    let weights = [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)];
    let places = [-1.0, 0.0, 1.0, 2.0].map(|step| base + step);
    let inside = |place: f32| place >= 0.0 && place <= last as f32;
    let taps: Vec<(usize, f32)> =
        places.into_iter().zip(weights).filter(|(place, _)| inside(*place)).map(|(p, w)| (p as usize, w)).collect();
    let sum: f32 = taps.iter().map(|(_, weight)| weight).sum();
    taps.into_iter().map(|(place, weight)| (place, weight / sum)).collect()
}

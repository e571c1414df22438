use injerto_losses::EPSILON;
use injerto_trainer::Runner;

use super::{Batch, Map, Maps, largest};
use crate::ExperimentError;
use crate::predict::batch_size;

/// Places along a side of the map.
const PLACES: usize = 8;
/// Places along a side of what is covered at a time.
const COVERED: usize = 2;

/// Maps of how much less probable a class becomes where the image is covered.
///
/// A square of two by two places, of the image's mean colour, moves over the image by one place at a time. What counts is the fall of the
/// class's logit, `ln(p / (1 - p))`, and a place has the mean of the squares that cover it.
#[derive(Debug)]
pub(super) struct Occlusion {
    runner: Runner,
}

impl Occlusion {
    pub fn new(runner: Runner) -> Self {
        Self { runner }
    }

    pub fn maps(&self, batch: &Batch<'_>, of: Option<usize>) -> Result<Maps, ExperimentError> {
        let outputs = self.runner.values(batch.pixels, batch.images)?.swap_remove(0);
        let probabilities = batch.probabilities(&outputs, batch.images);
        let width = probabilities.len() / batch.images;
        let (mut classes, mut maps) = (Vec::new(), Vec::new());
        for (at, row) in probabilities.chunks_exact(width).enumerate() {
            let class = of.unwrap_or_else(|| largest(row));
            maps.push(self.map(batch, at, class, logit(row[class]))?);
            classes.push(class);
        }
        Ok(Maps { probabilities, classes, maps })
    }

    fn map(&self, batch: &Batch<'_>, image: usize, class: usize, uncovered: f64) -> Result<Map, ExperimentError> {
        let [height, width] = self.runner.image_size();
        let pixels = batch.image(image);
        let (rows, columns) = (PLACES.min(height), PLACES.min(width));
        let ahead = |places: usize| places.saturating_sub(COVERED) + 1;
        let squares: Vec<[usize; 2]> =
            (0..ahead(rows)).flat_map(|row| (0..ahead(columns)).map(move |column| [row, column])).collect();
        let mean = mean(pixels);
        let (mut falls, mut counts) = (vec![0.0_f64; rows * columns], vec![0_u32; rows * columns]);
        for together in squares.chunks(batch_size([height, width])) {
            let mut covered = Vec::with_capacity(together.len() * pixels.len());
            for &[row, column] in together {
                let start = covered.len();
                covered.extend_from_slice(pixels);
                let [top, bottom] = [row, (row + COVERED).min(rows)].map(|place| place * height / rows);
                let [left, right] = [column, (column + COVERED).min(columns)].map(|place| place * width / columns);
                for y in top..bottom {
                    let line = &mut covered[start + (y * width + left) * 3..start + (y * width + right) * 3];
                    line.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&mean));
                }
            }
            let outputs = self.runner.values(&covered, together.len())?.swap_remove(0);
            let probabilities = batch.probabilities(&outputs, together.len());
            let classes = probabilities.len() / together.len();
            for (&[row, column], found) in together.iter().zip(probabilities.chunks_exact(classes)) {
                let fall = uncovered - logit(found[class]);
                for row in row..(row + COVERED).min(rows) {
                    for column in column..(column + COVERED).min(columns) {
                        falls[row * columns + column] += fall;
                        counts[row * columns + column] += 1;
                    }
                }
            }
        }
        let falls = falls.into_iter().zip(counts).map(|(fall, count)| (fall / f64::from(count)) as f32);
        Ok(Map::new(rows, columns, falls.collect()))
    }
}

fn logit(probability: f32) -> f64 {
    let p = f64::from(probability).clamp(EPSILON, 1.0 - EPSILON);
    (p / (1.0 - p)).ln()
}

fn mean(pixels: &[f32]) -> [f32; 3] {
    let mut sums = [0.0_f64; 3];
    for pixel in pixels.chunks_exact(3) {
        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.map(|sum| (sum / (pixels.len() / 3).max(1) as f64) as f32)
}

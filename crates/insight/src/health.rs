//! What can be found out about photos without a network: balance, sizes, light, sharpness, and whether one of these gives the class away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::folds::Folds;
use crate::picture::check_pixels;
use crate::probe::{CrossValidation, Mean, Strengths};
use crate::stats::{Baselines, quantile};
use crate::table::{FeatureTable, Image, Matrix};
use crate::watch::Watch;
use crate::{InsightError, Result};

/// Sharpness is measured on a picture whose longer side is about this, so that it does not depend on the camera's
/// resolution.
const SHARPNESS_SIDE: usize = 256;
/// A photo is grey if its channels differ by less than this, on average, of 255.
const GREY: f64 = 2.0;
/// Most of a photo's brightness lies beyond these, of 255, where it is called dark or bright.
const DARK: f64 = 40.0;
const BRIGHT: f64 = 220.0;
/// A photo is called blurred below this part of the median sharpness.
const BLURRED: f64 = 0.1;
/// A number gives the class away if it takes away this part of the error that naming the most frequent class leaves,
/// at the lower limit of the interval.
const GIVEN_AWAY: f64 = 0.2;

/// What is measured on a photo's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pixels {
    /// Mean brightness, 0 to 255.
    pub brightness: f64,
    /// Deviation of brightness.
    pub contrast: f64,
    /// Variance of the Laplacian of brightness (Pech-Pacheco and others, 2000): small where nothing is in focus.
    pub sharpness: f64,
    /// Mean gap of the largest and the smallest channel, 0 for grey.
    pub colour: f64,
}

impl Pixels {
    /// Of decoded pixels, `[height, width, 3]`, red, green, blue.
    ///
    /// # Errors
    /// A number of values that does not fit the sides, or no pixels.
    pub fn measure(width: usize, height: usize, pixels: &[u8]) -> Result<Self> {
        check_pixels(width, height, pixels)?;
        let count = (width * height) as f64;
        let (mut sum, mut squares, mut colour) = (0.0, 0.0, 0.0);
        // Means of squares of pixels are the small picture; what is left over at two edges is not counted.
        let side = width.max(height).div_ceil(SHARPNESS_SIDE);
        let (columns, rows) = (width / side, height / side);
        let mut small = vec![0.0; columns * rows];
        for (at, pixel) in pixels.chunks_exact(3).enumerate() {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(f64::from);
            let brightness = 0.299 * r + 0.587 * g + 0.114 * b;
            (sum, squares) = (sum + brightness, squares + brightness * brightness);
            colour += r.max(g).max(b) - r.min(g).min(b);
            let (column, row) = (at % width / side, at / width / side);
            if column < columns && row < rows {
                small[row * columns + column] += brightness / (side * side) as f64;
            }
        }
        let brightness = sum / count;
        let contrast = (squares / count - brightness * brightness).max(0.0).sqrt();
        Ok(Self { brightness, contrast, sharpness: sharpness(&small, columns, rows), colour: colour / count })
    }

    /// Whether the photo has no colours.
    pub fn is_grey(&self) -> bool {
        self.colour < GREY
    }
}

fn sharpness(picture: &[f64], columns: usize, rows: usize) -> f64 {
    let inner = (1..rows.saturating_sub(1)).flat_map(|row| (1..columns.saturating_sub(1)).map(move |at| (row, at)));
    let laplacian = |(row, column): (usize, usize)| {
        let at = row * columns + column;
        picture[at - 1] + picture[at + 1] + picture[at - columns] + picture[at + columns] - 4.0 * picture[at]
    };
    let values: Vec<f64> = inner.map(laplacian).collect();
    let (_, sd) = crate::stats::mean_and_sd(&values);
    sd * sd
}

/// A photo as a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Photo {
    /// Index of its class.
    pub label: u32,
    /// Width in pixels, as it is shown.
    pub width: usize,
    /// Height in pixels, as it is shown.
    pub height: usize,
    /// Size of the file.
    pub bytes: u64,
    /// Its format, as `"jpeg"`.
    pub format: String,
    /// Whether its EXIF data turn it.
    pub turned: bool,
    /// The facts that were measured on its pixels.
    pub pixels: Pixels,
}

/// Smallest, median and largest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Smallest.
    pub least: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub most: f64,
}

/// Facts about a dataset that should be known before training. Lists hold the numbers of photos, the oddest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Photos.
    pub n: usize,
    /// Photos per class.
    pub counts: Vec<usize>,
    /// Photos of the largest class per photo of the smallest; `None` where a class has none.
    pub imbalance: Option<f64>,
    /// What guessing reaches.
    pub baselines: Baselines,
    /// Widths in pixels.
    pub width: Option<Range>,
    /// Heights in pixels.
    pub height: Option<Range>,
    /// Width divided by height.
    pub aspect: Option<Range>,
    /// Brightness, 0 to 255.
    pub brightness: Option<Range>,
    /// Photos per format.
    pub formats: BTreeMap<String, usize>,
    /// Photos that EXIF data turn.
    pub turned: Vec<usize>,
    /// Photos that are nearly black.
    pub dark: Vec<usize>,
    /// Photos that are nearly white.
    pub bright: Vec<usize>,
    /// Photos in which nothing is sharp, beside the others of the dataset.
    pub blurred: Vec<usize>,
    /// Grey photos where most are coloured.
    pub grey: Vec<usize>,
}

impl Health {
    /// Of photos whose labels are below `classes`.
    ///
    /// # Errors
    /// A label without a class.
    pub fn of(photos: &[Photo], classes: usize) -> Result<Self> {
        let mut counts = vec![0; classes];
        for (row, photo) in photos.iter().enumerate() {
            *counts.get_mut(photo.label as usize).ok_or(InsightError::Probabilities { row, classes })? += 1;
        }
        let (least, most) = (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
        let mut formats = BTreeMap::new();
        photos.iter().for_each(|photo| *formats.entry(photo.format.clone()).or_insert(0) += 1);
        let sharpness = range(photos, |photo| photo.pixels.sharpness);
        let blurred = |photo: &Photo| {
            let median = sharpness.map_or(0.0, |sharpness| sharpness.median);
            (photo.pixels.sharpness < BLURRED * median).then_some(photo.pixels.sharpness)
        };
        let grey = |photo: &Photo| photo.pixels.is_grey().then_some(photo.pixels.colour);
        let mostly_grey = photos.iter().filter(|photo| photo.pixels.is_grey()).count() * 2 > photos.len();
        Ok(Self {
            n: photos.len(),
            imbalance: (least > 0).then(|| most as f64 / least as f64),
            baselines: Baselines::of(&counts),
            counts,
            width: range(photos, |photo| photo.width as f64),
            height: range(photos, |photo| photo.height as f64),
            aspect: range(photos, |photo| photo.width as f64 / photo.height.max(1) as f64),
            brightness: range(photos, |photo| photo.pixels.brightness),
            formats,
            turned: listed(photos, |photo| photo.turned.then_some(0.0)),
            dark: listed(photos, |it| (it.pixels.brightness < DARK).then_some(it.pixels.brightness)),
            bright: listed(photos, |it| (it.pixels.brightness > BRIGHT).then_some(-it.pixels.brightness)),
            blurred: listed(photos, blurred),
            grey: if mostly_grey { Vec::new() } else { listed(photos, grey) },
        })
    }
}

/// Numbers of the photos that have a rank, by it.
fn listed(photos: &[Photo], rank: impl Fn(&Photo) -> Option<f64>) -> Vec<usize> {
    let ranks = photos.iter().enumerate().filter_map(|(at, photo)| rank(photo).map(|rank| (rank, at)));
    let mut ranks: Vec<(f64, usize)> = ranks.collect();
    ranks.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    ranks.into_iter().map(|(_, at)| at).collect()
}

fn range(photos: &[Photo], of: impl Fn(&Photo) -> f64) -> Option<Range> {
    let mut values: Vec<f64> = photos.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    Some(Range { least, median: quantile(&values, 0.5), most })
}

/// A few numbers of a photo that have nothing to do with what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trait {
    /// Brightness and contrast.
    Light,
    /// Width, height, aspect.
    Size,
    /// Format and bytes per pixel.
    File,
    /// Sharpness.
    Sharpness,
    /// Mean gap of the channels.
    Colour,
}

impl Trait {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Light, Self::Size, Self::File, Self::Sharpness, Self::Colour];

    /// Numbers of a photo, as many for each; sizes as logarithms, of which a linear probe makes ratios.
    fn numbers(self, photo: &Photo, formats: &[&str]) -> Vec<f32> {
        let pixels = &photo.pixels;
        let (width, height) = (photo.width.max(1) as f64, photo.height.max(1) as f64);
        let numbers = match self {
            Self::Light => vec![pixels.brightness, pixels.contrast],
            Self::Size => vec![width.ln(), height.ln(), (width / height).ln().abs()],
            Self::File => {
                let is = |format: &&str| f64::from(u8::from(photo.format == *format));
                let density = (photo.bytes.max(1) as f64 / (width * height)).ln();
                std::iter::once(density).chain(formats.iter().map(is)).collect()
            }
            Self::Sharpness => vec![pixels.sharpness.max(1e-6).ln()],
            Self::Colour => vec![pixels.colour],
        };
        numbers.into_iter().map(|number| number as f32).collect()
    }
}

/// How well a probe tells the classes apart if a few such numbers are all that it knows about a photo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shortcut {
    /// The numbers.
    pub by: Trait,
    /// Accuracy of the cross-validated probe.
    pub accuracy: Mean,
    /// Accuracy of always naming the most frequent class.
    pub majority: f64,
    /// Whether it is clearly better than that: a network may learn the camera and not what the photo shows.
    pub gives_away: bool,
}

/// Whether light, size, file, sharpness or colour alone predict the class; the best first.
///
/// # Errors
/// Fewer images than folds, images of one class only, numbers that are not finite, the caller's wish to stop.
pub fn shortcuts(photos: &[Photo], classes: &[String], folds: Folds, watch: Watch<'_>) -> Result<Vec<Shortcut>> {
    let mut formats: Vec<&str> = photos.iter().map(|photo| photo.format.as_str()).collect();
    formats.sort_unstable();
    formats.dedup();
    let images: Vec<Image> = photos.iter().map(|photo| Image::new("", photo.label)).collect();
    let strengths = Strengths::new(vec![0.01, 1.0])?;
    let mut found = Vec::new();
    for (done, by) in Trait::ALL.into_iter().enumerate() {
        watch.step("shortcuts", done, Trait::ALL.len())?;
        let rows: Vec<Vec<f32>> = photos.iter().map(|photo| by.numbers(photo, &formats)).collect();
        let width = rows.first().map_or(1, Vec::len);
        let table = FeatureTable::new(Matrix::new(width, rows.concat())?, images.clone(), classes.to_vec())?;
        let majority = Baselines::of(&table.counts()).majority;
        let accuracy = CrossValidation::run(&table, folds, &strengths, watch.quiet())?.accuracy;
        let gives_away = accuracy.interval[0] > majority + GIVEN_AWAY * (1.0 - majority);
        found.push(Shortcut { by, accuracy, majority, gives_away });
    }
    watch.step("shortcuts", Trait::ALL.len(), Trait::ALL.len())?;
    found.sort_by(|a, b| b.accuracy.mean.total_cmp(&a.accuracy.mean));
    Ok(found)
}

//! Facts about photos that need no network: balance of the classes, sizes, brightness, sharpness, and whether one of these reveals the class.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::folds::Folds;
use crate::picture::check_pixels;
use crate::probe::{CrossValidation, Mean, Strengths};
use crate::stats::{Baselines, quantile};
use crate::table::{FeatureTable, Image, Matrix};
use crate::watch::Watch;
use crate::{InsightError, Result};

/// Sharpness is measured on a reduced picture whose longer side has about this many pixels, so that it does not depend on the camera's
/// resolution.
const SHARPNESS_SIDE: usize = 256;
/// A photo is grey if its channels differ by less than this on average, on a scale to 255.
const GREY: f64 = 2.0;
/// A photo is dark if its mean brightness is below the first, and bright if it is above the second, on a scale to 255.
const DARK: f64 = 40.0;
const BRIGHT: f64 = 220.0;
/// A photo is blurred if its sharpness is below this part of the median sharpness.
const BLURRED: f64 = 0.1;
/// Numbers reveal the class if a probe that knows only them makes this part fewer errors than always naming the most frequent class,
/// measured at the lower limit of its accuracy's interval.
const GIVEN_AWAY: f64 = 0.2;

/// Measurements of a photo's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pixels {
    /// Mean brightness, 0 to 255.
    pub brightness: f64,
    /// Standard deviation of brightness.
    pub contrast: f64,
    /// Variance of the Laplacian of brightness (Pech-Pacheco and others, 2000). It is small if nothing is in focus.
    pub sharpness: f64,
    /// Mean difference between the largest and the smallest channel of a pixel, 0 to 255; 0 for grey.
    pub colour: f64,
}

impl Pixels {
    /// Measures decoded pixels, `[height, width, 3]`, in the order red, green, blue.
    ///
    /// # Errors
    /// [`InsightError::Count`] if the number of values does not fit the sides, or there are no pixels.
    pub fn measure(width: usize, height: usize, pixels: &[u8]) -> Result<Self> {
        check_pixels(width, height, pixels)?;
        let count = (width * height) as f64;
        let (mut sum, mut squares, mut colour) = (0.0, 0.0, 0.0);
        // A pixel of the reduced picture is the mean of a square of pixels; pixels that fill no square, at two edges, are left out.
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
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Its format, such as `"jpeg"`.
    pub format: String,
    /// Whether its EXIF data rotate or mirror it.
    pub turned: bool,
    /// Measurements of its pixels.
    pub pixels: Pixels,
}

/// The smallest value, the median, and the largest value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Smallest.
    pub least: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub most: f64,
}

/// Facts about a dataset that should be known before training. Lists hold indices of photos, the most unusual photo first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Number of photos.
    pub n: usize,
    /// Number of photos per class.
    pub counts: Vec<usize>,
    /// Number of photos of the largest class divided by that of the smallest; `None` if a class has no photos.
    pub imbalance: Option<f64>,
    /// The accuracy of guessing.
    pub baselines: Baselines,
    /// Widths in pixels.
    pub width: Option<Range>,
    /// Heights in pixels.
    pub height: Option<Range>,
    /// Width divided by height.
    pub aspect: Option<Range>,
    /// Brightness, 0 to 255.
    pub brightness: Option<Range>,
    /// Number of photos per format.
    pub formats: BTreeMap<String, usize>,
    /// Photos that their EXIF data rotate or mirror.
    pub turned: Vec<usize>,
    /// Photos that are nearly black.
    pub dark: Vec<usize>,
    /// Photos that are nearly white.
    pub bright: Vec<usize>,
    /// Photos that are much less sharp than most photos of the dataset.
    pub blurred: Vec<usize>,
    /// Grey photos, if at least half of the photos are coloured.
    pub grey: Vec<usize>,
}

impl Health {
    /// The facts about photos whose labels are below `classes`.
    ///
    /// # Errors
    /// [`InsightError::Probabilities`] if a label is not below `classes`.
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

/// The indices of the photos that have a rank, in ascending order of the rank.
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

/// A group of numbers about a photo that do not depend on what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trait {
    /// Brightness and contrast.
    Light,
    /// Width, height and aspect ratio.
    Size,
    /// Format and bytes per pixel.
    File,
    /// Sharpness.
    Sharpness,
    /// Mean difference of the channels.
    Colour,
}

impl Trait {
    /// All groups of numbers.
    pub const ALL: [Self; 5] = [Self::Light, Self::Size, Self::File, Self::Sharpness, Self::Colour];

    /// The numbers of a photo, equally many for each photo. Sizes are logarithms, so that a linear probe can use ratios.
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

/// How well a probe tells the classes apart if it knows only such a group of numbers about each photo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shortcut {
    /// The group of numbers.
    pub by: Trait,
    /// Accuracy of the cross-validated probe.
    pub accuracy: Mean,
    /// Accuracy of always naming the most frequent class.
    pub majority: f64,
    /// Whether the probe is clearly better than that. Then a network may learn, for example, which camera took a photo, and not what it shows.
    pub gives_away: bool,
}

/// Tests for each group of numbers whether it alone predicts the class. The group with the highest accuracy comes first.
///
/// # Errors
/// [`InsightError::TooFew`] for fewer images than folds or images of one class only, [`InsightError::NotFinite`] and [`InsightError::Label`] for
/// unsuitable photos, [`InsightError::Stopped`] if the caller has asked to stop.
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

//! Images that are drawn: a target task and a different source task to transfer from, with no download.
//!
//! An image is a pure function of its [`Drawing`]; how it is drawn is in `draw`.

mod draw;
pub(crate) mod drawing;

use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

pub use self::drawing::{Drawing, Task};
use crate::decode::Rgb;
use crate::{DataError, Dataset, Origin, Sample};

impl Task {
    /// The task of this name.
    ///
    /// # Errors
    /// [`DataError::UnknownTask`].
    pub fn of_name(name: &str) -> Result<Self, DataError> {
        Self::ALL
            .into_iter()
            .find(|task| task.name() == name)
            .ok_or_else(|| DataError::UnknownTask { name: name.to_owned(), known: Self::ALL.map(Self::name).to_vec() })
    }

    /// `per_class` images of each class. Two datasets with different `series` have no image in common.
    pub fn dataset(self, per_class: usize, seed: u64, series: u32) -> Dataset {
        let classes: Vec<String> = self.classes().iter().map(|class| (*class).to_owned()).collect();
        let of_class = |label: u32| {
            let drawing = move |index| Drawing { task: self, class: label, seed, series, index };
            (0..per_class as u32).map(move |index| Sample::new(Origin::Drawn(drawing(index)), label))
        };
        let samples = (0..classes.len() as u32).flat_map(of_class).collect();
        Dataset { classes, samples }
    }
}

/// Writes a generated dataset as PNG files, one folder per class.
///
/// # Errors
/// [`DataError::Write`].
pub fn export(dataset: &Dataset, folder: &Path, size: [usize; 2]) -> Result<(), DataError> {
    let failed = |path: &Path, reason: String| DataError::Write { path: path.to_owned(), reason };
    for (at, sample) in dataset.samples.iter().enumerate() {
        let Origin::Drawn(drawing) = &sample.origin else { continue };
        let class = folder.join(&*sample.label.name(&dataset.classes));
        std::fs::create_dir_all(&class).map_err(|error| failed(&class, error.to_string()))?;
        let path = class.join(format!("{at:05}.png"));
        let Rgb { height, width, pixels } = drawing.draw(size);
        // `ImageBuffer::save` would compile the encoders of all formats into this crate, and an encoder that writes to a file does not
        // say that the last bytes of it could not be written.
        let mut png = Vec::new();
        let encoder = PngEncoder::new(&mut png);
        let written = encoder.write_image(&pixels, width as u32, height as u32, ExtendedColorType::Rgb8);
        written.map_err(|error| failed(&path, error.to_string()))?;
        std::fs::write(&path, png).map_err(|error| failed(&path, error.to_string()))?;
    }
    Ok(())
}

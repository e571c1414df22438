//! Small pictures of photos, to be shown beside findings.

use std::path::Path;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use crate::decode::{Orientation, decode_scaled};
use crate::read;
use crate::resize::{Interpolation, resize};

/// Quality of the JPEG, of 100.
const QUALITY: u8 = 80;

/// A JPEG of each photo with its longer side of `side` pixels, turned as the camera was held, made by all cores; `None` for a file that
/// cannot be read. A photo that is smaller is not enlarged.
pub fn thumbnails(photos: &[&Path], side: usize) -> Vec<Option<Vec<u8>>> {
    photos.par_iter().with_max_len(1).map(|photo| thumbnail(photo, side)).collect()
}

fn thumbnail(photo: &Path, side: usize) -> Option<Vec<u8>> {
    let image = decode_scaled(&read(photo).ok()?, Orientation::Apply, [side, side]).ok()?;
    let scale = (side as f64 / image.height.max(image.width) as f64).min(1.0);
    let [height, width] = [image.height, image.width].map(|side| ((side as f64 * scale).round() as usize).max(1));
    let pixels = resize(&image, [height, width], Interpolation::Area, false);
    let bytes: Vec<u8> = pixels.iter().map(|value| value.round() as u8).collect();
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    encoder.encode(&bytes, width as u32, height as u32, ExtendedColorType::Rgb8).ok()?;
    Some(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_has_the_proportions_of_its_photo() {
        let folder = tempfile::tempdir().expect("a folder");
        let (wide, small) = (folder.path().join("wide.png"), folder.path().join("small.png"));
        image::RgbImage::from_pixel(400, 100, image::Rgb([200, 20, 20])).save(&wide).expect("written");
        image::RgbImage::from_pixel(3, 5, image::Rgb([20, 200, 20])).save(&small).expect("written");
        let made = thumbnails(&[&wide, &small, &folder.path().join("gone.png")], 96);
        let size = |jpeg: &Option<Vec<u8>>| {
            let image = image::load_from_memory(jpeg.as_ref()?).expect("a JPEG");
            Some((image.width(), image.height()))
        };
        assert_eq!(made.iter().map(size).collect::<Vec<_>>(), [Some((96, 24)), Some((3, 5)), None]);
    }
}

//! Small pictures of photos, to be shown beside findings.

use std::path::Path;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use crate::decode::{Orientation, Rgb, decode_scaled};
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
    encode(&pixels, [height, width])
}

/// A JPEG of pixels `[height, width, 3]`, 0 to 255, as they stand in a batch, with its longer side of at most `side` pixels.
///
/// # Panics
/// If there are not as many pixels as `size` says.
pub fn small_jpeg(pixels: &[f32], [height, width]: [usize; 2], side: usize) -> Option<Vec<u8>> {
    assert_eq!(pixels.len(), height * width * 3, "a batch has the pixels of its images");
    let scale = (side as f64 / height.max(width).max(1) as f64).min(1.0);
    let small = [height, width].map(|side| ((side as f64 * scale).round() as usize).max(1));
    let bytes = pixels.iter().map(|value| value.round() as u8).collect();
    encode(&resize(&Rgb { height, width, pixels: bytes }, small, Interpolation::Area, false), small)
}

fn encode(pixels: &[f32], [height, width]: [usize; 2]) -> Option<Vec<u8>> {
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

//! Bytes to RGB.
//!
//! The format is found by content. Colours become what TensorFlow's `decode_image(channels=3)` makes of them: grey is
//! repeated, CMYK and YCCK are multiplied out without a colour profile, transparency dropped (not blended), 16 bits cut to
//! 8, of an animation the first frame is taken. Like Keras's loader, which calls it, the EXIF orientation is ignored unless
//! asked for: a network trained by Keras on photos that lie on their side expects them so.
//!
//! # How close to TensorFlow
//! JPEG is decoded with an accurate cosine transform and smooth chroma, as Pillow and PyTorch do: within rounding of
//! TensorFlow's `dct_method="INTEGER_ACCURATE"`. Its default is the fast transform, which is darker by 0.8 of 255 levels
//! in the mean. On 50 photos (cats and dogs, flowers, ImageNet) the mean absolute difference to the default is 1.14 levels
//! and the greatest 9; between TensorFlow's own two transforms it is 0.98.
//!
//! # What is refused
//! A file that ends before its pixels do, in every format: decoders of JPEG fill up what is missing with grey, so the
//! file is walked through beforehand ([`examine`] does no more than that). A JPEG that lacks its end marker alone passes: all
//! its pixels are there (Pillow 9.5 to 13.0 refuses it). Images of more pixels than Pillow takes, and images that need more memory than all threads together may fill,
//! are refused before that memory is asked for.
//!
//! A restart marker out of order is missing data too. A progressive JPEG that ends after some of its scans *with* an end marker is a
//! whole file of less detail, and is read (Pillow smooths its blocks, which is not done here). Lossless, hierarchical and arithmetic
//! JPEGs, those with 12 bits, and TIFFs with a palette, of CIE L\*a\*b\* or of floating-point numbers are refused with their kind.
//!
//! # What is not looked at is not decoded
//! Resizing without antialiasing, as Keras does it, takes single pixels of a large image and passes over the rest. Of a JPEG of the common
//! kind (one scan, grey or the usual colours), only blocks that are looked at are transformed, and rows are made as they are read; the
//! values are those of the whole image, bit for bit. Every other file is decoded whole.
//!
//! # Scaled decoding
//! [`decode_scaled`] makes a large image at a quarter or an eighth of its size: each pixel is the mean of a square of 4 or 8. The means
//! of a JPEG of the common kind are computed from its frequencies, separately for luma and chroma; those of other images from
//! their pixels. The resizing that follows takes single pixels where it has a large image, and these stand for more where it has a small
//! one, so that the results differ: that is why it has to be asked for. On 200 photos of ImageNet, resized to 64×64, the mean absolute
//! difference to the usual result was 8.5 of 255 levels, and 4.3 to the mean of what each pixel covers
//! ([`Interpolation::Area`](crate::resize::Interpolation::Area)), which both stand for (measured with another scaling decoder, which
//! interpolates chroma).

#[cfg(feature = "avif")]
mod av1;
#[cfg(feature = "avif")]
mod avif;
#[cfg_attr(not(target_arch = "x86_64"), path = "no_avx2.rs")]
mod avx2;
mod bits;
mod codes;
mod colour;
mod examined;
mod format;
mod jpeg;
#[cfg(feature = "jxl")]
mod jxl;
mod limits;
mod opened;
mod picture;
mod rgb;
mod transform;
mod turn;
mod webp;
mod weights;

use image::DynamicImage;
use image::metadata::Orientation as Turn;

pub use self::examined::{Examined, dimensions, examine, taken};
pub use self::format::Format;
use self::limits::{IMAGES, too_large};
use self::opened::{Opened, guarded, rgb8};
pub use self::rgb::Rgb;
pub use self::turn::Orientation;
use self::turn::swaps_sides;
use crate::budget::Permit;
use crate::sight::Sight;

/// Decodes an image of any format that is read: JPEG, PNG, GIF, BMP, WebP, TIFF (its first page, with integers of 8 or 16 bits), AVIF
/// with the feature `avif`, and JPEG XL with the feature `jxl`.
///
/// # Errors
/// A text that says what is wrong, without the file's name.
pub fn decode(bytes: &[u8], orientation: Orientation) -> Result<Rgb, String> {
    decode_seen(bytes, orientation, None, Sight::all).map(|(image, ..)| image)
}

/// [`decode`], where an image of `enough` (`[height, width]`) will do: one of at least four times that size comes at a
/// quarter or an eighth of its own, never smaller than `enough`.
///
/// # Errors
/// As [`decode`]'s.
pub fn decode_scaled(bytes: &[u8], orientation: Orientation, enough: [usize; 2]) -> Result<Rgb, String> {
    decode_seen(bytes, orientation, Some(enough), Sight::all).map(|(image, ..)| image)
}

/// What `view` looks at of an image, whose height and width it is told; the view; and the permit for the share of the memory that all
/// threads may fill with images: keep it as long as the image. Where an image of `enough` will do, `view` sees a scaled one.
pub(crate) fn decode_seen<V: AsRef<Sight>>(
    bytes: &[u8],
    orientation: Orientation,
    enough: Option<[usize; 2]>,
    view: impl Fn([usize; 2]) -> V,
) -> Result<(Rgb, V, Permit), String> {
    guarded(|| {
        if let Some(drawn) = drawn(bytes, orientation, enough, &view)? {
            return Ok(drawn);
        }
        let mut opened = Opened::new(bytes)?;
        let permit = opened.within_limits()?;
        if opened.jpeg.is_some() {
            jpeg::check(bytes)?;
        }
        let image = opened.decode(bytes, orientation)?;
        let image = match part_of([image.height, image.width], enough) {
            1 => image,
            part => image.averaged(part),
        };
        let view = view([image.height, image.width]);
        Ok((image.seen(view.as_ref()), view, permit))
    })
}

/// [`decode_seen`] of a JPEG of the common kind, of which no other pixels are made; `None` for any other image.
fn drawn<V: AsRef<Sight>>(
    bytes: &[u8],
    orientation: Orientation,
    enough: Option<[usize; 2]>,
    view: &impl Fn([usize; 2]) -> V,
) -> Result<Option<(Rgb, V, Permit)>, String> {
    if Format::of(bytes) != Some(Format::Jpeg) {
        return Ok(None);
    }
    let jpeg = jpeg::header(bytes)?;
    let turn = match orientation {
        Orientation::Ignore => Turn::NoTransforms,
        Orientation::Apply => jpeg.turn(),
    };
    let Some(frame) = jpeg.frame else { return Ok(None) };
    let upright = |[height, width]: [usize; 2]| if swaps_sides(turn) { [width, height] } else { [height, width] };
    let part = part_of(upright(frame.size), enough);
    let size = frame.size.map(|side| side.div_ceil(part));
    let view = view(upright(size));
    let sight = view.as_ref().before(turn, size);
    let turned = if turn == Turn::NoTransforms { 0 } else { sight.bytes() as u64 };
    let needed = frame.bytes(sight.rows.len(), sight.columns.len()) + turned;
    let permit = IMAGES.take(needed).ok_or_else(|| too_large(frame.size, needed))?;
    let Some(image) = jpeg::draw(bytes, part, sight)? else { return Ok(None) };
    if turn == Turn::NoTransforms {
        return Ok(Some((image, view, permit)));
    }
    let (width, height) = (image.width as u32, image.height as u32);
    let pixels = image::RgbImage::from_raw(width, height, image.pixels).ok_or("it ends too early")?;
    let mut image = DynamicImage::ImageRgb8(pixels);
    image.apply_orientation(turn);
    let (height, width) = (image.height() as usize, image.width() as usize);
    Ok(Some((Rgb { height, width, pixels: rgb8(image) }, view, permit)))
}

/// The side of the squares whose means will do: 8 or 4 pixels where `enough` of them are left, and otherwise 1.
pub(crate) fn part_of(size: [usize; 2], enough: Option<[usize; 2]>) -> usize {
    let suffices = |part: &usize| {
        enough.is_some_and(|enough| size.iter().zip(enough).all(|(side, least)| side.div_ceil(*part) >= least))
    };
    [8, 4].into_iter().find(suffices).unwrap_or(1)
}

//! Images of every format, as the decoders of other crates open and decode them.

use std::io::Cursor;

use image::error::LimitErrorKind;
use image::metadata::Orientation as Turn;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

#[cfg(feature = "avif")]
use super::avif;
use super::format::{Format, unread};
#[cfg(feature = "jxl")]
use super::jxl;
use super::limits::{HEADER, IMAGES, LARGEST_PIXELS, LARGEST_SIDE, too_large};
use super::turn::Orientation;
use super::{Rgb, jpeg, webp};
use crate::budget::Permit;

/// Runs a decoder. Decoders are well tested, but no photo may end a night's training: a panic counts as a bad image.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    injerto_files::catch_quietly(work).unwrap_or_else(|| Err("the decoder failed".to_owned()))
}

/// An image whose header was read.
pub(super) struct Opened<'b> {
    pub(super) decoder: Box<dyn ImageDecoder + 'b>,
    pub(super) format: Format,
    pub(super) jpeg: Option<jpeg::Jpeg>,
    /// Bytes that a decoder of another crate than `image` fills beside the image.
    beside: u64,
}

impl<'b> Opened<'b> {
    /// Reads the header.
    pub(super) fn new(bytes: &'b [u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("the file is empty".to_owned());
        }
        let format = Format::of(bytes).ok_or_else(|| unread(bytes))?;
        let jpeg = (format == Format::Jpeg).then(|| jpeg::header(bytes)).transpose()?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(LARGEST_SIDE);
        limits.max_image_height = Some(LARGEST_SIDE);
        limits.max_alloc = Some(HEADER);
        let (decoder, beside): (Box<dyn ImageDecoder>, u64) = match format {
            #[cfg(feature = "avif")]
            Format::Avif => {
                let mut decoder = avif::Decoder::new(bytes)?;
                decoder.set_limits(limits).map_err(in_words)?;
                let beside = decoder.beside();
                (Box::new(decoder), beside)
            }
            #[cfg(feature = "jxl")]
            Format::Jxl => {
                let mut decoder = jxl::Decoder::new(bytes)?;
                decoder.set_limits(limits).map_err(in_words)?;
                let beside = decoder.beside();
                (Box::new(decoder), beside)
            }
            _ => {
                let decoders = format.decoders().ok_or_else(|| unread(bytes))?;
                let mut reader = ImageReader::with_format(Cursor::new(bytes), decoders);
                reader.limits(limits);
                (Box::new(reader.into_decoder().map_err(in_words)?), 0)
            }
        };
        if format == Format::WebP {
            let (width, height) = decoder.dimensions();
            webp::check(bytes, [height, width])?;
        }
        if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
            return Err("its values are floating-point numbers; save it with 8 or 16 bits per channel".to_owned());
        }
        Ok(Self { decoder, format, jpeg, beside })
    }

    /// The permit to decode: the image's share of the memory. It waits until other images have returned theirs.
    pub(super) fn within_limits(&mut self) -> Result<Permit, String> {
        let (width, height) = self.decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err("it has no pixels".to_owned());
        }
        if pixels > LARGEST_PIXELS {
            return Err(format!("{width}x{height} is too large: an image may have {LARGEST_PIXELS} pixels at most"));
        }
        let (own, colours) = (self.decoder.total_bytes(), self.decoder.color_type());
        let converted = if colours == ColorType::Rgb8 { 0 } else { pixels * 3 };
        // What the decoder needs beside the image.
        let beside = match (self.format, &self.jpeg) {
            (Format::Gif, _) => pixels * 4,
            (Format::WebP, _) => pixels * 6,
            // A buffer of all values, of which CMYK has four per pixel, and one of a strip, which may be the whole image.
            (Format::Tiff, _) => own * 3,
            (_, Some(jpeg)) => jpeg.kept + if jpeg.components == 4 { pixels * 4 } else { 0 },
            _ => self.beside,
        };
        let turned = if self.turn() == Turn::NoTransforms { 0 } else { own };
        let needed = own + beside + converted.max(turned);
        // A frame of a GIF may be larger than the GIF: its buffer is what the decoder needs beside the image.
        let mut limits = Limits::default();
        limits.max_alloc = Some(if self.format == Format::Gif { beside } else { own + beside });
        self.decoder.set_limits(limits).map_err(in_words)?;
        IMAGES.take(needed).ok_or_else(|| too_large([height as usize, width as usize], needed))
    }

    /// How the camera was turned.
    pub(super) fn turn(&mut self) -> Turn {
        match &self.jpeg {
            Some(jpeg) => jpeg.turn(),
            None => self.decoder.orientation().unwrap_or(Turn::NoTransforms),
        }
    }

    /// Decodes all pixels.
    pub(super) fn decode(mut self, bytes: &[u8], orientation: Orientation) -> Result<Rgb, String> {
        let turn = match orientation {
            Orientation::Ignore => Turn::NoTransforms,
            Orientation::Apply => self.turn(),
        };
        let size = self.decoder.dimensions();
        // The usual decoder takes four components to be inverted.
        let plain_cmyk = self.jpeg.as_ref().is_some_and(|jpeg| jpeg.components == 4 && !jpeg.adobe);
        let mut image = if plain_cmyk {
            let image = image::RgbImage::from_raw(size.0, size.1, cmyk(bytes)?).ok_or("it ends too early")?;
            DynamicImage::ImageRgb8(image)
        } else {
            DynamicImage::from_decoder(self.decoder).map_err(in_words)?
        };
        image.apply_orientation(turn);
        let (width, height) = (image.width() as usize, image.height() as usize);
        Ok(Rgb { height, width, pixels: rgb8(image) })
    }
}

/// A decoder's complaint. All formats say alike that a file ends too early.
pub(super) fn in_words(error: ImageError) -> String {
    let said = match &error {
        ImageError::Limits(limit) if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) => {
            "it takes more memory than its size explains".to_owned()
        }
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => String::new(),
        ImageError::Unsupported(_) => format!("{error}: save it as PNG or JPEG"),
        error => error.to_string(),
    };
    let early = ["unexpected end of file", "image truncated"];
    match said.is_empty() || early.iter().any(|early| said.to_lowercase().contains(early)) {
        true => "it ends too early".to_owned(),
        false => said,
    }
}

/// Red, green and blue of 8 bits.
pub(super) fn rgb8(image: DynamicImage) -> Vec<u8> {
    // `to_rgb8` rounds 16 bits to 8; TensorFlow keeps the upper byte.
    let upper = |x: u16| (x >> 8) as u8;
    let mut pixels = match image {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => Vec::with_capacity(image.width() as usize * image.height() as usize * 3),
        image => return image.into_rgb8().into_raw(),
    };
    match image {
        DynamicImage::ImageLuma16(image) => pixels.extend(image.pixels().flat_map(|p| [upper(p.0[0]); 3])),
        DynamicImage::ImageLumaA16(image) => pixels.extend(image.pixels().flat_map(|p| [upper(p.0[0]); 3])),
        DynamicImage::ImageRgb16(image) => pixels.extend(image.pixels().flat_map(|p| p.0.map(upper))),
        DynamicImage::ImageRgba16(image) => {
            pixels.extend(image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(upper)));
        }
        _ => unreachable!("the others have returned"),
    }
    pixels
}

/// RGB of a JPEG of four plain components.
fn cmyk(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let sides = LARGEST_SIDE as usize;
    let options = DecoderOptions::default().set_max_width(sides).set_max_height(sides);
    let options = options.jpeg_set_out_colorspace(ColorSpace::CMYK).set_strict_mode(false);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|error| error.to_string())?;
    let ink = |color: u8, black: u8| ((255 - u16::from(color)) * (255 - u16::from(black)) / 255) as u8;
    Ok(pixels.as_chunks::<4>().0.iter().flat_map(|&[c, m, y, k]| [ink(c, k), ink(m, k), ink(y, k)]).collect())
}

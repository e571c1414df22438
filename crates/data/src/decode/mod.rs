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
mod jpeg;
#[cfg(feature = "jxl")]
mod jxl;
mod picture;
mod transform;
mod webp;

use std::io::Cursor;

use image::error::LimitErrorKind;
use image::metadata::Orientation as Turn;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use injerto_files::mistaken;
use serde::{Deserialize, Serialize};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::budget::{Budget, Permit};
use crate::sight::Sight;

/// Pixels beyond which a file is taken for a decompression bomb: where Pillow 13.0 stops, twice its
/// `MAX_IMAGE_PIXELS`.
const LARGEST_PIXELS: u64 = 178_956_970;
const LARGEST_SIDE: u32 = 65_535;

/// Upper limit of the bytes that all threads together fill with images under decoding.
const MEMORY: u64 = 1 << 30;

/// Upper limit of the bytes before the pixels, such as those of a colour profile, which a PNG holds compressed.
const HEADER: u64 = 32 << 20;

static IMAGES: Budget = Budget::new(MEMORY);

/// A decoded image with 8 bits per channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Number of rows.
    pub height: usize,
    /// Pixels per row.
    pub width: usize,
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
}

/// What to do with an EXIF orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orientation {
    /// Leave the pixels as they are stored, as Keras does.
    #[default]
    Ignore,
    /// Turn them the way the camera was held.
    Apply,
}

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

impl Rgb {
    /// The rows and columns that are looked at, one beside the other.
    pub(crate) fn seen(self, sight: &Sight) -> Self {
        if sight.is_all([self.height, self.width]) {
            return self;
        }
        let mut pixels = Vec::with_capacity(sight.bytes());
        for &row in &sight.rows {
            let row = self.pixels[row * self.width * 3..][..self.width * 3].as_chunks::<3>().0;
            pixels.extend(sight.columns.iter().flat_map(|&column| row[column]));
        }
        Self { height: sight.rows.len(), width: sight.columns.len(), pixels }
    }

    /// The mean of each square of `part` by `part` pixels, rounded. At the lower and right edges, the mean of what is there.
    fn averaged(&self, part: usize) -> Self {
        let (height, width) = (self.height.div_ceil(part), self.width.div_ceil(part));
        let mut pixels = Vec::with_capacity(height * width * 3);
        for rows in self.pixels.chunks(self.width * 3 * part) {
            let mut sums = vec![[0_u32; 3]; width];
            for row in rows.chunks_exact(self.width * 3) {
                for (sum, square) in sums.iter_mut().zip(row.chunks(part * 3)) {
                    for pixel in square.as_chunks::<3>().0 {
                        sum.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u32::from(value));
                    }
                }
            }
            let down = (rows.len() / (self.width * 3)) as u32;
            pixels.extend(sums.iter().enumerate().flat_map(|(at, sum)| {
                let count = down * (self.width - at * part).min(part) as u32;
                sum.map(|sum| ((sum + count / 2) / count) as u8)
            }));
        }
        Self { height, width, pixels }
    }
}

/// A format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// GIF.
    Gif,
    /// BMP.
    Bmp,
    /// WebP.
    WebP,
    /// TIFF.
    Tiff,
    /// AVIF.
    #[cfg(feature = "avif")]
    Avif,
    /// JPEG XL.
    #[cfg(feature = "jxl")]
    Jxl,
}

impl Format {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Jpeg,
        Self::Png,
        Self::Gif,
        Self::Bmp,
        Self::WebP,
        Self::Tiff,
        #[cfg(feature = "avif")]
        Self::Avif,
        #[cfg(feature = "jxl")]
        Self::Jxl,
    ];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::WebP => "webp",
            Self::Tiff => "tiff",
            #[cfg(feature = "avif")]
            Self::Avif => "avif",
            #[cfg(feature = "jxl")]
            Self::Jxl => "jxl",
        }
    }

    /// The format in which an image's bytes begin; `None` for all that is not read.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        #[cfg(feature = "avif")]
        if avif::begins(bytes) {
            return Some(Self::Avif);
        }
        #[cfg(feature = "jxl")]
        if jxl::begins(bytes) {
            return Some(Self::Jxl);
        }
        let found = image::guess_format(bytes).ok()?;
        Self::ALL.iter().copied().find(|format| format.decoders() == Some(found))
    }

    /// Its decoder in the crate `image`, if it is one of those.
    fn decoders(self) -> Option<ImageFormat> {
        Some(match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Gif => ImageFormat::Gif,
            Self::Bmp => ImageFormat::Bmp,
            Self::WebP => ImageFormat::WebP,
            Self::Tiff => ImageFormat::Tiff,
            #[cfg(feature = "avif")]
            Self::Avif => return None,
            #[cfg(feature = "jxl")]
            Self::Jxl => return None,
        })
    }
}

/// What is known of an image without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examined {
    /// Format, found by content.
    pub format: Format,
    /// Width in pixels, as the camera was held.
    pub width: u32,
    /// Height in pixels, as the camera was held.
    pub height: u32,
    /// Whether its EXIF data say that it was taken with the camera turned.
    pub turned: bool,
}

/// Whether [`decode`] can decode an image, in as little time as that takes: of an ordinary JPEG no pixels are made.
///
/// # Errors
/// As [`decode`]'s.
pub fn examine(bytes: &[u8]) -> Result<Examined, String> {
    guarded(|| {
        if let Some(seen) = examine_common(bytes)? {
            return Ok(seen);
        }
        let mut opened = Opened::new(bytes)?;
        let _permit = opened.within_limits()?;
        let (turn, stored) = (opened.turn(), opened.decoder.dimensions());
        let (width, height) = if swaps_sides(turn) { (stored.1, stored.0) } else { stored };
        let (turned, format) = (turn != Turn::NoTransforms, opened.format);
        let known = opened.jpeg.is_some() && jpeg::check(bytes)?.ordinary;
        if !known {
            opened.decode(bytes, Orientation::Ignore)?;
        }
        Ok(Examined { format, width, height, turned })
    })
}

/// [`examine`] of a JPEG of the common kind, which asks no other decoder; `None` for any other image.
fn examine_common(bytes: &[u8]) -> Result<Option<Examined>, String> {
    if Format::of(bytes) != Some(Format::Jpeg) {
        return Ok(None);
    }
    let header = jpeg::header(bytes)?;
    let turn = header.turn();
    let Some(frame) = header.frame else { return Ok(None) };
    let [height, width] = frame.size;
    let whole = (height * width * 3) as u64;
    let needed = frame.bytes(height, width) + if turn == Turn::NoTransforms { 0 } else { whole };
    if needed > MEMORY {
        return Err(too_large(frame.size, needed));
    }
    if jpeg::check(bytes)?.frame.is_none() {
        return Ok(None);
    }
    let (height, width) = if swaps_sides(turn) { (width, height) } else { (height, width) };
    let (width, height) = (width as u32, height as u32);
    Ok(Some(Examined { format: Format::Jpeg, width, height, turned: turn != Turn::NoTransforms }))
}

fn too_large([height, width]: [usize; 2], bytes: u64) -> String {
    format!("{width}x{height} is too large: decoding it takes {} MiB of memory", bytes >> 20)
}

/// Width and height in pixels, as they are stored, by what the header says: no pixel is decoded.
///
/// # Errors
/// A text that says what is wrong with the header, without the file's name.
pub fn dimensions(bytes: &[u8]) -> Result<(u32, u32), String> {
    guarded(|| Ok(Opened::new(bytes)?.decoder.dimensions()))
}

/// When a photo was taken, in seconds on the camera's clock (EXIF `DateTimeOriginal`, and otherwise `DateTime`); `None` for an image
/// that does not say it.
pub fn taken(bytes: &[u8]) -> Option<i64> {
    let read = || {
        let mut opened = Opened::new(bytes)?;
        let data = match opened.jpeg {
            Some(jpeg) => jpeg.exif,
            None => opened.decoder.exif_metadata().map_err(in_words)?,
        };
        let data = data.ok_or("it has no EXIF data")?;
        let exif = exif::Reader::new().read_raw(data).map_err(|error| error.to_string())?;
        let tags = [exif::Tag::DateTimeOriginal, exif::Tag::DateTime];
        let field = tags.iter().find_map(|&tag| exif.get_field(tag, exif::In::PRIMARY)).ok_or("it has no time")?;
        let exif::Value::Ascii(texts) = &field.value else { return Err("its time is no text".to_owned()) };
        let text = texts.first().ok_or("its time is empty")?;
        let time = exif::DateTime::from_ascii(text).map_err(|error| error.to_string())?;
        let [year, month, day, hour, minute, second] = [
            time.year.into(),
            time.month.into(),
            time.day.into(),
            time.hour.into(),
            time.minute.into(),
            time.second.into(),
        ];
        Ok(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
    };
    guarded(read).ok()
}

/// Days of the Gregorian calendar since the first of March of the year 0, when years are counted from March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day
}

/// Runs a decoder. Decoders are well tested, but no photo may end a night's training: a panic counts as a bad image.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    injerto_files::catch_quietly(work).unwrap_or_else(|| Err("the decoder failed".to_owned()))
}

/// An image whose header was read.
struct Opened<'b> {
    decoder: Box<dyn ImageDecoder + 'b>,
    format: Format,
    jpeg: Option<jpeg::Jpeg>,
    /// Bytes that a decoder of another crate than `image` fills beside the image.
    beside: u64,
}

impl<'b> Opened<'b> {
    fn new(bytes: &'b [u8]) -> Result<Self, String> {
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
    fn within_limits(&mut self) -> Result<Permit, String> {
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
    fn turn(&mut self) -> Turn {
        match &self.jpeg {
            Some(jpeg) => jpeg.turn(),
            None => self.decoder.orientation().unwrap_or(Turn::NoTransforms),
        }
    }

    fn decode(mut self, bytes: &[u8], orientation: Orientation) -> Result<Rgb, String> {
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

/// What a file is that is not read, and how it can be.
fn unread(bytes: &[u8]) -> String {
    // The boxes of ISO base media: size, `ftyp`, and the brand.
    let brand = bytes.get(4..8).filter(|kind| *kind == b"ftyp").and_then(|_| bytes.get(8..12));
    let (name, ending) = match (brand, bytes) {
        (Some(b"avif" | b"avis"), _) => ("AVIF", ".avif"),
        (Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1"), _) => ("HEIC", ".heic"),
        (_, [0xff, 0x0a, ..] | [0, 0, 0, 0x0c, b'J', b'X', b'L', b' ', ..]) => ("JPEG XL", ".jxl"),
        (_, [0, 0, 0, 0x0c, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..]) => ("JPEG 2000", ".jp2"),
        _ => return mistaken(bytes).unwrap_or("it is none of JPEG, PNG, GIF, BMP, WebP and TIFF").to_owned(),
    };
    format!("it is {name}, which is not read: {}", crate::folder::advice(ending))
}

/// Whether an image that is turned so has its height for a width.
fn swaps_sides(turn: Turn) -> bool {
    matches!(turn, Turn::Rotate90 | Turn::Rotate270 | Turn::Rotate90FlipH | Turn::Rotate270FlipH)
}

/// A decoder's complaint. All formats say alike that a file ends too early.
fn in_words(error: ImageError) -> String {
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

fn rgb8(image: DynamicImage) -> Vec<u8> {
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

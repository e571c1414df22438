//! JPEG XL, decoded by `jxl-oxide`. The stream itself says how the camera was turned, and decoding turns the image.

use image::error::{DecodingError, ImageFormatHint, LimitError, LimitErrorKind};
use image::metadata::Orientation as Turn;
use image::{ColorType, ImageDecoder, ImageError, ImageResult, Limits};
use jxl_oxide::image::BitDepth;
use jxl_oxide::{AllocTracker, AuxBoxData, EnumColourEncoding, InitializeResult, JxlImage, JxlThreadPool};
use jxl_oxide::{FrameBufferSample, ImageStream, RenderingIntent};

use super::limits::{HEADER, IMAGES};

/// What the decoder may fill for a colour profile before it says how large the profile is: twice the largest one that it takes.
const PROFILE: u64 = 2 << 28;

/// Bytes that decoding takes per pixel and channel beside what it gives: three planes of single precision.
const WORK: u64 = 12;

/// Whether a file is JPEG XL: a bare stream, or one in boxes.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0x0a]) || bytes.starts_with(b"\0\0\0\x0cJXL \r\n\x87\n")
}

/// An image of which all bytes were read and no pixel was decoded.
pub(super) struct Decoder {
    image: JxlImage,
    tracker: AllocTracker,
    /// Bytes that decoding may fill.
    limit: u64,
}

impl Decoder {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, String> {
        let tracker = AllocTracker::with_limit(HEADER as usize);
        let builder = JxlImage::builder().pool(JxlThreadPool::none()).alloc_tracker(tracker.clone());
        let (mut unread, mut reader) = (bytes, builder.build_uninit());
        let permit = IMAGES.take(PROFILE).ok_or("its header takes more memory than there is")?;
        loop {
            match reader.feed_bytes(unread).map_err(in_words)? {
                0 => break,
                taken => unread = unread.get(taken..).unwrap_or_default(),
            }
        }
        let InitializeResult::Initialized(mut image) = reader.try_init().map_err(in_words)? else {
            return Err("it ends too early".to_owned());
        };
        image.finalize().map_err(in_words)?;
        drop(permit);
        if !image.is_loading_done() || image.num_loaded_keyframes() == 0 {
            return Err("it ends too early".to_owned());
        }
        match image.original_icc() {
            Some(profile) if profile.len() as u64 > HEADER => return Err("its colour profile is too large".to_owned()),
            // Colours with a profile stay as they are, as in every other format.
            Some(_) => {}
            None if image.pixel_format().is_grayscale() => {
                image.request_color_encoding(EnumColourEncoding::gray_srgb(RenderingIntent::Relative));
            }
            None => image.request_color_encoding(EnumColourEncoding::srgb(RenderingIntent::Relative)),
        }
        if image.pixel_format().has_black() {
            return Err("its colours are CMYK; save it as RGB".to_owned());
        }
        match image.image_header().metadata.bit_depth {
            BitDepth::IntegerSample { bits_per_sample: ..=16 } => Ok(Self { image, tracker, limit: HEADER }),
            _ => Err("its values have more than 16 bits; save it with 8 or 16 bits per channel".to_owned()),
        }
    }

    /// Bytes that decoding takes beside the image that it gives.
    pub(super) fn beside(&self) -> u64 {
        let channels = 3 + self.image.image_header().metadata.ec_info.len() as u64;
        u64::from(self.image.width()) * u64::from(self.image.height()) * channels * WORK
    }
}

impl ImageDecoder for Decoder {
    fn dimensions(&self) -> (u32, u32) {
        (self.image.width(), self.image.height())
    }

    fn color_type(&self) -> ColorType {
        let is_deep = self.image.image_header().metadata.bit_depth.bits_per_sample() > 8;
        match (self.image.pixel_format().is_grayscale(), is_deep) {
            (true, false) => ColorType::L8,
            (true, true) => ColorType::L16,
            (false, false) => ColorType::Rgb8,
            (false, true) => ColorType::Rgb16,
        }
    }

    fn read_image(self, buffer: &mut [u8]) -> ImageResult<()> {
        let unreadable =
            |error| ImageError::Decoding(DecodingError::new(ImageFormatHint::Name("JPEG XL".to_owned()), error));
        let is_deep = matches!(self.color_type(), ColorType::L16 | ColorType::Rgb16);
        let rendered = self.image.render_frame(0).map_err(unreadable)?;
        let stream = rendered.stream_no_alpha();
        match is_deep {
            true => write(stream, buffer, u16::to_ne_bytes),
            false => write(stream, buffer, |value: u8| [value]),
        }
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, buffer: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(buffer)
    }

    fn orientation(&mut self) -> ImageResult<Turn> {
        Ok(Turn::NoTransforms)
    }

    fn exif_metadata(&mut self) -> ImageResult<Option<Vec<u8>>> {
        Ok(match self.image.aux_boxes().first_exif() {
            Ok(AuxBoxData::Data(exif)) => Some(exif.payload().to_vec()),
            _ => None,
        })
    }

    fn set_limits(&mut self, limits: Limits) -> ImageResult<()> {
        limits.check_dimensions(self.image.width(), self.image.height())?;
        let limit = limits.max_alloc.unwrap_or(self.limit);
        let too_little = |_| ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory));
        match limit.checked_sub(self.limit) {
            Some(more) => self.tracker.expand_limit(more as usize),
            None => self.tracker.shrink_limit((self.limit - limit) as usize).map_err(too_little)?,
        }
        self.limit = limit;
        Ok(())
    }
}

/// Writes all values of an image, row by row.
fn write<T: FrameBufferSample + Default + Copy, const N: usize>(
    mut stream: ImageStream<'_>,
    buffer: &mut [u8],
    bytes: impl Fn(T) -> [u8; N],
) {
    let mut row = vec![T::default(); stream.width() as usize * stream.channels() as usize];
    for out in buffer.chunks_exact_mut(row.len() * N) {
        stream.write_to_buffer(&mut row);
        out.as_chunks_mut::<N>().0.iter_mut().zip(&row).for_each(|(out, &value)| *out = bytes(value));
    }
}

fn in_words(error: Box<dyn std::error::Error + Send + Sync>) -> String {
    error.to_string()
}

//! The facts about an image that are known without decoding it.

use image::ImageDecoder as _;
use image::metadata::Orientation as Turn;

use super::format::Format;
use super::jpeg;
use super::limits::{MEMORY, too_large};
use super::opened::{Opened, guarded, in_words};
use super::turn::{Orientation, swaps_sides};

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

/// Whether [`decode`](super::decode) can decode an image, in as little time as that takes: of an ordinary JPEG no pixels are made.
///
/// # Errors
/// As [`decode`](super::decode)'s.
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

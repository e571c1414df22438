use image::ImageFormat;
use injerto_files::mistaken;
use serde::{Deserialize, Serialize};

#[cfg(feature = "avif")]
use super::avif;
#[cfg(feature = "jxl")]
use super::jxl;
use crate::endings::advice;

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
    pub(super) fn decoders(self) -> Option<ImageFormat> {
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

/// What a file is that is not read, and how it can be.
pub(super) fn unread(bytes: &[u8]) -> String {
    // The boxes of ISO base media: size, `ftyp`, and the brand.
    let brand = bytes.get(4..8).filter(|kind| *kind == b"ftyp").and_then(|_| bytes.get(8..12));
    let (name, ending) = match (brand, bytes) {
        (Some(b"avif" | b"avis"), _) => ("AVIF", ".avif"),
        (Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1"), _) => ("HEIC", ".heic"),
        (_, [0xff, 0x0a, ..] | [0, 0, 0, 0x0c, b'J', b'X', b'L', b' ', ..]) => ("JPEG XL", ".jxl"),
        (_, [0, 0, 0, 0x0c, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..]) => ("JPEG 2000", ".jp2"),
        _ => {
            let none = || match other(bytes) {
                Some(what) => format!("it is {what}, and none of JPEG, PNG, GIF, BMP, WebP and TIFF"),
                None => "it is none of JPEG, PNG, GIF, BMP, WebP and TIFF".to_owned(),
            };
            return mistaken(bytes).map_or_else(none, str::to_owned);
        }
    };
    format!("it is {name}, which is not read: {}", advice(ending))
}

/// What stands under the name of a photo in collections, and is none.
fn other(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    Some(match bytes {
        // A photo that moves is a pair of files on some phones. Images of this family have been told before.
        _ if bytes.get(4..8) == Some(b"ftyp") => "a video",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "a video",
        _ if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"AVI ") => "a video",
        // "AppleDouble", which a Mac writes beside a file where a disk cannot hold the file's attributes.
        [0x00, 0x05, 0x16, 0x07, ..] => "what a Mac keeps beside a file, not the file itself",
        _ if bytes.starts_with(b"%PDF-") => "a PDF",
        _ if bytes.starts_with(b"8BPS") => "a file of Photoshop",
        _ if bytes.starts_with(b"PK\x03\x04") => "a zip archive",
        _ if text.starts_with(b"<svg") => "an SVG drawing",
        _ if text.starts_with(b"<?xml") && bytes.windows(4).take(1024).any(|part| part == b"<svg") => "an SVG drawing",
        _ if text.starts_with(b"{") => "JSON",
        _ => return None,
    })
}

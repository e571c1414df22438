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
        _ => return mistaken(bytes).unwrap_or("it is none of JPEG, PNG, GIF, BMP, WebP and TIFF").to_owned(),
    };
    format!("it is {name}, which is not read: {}", advice(ending))
}

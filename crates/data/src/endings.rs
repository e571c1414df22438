//! Endings of files.

/// Endings of the files that are read as images, in lower case: those of Keras, and `.webp`, TIFF's and, if they are built in, `.avif` and
/// `.jxl`. Keras does not read these others, so that it splits a folder with such files differently.
pub const EXTENSIONS: &[&str] = &[
    #[cfg(feature = "avif")]
    ".avif",
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    #[cfg(feature = "jxl")]
    ".jxl",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
];

/// What to do with images that end so and are not read: the converter, and the ending that it should write.
pub fn advice(ending: &str) -> String {
    let command = match ending {
        ".heic" | ".heif" | ".hif" => "`heif-convert photo.heic photo.jpg` (libheif) converts them",
        ".avif" => "`avifdec photo.avif photo.png` (libavif) converts them",
        ".jxl" => "`djxl photo.jxl photo.png` (libjxl) converts them",
        ".jp2" => "`opj_decompress -i photo.jp2 -o photo.png` (OpenJPEG) converts them",
        ".jfif" | ".jpe" => "these are JPEG files: rename them so that they end in .jpg",
        ".dng" | ".cr2" | ".cr3" | ".nef" | ".arw" | ".raf" | ".orf" | ".rw2" => {
            "`dcraw_emu -T photo.raw` (LibRaw) or `darktable-cli photo.raw photo.jpg` develops them"
        }
        _ => "`magick photo.in photo.png` (ImageMagick) converts many formats",
    };
    command.to_owned()
}

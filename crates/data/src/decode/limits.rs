//! How large an image may be.

use crate::budget::Budget;

/// Pixels beyond which a file is taken for a decompression bomb: where Pillow 13.0 stops, twice its
/// `MAX_IMAGE_PIXELS`.
pub(super) const LARGEST_PIXELS: u64 = 178_956_970;
pub(super) const LARGEST_SIDE: u32 = 65_535;

/// Upper limit of the bytes that all threads together fill with images under decoding.
pub(super) const MEMORY: u64 = 1 << 30;

/// Upper limit of the bytes before the pixels, such as those of a colour profile, which a PNG holds compressed.
pub(super) const HEADER: u64 = 32 << 20;

/// The memory for all images under decoding.
pub(super) static IMAGES: Budget = Budget::new(MEMORY);

/// Why an image is refused that needs so many bytes.
pub(super) fn too_large([height, width]: [usize; 2], bytes: u64) -> String {
    format!("{width}x{height} is too large: decoding it takes {} MiB of memory", bytes >> 20)
}

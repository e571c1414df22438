use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Decoded and resized images, kept as long as there is room. The values are exactly those that were decoded: nothing is rounded.
#[derive(Debug)]
pub(crate) struct PixelCache {
    left: AtomicUsize,
    images: Vec<OnceLock<Box<[f32]>>>,
}

impl PixelCache {
    /// Room for `bytes`, for the images of a dataset of this size.
    pub fn new(bytes: usize, images: usize) -> Self {
        let images = if bytes == 0 { 0 } else { images };
        Self { left: AtomicUsize::new(bytes), images: (0..images).map(|_| OnceLock::new()).collect() }
    }

    /// Copies an image into `pixels` if it is kept. Whether it is.
    pub fn read(&self, index: usize, pixels: &mut [f32]) -> bool {
        let kept = self.images.get(index).and_then(OnceLock::get);
        kept.map(|kept| pixels.copy_from_slice(kept)).is_some()
    }

    /// Keeps an image, if there is room.
    pub fn offer(&self, index: usize, pixels: &[f32]) {
        let Some(place) = self.images.get(index) else { return };
        let bytes = size_of_val(pixels);
        let room = |left: usize| left.checked_sub(bytes);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
            && place.set(pixels.into()).is_err()
        {
            // Another thread was first.
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

//! Batches of one size.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn_tensor::Device;

/// The size to which batches are filled up on a device.
///
/// A GPU's kernels are tuned and compiled for each shape, which takes far longer than computing a few samples more. Batches there have the
/// size of the largest one so far, which usually is the first; what was computed for the samples of zeros is thrown away.
#[derive(Debug)]
pub(crate) struct Filling {
    on_gpu: bool,
    largest: AtomicUsize,
}

impl Filling {
    pub(crate) fn on(device: &Device) -> Self {
        Self { on_gpu: *device != Device::flex(), largest: AtomicUsize::new(0) }
    }

    /// The size of a batch of so many images after it has been filled up.
    pub(crate) fn size(&self, images: usize) -> usize {
        match self.on_gpu {
            true => self.largest.fetch_max(images, Ordering::Relaxed).max(images),
            false => images,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_on_a_gpu_are_as_large_as_the_largest() {
        let sizes = |filling: &Filling| [32, 18, 32, 40, 7].map(|images| filling.size(images));
        assert_eq!(sizes(&Filling { on_gpu: true, largest: AtomicUsize::new(0) }), [32, 32, 32, 40, 40]);
        assert_eq!(sizes(&Filling::on(&Device::flex())), [32, 18, 32, 40, 7]);
    }
}

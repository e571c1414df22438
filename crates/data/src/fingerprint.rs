use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::{Dataset, LoaderOptions, Origin, Sample};

/// Of an image's content, wherever it lies and whatever it is called.
pub type Fingerprint = [u8; 32];

/// Raised when the same [`Drawing`](crate::generated::Drawing) is drawn otherwise than before.
const DRAWING_VERSION: u32 = 1;

impl Sample {
    /// SHA-256 of the file's bytes, or of what is drawn; `None` for a file that cannot be read.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.origin {
            Origin::File(path) => Some(Sha256::digest(&*crate::read::read(path).ok()?).into()),
            Origin::Drawn(drawing) => Some(Sha256::digest(format!("{DRAWING_VERSION} {drawing:?}")).into()),
        }
    }
}

impl Dataset {
    /// The fingerprint of each image, read by all cores.
    pub fn fingerprints(&self) -> Vec<Option<Fingerprint>> {
        self.samples.par_iter().map(Sample::fingerprint).collect()
    }
}

impl LoaderOptions {
    /// All that a file's pixels in a batch depend on beside the file, as text.
    pub fn pixels_key(&self) -> String {
        let Self { image_size, interpolation, crop_to_aspect_ratio, orientation, scaled_decoding, .. } = self;
        let scaled = if *scaled_decoding { " scaled" } else { "" };
        format!("{image_size:?} {interpolation:?} {crop_to_aspect_ratio} {orientation:?}{scaled}")
    }
}

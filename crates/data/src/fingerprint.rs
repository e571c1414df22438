//! Fingerprints of the contents of images.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::{Examined, examine};
use crate::stamp::{Fingerprint, Seen, Stamp};
use crate::{Dataset, LoaderOptions, Origin, Sample};

/// Raised when the same [`Drawing`](crate::generated::Drawing) is drawn otherwise than before.
const DRAWING_VERSION: u32 = 1;

/// What is known of an image's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Size of the file.
    pub bytes: u64,
    /// What it holds.
    pub examined: Examined,
}

impl Sample {
    /// Size, format and turn of the file; `None` for an image that is no file, or that cannot be read. A file that a
    /// [look](crate::look) has read is not read again.
    pub fn facts(&self) -> Option<Facts> {
        match (&self.seen, &self.origin) {
            (Some(Seen { stamp, examined, .. }), _) => Some(Facts { bytes: stamp.bytes, examined: *examined }),
            (None, Origin::File(path)) => {
                let bytes = crate::read::read(path).ok()?;
                Some(Facts { bytes: bytes.len() as u64, examined: examine(&bytes).ok()? })
            }
            (None, _) => None,
        }
    }

    /// The [`fingerprint`](Self::fingerprint) of a file that a [look](crate::look) has read and that has not been written to since.
    pub(crate) fn known(&self) -> Option<Fingerprint> {
        let seen = self.seen.as_ref()?;
        (Stamp::of(self.origin.path()?) == Some(seen.stamp)).then_some(seen.content)
    }

    /// SHA-256 of the file's bytes, of the pixels, or of what is drawn; `None` for a file that cannot be read. A file that a
    /// [look](crate::look) has read is not read again, unless it was written to since.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.origin {
            Origin::File(path) => match &self.seen {
                Some(seen) if Stamp::of(path) == Some(seen.stamp) => Some(seen.content),
                _ => Some(Sha256::digest(&*crate::read::read(path).ok()?).into()),
            },
            Origin::Bytes(bytes) => Some(Sha256::digest(bytes).into()),
            Origin::Pixels(image) => {
                let size = format!("pixels {} {} ", image.height, image.width);
                Some(Sha256::new_with_prefix(size).chain_update(&image.pixels).finalize().into())
            }
            Origin::Kept(kept) => Some(kept.content),
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
        let scaled = if *scaled_decoding { " means" } else { "" };
        let middle = self.center_crop.map_or_else(String::new, |share| format!(" center_crop {share}"));
        format!("{image_size:?} {interpolation:?} {crop_to_aspect_ratio} {orientation:?}{scaled}{middle}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Format;

    #[test]
    fn a_file_that_was_seen_is_not_read_again_until_it_is_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("photo.jpg");
        std::fs::write(&path, b"one").expect("written");
        let stamp = Stamp::of(&path).expect("it is there");
        // Not the content's own, so that it shows whether the file is read.
        let content = [7; 32];
        let examined = Examined { format: Format::Jpeg, width: 3, height: 2, turned: false };
        let sample = Sample { seen: Some(Seen { stamp, content, examined }), ..Sample::new(path.as_path(), 0) };
        assert_eq!(sample.fingerprint(), Some(content));
        assert_eq!(sample.facts(), Some(Facts { bytes: 3, examined }));
        std::fs::write(&path, b"other").expect("written");
        assert_eq!(sample.fingerprint(), Some(Sha256::digest(b"other").into()));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(sample.fingerprint(), None);
    }

    #[test]
    fn bytes_in_memory_have_the_fingerprint_of_their_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("photo.jpg");
        std::fs::write(&path, b"some bytes").expect("written");
        let print = |origin: Origin| Sample::new(origin, 0).fingerprint().expect("it can be read");
        assert_eq!(print(path.into()), print(b"some bytes".to_vec().into()));
        let pixels = |height, width| print(crate::decode::Rgb { height, width, pixels: vec![9; 6] }.into());
        assert_ne!(pixels(1, 2), pixels(2, 1));
    }
}

//! The checksum in files of this program, so that a flipped bit in a checkpoint does not change a prediction unnoticed.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::read::Raw;

/// Metadata key of the checksum.
pub(super) const KEY: &str = "injerto.sha256";

/// SHA-256 of the other metadata, and of name, number type, shape and bytes of every tensor, in the order of names. Each text ends with
/// a zero byte, so that two different files never give the same sequence.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    /// Starts with the metadata, without the checksum itself.
    pub(super) fn new(metadata: &BTreeMap<String, String>) -> Self {
        let mut hasher = Self::default();
        for (key, value) in metadata.iter().filter(|(key, _)| *key != KEY) {
            hasher.text(key);
            hasher.text(value);
        }
        hasher
    }

    /// Adds a tensor. Tensors must be added in the order of their names.
    pub(super) fn tensor(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        self.text(name);
        self.text(dtype);
        self.text(&format!("{shape:?}"));
        self.0.update(bytes);
    }

    /// The checksum in hexadecimal.
    pub(super) fn finish(self) -> String {
        injerto_files::hex(self.0.finalize())
    }

    fn text(&mut self, text: &str) {
        self.0.update(text.as_bytes());
        self.0.update([0]);
    }
}

/// Checks that a file is unchanged. A file without a checksum is accepted; it comes from elsewhere or from an old version.
///
/// # Errors
/// The actual checksum, if it differs from the one in the file.
pub(super) fn verify(tensors: &BTreeMap<String, Raw>, metadata: &BTreeMap<String, String>) -> Result<(), String> {
    let Some(expected) = metadata.get(KEY) else { return Ok(()) };
    let mut hasher = Hasher::new(metadata);
    for (name, raw) in tensors {
        if let Some((dtype, bytes)) = raw.stored() {
            hasher.tensor(name, &dtype, &raw.shape, bytes);
        }
    }
    let found = hasher.finish();
    if found == *expected { Ok(()) } else { Err(found) }
}

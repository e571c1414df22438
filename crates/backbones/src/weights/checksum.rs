//! The checksum that files of this program carry: a flipped bit in a checkpoint must not become another prediction.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::read::Raw;

/// Key of the checksum in a file's metadata.
pub(super) const KEY: &str = "injerto.sha256";

/// SHA-256 over the other metadata, and over name, number type, shape and bytes of every tensor, all in the order of their
/// names. Each text ends in a zero byte, so that two files never give the same sequence.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    /// Begins with the metadata, in which the checksum itself does not count.
    pub(super) fn new(metadata: &BTreeMap<String, String>) -> Self {
        let mut hasher = Self::default();
        for (key, value) in metadata.iter().filter(|(key, _)| *key != KEY) {
            hasher.text(key);
            hasher.text(value);
        }
        hasher
    }

    /// Takes in a tensor. They come in the order of their names.
    pub(super) fn tensor(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        self.text(name);
        self.text(dtype);
        self.text(&format!("{shape:?}"));
        self.0.update(bytes);
    }

    /// In hexadecimal.
    pub(super) fn finish(self) -> String {
        injerto_files::hex(self.0.finalize())
    }

    fn text(&mut self, text: &str) {
        self.0.update(text.as_bytes());
        self.0.update([0]);
    }
}

/// Whether a file is what was written. Files without a checksum are from elsewhere, or from before there was one.
///
/// # Errors
/// What the checksum is, where it is another than the file says.
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

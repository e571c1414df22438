//! Files, as far as they may be images.

use std::fs::File;
use std::io::Read as _;
use std::ops::Deref;
use std::path::Path;

use crate::budget::{Budget, Permit};

/// Bytes that may be read at one time, by all threads together. A larger file is none that anybody photographed.
const MEMORY: u64 = 1 << 29;

static FILES: Budget = Budget::new(MEMORY);

/// A file's content, with its part of the memory that all threads together may fill with files.
#[derive(Debug)]
pub struct Content {
    bytes: Vec<u8>,
    _permit: Permit,
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a file that should be an image.
///
/// # Errors
/// In words, without the file's name: what the system says, a folder, a file of more bytes than an image has.
pub fn read(path: &Path) -> Result<Content, String> {
    let in_words = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    };
    let mut file = File::open(path).map_err(in_words)?;
    let metadata = file.metadata().map_err(in_words)?;
    if metadata.is_dir() {
        return Err("it is a folder".to_owned());
    }
    let too_large = || format!("it is too large: a file may have {} MiB", MEMORY >> 20);
    let permit = FILES.take(metadata.len()).ok_or_else(too_large)?;
    // A pipe has no length, and a file may grow.
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.by_ref().take(MEMORY + 1).read_to_end(&mut bytes).map_err(in_words)?;
    if bytes.len() as u64 > MEMORY {
        return Err(too_large());
    }
    Ok(Content { bytes, _permit: permit })
}

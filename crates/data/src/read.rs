//! Reading files that should be images.

use std::io::Read as _;
use std::ops::Deref;
use std::path::Path;

use crate::budget::{Budget, Permit};

/// Upper limit of the bytes that all threads together hold of files. A larger file is not a photo.
const MEMORY: u64 = 1 << 29;

static FILES: Budget = Budget::new(MEMORY);

/// A file's content, and the permit for its share of the memory that all threads may fill with files.
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
/// A text without the file's name: what the system says, or that the path is a folder or the file is too large.
pub fn read(path: &Path) -> Result<Content, String> {
    let in_words = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    };
    let mut file = injerto_files::open(path).map_err(in_words)?;
    let metadata = file.metadata().map_err(in_words)?;
    if metadata.is_dir() {
        return Err("it is a folder".to_owned());
    }
    let too_large = || format!("it is too large: a file may have {} MiB", MEMORY >> 20);
    let permit = FILES.take(metadata.len()).ok_or_else(too_large)?;
    // A file may grow while it is read.
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.by_ref().take(MEMORY + 1).read_to_end(&mut bytes).map_err(in_words)?;
    if bytes.len() as u64 > MEMORY {
        return Err(too_large());
    }
    Ok(Content { bytes, _permit: permit })
}

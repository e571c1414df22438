//! Reading files that should be images.

use std::io::{self, Read as _};
use std::ops::Deref;
use std::path::Path;

use crate::budget::{Budget, Permit};
use crate::{DataError, Origin};

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

/// Why the content of a file could not be had, without the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// What is wrong with the file: it is not there, it is a folder, the disk does not give it.
    #[error("{0}")]
    File(String),
    /// What this program or the system lacks ([`injerto_files::is_shortage`]), which says nothing of the file.
    #[error("{0}")]
    Shortage(String),
}

impl Unread {
    /// The error of an image.
    pub(crate) fn of(self, origin: Origin) -> DataError {
        match self {
            Self::File(reason) => DataError::Corrupt { origin, reason },
            Self::Shortage(reason) => DataError::Shortage { origin, reason },
        }
    }
}

impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Self::File(reason)
    }
}

impl From<Unread> for String {
    fn from(unread: Unread) -> Self {
        unread.to_string()
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if injerto_files::is_shortage(&error) => Self::Shortage(error.to_string()),
            io::ErrorKind::NotFound => Self::File("there is no such file".to_owned()),
            io::ErrorKind::IsADirectory => Self::File("it is a folder".to_owned()),
            _ => Self::File(error.to_string()),
        }
    }
}

/// Reads a file that should be an image.
///
/// # Errors
/// What the system says, or that the path is a folder or the file is too large.
pub fn read(path: &Path) -> Result<Content, Unread> {
    let mut file = injerto_files::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
    }
    let too_large = || format!("it is too large: a file may have {} MiB", MEMORY >> 20);
    let permit = FILES.take(metadata.len()).ok_or_else(too_large)?;
    // A file may grow while it is read.
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.by_ref().take(MEMORY + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MEMORY {
        return Err(too_large().into());
    }
    Ok(Content { bytes, _permit: permit })
}

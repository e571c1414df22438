use std::fs::File;
use std::io::Read;

use bytes::Bytes;
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

use super::store::Blocks;
use super::{Kind, Place};
use crate::ShardsError;

/// A file that is read at any place of it.
pub(crate) enum Source {
    File(File),
    Object(Blocks),
}

impl Source {
    /// Opens a file.
    pub fn open(place: &Place) -> std::result::Result<Self, ShardsError> {
        match &place.0 {
            Kind::Local(path) => File::open(path).map(Self::File).map_err(ShardsError::io(path)),
            Kind::Object(object) => Blocks::open(object.clone()).map(Self::Object),
        }
    }

    /// All of the file, from its beginning.
    pub fn stream(self) -> Box<dyn Read + Send> {
        match self {
            Self::File(file) => Box::new(file),
            Self::Object(blocks) => Box::new(blocks.from(0)),
        }
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Object(blocks) => blocks.size(),
        }
    }
}

impl ChunkReader for Source {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(match self {
            Self::File(file) => Box::new(file.get_read(start)?),
            Self::Object(blocks) => Box::new(blocks.from(start)),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Object(blocks) => {
                // A damaged file may ask for more than there is.
                let length = (length as u64).min(blocks.size().saturating_sub(start));
                let mut bytes = Vec::with_capacity(length as usize);
                blocks.from(start).take(length).read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}

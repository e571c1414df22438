use std::io::{self, Write};

use injerto_files::Partial;

use super::store::Upload;
use super::{Kind, Place};
use crate::ShardsError;

/// A file that is being written, and appears whole or not at all.
pub(crate) enum Sink {
    File(Partial),
    Object(Upload),
}

impl Sink {
    /// Begins the file at this place.
    pub fn at(place: &Place) -> Result<Self, ShardsError> {
        match &place.0 {
            Kind::Local(path) => Partial::beside(path).map(Self::File).map_err(ShardsError::io(path)),
            Kind::Object(object) => Ok(Self::Object(Upload::of(object.clone()))),
        }
    }

    /// Puts the file in its place, which is that of [`at`](Self::at).
    pub fn finish(self, place: &Place) -> Result<(), ShardsError> {
        match self {
            Self::File(file) => {
                let path = place.local().expect("a file lies on this machine");
                file.persist(path).map_err(ShardsError::io(path))
            }
            Self::Object(upload) => upload.finish(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Object(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Object(_) => Ok(()),
        }
    }
}

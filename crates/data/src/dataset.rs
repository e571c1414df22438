use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use injerto_files::{shown, to_text};

use crate::decode::Rgb;
use crate::generated::drawing::Drawing;
use crate::label::Label;
use crate::stamp::{Fingerprint, Seen};

/// Where an image comes from. All code that reads images takes every kind.
#[derive(Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The content of a file, in memory: an upload, an entry of an archive. The format is found by content.
    Bytes(Arc<[u8]>),
    /// Pixels that are decoded already.
    Pixels(Arc<Rgb>),
    /// Drawn when it is wanted.
    Drawn(Drawing),
    /// A photo of which only the features are kept: it is known by its content, and has no pixels.
    Kept(Arc<Kept>),
}

/// A photo of which only the features are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it was found.
    pub path: PathBuf,
    /// SHA-256 of its file.
    pub content: Fingerprint,
}

impl Origin {
    /// A photo of which only the features are kept.
    pub fn kept(path: PathBuf, content: Fingerprint) -> Self {
        Self::Kept(Arc::new(Kept { path, content }))
    }

    /// The path of a file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }

    /// Its name as text that is read back ([`injerto_files::to_text`]): the path of a file, or what it is.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::File(path) => to_text(path.as_os_str()),
            Self::Kept(kept) => to_text(kept.path.as_os_str()),
            other => other.to_string().into(),
        }
    }
}

/// What it is called in messages, fit for a terminal.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => shown(path).fmt(f),
            Self::Kept(kept) => shown(&kept.path).fmt(f),
            Self::Bytes(bytes) => write!(f, "an image of {} bytes in memory", bytes.len()),
            Self::Pixels(image) => write!(f, "an image of {} x {} pixels in memory", image.height, image.width),
            Self::Drawn(drawing) => write!(f, "image {} of class {}, drawn", drawing.index, drawing.class),
        }
    }
}

/// Without the content of images, which would fill the screen.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Drawn(drawing) => f.debug_tuple("Drawn").field(drawing).finish(),
            Self::Bytes(_) | Self::Pixels(_) | Self::Kept(_) => write!(f, "Origin({self})"),
        }
    }
}

impl From<PathBuf> for Origin {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Origin {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<Vec<u8>> for Origin {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Arc<[u8]>> for Origin {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Rgb> for Origin {
    fn from(image: Rgb) -> Self {
        Self::Pixels(Arc::new(image))
    }
}

/// An image and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where it comes from.
    pub origin: Origin,
    /// What it shows.
    pub label: Label,
    /// The group of images with which it was taken: images of one group are never on two sides of a split. `None`: it is a group of its
    /// own, or groups were not asked for.
    pub group: Option<Arc<str>>,
    /// The content of its file, if it has been read already.
    pub(crate) seen: Option<Seen>,
}

impl Sample {
    /// An image of the class in this position, or of several classes.
    pub fn new(origin: impl Into<Origin>, label: impl Into<Label>) -> Self {
        Self { origin: origin.into(), label: label.into(), group: None, seen: None }
    }
}

/// An image that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The image.
    pub origin: Origin,
    /// What was wrong with it.
    pub reason: String,
}

/// Labelled images, none of them read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Names of the classes; a label is a position in this list.
    pub classes: Vec<String>,
    /// The images.
    pub samples: Vec<Sample>,
}

impl Dataset {
    /// Number of images per class. An image of several classes counts for each.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        let classes = self.samples.iter().flat_map(|sample| sample.label.classes());
        classes.for_each(|&class| counts[class as usize] += 1);
        counts
    }

    /// Whether an image may have several classes, or none.
    pub fn is_multi_label(&self) -> bool {
        self.samples.first().is_some_and(|sample| sample.label.class().is_none())
    }
}

//! Where photos and the files of shards lie: on this machine, or in an object store.

mod sink;
mod source;
#[cfg_attr(not(feature = "s3"), path = "no_store.rs")]
mod store;

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use injerto_data::Unread;
use injerto_files::{from_text, printable, shown, to_text};

pub(crate) use self::sink::Sink;
pub(crate) use self::source::Source;
use crate::ShardsError;

use self::store::Object;

/// A file or a folder, on this machine or in an object store.
#[derive(Debug, Clone)]
pub struct Place(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Local(PathBuf),
    Object(Object),
}

/// A file in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its path below the folder, with `/` between folders.
    pub name: String,
    /// Size and time or version, as text: writing to the file changes one of them.
    pub stamp: String,
}

impl Place {
    /// The place that a path or an address names: `s3://bucket/prefix` is in an object store, `file:///folder` (with `%20` and the like)
    /// and every path are on this machine.
    ///
    /// # Errors
    /// [`ShardsError::Place`] for other schemes, for an address that is not complete, and for a store whose variables in the environment
    /// are wrong. Nothing is asked yet.
    pub fn parse(text: &OsStr) -> Result<Self, ShardsError> {
        let bad = |reason: String| Err(ShardsError::Place { given: to_text(text).into_owned(), reason });
        let Some((scheme, rest)) = text.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(Self::from(PathBuf::from(text)));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => match rest.split_once('/') {
                Some(("" | "localhost", path)) => match decoded(path) {
                    Some(path) => Ok(Self::from(from_text(&format!("/{path}")))),
                    None => bad("a % is not followed by two hexadecimal digits; write %25 for a % itself".to_owned()),
                },
                _ => bad("expected file:///FOLDER with three slashes, for a folder on this machine".to_owned()),
            },
            "s3" => Object::parse(rest).map(|object| Self(Kind::Object(object))).or_else(bad),
            // A folder may be called so, if it is there.
            _ if Path::new(text).exists() => Ok(Self::from(PathBuf::from(text))),
            _ => bad("expected a path, file:///FOLDER, or s3://BUCKET/PREFIX for an S3 store".to_owned()),
        }
    }

    /// The places that several paths and addresses name.
    ///
    /// # Errors
    /// Those of [`Place::parse`].
    pub fn parse_all(named: &[PathBuf]) -> Result<Vec<Self>, ShardsError> {
        named.iter().map(|path| Self::parse(path.as_os_str())).collect()
    }

    /// Whether it is in an object store.
    pub fn is_remote(&self) -> bool {
        self.local().is_none()
    }

    /// The path of a place on this machine.
    pub fn local(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Local(path) => Some(path),
            Kind::Object(_) => None,
        }
    }

    /// As text from which the place can be found again.
    pub(crate) fn text(&self) -> String {
        match &self.0 {
            Kind::Local(path) => to_text(path.as_os_str()).into_owned(),
            Kind::Object(object) => object.to_string(),
        }
    }

    /// The last part of the name.
    pub(crate) fn name(&self) -> String {
        match &self.0 {
            Kind::Local(path) => path.file_name().map(to_text).unwrap_or_default().into_owned(),
            Kind::Object(object) => object.to_string().rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }

    /// The file of this name in the folder, which may name folders with `/` between them.
    pub(crate) fn join(&self, name: &str) -> Self {
        Self(match &self.0 {
            Kind::Local(path) => Kind::Local(path.join(from_text(name))),
            Kind::Object(object) => Kind::Object(object.join(name)),
        })
    }

    /// What a list or a table beside this place names: a path beside it, an absolute one, or an address.
    pub(crate) fn beside(&self, named: &str) -> Result<Self, ShardsError> {
        if named.contains("://") {
            return Self::parse(OsStr::new(named));
        }
        match &self.0 {
            Kind::Local(path) => Ok(Self::from(path.parent().unwrap_or(Path::new("")).join(from_text(named)))),
            Kind::Object(object) => Ok(Self(Kind::Object(object.parent().join(named)))),
        }
    }

    /// Whether it is a folder: a prefix of names, in a store.
    pub(crate) fn is_folder(&self) -> Result<bool, ShardsError> {
        match &self.0 {
            Kind::Local(path) => Ok(path.is_dir()),
            Kind::Object(object) => Ok(object.stamp()?.is_none()),
        }
    }

    /// The files directly in a folder on this machine or in a store, or, of a store, those at every depth.
    pub(crate) fn entries(&self, depth: bool) -> Result<Vec<Entry>, ShardsError> {
        match &self.0 {
            Kind::Local(path) => {
                debug_assert!(!depth, "folders on this machine are walked elsewhere");
                let mut entries = Vec::new();
                for entry in std::fs::read_dir(path).map_err(ShardsError::io(path))? {
                    let entry = entry.map_err(ShardsError::io(path))?;
                    let name = to_text(&entry.file_name()).into_owned();
                    entries.push(Entry { name, stamp: stamp(&entry.path()) });
                }
                Ok(entries)
            }
            Kind::Object(object) => object.entries(depth),
        }
    }

    /// Size and time or version of a file, as text; `absent` if it is not there.
    pub(crate) fn stamp(&self) -> Result<String, ShardsError> {
        match &self.0 {
            Kind::Local(path) => Ok(stamp(path)),
            Kind::Object(object) => Ok(object.stamp()?.unwrap_or_else(|| ABSENT.to_owned())),
        }
    }

    /// The content of a photo's file, or why it cannot be had.
    pub(crate) fn photo(&self) -> Result<Vec<u8>, Unread> {
        match &self.0 {
            Kind::Local(path) => Ok(injerto_data::read(path)?.to_vec()),
            Kind::Object(object) => Ok(object.whole()?),
        }
    }

    /// Makes the folder, if it is one on this machine and not there, and removes what killed processes have left in it.
    pub(crate) fn make_folder(&self) -> Result<(), ShardsError> {
        let Kind::Local(path) = &self.0 else { return Ok(()) };
        std::fs::create_dir_all(path).map_err(ShardsError::io(path))?;
        injerto_files::remove_partial(path, UNFINISHED);
        Ok(())
    }
}

/// An unfinished file that another machine has not written to for so long was left by a process that was killed.
const UNFINISHED: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

const ABSENT: &str = "absent";

/// Size and time of a file, as text.
fn stamp(path: &Path) -> String {
    let Ok(metadata) = path.metadata() else { return ABSENT.to_owned() };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{} {}", metadata.len(), modified.as_nanos())
}

/// A text with `%20` and the like replaced by the bytes that they stand for.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self(Kind::Local(path))
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::from(path.clone())
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::from(path.to_owned())
    }
}

/// Fit for a terminal.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Local(path) => shown(path).fmt(f),
            Kind::Object(object) => printable(&object.to_string()).fmt(f),
        }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Kind::Local(a), Kind::Local(b)) => a.cmp(b),
            _ => self.text().cmp(&other.text()),
        }
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

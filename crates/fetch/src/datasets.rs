//! Archives of images, each fetched once and kept unpacked in the cache.

use std::fs;
use std::path::{Path, PathBuf};

use injerto_files::{Lock, hex, printable, shown};
use sha2::{Digest, Sha256};

use crate::unpack::{Limits, unpack};
use crate::{Patience, Transfer, file};

/// A published dataset that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What `data.root` calls it.
    pub name: &'static str,
    /// Where its archive is.
    pub url: &'static str,
    /// Size of the archive, in bytes.
    pub bytes: u64,
    /// What it shows, and who published it.
    pub about: &'static str,
}

/// The datasets that have names.
pub const KNOWN: [Known; 2] = [
    Known {
        name: "cats_and_dogs_filtered",
        url: "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
        bytes: 68_606_236,
        about: "3,000 photos of cats and dogs, divided into train and validation; from Kaggle's Dogs vs. Cats",
    },
    Known {
        name: "flower_photos",
        url: "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        bytes: 228_813_984,
        about: "3,670 photos of five flowers, under Creative Commons Attribution; by the TensorFlow team",
    },
];

/// An archive of images somewhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its address.
    pub url: String,
    /// Its SHA-256 in hexadecimal, if it is known.
    pub sha256: Option<String>,
}

impl Archive {
    /// The archive of a dataset that has this name.
    pub fn known(name: &str) -> Option<Self> {
        let known = KNOWN.iter().find(|known| known.name == name)?;
        Some(Self { url: known.url.to_owned(), sha256: None })
    }

    /// The folder of the cache that belongs to this archive.
    fn folder(&self, cache: &Path) -> PathBuf {
        let key = hex(Sha256::digest(format!("{}\n{}", self.url, self.sha256.as_deref().unwrap_or_default())));
        let name = self.url.split(['?', '#']).next().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let name: String = name.chars().take(60).map(safe).collect();
        cache.join(format!("{name}-{}", &key[..16]))
    }

    /// The root of its images, if they are in the cache.
    pub fn kept(&self, cache: &Path) -> Option<PathBuf> {
        let files = self.folder(cache).join(FILES);
        files.is_dir().then(|| inside(files))
    }
}

/// The folder of what is unpacked. It is renamed to this name when it is complete.
const FILES: &str = "files";

/// An archive that cannot be fetched or unpacked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot fetch {}: {}", printable(url), printable(reason))]
pub struct FetchError {
    /// Its address.
    pub url: String,
    /// Why, in words.
    pub reason: String,
}

/// Upper limit of an archive's size, in bytes.
const LARGEST: u64 = 256 << 30;

/// Two hours are little for a large archive; a very slow connection ends long before.
const PATIENT: Patience = Patience { whole: std::time::Duration::from_secs(24 * 60 * 60), ..Patience::USUAL };

/// The root of an archive's images: from the cache, or fetched and unpacked there. `progress` gets the number of bytes that have arrived,
/// and of all bytes if it is known.
///
/// # Errors
/// [`FetchError`] if the archive cannot be reached, is not the one that was meant, or is refused.
pub fn get(archive: &Archive, cache: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<PathBuf, FetchError> {
    if let Some(kept) = archive.kept(cache) {
        return Ok(kept);
    }
    let error = |reason: String| FetchError { url: archive.url.clone(), reason };
    let encrypted = encryption(archive).map_err(error)?;
    let folder = archive.folder(cache);
    let failed = |cause: std::io::Error| error(format!("{} cannot be written to: {cause}", shown(&folder)));
    fs::create_dir_all(&folder).map_err(failed)?;
    let _lock = Lock::take(&folder).map_err(|cause| error(cause.to_string()))?;
    if let Some(kept) = archive.kept(cache) {
        return Ok(kept);
    }
    let packed = folder.join("archive");
    let how = Transfer { patience: PATIENT, encrypted, limit: LARGEST };
    file(&archive.url, &packed, archive.sha256.as_deref(), how, progress).map_err(error)?;
    // An earlier attempt may have been killed while it unpacked.
    let unfinished = folder.join("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir(&unfinished).map_err(failed)?;
    let unpacked = unpack(&packed, &unfinished, Limits::USUAL);
    let _ = fs::remove_file(&packed);
    if let Err(reason) = unpacked {
        let _ = fs::remove_dir_all(&unfinished);
        return Err(error(reason));
    }
    let files = folder.join(FILES);
    fs::rename(&unfinished, &files).map_err(failed)?;
    Ok(inside(files))
}

/// Whether the connection must be encrypted. An open one is allowed to this machine, and where a hash says what must come.
fn encryption(archive: &Archive) -> Result<bool, String> {
    let Some(rest) = archive.url.strip_prefix("http://") else { return Ok(true) };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    match archive.sha256.is_some() || matches!(host, "127.0.0.1" | "localhost" | "[::1]") {
        true => Ok(false),
        false => {
            Err("the connection is not encrypted: use https://, or set data.sha256 to the hash of the archive"
                .to_owned())
        }
    }
}

/// The folder in an unpacked archive that holds more than one folder of folders: archives often hold one folder that holds the rest.
fn inside(mut folder: PathBuf) -> PathBuf {
    let folders = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let own = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX";
        let visible = entries.filter(|entry| !own(&entry.file_name()));
        visible.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    // Unpacked archives hold no links, so that this ends.
    while let [only] = &folders(&folder)[..] {
        if folders(only).is_empty() {
            break;
        }
        folder.clone_from(only);
    }
    folder
}

//! Where photos come from.

mod archive;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use injerto_data::folder::{self, AllLeftOut};
use injerto_files::{from_text, hex, to_text};
use sha2::{Digest, Sha256};

use crate::{Shard, ShardsError};

/// Upper limit of the bytes of a photo's file. A larger one is no photo.
pub(crate) const LARGEST: u64 = 256 << 20;

/// A photo with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// What it is known by, in all shards.
    pub key: String,
    /// Where it was found.
    pub path: String,
    /// The class that it is said to have.
    pub label: Option<String>,
    /// The bytes of its file, or why they cannot be had.
    pub content: Result<Vec<u8>, String>,
}

/// The photos of some folders, files, lists, archives and tables. Nothing is read of a photo yet.
///
/// | input | photos | key | label |
/// |---|---|---|---|
/// | a folder | images at every depth, and those in the archives and tables in it | the path below the folder | the class, if `injerto train` would read the folder's classes |
/// | an image | itself | the path as it is given | |
/// | `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.txt` | the files that it names, which lie beside the list or at absolute paths | the path in the list | its column of classes |
/// | `.tar` (WebDataset) | its images | the path without its ending | the text of `.cls`, or `label`, `class` or `cls` in `.json` |
/// | `.parquet` | one per row, in a column of bytes or of paths | the column `key` or `__key__`, or else the file's name, `#` and the row | the column `label` or `class` |
#[derive(Debug, Clone, Default)]
pub struct Input {
    files: Vec<File>,
    packs: Vec<Pack>,
    /// What folders hold that is no photo.
    pub left_out: Vec<AllLeftOut>,
}

/// A photo that is a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    key: String,
    path: PathBuf,
    label: Option<String>,
}

/// A file with many photos in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pack {
    /// Its path below the folder that was given, or its name.
    name: String,
    path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Tar,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        match () {
            () if name.ends_with(".tar") => Some(Self::Tar),
            () if name.ends_with(".parquet") => Some(Self::Parquet),
            () => None,
        }
    }
}

/// Endings of lists.
const LISTS: [&str; 5] = ["csv", "tsv", "jsonl", "ndjson", "txt"];

impl Input {
    /// Finds the photos in all of these.
    ///
    /// # Errors
    /// [`ShardsError`] if a folder or a list cannot be read, or if there are no photos in it. A photo that is not there is found when
    /// it is read.
    pub fn open(paths: &[PathBuf]) -> Result<Self, ShardsError> {
        let mut input = Self::default();
        for path in paths {
            let before = input.files.len() + input.packs.len();
            let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
            if path.is_dir() {
                input.folder(path)?;
            } else if let Some(format) = Format::of(path) {
                let name = path.file_name().map(to_text).unwrap_or_default().into_owned();
                input.packs.push(Pack { name, path: path.clone(), format });
            } else if LISTS.contains(&ending.as_str()) {
                input.list(path)?;
            } else {
                let key = to_text(path.as_os_str()).into_owned();
                input.files.push(File { key, path: path.clone(), label: None });
            }
            if input.files.len() + input.packs.len() == before {
                return Err(ShardsError::NoPhotos { path: path.clone() });
            }
        }
        input.packs.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
        Ok(input)
    }

    fn folder(&mut self, root: &Path) -> Result<(), ShardsError> {
        let (images, left_out) = folder::images(root)?;
        let labels = labels(root);
        self.files.extend(images.into_iter().map(|path| {
            let key = below(root, &path);
            File { label: labels.get(&path).cloned(), key, path }
        }));
        self.left_out.push(left_out);
        self.packed(root, root)
    }

    /// The archives and tables in a folder at every depth, apart from hidden ones.
    fn packed(&mut self, root: &Path, folder: &Path) -> Result<(), ShardsError> {
        for entry in std::fs::read_dir(folder).map_err(ShardsError::io(folder))? {
            let entry = entry.map_err(ShardsError::io(folder))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            match Format::of(&path) {
                _ if entry.file_type().is_ok_and(|kind| kind.is_dir()) => self.packed(root, &path)?,
                Some(format) if path.is_file() => self.packs.push(Pack { name: below(root, &path), path, format }),
                _ => {}
            }
        }
        Ok(())
    }

    fn list(&mut self, list: &Path) -> Result<(), ShardsError> {
        let beside = list.parent().unwrap_or(Path::new(""));
        for folder::Listed { path, class } in folder::listed_in(list)? {
            self.files.push(File { path: beside.join(from_text(&path)), key: path, label: class });
        }
        Ok(())
    }

    /// The photos of one shard.
    ///
    /// Photos that are files of their own belong to the shard that [their keys say](Shard::holds). Archives and tables are dealt one by
    /// one in the order of their names ([`Shard::holds_place`]), so that each is read by one process only. Where there are fewer of them
    /// than shards, each process reads all of them, and takes the photos that their keys give it.
    ///
    /// # Errors
    /// [`ShardsError::SameKey`] if two files have one key.
    pub fn share(self, shard: Shard) -> Result<Share, ShardsError> {
        let whole = self.packs.len() >= shard.of() as usize;
        let mut files: Vec<File> = self.files.into_iter().filter(|file| shard.holds(&file.key)).collect();
        files.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some([a, b]) = files.array_windows().find(|[a, b]| a.key == b.key) {
            let text = |file: &File| to_text(file.path.as_os_str()).into_owned();
            return Err(ShardsError::SameKey { key: a.key.clone(), paths: [text(a), text(b)] });
        }
        let mine = |(place, _): &(usize, Pack)| !whole || shard.holds_place(*place);
        let packs: Vec<Pack> = self.packs.into_iter().enumerate().filter(mine).map(|(_, pack)| pack).collect();
        let mut hash = Sha256::new_with_prefix(format!("1 {shard} {whole}\n"));
        for File { key, path, label } in &files {
            hash.update(format!("{key:?} {label:?} {}\n", stamp(path)));
        }
        for Pack { name, path, .. } in &packs {
            hash.update(format!("{name:?} {}\n", stamp(path)));
        }
        Ok(Share { shard, files, packs, whole, identity: hex(hash.finalize()) })
    }
}

/// Size and time of a file, as text: whoever writes to it changes one of them.
fn stamp(path: &Path) -> String {
    let Ok(metadata) = path.metadata() else { return "absent".to_owned() };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{} {}", metadata.len(), modified.as_nanos())
}

/// A path below a folder, with `/` on every system.
fn below(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = path.iter().map(|part| to_text(part)).collect();
    parts.join("/")
}

/// The classes of a folder's images, if `injerto train` would read them.
fn labels(root: &Path) -> BTreeMap<PathBuf, String> {
    let Ok(found) = folder::open(root, folder::Options::default()) else { return BTreeMap::new() };
    let parts = [Some(found.train), found.validation, found.test];
    let of = |part: injerto_data::Dataset| {
        let classes = part.classes;
        let named = part.samples.into_iter().filter_map(move |sample| {
            Some((sample.origin.path()?.to_owned(), classes[sample.label.class()? as usize].clone()))
        });
        named.collect::<Vec<_>>()
    };
    parts.into_iter().flatten().flat_map(of).collect()
}

/// The photos of one shard, in an order that follows from their names.
#[derive(Debug, Clone)]
pub struct Share {
    shard: Shard,
    files: Vec<File>,
    packs: Vec<Pack>,
    /// Whether archives and tables belong to one shard each.
    whole: bool,
    identity: String,
}

impl Share {
    /// The shard.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// Hash of the photos' keys and labels, and of the size and time of each file that is read.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Number of photos; `None` if some are in archives or tables, which nobody has counted.
    pub fn count(&self) -> Option<usize> {
        self.packs.is_empty().then_some(self.files.len())
    }

    /// Reads the photos one after the other. After an error there is nothing more.
    pub fn photos(self) -> impl Iterator<Item = Result<Photo, ShardsError>> + Send + 'static {
        let Self { shard, files, packs, whole, .. } = self;
        let files = files.into_iter().map(|File { key, path, label }| {
            let content = read(&path);
            Ok(Photo { key, path: to_text(path.as_os_str()).into_owned(), label, content })
        });
        let packed = packs.into_iter().flat_map(|pack| -> Box<dyn Iterator<Item = _> + Send> {
            match pack.format {
                Format::Tar => Box::new(archive::photos(&pack.path)),
                Format::Parquet => Box::new(table::photos(&pack.path)),
            }
        });
        let mine = move |photo: &Result<Photo, ShardsError>| {
            whole || photo.as_ref().map_or(true, |photo| shard.holds(&photo.key))
        };
        let mut ended = false;
        files.chain(packed.filter(mine)).take_while(move |photo| !std::mem::replace(&mut ended, photo.is_err()))
    }
}

/// The content of a photo's file, or why it cannot be had.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    Ok(injerto_data::read(path)?.to_vec())
}

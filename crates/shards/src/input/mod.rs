//! Where photos come from.

mod ahead;
mod archive;
mod table;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use injerto_data::folder::{self, AllLeftOut, Reason};
use injerto_data::{Dataset, Unread};
use injerto_files::{hex, to_text};
use sha2::{Digest, Sha256};

use self::ahead::ahead;
use crate::output::Header;
use crate::place::Source;
use crate::{Place, Shard, ShardsError};

/// Upper limit of the bytes of a photo's file. A larger one is no photo.
pub(crate) const LARGEST: u64 = 256 << 20;

/// A photo with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// Its key, which is the same in all shards.
    pub key: String,
    /// Where it was found.
    pub path: String,
    /// Its label.
    pub label: Option<String>,
    /// The bytes of its file, or why they cannot be had.
    pub content: Result<Vec<u8>, Unread>,
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
///
/// In a folder, files that shards have written are no input.
#[derive(Debug, Clone, Default)]
pub struct Input {
    files: Vec<File>,
    packs: Vec<Pack>,
    /// The files in folders that are not photos.
    pub left_out: Vec<AllLeftOut>,
}

/// A photo that is a file of its own.
#[derive(Debug, Clone)]
struct File {
    key: String,
    place: Place,
    label: Option<String>,
    /// Size and time or version, if they are known already.
    stamp: Option<String>,
}

/// A file with many photos in it.
#[derive(Debug, Clone)]
struct Pack {
    /// Its path below the folder that was given, or its name.
    name: String,
    place: Place,
    format: Format,
    /// Size and time or version, if they are known already.
    stamp: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Tar,
    Parquet,
}

impl Format {
    fn of(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        match () {
            () if name.ends_with(".tar") => Some(Self::Tar),
            () if name.ends_with(".parquet") => Some(Self::Parquet),
            () => None,
        }
    }
}

/// Whether a file was written by a shard. The folder for results may lie among the photos, and results are not input: neither of the next
/// shard, nor of the same one when it starts again.
fn is_result(place: &Place) -> bool {
    Shard::of_file(&place.name()).is_some() && Header::read(place).is_ok()
}

/// Endings of lists.
const LISTS: [&str; 5] = ["csv", "tsv", "jsonl", "ndjson", "txt"];

impl Input {
    /// Finds the photos in all of these.
    ///
    /// # Errors
    /// [`ShardsError`] if one of them is not there or is no such input, if a folder or a list cannot be read, or if there are no photos in
    /// it. A photo in a list or a table that is not there is found when it is read.
    pub fn open(places: &[impl Clone + Into<Place>]) -> Result<Self, ShardsError> {
        let mut input = Self::default();
        for place in places {
            let place: &Place = &place.clone().into();
            if let Some(path) = place.local() {
                path.metadata().map_err(ShardsError::io(path))?;
            }
            let before = input.files.len() + input.packs.len();
            let name = place.name();
            let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase()).unwrap_or_default();
            if place.is_folder()? {
                match place.local() {
                    Some(path) => input.folder(path)?,
                    None => input.prefix(place)?,
                }
            } else if let Some(format) = Format::of(&name) {
                input.packs.push(Pack { name, place: place.clone(), format, stamp: None });
            } else if LISTS.contains(&ending.as_str()) {
                input.list(place)?;
            } else if ending.is_empty() || folder::EXTENSIONS.contains(&format!(".{ending}").as_str()) {
                input.files.push(File { key: place.text(), place: place.clone(), label: None, stamp: None });
            }
            if input.files.len() + input.packs.len() == before {
                return Err(ShardsError::NoPhotos { place: place.clone() });
            }
        }
        for left_out in &mut input.left_out {
            left_out.retain(|reason, _| !matches!(reason, Reason::Ending(ending) if Format::of(ending).is_some()));
        }
        input.packs.sort_by(|a, b| (&a.name, &a.place).cmp(&(&b.name, &b.place)));
        Ok(input)
    }

    fn folder(&mut self, root: &Path) -> Result<(), ShardsError> {
        let (images, left_out) = folder::images(root)?;
        let parts = folder::open(root, folder::Options::default());
        let parts = match parts {
            Ok(found) => std::iter::once(found.train).chain(found.validation).chain(found.test).collect(),
            // A folder of results among the classes is no class.
            Err(_) => {
                let names: Vec<String> = images.iter().map(|path| below(root, path)).collect();
                folder::named(root, &names.iter().map(String::as_str).collect::<Vec<_>>()).2
            }
        };
        let labels = labels(parts);
        self.files.extend(images.into_iter().map(|path| {
            let key = below(root, &path);
            File { label: labels.get(&path).cloned(), key, place: Place::from(path), stamp: None }
        }));
        self.left_out.push(left_out);
        self.packed(root, root)
    }

    /// The objects of a store whose names begin with a prefix, which are found as those of a folder.
    fn prefix(&mut self, root: &Place) -> Result<(), ShardsError> {
        let entries = root.entries(true)?;
        if entries.is_empty() {
            return Err(ShardsError::Absent { place: root.text() });
        }
        let photos = entries.iter().filter(|entry| !is_result(&root.join(&entry.name)));
        let stamps: BTreeMap<&str, &String> = photos.map(|entry| (entry.name.as_str(), &entry.stamp)).collect();
        let names: Vec<&str> = stamps.keys().copied().collect();
        let (images, left_out, parts) = folder::named(Path::new(""), &names);
        let labels = labels(parts);
        self.files.extend(images.into_iter().map(|path| {
            let key = below(Path::new(""), &path);
            let stamp = stamps.get(key.as_str()).map(|stamp| (*stamp).clone());
            File { label: labels.get(&path).cloned(), place: root.join(&key), key, stamp }
        }));
        self.left_out.push(left_out);
        let hidden = |name: &str| name.split('/').any(|part| part.starts_with('.'));
        self.packs.extend(stamps.iter().filter(|(name, _)| !hidden(name)).filter_map(|(name, stamp)| {
            let stamp = Some((*stamp).clone());
            Some(Pack { name: (*name).to_owned(), place: root.join(name), format: Format::of(name)?, stamp })
        }));
        Ok(())
    }

    /// The archives and tables in a folder at every depth, apart from hidden ones.
    fn packed(&mut self, root: &Path, folder: &Path) -> Result<(), ShardsError> {
        for entry in std::fs::read_dir(folder).map_err(ShardsError::io(folder))? {
            let entry = entry.map_err(ShardsError::io(folder))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            match Format::of(&entry.file_name().to_string_lossy()) {
                _ if entry.file_type().is_ok_and(|kind| kind.is_dir()) => self.packed(root, &path)?,
                Some(format) if path.is_file() => {
                    let (name, place) = (below(root, &path), Place::from(path));
                    if !is_result(&place) {
                        self.packs.push(Pack { name, place, format, stamp: None });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn list(&mut self, list: &Place) -> Result<(), ShardsError> {
        let listed = match list.local() {
            Some(path) => folder::listed_in(path)?,
            None => {
                // What reads lists reads files.
                let folder = tempfile::tempdir().map_err(ShardsError::io(std::env::temp_dir()))?;
                let copy = folder.path().join(list.name());
                let mut content = Source::open(list)?.stream().take(LARGEST);
                let mut write = || std::io::copy(&mut content, &mut std::fs::File::create(&copy)?);
                write().map_err(|error| ShardsError::input(list, error))?;
                folder::listed_in(&copy).map_err(|error| ShardsError::input(list, error))?
            }
        };
        for folder::Listed { path, class } in listed {
            self.files.push(File { place: list.beside(&path)?, key: path, label: class, stamp: None });
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
            return Err(ShardsError::SameKey { key: a.key.clone(), paths: [a.place.text(), b.place.text()] });
        }
        let mine = |(place, _): &(usize, Pack)| !whole || shard.holds_place(*place);
        let packs: Vec<Pack> = self.packs.into_iter().enumerate().filter(mine).map(|(_, pack)| pack).collect();
        let mut hash = Sha256::new_with_prefix(format!("1 {shard} {whole}\n"));
        for (file, stamp) in files.iter().zip(stamps(files.iter().map(|file| (&file.place, &file.stamp)))) {
            hash.update(format!("{:?} {:?} {}\n", file.key, file.label, stamp?));
        }
        for (pack, stamp) in packs.iter().zip(stamps(packs.iter().map(|pack| (&pack.place, &pack.stamp)))) {
            hash.update(format!("{:?} {}\n", pack.name, stamp?));
        }
        Ok(Share { shard, files, packs, whole, identity: hex(hash.finalize()) })
    }
}

/// Size and time or version of each file, as text: writing to the file changes one of them. Several are asked for at once.
fn stamps<'f>(
    files: impl Iterator<Item = (&'f Place, &'f Option<String>)>,
) -> impl Iterator<Item = Result<String, ShardsError>> {
    let asked: Vec<_> = files.map(|(place, stamp)| (place.clone(), stamp.clone())).collect();
    ahead(
        asked.into_iter(),
        |(place, stamp)| stamp.is_none() && place.is_remote(),
        |(place, stamp)| match stamp {
            Some(stamp) => Ok(stamp),
            None => place.stamp(),
        },
    )
}

/// A path below a folder, with `/` on every system.
fn below(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = path.iter().map(|part| to_text(part)).collect();
    parts.join("/")
}

/// The classes of a folder's images, as `injerto train` would read them.
fn labels(parts: Vec<Dataset>) -> BTreeMap<PathBuf, String> {
    let of = |part: Dataset| {
        let classes = part.classes;
        let named = part.samples.into_iter().filter_map(move |sample| {
            Some((sample.origin.path()?.to_owned(), classes[sample.label.class()? as usize].clone()))
        });
        named.collect::<Vec<_>>()
    };
    parts.into_iter().flat_map(of).collect()
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

    /// Number of photos; `None` if some are in archives or tables, whose photos are not counted beforehand.
    pub fn count(&self) -> Option<usize> {
        self.packs.is_empty().then_some(self.files.len())
    }

    /// Reads the photos one after the other. After an error there is nothing more.
    pub fn photos(self) -> impl Iterator<Item = Result<Photo, ShardsError>> + Send + 'static {
        let Self { shard, files, packs, whole, .. } = self;
        let read =
            |File { key, place, label, .. }: File| Ok(Photo { key, path: place.text(), label, content: place.photo() });
        let files = ahead(files.into_iter(), |file| file.place.is_remote(), read);
        let packed = packs.into_iter().flat_map(|pack| -> Box<dyn Iterator<Item = _> + Send> {
            match pack.format {
                Format::Tar => Box::new(archive::photos(&pack.place)),
                Format::Parquet => Box::new(table::photos(&pack.place)),
            }
        });
        let mine = move |photo: &Result<Photo, ShardsError>| {
            whole || photo.as_ref().map_or(true, |photo| shard.holds(&photo.key))
        };
        let mut ended = false;
        files.chain(packed.filter(mine)).take_while(move |photo| !std::mem::replace(&mut ended, photo.is_err()))
    }
}

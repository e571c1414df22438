//! The files of all shards, checked and read again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::DataType;
use injerto_files::{listed, printable};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use sha2::{Digest, Sha256};

use crate::output::{ERROR, FEATURES, Header, KEY, LABEL, PATH, SHA256};
use crate::place::Source;
use crate::{About, Place, Shard, ShardsError};

/// Rows that are decoded together.
const TOGETHER: usize = 1024;

/// The file of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub place: Place,
    /// The shard.
    pub shard: Shard,
    /// Number of its photos.
    pub photos: usize,
    /// Number of those without an answer.
    pub errors: usize,
    /// Version of the program that has written it.
    pub version: String,
    /// The network.
    pub about: About,
}

/// The files of the shards in some folders.
///
/// Folders whose shards do not overlap, and are of the same number, are parts of one set: the same work, written to several places.
/// Otherwise the shards of each folder are a set of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered {
    sets: Vec<Vec<Part>>,
    faults: Vec<Fault>,
}

/// What is wrong with the files of shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Shards that have no file.
    Missing {
        /// The folders where they could be.
        folders: Vec<Place>,
        /// The shards.
        shards: Vec<Shard>,
    },
    /// A file that cannot be read.
    Damaged {
        /// The file.
        place: Place,
        /// What is wrong with it.
        reason: String,
    },
    /// One folder holds shards of several numbers.
    Mixed {
        /// The folder.
        folder: Place,
        /// Into how many shards the work was divided.
        of: Vec<u32>,
    },
    /// A file that another network has written.
    OtherModel {
        /// The file.
        place: Place,
        /// The network.
        found: String,
        /// The file of the first network.
        first: Place,
        /// The network of most files.
        expected: String,
    },
    /// A file whose name is that of another shard than the one in it.
    Renamed {
        /// The file.
        place: Place,
        /// The shard in it.
        holds: Shard,
    },
    /// Keys that stand for several photos.
    SameKeys {
        /// All of them, in their order.
        keys: Vec<String>,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { folders, shards } => {
                let names: Vec<String> = shards.iter().map(ToString::to_string).collect();
                let folders: Vec<String> = folders.iter().map(ToString::to_string).collect();
                let (folders, names) =
                    (listed(folders.iter().map(String::as_str)), listed(names.iter().map(String::as_str)));
                let one = if shards.len() == 1 { "the shard" } else { "the shards" };
                write!(f, "{folders}: {one} {names} {}", if shards.len() == 1 { "is missing" } else { "are missing" })
            }
            Self::Damaged { place, reason } => {
                write!(f, "{place}: {}; remove it and compute this shard again", printable(reason))
            }
            Self::Mixed { folder, of } => {
                let of: Vec<String> = of.iter().map(ToString::to_string).collect();
                let of = of.join(" and of ");
                write!(f, "{folder}: there are shards of {of}; remove those of the other division")
            }
            Self::OtherModel { place, found, first, expected } => write!(
                f,
                "{place} is of another network ({}) than {first} ({}); compute it again, or gather it alone",
                printable(found),
                printable(expected)
            ),
            Self::Renamed { place, holds } => {
                write!(f, "{place}: the shard in this file is {holds}; give it the name {}", holds.file())
            }
            Self::SameKeys { keys } => {
                let (they, stand) = if keys.len() == 1 { ("key", "stands") } else { ("keys", "stand") };
                let named = listed(keys.iter().map(String::as_str));
                write!(f, "{} {they} {stand} for several photos: {named}", keys.len())
            }
        }
    }
}

impl Gathered {
    /// Whether a folder holds files of shards.
    ///
    /// A place in a store is taken for one: nothing else there can be looked at.
    pub fn is_in(folder: &Place) -> bool {
        folder.is_remote() || files(folder).is_ok_and(|files| !files.is_empty())
    }

    /// Reads the metadata of the files in these folders. What is wrong with them is among the [faults](Self::faults).
    ///
    /// # Errors
    /// [`ShardsError`] if a folder cannot be read, or if there are no shards.
    pub fn open(folders: &[impl Clone + Into<Place>]) -> Result<Self, ShardsError> {
        let folders: Vec<Place> = folders.iter().cloned().map(Into::into).collect();
        let (mut faults, mut of_folder): (Vec<Fault>, Vec<(&Place, Vec<Part>)>) = (Vec::new(), Vec::new());
        let mut damaged = Vec::new();
        for folder in &folders {
            let mut parts = Vec::new();
            for (shard, place) in files(folder)? {
                match Header::read(&place) {
                    Ok((Header { about, shard: (index, of), errors, version, .. }, photos)) => {
                        match Shard::new(index, of) {
                            Ok(holds) if holds == shard => {}
                            Ok(holds) => faults.push(Fault::Renamed { place: place.clone(), holds }),
                            Err(error) => {
                                let reason = format!("its metadata is damaged ({error})");
                                faults.push(Fault::Damaged { place: place.clone(), reason });
                            }
                        }
                        parts.push(Part { place, shard, photos, errors, version, about });
                    }
                    Err(ShardsError::Output { place, reason }) => {
                        damaged.push((folder, shard));
                        faults.push(Fault::Damaged { place, reason });
                    }
                    Err(error) => return Err(error),
                }
            }
            let of: BTreeSet<u32> = parts.iter().map(|part| part.shard.of()).collect();
            if of.len() > 1 {
                faults.push(Fault::Mixed { folder: folder.clone(), of: of.into_iter().collect() });
            }
            of_folder.push((folder, parts));
        }
        if of_folder.iter().all(|(_, parts)| parts.is_empty()) && faults.is_empty() {
            return Err(ShardsError::NoShards { folders });
        }
        let all: Vec<Shard> = of_folder.iter().flat_map(|(_, parts)| parts.iter().map(|part| part.shard)).collect();
        let distinct: BTreeSet<Shard> = all.iter().copied().collect();
        let divisions: BTreeSet<u32> = all.iter().map(|shard| shard.of()).collect();
        let together = distinct.len() == all.len() && divisions.len() <= 1;
        let groups: Vec<(Vec<Place>, Vec<Part>)> = match together {
            true => vec![(folders.clone(), of_folder.into_iter().flat_map(|(_, parts)| parts).collect())],
            false => of_folder.into_iter().map(|(folder, parts)| (vec![folder.clone()], parts)).collect(),
        };
        let mut sets = Vec::new();
        for (folders, mut parts) in groups {
            parts.sort_by_key(|part| part.shard);
            let of = parts.iter().map(|part| part.shard.of()).max().unwrap_or(0);
            let there: BTreeSet<Shard> = parts.iter().map(|part| part.shard).collect();
            let broken = |shard: &Shard| damaged.iter().any(|(folder, own)| own == shard && folders.contains(folder));
            let shards = (0..of).filter_map(|index| Shard::new(index, of).ok());
            let shards: Vec<Shard> = shards.filter(|shard| !there.contains(shard) && !broken(shard)).collect();
            if !shards.is_empty() {
                faults.push(Fault::Missing { folders, shards });
            }
            sets.push(parts);
        }
        let gathered = Self { sets, faults: Vec::new() };
        faults.extend(gathered.other_models());
        Ok(Self { faults, ..gathered })
    }

    /// The files that another network has written than most.
    fn other_models(&self) -> Vec<Fault> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.parts().for_each(|part| *counts.entry(part.about.model.as_str()).or_default() += 1);
        let Some((most, _)) = counts.iter().rev().max_by_key(|(_, count)| **count) else { return Vec::new() };
        let Some(first) = self.parts().find(|part| part.about.model == **most) else { return Vec::new() };
        let name = |part: &Part| format!("{} {}", part.about.name, &part.about.model[..part.about.model.len().min(12)]);
        let others =
            self.parts().filter(|part| part.about.model != first.about.model || part.about.kind != first.about.kind);
        others
            .map(|part| Fault::OtherModel {
                place: part.place.clone(),
                found: name(part),
                first: first.place.clone(),
                expected: name(first),
            })
            .collect()
    }

    /// The files, set by set in the order of their shards.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.sets.iter().flatten()
    }

    /// What is wrong with the files.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Number of photos.
    pub fn photos(&self) -> usize {
        self.parts().map(|part| part.photos).sum()
    }

    /// Number of photos without an answer.
    pub fn errors(&self) -> usize {
        self.parts().map(|part| part.errors).sum()
    }

    /// The network that has written the first file.
    pub fn about(&self) -> Option<&About> {
        self.parts().next().map(|part| &part.about)
    }

    /// Reads all keys, and finds those that stand for several photos, or else a file whose keys cannot be read. It takes 16 bytes of
    /// memory per photo, and those of the keys that it finds.
    ///
    /// # Errors
    /// [`ShardsError`] if a file cannot be opened.
    pub fn same_keys(&self) -> Result<Option<Fault>, ShardsError> {
        match self.keys_of_several() {
            Ok(keys) if keys.is_empty() => Ok(None),
            Ok(keys) => Ok(Some(Fault::SameKeys { keys })),
            Err(ShardsError::Output { place, reason }) => Ok(Some(Fault::Damaged { place, reason })),
            Err(error) => Err(error),
        }
    }

    fn keys_of_several(&self) -> Result<Vec<String>, ShardsError> {
        let short = |key: &str| -> u128 {
            u128::from_be_bytes(Sha256::digest(key)[..16].try_into().expect("a SHA-256 has 32 bytes"))
        };
        let mut all = Vec::with_capacity(self.photos());
        self.each_key(&mut |key| all.push(short(key)))?;
        all.sort_unstable();
        let twice: HashSet<u128> = all.array_windows().filter(|[a, b]| a == b).map(|[a, _]| *a).collect();
        drop(all);
        let mut keys = BTreeSet::new();
        if !twice.is_empty() {
            self.each_key(&mut |key| {
                if twice.contains(&short(key)) {
                    keys.insert(key.to_owned());
                }
            })?;
        }
        Ok(keys.into_iter().collect())
    }

    fn each_key(&self, take: &mut dyn FnMut(&str)) -> Result<(), ShardsError> {
        for part in self.parts() {
            let mut batches = reader(&part.place, &[KEY])?;
            while let Some(batch) = next(&part.place, &mut batches)? {
                let keys = batch.column(0).as_string_opt::<i32>().ok_or_else(|| foreign(&part.place, KEY))?;
                (0..keys.len()).for_each(|row| take(keys.value(row)));
            }
        }
        Ok(())
    }

    /// All rows, part by part, read a thousand at a time. `features` says whether their features are read too.
    pub fn rows(&self, features: bool) -> Rows<'_> {
        Rows { parts: self.parts().collect::<Vec<_>>().into_iter(), features, now: None, rows: Vec::new().into_iter() }
    }
}

/// The files of shards in a folder, in their order.
fn files(folder: &Place) -> Result<Vec<(Shard, Place)>, ShardsError> {
    let entries = folder.entries(false)?.into_iter();
    let mut files: Vec<(Shard, Place)> =
        entries.filter_map(|entry| Some((Shard::of_file(&entry.name)?, folder.join(&entry.name)))).collect();
    files.sort();
    Ok(files)
}

/// A row of a shard's file: one photo.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The photo's key.
    pub key: String,
    /// Where it was found.
    pub path: String,
    /// SHA-256 of its file; `None` if it could not be read.
    pub sha256: Option<[u8; 32]>,
    /// Its label.
    pub label: Option<String>,
    /// Values of the layer; nothing if there is no answer, or if they were not asked for.
    pub features: Vec<f32>,
    /// Why there is no answer.
    pub error: Option<String>,
}

/// Rows of all files, one after the other. After an error there is nothing more.
pub struct Rows<'g> {
    parts: std::vec::IntoIter<&'g Part>,
    features: bool,
    now: Option<(&'g Part, ParquetRecordBatchReader)>,
    rows: std::vec::IntoIter<Row>,
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, ShardsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.rows.next() {
                return Some(Ok(row));
            }
            let found = match &mut self.now {
                None => {
                    let part = self.parts.next()?;
                    let columns: &[&str] = match self.features {
                        true => &[KEY, PATH, SHA256, LABEL, ERROR, FEATURES],
                        false => &[KEY, PATH, SHA256, LABEL, ERROR],
                    };
                    reader(&part.place, columns).map(|reader| self.now = Some((part, reader)))
                }
                Some((part, reader)) => match next(&part.place, reader) {
                    Ok(None) => {
                        self.now = None;
                        Ok(())
                    }
                    Ok(Some(batch)) => rows(&part.place, &batch).map(|rows| self.rows = rows.into_iter()),
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = found {
                self.parts = Vec::new().into_iter();
                self.now = None;
                return Some(Err(error));
            }
        }
    }
}

fn foreign(path: &Place, column: &str) -> ShardsError {
    ShardsError::output(path, format!("its column '{column}' is missing, or not as a shard writes it"))
}

/// The next rows of a file.
fn next(place: &Place, reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>, ShardsError> {
    match injerto_files::catch_quietly(|| reader.next()) {
        Some(batch) => batch.transpose().map_err(|error| damaged(place, &error)),
        None => Err(damaged(place, &"it cannot be decoded")),
    }
}

fn damaged(place: &Place, reason: &dyn fmt::Display) -> ShardsError {
    ShardsError::output(place, format!("it is damaged ({reason})"))
}

fn reader(place: &Place, columns: &[&str]) -> Result<ParquetRecordBatchReader, ShardsError> {
    let file = Source::open(place)?;
    let damaged = |reason: &dyn fmt::Display| damaged(place, reason);
    let builder = injerto_files::catch_quietly(|| ParquetRecordBatchReaderBuilder::try_new(file))
        .ok_or_else(|| damaged(&"its metadata"))?
        .map_err(|error| damaged(&error))?;
    let wanted = builder.schema().fields().iter().enumerate();
    let wanted: Vec<usize> =
        wanted.filter(|(_, field)| columns.contains(&field.name().as_str())).map(|(at, _)| at).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    builder.with_projection(mask).with_batch_size(TOGETHER).build().map_err(|error| damaged(&error))
}

fn rows(path: &Place, batch: &RecordBatch) -> Result<Vec<Row>, ShardsError> {
    let texts = |name: &str| -> Result<Vec<Option<String>>, ShardsError> {
        let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        Ok(column.ok_or_else(|| foreign(path, name))?.iter().map(|text| text.map(str::to_owned)).collect())
    };
    let (keys, paths, hashes) = (texts(KEY)?, texts(PATH)?, texts(SHA256)?);
    let (labels, errors) = (texts(LABEL)?, texts(ERROR)?);
    let mut features = vec![Vec::new(); batch.num_rows()];
    if let Some(column) = batch.column_by_name(FEATURES) {
        let lists = column.as_fixed_size_list_opt().ok_or_else(|| foreign(path, FEATURES))?;
        // Where there is no answer, the numbers mean nothing.
        for (row, values) in features.iter_mut().enumerate().filter(|(row, _)| errors[*row].is_none()) {
            let list = lists.value(row);
            *values = match list.data_type() {
                DataType::Float16 => list.as_primitive::<Float16Type>().values().iter().map(|x| x.to_f32()).collect(),
                DataType::Float32 => list.as_primitive::<Float32Type>().values().to_vec(),
                _ => return Err(foreign(path, FEATURES)),
            };
        }
    }
    let mut all = Vec::with_capacity(batch.num_rows());
    let columns = keys.into_iter().zip(paths).zip(hashes).zip(labels).zip(errors).zip(features);
    for (((((key, path_of), hash), label), error), features) in columns {
        let sha256 = hash.as_deref().map(|text| digest(text).ok_or_else(|| foreign(path, SHA256))).transpose()?;
        let (key, path) = key.zip(path_of).ok_or_else(|| foreign(path, KEY))?;
        all.push(Row { key, path, sha256, label, features, error });
    }
    Ok(all)
}

/// The 32 bytes that 64 hexadecimal digits stand for.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (digits.len() == 64).then_some(bytes)
}

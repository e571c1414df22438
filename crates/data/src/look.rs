//! A look at every file before training.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use injerto_files::hex;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::{Examined, examine};
use crate::folder::Folder;
use crate::{DataError, Dataset, OnCorrupt, Origin, Skipped, read};

/// What was seen of the files of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// Number of files.
    pub files: usize,
    /// Files that are no readable images, in the order of the datasets.
    pub unreadable: Vec<Skipped>,
    /// Photos whose EXIF data say that they were taken with the camera turned.
    pub turned: usize,
}

/// Where verdicts on files are kept, so that the next look at them costs nothing.
///
/// A verdict belongs to a file's path below the root, its size, and its times to the nanosecond (and its number, on Unix):
/// whoever writes to a file changes one of them. Files that were written within the last two seconds are looked at again,
/// since a clock may not tell two writes apart.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    root: PathBuf,
}

/// Raised when a file is judged otherwise than before.
const VERSION: u32 = 1;
const FRESH: Duration = Duration::from_secs(2);

type Verdict = Result<Examined, String>;
type Key = [u8; 16];

impl Memory {
    /// For the images of `root`, in a folder of the user's caches.
    pub fn new(cache: &Path, root: &Path) -> Self {
        let whole = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let name = hex(&Sha256::digest(whole.as_os_str().as_encoded_bytes())[..16]);
        Self { path: cache.join(name), root: root.to_owned() }
    }

    /// What a verdict on a file is kept under; `None` for a file that is not there or was written to just now.
    fn key(&self, file: &Path, now: SystemTime) -> Option<Key> {
        let metadata = std::fs::metadata(file).ok()?;
        let modified = metadata.modified().ok()?;
        let (changed, number) = changed(&metadata);
        let latest = modified.max(UNIX_EPOCH + changed);
        if now.duration_since(latest).map_or(true, |age| age < FRESH) {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update(VERSION.to_le_bytes());
        hash.update(file.strip_prefix(&self.root).unwrap_or(file).as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(metadata.len().to_le_bytes());
        hash.update(modified.duration_since(UNIX_EPOCH).ok()?.as_nanos().to_le_bytes());
        hash.update(changed.as_nanos().to_le_bytes());
        hash.update(number.to_le_bytes());
        hash.finalize()[..16].try_into().ok()
    }

    /// Verdicts that are kept; none of a file that is not as it was written.
    fn read(&self) -> HashMap<Key, Verdict> {
        let Ok(text) = std::fs::read_to_string(&self.path) else { return HashMap::new() };
        let Some((sum, lines)) = text.split_once('\n') else { return HashMap::new() };
        if sum != hex(Sha256::digest(lines.as_bytes())) {
            return HashMap::new();
        }
        let verdict = |line: &str| {
            let (key, said) = line.split_once(' ')?;
            let key = (0..16)
                .map(|at| u8::from_str_radix(key.get(at * 2..at * 2 + 2)?, 16).ok())
                .collect::<Option<Vec<_>>>()?;
            let verdict = match said.split_once(' ') {
                Some(("no", reason)) => Err(reason.to_owned()),
                _ => Ok(Examined { turned: said == "turned" }),
            };
            Some((key.try_into().ok()?, verdict))
        };
        lines.lines().filter_map(verdict).collect()
    }

    /// Keeps these verdicts, and no others. That they cannot be kept costs the next look, and nothing else.
    fn write(&self, verdicts: &[(Key, &Verdict)]) {
        let mut lines = String::new();
        for (key, verdict) in verdicts {
            let said = match verdict {
                Ok(Examined { turned: true }) => "turned".to_owned(),
                Ok(Examined { turned: false }) => "yes".to_owned(),
                Err(reason) => format!("no {}", reason.replace(['\n', '\r'], " ")),
            };
            writeln!(lines, "{} {said}", hex(key)).expect("a string takes everything");
        }
        let text = format!("{}\n{lines}", hex(Sha256::digest(lines.as_bytes())));
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let _ = std::fs::create_dir_all(folder).and_then(|()| injerto_files::write(&self.path, text.as_bytes()));
    }
}

/// A file of verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
}

/// The files of verdicts in a folder of the user's caches, the newest first; none where there is no such folder.
///
/// # Errors
/// A folder that cannot be listed.
pub fn kept(cache: &Path) -> std::io::Result<Vec<Kept>> {
    let entries = match std::fs::read_dir(cache) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            kept.push(Kept { path: entry.path(), bytes: metadata.len(), modified: metadata.modified()? });
        }
    }
    kept.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.path.cmp(&b.path)));
    Ok(kept)
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> (Duration, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    (Duration::new(seconds, u32::try_from(metadata.ctime_nsec()).unwrap_or(0)), metadata.ino())
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> (Duration, u64) {
    (Duration::ZERO, 0)
}

/// Looks at every file, by all cores: whether it can be decoded, and how the camera was held. Of ordinary JPEGs no pixels
/// are made, so that this takes a third of the time of decoding them; with a `memory`, files that were seen before cost
/// nothing. `progress` is told how many files are done.
pub fn look(files: &[&PathBuf], memory: Option<&Memory>, progress: &(dyn Fn(usize) + Sync)) -> Looked {
    let kept = memory.map(Memory::read).unwrap_or_default();
    let (now, done) = (SystemTime::now(), AtomicUsize::new(0));
    let verdicts: Vec<(Option<Key>, Verdict, bool)> = files
        .par_iter()
        .with_max_len(1)
        .map(|file| {
            let key = memory.and_then(|memory| memory.key(file, now));
            let known = key.and_then(|key| kept.get(&key)).cloned();
            let is_new = known.is_none();
            let verdict = known.unwrap_or_else(|| read(file).and_then(|bytes| examine(&bytes)));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            (key, verdict, is_new)
        })
        .collect();
    if let Some(memory) = memory.filter(|_| verdicts.iter().any(|(key, _, is_new)| key.is_some() && *is_new)) {
        let lines: Vec<_> = verdicts.iter().filter_map(|(key, verdict, _)| Some(((*key)?, verdict))).collect();
        memory.write(&lines);
    }
    let mut looked = Looked { files: files.len(), ..Looked::default() };
    for (&file, (_, verdict, _)) in files.iter().zip(verdicts) {
        match verdict {
            Ok(Examined { turned }) => looked.turned += usize::from(turned),
            Err(reason) => looked.unreadable.push(Skipped { path: file.clone(), reason }),
        }
    }
    looked
}

impl Looked {
    /// Itself, if it is so that work can go on.
    ///
    /// # Errors
    /// [`DataError::CorruptFiles`] with [`OnCorrupt::Error`], all of them together.
    pub fn accepted(self, on_corrupt: OnCorrupt) -> Result<Self, DataError> {
        match on_corrupt == OnCorrupt::Error && !self.unreadable.is_empty() {
            true => Err(DataError::CorruptFiles { files: self.unreadable, total: self.files }),
            false => Ok(self),
        }
    }
}

impl Folder {
    /// Takes a [`look`] at every file. Then [`OnCorrupt::Skip`] takes out of the datasets what cannot be read.
    ///
    /// # Errors
    /// [`DataError::CorruptFiles`] with [`OnCorrupt::Error`], all of them together; [`DataError::NoneReadable`] for classes, or a half,
    /// of which nothing is left.
    pub fn look(
        &mut self,
        on_corrupt: OnCorrupt,
        memory: Option<&Memory>,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Looked, DataError> {
        let datasets = [Some(&self.train), self.validation.as_ref()];
        let files: Vec<&PathBuf> = datasets.into_iter().flatten().flat_map(files).collect();
        let looked = look(&files, memory, progress).accepted(on_corrupt)?;
        if !looked.unreadable.is_empty() {
            self.leave_out(&looked.unreadable)?;
        }
        Ok(looked)
    }

    fn leave_out(&mut self, unreadable: &[Skipped]) -> Result<(), DataError> {
        let bad: HashSet<&Path> = unreadable.iter().map(|skipped| skipped.path.as_path()).collect();
        let mut left = vec![0; self.train.classes.len()];
        let mut gone = Vec::new();
        for dataset in [Some(&mut self.train), self.validation.as_mut()].into_iter().flatten() {
            dataset
                .samples
                .retain(|sample| !matches!(&sample.origin, Origin::File(path) if bad.contains(path.as_path())));
            left.iter_mut().zip(dataset.counts()).for_each(|(left, count)| *left += count);
            if dataset.samples.is_empty() {
                gone.clone_from(&dataset.classes);
            }
        }
        if gone.is_empty() {
            let empty = self.train.classes.iter().zip(&left).filter(|(_, left)| **left == 0);
            gone = empty.map(|(class, _)| class.clone()).collect();
        }
        match gone.is_empty() {
            true => Ok(()),
            false => Err(DataError::NoneReadable { classes: gone, files: unreadable.to_vec() }),
        }
    }
}

fn files(dataset: &Dataset) -> impl Iterator<Item = &PathBuf> {
    dataset.samples.iter().filter_map(|sample| match &sample.origin {
        Origin::File(path) => Some(path),
        Origin::Drawn(_) => None,
    })
}

//! A look at every file before training.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use injerto_files::hex;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::{Examined, Format, examine};
use crate::folder::Folder;
use crate::stamp::{Seen, Stamp};
use crate::{DataError, Fingerprint, OnCorrupt, Origin, Skipped, Unread, read};

/// The findings about the files of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// Number of files.
    pub files: usize,
    /// Files that are no readable images, in the order of the datasets.
    pub unreadable: Vec<Skipped>,
    /// Photos whose EXIF data say that they were taken with the camera turned.
    pub turned: usize,
}

/// The file in which verdicts on the files of a folder are kept, so that the next look at them costs nothing.
///
/// A verdict belongs to a file's path below the root and to the file's size and times, one of which changes when the file is written to.
/// Files that were written within the last two seconds are looked at again, since a clock may not tell two writes apart.
#[derive(Debug)]
pub struct Verdicts {
    path: PathBuf,
    root: PathBuf,
}

/// Raised when a file is judged otherwise than before, or more is said of it.
const VERSION: u32 = 4;

/// What was seen of an image, and what the file's content is known by. Of any other file, what is wrong.
type Verdict = Result<(Examined, Fingerprint), String>;
type Key = [u8; 16];

impl Verdicts {
    /// For the images of `root`, in a folder of the user's caches.
    pub fn new(cache: &Path, root: &Path) -> Self {
        let whole = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let name = hex(&Sha256::digest(whole.as_os_str().as_encoded_bytes())[..16]);
        Self { path: cache.join(name), root: root.to_owned() }
    }

    /// What a verdict on a file in this state is kept under.
    fn key(&self, file: &Path, stamp: &Stamp) -> Key {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_le_bytes());
        hash.update(file.strip_prefix(&self.root).unwrap_or(file).as_os_str().as_encoded_bytes());
        hash.update([0]);
        stamp.update(&mut hash);
        hash.finalize()[..16].try_into().expect("SHA-256 has 32 bytes")
    }

    /// The verdicts that are kept; none where the file is damaged.
    fn read(&self) -> HashMap<Key, Verdict> {
        let Ok(text) = std::fs::read_to_string(&self.path) else { return HashMap::new() };
        let Some((sum, lines)) = text.split_once('\n') else { return HashMap::new() };
        if sum != hex(Sha256::digest(lines.as_bytes())) {
            return HashMap::new();
        }
        let verdict = |line: &str| {
            let (key, said) = line.split_once(' ')?;
            let (word, rest) = said.split_once(' ')?;
            let verdict = match word {
                "no" => Err(rest.to_owned()),
                word => {
                    let mut fields = rest.split(' ');
                    let mut number = || fields.next()?.parse().ok();
                    let (width, height, name) = (number()?, number()?, fields.next()?);
                    let format = Format::ALL.iter().copied().find(|format| format.name() == name)?;
                    Ok((Examined { format, width, height, turned: word == "turned" }, unhex(fields.next()?)?))
                }
            };
            Some((unhex(key)?, verdict))
        };
        lines.lines().filter_map(verdict).collect()
    }

    /// Keeps these verdicts, and no others. If they cannot be kept, only the next look takes longer.
    fn write(&self, verdicts: &[(Key, &Verdict)]) {
        let mut lines = String::new();
        for (key, verdict) in verdicts {
            let said = match verdict {
                Ok((Examined { format, width, height, turned }, content)) => {
                    let word = if *turned { "turned" } else { "yes" };
                    format!("{word} {width} {height} {} {}", format.name(), hex(content))
                }
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
pub struct VerdictFile {
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
pub fn verdict_files(cache: &Path) -> std::io::Result<Vec<VerdictFile>> {
    let entries = match std::fs::read_dir(cache) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            files.push(VerdictFile { path: entry.path(), bytes: metadata.len(), modified: metadata.modified()? });
        }
    }
    files.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.path.cmp(&b.path)));
    Ok(files)
}

/// The bytes that [`hex`] wrote; `None` for any other text.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let byte = |at: usize| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok();
    (text.len() == N * 2).then_some(())?;
    (0..N).map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// Looks at every file, by all cores: whether it can be decoded, and how the camera was held. Of ordinary JPEGs no pixels
/// are made, so that this takes a third of the time of decoding them; with `verdicts`, files that were seen before cost
/// nothing. `progress` is told how many files are done.
///
/// # Errors
/// [`DataError::Shortage`], which says nothing of the files.
pub fn look(
    files: &[&PathBuf],
    verdicts: Option<&Verdicts>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Looked, DataError> {
    Ok(summary(files, &judged(files, verdicts, progress)?))
}

/// What was seen of a file, and the file's state before that where it will tell a later write.
struct Judged {
    stamp: Option<Stamp>,
    verdict: Verdict,
    is_new: bool,
}

fn judged(
    files: &[&PathBuf],
    verdicts: Option<&Verdicts>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Judged>, DataError> {
    let kept = verdicts.map(Verdicts::read).unwrap_or_default();
    let (now, done) = (SystemTime::now(), AtomicUsize::new(0));
    let judge = |file: &&PathBuf| {
        let stamp = Stamp::settled(file, now);
        let known = verdicts.zip(stamp).and_then(|(verdicts, stamp)| kept.get(&verdicts.key(file, &stamp)));
        let judged = match known.cloned() {
            Some(verdict) => Judged { stamp, verdict, is_new: false },
            None => match read(file) {
                Ok(bytes) => {
                    let verdict = examine(&bytes).map(|examined| (examined, Sha256::digest(&*bytes).into()));
                    Judged { stamp, verdict, is_new: true }
                }
                // That a disk does not give a file now is nothing to keep: the file is the same when the disk is back.
                Err(Unread::File(reason)) => Judged { stamp: None, verdict: Err(reason), is_new: true },
                Err(shortage) => return Err(shortage.of(PathBuf::clone(file).into())),
            },
        };
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(judged)
    };
    let judged: Vec<Judged> = files.par_iter().with_max_len(1).map(judge).collect::<Result<_, DataError>>()?;
    if let Some(verdicts) = verdicts.filter(|_| judged.iter().any(|judged| judged.is_new && judged.stamp.is_some())) {
        let mut lines = Vec::new();
        for (file, Judged { stamp, verdict, .. }) in files.iter().zip(&judged) {
            lines.extend(stamp.as_ref().map(|stamp| (verdicts.key(file, stamp), verdict)));
        }
        verdicts.write(&lines);
    }
    Ok(judged)
}

fn summary(files: &[&PathBuf], judged: &[Judged]) -> Looked {
    let mut looked = Looked { files: files.len(), ..Looked::default() };
    for (&file, Judged { verdict, .. }) in files.iter().zip(judged) {
        match verdict {
            Ok((examined, _)) => looked.turned += usize::from(examined.turned),
            Err(reason) => looked.unreadable.push(Skipped { origin: file.clone().into(), reason: reason.clone() }),
        }
    }
    looked
}

impl Looked {
    /// Itself, unless a file is unreadable and that is an error.
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
    /// Takes a [`look`] at every file. Then [`OnCorrupt::Skip`] takes out of the datasets what cannot be read. The samples
    /// remember what their files' content is known by ([`Sample::fingerprint`](crate::Sample::fingerprint)).
    ///
    /// # Errors
    /// [`DataError::CorruptFiles`] with [`OnCorrupt::Error`], all of them together; [`DataError::NoneReadable`] for classes, or a half,
    /// of which nothing is left; [`DataError::Shortage`].
    pub fn look(
        &mut self,
        on_corrupt: OnCorrupt,
        verdicts: Option<&Verdicts>,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Looked, DataError> {
        let parts = std::iter::once(&mut self.train).chain(&mut self.validation).chain(&mut self.test);
        let samples = parts.flat_map(|part| &mut part.samples);
        let (files, seen): (Vec<_>, Vec<_>) = samples
            .filter_map(|sample| match &sample.origin {
                Origin::File(path) => Some((path, &mut sample.seen)),
                _ => None,
            })
            .unzip();
        let judged = judged(&files, verdicts, progress)?;
        let looked = summary(&files, &judged).accepted(on_corrupt)?;
        for (seen, Judged { stamp, verdict, .. }) in seen.into_iter().zip(judged) {
            *seen = stamp.zip(verdict.ok()).map(|(stamp, (examined, content))| Seen { stamp, content, examined });
        }
        if !looked.unreadable.is_empty() {
            self.leave_out(&looked.unreadable)?;
        }
        Ok(looked)
    }

    fn leave_out(&mut self, unreadable: &[Skipped]) -> Result<(), DataError> {
        let bad: HashSet<&Path> = unreadable.iter().filter_map(|skipped| skipped.origin.path()).collect();
        let mut left = vec![0; self.train.classes.len()];
        let mut gone = Vec::new();
        for dataset in std::iter::once(&mut self.train).chain(&mut self.validation).chain(&mut self.test) {
            dataset.samples.retain(|sample| sample.origin.path().is_none_or(|path| !bad.contains(path)));
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

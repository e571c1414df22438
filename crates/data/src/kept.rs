//! Decoded photos on disk, for epochs and runs that need them again.
//!
//! For each photo, the values that resizing reads are kept, as the 8-bit values that the decoder made, so that the values in a batch are
//! those of a photo that is decoded anew, bit for bit. If these are more than the resized values (as with `area`, which reads every pixel),
//! the resized values are kept instead. A photo is known by its content, and a folder belongs to everything but the photo on which pixels
//! depend ([`LoaderOptions::pixels_key`](crate::LoaderOptions::pixels_key)).
//!
//! ```text
//! magic  row …       row: fingerprint (32 bytes)  height, width, length (u32)  CRC-32 of all this and the values  values
//! ```
//!
//! Numbers are little-endian; a height of 0 says that values are `f32`. Each run writes to a file of its own, one row at a time, and
//! never goes back, so that runs do not disturb each other, and a run that is killed leaves all rows but the last. A row that is cut
//! short or damaged is not read, and its photo is decoded. Where a row cannot be written, the run goes on without more rows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use injerto_files::{hex, read_at, shown};
use sha2::{Digest, Sha256};

use crate::Fingerprint;

const MAGIC: &[u8; 8] = b"INJPIX01";
const HEAD: usize = 32 + 3 * 4 + 4;
const EXTENSION: &str = "pixels";

/// Raised when a photo is decoded otherwise than before.
const VERSION: u32 = 1;

/// A folder of decoded photos that all runs share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPhotos {
    /// The folder, in the user's cache.
    pub folder: PathBuf,
    /// Limit in bytes for all that the folder holds. When a run starts and there is more, the files that were not written to for the
    /// longest time are removed; when the limit is reached in a run, it keeps no more.
    pub bytes: u64,
}

/// What was read from a [`KeptPhotos`] and written to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptCounts {
    /// Photos that were read and not decoded.
    pub read: u64,
    /// Photos that were decoded and kept.
    pub written: u64,
    /// Why no more are kept; `None` if there is nothing against it.
    pub stopped: Option<String>,
}

/// What is kept of a photo.
pub(crate) enum Row<'a> {
    /// What resizing looks at of an image of this height and width.
    Seen([usize; 2], &'a [u8]),
    /// The values in a batch.
    Values(&'a [f32]),
}

/// Where a row is.
#[derive(Debug, Clone)]
struct Place {
    file: Arc<File>,
    /// Where its values begin.
    at: u64,
    size: [u32; 2],
    length: u32,
    sum: u32,
}

#[derive(Debug)]
struct Writer {
    /// The file, once something was written.
    file: Option<(Arc<File>, PathBuf)>,
    end: u64,
    left: u64,
}

/// The kept photos of one kind of pixels.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    rows: RwLock<HashMap<Fingerprint, Place>>,
    writer: Mutex<Writer>,
    read: AtomicU64,
    written: AtomicU64,
    stopped: Mutex<Option<String>>,
}

/// A file of kept photos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was written to last.
    pub modified: SystemTime,
}

/// All files of kept photos in a folder of the user's cache, the newest first; none where there is no such folder.
pub fn kept_files(folder: &Path) -> Vec<KeptFile> {
    let listed = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<KeptFile> = listed(folder)
        .flat_map(|folder| listed(&folder).collect::<Vec<_>>())
        .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
        .filter_map(|path| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some(KeptFile { path, bytes: metadata.len(), modified: metadata.modified().unwrap_or(UNIX_EPOCH) })
        })
        .collect();
    files.sort_by(|a, b| (b.modified, &b.path).cmp(&(a.modified, &a.path)));
    files
}

impl Kept {
    /// What is kept of photos whose pixels depend on `key`. Nothing is created before there is something to keep.
    pub fn open(kept: &KeptPhotos, key: &str) -> Self {
        let name = hex(&Sha256::digest(format!("{VERSION} {key}"))[..16]);
        let folder = kept.folder.join(name);
        let files = kept_files(&kept.folder);
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        let mut rows = HashMap::new();
        for KeptFile { path, bytes, .. } in files.into_iter().rev() {
            if path.parent() == Some(&folder) {
                // A file that another run removes at this moment holds nothing.
                let _ = read_heads(&path, &mut rows);
            } else if total > kept.bytes && std::fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
        let writer = Writer { file: None, end: 0, left: kept.bytes.saturating_sub(total) };
        let (read, written) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { folder, rows: RwLock::new(rows), writer: Mutex::new(writer), read, written, stopped: Mutex::new(None) }
    }

    /// Gives `take` the row of a photo, and returns what it says; `None` if there is no row. A damaged row is forgotten.
    pub fn read(&self, photo: &Fingerprint, take: impl FnOnce([usize; 2], &[u8]) -> bool) -> bool {
        let place = self.rows.read().unwrap_or_else(PoisonError::into_inner).get(photo).cloned();
        let Some(place) = place else { return false };
        let mut values = vec![0; place.length as usize];
        let whole = read_at(&place.file, &mut values, place.at).is_ok()
            && sum(&head(photo, place.size, place.length), &values) == place.sum
            && take(place.size.map(|side| side as usize), &values);
        match whole {
            true => self.read.fetch_add(1, Ordering::Relaxed),
            false => {
                self.rows.write().unwrap_or_else(PoisonError::into_inner).remove(photo);
                0
            }
        };
        whole
    }

    /// Keeps a photo, if there is room and nothing has failed so far.
    pub fn write(&self, photo: &Fingerprint, row: &Row<'_>) {
        let (size, values) = match row {
            Row::Seen(size, bytes) => (size.map(|side| side as u32), bytes.to_vec()),
            Row::Values(values) => ([0, 0], values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        };
        let Ok(length) = u32::try_from(values.len()) else { return };
        let head = head(photo, size, length);
        let sum = sum(&head, &values);
        let bytes = [&head[..], &sum.to_le_bytes(), &values].concat();
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.is_some() {
            return;
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match writer.append(&self.folder, &bytes) {
            Ok(None) => *stopped = Some("the limit for kept photos is reached".to_owned()),
            Ok(Some((file, at))) => {
                let place = Place { file, at: at + HEAD as u64, size, length, sum };
                self.rows.write().unwrap_or_else(PoisonError::into_inner).insert(*photo, place);
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => *stopped = Some(format!("{}: {error}", shown(&self.folder))),
        }
    }

    pub fn counts(&self) -> KeptCounts {
        KeptCounts {
            read: self.read.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
            stopped: self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Writer {
    /// Writes a row, and returns the file and where the row begins in it; `None` where there is no room for it.
    fn append(&mut self, folder: &Path, row: &[u8]) -> io::Result<Option<(Arc<File>, u64)>> {
        let Some(left) = self.left.checked_sub(row.len() as u64) else { return Ok(None) };
        let file = match &self.file {
            Some((file, _)) => file.clone(),
            None => {
                std::fs::create_dir_all(folder)?;
                let (file, path) = own_file(folder)?;
                (&file).write_all(MAGIC)?;
                self.end = MAGIC.len() as u64;
                let file = Arc::new(file);
                self.file = Some((file.clone(), path));
                file
            }
        };
        if let Err(error) = (&*file).write_all(row) {
            // What is left of the row is no row.
            let _ = file.set_len(self.end);
            return Err(error);
        }
        let at = self.end;
        (self.end, self.left) = (at + row.len() as u64, left);
        Ok(Some((file, at)))
    }
}

/// A new file that no other run writes to.
fn own_file(folder: &Path) -> io::Result<(File, PathBuf)> {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = folder.join(format!("{}-{now}.{EXTENSION}", std::process::id()));
        match File::options().read(true).append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn head(photo: &Fingerprint, size: [u32; 2], length: u32) -> [u8; HEAD - 4] {
    let mut head = [0; HEAD - 4];
    head[..32].copy_from_slice(photo);
    let numbers = head[32..].as_chunks_mut::<4>().0;
    numbers.iter_mut().zip([size[0], size[1], length]).for_each(|(bytes, number)| *bytes = number.to_le_bytes());
    head
}

fn sum(head: &[u8], values: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(values);
    hasher.finalize()
}

/// Finds the rows of a file, up to the first that is not whole. Values are checked when they are read.
fn read_heads(path: &Path, rows: &mut HashMap<Fingerprint, Place>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Ok(());
    }
    let file = Arc::new(file);
    let mut at = MAGIC.len() as u64;
    let mut head = [0; HEAD];
    while at + HEAD as u64 <= length {
        read_at(&file, &mut head, at)?;
        let (photo, numbers) = head.split_at(32);
        let number = |at: usize| u32::from_le_bytes(numbers.as_chunks::<4>().0[at]);
        let values = at + HEAD as u64;
        at = values + u64::from(number(2));
        if at > length {
            break;
        }
        let photo = photo.try_into().expect("a fingerprint has 32 bytes");
        let (size, length, sum) = ([number(0), number(1)], number(2), number(3));
        rows.insert(photo, Place { file: file.clone(), at: values, size, length, sum });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::decode::{Examined, Format};
    use crate::resize::Interpolation;
    use crate::stamp::{Seen, Stamp};
    use crate::{Dataset, Loader, LoaderOptions, Sample};

    const PHOTOS: usize = 5;

    /// Photos of 40×30 that a look has read.
    fn photos(folder: &Path) -> Dataset {
        let sample = |at: usize| {
            let path = folder.join(format!("{at}.png"));
            let pixel =
                |x: u32, y: u32| image::Rgb([(x * 6) as u8, (y * 8) as u8, (at * 40 + (x * y % 7) as usize) as u8]);
            image::RgbImage::from_fn(40, 30, pixel).save(&path).expect("written");
            let content = Sha256::digest(std::fs::read(&path).expect("it is there")).into();
            let examined = Examined { format: Format::Png, width: 40, height: 30, turned: false };
            let stamp = Stamp::of(&path).expect("it is there");
            Sample { seen: Some(Seen { stamp, content, examined }), ..Sample::new(path.as_path(), 0) }
        };
        Dataset { classes: vec!["a".to_owned()], samples: (0..PHOTOS).map(sample).collect() }
    }

    fn options(folder: &Path, bytes: u64) -> LoaderOptions {
        let kept = Some(KeptPhotos { folder: folder.join("kept"), bytes });
        LoaderOptions { kept, ..LoaderOptions::new([12, 9], 2) }
    }

    /// The pixels of an epoch, and what came of keeping.
    fn epoch(dataset: &Dataset, options: LoaderOptions) -> (Vec<f32>, KeptCounts) {
        let loader = Loader::new(dataset.clone(), options);
        let batches = loader.augmented(&loader.order(0), 0);
        let pixels = batches.flat_map(|batch| batch.expect("a batch").pixels).collect();
        (pixels, loader.kept())
    }

    fn plain(dataset: &Dataset, options: &LoaderOptions) -> Vec<f32> {
        epoch(dataset, LoaderOptions { kept: None, ..options.clone() }).0
    }

    fn counts(read: usize, written: usize) -> KeptCounts {
        KeptCounts { read: read as u64, written: written as u64, stopped: None }
    }

    #[test]
    fn kept_photos_have_the_pixels_of_decoded_ones_and_are_not_decoded_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = photos(folder.path());
        for interpolation in
            [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Bicubic, Interpolation::Area]
        {
            let options = LoaderOptions { interpolation, ..options(folder.path(), 1 << 20) };
            let expected = plain(&dataset, &options);
            assert_eq!(epoch(&dataset, options.clone()), (expected.clone(), counts(0, PHOTOS)), "{interpolation:?}");
            assert_eq!(epoch(&dataset, options.clone()), (expected, counts(PHOTOS, 0)), "{interpolation:?}");
            // Other pixels are kept in another folder.
            let other = LoaderOptions { crop_to_aspect_ratio: true, ..options };
            assert_eq!(epoch(&dataset, other.clone()).0, plain(&dataset, &other));
        }
    }

    #[test]
    fn a_photo_that_is_read_once_is_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = photos(folder.path());
        let loader = Loader::new(dataset, options(folder.path(), 1 << 20));
        let order = loader.order(0);
        for (pass, expected) in [counts(0, 0), counts(0, PHOTOS), counts(PHOTOS, PHOTOS)].into_iter().enumerate() {
            assert_eq!(loader.batches(&order).count(), 3);
            assert_eq!(loader.kept(), expected, "pass {pass}");
        }
    }

    #[test]
    fn a_photo_that_was_written_to_is_decoded() {
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = photos(folder.path());
        let options = options(folder.path(), 1 << 20);
        epoch(&dataset, options.clone());
        let other = image::RgbImage::from_pixel(40, 30, image::Rgb([9, 9, 9]));
        other.save(dataset.samples[1].origin.path().expect("a file")).expect("written");
        let (pixels, kept) = epoch(&dataset, options.clone());
        assert_eq!((pixels, kept), (plain(&dataset, &options), counts(PHOTOS - 1, 0)));
    }

    /// The only file of kept photos.
    fn only(folder: &Path) -> PathBuf {
        let mut files = kept_files(&folder.join("kept"));
        assert_eq!(files.len(), 1);
        files.remove(0).path
    }

    #[test]
    fn a_run_that_was_killed_leaves_all_rows_but_the_one_that_it_was_writing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (dataset, options) = (photos(folder.path()), options(folder.path(), 1 << 20));
        let (expected, _) = epoch(&dataset, options.clone());
        let path = only(folder.path());
        let whole = std::fs::read(&path).expect("it is there");
        let row = (whole.len() - MAGIC.len()) / PHOTOS;
        for (length, rows) in [(0, 0), (4, 0), (MAGIC.len() + row, 1), (whole.len() - 1, PHOTOS - 1)] {
            std::fs::write(&path, &whole[..length]).expect("written");
            let kept = Kept::open(options.kept.as_ref().expect("it is set"), &options.pixels_key());
            assert_eq!(kept.rows.into_inner().expect("no thread has it").len(), rows, "{length} bytes");
        }
        assert_eq!(epoch(&dataset, options), (expected, counts(PHOTOS - 1, 1)));
    }

    #[test]
    fn a_damaged_row_is_decoded_and_kept_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (dataset, options) = (photos(folder.path()), options(folder.path(), 1 << 20));
        let (expected, _) = epoch(&dataset, options.clone());
        let path = only(folder.path());
        let mut bytes = std::fs::read(&path).expect("it is there");
        // In the values of the first row, and in its size.
        for at in [MAGIC.len() + HEAD + 5, MAGIC.len() + 33] {
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).expect("written");
            assert_eq!(epoch(&dataset, options.clone()), (expected.clone(), counts(PHOTOS - 1, 1)));
            kept_files(&folder.path().join("kept")).iter().filter(|file| file.path != path).for_each(|file| {
                std::fs::remove_file(&file.path).expect("removed");
            });
        }
    }

    #[test]
    fn runs_that_write_at_the_same_time_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let (dataset, options) = (photos(folder.path()), options(folder.path(), 1 << 20));
        let expected = plain(&dataset, &options);
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| epoch(&dataset, options.clone()).0)).collect();
            runs.into_iter().for_each(|run| assert_eq!(run.join().expect("it ends"), expected));
        });
        assert_eq!(epoch(&dataset, options), (expected, counts(PHOTOS, 0)));
    }

    #[test]
    fn where_nothing_can_be_kept_the_run_goes_on_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = photos(folder.path());
        let full = options(folder.path(), 100);
        let expected = plain(&dataset, &full);
        let (pixels, kept) = epoch(&dataset, full);
        let stopped = Some("the limit for kept photos is reached".to_owned());
        assert_eq!((pixels, kept), (expected.clone(), KeptCounts { stopped, ..KeptCounts::default() }));
        // A file stands where the folder should be.
        std::fs::write(folder.path().join("kept"), b"").expect("written");
        let (pixels, kept) = epoch(&dataset, options(folder.path(), 1 << 20));
        assert_eq!((pixels, kept.written), (expected, 0));
        assert!(kept.stopped.expect("it failed").contains("kept"));
    }

    /// A device of Linux on which every write finds the disk full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_said_once_and_what_was_kept_before_is_still_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = KeptPhotos { folder: folder.path().join("kept"), bytes: 1 << 20 };
        let (open, row) = (|| Kept::open(&kept, "a key"), Row::Seen([1, 1], &[1, 2, 3]));
        open().write(&[1; 32], &row);
        let later = open();
        let full = File::options().append(true).open("/dev/full").expect("Linux has it");
        later.writer.lock().expect("no thread has it").file = Some((Arc::new(full), "/dev/full".into()));
        (2..9).for_each(|photo| later.write(&[photo; 32], &row));
        assert!(later.read(&[1; 32], |size, values| (size, values) == ([1, 1], &[1, 2, 3])));
        assert!(!later.read(&[2; 32], |_, _| true));
        let counts = later.counts();
        assert_eq!((counts.read, counts.written), (1, 0));
        assert!(counts.stopped.expect("it failed").contains("No space left on device"));
    }

    #[test]
    fn a_start_removes_the_oldest_photos_of_other_pixels_where_there_are_too_many() {
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = photos(folder.path());
        let first = options(folder.path(), 1 << 20);
        epoch(&dataset, first.clone());
        let other = LoaderOptions { crop_to_aspect_ratio: true, ..first.clone() };
        let tight =
            LoaderOptions { kept: Some(KeptPhotos { bytes: 1000, ..first.kept.clone().expect("it is set") }), ..other };
        epoch(&dataset, tight);
        assert_eq!(epoch(&dataset, first).1, counts(0, PHOTOS), "those of the first run are gone");
    }
}

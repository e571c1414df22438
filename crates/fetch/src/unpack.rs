//! Archives from anywhere. A hostile one is refused as a whole, and what was unpacked of it is never used.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use injerto_files::{mistaken, printable};

/// Upper limits of what an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files and folders.
    pub entries: u64,
    /// Unpacked bytes per byte of the archive: photos are compressed already.
    pub ratio: u64,
    /// Unpacked bytes that every archive may have.
    pub least: u64,
}

impl Limits {
    /// Two million files and folders; 100 times the size of the archive, and 64 MiB.
    pub const USUAL: Self = Self { entries: 2_000_000, ratio: 100, least: 64 << 20 };
}

/// Unpacks a zip, a tar or a tar with gzip (known by content) into a folder that exists. Nothing is written outside of the folder, and
/// no file is written twice. Links, devices and paths that lead elsewhere are errors.
///
/// # Errors
/// What is wrong, in words, with the name of the entry.
pub fn unpack(archive: &Path, into: &Path, limits: Limits) -> Result<(), String> {
    let say = |error: io::Error| format!("it cannot be read: {error}");
    let mut file = File::open(archive).map_err(say)?;
    let size = file.metadata().map_err(say)?.len();
    let mut begin = Vec::new();
    (&mut file).take(512).read_to_end(&mut begin).map_err(say)?;
    file.rewind().map_err(say)?;
    let most = size.saturating_mul(limits.ratio).saturating_add(limits.least);
    let mut unpacking = Unpacking { into, entries: 0, bytes: 0, most, limits, made: HashSet::new() };
    let file = BufReader::new(file);
    if begin.starts_with(b"PK\x03\x04") || begin.starts_with(b"PK\x05\x06") {
        unpacking.zip(file)
    } else if begin.starts_with(&[0x1f, 0x8b]) {
        unpacking.tar(MultiGzDecoder::new(file))
    } else if begin.get(257..262) == Some(b"ustar") {
        unpacking.tar(file)
    } else {
        // Images of disks begin with zeros too.
        let is_begin = size > begin.len() as u64 && begin.iter().all(|&byte| byte == 0);
        let other = mistaken(&begin).filter(|_| !is_begin).unwrap_or("it is not an archive that can be unpacked");
        Err(format!("{other}; expected .zip, .tar, .tar.gz or .tgz"))
    }
}

struct Unpacking<'p> {
    into: &'p Path,
    entries: u64,
    bytes: u64,
    most: u64,
    limits: Limits,
    /// Folders that are made.
    made: HashSet<PathBuf>,
}

impl Unpacking<'_> {
    fn zip(&mut self, file: BufReader<File>) -> Result<(), String> {
        let mut archive = zip::ZipArchive::new(file).map_err(|error| format!("it cannot be read: {error}"))?;
        for at in 0..archive.len() {
            let mut entry = archive.by_index(at).map_err(|error| format!("it cannot be read: {error}"))?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            let path = self.place(&name)?;
            if entry.is_symlink() {
                return Err(refused(&name, "it is a link"));
            }
            match entry.is_dir() {
                true => self.folder(&path)?,
                false => {
                    let size = entry.size();
                    self.file(&name, &path, size, &mut entry)?;
                }
            }
        }
        Ok(())
    }

    fn tar(&mut self, reader: impl Read) -> Result<(), String> {
        let broken = |error: io::Error| format!("it cannot be read: {error}");
        // Names of any length stand in entries of their own, which are read into memory; so all together are limited too.
        let mut archive = tar::Archive::new(reader.take(self.most.saturating_add(self.limits.least)));
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if kind.is_pax_global_extensions() {
                continue;
            }
            let path = self.place(&name)?;
            if kind.is_symlink() || kind.is_hard_link() {
                return Err(refused(&name, "it is a link"));
            }
            match (kind.is_dir(), kind.is_file() || kind.is_contiguous()) {
                (true, _) => self.folder(&path)?,
                (_, true) => {
                    let size = entry.size();
                    self.file(&name, &path, size, &mut entry)?;
                }
                _ => return Err(refused(&name, "it is neither a file nor a folder")),
            }
        }
        // The checksum of gzip stands at the end.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
        Ok(())
    }

    /// Where an entry is to lie.
    fn place(&mut self, name: &str) -> Result<PathBuf, String> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(format!(
                "it holds more than {} files and folders, the limit for an archive",
                self.limits.entries
            ));
        }
        let outside = || refused(name, "its path leads out of the folder");
        // On Windows a backslash divides folders, and a colon names a drive or a stream.
        if name.starts_with('/') || name.contains(['\\', ':', '\0']) {
            return Err(outside());
        }
        let mut path = self.into.to_owned();
        for part in name.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if part == ".." {
                return Err(outside());
            }
            path.push(part);
        }
        Ok(path)
    }

    fn folder(&mut self, path: &Path) -> Result<(), String> {
        if self.made.contains(path) {
            return Ok(());
        }
        fs::create_dir_all(path).map_err(|error| format!("it cannot be unpacked: {error}"))?;
        self.made.insert(path.to_owned());
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path, size: u64, from: &mut dyn Read) -> Result<(), String> {
        let too_large =
            |most: u64| format!("unpacked it has more than {most} bytes, too many for an archive of its size");
        let rest = self.most - self.bytes;
        if size > rest {
            return Err(too_large(self.most));
        }
        self.folder(path.parent().unwrap_or(self.into))?;
        let wrong = |error: io::Error| format!("'{}' cannot be unpacked: {error}", printable(name));
        let mut file = File::options().write(true).create_new(true).open(path).map_err(wrong)?;
        let written = io::copy(&mut from.take(rest + 1), &mut file).map_err(wrong)?;
        if written > rest {
            return Err(too_large(self.most));
        }
        if written != size {
            return Err(format!("'{}' has {written} bytes and not {size}: the archive is cut off", printable(name)));
        }
        self.bytes += written;
        Ok(())
    }
}

fn refused(name: &str, why: &str) -> String {
    format!("its entry '{}' is refused: {why}", printable(name))
}

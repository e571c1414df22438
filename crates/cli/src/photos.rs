//! The photos that a command line names: files, folders, patterns, and what comes on standard input.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use injerto_backbones::weights::Cache;
use injerto_data::Origin;
use injerto_data::folder::{self, AllLeftOut};
use injerto_experiment::source;
use injerto_files::{from_text, settled, shown};

use crate::inventory;
use crate::output::note;

/// The word for standard input.
const STDIN: &str = "-";
/// Upper limit of the bytes that are read from standard input: that of a photo's file.
const MOST_BYTES: u64 = 1 << 29;

/// A photo that was named.
#[derive(Debug, Clone)]
pub struct Photo {
    /// What it is called in answers.
    pub name: PathBuf,
    /// Where it is.
    pub origin: Origin,
}

impl Photo {
    fn file(path: PathBuf) -> Self {
        Self { origin: path.clone().into(), name: path }
    }
}

/// Where the images are that a command line names: at this path, or else where `data.root` would be looked for, or in an archive that was
/// fetched before. A path that is found nowhere stays as it is, for the message that says so.
pub fn found(name: PathBuf) -> PathBuf {
    if name.exists() {
        return name;
    }
    let dataset = name.to_str().zip(Cache::of_user().ok());
    dataset.and_then(|(dataset, cache)| source::kept(dataset, &cache)).unwrap_or(name)
}

/// Finds all photos that the arguments name, in their order. Of a folder, these are the images at every depth, but not those in the
/// folder `without`.
///
/// # Errors
/// A folder without photos, a pattern that fits no file, or standard input that cannot be read. A file that is not there counts as a photo
/// that cannot be read, so that the others are still answered.
pub fn photos(arguments: &[PathBuf], without: Option<&Path>) -> Result<Vec<Photo>> {
    let (mut photos, without) = (Vec::new(), without.map(settled));
    for argument in arguments {
        if argument.as_os_str() == STDIN {
            match stdin()? {
                Stdin::Image(bytes) => photos.push(Photo { name: STDIN.into(), origin: bytes.into() }),
                Stdin::Paths(paths) => {
                    for path in paths {
                        named(path, without.as_deref(), &mut photos)?;
                    }
                }
            }
        } else if argument.symlink_metadata().is_err() && is_pattern(argument) {
            for path in matching(argument)? {
                named(path, without.as_deref(), &mut photos)?;
            }
        } else {
            named(argument.clone(), without.as_deref(), &mut photos)?;
        }
    }
    Ok(photos)
}

/// Adds the photo, or those of the folder.
fn named(path: PathBuf, without: Option<&Path>, photos: &mut Vec<Photo>) -> Result<()> {
    if !path.is_dir() {
        if path.to_string_lossy().contains("://") && !path.exists() {
            bail!(
                "{}: this is an address, and a path on this machine is expected; `injerto features` and `injerto predict --out` take \
                 addresses too",
                shown(&path)
            );
        }
        photos.push(Photo::file(path));
        return Ok(());
    }
    let (files, left_out) = folder::images(&path)?;
    tell(&left_out);
    let sorted = |file: &PathBuf| without.is_some_and(|without| settled(file).starts_with(without));
    let before = photos.len();
    photos.extend(files.into_iter().filter(|file| !sorted(file)).map(Photo::file));
    if photos.len() == before {
        bail!("{}: there are no photos in this folder ({})", shown(&path), folder::EXTENSIONS.join(", "));
    }
    Ok(())
}

fn tell(left_out: &AllLeftOut) {
    let words = inventory::left_out(left_out);
    if !words.is_empty() {
        note!("left out   {words}");
    }
}

/// Whether a path has characters of a pattern. A shell resolves patterns itself unless they stand in quotes, and Windows's never does.
fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let text = pattern.to_str().expect("only text is a pattern");
    let found = glob::glob(text).with_context(|| format!("{}: not a pattern", shown(pattern)))?;
    let paths = found.collect::<Result<BTreeSet<_>, _>>()?;
    if paths.is_empty() {
        bail!("{}: there is no such file, and no file fits this pattern", shown(pattern));
    }
    Ok(paths.into_iter().collect())
}

/// What came on standard input.
#[derive(Debug, PartialEq)]
enum Stdin {
    /// The content of one image.
    Image(Vec<u8>),
    /// Paths.
    Paths(Vec<PathBuf>),
}

fn stdin() -> Result<Stdin> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.context("standard input cannot be read")?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!("standard input: more than {} MiB, which is no photo and no list of photos", MOST_BYTES >> 20);
    }
    let found = said(bytes);
    if matches!(&found, Stdin::Paths(paths) if paths.is_empty()) {
        bail!("standard input is empty; expected an image, or paths, one per line");
    }
    Ok(found)
}

/// One image, if the bytes begin as those of an image do, or else paths: one per line, or, as `find -print0` writes them, with a zero
/// byte after each.
fn said(bytes: Vec<u8>) -> Stdin {
    let begins = |with: &[u8]| bytes.starts_with(with);
    // The other signatures contain bytes that no text has, but that of BMP may begin a name.
    let is_bitmap = begins(b"BM") && bytes.get(6..10) == Some(&[0; 4]);
    let is_webp = begins(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    if begins(b"\xff\xd8\xff") || begins(b"\x89PNG\r\n\x1a\n") || begins(b"GIF8") || is_webp || is_bitmap {
        return Stdin::Image(bytes);
    }
    let separator = if bytes.contains(&0) { 0 } else { b'\n' };
    let parts = bytes.split(|byte| *byte == separator);
    let parts = parts.map(|part| if separator == 0 { part } else { part.strip_suffix(b"\r").unwrap_or(part) });
    Stdin::Paths(parts.filter(|part| !part.is_empty()).map(path).collect())
}

#[cfg(unix)]
fn path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
    // This program writes bytes of a name that are not UTF-8 as `\xNN`, and reads its own lists.
    match std::str::from_utf8(bytes) {
        Ok(text) if path.symlink_metadata().is_err() => from_text(text),
        _ => path.to_owned(),
    }
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> PathBuf {
    from_text(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_one_image_or_a_list_of_paths() {
        let paths = |bytes: &[u8], expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(said(bytes.to_vec()), Stdin::Paths(expected), "{bytes:?}");
        };
        paths(b"a.jpg\nb c.jpg\r\n\nd.jpg", &["a.jpg", "b c.jpg", "d.jpg"]);
        paths(b"a.jpg\0line\nbreak.jpg\0", &["a.jpg", "line\nbreak.jpg"]);
        paths(b"BMW.jpg\n", &["BMW.jpg"]);
        paths(b"", &[]);
        for image in
            [&b"\xff\xd8\xff\xe0"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM\x36\0\0\0\0\0\0\0"]
        {
            assert_eq!(said(image.to_vec()), Stdin::Image(image.to_vec()));
        }
    }
}

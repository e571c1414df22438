//! Inputs that reach what no other input does: `cargo xtask prove cover` finds them, and they stay in the repository, so that
//! every later run reads them, and changes them as it changes the good ones.

use std::io::{Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// The most inputs that are kept of a target, and the most bytes of them.
const MOST: usize = 100;
const MOST_BYTES: usize = 24 << 10;

/// Targets whose inputs are files of a run: they hold times, paths of the machine, or the checksum of its checkpoint, and are not kept.
const OF_A_RUN: [&str; 6] = ["features", "report", "compare", "predict", "knowledge", "resume"];

/// The archive of a target.
pub fn archive(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.zip"))
}

/// The inputs that were found for a target.
///
/// # Errors
/// An archive that cannot be read.
pub fn found(target: &str) -> Result<Vec<Vec<u8>>> {
    let path = archive(target);
    let Ok(bytes) = std::fs::read(&path) else { return Ok(Vec::new()) };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).with_context(|| path.display().to_string())?;
    let mut inputs = Vec::new();
    for at in 0..archive.len() {
        let mut input = Vec::new();
        archive.by_index(at)?.read_to_end(&mut input)?;
        inputs.push(input);
    }
    Ok(inputs)
}

/// Keeps the inputs in a folder as those that were found for a target: the smallest ones. How many they are.
///
/// # Errors
/// A folder that cannot be read, or a repository that cannot be written.
pub fn keep_found(target: &str, folder: &Path) -> Result<usize> {
    if OF_A_RUN.contains(&target) {
        return Ok(0);
    }
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        inputs.push(std::fs::read(entry?.path())?);
    }
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let mut bytes = 0;
    let fits = |input: &Vec<u8>| {
        bytes += input.len();
        bytes <= MOST_BYTES
    };
    let inputs: Vec<Vec<u8>> = inputs.into_iter().take(MOST).take_while(fits).collect();
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // Without times, so that equal inputs give equal archives.
    let options = SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    for (number, input) in inputs.iter().enumerate() {
        zip.start_file(number.to_string(), options)?;
        zip.write_all(input)?;
    }
    std::fs::write(archive(target), zip.finish()?.into_inner())?;
    Ok(inputs.len())
}

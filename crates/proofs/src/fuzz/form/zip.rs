//! Archives: PyTorch's files and Keras 3's.

use std::io::{Cursor, Read as _, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{alter_in_place, json, shuffle};
use crate::fuzz::mutate::{Random, alter};

/// The most bytes that are taken out of an archive.
const LARGEST: u64 = 1 << 20;

/// An archive with a changed file.
pub fn zip(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut files = Vec::new();
    for at in 0..archive.len() {
        let file = archive.by_index(at).ok()?;
        let (name, mut content) = (file.name().ok()?.into_owned(), Vec::new());
        file.take(LARGEST).read_to_end(&mut content).ok()?;
        files.push((name, content));
    }
    if files.is_empty() {
        return None;
    }
    let at = random.below(files.len());
    match random.below(8) {
        0 => shuffle(&mut files, random),
        choice => {
            // The table of the tensors is one file among many, but most can go wrong there.
            let table = files.iter().position(|(name, _)| name.ends_with(".pkl")).filter(|_| choice < 4);
            let (name, content) = &mut files[table.unwrap_or(at)];
            match name.ends_with(".json").then(|| json(content, random)).flatten() {
                Some(changed) => *content = changed,
                None if random.below(4) == 0 => alter(content, random),
                None => alter_in_place(content, random),
            }
        }
    }
    // Without times, so that equal numbers give equal inputs.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default());
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in &files {
        // A name that occurs twice is refused by the writer, not by readers; such archives come from other changes.
        if writer.start_file(name, options).is_ok() {
            writer.write_all(content).ok()?;
        }
    }
    Some(writer.finish().ok()?.into_inner())
}

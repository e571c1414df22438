//! WebDataset archives: the files of one photo have one name with different endings, and stand one after the other.

use std::io::{BufReader, Read};
use std::sync::mpsc;

use injerto_data::Unread;
use injerto_data::folder::EXTENSIONS;
use injerto_files::printable;

use super::{LARGEST, Photo};
use crate::place::Source;
use crate::{Place, ShardsError};

/// Upper limit of what is read of a label.
const LABEL: u64 = 1 << 20;

/// The photos of an archive, one after the other.
pub(super) fn photos(place: &Place) -> impl Iterator<Item = Result<Photo, ShardsError>> + Send + 'static {
    // Entries borrow the archive, so that a thread of its own walks through it, as far as photos are taken.
    let (sender, receiver) = mpsc::sync_channel(2);
    let place = place.clone();
    std::thread::spawn(move || {
        let mut send = |photo| sender.send(photo).is_ok();
        if let Err(error) = walk(&place, &mut send) {
            send(Err(error));
        }
    });
    receiver.into_iter()
}

/// The parts of a photo that have been read.
#[derive(Default)]
struct Parts {
    key: String,
    /// Name, number of further dots in its ending, and content.
    image: Option<(String, usize, Result<Vec<u8>, String>)>,
    class: Option<String>,
    /// What the JSON says, which counts if there is no `.cls`.
    said: Option<String>,
}

impl Parts {
    /// The photo; `None` if nothing with this name was an image.
    fn photo(self, archive: &Place) -> Option<Photo> {
        let Self { key, image, class, said } = self;
        let (name, _, content) = image?;
        let path = format!("{}#{name}", archive.text());
        Some(Photo { key, path, label: class.or(said), content: content.map_err(Unread::File) })
    }
}

/// Hands all photos of an archive on, as long as `send` takes them.
fn walk(place: &Place, send: &mut dyn FnMut(Result<Photo, ShardsError>) -> bool) -> Result<(), ShardsError> {
    let file = Source::open(place)?.stream();
    let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, file));
    let damaged =
        |error: std::io::Error| ShardsError::input(place, format!("the archive is damaged or cut short ({error})"));
    let mut parts = Parts::default();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./");
        let (folder, base) = name.rsplit_once('/').map_or(("", name), |(folder, base)| (&name[..=folder.len()], base));
        // The key ends at the first dot of the base name, as WebDataset defines it.
        let Some((stem, ending)) = base.split_once('.').filter(|(stem, _)| !stem.is_empty()) else { continue };
        let key = format!("{folder}{stem}");
        if key != parts.key {
            let before = std::mem::replace(&mut parts, Parts { key, ..Parts::default() });
            if let Some(photo) = before.photo(place)
                && !send(Ok(photo))
            {
                return Ok(());
            }
        }
        let (ending, size) = (ending.to_lowercase(), entry.size());
        let mut text = || -> Result<String, ShardsError> {
            let mut bytes = Vec::new();
            entry.by_ref().take(LABEL).read_to_end(&mut bytes).map_err(damaged)?;
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        match ending.as_str() {
            "cls" => parts.class = Some(text()?).filter(|text| !text.is_empty()),
            "json" => parts.said = label(&text()?),
            other if EXTENSIONS.contains(&format!(".{}", other.rsplit('.').next().unwrap_or(other)).as_str()) => {
                // Beside `001.jpg`, a `001.mask.png` belongs to the photo and is not a photo itself.
                let further = other.matches('.').count();
                match &parts.image {
                    Some((_, kept, _)) if *kept < further => continue,
                    Some((first, kept, _)) if *kept == further => {
                        return Err(ShardsError::input(
                            place,
                            format!(
                                "{} and {} are two images with one key; call only the photo KEY.{}, and the other KEY.NAME.png",
                                printable(first),
                                printable(name),
                                printable(other.rsplit('.').next().unwrap_or(other))
                            ),
                        ));
                    }
                    _ => {}
                }
                let content = match size > LARGEST {
                    true => Err(format!("it is too large: a photo may have {} MiB", LARGEST >> 20)),
                    false => {
                        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
                        entry.read_to_end(&mut bytes).map_err(damaged)?;
                        // An archive that is cut short ends in the middle of a file.
                        if (bytes.len() as u64) < size {
                            return Err(ShardsError::input(place, "the archive is cut short"));
                        }
                        Ok(bytes)
                    }
                };
                parts.image = Some((name.to_owned(), further, content));
            }
            _ => {}
        }
    }
    if let Some(photo) = parts.photo(place) {
        send(Ok(photo));
    }
    Ok(())
}

/// The label that a photo's JSON says, if it says one.
fn label(text: &str) -> Option<String> {
    let said: serde_json::Value = serde_json::from_str(text).ok()?;
    match ["label", "class", "cls"].iter().find_map(|key| said.get(key))? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

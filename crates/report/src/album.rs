//! Small pictures of photos. A page holds each of them once, and shows it wherever it is needed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use injerto_data::thumbnails;
use injerto_files::from_text;
use maud::{Markup, html};

/// Longer side of a picture, in pixels.
const SIDE: usize = 96;
/// Most pictures that a page holds.
const MOST: usize = 360;
/// Most bytes of the pictures of a page, as they are written in it. A page stays below 3 MB.
const BYTES: usize = 2_300_000;

/// The pictures of a page.
#[derive(Debug, Default)]
pub struct Album {
    /// The pictures, as addresses that hold their content.
    addresses: Vec<String>,
    /// The place of each photo's picture; `None` for a photo that could not be read.
    places: HashMap<String, Option<usize>>,
    /// The folder that the photos lie in.
    root: PathBuf,
}

impl Album {
    /// Reads photos by their paths below `root`, those first that are needed most. Photos that find no room are left out.
    pub fn of<'p>(root: &Path, wanted: impl IntoIterator<Item = &'p str>) -> Self {
        let mut album = Self { root: root.to_owned(), ..Self::default() };
        let mut paths: Vec<&str> = Vec::new();
        for path in wanted {
            if paths.len() < MOST && album.places.insert(path.to_owned(), None).is_none() {
                paths.push(path);
            }
        }
        let files: Vec<PathBuf> = paths.iter().map(|path| root.join(from_text(path))).collect();
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let mut bytes = 0;
        for (path, jpeg) in paths.into_iter().zip(thumbnails(&files, SIDE)) {
            let Some(jpeg) = jpeg else { continue };
            let address = format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg));
            bytes += address.len();
            if bytes > BYTES {
                album.places.remove(path);
                continue;
            }
            album.places.insert(path.to_owned(), Some(album.addresses.len()));
            album.addresses.push(address);
        }
        album
    }

    /// The picture of a photo, or a word that says why there is none. `description` is for screen readers.
    pub fn picture(&self, path: &str, description: &str) -> Markup {
        html! {
            @match self.places.get(path) {
                Some(Some(place)) => {
                    svg class="photo" viewBox="0 0 96 96" role="img" aria-label=(description) { use href={ "#photo-" (place) } {} }
                }
                Some(None) => div class="photo gone" { "The photo is gone." },
                None => div class="photo gone" { "no room for the photo" },
            }
        }
    }

    /// The pictures themselves, which must stand on the page once.
    pub fn definitions(&self) -> Markup {
        html! {
            @if !self.addresses.is_empty() {
                svg class="album" width="0" height="0" aria-hidden="true" focusable="false" {
                    @for (place, address) in self.addresses.iter().enumerate() {
                        symbol id={ "photo-" (place) } viewBox="0 0 96 96" {
                            image width="96" height="96" href=(address) {}
                        }
                    }
                }
            }
        }
    }

    /// How many photos could not be read, in words; `None` if all could.
    pub fn gone(&self) -> Option<String> {
        let gone = self.places.values().filter(|place| place.is_none()).count();
        (gone > 0).then(|| {
            format!(
                "{gone} of {} photos of this page could not be read in {} when it was made; the names are those of the run.",
                self.places.len(),
                injerto_files::shown(&self.root)
            )
        })
    }
}

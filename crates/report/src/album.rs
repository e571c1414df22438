//! Small pictures of photos. A page holds each of them once, and shows it wherever it is needed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use injerto_data::decode::examine;
use injerto_data::thumbnails;
use injerto_files::from_text;
use maud::{Markup, html};

use crate::looks::Overlay;

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
    /// What lies over pictures: the address of a small picture, with its left, top, width and height in the picture's box.
    overlays: Vec<(String, [f64; 4])>,
    /// The place of each photo's overlay.
    covered: HashMap<String, usize>,
}

impl Album {
    /// Reads photos by their paths below `root`, given in the order of their importance. Photos for which there is no room are left out.
    /// Overlays lie over the photos of their paths.
    pub fn of<'p>(root: &Path, wanted: impl IntoIterator<Item = &'p str>, overlays: &HashMap<String, Overlay>) -> Self {
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
            let size = examine(&jpeg).ok().map(|facts| [facts.height, facts.width].map(f64::from));
            let address = format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg));
            bytes += address.len();
            if bytes > BYTES {
                album.places.remove(path);
                continue;
            }
            album.places.insert(path.to_owned(), Some(album.addresses.len()));
            album.addresses.push(address);
            if let Some((overlay, size)) = overlays.get(path).zip(size) {
                let address = format!("data:image/png;base64,{}", STANDARD.encode(&overlay.png));
                bytes += address.len();
                album.covered.insert(path.to_owned(), album.overlays.len());
                album.overlays.push((address, inside(size, overlay.covers)));
            }
        }
        album
    }

    /// The picture of a photo, or a word that says why there is none. `description` is for screen readers.
    pub fn picture(&self, path: &str, description: &str) -> Markup {
        html! {
            @match self.places.get(path) {
                Some(Some(place)) => {
                    @match self.covered.get(path) {
                        None => {
                            svg class="photo" viewBox="0 0 96 96" role="img" aria-label=(description) { use href={ "#photo-" (place) } {} }
                        }
                        Some(map) => {
                            div class="look" {
                                svg class="photo" viewBox="0 0 96 96" role="img" tabindex="0" aria-label=(description) {
                                    use href={ "#photo-" (place) } {}
                                    use class="map" href={ "#map-" (map) } {}
                                }
                                svg class="photo beside" viewBox="0 0 96 96" aria-hidden="true" {
                                    use href={ "#photo-" (place) } {}
                                    use href={ "#map-" (map) } {}
                                }
                            }
                        }
                    }
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
                    @for (place, (address, [x, y, width, height])) in self.overlays.iter().enumerate() {
                        symbol id={ "map-" (place) } viewBox="0 0 96 96" {
                            image x=(x) y=(y) width=(width) height=(height) preserveAspectRatio="none" href=(address) {}
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

/// Left, top, width and height of a part of a picture in the square box in whose middle the picture lies, as large as it fits. The size is
/// height and width, and the part is top, left, height and width as shares of them.
fn inside([height, width]: [f64; 2], [top, left, rows, columns]: [f64; 4]) -> [f64; 4] {
    let side = SIDE as f64;
    let scale = side / height.max(width).max(1.0);
    let (height, width) = (height * scale, width * scale);
    let tenths = |length: f64| (length * 10.0).round() / 10.0;
    [(side - width) / 2.0 + left * width, (side - height) / 2.0 + top * height, columns * width, rows * height]
        .map(tenths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_lies_over_the_part_that_the_network_saw() {
        // A photo twice as wide as high, of which the middle square was seen.
        assert_eq!(inside([48.0, 96.0], [0.0, 0.25, 1.0, 0.5]), [24.0, 24.0, 48.0, 48.0]);
        assert_eq!(inside([40.0, 20.0], [0.0, 0.0, 1.0, 1.0]), [24.0, 0.0, 48.0, 96.0]);
    }
}

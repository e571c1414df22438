//! Moves that put images with wrong labels into the folders of the classes that they seem to be of.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use injerto_data::moves::{Inside, Move};
use injerto_files::from_text;

use super::SuspectFound;
use crate::gallery::Gallery;

/// The moves of these images, in their order, with paths below the images' folder. An image stays on its side of a split. If the other
/// class already has a file of its name, the name of the old class is added. Images that lie in no class's folder (behind a link, in
/// memory) are left out.
pub fn relabel(gallery: &Gallery, suspects: &[SuspectFound]) -> Vec<Move> {
    let Some(root) = &gallery.root else { return Vec::new() };
    let halves = gallery.folder.inventory.halves.iter();
    let mut above: Vec<&Path> =
        halves.flat_map(|(train, held)| std::iter::once(train).chain(held)).map(PathBuf::as_path).collect();
    above.push(root);
    let mut taken = HashSet::new();
    let mut one = |suspect: &SuspectFound| {
        let half = above.iter().find(|half| suspect.path.starts_with(half))?;
        let mut below = suspect.path.strip_prefix(half).ok()?.components();
        let class = below.next()?;
        let rest = below.as_path();
        let folder = half.join(from_text(&suspect.suggested));
        let from = Inside::new(suspect.path.strip_prefix(root).ok()?)?;
        let free = |path: &PathBuf| path.symlink_metadata().is_err() && !taken.contains(path);
        let to = names(rest, Path::new(class.as_os_str())).map(|name| folder.join(name)).find(free)?;
        let one = Move { from, to: Inside::new(to.strip_prefix(root).ok()?)? };
        taken.insert(to);
        Some(one)
    };
    suspects.iter().filter_map(&mut one).collect()
}

/// The file's name, and then names that tell where it comes from: `7.jpg`, `7-from-cats.jpg`, `7-from-cats-2.jpg`.
fn names<'p>(file: &'p Path, class: &'p Path) -> impl Iterator<Item = PathBuf> + 'p {
    let other = move |number: usize| {
        let mut name = file.file_stem().unwrap_or_default().to_owned();
        name.push("-from-");
        name.push(class);
        if number > 1 {
            name.push(format!("-{number}"));
        }
        if let Some(ending) = file.extension() {
            name.push(".");
            name.push(ending);
        }
        file.with_file_name(name)
    };
    std::iter::once(file.to_owned()).chain((1..1000).map(other))
}

//! Where a path leads.

use std::path::{Path, PathBuf};

/// The path from the root of the file system, with its links as they are; the path itself where there is no current folder.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The [`absolute`] path with its links followed, as far as it is there. So one folder has one path, whatever leads to it.
pub fn settled(path: &Path) -> PathBuf {
    let absolute = absolute(path);
    let found = absolute.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, settled)) = found else { return absolute };
    settled.join(absolute.strip_prefix(above).expect("it is an ancestor"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_as_far_as_a_path_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        std::fs::create_dir(root.join("real")).expect("made");
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).expect("linked");
        assert_eq!(settled(&root.join("link/new/file")), root.join("real/new/file"));
        assert_eq!(absolute(&root.join("link/new")), root.join("link/new"));
        assert_eq!(absolute(Path::new("file")), std::env::current_dir().expect("a folder").join("file"));
    }
}

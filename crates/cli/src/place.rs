//! Where an option says that a file goes.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use injerto_files::shown;

/// How the figures begin that a command writes.
pub const FIGURE: &str = "<svg";

/// How the pages begin that a command writes.
pub const PAGE: &str = "<!doctype html>";

/// Whether a file can go there: there is none, or it begins as what the command has written before. A name that was given by mistake
/// would cost the experiment, a list of labels or a photo.
///
/// # Errors
/// Another file, or one that cannot be read.
pub fn check(file: &Path, beginning: &str) -> Result<()> {
    if !file.metadata().is_ok_and(|found| found.is_file() && found.len() > 0) {
        return Ok(());
    }
    let mut found = Vec::new();
    let read = injerto_files::open(file).and_then(|file| file.take(beginning.len() as u64).read_to_end(&mut found));
    read.with_context(|| shown(file).to_string())?;
    if found != beginning.as_bytes() {
        bail!(
            "{} is there already, and no result of this command: it is not overwritten; name another file",
            shown(file)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_takes_the_place_of_a_result_and_of_nothing_else() {
        let at = tempfile::tempdir().expect("a folder");
        let check = |content: Option<&str>, is_free: bool| {
            let file = at.path().join("out.svg");
            if let Some(content) = content {
                std::fs::write(&file, content).expect("written");
            }
            assert_eq!(super::check(&file, FIGURE).is_ok(), is_free, "{content:?}");
        };
        check(None, true);
        check(Some("<svg width=\"1\"></svg>"), true);
        check(Some(""), true);
        check(Some("[data]\nroot = \"photos\"\n"), false);
        check(Some("<sv"), false);
    }
}

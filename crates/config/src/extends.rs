//! `extends = "other.toml"`: an experiment that is written as its differences from another.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use injerto_files::shown;

use crate::diagnostic::{ConfigError, MAX_BYTES, Place, Problems, Source};
use crate::tree::{Node, Value};

/// The key, at the top of a file.
const KEY: &str = "extends";

/// The most files in a chain. Nobody writes an experiment of more.
const MAX_FILES: usize = 16;

/// A file that an experiment is made of.
pub(crate) struct File {
    pub path: PathBuf,
    pub text: String,
}

impl File {
    /// Name of the file, for messages.
    pub fn source(&self) -> Source<'_> {
        Source { name: shown(&self.path).to_string(), text: &self.text, is_file: true }
    }
}

/// The text of an experiment's file.
///
/// # Errors
/// A folder, a file that cannot be read, one that is too large, or one that is no text.
pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    let named = |source| ConfigError::Read { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(ConfigError::Folder { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(named)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(named)?;
    if bytes.len() > MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let whole = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = whole.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError::NotText { path: path.to_owned(), line }
    })
}

/// The document of `text`, which lies at `path`, merged with the files that it extends: tables merge, and all other values replace those of
/// the extended file. Returns the files that were read, the experiment's own first, in the order in which places count them; no document
/// where something is wrong.
pub(crate) fn document(text: &str, path: &Path, problems: &Problems) -> (Vec<File>, Option<Node>) {
    let mut files = vec![File { path: path.to_owned(), text: text.to_owned() }];
    let mut documents = Vec::new();
    loop {
        let source = files.len() - 1;
        let Some(mut document) = Node::document(&files[source].text, source, problems) else { return (files, None) };
        let base = document.take(KEY);
        documents.push(document);
        let Some(base) = base else { break };
        let Some(file) = below(&base, &files, problems) else { return (files, None) };
        files.push(file);
    }
    let mut whole = documents.pop().expect("there is the experiment's own");
    while let Some(over) = documents.pop() {
        whole.overlay(over);
    }
    (files, Some(whole))
}

/// The file that the last of `files` extends, which says so as `base`.
fn below(base: &Node, files: &[File], problems: &Problems) -> Option<File> {
    let at: Place = base.at;
    let Value::String(name) = &base.value else {
        let help = "write the name of one file, such as `extends = \"base.toml\"`".to_owned();
        return problems.note(at, format!("`{KEY}` is {}, expected a string", base.describe()), help);
    };
    let relative = injerto_files::from_text(name);
    if relative.is_absolute() {
        let help = "name it as seen from this file's folder".to_owned();
        return problems.note(at, format!("`{KEY}` is an absolute path"), help);
    }
    let folder = files.last().and_then(|file| file.path.parent()).unwrap_or_else(|| Path::new(""));
    let path = folder.join(relative);
    let same = |file: &File| match (file.path.canonicalize(), path.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => file.path == path,
    };
    if let Some(first) = files.iter().position(same) {
        let chain = files[first..].iter().map(|file| &file.path).chain([&path]);
        let chain: Vec<String> = chain.map(|path| shown(path).to_string()).collect();
        let help = "one of them must stand alone".to_owned();
        return problems.note(at, format!("these files extend each other: {}", chain.join(" → ")), help);
    }
    if files.len() == MAX_FILES {
        return problems.note(at, format!("more than {MAX_FILES} files extend each other"), None);
    }
    if path.exists() && !path.is_file() {
        return problems.note(at, format!("cannot extend {}: it is no file", shown(&path)), None);
    }
    match read(&path) {
        Ok(text) => Some(File { text: without_mark(&text).to_owned(), path }),
        Err(error) => problems.note(at, format!("cannot extend this file: {error}"), None),
    }
}

/// A text without the mark that some editors of Windows begin a file with.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use crate::Config;

    /// Writes files into a new folder and reads the first of them: what the experiment says, or what is wrong.
    fn load(files: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let root = format!("{}/", folder.path().display());
        Config::load(&folder.path().join(files[0].0), &[]).map_err(|error| error.to_string().replace(&root, ""))
    }

    const BASE: &str = "seed = 7\n[data]\nroot = [\"a\", \"b\"]\nbatch_size = 8\n[backbone]\nplugin = \"vgg\"\n\
        [[phases]]\nepochs = 3\n[[phases]]\nepochs = 4\n";

    #[test]
    fn tables_merge_and_all_other_values_replace() {
        let over = "extends = \"base/base.toml\"\n[data]\nroot = \"c\"\n[[phases]]\nepochs = 1\n";
        let chain =
            [("over.toml", over), ("base/base.toml", "extends = \"../last.toml\"\nseed = 9\n"), ("last.toml", BASE)];
        let found = load(&chain).expect("an experiment");
        assert_eq!((found.name.as_str(), found.seed, found.data.batch_size), ("over", 9, 8));
        assert_eq!((found.backbone.plugin.as_str(), found.phases.len(), found.phases[0].epochs), ("vgg", 1, 1));
        let alone = BASE.replace("seed = 7", "seed = 9").replace("[\"a\", \"b\"]", "\"c\"");
        let alone = alone.replace("epochs = 3\n[[phases]]\nepochs = 4\n", "epochs = 1\n");
        assert_eq!(found, load(&[("over.toml", &alone)]).expect("an experiment"));
    }

    #[test]
    fn a_mistake_is_shown_in_the_file_that_makes_it() {
        let check = |files: &[(&str, &str)], expected: &str| {
            let error = load(files).expect_err(expected);
            assert!(error.contains(expected), "no {expected:?} in {error}");
        };
        let over = ("over.toml", "extends = \"base.toml\"\n");
        check(&[over, ("base.toml", &BASE.replace("= 8", "= 0"))], "base.toml:4:14: `data.batch_size` must be");
        check(&[over, ("base.toml", "seed = \n")], "base.toml:1:");
        check(&[over], "over.toml:1:11: cannot extend this file: base.toml: ");
        let cycle = "these files extend each other: over.toml → base.toml → over.toml";
        check(&[over, ("base.toml", "extends = \"over.toml\"\n")], cycle);
        check(&[("over.toml", "extends = \"over.toml\"\n")], "these files extend each other: over.toml → over.toml");
        check(&[("over.toml", "extends = 3\n")], "`extends` is 3, expected a string");
        check(&[("over.toml", "extends = \"/base.toml\"\n")], "`extends` is an absolute path");
        check(&[("over.toml", "extends = \".\"\n")], "it is no file");
    }
}

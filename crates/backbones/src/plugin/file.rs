use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Component, Path};

use injerto_files::{mistaken, printable};
use injerto_graph::{Description, Descriptor, Source, WeightSet};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::PluginError;
use super::word::word;

/// End of the name of a backbone file. The text before it is the backbone's name.
pub(super) const ENDING: &str = ".backbone.json";

/// Size limit of a file in bytes, which is larger than the description of any network.
const LARGEST: u64 = 16 << 20;

/// A backbone as a file: `NAME.backbone.json` contains what a plugin would answer, for one network and without any code.
///
/// It has no parameters. Its weights are published weights or files beside it. The path of a [`Source::Path`] is relative to the
/// folder of the file and does not leave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneFile {
    /// Version of the file's form. It is the first key, so that a newer form is reported and not misread.
    #[serde(rename = "injerto_backbone", deserialize_with = "known_form")]
    form: u32,
    /// One line about the backbone.
    pub summary: String,
    /// The network, its preprocessing and its weights.
    pub description: Description,
}

/// The form that this program reads and writes.
const FORM: u32 = 1;

fn known_form<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORM => Ok(FORM),
        form => Err(de::Error::custom(format!("it has form {form}, but this program reads form {FORM}"))),
    }
}

impl BackboneFile {
    /// A backbone file with this description.
    pub fn new(summary: impl Into<String>, description: Description) -> Self {
        Self { form: FORM, summary: summary.into(), description }
    }

    /// Whether `path` has the name of a backbone file.
    pub fn is_named_so(path: &Path) -> bool {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(ENDING))
    }

    /// The name of the backbone in the file at `path`.
    ///
    /// # Errors
    /// The file has another name, or the name of the backbone is not a plain word.
    pub fn name(path: &Path) -> Result<&str, PluginError> {
        let refused = |reason: String| PluginError::File { file: path.to_owned(), reason };
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
        let name = name.ok_or_else(|| refused(format!("a backbone file is named NAME{ENDING}")))?;
        word(name).map_err(|_| {
            refused(format!(
                "the name before {ENDING} must be a plain word (letters, digits, '_', '-' and '.'), not '{}'",
                printable(name)
            ))
        })?;
        Ok(name)
    }

    /// Reads the file at `path` and trusts nothing in it: its size, its graph, its names and its paths are checked. The paths of its
    /// weights are returned with the folder of the file before them.
    ///
    /// # Errors
    /// [`PluginError::File`], which says what is wrong.
    pub fn read(path: &Path) -> Result<Self, PluginError> {
        Self::name(path)?;
        Self::checked(path).map_err(|reason| PluginError::File { file: path.to_owned(), reason })
    }

    fn checked(path: &Path) -> Result<Self, String> {
        let say = |error: std::io::Error| error.to_string();
        // Reading a pipe might never end.
        if !std::fs::metadata(path).map_err(say)?.is_file() {
            return Err("it is not a regular file".to_owned());
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path).map_err(say)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(say)?;
        if bytes.len() as u64 > LARGEST {
            return Err(format!("it is larger than {} MiB", LARGEST >> 20));
        }
        let mut file: Self = serde_json::from_slice(&bytes)
            .map_err(|error| mistaken(&bytes).map_or_else(|| error.to_string(), str::to_owned))?;
        if file.summary.chars().any(char::is_control) {
            return Err(format!("its summary is not one line of text: '{}'", printable(&file.summary)));
        }
        let mut ids = BTreeSet::new();
        for set in &mut file.description.weights {
            let id = printable(&set.id).to_string();
            word(&set.id).map_err(|_| format!("the name of its weights '{id}' is not a plain word"))?;
            beside(set, path.parent().unwrap_or(Path::new("")))
                .map_err(|reason| format!("weights '{id}': {reason}"))?;
            if !ids.insert(id.clone()) {
                return Err(format!("it has two weight sets '{id}'"));
            }
        }
        Ok(file)
    }

    /// The descriptor of the backbone, which has the name of the file.
    pub fn descriptor(&self, name: &str) -> Descriptor {
        let weights = self.description.weights.iter().map(|set| set.id.clone()).collect();
        Descriptor { name: name.to_owned(), summary: self.summary.clone(), parameters: [].into(), weights }
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a description is plain data");
        text.push('\n');
        text
    }
}

/// Checks a weight set of the file, and puts `folder` before its path.
fn beside(set: &mut WeightSet, folder: &Path) -> Result<(), String> {
    if let Some(key) = set.requires.keys().next() {
        return Err(format!("they require '{}', but a backbone file has no parameters", printable(key)));
    }
    match &mut set.source {
        Source::Embedded => Err("only a library can carry weights; put a file beside this one, with \
                                 \"source\": { \"kind\": \"path\", \"path\": \"weights.safetensors\" }"
            .to_owned()),
        Source::Path { path } => {
            let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
            if path.is_empty() || path.contains('\\') || !Path::new(path.as_str()).components().all(inside) {
                return Err(format!(
                    "the path '{}' leaves the folder of the backbone file; write a relative path with '/' and without \
                     '..' to a file beside it or in a folder beside it",
                    printable(path)
                ));
            }
            let whole = folder.join(path.as_str());
            *path = whole.to_str().ok_or("the folder of the file has a name that is not UTF-8")?.to_owned();
            Ok(())
        }
        Source::Url { .. } | Source::Pypi { .. } => Ok(()),
    }
}

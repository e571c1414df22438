use std::path::{Path, PathBuf};

use injerto_files::{from_text, nearest, shown, user};
use injerto_graph::{Description, Descriptor};
use injerto_plugin_abi::Linked;
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::onnx;
use super::provider::{Provider, missing};
use super::{BackboneFile, Notes, Origin, PluginError, Probe};

/// Beginning of the file name of a plugin: `libinjerto_plugin_` (`injerto_plugin_` on Windows).
fn prefix() -> String {
    format!("{}injerto_plugin_", std::env::consts::DLL_PREFIX)
}

/// Where plugins are looked for: in folders, in order and each only once, and then among those that are linked into this program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchPath {
    folders: Vec<PathBuf>,
    linked: Vec<Linked>,
    /// Whether libraries are refused without being asked.
    no_libraries: bool,
}

/// Whether this program is linked statically on a system where such a program can load no libraries.
const IS_STATIC: bool = cfg!(all(target_os = "linux", target_feature = "crt-static"));

impl SearchPath {
    /// A search path of only these folders.
    pub fn of(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut path = Self::default();
        let mut known = Vec::new();
        for folder in folders {
            // A folder may be named twice, for example through a link.
            let itself = folder.canonicalize().or_else(|_| std::path::absolute(&folder));
            let itself = itself.unwrap_or_else(|_| folder.clone());
            if !known.contains(&itself) {
                known.push(itself);
                path.folders.push(folder);
            }
        }
        path
    }

    /// The usual search path: `first`, then the folders of `INJERTO_PLUGIN_PATH`, then the folder of this program and `plugins` beside
    /// it, then the user's data folder.
    pub fn usual(first: impl IntoIterator<Item = PathBuf>) -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut folders: Vec<PathBuf> = first.into_iter().collect();
        if let Some(path) = variable("INJERTO_PLUGIN_PATH") {
            folders.extend(std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty()));
        }
        if let Some(own) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)) {
            folders.extend([own.join("plugins"), own]);
        }
        folders.extend(user::data().map(|data| data.join("injerto").join("plugins")));
        Self::of(folders)
    }

    /// The same search path with these plugins after its folders. A program that has plugins inside thus has backbones wherever it is
    /// moved, and a library in a folder still takes the place of the plugin of its name.
    pub fn with_linked(mut self, linked: &[Linked]) -> Self {
        self.linked.extend_from_slice(linked);
        self
    }

    fn refuses_libraries(&self) -> bool {
        IS_STATIC || self.no_libraries
    }

    /// The same search path of a program that can load no libraries: each that is found is refused, and backbone files and ONNX models are
    /// read. A program that is linked statically on Linux always has such a path.
    pub fn without_libraries(mut self) -> Self {
        self.no_libraries = true;
        self
    }

    /// The backbones of a library or a file.
    fn ask(&self, file: &Path, probe: &Probe) -> Result<Vec<Descriptor>, PluginError> {
        match Provider::of(file) {
            Provider::Library(library) if self.refuses_libraries() => Err(PluginError::Load {
                library: library.to_owned(),
                reason: format!(
                    "{NO_LIBRARIES}; `injerto plugins dump` of another build writes its backbones as files, which it reads"
                ),
            }),
            provider => provider.descriptors(probe),
        }
    }

    /// The folders.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Returns the files with the names of plugins, and the other libraries in the same folders, which are ignored. In each folder,
    /// libraries (`libinjerto_plugin_NAME.so`, `.dylib`, `.dll`) come before backbone files (`NAME.backbone.json`) and ONNX models
    /// (`NAME.onnx`).
    fn libraries(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let prefix = prefix();
        let (mut named, mut others) = (Vec::new(), Vec::new());
        for folder in &self.folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut here: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            here.sort_by_cached_key(|path| (onnx::is_named_so(path), BackboneFile::is_named_so(path), path.clone()));
            for path in here {
                // The name may not be UTF-8.
                let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                let is_library = name.ends_with(std::env::consts::DLL_SUFFIX.as_bytes());
                let is_file = BackboneFile::is_named_so(&path) || onnx::is_named_so(&path);
                match is_file || (is_library && name.starts_with(prefix.as_bytes())) {
                    true => named.push(path),
                    false if is_library => others.push(path),
                    false => {}
                }
            }
        }
        (named, others)
    }
}

/// A backbone in a library, as a file, or in this program.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The place of the plugin that offers it.
    pub origin: Origin,
    /// Descriptor of the backbone.
    pub descriptor: Descriptor,
    /// The place of the plugin that offers the same name and comes earlier in the search path, if there is one.
    pub shadowed_by: Option<Origin>,
}

/// A library or a backbone file that cannot be used.
#[derive(Debug)]
pub struct Refused {
    /// The library, or the backbone file.
    pub origin: Origin,
    /// The reason.
    pub error: PluginError,
}

/// All backbones in the search path.
#[derive(Debug)]
pub struct Catalog {
    probe: Probe,
    path: SearchPath,
    /// Backbones that were found, in the order of the search.
    pub found: Vec<Found>,
    /// Libraries and files that were refused.
    pub refused: Vec<Refused>,
    /// Libraries in the same folders that do not have the name of a plugin.
    pub passed_over: Vec<PathBuf>,
}

impl Catalog {
    /// Asks every library in the search path for its backbones, and reads every backbone file.
    pub fn scan(path: SearchPath, probe: Probe) -> Self {
        let (libraries, passed_over) = path.libraries();
        // Each answer comes from a separate process, and starting it takes most of the time.
        let answers: Vec<_> = libraries.par_iter().map(|library| path.ask(library, &probe)).collect();
        let linked: Vec<Origin> = path.linked.iter().copied().map(Origin::Linked).collect();
        let mut catalog = Self { probe, path, found: Vec::new(), refused: Vec::new(), passed_over };
        libraries.into_iter().zip(answers).for_each(|(library, answer)| catalog.add(Origin::File(library), answer));
        for origin in linked {
            let answer = Provider::from(&origin).descriptors(&catalog.probe);
            catalog.add(origin, answer);
        }
        catalog
    }

    fn add(&mut self, origin: Origin, answer: Result<Vec<Descriptor>, PluginError>) {
        match answer {
            Ok(descriptors) => {
                for descriptor in descriptors {
                    let first = self.found.iter().find(|found| found.descriptor.name == descriptor.name);
                    let shadowed_by = first.map(|found| found.origin.clone());
                    self.found.push(Found { origin: origin.clone(), descriptor, shadowed_by });
                }
            }
            Err(error) => self.refused.push(Refused { origin, error }),
        }
    }

    /// Finds the backbone that `plugin` names: by its name, by the path of its library (`path/to/lib.so`, or `path/to/lib.so:name` if the
    /// library has several backbones), or by the path of its file (`path/to/NAME.backbone.json`, `path/to/NAME.onnx`).
    ///
    /// # Errors
    /// [`PluginError::Unknown`] with everything that was found; for a path, the reason why the library is refused.
    pub fn find(&mut self, plugin: &str) -> Result<Found, PluginError> {
        let (path, name) = match plugin.rsplit_once(':') {
            Some((path, name)) if from_text(path).is_file() => (path, Some(name)),
            _ => (plugin, None),
        };
        // A text with a folder in it is meant as a path.
        let file = from_text(path);
        if file.is_file() || path.contains(['/', '\\']) {
            let library = std::path::absolute(&file).unwrap_or(file);
            if !library.is_file() {
                return Err(missing(&library));
            }
            let descriptors = self.path.ask(&library, &self.probe)?;
            let wanted = |descriptor: &&Descriptor| name.is_none_or(|name| descriptor.name == name);
            let candidates: Vec<&Descriptor> = descriptors.iter().filter(wanted).collect();
            if let [descriptor] = candidates[..] {
                let origin = Origin::File(library.clone());
                return Ok(Found { origin, descriptor: descriptor.clone(), shadowed_by: None });
            }
            let names: Vec<&str> = descriptors.iter().map(|descriptor| descriptor.name.as_str()).collect();
            let suggestion = format!("; write {path}:NAME with one of: {}", names.join(", "));
            return Err(PluginError::Unknown { name: plugin.to_owned(), suggestion, listing: String::new() });
        }
        let found = self.found.iter().find(|found| found.descriptor.name == plugin).cloned();
        if let Some(found @ Found { origin: Origin::File(_), .. }) = found {
            return Ok(found);
        }
        // If no library could be asked, that is the reason. One of them may have been meant to take the place of what is linked in.
        if let Some(at) = self.refused.iter().position(|refused| refused.error.concerns_all()) {
            return Err(self.refused.swap_remove(at).error);
        }
        if let Some(found) = found {
            let file = format!("{}{plugin}{}", prefix(), std::env::consts::DLL_SUFFIX);
            let is_instead = |refused: &&Refused| refused.origin.file().is_some_and(|path| path.ends_with(&file));
            if let Some(Refused { error, .. }) = self.refused.iter().find(is_instead) {
                tracing::warn!("{error}; the '{plugin}' that is linked into this program is used instead");
            }
            return Ok(found);
        }
        let near = nearest(plugin, self.found.iter().map(|found| found.descriptor.name.as_str()));
        let suggestion = near.map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
        Err(PluginError::Unknown { name: plugin.to_owned(), suggestion, listing: self.listing() })
    }

    /// Describes a backbone that was found. Parameters that the user leaves out take the backbone's defaults.
    ///
    /// # Errors
    /// An unknown parameter, or the plugin's own refusal.
    pub fn describe(&self, found: &Found, parameters: &Map<String, Value>) -> Result<Description, PluginError> {
        let all = found.descriptor.resolve(parameters).map_err(|reason| PluginError::Parameter { reason })?;
        Provider::from(&found.origin).describe(&self.probe, &found.descriptor.name, &all)
    }

    /// What a user should know about the backbone with these parameters before training.
    pub(crate) fn notes(&self, found: &Found, parameters: &Map<String, Value>) -> Result<Option<Notes>, PluginError> {
        Provider::from(&found.origin).notes(parameters)
    }

    /// The bytes of a weight file that the backbone's library, or the model itself, carries. Only a model asks for the parameters.
    ///
    /// # Errors
    /// Those of [`Library::weights`](super::Library::weights).
    pub fn weights(&self, found: &Found, id: &str, parameters: &Map<String, Value>) -> Result<Vec<u8>, PluginError> {
        Provider::from(&found.origin).weights(&self.probe, id, parameters)
    }

    /// A text that lists what was found, what was refused, what was ignored, and where was searched.
    pub fn listing(&self) -> String {
        let mut lines = Vec::new();
        if !self.found.is_empty() {
            lines.push("found:".to_owned());
        }
        for Found { origin, descriptor, shadowed_by } in &self.found {
            let shadow = shadowed_by.as_ref().map(|first| format!(" (shadowed by {first})"));
            let shadow = shadow.unwrap_or_default();
            lines.push(format!("  {:<16} {}{shadow}", descriptor.name, descriptor.summary));
            if !descriptor.weights.is_empty() {
                lines.push(format!("  {:<16} weights: {}", "", descriptor.weights.join(", ")));
            }
            lines.push(match origin {
                Origin::File(path) => format!("  {:<16} {}", "", shown(path)),
                Origin::Linked(_) => format!("  {:<16} linked in", ""),
            });
        }
        if !self.refused.is_empty() {
            lines.push("refused:".to_owned());
        }
        for refused in &self.refused {
            let line = format!("  {}", refused.error);
            // A reason that concerns all plugins is listed only once.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        if !self.passed_over.is_empty() {
            lines.push(format!(
                "passed over (a plugin is found by name only as {}NAME{}; another library can be given by its path):",
                prefix(),
                std::env::consts::DLL_SUFFIX
            ));
        }
        lines.extend(self.passed_over.iter().take(MOST_PASSED_OVER).map(|library| format!("  {}", shown(library))));
        if let Some(more) = self.passed_over.len().checked_sub(MOST_PASSED_OVER).filter(|&more| more > 0) {
            lines.push(format!("  and {more} more"));
        }
        lines.push("searched:".to_owned());
        lines.extend(self.path.folders().iter().map(|folder| {
            let missing = if folder.is_dir() { "" } else { " (not there)" };
            format!("  {}{missing}", shown(folder))
        }));
        if !self.path.linked.is_empty() {
            lines.push(format!("  {} plugins that are linked into this program", self.path.linked.len()));
        }
        if self.path.refuses_libraries() {
            lines.push(format!("  {NO_LIBRARIES}"));
        }
        lines.join("\n")
    }
}

/// The message about plugins in a program that is linked statically.
const NO_LIBRARIES: &str = "this program is linked statically and loads no libraries";

/// Largest number of foreign libraries that are listed. A folder of the system holds hundreds.
const MOST_PASSED_OVER: usize = 10;

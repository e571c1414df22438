use std::path::{Path, PathBuf};

use injerto_files::{from_text, shown};
use injerto_graph::{Description, Descriptor};
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::provider::Provider;
use super::{BackboneFile, PluginError, Probe};

/// Folders in which plugins are looked for, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchPath {
    folders: Vec<PathBuf>,
}

impl SearchPath {
    /// These folders and no others.
    pub fn of(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { folders: folders.into_iter().collect() }
    }

    /// `first`, then the folders of `INJERTO_PLUGIN_PATH`, then where this program lies (and `plugins` beside it), then
    /// the user's data folder.
    pub fn usual(first: impl IntoIterator<Item = PathBuf>) -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut folders: Vec<PathBuf> = first.into_iter().collect();
        if let Some(path) = variable("INJERTO_PLUGIN_PATH") {
            folders.extend(std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty()));
        }
        if let Some(own) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)) {
            folders.extend([own.join("plugins"), own]);
        }
        let home = || variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from);
        let data = if cfg!(windows) {
            variable("APPDATA").map(PathBuf::from)
        } else if cfg!(target_os = "macos") {
            home().map(|home| home.join("Library/Application Support"))
        } else {
            variable("XDG_DATA_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".local/share")))
        };
        folders.extend(data.map(|data| data.join("injerto").join("plugins")));
        Self { folders }
    }

    /// The folders.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Files that are named as plugins are: `libinjerto_plugin_NAME.so` (`.dylib`, `.dll`), and after them those of each
    /// folder that are named `NAME.backbone.json`. Other files in the same folder are left alone.
    fn libraries(&self) -> Vec<PathBuf> {
        let prefix = format!("{}injerto_plugin_", std::env::consts::DLL_PREFIX);
        let mut all: Vec<PathBuf> = Vec::new();
        for folder in &self.folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let named = |path: &PathBuf| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let library = name.starts_with(&prefix) && name.ends_with(std::env::consts::DLL_SUFFIX);
                library || BackboneFile::is_named_so(path)
            };
            let mut here: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(named).collect();
            here.sort_by_cached_key(|path| (BackboneFile::is_named_so(path), path.clone()));
            // The same folder may stand in the path twice.
            here.retain(|path| !all.contains(path));
            all.append(&mut here);
        }
        all
    }
}

/// A backbone in a library, or as a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The library, or the backbone file.
    pub library: PathBuf,
    /// What it says of the backbone.
    pub descriptor: Descriptor,
    /// The library or file that comes earlier in the search path and offers the same name, if there is one.
    pub shadowed_by: Option<PathBuf>,
}

/// A library or a backbone file that cannot be used.
#[derive(Debug)]
pub struct Refused {
    /// The library, or the backbone file.
    pub library: PathBuf,
    /// Why.
    pub error: PluginError,
}

/// All backbones in the search path.
#[derive(Debug)]
pub struct Catalog {
    probe: Probe,
    path: SearchPath,
    /// What was found, in the order of the search.
    pub found: Vec<Found>,
    /// What was refused.
    pub refused: Vec<Refused>,
}

impl Catalog {
    /// Asks every library in the search path what it offers, and reads every backbone file.
    pub fn scan(path: SearchPath, probe: Probe) -> Self {
        let libraries = path.libraries();
        // Each answer comes from a process of its own, and most of the time is its start.
        let answers: Vec<_> = libraries.par_iter().map(|library| Provider::of(library).descriptors(&probe)).collect();
        let mut catalog = Self { probe, path, found: Vec::new(), refused: Vec::new() };
        libraries.into_iter().zip(answers).for_each(|(library, answer)| catalog.add(library, answer));
        catalog
    }

    fn add(&mut self, library: PathBuf, answer: Result<Vec<Descriptor>, PluginError>) {
        match answer {
            Ok(descriptors) => {
                for descriptor in descriptors {
                    let first = self.found.iter().find(|found| found.descriptor.name == descriptor.name);
                    let shadowed_by = first.map(|found| found.library.clone());
                    self.found.push(Found { library: library.clone(), descriptor, shadowed_by });
                }
            }
            Err(error) => self.refused.push(Refused { library, error }),
        }
    }

    /// The backbone that `plugin` names: by its name, or by the path of its library (`path/to/lib.so`, or
    /// `path/to/lib.so:name` where the library has several), or by the path of its file (`path/to/NAME.backbone.json`).
    ///
    /// # Errors
    /// [`PluginError::Unknown`] with all that was found; for a path, why the library is refused.
    pub fn find(&mut self, plugin: &str) -> Result<Found, PluginError> {
        let (path, name) = match plugin.rsplit_once(':') {
            Some((path, name)) if from_text(path).is_file() => (path, Some(name)),
            _ => (plugin, None),
        };
        // Something with a folder in it is meant as a path.
        let file = from_text(path);
        if file.is_file() || path.contains(['/', '\\']) {
            let library = std::path::absolute(&file).unwrap_or(file);
            if !library.is_file() {
                return Err(Provider::of(&library).missing());
            }
            let descriptors = Provider::of(&library).descriptors(&self.probe)?;
            let wanted = |descriptor: &&Descriptor| name.is_none_or(|name| descriptor.name == name);
            let candidates: Vec<&Descriptor> = descriptors.iter().filter(wanted).collect();
            if let [descriptor] = candidates[..] {
                return Ok(Found { library, descriptor: descriptor.clone(), shadowed_by: None });
            }
            let names: Vec<&str> = descriptors.iter().map(|descriptor| descriptor.name.as_str()).collect();
            let suggestion = format!("; write {path}:NAME with one of: {}", names.join(", "));
            return Err(PluginError::Unknown { name: plugin.to_owned(), suggestion, listing: String::new() });
        }
        if let Some(found) = self.found.iter().find(|found| found.descriptor.name == plugin) {
            return Ok(found.clone());
        }
        let near = |found: &&Found| strsim::jaro_winkler(plugin, &found.descriptor.name) > 0.8;
        let suggestion =
            self.found.iter().find(near).map(|found| format!("; did you mean '{}'?", found.descriptor.name));
        let suggestion = suggestion.unwrap_or_default();
        Err(PluginError::Unknown { name: plugin.to_owned(), suggestion, listing: self.listing() })
    }

    /// Describes a backbone that was found. Parameters that the user leaves out take the backbone's defaults.
    ///
    /// # Errors
    /// An unknown parameter, or the plugin's own refusal.
    pub fn describe(&self, found: &Found, parameters: &Map<String, Value>) -> Result<Description, PluginError> {
        let all = found.descriptor.resolve(parameters).map_err(|reason| PluginError::Parameter { reason })?;
        Provider::of(&found.library).describe(&self.probe, &found.descriptor.name, &all)
    }

    /// The bytes of a weight file that the backbone's library carries.
    ///
    /// # Errors
    /// As [`Library::weights`](super::Library::weights)'s.
    pub fn weights(&self, found: &Found, id: &str) -> Result<Vec<u8>, PluginError> {
        Provider::of(&found.library).weights(&self.probe, id)
    }

    /// What was found, what was refused and where was searched, as text.
    pub fn listing(&self) -> String {
        let mut lines = Vec::new();
        if !self.found.is_empty() {
            lines.push("found:".to_owned());
        }
        for Found { library, descriptor, shadowed_by } in &self.found {
            let shadow = shadowed_by.as_ref().map(|first| format!(" (shadowed by {})", shown(first)));
            let shadow = shadow.unwrap_or_default();
            lines.push(format!("  {:<16} {}{shadow}", descriptor.name, descriptor.summary));
            if !descriptor.weights.is_empty() {
                lines.push(format!("  {:<16} weights: {}", "", descriptor.weights.join(", ")));
            }
            lines.push(format!("  {:<16} {}", "", shown(library)));
        }
        if !self.refused.is_empty() {
            lines.push("refused:".to_owned());
        }
        lines.extend(self.refused.iter().map(|refused| format!("  {}", refused.error)));
        lines.push("searched:".to_owned());
        lines.extend(self.path.folders().iter().map(|folder| {
            let missing = if folder.is_dir() { "" } else { " (not there)" };
            format!("  {}{missing}", shown(folder))
        }));
        lines.join("\n")
    }
}

use std::path::Path;

use injerto_files::printable;
use injerto_graph::{Format, Source, WeightSet};
use serde_json::{Map, Value};

use super::word::word;
use super::{BackboneFile, Catalog, Found, PluginError};

/// A backbone that [`Catalog::dump`] has turned into a file.
#[derive(Debug)]
pub struct Dump {
    /// The file.
    pub file: BackboneFile,
    /// Weights that belong beside the file: file name and bytes.
    pub beside: Vec<(String, Vec<u8>)>,
    /// Parts that the file does not contain, with the reasons; one sentence per part.
    pub left_out: Vec<String>,
}

impl Dump {
    /// Writes first the weights beside `path`, and then the file to `path`.
    ///
    /// # Errors
    /// [`PluginError::Io`], which names the file.
    pub fn write(&self, path: &Path) -> Result<(), PluginError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let weights = self.beside.iter().map(|(name, bytes)| (folder.join(name), bytes.as_slice()));
        let json = self.file.to_json();
        for (path, bytes) in weights.chain([(path.to_owned(), json.as_bytes())]) {
            injerto_files::write(&path, bytes).map_err(|source| PluginError::Io { path, source })?;
        }
        Ok(())
    }

    /// The file without weights beside it, for output that is not a folder.
    pub fn alone(mut self) -> Self {
        self.file.description.weights.retain(|set| {
            let published = !matches!(set.source, Source::Path { .. });
            if !published {
                self.left_out.push(format!("weights '{}' are a file, which would have to be beside this one", set.id));
            }
            published
        });
        self.beside.clear();
        self
    }
}

impl Catalog {
    /// Makes a file of the backbone `found` with these parameters, which should be named `NAME.backbone.json`. It has the weight sets
    /// that fit the network; sets that are not published files are put beside it. If `weights` names a set, that set must be among
    /// them, and the parameters that it requires are set unless `parameters` contains them.
    ///
    /// # Errors
    /// Those of [`Catalog::describe`]; weights that are unknown, that require other parameters, or that cannot be read.
    pub fn dump(
        &self,
        found: &Found,
        parameters: &Map<String, Value>,
        weights: Option<&str>,
        name: &str,
    ) -> Result<Dump, PluginError> {
        let mut parameters = parameters.clone();
        if let Some(id) = weights {
            let known = self.describe(found, &parameters)?.weights;
            let Some(set) = known.iter().find(|set| set.id == id) else {
                let ids: Vec<&str> = known.iter().map(|set| set.id.as_str()).collect();
                let (id, backbone) = (printable(id), &found.descriptor.name);
                let listing = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
                return Err(PluginError::Parameter {
                    reason: format!("backbone '{backbone}' has no weights '{id}' (it has: {listing})"),
                });
            };
            if let Some(reason) = contradiction(set, &parameters, false) {
                return Err(PluginError::Parameter { reason });
            }
            parameters.extend(set.requires.clone());
        }
        let mut description = self.describe(found, &parameters)?;
        let all = found.descriptor.resolve(&parameters).map_err(|reason| PluginError::Parameter { reason })?;
        let (mut beside, mut left_out) = (Vec::new(), Vec::new());
        for mut set in std::mem::take(&mut description.weights) {
            if let Some(reason) = contradiction(&set, &all, true) {
                left_out.push(reason);
                continue;
            }
            set.requires.clear();
            let bytes = match &set.source {
                Source::Embedded => Some(self.weights(found, &set.id, &all)?),
                Source::Path { path } => {
                    Some(std::fs::read(path).map_err(|source| PluginError::Io { path: path.into(), source })?)
                }
                Source::Url { .. } | Source::Pypi { .. } => None,
            };
            if let Some(bytes) = bytes {
                // The identifier becomes part of a file name.
                word(&set.id)
                    .map_err(|reason| PluginError::Parameter { reason: format!("name of weights: {reason}") })?;
                let ending = match set.format {
                    Format::Safetensors => "safetensors",
                    Format::Pytorch => "pt",
                    Format::KerasHdf5 => "h5",
                };
                let path = format!("{name}.{}.{ending}", set.id);
                set.source = Source::Path { path: path.clone() };
                beside.push((path, bytes));
            }
            description.weights.push(set);
        }
        let usual = |key: &String| found.descriptor.parameters.get(key).map(|known| &known.default);
        let chosen = all.iter().filter(|(key, value)| usual(key) != Some(*value));
        let chosen: Vec<String> = chosen.map(|(key, value)| format!("{key} = {value}")).collect();
        let summary = match chosen.is_empty() {
            true => found.descriptor.summary.clone(),
            false => format!("{} ({})", found.descriptor.summary, chosen.join(", ")),
        };
        Ok(Dump { file: BackboneFile::new(summary, description), beside, left_out })
    }
}

/// A message about the first parameter that contradicts the weights. If the parameters are `complete`, a missing one contradicts
/// them too.
fn contradiction(set: &WeightSet, parameters: &Map<String, Value>, complete: bool) -> Option<String> {
    let equal = |a: &Value, b: &Value| a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b);
    set.requires.iter().find_map(|(key, needed)| match parameters.get(key) {
        Some(value) if equal(value, needed) => None,
        Some(value) => Some(format!("weights '{}' need {key} = {needed}, and it is {value}", set.id)),
        None if complete => Some(format!("weights '{}' need {key} = {needed}", set.id)),
        None => None,
    })
}

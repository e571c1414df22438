use injerto_graph::{Description, Descriptor};
use serde_json::{Map, Value};

use crate::{Backbone, Parameters as _};

/// The answers of a [`Backbone`], without its type, as [`export!`](crate::export) needs them.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    name: &'static str,
    descriptor: fn() -> Descriptor,
    describe: fn(&Map<String, Value>) -> Result<Description, String>,
    embedded: fn() -> &'static [(&'static str, &'static [u8])],
}

impl Entry {
    /// The entry of a backbone.
    pub const fn of<B: Backbone>() -> Self {
        Self { name: B::NAME, descriptor: descriptor::<B>, describe: describe::<B>, embedded: B::embedded }
    }

    /// The JSON array of all descriptors.
    ///
    /// # Errors
    /// None in practice, because a descriptor is plain data.
    pub fn descriptors(all: &[Self]) -> Result<String, String> {
        let all: Vec<Descriptor> = all.iter().map(|entry| (entry.descriptor)()).collect();
        serde_json::to_string(&all).map_err(|error| error.to_string())
    }

    /// The JSON description of the backbone `name` for a JSON object of parameters.
    ///
    /// # Errors
    /// A message that names the backbone or the parameter that is wrong.
    pub fn describe(all: &[Self], name: &str, parameters: &str) -> Result<String, String> {
        let entry = all.iter().find(|entry| entry.name == name).ok_or_else(|| {
            format!("no backbone '{name}' in this library (it has {})", listed(all.iter().map(|entry| entry.name)))
        })?;
        let given = serde_json::from_str(parameters)
            .map_err(|error| format!("the parameters are not a JSON object: {error}"))?;
        serde_json::to_string(&(entry.describe)(&given)?).map_err(|error| error.to_string())
    }

    /// The weight file `id` that the library carries.
    ///
    /// # Errors
    /// A message with the known identifiers.
    pub fn weights(all: &[Self], id: &str) -> Result<&'static [u8], String> {
        let mut files = all.iter().flat_map(|entry| (entry.embedded)());
        let found = files.find(|(known, _)| *known == id).map(|(_, bytes)| *bytes);
        let known = || listed(all.iter().flat_map(|entry| (entry.embedded)()).map(|(known, _)| *known));
        found.ok_or_else(|| format!("no weights '{id}' in this library (it has {})", known()))
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn descriptor<B: Backbone>() -> Descriptor {
    Descriptor {
        name: B::NAME.to_owned(),
        summary: B::SUMMARY.to_owned(),
        parameters: B::Parameters::documents(),
        weights: B::weights(&B::Parameters::default()).into_iter().map(|set| set.id).collect(),
    }
}

fn describe<B: Backbone>(given: &Map<String, Value>) -> Result<Description, String> {
    let known = Descriptor {
        name: B::NAME.to_owned(),
        summary: String::new(),
        parameters: B::Parameters::documents(),
        weights: Vec::new(),
    };
    let parameters = B::Parameters::read(&known.resolve(given)?)?;
    B::check(&parameters)?;
    let graph = B::graph(&parameters).map_err(|error| error.to_string())?;
    let (preprocessing, weights) = (B::preprocessing(&parameters), B::weights(&parameters));
    Ok(Description { graph, preprocessing, weights })
}

use std::collections::BTreeMap;

use injerto_files::nearest;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use crate::words::{line, name};
use crate::{Graph, Preprocessing, WeightSet, limits};

/// A backbone that a plugin offers. A descriptor can be read without building a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Name that users write as `backbone.plugin`, such as `mobilenet_v2`.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// One line about the backbone.
    #[serde(deserialize_with = "line")]
    pub summary: String,
    /// Parameters of its [`Description`]s, with their defaults.
    #[serde(default, deserialize_with = "named")]
    pub parameters: BTreeMap<String, ParameterDoc>,
    /// Identifiers of its weight sets.
    #[serde(default, deserialize_with = "names")]
    pub weights: Vec<String>,
}

/// A parameter of a backbone: its default and its documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterDoc {
    /// Value that holds unless the user gives another. Its JSON type is the type of the parameter.
    pub default: Value,
    /// One line that says what the parameter does.
    #[serde(deserialize_with = "line")]
    pub doc: String,
    /// The possible words, if the parameter is one of a few words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

impl Descriptor {
    /// Completes `given` with the defaults.
    ///
    /// # Errors
    /// A message that names the parameter, if a parameter is unknown or has another type than its default.
    pub fn resolve(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        for (key, value) in given {
            let Some(known) = self.parameters.get(key) else {
                let names: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
                let suggestion = nearest(key, names.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
                let listing = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(format!(
                    "backbone '{}' has no parameter '{key}' (it has: {listing}){suggestion}",
                    self.name
                ));
            };
            if kind(value) != kind(&known.default) && !known.default.is_null() {
                return Err(format!(
                    "parameter '{key}' of backbone '{}' must be {}, such as {}, not {value}",
                    self.name,
                    kind(&known.default),
                    known.default,
                ));
            }
        }
        let mut all: Map<String, Value> =
            self.parameters.iter().map(|(key, known)| (key.clone(), known.default.clone())).collect();
        all.extend(given.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(all)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// A backbone described for given parameters: the network, how its images are prepared, and where weights come from.
///
/// A description that was read from JSON takes RGB images: the input of its network is [an image](Graph::image_size).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The network.
    #[serde(deserialize_with = "of_images")]
    pub graph: Graph,
    /// How an image becomes the input of the network.
    pub preprocessing: Preprocessing,
    /// Weight sets that fit this network, or another variant of it ([`WeightSet::requires`]).
    #[serde(default)]
    pub weights: Vec<WeightSet>,
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().try_for_each(|name| limits::check_name(name)).map_err(de::Error::custom)?;
    Ok(names)
}

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, ParameterDoc>, D::Error> {
    let parameters = BTreeMap::<String, ParameterDoc>::deserialize(deserializer)?;
    parameters.keys().try_for_each(|name| limits::check_name(name)).map_err(de::Error::custom)?;
    Ok(parameters)
}

/// Reads a graph whose input is an RGB image, for `#[serde(deserialize_with = …)]`.
///
/// # Errors
/// Those of [`Graph::new`] and [`Graph::image_size`].
pub fn of_images<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Graph, D::Error> {
    let graph = Graph::deserialize(deserializer)?;
    graph.image_size().map_err(de::Error::custom)?;
    Ok(graph)
}

//! From what a user says of a backbone to a network and its weights: find the plugin, find the weights, and describe the
//! network as these weights need it.

mod file;

use injerto_files::{from_text, printable};
use injerto_graph::{Description, Graph, GraphError, Preprocessing, WeightSet};
use serde_json::{Map, Value, json};

use crate::plugin::{Catalog, Found, PluginError};
use crate::weights::{BackboneName, Cache, Fit, WeightError, WeightFile, Weights, fetch};

/// What a user says of a backbone.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Name of a plugin, or path of its library.
    pub backbone: &'a str,
    /// Parameters of the plugin.
    pub parameters: &'a Map<String, Value>,
    /// Height and width of the images, for a plugin that takes several.
    pub image_size: Option<[usize; 2]>,
    /// The last layer that is kept.
    pub last_layer: Option<&'a str>,
    /// How pixels become input, where that is not as the weights say.
    pub preprocessing: Option<&'a Preprocessing>,
    /// A weight set's id, `none`, or the path of a file.
    pub weights: &'a str,
    /// Of fresh weights.
    pub seed: u64,
}

/// A backbone as its weights need it.
#[derive(Debug)]
pub struct Resolved {
    /// Its name and all its parameters, those among them that the weights brought.
    pub name: BackboneName,
    /// The whole network, how pixels become its input, and its weight sets.
    pub description: Description,
    /// Its layers up to the last that is kept.
    pub backbone: Graph,
    /// Where its weights come from.
    pub origin: Origin,
    /// What is probably not meant.
    pub warnings: Vec<String>,
    /// Other descriptions of the backbone that take the same tensors.
    pub others: Vec<Other>,
    /// Whether the weights themselves say how pixels become their input: published sets and files of this program do.
    pub is_certain: bool,
    source: Source,
    seed: u64,
}

/// Another description that the same tensors fit.
#[derive(Debug)]
pub struct Other {
    /// The parameters in which it differs.
    pub parameters: Map<String, Value>,
    /// The description.
    pub description: Description,
}

/// Where weights come from; shown, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// They are drawn.
    Fresh,
    /// A weight set.
    Set {
        /// Its id.
        id: String,
        /// Who trained it on what.
        summary: String,
        /// Its licence.
        licence: String,
    },
    /// A file of the user's.
    File {
        /// Its path, fit for a terminal.
        path: String,
        /// What it was recognised as and what it brought, in words; empty where nothing is known.
        known: String,
    },
}

impl Origin {
    fn of_set(set: &WeightSet) -> Self {
        Self::Set { id: set.id.clone(), summary: set.summary.clone(), licence: set.licence.clone() }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fresh => f.write_str("fresh"),
            Self::Set { id, summary, licence } => {
                write!(f, "{}: {} ({})", printable(id), printable(summary), printable(licence))
            }
            Self::File { path, known } if known.is_empty() => f.write_str(path),
            Self::File { path, known } => write!(f, "{path}: {known}"),
        }
    }
}

/// What the weights are read from.
#[derive(Debug)]
enum Source {
    Fresh,
    Set(Box<WeightSet>, Box<Found>),
    File(Box<WeightFile>, Box<Fit>),
}

/// Why a backbone cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Its plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// Its weights.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// Its last layer.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Catalog {
    /// Finds a backbone, and describes it as its weights need it. Nothing is fetched yet.
    ///
    /// # Errors
    /// A plugin, a set or a file that is not there; a file that does not fit; parameters that contradict the weights.
    pub fn resolve(&mut self, ask: &Ask<'_>) -> Result<Resolved, ResolveError> {
        let found = self.find(ask.backbone)?;
        let mut given = ask.parameters.clone();
        let sized = found.descriptor.parameters.contains_key("input_shape");
        if let Some(size) = ask.image_size.filter(|_| sized) {
            given.insert("input_shape".to_owned(), json!(size));
        }
        let plain = self.describe(&found, &given)?;
        let set = plain.weights.iter().find(|set| set.id == ask.weights).cloned();
        let path = &from_text(ask.weights);
        let mut resolved = match (ask.weights, set) {
            ("none", _) => self.without_file(&found, given, plain, Origin::Fresh, Source::Fresh)?,
            (_, Some(set)) => {
                let merged = merge(&given, &set.requires).agreed(&format!("weights '{}'", set.id))?;
                let description = self.describe(&found, &merged)?;
                let (origin, source) = (Origin::of_set(&set), Source::Set(Box::new(set), Box::new(found.clone())));
                self.without_file(&found, merged, description, origin, source)?
            }
            _ if path.exists() => file::resolve(self, &found, &given, plain, ask, path)?,
            _ => return Err(unknown(ask.weights, &plain.weights).into()),
        };
        resolved.backbone = cut(&resolved.description.graph, ask.last_layer)?;
        if let Some(preprocessing) = ask.preprocessing {
            let interpolation = resolved.description.preprocessing.interpolation;
            resolved.description.preprocessing = Preprocessing { interpolation, ..preprocessing.clone() };
            resolved.is_certain = false;
        }
        resolved.seed = ask.seed;
        Ok(resolved)
    }

    fn without_file(
        &self,
        found: &Found,
        merged: Map<String, Value>,
        description: Description,
        origin: Origin,
        source: Source,
    ) -> Result<Resolved, ResolveError> {
        Ok(Resolved {
            name: name(found, &merged)?,
            backbone: description.graph.clone(),
            description,
            origin,
            warnings: Vec::new(),
            others: Vec::new(),
            is_certain: true,
            source,
            seed: 0,
        })
    }
}

impl Resolved {
    /// The weights of the layers that are kept; published ones are fetched where the cache does not have them.
    ///
    /// # Errors
    /// Files that cannot be fetched or read, or do not fit.
    pub fn weights(&self, catalog: &Catalog, cache: &Cache) -> Result<Weights, ResolveError> {
        let graph = &self.description.graph;
        let weights = match &self.source {
            Source::Fresh => Weights::initialise(graph, self.seed)?,
            Source::Set(set, found) => {
                let embedded = |id: &str| catalog.weights(found, id).map_err(|error| error.to_string());
                let file = fetch(set, &self.description.weights, cache, &embedded)?;
                Weights::read_bytes(file.bytes, &file.origin, set.format, &set.tensors, graph)?
            }
            Source::File(file, fit) => file.take(fit, graph)?,
        };
        Ok(weights.restricted_to(&self.backbone))
    }
}

/// All parameters of a backbone but the size of its images.
fn name(found: &Found, merged: &Map<String, Value>) -> Result<BackboneName, PluginError> {
    let all = found.descriptor.resolve(merged).map_err(|reason| PluginError::Parameter { reason })?;
    let parameters = all.into_iter().filter(|(key, _)| key != "input_shape").collect();
    Ok(BackboneName { name: found.descriptor.name.clone(), parameters })
}

fn cut(graph: &Graph, last_layer: Option<&str>) -> Result<Graph, GraphError> {
    match last_layer {
        Some(layer) => graph.truncate(graph.position(layer)?),
        None => Ok(graph.clone()),
    }
}

fn unknown(asked: &str, sets: &[WeightSet]) -> WeightError {
    let line = |set: &WeightSet| format!("  {:<26} {} ({})", set.id, set.summary, set.licence);
    let mut known: Vec<String> = sets.iter().map(line).collect();
    known.push(format!("  {:<26} fresh weights, to train from scratch", "none"));
    WeightError::Unknown { asked: printable(asked).to_string(), known: known.join("\n") }
}

/// Parameters that weights need, over those that the user gave.
#[derive(Debug, Clone, PartialEq)]
struct Merged {
    /// The user's where both say something.
    by_user: Map<String, Value>,
    /// The weights' where both say something.
    by_weights: Map<String, Value>,
    /// Where they differ: key, what the weights need, what the user gave.
    conflicts: Vec<(String, Value, Value)>,
}

fn merge(given: &Map<String, Value>, requires: &Map<String, Value>) -> Merged {
    let (mut by_user, mut by_weights, mut conflicts) = (requires.clone(), given.clone(), Vec::new());
    by_user.extend(given.clone());
    by_weights.extend(requires.clone());
    for (key, needed) in requires {
        if let Some(value) = given.get(key).filter(|value| !same(value, needed)) {
            conflicts.push((key.clone(), needed.clone(), value.clone()));
        }
    }
    Merged { by_user, by_weights, conflicts }
}

impl Merged {
    /// The parameters, if user and weights do not contradict each other.
    fn agreed(self, weights: &str) -> Result<Map<String, Value>, WeightError> {
        match self.conflicts.first() {
            None => Ok(self.by_weights),
            Some(_) => Err(self.contradiction(weights, 0)),
        }
    }

    /// The user's parameters with one of the contradictions corrected, for each of them.
    fn corrected(&self) -> Vec<Map<String, Value>> {
        let correct = |(key, needed, _): &(String, Value, Value)| {
            let mut parameters = self.by_user.clone();
            parameters.insert(key.clone(), needed.clone());
            parameters
        };
        self.conflicts.iter().map(correct).collect()
    }

    fn contradiction(&self, weights: &str, at: usize) -> WeightError {
        let (key, needed, given) = self.conflicts[at].clone();
        WeightError::Contradiction {
            weights: weights.to_owned(),
            key,
            needed: needed.to_string(),
            given: given.to_string(),
        }
    }
}

/// Equal, with 1 and 1.0 the same.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

/// Parameters as they are written in an experiment: `variant = "torch", alpha = 1.0`.
pub(crate) fn written(parameters: &Map<String, Value>) -> String {
    let each: Vec<String> = parameters.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    each.join(", ")
}

//! Resolves a backbone: finds the plugin and the weights that the user asked for, and describes the network as these weights need it.

mod file;

use injerto_files::{from_text, printable};
use injerto_graph::{Description, Graph, GraphError, Preprocessing, WeightSet};
use serde_json::{Map, Value, json};

use crate::plugin::{Catalog, Found, LAST_LAYER, OWN_WEIGHTS, PluginError};
use crate::weights::{BackboneName, Cache, Fit, WeightError, WeightFile, Weights, fetch};

/// A user's request for a backbone.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Name of a backbone, or path of its library.
    pub backbone: &'a str,
    /// Parameters of the backbone.
    pub parameters: &'a Map<String, Value>,
    /// Height and width of the images, for a backbone that takes several sizes.
    pub image_size: Option<[usize; 2]>,
    /// The last layer that is kept.
    pub last_layer: Option<&'a str>,
    /// How pixels become input, if it differs from what the weights say.
    pub preprocessing: Option<&'a Preprocessing>,
    /// Identifier of a weight set, `none`, or the path of a file.
    pub weights: &'a str,
    /// Seed of fresh weights.
    pub seed: u64,
}

/// A backbone that is described as its weights need it.
#[derive(Debug)]
pub struct Resolved {
    /// Name and all parameters of the backbone, including those that the weights set.
    pub name: BackboneName,
    /// Description of the whole network, with its preprocessing and its weight sets.
    pub description: Description,
    /// The network up to the last layer that is kept.
    pub backbone: Graph,
    /// Source of the weights.
    pub origin: Origin,
    /// Warnings about parts of the request that are probably mistakes.
    pub warnings: Vec<String>,
    /// Other descriptions of the backbone to which the same tensors fit.
    pub others: Vec<Other>,
    /// Whether the weights themselves say how pixels become their input, as published sets and files of this program do.
    pub is_certain: bool,
    source: Source,
    seed: u64,
}

/// Another description to which the same tensors fit.
#[derive(Debug)]
pub struct Other {
    /// The parameters in which it differs.
    pub parameters: Map<String, Value>,
    /// The description.
    pub description: Description,
}

/// The weights that an experiment asks for if it does not say which.
const USUAL_WEIGHTS: &str = "imagenet";

/// Source of weights. `Display` describes it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Fresh weights, which are drawn.
    Fresh,
    /// A weight set.
    Set {
        /// Identifier of the set.
        id: String,
        /// Who trained the weights, and on which data.
        summary: String,
        /// Its licence.
        licence: String,
    },
    /// A file of the user.
    File {
        /// Its path, fit for a terminal.
        path: String,
        /// How the file was recognised and which parameters it sets, in words; empty if it was not recognised.
        known: String,
    },
}

impl Origin {
    fn of_set(set: &WeightSet) -> Self {
        Self::Set { id: set.id.clone(), summary: set.summary.clone(), licence: set.licence.clone() }
    }

    fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
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

/// The source from which the weights are read.
#[derive(Debug)]
enum Source {
    Fresh,
    Set(Box<WeightSet>, Box<Found>),
    File(Box<WeightFile>, Box<Fit>),
}

/// The reason why a backbone cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The plugin cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The last layer does not exist.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Catalog {
    /// Finds a backbone and describes it as its weights need it. No file is fetched yet.
    ///
    /// # Errors
    /// A plugin, a weight set or a file does not exist; a file does not fit; or parameters contradict the weights.
    pub fn resolve(&mut self, ask: &Ask<'_>) -> Result<Resolved, ResolveError> {
        let found = self.find(ask.backbone)?;
        let mut given = ask.parameters.clone();
        let sized = found.descriptor.parameters.contains_key("input_shape");
        if let Some(size) = ask.image_size.filter(|_| sized) {
            given.insert("input_shape".to_owned(), json!(size));
        }
        // A model may have nodes after its last layer that are no layers.
        if let Some(last) = ask.last_layer.filter(|_| found.descriptor.parameters.contains_key(LAST_LAYER)) {
            given.insert(LAST_LAYER.to_owned(), json!(last));
        }
        let plain = self.describe(&found, &given)?;
        let notes = self.notes(&found, &given)?;
        // A model carries its weights, which are meant if an experiment leaves the key out.
        let asked = if notes.is_some() && ask.weights == USUAL_WEIGHTS { OWN_WEIGHTS } else { ask.weights };
        let set = plain.weights.iter().find(|set| set.id == asked).cloned();
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
        if let Some(notes) = notes {
            // A file of weights, or the user, may say it instead of the model.
            let pixels = notes.pixels.filter(|_| ask.preprocessing.is_none() && !resolved.origin.is_file());
            resolved.is_certain &= pixels.is_none();
            resolved.warnings.extend(pixels.into_iter().chain(notes.folded));
        }
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
    /// Returns the weights of the layers that are kept. Published weights are fetched unless the cache has them.
    ///
    /// # Errors
    /// A file cannot be fetched or read, or does not fit.
    pub fn weights(&self, catalog: &Catalog, cache: &Cache) -> Result<Weights, ResolveError> {
        let graph = &self.description.graph;
        let weights = match &self.source {
            Source::Fresh => Weights::initialise(graph, self.seed)?,
            Source::Set(set, found) => {
                let embedded =
                    |id: &str| catalog.weights(found, id, &self.name.parameters).map_err(|error| error.to_string());
                let file = fetch(set, &self.description.weights, cache, &embedded)?;
                Weights::read_bytes(file.bytes, &file.origin, set.format, &set.tensors, graph)?
            }
            Source::File(file, fit) => file.take(fit, graph)?,
        };
        Ok(weights.restricted_to(&self.backbone))
    }
}

/// Name and parameters of a backbone, without the size of its images.
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

/// The user's parameters, merged with those that weights need.
#[derive(Debug, Clone, PartialEq)]
struct Merged {
    /// The merged parameters, in which the user's value counts if both give one.
    by_user: Map<String, Value>,
    /// The merged parameters, in which the weights' value counts if both give one.
    by_weights: Map<String, Value>,
    /// The contradictions: key, value that the weights need, value that the user gave.
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
    /// The merged parameters, if user and weights do not contradict each other.
    fn agreed(self, weights: &str) -> Result<Map<String, Value>, WeightError> {
        match self.conflicts.first() {
            None => Ok(self.by_weights),
            Some(_) => Err(self.contradiction(weights, 0)),
        }
    }

    /// For each contradiction, the user's parameters with only this contradiction corrected.
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

/// Whether two values are equal, where 1 equals 1.0.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

/// Parameters as an experiment writes them: `variant = "torch", alpha = 1.0`.
pub(crate) fn written(parameters: &Map<String, Value>) -> String {
    let each: Vec<String> = parameters.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    each.join(", ")
}

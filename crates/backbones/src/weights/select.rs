use std::path::{Path, PathBuf};

use injerto_graph::{Format, Graph, Layout, TensorMap, WeightSet};
use serde_json::{Map, Value};

use super::{Cache, WeightError, Weights, fetch};

/// Where a backbone's weights come from, as the user said it.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// Fresh ones.
    None,
    /// One of the description's weight sets.
    Set(Box<WeightSet>),
    /// A file of the user's.
    File(PathBuf),
}

/// Finds what `backbone.weights` names: `none`, a weight set's id, or a file.
///
/// # Errors
/// [`WeightError::Unknown`], with all sets.
pub fn choose(asked: &str, sets: &[WeightSet]) -> Result<Choice, WeightError> {
    if asked == "none" {
        return Ok(Choice::None);
    }
    if let Some(set) = sets.iter().find(|set| set.id == asked) {
        return Ok(Choice::Set(Box::new(set.clone())));
    }
    if Path::new(asked).is_file() {
        return Ok(Choice::File(asked.into()));
    }
    let line = |set: &WeightSet| format!("  {:<26} {} ({})", set.id, set.summary, set.licence);
    let mut known: Vec<String> = sets.iter().map(line).collect();
    known.push(format!("  {:<26} fresh weights, to train from scratch", "none"));
    Err(WeightError::Unknown { asked: asked.to_owned(), known: known.join("\n") })
}

impl Choice {
    /// Parameters that the backbone must be described with for these weights, over the user's own.
    ///
    /// # Errors
    /// [`WeightError::Contradiction`], where the user set one of them otherwise.
    pub fn parameters(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, WeightError> {
        let mut merged = given.clone();
        let Self::Set(set) = self else { return Ok(merged) };
        for (key, needed) in &set.requires {
            match given.get(key) {
                Some(value) if !same(value, needed) => {
                    return Err(WeightError::Contradiction {
                        id: set.id.clone(),
                        key: key.clone(),
                        needed: needed.to_string(),
                        given: value.to_string(),
                    });
                }
                _ => drop(merged.insert(key.clone(), needed.clone())),
            }
        }
        Ok(merged)
    }

    /// The weights for `graph`. `sets` are the description's, whose tensor names may explain a PyTorch file; `embedded`
    /// reads a weight file that the plugin carries.
    ///
    /// # Errors
    /// Files that cannot be fetched, read, or do not fit.
    pub fn load(
        &self,
        graph: &Graph,
        sets: &[WeightSet],
        cache: &Cache,
        seed: u64,
        embedded: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Weights, WeightError> {
        match self {
            Self::None => Ok(Weights::initialise(graph, seed)),
            Self::Set(set) => {
                let file = fetch(set, sets, cache, embedded)?;
                Weights::read_bytes(file.bytes, &file.origin, set.format, &set.tensors, graph)
            }
            Self::File(path) => match path.extension().and_then(|extension| extension.to_str()) {
                Some("safetensors") => {
                    // A checkpoint of ours also holds its head: only the backbone's part is wanted.
                    let map = TensorMap { ignore: checkpoint_surplus(path)?, ..TensorMap::keras() };
                    Weights::read(path, Format::Safetensors, &map, graph)
                }
                Some("pt" | "pth") => {
                    // A set's table of names may explain the file; if none does, the first one's complaint is shown.
                    let plain = TensorMap { layout: Layout::Torch, names: Vec::new(), ignore: Vec::new() };
                    let known = sets.iter().filter(|set| set.format == Format::Pytorch).map(|set| &set.tensors);
                    let read = |map| Weights::read(path, Format::Pytorch, map, graph);
                    let mut attempts = known.chain([&plain]).map(read).peekable();
                    let first = attempts.next().expect("there is the plain one");
                    first.or_else(|error| attempts.find_map(Result::ok).ok_or(error))
                }
                Some("h5" | "hdf5" | "keras") => Weights::read(path, Format::KerasHdf5, &TensorMap::keras(), graph),
                _ => Err(WeightError::Extension { path: path.clone() }),
            },
        }
    }
}

/// Equal, with 1 and 1.0 the same.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

/// In a checkpoint that holds a whole model: names of everything, so that what a backbone does not need is left out.
fn checkpoint_surplus(path: &Path) -> Result<Vec<String>, WeightError> {
    let ours = Weights::metadata(path)?.contains_key("injerto.model");
    Ok(if ours { vec!["*".to_owned()] } else { Vec::new() })
}

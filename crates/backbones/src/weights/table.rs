//! Which tensor of a file is which parameter of a graph.

use std::collections::{BTreeMap, BTreeSet};

use injerto_files::printable;
use injerto_graph::{Graph, Role, TensorMap, matches_pattern};

use super::axes::{channels_last, file_shape, flattened, to_keras};
use super::read::Raw;
use super::{Problems, WeightError, Weights, names};

/// What becomes of tensors that no parameter of the graph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Each is a mistake, unless the table says to ignore it.
    Refused,
    /// They may be a head, an optimiser's state, or whatever else lies beside the weights: only what a network of another
    /// depth would have is a mistake. The names of the table may stand behind a common prefix.
    Beside,
    /// They are of no interest.
    Ignored,
}

/// How well a file's tensors are the parameters of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    table: TensorMap,
    /// What the names of the file have in front of the table's.
    prefix: Prefix,
    /// Name in the file of each parameter that was found.
    places: BTreeMap<String, String>,
    /// What is wrong; nothing if all weights are there.
    pub problems: Problems,
    /// Other prefixes under which the file holds all of them again.
    pub others: Vec<String>,
}

/// What a file's names have in front of a table's, and what they leave out of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Prefix {
    added: String,
    left_out: usize,
}

impl Prefix {
    fn apply(&self, name: &str) -> String {
        format!("{}{}", self.added, &name[self.left_out..])
    }
}

/// Names of copies that lie beside the weights in a training's checkpoint: statistics of optimisers and moving averages.
const ASIDE: [&str; 5] = ["optim", "ema", "average", "teacher", "momentum"];

/// Most prefixes that are tried.
const MOST_PREFIXES: usize = 64;

/// How well `tensors` hold `wanted`, the first layers of `graph`, under the names of `table`.
pub(super) fn fit(
    tensors: &BTreeMap<String, Raw>,
    table: &TensorMap,
    graph: &Graph,
    wanted: &Graph,
    rest: Rest,
) -> Fit {
    let (all, wanted) = (names(graph), names(wanted));
    // Name of each parameter's tensor in the file.
    let in_file: BTreeMap<&str, &str> = match table.names.is_empty() {
        true => all.keys().map(|name| (name.as_str(), name.as_str())).collect(),
        false => table.names.iter().map(|name| (name.parameter.as_str(), name.tensor.as_str())).collect(),
    };
    let prefixes = match rest {
        Rest::Refused | Rest::Ignored => vec![Prefix::default()],
        Rest::Beside => prefixes(tensors, &in_file.values().copied().collect::<Vec<_>>()),
    };
    let of = |prefix: Prefix| {
        let mut found = Fit {
            table: table.clone(),
            prefix,
            places: BTreeMap::new(),
            problems: Problems::default(),
            others: Vec::new(),
        };
        found.place(tensors, &wanted, &in_file);
        let known: BTreeSet<String> = in_file.values().map(|name| found.prefix.apply(name)).collect();
        found.problems.surplus = surplus(tensors, &known, &found, rest);
        found
    };
    let mut fits: Vec<Fit> = prefixes.into_iter().map(of).collect();
    // Copies of an optimiser's or an average come after the weights themselves; of equals the first is the shortest.
    fits.sort_by_key(|fit| (fit.problems.count(), fit.is_aside(), fit.prefix.added.len()));
    let mut fits = fits.into_iter();
    let best = fits.next().unwrap_or_else(|| of(Prefix::default()));
    // The same place may be meant by two prefixes, one of which leaves out what the other adds.
    let is_other = |other: &Fit| {
        other.problems.is_empty()
            && best.problems.is_empty()
            && !other.is_optimizer()
            && other.places.first_key_value() != best.places.first_key_value()
    };
    let others = fits.filter(is_other);
    let others = others.map(|other| other.prefix.added).collect();
    Fit { others, ..best }
}

impl Fit {
    /// What the names in the file begin with, beyond the table's.
    pub fn prefix(&self) -> &str {
        &self.prefix.added
    }

    fn is_aside(&self) -> bool {
        ASIDE.iter().any(|word| self.prefix.added.to_lowercase().contains(word))
    }

    fn is_optimizer(&self) -> bool {
        self.prefix.added.to_lowercase().contains(ASIDE[0])
    }

    /// Finds every wanted parameter's tensor, or says what is wrong with it.
    fn place(
        &mut self,
        tensors: &BTreeMap<String, Raw>,
        wanted: &BTreeMap<String, (Role, Vec<usize>)>,
        in_file: &BTreeMap<&str, &str>,
    ) {
        for (name, (role, shape)) in wanted {
            let own = in_file.get(name.as_str()).copied().unwrap_or(name);
            let tensor = self.prefix.apply(own);
            let Some(raw) = tensors.get(&tensor) else {
                let tensor = printable(&tensor).to_string();
                let expected = file_shape(*role, shape, self.table.layout);
                let what = if tensor == *name { tensor } else { format!("{tensor} (for {name})") };
                self.problems.missing.push(format!("{what} {expected:?}"));
                continue;
            };
            let expected = file_shape(*role, shape, self.table.layout);
            if raw.shape == expected {
                self.places.insert(name.clone(), tensor);
            } else {
                let tensor = printable(&tensor);
                self.problems.misshapen.push(format!("{tensor} is {:?}, expected {expected:?}", raw.shape));
            }
        }
    }

    /// Reads the tensors, checks that they are finite, and converts them.
    pub(super) fn take(
        &self,
        tensors: &BTreeMap<String, Raw>,
        graph: &Graph,
        origin: &str,
    ) -> Result<Weights, WeightError> {
        if !self.problems.is_empty() {
            let (origin, graph) = (origin.to_owned(), graph.name().to_owned());
            return Err(WeightError::Mismatch {
                origin,
                graph,
                problems: Box::new(self.problems.clone()),
                hint: String::new(),
            });
        }
        let (all, flattened) = (names(graph), flattened(graph));
        let mut weights = Weights::default();
        for (name, tensor) in &self.places {
            let (Some(raw), Some((role, shape))) = (tensors.get(tensor), all.get(name)) else { continue };
            let shown = printable(tensor).to_string();
            let bad = |reason| WeightError::Format {
                origin: format!("{origin}, tensor '{shown}'"),
                format: "numbers",
                reason,
            };
            let data = raw.read().map_err(bad)?;
            if data.len() != shape.iter().product::<usize>() {
                return Err(bad(format!("it holds {} of them, its shape is {shape:?}", data.len())));
            }
            if !data.iter().all(|x| x.is_finite()) {
                return Err(WeightError::NotFinite { origin: origin.to_owned(), tensor: shown });
            }
            let mut data = to_keras(*role, shape, self.table.layout, data);
            if let Some(image) = flattened.get(name).filter(|_| self.table.layout == injerto_graph::Layout::Torch) {
                data = channels_last(*image, &data);
            }
            weights.insert(name.clone(), shape.clone(), data);
        }
        Ok(weights)
    }
}

/// Tensors that the graph has no place for and that are a mistake.
fn surplus(tensors: &BTreeMap<String, Raw>, known: &BTreeSet<String>, fit: &Fit, rest: Rest) -> Vec<String> {
    let (prefix, table) = (fit.prefix(), &fit.table);
    let ignored = |name: &str| table.ignore.iter().any(|pattern| matches_pattern(pattern, name));
    let left = tensors.iter().filter_map(|(name, raw)| {
        let own = name.strip_prefix(prefix)?;
        (!known.contains(name) && !ignored(own)).then_some((name, own, raw))
    });
    let shown = |name: &String| printable(name).to_string();
    match rest {
        Rest::Ignored => Vec::new(),
        Rest::Refused => left.map(|(name, _, _)| shown(name)).collect(),
        Rest::Beside => {
            // Counters, such as PyTorch's of batches, are single numbers.
            let left: Vec<_> = left.filter(|(_, _, raw)| !raw.shape.is_empty()).collect();
            let parts: BTreeSet<&str> =
                known.iter().filter_map(|name| name.strip_prefix(prefix)).map(first_part).collect();
            let convolutions: BTreeSet<&str> =
                left.iter().filter(|(_, _, raw)| raw.shape.len() > 2).map(|(_, own, _)| module(own)).collect();
            let deeper = |own: &str| parts.contains(first_part(own)) || convolutions.contains(module(own));
            left.into_iter().filter(|(_, own, _)| deeper(own)).map(|(name, _, _)| shown(name)).collect()
        }
    }
}

fn first_part(name: &str) -> &str {
    name.split(['.', '/']).next().unwrap_or(name)
}

fn module(name: &str) -> &str {
    name.rsplit_once(['.', '/']).map_or("", |(module, _)| module)
}

/// What stands in front of the wanted names in the file: wrappers, dictionaries, the name of the attribute that the backbone
/// was kept in. Those come first that most of the names are found behind.
fn prefixes(tensors: &BTreeMap<String, Raw>, wanted: &[&str]) -> Vec<Prefix> {
    let Some(first) = wanted.first() else { return vec![Prefix::default()] };
    // What all names begin with may be what the file leaves out: the weights of `model.features` alone.
    let ends = first.match_indices('.').map(|(at, _)| at + 1);
    let shared = ends.take_while(|&end| wanted.iter().all(|name| name.starts_with(&first[..end]))).last();
    let step = (wanted.len() / 8).max(1);
    let mut found: BTreeSet<(String, usize)> = BTreeSet::from([(String::new(), 0)]);
    for left_out in [0, shared.unwrap_or(0)] {
        for anchor in wanted.iter().step_by(step).map(|name| &name[left_out..]) {
            for name in tensors.keys() {
                let Some(prefix) = name.strip_suffix(anchor) else { continue };
                if prefix.is_empty() || prefix.ends_with(['.', '/', ':']) {
                    found.insert((prefix.to_owned(), left_out));
                }
            }
        }
    }
    let mut found: Vec<Prefix> = found.into_iter().map(|(added, left_out)| Prefix { added, left_out }).collect();
    // With a hostile file there may be as many as names: the shortest are those that people have.
    found.sort_by_key(|prefix| (prefix.added.len(), prefix.left_out));
    found.truncate(MOST_PREFIXES);
    let hits = |prefix: &Prefix| wanted.iter().filter(|name| tensors.contains_key(&prefix.apply(name))).count();
    let mut counted: Vec<(usize, Prefix)> = found.into_iter().map(|prefix| (hits(&prefix), prefix)).collect();
    let most = counted.iter().map(|(hits, _)| *hits).max().unwrap_or(0);
    counted.retain(|(hits, _)| hits * 2 > most);
    if counted.is_empty() { vec![Prefix::default()] } else { counted.into_iter().map(|(_, prefix)| prefix).collect() }
}

//! Finds the tensor of a file for each parameter of a graph.

use std::collections::{BTreeMap, BTreeSet};

use injerto_files::printable;
use injerto_graph::{Graph, Role, TensorMap, matches_pattern};

use super::axes::{channels_last, file_shape, flattened, to_keras};
use super::read::Raw;
use super::{Problems, WeightError, Weights, names};

/// How tensors are treated that do not belong to a parameter of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Each such tensor is a problem, unless the table says to ignore it.
    Refused,
    /// Such tensors may be a head, the state of an optimiser, or something else beside the weights. Only a tensor that a network of
    /// another depth would have is a problem. The names of the table may follow a common prefix.
    Beside,
    /// Such tensors are ignored.
    Ignored,
}

/// How well the tensors of a file fit the parameters of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    table: TensorMap,
    /// Prefix of the names in the file, before those of the table.
    prefix: Prefix,
    /// Name in the file of each parameter that was found.
    places: BTreeMap<String, String>,
    /// Problems; empty if all weights were found.
    pub problems: Problems,
    /// Other prefixes with which the file contains all weights again.
    pub others: Vec<String>,
}

/// The text that the names of a file add before those of a table, and the text that they leave out.
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

/// Parts of the names of copies beside the weights in a checkpoint: statistics of optimisers, and moving averages.
const ASIDE: [&str; 5] = ["optim", "ema", "average", "teacher", "momentum"];

/// Limit for the number of prefixes that are tried.
const MOST_PREFIXES: usize = 64;

/// How well `tensors` fit `wanted`, the first layers of `graph`, if they have the names of `table`.
pub(super) fn fit(
    tensors: &BTreeMap<String, Raw>,
    table: &TensorMap,
    graph: &Graph,
    wanted: &Graph,
    rest: Rest,
) -> Fit {
    let (all, wanted) = (names(graph.nodes()), names(wanted.nodes()));
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
    // Copies of an optimiser or an average come after the weights themselves; of equals the shortest prefix comes first.
    fits.sort_by_key(|fit| (fit.problems.count(), fit.is_aside(), fit.prefix.added.len()));
    let mut fits = fits.into_iter();
    let best = fits.next().unwrap_or_else(|| of(Prefix::default()));
    // Two prefixes may mean the same place, if one leaves out what the other adds.
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
    /// The prefix that the names in the file add.
    pub fn prefix(&self) -> &str {
        &self.prefix.added
    }

    fn is_aside(&self) -> bool {
        ASIDE.iter().any(|word| self.prefix.added.to_lowercase().contains(word))
    }

    fn is_optimizer(&self) -> bool {
        self.prefix.added.to_lowercase().contains(ASIDE[0])
    }

    /// Finds the tensor of every wanted parameter, or notes the problem.
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
            if fits(&raw.shape, &expected) {
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
        let (all, flattened) = (names(graph.nodes()), flattened(graph));
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
                return Err(bad(format!("it holds {} values, but its shape is {shape:?}", data.len())));
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

/// Tensors that the graph does not have and that are a problem.
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
            // Counters, such as PyTorch's counter of batches, are single numbers.
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

/// Whether a tensor has the wanted shape, but perhaps for sides of length 1, which PyTorch's modules add to broadcast a scale or to write
/// a dense layer as a convolution, and which change no value's place.
fn fits(found: &[usize], expected: &[usize]) -> bool {
    let sides = |shape: &[usize]| shape.iter().copied().filter(|&side| side != 1).collect::<Vec<usize>>();
    found == expected || sides(found) == sides(expected)
}

fn first_part(name: &str) -> &str {
    name.split(['.', '/']).next().unwrap_or(name)
}

fn module(name: &str) -> &str {
    name.rsplit_once(['.', '/']).map_or("", |(module, _)| module)
}

/// Prefixes of the wanted names in the file, which come from wrappers, dictionaries, or the attribute that held the backbone. The
/// prefix with which most names are found comes first.
fn prefixes(tensors: &BTreeMap<String, Raw>, wanted: &[&str]) -> Vec<Prefix> {
    let Some(first) = wanted.first() else { return vec![Prefix::default()] };
    // The file may leave out a common beginning of all names, as in the weights of `model.features` alone.
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
    // A hostile file may have as many prefixes as names. Real files have short prefixes, so these come first.
    found.sort_by_key(|prefix| (prefix.added.len(), prefix.left_out));
    found.truncate(MOST_PREFIXES);
    let hits = |prefix: &Prefix| wanted.iter().filter(|name| tensors.contains_key(&prefix.apply(name))).count();
    let mut counted: Vec<(usize, Prefix)> = found.into_iter().map(|prefix| (hits(&prefix), prefix)).collect();
    let most = counted.iter().map(|(hits, _)| *hits).max().unwrap_or(0);
    counted.retain(|(hits, _)| hits * 2 > most);
    if counted.is_empty() { vec![Prefix::default()] } else { counted.into_iter().map(|(_, prefix)| prefix).collect() }
}

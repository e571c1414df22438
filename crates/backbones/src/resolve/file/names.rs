//! Recognises a file of weights by the names of its tensors, or by their shapes alone.

use injerto_graph::{Description, Format, Layout, TensorMap, WeightSet};
use serde_json::{Map, Value, json};

use super::{Chosen, Search};
use crate::resolve::{Merged, Other, ResolveError, merge};
use crate::weights::{BackboneCard, Fit, Rest};

/// A table of tensor names, and the parameters of the backbone that it requires.
struct Candidate {
    table: TensorMap,
    requires: Map<String, Value>,
    /// The weight set with these tensor names. If there is none, the names are the graph's own and prove nothing.
    set: Option<WeightSet>,
}

/// A description that fits the file, with its candidate, its parameters and how the file fits.
type Fitting<'c> = (&'c Candidate, Map<String, Value>, Description, Fit);

impl Search<'_> {
    /// Recognises a file by the names of its tensors, or by their shapes alone.
    pub(super) fn by_names(&mut self) -> Result<Chosen, ResolveError> {
        let (named, plain) = self.candidates();
        let mut best = None;
        if let Some(chosen) = self.by_framework(&named, &mut best)? {
            return Ok(chosen);
        }
        // The graph's own names prove nothing: the file may belong to any description with the same shapes.
        let mut fitting = self.fitting(&plain, &mut best)?;
        if fitting.is_empty() {
            self.check_contradictions(&plain)?;
            let hint = self.hint()?;
            return Err(self.mismatch(best, hint));
        }
        let (candidate, parameters, description, fit) = fitting.remove(0);
        let others = self.others(fitting, &parameters, &description);
        Ok(Chosen { others, ..self.chosen(candidate, parameters, description, fit) })
    }

    /// Recognises a file by the names that a framework gives; `None` if no table of names fits. Of the attempts that do not fit,
    /// the best one is kept in `best`.
    fn by_framework(
        &mut self,
        named: &[Candidate],
        best: &mut Option<(Description, Fit)>,
    ) -> Result<Option<Chosen>, ResolveError> {
        // Names that a framework gives prove where the file is from, so the user's parameters cannot contradict them.
        let (mut by_user, mut refused) = (None, None);
        for candidate in named {
            let merged = merge(self.given, &candidate.requires);
            let mut fits = [false, false];
            for (fits, parameters) in fits.iter_mut().zip([&merged.by_user, &merged.by_weights]) {
                let Some((description, fit)) = self.attempt(&candidate.table, parameters, Rest::Beside)? else {
                    continue;
                };
                *fits = fit.problems.is_empty();
                if *fits && merged.conflicts.is_empty() {
                    return Ok(Some(self.chosen(candidate, parameters.clone(), description, fit)));
                }
                if *fits && std::ptr::eq(parameters, &merged.by_user) {
                    by_user.get_or_insert((candidate, parameters.clone(), description, fit));
                } else {
                    better(best, description, fit);
                }
            }
            // The names prove the parameter although the shapes do not, since either value of the parameter fits.
            let proved = fits[0] && self.guilty(candidate, &merged)?.is_some();
            if fits[1] || proved {
                let what = format!("the weights in {} {} and", self.file.origin(), self.named_as(candidate));
                let at = self.guilty(candidate, &merged)?.unwrap_or(0);
                refused.get_or_insert((fits[0], merged.contradiction(&what, at)));
            }
        }
        match (by_user, refused) {
            (_, Some((true, error))) | (None, Some((false, error))) => Err(error.into()),
            (Some((candidate, parameters, description, fit)), _) => {
                Ok(Some(self.chosen(candidate, parameters, description, fit)))
            }
            (None, None) => Ok(None),
        }
    }

    /// All descriptions whose shapes fit the file under the user's parameters. Of the attempts that do not fit, the best one is
    /// kept in `best`.
    fn fitting<'c>(
        &mut self,
        plain: &'c [Candidate],
        best: &mut Option<(Description, Fit)>,
    ) -> Result<Vec<Fitting<'c>>, ResolveError> {
        let mut fitting = Vec::new();
        for candidate in plain {
            let merged = merge(self.given, &candidate.requires);
            let Some((description, fit)) = self.attempt(&candidate.table, &merged.by_user, Rest::Beside)? else {
                continue;
            };
            match fit.problems.is_empty() {
                true => fitting.push((candidate, merged.by_user, description, fit)),
                false => better(best, description, fit),
            }
        }
        Ok(fitting)
    }

    /// Fails if the file fits a description whose parameters contradict those of the user.
    fn check_contradictions(&mut self, plain: &[Candidate]) -> Result<(), ResolveError> {
        for candidate in plain {
            let merged = merge(self.given, &candidate.requires);
            if merged.conflicts.is_empty() {
                continue;
            }
            if let Some((_, fit)) = self.attempt(&candidate.table, &merged.by_weights, Rest::Beside)?
                && fit.problems.is_empty()
            {
                let at = self.guilty(candidate, &merged)?.unwrap_or(0);
                let what = format!("the weights in {}", self.file.origin());
                return Err(merged.contradiction(&what, at).into());
            }
        }
        Ok(())
    }

    /// The descriptions in `fitting` whose networks compute something else than the chosen one.
    fn others(
        &self,
        mut fitting: Vec<Fitting<'_>>,
        parameters: &Map<String, Value>,
        description: &Description,
    ) -> Vec<Other> {
        let card = BackboneCard {
            backbone: None,
            graph: description.graph.clone(),
            preprocessing: description.preprocessing.clone(),
        };
        let scaled = self.ask.preprocessing.is_some();
        fitting.retain(|(_, _, other, _)| {
            !card.computes_as(&other.graph) || (!scaled && !card.sees_as(&other.preprocessing))
        });
        let mut others: Vec<Other> = Vec::new();
        for (_, other, description, _) in fitting {
            let parameters = self.differing(&other, parameters);
            if others.iter().all(|known| known.parameters != parameters) {
                others.push(Other { parameters, description });
            }
        }
        others
    }

    /// Tables whose names prove where a file is from, and tables whose names prove nothing.
    fn candidates(&self) -> (Vec<Candidate>, Vec<Candidate>) {
        let sets = self.sets();
        let of = |set: &WeightSet| Candidate {
            table: set.tensors.clone(),
            requires: set.requires.clone(),
            set: Some(set.clone()),
        };
        let of_keras = |set: &&WeightSet| set.format == Format::KerasHdf5;
        let is_keras = self.file.format() == Format::KerasHdf5;
        let named: Vec<Candidate> = match is_keras {
            true => sets.iter().filter(of_keras).map(of).collect(),
            false => sets.iter().filter(|set| !set.tensors.names.is_empty()).map(of).collect(),
        };
        if is_keras && !named.is_empty() {
            return (named, Vec::new());
        }
        let mut plain: Vec<Candidate> = Vec::new();
        for requires in [Map::new()].into_iter().chain(sets.into_iter().map(|set| set.requires)) {
            for layout in [Layout::Keras, Layout::Torch] {
                let table = TensorMap { layout, names: Vec::new(), ignore: Vec::new() };
                if plain.iter().all(|known| known.table != table || known.requires != requires) {
                    plain.push(Candidate { table, requires: requires.clone(), set: None });
                }
            }
        }
        (named, plain)
    }

    /// How the file was recognised, in words.
    fn named_as(&self, candidate: &Candidate) -> String {
        match (&candidate.set, self.file.format()) {
            (Some(_), Format::KerasHdf5) => "come from Keras".to_owned(),
            (Some(set), _) => format!("have the names of '{}'", set.id),
            (None, _) => String::new(),
        }
    }

    fn chosen(
        &self,
        candidate: &Candidate,
        parameters: Map<String, Value>,
        description: Description,
        fit: Fit,
    ) -> Chosen {
        let (named, brought) = (self.named_as(candidate), self.brought(&parameters));
        let named = match named.split_once(' ') {
            Some(("come", from)) => from.to_owned(),
            Some((_, names)) => format!("with {names}"),
            None => String::new(),
        };
        let known = match (named.is_empty(), brought.is_empty()) {
            (_, true) => named,
            (true, false) => format!("it needs {brought}"),
            (false, false) => format!("{named}, which need {brought}"),
        };
        Chosen { parameters, description, fit, known, others: Vec::new(), is_certain: false }
    }

    /// The first contradiction whose correction alone makes the file fit.
    fn guilty(&mut self, candidate: &Candidate, merged: &Merged) -> Result<Option<usize>, ResolveError> {
        for (at, parameters) in merged.corrected().iter().enumerate() {
            if let Some((_, fit)) = self.attempt(&candidate.table, parameters, Rest::Beside)?
                && fit.problems.is_empty()
            {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// A hint that names a boolean parameter of the plugin that would make the file fit.
    fn hint(&mut self) -> Result<String, ResolveError> {
        let switches: Vec<(String, bool)> = self
            .found
            .descriptor
            .parameters
            .iter()
            .filter_map(|(key, parameter)| Some((key.clone(), parameter.default.as_bool()?)))
            .collect();
        for (key, default) in switches {
            let now = self.given.get(&key).and_then(Value::as_bool).unwrap_or(default);
            let mut parameters = self.given.clone();
            parameters.insert(key.clone(), json!(!now));
            for layout in [Layout::Keras, Layout::Torch] {
                let table = TensorMap { layout, names: Vec::new(), ignore: Vec::new() };
                if let Some((_, fit)) = self.attempt(&table, &parameters, Rest::Beside)?
                    && fit.problems.is_empty()
                {
                    return Ok(format!("\nit fits with backbone.parameters = {{ {key} = {} }}", !now));
                }
            }
        }
        Ok(String::new())
    }
}

/// Keeps the attempt with the fewest problems.
fn better(best: &mut Option<(Description, Fit)>, description: Description, fit: Fit) {
    if best.as_ref().is_none_or(|(_, known)| fit.problems.count() < known.problems.count()) {
        *best = Some((description, fit));
    }
}

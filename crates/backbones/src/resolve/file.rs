//! Resolves the backbone for a file of weights: the file decides how the backbone is described.
//!
//! A file is recognised by the first of these that applies: its hash, which may be that of a published set; the card that this program
//! writes into its files; the names of its tensors, which a framework gives; and its shapes, which several descriptions may share.
//! In the last case there is a warning.

use std::path::Path;

use injerto_graph::{Description, Format, Layout, TensorMap, WeightSet};
use serde_json::{Map, Value, json};

use super::Ask;
use super::{Merged, Origin, Other, ResolveError, Resolved, Source, cut, merge, name, same, written};
use crate::plugin::{Catalog, Found};
use crate::weights::{BackboneCard, Fit, Rest, WeightError, WeightFile};

/// Resolves a file of the user.
pub(super) fn resolve(
    catalog: &Catalog,
    found: &Found,
    given: &Map<String, Value>,
    plain: Description,
    ask: &Ask<'_>,
    path: &Path,
) -> Result<Resolved, ResolveError> {
    if path.is_dir() {
        let (origin, reason) = (injerto_files::shown(path).to_string(), "it is a folder".to_owned());
        return Err(WeightError::Unreadable { origin, reason }.into());
    }
    let file = WeightFile::open(path, &plain.weights)?;
    let card = file.card()?;
    let mut search = Search { catalog, found, given, ask, file, described: Vec::new(), plain };
    let mut warnings = Vec::new();
    let chosen = match (search.by_hash()?, card) {
        (Some(chosen), _) => chosen,
        (None, Some(card)) => search.by_card(card, &mut warnings)?,
        (None, None) => search.by_names()?,
    };
    search.resolved(chosen, warnings)
}

/// The search for the description that fits one file.
struct Search<'a> {
    catalog: &'a Catalog,
    found: &'a Found,
    /// Parameters that the user gave.
    given: &'a Map<String, Value>,
    ask: &'a Ask<'a>,
    file: WeightFile,
    /// Description of the backbone with only the user's parameters.
    plain: Description,
    /// Descriptions so far, by parameters; `None` if the plugin refuses the parameters.
    described: Vec<(Map<String, Value>, Option<Description>)>,
}

/// The description that was found to fit the file.
struct Chosen {
    parameters: Map<String, Value>,
    description: Description,
    fit: Fit,
    /// How the file was recognised, and which parameters it sets.
    known: String,
    others: Vec<Other>,
    is_certain: bool,
}

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
    fn describe(&mut self, parameters: &Map<String, Value>) -> Option<Description> {
        if let Some((_, known)) = self.described.iter().find(|(known, _)| known == parameters) {
            return known.clone();
        }
        let description = match parameters == self.given {
            true => Some(self.plain.clone()),
            false => self.catalog.describe(self.found, parameters).ok(),
        };
        self.described.push((parameters.clone(), description.clone()));
        description
    }

    /// How the file fits the network with these parameters; `None` if there is no such network.
    fn attempt(
        &mut self,
        table: &TensorMap,
        parameters: &Map<String, Value>,
        rest: Rest,
    ) -> Result<Option<(Description, Fit)>, ResolveError> {
        let Some(description) = self.describe(parameters) else { return Ok(None) };
        let wanted = cut(&description.graph, self.ask.last_layer)?;
        let fit = self.file.fit(table, &description.graph, &wanted, rest);
        Ok(Some((description, fit)))
    }

    /// The weight sets, sorted so that those come first whose parameters differ least from the defaults.
    fn sets(&self) -> Vec<WeightSet> {
        let mut sets = self.plain.weights.clone();
        let defaults = &self.found.descriptor.parameters;
        let apart = |requires: &Map<String, Value>| {
            let is_default = |(key, value): &(&String, &Value)| {
                defaults.get(*key).is_some_and(|parameter| same(&parameter.default, value))
            };
            requires.iter().filter(|entry| !is_default(entry)).count()
        };
        sets.sort_by_key(|set| apart(&set.requires));
        sets
    }

    /// Recognises the published file of a weight set.
    fn by_hash(&mut self) -> Result<Option<Chosen>, ResolveError> {
        let sets: Vec<WeightSet> = self.sets().into_iter().filter(|set| self.file.is(set)).collect();
        let mut refused = None;
        for set in sets {
            let what = format!("the weights in {} are the published set '{}' and", self.file.origin(), set.id);
            let parameters = match merge(self.given, &set.requires).agreed(&what) {
                Ok(parameters) => parameters,
                Err(error) => {
                    refused.get_or_insert(error);
                    continue;
                }
            };
            if let Some((description, fit)) = self.attempt(&set.tensors, &parameters, Rest::Beside)?
                && fit.problems.is_empty()
            {
                let known = format!("the file of '{}', {}", set.id, set.summary);
                return Ok(Some(Chosen { parameters, description, fit, known, others: Vec::new(), is_certain: true }));
            }
        }
        refused.map_or(Ok(None), |error| Err(error.into()))
    }

    /// Recognises a file of this program by its card.
    fn by_card(&mut self, card: BackboneCard, warnings: &mut Vec<String>) -> Result<Chosen, ResolveError> {
        let what = format!("the weights in {}", self.file.origin());
        let own = card.backbone.as_ref().filter(|own| own.name == self.found.descriptor.name);
        let known = &self.found.descriptor.parameters;
        let own: Option<Map<String, Value>> =
            own.map(|own| own.parameters.clone().into_iter().filter(|(key, _)| known.contains_key(key)).collect());
        // Old files do not contain the parameters, but their layers show them.
        let mut ways: Vec<Map<String, Value>> = own.clone().into_iter().collect();
        if own.is_none() {
            ways.push(Map::new());
            ways.extend(self.sets().into_iter().map(|set| set.requires));
        }
        let merged: Vec<Merged> = ways.iter().map(|requires| merge(self.given, requires)).collect();
        let mut parameters = None;
        for merged in &merged {
            if self.is_of(&card, &merged.by_user) {
                parameters = Some(merged.by_user.clone());
                break;
            }
        }
        if parameters.is_none() {
            for merged in &merged {
                for (at, parameters) in merged.corrected().into_iter().enumerate() {
                    if self.is_of(&card, &parameters) {
                        return Err(merged.contradiction(&what, at).into());
                    }
                }
                if !merged.conflicts.is_empty() && self.is_of(&card, &merged.by_weights) {
                    return Err(merged.contradiction(&what, 0).into());
                }
            }
            warnings.push(format!(
                "{what} belong to a network that plugin '{}' now describes differently; they are used in its present network",
                self.found.descriptor.name
            ));
        }
        let parameters = parameters.unwrap_or_else(|| merged[0].by_user.clone());
        let table = TensorMap::keras();
        let Some((description, fit)) = self.attempt(&table, &parameters, Rest::Ignored)? else {
            self.catalog.describe(self.found, &parameters)?;
            return Err(self.mismatch(None, String::new()));
        };
        if !fit.problems.is_empty() {
            let hint = self.hint_of(&card, &description);
            return Err(self.mismatch(Some((description, fit)), hint));
        }
        if let Some(asked) = self.ask.preprocessing
            && !card.sees_as(asked)
        {
            warnings.push(format!(
                "{what} were trained with another scaling of the pixels than backbone.preprocessing says; leave it out, and \
                 the file's own is taken"
            ));
        }
        let brought = self.brought(&parameters);
        let known = match brought.is_empty() {
            true => "a file of injerto".to_owned(),
            false => format!("a file of injerto, with {brought}"),
        };
        let description = Description { preprocessing: card.preprocessing, ..description };
        Ok(Chosen { parameters, description, fit, known, others: Vec::new(), is_certain: true })
    }

    /// Whether the network with these parameters, at the card's image size, computes the same as the card's network.
    fn is_of(&mut self, card: &BackboneCard, parameters: &Map<String, Value>) -> bool {
        let mut parameters = parameters.clone();
        if self.found.descriptor.parameters.contains_key("input_shape") {
            let shape = &card.graph.input_shape().0;
            parameters.insert("input_shape".to_owned(), json!(shape.get(..2)));
        }
        self.describe(&parameters).is_some_and(|description| card.computes_as(&description.graph))
    }

    /// A hint that says how a file of this program would fit.
    fn hint_of(&self, card: &BackboneCard, description: &Description) -> String {
        let (own, asked) = (&card.graph, &self.found.descriptor.name);
        if let Some(backbone) = card.backbone.as_ref().filter(|backbone| backbone.name != *asked) {
            return format!("\nit holds weights of '{0}'; set backbone.plugin = \"{0}\"", backbone.name);
        }
        match own.nodes().last().filter(|_| own.len() < description.graph.len()) {
            Some(last) if description.graph.position(last.name()).is_ok() => {
                format!("\nit holds the layers up to '{0}'; set backbone.last_layer = \"{0}\"", last.name())
            }
            _ => String::new(),
        }
    }

    /// Recognises a file by the names of its tensors, or by their shapes alone.
    fn by_names(&mut self) -> Result<Chosen, ResolveError> {
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

    /// Parameters that the weights set against the defaults and that the user did not give, as an experiment writes them.
    fn brought(&self, parameters: &Map<String, Value>) -> String {
        let defaults = &self.found.descriptor.parameters;
        let is_new = |(key, value): &(&String, &Value)| {
            let default = defaults.get(*key).is_some_and(|parameter| same(&parameter.default, value));
            !self.given.contains_key(*key) && !default
        };
        written(&parameters.iter().filter(is_new).map(|(key, value)| (key.clone(), value.clone())).collect())
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

    fn mismatch(&self, best: Option<(Description, Fit)>, hint: String) -> ResolveError {
        let (graph, problems) = match best {
            Some((description, fit)) => (description.graph.name().to_owned(), fit.problems),
            None => (self.found.descriptor.name.clone(), Default::default()),
        };
        WeightError::Mismatch { origin: self.file.origin().to_owned(), graph, problems: Box::new(problems), hint }
            .into()
    }

    fn resolved(self, chosen: Chosen, mut warnings: Vec<String>) -> Result<Resolved, ResolveError> {
        let Chosen { parameters, description, fit, known, others, is_certain } = chosen;
        let path = self.file.origin().to_owned();
        if !fit.others.is_empty() {
            warnings.push(format!(
                "{path} holds these weights several times, under '{}' and {}; those of '{0}' are read: to read the others, save \
                them in a separate file",
                injerto_files::printable(fit.prefix()),
                quoted(&fit.others),
            ));
        }
        if !others.is_empty() {
            let ways: Vec<String> =
                others.iter().map(|other| format!("{{ {} }}", written(&other.parameters))).collect();
            let own: Map<String, Value> = others
                .iter()
                .flat_map(|other| other.parameters.keys())
                .filter_map(|key| Some((key.clone(), self.value(&parameters, key)?)))
                .collect();
            let plugin = &self.found.descriptor.name;
            warnings.push(format!(
                "{path} does not say how its weights were trained, and several networks of '{plugin}' have tensors of these \
                shapes: the default, backbone.parameters = {{ {} }}, is used; {} would fit as well. Write one of them into \
                the experiment to decide",
                written(&own),
                ways.join(" and "),
            ));
        }
        let backbone = cut(&description.graph, self.ask.last_layer)?;
        Ok(Resolved {
            name: name(self.found, &parameters)?,
            description,
            backbone,
            origin: Origin::File { path, known },
            warnings,
            others,
            is_certain,
            source: Source::File(Box::new(self.file), Box::new(fit)),
            seed: 0,
        })
    }

    /// The parameters of `other` that differ from those of `own`.
    fn differing(&self, other: &Map<String, Value>, own: &Map<String, Value>) -> Map<String, Value> {
        let differs = |(key, value): &(&String, &Value)| self.value(own, key).is_none_or(|own| !same(&own, value));
        other.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The value of a parameter, given or by default.
    fn value(&self, parameters: &Map<String, Value>, key: &str) -> Option<Value> {
        let default = self.found.descriptor.parameters.get(key).map(|parameter| parameter.default.clone());
        parameters.get(key).cloned().or(default)
    }
}

/// Keeps the attempt with the fewest problems.
fn better(best: &mut Option<(Description, Fit)>, description: Description, fit: Fit) {
    if best.as_ref().is_none_or(|(_, known)| fit.problems.count() < known.problems.count()) {
        *best = Some((description, fit));
    }
}

fn quoted(names: &[String]) -> String {
    let each: Vec<String> = names.iter().map(|name| format!("'{}'", injerto_files::printable(name))).collect();
    each.join(", ")
}

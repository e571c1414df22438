//! Resolves the backbone for a file of weights: the file decides how the backbone is described.
//!
//! A file is recognised by the first of these that applies: its hash, which may be that of a published set; the card that this program
//! writes into its files; the names of its tensors, which a framework gives; and its shapes, which several descriptions may share.
//! In the last case there is a warning.

mod names;

use std::path::Path;

use injerto_graph::{Description, TensorMap, WeightSet};
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

    /// Parameters that the weights set against the defaults and that the user did not give, as an experiment writes them.
    fn brought(&self, parameters: &Map<String, Value>) -> String {
        let defaults = &self.found.descriptor.parameters;
        let is_new = |(key, value): &(&String, &Value)| {
            let default = defaults.get(*key).is_some_and(|parameter| same(&parameter.default, value));
            !self.given.contains_key(*key) && !default
        };
        written(&parameters.iter().filter(is_new).map(|(key, value)| (key.clone(), value.clone())).collect())
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

fn quoted(names: &[String]) -> String {
    let each: Vec<String> = names.iter().map(|name| format!("'{}'", injerto_files::printable(name))).collect();
    each.join(", ")
}

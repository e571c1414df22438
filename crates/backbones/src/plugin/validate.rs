use std::collections::BTreeSet;
use std::path::Path;

use injerto_files::{hex, shown};
use injerto_graph::{Checksum, Description, Descriptor, FreezePlan, LayerRef, Selection, Source, Split, WeightSet};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::provider::Provider;
use super::word::word;
use super::{BackboneFile, PluginError, Probe};
use crate::weights::Weights;

/// One check of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Name of the check.
    pub name: String,
    /// The problem, if there is one.
    pub problem: Option<String>,
}

/// All checks of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.problem.is_none())
    }

    fn check<T>(&mut self, name: impl Into<String>, result: Result<T, String>) -> Option<T> {
        let (value, problem) = match result {
            Ok(value) => (Some(value), None),
            Err(problem) => (None, Some(problem)),
        };
        self.checks.push(Check { name: name.into(), problem });
        value
    }
}

/// Checks a plugin, with each question in a separate process, so that a crash is a result; or checks a backbone file with the
/// weights beside it.
pub fn validate(library: &Path, probe: &Probe) -> Report {
    let mut report = Report { checks: Vec::new() };
    if let Provider::File(path) = Provider::of(library) {
        file(&mut report, path);
        return report;
    }
    if let Provider::Onnx(path) = Provider::of(library) {
        model(&mut report, path, probe);
        return report;
    }
    let identity = probe.identity(library).map_err(|error| error.to_string());
    if report.check("loads, and its table is valid", identity).is_none() {
        return report;
    }
    let descriptors = probe.descriptors(library).map_err(|error| error.to_string());
    let Some(descriptors) = report.check("lists its backbones", descriptors.and_then(some)) else { return report };
    let names: BTreeSet<&str> = descriptors.iter().map(|descriptor| descriptor.name.as_str()).collect();
    let unique =
        if names.len() == descriptors.len() { Ok(()) } else { Err("two backbones have the same name".to_owned()) };
    report.check("names are unique", unique);
    report.check("names are plain words", descriptors.iter().try_for_each(|descriptor| word(&descriptor.name)));
    let stranger = probe.describe(library, "no-such-backbone", &Map::new());
    report.check("refuses an unknown backbone", refused(stranger.map(drop)));
    descriptors.iter().for_each(|descriptor| backbone(&mut report, library, probe, descriptor));
    report
}

fn some(descriptors: Vec<Descriptor>) -> Result<Vec<Descriptor>, String> {
    if descriptors.is_empty() { Err("it offers none".to_owned()) } else { Ok(descriptors) }
}

/// Checks that the plugin refused. An answer, a crash or a hang is a problem.
fn refused(result: Result<(), PluginError>) -> Result<(), String> {
    match result {
        Err(PluginError::Call { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("it answered".to_owned()),
    }
}

/// Values that a parameter should refuse: values of another type, and absurd values of the right type.
fn odd_values(default: &Value) -> Vec<Value> {
    match default {
        Value::Number(_) => vec![json!("many"), json!(0), json!(-1), json!(1e18)],
        Value::Array(_) => vec![json!(1), json!([]), json!([0, 0]), json!([-1, -1]), json!([u32::MAX, u32::MAX])],
        Value::String(_) => vec![json!(1), json!(""), json!("no-such-word")],
        Value::Bool(_) => vec![json!("perhaps")],
        Value::Null | Value::Object(_) => vec![json!([1]), json!("no-such-word")],
    }
}

/// Checks that the plugin refuses odd values or answers with a valid description. A crash, a hang or an invalid graph is a problem.
fn survives(library: &Path, probe: &Probe, descriptor: &Descriptor) -> Result<(), String> {
    for (key, known) in &descriptor.parameters {
        for value in odd_values(&known.default) {
            let given = Map::from_iter([(key.clone(), value)]);
            match probe.describe(library, &descriptor.name, &given) {
                Ok(_) | Err(PluginError::Call { .. }) => {}
                Err(error) => return Err(format!("asked with {}: {error}", Value::Object(given))),
            }
        }
    }
    Ok(())
}

/// Checks that every layer can be the last layer, and that every layer can be the first that trains.
fn cuts(description: &Description) -> Result<(), String> {
    let graph = &description.graph;
    let mut before = usize::MAX;
    for (index, node) in graph.nodes().iter().enumerate() {
        let cut = graph.truncate(index).map_err(|error| format!("cut after '{}': {error}", node.name()))?;
        if cut.output_shape() != &node.shape {
            return Err(format!("cut after '{}', its output is {}", node.name(), cut.output_shape()));
        }
        let from = Selection::FromLayer(LayerRef::Name(node.name().to_owned()));
        let plan = FreezePlan::new(graph, &from).map_err(|error| error.to_string())?;
        let (trainable, rest) = plan.counts(graph);
        let split = Split::new(graph, &plan);
        let whole = trainable + rest == graph.parameter_count() && split.prefix.len() + split.tail.len() == graph.len();
        if trainable > before || !whole || split.boundary.is_empty() {
            return Err(format!("unfrozen from '{}', {trainable} values train and {rest} do not", node.name()));
        }
        before = trainable;
    }
    Ok(())
}

/// Checks that the tensors of the set are the parameters of the graph.
fn names_all(set: &WeightSet, description: &Description) -> Result<(), String> {
    let of = |node: &injerto_graph::Node| -> Vec<String> {
        node.parameters.iter().map(|parameter| format!("{}/{}", node.name(), parameter.name())).collect()
    };
    let parameters: BTreeSet<String> = description.graph.nodes().iter().flat_map(of).collect();
    let mapped: BTreeSet<String> = set.tensors.names.iter().map(|name| name.parameter.clone()).collect();
    // An empty map means the graph's own names.
    if mapped.is_empty() || mapped == parameters {
        return Ok(());
    }
    let odd: Vec<&String> = mapped.symmetric_difference(&parameters).take(5).collect();
    Err(format!("its tensor map and the graph disagree about {odd:?}"))
}

/// Checks that a weight file has the hash of the set.
fn whole(set: &WeightSet, bytes: &[u8]) -> Result<(), String> {
    match &set.checksum {
        Some(Checksum::Sha256(expected)) => {
            let found = hex(Sha256::digest(bytes));
            if found.starts_with(expected.as_str()) { Ok(()) } else { Err(format!("its SHA-256 is {found}")) }
        }
        _ => Ok(()),
    }
}

/// Checks a backbone file.
fn file(report: &mut Report, path: &Path) {
    let read = BackboneFile::read(path).map_err(|error| error.to_string());
    let Some(BackboneFile { description, .. }) =
        report.check("can be read, and describes a valid network for RGB images", read)
    else {
        return;
    };
    report.check("can be cut and unfrozen at every layer", cuts(&description));
    for set in &description.weights {
        let fits = names_all(set, &description);
        report.check(format!("weights '{}' name every parameter of the graph", set.id), fits);
        if let Source::Path { path } = &set.source {
            let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", shown(Path::new(path))));
            report.check(
                format!("weights '{}' are beside the file and whole", set.id),
                bytes.and_then(|b| whole(set, &b)),
            );
            let loaded = Weights::read(Path::new(path), set.format, &set.tensors, &description.graph);
            let loaded = loaded.map(drop).map_err(|error| error.to_string());
            report.check(format!("weights '{}' can be read and fit the graph", set.id), loaded);
        }
    }
}

/// Checks an ONNX model.
fn model(report: &mut Report, path: &Path, probe: &Probe) {
    let provider = Provider::Onnx(path);
    let say = |error: PluginError| error.to_string();
    let described = provider.descriptors(probe).and_then(|_| provider.describe(probe, "", &Map::new())).map_err(say);
    let Some(description) = report.check("all its nodes are layers of a network for RGB images", described) else {
        return;
    };
    report.check("can be cut and unfrozen at every layer", cuts(&description));
    for set in &description.weights {
        let bytes = provider.weights(probe, &set.id, &Map::new()).map_err(say);
        let read = |bytes| Weights::read_bytes(bytes, "the model", set.format, &set.tensors, &description.graph);
        let fits = bytes.and_then(|bytes| read(bytes).map(drop).map_err(|error| error.to_string()));
        report.check(format!("weights '{}' fit the graph", set.id), fits);
    }
}

fn backbone(report: &mut Report, library: &Path, probe: &Probe, descriptor: &Descriptor) {
    let name = &descriptor.name;
    let ask =
        |parameters: &Map<String, Value>| probe.describe(library, name, parameters).map_err(|error| error.to_string());
    let Some(plain) = report.check(format!("{name}: describes a valid network for RGB images"), ask(&Map::new()))
    else {
        return;
    };
    report.check(format!("{name}: can be cut and unfrozen at every layer"), cuts(&plain));
    let same = |other: Description| if other == plain { Ok(()) } else { Err("the answers differ".to_owned()) };
    report.check(format!("{name}: equal questions get equal answers"), ask(&Map::new()).and_then(same));
    let defaults = descriptor.resolve(&Map::new()).unwrap_or_default();
    report.check(format!("{name}: its documented defaults are its defaults"), ask(&defaults).and_then(same));
    let unknown = Map::from_iter([("no-such-parameter".to_owned(), json!(1))]);
    let stranger = probe.describe(library, name, &unknown).map(drop);
    report.check(format!("{name}: refuses an unknown parameter"), refused(stranger));
    report.check(format!("{name}: refuses odd values, or answers"), survives(library, probe, descriptor));

    let listed: BTreeSet<&str> = descriptor.weights.iter().map(String::as_str).collect();
    let described: BTreeSet<&str> = plain.weights.iter().map(|set| set.id.as_str()).collect();
    let agree = if listed == described { Ok(()) } else { Err(format!("{listed:?} listed, {described:?} described")) };
    report.check(format!("{name}: lists the weight sets that it describes"), agree);
    for set in &plain.weights {
        report.check(format!("{name}: weights '{}' have a name that is a plain word", set.id), word(&set.id));
        let fits = ask(&set.requires).and_then(|description| names_all(set, &description));
        report.check(format!("{name}: weights '{}' name every parameter of the graph", set.id), fits);
        if set.source == Source::Embedded {
            let bytes = probe.weights(library, &set.id).map_err(|error| error.to_string());
            let whole = bytes.and_then(|bytes| whole(set, &bytes));
            report.check(format!("{name}: weights '{}' are in the library and whole", set.id), whole);
        }
    }
}

use std::collections::BTreeSet;
use std::path::Path;

use injerto_graph::{Checksum, Description, Descriptor, Source};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Probe;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Nothing, or what is wrong.
    pub problem: Option<String>,
}

/// All checks of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order in which they were made.
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

/// Checks a plugin as a host would meet it, each question in a process of its own, so that a crash is a result.
pub fn validate(library: &Path, probe: &Probe) -> Report {
    let mut report = Report { checks: Vec::new() };
    let identity = probe.identity(library).map_err(|error| error.to_string());
    if report.check("loads, and its table is sound", identity).is_none() {
        return report;
    }
    let descriptors = probe.descriptors(library).map_err(|error| error.to_string());
    let Some(descriptors) = report.check("lists its backbones", descriptors.and_then(some)) else { return report };
    let names: BTreeSet<&str> = descriptors.iter().map(|descriptor| descriptor.name.as_str()).collect();
    let unique = if names.len() == descriptors.len() { Ok(()) } else { Err("two backbones of one name".to_owned()) };
    report.check("names are unique", unique);
    let stranger = probe.describe(library, "no-such-backbone", &Map::new());
    report.check("refuses an unknown backbone", refused(stranger.map(drop)));
    descriptors.iter().for_each(|descriptor| backbone(&mut report, library, probe, descriptor));
    report
}

fn some(descriptors: Vec<Descriptor>) -> Result<Vec<Descriptor>, String> {
    if descriptors.is_empty() { Err("it offers none".to_owned()) } else { Ok(descriptors) }
}

/// A refusal is right; an answer, a crash or a hang is not.
fn refused(result: Result<(), super::PluginError>) -> Result<(), String> {
    match result {
        Err(super::PluginError::Call { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("it answered".to_owned()),
    }
}

fn backbone(report: &mut Report, library: &Path, probe: &Probe, descriptor: &Descriptor) {
    let name = &descriptor.name;
    let ask =
        |parameters: &Map<String, Value>| probe.describe(library, name, parameters).map_err(|error| error.to_string());
    let Some(plain) = report.check(format!("{name}: describes itself, and the graph holds"), ask(&Map::new())) else {
        return;
    };
    let same = |other: Description| if other == plain { Ok(()) } else { Err("the answers differ".to_owned()) };
    report.check(format!("{name}: equal questions get equal answers"), ask(&Map::new()).and_then(same));
    let defaults = descriptor.resolve(&Map::new()).unwrap_or_default();
    report.check(format!("{name}: its documented defaults are its defaults"), ask(&defaults).and_then(same));
    let unknown = Map::from_iter([("no-such-parameter".to_owned(), json!(1))]);
    let stranger = probe.describe(library, name, &unknown).map(drop);
    report.check(format!("{name}: refuses an unknown parameter"), refused(stranger));

    let listed: BTreeSet<&str> = descriptor.weights.iter().map(String::as_str).collect();
    let described: BTreeSet<&str> = plain.weights.iter().map(|set| set.id.as_str()).collect();
    let agree = if listed == described { Ok(()) } else { Err(format!("{listed:?} listed, {described:?} described")) };
    report.check(format!("{name}: lists the weight sets that it describes"), agree);
    for set in &plain.weights {
        let fits = ask(&set.requires).and_then(|description| {
            let parameters: BTreeSet<String> = description
                .graph
                .nodes()
                .iter()
                .flat_map(|node| node.parameters.iter().map(move |p| format!("{}/{}", node.name(), p.name())))
                .collect();
            let mapped: BTreeSet<String> = set.tensors.names.iter().map(|name| name.parameter.clone()).collect();
            // An empty map stands for the graph's own names.
            if mapped.is_empty() || mapped == parameters {
                return Ok(());
            }
            let odd: Vec<&String> = mapped.symmetric_difference(&parameters).take(5).collect();
            Err(format!("its tensor map and the graph disagree about {odd:?}"))
        });
        report.check(format!("{name}: weights '{}' name every parameter of the graph", set.id), fits);
        if set.source == Source::Embedded {
            let bytes = probe.weights(library, &set.id).map_err(|error| error.to_string());
            let whole = bytes.and_then(|bytes| match &set.checksum {
                Some(Checksum::Sha256(expected)) => {
                    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                    if found.starts_with(expected.as_str()) { Ok(()) } else { Err(format!("its SHA-256 is {found}")) }
                }
                _ => Ok(()),
            });
            report.check(format!("{name}: weights '{}' are in the library and whole", set.id), whole);
        }
    }
}

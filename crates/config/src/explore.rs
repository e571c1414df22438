//! Finds out all keys by asking the reader: it reads one small experiment after the other, and what it asks for is noted.
//!
//! So there is no second list of keys that could drift from the first. Each key that comes up is tried with a value of each kind, and with
//! each name that it can have, in the experiment in which it came up. Further keys that the reader then asks for are tried in turn.

use std::path::Path;
use std::sync::OnceLock;

use toml::{Table, Value};

use crate::diagnostic::Problems;
use crate::forms::{CHOSEN, ENTRY, Form, Forms, Kind};
use crate::schema;
use crate::tree::Node;

/// What every experiment must say.
const SHORTEST: &str = "[data]\nroot = \"photos\"\n[backbone]\nplugin = \"small_cnn\"\n[[phases]]\nepochs = 1\n";

/// All keys of an experiment.
pub(crate) fn explore() -> &'static Forms {
    static FOUND: OnceLock<Forms> = OnceLock::new();
    FOUND.get_or_init(all)
}

fn all() -> Forms {
    let base: Table = SHORTEST.parse().expect("an experiment");
    let mut all = Explorer { forms: Forms::default(), waiting: Vec::new() };
    all.read(&base);
    all.go_on();
    // Some keys do nothing without a sibling, and are refused before their values are read.
    let unknown = |all: &Explorer| -> Vec<String> {
        let places = all.forms.places.iter();
        places.filter(|(_, form)| form.kinds.is_empty()).map(|(path, _)| path.clone()).collect()
    };
    for path in unknown(&all) {
        let (table, _) = path.rsplit_once('.').unwrap_or(("", &path));
        let beside = |other: &String| other.rsplit_once('.').map_or("", |(table, _)| table) == table && *other != path;
        let siblings: Vec<String> = all.forms.places.keys().filter(|other| beside(other)).cloned().collect();
        for sibling in siblings {
            for value in values(&all.forms.places[&sibling]) {
                let mut document = base.clone();
                put(&mut document, &sibling, value);
                // The images are either read or drawn.
                if sibling == "data.generated" {
                    document["data"].as_table_mut().expect("a table").remove("root");
                }
                all.waiting.push((document, path.clone()));
            }
        }
        all.go_on();
    }
    all.forms
}

struct Explorer {
    forms: Forms,
    /// Keys to try, each in an experiment.
    waiting: Vec<(Table, String)>,
}

impl Explorer {
    /// Reads an experiment, and notes what is new to be tried in it.
    fn read(&mut self, document: &Table) {
        let text = document.to_string();
        let problems = Problems::noting(std::mem::take(&mut self.forms));
        let known = |forms: &Forms| forms.places.keys().cloned().collect::<std::collections::BTreeSet<_>>();
        let before = problems.forms().map(|forms| known(&forms)).unwrap_or_default();
        if let Some(node) = Node::document(&text, 0, &problems) {
            let _ = schema::experiment(&node, &schema::name_of_file(Path::new("experiment.toml")), &problems);
        }
        self.forms = problems.into_forms();
        self.forms.places.retain(|path, _| !is_deeper(path));
        for path in known(&self.forms).difference(&before) {
            self.waiting.push((document.clone(), path.clone()));
        }
    }

    fn go_on(&mut self) {
        while let Some((document, path)) = self.waiting.pop() {
            let mut tried = Vec::new();
            loop {
                // A try may show further names that a key can be chosen from.
                let next = values(&self.forms.places[&path]).into_iter().find(|value| !tried.contains(value));
                let Some(value) = next else { break };
                let mut with = document.clone();
                put(&mut with, &path, value.clone());
                tried.push(value);
                self.read(&with);
            }
        }
    }
}

/// Whether a path leads through two tables whose keys users choose. Where these may lie in each other (`sweep.random`), one is enough to
/// know what they hold.
fn is_deeper(path: &str) -> bool {
    path.split('.').filter(|step| *step == CHOSEN).count() > 1
}

/// A value of each kind, and those that are known to be taken.
fn values(form: &Form) -> Vec<Value> {
    let table = |value: Value| Value::Table(Table::from_iter([(CHOSEN.to_owned(), value)]));
    let mut all = vec![
        Value::Boolean(true),
        Value::Integer(1),
        Value::Float(0.5),
        Value::String("?".to_owned()),
        Value::Array(vec![Value::String("?".to_owned())]),
        Value::Array(vec![Value::Integer(1), Value::Integer(1)]),
        Value::Table(Table::new()),
        table(Value::Float(0.5)),
        table(Value::String("?".to_owned())),
    ];
    for kind in &form.kinds {
        if let Kind::OneOf(names) = kind {
            all.extend(names.iter().map(|&name| Value::String(name.to_owned())));
        }
    }
    all
}

/// Writes a value at a path of [`Forms`]. What stands in its way is replaced.
fn put(document: &mut Table, path: &str, value: Value) {
    let steps: Vec<&str> = path.split('.').collect();
    let mut target = document.entry(steps[0]).or_insert(Value::Boolean(false));
    for step in &steps[1..] {
        target = match *step {
            ENTRY => {
                if target.as_array().is_none_or(Vec::is_empty) {
                    *target = Value::Array(vec![Value::Boolean(false)]);
                }
                &mut target.as_array_mut().expect("it was made one")[0]
            }
            key => {
                if !target.is_table() {
                    *target = Value::Table(Table::new());
                }
                target.as_table_mut().expect("it was made one").entry(key).or_insert(Value::Boolean(false))
            }
        };
    }
    *target = value;
}

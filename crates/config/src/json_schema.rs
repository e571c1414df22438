//! The schema for editors: JSON Schema of an experiment's file.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Config;
use crate::explore::explore;
use crate::forms::{CHOSEN, ENTRY, Form, Forms, Kind};

/// What the guide says of each key; its tables are the only place for these words.
const GUIDE: &str = include_str!("../../../docs/experiment.md");

/// A key of an experiment's file.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The keys that lead to it, with points between: `data.batch_size`, `phases.[].optimizer.momentum`. An entry of a list is called
    /// `[]`.
    pub path: String,
    /// Its default as TOML, where it has one that depends on nothing else.
    pub default: Option<String>,
    /// What `docs/experiment.md` says of it; empty for keys of nested tables.
    pub meaning: String,
}

/// All keys of an experiment's file, sorted by their paths.
pub fn keys() -> Vec<Key> {
    let (forms, defaults, meanings) = (explore(), defaults(), meanings());
    let named = |path: &&String| path.rsplit('.').next().is_some_and(|key| key != ENTRY && key != CHOSEN);
    let key = |path: &String| Key {
        default: defaults.get(path).map(ToString::to_string),
        meaning: meanings.get(path).map_or_else(String::new, |(_, meaning)| meaning.clone()),
        path: path.clone(),
    };
    forms.places.keys().filter(named).map(key).collect()
}

/// JSON Schema (draft 7) of an experiment's file, for editors. It is made of what the reader asks for. Every experiment that can be read
/// fits it; it does not check how keys depend on each other, nor what is in the folders.
pub fn json_schema() -> Value {
    let (forms, defaults, meanings) = (explore(), defaults(), meanings());
    let words = Words { defaults, meanings };
    let mut schema = table(forms, "", &words);
    let top = schema.as_object_mut().expect("a table");
    top.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    top.insert("title".to_owned(), json!("An experiment of Injerto"));
    let properties = top["properties"].as_object_mut().expect("a table has properties");
    properties.insert(
        "extends".to_owned(),
        json!({"type": "string", "description": "Another experiment; this file states its differences from it."}),
    );
    // A key that a file lacks may be in the file that it extends.
    let required = top.remove("required").unwrap_or_else(|| json!([]));
    top.insert("if".to_owned(), json!({"not": {"required": ["extends"]}}));
    top.insert("then".to_owned(), json!({"required": required}));
    schema
}

struct Words {
    defaults: BTreeMap<String, toml::Value>,
    meanings: BTreeMap<String, (String, String)>,
}

/// The values of the shortest experiment that nothing but the schema has filled in.
fn defaults() -> BTreeMap<String, toml::Value> {
    let own = "[data]\nroot = \"?\"\n[backbone]\nplugin = \"?\"\n[callbacks.early_stopping]\n[callbacks.reduce_lr_on_plateau]\n\
               [[phases]]\nepochs = 1\n";
    let config = Config::parse(own, Path::new("?.toml"), &[]).expect("an experiment");
    let table: toml::Table = config.to_toml().parse().expect("an experiment is TOML");
    let mut all = BTreeMap::new();
    flatten(toml::Value::Table(table), "", &mut all);
    all.retain(|path, value| !matches!(value, toml::Value::String(text) if text == "?") && path != "phases.[].epochs");
    all.remove("phases.[].name");
    all
}

fn flatten(value: toml::Value, path: &str, all: &mut BTreeMap<String, toml::Value>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            table.into_iter().for_each(|(key, value)| flatten(value, &below(&key), all));
        }
        toml::Value::Array(items) if items.first().is_some_and(toml::Value::is_table) => {
            items.into_iter().for_each(|item| flatten(item, &below(ENTRY), all));
        }
        value => {
            all.insert(path.to_owned(), value);
        }
    }
}

/// Default and meaning of each key that the tables of the guide name, below the headings of its sections.
pub(crate) fn meanings() -> BTreeMap<String, (String, String)> {
    let (mut all, mut section, mut nested) = (BTreeMap::new(), None, String::new());
    for line in GUIDE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            nested.clear();
            let name = heading.trim().trim_matches(['`', '[', ']']);
            section = match name {
                "Top level" => Some(String::new()),
                "phases" => Some(format!("phases.{ENTRY}.")),
                name if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => Some(format!("{name}.")),
                _ => None,
            };
        }
        // A heading within a section may be the name of a key whose own keys follow.
        if let Some(heading) = line.strip_prefix("### ") {
            let own = heading.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            nested = own.map_or(String::new(), |name| format!("{name}."));
        }
        let (Some(section), true) = (&section, line.starts_with("| `")) else { continue };
        // A bar within a cell is written with a backslash.
        let line = line.replace("\\|", "\u{0}");
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect();
        let [_, names, default, meaning, _] = &cells[..] else { continue };
        for name in names.split(',') {
            if let Some(key) = name.trim().strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
                all.insert(format!("{section}{nested}{key}"), (default.clone(), plain(meaning)));
            }
        }
    }
    all
}

/// Text without the marks of Markdown: of a link its words alone.
fn plain(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, link)) = rest.split_once('[') {
        plain += before;
        match link.split_once("](") {
            Some((words, after)) if !words.contains('[') => {
                plain += words;
                rest = after.split_once(')').map_or("", |(_, rest)| rest);
            }
            _ => {
                plain.push('[');
                rest = link;
            }
        }
    }
    plain + rest
}

/// The schema of a table: its keys, and whether others may be there.
fn table(forms: &Forms, path: &str, words: &Words) -> Value {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    // The contents of a table within a table whose keys users choose are not explored.
    let mut chosen = json!(path.split('.').any(|step| step == CHOSEN));
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let visits = forms.visits.get(path).copied().unwrap_or(0);
    for (own, form) in &forms.places {
        let Some(key) = own.strip_prefix(&prefix).filter(|key| !key.is_empty() && !key.contains('.')) else { continue };
        match key {
            ENTRY => {}
            CHOSEN => chosen = value(forms, own, form, words),
            key => {
                properties.insert(key.to_owned(), value(forms, own, form, words));
                if form.required > 0 && form.required == visits {
                    required.push(key);
                }
            }
        }
    }
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": chosen});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// The schema of a value.
fn value(forms: &Forms, path: &str, form: &Form, words: &Words) -> Value {
    let entry = || {
        let own = format!("{path}.{ENTRY}");
        forms.places.get(&own).map_or_else(|| json!({}), |form| value(forms, &own, form, words))
    };
    let mut kinds: Vec<Value> = Vec::new();
    for kind in &form.kinds {
        let schema = match kind {
            Kind::Boolean => json!({"type": "boolean"}),
            Kind::Integer { min, max: i64::MAX } => json!({"type": "integer", "minimum": min}),
            Kind::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Kind::Number(which) => json!({"type": "number", "title": which}),
            Kind::Text => json!({"type": "string"}),
            Kind::OneOf(names) => json!({"enum": names}),
            Kind::List => json!({"type": "array", "items": entry()}),
            Kind::Pair => json!({"type": "array", "items": entry(), "minItems": 2, "maxItems": 2}),
            Kind::Anything => json!({"type": "object"}),
            Kind::Table => table(forms, path, words),
        };
        if !kinds.contains(&schema) {
            kinds.push(schema);
        }
    }
    // Keys that users choose are read without a section.
    if forms.places.contains_key(&format!("{path}.{CHOSEN}")) && !form.kinds.contains(&Kind::Table) {
        kinds.push(table(forms, path, words));
    }
    let mut schema = match kinds.len() {
        0 => json!({}),
        1 => kinds.remove(0),
        _ => json!({"anyOf": kinds}),
    };
    if let Some((_, meaning)) = words.meanings.get(path) {
        schema["description"] = json!(meaning);
    }
    if let Some(default) = words.defaults.get(path) {
        schema["default"] = serde_json::to_value(default).expect("a default is plain data");
    }
    schema
}

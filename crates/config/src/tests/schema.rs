//! The schema for editors, and the guide, against what the reader asks for.

use std::path::Path;

use serde_json::Value;

use crate::{Config, json_schema, keys};

/// What is wrong with a value by a schema; of the words of JSON Schema, those that ours uses.
fn wrong(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let problem = |what: &str| Some(format!("{path}: {what}"));
    if let Some(any) = schema["anyOf"].as_array() {
        let found: Vec<String> = any.iter().filter_map(|schema| wrong(schema, value, path)).collect();
        return (found.len() == any.len()).then(|| found.join("; or "));
    }
    if let Some(names) = schema["enum"].as_array() {
        return if names.contains(value) { None } else { problem("none of the names") };
    }
    let fits = match schema["type"].as_str() {
        None => true,
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.as_i64().is_some_and(|number| {
            schema["minimum"].as_i64().is_none_or(|min| number >= min)
                && schema["maximum"].as_i64().is_none_or(|max| number <= max)
        }),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(other) => return problem(&format!("no type {other}")),
    };
    if !fits {
        return problem(&format!("{value} does not fit {schema}"));
    }
    if let Some(items) = value.as_array() {
        let few = schema["minItems"].as_u64().is_some_and(|few| (items.len() as u64) < few);
        let many = schema["maxItems"].as_u64().is_some_and(|many| (items.len() as u64) > many);
        if few || many {
            return problem("another number of entries");
        }
        return (0..).zip(items).find_map(|(at, item)| wrong(&schema["items"], item, &format!("{path}.{at}")));
    }
    let (Some(entries), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else { return None };
    if let Some(missing) = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|key| key.as_str().is_none_or(|key| !entries.contains_key(key)))
    {
        return problem(&format!("no {missing}"));
    }
    entries.iter().find_map(|(key, value)| {
        let below = format!("{path}.{key}");
        match (properties.get(key), &schema["additionalProperties"]) {
            (Some(schema), _) => wrong(schema, value, &below),
            (None, Value::Bool(false)) => Some(format!("{below}: no such key")),
            (None, others) => wrong(others, value, &below),
        }
    })
}

fn json(text: &str) -> Value {
    let table: toml::Table = text.parse().expect("TOML");
    serde_json::to_value(table).expect("plain data")
}

#[test]
fn every_experiment_that_can_be_read_fits_the_schema_for_editors() {
    let schema = json_schema();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("configs/ can be listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("readable");
            assert_eq!(wrong(&schema, &json(&text), "").as_deref(), None, "{}", path.display());
            // Written out, it has every key that it can have.
            let config = Config::load(&path, &[]).expect("an experiment");
            assert_eq!(wrong(&schema, &json(&config.to_toml()), "").as_deref(), None, "{}", path.display());
            read += 1;
        }
    }
    assert!(read > 10, "{read} experiments");
}

#[test]
fn the_schema_knows_every_form_of_a_key_and_refuses_others() {
    let schema = json_schema();
    let short = super::SHORTEST;
    let check = |lines: &str, fits: bool| {
        let table: toml::Table = short.parse().expect("TOML");
        let mut value = serde_json::to_value(table).expect("plain data");
        for (key, own) in json(lines).as_object().expect("a table") {
            match key.as_str() {
                "phase" => own.as_object().expect("keys").iter().for_each(|(key, own)| {
                    value["phases"][0][key] = own.clone();
                }),
                key => own.as_object().expect("keys").iter().for_each(|(name, own)| value[key][name] = own.clone()),
            }
        }
        assert_eq!(wrong(&schema, &value, "").is_none(), fits, "{lines}: {:?}", wrong(&schema, &value, ""));
    };
    for fits in [
        "data.labels = \"a.csv\"",
        "data.labels = { file = \"a.csv\", class = 2, group = \"patient\" }",
        "data.labels = { file = \"a.csv\", class = [\"cat\", \"dog\"], separator = \" \" }",
        "data.labels = { train = \"a.txt\", test = \"b.txt\" }",
        "data.labels.patterns = { cats = \"cat.*\", dogs = [\"dog.*\", \"hund/**\"] }",
        "data.group = \"folder\"",
        "data.group = { exif_seconds = 60 }",
        "data.augment = [\"random_flip\", { name = \"random_rotation\", factor = [-0.1, 0.2] }]",
        "data.image_size = [160, 160]",
        "backbone.parameters = { alpha = 0.35, filters = [4, 8] }",
        "head.dense = [128, { units = 64, activation = \"tanh\" }]",
        "loss.class_weights = \"balanced\"",
        "loss.class_weights = { cats = 1.0, dogs = 2.5 }",
        "phase.unfreeze = { from_layer = \"block_13_expand\" }",
        "phase.unfreeze = { last = 20 }",
        "phase.optimizer = \"adamw\"",
        "phase.optimizer = { name = \"sgd\", momentum = 0.9, clipnorm = 1.0 }",
        "phase.schedule = { name = \"one_cycle\", pct_start = 0.2 }",
        "phase.schedule = { name = \"piecewise\", boundaries = [500, { epochs = 3 }], values = [1e-4, 1e-5] }",
        "phase.learning_rates = { \"block_16_*\" = 0.1, head = 1.0 }",
        "phase.gradual = { stages = 3 }",
        "transfer_gain.seeds = [1, 2]",
    ] {
        check(fits, true);
    }
    for other in [
        "data.batch_sise = 8",
        "data.batch_size = \"8\"",
        "data.batch_size = 0",
        "data.labels = 3",
        "data.image_size = [160]",
        "data.augment = [\"flip\"]",
        "head.pooling = \"mean\"",
        "loss.class_weights = { cats = \"much\" }",
        "phase.unfreeze = \"some\"",
        "phase.optimizer = { name = \"adam\", rate = 0.1 }",
    ] {
        check(other, false);
    }
}

#[test]
fn the_file_for_editors_is_up_to_date() {
    let kept: Value = serde_json::from_str(include_str!("../../../../docs/experiment.schema.json")).expect("JSON");
    let old = "docs/experiment.schema.json is old: write it anew with `injerto schema > docs/experiment.schema.json`";
    assert!(kept == json_schema(), "{old}");
}

#[test]
fn the_guide_names_every_key_with_its_default() {
    let guide = include_str!("../../../../docs/experiment.md");
    let all = keys();
    for key in &all {
        let name = key.path.rsplit('.').next().unwrap_or_default();
        assert!(
            ["`{}", "`[{}]", "`[[{}]]"].iter().any(|form| guide.contains(&form.replace("{}", name)))
                || guide.contains(&format!("{name} = ")),
            "docs/experiment.md does not name `{}`",
            key.path
        );
        let in_a_table = matches!(key.path.split('.').count(), 1 | 2)
            || key.path.starts_with("phases.[].") && key.path.split('.').count() == 3;
        let is_table = all.iter().any(|other| other.path.starts_with(&format!("{}.", key.path)));
        if in_a_table && !is_table {
            assert!(!key.meaning.is_empty(), "no table of docs/experiment.md has a line for `{}`", key.path);
        }
    }
    // The other way round: what the tables name is a key, and the defaults that they name are those of the schema.
    for (path, (default, _)) in crate::json_schema::meanings() {
        let Some(key) = all.iter().find(|key| key.path == path) else {
            panic!("docs/experiment.md names `{path}`, which is no key")
        };
        let literal = default.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
        if let (Some(theirs), Some(ours)) = (literal, &key.default) {
            let value = |text: &str| format!("x = {text}").parse::<toml::Table>().map(|table| table["x"].clone());
            assert_eq!(value(theirs).ok(), value(ours).ok(), "the default of `{path}` in docs/experiment.md");
        }
    }
}

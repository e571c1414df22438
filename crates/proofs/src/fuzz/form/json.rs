//! JSON and TOML: values are changed within their tree.

use serde_json::{Number, Value};

use super::few;
use crate::fuzz::mutate::{Random, WORDS, alter};

/// JSON whose values are changed.
pub fn json(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut value = serde_json::from_slice(bytes).ok()?;
    alter_tree(&mut value, random);
    serde_json::to_vec(&value).ok()
}

/// TOML whose values are changed; `None` also if TOML cannot say what came out.
pub fn toml(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut value: Value = ::toml::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    alter_tree(&mut value, random);
    ::toml::to_string(&value).ok().map(String::into_bytes)
}

/// Changes a few values of a tree.
pub fn alter_tree(value: &mut Value, random: &mut Random) {
    for _ in 0..few(random) {
        let count = count(value);
        let (at, other) = (random.below(count), random.below(count));
        let other = nth(value, &mut { other }).cloned().unwrap_or(Value::Null);
        let texts: Vec<String> =
            (0..4).filter_map(|_| nth(value, &mut random.below(count))?.as_str().map(str::to_owned)).collect();
        if let Some(chosen) = nth(value, &mut { at }) {
            alter_value(chosen, other, &texts, random);
        }
    }
}

/// The number of values in a tree.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// The value at a place, counted from the root, which is at 0.
fn nth<'v>(value: &'v mut Value, at: &mut usize) -> Option<&'v mut Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, at)),
        Value::Object(fields) => fields.values_mut().find_map(|field| nth(field, at)),
        _ => None,
    }
}

/// Changes a value; `other` is a value, and `texts` are texts, from elsewhere in the tree.
fn alter_value(value: &mut Value, other: Value, texts: &[String], random: &mut Random) {
    match random.below(16) {
        0 => return *value = other,
        1 => return *value = serde_json::from_str(random.of::<&str>(&WORDS)).unwrap_or(Value::Null),
        _ => {}
    }
    match value {
        Value::Null => *value = other,
        Value::Bool(flag) => *flag = !*flag,
        Value::Number(number) => *number = near(number, random),
        Value::String(text) => alter_text(text, texts, random),
        Value::Array(items) => match random.below(4) {
            0 => items.push(other),
            _ => super::shuffle(items, random),
        },
        Value::Object(fields) => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let Some(key) = (!keys.is_empty()).then(|| random.of(&keys)) else { return };
            let another = random.of(&keys);
            match random.below(4) {
                0 => drop(fields.shift_remove(key)),
                1 => drop(fields.insert(another.clone(), fields[key].clone())),
                2 => {
                    let (first, second) = (fields[key].clone(), fields[another].clone());
                    fields.insert(another.clone(), first);
                    fields.insert(key.clone(), second);
                }
                _ => drop(fields.insert(texts.first().cloned().unwrap_or_default(), other)),
            }
        }
    }
}

/// A number that is near another, or one that often reveals faults.
fn near(number: &Number, random: &mut Random) -> Number {
    if let Some(whole) = number.as_i64() {
        let changed = match random.below(10) {
            0 | 1 => whole.saturating_add(1),
            2 => whole.saturating_sub(1),
            3 => whole.saturating_mul(2),
            4 => whole / 2,
            5..=7 => random.below(64) as i64,
            8 => random.below(1 << 20) as i64,
            _ => random.bits() as i64,
        };
        return changed.into();
    }
    let real = number.as_f64().unwrap_or(0.0);
    let changed = match random.below(7) {
        0 => real * 2.0,
        1 => real / 2.0,
        2 => -real,
        3 => real + 1.0,
        4 => 0.0,
        5 => *random.of(&[1e-320, 1e-30, 1e30, 1e308, -1e308]),
        _ => f64::from_bits(random.bits()),
    };
    Number::from_f64(changed).unwrap_or_else(|| 0.into())
}

/// Changes a text: another of the tree, some of its bytes, or, where the text is JSON itself, the values in it.
fn alter_text(text: &mut String, texts: &[String], random: &mut Random) {
    if text.starts_with(['{', '['])
        && let Ok(mut inner) = serde_json::from_str::<Value>(text)
    {
        alter_tree(&mut inner, random);
        return *text = inner.to_string();
    }
    if !texts.is_empty() && random.below(2) == 0 {
        return text.clone_from(random.of(texts));
    }
    let mut bytes = std::mem::take(text).into_bytes();
    alter(&mut bytes, random);
    *text = String::from_utf8_lossy(&bytes).into_owned();
}

//! A TOML document in which every key and value knows where it was written, and into which `--set` writes.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Place, Problems};

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub value: Value,
    pub at: Place,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table, its place, and what it holds.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub at: Place,
    pub node: Node,
}

impl Node {
    /// The document `text`, which is the source with index `source`. Of several errors of syntax the first is noted: the others are
    /// often its consequences.
    pub fn document(text: &str, source: usize, problems: &Problems) -> Option<Self> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        if let Some(error) = errors.iter().min_by_key(|error| start(error)) {
            let span = error.span().unwrap_or(0..0);
            let at = Place { source, start: span.start, end: span.end };
            return problems.note(at, format!("this is not TOML: {}", error.message()), None);
        }
        let at = Place { source, start: 0, end: 0 };
        Some(Self { value: Value::Table(entries(table.get_ref(), at, problems)), at })
    }

    /// Takes the value of a key out of this table.
    pub fn take(&mut self, key: &str) -> Option<Self> {
        let Value::Table(entries) = &mut self.value else { return None };
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at).node)
    }

    /// Writes `over` over this: tables merge key by key, every other value takes the place of what was there.
    pub fn overlay(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(entries), Value::Table(others)) => {
                for other in others {
                    match entries.iter_mut().find(|entry| entry.key == other.key) {
                        Some(entry) => {
                            entry.at = other.at;
                            entry.node.overlay(other.node);
                        }
                        None => entries.push(other),
                    }
                }
            }
            (_, value) => *self = Self { value, at: over.at },
        }
    }

    /// Writes what `--set text` says into this document; the text is the source with index `source`.
    pub fn set(&mut self, source: usize, text: &str, problems: &Problems) -> Option<()> {
        let whole = Place { source, start: 0, end: text.len() };
        let Some((path, value)) = text.split_once('=') else {
            let help = "write it as KEY.PATH=VALUE, such as `--set phases.0.epochs=3`".to_owned();
            return problems.note(whole, format!("`--set {text}` has no `=`"), help);
        };
        let keys = keys(path, source);
        if keys.iter().any(|(key, _)| key.is_empty()) || keys.len() > MAX_DEPTH {
            let help = "keys are separated by dots, such as `data.batch_size`".to_owned();
            return problems.note(Place { end: path.len(), ..whole }, format!("`{path}` is no path to a key"), help);
        }
        let value = override_value(value, Place { start: path.len() + 1, ..whole }, problems)?;
        let mut target = self;
        for (depth, (key, at)) in keys.iter().enumerate() {
            let parent = || path.split('.').take(depth).collect::<Vec<_>>().join(".");
            target = match &mut target.value {
                Value::Table(entries) => {
                    let found = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
                        let node = Self { value: Value::Table(Vec::new()), at: *at };
                        entries.push(Entry { key: (*key).to_owned(), at: *at, node });
                        entries.len() - 1
                    });
                    if depth + 1 == keys.len() {
                        entries[found].at = *at;
                    }
                    &mut entries[found].node
                }
                Value::Array(items) => match key.parse().ok().filter(|&index: &usize| index < items.len()) {
                    Some(index) => &mut items[index],
                    None => {
                        let entries = match items.len() {
                            0 => "it is empty".to_owned(),
                            1 => "its only entry is 0".to_owned(),
                            n => format!("its entries are 0 to {}", n - 1),
                        };
                        return problems.note(*at, format!("`{}` has no entry `{key}`", parent()), entries);
                    }
                },
                _ => return problems.note(*at, format!("`{}` is no table, so it has no `{key}`", parent()), None),
            };
        }
        *target = value;
        Some(())
    }

    /// The entries, where this is a table.
    pub fn table(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value in words, for a message that says what was found.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::String(text) if text.chars().count() <= 60 => format!("the string {text:?}"),
            Value::String(_) => "a string".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => toml::Value::Float(*number).to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Datetime(text) => format!("the date {text}"),
            Value::Array(items) if items.is_empty() => "an empty list".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

/// The most keys of a path: more than any key of an experiment has, and few enough for every recursion over a document.
const MAX_DEPTH: usize = 16;

/// The dotted path of a `--set`, with the place of each key.
fn keys(path: &str, source: usize) -> Vec<(&str, Place)> {
    let mut start = 0;
    let keys = path.split('.').map(|part| {
        let key = part.trim();
        let from = start + (part.len() - part.trim_start().len());
        start += part.len() + 1;
        (key, Place { source, start: from, end: from + key.len() })
    });
    keys.collect()
}

/// The value of a `--set`. Text that is not TOML is read as a string, so that a shell's quotes are enough.
fn override_value(text: &str, at: Place, problems: &Problems) -> Option<Node> {
    let start = at.start + (text.len() - text.trim_start().len());
    let text = text.trim();
    let at = Place { source: at.source, start, end: start + text.len() };
    match DeValue::parse(text) {
        Ok(value) => node(&value, Place { start, ..at }, problems),
        // Whoever opens a list, a table or quotes means TOML.
        Err(error) if text.starts_with(['[', '{', '"', '\'']) => {
            problems.note(at, format!("`{text}` is not TOML: {}", error.message()), None)
        }
        Err(_) => Some(Node { value: Value::String(text.to_owned()), at }),
    }
}

fn entries(table: &DeTable<'_>, base: Place, problems: &Problems) -> Vec<Entry> {
    let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
        let key: &Spanned<std::borrow::Cow<'_, str>> = key;
        Some(Entry { key: key.get_ref().to_string(), at: place(key, base), node: node(value, base, problems)? })
    };
    table.iter().filter_map(entry).collect()
}

/// A parsed value whose spans count from `base.start`.
fn node(value: &Spanned<DeValue<'_>>, base: Place, problems: &Problems) -> Option<Node> {
    let at = place(value, base);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => return problems.note(at, format!("{number} is more than TOML's integers hold"), None),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => return problems.note(at, format!("{number} is no number"), None),
        },
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(date) => Value::Datetime(date.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().filter_map(|item| node(item, base, problems)).collect()),
        DeValue::Table(table) => Value::Table(entries(table, base, problems)),
    };
    Some(Node { value, at })
}

fn place<T>(spanned: &Spanned<T>, base: Place) -> Place {
    let span = spanned.span();
    Place { source: base.source, start: base.start + span.start, end: base.start + span.end }
}

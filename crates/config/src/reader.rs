//! Reading tables by rules: a rule turns a value into what it means, or notes what is wrong with it.
//!
//! Reading a key makes it known, so the list of allowed keys cannot drift from the keys that do something.

use crate::diagnostic::{Place, Problems};
use crate::forms::Kind;
use crate::habits::{home, nearest, suggestion};
use crate::tree::{Entry, Node, Value};

/// A value, under the path that `--set` would use for it.
#[derive(Clone)]
pub(crate) struct Field<'n> {
    pub path: String,
    pub node: &'n Node,
    pub problems: &'n Problems,
}

impl<'n> Field<'n> {
    /// Notes that this value is not what it must be.
    pub fn must_be<T>(&self, expected: &str, help: impl Into<Option<String>>) -> Option<T> {
        let message = format!("`{}` must be {expected}, but is {}", self.path, self.node.describe());
        self.problems.note(self.node.at, message, help)
    }

    /// Notes that something about this value is wrong.
    pub fn wrong<T>(&self, message: String, help: impl Into<Option<String>>) -> Option<T> {
        self.problems.note(self.node.at, message, help)
    }

    /// Notes that a value of this kind is taken here.
    pub fn takes(&self, kind: impl FnOnce() -> Kind) {
        if let Some(mut forms) = self.problems.forms().filter(|_| !self.path.is_empty()) {
            forms.takes(&self.path, kind());
        }
    }

    /// Whether this is a table with the key, which then is another form than a table without it.
    pub fn has(&self, key: &str) -> bool {
        if let (Some(mut forms), Some(_)) = (self.problems.forms(), self.node.table()) {
            forms.asks(&format!("{}.{key}", self.path), false);
        }
        self.node.table().is_some_and(|entries| entries.iter().any(|entry| entry.key == key))
    }

    /// A value inside this one.
    pub fn child(&self, key: impl std::fmt::Display, node: &'n Node) -> Self {
        Self { path: format!("{}.{key}", self.path), node, problems: self.problems }
    }

    /// This value as a table whose keys are read one by one.
    pub fn section(&self) -> Option<Section<'n>> {
        self.takes(|| Kind::Table);
        if let Some(mut forms) = self.problems.forms() {
            forms.visits(&self.path);
        }
        match self.node.table() {
            Some(entries) => Some(Section {
                path: self.path.clone(),
                at: Some(self.node.at),
                entries,
                known: Vec::new(),
                missing: Vec::new(),
                noted: true,
                problems: self.problems,
            }),
            None => self.must_be("a table", None),
        }
    }
}

/// A table whose keys are being read.
pub(crate) struct Section<'n> {
    path: String,
    at: Option<Place>,
    entries: &'n [Entry],
    known: Vec<&'static str>,
    missing: Vec<(&'static str, &'static str)>,
    /// Whether the keys that are asked for are noted: not for the options of a name alone, which has no table.
    noted: bool,
    pub problems: &'n Problems,
}

impl<'n> Section<'n> {
    /// The document itself.
    pub fn root(entries: &'n [Entry], problems: &'n Problems) -> Self {
        Self { path: String::new(), at: None, entries, known: Vec::new(), missing: Vec::new(), noted: true, problems }
    }

    /// No table: a name alone, all of whose options have their defaults.
    pub fn of_name(problems: &'n Problems) -> Self {
        Self { noted: false, ..Self::root(&[], problems) }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, if it is there.
    pub fn field(&mut self, key: &'static str) -> Option<Field<'n>> {
        self.asks(key, false);
        self.found(key)
    }

    /// The value of a key that was asked for.
    fn found(&self, key: &str) -> Option<Field<'n>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Field { path: self.path_of(key), node: &entry.node, problems: self.problems })
    }

    fn asks(&mut self, key: &'static str, required: bool) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        if let Some(mut forms) = self.problems.forms().filter(|_| self.noted) {
            forms.asks(&self.path_of(key), required);
        }
    }

    /// A key that may be left out: `Some(None)`. Here and below, `None` means that a problem was noted.
    pub fn optional<T>(&mut self, key: &'static str, rule: impl FnOnce(&Field<'n>) -> Option<T>) -> Option<Option<T>> {
        match self.field(key) {
            Some(field) => rule(&field).map(Some),
            None => Some(None),
        }
    }

    /// A key with a default.
    pub fn or<T>(&mut self, key: &'static str, default: T, rule: impl FnOnce(&Field<'n>) -> Option<T>) -> Option<T> {
        self.optional(key, rule).map(|value| value.unwrap_or(default))
    }

    /// A key that must be there; `example` is a line that would do.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        rule: impl FnOnce(&Field<'n>) -> Option<T>,
    ) -> Option<T> {
        self.asks(key, true);
        let Some(field) = self.found(key) else {
            self.missing.push((key, example));
            return None;
        };
        rule(&field)
    }

    /// A table that may be left out, which is the same as an empty one.
    pub fn table(&mut self, key: &'static str) -> Self {
        let path = self.path_of(key);
        let section = self.field(key).and_then(|field| field.section());
        section.unwrap_or_else(|| {
            if let Some(mut forms) = self.problems.forms() {
                forms.visits(&path);
                forms.takes(&path, Kind::Table);
            }
            Self { path, ..Self::root(&[], self.problems) }
        })
    }

    /// Notes that something about the table as a whole is wrong.
    pub fn wrong<T>(&self, message: String, help: impl Into<Option<String>>) -> Option<T> {
        self.problems.note(self.at, message, help)
    }

    /// Whether a key was read.
    pub fn knows(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// Notes keys that were never read, and keys that had to be there.
    pub fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            if self.problems.are_enough() {
                return;
            }
            let place = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            let near = nearest(&entry.key, &self.known).map(|near| format!("did you mean `{near}`?"));
            let help = near.or_else(|| home(&entry.key));
            let help = help.or_else(|| suggestion(&entry.key, &self.known, "the keys here are"));
            self.problems.note::<()>(entry.at, format!("unknown key `{}`{place}", entry.key), help);
        }
        let unknown = || {
            let keys = self.entries.iter().map(|entry| entry.key.as_str());
            keys.filter(|key| !self.known.contains(key)).take(MAX_LIST)
        };
        for (key, example) in &self.missing {
            // A misspelt key is one mistake, not two.
            if unknown().any(|wrong| nearest(wrong, &self.known) == Some(key)) {
                continue;
            }
            let message = format!("`{}` is missing", self.path_of(key));
            self.problems.note::<()>(self.at, message, format!("add {example}"));
        }
    }
}

/// Any text.
pub(crate) fn text(field: &Field<'_>) -> Option<String> {
    field.takes(|| Kind::Text);
    match &field.node.value {
        Value::String(text) if text.trim().is_empty() => field.must_be("some text", None),
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Table(_) => field.must_be("a string", None),
        _ => field.must_be("a string", "write it in quotes".to_owned()),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(field: &Field<'_>) -> Option<bool> {
    field.takes(|| Kind::Boolean);
    match &field.node.value {
        Value::Boolean(value) => Some(*value),
        Value::String(text) if matches!(text.as_str(), "true" | "false") => {
            field.must_be("true or false", "write it without quotes".to_owned())
        }
        _ => field.must_be("true or false", None),
    }
}

/// An integer from `min` to `max`.
pub(crate) fn integer<T: TryFrom<i64>>(min: i64, max: i64) -> impl Fn(&Field<'_>) -> Option<T> {
    move |field| {
        field.takes(|| Kind::Integer { min, max });
        let expected = if max == i64::MAX {
            format!("an integer of at least {min}")
        } else {
            format!("an integer from {min} to {max}")
        };
        match &field.node.value {
            Value::Integer(number) if (min..=max).contains(number) => match T::try_from(*number) {
                Ok(number) => Some(number),
                Err(_) => field.must_be(&expected, None),
            },
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                field.must_be(&expected, format!("write {number:.0}"))
            }
            Value::String(text) if text.parse::<i64>().is_ok() => {
                field.must_be(&expected, "write it without quotes".to_owned())
            }
            _ => field.must_be(&expected, None),
        }
    }
}

/// A count of at least one and at most `max`.
pub(crate) fn count(max: i64) -> impl Fn(&Field<'_>) -> Option<usize> {
    integer(1, max)
}

/// A number for which `holds`, which `expected` says in words. Whole numbers need no point.
pub(crate) fn number(expected: &'static str, holds: fn(f64) -> bool) -> impl Fn(&Field<'_>) -> Option<f64> {
    move |field| {
        field.takes(|| Kind::Number(expected));
        let number = match &field.node.value {
            Value::Float(number) => *number,
            Value::Integer(number) => *number as f64,
            Value::String(text) if text.parse::<f64>().is_ok() => {
                return field.must_be(expected, "write it without quotes".to_owned());
            }
            _ => return field.must_be(expected, None),
        };
        if number.is_finite() && holds(number) { Some(number) } else { field.must_be(expected, None) }
    }
}

/// A number above 0.
pub(crate) fn positive() -> impl Fn(&Field<'_>) -> Option<f64> {
    number("a number above 0", |value| value > 0.0)
}

/// A number of at least 0.
pub(crate) fn not_negative() -> impl Fn(&Field<'_>) -> Option<f64> {
    number("a number of at least 0", |value| value >= 0.0)
}

/// A share from 0 to 1.
pub(crate) fn share() -> impl Fn(&Field<'_>) -> Option<f64> {
    number("a number from 0 to 1", |share| (0.0..=1.0).contains(&share))
}

/// A share from 0 to below 1.
pub(crate) fn share_below_one() -> impl Fn(&Field<'_>) -> Option<f64> {
    number("a number from 0 to below 1", |share| (0.0..1.0).contains(&share))
}

/// One of a few names.
pub(crate) fn choice<T: Clone>(choices: &[(&'static str, T)]) -> impl Fn(&Field<'_>) -> Option<T> {
    move |field| {
        let names: Vec<&'static str> = choices.iter().map(|(name, _)| *name).collect();
        field.takes(|| Kind::OneOf(names.clone()));
        let Value::String(text) = &field.node.value else {
            let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            return field.must_be(&format!("one of {}", names.join(", ")), None);
        };
        if let Some((_, value)) = choices.iter().find(|(name, _)| name == text) {
            return Some(value.clone());
        }
        let help = suggestion(text, &names, "the choices are");
        field.wrong(format!("`{}` cannot be {text:?}", field.path), help)
    }
}

/// One of the values of a type that knows their names.
pub(crate) fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> impl Fn(&Field<'_>) -> Option<T> {
    let choices: Vec<(&'static str, T)> = all.iter().map(|&value| (name(value), value)).collect();
    move |field| choice(&choices)(field)
}

/// A name alone, or a table with a `name` and what belongs to it. Which other keys there are depends on the name, so a wrong
/// one ends the reading.
pub(crate) fn name_or_table<'n, T: Clone>(
    field: &Field<'n>,
    names: &[(&'static str, T)],
    default: T,
) -> Option<(Section<'n>, T)> {
    match &field.node.value {
        Value::String(_) => Some((Section::of_name(field.problems), choice(names)(field)?)),
        _ => {
            let mut s = field.section()?;
            let name = s.or("name", default, choice(names))?;
            Some((s, name))
        }
    }
}

/// The most entries that a list may have: phases, layers, augmentations, boundaries.
pub(crate) const MAX_LIST: usize = 1000;

/// A list, each entry by `rule`.
pub(crate) fn list<'n, T>(rule: impl Fn(&Field<'n>) -> Option<T>) -> impl Fn(&Field<'n>) -> Option<Vec<T>> {
    move |field| {
        field.takes(|| Kind::List);
        match &field.node.value {
            Value::Array(items) if items.len() > MAX_LIST => {
                let message = format!("`{}` has {} entries, and {MAX_LIST} are the most", field.path, items.len());
                field.wrong(message, None)
            }
            Value::Array(items) => entries(items, &rule, field),
            _ => field.must_be("a list", None),
        }
    }
}

/// The entries of a list, each by `rule`. Every entry is looked at, also after a wrong one.
fn entries<'n, T>(items: &'n [Node], rule: &impl Fn(&Field<'n>) -> Option<T>, field: &Field<'n>) -> Option<Vec<T>> {
    let values: Vec<Option<T>> = items.iter().enumerate().map(|(i, item)| rule(&field.child(i, item))).collect();
    values.into_iter().collect()
}

/// One value, or a list with at least one.
pub(crate) fn one_or_more<'n, T>(rule: impl Fn(&Field<'n>) -> Option<T>) -> impl Fn(&Field<'n>) -> Option<Vec<T>> {
    move |field| match &field.node.value {
        Value::Array(items) if items.is_empty() => field.must_be("one value or a list of them", None),
        Value::Array(_) => list(&rule)(field),
        _ => rule(field).map(|value| vec![value]),
    }
}

/// Two values.
pub(crate) fn pair<'n, T>(
    expected: &'static str,
    rule: impl Fn(&Field<'n>) -> Option<T>,
) -> impl Fn(&Field<'n>) -> Option<[T; 2]> {
    move |field| {
        field.takes(|| Kind::Pair);
        match &field.node.value {
            Value::Array(items) if items.len() == 2 => entries(items, &rule, field)?.try_into().ok(),
            _ => field.must_be(expected, None),
        }
    }
}

/// A table of anything that JSON can hold too.
pub(crate) fn json(field: &Field<'_>) -> Option<serde_json::Map<String, serde_json::Value>> {
    field.takes(|| Kind::Anything);
    let Some(entries) = field.node.table() else { return field.must_be("a table", None) };
    let mut map = serde_json::Map::new();
    for entry in entries {
        map.insert(entry.key.clone(), json_value(&field.child(&entry.key, &entry.node))?);
    }
    Some(map)
}

fn json_value(field: &Field<'_>) -> Option<serde_json::Value> {
    Some(match &field.node.value {
        Value::String(text) => text.clone().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Boolean(value) => (*value).into(),
        Value::Array(_) => list(json_value)(field)?.into(),
        Value::Table(_) => json(field)?.into(),
        Value::Float(_) | Value::Datetime(_) => return field.must_be("something that JSON can hold", None),
    })
}

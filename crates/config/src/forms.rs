//! What the reader asks for while it reads: which keys there are, and of which kinds their values may be.

use std::collections::BTreeMap;

/// A kind of value that a rule takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Boolean,
    /// An integer from `min` to `max`.
    Integer {
        min: i64,
        max: i64,
    },
    /// A number, and which ones, in words.
    Number(&'static str),
    /// Any text.
    Text,
    /// One of these names.
    OneOf(Vec<&'static str>),
    /// A list of any length.
    List,
    /// A list of two.
    Pair,
    /// A table with keys.
    Table,
    /// A table of anything.
    Anything,
}

/// What has been asked of the value at one place.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Form {
    pub kinds: Vec<Kind>,
    /// How often the key was asked for and had to be there.
    pub required: usize,
}

/// All places that have been asked for, by the keys that lead to them with points between. An entry of a list is called `[]`, and a key
/// that users choose `*`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Forms {
    pub places: BTreeMap<String, Form>,
    /// How often the keys of each table were asked for.
    pub visits: BTreeMap<String, usize>,
}

/// The key that stands for keys that users choose, and for nothing else.
pub(crate) const CHOSEN: &str = "*";
/// The key that stands for the entries of a list.
pub(crate) const ENTRY: &str = "[]";

impl Forms {
    /// Notes that a value of this kind would have been taken at `path`.
    pub fn takes(&mut self, path: &str, kind: Kind) {
        let form = self.at(path);
        if !form.kinds.contains(&kind) {
            form.kinds.push(kind);
        }
    }

    /// Notes that a key was asked for.
    pub fn asks(&mut self, path: &str, required: bool) {
        self.at(path).required += usize::from(required);
    }

    /// Notes that the keys of a table were asked for.
    pub fn visits(&mut self, path: &str) {
        *self.visits.entry(general(path)).or_default() += 1;
    }

    fn at(&mut self, path: &str) -> &mut Form {
        self.places.entry(general(path)).or_default()
    }
}

/// A path without the numbers of entries.
fn general(path: &str) -> String {
    let step =
        |step: &str| if step.bytes().all(|byte| byte.is_ascii_digit()) { ENTRY.to_owned() } else { step.to_owned() };
    if path.is_empty() { String::new() } else { path.split('.').map(step).collect::<Vec<_>>().join(".") }
}

//! What a list says about the classes of an image, and whether an image has one class or several.

use std::collections::BTreeSet;

use injerto_files::{listed, printable};

use super::Line;

/// What a line says about the classes of its image.
pub(super) enum Said {
    /// The text in the column of classes.
    Text(String),
    /// The classes whose columns hold 1, and those whose columns hold 0.
    Marks { marked: Vec<String>, others: Vec<String> },
    /// The name of a class, from a folder or a pattern: it is never taken apart.
    Folder(String),
}

/// Whether a field of a column of one class says that an image has it; `None` if it says neither.
pub(super) fn mark(field: &str) -> Option<bool> {
    match field.to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" => Some(true),
        "0" | "0.0" | "false" | "" => Some(false),
        _ => None,
    }
}

impl Said {
    /// Adds the classes that have columns of their own, whether the image has them or not.
    pub fn every(&self, all: &mut BTreeSet<String>) {
        if let Self::Marks { marked, others } = self {
            all.extend(marked.iter().chain(others).cloned());
        }
    }
}

/// How the lines of lists are read.
pub(super) enum Reading {
    /// An image has exactly one class.
    One,
    /// An image has any number of classes.
    Several {
        /// The separator between them in a column; `None` if no line names more than one.
        separator: Option<String>,
        /// What shows it, in words.
        why: String,
    },
}

/// Separators that are found without being told, the likelier first.
const SEPARATORS: [&str; 2] = ["|", ";"];

impl Reading {
    /// What was asked for, or else what the lines show.
    pub fn of<'s>(asked: Option<bool>, separator: Option<&str>, lines: impl Iterator<Item = &'s Said> + Clone) -> Self {
        if asked == Some(false) {
            return Self::One;
        }
        let texts = lines.clone().filter_map(|said| match said {
            Said::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let uneven = lines.clone().any(|said| matches!(said, Said::Marks { marked, .. } if marked.len() != 1));
        let known = SEPARATORS.into_iter().find(|by| texts.clone().any(|text| text.contains(by) && !is_list(text)));
        let separator = separator.or(known).map(str::to_owned);
        let why = match &separator {
            _ if uneven => "the columns of classes hold several ones in a line, or none".to_owned(),
            Some(by) if texts.clone().any(|text| text.contains(by)) => {
                format!("the column of classes holds several, with \"{}\" between them", printable(by))
            }
            _ if texts.clone().any(is_list) => "the column of classes holds lists".to_owned(),
            _ if asked == Some(true) => "data.multi_label says so".to_owned(),
            _ => return Self::One,
        };
        Self::Several { separator, why }
    }

    /// What shows that images have several classes; `None` if they have one each.
    pub fn in_words(&self) -> Option<String> {
        match self {
            Self::One => None,
            Self::Several { why, .. } => Some(why.clone()),
        }
    }

    /// The classes that a line names.
    pub fn classes(&self, line: &Line) -> Result<BTreeSet<String>, String> {
        let number = line.line;
        match (self, &line.classes) {
            (_, Said::Folder(class)) => Ok(BTreeSet::from([class.clone()])),
            (Self::One, Said::Text(text)) if text.is_empty() => Err(format!(
                "line {number}: there is no class; add it, or remove the line, or set data.multi_label = true for images that have \
                 several classes or none"
            )),
            (Self::One, Said::Text(text)) => Ok(BTreeSet::from([text.clone()])),
            (Self::One, Said::Marks { marked, .. }) if marked.len() != 1 => Err(format!(
                "line {number}: {} of the columns of classes hold 1{}, but with data.multi_label = false an image has one class",
                marked.len(),
                if marked.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", listed(marked.iter().map(String::as_str)))
                }
            )),
            (_, Said::Marks { marked, .. }) => Ok(marked.iter().cloned().collect()),
            (Self::Several { .. }, Said::Text(text)) if is_list(text) => {
                list(text).ok_or_else(|| format!("line {number}: '{}' is not a list of names", printable(text)))
            }
            (Self::Several { separator, .. }, Said::Text(text)) => {
                let names: Vec<&str> = match separator {
                    Some(by) => text.split(by.as_str()).collect(),
                    None => vec![text],
                };
                Ok(names.into_iter().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
            }
        }
    }
}

/// Whether a text is a list, as JSON and Python write it.
fn is_list(text: &str) -> bool {
    text.starts_with('[') && text.ends_with(']')
}

/// The names in a list, as JSON or Python write it. Numbers are names too.
fn list(text: &str) -> Option<BTreeSet<String>> {
    // Python quotes with apostrophes unless a text holds one.
    let values: Vec<serde_json::Value> =
        serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.replace('\'', "\""))).ok()?;
    let name = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text.trim().to_owned()).filter(|name| !name.is_empty()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    values.into_iter().map(name).collect()
}

//! Where in a file something is wrong, and how to say so.

use std::cell::RefCell;
use std::fmt::{self, Display, Write as _};
use std::path::PathBuf;

/// Why an experiment's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the experiment's file: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file, or a `--set`, does not describe an experiment.
    #[error("{}", list(diagnostics))]
    Invalid {
        /// What is wrong, in the order of the file. Never empty.
        diagnostics: Vec<Diagnostic>,
    },
}

fn list(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n\n")
}

/// One thing wrong with an experiment's file. Its `Display` shows the place, the line with a caret, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, or `--set`.
    pub file: String,
    /// Line and column, counted from 1; `None` for something that is missing in the file as a whole.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line, and how many of its characters from the column on are meant.
    snippet: Option<(String, usize)>,
}

impl Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        let margin = self.position.map_or(0, |(line, _)| line.to_string().len());
        if let (Some((line, column)), Some((text, width))) = (self.position, &self.snippet) {
            // A tab under a tab keeps the caret in its column.
            let indent: String =
                text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n{:margin$} |\n{line} | {text}\n{:margin$} | {indent}{}", "", "", "^".repeat(*width))?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{:margin$} = help: {help}", ""),
            None => Ok(()),
        }
    }
}

/// A text that nodes come from: the file, or one `--set`.
#[derive(Debug, Clone)]
pub(super) struct Source<'t> {
    /// How it is called in messages.
    pub name: String,
    /// All of it.
    pub text: &'t str,
}

/// Bytes `start..end` of the source at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// Something wrong, before its place is turned into line and column.
#[derive(Debug)]
pub(super) struct Problem {
    pub at: Option<Place>,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    fn locate(self, sources: &[Source<'_>]) -> Diagnostic {
        let Self { at, message, help } = self;
        let Some(place) = at else {
            return Diagnostic { file: sources[0].name.clone(), position: None, message, help, snippet: None };
        };
        let Source { name, text } = &sources[place.source];
        let start = floor(text, place.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let before = text[line_start..start].chars().count();
        // What reaches over the end of the line is marked up to it; at least one caret, even behind the last character.
        let meant = text[start..floor(text, place.end).max(start)].lines().next().unwrap_or("").chars().count();
        let position = Some((text[..start].matches('\n').count() + 1, before + 1));
        Diagnostic { file: name.clone(), position, message, help, snippet: Some((line.to_owned(), meant.max(1))) }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Collects what is wrong, so that a user sees all of it at once.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Notes a problem; `None`, so that a caller can end with it.
    pub fn note<T>(&self, at: impl Into<Option<Place>>, message: String, help: impl Into<Option<String>>) -> Option<T> {
        self.0.borrow_mut().push(Problem { at: at.into(), message, help: help.into() });
        None
    }

    /// All of them, in the order of the file.
    pub fn into_error(self, sources: &[Source<'_>]) -> Option<ConfigError> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| problem.at);
        let diagnostics: Vec<_> = problems.into_iter().map(|problem| problem.locate(sources)).collect();
        (!diagnostics.is_empty()).then_some(ConfigError::Invalid { diagnostics })
    }
}

/// `did you mean …?`, or all that is allowed.
pub(super) fn suggestion(wrong: &str, allowed: &[&str], what: &str) -> Option<String> {
    if let Some(near) = nearest(wrong, allowed) {
        return Some(format!("did you mean `{near}`?"));
    }
    let (last, others) = allowed.split_last()?;
    let mut text = format!("{what} ");
    for name in others {
        let _ = write!(text, "`{name}`, ");
    }
    text.truncate(text.trim_end_matches(", ").len());
    Some(if others.is_empty() { format!("{text}`{last}`") } else { format!("{text} and `{last}`") })
}

/// The allowed name that a typing error or another framework's habit has most likely turned into `wrong`.
pub(super) fn nearest<'n>(wrong: &str, allowed: &[&'n str]) -> Option<&'n str> {
    let wrong = wrong.to_lowercase().replace(['-', ' '], "_");
    let habits = HABITS.iter().filter(|(habit, _)| *habit == wrong).map(|(_, ours)| *ours);
    if let Some(known) = habits.into_iter().find_map(|ours| allowed.iter().find(|name| **name == ours)) {
        return Some(known);
    }
    let score = |name: &str| {
        let contained = name.len() > 2 && wrong.len() > 2 && (name.starts_with(&wrong) || wrong.starts_with(name));
        strsim::jaro_winkler(&wrong, name).max(if contained { 0.9 } else { 0.0 })
    };
    let best = allowed.iter().map(|name| (score(name), *name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.84).then_some(best.1)
}

/// What other frameworks and tutorials call things.
const HABITS: &[(&str, &str)] = &[
    ("lr", "learning_rate"),
    ("base_learning_rate", "learning_rate"),
    ("num_epochs", "epochs"),
    ("epoch", "epochs"),
    ("freeze", "unfreeze"),
    ("trainable", "unfreeze"),
    ("model", "plugin"),
    ("architecture", "plugin"),
    ("params", "parameters"),
    ("input_shape", "image_size"),
    ("target_size", "image_size"),
    ("path", "root"),
    ("directory", "root"),
    ("folder", "root"),
    ("classes", "units"),
    ("num_classes", "units"),
    ("hidden", "dense"),
    ("pool", "pooling"),
    ("bce", "binary_crossentropy"),
    ("cross_entropy", "categorical_crossentropy"),
    ("metric", "monitor"),
    ("gpu", "cuda"),
    ("vulkan", "wgpu"),
    ("metal", "wgpu"),
    ("average", "avg"),
    ("mean", "avg"),
    ("gap", "avg"),
    ("true", "all"),
    ("false", "none"),
    ("cubic", "bicubic"),
    ("linear", "bilinear"),
];

//! Where in a file something is wrong, and how to say so.

use std::cell::{RefCell, RefMut};
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use injerto_files::{is_plain, shown};

use crate::forms::Forms;

/// Why an experiment's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the experiment's file: {source}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A folder in place of a file.
    #[error("{}: this is a folder, and an experiment is a TOML file; {}", shown(path), of_folder(path))]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("{}: line {line} is not UTF-8; save the file as text in UTF-8", shown(path))]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first line that is not, from 1.
        line: usize,
    },
    /// The file is much larger than any experiment.
    #[error("{}: the file is larger than {} bytes, which no experiment needs", shown(path), MAX_BYTES)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file, or a `--set`, does not describe an experiment.
    #[error("{}", list(diagnostics))]
    Invalid {
        /// What is wrong, in the order of the file. Never empty.
        diagnostics: Vec<Diagnostic>,
    },
}

/// The most bytes that an experiment's file may have.
pub const MAX_BYTES: usize = 1 << 20;
/// The most mistakes that are shown; of the others, the message says how many there are.
const SHOWN: usize = 20;
/// The most mistakes that are looked for.
const LOOKED_FOR: usize = 1000;
/// The most characters of a message.
const MESSAGE: usize = 600;
/// The most characters that are shown of a line, around the place that is meant.
const LINE: usize = 160;

fn list(diagnostics: &[Diagnostic]) -> String {
    let mut lines: Vec<String> = diagnostics.iter().take(SHOWN).map(Diagnostic::to_string).collect();
    if diagnostics.len() > SHOWN {
        let or_more = if diagnostics.len() < LOOKED_FOR { "" } else { " or more" };
        lines.push(format!("and {}{or_more} like these", diagnostics.len() - SHOWN));
    }
    lines.join("\n\n")
}

/// The next command for whoever named a folder.
fn of_folder(path: &Path) -> String {
    let folder = injerto_files::shell_word(path);
    match path.join("experiment.toml").is_file() {
        true => format!("this one holds a run, which `injerto train --resume {folder}` goes on with"),
        false => format!(
            "for a folder of images, `injerto advise {folder} --backbone mobilenet_v2 --out my.toml` writes one"
        ),
    }
}

/// One thing wrong with an experiment's file. Its `Display` shows the place, the line with a caret, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, or `--set`.
    pub file: String,
    /// Line and column in the file, counted from 1; `None` for a `--set`, and for what is missing in the file as a whole.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    snippet: Option<Snippet>,
}

/// A line, and which of its characters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Snippet {
    line: String,
    skip: usize,
    width: usize,
}

impl Snippet {
    /// The line, of which `width` characters after the first `skip` are meant. Of a long line, only what lies around them is
    /// taken; what would disturb a terminal becomes a sign that takes one column.
    fn around(line: &str, skip: usize, width: usize) -> Self {
        let quiet = |c: char| if c == '\t' || is_plain(c) { c } else { char::REPLACEMENT_CHARACTER };
        let length = line.chars().count();
        if length <= LINE {
            return Self { line: line.chars().map(quiet).collect(), skip, width };
        }
        let first = skip.saturating_sub(LINE / 3).min(length - LINE);
        let middle: String = line.chars().skip(first).take(LINE).map(quiet).collect();
        let before = if first > 0 { "…" } else { "" };
        let after = if first + LINE < length { "…" } else { "" };
        let skip = skip - first;
        let width = width.min(LINE.saturating_sub(skip).max(1));
        Self { line: format!("{before}{middle}{after}"), skip: skip + before.chars().count(), width }
    }
}

/// A message that fits a terminal: of bounded length, and without characters that would disturb it. Its line breaks stay,
/// because the parser of TOML makes some.
fn plain(message: &str) -> String {
    let mut text: String = message.chars().take(MESSAGE).collect();
    if text.len() < message.len() {
        text.push('…');
    }
    text.split('\n').map(|line| injerto_files::printable(line).to_string()).collect::<Vec<_>>().join("\n")
}

impl Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        let number = self.position.map_or(String::new(), |(line, _)| line.to_string());
        let margin = number.len();
        if let Some(Snippet { line, skip, width }) = &self.snippet {
            // A tab under a tab keeps the caret in its column.
            let indent: String = line.chars().take(*skip).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n{:margin$} |\n{number} | {line}\n{:margin$} | {indent}{}", "", "", "^".repeat(*width))?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{:margin$} = help: {help}", ""),
            None => Ok(()),
        }
    }
}

/// A text that nodes come from: the file, or one `--set`.
#[derive(Debug, Clone)]
pub(crate) struct Source<'t> {
    /// Its name in messages.
    pub name: String,
    /// The whole text.
    pub text: &'t str,
    /// Whether it is a file, whose lines have numbers.
    pub is_file: bool,
}

/// Bytes `start..end` of the source at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// Something wrong, before its place is turned into line and column.
#[derive(Debug)]
pub(crate) struct Problem {
    pub at: Option<Place>,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    fn locate(self, sources: &[Source<'_>]) -> Diagnostic {
        let Self { at, message, help } = self;
        let (message, help) = (plain(&message), help.as_deref().map(plain));
        let Some(place) = at else {
            return Diagnostic { file: sources[0].name.clone(), position: None, message, help, snippet: None };
        };
        let Source { name, text, is_file } = &sources[place.source];
        let start = floor(text, place.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let skip = text[line_start..start].chars().count();
        // What reaches over the end of the line is marked up to it; at least one caret, also after the last character.
        let meant = text[start..floor(text, place.end).max(start)].lines().next().unwrap_or("").chars().count();
        let position = is_file.then(|| (text[..start].matches('\n').count() + 1, skip + 1));
        let snippet = Some(Snippet::around(line, skip, meant.max(1)));
        Diagnostic { file: name.clone(), position, message, help, snippet }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Collects what is wrong, so that a user sees all of it at once.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    noted: RefCell<Vec<Problem>>,
    /// What the reader asks for, if somebody wants to know.
    forms: Option<RefCell<Forms>>,
}

impl Problems {
    /// Notes besides what the reader asks for.
    pub fn noting(forms: Forms) -> Self {
        Self { noted: RefCell::default(), forms: Some(RefCell::new(forms)) }
    }

    /// What the reader has asked for so far; `None` if it is not noted.
    pub fn forms(&self) -> Option<RefMut<'_, Forms>> {
        self.forms.as_ref().map(RefCell::borrow_mut)
    }

    /// What the reader has asked for.
    pub fn into_forms(self) -> Forms {
        self.forms.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Notes a problem; `None`, so that a caller can end with it.
    pub fn note<T>(&self, at: impl Into<Option<Place>>, message: String, help: impl Into<Option<String>>) -> Option<T> {
        let mut problems = self.noted.borrow_mut();
        if problems.len() < LOOKED_FOR {
            problems.push(Problem { at: at.into(), message, help: help.into() });
        }
        None
    }

    /// Whether so many were noted that nobody reads more.
    pub fn are_enough(&self) -> bool {
        self.noted.borrow().len() >= LOOKED_FOR
    }

    /// All of them, in the order of the file.
    pub fn into_error(self, sources: &[Source<'_>]) -> Option<ConfigError> {
        let mut problems = self.noted.into_inner();
        problems.sort_by_key(|problem| problem.at);
        let diagnostics: Vec<_> = problems.into_iter().map(|problem| problem.locate(sources)).collect();
        (!diagnostics.is_empty()).then_some(ConfigError::Invalid { diagnostics })
    }
}

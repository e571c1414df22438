//! All output of the program, on either stream, goes through here.
//!
//! - [`out!`]: the answer of a command, on standard output. It is an error if it cannot be written;
//! - [`tell!`]: the progress of a training, on standard output. It is never an error: a training does not end because nobody reads its
//!   output;
//! - [`aside!`]: as [`tell!`], but not with `--quiet`: messages on the way to the answer;
//! - [`note!`]: on standard error, never an error, and not with `--quiet`;
//! - [`insist!`], [`warning`], [`error`]: on standard error, never an error.
//!
//! While something else has the terminal ([`hold`]), all of this waits, in its order, until the terminal is free again ([`release`]).
//!
//! *Architecture invariant:* all text reaches a terminal through [`write()`], which lets nothing through that would move the cursor, change
//! colours or reverse the direction of reading. The program's own colours are added after that.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use injerto_files::is_plain;
use serde::Serialize;

/// Writes a line of a command's answer to standard output, as `println!` does, and returns an [`Unsaid`] where it cannot.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::answer(&format!($($text)*)) };
}

/// Writes a line of a training to standard output. The training goes on if nobody reads it.
macro_rules! tell {
    ($($text:tt)*) => { $crate::output::told(&format!($($text)*)) };
}

/// Writes a line of a training to standard output, but not with `--quiet`.
macro_rules! aside {
    ($($text:tt)*) => { if !$crate::output::is_quiet() { $crate::output::told(&format!($($text)*)) } };
}

/// Writes a line to standard error, but not with `--quiet`.
macro_rules! note {
    ($($text:tt)*) => { if !$crate::output::is_quiet() { $crate::output::noted(&format!($($text)*)) } };
}

/// Writes a line to standard error that has to be said.
macro_rules! insist {
    ($($text:tt)*) => { $crate::output::noted(&format!($($text)*)) };
}

pub(crate) use {aside, insist, note, out, tell};

/// The output that waits while something else has the terminal; `None` if nothing has it.
static HELD: Mutex<Option<Vec<Said>>> = Mutex::new(None);

/// A line that was said, and on which stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// On standard output, by [`tell!`] or [`aside!`].
    Out(String),
    /// On standard error, with its label, as in `warning: `.
    Err(Option<Label>, String),
}

/// The word before a line on standard error, and its colour.
pub type Label = (&'static str, &'static str);

impl Said {
    /// The line without colours, and whether it is a warning or an error.
    pub fn text(&self) -> (String, bool) {
        match self {
            Self::Out(text) | Self::Err(None, text) => (readable(text).into_owned(), false),
            Self::Err(Some((word, _)), text) => (format!("{word}: {}", readable(text)), true),
        }
    }
}

/// From now on output waits, because something else has the terminal.
pub fn hold() {
    held(|held| held.get_or_insert_default().len());
}

/// The terminal is free again: writes the output that has waited, to the streams that it was meant for.
pub fn release() {
    for said in held(Option::take).into_iter().flatten() {
        match said {
            Said::Out(text) => told(&text),
            Said::Err(label, text) => say(label, &text),
        }
    }
}

/// How many lines wait, and the last ones, `most` at most.
pub fn waiting(most: usize) -> (usize, Vec<Said>) {
    held(|held| {
        held.as_deref()
            .map_or_else(Default::default, |said| (said.len(), said[said.len().saturating_sub(most)..].to_vec()))
    })
}

/// Lets a line wait, if something else has the terminal; otherwise returns it.
fn wait(said: Said) -> Option<Said> {
    held(|held| match held {
        Some(all) => {
            all.push(said);
            None
        }
        None => Some(said),
    })
}

fn held<T>(work: impl FnOnce(&mut Option<Vec<Said>>) -> T) -> T {
    work(&mut HELD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether the answer, warnings and errors are wanted alone.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Says whether the answer, warnings and errors are wanted alone.
pub fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether the answer, warnings and errors are wanted alone.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Why an answer did not reach standard output.
#[derive(Debug, thiserror::Error)]
pub enum Unsaid {
    /// The reader has gone away, as `head` does when it has enough. A command ends then, quietly and with success.
    #[error("nobody reads standard output any more")]
    NoReader,
    /// It cannot be written, for example because the disk below it is full.
    #[error("standard output cannot be written")]
    Io(#[source] io::Error),
}

impl From<io::Error> for Unsaid {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { Self::NoReader } else { Self::Io(error) }
    }
}

/// Writes a line of a command's answer; [`out!`] is shorter.
///
/// # Errors
/// [`Unsaid`].
pub fn answer(line: &str) -> Result<(), Unsaid> {
    Ok(write(&mut io::stdout().lock(), None, line)?)
}

/// Writes sentences as [`answer`] does. On a terminal, long lines are folded between words.
///
/// # Errors
/// [`Unsaid`].
pub fn prose(text: &str) -> Result<(), Unsaid> {
    answer(&if io::stdout().is_terminal() { fold(text, width()) } else { text.into() })
}

/// Writes a value as JSON on lines of its own.
///
/// # Errors
/// [`Unsaid`].
pub fn json(value: &impl Serialize) -> Result<(), Unsaid> {
    answer(&serde_json::to_string_pretty(value).expect("what is printed is plain data with names for keys"))
}

/// Writes a line of a training; [`tell!`] is shorter. On a terminal, long lines are folded between words.
pub fn told(line: &str) {
    /// Whether the reader has gone away, and whether a full disk has been reported.
    static GONE: AtomicBool = AtomicBool::new(false);
    static WARNED: AtomicBool = AtomicBool::new(false);
    if GONE.load(Ordering::Relaxed) || wait(Said::Out(line.to_owned())).is_none() {
        return;
    }
    let stdout = io::stdout();
    let line = if stdout.is_terminal() { fold(line, width()) } else { line.into() };
    match write(&mut stdout.lock(), None, &line).map_err(Unsaid::from) {
        Ok(()) => {}
        Err(Unsaid::NoReader) => GONE.store(true, Ordering::Relaxed),
        Err(Unsaid::Io(error)) if !WARNED.swap(true, Ordering::Relaxed) => {
            warning(&format!("standard output cannot be written: {error}; the training goes on without it"));
        }
        Err(Unsaid::Io(_)) => {}
    }
}

/// Writes a line to standard error; [`note!`] and [`insist!`] are shorter.
pub fn noted(line: &str) {
    say(None, line);
}

/// Writes a warning to standard error, once: a warning of the same text is not written again.
pub fn warning(text: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned()) {
        say(Some(("warning", "33")), text);
    }
}

/// Writes why a command failed to standard error.
pub fn error(error: &anyhow::Error) {
    say(Some(("error", "31")), &in_words(error));
}

/// Writes what is wrong about the command line, or the help that was asked for.
///
/// # Errors
/// [`Unsaid`], of the help.
pub fn usage(said: &clap::Error) -> Result<(), Unsaid> {
    let text = said.render();
    if said.use_stderr() {
        // The message repeats what was typed, which may contain names of files.
        noted(text.to_string().trim_end());
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    let text = if has_colours(&stdout) { text.ansi().to_string() } else { text.to_string() };
    Ok(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())?)
}

/// An error and its causes, each said once: many errors have their cause in their own words already.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for said in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = said;
        } else if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
    }
    text
}

/// Whether an error comes from a full disk, a quota that is used up, or a limit for the size of a file.
pub fn is_full_disk(error: &anyhow::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let full = |error: &io::Error| matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(full))
}

fn say(label: Option<Label>, text: &str) {
    if wait(Said::Err(label, text.to_owned())).is_none() {
        return;
    }
    let stderr = io::stderr();
    let text = if stderr.is_terminal() && !text.contains('\n') { fold(text, width()) } else { text.into() };
    let label = label.map(|(word, colour)| match has_colours(&stderr) {
        true => format!("\u{1b}[1;{colour}m{word}:\u{1b}[0m "),
        false => format!("{word}: "),
    });
    // If standard error fails, there is nowhere left to report it.
    let _ = write(&mut stderr.lock(), label.as_deref(), &text);
}

/// Writes `label`, which is the program's own and may hold colours, and a line of text with escapes for all that is not plain.
fn write(stream: &mut impl Write, label: Option<&str>, line: &str) -> io::Result<()> {
    stream.write_all(format!("{}{}\n", label.unwrap_or_default(), readable(line)).as_bytes())?;
    stream.flush()
}

/// The text with escapes for every character that is not plain, except line breaks and tabs. It is the second line of defence, after the
/// places where names are put into messages. It writes `\u001b`, which means the same character in a string of JSON and of TOML.
fn readable(text: &str) -> Cow<'_, str> {
    let passes = |c: char| matches!(c, '\n' | '\t') || is_plain(c);
    if text.chars().all(passes) {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if passes(c) {
            clean.push(c);
        } else {
            let _ = write!(clean, "\\u{:04x}", u32::from(c));
        }
    }
    clean.into()
}

/// Whether colours are written to a stream: to a terminal that shows them, unless the user has set NO_COLOR. (On Windows a terminal
/// has to be told to show colours, which this program does not do.)
pub fn has_colours(stream: &impl IsTerminal) -> bool {
    let term = std::env::var_os("TERM").unwrap_or_default();
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    cfg!(unix) && wanted && !term.is_empty() && term != "dumb" && stream.is_terminal()
}

/// Columns of the terminal.
fn width() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
}

/// Breaks each line that is longer than `width` between words. What follows stands below the line's second column, where it
/// has one (`backbone   mobilenet_v2`), and otherwise below its first.
pub fn fold(text: &str, width: usize) -> Cow<'_, str> {
    if width < 40 || text.lines().all(|line| line.chars().count() <= width) {
        return text.into();
    }
    text.split('\n').map(|line| fold_line(line, width)).collect::<Vec<_>>().join("\n").into()
}

fn fold_line(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let first = line.len() - line.trim_start().len();
    let second = line[first..].find("  ").map(|gap| {
        let gap = first + gap;
        gap + (line[gap..].len() - line[gap..].trim_start().len())
    });
    let indent = second.filter(|at| *at <= width / 3).unwrap_or(first.min(width / 3));
    let (mut folded, mut column) = (line[..indent].to_owned(), line[..indent].chars().count());
    for (at, word) in line[indent..].split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > width {
            folded = folded.trim_end().to_owned() + "\n" + &" ".repeat(indent);
            column = indent;
        } else if at > 0 {
            folded.push(' ');
            column += 1;
        }
        folded.push_str(word);
        column += length;
    }
    folded
}

/// A bar on standard error that counts `what`; nothing is drawn where that is no terminal, or a simple one, or with `--quiet`, or while
/// something else has the terminal.
pub fn bar(what: &str, total: u64) -> ProgressBar {
    let target = if is_quiet() || held(|held| held.is_some()) {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr_with_hz(10)
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style =
        ProgressStyle::with_template("{prefix:>12} {bar:32} {pos}/{len} {msg} {eta}").expect("a valid template");
    bar.with_style(style.progress_chars("━╸ ")).with_prefix(what.to_owned())
}

/// Takes the log's lines of one event and says them as [`warning`] and [`note!`] do.
pub struct LogLine {
    level: tracing::Level,
    text: Vec<u8>,
}

/// Gives each event of the log a [`LogLine`].
pub struct Log;

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = LogLine;

    fn make_writer(&self) -> LogLine {
        LogLine { level: tracing::Level::INFO, text: Vec::new() }
    }

    fn make_writer_for(&self, event: &tracing::Metadata<'_>) -> LogLine {
        LogLine { level: *event.level(), text: Vec::new() }
    }
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        let text = text.trim();
        match self.level {
            _ if text.is_empty() => {}
            tracing::Level::ERROR | tracing::Level::WARN => warning(text),
            _ => noted(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_characters_lines_and_tabs() {
        let check = |text: &str, expected: &str| {
            let mut stream = Vec::new();
            write(&mut stream, None, text).expect("memory takes everything");
            assert_eq!(String::from_utf8(stream).expect("text"), format!("{expected}\n"));
        };
        check("café\tone\ntwo 猫", "café\tone\ntwo 猫");
        check("a\u{1b}]0;owned\u{7}", "a\\u001b]0;owned\\u0007");
        check("\u{9b}31m \u{202e}gpj \r over", "\\u009b31m \\u202egpj \\u000d over");
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "class": "a\u{9b}b\u{7f}\u{202e}\u{1b}" });
        let text = value.to_string();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&readable(&text)).expect("JSON"), value);
    }

    #[test]
    fn while_something_else_has_the_terminal_lines_wait_in_their_order() {
        assert_eq!(wait(Said::Out("free".to_owned())), Some(Said::Out("free".to_owned())));
        hold();
        told("epoch 1");
        say(Some(("warning", "33")), "a name with \u{1b}[31m");
        let last = waiting(2).1.iter().map(Said::text).collect::<Vec<_>>();
        let warning = "warning: a name with \\u001b[31m".to_owned();
        assert_eq!(last, [("epoch 1".to_owned(), false), (warning, true)]);
        release();
        assert_eq!(waiting(2), (0, Vec::new()));
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || io::Error::new(ErrorKind::PermissionDenied, "Permission denied");
        let check = |error: anyhow::Error, expected: &str| assert_eq!(in_words(&error), expected);
        check(cause().into(), "Permission denied");
        check(anyhow::Error::from(cause()).context("photos: Permission denied"), "photos: Permission denied");
        check(anyhow::Error::from(cause()).context("photos"), "photos: Permission denied");
        let read: Result<(), _> = Err(cause());
        check(
            read.context("a.toml").context("the experiment").unwrap_err(),
            "the experiment: a.toml: Permission denied",
        );
    }

    #[test]
    fn long_lines_break_between_words_below_their_second_column() {
        let check = |line: &str, expected: &str| assert_eq!(fold(line, 40), expected);
        check("short", "short");
        check(
            "backbone   small_cnn with words that go on beyond it",
            "backbone   small_cnn with words that go\n           on beyond it",
        );
        check(
            "a sentence without columns that goes on beyond forty characters",
            "a sentence without columns that goes on\nbeyond forty characters",
        );
        check(
            "  indented, and longer than forty characters are",
            "  indented, and longer than forty\n  characters are",
        );
        // A word without a place to break stays whole: a path can be copied.
        check(
            "see /a/very/long/path/that/does/not/fit/into/forty",
            "see\n/a/very/long/path/that/does/not/fit/into/forty",
        );
    }
}

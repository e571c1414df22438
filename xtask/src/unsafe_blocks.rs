//! `cargo xtask unsafe` lists every place with `unsafe`, with the fact that justifies it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::workspace::{code, root};

/// Text of `--help`.
pub const HELP: &str = "\
Compares docs/unsafe.md, the list of every `unsafe` with the fact that justifies it, with the sources. CI does so too.

Usage: cargo xtask unsafe [--write]

  --write   write the list again; read what changed before you commit it

The fact of a block is its SAFETY comment; the fact of a function is the section `# Safety` of its documentation.";

/// Path of the list.
const LIST: &str = "docs/unsafe.md";

const HEAD: &str = "\
# Unsafe code

`cargo xtask unsafe --write` writes this list, and CI fails where it is not that of the sources. A block's fact is its SAFETY
comment; a function's is what its documentation asks of callers. A number before a fact says how often it stands there.
Tests, examples and benchmarks are listed too.
";

/// Kind of an `unsafe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Block,
    Function,
    Impl,
    Attribute,
}

impl Kind {
    fn name(self, count: usize) -> String {
        let (one, many) = match self {
            Self::Block => ("block", "blocks"),
            Self::Function => ("function", "functions"),
            Self::Impl => ("impl", "impls"),
            Self::Attribute => ("attribute", "attributes"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

/// Each `unsafe` of a source, with its fact, which is empty if the source does not state it.
fn found(source: &str) -> Vec<(Kind, String)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut all = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = code_of(line);
        let mut from = 0;
        while let Some(place) = code[from..].find("unsafe").map(|place| from + place) {
            from = place + "unsafe".len();
            let word = |c: char| c.is_alphanumeric() || c == '_';
            if code[..place].ends_with(word) || code[from..].starts_with(word) {
                continue;
            }
            let after = code[from..].trim_start();
            let next = lines.get(at + 1).map_or("", |next| next.trim_start());
            let kind = if after.starts_with('{') || (after.is_empty() && next.starts_with('{')) {
                Kind::Block
            } else if after.starts_with("impl") {
                Kind::Impl
            } else if after.starts_with('(') {
                Kind::Attribute
            } else if after.contains("fn ") {
                Kind::Function
            } else {
                // This is the type of a function, not a function.
                continue;
            };
            let fact = match kind {
                Kind::Block | Kind::Impl => comment(&lines, at),
                Kind::Function => section(&lines, at),
                Kind::Attribute => after.trim_matches(['(', ')', ']']).to_owned(),
            };
            all.push((kind, fact));
        }
    }
    all
}

/// A line without its comment and without text in quotation marks.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let (mut quoted, mut escaped, mut before) = (false, false, ' ');
    for c in line.chars() {
        if c == '"' && !escaped && before != '\'' {
            quoted = !quoted;
        }
        if c == '/' && before == '/' && !quoted {
            code.pop();
            break;
        }
        escaped = c == '\\' && !escaped;
        before = c;
        if !quoted && c != '"' {
            code.push(c);
        }
    }
    code
}

/// The SAFETY comment above a line, or on it.
fn comment(lines: &[&str], at: usize) -> String {
    const REACH: usize = 12;
    let mark = "// SAFETY:";
    let Some(first) = (at.saturating_sub(REACH)..=at).rev().find(|&line| lines[line].contains(mark)) else {
        return String::new();
    };
    let begin = lines[first].split_once(mark).map_or("", |(_, text)| text.trim());
    let rest = lines[first + 1..].iter().map_while(|line| line.trim().strip_prefix("//")).map(str::trim);
    std::iter::once(begin).chain(rest).collect::<Vec<_>>().join(" ")
}

/// The section `# Safety` of the documentation above a line.
fn section(lines: &[&str], at: usize) -> String {
    let above = lines[..at].iter().rev().map(|line| line.trim());
    let mut above: Vec<&str> = above.take_while(|line| line.starts_with("///") || line.starts_with("#[")).collect();
    above.reverse();
    let text = above.iter().filter_map(|line| line.strip_prefix("///")).map(str::trim);
    let after = text.skip_while(|line| *line != "# Safety").skip(1).take_while(|line| !line.starts_with("# "));
    after.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// All sources in a folder, in alphabetical order.
fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.is_dir() {
            true if path.file_name().is_some_and(|name| name != "target") => sources(&path, all),
            false if path.extension().is_some_and(|extension| extension == "rs") => all.push(path),
            _ => {}
        }
    }
}

/// The list, and the places without a fact.
fn list() -> Result<(String, Vec<String>), String> {
    let root = root();
    let mut all = Vec::new();
    for folder in ["benches", "crates", "plugins", "xtask"] {
        sources(&root.join(folder), &mut all);
    }
    let (mut list, mut bare) = (HEAD.to_owned(), Vec::new());
    for path in all {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // This file contains the word in other meanings.
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        if name.ends_with("unsafe_blocks.rs") {
            continue;
        }
        let (mut kinds, mut facts) = (BTreeMap::<Kind, usize>::new(), Vec::<(Kind, String, usize)>::new());
        for (kind, fact) in found(&text) {
            *kinds.entry(kind).or_default() += 1;
            if fact.is_empty() && kind != Kind::Function {
                bare.push(format!("{name}: a {} without a SAFETY comment", kind.name(1)));
            }
            match facts.iter_mut().find(|(other, known, _)| *other == kind && *known == fact) {
                Some((_, _, count)) => *count += 1,
                None => facts.push((kind, fact, 1)),
            }
        }
        if kinds.is_empty() {
            continue;
        }
        let counts: Vec<String> = kinds.iter().map(|(kind, count)| kind.name(*count)).collect();
        let _ = writeln!(list, "\n## `{name}`: {}\n", counts.join(", "));
        facts.sort_by_key(|(kind, ..)| *kind);
        for (kind, fact, count) in facts {
            let fact = if fact.is_empty() { "private; its callers in this file say why it holds" } else { &fact };
            let times = if count > 1 { format!("{count} × ") } else { String::new() };
            let _ = writeln!(list, "- {times}{}: {fact}", kind.name(1).trim_start_matches("1 "));
        }
    }
    Ok((list, bare))
}

/// Whether the list agrees with the sources, and every fact is stated.
///
/// # Errors
/// A file cannot be read.
pub fn agrees() -> Result<bool, String> {
    let (list, bare) = list()?;
    bare.iter().for_each(|line| println!("{line}"));
    let written = std::fs::read_to_string(root().join(LIST)).unwrap_or_default();
    let agrees = list == written;
    if !agrees {
        let difference = list.lines().find(|line| !written.lines().any(|other| other == *line));
        let difference = difference.or_else(|| written.lines().find(|line| !list.lines().any(|other| other == *line)));
        println!(
            "{LIST} is not the list of the sources, first at:\n  {}",
            difference.unwrap_or("the order of its lines")
        );
        println!("read what changed, then write the list again: cargo xtask unsafe --write");
    }
    Ok(agrees && bare.is_empty())
}

/// Runs the command.
///
/// # Errors
/// The argument is unknown, or a file cannot be read or written.
pub fn run(arguments: &[String]) -> Outcome {
    match arguments {
        [] => Ok(code(agrees()?)),
        [only] if only == "--write" => {
            let (list, bare) = list()?;
            bare.iter().for_each(|line| println!("{line}"));
            std::fs::write(root().join(LIST), list).map_err(|error| format!("{LIST}: {error}"))?;
            Ok(code(bare.is_empty()))
        }
        _ => Err("`cargo xtask unsafe` takes --write or nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_with_its_fact() {
        let source = "/// Reads.\n///\n/// # Safety\n/// `p` points to a value.\npub unsafe fn read(p: *const u8) -> u8 {\n    \
            // SAFETY: the caller says so,\n    // twice.\n    unsafe { *p }\n}\n// unsafe { nothing }\n\
            type F = unsafe extern \"C\" fn(i32);\nlet s = \"unsafe {\";\n#[unsafe(no_mangle)]\n\
            // SAFETY: no state.\nunsafe impl Send for X {}\nlet unsafe_code = 1;";
        let expected = [
            (Kind::Function, "`p` points to a value."),
            (Kind::Block, "the caller says so, twice."),
            (Kind::Attribute, "no_mangle"),
            (Kind::Impl, "no state."),
        ];
        assert_eq!(found(source), expected.map(|(kind, fact)| (kind, fact.to_owned())));
    }
}

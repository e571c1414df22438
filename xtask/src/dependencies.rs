//! Licences and sources of dependencies.
//!
//! What `deny.toml` allows is checked here with Cargo alone, so that no machine can skip it. Where cargo-deny is installed it
//! checks the same and shows duplicates as well.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::workspace::{cargo, root, succeeds};

/// Where packages may come from, as `Cargo.lock` calls it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks that the licence of every package, for every target and feature, is one that `deny.toml` allows, and that each comes
/// from crates.io; then all of `deny.toml` where cargo-deny is installed.
///
/// # Errors
/// A file cannot be read, or a program cannot be started.
pub fn agree() -> Result<bool, String> {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).map_err(|error| format!("{name}: {error}"));
    let (deny_toml, lock) = (read("deny.toml")?, read("Cargo.lock")?);
    let allowed = allowed(&deny_toml)?;
    let packages = clarify(packages()?, &deny_toml);
    let refused = refused(&packages, &allowed);
    for (package, licence) in &refused {
        println!("error: {package}: its licence '{licence}' is not allowed by deny.toml");
    }
    let foreign = foreign(&lock);
    for (package, source) in &foreign {
        println!("error: {package} comes from {source}, not from crates.io");
    }
    println!("licences of {} packages and sources of Cargo.lock are checked", packages.len());
    Ok(refused.is_empty() && foreign.is_empty() && deny()?)
}

/// Checks all of `deny.toml` but advisories, which need a database from the network: `cargo deny check advisories` fetches it.
fn deny() -> Result<bool, String> {
    let there = Command::new("cargo-deny").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        println!("duplicates are not shown: that takes cargo-deny (cargo install cargo-deny --locked)");
        return Ok(true);
    }
    succeeds(cargo("deny").args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

/// Packages with their licences.
type Licences = BTreeSet<(String, String)>;

fn packages() -> Result<Licences, String> {
    let mut command = cargo("tree");
    command.args(["--workspace", "--all-features", "--target", "all", "--edges", "normal,build,dev", "--locked"]);
    let output = command.args(["--prefix", "none", "--format", "{p}|{l}"]).output();
    let output = output.map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(tree: &str) -> Licences {
    let lines = tree.lines().filter_map(|line| line.split_once('|'));
    // Cargo marks a package whose dependencies it has shown already.
    lines.map(|(package, licence)| (package.to_owned(), licence.trim_end_matches(" (*)").to_owned())).collect()
}

/// The packages, with the licences that the tables `[[licenses.clarify]]` give to those that name none.
fn clarify(packages: Licences, deny: &str) -> Licences {
    let name = |package: &str| package.split(' ').next().unwrap_or_default().to_owned();
    let licence = |(package, licence): (String, String)| match licence.is_empty() {
        true => (package.clone(), clarified(&name(&package), deny).unwrap_or_default()),
        false => (package, licence),
    };
    packages.into_iter().map(licence).collect()
}

/// The licence that a table `[[licenses.clarify]]` gives to a package.
fn clarified(package: &str, deny: &str) -> Option<String> {
    let value = |table: &str, key: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let mut tables =
        deny.split("\n[[licenses.clarify]]\n").skip(1).map(|rest| rest.split("\n[").next().unwrap_or(rest));
    tables.find(|table| value(table, "crate").as_deref() == Some(package)).and_then(|table| value(table, "expression"))
}

/// The licence of a package as an SPDX expression: what it says, or else what `deny.toml` says. `/` is how `OR` was written once.
pub fn said(package: &str, licence: &str, deny: &str) -> String {
    match licence.is_empty() {
        true => clarified(package, deny).unwrap_or_default(),
        false if licence.contains('/') => licence.replace(" / ", "/").replace('/', " OR "),
        false => licence.to_owned(),
    }
}

/// The licences between the brackets of `allow = […]`.
fn allowed(deny: &str) -> Result<BTreeSet<String>, String> {
    let list = deny.split_once("\nallow = [").and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.ok_or("deny.toml: there is no list `allow = […]`")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

fn refused<'p>(packages: &'p Licences, allowed: &BTreeSet<String>) -> Vec<&'p (String, String)> {
    packages.iter().filter(|(_, licence)| !permits(licence, allowed)).collect()
}

/// Packages of a `Cargo.lock` that are neither of this workspace nor of crates.io.
fn foreign(lock: &str) -> Vec<(String, String)> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|text| text.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    packages
        .filter_map(|package| Some((value(package, "name")?, value(package, "source")?)))
        .filter(|(_, source)| source != CRATES_IO)
        .collect()
}

/// Whether an SPDX expression can be kept to with these licences. `/` is how `OR` was written once.
fn permits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    either(&mut words, allowed) == Some(true) && words.next().is_none()
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

/// `A OR B`; nothing where it is no expression.
fn either(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut permitted = both(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        permitted |= both(words, allowed)?;
    }
    Some(permitted)
}

/// `A AND B`, which binds closer.
fn both(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut permitted = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        permitted &= one(words, allowed)?;
    }
    Some(permitted)
}

/// A licence, one with an exception, or an expression in parentheses.
fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let first = words.next()?;
    if first == "(" {
        let permitted = either(words, allowed)?;
        return (words.next()? == ")").then_some(permitted);
    }
    if ["OR", "AND", "WITH", ")"].contains(&first) {
        return None;
    }
    match words.next_if_eq(&"WITH") {
        Some(_) => Some(allowed.contains(&format!("{first} WITH {}", words.next()?))),
        None => Some(allowed.contains(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str =
        "[licenses]\nallow = [\n    \"MIT\",\n    \"Apache-2.0 WITH LLVM-exception\",\n    \"ISC\",\n]\n[bans]\n";

    #[test]
    fn a_licence_is_allowed_where_the_list_permits_its_expression() {
        let allowed = allowed(DENY).expect("a list");
        assert_eq!(allowed.len(), 3);
        let check =
            |expression: &str, expected: bool| assert_eq!(permits(expression, &allowed), expected, "{expression}");
        check("MIT", true);
        check("GPL-3.0-only", false);
        check("MIT OR GPL-3.0-only", true);
        check("GPL-3.0-only/MIT", true);
        check("MIT AND GPL-3.0-only", false);
        check("GPL-3.0-only OR MIT AND ISC", true);
        check("(GPL-3.0-only OR MIT) AND ISC", true);
        check("(GPL-3.0-only OR MIT) AND Zlib", false);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("Apache-2.0", false);
        check("MIT WITH LLVM-exception", false);
    }

    #[test]
    fn what_is_no_expression_is_not_allowed() {
        let allowed = allowed(DENY).expect("a list");
        for expression in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT AND AND ISC", "Apache-2.0 WITH"] {
            assert!(!permits(expression, &allowed), "{expression}");
        }
    }

    #[test]
    fn a_package_without_a_licence_is_refused_by_name() {
        let packages = parse("a v1.0.0|MIT\nb v1.0.0|\na v1.0.0|MIT (*)\n");
        let expected = ("b v1.0.0".to_owned(), String::new());
        assert_eq!(refused(&packages, &allowed(DENY).expect("a list")), [&expected]);
    }

    #[test]
    fn a_package_may_be_said_to_have_a_licence_only_if_it_names_none() {
        let table = "\n[[licenses.clarify]]\ncrate = \"b\"\nexpression = \"MIT\"\nlicense-files = []\n\n[bans]\n";
        let packages = |text: &str| clarify(parse(text), &DENY.replace("\n[bans]\n", table));
        assert_eq!(packages("b v1.0.0|\n"), parse("b v1.0.0|MIT\n"));
        assert_eq!(packages("b v1.0.0|GPL-3.0-only\nc v1.0.0|\n"), parse("b v1.0.0|GPL-3.0-only\nc v1.0.0|\n"));
    }

    #[test]
    fn a_package_that_is_not_from_crates_io_is_found() {
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"a\"\nsource = \"{CRATES_IO}\"\n\n\
             [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"git+https://example.org/b#0\"\n"
        );
        assert_eq!(foreign(&lock), [("b".to_owned(), "git+https://example.org/b#0".to_owned())]);
    }
}

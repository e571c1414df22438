//! What holds for the pages of the documentation: all are in the book, and no link in them is dead.

use std::path::{Path, PathBuf};

use crate::workspace::root;

/// Every page, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let pages = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).chain([root().join("README.md")]);
    pages.map(|path| (path.clone(), std::fs::read_to_string(&path).expect("a page"))).collect()
}

/// The targets of a page's links and pictures, outside blocks of code.
fn links(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next().map(ToOwned::to_owned));
    targets.filter(|target| !target.contains("://") && !target.contains('`')).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> Vec<String> {
    let headings =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    headings.map(|title| title.to_lowercase().replace(' ', "-").chars().filter(|c| kept(*c)).collect()).collect()
}

#[test]
fn every_page_is_in_the_book() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).expect("the summary");
    let listed = links(&summary);
    for (path, _) in pages().iter().filter(|(path, _)| path.parent() == Some(&root().join("docs"))) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(name == "SUMMARY.md" || listed.iter().any(|link| link == name), "docs/SUMMARY.md does not list {name}");
    }
}

#[test]
fn no_link_is_dead() {
    for (page, text) in pages() {
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap_or(Path::new("")).join(file) };
            assert!(target.exists(), "{} links to {link}, which does not exist", page.display());
            if !anchor.is_empty() {
                let there = std::fs::read_to_string(&target).expect("a page");
                assert!(
                    anchors(&there).iter().any(|a| a == anchor),
                    "{} links to {link}: no such heading",
                    page.display()
                );
            }
        }
    }
}

#[test]
fn links_and_anchors_are_read_as_a_browser_reads_them() {
    assert_eq!(links("[a](b.md#c) ```[x](y)``` ![p](q.svg) [w](https://e.org)"), ["b.md#c", "q.svg"]);
    assert_eq!(anchors("# Qué estrategia elegir\n## `a` and (b)"), ["qué-estrategia-elegir", "a-and-b"]);
}

//! What the program says of itself: version, completions, pages of the manual.

use crate::{contains, run};

#[test]
fn the_version_is_the_programs() {
    let at = tempfile::tempdir().expect("a folder");
    let version = run(at.path(), &["-V"]).succeeds();
    assert_eq!(version, format!("injerto {}\n", env!("CARGO_PKG_VERSION")));
    let long = run(at.path(), &["--version"]).succeeds();
    assert!(long.starts_with(version.trim_end()), "{long}");
    contains(&long, &["devices          flex (CPU)", "instruction set  "]);
}

#[test]
fn shells_and_man_know_every_command() {
    let at = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        contains(&run(at.path(), &["completions", shell]).succeeds(), &["predict", "move-to", "fine-tune"]);
    }
    contains(&run(at.path(), &["man"]).succeeds(), &[".TH injerto", "Exit codes", "predict"]);
    contains(&run(at.path(), &["man", "plugins", "list"]).succeeds(), &[".TH", "plugins"]);
    contains(&run(at.path(), &["man", "prdict"]).fails(), &["injerto has no command 'prdict'"]);
    run(at.path(), &["man", "--out", "pages"]).succeeds();
    // All commands that `--help` names have a page, and are completed.
    let (help, bash) = (run(at.path(), &["--help"]).succeeds(), run(at.path(), &["completions", "bash"]).succeeds());
    let listed = help.split_once("Commands:\n").and_then(|(_, rest)| rest.split_once("\n\n")).expect("a list").0;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    for expected in ["train", "new", "serve", "data"] {
        assert!(names.contains(&expected), "{expected} is not in {names:?}");
    }
    for name in names.into_iter().filter(|name| !name.is_empty() && *name != "help") {
        assert!(at.path().join(format!("pages/injerto-{name}.1")).is_file(), "{name}");
        contains(&bash, &[&format!("injerto,{name})")]);
        contains(include_str!("../../../../README.md"), &[&format!("injerto {name}")]);
    }
    contains(&run(at.path(), &["man", "data", "apply"]).succeeds(), &["undo"]);
    contains(&run(at.path(), &["man", "train"]).succeeds(), &["tui"]);
    contains(&run(at.path(), &["man", "new"]).succeeds(), &["quickstart"]);
}

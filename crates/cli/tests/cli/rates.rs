//! `injerto lr-find`.

use std::fs;

use crate::train::folder;
use crate::{contains, run};

#[test]
fn a_learning_rate_is_suggested_with_its_figure_and_nothing_else_is_written() {
    let at = folder();
    let find = |more: &[&str]| run(at.path(), &[&["lr-find", "tiny.toml", "--steps", "60"], more].concat());
    let said = find(&[]).succeeds();
    contains(
        &said,
        &["phase      head: ", "loss       ", "suggested  ", "phases.0.optimizer.learning_rate=", "tiny.rates.svg"],
    );
    assert!(said.contains('▁') && said.contains('█'), "{said}");
    let figure = fs::read_to_string(at.path().join("tiny.rates.svg")).expect("written");
    contains(&figure, &["<svg", "Learning rate range test of head", "suggested"]);
    assert!(!at.path().join("runs").exists());

    let found = find(&["--json", "--phase", "all", "--low", "1e-5", "--out", "all.svg"]).json();
    assert_eq!(found["phase"], "all");
    let points = found["points"].as_array().expect("a list");
    let rate = |at: usize| points[at]["learning_rate"].as_f64().expect("a number");
    assert!((rate(0) - 1e-5).abs() < 1e-12 && rate(points.len() - 1) > 100.0 * rate(0), "{found}");
    let both = ["steepest", "tenth_of_minimum"].map(|key| found[key].as_f64().expect("a number"));
    assert_eq!(found["suggested"].as_f64(), Some(both[0].min(both[1])));
    assert_eq!(find(&["--json", "--phase", "1", "--low", "1e-5", "--out", "all.svg"]).json(), found);
    // A figure takes the place of a figure; the experiment is no figure.
    let experiment = fs::read(at.path().join("tiny.toml")).expect("written");
    contains(&find(&["--out", "tiny.toml"]).fails(), &["tiny.toml is there already, and no result of this command"]);
    assert_eq!(fs::read(at.path().join("tiny.toml")).expect("still there"), experiment);
    contains(&find(&["--phase", "2"]).fails(), &["there is no phase 2; the phases are 0 (head), 1 (all)"]);
    contains(&find(&["--low", "1", "--high", "0.1"]).fails(), &["--high the larger one"]);
}

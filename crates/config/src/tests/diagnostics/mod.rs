//! What is wrong, and how it is said: keys that are unknown or missing, text that is no TOML, overrides.

mod training;
mod values;

use super::*;

/// What is said about `text` under `sets`.
#[track_caller]
fn check(text: &str, sets: &[&str], expected: &str) {
    let error = parse(text, sets).expect_err("nothing was wrong").to_string();
    assert_eq!(error, expected.trim_matches('\n'));
}

#[test]
fn of_a_long_line_the_place_that_is_meant_is_shown() {
    let before = "1, ".repeat(80);
    let error = parse(&with(&format!("[head]\ndense = [{before}\"x\", {before}]\n")), &[])
        .expect_err("nothing was wrong")
        .to_string();
    let lines: Vec<&str> = error.lines().collect();
    let (line, caret) = (lines[2], lines[3]);
    assert!(line.chars().count() < 180 && line.contains("| …") && line.ends_with('…'), "{error}");
    let at = caret.find('^').expect("a caret");
    let meant: String = line.chars().skip(caret[..at].chars().count()).take(3).collect();
    assert_eq!(meant, "\"x\"", "{error}");
}

#[test]
fn a_misspelt_key() {
    check(
        &with("optimizer = { name = \"adam\", learning_rat = 1e-3 }"),
        &[],
        r#"
cats.toml:7:30: unknown key `learning_rat` in `phases.0.optimizer`
  |
7 | optimizer = { name = "adam", learning_rat = 1e-3 }
  |                              ^^^^^^^^^^^^
  = help: did you mean `learning_rate`?
"#,
    );
    check(
        "sed = 1\n[data]\nrot = \"a\"\n[backbone]\nmodel = \"x\"\n[[phases]]\nepoch = 3\nlr = 1\n",
        &[],
        r#"
cats.toml:1:1: unknown key `sed`
  |
1 | sed = 1
  | ^^^
  = help: did you mean `seed`?

cats.toml:3:1: unknown key `rot` in `data`
  |
3 | rot = "a"
  | ^^^
  = help: did you mean `root`?

cats.toml:5:1: unknown key `model` in `backbone`
  |
5 | model = "x"
  | ^^^^^
  = help: did you mean `plugin`?

cats.toml:7:1: unknown key `epoch` in `phases.0`
  |
7 | epoch = 3
  | ^^^^^
  = help: did you mean `epochs`?

cats.toml:8:1: unknown key `lr` in `phases.0`
  |
8 | lr = 1
  | ^^
  = help: `learning_rate` belongs in a phase's `optimizer`: optimizer = { name = "adam", learning_rate = 1e-3 }
"#,
    );
    check(
        &with("seed = 1\n[augmentation]\n"),
        &[],
        r"
cats.toml:7:1: unknown key `seed` in `phases.0`
  |
7 | seed = 1
  | ^^^^
  = help: `seed` belongs at the top of the file, before the first [table]

cats.toml:8:2: unknown key `augmentation`
  |
8 | [augmentation]
  |  ^^^^^^^^^^^^
  = help: the keys here are `name`, `seed`, `device`, `kernels`, `strategy`, `data`, `backbone`, `head`, `loss`, `distill`, `phases`, `callbacks`, `checkpoint`, `cache`, `insight`, `transfer_gain` and `sweep`
",
    );
}

#[test]
fn what_is_missing() {
    check(
        "",
        &[],
        r#"
cats.toml: `data.root` is missing
 = help: add `root = "path/to/images"`, a folder with one sub-folder per class

cats.toml: `backbone.plugin` is missing
 = help: add `plugin = "mobilenet_v2"`; `injerto plugins list` shows what there is

cats.toml: `phases` is missing
 = help: add `[[phases]]` with `epochs = 10`
"#,
    );
}

#[test]
fn no_toml() {
    check(
        "[data\nroot = 3\n",
        &[],
        r"
cats.toml:1:6: this is not TOML: unclosed table, expected `]`
  |
1 | [data
  |      ^
",
    );
    check(
        &with("name = \"ñandú\" optimizer = 3\n"),
        &[],
        r#"
cats.toml:7:16: this is not TOML: unexpected key or value, expected newline, `#`
  |
7 | name = "ñandú" optimizer = 3
  |                ^
"#,
    );
}

#[test]
fn a_wrong_override() {
    check(
        SHORTEST,
        &["data.batchsize=16", "phases.0.epochs=0", "optimizer.learning_rate=3"],
        r"
--set: unknown key `batchsize` in `data`
 |
 | data.batchsize=16
 |      ^^^^^^^^^
 = help: did you mean `batch_size`?

--set: `phases.0.epochs` must be an integer from 1 to 1000000, but is 0
 |
 | phases.0.epochs=0
 |                 ^

--set: unknown key `optimizer`
 |
 | optimizer.learning_rate=3
 | ^^^^^^^^^
 = help: `optimizer` belongs in [[phases]]
",
    );
    check(
        SHORTEST,
        &["phases.1.epochs=3"],
        r"
--set: `phases` has no entry `1`
 |
 | phases.1.epochs=3
 |        ^
 = help: its only entry is 0
",
    );
    check(
        &format!("name = \"x\"\n{SHORTEST}"),
        &["name.first=x"],
        r"
--set: `name` is no table, so it has no `first`
 |
 | name.first=x
 |      ^^^^^
",
    );
    check(
        SHORTEST,
        &["data.image_size=[160"],
        r"
--set: `[160` is not TOML: unclosed array, expected `]`
 |
 | data.image_size=[160
 |                 ^^^^
",
    );
    check(
        SHORTEST,
        &["seed", "..=3"],
        r"
--set: `--set seed` has no `=`
 |
 | seed
 | ^^^^
 = help: write it as KEY.PATH=VALUE, such as `--set phases.0.epochs=3`

--set: `..` is no path to a key
 |
 | ..=3
 | ^^
 = help: keys are separated by dots, such as `data.batch_size`
",
    );
}

//! Whether experiments and tests build each dependency alike.
//!
//! Cargo unites the features that the crates of one invocation ask for, and test-only dependencies ask for some more. Where
//! one of those lies under Burn, `cargo xtask test` compiles Burn a second time.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{BINARY_PACKAGE, cargo, packages, root};

/// Package with version, and the sets of features that it is built with (there can be one for build scripts).
type Features = BTreeMap<String, BTreeSet<String>>;

/// Compares the features of an experiment's build with those of the tests' and says which differ.
///
/// # Errors
/// `cargo tree` failed.
pub fn agree() -> Result<bool, String> {
    let mut experiment = vec!["--edges".to_owned(), "normal,build".to_owned()];
    experiment.extend(["--package".to_owned(), BINARY_PACKAGE.to_owned()]);
    for plugin in packages(&root().join("plugins"))? {
        experiment.extend(["--package".to_owned(), plugin.name]);
    }
    let tests = ["--workspace".to_owned(), "--edges".to_owned(), "normal,build,dev".to_owned()];
    let differences = differences(&tree(&experiment)?, &tree(&tests)?);
    for (package, missing) in &differences {
        println!("{package} is built twice: tests also take its features {missing}");
    }
    if !differences.is_empty() {
        println!(
            "name these dependencies with these features in the Cargo.toml of {BINARY_PACKAGE}, so that both builds share them"
        );
    }
    Ok(differences.is_empty())
}

fn tree(arguments: &[String]) -> Result<Features, String> {
    let mut command = cargo("tree");
    command.args(arguments).args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{f}"]);
    let output = command.output().map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(tree: &str) -> Features {
    let mut features = Features::new();
    for (package, enabled) in tree.lines().filter_map(|line| line.split_once('|')) {
        // Cargo marks a package that a test-only dependency leads back to.
        let enabled = enabled.strip_suffix(" (*)").unwrap_or(enabled);
        features.entry(package.to_owned()).or_default().insert(enabled.to_owned());
    }
    features
}

/// For each package of the first that the second builds otherwise, the features that it has only there.
fn differences(experiment: &Features, tests: &Features) -> Vec<(String, String)> {
    let all = |sets: &BTreeSet<String>| -> BTreeSet<String> {
        sets.iter().flat_map(|set| set.split(',')).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let differs = |(package, sets): (&String, &BTreeSet<String>)| {
        let others = tests.get(package).filter(|others| *others != sets)?;
        let more: Vec<String> = all(others).difference(&all(sets)).cloned().collect();
        Some((package.clone(), more.join(", ")))
    };
    experiment.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_its_own_tests_lead_back_to_is_one() {
        assert_eq!(parse("a v0.1.0|\nb v0.1.0|\na v0.1.0| (*)\n"), parse("a v0.1.0|\nb v0.1.0|\n"));
    }

    #[test]
    fn features_that_only_tests_take_are_found() {
        let experiment = parse("a v1.0.0|\nb v1.0.0|default,std\nb v1.0.0|default,std\nc v1.0.0|x\n");
        let tests = parse("a v1.0.0|std,use_std\nb v1.0.0|default,std\nc v1.0.0|x\nc v2.0.0|y\nd v1.0.0|z\n");
        assert_eq!(differences(&experiment, &tests), [("a v1.0.0".to_owned(), "std, use_std".to_owned())]);
    }
}

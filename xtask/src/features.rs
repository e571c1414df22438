//! Checks that experiments and tests build each dependency with the same features.
//!
//! Cargo unites the features that the crates of one invocation ask for, and test-only dependencies may ask for more. If such a
//! dependency is also one of Burn's, `cargo xtask test` compiles Burn a second time.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{BINARY_PACKAGE, TRAINING_ALONE, cargo};

/// Package with version, and the sets of features with which it is built (build scripts may have another set).
type Features = BTreeMap<String, BTreeSet<String>>;

/// Compares the features of an experiment's build with those of the tests, and prints the differences.
///
/// # Errors
/// `cargo tree` failed.
pub fn agree() -> Result<bool, String> {
    let mut experiment = vec![TRAINING_ALONE.to_owned(), "--edges".to_owned(), "normal,build".to_owned()];
    experiment.extend(["--package".to_owned(), BINARY_PACKAGE.to_owned()]);
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
        // Cargo marks a package to which a test-only dependency leads back.
        let enabled = enabled.strip_suffix(" (*)").unwrap_or(enabled);
        features.entry(package.to_owned()).or_default().insert(enabled.to_owned());
    }
    features
}

/// For each package of the first build that the second builds differently, the features that it has only in the second.
fn differences(experiment: &Features, tests: &Features) -> Vec<(String, String)> {
    let all = |sets: &BTreeSet<String>| -> BTreeSet<String> {
        sets.iter().flat_map(|set| set.split(',')).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let differs = |(package, sets): (&String, &BTreeSet<String>)| {
        // The project's own packages lie above Burn: experiments leave features out of some of them, and both builds are kept.
        if package.starts_with("injerto-") {
            return None;
        }
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
    fn a_package_to_which_its_own_tests_lead_back_counts_once() {
        assert_eq!(parse("a v0.1.0|\nb v0.1.0|\na v0.1.0| (*)\n"), parse("a v0.1.0|\nb v0.1.0|\n"));
    }

    #[test]
    fn the_projects_own_packages_may_have_more_features_in_tests() {
        let (experiment, tests) =
            (parse("injerto-cli v0.1.0 (/p)|\n"), parse("injerto-cli v0.1.0 (/p)|default,shards\n"));
        assert_eq!(differences(&experiment, &tests), []);
    }

    #[test]
    fn features_that_only_tests_ask_for_are_found() {
        let experiment = parse("a v1.0.0|\nb v1.0.0|default,std\nb v1.0.0|default,std\nc v1.0.0|x\n");
        let tests = parse("a v1.0.0|std,use_std\nb v1.0.0|default,std\nc v1.0.0|x\nc v2.0.0|y\nd v1.0.0|z\n");
        assert_eq!(differences(&experiment, &tests), [("a v1.0.0".to_owned(), "std, use_std".to_owned())]);
    }
}

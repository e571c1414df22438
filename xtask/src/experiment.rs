//! `cargo xtask experiment FILE` (or a folder of images) builds what an experiment needs, and runs it.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::workspace::{Profile, TRAINING_ALONE, build, code, experiments, hand_over, top_level_string};

/// Text of `--help`.
pub const HELP: &str = "\
Builds the binary, which has the backbones inside, with the features that the experiment's device needs, and runs the experiment.
To be ready sooner, this binary lacks the commands that no training needs (serve, features, gather, completions, man); `cargo build` adds them.

Usage: cargo xtask experiment FILE|FOLDER [OPTIONS] [OPTIONS OF injerto train]

  --release          also optimise the project's own code in full, which compiles everything again
  --profile NAME     build with another profile; the default is dev, which optimises dependencies in full
  --                 all arguments after it go to `injerto train` unchanged

All other options go to `injerto train`, among them:

  --set KEY=VALUE    change a key of the experiment; can be given several times
  --dry-run          show the plan: data, layers, parameters, phases
  --run-dir DIR      write the results there

Examples:

  cargo xtask experiment configs/quickstart.toml
  cargo xtask experiment configs/cats_vs_dogs/feature_extraction.toml --set phases.0.epochs=3
  cargo xtask experiment configs/cats_vs_dogs/feature_extraction.toml --set device=wgpu --dry-run";

/// Runs the command.
///
/// # Errors
/// There is no file, or a program cannot be started.
pub fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let profile = Profile::take(&mut arguments)?;
    if let Some(border) = arguments.iter().position(|argument| argument == "--") {
        arguments.remove(border);
    }
    let known = || format!("the project's own are:\n  {}", experiments().join("\n  "));
    let file = match arguments.first() {
        Some(file) if !file.starts_with('-') => file.clone(),
        Some(option) => return Err(format!("the experiment's file comes first, before {option}; {}", known())),
        None => return Err(format!("which experiment? Name its file; {}", known())),
    };
    let path = Path::new(&file);
    // Of a folder of images, `injerto train` writes the experiment itself.
    let text = if path.is_dir() { Ok(String::new()) } else { std::fs::read_to_string(path) };
    let text = text.map_err(|error| format!("{file}: {error}; {}", known()))?;
    let device = device(text, Path::new(&file));
    let features: Vec<&str> =
        std::iter::once(TRAINING_ALONE).chain(feature(device.as_deref(), &arguments[1..])).collect();
    let Some(binary) = build(&profile, &features)? else { return Ok(code(false)) };
    hand_over(Command::new(binary).arg("train").args(arguments))
}

/// The device that the file of an experiment names, or else the first of the extended files that names one.
fn device(mut text: String, path: &Path) -> Option<String> {
    let mut path = path.to_owned();
    // The binary refuses a longer chain, or one without an end.
    for _ in 0..16 {
        if let Some(device) = top_level_string(&text, "device") {
            return Some(device.to_owned());
        }
        path = path.parent()?.join(top_level_string(&text, "extends")?);
        text = std::fs::read_to_string(&path).ok()?;
    }
    None
}

/// The feature of the binary that the experiment's device needs. The last `--set device=…` counts, or else the file.
fn feature(device: Option<&str>, arguments: &[String]) -> Option<&'static str> {
    let follows = |i: usize| i > 0 && arguments[i - 1] == "--set";
    let mut set = arguments.iter().enumerate().filter_map(|(i, argument)| {
        let set = argument.strip_prefix("--set=").or(follows(i).then_some(argument.as_str()))?;
        let (key, value) = set.split_once('=')?;
        (key.trim() == "device").then(|| value.trim().trim_matches(['"', '\'']))
    });
    match set.next_back().or(device) {
        Some("wgpu") => Some("wgpu"),
        Some("cuda") => Some("cuda"),
        // The CPU is in every build, and the binary explains an unknown device.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_names_the_feature() {
        let check = |toml: &str, arguments: &[&str], expected| {
            let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let device = device(toml.to_owned(), Path::new("experiment.toml"));
            assert_eq!(feature(device.as_deref(), &arguments), expected, "{toml} {arguments:?}");
        };
        check("[data]\n", &[], None);
        check("device = \"cpu\"", &[], None);
        check("device = \"cuda\"\n[data]\n", &["--dry-run"], Some("cuda"));
        check("device = \"cuda\"", &["--set", "device=flex"], None);
        check("", &["--set", "seed=1", "--set=device = \"wgpu\""], Some("wgpu"));
        check("", &["--set", "device=wgpu", "--set", "device=cuda"], Some("cuda"));
        check("", &["--run-dir", "device=wgpu"], None);
    }

    #[test]
    fn the_device_may_be_in_an_extended_file() {
        let folder = std::env::temp_dir().join(format!("injerto-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("below.toml"), "device = \"wgpu\"\n").expect("written");
        let path = folder.join("experiment.toml");
        let check = |toml: &str, expected: Option<&str>| {
            assert_eq!(device(toml.to_owned(), &path).as_deref(), expected, "{toml}");
        };
        check("extends = \"below.toml\"", Some("wgpu"));
        check("device = \"flex\"\nextends = \"below.toml\"", Some("flex"));
        check("extends = \"nowhere.toml\"", None);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}

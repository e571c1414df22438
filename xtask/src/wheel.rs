//! `cargo xtask wheel` builds the package for Python.

use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::workspace::{Profile, code, own_target, root, succeeds};

/// Text of `--help`.
pub const HELP: &str = "\
Builds a wheel for Python 3.9 and later, which has the standard backbones inside: target/wheels/injerto-….whl.

Usage: cargo xtask wheel [--setup] [--python PATH] [--dev | --profile NAME]

  --setup          first make an environment of its own in target/wheel, with maturin from PyPI
  --python PATH    a Python that has maturin; the default is the one that --setup makes
  --dev            build as experiments are built, instead of for release

Then: pip install target/wheels/injerto-….whl";

/// Runs the command.
///
/// # Errors
/// Arguments are not understood, there is no maturin, or a folder cannot be written.
pub fn run(arguments: &[String]) -> Outcome {
    let options = Options::parse(arguments)?;
    let environment = own_target()?.join("wheel");
    let own = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if options.setup {
        let system = options.python.clone().unwrap_or_else(|| "python3".into());
        let made = succeeds(Command::new(system).args(["-m", "venv"]).arg(&environment))?
            && succeeds(Command::new(&own).args(["-m", "pip", "install", "--quiet", "maturin>=1.8,<2"]))?;
        if !made {
            return Ok(code(false));
        }
    }
    let python = options.python.filter(|_| !options.setup).unwrap_or(own);
    let maturin = || Command::new(&python).args(["-m", "maturin", "--version"]).output();
    if !maturin().is_ok_and(|asked| asked.status.success()) {
        return Err(format!(
            "{}: no Python with maturin there; `cargo xtask wheel --setup` makes one with maturin from PyPI, or name yours with --python",
            python.display()
        ));
    }
    let package = root().join("crates/python");
    let mut command = Command::new(&python);
    command.args(["-m", "maturin", "build", "--profile", options.profile.name(), "--manifest-path"]);
    Ok(code(succeeds(command.arg(package.join("Cargo.toml")))?))
}

/// What the command takes.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    setup: bool,
    python: Option<PathBuf>,
    profile: Profile,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut arguments = arguments.to_vec();
        let asks = |argument: &String| argument.starts_with("--profile") || argument == "--dev";
        if !arguments.iter().any(asks) {
            arguments.push("--release".to_owned());
        }
        let profile = Profile::take(&mut arguments)?;
        let mut options = Self { setup: false, python: None, profile };
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--setup" => options.setup = true,
                "--python" => options.python = Some(rest.next().ok_or("--python needs a path")?.into()),
                other => return Err(format!("unknown option {other}\n\n{HELP}")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_built_for_release_unless_another_profile_is_named() {
        let check = |arguments: &[&str], profile: &str, python: Option<&str>| {
            let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let options = Options::parse(&arguments).expect("understood");
            assert_eq!((options.profile.name(), options.python), (profile, python.map(PathBuf::from)), "{arguments:?}");
        };
        check(&[], "release", None);
        check(&["--setup"], "release", None);
        check(&["--dev", "--python", "venv/bin/python"], "dev", Some("venv/bin/python"));
        check(&["--profile=bench"], "bench", None);
        assert!(Options::parse(&["photos".to_owned()]).is_err());
    }
}

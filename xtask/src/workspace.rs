//! The workspace: its folders, and how its parts are built.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::Outcome;

/// The profile with which experiments are built. `dev` also optimises dependencies in full, and the tests use it too, so that Burn is
/// compiled only once.
const DEFAULT_PROFILE: &str = "dev";

/// The package of the `injerto` binary.
pub const BINARY_PACKAGE: &str = "injerto-cli";

/// The packages of the proofs: the library that lets file operations fail, and the program that tries to break the project.
pub const PROOFS: [&str; 2] = ["injerto-failing", "injerto-proofs"];

/// A build profile of Cargo.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile(String);

impl Default for Profile {
    fn default() -> Self {
        Self(DEFAULT_PROFILE.to_owned())
    }
}

impl Profile {
    /// Takes `--release`, `--dev` and `--profile NAME` out of `arguments`, up to a `--`.
    ///
    /// # Errors
    /// `--profile` has no name.
    pub fn take(arguments: &mut Vec<String>) -> Result<Self, String> {
        let mut profile = Self::default();
        let mut at = 0;
        while at < arguments.len() && arguments[at] != "--" {
            let taken = match arguments[at].as_str() {
                "--release" => ("release".to_owned(), 1),
                "--dev" => ("dev".to_owned(), 1),
                "--profile" => (arguments.get(at + 1).ok_or("--profile needs a name")?.clone(), 2),
                other => match other.strip_prefix("--profile=") {
                    Some(name) => (name.to_owned(), 1),
                    None => {
                        at += 1;
                        continue;
                    }
                },
            };
            arguments.drain(at..at + taken.1);
            profile = Self(taken.0);
        }
        Ok(profile)
    }

    /// Name of the profile.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Its folder in the target folder.
    fn folder(&self) -> &str {
        if self.0 == "dev" { "debug" } else { &self.0 }
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// `cargo SUBCOMMAND` for this workspace, from any working directory.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).arg("--manifest-path").arg(root().join("Cargo.toml"));
    command
}

/// Runs a command, waits for it, and returns whether it succeeded.
///
/// # Errors
/// A program cannot be started.
pub fn succeeds(command: &mut Command) -> Result<bool, String> {
    let status = command.status().map_err(|error| not_started(command, &error))?;
    Ok(status.success())
}

/// Replaces this process by another program, so that Ctrl-C and the exit code are those of the program.
///
/// # Errors
/// A program cannot be started.
pub fn hand_over(command: &mut Command) -> Outcome {
    #[cfg(unix)]
    {
        let error = std::os::unix::process::CommandExt::exec(command);
        Err(not_started(command, &error))
    }
    #[cfg(not(unix))]
    {
        let status = command.status().map_err(|error| not_started(command, &error))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}

/// The message that a program cannot be started.
pub fn not_started(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start {}: {error}", command.get_program().to_string_lossy())
}

/// Builds the `injerto` binary and all plugins, and returns the path of the binary. It is `None` if they do not compile, which the
/// compiler has explained.
///
/// `features` are added to those that are on by default; [`WITHOUT_SHARDS`] takes these away. One invocation builds all of them, so each dependency is built once, with the features that they need together.
///
/// # Errors
/// Folders cannot be read, or there is no Cargo.
pub fn build(profile: &Profile, features: &[&str]) -> Result<Option<PathBuf>, String> {
    build_with(profile, features, &[])
}

/// Arguments of Cargo for a binary without what only work on many machines needs, so that a first build is short.
pub const WITHOUT_SHARDS: &str = "--no-default-features";

fn add_features(command: &mut Command, features: &[&str]) {
    for feature in features {
        match feature.starts_with("--") {
            true => command.arg(feature),
            false => command.args(["--features", &format!("{BINARY_PACKAGE}/{feature}")]),
        };
    }
}

/// Builds as [`build`], with some further packages.
///
/// # Errors
/// Those of [`build`].
pub fn build_with(profile: &Profile, features: &[&str], more: &[&str]) -> Result<Option<PathBuf>, String> {
    let mut command = cargo("build");
    command.args(["--profile", profile.name(), "--package", BINARY_PACKAGE]);
    for package in more {
        command.args(["--package", package]);
    }
    for plugin in packages(&root().join("plugins"))? {
        command.args(["--package", &plugin.name]);
    }
    add_features(&mut command, features);
    if !succeeds(&mut command)? {
        return Ok(None);
    }
    // This program is `TARGET/debug/xtask`, so its path gives the target folder.
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program's own path: {error}"))?;
    let target = own.parent().and_then(Path::parent).ok_or("this program is in no target folder")?;
    let binary = target.join(profile.folder()).join(format!("injerto{}", std::env::consts::EXE_SUFFIX));
    match binary.is_file() {
        true => Ok(Some(binary)),
        false => Err(format!("{} does not exist, although it was built", binary.display())),
    }
}

/// A crate of this workspace.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// Name in its `Cargo.toml`.
    pub name: String,
    /// Whether it has benchmarks.
    pub has_benches: bool,
}

/// The crates in a folder, in alphabetical order.
///
/// # Errors
/// A folder or a `Cargo.toml` cannot be read.
pub fn packages(folder: &Path) -> Result<Vec<Package>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut packages = Vec::new();
    for entry in entries {
        let crate_folder = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        let manifest = crate_folder.join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
        let package = text.split_once("[package]").map_or("", |(_, package)| package);
        let name = top_level_string(package, "name")
            .ok_or_else(|| format!("{}: no name in [package]", manifest.display()))?
            .to_owned();
        let has_benches = text.lines().any(|line| line.trim() == "[[bench]]") || crate_folder.join("benches").is_dir();
        packages.push(Package { name, has_benches });
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// The string under `key` before the first header. Two keys are not worth a TOML parser: lines that this function does not understand
/// are ignored, and the program that reads the file reports what is wrong with it.
pub fn top_level_string<'t>(toml: &'t str, key: &str) -> Option<&'t str> {
    let lines = toml.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let value = lines.filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == key)?.1.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split_once(quote).map(|(text, _)| text)
}

/// Paths of the experiments in `configs/`, relative to the root of the workspace.
pub fn experiments() -> Vec<String> {
    let root = root();
    let mut folders = vec![root.join("configs")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new("toml")) {
                found.push(path.strip_prefix(&root).unwrap_or(&path).display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Exit code 0 or 1.
pub fn code(success: bool) -> ExitCode {
    if success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_before_the_first_header() {
        let check = |toml, expected| assert_eq!(top_level_string(toml, "device"), expected, "{toml}");
        check("seed = 1\n  device=\"wgpu\" # fast\n", Some("wgpu"));
        check("device = 'cuda'", Some("cuda"));
        check("[data]\ndevice = \"cuda\"", None);
        check("# device = \"cuda\"\ndevices = \"cuda\"", None);
        check("device = 3\n", None);
        check("device = \"open\ndevice = ", None);
        check("", None);
    }

    #[test]
    fn profile_flags_are_taken_out() {
        let check = |arguments: &[&str], profile: &str, left: &[&str]| {
            let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            assert_eq!(Profile::take(&mut arguments), Ok(Profile(profile.to_owned())));
            assert_eq!(arguments, left);
        };
        check(&["a.toml", "--set", "seed=1"], DEFAULT_PROFILE, &["a.toml", "--set", "seed=1"]);
        check(&["--release", "a.toml"], "release", &["a.toml"]);
        check(&["a.toml", "--profile", "bench", "x"], "bench", &["a.toml", "x"]);
        check(&["a.toml", "--release", "--profile=dev", "--", "--release"], "dev", &["a.toml", "--", "--release"]);
        assert!(Profile::take(&mut vec!["--profile".to_owned()]).is_err());
    }

    #[test]
    fn the_workspace_has_plugins_and_they_have_names() {
        let names = packages(&root().join("plugins")).expect("plugins/ can be read");
        assert!(names.iter().any(|package| package.name == "injerto-plugin-mobilenet_v2"), "{names:?}");
    }
}

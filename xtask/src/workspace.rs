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

/// The target for which sanitizers are run.
pub const HOST: &str = "x86_64-unknown-linux-gnu";

/// The package of the library that Python loads.
pub const PYTHON: &str = "injerto-python";

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
    pub fn folder(&self) -> &str {
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
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_program(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// Whether Cargo has set an environment variable for `cargo xtask` alone. Build scripts ask for some of them (that of `ring` does), and
/// would run again, with all that is built on their crates, whenever `cargo xtask` and a plain `cargo` take turns.
fn is_of_this_program(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix))
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

/// Builds the `injerto` binary, which has the standard backbones inside, and returns its path. Crates in `plugins/` that are no part of it
/// are built too, as libraries. The path is `None` if something does not compile, which the compiler has explained.
///
/// `features` are added to those that are on by default; [`TRAINING_ALONE`] takes these away. One invocation builds all of them, so each
/// dependency is built once, with the features that they need together.
///
/// # Errors
/// Folders cannot be read, or there is no Cargo.
pub fn build(profile: &Profile, features: &[&str]) -> Result<Option<PathBuf>, String> {
    Ok(build_all(profile, features, &[], Libraries::Foreign, None)?.map(|built| built.binary))
}

/// The argument of Cargo for a binary without what no training needs (the server, completions and manual pages, work on many machines), so
/// that a first build is short.
pub const TRAINING_ALONE: &str = "--no-default-features";

fn add_features(command: &mut Command, features: &[&str]) {
    for feature in features {
        match feature.starts_with("--") {
            true => command.arg(feature),
            false => command.args(["--features", &format!("{BINARY_PACKAGE}/{feature}")]),
        };
    }
}

/// Builds as [`build`], with the standard backbones as libraries, which lie in [`Built::libraries`], and with some further packages.
///
/// # Errors
/// Those of [`build`]; a library cannot be put in its place.
pub fn build_with(profile: &Profile, features: &[&str], more: &[&str]) -> Result<Option<Built>, String> {
    build_all(profile, features, more, Libraries::All, None)
}

/// Builds as [`build_with`], for a platform. A binary that is linked statically can load no libraries, so there are none of its platform.
///
/// # Errors
/// Those of [`build_with`].
pub fn build_for(profile: &Profile, target: Option<&str>) -> Result<Option<Built>, String> {
    let is_static = target.is_some_and(|target| target.ends_with("-musl"));
    build_all(profile, &[], &[], if is_static { Libraries::Foreign } else { Libraries::All }, target)
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// The `injerto` binary.
    pub binary: PathBuf,
    /// The folder of the standard backbones as libraries. The binary does not look there: it has them inside, and a library that was built
    /// before a change must not take the place of the changed one.
    pub libraries: PathBuf,
}

/// Which plugins are built as libraries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Libraries {
    /// Those that are no part of the binary.
    Foreign,
    /// All of them.
    All,
}

fn build_all(
    profile: &Profile,
    features: &[&str],
    more: &[&str],
    libraries: Libraries,
    platform: Option<&str>,
) -> Result<Option<Built>, String> {
    let mut command = cargo("build");
    command.args(["--profile", profile.name(), "--package", BINARY_PACKAGE]);
    let plugins = packages(&root().join("plugins"))?;
    let wanted = plugins.iter().filter(|plugin| libraries == Libraries::All || !plugin.is_standard);
    for package in more.iter().copied().chain(wanted.map(|plugin| plugin.name.as_str())) {
        command.args(["--package", package]);
    }
    if libraries == Libraries::All {
        // The library of a standard backbone is an example of its crate.
        command.args(["--bins", "--lib", "--example", "injerto_plugin_*"]);
    }
    add_features(&mut command, features);
    if let Some(platform) = platform {
        command.args(["--target", platform]);
    }
    if !succeeds(&mut command)? {
        return Ok(None);
    }
    let target = own_target()?;
    let folder = platform.map_or(target.clone(), |platform| target.join(platform)).join(profile.folder());
    let binary = folder.join(format!("injerto{}", std::env::consts::EXE_SUFFIX));
    if !binary.is_file() {
        return Err(format!("{} does not exist, although it was built", binary.display()));
    }
    let built = Built { binary, libraries: folder.join("backbones") };
    let standard = || plugins.iter().filter(|plugin| plugin.is_standard).map(Package::library);
    // An earlier version of this program has left them where the binary looks, and they would take the place of what it has inside.
    standard().for_each(|name| drop(std::fs::remove_file(folder.join(name))));
    if libraries == Libraries::All {
        gather(&folder.join("examples"), &built.libraries, standard())?;
    }
    Ok(Some(built))
}

/// Puts files of a folder into another one, which holds nothing else afterwards.
fn gather(from: &Path, to: &Path, names: impl Iterator<Item = String>) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("{}: {error}", to.display());
    if to.exists() {
        std::fs::remove_dir_all(to).map_err(cannot)?;
    }
    std::fs::create_dir_all(to).map_err(cannot)?;
    for name in names {
        std::fs::copy(from.join(&name), to.join(&name)).map_err(cannot)?;
    }
    Ok(())
}

/// The target folder: this program is `TARGET/debug/xtask`.
///
/// # Errors
/// The program cannot find its own path.
pub fn own_target() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program's own path: {error}"))?;
    Ok(own.parent().and_then(Path::parent).ok_or("this program is in no target folder")?.to_owned())
}

/// A crate of this workspace.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// Name in its `Cargo.toml`.
    pub name: String,
    /// Whether it has benchmarks.
    pub has_benches: bool,
    /// Whether it is a standard backbone: a crate that the binary links, with its library as an example.
    pub is_standard: bool,
}

impl Package {
    /// File name of the library of a plugin.
    pub fn library(&self) -> String {
        let name = self.name.replace('-', "_");
        format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
    }
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
        let is_standard = text.contains(&format!("[[example]]\nname = \"{}\"\n", name.replace('-', "_")));
        packages.push(Package { name, has_benches, is_standard });
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
    fn cargo_is_started_as_a_user_starts_it() {
        // Cargo sets this for every program that it runs, and so for this one.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some() && std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let command = cargo("build");
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(removed.contains(&OsStr::new("CARGO_PKG_NAME")) && removed.contains(&OsStr::new("CARGO_MANIFEST_DIR")));
        assert!(!is_of_this_program("CARGO_TARGET_DIR") && !is_of_this_program("CARGO_BUILD_JOBS"));
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
        let mobilenet =
            names.iter().find(|package| package.name == "injerto-plugin-mobilenet_v2").expect("it is there");
        assert!(mobilenet.is_standard && mobilenet.library().contains("injerto_plugin_mobilenet_v2."), "{names:?}");
    }
}

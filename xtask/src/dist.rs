//! `cargo xtask dist` makes the archive that a user unpacks.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::Outcome;
use crate::archive::{self, Entry};
use crate::bill::Bill;
use crate::workspace::{Built, Profile, build_for, code, root};

/// Text of `--help`.
pub const HELP: &str = "\
Makes the archive that a user unpacks: the binary, which has the standard backbones inside, the same backbones as libraries, the
header for plugins, completions of shells, manual pages, the documentation, the licences of all packages that the binary is made
of, and a bill of materials (CycloneDX).

Usage: cargo xtask dist [OPTIONS]

  --dev            build as `cargo xtask experiment` does; the default is --release
  --profile NAME   build with another profile
  --target TRIPLE  build for another platform, such as x86_64-unknown-linux-musl, whose binary needs no library of the system;
                   it can load no libraries either, so the archive has none, and the backbones are those inside
  --out FOLDER     write the archive there; the default is target/dist

Equal files give an equal archive: files are in the order of their paths, and all have the time SOURCE_DATE_EPOCH, or else that
of the last commit. It needs gzip.";

/// Runs the command.
///
/// # Errors
/// An argument is unknown, a program cannot be started, or a file cannot be read or written.
pub fn run(arguments: &[String]) -> Outcome {
    let asked = Asked::parse(arguments)?;
    let Some(built) = build_for(&asked.profile, asked.target.as_deref())? else { return Ok(code(false)) };
    let platform = asked.target.clone().map_or_else(host, Ok)?;
    let name = format!("injerto-{}-{platform}", env!("CARGO_PKG_VERSION"));
    let entries = contents(&built, &Bill::of_binary(&platform)?)?;
    let entries: Vec<Entry> =
        entries.into_iter().map(|entry| Entry { path: format!("{name}/{}", entry.path), ..entry }).collect();
    std::fs::create_dir_all(&asked.out).map_err(|error| format!("{}: {error}", asked.out.display()))?;
    let file = asked.out.join(format!("{name}.tar.gz"));
    compress(entries, &file)?;
    println!("{}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    profile: Profile,
    target: Option<String>,
    out: PathBuf,
}

impl Asked {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut arguments = arguments.to_vec();
        let names_a_profile = arguments.iter().any(|argument| argument == "--dev" || argument.starts_with("--profile"));
        if !names_a_profile {
            arguments.push("--release".to_owned());
        }
        let profile = Profile::take(&mut arguments)?;
        let mut asked = Self { profile, target: None, out: root().join("target/dist") };
        let mut rest = arguments.into_iter();
        while let Some(option) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{option} needs a value"));
            match option.as_str() {
                "--target" => asked.target = Some(value()?),
                "--out" => asked.out = value()?.into(),
                other => return Err(format!("`cargo xtask dist` knows no {other}; --help lists its options")),
            }
        }
        Ok(asked)
    }
}

/// The platform for which Cargo builds by default.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| format!("cannot start rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say its platform".to_owned())
}

/// Shells that have completions, and the names by which they find them.
const SHELLS: [(&str, &str); 5] = [
    ("bash", "injerto.bash"),
    ("elvish", "injerto.elv"),
    ("fish", "injerto.fish"),
    ("powershell", "_injerto.ps1"),
    ("zsh", "_injerto"),
];

/// All files of the archive.
fn contents(built: &Built, bill: &Bill) -> Result<Vec<Entry>, String> {
    let entry = |path: &str, bytes: Vec<u8>| Entry { path: path.to_owned(), is_executable: false, bytes };
    let binary = format!("injerto{}", std::env::consts::EXE_SUFFIX);
    let mut entries = vec![
        Entry { path: binary, is_executable: true, bytes: read(&built.binary)? },
        entry("LICENCES.txt", bill.licences()?.into_bytes()),
        entry("injerto.cdx.json", bill.cyclonedx().into_bytes()),
    ];
    for file in ["README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        entries.push(entry(file, read(&root().join(file))?));
    }
    let header = "crates/plugin-abi/include/injerto_plugin.h";
    entries.push(entry("include/injerto_plugin.h", read(&root().join(header))?));
    for (shell, file) in SHELLS {
        let text = printed(Command::new(&built.binary).args(["completions", shell]))?;
        entries.push(entry(&format!("completions/{file}"), text));
    }
    let pages = built.libraries.with_file_name("man");
    printed(Command::new(&built.binary).args(["man", "--out"]).arg(&pages))?;
    for (from, to) in [(&pages, "man/man1"), (&root().join("docs"), "docs")] {
        entries.extend(folder(from, to, false)?);
    }
    if built.libraries.is_dir() {
        entries.extend(folder(&built.libraries, "backbones", true)?);
    }
    Ok(entries)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a program prints.
fn printed(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| crate::workspace::not_started(command, &error))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// The files in a folder and its folders.
fn folder(from: &Path, to: &str, is_executable: bool) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))? {
        let path = file.map_err(|error| format!("{}: {error}", from.display()))?.path();
        let inner = format!("{to}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        match path.is_dir() {
            true => entries.extend(folder(&path, &inner, is_executable)?),
            false => entries.push(Entry { path: inner, is_executable, bytes: read(&path)? }),
        }
    }
    Ok(entries)
}

/// Seconds since 1970 that all files have: `SOURCE_DATE_EPOCH`, or the time of the last commit, or the first day that every archiver knows.
fn time() -> u64 {
    const DAY_IN_1980: u64 = 315_532_800;
    let said = std::env::var("SOURCE_DATE_EPOCH").ok();
    let commit = || {
        let output = Command::new("git").arg("-C").arg(root()).args(["log", "-1", "--format=%ct"]).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    said.or_else(commit).and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(DAY_IN_1980)
}

/// Writes the archive. The file has its name only when it is whole.
fn compress(entries: Vec<Entry>, file: &Path) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("{}: {error}", file.display());
    let partial = file.with_extension("partial");
    let out = std::fs::File::create(&partial).map_err(cannot)?;
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "-n"]).stdin(Stdio::piped()).stdout(out);
    let mut child = gzip.spawn().map_err(|error| format!("cannot start gzip: {error}"))?;
    let mut pipe = BufWriter::new(child.stdin.take().ok_or("gzip has no input")?);
    archive::write(&mut pipe, entries, time()).and_then(|()| pipe.flush()).map_err(cannot)?;
    drop(pipe);
    if !child.wait().map_err(cannot)?.success() {
        return Err(format!("{}: gzip failed", file.display()));
    }
    std::fs::rename(&partial, file).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_release_unless_another_is_named() {
        let parse = |text: &str| Asked::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("").expect("asked").profile.name(), "release");
        let asked = parse("--dev --target x86_64-unknown-linux-musl --out there").expect("asked");
        assert_eq!((asked.profile.name(), asked.target.as_deref()), ("dev", Some("x86_64-unknown-linux-musl")));
        assert_eq!(asked.out, Path::new("there"));
        assert_eq!(parse("--taget x"), Err("`cargo xtask dist` knows no --taget; --help lists its options".to_owned()));
        assert_eq!(parse("--target"), Err("--target needs a value".to_owned()));
    }

    /// Packs what `cargo xtask test` has built, uncompressed and in memory.
    #[test]
    fn the_archive_has_everything_that_a_user_needs() {
        let target = std::env::current_exe().expect("this program").ancestors().nth(2).expect("target").to_owned();
        let binary = target.join(format!("injerto{}", std::env::consts::EXE_SUFFIX));
        assert!(binary.is_file(), "{} is not built: run `cargo xtask test`", binary.display());
        let built = Built { binary, libraries: target.join("backbones") };
        let bill = Bill::of_binary(&host().expect("a platform")).expect("a bill");
        let entries = contents(&built, &bill).expect("all files");
        let find = |path: &str| entries.iter().find(|entry| entry.path == path).unwrap_or_else(|| panic!("no {path}"));
        let binary = find(&format!("injerto{}", std::env::consts::EXE_SUFFIX));
        assert!(binary.is_executable && binary.bytes.len() > 1 << 20);
        for (path, said) in [
            ("README.md", "# Injerto"),
            ("LICENSE-MIT", "MIT License"),
            ("LICENSE-APACHE", "Apache License"),
            ("LICENCES.txt", "Permission is hereby granted"),
            ("injerto.cdx.json", "\"pkg:cargo/burn-tensor@"),
            ("include/injerto_plugin.h", "injerto_table"),
            ("completions/injerto.bash", "_injerto()"),
            ("completions/_injerto", "#compdef injerto"),
            ("completions/injerto.fish", "complete -c injerto"),
            ("man/man1/injerto.1", ".TH injerto"),
            ("man/man1/injerto-train.1", "Train"),
            ("docs/experiment.md", "batch_size"),
        ] {
            let text = String::from_utf8_lossy(&find(path).bytes).into_owned();
            assert!(text.contains(said), "{path} does not say {said}");
        }
        let libraries = entries.iter().filter(|entry| entry.path.starts_with("backbones/") && entry.is_executable);
        assert!(libraries.count() >= 11);
        // Every package of the registry is in both lists, and each says its licence.
        let licences = String::from_utf8_lossy(&find("LICENCES.txt").bytes).into_owned();
        let packages = bill.packages();
        assert!(packages.len() > 150, "{}", packages.len());
        for package in packages.iter().filter(|package| !package.name.starts_with("injerto")) {
            assert!(!package.licence.is_empty(), "{package:?}");
            let line = format!("{} {}: {} (", package.name, package.version, package.licence);
            assert!(licences.contains(&line), "no {line}");
        }
    }
}

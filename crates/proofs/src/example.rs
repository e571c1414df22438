//! A small experiment that the real binary runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// The experiment that examples, tests and proofs train.
pub const EXPERIMENT: &str = include_str!("../../experiment/examples/tiny.toml");

/// What makes it shorter, for whoever trains it many times.
pub const SHORTER: [&str; 5] = [
    "data.train_per_class=4",
    "data.validation_per_class=2",
    "data.image_size=[16,16]",
    "phases.0.epochs=1",
    "phases.1.epochs=2",
];

/// The folder of this build, which contains `injerto`, this program and the plugins.
///
/// # Errors
/// This program cannot find its own path.
pub fn built() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    let folder = own.parent().context("this program is in no folder")?;
    // Tests are one folder deeper.
    let folder = if folder.ends_with("deps") { folder.parent().context("deps has a parent")? } else { folder };
    Ok(folder.to_owned())
}

/// A command that runs `injerto` in a folder, which also contains its home and its cache, so that nothing of the user is used.
///
/// # Errors
/// The binary is not built.
pub fn injerto(folder: &Path) -> Result<Command> {
    let binary = built()?.join(format!("injerto{}", std::env::consts::EXE_SUFFIX));
    ensure!(binary.is_file(), "{}: not built; run `cargo xtask prove`, which builds it", binary.display());
    let mut command = Command::new(binary);
    command.current_dir(folder).env_remove("INJERTO_PLUGIN_PATH").env("INJERTO_CACHE_DIR", folder.join("cache"));
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
        command.env(variable, folder.join("home"));
    }
    Ok(command)
}

/// The end of a command.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Its standard error.
    pub said: String,
}

/// Runs a command to its end.
///
/// # Errors
/// The command cannot be started.
pub fn ended(command: &mut Command) -> Result<Ended> {
    let output = command.output().context("cannot start injerto")?;
    Ok(Ended { code: output.status.code(), said: String::from_utf8_lossy(&output.stderr).into_owned() })
}

/// Writes the experiment into a folder.
///
/// # Errors
/// The folder cannot be written to.
pub fn begin(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    Ok(std::fs::write(folder.join("tiny.toml"), EXPERIMENT)?)
}

/// The command that trains into `out` from the beginning.
///
/// # Errors
/// Those of [`injerto`].
pub fn train(folder: &Path) -> Result<Command> {
    let mut command = injerto(folder)?;
    command.args(["train", "tiny.toml", "--run-dir", "out"]);
    command.args(SHORTER.iter().flat_map(|set| ["--set", *set]));
    Ok(command)
}

/// Trains in `folder`, and returns the folder of the run.
///
/// # Errors
/// The run fails.
pub fn finished(folder: &Path) -> Result<PathBuf> {
    begin(folder)?;
    let ended = ended(&mut train(folder)?)?;
    ensure!(ended.code == Some(0), "the example does not train: {}", ended.said);
    Ok(folder.join("out"))
}

/// Removes times and facts about the machine from a value, at every depth.
const OF_THE_MOMENT: [&str; 3] = ["seconds", "images_per_second", "peak_memory_bytes"];

fn timeless(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let stays = |(key, _): &(String, Value)| !OF_THE_MOMENT.contains(&key.as_str());
            Value::Object(fields.into_iter().filter(stays).map(|(key, value)| (key, timeless(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(timeless).collect()),
        other => other,
    }
}

/// The content of a file of a run, without times.
fn content(run: &Path, file: &str) -> Result<Vec<u8>> {
    let bytes = std::fs::read(run.join(file)).with_context(|| format!("{file} is not there"))?;
    if file.ends_with(".safetensors") {
        let (length, rest) = bytes.split_at_checked(8).context("a checkpoint begins with eight bytes")?;
        let length = u64::from_le_bytes(length.try_into()?) as usize;
        let (header, data) = rest.split_at_checked(length).context("a checkpoint has its header")?;
        let mut header: Value = serde_json::from_slice(header)?;
        // The metadata contains the history, which contains seconds.
        header.as_object_mut().context("a table")?.shift_remove("__metadata__");
        return Ok([header.to_string().as_bytes(), data].concat());
    }
    let text = String::from_utf8(bytes).with_context(|| format!("{file} is text"))?;
    let lines: Vec<String> = match file {
        "history.csv" => {
            let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
            let names = rows.next().context("history.csv has a first line")?;
            let stays: Vec<bool> = names.iter().map(|name| !OF_THE_MOMENT.contains(name)).collect();
            let keep = |row: Vec<&str>| {
                row.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(cell, _)| *cell).collect::<Vec<_>>().join(",")
            };
            std::iter::once(keep(names.clone())).chain(rows.map(keep)).collect()
        }
        "history.jsonl" => text
            .lines()
            .map(|line| Ok(timeless(serde_json::from_str(line)?).to_string()))
            .collect::<Result<_>>()
            .with_context(|| format!("{file} is not JSON in each line"))?,
        _ => vec![timeless(serde_json::from_str(&text).with_context(|| format!("{file} is not JSON"))?).to_string()],
    };
    Ok(lines.join("\n").into_bytes())
}

/// Files that must be equal in two runs of one experiment, bit for bit.
const ALIKE: [&str; 7] = [
    "best.safetensors",
    "last.safetensors",
    "history.jsonl",
    "history.csv",
    "knowledge.safetensors",
    "calibration.json",
    "summary.json",
];

/// Checks that two runs have equal weights, state of the optimiser, history and summary, except for times.
///
/// # Errors
/// A message about the first file that differs.
pub fn equal(run: &Path, expected: &Path) -> Result<()> {
    for file in ALIKE {
        let (found, expected) = (content(run, file)?, content(expected, file)?);
        if found != expected {
            bail!("{file} differs from that of the uninterrupted run: {}", first_difference(&found, &expected));
        }
    }
    Ok(())
}

/// The first difference of two files, with some text around it.
fn first_difference(found: &[u8], expected: &[u8]) -> String {
    let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    let around = |bytes: &[u8]| {
        let piece = &bytes[at.saturating_sub(40).min(bytes.len())..(at + 30).min(bytes.len())];
        piece.escape_ascii().to_string()
    };
    format!("at byte {at} it has `{}`, not `{}`", around(found), around(expected))
}

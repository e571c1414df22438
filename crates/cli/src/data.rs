//! `injerto data`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Subcommand;
use injerto_backbones::weights::Cache;
use injerto_data::moves::{apply, journal, undo};
use injerto_experiment::source;
use injerto_fetch::datasets::{Archive, KNOWN, Known};
use injerto_files::{listed, printable, shell_word, shown};
use injerto_report::words::counted;

use crate::output::out;

/// What `injerto data` takes.
#[derive(Subcommand)]
pub enum Arguments {
    /// Move images into other classes, as a list of moves says, or take that back
    #[command(after_help = "\
The list is a CSV file with the columns from and to, as `injerto inspect DATA --moves FILE`
writes it: look at it first, and delete the lines that you do not agree with. Either all
files are moved or none, no file is overwritten, links are not followed, and nothing outside
the folder is touched. FILE.applied records what was done, and --undo reads it.

Examples:

  injerto inspect photos --moves moves.csv
  injerto data apply moves.csv
  injerto data apply moves.csv --undo")]
    Apply {
        /// The list
        file: PathBuf,
        /// Folder in which the list's paths begin [default: the folder that holds the list]
        #[arg(long, value_name = "FOLDER")]
        root: Option<PathBuf>,
        /// Move the files back
        #[arg(long)]
        undo: bool,
    },
    /// Fetch a dataset into the cache, or say where it is
    #[command(after_help = "\
A dataset is one of those that `injerto data list` shows, or the address of a .zip, .tar, .tar.gz
or .tgz with images. It is fetched once. A download that broke off is continued. The folder that
is printed can be named in an experiment as data.root; the name or the address (data.url) can be
named there as well, and is then fetched when it is needed.

Examples:

  injerto data fetch flower_photos
  injerto data fetch https://example.org/leaves.zip --sha256 9f86d081…")]
    Fetch {
        /// Name or address
        #[arg(value_name = "DATASET")]
        dataset: String,
        /// SHA-256 that the archive must have
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
    /// List the datasets that have names, and where they are
    List,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (file, root, back) = match arguments {
        Arguments::Apply { file, root, undo } => (file, root, undo),
        Arguments::Fetch { dataset, sha256 } => return fetch(dataset, sha256.as_deref()),
        Arguments::List => return list(),
    };
    let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = root.as_deref().unwrap_or(beside);
    if *back {
        out!("{} moved back in {}", counted(undo(file, root)?, "file"), shown(root))?;
        return Ok(ExitCode::SUCCESS);
    }
    out!("{} moved in {}", counted(apply(file, root)?, "file"), shown(root))?;
    out!(
        "to take it back: {} --undo (which reads {})",
        command(file, Some(root).filter(|root| *root != beside)),
        shown(&journal(file))
    )?;
    Ok(ExitCode::SUCCESS)
}

fn fetch(dataset: &str, sha256: Option<&str>) -> Result<ExitCode> {
    let cache = Cache::of_user()?;
    let is_address = dataset.contains("://");
    let found = if is_address { None } else { source::kept(dataset, &cache) };
    let known = || -> Result<Archive> {
        let names = || listed(KNOWN.iter().map(|known| known.name));
        Archive::known(dataset)
            .ok_or_else(|| anyhow!("no dataset '{}': expected one of {}, or an address", printable(dataset), names()))
    };
    let folder = match found {
        Some(folder) => folder,
        None => {
            let archive = if is_address { Archive { url: dataset.to_owned(), sha256: None } } else { known()? };
            let names = if is_address { Vec::new() } else { vec![PathBuf::from(dataset)] };
            source::fetch(&Archive { sha256: sha256.map(str::to_lowercase), ..archive }, &names, &cache)?
        }
    };
    out!("{}", shown(&folder))?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> Result<ExitCode> {
    let cache = Cache::of_user()?;
    for Known { name, bytes, about, .. } in KNOWN {
        let place = source::kept(name, &cache).map_or_else(
            || format!("not here; {:.0} MB to fetch", bytes as f64 / 1e6),
            |folder| shown(&folder).to_string(),
        );
        out!("{name}: {about}\n  {place}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What applies a list, to be copied into a shell.
pub fn command(list: &Path, root: Option<&Path>) -> String {
    let root = root.map(|root| format!(" --root {}", shell_word(root)));
    format!("injerto data apply {}{}", shell_word(list), root.unwrap_or_default())
}

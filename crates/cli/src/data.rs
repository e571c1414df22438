//! `injerto data`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use injerto_data::moves::{apply, journal, undo};
use injerto_files::{shell_word, shown};
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
of the folder is touched. What was done is kept in FILE.applied, by which --undo goes.

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
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments::Apply { file, root, undo: back } = arguments;
    let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = root.as_deref().unwrap_or(beside);
    if *back {
        out!("{} moved back in {}", counted(undo(file, root)?, "file"), shown(root))?;
        return Ok(ExitCode::SUCCESS);
    }
    out!("{} moved in {}", counted(apply(file, root)?, "file"), shown(root))?;
    out!(
        "to take it back: {} --undo (it goes by {})",
        command(file, Some(root).filter(|root| *root != beside)),
        shown(&journal(file))
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What applies a list, to be copied into a shell.
pub fn command(list: &Path, root: Option<&Path>) -> String {
    let root = root.map(|root| format!(" --root {}", shell_word(root)));
    format!("injerto data apply {}{}", shell_word(list), root.unwrap_or_default())
}

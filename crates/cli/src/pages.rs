//! `injerto completions` and `injerto man`: what shells and `man` know of the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Command};
use clap_complete::Shell;
use injerto_files::shown;

use crate::output::out;

/// What `injerto completions` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto completions bash > ~/.local/share/bash-completion/completions/injerto
  injerto completions fish > ~/.config/fish/completions/injerto.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// What `injerto man` takes.
#[derive(Args)]
#[command(after_help = "\
Examples:

  injerto man train | man -l -
  injerto man --out ~/.local/share/man/man1")]
pub struct Man {
    /// A command, and after it the command in it: `plugins list`
    command: Vec<String>,
    /// Write all pages into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    out: Option<PathBuf>,
}

/// Runs `injerto completions`.
pub fn completions(arguments: &Completions, mut all: Command) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut all, "injerto", &mut text);
    out!("{}", String::from_utf8(text)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `injerto man`.
pub fn man(arguments: &Man, all: Command) -> Result<ExitCode> {
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder).with_context(|| shown(folder).to_string())?;
        clap_mangen::generate_to(all, folder).with_context(|| shown(folder).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    // A page is that of a command with its global options and its whole name.
    let mut all = all;
    all.build();
    let (mut page, mut name) = (&all, "injerto".to_owned());
    for word in &arguments.command {
        let Some(inner) = page.find_subcommand(word) else {
            bail!("{name} has no command '{}'", injerto_files::printable(word))
        };
        name = format!("{name}-{word}");
        page = inner;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).title(name).render(&mut text)?;
    out!("{}", String::from_utf8(text)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

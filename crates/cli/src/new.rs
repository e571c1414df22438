//! `injerto new`, and the experiment that `injerto train FOLDER` writes for itself.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::weights::Cache;
use injerto_config::Config;
use injerto_experiment::first::{First, Ground};
use injerto_experiment::inspect::backbone::Candidate;
use injerto_files::{printable, settled, shell_word, shown, to_text};

use crate::Common;
use crate::output::{self, note, out};

/// Options for an experiment that is not written yet.
#[derive(Args)]
pub struct Wishes {
    /// With a folder: the backbone, by name or path of its library [default: one whose weights are at hand]
    #[arg(long, value_name = "NAME", value_parser = crate::text())]
    backbone: Option<String>,
    /// With a folder: epochs of each phase
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    epochs: Option<u32>,
    /// With a folder: train the backbone too from this layer on, by its number or name, in a second phase
    #[arg(long, value_name = "LAYER", value_parser = crate::text())]
    fine_tune: Option<String>,
    /// With a folder: name of the experiment and of its file [default: the folder's name]
    #[arg(long, value_name = "NAME", value_parser = crate::text())]
    name: Option<String>,
}

impl Wishes {
    /// The first option that was given, as it is typed.
    pub fn first(&self) -> Option<&'static str> {
        let Self { backbone, epochs, fine_tune, name } = self;
        let said = [
            ("--backbone", backbone.is_some()),
            ("--epochs", epochs.is_some()),
            ("--fine-tune", fine_tune.is_some()),
            ("--name", name.is_some()),
        ];
        said.into_iter().find_map(|(option, said)| said.then_some(option))
    }
}

/// What `injerto new` takes.
#[derive(Args)]
#[command(after_help = "\
The experiment is for a folder with one sub-folder per class, or with train/ and validation/. It is a file to read and to
change: the split, the backbone, the size of the images, the head and the phases are chosen for these images, and a comment
says why. `injerto train FOLDER` writes the same file, and trains it.

Examples:

  injerto new photos
  injerto new photos --backbone mobilenet_v2 --fine-tune 100 --out my.toml
  injerto new photos --out -
  injerto new --quickstart")]
pub struct Arguments {
    /// Folder of the images
    #[arg(value_name = "FOLDER", required_unless_present = "quickstart", value_parser = crate::images())]
    folder: Option<PathBuf>,
    /// Write quickstart.toml instead: transfer learning in a minute, on drawn flowers, with nothing to download
    #[arg(long, conflicts_with_all = ["folder", "backbone", "epochs", "fine_tune", "name", "set"])]
    quickstart: bool,
    #[command(flatten)]
    wishes: Wishes,
    /// Any key of the experiment, such as data.batch_size=16 (may be given several times)
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::text())]
    set: Vec<String>,
    /// The file to write; `-` prints it [default: NAME.toml]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The experiment of [`Arguments::quickstart`].
const QUICKSTART: &str = include_str!("../../../configs/quickstart.toml");

/// Runs `injerto new`.
pub fn run(arguments: &Arguments, common: &Common) -> Result<ExitCode> {
    let Arguments { folder, quickstart: _, wishes, set, out } = arguments;
    let Some(folder) = folder else {
        return write(QUICKSTART, out.as_deref().unwrap_or(Path::new("quickstart.toml")));
    };
    let (mut catalog, cache) = (common.catalog()?, Cache::of_user()?);
    let ground = ground(wishes, &mut catalog, &cache)?;
    if let Ground::Pretrained(Candidate { backbone, weights, at_hand: false, .. }) = &ground {
        let [backbone, weights] = [backbone, weights].map(|name| printable(name));
        note!("the weights '{weights}' of {backbone} are fetched when the experiment is trained");
    }
    let out = out.as_deref();
    let file = out.filter(|out| out.as_os_str() != "-").map(Path::to_owned);
    let written = Written::new(folder, wishes, set, file, &ground, &mut catalog)?;
    write(&written.text, out.unwrap_or(&written.file))
}

/// Writes an experiment into a file that is not there yet, or prints it where the file is `-`.
fn write(text: &str, file: &Path) -> Result<ExitCode> {
    if file.as_os_str() == "-" {
        out!("{}", text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    if !keep(text, file)? {
        bail!("{} is there already, and is not overwritten; name another file with --out", shown(file));
    }
    out!("wrote {}", shown(file))?;
    out!("next  injerto train {} --dry-run   (the plan), and without --dry-run", shell_word(file))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file, and returns whether it was not there before.
fn keep(text: &str, file: &Path) -> Result<bool> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    let written = match opened {
        Ok(mut opened) => opened.write_all(text.as_bytes()).inspect_err(|_| {
            // Half a file would be in the way of the next attempt.
            let _ = std::fs::remove_file(file);
        }),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => Err(error),
    };
    written.map(|()| true).with_context(|| shown(file).to_string())
}

/// An experiment that was written for a folder.
pub struct Written {
    /// Its text.
    text: String,
    /// What the text says.
    pub config: Config,
    /// The file for it.
    file: PathBuf,
}

impl Written {
    /// Writes the experiment that `injerto train FOLDER` trains. Weights that are not at hand are fetched; if they cannot be, a small
    /// network is trained from scratch, and a warning says so.
    pub fn to_train(
        folder: &Path,
        wishes: &Wishes,
        sets: &[String],
        catalog: &mut Catalog,
        cache: &Cache,
    ) -> Result<Self> {
        let mut ground = ground(wishes, catalog, cache)?;
        if let Ground::Pretrained(Candidate { backbone, weights, at_hand: false, .. }) = &ground {
            let [named, weights] = [backbone, weights].map(|name| printable(name));
            note!("no weights are at hand: fetching '{weights}' of {named}");
            match ground.fetch(catalog, cache) {
                Ok(()) => {}
                // Nobody asked for this backbone.
                Err(error) if wishes.backbone.is_none() => {
                    ground = instead(wishes, &output::in_words(&error.into()))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Self::new(folder, wishes, sets, None, &ground, catalog)
    }

    fn new(
        folder: &Path,
        wishes: &Wishes,
        sets: &[String],
        file: Option<PathBuf>,
        ground: &Ground,
        catalog: &mut Catalog,
    ) -> Result<Self> {
        let Wishes { epochs, fine_tune, name, .. } = wishes;
        if let (Ground::Fresh { backbone }, Some(_)) = (ground, fine_tune) {
            bail!(
                "--fine-tune: {} has no weights to fine-tune here, and all of it is trained from scratch; leave --fine-tune \
                 out, or name another backbone with --backbone",
                printable(backbone)
            );
        }
        let (name, fine_tune) = (name.as_deref(), fine_tune.as_deref());
        let file = file.unwrap_or_else(|| free(&name.map_or_else(|| called(folder), safe)));
        let first = First { root: folder, ground, epochs: *epochs, fine_tune, name, sets, file: &file };
        let (text, config) = first.write(catalog)?;
        Ok(Self { text, config, file })
    }

    /// Writes the file, and returns whether it was not there before.
    pub fn keep(&self) -> Result<bool> {
        keep(&self.text, &self.file)
    }

    /// The text, to be shown.
    pub fn text(&self) -> &str {
        self.text.trim_end()
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// The backbone of the experiment: the one that was asked for, or one that is chosen.
fn ground(wishes: &Wishes, catalog: &mut Catalog, cache: &Cache) -> Result<Ground> {
    match &wishes.backbone {
        Some(name) => Ok(Ground::named(catalog, cache, name)?),
        None => match Ground::choose(catalog, cache) {
            Ground::Fresh { .. } => instead(wishes, "no backbone is installed that has weights for photos"),
            ground => Ok(ground),
        },
    }
}

/// A small network from scratch, with a warning that says why.
fn instead(wishes: &Wishes, why: &str) -> Result<Ground> {
    if wishes.fine_tune.is_some() {
        bail!("--fine-tune: there are no weights to fine-tune: {why}");
    }
    output::warning(&format!(
        "no weights are at hand: {why}\nA small network is trained from scratch instead. It needs many more photos to be as good"
    ));
    Ok(Ground::small())
}

/// A name as a file may have it.
fn safe(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '-' };
    name.trim_start_matches('.').chars().map(safe).collect()
}

/// What an experiment on a folder is called.
fn called(folder: &Path) -> String {
    // A link is called by its own name; `.` and `..` have none.
    let whole = settled(folder);
    let name = folder.file_name().or_else(|| whole.file_name()).map(|name| safe(&to_text(name))).unwrap_or_default();
    if name.is_empty() { "photos".to_owned() } else { name }
}

/// The first file of this name that is not there: `photos.toml`, `photos-2.toml` and so on.
fn free(name: &str) -> PathBuf {
    let numbered = (2_u32..).map(|number| format!("{name}-{number}.toml"));
    let all = std::iter::once(format!("{name}.toml")).chain(numbered).map(PathBuf::from);
    all.into_iter().find(|file| file.symlink_metadata().is_err()).expect("numbers do not run out")
}

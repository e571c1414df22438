//! The `injerto` binary: trains, describes, lists, predicts.

mod advise;
mod cache;
mod compare;
mod curves;
mod cv;
mod dashboard;
mod data;
mod evaluate;
mod explain;
mod export;
#[cfg(feature = "shards")]
mod features;
#[cfg(feature = "shards")]
mod gather;
mod generate;
mod inspect;
mod inventory;
mod lr_find;
#[cfg(any(test, not(all(feature = "pages", feature = "serve", feature = "shards"))))]
mod missing;
mod new;
mod output;
#[cfg(feature = "pages")]
mod pages;
mod photos;
mod place;
mod plugins;
mod predict;
mod prepare;
mod progress;
mod report;
mod schema;
#[cfg(feature = "serve")]
mod serve;
mod several;
#[cfg(feature = "shards")]
mod shards;
mod suggest;
mod summary;
mod sweep;
mod train;
mod tuning;
mod version;
mod watch;

use std::ffi::OsString;
use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
#[cfg(feature = "pages")]
use clap::CommandFactory as _;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use injerto_backbones::plugin::{Catalog, Probe, SearchPath, answer_if_asked};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::output::{Unsaid, insist};

// A command is listed in every build. In a build without its feature it accepts any arguments and says how to build it.
#[cfg(not(feature = "serve"))]
use missing::Arguments as Serve;
#[cfg(not(feature = "shards"))]
use missing::{Arguments as Features, Arguments as Gather};
#[cfg(not(feature = "pages"))]
use missing::{Arguments as Completions, Arguments as Man};
#[cfg(feature = "pages")]
use pages::{Completions, Man};
#[cfg(feature = "serve")]
use serve::Arguments as Serve;
#[cfg(feature = "shards")]
use {features::Arguments as Features, gather::Arguments as Gather};

/// Transfer learning on your own photos: a new head on a pre-trained backbone.
#[derive(Parser)]
#[command(
    name = "injerto",
    version,
    long_version = version::long(),
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
A folder of photos, one sub-folder per class:

  injerto train photos
  injerto predict new/*.jpg

A first experiment, with nothing to download:

  injerto new --quickstart
  injerto train quickstart.toml

The standard backbones are inside this program. Others are plugins: shared libraries named
libinjerto_plugin_NAME, or files named NAME.backbone.json, or ONNX models named NAME.onnx. They are
looked for in --plugin-dir, INJERTO_PLUGIN_PATH, beside this program, and in the user's data folder,
and take the place of the standard backbone of their name.
`injerto plugins list` shows what is found.

Exit codes: 0 the command did what was asked; 1 it could not, or not for all files;
2 the command line is wrong; 101 a defect of injerto; 130 it was interrupted.
Answers go to standard output; notes, warnings and errors to standard error.
Colours and progress bars appear only on a terminal, and NO_COLOR switches colours off."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Options of every command.
#[derive(Args)]
struct Common {
    /// Look for plugins here first (may be given several times)
    #[arg(long, global = true, value_name = "FOLDER")]
    plugin_dir: Vec<PathBuf>,
    /// Print more about what is done; -vv prints everything
    #[arg(long, short, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Print only the answer, warnings and errors
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Train on a folder of images, or run the experiment that a TOML file describes
    Train(train::Arguments),
    /// Write an experiment for a folder of images, to read and to change
    New(new::Arguments),
    /// Show a backbone's layers, shapes and parameters, as Keras's model.summary() does
    Summary(summary::Arguments),
    /// List the backbones that are found, check a plugin, or write a backbone as a file
    #[command(subcommand)]
    Plugins(plugins::Arguments),
    /// Predict the classes of photos, with a trained checkpoint or a backbone's own classifier
    Predict(predict::Arguments),
    /// Show on photos where a trained network looks: what its answer rests on
    Explain(explain::Arguments),
    /// Serve a run over HTTP: a page that takes photos, and JSON for programs
    Serve(Serve),
    /// Say which photos of a folder to label next
    Suggest(suggest::Arguments),
    /// Find what is wrong with your images before any training: copies, wrong labels, odd files, too few photos
    Inspect(inspect::Arguments),
    /// Watch a folder, and say how accuracy and predictions change as photos are added and moved
    Watch(watch::Arguments),
    /// Move images into other classes, as a list says
    #[command(subcommand)]
    Data(data::Arguments),
    /// Find the backbone that suits your images, or a strategy for one, and write a ready experiment
    Advise(advise::Arguments),
    /// Cross-validate a classifier on the features of an experiment's frozen backbone, in seconds
    Cv(cv::Arguments),
    /// Try many values of any keys at once, on features that are computed once
    Sweep(sweep::Arguments),
    /// Find a learning rate for a phase of an experiment
    LrFind(lr_find::Arguments),
    /// List or delete kept features of frozen prefixes
    #[command(subcommand)]
    Cache(cache::Arguments),
    /// Write a trained network, or its backbone alone, into one file
    Export(export::Arguments),
    /// Compute the features of very many photos, or of one part of them, into a Parquet file
    Features(Features),
    /// Check that the files of all parts are there, and count their photos
    Gather(Gather),
    /// Draw the curves of several runs together, and say what the first gains over the others
    Compare(compare::Arguments),
    /// Draw a run's curves and its report.html again
    Report(report::Arguments),
    /// Measure a trained network, or a backbone's own classifier, on photos whose classes are known
    Evaluate(evaluate::Arguments),
    /// Write the drawn images of the quickstart into a folder, to look at
    Generate(generate::Arguments),
    /// Print the JSON Schema of an experiment's file, for editors
    Schema(schema::Arguments),
    /// Print the completions of a shell: `injerto completions bash > FILE`
    Completions(Completions),
    /// Print the manual page of injerto or of a command, or write all pages into a folder
    Man(Man),
}

impl Common {
    fn catalog(&self) -> Result<Catalog> {
        let path = SearchPath::usual(self.plugin_dir.clone()).with_linked(injerto_standard::PLUGINS);
        Ok(Catalog::scan(path, Probe::this_program()?))
    }
}

/// A folder of images. A name that is nothing here is looked for as `data.root` is, and among the datasets that were fetched.
fn images() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(|argument: OsString| photos::found(PathBuf::from(argument)))
}

/// Any argument as text; what in it is not UTF-8 is written `\xNN`, as in an experiment's file.
fn text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|argument: OsString| injerto_files::to_text(&argument).into_owned())
}

/// Bytes of the stack of the thread that a command runs on. The size of the process's own stack is what `ulimit -s` says, and if that
/// overflows, no message can be printed.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    answer_if_asked();
    std::panic::set_hook(Box::new(remember));
    let_large_files_fail();
    match std::thread::Builder::new().name("command".to_owned()).stack_size(STACK).spawn(command) {
        Ok(thread) => thread.join().unwrap_or_else(|_| defect()),
        Err(error) => ended(&no_threads(&error)),
    }
}

/// Says that the program has panicked, and on what.
fn defect() -> ExitCode {
    let what = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    insist!(
        "error: this is a defect of injerto, not of your files: {what}\n\
         please report it, with this message and the command; RUST_BACKTRACE=1 adds the calls that led there"
    );
    ExitCode::from(101)
}

/// Starts the threads that compute, so that a system that gives none is an error before the work.
fn start_threads() -> Result<()> {
    let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = wanted.filter(|threads| *threads > 0).unwrap_or_else(cores);
    // A thread that finds no memory when it starts ends the process, so memory for all stacks is asked for first.
    let mut stacks: Vec<u8> = Vec::new();
    stacks.try_reserve_exact(threads.saturating_mul(THREAD_STACK)).map_err(|error| no_threads(&error))?;
    drop(std::hint::black_box(stacks));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(THREAD_STACK);
    pool.build_global().map_err(|error| no_threads(&error))
}

/// Bytes of the stack of a thread that computes.
const THREAD_STACK: usize = 2 << 20;

fn no_threads(error: &dyn std::error::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "the system gives no more threads or memory to this program ({error}): raise its limits (`ulimit -u`, `ulimit -v`), or let it \
         have fewer threads with RAYON_NUM_THREADS=1"
    )
}

/// Beyond `ulimit -f`, a write becomes an error with a message, as on a full disk, and not the end of the process. This is a handler and
/// not an ignored signal, so that child processes do not inherit it.
fn let_large_files_fail() {
    #[cfg(unix)]
    {
        // Where the handler cannot be set, the process ends at such a write, as without this function.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Default::default());
    }
}

/// What the last panic said and where. Code that catches a panic, of a decoder for example, reports it.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn remember(panic: &PanicHookInfo<'_>) {
    let said = panic.payload_as_str().unwrap_or("it panicked");
    let place = panic.location().map_or(String::new(), |place| format!(" ({place})"));
    *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{said}{place}"));
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted != "0") {
        insist!("{said}{place}\n{}", std::backtrace::Backtrace::capture());
    }
}

fn command() -> ExitCode {
    let Cli { command, common } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            let code = ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2));
            return output::usage(&said).map_or_else(|error| ended(&error.into()), |()| code);
        }
    };
    output::set_quiet(common.quiet);
    let level = match common.verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let log = tracing_subscriber::fmt::layer()
        .with_writer(output::Log)
        .with_ansi(false)
        .with_level(false)
        .without_time()
        .with_target(false)
        .with_filter(LevelFilter::from_level(level));
    tracing_subscriber::registry().with(log).with(tuning::Tuning::layer()).init();
    let done = start_threads().and_then(|()| done(command, &common));
    done.unwrap_or_else(|error| ended(&error))
}

/// Does what a command asks for.
fn done(command: Command, common: &Common) -> Result<ExitCode> {
    match command {
        Command::Train(arguments) => train::run(arguments, common),
        Command::New(arguments) => new::run(&arguments, common),
        Command::Summary(arguments) => summary::run(arguments, common),
        Command::Plugins(arguments) => plugins::run(arguments, common),
        Command::Inspect(arguments) => inspect::run(&arguments, common),
        Command::Data(arguments) => data::run(&arguments),
        Command::Advise(arguments) => advise::run(&arguments, common),
        Command::Cv(arguments) => cv::run(&arguments, common),
        Command::Sweep(arguments) => sweep::run(&arguments, common),
        Command::Watch(arguments) => watch::run(&arguments, common),
        Command::LrFind(arguments) => lr_find::run(&arguments, common),
        Command::Cache(arguments) => cache::run(&arguments),
        Command::Export(arguments) => export::run(arguments),
        #[cfg(feature = "shards")]
        Command::Features(arguments) => features::run(&arguments, common),
        #[cfg(feature = "shards")]
        Command::Gather(arguments) => gather::run(&arguments),
        #[cfg(not(feature = "shards"))]
        Command::Features(_) => missing::run("features"),
        #[cfg(not(feature = "shards"))]
        Command::Gather(_) => missing::run("gather"),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Predict(arguments) => predict::run(arguments, common),
        Command::Explain(arguments) => explain::run(&arguments),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(arguments),
        #[cfg(not(feature = "serve"))]
        Command::Serve(_) => missing::run("serve"),
        Command::Suggest(arguments) => suggest::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments, common),
        Command::Generate(arguments) => generate::run(arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        #[cfg(feature = "pages")]
        Command::Completions(arguments) => pages::completions(&arguments, Cli::command()),
        #[cfg(feature = "pages")]
        Command::Man(arguments) => pages::man(&arguments, Cli::command()),
        #[cfg(not(feature = "pages"))]
        Command::Completions(_) => missing::run("completions"),
        #[cfg(not(feature = "pages"))]
        Command::Man(_) => missing::run("man"),
    }
}

/// The exit code of a command that could not do all that it was asked for. It is no failure if nobody reads the output any more.
fn ended(error: &anyhow::Error) -> ExitCode {
    if matches!(error.downcast_ref(), Some(Unsaid::NoReader)) {
        return ExitCode::SUCCESS;
    }
    output::error(error);
    ExitCode::from(1)
}

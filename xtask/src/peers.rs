//! `cargo xtask bench peers` does the same work in Injerto and in other frameworks, on the same photos and in alternation.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::contest::{Contender, WORK, Work, cores, measure};
use crate::page::with_section;
use crate::workspace::{Profile, build, cargo, code, own_target, root, succeeds};

/// Text of `--help`.
pub const HELP: &str = "\
Runs two experiments, four forward passes and a training step in Injerto, Keras, PyTorch, ONNX Runtime and OpenVINO, in alternation, and
writes docs/benchmarks.md: medians, peak memory, ratios; and docs/pictures/benchmarks.svg. Sections of other work stay unchanged.

Usage: cargo xtask bench peers [DATA] [OPTIONS]

  DATA             a folder with train/ and validation/; the default is the one that the experiments name
  --setup          make a Python environment in target/peers with everything that the peers need, and stop
  --python PATH    the Python that runs the peers; the default is the one in target/peers
  --runs N         number of runs of each program; the default is 5
  --budget SECONDS do not run a program again that has used this much time; the default is no limit
  --only NAME,…    run only these peers: of whole commands keras, torch-plain, torch-tuned, torch-cached and, of
                   fine-tuning, torch-tuned-bf16; of forward passes and training steps onnxruntime, openvino, torch, torch-compile
                   and, with the ending -bf16, all but the first
  --work NAME,…    do only this work: feature_extraction, fine_tuning, mobilenet_v2, inception_v3, vit_small, convnext_tiny, small_cnn
  --threads N      threads of forward passes and training steps; the default is one per core
  --weights FILE   a .pt file of MobileNetV2 without its top, for PyTorch; without it, PyTorch's weights are random

Peak memory is that of the largest single process, if /usr/bin/time exists. A peer that fails is named in the table with the reason.
Keep the machine idle. On Linux the page says how much of it other programs took. Libraries whose threads wait for each other by
spinning (PyTorch's, ONNX Runtime's) lose far more time on a busy machine than other programs.";

const TRAINERS: [&str; 5] = ["keras", "torch-cached", "torch-tuned", "torch-plain", "torch-tuned-bf16"];
/// Peers of forward passes, and those of training steps among them. The ending says that they compute in bf16.
const ENGINES: [&str; 7] =
    ["onnxruntime", "openvino", "torch", "torch-compile", "openvino-bf16", "torch-bf16", "torch-compile-bf16"];
const STEPS: [&str; 4] = ["torch", "torch-compile", "torch-bf16", "torch-compile-bf16"];

#[derive(Debug, Default, PartialEq)]
struct Options {
    data: Option<String>,
    setup: bool,
    python: Option<String>,
    runs: usize,
    budget: f64,
    threads: Option<usize>,
    only: Vec<String>,
    work: Vec<String>,
    weights: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Arguments are not understood, there is no Python, or a folder cannot be written.
pub fn run(arguments: &[String]) -> Outcome {
    let options = parse(arguments)?;
    let folder = own_target()?.join("peers");
    let own_python = folder.join("venv").join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if options.setup {
        let system = options.python.as_deref().unwrap_or("python3");
        let requirements = root().join("benches/peers/requirements.txt");
        let made = succeeds(Command::new(system).args(["-m", "venv"]).arg(folder.join("venv")))?
            && succeeds(Command::new(own_python).args(["-m", "pip", "install", "-r"]).arg(requirements))?;
        return Ok(code(made));
    }
    let python = options.python.as_ref().map_or(own_python, PathBuf::from);
    if !python.is_file() {
        let setup = "`cargo xtask bench peers --setup` makes it, or name yours with --python";
        return Err(format!("{}: no Python there; {setup}", python.display()));
    }
    let data = match &options.data {
        Some(data) => PathBuf::from(data),
        None => ["data", "../shared/data"]
            .map(|folder| root().join(folder).join("cats_and_dogs_filtered"))
            .into_iter()
            .find(|folder| folder.is_dir())
            .ok_or("no photos in data/cats_and_dogs_filtered; name their folder")?,
    };
    let data = data.canonicalize().map_err(|error| format!("{}: {error}", data.display()))?;
    let Some(binary) = build(&Profile::default(), &[])? else { return Ok(code(false)) };
    // This names one more package than it needs, so that dependencies keep the features with which they are already built.
    if !succeeds(cargo("build").args(["-p", "injerto-cli", "-p", "injerto-kernels", "--examples"]))? {
        return Ok(code(false));
    }
    let cache = folder.join("cache");
    copy_weights(&cache)?;
    let file = root().join("docs/benchmarks.md");
    let bench = Bench { options: &options, python, data, binary, cache, folder };
    for work in WORK.iter().filter(|work| chosen(&options.work, work.name)) {
        let mut all = if work.rates { bench.engines(work.name) } else { bench.trainers(work.name) };
        bench.alternate(work, &mut all);
        // The page is written after each piece of work, so that a run that is stopped leaves its results.
        let old = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, with_section(&old, work, &all, arguments))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    println!("written: {}", file.display());
    crate::bars::draw()?;
    Ok(code(true))
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { runs: 5, budget: f64::INFINITY, ..Options::default() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or(format!("{argument} needs a value"));
        let names = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let known = |names: Vec<String>, known: &[&str]| match names.iter().find(|name| !known.contains(&name.as_str()))
        {
            Some(name) => Err(format!("{argument}: no '{name}'; there are {}", known.join(", "))),
            None => Ok(names),
        };
        let number = |text: String| text.parse().map_err(|_| format!("{argument}: '{text}' is not a number"));
        let count = |text: String| {
            let count = text.parse().ok().filter(|count| *count > 0);
            count.ok_or(format!("{argument}: '{text}' is not a number from 1 on"))
        };
        match argument.as_str() {
            "--setup" => options.setup = true,
            "--python" => options.python = Some(value()?),
            "--weights" => options.weights = Some(value()?),
            "--budget" => options.budget = number(value()?)?,
            "--threads" => options.threads = Some(count(value()?)?),
            "--runs" => options.runs = count(value()?)?,
            "--only" => options.only = known(names(value()?), &[&TRAINERS[..], &ENGINES[..]].concat())?,
            "--work" => options.work = known(names(value()?), &WORK.map(|work| work.name))?,
            option if option.starts_with('-') => return Err(format!("unknown option {option}\n\n{HELP}")),
            folder if options.data.is_none() => options.data = Some(folder.to_owned()),
            more => return Err(format!("one folder of photos is enough, but there is also {more}")),
        }
    }
    Ok(options)
}

/// Copies the user's fetched weights, so that no download is measured. The folder is found here once more, for Linux and
/// macOS, because this program has no dependencies.
fn copy_weights(cache: &Path) -> Result<(), String> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home =
        || variable("HOME").map(|home| home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }));
    let users = variable("INJERTO_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").or_else(home).map(|base| base.join("injerto")))
        .unwrap_or_default();
    let to = cache.join("weights");
    let failed = |error: std::io::Error| format!("{}: {error}", to.display());
    std::fs::create_dir_all(&to).map_err(failed)?;
    for entry in std::fs::read_dir(users.join("weights")).into_iter().flatten().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(failed)?;
    }
    Ok(())
}

/// Whether a name was asked for. If no name was given, all are meant.
fn chosen(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|chosen| chosen == name)
}

/// The settings of all work.
struct Bench<'a> {
    options: &'a Options,
    python: PathBuf,
    /// Photos.
    data: PathBuf,
    /// Ours.
    binary: PathBuf,
    /// Of our weights and features.
    cache: PathBuf,
    /// Where runs go.
    folder: PathBuf,
}

impl Bench<'_> {
    /// The peers that were asked for, of those that can do the work.
    fn peers(&self, names: &[&'static str]) -> impl Iterator<Item = &'static str> {
        names.iter().copied().filter(|name| chosen(&self.options.only, name))
    }

    /// Contenders for the forward pass of a network, or for the training step of the small CNN.
    fn engines(&self, network: &'static str) -> Vec<Contender> {
        let threads = self.options.threads.unwrap_or_else(cores).to_string();
        let trains = network == "small_cnn";
        let example = if trains { "training_step" } else { "throughput" };
        let example = self.binary.with_file_name("examples").join(format!("{example}{}", std::env::consts::EXE_SUFFIX));
        let ours = |bf16: bool| {
            let (example, threads) = (example.clone(), threads.clone());
            let name = if bf16 { "injerto-bf16" } else { "injerto" };
            let one = Contender::new(name, move || {
                let mut command = Command::new(&example);
                command.arg(network).args(if trains { &["--steps", "4"][..] } else { &["3"] });
                command.args(if bf16 { &["--precision", "bf16"][..] } else { &[] });
                command.env("RAYON_NUM_THREADS", &threads);
                Ok(command)
            });
            if bf16 { one.that_says("bf16") } else { one }
        };
        let mut all = vec![ours(false), ours(true)];
        for name in self.peers(if trains { &STEPS } else { &ENGINES }) {
            let (python, threads) = (self.python.clone(), threads.clone());
            let (engine, precision) = name.strip_suffix("-bf16").map_or((name, "f32"), |engine| (engine, "bf16"));
            let one = Contender::new(name, move || {
                let mut command = Command::new(&python);
                let script = if trains { "torch_step.py" } else { "forward.py" };
                command.arg(root().join("benches/peers").join(script)).args(["--threads", &threads]);
                command.args(["--engine", engine, "--precision", precision]);
                if !trains {
                    command.arg(network);
                }
                Ok(command)
            });
            all.push(if precision == "bf16" { one.that_says("bf16") } else { one });
        }
        all
    }

    /// Contenders for an experiment: ours without kept features, ours again with them, and the peers.
    fn trainers(&self, work: &'static str) -> Vec<Contender> {
        let mut all = vec![self.ours("injerto", work, true, "f32"), self.ours("injerto, again", work, false, "f32")];
        if work == "fine_tuning" {
            all.push(self.ours("injerto-bf16", work, true, "bf16").that_says("bf16 by"));
        }
        // In fine-tuning, "cached" would keep the same features as "tuned".
        let others = self.peers(&TRAINERS).filter(|name| match *name {
            "torch-cached" => work != "fine_tuning",
            "torch-tuned-bf16" => work == "fine_tuning",
            _ => true,
        });
        all.extend(others.map(|name| self.trainer(name, work)));
        all
    }

    fn ours(&self, name: &str, work: &str, cold: bool, precision: &'static str) -> Contender {
        let experiment = root().join(match work {
            "fine_tuning" => "benches/peers/fine_tuning.toml".to_owned(),
            work => format!("configs/cats_vs_dogs/{work}.toml"),
        });
        let (binary, data, cache) = (self.binary.clone(), self.data.clone(), self.cache.clone());
        let run = self.folder.join("run");
        Contender::new(name, move || {
            for gone in [Some(run.clone()), cold.then(|| cache.join("features"))].into_iter().flatten() {
                if gone.exists() {
                    std::fs::remove_dir_all(&gone).map_err(|error| format!("{}: {error}", gone.display()))?;
                }
            }
            let mut command = Command::new(&binary);
            command.arg("train").arg(&experiment).arg("--set").arg(format!("data.root=\"{}\"", data.display()));
            command.args(["--set", &format!("backbone.precision={precision}")]);
            command.arg("--run-dir").arg(&run).env("INJERTO_CACHE_DIR", &cache);
            Ok(command)
        })
    }

    fn trainer(&self, name: &'static str, work: &str) -> Contender {
        let (python, data, weights) = (self.python.clone(), self.data.clone(), self.options.weights.clone());
        let [first, second] = if work == "fine_tuning" { ["0", "5"] } else { ["10", "0"] };
        Contender::new(name, move || {
            let mut command = Command::new(&python);
            let script = if name == "keras" { "keras_transfer.py" } else { "torch_transfer.py" };
            command.arg(root().join("benches/peers").join(script)).arg(&data);
            command.args(["--feature-extraction", first, "--fine-tuning", second]);
            if let Some(mode) = name.strip_prefix("torch-") {
                let (mode, precision) = mode.strip_suffix("-bf16").map_or((mode, "f32"), |mode| (mode, "bf16"));
                command.args(["--mode", mode, "--precision", precision]);
                command.args(weights.iter().flat_map(|file| ["--weights", file]));
            }
            Ok(command)
        })
    }

    /// Runs all contenders in alternation, so that other programs on the machine disturb all of them alike.
    fn alternate(&self, work: &Work, all: &mut [Contender]) {
        let (runs, budget, name) = (self.options.runs, self.options.budget, work.name);
        for round in 1..=runs {
            for one in all.iter_mut().filter(|one| one.failed.is_none() && one.seconds < budget) {
                match measure(one, &self.folder, work.rates) {
                    Ok(value) => println!("{name} {round}/{runs}: {} {value:.2}", one.name),
                    Err(why) => {
                        println!("{name}: {} not run: {why}", one.name);
                        one.failed = Some(why);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|argument| (*argument).to_owned()).collect()
    }

    #[test]
    fn arguments() {
        let options = parse(&owned(&["photos", "--runs", "3", "--only", "keras,torch", "--budget", "60"]))
            .expect("they are good");
        assert_eq!((options.data.as_deref(), options.runs, options.budget), (Some("photos"), 3, 60.0));
        assert_eq!(options.only, ["keras", "torch"]);
        let check = |arguments: &[&str], says: &str| {
            let error = parse(&owned(arguments)).expect_err(says);
            assert!(error.contains(says), "{error}");
        };
        check(&["--runs", "0"], "'0' is not a number from 1 on");
        check(&["--runs"], "--runs needs a value");
        check(&["--only", "kera"], "no 'kera'; there are keras");
        check(&["a", "b"], "also b");
        check(&["--fast"], "unknown option --fast");
    }
}

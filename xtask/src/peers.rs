//! `cargo xtask bench peers` does the same work in Injerto and in other frameworks, on the same photos and in alternation.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;
use crate::page::with_section;
use crate::workspace::{Profile, build, cargo, code, root, succeeds};

/// Text of `--help`.
pub const HELP: &str = "\
Runs two experiments, two forward passes and a training step in Injerto, Keras, PyTorch and ONNX Runtime, in alternation, and writes
docs/benchmarks.md: medians, peak memory, ratios. Sections of other work stay unchanged.

Usage: cargo xtask bench peers [DATA] [OPTIONS]

  DATA             a folder with train/ and validation/; the default is the one that the experiments name
  --setup          make a Python environment in target/peers with everything that the peers need, and stop
  --python PATH    the Python that runs the peers; the default is the one in target/peers
  --runs N         number of runs of each program; the default is 5
  --budget SECONDS do not run a program again that has used this much time; the default is no limit
  --only NAME,…    run only these peers: keras, torch-plain, torch-tuned, torch-cached, onnxruntime, torch
  --work NAME,…    do only this work: feature_extraction, fine_tuning, mobilenet_v2, inception_v3, small_cnn
  --threads N      threads of forward passes and training steps; the default is one per core
  --weights FILE   a .pt file of MobileNetV2 without its top, for PyTorch; without it, PyTorch's weights are random

Peak memory is that of the largest single process, if /usr/bin/time exists. A peer that fails is named in the table with the reason.
Keep the machine idle. On Linux the page says how much of it other programs took. Libraries whose threads wait for each other by
spinning (PyTorch's, ONNX Runtime's) lose far more time on a busy machine than other programs.";

/// A piece of work.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// Title of its section on the page.
    pub(crate) title: &'static str,
    /// Whether the work is measured in images per second; otherwise it is measured in seconds of a whole command.
    pub(crate) rates: bool,
}

/// All work, in the order of the page.
pub(crate) const WORK: [Work; 5] = [
    Work { name: "mobilenet_v2", title: "Forward pass, MobileNetV2 without top, 160×160, batch 32", rates: true },
    Work { name: "inception_v3", title: "Forward pass, InceptionV3 without top, 224×224, batch 8", rates: true },
    Work { name: "small_cnn", title: "Training step, small CNN, 160×160, batch 8", rates: true },
    Work {
        name: "feature_extraction",
        title: "Feature extraction: 10 epochs, whole command from JPEGs to checkpoint",
        rates: false,
    },
    Work {
        name: "fine_tuning",
        title: "Fine-tuning: 5 epochs from layer 100, whole command from JPEGs to checkpoint",
        rates: false,
    },
];
const TRAINERS: [&str; 4] = ["keras", "torch-cached", "torch-tuned", "torch-plain"];
const ENGINES: [&str; 2] = ["onnxruntime", "torch"];

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

/// A program that does the work, and its measurements.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) version: String,
    command: Box<dyn Fn() -> Result<Command, String>>,
    /// Seconds of whole commands, or images per second.
    pub(crate) values: Vec<f64>,
    seconds: f64,
    pub(crate) peak_kib: Option<u64>,
    /// Shares of the machine that other programs took meanwhile.
    pub(crate) others: Vec<f64>,
    pub(crate) failed: Option<String>,
}

impl Contender {
    pub(crate) fn new(name: &str, command: impl Fn() -> Result<Command, String> + 'static) -> Self {
        let (version, values) = (String::new(), Vec::new());
        let (seconds, peak_kib, others, failed) = (0.0, None, Vec::new(), None);
        Self { name: name.to_owned(), version, command: Box::new(command), values, seconds, peak_kib, others, failed }
    }
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

/// The target folder, which also contains this program.
fn own_target() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program's own path: {error}"))?;
    Ok(own.parent().and_then(Path::parent).ok_or("this program is in no target folder")?.to_owned())
}

/// Copies the user's fetched weights, so that no download is measured.
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
        let ours = threads.clone();
        let mut all = vec![Contender::new("injerto", move || {
            let mut command = Command::new(&example);
            command.arg(network).args(if trains { &["--steps", "4"][..] } else { &["3"] });
            command.env("RAYON_NUM_THREADS", &ours);
            Ok(command)
        })];
        for engine in self.peers(if trains { &["torch"] } else { &ENGINES }) {
            let (python, threads) = (self.python.clone(), threads.clone());
            all.push(Contender::new(engine, move || {
                let mut command = Command::new(&python);
                let script = if trains { "torch_step.py" } else { "onnx_forward.py" };
                command.arg(root().join("benches/peers").join(script)).args(["--threads", &threads]);
                if !trains {
                    command.args([network, "--engine", engine]);
                }
                Ok(command)
            }));
        }
        all
    }

    /// Contenders for an experiment: ours without kept features, ours again with them, and the peers.
    fn trainers(&self, work: &'static str) -> Vec<Contender> {
        let ours = [("injerto", true), ("injerto, again", false)];
        let mut all: Vec<Contender> = ours.into_iter().map(|(name, cold)| self.ours(name, work, cold)).collect();
        // In fine-tuning, "cached" would keep the same features as "tuned".
        let others = self.peers(&TRAINERS).filter(|name| *name != "torch-cached" || work != "fine_tuning");
        all.extend(others.map(|name| self.trainer(name, work)));
        all
    }

    fn ours(&self, name: &str, work: &str, cold: bool) -> Contender {
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
                command.args(["--mode", mode]);
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

fn measure(one: &mut Contender, folder: &Path, rate: bool) -> Result<f64, String> {
    let inner = (one.command)()?;
    let note = folder.join("time.txt");
    let timer = Path::new("/usr/bin/time");
    let mut command = if cfg!(target_os = "linux") && timer.is_file() {
        let mut outer = Command::new(timer);
        outer.arg("-v").arg("-o").arg(&note).arg(inner.get_program()).args(inner.get_args());
        outer.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        outer
    } else {
        inner
    };
    let (start, busy) = (Instant::now(), busy_seconds());
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot be started: {error}"))?;
    let seconds = start.elapsed().as_secs_f64();
    one.seconds += seconds;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(format!("{} ({})", last.trim(), output.status));
    }
    let busy = busy.zip(busy_seconds()).map(|(start, end)| end - start);
    let noted = std::fs::read_to_string(&note).unwrap_or_default();
    one.peak_kib = one.peak_kib.max(noted_value(&noted, "Maximum resident set size (kbytes): ").map(|kib| kib as u64));
    let own = noted_value(&noted, "User time (seconds): ").zip(noted_value(&noted, "System time (seconds): "));
    if let Some((busy, (user, system))) = busy.zip(own) {
        one.others.push(((busy - user - system) / seconds / cores() as f64).max(0.0));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    if let Some(version) = field(last, "version") {
        version.clone_into(&mut one.version);
    }
    let value = match rate {
        false => seconds,
        true => (field(last, "images_per_second").and_then(|text| text.parse().ok()))
            .or_else(|| median_rate(&said))
            .ok_or("it does not print the images per second")?,
    };
    one.values.push(value);
    Ok(value)
}

/// A string or number of a flat JSON object, which is enough for the output of the scripts.
fn field<'t>(json: &'t str, key: &str) -> Option<&'t str> {
    let value = json.split_once(&format!("\"{key}\":"))?.1.trim_start();
    match value.strip_prefix('"') {
        Some(text) => text.split_once('"').map(|(text, _)| text),
        None => value.split([',', '}']).next().map(str::trim),
    }
}

/// The rate in the output of the example `throughput`.
fn median_rate(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(" images/s"))?;
    line.split_once("median ")?.1.split_whitespace().next()?.parse().ok()
}

/// A number in the output of `/usr/bin/time -v`.
fn noted_value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.trim().strip_prefix(name)?.parse().ok())
}

/// Seconds for which the processors of the machine were busy with any program. Linux counts them in hundredths.
fn busy_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let times = text.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<f64> = times.split_whitespace().filter_map(|time| time.parse().ok()).collect();
    // The columns are user, nice and system; then idle and waiting; then interrupts, and the time that the hypervisor gave to
    // others.
    Some((times.get(..3)?.iter().sum::<f64>() + times.get(5..8)?.iter().sum::<f64>()) / 100.0)
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len().is_multiple_of(2) { f64::midpoint(values[values.len() / 2 - 1], upper) } else { upper })
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

    #[test]
    fn the_output_of_programs_is_read() {
        let line = r#"{"peer": "keras", "version": "Keras 3, TensorFlow 2", "images_per_second": 12.5}"#;
        assert_eq!(field(line, "version"), Some("Keras 3, TensorFlow 2"));
        assert_eq!(field(line, "images_per_second"), Some("12.5"));
        assert_eq!(field(line, "seconds"), None);
        assert_eq!(median_rate("mobilenet_v2: best 9.0, median 8.5 images/s (3 KiB an image)\n"), Some(8.5));
        assert_eq!(noted_value("\tExit status: 0\n\tUser time (seconds): 2.5\n", "User time (seconds): "), Some(2.5));
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[1.0, 2.0]), median(&[])), (Some(2.0), Some(1.5), None));
    }
}

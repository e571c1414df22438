use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use injerto_files::shown;
use injerto_graph::{Description, Descriptor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::library::LARGEST_WEIGHTS;
use super::{Library, Origin, PluginError};

/// Environment variable that makes a program answer a question instead of doing its work.
const QUESTION: &str = "INJERTO_PLUGIN_QUESTION";

/// Environment variables with the path of the library and with the file for the answer. They are not part of the question, because a
/// path may not be UTF-8.
const LIBRARY: &str = "INJERTO_PLUGIN_LIBRARY";
const ANSWER: &str = "INJERTO_PLUGIN_ANSWER";

/// Asks plugins in child processes.
#[derive(Debug, Clone)]
pub struct Probe {
    /// A program that calls [`answer_if_asked`] at the beginning of its `main`.
    pub program: PathBuf,
    /// Arguments of the program.
    pub arguments: Vec<OsString>,
    /// Time limit for an answer.
    pub timeout: Duration,
}

/// A question. The answer goes into a file, because a plugin may print anything.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    ask: Ask,
    /// Number of seconds for which the host waits for the answer.
    seconds: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Identity,
    Descriptors,
    Describe { name: String, parameters: Map<String, Value> },
    Weights { id: String },
}

/// Name, version and ABI of a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the library.
    pub name: String,
    /// Version of the library.
    pub version: String,
    /// Major and minor of the ABI that it was built for.
    pub abi: (u32, u32),
}

/// Exit code of a child whose answer is an error text, either of the plugin or about its library.
const REFUSED: i32 = 7;

/// Exit code of a child whose answer says what is wrong with the plugin's answer.
const INVALID: i32 = 8;

/// Exit code of a child that cannot write its answer.
const UNWRITTEN: i32 = 74;

/// Size limit of an answer in bytes: weights, or a description as the host writes it.
const LARGEST_ANSWER: u64 = 2 * LARGEST_WEIGHTS as u64;

impl Probe {
    /// A probe that starts this program, whose `main` must call [`answer_if_asked`].
    ///
    /// # Errors
    /// The program cannot find its own path.
    pub fn this_program() -> Result<Self, PluginError> {
        let program = std::env::current_exe()
            .map_err(|reason| PluginError::Child { program: PathBuf::from("this program"), reason })?;
        Ok(Self { program, arguments: Vec::new(), timeout: Duration::from_secs(30) })
    }

    /// Name, version and ABI of a library.
    ///
    /// # Errors
    /// Those of [`Library::load`]; also a plugin that crashes or hangs.
    pub fn identity(&self, library: &Path) -> Result<Identity, PluginError> {
        self.parsed(library, "say its name", Ask::Identity)
    }

    /// [`Library::descriptors`] in a child process.
    ///
    /// # Errors
    /// Those of [`Library::descriptors`]; also a plugin that crashes or hangs.
    pub fn descriptors(&self, library: &Path) -> Result<Vec<Descriptor>, PluginError> {
        self.parsed(library, "list its backbones", Ask::Descriptors)
    }

    /// [`Library::describe`] in a child process.
    ///
    /// # Errors
    /// Those of [`Library::describe`]; also a plugin that crashes or hangs.
    pub fn describe(
        &self,
        library: &Path,
        name: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Description, PluginError> {
        let ask = Ask::Describe { name: name.to_owned(), parameters: parameters.clone() };
        self.parsed(library, &format!("describe '{name}'"), ask)
    }

    /// [`Library::weights`] in a child process.
    ///
    /// # Errors
    /// Those of [`Library::weights`]; also a plugin that crashes or hangs.
    pub fn weights(&self, library: &Path, id: &str) -> Result<Vec<u8>, PluginError> {
        self.ask(library, &format!("read weights '{id}'"), Ask::Weights { id: id.to_owned() })
    }

    fn parsed<T: DeserializeOwned>(&self, library: &Path, question: &str, ask: Ask) -> Result<T, PluginError> {
        let bytes = self.ask(library, question, ask)?;
        serde_json::from_slice(&bytes).map_err(|error| PluginError::Answer {
            plugin: Origin::File(library.to_owned()),
            question: question.to_owned(),
            reason: error.to_string(),
        })
    }

    fn ask(&self, library: &Path, question: &str, ask: Ask) -> Result<Vec<u8>, PluginError> {
        // Loading a pipe would wait until another program writes into it.
        if std::fs::metadata(library).is_ok_and(|about| !about.is_file()) {
            return Err(PluginError::Load {
                library: library.to_owned(),
                reason: "it is not a regular file".to_owned(),
            });
        }
        let child_error = |reason| PluginError::Child { program: self.program.clone(), reason };
        let folder = tempfile::Builder::new().prefix("injerto-plugin-").tempdir();
        let folder =
            folder.map_err(|error| PluginError::Folder { folder: std::env::temp_dir(), reason: error.kind() })?;
        let answer = folder.path().join("answer");
        let asked = Question { ask, seconds: self.timeout.as_secs() };
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env(QUESTION, serde_json::to_string(&asked).expect("a question is plain data"))
            .env(LIBRARY, library)
            .env(ANSWER, &answer)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut family = Family::start(&mut command).map_err(child_error)?;
        let status = family.wait(self.timeout).map_err(child_error)?;
        let (library, question) = (library.to_owned(), question.to_owned());
        let Some(status) = status else {
            return Err(PluginError::Hangs { library, question, seconds: self.timeout.as_secs() });
        };
        if let Some(how) = limited(status) {
            return Err(PluginError::Limited { library, question, how });
        }
        // A plugin that ends the process itself leaves no answer, whatever the exit code is.
        match (status.code(), read(&answer)) {
            (Some(0), Ok(bytes)) => Ok(bytes),
            (Some(code @ (REFUSED | INVALID)), Ok(text)) => {
                // The message of the child already names the library and the question.
                let text = String::from_utf8_lossy(&text);
                let reason = text.strip_prefix(&format!("{}: ", shown(&library))).unwrap_or(&text);
                let reason = reason.strip_prefix(&format!("{question}: ")).unwrap_or(reason).to_owned();
                let plugin = Origin::File(library);
                Err(match code {
                    INVALID => PluginError::Answer { plugin, question, reason },
                    _ => PluginError::Call { plugin, question, reason },
                })
            }
            (code, _) => {
                let how = code.map_or_else(|| died(status), |code| format!("exit code {code}, no answer"));
                Err(PluginError::Crashed { library, question, how })
            }
        }
    }
}

/// Reads an answer. The plugin may have written it itself, so it may be of any length.
fn read(answer: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(answer)?.take(LARGEST_ANSWER + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_ANSWER { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// A child process and all processes that it starts. None of them outlives the question, unless it leaves the process group on
/// purpose.
struct Family {
    child: Child,
}

impl Family {
    fn start(command: &mut Command) -> std::io::Result<Self> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        Ok(Self { child: command.spawn()? })
    }

    /// Waits for the child and then ends all processes that it has started; `None` if the child took too long and was ended.
    fn wait(&mut self, timeout: Duration) -> std::io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_millis(1);
        let in_time = loop {
            if self.has_ended()? {
                break true;
            }
            if Instant::now() > deadline {
                break false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        self.end();
        let status = self.child.wait()?;
        Ok(in_time.then_some(status))
    }

    /// Whether the child has ended. Its process id stays reserved until it is waited for, so the process group is certainly its own.
    #[cfg(target_os = "linux")]
    fn has_ended(&mut self) -> std::io::Result<bool> {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let options = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(waitid(Id::Pid(group(&self.child)), options)? != WaitStatus::StillAlive)
    }

    #[cfg(not(target_os = "linux"))]
    fn has_ended(&mut self) -> std::io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends the processes that are left. It is not an error if none is left.
    fn end(&mut self) {
        #[cfg(unix)]
        let _ = nix::sys::signal::killpg(group(&self.child), nix::sys::signal::Signal::SIGKILL);
        #[cfg(not(unix))]
        let _ = self.child.kill();
    }
}

/// The process group that a child leads.
#[cfg(unix)]
fn group(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(child.id().cast_signed())
}

impl Drop for Family {
    /// Ends the processes also if waiting has failed.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.end();
            let _ = self.child.wait();
        }
    }
}

/// The limit that kept a child from answering, if one did.
fn limited(status: ExitStatus) -> Option<String> {
    #[cfg(unix)]
    match std::os::unix::process::ExitStatusExt::signal(&status) {
        Some(24) => return Some("it took more processor time than is allowed here (`ulimit -t`)".to_owned()),
        Some(25) => return Some("its answer is larger than a file may be here (`ulimit -f`)".to_owned()),
        _ => {}
    }
    let folder = std::env::temp_dir();
    (status.code() == Some(UNWRITTEN))
        .then(|| format!("its answer cannot be written into {}: is the disk full?", shown(&folder)))
}

#[cfg(unix)]
fn died(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal() {
        Some(4) => "signal 4, illegal instruction".to_owned(),
        Some(6) => "signal 6, abort".to_owned(),
        Some(9) => "signal 9, ended from outside, perhaps because memory was short".to_owned(),
        Some(11) => "signal 11, invalid memory access".to_owned(),
        Some(signal) => format!("signal {signal}"),
        None => "no exit code".to_owned(),
    }
}

#[cfg(not(unix))]
fn died(_: ExitStatus) -> String {
    "no exit code".to_owned()
}

/// Answers the question that a [`Probe`] put to this process, and ends the process. It returns at once if there is no question. Call
/// it at the beginning of `main`.
pub fn answer_if_asked() {
    let Ok(text) = std::env::var(QUESTION) else { return };
    let (library, file) = (std::env::var_os(LIBRARY), std::env::var_os(ANSWER));
    // If a plugin starts this program again, the new process must not be asked the same question again.
    for name in [QUESTION, LIBRARY, ANSWER] {
        // SAFETY: this is called at the beginning of `main`, when no other thread runs.
        unsafe { std::env::remove_var(name) };
    }
    let (Ok(question), Some(library), Some(file)) = (serde_json::from_str::<Question>(&text), library, file) else {
        std::process::exit(2)
    };
    end_after(Duration::from_secs(question.seconds + 5));
    let (code, answer) = match answer(Path::new(&library), &question.ask) {
        Ok(bytes) => (0, bytes),
        Err(PluginError::Answer { reason, .. }) => (INVALID, reason.into_bytes()),
        Err(error) => (REFUSED, error.to_string().into_bytes()),
    };
    let written = std::fs::write(file, answer);
    std::process::exit(if written.is_ok() { code } else { UNWRITTEN });
}

/// Ends this process and all processes that it has started after some time. The host ends them sooner, unless it was ended itself.
fn end_after(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        #[cfg(unix)]
        if nix::unistd::getpgrp() == nix::unistd::getpid() {
            let _ = nix::sys::signal::killpg(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
        }
        std::process::abort();
    });
}

fn answer(library: &Path, ask: &Ask) -> Result<Vec<u8>, PluginError> {
    let library = Library::load(library)?;
    let json = |value: serde_json::Result<Vec<u8>>| Ok(value.expect("plain data"));
    match ask {
        Ask::Identity => {
            let (name, version) = library.identity();
            let (name, version) = (name.to_owned(), version.to_owned());
            json(serde_json::to_vec(&Identity { name, version, abi: library.abi() }))
        }
        Ask::Descriptors => json(serde_json::to_vec(&library.descriptors()?)),
        Ask::Describe { name, parameters } => json(serde_json::to_vec(&library.describe(name, parameters)?)),
        Ask::Weights { id } => library.weights(id),
    }
}

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use injerto_graph::{Description, Descriptor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Library, PluginError};

/// The environment variable that makes a program answer a question instead of doing its work.
const VARIABLE: &str = "INJERTO_PLUGIN_QUESTION";

/// Asks plugins in child processes.
#[derive(Debug, Clone)]
pub struct Probe {
    /// A program that calls [`answer_if_asked`] first thing in its `main`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// One question to one library; the answer goes into a file, because a plugin may print what it likes.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    library: PathBuf,
    answer: PathBuf,
    ask: Ask,
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

/// Exit code of a child whose answer is an error text: the plugin's own, or one about its library.
const REFUSED: i32 = 7;

/// Exit code of a child whose answer is what is wrong with the plugin's answer.
const INVALID: i32 = 8;

impl Probe {
    /// Asks through this very program, whose `main` must call [`answer_if_asked`].
    ///
    /// # Errors
    /// A program that does not know where it is.
    pub fn this_program() -> Result<Self, PluginError> {
        let program = std::env::current_exe()
            .map_err(|source| PluginError::Child { program: PathBuf::from("this program"), source })?;
        Ok(Self { program, arguments: Vec::new(), timeout: Duration::from_secs(30) })
    }

    /// Name, version and ABI.
    ///
    /// # Errors
    /// As [`Library::load`]'s, or a plugin that crashes or hangs.
    pub fn identity(&self, library: &Path) -> Result<Identity, PluginError> {
        self.parsed(library, "say its name", Ask::Identity)
    }

    /// As [`Library::descriptors`].
    ///
    /// # Errors
    /// As [`Library::descriptors`]'s, or a plugin that crashes or hangs.
    pub fn descriptors(&self, library: &Path) -> Result<Vec<Descriptor>, PluginError> {
        self.parsed(library, "list its backbones", Ask::Descriptors)
    }

    /// As [`Library::describe`].
    ///
    /// # Errors
    /// As [`Library::describe`]'s, or a plugin that crashes or hangs.
    pub fn describe(
        &self,
        library: &Path,
        name: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Description, PluginError> {
        let ask = Ask::Describe { name: name.to_owned(), parameters: parameters.clone() };
        self.parsed(library, &format!("describe '{name}'"), ask)
    }

    /// As [`Library::weights`].
    ///
    /// # Errors
    /// As [`Library::weights`]'s, or a plugin that crashes or hangs.
    pub fn weights(&self, library: &Path, id: &str) -> Result<Vec<u8>, PluginError> {
        self.ask(library, &format!("read weights '{id}'"), Ask::Weights { id: id.to_owned() })
    }

    fn parsed<T: DeserializeOwned>(&self, library: &Path, question: &str, ask: Ask) -> Result<T, PluginError> {
        let bytes = self.ask(library, question, ask)?;
        serde_json::from_slice(&bytes).map_err(|error| PluginError::Answer {
            library: library.to_owned(),
            question: question.to_owned(),
            reason: error.to_string(),
        })
    }

    fn ask(&self, library: &Path, question: &str, ask: Ask) -> Result<Vec<u8>, PluginError> {
        let child_error = |source| PluginError::Child { program: self.program.clone(), source };
        let folder = tempfile::tempdir().map_err(child_error)?;
        let answer = folder.path().join("answer");
        let asked = Question { library: library.to_owned(), answer: answer.clone(), ask };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env(VARIABLE, serde_json::to_string(&asked).expect("a question is plain data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(child_error)?;
        let (library, question) = (library.to_owned(), question.to_owned());
        let deadline = Instant::now() + self.timeout;
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = child.try_wait().map_err(child_error)? {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(PluginError::Hangs { library, question, seconds: self.timeout.as_secs() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        // A plugin that ends the process itself leaves no answer, whatever its exit code says.
        match (status.code(), std::fs::read(&answer)) {
            (Some(0), Ok(bytes)) => Ok(bytes),
            (Some(code @ (REFUSED | INVALID)), Ok(text)) => {
                // The child's own message names the library and the question already.
                let text = String::from_utf8_lossy(&text);
                let reason = text.strip_prefix(&format!("{}: ", library.display())).unwrap_or(&text);
                let reason = reason.strip_prefix(&format!("{question}: ")).unwrap_or(reason).to_owned();
                Err(match code {
                    INVALID => PluginError::Answer { library, question, reason },
                    _ => PluginError::Call { library, question, reason },
                })
            }
            (code, _) => {
                let how = code.map_or_else(|| died(status), |code| format!("exit code {code}, no answer"));
                Err(PluginError::Crashed { library, question, how })
            }
        }
    }
}

#[cfg(unix)]
fn died(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal() {
        Some(4) => "signal 4, illegal instruction".to_owned(),
        Some(6) => "signal 6, abort".to_owned(),
        Some(11) => "signal 11, invalid memory access".to_owned(),
        Some(signal) => format!("signal {signal}"),
        None => "no exit code".to_owned(),
    }
}

#[cfg(not(unix))]
fn died(_: std::process::ExitStatus) -> String {
    "no exit code".to_owned()
}

/// Answers the question that a [`Probe`] put to this process and ends it; returns at once if there is none. Call it first
/// thing in `main`.
pub fn answer_if_asked() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    // A plugin that starts this program again must not be asked the same question for ever.
    // SAFETY: first thing in `main`, no other thread runs.
    unsafe { std::env::remove_var(VARIABLE) };
    let Ok(question) = serde_json::from_str::<Question>(&text) else { std::process::exit(2) };
    let (code, answer) = match answer(&question) {
        Ok(bytes) => (0, bytes),
        Err(PluginError::Answer { reason, .. }) => (INVALID, reason.into_bytes()),
        Err(error) => (REFUSED, error.to_string().into_bytes()),
    };
    let written = std::fs::write(&question.answer, answer);
    std::process::exit(if written.is_ok() { code } else { 2 });
}

fn answer(question: &Question) -> Result<Vec<u8>, PluginError> {
    let library = Library::load(&question.library)?;
    let json = |value: serde_json::Result<Vec<u8>>| Ok(value.expect("plain data"));
    match &question.ask {
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

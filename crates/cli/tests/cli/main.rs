//! The `injerto` binary as users meet it: what it prints, writes and exits with.

#![allow(clippy::disallowed_macros, reason = "a test may say on its standard error what it skips")]

mod backbones;
mod cv;
mod dashboard;
mod explain;
mod first;
mod handed_on;
mod honest;
mod inspect;
mod knowledge;
mod onnx;
#[cfg(unix)]
mod output;
mod outside;
#[cfg(unix)]
mod pipes;
mod predict;
mod rates;
mod recipes;
mod resume;
mod serve;
mod several;
#[cfg(feature = "shards")]
mod shards;
#[cfg(feature = "s3")]
mod stores;
mod sweep;
mod taught;
mod train;
mod usage;
mod watch;
mod weights;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// How a command ended and what it printed.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn succeeds(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// What it says on its standard error, after failing with exit code 1.
    #[track_caller]
    fn fails(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        self.err
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.succeeds()).expect("it prints JSON")
    }
}

/// The binary in a folder, with nothing of the user's own: only the plugins that are linked into it are found.
fn injerto(folder: &Path) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_injerto"));
    let mut command = Command::new(binary);
    command.current_dir(folder).env_remove("INJERTO_PLUGIN_PATH");
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "INJERTO_CACHE_DIR"] {
        command.env(variable, folder.join("home"));
    }
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    ran(injerto(folder).args(arguments))
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// File name of a plugin.
fn file_name(name: &str) -> String {
    format!("{}injerto_plugin_{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// A plugin of the workspace as a library, which is not where the binary looks.
fn plugin(name: &str) -> PathBuf {
    let library = Path::new(env!("CARGO_BIN_EXE_injerto")).with_file_name("backbones").join(file_name(name));
    assert!(library.is_file(), "plugins are not built: run `cargo xtask plugins` (or `cargo xtask test`)");
    library
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

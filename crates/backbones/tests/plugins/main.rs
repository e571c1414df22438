//! Plugins through their border, and the networks they describe against Keras and PyTorch.

mod border;
mod conformance;
mod files;
mod golden;
mod published;
mod weights;

use std::path::PathBuf;
use std::time::Duration;

use injerto_backbones::plugin::{Probe, SearchPath, answer_if_asked};

/// The child end of every question that these tests ask: this very program, told to run this test alone.
#[test]
fn answers_a_plugin_question() {
    answer_if_asked();
}

fn probe() -> Probe {
    let arguments = ["answers_a_plugin_question", "--exact", "--nocapture"].map(Into::into).to_vec();
    let program = std::env::current_exe().expect("this program");
    Probe { program, arguments, timeout: Duration::from_secs(20) }
}

/// Where cargo puts the workspace's plugins: beside the `deps` folder that this program lies in.
fn built() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.ancestors().nth(2).expect("target/PROFILE").to_owned()
}

fn workspace_plugins() -> SearchPath {
    let folder = built();
    let library =
        format!("{}injerto_plugin_mobilenet_v2{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    assert!(folder.join(library).is_file(), "plugins are not built: run `cargo xtask plugins` (or `cargo xtask test`)");
    SearchPath::of([folder])
}

/// Says that a test is skipped; in CI nothing may be missing.
fn missing<T>(what: &str) -> Option<T> {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
    eprintln!("skipped: {what}");
    None
}

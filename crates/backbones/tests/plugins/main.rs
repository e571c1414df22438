//! Tests of plugins, of weight files, and of the described networks against Keras and PyTorch.

mod backbone_files;
mod border;
mod conformance;
mod files;
mod golden;
mod outside;
mod published;
mod timm;
mod weights;

use std::path::{Path, PathBuf};
use std::time::Duration;

use injerto_backbones::plugin::{Probe, SearchPath, answer_if_asked, validate};

/// The child process of every question that these tests ask. It is this program, which runs only this test.
#[test]
fn answers_a_plugin_question() {
    answer_if_asked();
}

fn probe() -> Probe {
    let arguments = ["answers_a_plugin_question", "--exact", "--nocapture"].map(Into::into).to_vec();
    let program = std::env::current_exe().expect("this program");
    Probe { program, arguments, timeout: Duration::from_secs(20) }
}

/// The folder into which `cargo xtask plugins` puts the workspace's plugins as libraries. It lies beside the `deps` folder, which contains
/// this program.
fn built() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.ancestors().nth(2).expect("target/PROFILE").join("backbones")
}

fn workspace_plugins() -> SearchPath {
    let folder = built();
    let library =
        format!("{}injerto_plugin_mobilenet_v2{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    assert!(folder.join(library).is_file(), "plugins are not built: run `cargo xtask plugins` (or `cargo xtask test`)");
    SearchPath::of([folder])
}

/// Says that a test is skipped. In CI the test fails instead.
fn missing<T>(what: &str) -> Option<T> {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
    eprintln!("skipped: {what}");
    None
}

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// File name of the library of a plugin.
fn file_name(name: &str) -> String {
    format!("{}injerto_plugin_{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// Checks that a plugin passes every check.
fn assert_conforms(library: &Path) {
    let report = validate(library, &probe());
    let failed: Vec<String> = (report.checks.iter())
        .filter_map(|check| check.problem.as_ref().map(|problem| format!("{}: {problem}", check.name)))
        .collect();
    assert!(failed.is_empty(), "{}:\n{}", library.display(), failed.join("\n"));
}

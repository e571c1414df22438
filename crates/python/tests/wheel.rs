//! The package for Python, as a wheel holds it: its tests are in `package.py`, and the examples of its documentation are run too.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The Python that `INJERTO_PYTHON` names, or `python3`, if it has these packages.
fn python(packages: &[&str]) -> Option<PathBuf> {
    let python = std::env::var_os("INJERTO_PYTHON").unwrap_or_else(|| "python3".into());
    let imports = format!("import {}", packages.join(", "));
    let there = Command::new(&python).args(["-c", &imports]).output().is_ok_and(|asked| asked.status.success());
    if !there {
        println!("skipped: no Python with {}", packages.join(", "));
    }
    there.then(|| python.into())
}

/// A folder with the package, put together from what Cargo has built. It is what `pip install --target` makes of the wheel.
fn installed() -> tempfile::TempDir {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = std::env::current_exe().expect("this program").ancestors().nth(2).expect("target/PROFILE").to_owned();
    let library = format!("{}_injerto{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    assert!(built.join(&library).is_file(), "the library is not built: run `cargo xtask test -p injerto-python`");
    let folder = tempfile::tempdir().expect("a folder");
    let package = folder.path().join("injerto");
    std::fs::create_dir(&package).expect("made");
    for file in std::fs::read_dir(here.join("python/injerto")).expect("the package").flatten() {
        if file.path().is_file() {
            std::fs::copy(file.path(), package.join(file.file_name())).expect("copied");
        }
    }
    let module = if cfg!(windows) { "_injerto.pyd" } else { "_injerto.abi3.so" };
    std::fs::copy(built.join(library), package.join(module)).expect("copied");
    folder
}

/// Runs a file of Python's tests with these arguments. The caches are empty, and there are no backbones but those in the library.
fn run(python: &Path, file: &str, arguments: &[&OsStr]) -> Output {
    let folder = installed();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    let mut command = Command::new(python);
    command.arg(tests).args(arguments).env("PYTHONPATH", folder.path()).env_remove("INJERTO_PLUGIN_PATH");
    command.env("INJERTO_CACHE_DIR", folder.path().join("cache")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("INJERTO_EXAMPLES", Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/python"));
    command.current_dir(folder.path()).output().expect("Python starts")
}

/// Runs a file of Python's tests, all of which must pass.
fn check(packages: &[&str], file: &str) {
    let Some(python) = python(packages) else { return };
    let Output { status, stdout, stderr } = run(&python, file, &[]);
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{said}");
    println!("{said}");
}

#[test]
fn images_in_every_form_are_seen_alike_and_python_stays_in_charge() {
    check(&["numpy", "PIL"], "package.py");
}

#[test]
fn the_examples_of_the_documentation_hold() {
    check(&["numpy", "sklearn"], "examples.py");
}

#[test]
fn the_classifier_is_an_estimator_of_scikit_learn() {
    check(&["numpy", "sklearn"], "classifier.py");
}

#[test]
fn processes_that_torch_has_joined_train_one_network() {
    check(&["numpy", "torch"], "collective.py");
}

#[test]
fn engines_for_many_photos_give_the_features_of_the_single_process() {
    check(&["numpy", "PIL", "pyarrow"], "engines.py");
}

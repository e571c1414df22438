//! Plugins that are built outside the workspace: one that comes later than the host, and the examples of `docs/plugins.md`.

use std::path::Path;
use std::process::Command;

use injerto_backbones::plugin::{Catalog, SearchPath};
use injerto_graph::{Description, Descriptor};
use serde_json::Map;

use crate::{assert_conforms, file_name, missing, probe, root};

/// A plugin in Rust, outside the workspace.
const LATECOMER: &str = r##"
use injerto_plugin_sdk::{Backbone, Builder, GlobalAveragePooling2D, Graph, GraphError, Preprocessing, export, parameters};

parameters! {
    struct Parameters {
        /// height and width of the images
        input_shape: [usize; 2] = [8, 8],
    }
}

struct Latecomer;

impl Backbone for Latecomer {
    const NAME: &str = "latecomer";
    const SUMMARY: &str = "came later";
    type Parameters = Parameters;

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        let mut net = Builder::new(Self::NAME);
        net.image(parameters.input_shape);
        net.then("mean", GlobalAveragePooling2D::new());
        net.finish()
    }

    fn preprocessing(_: &Parameters) -> Preprocessing {
        Preprocessing::none()
    }
}

struct Clumsy;

impl Backbone for Clumsy {
    const NAME: &str = "clumsy";
    const SUMMARY: &str = "panics";
    type Parameters = Parameters;

    fn graph(_: &Parameters) -> Result<Graph, GraphError> {
        panic!("'clumsy' slipped")
    }

    fn preprocessing(_: &Parameters) -> Preprocessing {
        Preprocessing::none()
    }
}

export![Latecomer, Clumsy];
"##;

/// Builds a library in Rust outside the workspace, in `folder`, from its manifest and its code.
fn build_outside(folder: &Path, manifest: &str, code: &str) {
    let at = |name: &str| folder.join(name);
    std::fs::create_dir(at("src")).expect("made");
    std::fs::write(at("src/lib.rs"), code).expect("written");
    std::fs::write(at("Cargo.toml"), format!("{manifest}\n[profile.dev]\ndebug = false\n\n[workspace]\n"))
        .expect("written");
    // The versions are those of the workspace, which are on this machine.
    std::fs::copy(root().join("Cargo.lock"), at("Cargo.lock")).expect("copied");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--offline", "--quiet", "--target-dir"]).arg(at("target")).current_dir(folder);
    // The plugin must not be built with the flags and settings of the build that runs this test.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_")) {
        if name != "CARGO_HOME" {
            cargo.env_remove(name);
        }
    }
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_plugin_built_outside_the_workspace_after_the_host_is_found_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let manifest = format!(
        "[package]\nname = \"latecomer\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\ninjerto-plugin-sdk = {{ path = {:?} }}\n",
        root().join("crates/plugin-sdk"),
    );
    let host = std::env::current_exe().expect("this program");
    let modified = |path: &Path| path.metadata().and_then(|file| file.modified()).expect("a time");
    let before = modified(&host);
    build_outside(folder.path(), &manifest, LATECOMER);
    let name = |stem: &str| format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let dropped = at(&file_name("latecomer"));
    std::fs::copy(at("target/debug").join(name("latecomer")), &dropped).expect("copied");
    assert!(
        modified(&host) == before && modified(&dropped) > before,
        "the host is older than the plugin, and was not changed"
    );

    let mut catalog = Catalog::scan(SearchPath::of([folder.path().to_owned()]), probe());
    let found = catalog.find("latecomer").expect("found by name");
    let description = catalog.describe(&found, &Map::new()).expect("describes");
    assert_eq!(description.graph.output_shape().0, [3]);
    let clumsy = catalog.find("clumsy").expect("found");
    let error = catalog.describe(&clumsy, &Map::new()).expect_err("panics").to_string();
    assert!(error.ends_with("describe 'clumsy': the plugin panicked: 'clumsy' slipped"), "{error}");
}

/// Code blocks of a language in the page about plugins, in order.
fn examples(language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/plugins.md")).expect("the page");
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(&format!("{language}\n")).map(str::to_owned)).collect()
}

#[test]
fn the_documented_answers_are_valid() {
    let [descriptors, description, ..] = &examples("json")[..] else { panic!("two examples") };
    let descriptors: Vec<Descriptor> = serde_json::from_str(descriptors).expect("descriptors");
    let description: Description = serde_json::from_str(description).expect("a description");
    assert_eq!(descriptors[0].name, description.graph.name());
}

#[test]
fn the_documented_plugin_in_c_is_found_and_passes_every_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let [code] = &examples("c")[..] else { panic!("one example") };
    std::fs::write(folder.path().join("tiny.c"), code).expect("written");
    let commands = examples("sh");
    let command = commands.iter().find(|command| command.starts_with("cc ")).expect("how it is compiled");
    let include = root().join("crates/plugin-abi/include");
    let mut words: Vec<&str> = command.split_whitespace().collect();
    words.iter_mut().filter(|word| **word == "crates/plugin-abi/include").for_each(|word| {
        *word = include.to_str().expect("a path of plain letters");
    });
    let Ok(output) = Command::new(words[0]).args(&words[1..]).current_dir(folder.path()).output() else {
        let _: Option<()> = missing("no C compiler");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The page uses the library name of Linux.
    if cfg!(target_os = "linux") {
        let found = Catalog::scan(SearchPath::of([folder.path().to_owned()]), probe()).find("tiny").expect("found");
        assert_conforms(found.origin.file().expect("a library"));
    }
}

#[test]
fn the_documented_plugin_in_rust_is_found_and_passes_every_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let [code] = &examples("rust")[..] else { panic!("one example") };
    let manifests = examples("toml");
    let manifest = manifests.iter().find(|toml| toml.starts_with("[package]")).expect("its manifest");
    let sdk = format!("injerto-plugin-sdk = {{ path = {:?} }}", root().join("crates/plugin-sdk"));
    let manifest = manifest.replace("injerto-plugin-sdk = { git = \"…\" }", &sdk);
    build_outside(folder.path(), &manifest, code);
    let path = SearchPath::of([folder.path().join("target/debug")]);
    let found = Catalog::scan(path, probe()).find("stages").expect("found by name");
    assert_conforms(found.origin.file().expect("a library"));
}

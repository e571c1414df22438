//! `injerto --help`, `plugins` and `summary`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{contains, file_name, injerto, plugin, run};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn help_teaches() {
    let at = folder();
    let help = run(at.path(), &["--help"]).succeeds();
    contains(&help, &["train", "summary", "plugins", "predict", "INJERTO_PLUGIN_PATH", "injerto new --quickstart"]);
    for command in ["train", "summary", "predict", "generate"] {
        contains(&run(at.path(), &[command, "--help"]).succeeds(), &["Usage: injerto", "--plugin-dir"]);
    }
    contains(&run(at.path(), &["train", "--help"]).succeeds(), &["--set", "--dry-run", "--resume", "Ctrl-C"]);
    // What is no command is a mistake of its own kind, with exit code 2 as everywhere.
    let mistake = run(at.path(), &["trian"]);
    assert_eq!(mistake.code, Some(2));
    contains(&mistake.err, &["train"]);
}

#[test]
fn backbones_are_listed_with_where_was_searched() {
    let at = folder();
    let text = run(at.path(), &["plugins", "list"]).succeeds();
    contains(&text, &["found:\n", "mobilenet_v2 ", "small_cnn ", " linked in\n", "searched:\n", "(not there)"]);
    let json = run(at.path(), &["plugins", "list", "--json"]).json();
    let names: Vec<&str> = found(&json).iter().map(|(name, ..)| *name).collect();
    assert!(names.contains(&"mobilenet_v2") && names.contains(&"small_cnn"), "{names:?}");
    assert_eq!(json["refused"], serde_json::json!([]));
    let descriptor =
        &json["found"][names.iter().position(|name| *name == "mobilenet_v2").expect("there")]["descriptor"];
    assert_eq!(descriptor["parameters"]["alpha"]["default"], 1.0);
    assert_eq!(descriptor["weights"][0], "imagenet");
}

/// Name, library and shadow of all that was found.
fn found(json: &Value) -> Vec<(&str, PathBuf, Option<PathBuf>)> {
    let path = |value: &Value| value.as_str().map(PathBuf::from);
    let all = json["found"].as_array().expect("a list").iter();
    all.map(|found| {
        let name = found["descriptor"]["name"].as_str().expect("a name");
        (name, path(&found["library"]).expect("a path"), path(&found["shadowed_by"]))
    })
    .collect()
}

#[test]
fn folders_are_searched_in_order_and_the_first_of_a_name_wins() {
    let at = folder();
    let data = if cfg!(target_os = "macos") { "home/Library/Application Support" } else { "home" };
    let folders = ["given", "path-1", "path-2", &format!("{data}/injerto/plugins")].map(|name| at.path().join(name));
    for folder in &folders {
        std::fs::create_dir_all(folder).expect("made");
        std::fs::copy(plugin("small_cnn"), folder.join(file_name("small_cnn"))).expect("copied");
    }
    // A library that is none is refused and named, and takes nothing else with it.
    std::fs::write(folders[1].join(file_name("broken")), b"not a library").expect("written");
    let path = std::env::join_paths(&folders[1..3]).expect("joined");
    let mut command = injerto(at.path());
    command.args(["plugins", "list", "--json", "--plugin-dir"]).arg(&folders[0]).env("INJERTO_PLUGIN_PATH", path);
    let output = command.output().expect("it starts");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let small: Vec<_> = found(&json).into_iter().filter(|(name, ..)| *name == "small_cnn").collect();
    let libraries: Vec<PathBuf> = small.iter().map(|(_, library, _)| library.clone()).collect();
    let expected = folders.iter().map(|folder| folder.join(file_name("small_cnn")));
    assert_eq!(libraries, expected.chain(["linked in".into()]).collect::<Vec<_>>());
    assert_eq!(small[0].2, None);
    assert!(small[1..].iter().all(|(_, _, shadow)| shadow.as_ref() == Some(&libraries[0])), "{small:?}");
    let refused = json["refused"].as_array().expect("a list");
    assert_eq!(refused.len(), 1);
    contains(refused[0]["reason"].as_str().expect("a text"), &["broken", "cannot be loaded as a library"]);
}

/// One file is enough: the binary has the standard backbones inside, with the weights of the quickstart.
#[test]
fn the_binary_alone_in_an_empty_folder_lists_its_backbones_and_trains_the_quickstart() {
    let at = folder();
    let moved = at.path().join(format!("moved{}", std::env::consts::EXE_SUFFIX));
    std::fs::copy(env!("CARGO_BIN_EXE_injerto"), &moved).expect("copied");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&moved);
        command.args(arguments).current_dir(at.path()).env_remove("INJERTO_PLUGIN_PATH");
        for variable in ["HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "INJERTO_CACHE_DIR"] {
            command.env(variable, at.path().join("home"));
        }
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let json: Value = serde_json::from_str(&run(&["plugins", "list", "--json"])).expect("JSON");
    let backbones = found(&json);
    assert!(backbones.len() >= 11, "{backbones:?}");
    assert!(backbones.iter().all(|(_, place, shadow)| *place == Path::new("linked in") && shadow.is_none()));

    run(&["new", "--quickstart"]);
    let mut train = vec!["train", "quickstart.toml", "--run-dir", "run"];
    for set in [
        "data.train_per_class=4",
        "data.validation_per_class=2",
        "phases.0.epochs=1",
        "phases.1.epochs=1",
        "transfer_gain.seeds=[1]",
    ] {
        train.extend(["--set", set]);
    }
    contains(&run(&train), &["What transfer gained"]);
}

#[test]
fn a_good_plugin_passes_and_a_crashing_one_is_a_result() {
    let at = folder();
    let library = plugin("small_cnn").display().to_string();
    let text = run(at.path(), &["plugins", "validate", &library]).succeeds();
    contains(&text, &["ok      loads", "ok      small_cnn: can be cut and unfrozen at every layer"]);
    assert!(!text.contains("FAILED"), "{text}");
    // A name without a folder is a file of this folder.
    std::fs::copy(&library, at.path().join("mine.so")).expect("copied");
    run(at.path(), &["plugins", "validate", "mine.so"]).succeeds();
    let report = run(at.path(), &["plugins", "validate", "--json", &library]).json();
    assert!(report["checks"].as_array().expect("a list").iter().all(|check| check["problem"].is_null()));
    contains(&run(at.path(), &["plugins", "validate", "no/such.so"]).fails(), &["error: no/such.so: no such file"]);

    let source = at.path().join("crash.c");
    let code = "#include <stdlib.h>\nconst void *injerto_plugin_entry(void) { abort(); }\n";
    std::fs::write(&source, code).expect("written");
    let crash = at.path().join(file_name("crash"));
    match Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&crash, &source]).status() {
        Ok(status) => assert!(status.success()),
        Err(_) if std::env::var("CI").as_deref() == Ok("true") => panic!("no C compiler"),
        Err(_) => return eprintln!("skipped: no C compiler"),
    }
    let ran = run(at.path(), &["plugins", "validate", &crash.display().to_string()]);
    assert_eq!(ran.code, Some(1));
    contains(&ran.out, &["FAILED  loads, and its table is valid\n", "the plugin crashed (signal 6, abort)"]);
    // In the search path it is refused, and the others work.
    let folder = at.path().display().to_string();
    let ran = run(at.path(), &["summary", "small_cnn", "--plugin-dir", &folder]);
    contains(&ran.succeeds(), &["conv2d (Conv2D)"]);
}

#[test]
fn a_backbone_is_dumped_into_a_folder_and_is_one_more() {
    let at = folder();
    std::fs::create_dir(at.path().join("here")).expect("made");
    let dump = ["plugins", "dump", "small_cnn", "--weights", "shapes", "--param", "input_shape=[64,64]"];
    let ran = run(at.path(), &[&dump[..], &["--out", "here/figures.backbone.json"]].concat());
    assert_eq!(ran.err, "");
    assert_eq!(ran.succeeds(), "");
    assert!(at.path().join("here/figures.shapes.safetensors").is_file());
    let text = run(at.path(), &["plugins", "validate", "here/figures.backbone.json"]).succeeds();
    contains(&text, &["ok      can be read", "ok      weights 'shapes' can be read and fit the graph"]);
    let text = run(at.path(), &["plugins", "list", "--plugin-dir", "here"]).succeeds();
    contains(&text, &["  figures ", "(filters = [16,32,64], input_shape = [64,64])\n", "weights: shapes\n"]);
    let given = ["--param", "filters=[16,32,64]", "--param", "input_shape=[64,64]"];
    let plugin = run(at.path(), &[&["summary", "small_cnn"], &given[..]].concat()).succeeds();
    assert_eq!(run(at.path(), &["summary", "figures", "--plugin-dir", "here"]).succeeds(), plugin);
    assert_eq!(run(at.path(), &["summary", "here/figures.backbone.json"]).succeeds(), plugin);
    contains(
        &run(at.path(), &["summary", "here/figures.backbone.json", "--param", "filters=[4]"]).fails(),
        &["backbone 'figures' has no parameter 'filters' (it has: none)"],
    );
}

#[test]
fn what_a_dumped_file_cannot_hold_is_said() {
    let at = folder();
    // Weights inside the library need a folder; printed, only published ones stay.
    let ran = run(at.path(), &["plugins", "dump", "small_cnn", "--weights", "shapes"]);
    contains(&ran.err, &["left out: weights 'shapes' are a file, which would have to be beside this one\n"]);
    assert_eq!(ran.json()["description"]["weights"], serde_json::json!([]));
    let ran = run(at.path(), &["plugins", "dump", "mobilenet_v2", "--weights", "imagenet-keras"]);
    contains(&ran.err, &["left out: weights 'imagenet' need variant = \"torch\", and it is \"keras\"\n"]);
    let weights = ran.json()["description"]["weights"].clone();
    let ids: Vec<&serde_json::Value> = weights.as_array().expect("a list").iter().map(|set| &set["id"]).collect();
    assert_eq!(ids, ["imagenet-keras", "imagenet-huggingface"]);
    assert_eq!(weights[0]["requires"], serde_json::json!({}));

    let check = |arguments: &[&str], parts: &[&str]| {
        contains(&run(at.path(), &[&["plugins", "dump"], arguments].concat()).fails(), parts);
    };
    check(&["small_cnn", "--out", "mine.json"], &["mine.json: ", "a backbone file is named NAME.backbone.json"]);
    check(&["small_cnn", "--out", "my net.backbone.json"], &["must be a plain word", "not 'my net'"]);
    check(&["small_cnn", "--weights", "faces"], &["backbone 'small_cnn' has no weights 'faces' (it has: shapes)"]);
    check(
        &["small_cnn", "--weights", "shapes", "--param", "filters=[4]"],
        &["weights 'shapes' need filters = [16,32,64], and it is [4]"],
    );
    check(&["small_cnn", "--param", "filter=[4]"], &["has no parameter 'filter' (it has: ", "did you mean 'filters'?"]);
    check(&["small_cnn", "--out", "nowhere/a.backbone.json"], &["nowhere/a.backbone.json: "]);
}

#[test]
fn a_summary_has_keras_counts() {
    let at = folder();
    let arguments = ["summary", "mobilenet_v2", "--param", "input_shape=[160,160]", "--json"];
    let json = run(at.path(), &arguments).json();
    assert_eq!((&json["total"], &json["trainable"]), (&2_257_984.into(), &2_223_872.into()));
    let layers = json["layers"].as_array().expect("a list");
    assert_eq!(layers.len(), 154);
    let shown = |index: usize| {
        let keys = ["index", "name", "class", "output_shape", "params", "trainable"];
        keys.map(|key| layers[index].get(key).cloned().expect(key))
    };
    let expected = serde_json::json!([1, "Conv1", "Conv2D", [80, 80, 32], 864, 864]);
    assert_eq!(Value::from(shown(1).to_vec()), expected);
    let expected = serde_json::json!([153, "out_relu", "ReLU", [5, 5, 1280], 0, 0]);
    assert_eq!(Value::from(shown(153).to_vec()), expected);
    let from_100 = run(at.path(), &[&arguments[..], &["--from-layer", "100"]].concat()).json();
    assert_eq!(from_100["trainable"], 1_861_440);
    assert_eq!(from_100["layers"][1]["trainable"], 0);
    let text = run(at.path(), &["summary", "mobilenet_v2", "--from-layer", "block_16_project"]).succeeds();
    contains(&text, &["Total params:            2,257,984\n", "block_16_project (Conv2D)", "frozen", "trains"]);
}

#[test]
fn a_summary_of_what_is_not_there_says_what_is() {
    let at = folder();
    let check = |arguments: &[&str], parts: &[&str]| {
        contains(&run(at.path(), &[&["summary"], arguments].concat()).fails(), parts);
    };
    check(
        &["mobilenet_v22"],
        &["error: no backbone 'mobilenet_v22'; did you mean 'mobilenet_v2'?\nfound:\n", "searched:"],
    );
    check(
        &["small_cnn", "--param", "depth=3"],
        &["backbone 'small_cnn' has no parameter 'depth' (it has: ", "filters"],
    );
    check(&["small_cnn", "--param", "filters=3"], &["parameter 'filters' of backbone 'small_cnn' must be a list"]);
    check(&["small_cnn", "--param", "filters"], &["--param filters: expected KEY=VALUE"]);
    check(&["small_cnn", "--param", "filters=[]"], &["filters must name 1 to 8 stages, not 0"]);
    check(&["small_cnn", "--from-layer", "conv2d_9"], &["no layer 'conv2d_9' in 'small_cnn'; did you mean 'conv2d_"]);
    check(&["small_cnn", "--from-layer", "99"], &["no layer 99 in 'small_cnn': it has "]);
    check(&["./no_such.so"], &["no_such.so: cannot be loaded as a library: there is no such file"]);
    assert!(!Path::new("home").exists(), "nothing is written where the user did not ask for it");
}

#[test]
fn a_temporary_folder_that_is_not_there_is_to_blame_and_nothing_else() {
    let at = folder();
    let mut command = injerto(at.path());
    // A library is asked in a child process; what is linked in does not take its place because that cannot be done.
    let folder = plugin("small_cnn").with_file_name("");
    command.args(["summary", "small_cnn", "--plugin-dir"]).arg(folder).env("TMPDIR", at.path().join("nowhere"));
    let output = command.output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    contains(&error, &["cannot ask plugins: no folder can be made in ", "nowhere", "set TMPDIR to a folder"]);
    assert!(!error.contains("no backbone") && !output.status.success(), "{error}");
}

#[test]
#[cfg(unix)]
fn nobody_waits_for_a_pipe_among_the_plugins() {
    let at = folder();
    for name in [file_name("pipe"), "pipe.onnx".to_owned(), "pipe.backbone.json".to_owned()] {
        let made = std::process::Command::new("mkfifo").arg(at.path().join(name)).status();
        assert!(made.expect("mkfifo").success());
    }
    let listed = run(at.path(), &["--plugin-dir", ".", "plugins", "list"]).succeeds();
    assert_eq!(listed.matches("it is not a regular file").count(), 3, "{listed}");
}

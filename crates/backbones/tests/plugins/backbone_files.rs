//! Backbones as files without code: valid files are found, and invalid files are refused with the reason.

use injerto_backbones::plugin::{BackboneFile, Catalog, Probe, SearchPath, validate};
use injerto_graph::Source;
use serde_json::{Map, Value, json};

use crate::probe;

/// The text of a valid backbone file with these weights, after `change` has changed it.
fn backbone_file(weights: &Value, change: impl Fn(String) -> String) -> String {
    let layers = json!([
        { "name": "in", "class": "InputLayer", "config": { "shape": [4, 4, 3] } },
        { "name": "shrink", "class": "MaxPooling2D", "inputs": ["in"], "config": { "pool_size": [2, 2] } },
    ]);
    let preprocessing = json!({ "scale": 1, "mean": [0, 0, 0], "deviation": [1, 1, 1] });
    let graph = json!({ "name": "net", "layers": layers });
    let description = json!({ "graph": graph, "preprocessing": preprocessing, "weights": weights });
    change(json!({ "injerto_backbone": 1, "summary": "a file", "description": description }).to_string())
}

/// A weight set of a backbone file.
fn weight_set(id: &str, source: &Value) -> Value {
    json!({ "id": id, "summary": "", "licence": "", "source": source, "format": "safetensors",
            "tensors": { "layout": "keras" } })
}

#[test]
fn a_backbone_file_in_a_folder_is_found_and_no_child_process_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = weight_set("mine", &json!({ "kind": "path", "path": "weights/mine.safetensors" }));
    let path = folder.path().join("tiny-2.0.backbone.json");
    std::fs::write(&path, backbone_file(&json!([set]), |text| text)).expect("written");
    std::fs::write(folder.path().join("notes.json"), "{}").expect("written");
    let program = folder.path().join("there is no such program");
    let nobody = Probe { program, ..probe() };
    let mut catalog = Catalog::scan(SearchPath::of([folder.path().to_owned()]), nobody);
    assert!(catalog.refused.is_empty(), "{:?}", catalog.refused);
    let found = catalog.find("tiny-2.0").expect("found by name");
    assert_eq!(found.descriptor.weights, ["mine"]);
    let description = catalog.describe(&found, &Map::new()).expect("describes");
    assert_eq!(description.graph.output_shape().0, [2, 2, 3]);
    let beside = folder.path().join("weights/mine.safetensors").display().to_string();
    assert_eq!(description.weights[0].source, Source::Path { path: beside });
    assert_eq!(catalog.find(&path.display().to_string()).expect("found by path").descriptor, found.descriptor);
}

#[test]
fn an_invalid_backbone_file_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let check_named = |name: &str, text: String, expected: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        let error = BackboneFile::read(&path).expect_err(expected).to_string();
        let start = format!("{}: cannot be used as a backbone file: ", path.display());
        let reason = error.strip_prefix(&start).unwrap_or_else(|| panic!("{error}"));
        assert!(reason.contains(expected), "{reason}");
        let report = validate(&path, &probe());
        assert!(!report.passed());
        std::fs::remove_file(&path).expect("removed");
    };
    let check = |text: String, expected: &str| check_named("bad.backbone.json", text, expected);
    let changed = |from: &str, to: &str| {
        backbone_file(&json!([]), |text| {
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1)
        })
    };
    let sound = || changed("a file", "one");
    check_named("bad.json", sound(), "a backbone file is named NAME.backbone.json");
    check_named("a b.backbone.json", sound(), "must be a plain word");
    check_named(".backbone.json", sound(), "must be a plain word");
    check("{]".to_owned(), "key must be a string");
    check(String::new(), "it is empty");
    check("version https://git-lfs.github.com/spec/v1\n".to_owned(), "it is a Git LFS pointer");
    check(changed("\"injerto_backbone\":1", "\"injerto_backbone\":2"), "it has form 2, but this program reads form 1");
    check(changed("\"injerto_backbone\":1,", ""), "missing field `injerto_backbone`");
    check(changed("\"summary\"", "\"parameters\""), "unknown field `parameters`");
    check(changed("a file", "a\\u001b[2Jfile"), "its summary is not one line of text: 'a\\u{1b}[2Jfile'");
    check(changed("\"pool_size\":[2,2]", "\"pool_size\":[9,9]"), "a window of 9 does not fit in 4");
    check(changed("[4,4,3]", "[48]"), "[48]");
    check(changed("\"deviation\":[1,1,1]", "\"deviation\":[1,0,1]"), "");
    check("[".repeat(100_000), "");
    check(" ".repeat(17 << 20), "it is larger than 16 MiB");

    let path = |path: &str| json!({ "kind": "path", "path": path });
    let weights = |sets: Value| backbone_file(&sets, |text| text);
    for outside in ["../w.safetensors", "/etc/passwd", "a/../../w", "a/..", "..", "", "..\\w", "c:\\w"] {
        check(weights(json!([weight_set("w", &path(outside))])), "leaves the folder of the backbone file");
    }
    let inside = path("w.safetensors");
    check(weights(json!([weight_set("w", &json!({ "kind": "embedded" }))])), "only a library can carry weights");
    check(weights(json!([weight_set("w/../x", &inside)])), "");
    check(weights(json!([weight_set("w", &inside), weight_set("w", &inside)])), "two weight sets 'w'");
    let mut needy = weight_set("w", &inside);
    needy["requires"] = json!({ "alpha": 1 });
    check(weights(json!([needy])), "weights 'w': they require 'alpha', but a backbone file has no parameters");
}

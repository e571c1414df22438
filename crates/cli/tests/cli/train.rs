//! `injerto train`, `predict` and `generate`.

mod plan;

use std::path::Path;

use serde_json::Value;

use crate::{contains, run};

/// The experiment that examples, tests and proofs train.
pub const TINY: &str = include_str!("../../../experiment/examples/tiny.toml");

/// A folder with the experiment in it.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tiny.toml"), TINY).expect("written");
    folder
}

/// The lines of `history.jsonl`, without what a clock says.
pub fn history(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("history.jsonl")).unwrap_or_default();
    // A line that is being written may be half there.
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records
        .map(|mut record| {
            let seconds = record.as_object_mut().expect("a record").shift_remove("seconds");
            assert!(seconds.is_some_and(|seconds| seconds.is_number()));
            record
        })
        .collect()
}

/// A checkpoint's table of tensors and its numbers, without the metadata, which holds what a clock says.
fn checkpoint(run: &Path, file: &str) -> (Value, Vec<u8>) {
    let bytes = std::fs::read(run.join(file)).expect("a checkpoint");
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let mut header: Value = serde_json::from_slice(&rest[..length]).expect("a header");
    assert!(header.as_object_mut().expect("a table").shift_remove("__metadata__").is_some());
    (header, rest[length..].to_vec())
}

/// Two runs have the same weights, best and last, and the same state of the optimiser, bit for bit.
#[track_caller]
pub fn assert_same_weights(a: &Path, b: &Path) {
    for file in ["best.safetensors", "last.safetensors"] {
        assert!(checkpoint(a, file) == checkpoint(b, file), "{}, {}: {file} differs", a.display(), b.display());
    }
}

#[test]
fn a_backbone_as_a_file_trains_as_its_plugin_does() {
    let at = folder();
    let plugin = TINY
        .replacen("\"none\"", "\"shapes\"", 1)
        .replacen("filters = [4, 8]", "filters = [16, 32, 64], momentum = 0.8", 1)
        .replacen("epochs = 4", "epochs = 1", 1);
    std::fs::write(at.path().join("plugin.toml"), &plugin).expect("written");
    let file = plugin.replacen("parameters = { filters = [16, 32, 64], momentum = 0.8 }", "", 1);
    let by_name = file.replacen("\"small_cnn\"", "\"mine\"", 1);
    let by_path = file.replacen("\"small_cnn\"", "\"plugins/mine.backbone.json\"", 1);
    std::fs::write(at.path().join("by_name.toml"), by_name).expect("written");
    std::fs::write(at.path().join("by_path.toml"), by_path).expect("written");
    std::fs::create_dir(at.path().join("plugins")).expect("made");
    let parameters = ["--weights", "shapes", "--param", "momentum=0.8", "--param", "input_shape=[32,32]"];
    let out = ["--out", "plugins/mine.backbone.json"];
    run(at.path(), &[&["plugins", "dump", "small_cnn"], &parameters[..], &out[..]].concat()).succeeds();

    run(at.path(), &["train", "plugin.toml", "--run-dir", "plugin"]).succeeds();
    run(at.path(), &["train", "by_name.toml", "--run-dir", "by_name", "--plugin-dir", "plugins"]).succeeds();
    run(at.path(), &["train", "by_path.toml", "--run-dir", "by_path"]).succeeds();
    for other in ["by_name", "by_path"] {
        assert_eq!(numbers(&at.path().join(other)), numbers(&at.path().join("plugin")), "{other}");
        assert_eq!(history(&at.path().join(other)), history(&at.path().join("plugin")), "{other}");
        assert_same_weights(&at.path().join(other), &at.path().join("plugin"));
    }
    // It takes images of one size, and says so.
    let ran = run(at.path(), &["train", "by_path.toml", "--run-dir", "larger", "--set", "data.image_size=[48,48]"]);
    contains(&ran.fails(), &["takes images of 32x32 only"]);
}

/// The figures of `summary.json`.
fn numbers(run: &Path) -> Value {
    let text = std::fs::read_to_string(run.join("summary.json")).expect("a summary");
    let summary: Value = serde_json::from_str(&text).expect("JSON");
    assert!(!summary["metrics"].is_null() && !summary["best"].is_null(), "{summary}");
    serde_json::json!([summary["metrics"], summary["best"]])
}

/// What is written of prefix and tail in the metadata of a checkpoint.
fn arithmetic_of(checkpoint: &std::path::Path) -> Option<Value> {
    let bytes = std::fs::read(checkpoint).expect("a checkpoint");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("the header of a checkpoint");
    let text = header["__metadata__"]["injerto.arithmetic"].as_str()?;
    Some(serde_json::from_str(text).expect("JSON"))
}

/// `backbone.precision` from the TOML to the plan, the run's folder, a resumed run and a prediction. A machine without a unit for bf16 computes
/// in `f32` and says so, with the same test.
#[test]
fn the_precision_of_a_run_is_said_and_kept() {
    let at = folder();
    let toml = std::fs::read_to_string(at.path().join("tiny.toml")).expect("an experiment");
    let path = at.path().join("half.toml");
    std::fs::write(&path, toml.replace("[backbone]\n", "[backbone]\nprecision = \"bf16\"\n")).expect("written");
    let text = run(at.path(), &["train", "half.toml", "--run-dir", "run"]).succeeds();
    let plan = |run: &str| -> Value {
        let text = std::fs::read_to_string(at.path().join(run).join("plan.json")).expect("a plan");
        serde_json::from_str(&text).expect("JSON")
    };
    let said = plan("run")["arithmetic"].clone();
    let precision = said["prefix"]["precision"].as_str().expect("a word").to_owned();
    assert_eq!(said["tail"]["precision"], precision.as_str(), "one key is for both parts");
    let unit = said["prefix"]["by"].as_str().expect("a word");
    match precision.as_str() {
        "bf16" => {
            contains(&text, &[&format!("precision  frozen layers in bf16 by {unit}, the others in bf16 by {unit};")])
        }
        _ => contains(&text, &["precision  f32: this processor has no unit for bf16"]),
    }
    let last = at.path().join("run/last.safetensors");
    for checkpoint in [&last, &at.path().join("run/best.safetensors")] {
        assert_eq!(arithmetic_of(checkpoint), Some(said.clone()), "a checkpoint says what the plan says");
    }
    contains(&std::fs::read_to_string(at.path().join("run/experiment.toml")).expect("TOML"), &["precision = \"bf16\""]);

    let refused = run(at.path(), &["train", "--resume", "run", "--set", "backbone.precision=f32"]).fails();
    contains(&refused, &["backbone.precision"]);
    run(at.path(), &["train", "--resume", "run", "--set", "phases.1.epochs=5"]).succeeds();
    assert_eq!((plan("run")["arithmetic"].clone(), arithmetic_of(&last)), (said.clone(), Some(said)));

    // In `f32` nothing is said but in the plan, and other numbers come out.
    let plain = run(at.path(), &["train", "tiny.toml", "--run-dir", "plain"]).succeeds();
    assert!(!plain.contains("precision  "), "{plain}");
    assert_eq!(plan("plain")["arithmetic"]["tail"]["precision"], "f32");
    assert_eq!(arithmetic_of(&at.path().join("plain/best.safetensors")), None);
    let first = |run: &str| history(&at.path().join(run))[0].clone();
    assert_eq!(first("run") == first("plain"), precision == "f32", "bf16 rounds");

    run(at.path(), &["generate", "shapes", "drawn", "--train", "1", "--validation", "1", "--size", "32"]).succeeds();
    for kept in ["run", "plain"] {
        let said = run(at.path(), &["predict", "drawn/train", "--run", kept]).succeeds();
        contains(&said, &[".png", "%"]);
    }
}

#[test]
fn a_run_leaves_its_folder_and_a_network_that_predicts() {
    let at = folder();
    let text = run(at.path(), &["train", "tiny.toml", "--run-dir", "out"]).succeeds();
    contains(&text, &["head: 2 epochs, trainable 45 / ", "all: 4 epochs", "epoch   6", "best val_accuracy", "in out"]);
    let out = at.path().join("out");
    for file in ["experiment.toml", "environment.json", "history.csv", "history.jsonl", "last.safetensors"] {
        assert!(out.join(file).metadata().is_ok_and(|file| file.len() > 0), "{file}");
    }
    let csv = std::fs::read_to_string(out.join("history.csv")).expect("there");
    assert_eq!(csv.lines().count(), 7);
    assert!(csv.starts_with("epoch,phase,loss,accuracy,val_loss,val_accuracy,"), "{csv}");

    check_summary(&serde_json::from_slice(&std::fs::read(out.join("summary.json")).expect("there")).expect("JSON"));
    check_predictions(at.path());
    check_evaluation(at.path());
}

/// Checks what `summary.json` says of the run of `tiny.toml`.
fn check_summary(summary: &Value) {
    assert_eq!((&summary["name"], &summary["device"], &summary["seed"]), (&"tiny".into(), &"flex".into(), &7.into()));
    assert_eq!(summary["classes"].as_array().expect("a list").len(), 5);
    let phases = summary["phases"].as_array().expect("a list");
    let shape = |phase: &Value| {
        let epochs = phase["epochs"].as_u64().expect("a count");
        assert_eq!(phase["history"].as_array().expect("a list").len() as u64, epochs);
        (phase["name"].as_str().expect("a name").to_owned(), epochs, phase["trainable_params"].as_u64())
    };
    // 8 features to 5 classes; then also the convolutions' 112, 148, 296 and 584, and the normalisations' 8, 8, 16 and 16.
    let shapes: Vec<_> = phases.iter().map(shape).collect();
    assert_eq!(shapes, [("head".to_owned(), 2, Some(45)), ("all".to_owned(), 4, Some(1233))]);
    assert_eq!(phases[0]["non_trainable_params"].as_u64(), Some(1140 + 96));
    assert_eq!(phases[1]["non_trainable_params"], 48);
    for key in ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"] {
        assert!(phases[1]["history"][3][key].is_number(), "{key}");
    }
    assert_eq!(phases[1]["history"][3]["epoch"], 6);
    for key in ["total", "decode", "prefix", "train", "validate"] {
        assert!(summary["seconds"][key].as_f64().is_some_and(|seconds| seconds >= 0.0), "{key}");
    }
    let best = summary["best"]["epoch"].as_u64().expect("an epoch") as usize;
    let records: Vec<&Value> = phases.iter().flat_map(|phase| phase["history"].as_array().expect("a list")).collect();
    let accuracy = |record: &Value| record["val_accuracy"].as_f64().expect("a number");
    let highest = records.iter().map(|record| accuracy(record)).fold(0.0, f64::max);
    assert_eq!((accuracy(records[best - 1]), summary["best"]["value"].as_f64()), (highest, Some(highest)));
    assert_eq!(
        (&summary["best"]["monitor"], &summary["best"]["checkpoint"]),
        (&"val_accuracy".into(), &"best.safetensors".into())
    );
    assert!(summary["images_per_second"].as_f64().expect("a number") > 0.0);
    assert!(summary["peak_memory_bytes"].as_u64().is_some() && summary.get("interrupted").is_none());
}

/// Draws photos in the folder `drawn`, and checks what the run in `out` predicts of one.
fn check_predictions(at: &Path) {
    run(at, &["generate", "flowers", "drawn", "--train", "1", "--validation", "1", "--size", "40"]).succeeds();
    let classes = std::fs::read_dir(at.join("drawn/validation")).expect("drawn").flatten();
    let image = std::fs::read_dir(classes.last().expect("a class").path()).expect("drawn").flatten().next();
    let image = image.expect("an image").path().display().to_string();
    let json: Value = run(at, &["predict", &image, "--run", "out", "--json"]).json();
    let classes = json["classes"].as_array().expect("a list");
    let probability = |class: &Value| class["probability"].as_f64().expect("a number");
    assert!((classes.iter().map(probability).sum::<f64>() - 1.0).abs() < 1e-5, "{json}");
    assert!(classes.is_sorted_by(|a, b| probability(a) >= probability(b)) && classes.len() == 5, "{json}");
    let checkpoint = at.join("out/best.safetensors").display().to_string();
    std::fs::write(at.join("bad.jpg"), b"no image").expect("written");
    let ran = run(at, &["predict", "bad.jpg", &image, "--run", &checkpoint]);
    contains(&ran.out, &[&format!("{image}: {} ", classes[0]["class"].as_str().expect("a name")), " %"]);
    contains(&ran.fails(), &["bad.jpg"]);
    contains(&run(at, &["predict", &image]).fails(), &["no run in runs/; name one with --run"]);
}

/// Checks that `evaluate` counts what `predict` says of the photos in `drawn`, and that it names the files that it cannot use.
fn check_evaluation(at: &Path) {
    let (mut right, mut images, mut lines) = (0, Vec::new(), String::new());
    for folder in std::fs::read_dir(at.join("drawn/train")).expect("drawn").flatten() {
        let class = folder.file_name().into_string().expect("a name");
        for image in std::fs::read_dir(folder.path()).expect("drawn").flatten() {
            let image = image.path().display().to_string();
            let line = run(at, &["predict", &image, "--run", "out", "--json"]).succeeds();
            let json: Value = serde_json::from_str(&line).expect("JSON");
            right += usize::from(json["classes"][0]["class"] == class.as_str());
            images.push(image);
            lines += &line;
        }
    }
    // Photos that are predicted together have the answers that each has alone, in the order in which they were named.
    let together: Vec<&str> = ["predict"].into_iter().chain(images.iter().map(String::as_str)).collect();
    assert_eq!(run(at, &[&together[..], &["--run", "out", "--json"]].concat()).succeeds(), lines);
    let report: Value = run(at, &["evaluate", "drawn/train", "--run", "out", "--json"]).json();
    assert_eq!((report["images"].as_u64(), report["accuracy"].as_f64()), (Some(5), Some(right as f64 / 5.0)));
    let text = run(at, &["evaluate", "drawn/train", "--run", "out"]).succeeds();
    contains(&text, &["5 photos: accuracy ", "loss ", "calibration error ", "precision  recall      F1", "tulips"]);
    let class = at.join("drawn/train/tulips");
    // Files that are no images are listed all together, and left out when that is asked for.
    for bad in ["bad-1.jpg", "bad-2.jpg"] {
        std::fs::write(class.join(bad), b"no image").expect("written");
    }
    std::fs::write(class.join("phone.heic"), b"").expect("written");
    let error = run(at, &["evaluate", "drawn/train", "--run", "out"]).fails();
    contains(&error, &["2 of 7 files are not readable images", "bad-1.jpg", "bad-2.jpg", "--on-corrupt skip"]);
    let skip = ["evaluate", "drawn/train", "--run", "out", "--on-corrupt", "skip", "--json"];
    let ran = run(at, &skip);
    contains(
        &ran.err,
        &[
            "left out   1 .heic",
            "2 files that are not readable images",
            "bad-1.jpg",
            "images that are not read: 1 .heic",
        ],
    );
    let skipped: Value = ran.json();
    assert_eq!((&skipped["accuracy"], &skipped["images"]), (&report["accuracy"], &report["images"]));
    assert_eq!(skipped["skipped"][1]["reason"], "it is none of JPEG, PNG, GIF, BMP, WebP and TIFF");
    std::fs::rename(&class, class.with_file_name("trucks")).expect("renamed");
    let error = run(at, &["evaluate", "drawn/train", "--run", "out"]).fails();
    contains(&error, &["the network does not know the class 'trucks'; it was trained for ", "tulips"]);
}

/// Marks a PNG file as one that a camera took on its side.
fn lay_on_its_side(path: &Path) {
    // A TIFF header and one entry: the orientation (0x112), a short (3), once, 6.
    const SIDEWAYS: [u8; 26] = [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
    let image = image::open(path).expect("an image").into_rgb8();
    let mut encoder = image::codecs::png::PngEncoder::new(std::fs::File::create(path).expect("created"));
    image::ImageEncoder::set_exif_metadata(&mut encoder, SIDEWAYS.to_vec()).expect("it can");
    image.write_with_encoder(encoder).expect("written");
}

#[test]
fn a_trained_network_sees_photos_as_it_was_trained_to() {
    let at = folder();
    run(at.path(), &["generate", "flowers", "photos", "--train", "4", "--validation", "4", "--size", "40"]).succeeds();
    for class in std::fs::read_dir(at.path().join("photos/validation")).expect("drawn").flatten() {
        let photos = std::fs::read_dir(class.path()).expect("drawn").flatten();
        photos.for_each(|photo| lay_on_its_side(&photo.path()));
    }
    let text =
        TINY.replace("generated = \"flowers\"\ntrain_per_class = 12\nvalidation_per_class = 4", "root = \"photos\"");
    std::fs::write(at.path().join("photos.toml"), text).expect("written");
    let loss_of = |orientation: &str| {
        let set = format!("data.exif_orientation={orientation}");
        let arguments =
            ["train", "photos.toml", "--run-dir", orientation, "--set", &set, "--set", "checkpoint.monitor=val_loss"];
        run(at.path(), &arguments).succeeds();
        let history = history(&at.path().join(orientation));
        let best = history.iter().map(|record| record["val_loss"].as_f64().expect("a number")).fold(f64::MAX, f64::min);
        let report: Value = run(at.path(), &["evaluate", "photos/validation", "--run", orientation, "--json"]).json();
        let loss = report["loss"].as_f64().expect("a number");
        assert!((loss - best).abs() < 1e-5, "{orientation}: {loss} in `evaluate`, {best} in the run");
        loss
    };
    assert_ne!(loss_of("ignore"), loss_of("apply"));
    // `evaluate` has no such key; the network is what it is.
    let ran = run(at.path(), &["evaluate", "photos/validation", "--run", "ignore"]);
    contains(
        &ran.err,
        &["lying on their sides as Keras does; this network was trained in that way; one that is trained with"],
    );
    assert!(!run(at.path(), &["evaluate", "photos/validation", "--run", "apply"]).err.contains("lying on their sides"));
}

#[test]
fn the_large_baseline_trains_for_a_few_batches() {
    let at = tempfile::tempdir().expect("a folder");
    run(at.path(), &["generate", "flowers", "two", "--train", "8", "--validation", "4", "--size", "160"]).succeeds();
    for folder in ["two/train", "two/validation"] {
        let classes = std::fs::read_dir(at.path().join(folder)).expect("drawn").flatten().map(|entry| entry.path());
        let mut classes: Vec<_> = classes.collect();
        classes.sort();
        classes[2..].iter().for_each(|class| std::fs::remove_dir_all(class).expect("removed"));
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/cats_vs_dogs/baseline.toml");
    let set = ["data.root=two", "data.batch_size=8", "phases.0.epochs=1"].into_iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["train", file, "--run-dir", "out"].into_iter().chain(set).collect();
    let text = run(at.path(), &arguments).succeeds();
    contains(&text, &["trainable 4,645,761 / non-trainable 3,584", "epoch   1"]);
    let history = history(&at.path().join("out"));
    assert!(history.len() == 1 && history[0]["loss"].as_f64().is_some_and(f64::is_finite), "{history:?}");
}

#[cfg(unix)]
mod stopped {
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::{assert_same_weights, folder, history};
    use crate::{contains, injerto, run};

    /// Long enough to be stopped on the way; the folder comes behind it.
    const LONG: [&str; 5] = ["train", "tiny.toml", "--set", "phases.1.epochs=8", "--run-dir"];

    /// Begins the experiment, sends `signal` when two epochs are done, and says how it ended.
    fn stopped_by(signal: &str, at: &Path, out: &str) -> std::process::ExitStatus {
        stopped_when(&|| history(&at.join(out)).len() >= 2, signal, at, &[&LONG[..], &[out]].concat())
    }

    /// Begins a command, sends `signal` when `it_is_time`, and says how it ended.
    fn stopped_when(
        it_is_time: &dyn Fn() -> bool,
        signal: &str,
        at: &Path,
        arguments: &[&str],
    ) -> std::process::ExitStatus {
        let mut command = injerto(at);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let began = Instant::now();
        while !it_is_time() {
            assert!(child.try_wait().expect("a child").is_none(), "it ended by itself");
            assert!(began.elapsed() < Duration::from_secs(60), "it is never time");
            std::thread::sleep(Duration::from_millis(1));
        }
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
        child.wait().expect("a child")
    }

    #[test]
    fn a_run_that_was_stopped_goes_on_to_what_it_would_have_been() {
        let at = folder();
        let at = at.path();
        run(at, &[&LONG[..], &["whole"]].concat()).succeeds();
        let whole = history(&at.join("whole"));
        assert_eq!(whole.len(), 10);
        let resume = |out: &str| {
            let before = history(&at.join(out));
            assert!((2..10).contains(&before.len()), "{out} was stopped between epochs 2 and 10: {}", before.len());
            assert_eq!(before, whole[..before.len()], "{out}, up to where it was stopped");
            run(at, &["train", "--resume", out]).succeeds();
            assert_eq!(history(&at.join(out)), whole, "{out}");
            assert_same_weights(&at.join(out), &at.join("whole"));
            let csv = std::fs::read_to_string(at.join(out).join("history.csv")).expect("there");
            assert_eq!(csv.lines().count(), 11);
        };

        let killed = stopped_by("KILL", at, "killed");
        assert_eq!(killed.code(), None);
        resume("killed");

        let interrupted = stopped_by("INT", at, "interrupted");
        assert_eq!(interrupted.code(), Some(130));
        let summary = std::fs::read_to_string(at.join("interrupted/summary.json")).expect("there");
        contains(&summary, &["\"interrupted\": true"]);
        resume("interrupted");
        let summary = std::fs::read_to_string(at.join("interrupted/summary.json")).expect("there");
        assert!(!summary.contains("interrupted"), "{summary}");
    }

    #[test]
    fn a_run_that_was_interrupted_before_its_first_epoch_begins_with_it() {
        let at = folder();
        let at = at.path();
        let out = at.join("out");
        // With so many images, their features take longer than it takes to stop.
        let many = ["train", "tiny.toml", "--set", "data.train_per_class=600", "--run-dir", "out"];
        let ended = stopped_when(&|| out.join("plan.json").exists(), "INT", at, &many);
        assert_eq!(ended.code(), Some(130));
        let summary = std::fs::read_to_string(out.join("summary.json")).expect("there");
        contains(&summary, &["\"interrupted\": true"]);
        assert_eq!((history(&out).len(), out.join("last.safetensors").exists()), (0, false));
        run(at, &["train", "--resume", "out", "--set", "data.train_per_class=4"]).succeeds();
        assert_eq!(history(&out).len(), 6);
    }
}

#[test]
fn equal_seeds_give_equal_runs_and_others_do_not() {
    let at = folder();
    let short = ["--set", "phases.0.epochs=1", "--set", "phases.1.epochs=1"];
    for (out, seed) in [("a", "seed=3"), ("b", "seed=3"), ("c", "seed=4")] {
        let arguments = [&["train", "tiny.toml", "--run-dir", out, "--set", seed], &short[..]].concat();
        run(at.path(), &arguments).succeeds();
    }
    let [a, b, c] = ["a", "b", "c"].map(|out| at.path().join(out));
    assert_eq!(history(&a), history(&b));
    assert_same_weights(&a, &b);
    assert_ne!(history(&a), history(&c));
}

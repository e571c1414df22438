//! `injerto report` and `injerto compare` on runs' folders.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

/// A folder in which a run was killed after three epochs.
fn killed(folder: &Path, top: f64) {
    std::fs::create_dir_all(folder).unwrap();
    let line = |epoch: i32| {
        let rest = 0.5f64.powi(epoch);
        let record = json!({ "epoch": epoch, "phase": "head", "loss": rest, "accuracy": top, "val_loss": rest,
            "val_accuracy": top - rest / 2.0, "learning_rate": 0.001, "seconds": 1.0 });
        format!("{record}\n")
    };
    std::fs::write(folder.join("history.jsonl"), (1..=3).map(line).collect::<String>()).unwrap();
}

fn injerto(arguments: &[&str], at: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_injerto")).args(arguments).current_dir(at).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_killed_run_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    killed(&folder.path().join("run"), 0.9);
    let output = injerto(&["report", "run"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = text(&output.stdout);
    assert!(folder.path().join(page.trim()).is_file(), "{page}");
    assert!(folder.path().join("run/plots/curves.png").is_file());

    let output = injerto(&["report", "run", "--json"], folder.path());
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((line["run"].as_str(), line["report"].as_str()), (Some("run"), Some("run/report.html")));
    assert_eq!(line["bytes"].as_u64(), Some(std::fs::metadata(folder.path().join("run/report.html")).unwrap().len()));

    let output = injerto(&["report", "."], folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no finished epoch to draw"), "{}", text(&output.stderr));
}

#[test]
fn runs_are_compared_in_words_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    killed(&folder.path().join("fine-tuning"), 0.95);
    killed(&folder.path().join("baseline"), 0.7);
    let output = injerto(&["compare", "fine-tuning", "baseline", "--out", "both"], folder.path());
    let words = text(&output.stdout);
    assert!(output.status.success(), "{words}{}", text(&output.stderr));
    for part in
        ["● fine-tuning  0.700 0.825 0.887", "○ baseline     0.450 0.575 0.637", "Gain of fine-tuning over", "+0.250"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    for file in ["compare.svg", "compare.png", "compare.html"] {
        assert!(folder.path().join("both").join(file).is_file(), "{file}");
    }

    let many = injerto(&["compare", "1", "2", "3", "4", "5", "6", "7"], folder.path());
    assert_eq!(many.status.code(), Some(1));
    assert!(text(&many.stderr).contains("more than 6"), "{}", text(&many.stderr));
}

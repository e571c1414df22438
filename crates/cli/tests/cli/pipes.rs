//! Pipes in place of files.

use std::process::{Command, Stdio};

use crate::output::{photo, photos};
use crate::{contains, injerto, run};

#[test]
fn a_photo_comes_through_a_pipe() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    run(at, &["train", "exp.toml", "--run-dir", "run"]).succeeds();
    let photo = std::fs::File::open(photo(at)).expect("a photo");
    let mut command = injerto(at);
    let output = command.args(["predict", "-", "--run", "run"]).stdin(photo).output().expect("it starts");
    contains(&String::from_utf8_lossy(&output.stdout), &["-: ", " %"]);
}

#[test]
fn nobody_waits_for_a_pipe_that_is_named_as_a_photo_a_checkpoint_or_a_list() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    run(at, &["train", "exp.toml", "--run-dir", "run"]).succeeds();
    let photo = photo(at).strip_prefix(at).expect("below").display().to_string();
    for name in ["pipe.png", "pipe.safetensors", "pipe.csv"] {
        assert!(Command::new("mkfifo").arg(at.join(name)).status().expect("mkfifo").success());
    }
    let check = |words: &[&str], pipe: &str| {
        let mut child =
            injerto(at).args(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let began = std::time::Instant::now();
        while child.try_wait().expect("a process").is_none() {
            if began.elapsed().as_secs() > 60 {
                child.kill().expect("killed");
                panic!("{words:?} waits");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let output = child.wait_with_output().expect("it has ended");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        contains(&error, &[pipe, "it is a pipe, and a regular file is needed: write what it gives into one first"]);
    };
    check(&["predict", "pipe.png", "--run", "run"], "pipe.png");
    check(&["explain", "run", "pipe.png"], "pipe.png");
    check(&["predict", &photo, "--run", "pipe.safetensors"], "pipe.safetensors");
    check(&["explain", "pipe.safetensors", &photo], "pipe.safetensors");
    check(&["serve", "pipe.safetensors", "--port", "0"], "pipe.safetensors");
    check(&["export", "pipe.safetensors", "out.onnx"], "pipe.safetensors");
    check(&["train", "exp.toml", "--set", "backbone.weights=pipe.safetensors"], "pipe.safetensors");
    check(&["train", "exp.toml", "--set", "data.labels=pipe.csv"], "pipe.csv");
    check(&["evaluate", "photos", "--run", "run", "--set", "data.labels=pipe.csv"], "pipe.csv");
    check(&["data", "apply", "pipe.csv"], "pipe.csv");
    // One that lies among photos is left out, and said to be.
    std::fs::rename(at.join("pipe.png"), at.join("photos/pipe.png")).expect("moved");
    let ran = run(at, &["predict", "photos", "--run", "run"]);
    contains(&ran.err, &["left out   1 entry that is not a file"]);
    ran.succeeds();
}

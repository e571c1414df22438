//! What is said where nobody listens, where the disk is full, and of files with names that nobody wants to meet.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::train::{assert_same_weights, history};
use crate::{contains, injerto, plugin, run};

/// Names that move a cursor, change a title or colours, or turn the direction of reading.
const HOSTILE: [&str; 3] = ["a\u{1b}]0;owned\u{7}a", "b\u{9b}31m\u{202e}b\n", "c 'd' \"$(e)\" f"];

/// Two epochs on photos in a folder; `{root}` is to be filled in.
const EXPERIMENT: &str = r#"
[data]
root = ROOT
image_size = [32, 32]
validation_split = 0.25

[backbone]
plugin = "small_cnn"
weights = "none"
parameters = { filters = [4, 8] }

[[phases]]
name = "PHASE"
epochs = 2
"#;

/// A folder with photos in classes of these names, and an experiment on them.
pub fn photos(classes: &[&str]) -> tempfile::TempDir {
    let at = tempfile::tempdir().expect("a folder");
    let drawn = ["generate", "flowers", "drawn", "--train", "8", "--validation", "0", "--size", "32"];
    run(at.path(), &drawn).succeeds();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(at.path().join("drawn/train"))
        .expect("drawn")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    std::fs::create_dir(at.path().join("photos")).expect("made");
    for (folder, class) in folders.iter().zip(classes) {
        std::fs::rename(folder, at.path().join("photos").join(class)).expect("renamed");
    }
    let experiment = EXPERIMENT.replace("ROOT", "\"photos\"").replace("PHASE", r"p\u001b]0;owned\u0007\u202e");
    std::fs::write(at.path().join("exp.toml"), experiment).expect("written");
    at
}

/// A photo in `photos/`.
pub fn photo(at: &Path) -> PathBuf {
    let first = |folder: &Path| std::fs::read_dir(folder).expect("there").next().expect("not empty").expect("an entry");
    first(&first(&at.join("photos")).path()).path()
}

/// Whether a text has only characters, lines and tabs.
#[track_caller]
fn is_readable(bytes: &[u8], of: &str) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{of}: not UTF-8"));
    let bad = |c: &char| (c.is_control() && !"\n\t".contains(*c)) || ('\u{202a}'..='\u{202e}').contains(c);
    assert_eq!(text.chars().find(bad), None, "{of}: {text:?}");
}

/// Where the words of a command go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Streams {
    Read,
    /// The reader has gone away.
    Broken,
    /// There is no standard output.
    Closed,
    /// There is neither output nor error.
    BothClosed,
    /// The disk below is full.
    Full,
}

const STREAMS: [Streams; 5] = [Streams::Read, Streams::Broken, Streams::Closed, Streams::BothClosed, Streams::Full];

/// A shell that runs a line in the folder and with the variables that a command would have.
fn shell(like: &Command, line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(like.get_current_dir().expect("a folder"));
    for (key, value) in like.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell
}

fn spoken(at: &Path, arguments: &[&OsStr], streams: Streams) -> Output {
    let own = injerto(at);
    let redirected = match streams {
        Streams::Read | Streams::Broken => "",
        Streams::Closed => ">&-",
        Streams::BothClosed => ">&- 2>&-",
        Streams::Full => ">/dev/full",
    };
    let mut command = shell(&own, &format!("exec \"$0\" \"$@\" {redirected}"));
    command.arg(own.get_program()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("there is a shell");
    if streams == Streams::Broken {
        drop(child.stdout.take());
    }
    child.wait_with_output().expect("it ends")
}

/// Gives a command all streams in turn; `photo` stands in for `PHOTO` in its words.
fn speaks_everywhere(at: &Path, photo: &Path, words: &[&str], expected: i32) {
    let small = plugin("small_cnn");
    let arguments: Vec<&OsStr> = words
        .iter()
        .map(|word| match *word {
            "PHOTO" => photo.as_os_str(),
            "PLUGIN" => small.as_os_str(),
            word => OsStr::new(word),
        })
        .collect();
    for streams in STREAMS {
        let of = format!("{words:?}, {streams:?}");
        let output = spoken(at, &arguments, streams);
        is_readable(&output.stdout, &of);
        is_readable(&output.stderr, &of);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked") && !said.contains("defect"), "{of}: {said}");
        // What has nothing to say but its error does not notice.
        let full = streams == Streams::Full;
        let trains = words[0] == "train" && !words.contains(&"--dry-run");
        let expected = if full && expected == 0 && (!trains || words.contains(&"--help")) { 1 } else { expected };
        assert_eq!(output.status.code(), Some(expected), "{of}: {said}");
        if full && words[0] == "predict" && words[1] == "PHOTO" {
            assert!(said.contains("standard output cannot be written: No space left on device"), "{said}");
        }
    }
}

#[test]
fn no_command_panics_whatever_becomes_of_its_words_and_whatever_names_it_meets() {
    let at = photos(&HOSTILE);
    let at = at.path();
    run(at, &["train", "exp.toml", "--run-dir", "run"]).succeeds();
    let photo = photo(at);
    std::fs::write(at.join("bad.toml"), "\u{1b}]0;a\u{7} = 1\n[b\"\u{9b}\"]\n").expect("written");
    std::fs::write(at.join("x\u{1b}[31m.jpg"), "no image").expect("written");
    let commands: &[(&[&str], i32)] = &[
        (&["--help"], 0),
        (&["--version"], 0),
        (&["train", "--help"], 0),
        (&["tr\u{1b}[31main"], 2),
        (&["summary", "small_cnn"], 0),
        (&["summary", "small_cnn", "--json"], 0),
        (&["summary", "no\u{1b}[31m"], 1),
        (&["plugins", "list"], 0),
        (&["plugins", "list", "--json"], 0),
        (&["plugins", "validate", "PLUGIN", "--json"], 0),
        (&["train", "exp.toml", "--dry-run"], 0),
        (&["train", "exp.toml"], 0),
        (&["train", "bad.toml"], 1),
        (&["train", "exp.toml", "--set", "seed=\u{1b}[31m"], 1),
        (&["train", "exp.toml", "--set", "backbone.weights=w\u{1b}[31m.h5"], 1),
        (&["train", "none\u{1b}[31m"], 1),
        (&["train", "photos", "--backbone", "small_cnn", "--dry-run"], 0),
        (&["new", "photos", "--backbone", "small_cnn", "--out", "-"], 0),
        (&["completions", "bash"], 0),
        (&["man", "predict"], 0),
        (&["predict", "photos", "--run", "run", "--csv"], 0),
        (&["predict", "PHOTO", "--run", "run"], 0),
        (&["predict", "PHOTO", "--run", "run", "--json"], 0),
        (&["predict", "x\u{1b}[31m.jpg", "--run", "run"], 1),
        (&["explain", "run", "PHOTO", "--out", "why"], 0),
        (&["explain", "run", "x\u{1b}[31m.jpg", "--json"], 1),
        (&["evaluate", "photos", "--run", "run"], 0),
        (&["evaluate", "photos", "--run", "run", "--json"], 0),
        (&["compare", "run", "run"], 0),
        (&["report", "run"], 0),
        (&["report", "no\u{1b}[31m"], 1),
        (&["export", "run", "out.safetensors"], 0),
        (&["cache", "list"], 0),
        (&["cache", "list", "--json"], 0),
        (&["advise", "photos", "--backbone", "small_cnn", "--weights", "none"], 0),
        (&["generate", "shapes", "shapes", "--train", "1", "--validation", "0", "--size", "32"], 0),
    ];
    // Several at a time: most of them wait for each other's processes.
    std::thread::scope(|scope| {
        for some in commands.chunks(6) {
            scope.spawn(|| some.iter().for_each(|(words, expected)| speaks_everywhere(at, &photo, words, *expected)));
        }
    });
    // JSON gives names as they are.
    let json = run(at, &["evaluate", "photos", "--run", "run", "--json"]).json();
    let classes: Vec<&str> =
        json["per_class"].as_array().expect("a list").iter().filter_map(|class| class["class"].as_str()).collect();
    assert_eq!(classes, HOSTILE);
}

#[test]
fn a_training_that_nobody_reads_trains_the_same() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    let train = |streams: Streams, run: &str| {
        let arguments = ["train", "exp.toml", "--run-dir", run].map(OsStr::new);
        let output = spoken(at, &arguments, streams);
        assert_eq!(output.status.code(), Some(0), "{streams:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    train(Streams::Read, "read");
    for (streams, name) in [(Streams::Broken, "broken"), (Streams::Full, "full"), (Streams::BothClosed, "closed")] {
        let said = train(streams, name);
        assert_eq!(history(&at.join(name)), history(&at.join("read")));
        assert_same_weights(&at.join(name), &at.join("read"));
        assert!(at.join(name).join("report.html").is_file());
        let warnings = said.matches("the training goes on without it").count();
        assert_eq!(warnings, usize::from(streams == Streams::Full), "{said}");
    }
}

#[test]
fn beyond_the_limit_on_files_a_training_ends_with_a_message() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    // In blocks of 512 or 1024 bytes: room for what plugins answer, and none for checkpoints.
    let mut command = injerto(at);
    command.env("INJERTO", env!("CARGO_BIN_EXE_injerto"));
    let line =
        "ulimit -f 48; exec \"$INJERTO\" train exp.toml --run-dir out --set 'backbone.parameters.filters=[8, 64]'";
    let output = shell(&command, line).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    contains(&said, &["error: out/", "File too large"]);
}

/// That too few files may be open says nothing of the photos: a run that left some out would train and measure on others than it says.
#[test]
#[cfg(target_os = "linux")]
fn where_too_few_files_may_be_open_no_photo_counts_as_damaged() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    let mut command = injerto(at);
    command.env("INJERTO", env!("CARGO_BIN_EXE_injerto"));
    let (mut ended, skip) = (0, "--set data.on_corrupt=skip --set cache.photos_mb=0");
    for files in [6, 7, 8, 9, 10, 11, 12, 256] {
        let line = format!("ulimit -n {files}; exec \"$INJERTO\" train exp.toml --run-dir {files} {skip}");
        let output = shell(&command, &line).output().expect("there is a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        for wrong in ["not a readable image", "no usable image", "left out"] {
            assert!(!said.contains(wrong), "{files}: {said}");
        }
        match output.status.code() {
            Some(0) => ended += 1,
            code => {
                assert_eq!(code, Some(1), "{files}: {said}");
                contains(&said, &["Too many open files"]);
            }
        }
    }
    assert!((1..8).contains(&ended), "some have too few files, and the last has enough: {ended}");
}

#[test]
fn the_stack_of_the_shell_does_not_matter_and_too_few_threads_are_an_error() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    let mut command = injerto(at);
    command.env("INJERTO", env!("CARGO_BIN_EXE_injerto"));
    let check = |line: &str, code: i32, said: &str| {
        let output =
            shell(&command, &format!("{line}; exec \"$INJERTO\" train exp.toml -q")).output().expect("a shell");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {err}");
        contains(&err, &[said]);
    };
    check("ulimit -s 128", 0, "");
    // The stacks of so many threads take more than the memory that may be addressed.
    let many = "ulimit -v 2000000; export RAYON_NUM_THREADS=5000";
    check(many, 1, "error: the system gives no more threads or memory to this program");
}

#[test]
fn without_a_terminal_there_are_no_colours() {
    let at = photos(&["cats", "dogs"]);
    let mut command = injerto(at.path());
    // A folder of plugins with one that is none, which the log speaks of.
    command.args(["train", "exp.toml", "--verbose", "--set", "phases.0.epochs=1"]).env("TERM", "xterm-256color");
    let output = command.output().expect("it starts");
    is_readable(&output.stdout, "out");
    is_readable(&output.stderr, "err");
}

/// A name that is Latin-1.
fn latin(name: &str) -> PathBuf {
    let bytes: Vec<u8> = name.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
    OsStr::from_bytes(&bytes).into()
}

#[test]
fn names_that_are_not_utf_8_work_everywhere() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    std::fs::rename(at.join("exp.toml"), at.join(latin("expé.toml"))).expect("renamed");
    std::fs::rename(at.join("photos"), at.join(latin("fotosé"))).expect("renamed");
    let check = |arguments: &[&OsStr]| -> String {
        let output = injerto(at).args(arguments).env("INJERTO_CACHE_DIR", at.join(latin("caché"))).output();
        let output = output.expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let (experiment, folder) = (latin("expé.toml"), latin("runé"));
    let set = latin("data.root=fotosé");
    check(&[
        OsStr::new("train"),
        experiment.as_ref(),
        "--set".as_ref(),
        set.as_ref(),
        "--run-dir".as_ref(),
        folder.as_ref(),
    ]);
    let environment = std::fs::read_to_string(at.join(&folder).join("environment.json")).expect("there");
    contains(&environment, &[r#""exp\\xe9.toml""#, r#""data.root=fotos\\xe9""#]);
    let resolved = std::fs::read_to_string(at.join(&folder).join("experiment.toml")).expect("there");
    contains(&resolved, &[r"fotos\xe9"]);

    let image = latin("café.png");
    std::fs::rename(at.join("drawn"), at.join("rest")).expect("renamed");
    let class = std::fs::read_dir(at.join(latin("fotosé")).join("cats")).expect("there").next();
    std::fs::copy(class.expect("a photo").expect("an entry").path(), at.join(&image)).expect("copied");
    let json = check(&["predict".as_ref(), image.as_ref(), "--json".as_ref(), "--run".as_ref(), folder.as_ref()]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["image"], r"caf\xe9.png");
    contains(&check(&["predict".as_ref(), image.as_ref(), "--run".as_ref(), folder.as_ref()]), &[r"caf\xe9.png: "]);
    let json: Value = serde_json::from_str(&check(&["cache", "list", "--json"].map(OsStr::new))).expect("JSON");
    contains(json[0]["folder"].as_str().expect("a text"), &[r"cach\xe9"]);
    let comparison = latin("comparé");
    check(&["compare".as_ref(), folder.as_ref(), folder.as_ref(), "--out".as_ref(), comparison.as_ref()]);
    let exported = latin("é.safetensors");
    check(&["export".as_ref(), folder.as_ref(), exported.as_ref()]);
    assert!(at.join(&exported).is_file() && at.join(&comparison).join("compare.html").is_file());
}

/// Asks for advice on photos in `root`, runs the command that is printed as it is printed, and returns it.
#[track_caller]
fn advised(at: &Path, root: &OsStr, out: &OsStr) -> String {
    let mut command = injerto(at);
    command.arg("advise").arg(root).args(["--backbone", "small_cnn", "--weights", "none"]);
    command.args(["--set", "backbone.parameters.filters=[4,8]", "--set", "data.image_size=[32,32]"]);
    let output = command.args(["--set", "phases.0.epochs=2", "--out"]).arg(out).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let printed = text.lines().last().expect("a command").to_owned();
    let mut command = injerto(at);
    let program = Path::new(command.get_program()).parent().expect("a folder").to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([program].into_iter().chain(std::env::split_paths(&others)));
    let output = shell(command.env("PATH", path.expect("joined")), &printed).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{printed}: {said}");
    contains(&String::from_utf8_lossy(&output.stdout), &["epoch   2", "best val_accuracy "]);
    printed
}

#[test]
fn what_is_advised_runs_as_it_is_printed() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    assert_eq!(advised(at, "photos".as_ref(), "my.toml".as_ref()), "injerto train my.toml");
    let text = std::fs::read_to_string(at.join("my.toml")).expect("there");
    contains(&text, &["name = \"my\"\n", "validation_split = 0.2\n", "filters = [4, 8]", "epochs = 2\n"]);
    let odd = "it's \"my\" photos";
    std::fs::rename(at.join("photos"), at.join(odd)).expect("renamed");
    assert_eq!(advised(at, odd.as_ref(), "my $exp.toml".as_ref()), "injerto train 'my $exp.toml'");
    let latin_1 = latin("fotosé");
    std::fs::rename(at.join(odd), at.join(&latin_1)).expect("renamed");
    advised(at, latin_1.as_ref(), latin("é.toml").as_ref());
    // With validation images, none are held out.
    run(at, &["generate", "flowers", "both", "--train", "4", "--validation", "2", "--size", "32"]).succeeds();
    advised(at, "both".as_ref(), "both.toml".as_ref());
    let text = std::fs::read_to_string(at.join("both.toml")).expect("there");
    assert!(!text.contains("validation_split"), "{text}");
}

#[test]
fn a_folder_is_no_experiment_and_the_next_command_is_named() {
    let at = photos(&["cats", "dogs"]);
    let error = run(at.path(), &["cv", "photos"]).fails();
    contains(&error, &["photos: this is a folder", "injerto advise photos --backbone mobilenet_v2 --out my.toml"]);
    run(at.path(), &["train", "exp.toml", "--run-dir", "my run"]).succeeds();
    contains(&run(at.path(), &["train", "my run"]).fails(), &["`injerto train --resume 'my run'`"]);
}

#[test]
fn an_experiment_that_is_hostile_is_refused_at_once_in_few_words() {
    let at = tempfile::tempdir().expect("a folder");
    let check = |bytes: &[u8], parts: &[&str]| {
        std::fs::write(at.path().join("x.toml"), bytes).expect("written");
        let began = std::time::Instant::now();
        let error = run(at.path(), &["train", "x.toml"]).fails();
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
        assert!(error.len() < 20_000, "{} bytes", error.len());
        is_readable(error.as_bytes(), "the error");
        contains(&error, parts);
    };
    let phases =
        |count: usize| format!("[data]\nroot='x'\n[backbone]\nplugin='y'\n{}", "[[phases]]\nepochs=1\n".repeat(count));
    check(phases(400_000).as_bytes(), &["x.toml: the file is larger than 1048576 bytes"]);
    check(phases(40_000).as_bytes(), &["`phases` has 40000 entries, and 1000 are the most"]);
    check(format!("seed = {}", "x".repeat(1_000_000)).as_bytes(), &["x.toml:1:8: this is not TOML", "…"]);
    check(format!("{} = 1", "k".repeat(1_000_000)).as_bytes(), &["unknown key `kkkk", "…"]);
    check(&[b'a', b'='].into_iter().chain(std::iter::repeat_n(b'[', 500_000)).collect::<Vec<_>>(), &["recurs"]);
    check(format!("{}a = 1", "a.".repeat(400_000)).as_bytes(), &["recurs"]);
    check("a=1\n".repeat(200_000).as_bytes(), &["duplicate key"]);
    let many: String = (0..80_000).map(|i| format!("k{i}=1\n")).collect();
    check(many.as_bytes(), &["unknown key `k0`", "and 980 or more like these"]);
    check(b"seed = 1\nname = \"\xff\"\n", &["x.toml: line 2 is not UTF-8; save the file as text in UTF-8"]);
    check(b"\xff\xfes\0e\0e\0d\0", &["x.toml: line 1 is not UTF-8"]);
    check(b"seed = \"\0\"\n", &["x.toml:1:9"]);
    check("\u{feff}sed = 1\r\n".as_bytes(), &["x.toml:1:1: unknown key `sed`", "did you mean `seed`?"]);
    check("\"a\\u001b]0;b\" = 1\n".as_bytes(), &["unknown key `a\\u{1b}]0;b`"]);
}

#[test]
fn a_cause_is_said_once() {
    let at = tempfile::tempdir().expect("a folder");
    let error = run(at.path(), &["train", "none.toml"]).fails();
    assert_eq!(error, "error: none.toml: cannot read the experiment's file: No such file or directory (os error 2)\n");
}

#[test]
fn the_run_that_is_asked_by_default_is_told() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    run(at, &["train", "exp.toml"]).succeeds();
    let ran = run(at, &["predict", &photo(at).display().to_string()]);
    contains(&ran.err, &["with the newest run, runs/exp-", "(--run names another)"]);
    ran.succeeds();
}

#[test]
fn quiet_says_the_answer_alone_and_very_verbose_says_all() {
    let at = photos(&["cats", "dogs"]);
    let at = at.path();
    // A backbone with fresh weights that nothing trains would be warned of.
    let ran = run(at, &["train", "exp.toml", "--run-dir", "run", "-q", "--set", "phases.0.unfreeze=all"]);
    assert!(!ran.out.contains("epoch ") || ran.out.contains("in epoch "), "{}", ran.out);
    assert!(!ran.out.contains("backbone   ") && ran.err.is_empty(), "{}{}", ran.out, ran.err);
    contains(&ran.out, &["best val_accuracy ", "look at    run/report.html"]);
    assert_eq!(run(at, &["report", "run", "-q", "-v"]).code, Some(2));
    run(at, &["report", "run", "-vv"]).succeeds();
}

/// No file may have a byte here. A shell that ignores the signal makes the write fail, as on a full disk.
#[test]
#[cfg(target_os = "linux")]
fn what_a_full_disk_has_no_room_for_is_an_error_and_not_half_a_file() {
    let at = tempfile::tempdir().expect("a folder");
    let own = injerto(at.path());
    // The drawn images are smaller than what is gathered before it is written.
    for words in ["new --quickstart", "generate flowers drawn --train 1 --validation 0 --size 8"] {
        let mut command = shell(&own, "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"");
        let output = command.arg(own.get_program()).args(words.split(' ')).output().expect("there is a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}: {said}");
        contains(&said, &["File too large"]);
    }
    assert!(!at.path().join("quickstart.toml").exists(), "half a file would be in the way of the next attempt");
}

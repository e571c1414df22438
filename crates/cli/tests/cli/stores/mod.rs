//! `s3://…` and `file://…`: photos in a store and on this machine, and the files of shards there.

mod server;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use self::server::Server;
use crate::{Ran, contains, injerto, ran, run};

/// The variables with which a store is reached.
fn store(at: &Path, server: &Server, words: &[&str]) -> Ran {
    let mut command = injerto(at);
    let variables = [
        ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-central-1"),
    ];
    ran(command.args(words).envs(variables))
}

const SETS: [&str; 4] = ["--set", "backbone.weights=none", "--set", "data.image_size=[32,32]"];

fn features(at: &Path, server: &Server, words: &[&str]) -> Ran {
    store(at, server, &[&["features", "small_cnn"][..], words, &SETS].concat())
}

/// A folder with 30 drawn photos, and the same in a store as `flowers/…`.
fn drawn() -> (tempfile::TempDir, Server) {
    let (at, server) = (tempfile::tempdir().expect("a folder"), Server::start());
    run(at.path(), &["generate", "flowers", "drawn", "--train", "6", "--validation", "2", "--size", "32"]).succeeds();
    for class in fs::read_dir(at.path().join("drawn/train")).expect("classes") {
        let class = class.expect("a class").path();
        for photo in fs::read_dir(&class).expect("photos") {
            let photo = photo.expect("a photo").path();
            let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
            server.put(&format!("flowers/{}/{}", name(&class), name(&photo)), &fs::read(&photo).expect("read"));
        }
    }
    (at, server)
}

#[test]
fn photos_in_a_store_give_the_file_that_photos_on_this_machine_give() {
    let (at, server) = drawn();
    let at = at.path();
    for index in ["0/2", "1/2"] {
        features(at, &server, &["drawn/train", "--shard", index, "--out", "here"]).succeeds();
        let said = features(at, &server, &["s3://photos/flowers", "--shard", index, "--out", "s3://photos/out/"]);
        contains(&said.succeeds(), &["s3://photos/out/shard-0000", "of-00002.parquet"]);
    }
    // Names were listed in pages, and each photo was asked for once.
    let seen = server.seen();
    assert!(seen.iter().any(|request| request.contains("continuation-token=")), "{seen:?}");
    assert_eq!(seen.iter().filter(|request| request.starts_with("GET /photos/flowers/")).count(), 30);
    let copy = at.join("copy");
    fs::create_dir(&copy).expect("made");
    for key in server.keys().iter().filter(|key| key.starts_with("out/")) {
        fs::write(copy.join(&key[4..]), server.object(key).expect("an object")).expect("written");
    }
    let (here, there) = (crate::shards::rows(&at.join("here")), crate::shards::rows(&copy));
    assert_eq!(here.len(), 30);
    for (a, b) in here.iter().zip(&there) {
        assert_eq!((&a.key, &a.label, &a.sha256, &a.features), (&b.key, &b.label, &b.sha256, &b.features));
        assert_eq!(b.path, format!("s3://photos/flowers/{}", b.key));
    }
    contains(&store(at, &server, &["gather", "s3://photos/out"]).succeeds(), &["30 photos in 2 shards"]);
    contains(
        &features(at, &server, &["s3://photos/flowers", "--shard", "0/2", "--out", "s3://photos/out"]).succeeds(),
        &["skipped: s3://photos/out/shard-00000-of-00002.parquet exists already"],
    );
    server.put("flowers/daisy/00000.png", b"another photo");
    contains(
        &features(at, &server, &["s3://photos/flowers", "--shard", "0/1", "--out", "s3://photos/again"]).succeeds(),
        &["30 photos, 1 without an answer"],
    );
}

#[test]
fn a_run_says_what_it_thinks_of_photos_in_a_store_part_by_part() {
    let (at, server) = drawn();
    let at = at.path();
    fs::write(at.join("my.toml"), crate::shards::experiment("root = \"drawn/train\"")).expect("written");
    run(at, &["train", "my.toml", "--run-dir", "run"]).succeeds();
    let predict = ["predict", "--run", "run", "s3://photos/flowers"];
    for index in ["0/2", "1/2"] {
        let words = [&predict[..], &["--shard", index, "--out", "s3://photos/said"]].concat();
        contains(&store(at, &server, &words).succeeds(), &[": s3://photos/said/shard-0000"]);
        contains(&store(at, &server, &words).succeeds(), &["skipped"]);
    }
    contains(&store(at, &server, &["gather", "s3://photos/said"]).succeeds(), &["5 classes", "30 photos in 2 shards"]);
    contains(
        &store(at, &server, &predict).fails(),
        &["s3://photos/flowers: this is an address", "`injerto predict --out`"],
    );
}

#[test]
fn a_head_trains_on_features_in_a_store_as_on_those_on_this_machine() {
    let (at, server) = drawn();
    let at = at.path();
    features(at, &server, &["drawn/train", "--out", "here"]).succeeds();
    features(at, &server, &["s3://photos/flowers", "--out", "s3://photos/kept"]).succeeds();
    let trained = |from: &str, run: &str| {
        let text = crate::shards::experiment(&format!("features = \"{from}\""));
        fs::write(at.join("my.toml"), text).expect("written");
        store(at, &server, &["train", "my.toml", "--run-dir", run]).succeeds();
    };
    trained("here", "one");
    run(at, &["cache", "clear"]).succeeds();
    trained("s3://photos/kept", "two");
    crate::train::assert_same_weights(&at.join("one"), &at.join("two"));
    contains(&store(at, &server, &["cv", "s3://photos/kept"]).succeeds(), &["30 images of 5 classes"]);
    contains(&store(at, &server, &["inspect", "s3://photos/kept"]).succeeds(), &["small_cnn at 32x32"]);
    contains(
        &store(at, &server, &["advise", "s3://photos/kept"]).succeeds(),
        &["backbone small_cnn", "n = 30", "Not compared: the other backbones"],
    );
}

#[test]
fn archives_lists_and_single_photos_in_a_store_are_read() {
    let (at, server) = drawn();
    let at = at.path();
    let photo = server.object("flowers/daisy/00000.png").expect("a photo");
    let mut tar = Vec::new();
    for (name, bytes) in [("a.png", &photo[..]), ("a.cls", b"daisy"), ("b.png", &photo[..])] {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[148..156].fill(b' ');
        header[156] = b'0';
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        tar.extend(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    server.put("packs/train-000.tar", &tar);
    server.put("flowers/list.csv", b"path,label\ndaisy/00000.png,x\nabsent.png,y\n");
    let check = |input: &str, photos: &str| {
        let said = features(at, &server, &[input, "--out", &format!("out-{photos}")]);
        contains(&said.succeeds(), &[&format!("shard 0/1  {photos}")]);
    };
    check("s3://photos/packs", "2 photos in");
    check("s3://photos/packs/train-000.tar", "2 photos");
    check("s3://photos/flowers/list.csv", "2 photos, 1 without an answer");
    check("s3://photos/flowers/daisy/00000.png", "1 photo in");
}

#[test]
fn a_file_of_many_rows_is_sent_in_parts_and_read_in_ranges() {
    let (at, server) = (tempfile::tempdir().expect("a folder"), Server::start());
    let at = at.path();
    run(at, &["generate", "flowers", "drawn", "--train", "340", "--validation", "2", "--size", "32"]).succeeds();
    let words = ["features", "mobilenet_v2", "drawn/train", "--out"];
    run(at, &[&words[..], &["here"], &SETS].concat()).succeeds();
    store(at, &server, &[&words[..], &["s3://photos/kept"], &SETS].concat()).succeeds();
    let written = server.object("kept/shard-00000-of-00001.parquet").expect("an object");
    assert!(written == fs::read(at.join("here/shard-00000-of-00001.parquet")).expect("a file"), "other bytes");
    let requests = server.seen();
    assert_eq!(requests.iter().filter(|request| request.contains("partNumber=")).count(), 2, "{requests:?}");
    contains(&store(at, &server, &["gather", "s3://photos/kept"]).succeeds(), &["1,700 photos in 1 shard"]);
    // The features themselves are not asked for: they are most of the file.
    let requests = server.seen();
    assert!(requests.iter().any(|request| request.contains("bytes=")), "{requests:?}");
}

#[cfg(unix)]
#[test]
fn a_process_that_is_killed_or_stopped_leaves_nothing_to_see_in_a_store() {
    let (at, server) = drawn();
    let at = at.path();
    // The process waits for a photo that does not come: a pipe into which nobody writes.
    assert!(Command::new("mkfifo").arg(at.join("late.png")).status().expect("mkfifo").success());
    fs::write(at.join("photos.txt"), "drawn/train/daisy/00000.png\nlate.png\n").expect("written");
    let words = [&["features", "small_cnn", "photos.txt", "--out", "s3://photos/out"][..], &SETS].concat();
    let mut command = injerto(at);
    command.args(&words).env("AWS_ENDPOINT_URL", &server.endpoint);
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
    let mut child = command.spawn().expect("it starts");
    while !server.seen().iter().any(|request| request.contains("/out")) {
        assert_eq!(child.try_wait().expect("asked"), None, "it waits");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(server.keys().iter().all(|key| !key.starts_with("out")), "{:?}", server.keys());
}

#[test]
fn a_store_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (at, server) = drawn();
    let at = at.path();
    server.busy(3);
    contains(&features(at, &server, &["s3://photos/flowers", "--out", "out"]).succeeds(), &["30 photos in "]);
    contains(
        &features(at, &server, &["s3://photos/nothing", "--out", "out"]).fails(),
        &["s3://photos/nothing: there is no such object, and nothing below that name"],
    );
    server.seen();
    // What a store answers may repeat what was sent.
    server.refuse(
        "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature is wrong.</Message><StringToSign>secret</StringToSign></Error>",
    );
    let refused = features(at, &server, &["s3://photos/flowers", "--out", "out"]).fails();
    contains(
        &refused,
        &["s3://photos/flowers: ", "SignatureDoesNotMatch: The signature is wrong.", "AWS_SECRET_ACCESS_KEY"],
    );
    assert!(!refused.contains("StringToSign") && !refused.contains(">secret"), "{}", refused);
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn places_that_are_none_say_what_is_expected() {
    let at = tempfile::tempdir().expect("a folder");
    let at = at.path();
    let check = |variables: &[(&str, &str)], input: &str, expected: &[&str]| {
        let mut command = injerto(at);
        command.args(["features", "small_cnn", input, "--out", "out"]).envs(variables.iter().copied());
        contains(&ran(&mut command).fails(), expected);
    };
    check(&[], "gs://bucket/photos", &["gs://bucket/photos: expected a path, file:///FOLDER, or s3://BUCKET/PREFIX"]);
    check(&[], "s3:///photos", &["there is no bucket"]);
    check(&[], "file://photos", &["file:///FOLDER with three slashes"]);
    let endpoint = [("AWS_ENDPOINT_URL", "http://127.0.0.1:9")];
    check(&endpoint, "s3://photos/flowers", &["there are no keys for the store: set AWS_ACCESS_KEY_ID"]);
}

#[test]
fn a_file_address_is_a_folder_on_this_machine() {
    let (at, _) = drawn();
    let at = at.path();
    fs::rename(at.join("drawn"), at.join("my photos")).expect("renamed");
    let address = |name: &str| format!("file://{}/{name}", at.display());
    let words = ["features", "small_cnn", &address("my%20photos/train"), "--out", &address("out")];
    run(at, &[&words[..], &SETS].concat()).succeeds();
    contains(&run(at, &["gather", &address("out")]).succeeds(), &["30 photos in 1 shard"]);
}

#[test]
fn a_server_that_checks_signatures_takes_files_and_gives_them_back() {
    let python = std::env::var_os("INJERTO_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import boto3, moto.server"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: no Python with moto[server,s3]");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/stores/strict.py");
    let mut strict =
        Command::new(&python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
    let mut line = String::new();
    BufReader::new(strict.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says where it is");
    let [endpoint, key, secret] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
    let (at, _) = drawn();
    let at = at.path();
    let store = |secret: &str, words: &[&str]| {
        let keys = [("AWS_ENDPOINT_URL", endpoint), ("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)];
        ran(injerto(at).args(words).envs(keys))
    };
    let words = [
        "features",
        "mobilenet_v2",
        "drawn/train",
        "--out",
        "s3://photos/a folder/ä",
        SETS[0],
        SETS[1],
        SETS[2],
        SETS[3],
    ];
    contains(
        &store(secret, &words).succeeds(),
        &["30 photos in ", "s3://photos/a folder/ä/shard-00000-of-00001.parquet"],
    );
    contains(&store(secret, &words).succeeds(), &["skipped"]);
    contains(&store(secret, &["gather", "s3://photos/a folder/ä"]).succeeds(), &["30 photos in 1 shard"]);
    contains(
        &store("wrong", &["gather", "s3://photos/a folder/ä"]).fails(),
        &["the store refuses (SignatureDoesNotMatch"],
    );
    drop(strict.stdin.take());
    strict.wait().expect("it ends");
}

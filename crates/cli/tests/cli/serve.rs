//! `injerto serve`: a real server on this machine, asked over its socket.

mod browser;
mod client;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::knowledge::{trained, training_photos};
use crate::{contains, run};
use client::{Answer, Served, form, raw};

/// A run on drawn photos that tests at the same time share: `out`, and its photos in `photos/`.
fn here() -> Arc<TempDir> {
    static RUN: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut run = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    run.upgrade().unwrap_or_else(|| {
        let at = Arc::new(crate::train::folder());
        trained(at.path(), &[]);
        *run = Arc::downgrade(&at);
        at
    })
}

/// Photos of the run with the bytes of their files.
fn photos(at: &Path, count: usize) -> Vec<(String, Vec<u8>)> {
    let names = training_photos(at).into_iter().map(|(path, _)| format!("photos/{path}"));
    names.take(count).map(|name| (name.clone(), std::fs::read(at.join(name)).expect("there"))).collect()
}

/// What `injerto predict --json` says of photos, under the names that a server is told.
fn predicted(at: &Path, names: &[&str], more: &[&str]) -> Vec<Value> {
    let words = [&["predict", "--run", "out", "--json"], more, names].concat();
    let said = run(at, &words).succeeds();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        let name = line["image"].as_str().and_then(|name| name.rsplit('/').next()).expect("a name").to_owned();
        line["image"] = name.into();
        line
    };
    said.lines().map(line).collect()
}

#[test]
fn answers_are_those_of_predict_to_the_last_bit() {
    let at = here();
    let at = at.path();
    let (server, photos) = (Served::start(at, &["out"]), photos(at, 5));
    let names: Vec<&str> = photos.iter().map(|(name, _)| name.as_str()).collect();
    let expected = predicted(at, &names, &["--neighbours=3"]);
    // One photo as it is, and all as the files of a form.
    let (name, bytes) = &photos[0];
    let file = name.rsplit('/').next().expect("a name");
    let one = server.ask(&raw(&format!("/predict?neighbours=3&name={file}"), "image/png", bytes)).succeeds();
    assert_eq!(one["answers"], Value::from(vec![expected[0].clone()]));
    assert!(one["milliseconds"].as_f64().is_some_and(|time| time > 0.0), "{one}");
    let all = server.ask(&form("/predict?neighbours=3", &photos)).succeeds();
    assert_eq!(all["answers"], Value::from(expected.clone()));
    let few = server.ask(&form("/predict?top=2", &photos)).succeeds();
    assert_eq!(few["answers"], Value::from(predicted(at, &names, &["--top", "2"])));

    // Where the network looked comes if it is asked, and changes nothing else.
    let mut looked =
        server.ask(&raw(&format!("/predict?neighbours=3&heatmap=true&name={file}"), "image/png", bytes)).succeeds();
    let heat = looked["answers"][0].as_object_mut().expect("an answer").shift_remove("heatmap").expect("it is there");
    assert_eq!(looked["answers"], one["answers"]);
    assert_eq!((&heat["method"], &heat["class"]), (&"grad-cam".into(), &expected[0]["classes"][0]["class"]));
    assert_eq!(heat["seen"], serde_json::json!([0.0, 0.0, 1.0, 1.0]));
    assert!(
        heat["picture"].as_str().is_some_and(|picture| picture.starts_with("data:image/png;base64,iVBOR")),
        "{heat}"
    );

    // A photo that cannot be read does not keep the others from their answer.
    let broken = [photos[0].clone(), ("broken.png".to_owned(), bytes[..bytes.len() / 2].to_vec()), photos[1].clone()];
    let mixed = server.ask(&form("/predict", &broken)).succeeds();
    let answers = mixed["answers"].as_array().expect("a list");
    assert_eq!((&answers[1]["image"], &answers[1]["error"]["code"]), (&"broken.png".into(), &"unreadable".into()));
    assert!(answers[0]["answer"].is_string() && answers[2]["classes"].is_array(), "{mixed}");

    // What was done is counted.
    let metrics = server.get("/metrics").text();
    contains(
        &metrics,
        &[
            "injerto_photos_total{result=\"answered\"} 14",
            "injerto_photos_total{result=\"refused\"} 1",
            "_bucket{le=\"+Inf\"} 5",
        ],
    );
    let health = server.get("/health").succeeds();
    assert_eq!(
        (&health["status"], &health["run"], health["classes"].as_array().map(Vec::len)),
        (&"ok".into(), &"finished".into(), Some(5))
    );
    assert!(server.get("/openapi.json").succeeds()["paths"]["/predict"]["post"].is_object());
    // A network without its run is asked in the same way.
    let alone = Served::start(at, &["out/best.safetensors", "--threshold", "1"]);
    let sure = alone.ask(&raw("/predict", "image/png", bytes)).succeeds();
    assert_eq!(sure["answers"][0]["classes"], one["answers"][0]["classes"]);
    assert_eq!((&sure["answers"][0]["answer"], alone.get("/events").status), (&Value::Null, 404));
}

#[test]
fn what_is_too_much_or_no_photo_is_refused_with_a_status_that_says_so() {
    let at = here();
    let at = at.path();
    let words = ["out", "--max-mib", "1", "--max-megapixels", "1", "--timeout", "1"];
    let (server, photos) = (Served::start(at, &words), photos(at, 1));
    let png = &photos[0].1;
    let check = |request: &[u8], status: u16, code: &str| {
        let answer = server.ask(request);
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (status, Some(code)), "{}", answer.body());
        assert!(!answer.body().contains(&*at.to_string_lossy()), "no path of the machine: {}", answer.body());
        answer
    };
    let of = |kind: &str, body: &[u8]| raw("/predict", kind, body);
    check(&of("image/png", &vec![0; 3 << 20]), 413, "too_many_bytes");
    check(&of("multipart/form-data; boundary=x", &vec![b'-'; 3 << 20]), 413, "too_many_bytes");
    check(&chunked("/predict", 3 << 20), 413, "too_many_bytes");
    // The size that a header claims is enough, and nothing is decoded.
    let mut vast = png.clone();
    vast[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    check(&of("image/png", &crc(vast)), 413, "too_many_pixels");
    check(&of("image/png", &png[..png.len() / 2]), 422, "unreadable");
    check(&of("image/jpeg", b"\xff\xd8\xff\xe0rubbish"), 422, "unreadable");
    check(&of("image/png", b"no image"), 415, "no_image");
    check(&of("image/png", b""), 400, "malformed");
    check(&of("text/plain", png), 415, "content_type");
    check(&of("application/x-www-form-urlencoded", b"photo=1"), 415, "content_type");
    check(&raw("/predict?neighbours=1000", "image/png", png), 400, "malformed");
    check(&raw("/predict?top=none", "image/png", png), 400, "malformed");
    let many: Vec<_> = (0..65).map(|at| (format!("{at}.png"), b"x".to_vec())).collect();
    check(&form("/predict", &many), 413, "too_many_photos");
    for hostile in [
        &b""[..],
        b"--x",
        b"--x\r\n",
        b"--x--",
        b"--x\r\n\r\n",
        b"--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\nendless",
        b"--x\r\n: : :\r\n\r\n\r\n--x--",
        b"--y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--y--\r\n",
        &[b"--x\r\nA: ".as_slice(), &[b'a'; 100_000], b"\r\n\r\n\r\n--x--"].concat(),
        b"\0\xff\0\xff",
    ] {
        check(&of("multipart/form-data; boundary=x", hostile), 400, "malformed");
    }
    check(&of("multipart/form-data", b"--x--"), 400, "malformed");
    check(&of("multipart/form-data; boundary=", b"--"), 400, "malformed");
    assert_eq!(server.get("/nothing").status, 404);
    assert_eq!(server.get("/photo?path=..%2F..%2Fetc%2Fpasswd").status, 404);
    assert_eq!(server.get("/photo?path=%2Fetc%2Fpasswd").status, 404);
    assert_eq!(server.get("/photo").status, 400);
    let answer = check(b"DELETE /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405, "method");
    contains(&answer.head, &["allow: POST"]);
    // A request that does not come to its end.
    let stuck =
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nhalf";
    check(stuck, 408, "slow");
    // No HTTP at all.
    for rubbish in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET\r\n\r\n",
        &[b'a'; 200_000],
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ] {
        let answer = server.ask(rubbish);
        assert!(answer.status == 0 || answer.status >= 400, "{}", answer.status);
    }
    server.ask(&of("image/png", png)).succeeds();
}

#[test]
fn pages_of_other_sites_ask_nothing_and_change_nothing() {
    let at = here();
    let at = at.path();
    let (server, photos) = (Served::start(at, &["out", "--allow-host", "box.local"]), photos(at, 1));
    let ask = |lines: &str, path: &str| {
        let request =
            format!("{path} HTTP/1.1\r\nConnection: close\r\n{lines}Content-Length: {}\r\n\r\n", photos[0].1.len());
        server.ask(&[request.as_bytes(), &photos[0].1].concat()).status
    };
    let (post, kind) = ("POST /predict", "Content-Type: image/png\r\n");
    assert_eq!(ask(&format!("Host: localhost\r\n{kind}"), post), 200);
    assert_eq!(ask(&format!("Host: box.local:8080\r\n{kind}Origin: http://box.local:8080\r\n"), post), 200);
    assert_eq!(ask(&format!("Host: evil.example\r\n{kind}"), post), 421, "a name that was made to lead here");
    assert_eq!(ask("Host: evil.example\r\n", "GET /"), 421);
    assert_eq!(ask("", "GET /"), 421);
    assert_eq!(ask(&format!("Host: localhost\r\n{kind}Origin: http://evil.example\r\n"), post), 403);
    assert_eq!(ask(&format!("Host: localhost\r\n{kind}Sec-Fetch-Site: cross-site\r\n"), post), 403);
    // The forms that another site can send change nothing, even without an origin.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let lines = format!("Host: localhost\r\nContent-Type: {kind}\r\n");
        assert_eq!(ask(&lines, "POST /stop"), 415, "{kind}");
        assert_eq!(ask(&lines, "POST /corrections?class=roses"), 415, "{kind}");
    }
    let page = server.get("/");
    contains(
        &page.head.to_ascii_lowercase(),
        &[
            "content-security-policy: default-src 'none'; script-src 'self'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
        ],
    );
    assert!(!page.head.to_ascii_lowercase().contains("access-control"), "no other site may read an answer");
    let text = page.text();
    assert!(
        !text.contains("<style")
            && !text.contains(" style=")
            && !text.contains("<script>")
            && !text.contains(" onclick")
    );
    assert!(!text.contains(&*at.to_string_lossy()), "no path of the machine");
    contains(
        &text,
        &["Learning curves", "type=\"file\"", "This is"].map(|part| if part == "This is" { "<h1>" } else { part }),
    );
}

#[test]
fn sixty_four_connections_get_the_answers_that_one_would() {
    let at = here();
    let at = at.path();
    let (server, photos) = (Served::start(at, &["out"]), photos(at, 16));
    let names: Vec<&str> = photos.iter().map(|(name, _)| name.as_str()).collect();
    let expected = predicted(at, &names, &[]);
    std::thread::scope(|scope| {
        for connection in 0..64 {
            let (server, photos, expected) = (&server, &photos, &expected);
            scope.spawn(move || {
                for round in 0..4 {
                    let at = (connection * 5 + round) % photos.len();
                    let answer = server.ask(&raw("/predict", "application/octet-stream", &photos[at].1)).succeeds();
                    assert_eq!(answer["answers"][0]["classes"], expected[at]["classes"]);
                    assert_eq!(answer["answers"][0]["distance"], expected[at]["distance"]);
                }
            });
        }
    });
    let metrics = server.get("/metrics").text();
    let batches = metrics.lines().find_map(|line| line.strip_prefix("injerto_batches_total ")?.parse::<usize>().ok());
    assert!(batches.is_some_and(|batches| batches < 256), "photos of several connections run together: {batches:?}");
}

#[test]
fn a_server_that_is_interrupted_answers_what_it_was_asked_and_ends() {
    let at = here();
    let at = at.path();
    let (server, photos) = (Served::start(at, &["out"]), photos(at, 1));
    let request = raw("/predict", "image/png", &photos[0].1);
    let (first, rest) = request.split_at(request.len() - 10);
    let mut asking = server.connect();
    asking.write_all(first).expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    let mut server = server;
    server.signal("INT");
    std::thread::sleep(Duration::from_millis(500));
    assert!(std::net::TcpStream::connect(server.address).is_err(), "it takes no new connection");
    asking.write_all(rest).expect("sent");
    let mut said = Vec::new();
    asking.read_to_end(&mut said).expect("answered");
    assert_eq!(Answer::read(&said).status, 200);
    assert_eq!(server.ends(), Some(0));
}

#[test]
fn a_wrong_answer_is_kept_for_the_next_training_which_takes_the_list() {
    // A run of its own: what another test says of its photos would be in the list.
    let at = crate::train::folder();
    let at = at.path();
    trained(at, &[]);
    let photos = photos(at, 3);
    let server = Served::start(at, &["out"]);
    let keep = |query: &str, bytes: &[u8]| server.ask(&raw(&format!("/corrections?{query}"), "image/png", bytes));
    assert_eq!(keep("class=roses&name=..%2Fmine.png", &photos[0].1).succeeds()["collected"], 1);
    assert_eq!(keep("class=roses", &photos[1].1).succeeds()["collected"], 2);
    assert_eq!(keep("class=tulips", &photos[1].1).succeeds()["collected"], 2, "the last word counts");
    assert_eq!(keep("class=tulips", &photos[2].1).succeeds()["collected"], 3);
    assert_eq!(keep("class=cars", &photos[2].1).status, 422);
    assert_eq!(keep("class=roses", b"no image").status, 415);
    let list = server.get("/corrections").text();
    assert_eq!(list, std::fs::read_to_string(at.join("out/corrections/labels.csv")).expect("there"));
    assert_eq!(list.lines().count(), 4);
    contains(&list, &["path,class,name\n", ".png,roses,mine.png\n", ".png,tulips,photo\n"]);
    let experiment = "[data]\nroot = \"out/corrections\"\nlabels = \"labels.csv\"\nimage_size = [32, 32]\nvalidation_split = 0.34\n\
                      [backbone]\nplugin = \"small_cnn\"\nweights = \"none\"\n[[phases]]\nepochs = 1\n";
    std::fs::write(at.join("next.toml"), experiment).expect("written");
    contains(
        &run(at, &["train", "next.toml", "--dry-run"]).succeeds(),
        &["images     2 to train (roses 1, tulips 1), 1 to validate"],
    );
    // Or the photos are moved into a folder for each class.
    assert_eq!(keep("class=roses", &photos[0].1).succeeds()["moves"], "corrections/moves.csv");
    let lie = |class: &str| -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(at.join("out/corrections").join(class)).into_iter().flatten().flatten();
        let mut photos: Vec<_> = files.map(|file| std::fs::read(file.path()).expect("there")).collect();
        photos.sort();
        photos
    };
    let sorted = |mut photos: Vec<Vec<u8>>| {
        photos.sort();
        photos
    };
    let said = run(at, &["data", "apply", "out/corrections/moves.csv"]).succeeds();
    contains(&said, &["3 files moved in out/corrections\n", "data apply out/corrections/moves.csv --undo"]);
    assert_eq!(lie("roses"), [photos[0].1.clone()]);
    assert_eq!(lie("tulips"), sorted(vec![photos[1].1.clone(), photos[2].1.clone()]));
    contains(&run(at, &["inspect", "out/corrections"]).succeeds(), &["3 images of 2 classes: roses 1, tulips 2"]);
    // What is said afterwards has a list of its own, and the labels name the photos where they lie.
    assert_eq!(keep("class=roses", &photos[0].1).succeeds()["moves"], Value::Null);
    assert_eq!(keep("class=roses", &photos[1].1).succeeds()["moves"], "corrections/moves-2.csv");
    run(at, &["data", "apply", "out/corrections/moves-2.csv"]).succeeds();
    assert_eq!(lie("roses"), sorted(vec![photos[0].1.clone(), photos[1].1.clone()]));
    keep("class=roses", &photos[1].1).succeeds();
    let list = server.get("/corrections").text();
    assert_eq!((list.matches("\nroses/").count(), list.matches("\ntulips/").count()), (2, 1), "{list}");
    contains(&run(at, &["train", "next.toml", "--dry-run"]).succeeds(), &["images     2 to train"]);
    // Who may change nothing is told so.
    let closed = Served::start(at, &["out", "--read-only"]);
    assert_eq!(closed.ask(&raw("/corrections?class=roses", "image/png", &photos[0].1)).status, 403);
    assert_eq!(closed.ask(&raw("/stop", "application/json", b"{}")).status, 403);
    let open = Served::start(at, &["out", "--host", "0.0.0.0"]);
    assert_eq!(
        open.ask(&raw("/corrections?class=roses", "image/png", &photos[0].1)).status,
        403,
        "the whole network may not"
    );
    assert_eq!(server.ask(&raw("/stop", "application/json", b"{}")).status, 409, "nothing is under way");
}

#[test]
fn a_run_under_way_is_followed_and_stopped_and_keeps_every_finished_epoch() {
    let at = crate::train::folder();
    let at = at.path();
    let words = ["train", "tiny.toml", "--run-dir", "out", "--set", "phases.1.epochs=100000"];
    let mut training =
        crate::injerto(at).args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    while !at.join("out/experiment.toml").is_file() {
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(training.try_wait().expect("a process"), None);
    }
    let server = Served::start(at, &["out"]);
    // The events say when something has changed; the first that shows curves comes after the first epoch.
    let mut events = server.events();
    let with_curves =
        events.find(|event| event["html"].as_str().is_some_and(|html| html.contains("<svg"))).expect("it comes");
    assert_eq!(with_curves["state"], "training");
    let ahead = |event: &Value| event["words"].as_str().is_some_and(|words| words.contains(" is under way, about "));
    let asked = events.find(|event| event["classes"].is_array() && ahead(event));
    assert!(asked.is_some(), "the network is taken when it is there, and the time that is left is told");
    let stopped = server.ask(&raw("/stop", "application/json", b"{}")).succeeds();
    assert!(stopped["epochs_kept"].as_u64().is_some_and(|epochs| epochs > 0), "{stopped}");
    assert_eq!(training.wait().expect("it ends").code(), Some(130), "it ends as after Ctrl-C");
    let ended = events.find(|event| event["state"] == "stopped").expect("it comes");
    contains(ended["words"].as_str().expect("words"), &["are kept", "--resume"]);
    let run_now = server.get("/run").succeeds();
    let epochs = run_now["epochs_done"].as_u64().expect("a number");
    assert_eq!(run_now["history"].as_array().map(|history| history.len() as u64), Some(epochs));
    assert!(!at.join("out/stop").exists(), "it asks once");
    let resumed = format!("phases.1.epochs={}", epochs.saturating_sub(1));
    run(at, &["train", "--resume", "out", "--set", &resumed]).succeeds();
    assert_eq!(
        events.find(|event| event["state"] == "finished").map(|event| event["state"].clone()),
        Some("finished".into())
    );
}

#[test]
fn what_cannot_be_served_is_said() {
    let at = here();
    let at = at.path();
    let empty = crate::train::folder();
    let serve = |words: &[&str]| run(empty.path(), &[&["serve"], words].concat());
    contains(&serve(&["none"]).fails(), &["none: neither a checkpoint nor the folder of a run"]);
    contains(&serve(&[]).fails(), &["no run in runs/"]);
    contains(&serve(&["tiny.toml"]).fails(), &["tiny.toml"]);
    let (server, out) = (Served::start(at, &["out"]), at.join("out"));
    let port = server.address.port().to_string();
    contains(
        &serve(&[&*out.to_string_lossy(), "--port", &port]).fails(),
        &["cannot listen at 127.0.0.1:", "--port 0 takes a free one"],
    );
    contains(&serve(&[&*out.to_string_lossy(), "--host", "no.such.invalid"]).fails(), &["--host no.such.invalid"]);
    assert_eq!(serve(&["--threshold", "2"]).code, Some(2));
}

/// A body in one chunk, whose size is not announced.
fn chunked(path: &str, bytes: usize) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n"
    );
    [head.as_bytes(), &vec![0; bytes], b"\r\n0\r\n\r\n"].concat()
}

/// A PNG whose header has the checksum of its new content.
fn crc(mut png: Vec<u8>) -> Vec<u8> {
    let mut sum = u32::MAX;
    for &byte in &png[12..29] {
        sum ^= u32::from(byte);
        (0..8).for_each(|_| sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 });
    }
    png[29..33].copy_from_slice(&(!sum).to_be_bytes());
    png
}

/// Sends a signal to a process.
fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.expect("kill is there").success());
}

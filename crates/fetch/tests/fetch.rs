//! Downloads from a server on this machine that misbehaves, and archives that mean harm.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use injerto_fetch::datasets::{Archive, KNOWN, get};
use injerto_fetch::exchange::{Connections, NoAnswer, http};
use injerto_fetch::unpack::{Limits, unpack};
use injerto_fetch::{Patience, Transfer, bytes, collect};
use injerto_files::hex;
use sha2::{Digest, Sha256};

fn how(patience: Patience, encrypted: bool) -> Transfer {
    Transfer { patience, encrypted, limit: 1 << 30 }
}

/// Answers one connection with `head`, and then with each part after a pause in milliseconds; its address.
fn serve(head: &'static str, parts: Vec<(u64, &'static [u8])>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/weights", listener.local_addr().expect("its own address"));
    std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut asked = [0; 4096];
        while !asked.ends_with(b"\r\n\r\n") {
            let length = stream.read(&mut asked)?;
            if length == 0 || asked[..length].ends_with(b"\r\n\r\n") {
                break;
            }
        }
        stream.write_all(head.as_bytes())?;
        for (pause, part) in parts {
            std::thread::sleep(Duration::from_millis(pause));
            stream.write_all(part)?;
        }
        Ok(())
    });
    address
}

#[test]
fn a_download_ends_when_the_other_side_ends_early_falls_silent_drips_or_takes_too_long() {
    let milliseconds = Duration::from_millis;
    let patience = Patience { stretch: milliseconds(400), least: 4, whole: milliseconds(1200) };
    let check = |head: &'static str, parts: Vec<(u64, &'static [u8])>, expected: Result<&[u8], &str>| {
        let began = Instant::now();
        let got = bytes(&serve(head, parts), how(patience, false));
        match expected {
            Ok(bytes) => assert_eq!(got.as_deref(), Ok(bytes)),
            Err(part) => assert!(got.as_ref().is_err_and(|error| error.contains(part)), "{got:?}, {part}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{got:?}");
    };
    let seven = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
    let open = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    check(seven, vec![(0, b"wei"), (10, b"ghts")], Ok(b"weights"));
    check(seven, vec![(0, b"wei")], Err("it broke off after 3 bytes"));
    check(seven, vec![(0, b"wei"), (5000, b"ghts")], Err("only 3 bytes arrived in 0 seconds, after 0 bytes"));
    check(open, [(200, &b"w"[..])].repeat(40), Err("bytes arrived in 0 seconds, after"));
    check(open, [(100, &b"weigh"[..])].repeat(40), Err("fetch the file by other means"));
    check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", vec![], Err("the server has nothing at this address"));
    check("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", vec![], Err("refuses it (HTTP status 403)"));
    check("", vec![(5000, b"HTTP")], Err("cannot be reached"));
    check("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", vec![], Err(""));
    let error = bytes(&serve(seven, vec![(0, b"weights")]), how(patience, true)).expect_err("it is not encrypted");
    assert!(error.contains("cannot be reached"), "{error}");
}

#[test]
fn a_download_ends_when_too_much_is_sent() {
    let error =
        collect(std::io::repeat(7), Transfer { limit: 100_000, ..how(Patience::USUAL, true) }, 0, &mut |_| Ok(()))
            .expect_err("it never ends");
    assert!(error.contains("larger than 100000 bytes"), "{error}");
}

/// What a client asks for, up to the empty line.
fn asked(stream: &mut TcpStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length > 0) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).to_lowercase()
}

/// Answers each connection by what `answer` makes of the request and of the number of the connection, from 0. Returns the address and
/// the requests.
fn server(answer: impl Fn(&str, usize) -> Vec<u8> + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/photos.zip", listener.local_addr().expect("its own address"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&requests);
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let request = asked(&mut stream);
            let answer = answer(&request, at);
            all.lock().expect("nobody panicked").push(request);
            let _ = stream.write_all(&answer);
        }
    });
    (address, requests)
}

fn with_head(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat()
}

/// A zip of these files, stored without compression.
fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        match name.strip_suffix("->") {
            Some(name) => zip.add_symlink(name, String::from_utf8_lossy(content), options).expect("added"),
            None => {
                zip.start_file(*name, options).expect("added");
                zip.write_all(content).expect("written");
            }
        }
    }
    zip.finish().expect("complete").into_inner()
}

/// A tar with one entry of this type, whose name is written as it is.
fn tarred(name: &str, kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    if kind.is_symlink() || kind.is_hard_link() {
        header.set_link_name("/etc/passwd").expect("short");
    }
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, content).expect("written");
    tar.into_inner().expect("complete")
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("written");
    gzip.finish().expect("complete")
}

fn photos() -> Vec<u8> {
    let photo = vec![7_u8; 40_000];
    zipped(&[
        ("photos/LICENSE.txt", b"free"),
        ("photos/train/cats/1.jpg", &photo),
        ("photos/validation/cats/2.jpg", &photo),
    ])
}

fn archive(url: &str, sha256: Option<String>) -> Archive {
    Archive { url: url.to_owned(), sha256 }
}

fn sha(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

#[test]
fn an_archive_is_fetched_once_and_its_root_is_found_inside() {
    let zip = photos();
    let served = zip.clone();
    let head = format!("200 OK\r\nContent-Length: {}", zip.len());
    let (url, requests) = server(move |_, _| with_head(&head, &served));
    let cache = tempfile::tempdir().expect("a folder");
    let wanted = archive(&url, Some(sha(&zip)));
    let mut heard = Vec::new();
    let root = get(&wanted, cache.path(), &mut |came, all| heard.push((came, all))).expect("fetched");
    assert!(root.ends_with("files/photos") && root.join("train/cats/1.jpg").is_file(), "{}", root.display());
    assert_eq!(heard.last(), Some(&(zip.len() as u64, Some(zip.len() as u64))));
    assert_eq!(get(&wanted, cache.path(), &mut |_, _| panic!("it is there")).expect("kept"), root);
    assert_eq!(requests.lock().expect("nobody panicked").len(), 1);
    assert_eq!(wanted.kept(cache.path()), Some(root));
}

#[test]
fn a_download_that_breaks_off_is_continued_where_it_broke() {
    let check = |tag: &str, sha256: bool, changes: bool, continued: bool| {
        let zip = photos();
        let (served, tag_line) = (zip.clone(), tag.to_owned());
        let (url, requests) = server(move |request, at| {
            let range = request.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-'));
            let from: usize = range.filter(|_| !changes).map_or(0, |from| from.parse().expect("a number"));
            let rest = &served[from..];
            let status = match from {
                0 => "200 OK".to_owned(),
                from => {
                    format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", served.len() - 1, served.len())
                }
            };
            let sent = if at == 0 { rest.len() / 2 } else { rest.len() };
            with_head(&format!("{status}\r\nContent-Length: {}{tag_line}", rest.len()), &rest[..sent])
        });
        let cache = tempfile::tempdir().expect("a folder");
        let wanted = archive(&url, sha256.then(|| sha(&zip)));
        let root = get(&wanted, cache.path(), &mut |_, _| {}).expect("continued");
        assert_eq!(fs::read(root.join("validation/cats/2.jpg")).expect("there").len(), 40_000);
        let requests = requests.lock().expect("nobody panicked");
        assert_eq!((requests.len(), requests[1].contains("range: bytes=")), (2, continued), "{requests:?}");
        assert_eq!(requests[1].contains("if-range: \"v1\""), tag.contains("\"v1\"") && continued);
    };
    check("\r\nETag: \"v1\"", false, false, true);
    check("", true, false, true);
    // Without a hash and a version, it begins again; so it does where the other side has another version now.
    check("", false, false, false);
    check("\r\nETag: W/\"v1\"", false, false, false);
    check("\r\nETag: \"v1\"", false, true, true);
}

#[test]
fn what_was_not_meant_is_refused_and_not_kept() {
    let zip = photos();
    let serve = |body: Vec<u8>| {
        let head = format!("200 OK\r\nContent-Length: {}", body.len());
        server(move |_, _| with_head(&head, &body)).0
    };
    let cache = tempfile::tempdir().expect("a folder");
    let check = |wanted: &Archive, parts: &[&str]| {
        let error = get(wanted, cache.path(), &mut |_, _| {}).expect_err("refused").to_string();
        parts.iter().for_each(|part| assert!(error.contains(part), "{part}: {error}"));
        assert_eq!(wanted.kept(cache.path()), None);
    };
    let url = serve(zip.clone());
    check(&archive(&url, Some("00".repeat(32))), &["its SHA-256 is", "expected 0000", "is not kept", &url]);
    check(&archive(&serve(b"<html>".to_vec()), None), &["it is a web page, not the file itself"]);
    check(&archive(&serve(zipped(&[("../x", b"")])), None), &["'../x' is refused: its path leads out"]);
    let cut = zip[..zip.len() / 2].to_vec();
    check(&archive(&serve(cut), None), &["it cannot be read"]);
    check(&archive("http://example.invalid/a.zip", None), &["not encrypted", "data.sha256"]);
    check(&archive("https://injerto.invalid/a.zip", None), &["injerto.invalid/a.zip", "cannot be reached"]);
    let gone = server(|_, _| with_head("404 Not Found\r\nContent-Length: 0", b"")).0;
    check(&archive(&gone, None), &["404"]);
}

#[test]
fn hostile_archives_are_refused_with_the_name_of_the_entry() {
    use tar::EntryType;
    let limits = Limits { entries: 4, ratio: 2, least: 2_000 };
    let check = |archive: &[u8], expected: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let (packed, into) = (folder.path().join("packed"), folder.path().join("deep/into"));
        fs::create_dir_all(&into).expect("made");
        fs::write(&packed, archive).expect("written");
        let error = unpack(&packed, &into, limits).expect_err(expected);
        assert!(error.contains(expected), "{expected}: {error}");
        let outside: Vec<_> =
            fs::read_dir(folder.path()).expect("there").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(outside.len(), 2, "{outside:?}");
    };
    for name in ["../x", "a/../../x", "/x", "a\\..\\x", "c:x"] {
        check(&zipped(&[(name, b"1")]), "its path leads out of the folder");
        check(&tarred(name, EntryType::Regular, b"1"), "its path leads out of the folder");
    }
    check(&zipped(&[("a->", b"/etc")]), "its entry 'a' is refused: it is a link");
    check(&tarred("a", EntryType::Symlink, b""), "its entry 'a' is refused: it is a link");
    check(&packed(&tarred("a", EntryType::Link, b"")), "its entry 'a' is refused: it is a link");
    check(&tarred("a", EntryType::Fifo, b""), "it is neither a file nor a folder");
    check(&tarred("a", EntryType::Char, b""), "it is neither a file nor a folder");
    let many: Vec<String> = (0..5).map(|at| at.to_string()).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    check(&zipped(&many), "more than 4 files and folders");
    check(&packed(&tarred("zeros", EntryType::Regular, &vec![0; 1 << 20])), "too many for an archive of its size");
    let twice =
        [tarred("a", EntryType::Regular, b"1")[..1024].to_vec(), tarred("a", EntryType::Regular, b"2")].concat();
    check(&twice, "'a' cannot be unpacked");
    check(&tarred("a", EntryType::Regular, &[1; 3000])[..1500], "");
    check(&packed(&tarred("a", EntryType::Regular, b"1"))[..60], "'a' cannot be unpacked");
    check(b"", "it is empty; expected .zip");
    check(b"text", "it is not an archive that can be unpacked; expected .zip");
}

#[test]
fn zip_tar_and_tar_with_gzip_are_known_by_content() {
    let tar = tarred("photos/cats/1.jpg", tar::EntryType::Regular, b"photo");
    for archive in [zipped(&[("photos/cats/1.jpg", b"photo")]), packed(&tar), tar] {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, into) = (folder.path().join("x"), folder.path().join("into"));
        fs::create_dir(&into).expect("made");
        fs::write(&path, archive).expect("written");
        unpack(&path, &into, Limits::USUAL).expect("a good one");
        assert_eq!(fs::read(into.join("photos/cats/1.jpg")).expect("there"), b"photo");
    }
}

#[test]
fn datasets_with_names_have_encrypted_addresses() {
    for known in KNOWN {
        assert!(known.url.starts_with("https://") && Archive::known(known.name).is_some(), "{known:?}");
    }
    assert_eq!(Archive::known("cats"), None);
    assert!(Archive::known("flower_photos").expect("known").kept(Path::new("/nowhere")).is_none());
}

#[test]
fn an_exchange_hands_on_whatever_is_answered_and_says_whether_the_other_side_was_reached() {
    let request = |address: &str| http::Request::get(address).body(Vec::new()).expect("a request");
    let ask = |address: &str, limit: u64| Connections::default().exchange(request(address), limit);
    let answer =
        ask(&serve("HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\n", vec![(0, b"none")]), 100).expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (404, &b"none"[..]));
    let moved = ask(&serve("HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", vec![]), 100);
    assert_eq!(moved.expect("an answer").status().as_u16(), 301);
    let cut = ask(&serve("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", vec![(0, b"wei")]), 100);
    assert!(matches!(cut, Err(NoAnswer::Broken(_))), "{cut:?}");
    let large = ask(&serve("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", vec![(0, b"none")]), 3);
    assert!(matches!(large, Err(NoAnswer::Refused(_))), "{large:?}");
    let nobody = ask("http://127.0.0.1:9/", 100);
    assert!(matches!(nobody, Err(NoAnswer::Unreachable(_))), "{nobody:?}");
}

//! A server that speaks as much of S3 as the tests need: objects in memory, lists in pages, ranges, and uploads in parts. It checks no
//! signature, and refuses requests that have none.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names that are listed together.
const PAGE: usize = 7;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    /// Each request: its method, its target, and its range.
    seen: Vec<String>,
    /// Requests that are answered with 503 before the others.
    busy: usize,
    /// An answer for all requests.
    refusal: Option<String>,
}

/// The server, and the objects in its only bucket `photos`.
#[derive(Clone)]
pub struct Server {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// A server on a free port of this machine, which lives as long as the process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Self { endpoint, state: Arc::default() };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = own.clone();
                std::thread::spawn(move || while server.answer(&stream).is_some() {});
            }
        });
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.state().objects.insert(key.to_owned(), bytes.to_vec());
    }

    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.state().objects.get(key).cloned()
    }

    /// Names of the objects.
    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state().seen)
    }

    /// Answers the next requests with 503.
    pub fn busy(&self, requests: usize) {
        self.state().busy = requests;
    }

    /// Answers all requests with 403 and this text.
    pub fn refuse(&self, answer: &str) {
        self.state().refusal = Some(answer.to_owned());
    }

    /// Answers one request; `None` at the end of the connection.
    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|length| *length > 0)?;
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (status, more, answer) = self.respond(method, target, &headers, body);
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{more}\r\n", answer.len());
        let mut stream = stream;
        stream.write_all(head.as_bytes()).ok()?;
        if method != "HEAD" {
            stream.write_all(&answer).ok()?;
        }
        Some(())
    }

    fn respond(
        &self,
        method: &str,
        target: &str,
        headers: &BTreeMap<String, String>,
        body: Vec<u8>,
    ) -> (&'static str, String, Vec<u8>) {
        let mut state = self.state();
        let range = headers.get("range").map_or(String::new(), |range| format!(" {range}"));
        state.seen.push(format!("{method} {target}{range}"));
        if let Some(refusal) = &state.refusal {
            return ("403 Forbidden", String::new(), refusal.clone().into_bytes());
        }
        if !headers.get("authorization").is_some_and(|it| it.starts_with("AWS4-HMAC-SHA256 Credential=key/")) {
            return ("403 Forbidden", String::new(), b"<Error><Code>AccessDenied</Code></Error>".to_vec());
        }
        if state.busy > 0 {
            state.busy -= 1;
            return ("503 Slow Down", String::new(), b"<Error><Code>SlowDown</Code></Error>".to_vec());
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        let path = decoded(path);
        let Some(key) = path.strip_prefix("/photos").map(|key| key.trim_start_matches('/')) else {
            return ("404 Not Found", String::new(), b"<Error><Code>NoSuchBucket</Code></Error>".to_vec());
        };
        let tag = |bytes: &[u8]| {
            format!(
                "etag: \"{}-{}\"\r\n",
                bytes.len(),
                bytes.iter().fold(0u32, |sum, byte| sum.rotate_left(3) ^ u32::from(*byte))
            )
        };
        let time = "last-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
        match method {
            "GET" if query.contains_key("list-type") => ("200 OK", String::new(), list(&state.objects, &query)),
            "GET" | "HEAD" => {
                let Some(object) = state.objects.get(key) else {
                    return ("404 Not Found", String::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec());
                };
                let more = format!("{}{time}", tag(object));
                let bounds = headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
                match bounds {
                    Some((from, to)) => {
                        let (from, to): (usize, usize) =
                            (from.parse().expect("a number"), to.parse().expect("a number"));
                        let more = format!("{more}content-range: bytes {from}-{to}/{}\r\n", object.len());
                        ("206 Partial Content", more, object[from..=to].to_vec())
                    }
                    None => ("200 OK", more, object.clone()),
                }
            }
            "PUT" => {
                let more = tag(&body);
                match (query.get("uploadId"), query.get("partNumber")) {
                    (Some(id), Some(part)) => {
                        let part = part.parse().expect("a number");
                        state.uploads.entry(id.clone()).or_default().insert(part, body);
                    }
                    _ => _ = state.objects.insert(key.to_owned(), body),
                }
                ("200 OK", more, Vec::new())
            }
            "POST" if query.contains_key("uploads") => {
                let id = format!("upload-{}", state.uploads.len());
                state.uploads.insert(id.clone(), BTreeMap::new());
                let answer = format!(
                    "<InitiateMultipartUploadResult><Bucket>photos</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
                     </InitiateMultipartUploadResult>"
                );
                ("200 OK", String::new(), answer.into_bytes())
            }
            "POST" => {
                let parts = state.uploads.remove(&query["uploadId"]).expect("an upload");
                let whole = parts.into_values().flatten().collect();
                state.objects.insert(key.to_owned(), whole);
                let answer = "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>";
                ("200 OK", String::new(), answer.as_bytes().to_vec())
            }
            "DELETE" => {
                state.uploads.remove(&query["uploadId"]);
                ("204 No Content", String::new(), Vec::new())
            }
            _ => ("405 Method Not Allowed", String::new(), Vec::new()),
        }
    }
}

/// One page of the objects' names.
fn list(objects: &BTreeMap<String, Vec<u8>>, query: &BTreeMap<String, String>) -> Vec<u8> {
    let of = |name: &str| query.get(name).map_or("", String::as_str);
    let (prefix, after, flat) = (of("prefix"), of("continuation-token"), of("delimiter").is_empty());
    let mut all = objects.iter().filter(|(key, _)| {
        key.strip_prefix(prefix).is_some_and(|rest| flat || !rest.contains('/')) && key.as_str() > after
    });
    let page: Vec<_> = all.by_ref().take(PAGE).collect();
    let mut text = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", all.next().is_some());
    if let Some((last, _)) = page.last() {
        text += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
    }
    for (key, bytes) in page {
        text += &format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"{0}\"</ETag><Size>{0}</Size></Contents>",
            bytes.len()
        );
    }
    (text + "</ListBucketResult>").into_bytes()
}

fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("hexadecimal digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).expect("UTF-8")
}
